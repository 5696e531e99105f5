"""Networks of every kind as what trains them sees them: arrays by name.

Floor 8: a network of ours says itself what its parameters are; of those of a library its adapter says it, found by the
network's type or by the first array that is in it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ntaylor.dispatch import Model, adapter_for
from ntaylor.namespace import describe, is_array
from ntaylor.networks import MLP

__all__ = ["model_of"]

Array = Any


def model_of(net: Any, points: Array) -> Model:
    """The :class:`ntaylor.dispatch.Model` of a network; ``points`` (n, d), NumPy, are some that it takes.

    Raises TypeError for what has no parameters that could be trained.
    """
    if isinstance(getattr(net, "parameters", None), Mapping) and hasattr(net, "replace"):
        if not net.parameters:
            raise TypeError("the network has no parameters, so there is nothing to train")
        return Model(dict(net.parameters), net.replace, net.replace, net if type(net) is MLP else None)
    for candidate in (net, next(_arrays_in(net, 4), None)):
        own = None if candidate is None else adapter_for(candidate).model
        found = None if own is None else own(net, points)
        if found is not None:
            return found  # type: ignore[no-any-return]
    raise TypeError(
        f"train takes a network with parameters: an nt.MLP, a torch.nn.Module, or a JAX tree that can be called, such "
        f"as an Equinox module; got {describe(net)}{_of_what_is_wrapped(net)}"
    )


def _of_what_is_wrapped(net: Any) -> str:
    inside = getattr(net, "__wrapped__", None)
    return "" if next(_arrays_in(inside, 4), None) is None else f": pass the {type(inside).__name__} in it as it is"


def _arrays_in(value: Any, depth: int) -> Iterator[Array]:
    """Arrays in an object, its attributes and containers, without knowing whose trees they are."""
    if is_array(value):
        yield value
    elif depth and not isinstance(value, (str, bytes, type)):
        if isinstance(value, Mapping):
            parts = list(value.values())
        elif isinstance(value, (list, tuple)):
            parts = list(value)
        else:
            parts = list(getattr(value, "__dict__", {}).values())
        for part in parts:
            yield from _arrays_in(part, depth - 1)
