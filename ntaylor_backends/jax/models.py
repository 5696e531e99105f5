"""The slot ``model``: a JAX tree that can be called, as an Equinox module is, as arrays by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from ntaylor.dispatch import Model

__all__ = ["model", "placed"]


def model(net: Any, points: Any) -> Model | None:
    """The tree's floating arrays. Where the module takes one point and not a batch, as Equinox's do, it is mapped."""
    if not callable(net):
        return None
    named, structure = jax.tree_util.tree_flatten_with_path(net)
    leaves = [leaf for _, leaf in named]
    places = {
        jax.tree_util.keystr(path).strip("."): i
        for i, (path, leaf) in enumerate(named)
        if isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jnp.floating)
    }
    if not places:
        return None

    def rebuilt(arrays: Mapping[str, Any]) -> Any:
        new = list(leaves)
        for name, i in places.items():
            new[i] = arrays[name]
        return jax.tree_util.tree_unflatten(structure, new)

    mapped = _takes_one_point(net, points)

    def made(arrays: Mapping[str, Any]) -> Any:
        module = rebuilt(arrays)
        return jax.vmap(module) if mapped else module

    return Model({name: leaves[i] for name, i in places.items()}, made, rebuilt)


def _takes_one_point(net: Any, points: Any) -> bool:
    """Whether the module is written for one point (d,), seen by its shapes alone."""
    dtype = next(leaf.dtype for leaf in jax.tree_util.tree_leaves(net) if hasattr(leaf, "dtype"))
    rows, columns = 2 * points.shape[1] + 3, points.shape[1]
    try:
        found = jax.eval_shape(net, jax.ShapeDtypeStruct((rows, columns), dtype))
    except Exception:  # it does not take a batch; what it says to one point is heard when it is called
        return True
    return tuple(found.shape[:1]) != (rows,)


def placed(arrays: Mapping[str, Any], devices: Any, split: bool) -> dict[str, Any]:
    """The slot ``placed``: rows shared out over a ``jax.sharding.Mesh``, fewer rows than devices copied to all."""
    if not isinstance(devices, jax.sharding.Mesh):
        raise TypeError(
            f"devices is a jax.sharding.Mesh, such as jax.make_mesh((4,), ('points',)); got a {type(devices).__name__}"
        )
    # Whose axes the compiler shares out, not the types of the arrays, as make_mesh has it in newer versions.
    kind = getattr(jax.sharding, "AxisType", None)
    automatic = {} if kind is None else {"axis_types": (kind.Auto,) * len(devices.axis_names)}
    devices = jax.sharding.Mesh(devices.devices, devices.axis_names, **automatic)
    whole = jax.sharding.NamedSharding(devices, jax.sharding.PartitionSpec())
    rows = jax.sharding.NamedSharding(devices, jax.sharding.PartitionSpec(devices.axis_names))
    found = {}
    for name, array in arrays.items():
        shared = split and array.shape[0] >= devices.size
        if shared and array.shape[0] % devices.size:
            raise ValueError(
                f"{name!r} has {array.shape[0]} points for {devices.size} devices: choose points and condition_points "
                f"that are multiples of {devices.size}"
            )
        found[name] = jax.device_put(array, rows if shared else whole)
    return found
