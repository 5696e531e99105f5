"""Torch's elementwise functions in the operations of the array API standard, and in the core's activations.

Each entry takes torch's arguments by torch's names, but for ``input``, which is ``a``, and ``other`` and ``exponent``,
which are ``b``. Some of a and b are jets. Where torch's function has a kink, the jet follows the branch that torch's
own derivative follows there.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch

from ntaylor.array_object import apply, innermost
from ntaylor.namespace import MissingRule, is_array
from ntaylor.standard import NUMPY_NAMES

__all__ = ["ELEMENTWISE", "IN_PLACE", "constant", "inside", "op"]


def op(name: str, *args: Any, **options: Any) -> Any:
    """The operation of the standard on jets, or on what is left of them where they are constant."""
    return apply(name, args, options)


def inside(a: Any, low: float, high: float) -> Any:
    """Where low < a < high, as a plain array."""
    return op("logical_and", op("greater", a, low), op("less", a, high))


def _unary(name: str) -> Callable[..., Any]:
    return lambda a: op(name, a)


def _binary(name: str) -> Callable[..., Any]:
    return lambda a, b: op(name, a, b)


def _reflected(name: str) -> Callable[..., Any]:
    return lambda a, b: op(name, b, a)


def constant(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function of torch's that is locally constant: it acts on the values alone."""

    def of_values(*args: Any, **options: Any) -> Any:
        return function(*map(innermost, args), **{key: innermost(v) for key, v in options.items()})

    return of_values


def _add(a: Any, b: Any, *, alpha: Any = 1) -> Any:
    return op("add", a, b if alpha == 1 else op("multiply", b, alpha))


def _subtract(a: Any, b: Any, *, alpha: Any = 1) -> Any:
    return op("subtract", a, b if alpha == 1 else op("multiply", b, alpha))


def _rsub(a: Any, b: Any, *, alpha: Any = 1) -> Any:
    return _subtract(b, a, alpha=alpha)


def _divide(a: Any, b: Any, *, rounding_mode: str | None = None) -> Any:
    if rounding_mode is None:
        return op("divide", a, b)
    return torch.div(innermost(a), innermost(b), rounding_mode=rounding_mode)


def _clamp(a: Any, min: Any = None, max: Any = None) -> Any:  # noqa: A002 torch's names
    return op("clip", a, min, max)


def _where(condition: Any, a: Any, b: Any) -> Any:
    if not is_array(condition) or condition.dtype != torch.bool:  # the method, x.where(condition, b)
        condition, a = a, condition
    return op("where", innermost(condition), a, b)


def _masked_fill(a: Any, mask: Any, value: Any) -> Any:
    return op("where", mask, value, a)


def _lerp(a: Any, end: Any, weight: Any) -> Any:
    return a + weight * (end - a)


def _addcmul(a: Any, tensor1: Any, tensor2: Any, *, value: Any = 1) -> Any:
    return a + value * (tensor1 * tensor2)


def _addcdiv(a: Any, tensor1: Any, tensor2: Any, *, value: Any = 1) -> Any:
    return a + value * (tensor1 / tensor2)


def _sinc(a: Any) -> Any:
    """sin(πu)/(πu) by either of two forms, each for where the terms of the other cancel."""
    z = a * math.pi
    near = inside(z, -4, 4)
    squared = op("where", near, z, 0.0) ** 2
    terms = 16 + a.order  # 4²ᵐ/(2m+1)!, and its derivatives to the order, are below rounding then
    total = squared * 0.0
    for m in reversed(range(terms)):
        total = total * squared + (-1.0) ** m / math.factorial(2 * m + 1)
    far = op("where", near, math.pi, z)
    return op("where", near, total, op("sin", far) / far)


def _fmod(a: Any, b: Any) -> Any:
    return a - b * torch.div(innermost(a), innermost(b), rounding_mode="trunc")


def _logit(a: Any, eps: Any = None) -> Any:
    a = a if eps is None else op("clip", a, eps, 1 - eps)
    return op("log", a) - op("log1p", -a)


# --- activations that torch has and the core's table makes of its own ---------------------------


def _gelu(a: Any, approximate: str = "none") -> Any:
    return op("gelu" if approximate == "none" else "gelu_tanh", a)


def _softplus(a: Any, beta: float = 1, threshold: float = 20) -> Any:
    # Beyond the threshold torch's function is the identity, and so are its derivatives.
    scaled = a if beta == 1 else a * beta
    smooth = op("softplus", scaled)
    return op("where", op("greater", scaled, threshold), a, smooth if beta == 1 else smooth / beta)


def _elu(a: Any, alpha: float = 1.0) -> Any:
    return _exponential_below(a, alpha, 1.0, 1.0)


def _exponential_below(a: Any, alpha: float, scale: float, rate: float) -> Any:
    """scale·a above 0, scale·α·(e^(rate·a) − 1) below."""
    if alpha == scale == rate == 1:
        return op("elu", a)
    # Of 0 beyond the kink, so that what is not chosen does not overflow.
    below = op("expm1", op("minimum", a if rate == 1 else a * rate, 0.0))
    return op("where", op("greater", a, 0.0), a if scale == 1 else a * scale, below * (scale * alpha))


def _selu(a: Any) -> Any:
    # Klambauer et al. 2017, to the digits that torch has.
    return _exponential_below(a, 1.6732632423543772848170429916717, 1.0507009873554804934193349852946, 1.0)


def _celu(a: Any, alpha: float = 1.0) -> Any:
    return _exponential_below(a, alpha, 1.0, 1 / alpha)


def _leaky_relu(a: Any, negative_slope: float = 0.01) -> Any:
    return op("where", op("greater", a, 0.0), a, a * negative_slope)


def _prelu(a: Any, weight: Any) -> Any:
    if math.prod(weight.shape) > 1:  # one a channel, which is axis 1
        weight = torch.reshape(weight, (-1, *[1] * (a.ndim - 2)))
    return op("where", op("greater", a, 0.0), a, a * weight)


def _rrelu(a: Any, lower: float = 1 / 8, upper: float = 1 / 3, training: bool = False) -> Any:
    if training:
        raise MissingRule("no rule for rrelu in training, where it is random: call model.eval() first")
    return _leaky_relu(a, (lower + upper) / 2)


def _hardtanh(a: Any, min_val: float = -1.0, max_val: float = 1.0) -> Any:
    return op("where", inside(a, min_val, max_val), a, torch.clamp(innermost(a), min_val, max_val))


def _relu6(a: Any) -> Any:
    return _hardtanh(a, 0.0, 6.0)


def _hardsigmoid(a: Any) -> Any:
    return _hardtanh(a / 6 + 0.5, 0.0, 1.0)


def _hardswish(a: Any) -> Any:
    return a * _hardsigmoid(a)


def _hardshrink(a: Any, lambd: float = 0.5) -> Any:
    return op("where", op("greater", op("abs", a), lambd), a, 0.0)


def _softshrink(a: Any, lambd: float = 0.5) -> Any:
    return op("where", op("greater", op("abs", a), lambd), a - lambd * op("sign", a), 0.0)


def _threshold(a: Any, threshold: float, value: float) -> Any:
    return op("where", op("greater", a, threshold), a, value)


_SAME = """acos acosh asin asinh atan atanh ceil cos cosh erf exp expm1 floor imag log log10 log1p log2 mish ndtr
    real reciprocal round sign sigmoid silu sin sinh softsign sqrt square tan tanh trunc relu isfinite isinf isnan
    signbit logical_not positive"""
_RENAMED = {
    # NumPy's names, most of which are torch's too. Those that end in _ write in place in torch.
    **{name: of for name, of in NUMPY_NAMES.items() if of in {"abs", *_SAME.split()} and not name.endswith("_")},
    "conj": "conj",
    "neg": "negative",
    "negative": "negative",
    "abs": "abs",
    "fix": "trunc",
    "__abs__": "abs",
    "__neg__": "negative",
    "__pos__": "positive",
}
_OF_TWO = {
    "arctan2": "atan2",
    "atan2": "atan2",
    "eq": "equal",
    "float_power": "pow",
    "floor_divide": "floor_divide",
    "ge": "greater_equal",
    "greater": "greater",
    "greater_equal": "greater_equal",
    "gt": "greater",
    "hypot": "hypot",
    "le": "less_equal",
    "less": "less",
    "less_equal": "less_equal",
    "logaddexp": "logaddexp",
    "logical_and": "logical_and",
    "logical_or": "logical_or",
    "logical_xor": "logical_xor",
    "lt": "less",
    "maximum": "maximum",
    "minimum": "minimum",
    "mul": "multiply",
    "multiply": "multiply",
    "ne": "not_equal",
    "not_equal": "not_equal",
    "pow": "pow",
    "remainder": "remainder",
}
_OPERATORS = {
    "add": "add",
    "div": "divide",
    "eq": "equal",
    "floordiv": "floor_divide",
    "ge": "greater_equal",
    "gt": "greater",
    "le": "less_equal",
    "lt": "less",
    "mod": "remainder",
    "mul": "multiply",
    "ne": "not_equal",
    "pow": "pow",
    "sub": "subtract",
    "truediv": "divide",
}

ELEMENTWISE: dict[str, Callable[..., Any]] = {
    **{name: _unary(name) for name in _SAME.split()},
    **{name: _unary(standard) for name, standard in _RENAMED.items()},
    **{name: _binary(standard) for name, standard in _OF_TWO.items()},
    **{f"__{name}__": _binary(standard) for name, standard in _OPERATORS.items()},
    **{f"__r{name}__": _reflected(standard) for name, standard in _OPERATORS.items()},
    "add": _add,
    "_threshold": _threshold,  # F.threshold's name for itself
    "addcdiv": _addcdiv,
    "addcmul": _addcmul,
    "celu": _celu,
    "clamp": _clamp,
    "clamp_max": lambda a, max: _clamp(a, max=max),  # noqa: A006
    "clamp_min": lambda a, min: _clamp(a, min=min),  # noqa: A006
    "clip": _clamp,
    "deg2rad": lambda a: a * (math.pi / 180),
    "div": _divide,
    "divide": _divide,
    "elu": _elu,
    # Not 1 − erf, which has no correct digit left at 6.
    "erfc": lambda a: op("ndtr", a * -math.sqrt(2)) * 2,
    "frac": lambda a: a - op("trunc", a),
    "fmod": _fmod,
    "exp2": lambda a: op("exp", a * math.log(2)),
    "gelu": _gelu,
    "hardshrink": _hardshrink,
    "hardsigmoid": _hardsigmoid,
    "hardswish": _hardswish,
    "hardtanh": _hardtanh,
    "isclose": constant(torch.isclose),
    "leaky_relu": _leaky_relu,
    "lerp": _lerp,
    "log_sigmoid": lambda a: -op("softplus", -a),
    "logit": _logit,
    "logsigmoid": lambda a: -op("softplus", -a),
    "masked_fill": _masked_fill,
    "prelu": _prelu,
    "rad2deg": lambda a: a * (180 / math.pi),
    "relu6": _relu6,
    "rrelu": _rrelu,
    "rsqrt": lambda a: op("pow", a, -0.5),
    "rsub": _rsub,
    "selu": _selu,
    "sgn": lambda a: op("sign", a),
    "sinc": _sinc,
    "softplus": _softplus,
    "softshrink": _softshrink,
    "sub": _subtract,
    "subtract": _subtract,
    "tanhshrink": lambda a: a - op("tanh", a),
    "threshold": _threshold,
    "true_divide": _divide,
    "where": _where,
}
"""Torch's name → function of jets, tensors and numbers."""

IN_PLACE = {
    "_threshold": 3,
    "celu": 2,
    "elu": 2,
    "hardsigmoid": 1,
    "hardswish": 1,
    "hardtanh": 3,
    "leaky_relu": 2,
    "mish": 1,
    "relu": 1,
    "relu6": 1,
    "rrelu": 4,
    "selu": 1,
    "silu": 1,
    "threshold": 3,
}
"""Functions with an option ``inplace``, and its place among the arguments; entries above do not take it."""
