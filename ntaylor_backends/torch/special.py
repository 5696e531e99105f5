"""``torch.special``, complex numbers, and elementwise functions that torch has and NumPy's standard has not.

Arguments are named as in ``elementwise``.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import torch

from ntaylor.activations import Activation
from ntaylor.array_object import ArrayObject, innermost, refuse_complex
from ntaylor.jets import univariate
from ntaylor.namespace import MissingRule, is_array, is_complex
from ntaylor.pair_rules import exp
from ntaylor.series import Series, solve
from ntaylor_backends.torch.elementwise import constant, op

__all__ = ["SPECIAL"]


# --- functions of one variable, by the core's three kinds of description ------------------------


def _erfinv_pair(u: Series, xp: Any) -> Any:
    """v′ = √π/2 e^{v²} u′."""
    return solve(u, torch.special.erfinv(u[0]), lambda v: exp(v * v, xp)[0] * (math.sqrt(math.pi) / 2))


def _psi(n: int, u0: Any) -> Any:
    # Torch's polygamma(1, u) is off by 4e-11 (at 0.2, torch 2.13); ζ(2, u), which it equals, is not.
    return torch.special.zeta(2.0, u0) if n == 1 and not isinstance(u0, ArrayObject) else torch.special.polygamma(n, u0)


def _lgamma_derivatives(u0: Any, order: int, xp: Any) -> list[Any]:
    return [torch.lgamma(u0), *(_psi(m, u0) for m in range(order))]


@functools.cache
def _of_polygamma(n: int) -> Activation:
    return Activation(f"polygamma({n})", None, "DLMF 5.15", towers=_polygamma_derivatives(n))


def _polygamma_derivatives(n: int) -> Callable[[Any, int, Any], list[Any]]:
    def derivatives(u0: Any, order: int, xp: Any) -> list[Any]:
        return [_psi(n + m, u0) for m in range(order + 1)]

    return derivatives


def _beyond_one(u0: Any, xp: Any) -> Any:
    return abs(u0) >= 1


_ERFINV = Activation("erfinv", _erfinv_pair, "v′ = √π/2 e^{v²} u′", singular=_beyond_one, domain="|u| < 1")
_LGAMMA = Activation("lgamma", None, "DLMF 5.15", towers=_lgamma_derivatives)


def _erfinv(a: Any) -> Any:
    refuse_complex("erfinv", innermost(a))
    return univariate(_ERFINV, a)


def _polygamma(n: Any, a: Any) -> Any:
    n, a = (a, n) if isinstance(n, ArrayObject) else (n, a)  # the method, x.polygamma(n)
    return univariate(_of_polygamma(int(n)), a)


def _mvlgamma(a: Any, p: int) -> Any:
    total = sum(univariate(_LGAMMA, a - j / 2) for j in range(p))
    return total + p * (p - 1) / 4 * math.log(math.pi)


def _xlogy(a: Any, b: Any) -> Any:
    """a log b, and 0 where a is, whatever b is there."""
    if not is_array(a):
        return a * op("log", b) if a else op("zeros_like", b)
    nothing = op("logical_and", op("equal", a, 0.0), op("less_equal", b, 0.0)) if is_array(b) else None
    if nothing is None:
        return a * math.log(b) if b > 0 else constant(torch.xlogy)(a, b)
    return op("where", nothing, 0.0, a * op("log", op("where", nothing, 1.0, b)))


def _xlog1py(a: Any, b: Any) -> Any:
    if not is_array(a):
        return a * op("log1p", b) if a else op("zeros_like", b)
    return _xlogy(a, 1 + b) if not is_array(b) else op(
        "where", _no_factor(a, b), 0.0, a * op("log1p", op("where", _no_factor(a, b), 0.0, b))
    )  # fmt: skip


def _no_factor(a: Any, b: Any) -> Any:
    return op("logical_and", op("equal", a, 0.0), op("less_equal", b, -1.0))


# --- orthogonal polynomials of a whole degree, by their three-term recurrences ------------------

_Step = Callable[[Any, int, Any, Any], Any]


def _chebyshev(x: Any, n: int, p: Any, q: Any) -> Any:
    return 2 * x * p - q


# name → (degree 1 at x, (x, n, p_n, p_{n−1}) → p_{n+1}); degree 0 is 1.
_POLYNOMIALS: dict[str, tuple[Callable[[Any], Any], _Step]] = {
    "chebyshev_polynomial_t": (lambda x: x, _chebyshev),
    "chebyshev_polynomial_u": (lambda x: 2 * x, _chebyshev),
    "chebyshev_polynomial_v": (lambda x: 2 * x - 1, _chebyshev),
    "chebyshev_polynomial_w": (lambda x: 2 * x + 1, _chebyshev),
    "hermite_polynomial_h": (lambda x: 2 * x, lambda x, n, p, q: 2 * x * p - 2 * n * q),
    "hermite_polynomial_he": (lambda x: x, lambda x, n, p, q: x * p - n * q),
    "laguerre_polynomial_l": (lambda x: 1 - x, lambda x, n, p, q: ((2 * n + 1 - x) * p - n * q) / (n + 1)),
    "legendre_polynomial_p": (lambda x: x, lambda x, n, p, q: ((2 * n + 1) * x * p - n * q) / (n + 1)),
}


def _polynomial(name: str, shifted: bool = False) -> Callable[..., Any]:
    first, step = _POLYNOMIALS[name.removeprefix("shifted_")]

    def polynomial(a: Any, n: Any) -> Any:
        degree = int(n) if not is_array(n) or (not isinstance(n, ArrayObject) and not n.ndim) else -1
        if degree < 0 or degree != n:
            raise MissingRule(
                f"no rule for {name} but of one whole degree n >= 0, got {n!r}: stack those of several, "
                f"torch.stack([torch.special.{name}(x, n) for n in range(4)], -1)"
            )
        x = 2 * a - 1 if shifted else a
        before, now = op("ones_like", a) + 0 * x, first(x)
        if degree == 0:
            return before
        for k in range(1, degree):
            before, now = now, step(x, k, now, before)
        return now

    return polynomial


# --- complex numbers ----------------------------------------------------------------------------


def _complex(real: Any, imag: Any) -> Any:
    return real + imag * 1j


def _polar(abs: Any, angle: Any) -> Any:  # noqa: A002 torch's name
    return _complex(abs * op("cos", angle), abs * op("sin", angle))


def _angle(a: Any) -> Any:
    if not is_complex(innermost(a)):
        return constant(torch.angle)(a)  # 0 or π
    return op("atan2", op("imag", a), op("real", a))


def _view_as_real(a: Any) -> Any:
    return op("stack", [op("real", a), op("imag", a)], axis=-1)


def _same(a: Any) -> Any:
    return a


# --- piecewise ----------------------------------------------------------------------------------


def _heaviside(a: Any, values: Any) -> Any:
    if isinstance(values, ArrayObject):
        raise MissingRule("no rule for heaviside with a jet as its value at 0: pass x.detach()")
    return constant(torch.heaviside)(a, values)


def _except_nan(name: str) -> Callable[..., Any]:
    """fmax and fmin, which take the other number where one is NaN."""

    def of_numbers(a: Any, b: Any) -> Any:
        a_clean = op("where", op("isnan", a), b, a)
        return op(name, a_clean, op("where", op("isnan", b), a_clean, b))

    return of_numbers


def _nan_to_num(a: Any, nan: Any = None, posinf: Any = None, neginf: Any = None) -> Any:
    values = innermost(a)
    number = torch.nan_to_num(values, nan, posinf, neginf)
    return op("where", torch.isfinite(values), a, number.detach())


def _logaddexp2(a: Any, b: Any) -> Any:
    return op("logaddexp", a * math.log(2), b * math.log(2)) / math.log(2)


def _ldexp(a: Any, b: Any) -> Any:
    return a * op("pow", 2.0, b) if isinstance(b, ArrayObject) else a * torch.pow(2.0, b)


SPECIAL: dict[str, Callable[..., Any]] = {
    **{name: _polynomial(name) for name in _POLYNOMIALS},
    **{f"shifted_{name}": _polynomial(f"shifted_{name}", True) for name in _POLYNOMIALS if "chebyshev" in name},
    "angle": _angle,
    "complex": _complex,
    "conj_physical": lambda a: op("conj", a),
    "digamma": lambda a: _polygamma(0, a),
    "entr": lambda a: -(a * op("log", a)),
    "erfinv": _erfinv,
    "fmax": _except_nan("maximum"),
    "fmin": _except_nan("minimum"),
    "gammaln": lambda a: univariate(_LGAMMA, a),
    "heaviside": _heaviside,
    "isneginf": constant(torch.isneginf),
    "isposinf": constant(torch.isposinf),
    "isreal": constant(torch.isreal),
    "ldexp": _ldexp,
    "lgamma": lambda a: univariate(_LGAMMA, a),
    "log_ndtr": lambda a: op("log", op("ndtr", a)),
    "logaddexp2": _logaddexp2,
    "multigammaln": _mvlgamma,
    "mvlgamma": _mvlgamma,
    "nan_to_num": _nan_to_num,
    "ndtri": lambda a: _erfinv(2 * a - 1) * math.sqrt(2),
    "polar": _polar,
    "polygamma": _polygamma,
    "psi": lambda a: _polygamma(0, a),
    "resolve_conj": _same,
    "resolve_neg": _same,
    "view_as_complex": lambda a: _complex(a[..., 0], a[..., 1]),
    "view_as_real": _view_as_real,
    "xlog1py": _xlog1py,
    "xlogy": _xlogy,
}
"""Torch's name → function of jets, tensors and numbers."""
