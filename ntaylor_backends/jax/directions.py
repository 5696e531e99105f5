"""Sums over directions, and what directions share, where XLA on a CPU is slow by itself.

Its reduction of a leading axis takes many times as long as the arrays' reading; a product with ones does not. Reverse
mode makes such reductions too: of every factor that all directions share.
"""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp

__all__ = ["spread", "total"]

Array = Any


def total(stack: Array) -> Array:
    """Σ_r stack_r."""
    return jnp.tensordot(jnp.ones(stack.shape[0], stack.dtype), stack, axes=1, precision="highest")


def spread(array: Array, size: int) -> Array:
    """The array ``size`` times, in front of its axes."""
    return _spread(size, array)


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def _spread(size: int, array: Array) -> Array:
    return jnp.broadcast_to(array, (size, *array.shape))


@_spread.defjvp
def _tangent(size: int, primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    # A matrix product, for its transpose is one.
    (array,), (tangent,) = primals, tangents
    ones = jnp.ones((size, 1), tangent.dtype)
    copies = jnp.matmul(ones, jnp.reshape(tangent, (1, -1)), precision="highest")
    return _spread(size, array), jnp.reshape(copies, (size, *tangent.shape))
