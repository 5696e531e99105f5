"""The root of a Gram matrix on tensors, with the derivative (10.4) of ``docs/theory.md``."""

from __future__ import annotations

from typing import Any

import array_api_compat.torch
import torch
from torch import Tensor

from ntaylor.linalg_transposes import root_of_gram

__all__ = ["gram_root"]


class _GramRoot(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(a: Tensor) -> Tensor:
        return root_of_gram(array_api_compat.torch, a)  # type: ignore[no-any-return]

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs, output)
        ctx.save_for_forward(*inputs, output)

    @staticmethod
    def backward(ctx: Any, cotangent: Tensor) -> Tensor:  # type: ignore[override]
        a, root = ctx.saved_tensors
        return a @ torch.linalg.solve(root, cotangent)

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor) -> Tensor:  # type: ignore[override]
        a, root = ctx.saved_tensors
        return torch.linalg.solve(root.mT, a.mT @ tangent)


def gram_root(a: Tensor) -> Tensor:
    """T (h, h) with TᵀT = aᵀa for a (R, h)."""
    return _GramRoot.apply(a)  # type: ignore[no-any-return, no-untyped-call]
