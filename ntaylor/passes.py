"""Sums of directional derivatives of several orders as one pass: a fan of directions, and what is made of its results.

Floor 7: knows directions and weights, not which operator they are of, nor how a fan is pushed. A direction goes to the
highest order that is wanted of it, and no further; where a top coefficient is wanted in one sum only, it is carried as
that sum.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import Any, NamedTuple

import numpy

from ntaylor.directions import Rows
from ntaylor.fans import Fan, size
from ntaylor.linear_forms import Direction

__all__ = ["Pass", "Wanted", "one_pass"]


class Wanted(NamedTuple):
    """Σ_r ω_r D_{v_r}^degree f, of derivatives; of degree 0 and one direction (), ω f itself."""

    result: int
    """Those with the same number are added."""
    degree: int
    weights: tuple[tuple[Direction, Fraction], ...]


class Pass:
    """Directions, how far each goes, and every result as a sum of numbers times coefficients."""

    def __init__(self, vectors: Sequence[Direction], fan: Fan, results: Sequence[dict[int, float]], dimension: int):
        self.fan = fan
        matrix = numpy.zeros((len(vectors), dimension))
        for row, vector in zip(matrix, vectors, strict=True):
            for i, entry in vector:
                row[i] = entry
        self.directions = Rows(matrix)
        """As many as the fan has."""
        self.results = tuple(tuple(terms.items()) for terms in results)
        """(place, number) of each term; k! is in the number."""

    @property
    def size(self) -> int:
        """Arrays like f(x) that are carried."""
        return size(self.fan)

    def combined(self, coefficients: Sequence[Any]) -> list[Any]:
        """Every result; None where all its coefficients are structural zeros."""
        found = []
        for terms in self.results:
            total: Any = None
            for place, number in terms:
                c = coefficients[place]
                if c is not None:
                    term = c if number == 1 else c * number
                    total = term if total is None else total + term
            found.append(total)
        return found


def one_pass(wanted: Sequence[Wanted], results: int, dimension: int, collapse: bool) -> Pass:
    """The pass that gives so many results; without ``collapse`` every direction keeps its own top coefficient."""
    order_of: dict[Direction, int] = {}
    users: dict[Direction, list[int]] = {}
    for i, (_, degree, weights) in enumerate(wanted):
        for v, _ in weights:
            if degree > order_of.get(v, 0):
                order_of[v], users[v] = degree, []
            if degree and degree == order_of[v]:
                users[v].append(i)
    vectors = sorted(order_of, key=lambda v: (-order_of[v], v))
    joined: dict[Direction, tuple[Direction, Fraction]] = {}
    if collapse:
        for i, (_, degree, weights) in enumerate(wanted):
            alone = [(v, w) for v, w in weights if degree > 1 and order_of[v] == degree and users[v] == [i]]
            joined |= {v: (alone[0][0], w / alone[0][1]) for v, w in alone[1:]}
    number = {v: r for r, v in enumerate(vectors)}
    carried = tuple((number[joined[v][0]], float(joined[v][1])) if v in joined else None for v in vectors)
    fan = Fan(tuple(order_of[v] for v in vectors), carried)
    place, at = {}, 1
    for v in vectors:
        for k in range(1, order_of[v] + (v not in joined)):
            place[v, k] = at
            at += 1
    found: list[dict[int, Fraction]] = [{} for _ in range(results)]
    for result, degree, weights in wanted:
        terms = found[result]
        for v, w in weights:
            if not degree:
                terms[0] = terms.get(0, Fraction(0)) + w
            elif (v, degree) in place:  # else the direction that it has joined counts for both
                here = place[v, degree]
                terms[here] = terms.get(here, Fraction(0)) + w * math.factorial(degree)
    return Pass(vectors, fan, [{at: float(w) for at, w in terms.items() if w} for terms in found], dimension)
