"""Every torch function and tensor method that jets have a rule for, by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ntaylor_backends.torch.elementwise import ELEMENTWISE
from ntaylor_backends.torch.layers import LAYERS
from ntaylor_backends.torch.products import PRODUCTS
from ntaylor_backends.torch.reductions import REDUCTIONS
from ntaylor_backends.torch.shapes import SHAPES

__all__ = ["FUNCTIONS"]

FUNCTIONS: dict[str, Callable[..., Any]] = {**ELEMENTWISE, **SHAPES, **REDUCTIONS, **PRODUCTS, **LAYERS}
"""Torch's name → function of jets, tensors and numbers, some of which are jets."""
