"""The root of a Gram matrix on JAX's arrays, with the derivative (10.4) of ``docs/theory.md``."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from ntaylor.linalg_transposes import root_of_gram

__all__ = ["gram_root"]

Array = Any


def gram_root(a: Array) -> Array:
    """T (h, h) with TᵀT = aᵀa for a (R, h)."""
    # JAX factorises no matrices of 16-bit numbers.
    return _root(a.astype(jnp.promote_types(a.dtype, jnp.float32))).astype(a.dtype)


@jax.custom_jvp
def _root(a: Array) -> Array:
    return root_of_gram(jnp, a)


@_root.defjvp
def _root_jvp(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    (a,), (da,) = primals, tangents
    root = _root(a)
    return root, jnp.linalg.solve(root.T, a.T @ da)
