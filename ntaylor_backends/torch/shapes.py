"""Torch's functions that move, join, make and tell of entries, in the operations of the array API standard.

Arguments are named as in ``elementwise``; ``dim`` and ``dims`` are axes.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import torch

from ntaylor.array_object import innermost, objects_in
from ntaylor.namespace import MissingRule
from ntaylor_backends.torch.elementwise import constant, op
from ntaylor_backends.torch.maps import linearly

__all__ = ["SHAPES", "integers"]


def integers(given: tuple[Any, ...]) -> tuple[int, ...]:
    """Sizes or axes that were passed one by one, or as one sequence."""
    return tuple(given[0]) if len(given) == 1 and not isinstance(given[0], int) else tuple(given)


def _reshape(a: Any, *shape: Any, **named: Any) -> Any:
    shape = (named["shape"],) if named else shape
    if len(shape) == 1 and isinstance(shape[0], torch.dtype):
        raise MissingRule("no rule for view(dtype), which reads bits as other numbers: use .to(dtype)")
    return op("reshape", a, integers(shape))


def _flatten(a: Any, start_dim: int = 0, end_dim: int = -1) -> Any:
    if not a.ndim:
        return op("reshape", a, (1,))
    start, end = start_dim % a.ndim, end_dim % a.ndim
    shape = tuple(a.shape)
    return op("reshape", a, (*shape[:start], math.prod(shape[start : end + 1]), *shape[end + 1 :]))


def _unflatten(a: Any, dim: int, sizes: Any) -> Any:
    along, shape = dim % a.ndim, tuple(a.shape)
    sizes = list(sizes)
    if -1 in sizes:
        sizes[sizes.index(-1)] = shape[along] // -math.prod(sizes)
    return op("reshape", a, (*shape[:along], *sizes, *shape[along + 1 :]))


def _unsqueeze(a: Any, dim: int) -> Any:
    return op("expand_dims", a, axis=dim)


def _squeeze(a: Any, dim: Any = None) -> Any:
    if dim is None:
        dim = range(a.ndim)
    axes = tuple(i % a.ndim for i in ((dim,) if isinstance(dim, int) else dim) if a.ndim and a.shape[i] == 1)
    return op("squeeze", a, axis=axes) if axes else a


def _transpose(a: Any, dim0: int, dim1: int) -> Any:
    axes = list(range(a.ndim))
    axes[dim0], axes[dim1] = axes[dim1], axes[dim0]
    return op("permute_dims", a, tuple(axes))


def _permute(a: Any, *dims: Any, **named: Any) -> Any:
    axes = integers((named["dims"],) if named else dims)
    return op("permute_dims", a, tuple(axis % a.ndim for axis in axes))


def _t(a: Any) -> Any:
    return _transpose(a, 0, 1) if a.ndim == 2 else a


def _movedim(a: Any, source: Any, destination: Any) -> Any:
    return op("moveaxis", a, source, destination)


def _expand(a: Any, *sizes: Any) -> Any:
    sizes = integers(sizes)
    extra = len(sizes) - a.ndim
    return op("broadcast_to", a, tuple(a.shape[i - extra] if size == -1 else size for i, size in enumerate(sizes)))


def _tile(a: Any, *dims: Any) -> Any:
    return op("tile", a, integers(dims))


def _repeat_interleave(a: Any, repeats: Any, dim: int | None = None) -> Any:
    return op("repeat", a, repeats, axis=dim)


def _flip(a: Any, *dims: Any, **named: Any) -> Any:
    return op("flip", a, axis=integers((named["dims"],) if named else dims))


def _roll(a: Any, shifts: Any, dims: Any = None) -> Any:
    return op("roll", a, shifts, axis=dims)


def _cat(a: Any, dim: int = 0) -> Any:
    return op("concat", list(a), axis=dim)


def _stack(a: Any, dim: int = 0) -> Any:
    return op("stack", list(a), axis=dim)


def _column_stack(a: Any) -> Any:
    return op("concat", [_unsqueeze(c, 1) if c.ndim < 2 else c for c in a], axis=1)


def _unbind(a: Any, dim: int = 0) -> Any:
    return op("unstack", a, axis=dim)


def _along(dim: int, part: Any, ndim: int) -> tuple[Any, ...]:
    return (*[slice(None)] * (dim % ndim), part)


def _narrow(a: Any, dim: int, start: int, length: int) -> Any:
    return a[_along(dim, slice(start, start + length), a.ndim)]


def _select(a: Any, dim: int, index: int) -> Any:
    return a[_along(dim, index, a.ndim)]


def _index_select(a: Any, dim: int, index: Any) -> Any:
    return op("take", a, index, axis=dim % a.ndim)


def _masked_select(a: Any, mask: Any) -> Any:
    shape = torch.broadcast_shapes(a.shape, mask.shape)
    return op("broadcast_to", a, shape)[torch.broadcast_to(mask, shape)]


def _take(a: Any, index: Any) -> Any:
    flat = op("take", op("reshape", a, (-1,)), torch.reshape(index, (-1,)), axis=0)
    return op("reshape", flat, tuple(index.shape))


def _split(a: Any, split_size_or_sections: Any = None, dim: int = 0, **named: Any) -> Any:
    sizes = named.get("split_size", split_size_or_sections)
    length = a.shape[dim]
    if isinstance(sizes, int):
        sizes = [min(sizes, length - start) for start in range(0, length, sizes)]
    parts, start = [], 0
    for size in sizes:
        parts.append(_narrow(a, dim, start, size))
        start += size
    return tuple(parts)


def _chunk(a: Any, chunks: int, dim: int = 0) -> Any:
    return _split(a, -(-a.shape[dim] // chunks), dim)


def _diag(a: Any, diagonal: int = 0) -> Any:
    return op("diagonal", a, diagonal) if a.ndim == 2 else linearly(lambda c: torch.diag(c, diagonal), a)


def _diagonal(a: Any, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Any:
    return op("diagonal", a, offset, dim1, dim2)


def _tensor_split(a: Any, indices_or_sections: Any, dim: int = 0, **named: Any) -> tuple[Any, ...]:
    """Into parts of which some may be one longer, or at these places."""
    if isinstance(indices_or_sections, torch.Tensor):
        indices_or_sections = indices_or_sections.tolist()
    length = a.shape[dim]
    if isinstance(indices_or_sections, int):
        size, more = divmod(length, indices_or_sections)
        return _split(a, [size + (i < more) for i in range(indices_or_sections)], dim)
    edges = [0, *(min(i % length if i < 0 else i, length) for i in indices_or_sections), length]
    return tuple(_narrow(a, dim, low, max(high - low, 0)) for low, high in pairwise(edges))


def _split_along(dim: int) -> Callable[..., Any]:
    return lambda a, indices_or_sections: _tensor_split(a, indices_or_sections, 0 if a.ndim == 1 and dim == 1 else dim)


def _several(arrays: tuple[Any, ...], a: Any = ()) -> tuple[Any, ...]:
    """Tensors that were passed one by one, or as one sequence."""
    arrays = tuple(arrays or a)
    return tuple(arrays[0]) if len(arrays) == 1 and isinstance(arrays[0], (list, tuple)) else arrays


def _at_least(ndim: int) -> Callable[..., Any]:
    def widened(a: Any) -> Any:
        missing = ndim - a.ndim
        if missing <= 0:
            return a
        # A vector is one row; a matrix has its third axis at the end.
        shape = (1, *a.shape, 1) if (ndim, a.ndim) == (3, 1) else tuple(a.shape) + (1,) * missing
        return op("reshape", a, (1, *a.shape) if (ndim, a.ndim) == (2, 1) else shape)

    def at_least(*arrays: Any) -> Any:
        if len(arrays) == 1 and not isinstance(arrays[0], (list, tuple)):
            return widened(arrays[0])
        return tuple(widened(c) for c in _several(arrays))

    return at_least


def _dstack(a: Any) -> Any:
    return op("concat", [_at_least(3)(c) for c in a], axis=2)


def _block_diag(*arrays: Any) -> Any:
    blocks = [_at_least(2)(c) for c in _several(arrays)]
    width, rows, before = sum(b.shape[1] for b in blocks), [], 0
    for b in blocks:
        rows.append(torch.nn.functional.pad(b, (before, width - before - b.shape[1])))  # jets or not, by torch's name
        before += b.shape[1]
    return op("concat", rows, axis=0)


def _cartesian_prod(*arrays: Any) -> Any:
    arrays = _several(arrays)
    if len(arrays) == 1:
        return arrays[0]
    return op("stack", [op("reshape", c, (-1,)) for c in op("meshgrid", *arrays, indexing="ij")], axis=-1)


def _broadcast_tensors(*arrays: Any) -> Any:
    return op("broadcast_arrays", *_several(arrays))


def _sum_to_size(a: Any, *size: Any) -> Any:
    size = integers(size)
    extra = a.ndim - len(size)
    axes = (*range(extra), *(i + extra for i, n in enumerate(size) if n == 1 and a.shape[i + extra] != 1))
    return op("reshape", op("sum", a, axis=axes) if axes else a, size)


# --- what a tensor says of itself, and what is made like it ---------------------------------------


def _size(a: Any, dim: int | None = None) -> Any:
    return a.shape if dim is None else a.shape[dim]


def _to(a: Any, *args: Any, **options: Any) -> Any:
    """In another dtype or on another device; of a dtype that is not floating, plain values."""
    args = tuple(innermost(b) for b in args)
    values = innermost(a).to(*args, **options)
    if not (values.is_floating_point() or values.is_complex()):
        return values
    return a._mapped(lambda c: c.to(*args, **options))


def _as(dtype: torch.dtype) -> Callable[..., Any]:
    return lambda a: _to(a, dtype)


def _type_as(a: Any, b: Any) -> Any:
    return _to(a, b.dtype)


def _same(a: Any, *args: Any, **options: Any) -> Any:
    return a


def _clone(a: Any, *, memory_format: Any = None) -> Any:
    """Another jet of the same arrays: what writes in place gives a jet others."""
    return a._mapped(lambda c: c)


def _detached(a: Any) -> Any:
    """The value, a tensor: what is detached depends on nothing, and the variable of the jet is no exception."""
    return innermost(a).detach()


def _made_like(function: Callable[..., Any]) -> Callable[..., Any]:
    def made(a: Any, *args: Any, **options: Any) -> Any:
        if any(True for _ in objects_in((*args, *options.values()))):
            raise MissingRule("no rule for full_like of a jet as the value: use torch.zeros_like(a) + value")
        return function(innermost(a), *args, **options)

    return made


def _new(name: str) -> Callable[..., Any]:
    return lambda a, *args, **options: getattr(innermost(a).detach(), name)(*args, **options)


def _tells(name: str) -> Callable[..., Any]:
    return lambda a, *args: getattr(innermost(a), name)(*args)


_DTYPES = "bfloat16 bool cdouble cfloat double float half int long short".split()  # noqa: SIM905 torch's methods

SHAPES: dict[str, Callable[..., Any]] = {
    "all": constant(torch.all),
    "allclose": constant(torch.allclose),
    "atleast_1d": _at_least(1),
    "atleast_2d": _at_least(2),
    "atleast_3d": _at_least(3),
    "block_diag": _block_diag,
    "broadcast_tensors": _broadcast_tensors,
    "cartesian_prod": _cartesian_prod,
    "dsplit": _split_along(2),
    "dstack": _dstack,
    "fliplr": lambda a: op("flip", a, axis=1),
    "flipud": lambda a: op("flip", a, axis=0),
    "hsplit": _split_along(1),
    "narrow_copy": _narrow,
    "row_stack": lambda a: op("vstack", list(a)),
    "split_with_sizes": _split,
    "sum_to_size": _sum_to_size,
    "tensor_split": _tensor_split,
    "unsafe_chunk": _chunk,
    "unsafe_split": _split,
    "unsafe_split_with_sizes": _split,
    "vsplit": _split_along(0),
    "any": constant(torch.any),
    "argmax": constant(torch.argmax),
    "argmin": constant(torch.argmin),
    "argsort": constant(torch.argsort),
    "broadcast_to": _expand,
    "cat": _cat,
    "chunk": _chunk,
    "clone": _clone,
    "column_stack": _column_stack,
    "concat": _cat,
    "concatenate": _cat,
    "contiguous": _same,
    "count_nonzero": constant(torch.count_nonzero),
    "cpu": lambda a: _to(a, "cpu"),
    "cuda": lambda a, device="cuda": _to(a, device),
    "detach": _detached,
    "diag": _diag,
    "diagonal": _diagonal,
    "equal": constant(torch.equal),
    "expand": _expand,
    "expand_as": lambda a, b: _expand(a, *b.shape),
    "flatten": _flatten,
    "flip": _flip,
    "hstack": lambda a: op("hstack", list(a)),
    "index_select": _index_select,
    "linalg_diagonal": lambda a, *, offset=0, dim1=-2, dim2=-1: _diagonal(a, offset, dim1, dim2),
    "masked_select": _masked_select,
    "moveaxis": _movedim,
    "movedim": _movedim,
    "narrow": _narrow,
    "nonzero": constant(torch.nonzero),
    "permute": _permute,
    "ravel": lambda a: op("reshape", a, (-1,)),
    "repeat": _tile,
    "repeat_interleave": _repeat_interleave,
    "reshape": _reshape,
    "reshape_as": lambda a, b: _reshape(a, *b.shape),
    "result_type": constant(torch.result_type),
    "roll": _roll,
    "searchsorted": constant(torch.searchsorted),
    "select": _select,
    "size": _size,
    "split": _split,
    "squeeze": _squeeze,
    "stack": _stack,
    "swapaxes": _transpose,
    "swapdims": _transpose,
    "t": _t,
    "take": _take,
    "tile": _tile,
    "to": _to,
    "transpose": _transpose,
    "tril": lambda a, diagonal=0: op("tril", a, k=diagonal),
    "triu": lambda a, diagonal=0: op("triu", a, k=diagonal),
    "type_as": _type_as,
    "unbind": _unbind,
    "unflatten": _unflatten,
    "unsqueeze": _unsqueeze,
    "view": _reshape,
    "view_as": lambda a, b: _reshape(a, *b.shape),
    "vstack": lambda a: op("vstack", list(a)),
    **{name: _as(getattr(torch, name)) for name in _DTYPES},
    **{name: _made_like(getattr(torch, name)) for name in ("zeros_like", "ones_like", "empty_like", "full_like")},
    **{name: _made_like(getattr(torch, name)) for name in ("rand_like", "randn_like")},
    **{name: _new(name) for name in ("new_empty", "new_full", "new_ones", "new_tensor", "new_zeros")},
    **{
        name: _tells(name)
        for name in ("dim", "ndimension", "numel", "nelement", "get_device", "element_size", "is_signed")
    },
    **{name: _tells(name) for name in ("is_complex", "is_conj", "is_contiguous", "is_floating_point", "is_inference")},
}
"""Torch's name → function of jets, tensors and numbers."""
