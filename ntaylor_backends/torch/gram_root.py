"""The root of a Gram matrix on tensors, with the derivative (10.4) of ``docs/theory.md``."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

__all__ = ["gram_root"]


class _GramRoot(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(a: Tensor) -> tuple[Tensor, Tensor]:
        q, root = torch.linalg.qr(a)
        return root, q

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: tuple[Tensor, Tensor]) -> None:
        root, q = output
        ctx.mark_non_differentiable(q)
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*inputs, root, q)
        ctx.save_for_forward(q)

    @staticmethod
    def backward(ctx: Any, cotangent: Tensor | None, _: Any) -> Tensor | None:
        if cotangent is None:
            return None
        a, root, q = ctx.saved_tensors
        if torch.is_grad_enabled():
            # To be differentiated again: then q moves with a. Root is not solved with as a triangle, for what it
            # becomes as a moves is none.
            q = torch.linalg.solve(root, a, left=False)
        return q @ cotangent

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor, *_: Any) -> tuple[Tensor, None]:
        (q,) = ctx.saved_tensors
        return q.mT @ tangent, None


def gram_root(a: Tensor) -> Tensor:
    """T (h, h) with TᵀT = aᵀa for a (R, h), R > h; to any order of derivatives by a."""
    return _GramRoot.apply(a)[0]  # type: ignore[no-any-return, no-untyped-call]
