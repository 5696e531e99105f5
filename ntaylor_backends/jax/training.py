"""Training steps on JAX: one jitted function a step, Adam by Optax, random numbers from the step's own key."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

__all__ = ["Trainer", "hessian_diagonal"]


class _Draw:
    """Numbers of one step: every call splits the key again, while the step is traced."""

    def __init__(self, key: Any, dtype: Any):
        self._key, self._dtype = key, dtype

    def rng(self) -> Any:
        self._key, key = jax.random.split(self._key)
        return key

    def normal(self, shape: tuple[int, ...]) -> Any:
        return jax.random.normal(self.rng(), shape, self._dtype)

    def uniform(self, shape: tuple[int, ...]) -> Any:
        return jax.random.uniform(self.rng(), shape, self._dtype)


class Trainer:
    """The slot ``trainer``: see :class:`ntaylor.dispatch.Trainer`."""

    def __init__(
        self,
        loss: Callable[..., Any],
        parameters: Mapping[str, Any],
        constants: Sequence[Any],
        steps: int,
        rate: float,
        seed: int,
        beta2: float = 0.999,
    ):
        try:
            import optax
        except ImportError as missing:
            raise ImportError("training on JAX needs optax: pip install optax, or train on torch") from missing

        optimiser = optax.adam(optax.linear_schedule(rate, 0.0, steps), b2=beta2)
        own = {name: jnp.array(p) for name, p in parameters.items()}
        dtype = next(iter(own.values())).dtype
        self._constants = tuple(jnp.asarray(c, dtype) for c in constants)
        self._state = (own, optimiser.init(own), jnp.zeros((), jnp.int32))
        self._compiled: dict[Any, Any] = {}
        key = jax.random.key(seed)

        def step(state: Any, constants: Any) -> Any:
            parameters, moments, count = state
            draw = _Draw(jax.random.fold_in(key, count), dtype)
            value, gradient = jax.value_and_grad(loss)(parameters, constants, draw)
            updates, moments = optimiser.update(gradient, moments, parameters)
            return (optax.apply_updates(parameters, updates), moments, count + 1), value

        # The old state is given away: of a network with a million inputs there is room for one, not two.
        self._step = jax.jit(step, donate_argnums=0)

    def step(self) -> Any:
        self._state, value = self._step(self._state, self._constants)
        return value

    def evaluate(self, function: Callable[..., Any], *points: Any) -> Any:
        compiled = self._compiled.setdefault(function, jax.jit(function))
        dtype = next(iter(self._state[0].values())).dtype
        return np.asarray(compiled(self._state[0], self._constants, *(jnp.asarray(x, dtype) for x in points)))

    def state(self) -> dict[str, Any]:
        parameters, *rest = self._state
        found = {f"parameter.{name}": np.asarray(p) for name, p in parameters.items()}
        return found | {f"optimiser.{i}": np.asarray(a) for i, a in enumerate(jax.tree.leaves(rest))}

    def load(self, state: dict[str, Any]) -> None:
        parameters, *rest = self._state
        leaves, structure = jax.tree.flatten(rest)
        own = {name: jnp.array(state[f"parameter.{name}"]) for name in parameters}
        moments = [jnp.array(state[f"optimiser.{i}"], a.dtype) for i, a in enumerate(leaves)]
        self._state = (own, *jax.tree.unflatten(structure, moments))

    def about(self) -> dict[str, Any]:
        device = jax.devices()[0]
        statistics = device.memory_stats() or {}
        return {
            "library": f"jax {jax.__version__}",
            "device": device.device_kind if device.platform != "cpu" else "cpu",
            "peak_bytes": statistics.get("peak_bytes_in_use"),
        }


def hessian_diagonal(f: Callable[[Any], Any], x: Any) -> tuple[Any, Any, Any]:
    """The slot ``hessian_diagonal``: the whole Hessian by ``jax.hessian``, of which the diagonal is taken."""

    def of_point(point: Any) -> Any:
        return f(point[None])[0]

    def at(point: Any) -> tuple[Any, Any, Any]:
        value, gradient = jax.value_and_grad(of_point)(point)
        return value, gradient, jnp.diagonal(jax.hessian(of_point)(point))

    return jax.vmap(at)(x)  # type: ignore[no-any-return]
