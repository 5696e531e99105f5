"""Every torch function and tensor method that jets have a rule for, by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ntaylor_backends.torch.attention import ATTENTION
from ntaylor_backends.torch.convolutions import CONVOLUTIONS
from ntaylor_backends.torch.elementwise import ELEMENTWISE, op
from ntaylor_backends.torch.indexing import INDEXING
from ntaylor_backends.torch.layers import LAYERS
from ntaylor_backends.torch.linear_algebra import LINEAR_ALGEBRA
from ntaylor_backends.torch.losses import LOSSES
from ntaylor_backends.torch.products import PRODUCTS
from ntaylor_backends.torch.recurrent import RECURRENT
from ntaylor_backends.torch.reductions import REDUCTIONS
from ntaylor_backends.torch.shapes import SHAPES
from ntaylor_backends.torch.special import SPECIAL

__all__ = ["FUNCTIONS"]


def _meshgrid(*arrays: Any, indexing: str | None = None, a: Any = ()) -> tuple[Any, ...]:
    arrays = tuple(arrays or a)
    arrays = tuple(arrays[0]) if len(arrays) == 1 and isinstance(arrays[0], (list, tuple)) else arrays
    return op("meshgrid", *arrays, indexing=indexing or "ij")  # type: ignore[no-any-return]


_OF_THE_STANDARD: dict[str, Callable[..., Any]] = {
    "asarray": lambda a, *, dtype=None: op("asarray", a, dtype=dtype),
    "copysign": lambda a, b: op("copysign", a, b),
    "full": lambda size, fill_value: op("full", tuple(size), fill_value),
    "isin": lambda a, b: op("isin", a, b),
    "linspace": lambda start, end, steps: op("linspace", start, end, steps),
    "meshgrid": _meshgrid,
}

FUNCTIONS: dict[str, Callable[..., Any]] = {
    **_OF_THE_STANDARD,
    **ELEMENTWISE,
    **SPECIAL,
    **SHAPES,
    **INDEXING,
    **REDUCTIONS,
    **PRODUCTS,
    **LINEAR_ALGEBRA,
    **CONVOLUTIONS,
    **LAYERS,
    **ATTENTION,
    **RECURRENT,
    **LOSSES,
}
"""Torch's name → function of jets, tensors and numbers, some of which are jets."""
