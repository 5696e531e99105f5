"""Every torch function and tensor method that jets have a rule for, by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch

from ntaylor.array_object import innermost
from ntaylor_backends.torch.elementwise import ELEMENTWISE, op
from ntaylor_backends.torch.layers import LAYERS
from ntaylor_backends.torch.products import PRODUCTS
from ntaylor_backends.torch.reductions import REDUCTIONS
from ntaylor_backends.torch.shapes import SHAPES

__all__ = ["FUNCTIONS"]


class _Sorted(NamedTuple):
    values: Any
    indices: Any


def _sort(a: Any, dim: int = -1, descending: bool = False, *, stable: bool = False) -> _Sorted:
    indices = torch.argsort(innermost(a), dim=dim, descending=descending, stable=True)
    return _Sorted(op("take_along_axis", a, indices, axis=dim), indices)


def _meshgrid(*arrays: Any, indexing: str | None = None, a: Any = ()) -> tuple[Any, ...]:
    arrays = tuple(arrays or a)
    arrays = tuple(arrays[0]) if len(arrays) == 1 and isinstance(arrays[0], (list, tuple)) else arrays
    return op("meshgrid", *arrays, indexing=indexing or "ij")  # type: ignore[no-any-return]


_OF_THE_STANDARD: dict[str, Callable[..., Any]] = {
    "asarray": lambda a, *, dtype=None: op("asarray", a, dtype=dtype),
    "copysign": lambda a, b: op("copysign", a, b),
    "full": lambda size, fill_value: op("full", tuple(size), fill_value),
    "isin": lambda a, b: op("isin", a, b),
    "kron": lambda a, b: op("kron", a, b),
    "linspace": lambda start, end, steps: op("linspace", start, end, steps),
    "meshgrid": _meshgrid,
    "sort": _sort,
}

FUNCTIONS: dict[str, Callable[..., Any]] = {
    **_OF_THE_STANDARD,
    **ELEMENTWISE,
    **SHAPES,
    **REDUCTIONS,
    **PRODUCTS,
    **LAYERS,
}
"""Torch's name → function of jets, tensors and numbers, some of which are jets."""
