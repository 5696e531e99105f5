"""The root of a Gram matrix on JAX's arrays, with the derivative (10.4) of ``docs/theory.md``."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from ntaylor.linalg_transposes import root_of_gram

__all__ = ["gram_root"]

Array = Any


@jax.custom_jvp
def gram_root(a: Array) -> Array:
    """T (h, h) with TᵀT = aᵀa for a (R, h)."""
    return root_of_gram(jnp, a)


@gram_root.defjvp
def _gram_root_jvp(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    (a,), (da,) = primals, tangents
    root = gram_root(a)
    return root, jnp.linalg.solve(root.T, a.T @ da)
