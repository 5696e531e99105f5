"""The slot ``least_squares``: Optimistix's solvers, a step at a time, so that they can be stored and gone on from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

__all__ = ["least_squares"]


def least_squares(
    rows: Callable[..., Any], parameters: Mapping[str, Any], constants: Mapping[str, Any], optimiser: Any
) -> Any:
    """A trainer by an ``optimistix`` least-squares solver, or by its Levenberg–Marquardt for the name "optimistix"."""
    if isinstance(optimiser, str):
        if optimiser != "optimistix":
            return None
        try:
            import optimistix
        except ImportError as missing:
            raise ImportError("optimizer='optimistix' needs it: pip install optimistix, or use 'lm'") from missing
        optimiser = optimistix.LevenbergMarquardt(rtol=1e-12, atol=1e-15)
    elif type(optimiser).__module__.partition(".")[0] != "optimistix":
        return None
    return _Trainer(rows, parameters, constants, optimiser)


class _Trainer:
    """See :class:`ntaylor.dispatch.Trainer`."""

    def __init__(self, rows: Any, parameters: Any, constants: Any, solver: Any):
        import equinox as eqx
        import optimistix

        if not isinstance(solver, optimistix.AbstractLeastSquaresSolver):
            raise TypeError(
                f"on JAX least squares take an Optimistix least-squares solver, got {type(solver).__name__}"
            )

        def function(y: Any, args: Any) -> tuple[Any, Any]:
            return rows(y, args), None

        self._constants = dict(constants)
        self._y = {name: jnp.array(p) for name, p in parameters.items()}
        shape = jax.eval_shape(lambda y, args: rows(y, args), self._y, self._constants)
        whole = solver.init(function, self._y, self._constants, {}, shape, None, frozenset())
        self._state, static = eqx.partition(whole, eqx.is_array)

        def step(y: Any, state: Any, args: Any) -> Any:
            before = rows(y, args)
            y, new, _ = solver.step(function, y, args, {}, eqx.combine(state, static), frozenset())
            return y, eqx.filter(new, eqx.is_array), before @ before

        self._step = jax.jit(step)

    def replace_constants(self, constants: Any) -> None:
        self._constants = dict(constants)

    def step(self) -> Any:
        self._y, self._state, value = self._step(self._y, self._state, self._constants)
        return value, {}

    def parameters(self) -> dict[str, Any]:
        return dict(self._y)

    def state(self) -> dict[str, Any]:
        found = {f"parameter.{name}": np.array(p) for name, p in self._y.items()}
        return found | {f"solver.{i}": np.array(a) for i, a in enumerate(jax.tree.leaves(self._state))}

    def load(self, state: Mapping[str, Any]) -> None:
        self._y = {name: jnp.array(state[f"parameter.{name}"], p.dtype) for name, p in self._y.items()}
        leaves, structure = jax.tree.flatten(self._state)
        made = [jnp.array(state[f"solver.{i}"], a.dtype) for i, a in enumerate(leaves)]
        self._state = jax.tree.unflatten(structure, made)
