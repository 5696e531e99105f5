"""NumPy's functions beyond the standard that scientific code is written with, each made of others.

Floor 2: a table name → function of array objects, as in ``composed``, which takes it over. Names and defaults are
NumPy's, and only NumPy's door looks here: torch's pad, median and select are other functions.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import reduce
from itertools import pairwise
from typing import Any

from ntaylor.array_object import apply, innermost, objects_in
from ntaylor.namespace import MissingRule, array_namespace, device, is_array

__all__ = ["NUMPY"]

Array = Any


def _array_like(value: Any, *objects: Any) -> Array:
    """``value``, a number or a list of them as an array of the library of ``objects``."""
    if is_array(value):
        return value
    like = innermost(next(objects_in(objects)))
    return array_namespace(like).asarray(value, dtype=like.dtype)


def _at_least(ndim: int) -> Callable[[Any], Any]:
    def function(*arrays: Any) -> Any:
        def grown(a: Any) -> Any:
            a = _array_like(a, arrays)
            n, shape = a.ndim, tuple(a.shape)
            if n >= ndim:
                return a
            # NumPy puts a third axis last.
            wide = {0: (1,) * ndim, 1: (1, *shape) if ndim == 2 else (1, *shape, 1), 2: (*shape, 1)}[n]
            return apply("reshape", (a, wide), {})

        return grown(arrays[0]) if len(arrays) == 1 else tuple(map(grown, arrays))

    return function


def _along(a: Any, axis: int, key: Any) -> Any:
    return a[(*(slice(None),) * (axis % a.ndim), key, ...)]


def _append(a: Any, values: Any, axis: int | None = None) -> Any:
    parts = [_array_like(c, a, values) for c in (a, values)]
    if axis is None:
        parts = [apply("reshape", (c, (-1,)), {}) for c in parts]
    return apply("concat", (parts,), {"axis": 0 if axis is None else axis})


def _apply_along_axis(function: Callable[..., Any], axis: int, a: Any, *args: Any, **kwargs: Any) -> Any:
    last = apply("moveaxis", (a, axis, -1), {})
    lead = tuple(last.shape[:-1])
    rows = apply("unstack", (apply("reshape", (last, (-1, last.shape[-1])), {}),), {"axis": 0})
    found = apply("stack", ([_array_like(function(row, *args, **kwargs), row) for row in rows],), {"axis": 0})
    inner = tuple(found.shape[1:])
    whole = apply("reshape", (found, (*lead, *inner)), {})
    made = tuple(range(len(lead), whole.ndim))
    return apply("moveaxis", (whole, made, tuple(axis % a.ndim + i for i in range(len(made)))), {}) if inner else whole


def _average(a: Any, axis: Any = None, weights: Any = None, returned: bool = False, *, keepdims: bool = False) -> Any:
    if returned:
        raise MissingRule("no rule for average(returned=True): take the sum of the weights apart")
    if weights is None:
        return apply("mean", (a,), {"axis": axis, "keepdims": keepdims})
    weights = _array_like(weights, a, weights)
    if tuple(weights.shape) != tuple(a.shape):
        if not isinstance(axis, int) or weights.ndim != 1:
            raise MissingRule("no rule for average with weights of another shape, but for a vector of them along axis")
        weights = apply("reshape", (weights, tuple(-1 if i == axis % a.ndim else 1 for i in range(a.ndim))), {})
    options = {"axis": axis, "keepdims": keepdims}
    wide = apply("broadcast_to", (weights, tuple(a.shape)), {})
    return apply("sum", (a * wide,), options) / apply("sum", (wide,), options)


def _column_stack(arrays: Sequence[Any]) -> Any:
    columns = [apply("reshape", (a, (-1, 1)), {}) if a.ndim < 2 else a for a in arrays]
    return apply("concat", (columns,), {"axis": 1})


def _convolve(a: Any, v: Any, mode: str = "full") -> Any:
    """A sum of shifted copies of the longer: as many as the shorter is long."""
    a, v = (_array_like(c, a, v) for c in (a, v))
    if a.shape[0] < v.shape[0]:
        a, v = v, a
    n, m = a.shape[0], v.shape[0]
    first, last = {"full": (0, n + m - 1), "same": ((m - 1) // 2, (m - 1) // 2 + n), "valid": (m - 1, n)}[mode]
    wide = _pad(a, m - 1)
    copies = [wide[m - 1 - i + first : m - 1 - i + last] * v[i] for i in range(m)]
    return reduce(lambda b, c: b + c, copies)


def _diag(v: Any, k: int = 0) -> Any:
    if v.ndim == 2:
        return apply("diagonal", (v, k), {})
    if v.ndim != 1:
        raise ValueError(f"diag takes a vector or a matrix, got an array of {v.ndim} axes")
    plain = array_namespace(innermost(v))
    size = v.shape[0] + abs(k)
    wide = _pad(v, (max(k, 0), max(-k, 0)))
    return apply("where", (plain.eye(size, k=k) == 1, wide[None, :], 0.0), {})


def _gradient(f: Any, *spacing: Any, axis: Any = None, edge_order: int = 1) -> Any:
    """Differences on a uniform grid, of first order at the ends."""
    axes = [axis] if isinstance(axis, int) else list(range(f.ndim) if axis is None else axis)
    if edge_order != 1 or len(spacing) > 1 or any(getattr(h, "ndim", 0) for h in spacing):
        raise MissingRule("no rule for gradient(edge_order=2) or of a grid: only for one spacing, a number")
    (h,) = spacing or (1.0,)
    if any(f.shape[i] < 2 for i in axes):
        raise ValueError(f"gradient takes at least 2 entries along each axis, got an array of shape {tuple(f.shape)}")

    def one(i: int) -> Any:
        def part(start: int | None, stop: int | None) -> Any:
            return _along(f, i, slice(start, stop))

        inner = (part(2, None) - part(None, -2)) / 2
        ends = part(1, 2) - part(0, 1), part(-1, None) - part(-2, -1)
        return apply("concat", ([ends[0], inner, ends[1]],), {"axis": i % f.ndim}) / h

    found = [one(i) for i in axes]
    return found[0] if len(found) == 1 else tuple(found)


def _trapezoid(y: Any, x: Any = None, dx: Any = 1.0, axis: int = -1) -> Any:
    y = _array_like(y, y, x)
    middle = (_along(y, axis, slice(1, None)) + _along(y, axis, slice(None, -1))) / 2
    if x is not None:
        x = _array_like(x, y, x)
        along = 0 if x.ndim == 1 else axis
        dx = _along(x, along, slice(1, None)) - _along(x, along, slice(None, -1))
        if x.ndim == 1:
            dx = apply("reshape", (dx, tuple(-1 if i == axis % y.ndim else 1 for i in range(y.ndim))), {})
    return apply("sum", (middle * dx,), {"axis": axis})


def _median(a: Any, axis: Any = None, *, keepdims: bool = False) -> Any:
    """Of the entries in their order at the primal: the middle one, or the mean of two."""
    if isinstance(axis, (tuple, list)):
        raise MissingRule("no rule for median over several axes: join them with xp.reshape first")
    shape = tuple(1 if axis is None or i == axis % a.ndim else n for i, n in enumerate(a.shape))
    ordered = apply("sort", (a,), {"axis": axis})
    along = 0 if axis is None else axis
    n = ordered.shape[along]
    found = (_along(ordered, along, (n - 1) // 2) + _along(ordered, along, n // 2)) / 2
    return apply("reshape", (found, shape), {}) if keepdims else found


def _nan_to_num(x: Any, copy: bool = True, nan: float = 0.0, posinf: Any = None, neginf: Any = None) -> Any:
    info = array_namespace(innermost(x)).finfo(x.dtype)
    x = apply("where", (apply("isnan", (x,), {}), nan, x), {})
    infinite = apply("isinf", (x,), {})
    for sign, given, bound in ((1, posinf, info.max), (-1, neginf, info.min)):
        here = apply("logical_and", (infinite, x * sign > 0), {})
        x = apply("where", (here, float(bound) if given is None else given, x), {})
    return x


def _pad(a: Any, pad_width: Any, mode: str = "constant", **options: Any) -> Any:
    if mode not in ("constant", "edge", "wrap") or options.keys() - {"constant_values"}:
        raise MissingRule(f"no rule for pad(mode={mode!r}), only for 'constant', 'edge' and 'wrap'")
    value = options.get("constant_values", 0.0)
    if isinstance(value, (tuple, list)):
        raise MissingRule("no rule for pad with several constant_values: pad with one number, one axis at a time")
    width = [pad_width] if isinstance(pad_width, int) else list(pad_width)
    pairs: list[Any] = [(w, w) if isinstance(w, int) else tuple(w) for w in width]
    if len(width) == 2 and all(isinstance(w, int) for w in width):
        pairs = [tuple(width)]
    if len(pairs) == 1:
        pairs = pairs * a.ndim
    for i, (before, after) in enumerate(pairs):
        if not before and not after:
            continue
        n = a.shape[i]
        if mode == "wrap" and max(before, after) > n:
            raise MissingRule("no rule for pad(mode='wrap') by more than the axis is long")
        if mode == "wrap":
            ends = _along(a, i, slice(n - before, None)), _along(a, i, slice(0, after))
        else:
            shapes = [(*a.shape[:i], size, *a.shape[i + 1 :]) for size in (before, after)]
            if mode == "constant":
                like = innermost(a)
                xp = array_namespace(like)
                ends = tuple(xp.full(shape, value, dtype=like.dtype, device=device(like)) for shape in shapes)
            else:
                first, last = _along(a, i, slice(0, 1)), _along(a, i, slice(n - 1, None))
                ends = tuple(apply("broadcast_to", pair, {}) for pair in zip((first, last), shapes, strict=True))
        a = apply("concat", ([ends[0], a, ends[1]],), {"axis": i})
    return a


def _polyval(p: Any, x: Any) -> Any:
    """Horner's rule, the highest power first."""
    coefficients = p if isinstance(p, (list, tuple)) else [p[i] for i in range(p.shape[0])]
    result = apply("zeros_like", (_array_like(x, p, x),), {})
    for c in coefficients:
        result = result * x + c
    return result


def _ptp(a: Any, axis: Any = None, *, keepdims: bool = False) -> Any:
    options = {"axis": axis, "keepdims": keepdims}
    return apply("max", (a,), options) - apply("min", (a,), options)


def _rot90(m: Any, k: int = 1, axes: Any = (0, 1)) -> Any:
    first, second = (i % m.ndim for i in axes)
    if k % 4 == 0:
        return m
    if k % 4 == 2:
        return apply("flip", (m,), {"axis": (first, second)})
    if k % 4 == 1:
        return apply("swapaxes", (apply("flip", (m,), {"axis": second}), first, second), {})
    return apply("flip", (apply("swapaxes", (m, first, second), {}),), {"axis": second})


def _select(conditions: Any, choices: Any, default: Any = 0.0) -> Any:
    result = _array_like(default, *choices, default)
    for condition, choice in zip(reversed(conditions), reversed(choices), strict=True):
        result = apply("where", (condition, choice, result), {})
    return result


def _array_split(a: Any, indices_or_sections: Any, axis: int = 0) -> list[Any]:
    length = a.shape[axis]
    if not isinstance(indices_or_sections, int):
        edges = [0, *map(int, indices_or_sections), length]
    else:
        whole, rest = divmod(length, indices_or_sections)
        sizes = [whole + (i < rest) for i in range(indices_or_sections)]
        edges = [sum(sizes[:i]) for i in range(len(sizes) + 1)]
    return [_along(a, axis, slice(start, stop)) for start, stop in pairwise(edges)]


def _vdot(a: Any, b: Any) -> Any:
    return apply("vecdot", (apply("reshape", (a, (-1,)), {}), apply("reshape", (b, (-1,)), {})), {})


def _many(name: str) -> Callable[..., Any]:
    def function(a: Any, s: Any = None, axes: Any = (-2, -1), norm: Any = None) -> Any:
        options = {"axes": tuple(axes)} | ({} if s is None else {"s": s}) | ({} if norm is None else {"norm": norm})
        return apply(name, (a,), options)

    return function


_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "append": _append,
    "apply_along_axis": _apply_along_axis,
    "array_split": _array_split,
    "atleast_1d": _at_least(1),
    "atleast_2d": _at_least(2),
    "atleast_3d": _at_least(3),
    "average": _average,
    "column_stack": _column_stack,
    "convolve": _convolve,
    "deg2rad": lambda x: x * (math.pi / 180),
    "degrees": lambda x: x * (180 / math.pi),
    "diag": _diag,
    "dstack": lambda arrays: apply("concat", ([_at_least(3)(a) for a in arrays],), {"axis": 2}),
    "exp2": lambda x: apply("pow", (2.0, x), {}),
    "fft.fft2": _many("fft.fftn"),
    "fft.ifft2": _many("fft.ifftn"),
    "fft.irfft2": _many("fft.irfftn"),
    "fft.rfft2": _many("fft.rfftn"),
    "fliplr": lambda m: apply("flip", (m,), {"axis": 1}),
    "flipud": lambda m: apply("flip", (m,), {"axis": 0}),
    "gradient": _gradient,
    "hsplit": lambda a, n: apply("split", (a, n), {"axis": 0 if a.ndim == 1 else 1}),
    "linalg.multi_dot": lambda arrays: reduce(lambda a, b: a @ b, arrays),
    "matvec": lambda a, v: (a @ v[..., None])[..., 0],
    "median": _median,
    "nan_to_num": _nan_to_num,
    "pad": _pad,
    "polyval": _polyval,
    "ptp": _ptp,
    "rad2deg": lambda x: x * (180 / math.pi),
    "radians": lambda x: x * (math.pi / 180),
    "rot90": _rot90,
    "select": _select,
    "trapezoid": _trapezoid,
    "vdot": _vdot,
    "vecmat": lambda v, a: (v[..., None, :] @ a)[..., 0, :],
    "vsplit": lambda a, n: apply("split", (a, n), {"axis": 0}),
}
NUMPY = {f"numpy.{name}": function for name, function in _FUNCTIONS.items()}
"""``numpy.`` and the name in NumPy → function of arrays and array objects."""
