"""Derivatives by nested ``torch.autograd.grad``: what ``nt.check`` compares with.

Reverse mode throughout. Nested forward mode, ``torch.func.jacfwd`` of itself, is silently wrong in torch 2.13, and so
are the derivatives of the second backwards of ``layer_norm``, ``instance_norm``, ``logcumsumexp`` and ``celu``: here
these are written out, and attention takes its mathematical form, the only one that torch differentiates twice.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode

__all__ = ["nested"]

Tensor = Any


def nested(f: Callable[[Tensor], Tensor], x: Tensor, order: int, direction: Tensor) -> Tensor:
    """Derivatives (order+1, \\*f(x).shape) of t ↦ f(x + t·direction) at t = 0; the cost is exponential in the order."""
    with torch.enable_grad(), sdpa_kernel(SDPBackend.MATH), _WrittenOut():
        t = torch.zeros((), dtype=x.dtype, device=x.device, requires_grad=True)
        found = [f(x.detach() + t * direction.detach())]
        for _ in range(order):
            found.append(_derivative(found[-1], t))
    return torch.stack([u.detach() for u in found])


def _layer_norm(
    input: Tensor,  # noqa: A002 torch's names
    normalized_shape: Any,
    weight: Any = None,
    bias: Any = None,
    eps: float = 1e-5,
) -> Tensor:
    same = _standardised(input, tuple(range(-len(normalized_shape), 0)), eps)
    same = same if weight is None else same * weight
    return same if bias is None else same + bias


def _standardised(x: Tensor, axes: tuple[int, ...], eps: float) -> Tensor:
    centred = x - x.mean(axes, keepdim=True)
    return centred / torch.sqrt((centred * centred).mean(axes, keepdim=True) + eps)


def _instance_norm(
    input: Tensor,  # noqa: A002
    running_mean: Any = None,
    running_var: Any = None,
    weight: Any = None,
    bias: Any = None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    if not use_input_stats or running_mean is not None:
        options = (running_mean, running_var, weight, bias, use_input_stats, momentum, eps)
        return functional.instance_norm(input, *options)
    shape = (-1, *[1] * (input.ndim - 2))
    same = _standardised(input, tuple(range(2, input.ndim)), eps)
    same = same if weight is None else same * weight.reshape(shape)
    return same if bias is None else same + bias.reshape(shape)


def _logcumsumexp(input: Tensor, dim: int) -> Tensor:  # noqa: A002
    largest = input.detach().amax(dim, keepdim=True)
    return torch.log(torch.cumsum(torch.exp(input - largest), dim)) + largest


def _celu(input: Tensor, alpha: float = 1.0, inplace: bool = False) -> Tensor:  # noqa: A002
    return torch.where(input > 0, input, alpha * torch.expm1(torch.clamp(input, max=0.0) / alpha))


_SIMPLER = {
    functional.celu: _celu,
    functional.instance_norm: _instance_norm,
    functional.layer_norm: _layer_norm,
    torch.Tensor.logcumsumexp: _logcumsumexp,
    torch.logcumsumexp: _logcumsumexp,
}


class _WrittenOut(TorchFunctionMode):  # type: ignore[misc]
    """Within it the functions whose higher derivatives torch has wrong are made of others."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _SIMPLER.get(func, func)(*args, **(kwargs or {}))


def _derivative(u: Tensor, t: Tensor) -> Tensor:
    """du/dt of every entry of u: the pullback c ↦ Σ c du/dt is linear, and its gradient by c is du/dt."""
    if not u.requires_grad:
        return torch.zeros_like(u)
    c = torch.ones_like(u, requires_grad=True)
    (pulled,) = torch.autograd.grad(u, t, c, create_graph=True, allow_unused=True)
    if pulled is None or not pulled.requires_grad:
        return torch.zeros_like(u)
    (slope,) = torch.autograd.grad(pulled, c, create_graph=True, allow_unused=True)
    return torch.zeros_like(u) if slope is None else slope
