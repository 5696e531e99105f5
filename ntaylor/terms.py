"""The terms of a linear differential operator: what they are, and the product rule for composing them.

Floor 8: exact rational coefficients, functions of x that derivatives meet, and nothing of how a term is computed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import Any, NamedTuple

import numpy

from ntaylor.directions import Directions, Fields, Rows
from ntaylor.linear_forms import Monomial
from ntaylor.namespace import array_namespace, describe, is_array

__all__ = ["Factor", "Form", "Term", "Terms", "composed", "expanded", "monomials", "written"]

Array = Any


class Factor(NamedTuple):
    """∂^monomial of a function of x: what an operator multiplies by."""

    function: Callable[[Any], Any]
    monomial: Monomial = ()


class Form:
    """Σ_ij C_ij ∂_i ∂_j as it came: C is a symmetric matrix (d, d), or a function x ↦ (\\*batch, d, d), positive."""

    def __init__(self, matrix: Any):
        self.matrix = matrix
        self.rows: Any = None
        self.signs: list[float] = []
        if not callable(matrix):
            values, vectors = numpy.linalg.eigh(matrix)
            kept = numpy.abs(values) > 1e-14 * numpy.abs(values).max(initial=0.0)
            self.rows = numpy.ascontiguousarray((vectors * numpy.sqrt(numpy.abs(values))).T[kept])
            self.signs = [float(s) for s in numpy.sign(values[kept])]

    def count(self, dimension: int) -> int:
        """R, the rank of a constant C."""
        return dimension if self.varies else len(self.signs)

    @property
    def varies(self) -> bool:
        """Whether it is a function of x."""
        return callable(self.matrix)

    def directions(self, x: Array) -> tuple[Directions, list[float]]:
        """v_r and ω_r = ±1 with C = Σ_r ω_r v_r v_rᵀ: of the eigenvectors, or at each point of the Cholesky factor."""
        if not self.varies:
            return Rows(self.rows), self.signs
        d, matrix = int(x.shape[-1]), self.values(x)
        xp = array_namespace(matrix)  # of a variable, where it is trained
        factor = xp.moveaxis(xp.linalg.cholesky(matrix), -1, 0)
        if factor.ndim == 2:  # the same at all points
            factor = xp.reshape(factor, (d, *(1,) * (x.ndim - 1), d))
        return Fields(factor), [1.0] * d

    def values(self, x: Array) -> Array:
        """C(x), checked: where it varies."""
        matrix, d = self.matrix(x), int(x.shape[-1])
        if not is_array(matrix) or tuple(matrix.shape[-2:]) != (d, d):
            raise ValueError(
                f"the matrix of weighted_laplacian at points of shape {tuple(x.shape)} must be an array "
                f"{(*x.shape[:-1], d, d)}; the function returned {_what(matrix)}"
            )
        return matrix


class Term(NamedTuple):
    """factors · Δ^laplacians form ∂^monomial."""

    monomial: Monomial = ()
    laplacians: int = 0
    form: Form | None = None
    factors: tuple[Factor, ...] = ()


Terms = Mapping[Term, Fraction]


def monomials(term: Term) -> list[tuple[int, ...]]:
    """Every index set that derivatives are taken by: of f, and of the term's factors."""
    return [term.monomial, *(factor.monomial for factor in term.factors)]


def written(item: tuple[Term, Fraction]) -> str:
    """A term and its coefficient as a user would type them."""
    term, number = item
    parts = [] if number == 1 else [str(number)]
    for factor in term.factors:
        name = getattr(factor.function, "__name__", type(factor.function).__name__)
        parts.append(f"∂{''.join(map(str, factor.monomial))} {name}" if factor.monomial else name)
    if term.laplacians:
        parts.append("Δ" if term.laplacians == 1 else f"Δ^{term.laplacians}")
    if term.form is not None:
        parts.append("Σ C_ij ∂_i ∂_j")
    if term.monomial:
        parts.append(f"D({', '.join(map(str, term.monomial))})")
    return " * ".join(parts) or "1"


def composed(left: Term, right: Term, dimension: int | None) -> dict[Term, Fraction]:
    """left(right u), by the product rule where right has functions of x."""
    if left.form is None and right.form is None and not right.factors:
        monomial = tuple(sorted((*left.monomial, *right.monomial)))
        return {Term(monomial, left.laplacians + right.laplacians, None, left.factors): Fraction(1)}
    if left == Term(factors=left.factors):
        return {right._replace(factors=(*left.factors, *right.factors)): Fraction(1)}
    if right == Term() or (left.form is None and right == Term(form=right.form) and left == Term()):
        return {left: Fraction(1)}
    result: dict[Term, Fraction] = {}
    for order, times in expanded(left, dimension).items():
        derived = {right: Fraction(1)}
        for i in order:
            derived = _derived(derived, i, dimension)
        for term, number in derived.items():
            key = term._replace(factors=(*left.factors, *term.factors))
            result[key] = result.get(key, Fraction(0)) + times * number
    return result


def expanded(term: Term, dimension: int | None) -> dict[tuple[int, ...], Fraction]:
    """A term without its factors as a sum of products of single derivatives."""
    result = {term.monomial: Fraction(1)}
    if term.laplacians or term.form is not None:
        if term.form is not None and term.form.varies:
            raise ValueError(
                "a form with a matrix that is a function of x was differentiated or composed: write it out, as the "
                "sum of c_ij * D(i, j) with functions c_ij"
            )
        if dimension is None:
            raise ValueError(
                "the product rule for a Laplacian of a function of x needs the number of coordinates: make it with "
                "laplacian(dimension)"
            )
        one = {(i, i): Fraction(1) for i in range(dimension)}
        if term.form is not None:
            matrix = term.form.matrix
            one = {(i, j): Fraction(float(matrix[i, j])) for i in range(dimension) for j in range(dimension)}
        for _ in range(term.laplacians or 1):
            longer: dict[tuple[int, ...], Fraction] = {}
            for monomial, number in result.items():
                for pair, times in one.items():
                    key = tuple(sorted((*monomial, *pair)))
                    longer[key] = longer.get(key, Fraction(0)) + number * times
            result = longer
    return result


def _derived(terms: Mapping[Term, Fraction], i: int, dimension: int | None) -> dict[Term, Fraction]:
    """∂_i of terms."""
    result: dict[Term, Fraction] = {}
    for term, number in terms.items():
        if term.form is not None:
            written = {
                Term(m, 0, None, term.factors): number * c
                for m, c in expanded(term._replace(factors=()), dimension).items()
            }
            for key, c in _derived(written, i, dimension).items():
                result[key] = result.get(key, Fraction(0)) + c
            continue
        keys = [term._replace(monomial=tuple(sorted((*term.monomial, i))))]
        for place, factor in enumerate(term.factors):
            derived = factor._replace(monomial=tuple(sorted((*factor.monomial, i))))
            keys.append(term._replace(factors=(*term.factors[:place], derived, *term.factors[place + 1 :])))
        for key in keys:
            result[key] = result.get(key, Fraction(0)) + number
    return result


def _what(value: Any) -> str:
    return describe(value) if is_array(value) else repr(value)
