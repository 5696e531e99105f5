"""Faà di Bruno's formula in derivative space: n-TangentProp as published.

Floor 1. Everything here holds derivatives u^(k), not Taylor coefficients, and sums over integer
partitions as in Chickering, "A Quasilinear Algorithm for Computing Higher-Order Derivatives of Deep
Feed-Forward Neural Networks" (arXiv 2412.09752). It shares nothing with ``series.py``, so the two
check each other. Equation numbers refer to ``docs/theory.md``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from ntaylor.partitions import derivative_polynomials, faa_di_bruno_terms

__all__ = ["compose", "ntangentprop", "tower"]

Derivatives = list[Any]
"""[u, u′, …, u^(n)], anything that adds and multiplies."""


def _factor(coefficient: int, like: Any) -> Any:
    """``coefficient`` for a product with ``like``: exact, but for arrays, whose integers end at 2^63, as a float."""
    return float(coefficient) if hasattr(like, "dtype") else coefficient


def compose(outer: Sequence[Any], inner: Sequence[Any]) -> Derivatives:
    """Derivatives 0..n of f(u(t)) from f^(m)(u) (``outer``) and u^(m) (``inner``), equation (5.1).

    Both sequences must be equally long, n + 1 >= 1; ValueError otherwise.
    """
    if len(outer) != len(inner) or not outer:
        raise ValueError(
            f"outer has {len(outer)} derivatives and inner {len(inner)}; pass equally many, at least the values"
        )
    powers: dict[tuple[int, int], Any] = {}

    def power(j: int, p: int) -> Any:
        if (j, p) not in powers:
            powers[j, p] = inner[j] if p == 1 else power(j, p - 1) * inner[j]
        return powers[j, p]

    result = [outer[0]]
    for m in range(1, len(inner)):
        total = None
        for coefficient, outer_order, parts in faa_di_bruno_terms(m):
            product = outer[outer_order]
            for j, p in parts:
                product = product * power(j, p)
            term = product if coefficient == 1 else product * _factor(coefficient, product)
            total = term if total is None else total + term
        result.append(total)
    return result


def tower(value: Any, slope: tuple[int, ...], order: int) -> Derivatives:
    """f^(m)(u) for m = 0..order of an f with f′ = g(f), from v = f(u) and g's coefficients, (5.3).

    Exact where ``value`` is. In floating point the polynomials cancel where their values are small against
    their terms: of tanh at u = 5 some eight digits are left at order 12. The recurrences have no such loss.
    """
    result = []
    for polynomial in derivative_polynomials(slope, order):
        total = value * 0
        for coefficient in reversed(polynomial):  # Horner's scheme
            total = total * value + _factor(coefficient, value)
        result.append(total)
    return result


def ntangentprop(
    layers: Iterable[tuple[Any, Any]],
    towers: Callable[[Any, int], Sequence[Any]],
    x: Any,
    direction: Any,
    order: int,
) -> Derivatives:
    """Derivatives 0..order along ``direction`` of a dense network, by the published algorithm.

    ``layers`` are pairs (W, b) applied as x @ W + b, with ``towers(u, order)`` giving the activation's
    derivatives 0..order at u between them; ``b`` may be None. x is (batch, d).
    """
    pairs = list(layers)
    derivatives: Derivatives = [x, direction + x * 0.0] + [x * 0.0] * (order - 1)
    derivatives = derivatives[: order + 1]
    for index, (weight, bias) in enumerate(pairs):
        derivatives = [u @ weight for u in derivatives]
        if bias is not None:
            derivatives[0] = derivatives[0] + bias
        if index + 1 < len(pairs):
            derivatives = compose(towers(derivatives[0], order), derivatives)
    return derivatives
