"""What networks and functions are to give, by mpmath: the oracle of ``ntaylor verify``.

Floor 7. It shares neither the recurrences nor any code with what it judges. A layer here is its value alone, on
mpmath's complex numbers, with mpmath's own functions; Cauchy's integral over a small circle turns values into Taylor
coefficients, and a gradient is a difference quotient whose step is 36 digits below its argument. Batches, arrays and
rounding do not occur.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import mpmath

from ntaylor.composites import Chain, Gated, Odd, Skip
from ntaylor.layers import Activate, Dense, FourierFeatures, Layer, Periodic, Scale

__all__ = ["FUNCTIONS", "coefficients", "digits", "gradient", "value"]

Number = Any
Vector = list[Any]

_DIGITS = 120
_RADIUS_EXPONENT = 4
_STEP_EXPONENT = 36
_FEWEST = 16


def digits() -> Any:
    """The context of all that is done here: 120 digits, of which the divisions leave more than 50."""
    return mpmath.workdps(_DIGITS)


# --- functions of one variable --------------------------------------------------------------------


def _sigmoid(u: Number) -> Number:
    return 1 / (1 + mpmath.exp(-u))


def _softplus(u: Number) -> Number:
    return mpmath.log(1 + mpmath.exp(u))


def _normal_cdf(u: Number) -> Number:
    return mpmath.erfc(-u / mpmath.sqrt(2)) / 2


def _gelu_tanh(u: Number) -> Number:
    return u / 2 * (1 + mpmath.tanh(mpmath.sqrt(2 / mpmath.pi) * (u + mpmath.mpf("0.044715") * u**3)))


def _branches(right: Callable[[Number], Number], left: Callable[[Number], Number]) -> Callable[[Number], Number]:
    return lambda u: right(u) if mpmath.re(u) > 0 else left(u)


def _relu_power(p: int) -> Callable[[Number], Number]:
    return _branches(lambda u: u**p, lambda u: u * 0)


FUNCTIONS: dict[str, Callable[..., Number]] = {
    "acos": mpmath.acos,
    "acosh": mpmath.acosh,
    "adaptive_tanh": lambda u, a: mpmath.tanh(a * u),
    "asin": mpmath.asin,
    "asinh": mpmath.asinh,
    "atan": mpmath.atan,
    "atanh": mpmath.atanh,
    "cos": mpmath.cos,
    "cosh": mpmath.cosh,
    "elu": _branches(lambda u: u, lambda u: mpmath.exp(u) - 1),
    "erf": mpmath.erf,
    "exp": mpmath.exp,
    "expm1": lambda u: mpmath.exp(u) - 1,
    "gaussian": lambda u: mpmath.exp(-u * u),
    "gelu": lambda u: u * _normal_cdf(u),
    "gelu_tanh": _gelu_tanh,
    "log": mpmath.log,
    "log10": lambda u: mpmath.log(u) / mpmath.log(10),
    "log1p": lambda u: mpmath.log(1 + u),
    "log2": lambda u: mpmath.log(u) / mpmath.log(2),
    "mish": lambda u: u * mpmath.tanh(_softplus(u)),
    "ndtr": _normal_cdf,
    "reciprocal": lambda u: 1 / u,
    "relu": _relu_power(1),
    **{f"relu{p}": _relu_power(p) for p in range(2, 6)},
    "sigmoid": _sigmoid,
    "silu": lambda u: u * _sigmoid(u),
    "sin": mpmath.sin,
    "sinh": mpmath.sinh,
    "snake": lambda u, a: u + mpmath.sin(a * u) ** 2 / a,
    "softplus": _softplus,
    "softsign": _branches(lambda u: u / (1 + u), lambda u: u / (1 - u)),
    "sqrt": mpmath.sqrt,
    "square": lambda u: u * u,
    "tan": mpmath.tan,
    "tanh": mpmath.tanh,
}
"""Every built-in activation in closed form; the learnable ones take their parameter a by name."""


# --- layers -----------------------------------------------------------------------------------------


def value(layer: Layer, u: Vector, parameters: Mapping[str, Any], prefix: str = "") -> Vector:
    """The layer's value at one point.

    ``u`` are the point's features, mpmath numbers; ``parameters`` those of the whole network as nested lists of
    mpmath numbers, of which this layer's are named ``prefix…``. Raises TypeError for a layer that is not known here.
    """
    if isinstance(layer, Odd):
        plus, minus = (_in_a_row(layer, [s * a for a in u], parameters, prefix) for s in (1, -1))
        return [a - b for a, b in zip(plus, minus, strict=True)]
    if isinstance(layer, Skip):
        return [a + b for a, b in zip(u, _in_a_row(layer, u, parameters, prefix), strict=True)]
    if isinstance(layer, Chain):
        return _in_a_row(layer, u, parameters, prefix)
    if isinstance(layer, Gated):
        return _gated(layer, u, parameters, prefix)
    if isinstance(layer, Dense):
        columns = zip(*parameters[f"{prefix}weight"], strict=True)
        products = [mpmath.fdot(u, column) for column in columns]
        bias = parameters.get(f"{prefix}bias", [0] * len(products))
        return [a + b for a, b in zip(products, bias, strict=True)]
    if isinstance(layer, Activate):
        function = FUNCTIONS[layer.activation.name]
        return [function(a, **{name: parameters[f"{prefix}{name}"] for name in layer.parameters}) for a in u]
    if isinstance(layer, Scale):
        width = len(u)
        pairs = zip(u, _spread(layer.shift, width), _spread(layer.factor, width), strict=True)
        return [(a - shift) * factor for a, shift, factor in pairs]
    if isinstance(layer, FourierFeatures):
        waves = [2 * mpmath.pi * mpmath.fdot(u, column) for column in zip(*layer.frequencies.tolist(), strict=True)]
        return [*map(mpmath.sin, waves), *map(mpmath.cos, waves)]
    if isinstance(layer, Periodic):
        waves = [2 * mpmath.pi * a / p for a, p in zip(u, layer.periods, strict=True) if p is not None]
        passed = [a for a, p in zip(u, layer.periods, strict=True) if p is None]
        return [*map(mpmath.sin, waves), *map(mpmath.cos, waves), *passed]
    raise TypeError(f"no value in mpmath for the layer {type(layer).__name__}: add it to ntaylor/fifty_digits.py")


def _in_a_row(layer: Chain, u: Vector, parameters: Mapping[str, Any], prefix: str) -> Vector:
    for name, part in layer.parts.items():
        u = value(part, u, parameters, f"{prefix}{name}.")
    return u


def _gated(layer: Gated, u: Vector, parameters: Mapping[str, Any], prefix: str) -> Vector:
    first, second = (value(layer.parts[name], u, parameters, f"{prefix}{name}.") for name in ("first", "second"))
    state = u
    for name, part in layer.parts.items():
        if name not in ("first", "second"):
            gate = value(part, state, parameters, f"{prefix}{name}.")
            state = [(1 - z) * p + z * q for z, p, q in zip(gate, first, second, strict=True)]
    return state


def _spread(array: Any, width: int) -> Vector:
    numbers = array.tolist()
    return numbers if isinstance(numbers, list) else [numbers] * width


# --- derivatives --------------------------------------------------------------------------------------


def coefficients(function: Callable[[Number], Vector], order: int) -> list[Vector]:
    """Taylor coefficients 0..order at t = 0 of a function of t that is real for real t: one list an order.

    The trapezium rule for Cauchy's integral over |t| = 10⁻⁴. With N points coefficient k errs by c_{k+N} 10^(−4N):
    the nearest singularity of what is verified is more than 0.1 away, which leaves less than (10⁻³)^N, and N is 16 or
    more. Dividing by 10^(−4k) takes 48 of the 120 digits at order 12.
    """
    half = max(_FEWEST, order + 5) // 2
    count = 2 * half
    radius = mpmath.mpf(10) ** -_RADIUS_EXPONENT
    # f(t̄) is the conjugate of f(t), so the upper half of the circle counts twice but for its two real ends.
    values = [function(radius * mpmath.expjpi(mpmath.mpf(i) / half)) for i in range(half + 1)]
    result = []
    for k in range(order + 1):
        turned = [
            mpmath.expjpi(-mpmath.mpf(i * k) / half) * (1 if i in (0, half) else 2) / count for i in range(half + 1)
        ]
        sums = [mpmath.re(mpmath.fdot(turned, column)) for column in zip(*values, strict=True)]
        # What is left of an exact zero, such as a polynomial's high coefficients, is rounding.
        noise = mpmath.mpf(10) ** (10 - _DIGITS) * max(abs(v) for row in values for v in row)
        result.append([s / radius**k if abs(s) > noise else mpmath.mpf(0) for s in sums])
    return result


def gradient(
    function: Callable[[Mapping[str, Any]], Sequence[Number]], parameters: Mapping[str, Any]
) -> list[dict[str, list[Number]]]:
    """Gradients of each of a function's results by every parameter, flat in the order of its entries.

    (f(p + h) − f(p))/h with h = 10⁻³⁶, in error by f″h/2 and by 10⁻¹²⁰⁺⁴⁸⁺³⁶: thirty digits are right.
    """
    step = mpmath.mpf(10) ** -_STEP_EXPONENT
    at = function(parameters)
    result: list[dict[str, list[Number]]] = [{name: [] for name in parameters} for _ in at]
    for name, entries in parameters.items():
        for moved in _moved(entries, step):
            for of_result, a, b in zip(result, at, function({**parameters, name: moved}), strict=True):
                of_result[name].append((b - a) / step)
    return result


def _moved(entries: Any, step: Number) -> list[Any]:
    """The nested list with one of its entries moved by ``step``, once for every entry."""
    if not isinstance(entries, list):
        return [entries + step]
    return [[*entries[:i], m, *entries[i + 1 :]] for i, entry in enumerate(entries) for m in _moved(entry, step)]
