"""Pair rules: the differential equation of every univariate function, stated once.

Floor 2. A rule takes the series u and an array namespace and returns ``(v, w)``, the series of f(u) and of
f′(u), Taylor coefficients both (``docs/theory.md`` sections 3 and 4, whose equation numbers the table in
``activations`` cites). A learnable function's rule takes its parameters too and returns a third thing, the
series of ∂f(u)/∂parameter by name.

The factories, such as ``power(p)``, give partials of functions of this file, which can be pickled.
Where the closing relation would cancel in coefficient 0, the accurate value is passed as w0
(``series.solve``): every higher coefficient inherits its relative accuracy.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from ntaylor.namespace import is_complex, special
from ntaylor.series import Series, cosh_sinh, integrate, select, sin_cos, solve, square_root, starting

__all__ = [
    "Pair",
    "acos",
    "acosh",
    "adaptive_tanh",
    "asin",
    "asinh",
    "atan",
    "atanh",
    "cos",
    "cosh",
    "elu",
    "erf",
    "exp",
    "expm1",
    "gaussian",
    "gelu",
    "gelu_tanh",
    "log",
    "log1p",
    "mish",
    "normal_cdf",
    "power",
    "product",
    "quotient",
    "reciprocal",
    "relu_power",
    "scaled_log",
    "silu",
    "sin",
    "sinh",
    "snake",
    "softplus",
    "softsign",
    "sqrt",
    "square",
    "tan",
    "whole_power",
]

Array = Any
Pair = tuple[Series, Series]
"""(v, w): the Taylor coefficients of f(u) and of f′(u)."""


def _is_left(u0: Array, xp: Any) -> Array:
    """Where Re u < 0."""
    return (xp.real(u0) if is_complex(u0) else u0) < 0


def _modulus(u0: Array, xp: Any) -> Array:
    """Whichever of ±u lies on the right, so that what is even in u stays holomorphic, and smooth to autograd.

    At 0 every library takes 0 for the derivative of |u|. A branch's is 1, as the other branches' of the rule.
    """
    return xp.where(_is_left(u0, xp), -u0, u0)


def _sech_squared(u0: Array, xp: Any) -> Array:
    """1 − tanh²(u_0) with all its digits, however small."""
    decay = xp.exp(-2 * _modulus(u0, xp))
    return 4 * decay / ((1 + decay) * (1 + decay))


def tanh(u: Series, xp: Any) -> Pair:
    """(4.1): w = 1 − v²."""
    return solve(u, xp.tanh(u[0]), lambda v: 1 - v * v, w0=lambda: _sech_squared(u[0], xp))


def sigmoid(u: Series, xp: Any) -> Pair:
    """(4.2): 1/(1 + e^−u) with w = 1/4 − c², c = v − 1/2."""
    # About its centre, c = tanh(u/2)/2: in w = v − v² the two terms of every w_k, v_k and 2 v_0 v_k, cancel where u
    # is small; here the factor c_0 is small and accurate.
    decay = xp.exp(-_modulus(u[0], xp))
    value = xp.where(_is_left(u[0], xp), decay, decay * 0 + 1) / (1 + decay)
    c, w = solve(
        u,
        lambda: xp.tanh(u[0] / 2) / 2,
        lambda c: 0.25 - c * c,
        w0=lambda: decay / ((1 + decay) * (1 + decay)),
    )
    return starting(value, c), w


def exp(u: Series, xp: Any) -> Pair:
    """(4.3): w = v."""
    return solve(u, xp.exp(u[0]), lambda v: v)


def expm1(u: Series, xp: Any) -> Pair:
    """(4.3): e^u − 1, w = v + 1."""
    _, w = exp(u, xp)
    return starting(xp.expm1(u[0]), w), w


def sin(u: Series, xp: Any) -> Pair:
    """(2.4)."""
    return sin_cos(u, xp.sin(u[0]), xp.cos(u[0]))


def cos(u: Series, xp: Any) -> Pair:
    """(2.4)."""
    sine, cosine = sin(u, xp)
    return cosine, -sine


def tan(u: Series, xp: Any) -> Pair:
    """(4.1): w = 1 + v²."""
    return solve(u, xp.tan(u[0]), lambda v: 1 + v * v)


def sinh(u: Series, xp: Any) -> Pair:
    """(2.4)."""
    cosine, sine = cosh_sinh(u, xp.cosh(u[0]), xp.sinh(u[0]))
    return sine, cosine


def cosh(u: Series, xp: Any) -> Pair:
    """(2.4)."""
    return cosh_sinh(u, xp.cosh(u[0]), xp.sinh(u[0]))


def softplus(u: Series, xp: Any) -> Pair:
    """(4.4): log(1 + e^u), w = σ(u)."""
    w, _ = sigmoid(u, xp)
    value = xp.where(_is_left(u[0], xp), u[0] * 0, u[0]) + xp.log1p(xp.exp(-_modulus(u[0], xp)))
    return integrate(w * u.derivative(), value), w


def silu(u: Series, xp: Any) -> Pair:
    """(4.5): u σ(u)."""
    s, slope = sigmoid(u, xp)
    return u * s, s + u * slope


def gaussian(u: Series, xp: Any) -> Pair:
    """(4.6): exp(−u²), w = −2 u v."""
    return solve(u, xp.exp(-u[0] * u[0]), lambda v: -2 * (u * v))


def erf(u: Series, xp: Any) -> Pair:
    """(4.6): w = 2/√π exp(−u²)."""
    bell, _ = gaussian(u, xp)
    w = bell * (2 / math.sqrt(math.pi))
    return integrate(w * u.derivative(), special(xp, "erf")(u[0])), w


def normal_cdf(u: Series, xp: Any) -> Pair:
    """(4.6): Φ(u), w = φ(u), φ′ = −u φ u′."""
    # ndtr, not (1 + erf)/2, which has no correct digit left at u = -8.3.
    density = xp.exp(-u[0] * u[0] / 2) * (1 / math.sqrt(2 * math.pi))
    w, _ = solve(u, density, lambda phi: -(u * phi))
    return integrate(w * u.derivative(), special(xp, "ndtr")(u[0])), w


def gelu(u: Series, xp: Any) -> Pair:
    """(4.7): u Φ(u) (Hendrycks, Gimpel 2016)."""
    cdf, density = normal_cdf(u, xp)
    return u * cdf, cdf + u * density


def gelu_tanh(u: Series, xp: Any) -> Pair:
    """(4.7): its tanh form, u (1 + tanh z)/2 with z = √(2/π)(u + 0.044715 u³)."""
    # u (1 + tanh z)/2 = u · sigmoid(2z), which keeps its digits where tanh z is near -1.
    u_squared = u * u
    twice_z = (u + 0.044715 * (u_squared * u)) * (2 * math.sqrt(2 / math.pi))
    gate, gate_slope = sigmoid(twice_z, xp)
    dz = (1 + (3 * 0.044715) * u_squared) * (2 * math.sqrt(2 / math.pi))
    return u * gate, gate + u * gate_slope * dz


def mish(u: Series, xp: Any) -> Pair:
    """(4.5): u tanh(softplus u) (Misra 2019)."""
    s, slope = softplus(u, xp)
    t, t_slope = tanh(s, xp)
    return u * t, t + u * (t_slope * slope)


def atan(u: Series, xp: Any) -> Pair:
    """(4.8): w = 1/(1 + u²)."""
    w = 1 / (1 + u * u)
    return integrate(u.derivative() / (1 + u * u), xp.atan(u[0])), w


def _inverse_root(d: Series, xp: Any) -> Series:
    """d^(−1/2) by equation (4.9), O(n) on a line where d has three terms; 1/√d would cost O(n²) there.

    And √d has cancelling coefficients where d is nearly a square, as 1 + u² is for large u.
    """

    # Its coefficient 0 is made when first asked for: at the end of a domain the value is wanted, and this has none.
    return solve(d, lambda: 1 / xp.sqrt(d[0]), lambda w: -0.5 * w / d)[0]


def _one_minus_square(u: Series) -> Series:
    # Coefficient 0 as (1 − u)(1 + u), for 1 − u² cancels near the ends of the domain; the others as those of
    # −u², for in the product the terms of the first, u_1 (1 − u_0) and u_1 (1 + u_0), cancel for small u.
    return starting((1 - u[0]) * (1 + u[0]), -(u * u))


def asin(u: Series, xp: Any) -> Pair:
    """(4.8): w = (1 − u²)^(−1/2)."""
    w = _inverse_root(_one_minus_square(u), xp)
    return integrate(w * u.derivative(), xp.asin(u[0])), w


def acos(u: Series, xp: Any) -> Pair:
    """(4.8): w = −(1 − u²)^(−1/2)."""
    _, w = asin(u, xp)
    return integrate(-(w * u.derivative()), xp.acos(u[0])), -w


def asinh(u: Series, xp: Any) -> Pair:
    """(4.8): w = (1 + u²)^(−1/2)."""
    w = _inverse_root(1 + u * u, xp)
    return integrate(w * u.derivative(), xp.asinh(u[0])), w


def acosh(u: Series, xp: Any) -> Pair:
    """(4.8): w = (u² − 1)^(−1/2)."""
    w = _inverse_root(-_one_minus_square(u), xp)
    return integrate(w * u.derivative(), xp.acosh(u[0])), w


def atanh(u: Series, xp: Any) -> Pair:
    """(4.8): w = 1/(1 − u²)."""
    denominator = _one_minus_square(u)
    return integrate(u.derivative() / denominator, xp.atanh(u[0])), 1 / denominator


def log(u: Series, xp: Any) -> Pair:
    """(4.8): w = 1/u."""
    return integrate(u.derivative() / u, xp.log(u[0])), 1 / u


def log1p(u: Series, xp: Any) -> Pair:
    """(4.8): log(1 + u), w = 1/(1 + u)."""
    return integrate(u.derivative() / (1 + u), xp.log1p(u[0])), 1 / (1 + u)


def scaled_log(base_name: str, base: float) -> Callable[..., Pair]:
    """(4.8): the logarithm to another base, by the namespace's own ``base_name`` in coefficient 0."""
    return partial(_scaled_log, base_name=base_name, base=base)


def _scaled_log(u: Series, xp: Any, *, base_name: str, base: float) -> Pair:
    v, w = log(u, xp)
    return starting(getattr(xp, base_name)(u[0]), v * (1 / math.log(base))), w * (1 / math.log(base))


def sqrt(u: Series, xp: Any) -> Pair:
    """(2.5): w = 1/(2 v)."""
    v = square_root(u, xp.sqrt(u[0]))
    return v, 0.5 / v


def reciprocal(u: Series, xp: Any) -> Pair:
    """(2.2): 1/u, w = −v²."""
    v = 1 / u
    return v, -(v * v)


def square(u: Series, xp: Any) -> Pair:
    """(2.1): w = 2 u."""
    return u * u, 2 * u


def softsign(u: Series, xp: Any) -> Pair:
    """(4.10): u/(1 + |u|), w = 1/(1 + |u|)²; at 0 the right branch."""
    # v from its derivative: in the quotient u/(1 + |u|) the terms of v_1, u_1 and v_0 u_1, cancel for large
    # u, and in 1 − 1/(1 + |u|) the terms of v_0 for small u.
    inverse = 1 / (1 + select(xp.where, u[0] >= 0, u, -u))
    w = inverse * inverse
    return integrate(w * u.derivative(), u[0] / (1 + xp.abs(u[0]))), w


def snake(u: Series, xp: Any, a: Array) -> tuple[Series, Series, dict[str, Series]]:
    """(4.11): u + sin²(a u)/a, w = 1 + sin 2au (Ziyin, Hartwig, Ueda 2020)."""
    # sin² = (1 − cos 2au)/2 spares the products; its coefficient 0 is the square, which does not cancel.
    sine, cosine = sin(u * (2 * a), xp)
    root = xp.sin(u[0] * a)
    sine_squared = starting(root * root, -0.5 * cosine)
    v = u + sine_squared * (1 / a)
    return v, 1 + sine, {"a": u * sine * (1 / a) - sine_squared * (1 / (a * a))}


def adaptive_tanh(u: Series, xp: Any, a: Array) -> tuple[Series, Series, dict[str, Series]]:
    """(4.11): tanh(a u), w = a (1 − v²) (Jagtap, Kawaguchi, Karniadakis 2020)."""
    v, w = tanh(u * a, xp)
    return v, w * a, {"a": u * w}


def relu_power(p: int) -> Callable[..., Pair]:
    """max(u, 0)^p, equation (4.12): at the kink the left branch."""
    return partial(_relu_power, p=p)


def _relu_power(u: Series, xp: Any, *, p: int) -> Pair:
    active = u[0] > 0
    zero = Series([u[0] * 0])
    one = Series([u[0] * 0 + 1])
    # The power of the other branch is clipped so that it cannot overflow where unused.
    clipped = starting(xp.where(active, u[0], u[0] * 0), u)
    slope = one if p == 1 else p * clipped ** (p - 1)
    return select(xp.where, active, clipped**p, zero), select(xp.where, active, slope, zero)


def elu(alpha: float) -> Callable[..., Pair]:
    """u for u > 0, α(e^u − 1) otherwise, equation (4.12): at the kink the left branch."""
    return partial(_elu, alpha=alpha)


def _elu(u: Series, xp: Any, *, alpha: float) -> Pair:
    positive = u[0] > 0
    # The exponential of the other branch is clipped so that it cannot overflow where unused.
    clipped = starting(xp.where(positive, u[0] * 0, u[0]), u)
    v, w = expm1(clipped, xp)
    one = Series([u[0] * 0 + 1])
    return select(xp.where, positive, u, v * alpha), select(xp.where, positive, one, w * alpha)


def power(p: float) -> Callable[..., Pair]:
    """u^p for any p, equation (4.9); where u = 0 see :func:`whole_power`."""
    return partial(_power, p=p)


def _power(u: Series, xp: Any, *, p: float) -> Pair:
    v0 = xp.pow(u[0], u[0] * 0 + p)
    return solve(u, v0, lambda v: p * v / u)


def whole_power(p: int) -> Callable[..., Pair]:
    """u^p for a whole p >= 0, by products (2.1), which hold at u = 0 too."""
    return partial(_whole_power, p=p)


def _whole_power(u: Series, xp: Any, *, p: int) -> Pair:
    if p == 0:
        return Series([u[0] * 0 + 1]), Series([u[0] * 0])
    return u**p, Series([u[0] * 0 + 1]) if p == 1 else p * u ** (p - 1)


def product(count: int) -> Callable[..., Any]:
    """u v with those of ``count`` coefficients of v that are there as parameters v0, v1, …: (2.1), adjoint (3.4)."""
    return partial(_product, count=count)


def _product(u: Series, xp: Any, *, count: int, **of_v: Array) -> tuple[Series, Series, dict[str, Series]]:
    v = Series([of_v.get(f"v{j}") for j in range(count)])
    return u * v, v, _moved(u, of_v)


def quotient(count: int) -> Callable[..., Any]:
    """q = u / v, likewise: (2.2), adjoint (3.5)."""
    return partial(_quotient, count=count)


def _quotient(u: Series, xp: Any, *, count: int, **of_v: Array) -> tuple[Series, Series, dict[str, Series]]:
    v = Series([of_v.get(f"v{j}") for j in range(count)])
    q = u / v
    return q, 1 / v, _moved(-(q / v), of_v)


def _moved(derivative: Series, of_v: Mapping[str, Array]) -> dict[str, Series]:
    """By v_j what the derivative by v is, j orders on: the product's coefficient k has v_j beside the one of k − j."""

    def moved(j: int) -> Series:
        return Series((), lambda k: derivative[k - j] if k >= j else None)

    return {name: moved(int(name[1:])) for name in of_v}
