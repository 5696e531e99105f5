"""Derivatives by nested ``torch.autograd.grad``: what ``nt.check`` compares with.

Reverse mode throughout. Nested forward mode, ``torch.func.jacfwd`` of itself, is silently wrong in torch 2.13.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

__all__ = ["nested"]

Tensor = Any


def nested(f: Callable[[Tensor], Tensor], x: Tensor, order: int, direction: Tensor) -> Tensor:
    """Derivatives (order+1, \\*f(x).shape) of t ↦ f(x + t·direction) at t = 0; the cost is exponential in the order."""
    with torch.enable_grad():
        t = torch.zeros((), dtype=x.dtype, device=x.device, requires_grad=True)
        found = [f(x.detach() + t * direction.detach())]
        for _ in range(order):
            found.append(_derivative(found[-1], t))
    return torch.stack([u.detach() for u in found])


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
