"""Integer partitions and the tables built from them, in exact integers.

Floor 0: knows nothing of arrays. Everything here is a pure function of small integers, cached for
the life of the process, immutable, and checked against an independent identity when it is built.
Equation numbers refer to ``docs/theory.md``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

__all__ = [
    "Term",
    "bell_number",
    "bell_polynomial",
    "derivative_polynomials",
    "faa_di_bruno_terms",
    "multi_indices",
    "multinomial",
    "partitions",
]


class Term(NamedTuple):
    """One partition's share of a Faà di Bruno sum, equation (5.1)."""

    coefficient: int
    """m! / ∏_j (p_j! (j!)^{p_j})."""
    outer_order: int
    """|p| = Σ_j p_j, the order of the outer function's derivative."""
    powers: tuple[tuple[int, int], ...]
    """Pairs (j, p_j) with p_j > 0: the factor ∏_j (u^(j))^{p_j}."""


# By type too: 1.0 and True are equal to 1, and would be answered from its entry instead of refused.
_cached = lru_cache(maxsize=None, typed=True)


def _check_whole(name: str, value: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ValueError(f"{name} must be an integer >= 0, got {value!r}")


def partitions(m: int) -> Iterator[tuple[tuple[int, int], ...]]:
    """The integer partitions of ``m`` as pairs (part, multiplicity), largest part first.

    >>> list(partitions(3))
    [((3, 1),), ((2, 1), (1, 1)), ((1, 3),)]
    """
    _check_whole("m", m)

    def parts_up_to(total: int, largest: int) -> Iterator[tuple[tuple[int, int], ...]]:
        if total == 0:
            yield ()
            return
        for part in range(min(total, largest), 0, -1):
            for multiplicity in range(total // part, 0, -1):
                for rest in parts_up_to(total - part * multiplicity, part - 1):
                    yield ((part, multiplicity), *rest)

    return parts_up_to(m, m)


@_cached
def bell_number(m: int) -> int:
    """The number of set partitions of ``m`` elements, by the Bell triangle.

    It uses no integer partitions, so it can check the tables that do.
    """
    _check_whole("m", m)
    row = [1]
    for _ in range(m):
        following = [row[-1]]
        for value in row:
            following.append(following[-1] + value)
        row = following
    return row[0]


@_cached
def faa_di_bruno_terms(m: int) -> tuple[Term, ...]:
    """The terms of (f∘u)^(m), equation (5.1), one a partition of ``m``.

    Each coefficient counts the set partitions with that block structure, so together they must
    count all of them: the table is refused if their sum is not the Bell number.

    >>> faa_di_bruno_terms(2)
    (Term(coefficient=1, outer_order=1, powers=((2, 1),)), Term(coefficient=1, outer_order=2, powers=((1, 2),)))
    """
    _check_whole("m", m)
    terms = []
    for powers in partitions(m):
        denominator = math.prod(math.factorial(p) * math.factorial(j) ** p for j, p in powers)
        coefficient, remainder = divmod(math.factorial(m), denominator)
        if remainder:
            raise ArithmeticError(f"partition {powers} of {m} has a fractional multiplicity")
        terms.append(Term(coefficient, sum(p for _, p in powers), powers))
    if sum(term.coefficient for term in terms) != bell_number(m):
        raise ArithmeticError(f"the Faà di Bruno table of order {m} does not sum to Bell({m})")
    return tuple(terms)


@_cached
def bell_polynomial(m: int, r: int) -> tuple[Term, ...]:
    """The terms of the partial exponential Bell polynomial B_{m,r}, equation (5.2)."""
    _check_whole("m", m)
    _check_whole("r", r)
    return tuple(term for term in faa_di_bruno_terms(m) if term.outer_order == r)


@_cached
def derivative_polynomials(slope: tuple[int, ...], order: int) -> tuple[tuple[int, ...], ...]:
    """The polynomials P_m with f^(m) = P_m(f), for f′ = g(f) with a polynomial g, equation (5.3).

    ``slope`` holds the integer coefficients of g, constant first: ``(1, 0, -1)`` for tanh,
    ``(0, 1, -1)`` for the logistic sigmoid, ``(0, 1)`` for exp. From P_0(v) = v and
    P_{m+1} = P_m′ · g, so nothing of the recurrences on Taylor coefficients enters.

    >>> derivative_polynomials((1, 0, -1), 2)
    ((0, 1), (1, 0, -1), (0, -2, 0, 2))
    """
    _check_whole("order", order)
    table: list[tuple[int, ...]] = [(0, 1)]
    for _ in range(order):
        differentiated = [k * c for k, c in enumerate(table[-1])][1:]
        product = [0] * max(1, len(differentiated) + len(slope) - 1)
        for i, a in enumerate(differentiated):
            for j, b in enumerate(slope):
                product[i + j] += a * b
        while len(product) > 1 and product[-1] == 0:
            product.pop()
        table.append(tuple(product))
    return tuple(table)


def multi_indices(dimension: int, order: int) -> Iterator[tuple[int, ...]]:
    """The multi-indices α of ``dimension`` entries with |α| = ``order``, first entry largest first.

    >>> list(multi_indices(2, 2))
    [(2, 0), (1, 1), (0, 2)]
    """
    _check_whole("dimension", dimension)
    _check_whole("order", order)

    def indices(dimension: int, order: int) -> Iterator[tuple[int, ...]]:
        if dimension == 0:
            if order == 0:
                yield ()
            return
        for first in range(order, -1, -1) if dimension > 1 else (order,):
            for rest in indices(dimension - 1, order - first):
                yield (first, *rest)

    return indices(dimension, order)


def multinomial(alpha: tuple[int, ...]) -> int:
    """|α|! / ∏ α_i!."""
    for entry in alpha:
        _check_whole("every entry of alpha", entry)
    return math.factorial(sum(alpha)) // math.prod(map(math.factorial, alpha))
