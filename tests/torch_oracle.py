"""The oracle of the torch tests: nested reverse mode. Not torch.func.jacfwd of jacfwd, which is silently wrong."""

from __future__ import annotations

import torch


def nested(f, x, order, direction=None):
    """d^k/dt^k f(x + t·direction), k = 0..order, stacked, by reverse mode applied to itself, entry by entry."""
    direction = torch.ones_like(x) if direction is None else direction
    t = torch.zeros((), dtype=x.dtype, requires_grad=True)
    value = f(x + t * direction)
    columns = []
    for entry in value.reshape(-1):
        column = [entry]
        for _ in range(order):
            last = column[-1]
            if last.requires_grad:
                (slope,) = torch.autograd.grad(last, t, create_graph=True, allow_unused=True)
            else:
                slope = None
            column.append(torch.zeros_like(entry) if slope is None else slope)
        columns.append(torch.stack(column))
    return torch.stack(columns, dim=1).reshape(order + 1, *value.shape)


def worst(got, expected):
    """The largest difference, relative to the largest entry of each order."""
    assert got.shape == expected.shape, (got.shape, expected.shape)
    scale = 1 + expected.detach().abs().reshape(len(expected), -1).amax(1)
    difference = (got.detach() - expected.detach()).abs().reshape(len(expected), -1).amax(1)
    return float((difference / scale).max())
