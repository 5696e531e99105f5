"""Random directions from a JAX key."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from ntaylor.directions import Draws
from ntaylor.namespace import describe

__all__ = ["JaxDraws"]

Array = Any


class JaxDraws(Draws):
    """Each draw splits the key it has."""

    def __init__(self, rng: Any):
        typed = hasattr(rng, "dtype") and jnp.issubdtype(rng.dtype, jax.dtypes.prng_key)
        if not typed and not (getattr(rng, "shape", None) == (2,) and rng.dtype == jnp.uint32):
            raise TypeError(f"rng takes a key, such as jax.random.key(0); got {describe(rng)}")
        super().__init__(rng)

    def _next(self) -> Array:
        self.rng, key = jax.random.split(self.rng)
        return key

    def choose(self, n: int, count: int, like: Array) -> Array:
        if count * 16 > n:
            return jax.random.choice(self._next(), n, (count,), replace=False)
        # Few of many, without a permutation of all: Floyd's algorithm (Bentley & Floyd 1987, Comm. ACM 30).
        bounds = jnp.arange(n - count + 1, n + 1)
        drawn = jax.random.randint(self._next(), (count,), 0, bounds)

        def enter(i: Array, chosen: Array) -> Array:
            is_new = jnp.all(chosen != drawn[i])
            return chosen.at[i].set(jnp.where(is_new, drawn[i], bounds[i] - 1))

        return jax.lax.fori_loop(0, count, enter, jnp.full((count,), -1, drawn.dtype))

    def uniform(self, shape: tuple[int, ...], like: Array) -> Array:
        return jax.random.uniform(self._next(), shape, like.dtype)

    def normal(self, shape: tuple[int, ...], like: Array) -> Array:
        return jax.random.normal(self._next(), shape, like.dtype)

    def signs(self, shape: tuple[int, ...], like: Array) -> Array:
        return jax.random.rademacher(self._next(), shape, like.dtype)
