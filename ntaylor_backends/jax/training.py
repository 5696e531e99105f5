"""Training steps on JAX: one jitted function a step, Adam by Optax, random numbers from the step's own key."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ntaylor.namespace import did_you_mean

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
    """The slot ``trainer``: see :class:`ntaylor.dispatch.Trainer`.

    ``optimiser`` is None, a name of Optax's, or an ``optax.GradientTransformation``.
    """

    def __init__(
        self,
        loss: Callable[..., Any],
        parameters: Mapping[str, Any],
        constants: Sequence[Any] | Mapping[str, Any],
        steps: int,
        rate: float,
        seed: int,
        beta2: float = 0.999,
        optimiser: Any = None,
        auxiliary: bool = False,
    ):
        own = {name: jnp.array(p) for name, p in parameters.items()}
        dtype = next(iter(own.values())).dtype
        chosen = _optimiser(optimiser, steps, rate, beta2, dtype)
        self._dtype = dtype
        self.replace_constants(constants)
        # Copies, for what an optimiser begins with may be the parameters themselves, and a step gives away both.
        self._state = jax.tree.map(jnp.array, (own, chosen.init(own), jnp.zeros((), jnp.int32)))
        self._compiled: dict[Any, Any] = {}
        key = jax.random.key(seed)

        def step(state: Any, constants: Any) -> Any:
            parameters, moments, count = state
            now = jax.random.fold_in(key, count)

            def value_of(parameters: Any) -> Any:
                found = loss(parameters, constants, _Draw(now, dtype))
                return found if auxiliary else (found, {})

            (value, aside), gradient = jax.value_and_grad(value_of, has_aux=True)(parameters)
            # Those that search along a line ask for the value, and for a way to get others.
            asked = {"value": value, "grad": gradient, "value_fn": lambda p: value_of(p)[0]}
            updates, moments = chosen.update(gradient, moments, parameters, **asked)
            after = jax.tree.map(lambda p, u: jnp.asarray(p + u, p.dtype), parameters, updates)
            return (after, moments, count + 1), (value, aside) if auxiliary else value

        # The old state is given away: of a network with a million inputs there is room for one, not two.
        self._step = jax.jit(step, donate_argnums=0)

    def replace_constants(self, constants: Sequence[Any] | Mapping[str, Any]) -> None:
        def own(c: Any) -> Any:
            return jnp.asarray(c, self._dtype)

        self._constants: Any = (
            {name: own(c) for name, c in constants.items()}
            if isinstance(constants, Mapping)
            else tuple(own(c) for c in constants)
        )

    def step(self) -> Any:
        self._state, value = self._step(self._state, self._constants)
        return value

    def evaluate(self, function: Callable[..., Any], *points: Any) -> Any:
        compiled = self._compiled.setdefault(function, jax.jit(function))
        dtype = next(iter(self._state[0].values())).dtype
        return np.asarray(compiled(self._state[0], self._constants, *(jnp.asarray(x, dtype) for x in points)))

    def parameters(self) -> dict[str, Any]:
        return {name: jnp.array(p) for name, p in self._state[0].items()}

    def state(self) -> dict[str, Any]:
        parameters, *rest = self._state
        found = {f"parameter.{name}": np.array(p) for name, p in parameters.items()}
        return found | {f"optimiser.{i}": np.array(a) for i, a in enumerate(jax.tree.leaves(rest))}

    def load(self, state: dict[str, Any]) -> None:
        parameters, *rest = self._state
        leaves, structure = jax.tree.flatten(rest)
        own = {name: _beside(state[f"parameter.{name}"], p) for name, p in parameters.items()}
        moments = [_beside(state[f"optimiser.{i}"], a) for i, a in enumerate(leaves)]
        self._state = (own, *jax.tree.unflatten(structure, moments))

    def about(self) -> dict[str, Any]:
        device = jax.devices()[0]
        statistics = device.memory_stats() or {}
        return {
            "library": f"jax {jax.__version__}",
            "device": device.device_kind if device.platform != "cpu" else "cpu",
            "peak_bytes": statistics.get("peak_bytes_in_use"),
        }


def _beside(array: Any, like: Any) -> Any:
    """An array of its own, of the dtype of ``like`` and laid out over the devices as that is."""
    made = jnp.array(array, like.dtype)
    return made if len(like.devices()) == 1 else jax.device_put(made, like.sharding)


def _optimiser(chosen: Any, steps: int, rate: float, beta2: float, dtype: Any) -> Any:
    try:
        import optax
    except ImportError as missing:
        raise ImportError("training on JAX needs optax: pip install optax, or train on torch") from missing

    if chosen is None:
        # Optax's own schedules count in single precision.
        found = optax.adam(lambda count: rate * jnp.maximum(0, 1 - count.astype(dtype) / steps), b2=beta2)
    elif chosen == "lbfgs":
        found = optax.lbfgs()
    elif isinstance(chosen, str):
        made = getattr(optax, chosen, None)
        if not callable(made):
            raise ValueError(f"optax has no optimiser {chosen!r}: {did_you_mean(chosen, dir(optax))}pass one")
        found = made(rate)
    else:
        found = chosen
    if not isinstance(found, optax.GradientTransformation):
        raise TypeError(
            f"on JAX an optimiser is an optax.GradientTransformation, such as optax.adam(1e-3); got a "
            f"{type(found).__name__}"
        )
    return optax.with_extra_args_support(found)


def hessian_diagonal(f: Callable[[Any], Any], x: Any) -> tuple[Any, Any, Any]:
    """The slot ``hessian_diagonal``: the whole Hessian by ``jax.hessian``, of which the diagonal is taken."""

    def of_point(point: Any) -> Any:
        return f(point[None])[0]

    def at(point: Any) -> tuple[Any, Any, Any]:
        value, gradient = jax.value_and_grad(of_point)(point)
        return value, gradient, jnp.diagonal(jax.hessian(of_point)(point))

    return jax.vmap(at)(x)  # type: ignore[no-any-return]
