"""JAX's primitives of linear algebra in the words of the jets' rule table.

What the table has under another name is called by that name; systems whose matrix has a shape that JAX solves with
faster are solved by equation (8.1) all the same, with JAX's own solver for the primal.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax.numpy as jnp

from ntaylor.array_object import apply
from ntaylor.bundles import through
from ntaylor.linalg_rules import solved
from ntaylor.namespace import MissingRule
from ntaylor.series import Series, add, as_series, mapped

__all__ = ["MATRICES", "SOLUTIONS"]

Array = Any


def _adjoint(a: Any) -> Any:
    return apply("matrix_transpose", (apply("conj", (a,), {}),), {})


def _hermitian(a: Any, lower: bool = True) -> Any:
    """The matrix of which the primitive reads one triangle: the table's functions, which are jnp's, read both."""
    a = a if lower else _adjoint(a)
    below = apply("tril", (a,), {"k": -1})
    return apply("tril", (a,), {}) + _adjoint(below)


def _cholesky(a: Any) -> Any:
    return apply("linalg.cholesky", (_hermitian(a),), {})


def _eigh(a: Any, *, lower: bool, subset_by_index: Any, **_: Any) -> Sequence[Any]:
    if subset_by_index not in (None, (0, a.shape[-1])):
        raise MissingRule("no rule for eigh(subset_by_index=…): take all eigenvalues, and then some of them")
    values, vectors = apply("linalg.eigh", (_hermitian(a, lower),), {})
    return vectors, values


def _qr(a: Any, *, full_matrices: bool, pivoting: bool, **_: Any) -> Sequence[Any]:
    if pivoting:
        raise MissingRule("no rule for qr(pivoting=True): permute the columns first, and leave pivoting out")
    square = a.shape[-2] == a.shape[-1]
    q, r = apply("linalg.qr", (a,), {"mode": "complete" if full_matrices and not square else "reduced"})
    return q, r


MATRICES: dict[str, Callable[..., Any]] = {"cholesky": _cholesky, "eigh": _eigh, "qr": _qr}
"""Primitive → what it is in the table."""


def _triangular(primitive: Any) -> Callable[..., Series]:
    def rule(xp: Any, order: int, a: Any, b: Any, **params: Any) -> Series:
        a, b = as_series(a), as_series(b)
        off = 1 if params["unit_diagonal"] else 0

        def part(c: Array) -> Array:
            """What of a coefficient of A the primitive reads; the unit diagonal is constant."""
            c = xp.tril(c, k=-off) if params["lower"] else xp.triu(c, k=off)
            c = xp.matrix_transpose(c) if params["transpose_a"] else c
            return xp.conj(c) if params["conjugate_a"] else c

        def product(m: Array, v: Array) -> Array:
            return m @ v if params["left_side"] else v @ m

        bound = partial(primitive.bind, **params)
        return solved(lambda rest: through(bound, (a[0], rest)), product, mapped(part, a), b)

    return rule


def _tridiagonal(primitive: Any) -> Callable[..., Series]:
    def rule(xp: Any, order: int, below: Any, diagonal: Any, above: Any, b: Any, **params: Any) -> Series:
        bands = [as_series(band) for band in (below, diagonal, above)]
        first = tuple(band[0] for band in bands)

        def coefficient(k: int) -> Any:
            found = tuple(band[k] for band in bands)
            return None if all(c is None for c in found) else found

        def product(bands: Sequence[Array | None], v: Array) -> Array:
            # Row i has below[i] in column i − 1 and above[i] in column i + 1; the ends are not read.
            total = None
            for band, shift in zip(bands, (1, 0, -1), strict=True):
                if band is not None:
                    moved = jnp.roll(v, shift, axis=-2)
                    if shift:
                        moved = moved.at[..., 0 if shift == 1 else -1, :].set(0)
                    total = add(total, band[..., None] * moved)
            return total

        bound = partial(primitive.bind, **params)
        return solved(
            lambda rest: through(bound, (*first, rest)),
            lambda bands, v: through(product, (bands, v)),
            Series((), coefficient),
            as_series(b),
        )

    return rule


SOLUTIONS: dict[str, Callable[[Any], Callable[..., Series]]] = {
    "triangular_solve": _triangular,
    "tridiagonal_solve": _tridiagonal,
}
"""Primitive → its rule in the table, made of the primitive."""
