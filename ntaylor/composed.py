"""Operations of the array namespace that are made of others, stated once.

Floor 2: a table name → function of array objects. It calls the public operations, so that jets,
variables, and either inside the other are all served by the rules that they have for those.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ntaylor.array_object import apply, refuse_complex
from ntaylor.namespace import MissingRule, is_complex

__all__ = ["COMPOSED"]

Array = Any


def _clip(a: Any, min: Any = None, max: Any = None) -> Any:  # noqa: A002 the standard's names
    if min is not None:
        a = apply("maximum", (a, min), {})
    return a if max is None else apply("minimum", (a, max), {})


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


def _logaddexp(a: Any, b: Any) -> Any:
    return a + apply("softplus", (b - a,), {})


def _norm(a: Any, ord: Any = None, axis: Any = None, keepdims: bool = False) -> Any:  # noqa: A002
    """NumPy's: of a matrix, ord=None and ord="fro" are the 2-norm of its entries, and ord=2 is not."""
    axes = a.ndim if axis is None else 1 if isinstance(axis, int) else len(axis)
    if ord is None or (ord == 2 and axes == 1) or (ord == "fro" and axes == 2):
        return _vector_norm(a, axis=axis, keepdims=keepdims)
    raise MissingRule(
        f"no rule for norm(ord={ord!r}) over {axes} axes, only for the 2-norm of the entries: leave ord out, or write "
        "others with xp.abs, xp.sum and xp.max"
    )


def _std(a: Any, **options: Any) -> Any:
    return apply("sqrt", (_var(a, **options),), {})


def _var(a: Any, *, axis: Any = None, correction: float = 0.0, keepdims: bool = False) -> Any:
    mean = apply("mean", (a,), {"axis": axis, "keepdims": True})
    count = a.size // max(mean.size, 1) - correction
    return apply("sum", (_squared_modulus(a - mean),), {"axis": axis, "keepdims": keepdims}) / count


def _vecdot(a: Any, b: Any, *, axis: int = -1) -> Any:
    if is_complex(a):
        a = apply("conj", (a,), {})
    return apply("sum", (a * b,), {"axis": axis})


def _vector_norm(a: Any, *, axis: Any = None, keepdims: bool = False, ord: Any = 2) -> Any:  # noqa: A002
    if ord != 2:
        raise MissingRule(f"no rule for vector_norm(ord={ord!r}), only for ord=2: write it with xp.abs, xp.sum, xp.max")
    return apply("sqrt", (apply("sum", (_squared_modulus(a),), {"axis": axis, "keepdims": keepdims}),), {})


def _squared_modulus(a: Any) -> Any:
    if not is_complex(a):
        return a * a
    real, imag = apply("real", (a,), {}), apply("imag", (a,), {})
    return real * real + imag * imag


COMPOSED: dict[str, Callable[..., Any]] = {
    "clip": _clip,
    "dot": _dot,
    "hypot": _hypot,
    "logaddexp": _logaddexp,
    "norm": _norm,
    "std": _std,
    "var": _var,
    "vecdot": _vecdot,
    "vector_norm": _vector_norm,
}
"""Name in the array namespace → function of arrays and array objects."""
