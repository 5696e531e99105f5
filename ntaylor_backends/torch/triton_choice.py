"""Whether an activation of these tensors is a Triton kernel, or torch's own operations one by one.

A kernel reads memory: tensors that autograd or a transform of ``torch.func`` follows have to be seen doing what the
closed form does, and a compiler that follows the code fuses that itself.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import Any

import torch
from torch._C._functorch import is_functorch_wrapped_tensor
from torch.autograd.forward_ad import unpack_dual

from ntaylor.activations import Activation, Pullback
from ntaylor_backends import kernels

__all__ = ["activate", "suits"]

Tensor = Any


@cache
def triton_is_installed() -> bool:
    """Whether Triton can be imported; it is imported when the first kernel is wanted."""
    return importlib.util.find_spec("triton") is not None


def suits(tensors: Iterable[Any]) -> bool:
    """Whether these are plain tensors on one GPU, float32 or float64 all, with nobody following what is done."""
    if torch.compiler.is_compiling():
        return False
    first, *others = tensors
    return (
        _is_plain(first)
        and first.is_cuda
        and first.dtype in (torch.float32, torch.float64)
        and all(_is_plain(t) and t.dtype == first.dtype and t.device == first.device for t in others)
        and triton_is_installed()
    )


def _is_plain(t: Any) -> bool:
    return (
        type(t) in (torch.Tensor, torch.nn.Parameter)
        and not (t.requires_grad and torch.is_grad_enabled())
        and not is_functorch_wrapped_tensor(t)
        and unpack_dual(t).tangent is None
    )


def activate(
    activation: Activation, u: Sequence[Tensor | None], order: int, parameters: Mapping[str, Any]
) -> tuple[list[Tensor | None], Pullback]:
    """As ``activation.closed_form``, by kernels where they suit these tensors, and then these cotangents."""
    if not suits(c for c in (*u, *parameters.values()) if c is not None):
        return activation.closed_form(u, order, parameters)
    from ntaylor_backends.torch.triton_kernels import run

    v, by_kernels = kernels.activate(run, activation, u, order, parameters)

    def pullback(cotangent: Sequence[Tensor | None], per_sample: bool = False) -> Any:
        if suits(c for c in (*u, *parameters.values(), *cotangent) if c is not None):
            return by_kernels(cotangent, per_sample)
        return activation.closed_form(u, order, parameters)[1](cotangent, per_sample)

    return v, pullback
