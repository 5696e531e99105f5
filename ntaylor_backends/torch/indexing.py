"""Torch's functions that choose, order and put entries: which goes where is locally constant, so all are linear.

Arguments are named as in ``elementwise`` and ``shapes``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch

from ntaylor.array_object import ArrayObject, innermost, refuse_complex
from ntaylor.namespace import MissingRule, is_array
from ntaylor_backends.torch.elementwise import constant, op
from ntaylor_backends.torch.maps import in_both, linear, linearly

__all__ = ["INDEXING", "gather"]


class _Chosen(NamedTuple):
    values: Any
    indices: Any


class _Extremes(NamedTuple):
    min: Any
    max: Any


def _plain(name: str, index: Any) -> Any:
    if isinstance(index, ArrayObject):
        raise TypeError(f"{name}: an index cannot be a jet: index with integers, such as x.detach().argmax()")
    return index


def gather(a: Any, dim: int, index: Any, *, sparse_grad: bool = False) -> Any:
    _plain("gather", index)
    return linearly(lambda c: torch.gather(c, dim, index), a)


def _take_along_dim(a: Any, indices: Any, dim: int | None = None) -> Any:
    _plain("take_along_dim", indices)
    return linearly(lambda c: torch.take_along_dim(c, indices, dim), a)


def _by_place(name: str, default: int | None = -1) -> Callable[..., Any]:
    """Torch's functions that give values with the places that they came from."""

    def chosen(a: Any, *args: Any, **options: Any) -> _Chosen:
        refuse_complex(name, innermost(a))
        keepdim, args, dim = _placed(name, args, options, default)
        indices = getattr(torch, name)(innermost(a), *args, **options)[1]
        if not a.ndim:
            return _Chosen(a, indices)
        wide = indices if keepdim else torch.unsqueeze(indices, dim)
        values = gather(a, dim, wide)
        return _Chosen(values if keepdim else op("squeeze", values, axis=dim), indices)

    return chosen


_PLACES = {"kthvalue": 1, "topk": 1}  # how many arguments come before dim
_KEEPS = frozenset("cummax cummin sort topk".split())  # noqa: SIM905 the axis stays, there is no keepdim


def _placed(name: str, args: Any, options: Any, default: Any) -> tuple[bool, Any, int]:
    """Whether the axis stays, the arguments, and the axis."""
    at = _PLACES.get(name, 0)
    dim = options.get("dim", args[at] if len(args) > at else default)
    keepdim = name in _KEEPS or options.get("keepdim", args[at + 1] if len(args) > at + 1 else False)
    return keepdim, args, dim


def _median(name: str) -> Callable[..., Any]:
    along = _by_place(name)

    def median(a: Any, *args: Any, **options: Any) -> Any:
        if args or options:
            return along(a, *args, **options)
        return along(op("reshape", a, (-1,)), 0).values

    return median


def _sort(a: Any, dim: int = -1, descending: bool = False, *, stable: bool = False) -> _Chosen:
    refuse_complex("sort", innermost(a))
    indices = torch.sort(innermost(a), dim=dim, descending=descending, stable=True).indices
    return _Chosen(gather(a, dim, indices) if a.ndim else a, indices)


def _aminmax(a: Any, *, dim: int | None = None, keepdim: bool = False) -> _Extremes:
    return _Extremes(*(op(name, a, axis=dim, keepdims=keepdim) for name in ("min", "max")))


def _quantile(a: Any, q: Any, dim: int | None = None, keepdim: bool = False, *, interpolation: str = "linear") -> Any:
    """Between the two neighbours in order, which the values choose."""
    if isinstance(q, ArrayObject):
        raise MissingRule("no rule for quantile with a jet as q: pass numbers")
    if interpolation not in ("linear", "lower", "higher", "nearest", "midpoint"):
        raise ValueError(f"interpolation must be linear, lower, higher, nearest or midpoint, got {interpolation!r}")
    whole, a, dim = tuple(1 for _ in a.shape), (op("reshape", a, (-1,)) if dim is None else a), dim
    along = 0 if dim is None else dim % a.ndim
    values = _sort(a, along).values
    q = torch.as_tensor(q, dtype=a.dtype, device=a.device)
    place = torch.reshape(q, (-1,)) * (a.shape[along] - 1)
    low = place.round() if interpolation == "nearest" else place.floor()
    high = low if interpolation in ("lower", "nearest") else place.ceil()
    low = high if interpolation == "higher" else low
    weight = 0.5 * (high > low) if interpolation == "midpoint" else place - low
    parts = [op("moveaxis", op("take", values, i.long(), axis=along), along, 0) for i in (low, high)]
    weight = torch.reshape(weight.to(a.dtype), (-1, *[1] * (a.ndim - 1)))
    result = parts[0] + weight * (parts[1] - parts[0])
    if keepdim:
        result = op("reshape", result, (-1, *whole)) if dim is None else op("expand_dims", result, axis=along + 1)
    return result if q.ndim else result[0]


# --- entries put among others -------------------------------------------------------------------


def _tensor_like(a: Any, value: Any) -> Any:
    return value if is_array(value) else torch.full((), value, dtype=a.dtype, device=a.device)


def _scatter_add(a: Any, dim: int, index: Any, src: Any) -> Any:
    return in_both(lambda c, s: torch.scatter_add(c, dim, index, s), a, src)


def _scatter(a: Any, dim: int, index: Any, src: Any = None, *, value: Any = None, reduce: Any = None) -> Any:
    if reduce is not None:
        raise MissingRule("no rule for scatter(reduce=…): use scatter_add, or torch.where")
    src = value if src is None else src
    src = src if is_array(src) and src.ndim else torch.zeros(index.shape, dtype=a.dtype, device=a.device) + src
    return in_both(lambda c, s: torch.scatter(c, dim, index, s), a, src)


def _index_add(a: Any, dim: int, index: Any, source: Any, *, alpha: Any = 1) -> Any:
    return in_both(lambda c, s: torch.index_add(c, dim, index, s, alpha=alpha), a, source)


def _index_copy(a: Any, dim: int, index: Any, source: Any) -> Any:
    return in_both(lambda c, s: torch.index_copy(c, dim, index, s), a, source)


def _index_fill(a: Any, dim: int, index: Any, value: Any) -> Any:
    return in_both(lambda c, s: torch.index_fill(c, dim, index, s), a, _tensor_like(a, value))


def _index_put(a: Any, indices: Any, values: Any, accumulate: bool = False) -> Any:
    return in_both(lambda c, s: torch.index_put(c, indices, s, accumulate), a, values)


def _select_scatter(a: Any, src: Any, dim: int, index: int) -> Any:
    return in_both(lambda c, s: torch.select_scatter(c, s, dim, index), a, src)


def _slice_scatter(a: Any, src: Any, dim: int = 0, start: Any = None, end: Any = None, step: int = 1) -> Any:
    return in_both(lambda c, s: torch.slice_scatter(c, s, dim, start, end, step), a, src)


def _diagonal_scatter(a: Any, src: Any, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Any:
    return in_both(lambda c, s: torch.diagonal_scatter(c, s, offset, dim1, dim2), a, src)


def _masked_scatter(a: Any, mask: Any, source: Any) -> Any:
    return in_both(lambda c, s: torch.masked_scatter(c, mask, s), a, source)


def _embedding(a: Any, weight: Any, padding_idx: Any = None, max_norm: Any = None, *args: Any, **options: Any) -> Any:
    """Rows of a table; that of a plain one is torch's own affair and does not come here."""
    _plain("embedding", a)
    if max_norm is not None:
        raise MissingRule("no rule for embedding(max_norm=…), which writes into the table: leave it out")
    rows = op("take", weight, torch.reshape(a, (-1,)), axis=0)
    if padding_idx is not None:  # a row that torch differentiates by nothing
        places = torch.reshape(a == padding_idx % weight.shape[0], (-1, *[1] * (weight.ndim - 1)))
        rows = op("where", places, innermost(rows).detach(), rows)
    return op("reshape", rows, (*a.shape, *weight.shape[1:]))


def _combinations(a: Any, r: int = 2, with_replacement: bool = False) -> Any:
    places = torch.combinations(torch.arange(a.shape[0], device=a.device), r, with_replacement)
    return op("reshape", op("take", a, torch.reshape(places, (-1,)), axis=0), tuple(places.shape))


def _pdist(a: Any, p: float = 2.0) -> Any:
    i, j = torch.triu_indices(a.shape[0], a.shape[0], 1, device=a.device)
    return op("vector_norm", op("take", a, i, axis=0) - op("take", a, j, axis=0), axis=-1, ord=p)


def _of_windows(a: Any, dimension: int, size: int, step: int) -> Any:
    return linearly(lambda c: c.unfold(dimension, size, step), a)


INDEXING: dict[str, Callable[..., Any]] = {
    "Tensor.unfold": _of_windows,
    "aminmax": _aminmax,
    "argwhere": constant(torch.argwhere),
    "bucketize": constant(torch.bucketize),
    "combinations": _combinations,
    "cummax": _by_place("cummax"),
    "cummin": _by_place("cummin"),
    "diag_embed": linear(torch.diag_embed),
    "diagflat": linear(torch.diagflat),
    "diagonal_scatter": _diagonal_scatter,
    "embedding": _embedding,
    "gather": gather,
    "index_add": _index_add,
    "index_copy": _index_copy,
    "index_fill": _index_fill,
    "index_put": _index_put,
    "kthvalue": _by_place("kthvalue"),
    "masked_scatter": _masked_scatter,
    "median": _median("median"),
    "mode": _by_place("mode"),
    "msort": lambda a: _sort(a, 0).values,
    "nanmedian": _median("nanmedian"),
    "pdist": _pdist,
    "quantile": _quantile,
    "rot90": linear(torch.rot90),
    "scatter": _scatter,
    "scatter_add": _scatter_add,
    "select_scatter": _select_scatter,
    "slice_scatter": _slice_scatter,
    "sort": _sort,
    "take_along_dim": _take_along_dim,
    "topk": _by_place("topk"),
}
"""Torch's name → function of jets, tensors and numbers."""
