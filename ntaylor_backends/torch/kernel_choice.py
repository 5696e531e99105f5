"""Whether an activation of these tensors is a kernel, and whose, or torch's own operations one by one.

A kernel reads memory: tensors that autograd or a transform of ``torch.func`` follows have to be seen doing what the
closed form does, and a compiler that follows the code fuses that itself. On a GPU kernels are Triton's, on the CPU
Numba's, where those are installed; neither is needed.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from typing import Any

import torch
from torch._C._functorch import is_functorch_wrapped_tensor, is_legacy_batchedtensor
from torch.autograd import forward_ad

from ntaylor.activations import Activation, Pullback
from ntaylor.blocks import arrays_in
from ntaylor.fans import Order, size
from ntaylor_backends import kernels
from ntaylor_backends import numpy as of_numpy

__all__ = ["activate", "are_plain", "fuses", "operations_seen", "runner", "writes"]

Tensor = Any


@cache
def triton_is_installed() -> bool:
    """Whether Triton can be imported; it is imported when the first kernel is wanted."""
    return importlib.util.find_spec("triton") is not None


def runner(tensors: Sequence[Tensor]) -> kernels.Run | None:
    """What runs programs on these tensors; ``None`` where the closed form does better.

    They must be plain tensors of one device, float32 or float64 all, with nobody following what is done to them; on
    the CPU with as many entries as NumPy's adapter asks for.
    """
    if torch.compiler.is_compiling():
        return None
    first = tensors[0]
    if first.dtype not in (torch.float32, torch.float64) or not are_plain(tensors):
        return None
    if not all(t.dtype == first.dtype and t.device == first.device for t in tensors[1:]):
        return None
    if first.is_cuda and triton_is_installed():
        from ntaylor_backends.torch import triton_kernels

        return triton_kernels.run
    if first.device.type == "cpu" and first.numel() >= of_numpy.SMALLEST and of_numpy.compiler() is not None:
        from ntaylor_backends.torch import cpu_kernels

        return cpu_kernels.run
    return None


_seen: ContextVar[bool] = ContextVar("seen", default=False)


@contextmanager
def operations_seen() -> Iterator[None]:
    """Within it no tensor is plain: for what a transform of cotangents, which alone are its, has to see."""
    token = _seen.set(True)
    try:
        yield
    finally:
        _seen.reset(token)


_OF_TORCH = frozenset({torch.Tensor, torch.nn.Parameter})


def are_plain(tensors: Sequence[Tensor]) -> bool:
    """Whether nobody follows what is done to these tensors."""
    if _seen.get() or torch._C._len_torch_dispatch_stack():  # of a tracer, which would take a result for a constant
        return False
    return (
        _OF_TORCH.issuperset(map(type, tensors))
        and not any(map(is_functorch_wrapped_tensor, tensors))
        and not any(map(is_legacy_batchedtensor, tensors))  # of is_grads_batched
        and not (torch.is_grad_enabled() and any(t.requires_grad for t in tensors))
        # Outside of forward mode nothing has a tangent, as torch's own function, asked for each, says too.
        and (forward_ad._current_level < 0 or all(forward_ad.unpack_dual(t).tangent is None for t in tensors))
    )


def activate(
    activation: Activation, u: Sequence[Tensor | None], order: Order, parameters: Mapping[str, Any]
) -> tuple[Sequence[Tensor | None], Pullback]:
    """As ``activation.closed_form``, by kernels where they suit these tensors; then the cotangents must be plain."""
    run = runner([*arrays_in(u), *parameters.values()]) if size(order) > 1 else None
    if run is None:
        return activation.closed_form(u, order, parameters)
    return kernels.activate(run, activation, u, order, parameters)


def fuses(*tensors: Tensor) -> bool:
    """The slot ``fuses``: whether there are kernels, which autograd's node runs on what autograd follows."""
    with torch.no_grad():
        return runner(tensors) is not None


def writes(*tensors: Tensor) -> bool:
    """The slot ``writes``."""
    return not torch.compiler.is_compiling() and are_plain(tensors)
