"""Taylor coefficients of t ↦ f(x + t·direction) from values of f alone, each with an estimate of its error.

Floor 1: for libraries that have no autograd to compare with. Nothing of Taylor arithmetic is used; f is called on
plain arrays, complex ones on a circle (Cauchy's integral; Lyness and Moler 1967), or real ones on a line.
"""

from __future__ import annotations

import cmath
import math
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from ntaylor.namespace import array_namespace, device

__all__ = ["DIFFERENCES_ORDER", "Estimate", "by_differences", "on_circles"]

Array = Any
_STENCIL = 6
_POINTS = 128

DIFFERENCES_ORDER = 6
"""The highest that differences are asked for."""


@dataclass
class Estimate:
    """Coefficient k of f along the line, an array; how far it may be off; and how large it could have been."""

    coefficient: Array
    error: float
    bound: float
    """Cauchy's: max |f| by r^k on the circle of radius r, or by h^k on a line of step h."""

    @property
    def size(self) -> float:
        """What an error is to be compared with: the largest entry, or the bound where the entries may be all zero."""
        largest = _largest(self.coefficient)
        return largest if largest > 100 * self.error else self.bound


def on_circles(
    along: Callable[[complex], Array],
    order: int,
    scale: float,
    real: bool,
    *,
    exponents: Iterable[float] = range(-2, 11),
    points: int | None = None,
) -> list[Estimate] | None:
    """Coefficients 0..order by the trapezium rule on circles |t| = r of many radii, each from the best of them.

    ``along(t)`` is f(x + t·direction) for a complex t; ``scale`` is a length in t, ``real`` says that f is real for
    real t. The radii are scale·2^−e for e in ``exponents``, of ``points`` points each, 128 unless given or needed. On a
    circle of N points what stands at modes N/2..N−1 is noise: rounding, aliases of high modes, and negative modes,
    which a holomorphic function has not. None if no circle was free of it, as where f is not holomorphic.
    """
    count = points or max(_POINTS, 4 * order)
    turns = [cmath.exp(2j * math.pi * i / count) for i in range(count)]

    def estimates() -> Iterator[list[Estimate]]:
        for exponent in exponents:
            radius = scale * 2.0**-exponent
            values = [along(radius * turn) for turn in turns]
            largest = _largest_of(values)
            if not math.isfinite(largest):
                continue
            xp = array_namespace(values[0])
            transform = [[turns[-i * k % count] / count for i in range(count)] for k in range(count)]
            table = xp.stack([xp.astype(v, xp.complex128) for v in values])
            rows = xp.reshape(table, (count, math.prod(table.shape[1:])))
            matrix = xp.asarray(transform, dtype=xp.complex128, device=device(rows))
            modes = xp.reshape(matrix @ rows, table.shape)
            noise = max(_largest(modes[count // 2 :, ...]), largest * 2.0**-52)
            if noise > 1e-7 * largest:
                continue
            found = []
            for k in range(order + 1):
                c = modes[k, ...] / radius**k
                off = max(noise, _largest(xp.imag(modes[k, ...]))) if real else noise
                found.append(Estimate(xp.real(c) if real else c, off / radius**k, largest / radius**k))
            yield found

    return _best(estimates())


def by_differences(along: Callable[[float], Array], order: int, scale: float, eps: float) -> list[Estimate] | None:
    """Coefficients 0..order <= 6 by central differences on 13 points, of many steps, each from the best of them.

    ``along(t)`` is f(x + t·direction) for a real t, computed to ``eps``. A coefficient's error is what a step twice as
    wide changes, or another 13 points, which see a kink at x itself; and what rounding makes of it. None if no value
    is finite.
    """
    weights, shifted = (_weights(order, start) for start in (-_STENCIL, 1 - _STENCIL))

    def estimates() -> Iterator[list[Estimate]]:
        before: list[Array] | None = None
        for exponent in range(1, 13):
            step = scale * 2.0**-exponent
            values = [along(i * step) for i in range(-_STENCIL, _STENCIL + 2)]
            largest = _largest_of(values)
            if not math.isfinite(largest):
                before = None
                continue
            now, aside = _combined(weights, values[:-1]), _combined(shifted, values[1:])
            if before is not None:
                found = []
                for k, (c, other, wider, row) in enumerate(zip(now, aside, before, weights, strict=True)):
                    rounding = eps * largest * float(sum(map(abs, row)))
                    error = (max(_largest(c - wider / 2.0**k), _largest(c - other)) + rounding) / step**k
                    found.append(Estimate(c / step**k, error, largest / step**k))
                yield found
            before = now

    return _best(estimates())


def _combined(weights: list[list[Fraction]], values: list[Array]) -> list[Array]:
    """A sum over the values for every row of weights."""
    result = []
    for row in weights:
        total: Any = 0
        for w, v in zip(row, values, strict=True):
            total = total + float(w) * v
        result.append(total)
    return result


def _weights(order: int, start: int) -> list[list[Fraction]]:
    """Row k: of the values at 13 whole numbers from ``start``, for coefficient k of the polynomial through them."""
    nodes = range(start, start + 2 * _STENCIL + 1)
    columns = []
    for i in nodes:
        polynomial = [Fraction(1)]  # Lagrange's, lowest power first
        for j in nodes:
            if j != i:
                shifted, scaled = [Fraction(0), *polynomial], [*(c * -j for c in polynomial), Fraction(0)]
                polynomial = [(a + b) / (i - j) for a, b in zip(shifted, scaled, strict=True)]
        columns.append(polynomial)
    return [[column[k] for column in columns] for k in range(order + 1)]


def _best(found: Iterator[list[Estimate]]) -> list[Estimate] | None:
    best: list[Estimate] | None = None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # overflow on a circle that is too wide is seen in the values
        for estimates in found:
            pairs = zip(best or estimates, estimates, strict=True)
            best = [min(pair, key=lambda estimate: estimate.error) for pair in pairs]
    return best


def _largest(array: Array) -> float:
    xp = array_namespace(array)
    return float(xp.max(xp.abs(array))) if math.prod(array.shape) else 0.0


def _largest_of(values: list[Array]) -> float:
    """NaN if any of the arrays holds one."""
    sizes = list(map(_largest, values))
    return max(sizes) if all(map(math.isfinite, sizes)) else math.nan
