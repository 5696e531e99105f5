"""Pair rules: the differential equation of every univariate function, stated once.

Floor 2. A rule takes the series u and an array namespace and returns ``(v, w)``, the series of f(u) and of
f′(u), Taylor coefficients both (``docs/theory.md`` sections 3 and 4, whose equation numbers the table in
``activations`` cites). A learnable function's rule takes its parameters too and returns a third thing, the
series of ∂f(u)/∂parameter by name.

Where the closing relation would cancel in coefficient 0, the accurate value is passed as w0
(``series.solve``): every higher coefficient inherits its relative accuracy.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import Any

from ntaylor.namespace import is_complex, special
from ntaylor.series import Series, cosh_sinh, integrate, select, sin_cos, solve, square_root

Array = Any
Pair = tuple[Series, Series]


def with_value(v: Series, value: Array) -> Series:
    """``v`` with its coefficient 0 replaced by a more accurate one."""
    return Series([value], v.__getitem__)


def _is_left(u0: Array, xp: Any) -> Array:
    """Where Re u < 0."""
    return (xp.real(u0) if is_complex(u0) else u0) < 0


def _modulus(u0: Array, xp: Any) -> Array:
    """|u|; of a complex u whichever of ±u lies on the right, so that what is even in u stays holomorphic."""
    return xp.where(_is_left(u0, xp), -u0, u0) if is_complex(u0) else xp.abs(u0)


def tanh(u: Series, xp: Any) -> Pair:
    decay = xp.exp(-2 * _modulus(u[0], xp))
    sech_squared = 4 * decay / ((1 + decay) * (1 + decay))
    return solve(u, xp.tanh(u[0]), lambda v: 1 - v * v, w0=sech_squared)


def sigmoid(u: Series, xp: Any) -> Pair:
    # About its centre, c = σ − 1/2 = tanh(u/2)/2, so that w = 1/4 − c². In w = σ − σ² the two terms of
    # every w_k, v_k and 2 σ_0 v_k, cancel where u is small; here the factor c_0 is small and accurate.
    decay = xp.exp(-_modulus(u[0], xp))
    value = xp.where(_is_left(u[0], xp), decay, decay * 0 + 1) / (1 + decay)
    sech_squared = decay / ((1 + decay) * (1 + decay))
    c, w = solve(u, xp.tanh(u[0] / 2) / 2, lambda c: 0.25 - c * c, w0=sech_squared)
    return with_value(c, value), w


def exp(u: Series, xp: Any) -> Pair:
    return solve(u, xp.exp(u[0]), lambda v: v)


def expm1(u: Series, xp: Any) -> Pair:
    _, w = exp(u, xp)
    return with_value(w, xp.expm1(u[0])), w


def sin(u: Series, xp: Any) -> Pair:
    return sin_cos(u, xp.sin(u[0]), xp.cos(u[0]))


def cos(u: Series, xp: Any) -> Pair:
    sine, cosine = sin(u, xp)
    return cosine, -sine


def tan(u: Series, xp: Any) -> Pair:
    return solve(u, xp.tan(u[0]), lambda v: 1 + v * v)


def sinh(u: Series, xp: Any) -> Pair:
    cosine, sine = cosh_sinh(u, xp.cosh(u[0]), xp.sinh(u[0]))
    return sine, cosine


def cosh(u: Series, xp: Any) -> Pair:
    return cosh_sinh(u, xp.cosh(u[0]), xp.sinh(u[0]))


def softplus(u: Series, xp: Any) -> Pair:
    w, _ = sigmoid(u, xp)
    value = xp.where(_is_left(u[0], xp), u[0] * 0, u[0]) + xp.log1p(xp.exp(-_modulus(u[0], xp)))
    return integrate(w * u.derivative(), value), w


def silu(u: Series, xp: Any) -> Pair:
    s, slope = sigmoid(u, xp)
    return u * s, s + u * slope


def gaussian(u: Series, xp: Any) -> Pair:
    return solve(u, xp.exp(-u[0] * u[0]), lambda v: -2 * (u * v))


def erf(u: Series, xp: Any) -> Pair:
    bell, _ = gaussian(u, xp)
    w = bell * (2 / math.sqrt(math.pi))
    return integrate(w * u.derivative(), special(xp, "erf")(u[0])), w


def normal_cdf(u: Series, xp: Any) -> Pair:
    # ndtr, not (1 + erf)/2, which has no correct digit left at u = -8.3.
    density = xp.exp(-u[0] * u[0] / 2) * (1 / math.sqrt(2 * math.pi))
    w, _ = solve(u, density, lambda phi: -(u * phi))
    return integrate(w * u.derivative(), special(xp, "ndtr")(u[0])), w


def gelu(u: Series, xp: Any) -> Pair:
    cdf, density = normal_cdf(u, xp)
    return u * cdf, cdf + u * density


def gelu_tanh(u: Series, xp: Any) -> Pair:
    # u (1 + tanh z)/2 = u · sigmoid(2z), which keeps its digits where tanh z is near -1.
    u_squared = u * u
    twice_z = (u + 0.044715 * (u_squared * u)) * (2 * math.sqrt(2 / math.pi))
    gate, gate_slope = sigmoid(twice_z, xp)
    dz = (1 + (3 * 0.044715) * u_squared) * (2 * math.sqrt(2 / math.pi))
    return u * gate, gate + u * gate_slope * dz


def mish(u: Series, xp: Any) -> Pair:
    s, slope = softplus(u, xp)
    t, t_slope = tanh(s, xp)
    return u * t, t + u * (t_slope * slope)


def atan(u: Series, xp: Any) -> Pair:
    w = 1 / (1 + u * u)
    return integrate(u.derivative() / (1 + u * u), xp.atan(u[0])), w


def _inverse_root(d: Series, xp: Any) -> Series:
    """d^(−1/2) by equation (4.9), O(n) on a line where d has three terms; 1/√d would cost O(n²) there.

    And √d has cancelling coefficients where d is nearly a square, as 1 + u² is for large u.
    """

    @cache
    def solution() -> Series:
        return solve(d, 1 / xp.sqrt(d[0]), lambda w: -0.5 * w / d)[0]

    # Made when first asked for: at the end of a domain the value is wanted, and this has none.
    return Series((), lambda k: solution()[k])


def _one_minus_square(u: Series) -> Series:
    # Coefficient 0 as (1 − u)(1 + u), for 1 − u² cancels near the ends of the domain; the others as those of
    # −u², for in the product the terms of the first, u_1 (1 − u_0) and u_1 (1 + u_0), cancel for small u.
    return with_value(-(u * u), (1 - u[0]) * (1 + u[0]))


def asin(u: Series, xp: Any) -> Pair:
    w = _inverse_root(_one_minus_square(u), xp)
    return integrate(w * u.derivative(), xp.asin(u[0])), w


def acos(u: Series, xp: Any) -> Pair:
    _, w = asin(u, xp)
    return integrate(-(w * u.derivative()), xp.acos(u[0])), -w


def asinh(u: Series, xp: Any) -> Pair:
    w = _inverse_root(1 + u * u, xp)
    return integrate(w * u.derivative(), xp.asinh(u[0])), w


def acosh(u: Series, xp: Any) -> Pair:
    w = _inverse_root(-_one_minus_square(u), xp)
    return integrate(w * u.derivative(), xp.acosh(u[0])), w


def atanh(u: Series, xp: Any) -> Pair:
    denominator = _one_minus_square(u)
    return integrate(u.derivative() / denominator, xp.atanh(u[0])), 1 / denominator


def log(u: Series, xp: Any) -> Pair:
    return integrate(u.derivative() / u, xp.log(u[0])), 1 / u


def log1p(u: Series, xp: Any) -> Pair:
    return integrate(u.derivative() / (1 + u), xp.log1p(u[0])), 1 / (1 + u)


def scaled_log(base_name: str, base: float) -> Callable[..., Pair]:
    def rule(u: Series, xp: Any) -> Pair:
        v, w = log(u, xp)
        return with_value(v * (1 / math.log(base)), getattr(xp, base_name)(u[0])), w * (1 / math.log(base))

    return rule


def sqrt(u: Series, xp: Any) -> Pair:
    v = square_root(u, xp.sqrt(u[0]))
    return v, 0.5 / v


def reciprocal(u: Series, xp: Any) -> Pair:
    v = 1 / u
    return v, -(v * v)


def square(u: Series, xp: Any) -> Pair:
    return u * u, 2 * u


def softsign(u: Series, xp: Any) -> Pair:
    # v from its derivative: in the quotient u/(1 + |u|) the terms of v_1, u_1 and v_0 u_1, cancel for large
    # u, and in 1 − 1/(1 + |u|) the terms of v_0 for small u.
    inverse = 1 / (1 + select(xp.where, u[0] >= 0, u, -u))
    w = inverse * inverse
    return integrate(w * u.derivative(), u[0] / (1 + xp.abs(u[0]))), w


def snake(u: Series, xp: Any, a: Array) -> tuple[Series, Series, dict[str, Series]]:
    # sin² = (1 − cos 2au)/2 spares the products; its coefficient 0 is the square, which does not cancel.
    sine, cosine = sin(u * (2 * a), xp)
    root = xp.sin(u[0] * a)
    sine_squared = with_value(-0.5 * cosine, root * root)
    v = u + sine_squared * (1 / a)
    return v, 1 + sine, {"a": u * sine * (1 / a) - sine_squared * (1 / (a * a))}


def adaptive_tanh(u: Series, xp: Any, a: Array) -> tuple[Series, Series, dict[str, Series]]:
    v, w = tanh(u * a, xp)
    return v, w * a, {"a": u * w}


def relu_power(p: int) -> Callable[..., Pair]:
    """max(u, 0)^p, equation (4.12): at the kink the left branch."""

    def rule(u: Series, xp: Any) -> Pair:
        active = u[0] > 0
        zero = Series([u[0] * 0])
        one = Series([u[0] * 0 + 1])
        # The power of the other branch is clipped so that it cannot overflow where unused.
        clipped = with_value(u, xp.where(active, u[0], u[0] * 0))
        slope = one if p == 1 else p * clipped ** (p - 1)
        return select(xp.where, active, clipped**p, zero), select(xp.where, active, slope, zero)

    return rule


def elu(alpha: float) -> Callable[..., Pair]:
    """u for u > 0, α(e^u − 1) otherwise, equation (4.12): at the kink the left branch."""

    def rule(u: Series, xp: Any) -> Pair:
        positive = u[0] > 0
        # The exponential of the other branch is clipped so that it cannot overflow where unused.
        clipped = with_value(u, xp.where(positive, u[0] * 0, u[0]))
        v, w = expm1(clipped, xp)
        one = Series([u[0] * 0 + 1])
        return select(xp.where, positive, u, v * alpha), select(xp.where, positive, one, w * alpha)

    return rule


def power(p: float) -> Callable[..., Pair]:
    """u^p for any p, equation (4.9); where u = 0 see :func:`whole_power`."""

    def rule(u: Series, xp: Any) -> Pair:
        v0 = xp.pow(u[0], u[0] * 0 + p)
        return solve(u, v0, lambda v: p * v / u)

    return rule


def whole_power(p: int) -> Callable[..., Pair]:
    """u^p for a whole p >= 0, by products (2.1), which hold at u = 0 too."""

    def rule(u: Series, xp: Any) -> Pair:
        if p == 0:
            return Series([u[0] * 0 + 1]), Series([u[0] * 0])
        return u**p, Series([u[0] * 0 + 1]) if p == 1 else p * u ** (p - 1)

    return rule
