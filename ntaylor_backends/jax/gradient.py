"""``nt.value_and_grad`` on JAX: its own reverse mode, with the errors of the core's."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from ntaylor.gradients import check_loss, check_parameter, loss_and_auxiliary, map_leaves

__all__ = ["jacobian", "value_and_grad", "vjp"]


def value_and_grad(loss: Callable[[Any], Any], parameters: Any) -> tuple[Any, Any]:
    """The value, or (value, auxiliary), and the gradient shaped as ``parameters``: as the core's, errors included."""
    map_leaves(check_parameter, parameters)
    has_auxiliary = False

    def scalar(parameters: Any) -> tuple[Any, tuple[Any, Any]]:
        nonlocal has_auxiliary
        result = loss(parameters)
        has_auxiliary = isinstance(result, tuple)
        value, auxiliary = loss_and_auxiliary(result)
        # A value that no transformation follows depends on nothing.
        check_loss(value, isinstance(value, jax.core.Tracer))
        return jnp.reshape(value, ()), (value, auxiliary)

    (_, (value, auxiliary)), gradient = jax.value_and_grad(scalar, has_aux=True)(parameters)
    return ((value, auxiliary) if has_auxiliary else value), gradient


def vjp(function: Callable[[list[Any]], Sequence[Any]], arrays: Sequence[Any]) -> tuple[list[Any], Callable[..., Any]]:
    """The slot ``vjp``."""
    outputs, pull = jax.vjp(lambda given: [jnp.asarray(o) for o in function(list(given))], list(arrays))

    def pullback(cotangents: Sequence[Any]) -> Sequence[Any]:
        full = [jnp.zeros_like(o) if c is None else c for o, c in zip(outputs, cotangents, strict=True)]
        return pull(full)[0]  # type: ignore[no-any-return]

    return outputs, pullback


def jacobian(function: Callable[[Any], Any], parameters: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
    """The slot ``jacobian``."""
    rows, pull = jax.vjp(function, dict(parameters))
    (found,) = jax.vmap(pull)(jnp.eye(rows.shape[0], dtype=rows.dtype))
    return rows, found
