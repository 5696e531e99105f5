"""The root of a Gram matrix on JAX's arrays, with the derivative (10.4) of ``docs/theory.md``."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

__all__ = ["gram_root"]

Array = Any


@jax.custom_jvp
def gram_root(a: Array) -> Array:
    """T (h, h) with TᵀT = aᵀa for a (R, h), R > h; to any order of derivatives by a."""
    return jnp.linalg.qr(a, mode="r")


@gram_root.defjvp
def _gram_root_jvp(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    (a,), (da,) = primals, tangents
    return gram_root(a), _orthonormal(a, gram_root(a)).T @ da


@jax.custom_jvp
def _orthonormal(a: Array, root: Array) -> Array:
    """q with q @ root = a. Of the factorisation, which is exact where root is singular."""
    return jnp.linalg.qr(a)[0]


@_orthonormal.defjvp
def _orthonormal_jvp(primals: tuple[Array, Array], tangents: tuple[Array, Array]) -> tuple[Array, Array]:
    (a, root), (da, droot) = primals, tangents
    q = _orthonormal(a, root)
    # Not as a triangle: what root becomes as a moves is none.
    return q, jnp.linalg.solve(root.T, (da - q @ droot).T).T
