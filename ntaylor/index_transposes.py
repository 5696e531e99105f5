"""The transposes of indexing: cotangents go back to where entries were taken from, and add up where one was twice.

Floor 3: rules as in ``transposes``, which takes them over.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy

from ntaylor.array_object import ArrayObject, innermost, unwrapped_namespace
from ntaylor.namespace import MissingRule, chosen_along, is_array, sum_to_shape, take_along_axis

__all__ = ["INDEXING"]

Array = Any
Transpose = Callable[[Array], Array]
Rule = tuple[Array, list[Transpose]]


def _getitem(xp: Any, a: Any, key: Any) -> Rule:
    parts = key if isinstance(key, tuple) else (key,)
    plain = unwrapped_namespace([innermost(a)])
    by_array = any(is_array(p) and not plain.isdtype(p.dtype, "bool") for p in parts)
    if by_array and not hasattr(plain, "searchsorted"):
        raise MissingRule("no gradient for indexing with an integer array here: use xp.take(a, indices, axis=…)")

    def transpose(y: Array) -> Array:
        if isinstance(y, numpy.ndarray) and by_array:
            return _numpy_added_at(xp.zeros_like(a), key, y)
        if not by_array and not isinstance(y, ArrayObject):
            full = xp.zeros_like(a)
            full[key] = y
            return full
        # Repeated entries would overwrite each other in an assignment, and to an object nothing can be assigned.
        places = plain.reshape(plain.reshape(plain.arange(a.size), a.shape)[key], (-1,))
        own = unwrapped_namespace([y])
        return own.reshape(_added_at(plain, places, own.reshape(y, (-1,)), a.size), a.shape)

    return a[key], [transpose]


def _numpy_added_at(full: numpy.ndarray, key: Any, y: Array) -> Array:
    numpy.add.at(full, key, y)
    return full


def _added_at(plain: Any, places: Array, y: Array, size: int) -> Array:
    """Zeros of ``size`` with y[i] added at places[i], by gathering: row r of a table lists the i with places[i] = r."""
    own = unwrapped_namespace([y])
    order = plain.argsort(places)
    ordered, rows = plain.take(places, order, axis=0), plain.arange(size)
    first, end = (plain.searchsorted(ordered, rows, side=side) for side in ("left", "right"))
    most = int(plain.max(end - first)) if y.size and size else 1
    column = first[:, None] + plain.arange(most)[None, :]
    # The entry after the last is a zero, for what is not there.
    order = plain.concat([order, plain.asarray([y.size], dtype=order.dtype)])
    table = plain.where(column < end[:, None], column, y.size)
    padded = own.concat([y, own.sum(y[:0], axis=0, keepdims=True)])
    gathered = own.take(padded, plain.take(order, plain.reshape(table, (-1,)), axis=0), axis=0)
    return own.sum(own.reshape(gathered, (size, most)), axis=1)


def _take(xp: Any, a: Any, indices: Any, *, axis: int | None = None) -> Rule:
    if not is_array(indices):
        indices = unwrapped_namespace([innermost(a)]).asarray(indices)
    along = 0 if axis is None else axis % a.ndim
    rows = xp.reshape(a, (-1,)) if axis is None and a.ndim != 1 else a
    shape = (*rows.shape[:along], *indices.shape, *rows.shape[along + 1 :])
    places = indices if indices.ndim == 1 else unwrapped_namespace([indices]).reshape(indices, (-1,))
    value = xp.take(rows, places, axis=along)

    def transpose(y: Array) -> Array:
        y = y if indices.ndim == 1 else xp.reshape(y, value.shape)
        if isinstance(y, numpy.ndarray):
            full = _numpy_added_at(xp.zeros_like(rows), (slice(None),) * along + (places,), y)
        else:
            # One row an index: a matrix product adds up repeated ones, which assignment would not.
            length = rows.shape[along]
            selected = (places % length)[:, None] == xp.arange(length)[None, :]
            full = xp.moveaxis(xp.moveaxis(y, along, -1) @ xp.astype(selected, a.dtype), -1, along)
        return full if rows is a else xp.reshape(full, a.shape)

    return value if indices.ndim == 1 else xp.reshape(value, shape), [transpose]


def _take_along_axis(xp: Any, a: Any, indices: Any, *, axis: int = -1) -> Rule:
    plain = unwrapped_namespace([innermost(a)])

    def transpose(y: Array) -> Array:
        if not hasattr(plain, "take_along_axis"):
            own = unwrapped_namespace([y])
            rows = own.moveaxis(y, axis, -1)[..., None]
            chosen = own.where(chosen_along(a.shape[axis], indices, axis), rows, own.zeros_like(rows))
            return sum_to_shape(own.moveaxis(own.sum(chosen, axis=-2), -1, axis), a.shape)
        places = plain.take_along_axis(plain.reshape(plain.arange(a.size), a.shape), indices, axis=axis)
        places = plain.reshape(places, (-1,))
        own = unwrapped_namespace([y])
        flat = own.reshape(y, (-1,))
        if isinstance(y, numpy.ndarray):
            return own.reshape(_numpy_added_at(numpy.zeros(a.size, y.dtype), places, flat), a.shape)
        return own.reshape(_added_at(plain, places, flat, a.size), a.shape)

    return take_along_axis(xp, a, indices, axis=axis), [transpose]


INDEXING: dict[str, Callable[..., Rule]] = {
    "getitem": _getitem,
    "take": _take,
    "take_along_axis": _take_along_axis,
}
"""Name in the array namespace → rule."""
