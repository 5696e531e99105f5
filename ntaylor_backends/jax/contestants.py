"""Who is compared in a benchmark on JAX, all jitted: ntaylor, nested grad, jax.experimental.jet, folx, the floor."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from ntaylor.dispatch import Contestant, Prepared
from ntaylor.networks import MLP
from ntaylor_backends.jax.training import hessian_diagonal

__all__ = ["Contestants"]

Array = Any
Function = Callable[[Any, Array], Array]


class Contestants:
    """The slot ``contestants``: see :class:`ntaylor.dispatch.Contestants`."""

    def __init__(self, device: Any, folder: Path | None):
        self._device = device

    def of(self, workload: Any, ours: Any) -> list[Contestant]:
        jax.clear_caches()
        found = []

        def add(name: str, role: str, function: Function, rows: Any = workload, **about: Any) -> None:
            found.append(Contestant(name, "jitted", role, partial(self._prepared, function, rows), **about))

        def plain(p: Any, x: Array) -> Array:
            return workload.apply(p, x, jnp)

        def ours_on_plain(p: Any, x: Array) -> Array:
            return ours.operate(partial(plain, p), x)

        if workload.model == "network":
            net = MLP.create(workload.widths, xp=jnp)
            add("ntaylor, nt.MLP", "ours", lambda p, x: ours.operate(net.replace(p), x))
        add("ntaylor, function", "ours", ours_on_plain)
        if workload.task == "derivatives":
            add("floor", "floor", plain, workload.floor())
            add("nested jax.grad", "rival", _nested(plain, workload.order), exponential=True)
            if workload.order:
                add("jax.experimental.jet", "rival", _jet(plain, workload.order))
        elif workload.task == "laplacian":
            missing = None if importlib.util.find_spec("folx") else "not installed"
            add("folx", "rival", _folx(plain), missing=missing)
            add("nested jax.grad", "rival", _laplacian(plain), exponential=True)
        else:
            add("nested jax.grad", "rival", _laplacian(_laplacian(plain)), exponential=True)
        return found

    def _prepared(self, function: Function, workload: Any) -> Prepared:
        parameters = {name: jax.device_put(p, self._device) for name, p in workload.parameters().items()}
        x = jax.device_put(workload.points(), self._device)

        def loss(p: Any, x: Array) -> Array:
            outputs = function(p, x)
            return jnp.sum(outputs * outputs)

        outputs, gradient = jax.jit(function), jax.jit(jax.value_and_grad(loss))
        return Prepared(
            lambda: jax.block_until_ready(outputs(parameters, x)),
            lambda: jax.block_until_ready(gradient(parameters, x)),
            lambda found: found,
            lambda found: found[1],
        )

    def about(self) -> dict[str, Any]:
        folx = version("folx") if importlib.util.find_spec("folx") else "not installed"
        found: dict[str, Any] = {"versions": {"jax": jax.__version__, "folx": folx}, "notes": []}
        if self._device.platform != "cpu":
            found["device"] = self._device.device_kind
        return found

    def memory(self) -> tuple[int, Callable[[], int]] | None:
        statistics = self._device.memory_stats()
        if not statistics:
            return None
        return statistics["bytes_in_use"], lambda: self._device.memory_stats()["peak_bytes_in_use"]

    def copy_bandwidth(self) -> float | None:
        return None  # of a GPU CuPy's or PyTorch's copy tells it, of the host's memory NumPy's


def _nested(plain: Function, order: int) -> Function:
    def along(p: Any, x: Array, t: Array) -> Array:
        return plain(p, x + t)[0]

    functions = [along]
    for _ in range(order):
        functions.append(jax.grad(functions[-1], argnums=2))

    def outputs(p: Any, x: Array) -> Array:
        def of_point(point: Array) -> Array:
            return jnp.stack([f(p, point, jnp.zeros((), x.dtype)) for f in functions])

        return jax.vmap(of_point, out_axes=1)(x)

    return outputs


def _jet(plain: Function, order: int) -> Function:
    from jax.experimental import jet

    def outputs(p: Any, x: Array) -> Array:
        series = [jnp.ones_like(x), *[jnp.zeros_like(x)] * (order - 1)]
        value, rest = jet.jet(partial(plain, p), (x,), (series,))
        return jnp.stack([value, *rest])

    return outputs


def _folx(plain: Function) -> Function:
    def outputs(p: Any, x: Array) -> Array:
        import folx

        return jax.vmap(lambda point: folx.forward_laplacian(partial(plain, p))(point).laplacian)(x)

    return outputs


def _laplacian(plain: Function) -> Function:
    """By the slot ``hessian_diagonal``: nested automatic differentiation and nothing of ntaylor."""
    return lambda p, x: jnp.sum(hessian_diagonal(lambda x: plain(p, x).reshape(x.shape[:-1]), x)[2], axis=-1)
