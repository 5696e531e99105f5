"""Derivatives by nested ``jax.vjp``: what ``nt.check`` compares with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

__all__ = ["nested"]

Array = Any


def nested(f: Callable[[Array], Array], x: Array, order: int, direction: Array) -> Array:
    """Derivatives (order+1, \\*f(x).shape) of t ↦ f(x + t·direction) at t = 0; the cost is exponential in the order."""
    functions: list[Callable[[Array], Array]] = [lambda t: f(x + t * direction)]
    for _ in range(order):
        functions.append(_derivative(functions[-1]))
    at = jnp.zeros((), x.dtype)
    return jnp.stack([function(at) for function in functions])


def _derivative(function: Callable[[Array], Array]) -> Callable[[Array], Array]:
    """du/dt of every entry of u: the pullback c ↦ Σ c du/dt is linear, and its own pullback of 1 is du/dt."""

    def slope(t: Array) -> Array:
        u, pull = jax.vjp(function, t)
        _, pull_again = jax.vjp(lambda c: pull(c)[0], jnp.zeros_like(u))
        return pull_again(jnp.ones_like(t))[0]

    return slope
