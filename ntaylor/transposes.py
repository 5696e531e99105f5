"""The transposes of the array operations that a loss is built from.

Floor 4: a table name → rule on plain arrays, ``rule(xp, *values, **options) -> (result, transposes)``;
``transposes`` holds one function an array argument, from the cotangent of the result to that of the
argument. Nothing here knows what records them. A cotangent is ȳ = ∂loss/∂y, of the shape of y.

Of a complex y it is the ȳ with d(loss) = Re Σ ȳ dy, so that the transposes of holomorphic operations read
as those of real ones, without conjugation. That of a real argument is the real part of what its transpose gives.
Operations made of others are those of ``composed``.
"""

from __future__ import annotations

import cmath
import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

from ntaylor import activations
from ntaylor.array_object import (
    ArrayObject,
    apply,
    check_floating_sum,
    refuse_complex,
    whole_number,
)
from ntaylor.index_transposes import INDEXING
from ntaylor.linalg_transposes import LINALG_TRANSPOSES
from ntaylor.namespace import MissingRule, any_true, is_array, is_complex, sum_to_shape
from ntaylor.series import Series

__all__ = ["TRANSPOSES", "zero_unless"]

Array = Any
Transpose = Callable[[Array], Array]
Rule = tuple[Array, list[Transpose]]


def _shape(a: Any) -> tuple[int, ...]:
    return tuple(getattr(a, "shape", ()))


def _elementwise(function: Callable[..., Any]) -> Callable[..., Any]:
    """A binary operation with broadcasting; ``function(xp, a, b)`` gives (value, ȳ ↦ ā, ȳ ↦ b̄)."""

    def rule(xp: Any, a: Any, b: Any) -> Rule:
        value, to_a, to_b = function(xp, a, b)
        return value, [lambda y: sum_to_shape(to_a(y), _shape(a)), lambda y: sum_to_shape(to_b(y), _shape(b))]

    return rule


def _divide(_: Any, a: Any, b: Any) -> Any:
    value = a / b
    return value, lambda y: y / b, lambda y: -y * value / b


def _remainder(xp: Any, a: Any, b: Any) -> Any:
    return a % b, lambda y: y, lambda y: -y * xp.floor_divide(a, b)


def _maximum(xp: Any, a: Any, b: Any) -> Any:
    refuse_complex("maximum", a, b)
    a, b = _both_arrays(xp, a, b)
    return xp.maximum(a, b), lambda y: zero_unless(xp, a >= b, y), lambda y: zero_unless(xp, a < b, y)


def _minimum(xp: Any, a: Any, b: Any) -> Any:
    refuse_complex("minimum", a, b)
    a, b = _both_arrays(xp, a, b)
    return xp.minimum(a, b), lambda y: zero_unless(xp, a <= b, y), lambda y: zero_unless(xp, a > b, y)


def _both_arrays(xp: Any, a: Any, b: Any) -> tuple[Any, Any]:
    like = a if is_array(a) else b
    first, second = (c if is_array(c) else xp.full_like(like, c) for c in (a, b))
    return first, second


def zero_unless(xp: Any, mask: Array, y: Array) -> Array:
    """``y`` where the mask holds, 0 elsewhere, also where y is NaN."""
    return xp.where(mask, y, xp.zeros_like(y))


def _pow(xp: Any, a: Any, b: Any) -> Rule:
    b = whole_number(b)
    if isinstance(b, complex):
        raise MissingRule("no gradient for a complex exponent: write xp.exp(exponent * xp.log(base))")
    if isinstance(b, (int, float)):
        v, w, _ = activations.power(b).pair(Series([a]), xp, 1)
        return v[0], [lambda y: y * w[0]]
    value = xp.pow(a, b)
    return value, [
        # Where b = 0 the derivative is 0, also at a = 0.
        lambda y: sum_to_shape(zero_unless(xp, b != 0, y * b * xp.pow(a, xp.where(b == 0, b + 1, b) - 1)), _shape(a)),
        lambda y: sum_to_shape(y * value * _log_or_zero(xp, a), _shape(b)),
    ]


def _log_or_zero(xp: Any, a: Any) -> Any:
    """log a, and 0 where a = 0: the derivative 0**b log 0 of 0**b is 0."""
    if is_array(a):
        return xp.log(xp.where(a == 0, xp.ones_like(a), a))
    if isinstance(a, complex):
        return cmath.log(a or 1.0)
    return math.log(a or 1.0) if a >= 0 else math.nan


def _atan2(xp: Any, y: Any, x: Any) -> Any:
    refuse_complex("atan2", y, x)
    squares = x * x + y * y
    if any_true(squares == 0):
        raise ValueError("atan2(0, 0) is not differentiable")
    return xp.atan2(y, x), lambda c: c * x / squares, lambda c: -c * y / squares


def _abs(xp: Any, a: Any) -> Rule:
    value = xp.abs(a)
    if not is_complex(a):
        return value, [lambda y: y * xp.sign(a)]
    # |a + da| = |a| + Re(conj(a) da)/|a|; at 0 as for real ones
    return value, [lambda y: y * xp.conj(a) / xp.where(value == 0, xp.ones_like(value), value)]


def _real(xp: Any, a: Any) -> Rule:
    return (xp.real(a) if is_complex(a) else a), [lambda y: xp.astype(y, a.dtype)]


def _imag(xp: Any, a: Any) -> Rule:
    if not is_complex(a):
        return xp.zeros_like(a), [lambda y: y * 0]
    return xp.imag(a), [lambda y: xp.astype(y, a.dtype) * -1j]


def _conj(xp: Any, a: Any) -> Rule:
    if not is_complex(a):
        return a, [lambda y: y]
    return xp.conj(a), [lambda y: xp.conj(y) if is_complex(y) else y]


def _where(xp: Any, condition: Any, a: Any, b: Any) -> Rule:
    a_array, b_array = _both_arrays(xp, a, b)
    return xp.where(condition, a_array, b_array), [
        lambda y: y * 0,
        lambda y: sum_to_shape(zero_unless(xp, condition, y), _shape(a)),
        lambda y: sum_to_shape(zero_unless(xp, xp.logical_not(condition), y), _shape(b)),
    ]


def _normalized_axes(axis: Any, ndim: int) -> tuple[int, ...]:
    axes = tuple(range(ndim)) if axis is None else (axis,) if isinstance(axis, int) else tuple(axis)
    return tuple(a % ndim for a in axes)


def _spread(xp: Any, y: Array, shape: tuple[int, ...], axis: Any) -> Array:
    """The transpose of a sum over ``axis`` from ``shape``, whether it kept its axes or not."""
    axes = _normalized_axes(axis, len(shape))
    kept = tuple(1 if i in axes else n for i, n in enumerate(shape))
    return xp.broadcast_to(xp.reshape(y, kept), shape)


def _sum(xp: Any, a: Any, *, axis: Any = None, dtype: Any = None, keepdims: bool = False) -> Rule:
    value = check_floating_sum("sum", xp.sum(a, axis=axis, dtype=dtype, keepdims=keepdims))
    return value, [lambda y: _spread(xp, y, a.shape, axis)]


def _mean(xp: Any, a: Any, *, axis: Any = None, keepdims: bool = False) -> Rule:
    value = xp.mean(a, axis=axis, keepdims=keepdims)
    return value, [lambda y: _spread(xp, y / (a.size // max(value.size, 1)), a.shape, axis)]


def _extreme(name: str) -> Callable[..., Rule]:
    """max and min over axes; tied entries share the cotangent evenly."""

    def rule(xp: Any, a: Any, *, axis: Any = None, keepdims: bool = False) -> Rule:
        refuse_complex(name, a)
        mask = xp.astype(a == getattr(xp, name)(a, axis=axis, keepdims=True), a.dtype)
        share = mask / xp.sum(mask, axis=axis, keepdims=True)
        value = getattr(xp, name)(a, axis=axis, keepdims=keepdims)
        return value, [lambda y: share * _spread(xp, y, a.shape, axis)]

    return rule


def _cumulative_sum(xp: Any, a: Any, *, axis: int | None = None, dtype: Any = None) -> Rule:
    if axis is None and a.ndim != 1:
        raise ValueError(f"cumulative_sum of an array of shape {a.shape} needs axis=…")
    along = 0 if axis is None else axis

    def transpose(y: Array) -> Array:
        return xp.flip(xp.cumulative_sum(xp.flip(y, axis=along), axis=along), axis=along)

    return check_floating_sum("cumulative_sum", xp.cumulative_sum(a, axis=along, dtype=dtype)), [transpose]


def _permute(xp: Any, a: Any, axes: Sequence[int]) -> Rule:
    axes = _normalized_axes(tuple(axes), a.ndim)
    inverse = tuple(axes.index(i) for i in range(a.ndim))
    return xp.permute_dims(a, axes), [lambda y: xp.permute_dims(y, inverse)]


def _reshape(xp: Any, a: Any, shape: Any, *, copy: bool | None = None) -> Rule:
    options = {} if copy is None else {"copy": copy}
    return xp.reshape(a, shape, **options), [lambda y: xp.reshape(y, a.shape)]


def _expand_dims(xp: Any, a: Any, *, axis: int = 0) -> Rule:
    return xp.expand_dims(a, axis=axis), [lambda y: xp.reshape(y, a.shape)]


def _squeeze(xp: Any, a: Any, axis: Any) -> Rule:
    return xp.squeeze(a, axis=axis), [lambda y: xp.reshape(y, a.shape)]


def _triangle(name: str) -> Callable[..., Rule]:
    def rule(xp: Any, a: Any, *, k: int = 0) -> Rule:
        return getattr(xp, name)(a, k=k), [lambda y: getattr(xp, name)(y, k=k)]

    return rule


def _flip(xp: Any, a: Any, *, axis: Any = None) -> Rule:
    return xp.flip(a, axis=axis), [lambda y: xp.flip(y, axis=axis)]


def _matrix_transpose(xp: Any, a: Any) -> Rule:
    return xp.matrix_transpose(a), [xp.matrix_transpose]


def _moveaxis(xp: Any, a: Any, source: Any, destination: Any) -> Rule:
    return xp.moveaxis(a, source, destination), [lambda y: xp.moveaxis(y, destination, source)]


def _roll(xp: Any, a: Any, shift: Any, *, axis: Any = None) -> Rule:
    shift = whole_number(shift)
    back = -shift if isinstance(shift, int) else tuple(-s for s in shift)
    return xp.roll(a, shift, axis=axis), [lambda y: xp.roll(y, back, axis=axis)]


def _broadcast_to(xp: Any, a: Any, shape: Any) -> Rule:
    return xp.broadcast_to(a, shape), [lambda y: sum_to_shape(y, a.shape)]


def _full_like(xp: Any, a: Any, fill_value: Any) -> Rule:
    value = xp.broadcast_to(fill_value, a.shape) if is_array(fill_value) else xp.full_like(a, fill_value)
    return value, [lambda y: y * 0, lambda y: sum_to_shape(y, _shape(fill_value))]


def _astype(xp: Any, a: Any, dtype: Any, *, copy: bool = True) -> Rule:
    def transpose(y: Array) -> Array:
        return xp.astype(xp.real(y) if is_complex(y) and not is_complex(a) else y, a.dtype)

    return xp.astype(a, dtype, copy=copy), [transpose]


def _concat(xp: Any, arrays: Sequence[Any], *, axis: int | None = 0) -> Rule:
    along = 0 if axis is None else axis % arrays[0].ndim
    edges = [0, *itertools.accumulate(a.size if axis is None else a.shape[axis] for a in arrays)]

    def part(i: int) -> Transpose:
        key = (*(slice(None),) * along, slice(edges[i], edges[i + 1]), ...)
        return lambda y: xp.reshape(y[key], arrays[i].shape)

    return xp.concat(arrays, axis=axis), [part(i) for i in range(len(arrays))]


def _stack(xp: Any, arrays: Sequence[Any], *, axis: int = 0) -> Rule:
    before = (slice(None),) * (axis % (arrays[0].ndim + 1))
    return xp.stack(arrays, axis=axis), [lambda y, i=i: y[(*before, i, ...)] for i in range(len(arrays))]  # type: ignore[misc]


def _euclidean_norm(xp: Any, a: Any, *, axis: Any = None, keepdims: bool = False) -> Rule:
    """Of a zero vector, which has no derivative, the 0 among its subgradients: as of abs."""
    if isinstance(a, ArrayObject):
        value = apply("euclidean_norm", (a,), {"axis": axis, "keepdims": keepdims})
    else:
        value = xp.sqrt(xp.sum(xp.real(a * xp.conj(a)) if is_complex(a) else a * a, axis=axis, keepdims=keepdims))

    def transpose(y: Array) -> Array:
        share = y / xp.where(value == 0, xp.ones_like(value), value)
        return _spread(xp, share, a.shape, axis) * (xp.conj(a) if is_complex(a) else a)

    return value, [transpose]


def _matmul(xp: Any, a: Any, b: Any) -> Rule:
    value = a @ b
    # Vectors are matrices of one row or column for the time of the product.
    rows = a[None, :] if a.ndim == 1 else a
    columns = b[:, None] if b.ndim == 1 else b
    batch = value.shape[: value.ndim - (a.ndim > 1) - (b.ndim > 1)]
    shape = (*batch, rows.shape[-2], columns.shape[-1])

    def to_a(y: Array) -> Array:
        full = xp.reshape(y, shape) @ xp.matrix_transpose(columns)
        return xp.reshape(sum_to_shape(full, rows.shape), a.shape)

    def to_b(y: Array) -> Array:
        full = xp.matrix_transpose(rows) @ xp.reshape(y, shape)
        return xp.reshape(sum_to_shape(full, columns.shape), b.shape)

    return value, [to_a, to_b]


TRANSPOSES: dict[str, Callable[..., Rule]] = {
    **INDEXING,
    **LINALG_TRANSPOSES,
    "abs": _abs,
    "add": _elementwise(lambda _, a, b: (a + b, lambda y: y, lambda y: y)),
    "astype": _astype,
    "atan2": _elementwise(_atan2),
    "broadcast_to": _broadcast_to,
    "concat": _concat,
    "conj": _conj,
    "cumulative_sum": _cumulative_sum,
    "divide": _elementwise(_divide),
    "euclidean_norm": _euclidean_norm,
    "expand_dims": _expand_dims,
    "flip": _flip,
    "full_like": _full_like,
    "imag": _imag,
    "matmul": _matmul,
    "matrix_transpose": _matrix_transpose,
    "max": _extreme("max"),
    "maximum": _elementwise(_maximum),
    "mean": _mean,
    "min": _extreme("min"),
    "minimum": _elementwise(_minimum),
    "moveaxis": _moveaxis,
    "multiply": _elementwise(lambda _, a, b: (a * b, lambda y: y * b, lambda y: y * a)),
    "negative": lambda _, a: (-a, [lambda y: -y]),
    "permute_dims": _permute,
    "positive": lambda _, a: (a, [lambda y: y]),
    "pow": _pow,
    "real": _real,
    "remainder": _elementwise(_remainder),
    "reshape": _reshape,
    "roll": _roll,
    "squeeze": _squeeze,
    "stack": _stack,
    "subtract": _elementwise(lambda _, a, b: (a - b, lambda y: y, lambda y: -y)),
    "sum": _sum,
    "tril": _triangle("tril"),
    "triu": _triangle("triu"),
    "where": _where,
}
