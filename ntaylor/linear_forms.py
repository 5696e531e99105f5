"""Integer vectors, the powers of their linear forms, and exact weights on them.

Floor 1: knows nothing of arrays. A direction v stands for (v·ξ)^m; a sum Σ_r ω_r (v_r·ξ)^m is expanded into monomials,
and weights that give a wanted polynomial are found by elimination, exactly. Equation numbers refer to
``docs/theory.md``.
"""

from __future__ import annotations

import math
import operator
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction

from ntaylor.partitions import multinomial

__all__ = ["Direction", "Monomial", "Terms", "Weights", "expand", "is_identity", "primitive", "solved_on"]

Monomial = tuple[int, ...]
"""Sorted coordinate indices with repetition: (0, 0, 1) is ξ_0² ξ_1, () is 1."""

Direction = tuple[tuple[int, int], ...]
"""An integer vector as sorted pairs (coordinate, non-zero entry): no common divisor, first entry positive."""

Terms = tuple[tuple[Monomial, Fraction], ...]
Weights = dict[Direction, Fraction]

_MERSENNE = (127, 521, 2203, 9689)
"""2^e − 1 is prime for these e: the moduli of elimination, the next where weights do not fit."""


def expand(terms: Iterable[tuple[Direction, Fraction]], m: int) -> dict[Monomial, Fraction]:
    """The coefficients of Σ ω (v·ξ)^m, zeros dropped, by the multinomial theorem (9.2).

    Directions with the same coordinates are summed in integers, over their common denominator.
    """
    groups: dict[Monomial, list[tuple[tuple[int, ...], Fraction]]] = defaultdict(list)
    for v, weight in terms:
        groups[tuple(i for i, _ in v)].append((tuple(entry for _, entry in v), weight))
    result: dict[Monomial, Fraction] = {}
    for support, members in groups.items():
        if len(support) <= 1:
            for entries, weight in members:
                key, c = support * m, math.prod(entries) ** m
                value = weight if c == 1 else weight * c
                result[key] = result[key] + value if key in result else value
            continue
        common = math.lcm(*(weight.denominator for _, weight in members))
        whole = [weight.numerator * (common // weight.denominator) for _, weight in members]
        for monomial, total in _moments(support, [v for v, _ in members], whole, m):
            if total:
                alpha = tuple(Counter(monomial).values())
                value = Fraction(total * multinomial(alpha), common)
                result[monomial] = result[monomial] + value if monomial in result else value
    return {monomial: c for monomial, c in result.items() if c}


def _moments(
    support: Monomial, vectors: Sequence[tuple[int, ...]], weights: list[int], m: int
) -> Iterator[tuple[Monomial, int]]:
    """Σ weight · v^α for all |α| = m, as monomials of ``support``; what exponents share is multiplied once."""
    columns = list(zip(*vectors, strict=True))
    last = len(support) - 1

    def descend(place: int, left: int, begun: Monomial, values: list[int]) -> Iterator[tuple[Monomial, int]]:
        column, i = columns[place], support[place]
        if place == last or left == 0:
            powers = values if left == 0 else [value * entry**left for value, entry in zip(values, column, strict=True)]
            yield begun + (i,) * left, sum(powers)
            return
        for e in range(left + 1):
            yield from descend(place + 1, left - e, begun + (i,) * e, values)
            values = list(map(operator.mul, values, column))

    return descend(0, m, (), weights)


def is_identity(weights: Weights, terms: Iterable[tuple[Monomial, Fraction]], m: int) -> bool:
    """Whether Σ ω (v·ξ)^m has exactly these coefficients."""
    return expand(weights.items(), m) == dict(terms)


def primitive(entries: Sequence[tuple[int, int]]) -> tuple[Direction, int]:
    """A non-zero vector as c times a direction; the pairs are sorted."""
    entries = [(i, entry) for i, entry in entries if entry]
    c = math.gcd(*(entry for _, entry in entries))
    c = -c if entries[0][1] < 0 else c
    return tuple((i, entry // c) for i, entry in entries), c


def solved_on(directions: Sequence[Direction], targets: Sequence[Terms], m: int) -> list[Weights] | None:
    """Weights of each target on the first independent ones of ``directions``; ``None`` if there are none.

    Elimination modulo a prime and rational reconstruction; what is returned is expanded and
    compared, so a prime too small, or unlucky, is found out and the next is taken.
    """
    columns: list[dict[Monomial, Fraction]] = [expand([(v, Fraction(1))], m) for v in directions]
    monomials = sorted({monomial for column in columns for monomial in column})
    place = {monomial: row for row, monomial in enumerate(monomials)}
    if any(monomial not in place for target in targets for monomial, _ in target):
        return None
    width = len(columns)
    for exponent in _MERSENNE:
        prime = 2**exponent - 1
        if any(c.denominator % prime == 0 for target in targets for _, c in target):
            continue
        rows = [[0] * (width + len(targets)) for _ in monomials]
        for at, column in enumerate(columns):
            for monomial, c in column.items():
                rows[place[monomial]][at] = c.numerator % prime
        for at, target in enumerate(targets, width):
            for monomial, c in target:
                rows[place[monomial]][at] = c.numerator * pow(c.denominator, -1, prime) % prime
        pivots = _eliminate(rows, width, prime)
        if any(value for row in rows[len(pivots) :] for value in row[width:]):
            return None
        result: list[Weights] = []
        for at, target in enumerate(targets, width):
            weights: Weights = {}
            for row, pivot in enumerate(pivots):
                fraction = _reconstructed(rows[row][at], prime)
                if fraction:
                    weights[directions[pivot]] = fraction
            if not is_identity(weights, target, m):
                break
            result.append(weights)
        else:
            return result
    return None


def _eliminate(rows: list[list[int]], width: int, prime: int) -> list[int]:
    """Reduces ``rows`` modulo ``prime`` in place; the independent ones of the first ``width`` columns."""
    pivots: list[int] = []
    for at in range(width):
        top = len(pivots)
        found = next((row for row in range(top, len(rows)) if rows[row][at]), None)
        if found is None:
            continue
        rows[top], rows[found] = rows[found], rows[top]
        inverse = pow(rows[top][at], -1, prime)
        pivot = [value * inverse % prime for value in rows[top]]
        rows[top] = pivot
        used = [column for column in range(at, len(pivot)) if pivot[column]]
        for number, row in enumerate(rows):
            factor = row[at]
            if factor and number != top:
                for column in used:
                    row[column] = (row[column] - factor * pivot[column]) % prime
        pivots.append(at)
    return pivots


def _reconstructed(residue: int, prime: int) -> Fraction:
    """The fraction a/b ≡ residue with |a|, b < √(prime/2), if there is one, by Euclid's algorithm."""
    bound = math.isqrt(prime // 2)
    r0, r1, b0, b1 = prime, residue, 0, 1
    while r1 > bound:
        q = r0 // r1
        r0, r1, b0, b1 = r1, r0 - q * r1, b1, b0 - q * b1
    return Fraction(r1, b1)
