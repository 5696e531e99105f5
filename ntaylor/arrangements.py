"""Entries put elsewhere: sorting, grids, broadcasting together, arrays made from array objects.

Floor 2: a table name → function of array objects, as in ``composed``. Which entry goes where is locally constant, so
all of them are linear along the branch that the primal takes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ntaylor.array_object import ArrayObject, apply, innermost, refuse_complex
from ntaylor.namespace import array_namespace, broadcast_shapes, device, is_array

__all__ = ["ARRANGEMENTS"]

Array = Any


def _asarray(a: Any, *, dtype: Any = None, device: Any = None, copy: bool | None = None) -> Any:
    if not isinstance(a, ArrayObject):
        raise TypeError(
            "asarray of a list that holds jets or variables: write xp.stack([a, b]), with arrays for the numbers in it"
        )
    if dtype is not None and dtype != a.dtype:
        a = apply("astype", (a, dtype), {})
    elif copy:
        a = apply("positive", (a,), {})
    return a if device is None or device == a.device else apply("to_device", (a, device), {})


def _broadcast_arrays(*arrays: Any) -> tuple[Any, ...]:
    shape = broadcast_shapes(*(tuple(a.shape) for a in arrays))
    return tuple(a if tuple(a.shape) == shape else apply("broadcast_to", (a, shape), {}) for a in arrays)


def _copysign(a: Any, b: Any) -> Any:
    modulus = apply("abs", (a if is_array(a) else apply("full_like", (b, a), {}),), {})
    negative = apply("signbit", (b if is_array(b) else apply("full_like", (a, b), {}),), {})
    return apply("where", (negative, -modulus, modulus), {})


def _full(shape: Any, fill_value: Any, *, dtype: Any = None, device: Any = None) -> Any:
    shape = (shape,) if isinstance(shape, int) else tuple(shape)
    return apply("broadcast_to", (_asarray(fill_value, dtype=dtype, device=device), shape), {})


def _linspace(start: Any, stop: Any, num: int = 50, *, endpoint: bool = True, axis: int = 0, **options: Any) -> Any:
    like = innermost(start if isinstance(start, ArrayObject) else stop)
    shape = broadcast_shapes(*(tuple(getattr(a, "shape", ())) for a in (start, stop)))
    xp = array_namespace(like)
    parts = xp.linspace(0.0, 1.0, num, endpoint=endpoint, dtype=like.dtype, device=device(like), **options)
    parts = xp.reshape(parts, (num, *(1 for _ in shape)))
    made = start * (1 - parts) + stop * parts
    return made if axis == 0 else apply("moveaxis", (made, 0, axis), {})


def _meshgrid(*arrays: Any, indexing: str = "xy") -> tuple[Any, ...]:
    if indexing not in ("xy", "ij"):
        raise ValueError(f"indexing must be 'xy' or 'ij', got {indexing!r}")
    places = list(range(len(arrays)))
    if indexing == "xy" and len(arrays) > 1:
        places[:2] = [1, 0]
    apart = [
        apply("reshape", (a, tuple(-1 if i == place else 1 for i in range(len(arrays)))), {})
        for a, place in zip(arrays, places, strict=True)
    ]
    return _broadcast_arrays(*apart)


def _sort(
    a: Any, *, axis: int | None = -1, descending: bool = False, stable: bool = True, kind: str | None = None
) -> Any:
    refuse_complex("sort", a)
    if axis is None:
        a, axis = apply("reshape", (a, (-1,)), {}), 0
    order = apply("argsort", (a,), {"axis": axis, "descending": descending, "stable": True})
    return apply("take_along_axis", (a, order), {"axis": axis})


def _swapaxes(a: Any, axis1: int, axis2: int) -> Any:
    places = list(range(a.ndim))
    places[axis1], places[axis2] = places[axis2], places[axis1]
    return apply("permute_dims", (a, tuple(places)), {})


ARRANGEMENTS: dict[str, Callable[..., Any]] = {
    "asarray": _asarray,
    "broadcast_arrays": _broadcast_arrays,
    "copysign": _copysign,
    "full": _full,
    "linspace": _linspace,
    "meshgrid": _meshgrid,
    "sort": _sort,
    "swapaxes": _swapaxes,
}
"""Name in the array namespace → function of arrays and array objects."""
