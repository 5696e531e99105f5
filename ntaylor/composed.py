"""Operations of the array namespace that are made of others, stated once.

Floor 3: a table name → function of array objects. It calls the public operations, so that jets,
variables, and either inside the other are all served by the rules that they have for those.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any

from ntaylor.arrangements import ARRANGEMENTS
from ntaylor.array_object import apply, innermost, refuse_complex, unwrapped_namespace
from ntaylor.namespace import MissingRule, is_array, is_complex
from ntaylor.numpy_functions import NUMPY
from ntaylor.products import PRODUCTS

__all__ = ["COMPOSED"]

Array = Any


def _clip(a: Any, min: Any = None, max: Any = None) -> Any:  # noqa: A002 the standard's names
    if min is not None:
        a = apply("maximum", (a, min), {})
    return a if max is None else apply("minimum", (a, max), {})


def _diff(a: Any, *, axis: int = -1, n: int = 1, prepend: Any = None, append: Any = None) -> Any:
    along = axis % a.ndim
    parts = []
    for part in (prepend, a, append):
        if part is not None and getattr(part, "ndim", 0) == 0:
            one = a[(slice(None),) * along + (slice(0, 1),)]
            part = apply("full_like", (one, part), {})
        if part is not None:
            parts.append(part)
    if len(parts) > 1:
        a = apply("concat", (parts,), {"axis": along})
    before = (slice(None),) * along
    for _ in range(n):
        a = a[(*before, slice(1, None))] - a[(*before, slice(None, -1))]
    return a


def _dot(a: Any, b: Any) -> Any:
    dimensions = [getattr(c, "ndim", 0) for c in (a, b)]
    if 0 in dimensions:
        return a * b
    if dimensions[1] > 2:
        raise MissingRule("no rule for dot with a second argument of more than 2 axes: use xp.tensordot or a @ b")
    return a @ b


def _hypot(a: Any, b: Any) -> Any:
    refuse_complex("hypot", a, b)
    return apply("sqrt", (a * a + b * b,), {})


def _hstack(arrays: Any) -> Any:
    arrays = [_at_least(a, 1) for a in arrays]
    return apply("concat", (arrays,), {"axis": 0 if arrays[0].ndim == 1 else 1})


def _vstack(arrays: Any) -> Any:
    return apply("concat", ([_at_least(a, 2) for a in arrays],), {"axis": 0})


def _at_least(a: Any, ndim: int) -> Any:
    if not is_array(a):
        raise MissingRule("no rule for hstack and vstack of Python numbers: pass arrays, such as xp.zeros(1)")
    return apply("reshape", (a, (1,) * (ndim - a.ndim) + tuple(a.shape)), {}) if a.ndim < ndim else a


def _outer(a: Any, b: Any) -> Any:
    return apply("reshape", (a, (-1, 1)), {}) * apply("reshape", (b, (1, -1)), {})


def _repeat(a: Any, repeats: Any, *, axis: int | None = None) -> Any:
    if axis is None:
        a, axis = apply("reshape", (a, (-1,)), {}), 0
    plain = unwrapped_namespace([innermost(a)])
    places = plain.repeat(plain.arange(a.shape[axis]), plain.asarray(repeats) if isinstance(repeats, list) else repeats)
    return apply("take", (a, places), {"axis": axis})


def _split(a: Any, indices_or_sections: Any, axis: int = 0) -> list[Any]:
    along, length = axis % a.ndim, a.shape[axis]
    if isinstance(indices_or_sections, int):
        if length % indices_or_sections:
            raise ValueError(f"an axis of {length} does not split into {indices_or_sections} equal parts")
        edges = list(range(0, length + 1, length // indices_or_sections))
    else:
        edges = [0, *map(int, indices_or_sections), length]
    return [a[(slice(None),) * along + (slice(start, stop),)] for start, stop in pairwise(edges)]


def _tensordot(a: Any, b: Any, *, axes: Any = 2) -> Any:
    if isinstance(axes, int):
        of_a, of_b = list(range(a.ndim - axes, a.ndim)), list(range(axes))
    else:
        of_a, of_b = ([i] if isinstance(i, int) else list(i) for i in axes)
    of_a, of_b = [i % a.ndim for i in of_a], [i % b.ndim for i in of_b]
    kept_a, kept_b = [i for i in range(a.ndim) if i not in of_a], [i for i in range(b.ndim) if i not in of_b]
    shape = tuple(a.shape[i] for i in kept_a) + tuple(b.shape[i] for i in kept_b)
    inner = math.prod(a.shape[i] for i in of_a)
    rows = apply("reshape", (apply("permute_dims", (a, (*kept_a, *of_a)), {}), (-1, inner)), {})
    columns = apply("reshape", (apply("permute_dims", (b, (*of_b, *kept_b)), {}), (inner, -1)), {})
    return apply("reshape", (apply("matmul", (rows, columns), {}), shape), {})


def _tile(a: Any, repetitions: Any = None, *, reps: Any = None) -> Any:
    repetitions = reps if repetitions is None else repetitions
    counts = (repetitions,) if isinstance(repetitions, int) else tuple(repetitions)
    ndim = max(a.ndim, len(counts))
    shape = (1,) * (ndim - a.ndim) + tuple(a.shape)
    counts = (1,) * (ndim - len(counts)) + counts
    apart = apply("reshape", (a, tuple(m for n in shape for m in (1, n))), {})
    wide = apply("broadcast_to", (apart, tuple(m for c, n in zip(counts, shape, strict=True) for m in (c, n))), {})
    return apply("reshape", (wide, tuple(c * n for c, n in zip(counts, shape, strict=True))), {})


def _logaddexp(a: Any, b: Any) -> Any:
    # From the larger: from the smaller, a result near 0 is what is left of two large numbers.
    swap = apply("less", (a, b), {})
    larger, smaller = apply("where", (swap, b, a), {}), apply("where", (swap, a, b), {})
    return larger + apply("softplus", (smaller - larger,), {})


def _norm(a: Any, ord: Any = None, axis: Any = None, keepdims: bool = False) -> Any:  # noqa: A002
    """NumPy's: of a matrix, ord=None and ord="fro" are the 2-norm of its entries, and ord=2 is not."""
    axes = a.ndim if axis is None else 1 if isinstance(axis, int) else len(axis)
    if ord is None or (ord == "fro" and axes == 2):
        return apply("vector_norm", (a,), {"axis": axis, "keepdims": keepdims})
    if axes == 1 and not isinstance(ord, str):
        return apply("vector_norm", (a,), {"axis": axis, "keepdims": keepdims, "ord": ord})
    if axes == 2 and ord in (1, math.inf):
        pair = (0, 1) if axis is None else tuple(i % a.ndim for i in axis)
        last = a if pair == (a.ndim - 2, a.ndim - 1) else apply("moveaxis", (a, pair, (-2, -1)), {})
        found = apply("linalg.matrix_norm", (last,), {"ord": ord, "keepdims": keepdims})
        return apply("moveaxis", (found, (-2, -1), pair), {}) if keepdims and last is not a else found
    raise MissingRule(
        f"no rule for norm(ord={ord!r}) over {axes} axes: leave ord out for the 2-norm of the entries, or write others "
        "with xp.abs, xp.sum and xp.max"
    )


def _std(a: Any, *, axis: Any = None, correction: float = 0.0, keepdims: bool = False) -> Any:
    return apply("sqrt", (_var(a, axis=axis, correction=correction, keepdims=keepdims),), {})


def _var(a: Any, *, axis: Any = None, correction: float = 0.0, keepdims: bool = False) -> Any:
    mean = apply("mean", (a,), {"axis": axis, "keepdims": True})
    count = math.prod(a.shape) // max(math.prod(mean.shape), 1) - correction
    return apply("sum", (_squared_modulus(a - mean),), {"axis": axis, "keepdims": keepdims}) / count


def _vecdot(a: Any, b: Any, *, axis: int = -1) -> Any:
    if is_complex(a):
        a = apply("conj", (a,), {})
    return apply("sum", (a * b,), {"axis": axis})


def _vector_norm(a: Any, *, axis: Any = None, keepdims: bool = False, ord: Any = 2) -> Any:  # noqa: A002
    options = {"axis": axis, "keepdims": keepdims}
    if ord == 2:
        return apply("euclidean_norm", (a,), options)
    if ord != 1 and abs(ord) != math.inf and not ord > 1:
        raise MissingRule(
            f"no rule for vector_norm(ord={ord!r}), only for 1 <= ord <= inf and -inf: write it with xp.abs"
        )
    modulus = apply("abs", (a,), {})
    if abs(ord) == math.inf:
        return apply("max" if ord > 0 else "min", (modulus,), options)
    return apply("sum", (modulus,), options) if ord == 1 else apply("sum", (modulus**ord,), options) ** (1 / ord)


def _euclidean_norm(a: Any, *, axis: Any = None, keepdims: bool = False) -> Any:
    return apply("sqrt", (apply("sum", (_squared_modulus(a),), {"axis": axis, "keepdims": keepdims}),), {})


def _squared_modulus(a: Any) -> Any:
    if not is_complex(a):
        return a * a
    real, imag = apply("real", (a,), {}), apply("imag", (a,), {})
    return real * real + imag * imag


_OPPOSITE = {"backward": "forward", "ortho": "ortho", "forward": "backward"}


def _hfft(a: Any, *, n: int | None = None, axis: int = -1, norm: str = "backward") -> Any:
    return apply("fft.irfft", (apply("conj", (a,), {}),), {"n": n, "axis": axis, "norm": _OPPOSITE[norm]})


def _ihfft(a: Any, *, n: int | None = None, axis: int = -1, norm: str = "backward") -> Any:
    return apply("conj", (apply("fft.rfft", (a,), {"n": n, "axis": axis, "norm": _OPPOSITE[norm]}),), {})


def _real_fourier_of_many(name: str) -> Callable[..., Any]:
    """Axis after axis; the last one first where it goes from real numbers, and last where it goes back to them."""

    def function(a: Any, *, s: Any = None, axes: Any = None, norm: str = "backward") -> Any:
        if axes is None:
            axes = range(a.ndim) if s is None else range(a.ndim - len(s), a.ndim)
        steps = [
            (f"fft.{'ifft' if name == 'irfftn' else 'fft'}", axis, n)
            for axis, n in zip(axes, [None] * len(axes) if s is None else s, strict=True)
        ]
        steps[-1] = (f"fft.{name[:-1]}", *steps[-1][1:])
        for step, axis, n in steps if name == "irfftn" else reversed(steps):
            a = apply(step, (a,), {"n": n, "axis": axis, "norm": norm})
        return a

    return function


COMPOSED: dict[str, Callable[..., Any]] = {
    **ARRANGEMENTS,
    **NUMPY,
    **PRODUCTS,
    "clip": _clip,
    "diff": _diff,
    "dot": _dot,
    "euclidean_norm": _euclidean_norm,
    # of variables; jets have rules for these
    "fft.hfft": _hfft,
    "fft.ihfft": _ihfft,
    "fft.irfftn": _real_fourier_of_many("irfftn"),
    "fft.rfftn": _real_fourier_of_many("rfftn"),
    "hstack": _hstack,
    "hypot": _hypot,
    "logaddexp": _logaddexp,
    "norm": _norm,
    "outer": _outer,
    "repeat": _repeat,
    "split": _split,
    "std": _std,
    "tensordot": _tensordot,
    "tile": _tile,
    "var": _var,
    "vecdot": _vecdot,
    "vector_norm": _vector_norm,
    "vstack": _vstack,
}
"""Name in the array namespace → function of arrays and array objects."""
