"""Families of directions to differentiate along: coordinates, given vectors, and draws from an explicit generator.

Floor 2: knows nothing of what is differentiated. A family is never made into vectors where that is not needed: the
product of coordinate directions with a weight is rows of that weight.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy

from ntaylor.dispatch import adapter_for
from ntaylor.linear_forms import Direction
from ntaylor.namespace import array_namespace, describe, device, hides_values

__all__ = ["Coordinates", "Directions", "Draws", "Fields", "Itself", "Rows", "draws_for", "of_integers"]

Array = Any


class Directions:
    """R directions at a batch of points x (\\*batch, d)."""

    count: int
    """R."""
    shared = True
    """Whether all points have the same."""

    def stack(self, x: Array) -> Array:
        """The vectors, (R, \\*batch, d), the batch of ones where points share them."""
        raise NotImplementedError

    def product(self, x: Array, weight: Array) -> Array:
        """Each vector @ weight (d, h): (R, \\*batch, h)."""
        return self.stack(x) @ weight

    def inner(self, x: Array) -> Array:
        """Each vector's inner product with x: (R, \\*batch, 1)."""
        return array_namespace(x).sum(self.stack(x) * x, axis=-1, keepdims=True)

    def squares(self, x: Array) -> Array:
        """Each vector's squared length: (R, \\*batch, 1)."""
        stack = self.stack(x)
        return array_namespace(x).sum(stack * stack, axis=-1, keepdims=True)

    def part(self, start: int, stop: int) -> Directions:
        """Those from ``start`` to before ``stop``."""
        raise NotImplementedError


def _beside(rows: Array, x: Array) -> Array:
    """(R, n) as (R, 1…, n) beside the batch of x."""
    return array_namespace(rows).reshape(rows, (rows.shape[0], *(1,) * (x.ndim - 1), rows.shape[-1]))


@dataclass(frozen=True)
class Coordinates(Directions):
    """Unit vectors of the given coordinates, an integer array or a range of them."""

    indices: Any

    @property
    def count(self) -> int:  # type: ignore[override]
        """How many."""
        return len(self.indices) if isinstance(self.indices, (range, tuple)) else int(self.indices.shape[0])

    def _indices(self, x: Array) -> Array:
        if isinstance(self.indices, (range, tuple)):
            xp = array_namespace(x)
            return xp.asarray(numpy.asarray(self.indices, dtype=numpy.int64), device=device(x))
        return self.indices

    def _is_all(self, x: Array) -> bool:
        return isinstance(self.indices, range) and self.indices == range(x.shape[-1])

    def stack(self, x: Array) -> Array:
        xp = array_namespace(x)
        every = xp.arange(x.shape[-1], device=device(x))
        return _beside(xp.astype(self._indices(x)[:, None] == every[None, :], x.dtype), x)

    def product(self, x: Array, weight: Array) -> Array:
        if self._is_all(x):
            return _beside(weight, x)
        return _beside(array_namespace(weight).take(weight, self._indices(x), axis=0), x)

    def inner(self, x: Array) -> Array:
        xp = array_namespace(x)
        of_each = x if self._is_all(x) else xp.take(x, self._indices(x), axis=-1)
        return xp.moveaxis(of_each, -1, 0)[..., None]

    def squares(self, x: Array) -> Array:
        xp = array_namespace(x)
        return xp.ones((self.count, *(1,) * x.ndim), dtype=x.dtype, device=device(x))

    def part(self, start: int, stop: int) -> Directions:
        return Coordinates(self.indices[start:stop])


@dataclass(frozen=True)
class Rows(Directions):
    """The rows of a matrix (R, d)."""

    matrix: Array

    @property
    def count(self) -> int:  # type: ignore[override]
        """How many."""
        return int(self.matrix.shape[0])

    def _of(self, x: Array) -> Array:
        if isinstance(self.matrix, numpy.ndarray) and not isinstance(x, numpy.ndarray):
            return array_namespace(x).asarray(self.matrix, dtype=x.dtype, device=device(x))
        return array_namespace(x).astype(self.matrix, x.dtype)

    def stack(self, x: Array) -> Array:
        return _beside(self._of(x), x)

    def product(self, x: Array, weight: Array) -> Array:
        return _beside(self._of(x) @ weight, x)

    def part(self, start: int, stop: int) -> Directions:
        return Rows(self.matrix[start:stop, :])


@dataclass(frozen=True)
class Fields(Directions):
    """Vectors of each point's own, (R, \\*batch, d)."""

    vectors: Array
    shared = False

    @property
    def count(self) -> int:  # type: ignore[override]
        """How many a point."""
        return int(self.vectors.shape[0])

    def stack(self, x: Array) -> Array:
        return self.vectors

    def part(self, start: int, stop: int) -> Directions:
        return Fields(self.vectors[start:stop, ...])


@dataclass(frozen=True)
class Itself(Directions):
    """The point x as its own direction."""

    count = 1
    shared = False

    def stack(self, x: Array) -> Array:
        return x[None, ...]

    def product(self, x: Array, weight: Array) -> Array:
        return (x @ weight)[None, ...]

    def part(self, start: int, stop: int) -> Directions:
        return self


def of_integers(directions: Sequence[Direction], dimension: int) -> Directions:
    """The family of exact sparse directions; coordinates if all are unit vectors."""
    if all(len(v) == 1 and v[0][1] == 1 for v in directions):
        return Coordinates(tuple(v[0][0] for v in directions))
    matrix = numpy.zeros((len(directions), dimension))
    for row, v in zip(matrix, directions, strict=True):
        for i, entry in v:
            row[i] = entry
    return Rows(matrix)


# --- draws -----------------------------------------------------------------------------------------


class Draws:
    """Random numbers of one generator, on the library, device and dtype of ``like``; here NumPy's.

    An adapter whose library has generators of its own fills its slot ``draws`` with a subclass.
    """

    def __init__(self, rng: Any):
        self.rng = rng

    def choose(self, n: int, count: int, like: Array) -> Array:
        """``count`` different integers below n, every set equally probable."""
        return self._moved(self.rng.choice(n, size=count, replace=False), like)

    def uniform(self, shape: tuple[int, ...], like: Array) -> Array:
        """Numbers in [0, 1)."""
        return self._moved(self.rng.random(shape), like, like.dtype)

    def normal(self, shape: tuple[int, ...], like: Array) -> Array:
        """Standard normal numbers."""
        return self._moved(self.rng.standard_normal(shape), like, like.dtype)

    def signs(self, shape: tuple[int, ...], like: Array) -> Array:
        """−1 or 1, equally probable."""
        return self._moved(2.0 * self.rng.integers(0, 2, shape) - 1.0, like, like.dtype)

    @staticmethod
    def _moved(values: Any, like: Array, dtype: Any = None) -> Array:
        if hides_values(like):
            raise TypeError(
                "a NumPy generator draws once, when this is traced, so every call would get the same numbers: pass "
                "a generator of the library's own, such as rng=jax.random.key(0), as an argument of what is compiled"
            )
        return array_namespace(like).asarray(values, dtype=dtype, device=device(like))


def draws_for(rng: Any) -> Draws:
    """The draws of a generator, or of NumPy's with an integer seed. TypeError for anything else."""
    if isinstance(rng, (int, numpy.integer)) and not isinstance(rng, bool):
        if rng < 0:
            raise ValueError(f"an integer seed must be >= 0, got {rng}")
        rng = numpy.random.default_rng(rng)
    if isinstance(rng, numpy.random.Generator):
        return Draws(rng)
    own = adapter_for(rng).draws
    if own is None:
        raise TypeError(
            f"rng takes an integer seed or a generator: numpy.random.default_rng(0), torch.Generator(device) or "
            f"jax.random.key(0); got {describe(rng)}"
        )
    return own(rng)  # type: ignore[no-any-return]
