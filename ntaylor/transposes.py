"""The transposes of the array operations that a loss is built from.

Floor 4: a table name → rule on plain arrays, ``rule(xp, *values, **options) -> (result, transposes)``;
``transposes`` holds one function an array argument, from the cotangent of the result to that of the
argument. Nothing here knows what records them. A cotangent is ȳ = ∂loss/∂y, of the shape of y.

Of a complex y it is the ȳ with d(loss) = Re Σ ȳ dy, so that the transposes of holomorphic operations read
as those of real ones, without conjugation. That of a real argument is the real part of what its transpose gives.
Operations made of others are those of ``composed``.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

from ntaylor import activations
from ntaylor.array_object import ArrayObject, refuse_complex, unwrapped_namespace, whole_number
from ntaylor.namespace import MissingRule, is_array, is_complex, sum_to_shape
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
        lambda y: sum_to_shape(y * value * (xp.log(a) if is_array(a) else math.log(a)), _shape(b)),
    ]


def _atan2(xp: Any, y: Any, x: Any) -> Any:
    refuse_complex("atan2", y, x)
    squares = x * x + y * y
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
    return xp.sum(a, axis=axis, dtype=dtype, keepdims=keepdims), [lambda y: _spread(xp, y, a.shape, axis)]


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


def _cumulative_sum(xp: Any, a: Any, *, axis: int | None = None) -> Rule:
    along = 0 if axis is None else axis

    def transpose(y: Array) -> Array:
        return xp.flip(xp.cumulative_sum(xp.flip(y, axis=along), axis=along), axis=along)

    return xp.cumulative_sum(a, axis=along), [transpose]


def _permute(xp: Any, a: Any, axes: Sequence[int]) -> Rule:
    axes = _normalized_axes(tuple(axes), a.ndim)
    inverse = tuple(axes.index(i) for i in range(a.ndim))
    return xp.permute_dims(a, axes), [lambda y: xp.permute_dims(y, inverse)]


def _reshaping(name: str) -> Callable[..., Rule]:
    def rule(xp: Any, a: Any, *args: Any, **kwargs: Any) -> Rule:
        return getattr(xp, name)(a, *args, **kwargs), [lambda y: xp.reshape(y, a.shape)]

    return rule


def _own_inverse(name: str) -> Callable[..., Rule]:
    def rule(xp: Any, a: Any, **kwargs: Any) -> Rule:
        function = getattr(xp, name)
        return function(a, **kwargs), [lambda y: function(y, **kwargs)]

    return rule


def _moveaxis(xp: Any, a: Any, source: Any, destination: Any) -> Rule:
    return xp.moveaxis(a, source, destination), [lambda y: xp.moveaxis(y, destination, source)]


def _roll(xp: Any, a: Any, shift: Any, *, axis: Any = None) -> Rule:
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


def _getitem(xp: Any, a: Any, key: Any) -> Rule:
    parts = key if isinstance(key, tuple) else (key,)
    if any(isinstance(p, list) or (is_array(p) and not xp.isdtype(p.dtype, "bool")) for p in parts):
        # Repeated entries of an index array would overwrite each other in the transpose.
        raise MissingRule(
            "no gradient for indexing with an integer array: use xp.take(a, indices, axis=…), slices or a mask"
        )

    def transpose(y: Array) -> Array:
        if not isinstance(y, ArrayObject):
            full = xp.zeros_like(a)
            full[key] = y
            return full
        # Of an object nothing can be assigned to: gather from [0, *y] instead.
        plain = unwrapped_namespace([_innermost(y)])
        places = plain.reshape(plain.reshape(plain.arange(a.size), a.shape)[key], (-1,))
        source = plain.zeros(a.size, dtype=places.dtype)
        source[places] = plain.arange(1, y.size + 1)
        own = unwrapped_namespace([y])
        flat = own.reshape(y, (-1,))
        return own.reshape(own.take(own.concat([flat[:1] * 0, flat]), source, axis=0), a.shape)

    return a[key], [transpose]


def _innermost(a: Any) -> Array:
    while isinstance(a, ArrayObject):
        a = a._like
    return a


def _take(xp: Any, a: Any, indices: Any, *, axis: int | None = None) -> Rule:
    if not is_array(indices) or indices.ndim != 1 or (axis is None and a.ndim != 1):
        raise MissingRule("no gradient for this take: it needs a 1-d array of indices, and axis= unless a is 1-d")
    along = 0 if axis is None else axis % a.ndim

    def transpose(y: Array) -> Array:
        # One row an index: a matrix product adds up repeated ones, which assignment would not.
        length = a.shape[along]
        selected = (indices % length)[:, None] == xp.arange(length)[None, :]
        return xp.moveaxis(xp.moveaxis(y, along, -1) @ xp.astype(selected, a.dtype), -1, along)

    return xp.take(a, indices, axis=along), [transpose]


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
    "abs": _abs,
    "add": _elementwise(lambda _, a, b: (a + b, lambda y: y, lambda y: y)),
    "astype": _astype,
    "atan2": _elementwise(_atan2),
    "broadcast_to": _broadcast_to,
    "concat": _concat,
    "conj": _conj,
    "cumulative_sum": _cumulative_sum,
    "divide": _elementwise(_divide),
    "expand_dims": _reshaping("expand_dims"),
    "flip": _own_inverse("flip"),
    "full_like": _full_like,
    "getitem": _getitem,
    "imag": _imag,
    "matmul": _matmul,
    "matrix_transpose": _own_inverse("matrix_transpose"),
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
    "reshape": _reshaping("reshape"),
    "roll": _roll,
    "squeeze": _reshaping("squeeze"),
    "stack": _stack,
    "subtract": _elementwise(lambda _, a, b: (a - b, lambda y: y, lambda y: -y)),
    "sum": _sum,
    "take": _take,
    "where": _where,
}
