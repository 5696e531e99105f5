"""Finite differences of any order and accuracy: exact weights, their leading error, and the step that balances it.

    >>> from ntaylor import finite_differences as fd
    >>> fd.central(2, 4)                               # f″ ≈ Σ w f(x + s h) / h²
    Stencil(derivative=2, accuracy=4, nodes=(-2, -1, 0, 1, 2), weights=(-1/12, 4/3, -5/2, 4/3, -1/12))
    >>> fd.central(2, 4).constant                      # + C h⁴ f⁗″
    Fraction(-1, 90)

Floor 1: exact fractions, and floats where an error is estimated; knows nothing of arrays. The recursion is B.
Fornberg's, *Generation of finite difference formulas on arbitrarily spaced grids*, Math. Comp. 51 (1988) 699–706, and
*Calculation of weights in finite difference formulas*, SIAM Review 40 (1998) 685–691. ``L(f, x, method="fd")`` is the
engine that differentiates with these: :mod:`ntaylor.stencils`.
"""

from __future__ import annotations

import math
import numbers
import operator
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cache
from typing import Any, NamedTuple

__all__ = [
    "SIDES",
    "ErrorModel",
    "Stencil",
    "central",
    "error_model",
    "largest_power",
    "least",
    "machine_epsilon",
    "on_nodes",
    "one_sided",
    "step_for",
    "weights",
]

SIDES = ("central", "forward", "backward")


# --- weights -----------------------------------------------------------------------------------------


def weights(derivative: int, nodes: Sequence[Any], at: Any = 0) -> tuple[Fraction, ...]:
    """Weights w with Σ_i w_i f(node_i) = f^(derivative)(at) for every polynomial of degree < len(nodes): exact.

    ``nodes`` are different integers, fractions or floats, of any spacing; floats are taken exactly as they are. What
    is returned was verified on all those monomials. Raises ValueError for too few or repeated nodes.

    >>> weights(1, [-1, 0, 2])
    (Fraction(-2, 3), Fraction(1, 2), Fraction(1, 6))
    """
    derivative = _whole("derivative", derivative, 0)
    if isinstance(nodes, str) or not hasattr(nodes, "__iter__"):
        raise TypeError(f"nodes is a sequence of numbers, such as [-1, 0, 1]; got {nodes!r}")
    exact, centre = tuple(_exact("a node", s) for s in nodes), _exact("at", at)
    if len(set(exact)) < len(exact):
        raise ValueError(f"the nodes of a stencil are to differ; got {list(map(str, exact))}")
    if len(exact) <= derivative:
        raise ValueError(f"a derivative of order {derivative} takes at least {derivative + 1} nodes; got {len(exact)}")
    return _weights(derivative, tuple(s - centre for s in exact))


@cache
def _weights(derivative: int, nodes: tuple[Fraction, ...]) -> tuple[Fraction, ...]:
    """Fornberg's recursion at 0: after node n, table[k][i] is the weight of node i <= n in the k-th derivative."""
    table = [[Fraction(0)] * len(nodes) for _ in range(derivative + 1)]
    table[0][0] = Fraction(1)
    product_before = Fraction(1)
    for n in range(1, len(nodes)):
        product = math.prod((nodes[n] - nodes[i] for i in range(n)), start=Fraction(1))
        highest = min(n, derivative)
        ratio = product_before / product
        # Of the row n the weights of node n come first, from those of node n − 1 before they are overwritten.
        last = [
            ratio * ((k * table[k - 1][n - 1] if k else 0) - nodes[n - 1] * table[k][n - 1]) for k in range(highest + 1)
        ]
        for i in range(n):
            gap = nodes[n] - nodes[i]
            for k in range(highest, -1, -1):
                table[k][i] = (nodes[n] * table[k][i] - (k * table[k - 1][i] if k else 0)) / gap
        for k in range(highest + 1):
            table[k][n] = last[k]
        product_before = product
    found = tuple(table[derivative])
    for degree in range(len(nodes)):
        if _moment(nodes, found, degree) != (math.factorial(derivative) if degree == derivative else 0):
            raise ArithmeticError(f"the weights on {nodes} are not exact for degree {degree}")
    return found


def _moment(nodes: Sequence[Fraction], found: Sequence[Fraction], degree: int) -> Fraction:
    """Σ w s^degree: the stencil applied to the monomial, at 0."""
    return sum((w * s**degree for s, w in zip(nodes, found, strict=True)), Fraction(0))


@dataclass(frozen=True)
class Stencil:
    """Σ_i w_i f(x + s_i h) / h^n = f^(n)(x) + C h^p f^(n+p)(x) + …, with nodes s and weights w as exact fractions."""

    derivative: int
    """n."""
    accuracy: int
    """p, the power of the step with which the error falls."""
    nodes: tuple[Fraction, ...]
    weights: tuple[Fraction, ...]
    constant: Fraction = field(compare=False)
    """C, of the leading error; 0 if there is none at all, as of f itself."""

    def __repr__(self) -> str:
        nodes, found = (f"({', '.join(map(str, row))}{',' * (len(row) == 1)})" for row in (self.nodes, self.weights))
        return f"Stencil(derivative={self.derivative}, accuracy={self.accuracy}, nodes={nodes}, weights={found})"

    @property
    def absolute_sum(self) -> Fraction:
        """Σ|w|: by how much rounding errors of f are multiplied, at h = 1."""
        return sum(map(abs, self.weights), Fraction(0))


def central(derivative: int, accuracy: int = 2) -> Stencil:
    """The narrowest stencil on −m, …, m whose error is of the even power ``accuracy`` of the step."""
    derivative, accuracy = _whole("derivative", derivative, 0), _whole("accuracy", accuracy, 1)
    if accuracy % 2:
        raise ValueError(
            f"the accuracy of a central stencil is even, for odd powers of the step cancel; got {accuracy}: pass "
            f"{accuracy + 1}, or a one-sided stencil"
        )
    half = (derivative + 1) // 2 - 1 + accuracy // 2 if derivative else 0
    return _verified(derivative, range(-half, half + 1), accuracy)


def one_sided(derivative: int, accuracy: int = 2, side: str = "forward") -> Stencil:
    """The stencil on 0, 1, …, n+p−1, or with ``side="backward"`` on 0, −1, …, of error ``accuracy``."""
    derivative, accuracy = _whole("derivative", derivative, 0), _whole("accuracy", accuracy, 1)
    if side not in SIDES[1:]:
        raise ValueError(f"side must be one of {', '.join(SIDES[1:])}; got {side!r}")
    sign = 1 if side == "forward" else -1
    return _verified(derivative, [sign * i for i in range(derivative + accuracy if derivative else 1)], accuracy)


def on_nodes(derivative: int, nodes: Sequence[Any], at: Any = 0) -> Stencil:
    """The stencil on any nodes, as :func:`weights`, relative to ``at``; its accuracy and leading error are found."""
    centre = _exact("at", at)
    found = weights(derivative, nodes, at)
    return _stencil(int(derivative), [_exact("a node", s) - centre for s in nodes], found)


@cache
def _standard(derivative: int, accuracy: int, side: str) -> Stencil:
    return central(derivative, accuracy) if side == "central" else one_sided(derivative, accuracy, side)


def _verified(derivative: int, nodes: Sequence[int], accuracy: int) -> Stencil:
    """On these nodes; ArithmeticError if the error is not of the power that was asked for. Zero weights are dropped."""
    exact = [Fraction(s) for s in nodes]
    found = _stencil(derivative, exact, _weights(derivative, tuple(exact)))
    if derivative and found.accuracy != accuracy:
        raise ArithmeticError(f"{found!r} was to be of accuracy {accuracy}")
    used = [(s, w) for s, w in zip(found.nodes, found.weights, strict=True) if w]
    return Stencil(derivative, accuracy, tuple(s for s, _ in used), tuple(w for _, w in used), found.constant)


def _stencil(derivative: int, nodes: Sequence[Fraction], found: Sequence[Fraction]) -> Stencil:
    # Of the moments above n one is not zero, among as many in turn as there are nodes: Vandermonde. But at 0 alone.
    for degree in range(max(derivative + 1, len(nodes)), 2 * len(nodes) + derivative + 1):
        moment = _moment(nodes, found, degree)
        if moment:
            constant = moment / math.factorial(degree)
            return Stencil(derivative, degree - derivative, tuple(nodes), tuple(found), constant)
    return Stencil(derivative, len(nodes) - derivative, tuple(nodes), tuple(found), Fraction(0))


# --- errors ------------------------------------------------------------------------------------------


class ErrorModel(NamedTuple):
    """Both parts of a difference quotient's error, relative to |f|."""

    truncation: float
    """|C| h^p |f^(n+p)|: of the stencil."""
    rounding: float
    """ε Σ|w| |f| / h^n: a bound, of the values of f."""

    @property
    def total(self) -> float:
        """Their sum."""
        return self.truncation + self.rounding


def error_model(
    order: int, accuracy: int, step: float, dtype: Any = "float64", scale: float = 1.0, side: str = "central"
) -> ErrorModel:
    """What to expect of a derivative by one variable, with the assumption |f^(k)| = |f| / scale^k and values to ε.

    ``scale`` is the length over which f changes by its own size. The rounding of x + s h itself, ε |x f′| instead of
    ε |f|, is not in the model: it is none for most x where the step is a power of two.
    """
    stencil, step, scale = _of(order, accuracy, side), _positive("step", step), _positive("scale", scale)
    truncation = abs(float(stencil.constant)) * (step / scale) ** stencil.accuracy / scale**stencil.derivative
    rounding = machine_epsilon(dtype) * float(stencil.absolute_sum) / step**stencil.derivative
    return ErrorModel(truncation, rounding)


def step_for(order: int, accuracy: int = 2, dtype: Any = "float64", scale: float = 1.0, side: str = "central") -> float:
    """The power of two next to the step that makes the sum of :func:`error_model` least.

    That is h* = scale · (n ε Σ|w| / (p |C|))^(1/(n+p)). A power of two, for then x + s h is a float for most x.
    """
    stencil, scale = _of(order, accuracy, side), _positive("scale", scale)
    return least(
        abs(float(stencil.constant)) / scale ** (stencil.derivative + stencil.accuracy),
        stencil.accuracy,
        machine_epsilon(dtype) * float(stencil.absolute_sum),
        stencil.derivative,
        scale,
    )


def least(truncation: float, accuracy: int, rounding: float, order: int, otherwise: float = 1.0) -> float:
    """The power of two next to where truncation · h^accuracy + rounding / h^order is least."""
    if not (truncation and order):
        return 2.0 ** round(math.log2(otherwise))
    return 2.0 ** round(math.log2(order * rounding / (accuracy * truncation)) / (order + accuracy))


_FLOATS = {"bfloat16": (8, 127), "float16": (11, 15), "float32": (24, 127), "float64": (53, 1023)}
_FLOATS |= {"complex64": _FLOATS["float32"], "complex128": _FLOATS["float64"]}
"""Bits of the significand, and the largest exponent."""


def machine_epsilon(dtype: Any) -> float:
    """ε of a dtype of any library, or of its name: 2^−52 of "float64"."""
    return 2.0 ** (1 - _of_dtype(dtype)[0])


def largest_power(dtype: Any) -> Fraction:
    """The largest power of two of a dtype."""
    return Fraction(2 ** _of_dtype(dtype)[1])


def _of_dtype(dtype: Any) -> tuple[int, int]:
    named = "float64" if dtype is float else str(dtype)
    found = re.search(r"(?<![a-z])(bfloat16|float16|float32|float64|complex64|complex128)(?!\d)", named)
    if found is None:
        raise TypeError(f"dtype must be a floating one, such as {', '.join(_FLOATS)}; got {dtype!r}")
    return _FLOATS[found.group(1)]


# --- checks ------------------------------------------------------------------------------------------


def _of(order: int, accuracy: int, side: str) -> Stencil:
    if side not in SIDES:
        raise ValueError(f"side must be one of {', '.join(SIDES)}; got {side!r}")
    return _standard(_whole("order", order, 0), _whole("accuracy", accuracy, 1), side)


def _whole(name: str, value: Any, lowest: int) -> int:
    try:
        if isinstance(value, bool):
            raise TypeError
        whole: int = operator.index(value)
    except TypeError:
        raise TypeError(f"{name} must be an integer >= {lowest}; got {value!r} ({type(value).__name__})") from None
    if whole < lowest:
        raise ValueError(f"{name} must be an integer >= {lowest}; got {whole}")
    return whole


def _exact(name: str, value: Any) -> Fraction:
    if hasattr(value, "item") and getattr(value, "ndim", 1) == 0:
        value = value.item()
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise TypeError(f"{name} must be a real number; got {value!r} ({type(value).__name__})")
    try:
        return Fraction(value) if isinstance(value, numbers.Rational) else Fraction(float(value))
    except (ValueError, OverflowError):
        raise ValueError(f"{name} must be finite; got {value!r}") from None


def _positive(name: str, value: Any) -> float:
    number = float(_exact(name, value))
    if number <= 0:
        raise ValueError(f"{name} must be positive; got {number}")
    return number
