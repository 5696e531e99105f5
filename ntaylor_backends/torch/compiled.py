"""Activations where ``torch.compile`` follows: operations that it fuses, and their adjoint in closed form.

The rule is recorded once and written out operation by operation, forward and adjoint, as a kernel is: the compiler
makes one loop of each, and autograd differentiates none of them. Coefficients stay tensors of their own. On a CPU a
product for every order is faster than one for all, whose results have left the cache when they are used.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import array_api_compat.torch as xp
import torch
from torch.autograd import forward_ad

from ntaylor.activations import Activation, of_all_points, of_one_shape
from ntaylor.blocks import Coefficients
from ntaylor.fans import Order, size
from ntaylor.namespace import sum_to_shape
from ntaylor.programs import Operation, Program, evaluate, names_of_inputs
from ntaylor.series import add
from ntaylor_backends import kernels

__all__ = ["activate"]

Tensor = Any
Places = tuple[bool, ...]
"""Which coefficients are there."""


def activate(
    activation: Activation, u: Coefficients, order: Order, parameters: Mapping[str, Any]
) -> tuple[Coefficients, Callable[..., Any]]:
    """As ``activation.closed_form``, which serves rules that cannot be recorded."""
    present, names = tuple(c is not None for c in u), tuple(parameters)
    there = _places(activation, order, present, names)
    # Forward mode and torch.func have to see the operations: the compiler loses what they derive of a node's backward.
    if there is None or forward_ad._current_level >= 0 or torch._C._are_functorch_transforms_active():
        return activation.closed_form(u, order, parameters)
    tensors = [*(c for c in u if c is not None), *parameters.values()]
    watched = torch.is_grad_enabled() and any(isinstance(t, torch.Tensor) and t.requires_grad for t in tensors)
    found = iter((_Node.apply if watched else _values)(activation, order, present, names, *tensors))

    def pullback(*cotangents: Any, **options: Any) -> Any:
        return activation.closed_form(u, order, parameters)[1](*cotangents, **options)

    return [next(found) if here else None for here in there], pullback


def _forward(activation: Activation, order: Order, present: Places, names: tuple[str, ...]) -> Program | None:
    return kernels.forward_program(activation, order, tuple(range(size(order))), present, names)


def _adjoint(
    activation: Activation, order: Order, present: Places, names: tuple[str, ...], given: Places, known: Places
) -> Program | None:
    return kernels.adjoint_program(activation, order, present, names, given, known)


def _places(activation: Activation, order: Order, present: Places, names: tuple[str, ...]) -> Places | None:
    """Which v_k are there; ``None`` where a rule cannot be recorded, or where one of them is no result of its own."""
    program = _forward(activation, order, present, names)
    if program is None:
        return None
    places = [at for at in program.outputs if at is not None]
    if not all(isinstance(at, int) and isinstance(program.values[at], Operation) for at in places):
        return None
    there = tuple(at is not None for at in program.outputs)
    while not there[-1]:
        there = there[:-1]
    return None if _adjoint(activation, order, present, names, there, there) is None else there


# The compiler does not follow how programs are made.
for _function in (_forward, _adjoint, _places):
    _function._dynamo_marked_constant = True  # type: ignore[union-attr]


def _values(
    activation: Activation, order: Order, present: Places, names: tuple[str, ...], *tensors: Tensor
) -> tuple[Tensor, ...]:
    """The v_k that are there."""
    program = _forward(activation, order, present, names)
    inputs = dict(zip(names_of_inputs(present, names), tensors, strict=True))
    left = iter(tensors)
    u = [next(left) if here else None for here in present]
    return tuple(c for c in of_all_points(evaluate(program, xp, inputs), u, xp) if c is not None)  # type: ignore[arg-type]


class _Node(torch.autograd.Function):
    @staticmethod
    def forward(
        activation: Activation, order: Order, present: Places, names: tuple[str, ...], *tensors: Tensor
    ) -> tuple[Tensor, ...]:
        return _values(activation, order, present, names, *tensors)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        activation, order, present, names, *tensors = inputs
        ctx.kind = activation, order, present, names
        # All of them: of what no operation of the backward pass reads, the compiler keeps nothing.
        ctx.save_for_backward(*tensors, *output)

    @staticmethod
    def backward(ctx: Any, *cotangents: Any) -> tuple[Any, ...]:
        activation, order, present, names = ctx.kind
        count = sum(present) + len(names)
        tensors, v = ctx.saved_tensors[:count], iter(ctx.saved_tensors[count:])
        there = _places(activation, order, present, names)
        assert there is not None
        inputs = dict(zip(names_of_inputs(present, names), tensors, strict=True))
        inputs.update({f"v{k}": next(v) for k, here in enumerate(there) if here})
        left = iter(cotangents)
        v_bar = [next(left) if here else None for here in there]
        totals: list[Any] = [None] * count
        for group in of_one_shape(v_bar):
            program = _adjoint(activation, order, present, names, tuple(c is not None for c in group), there)
            given = {f"g{k}": c for k, c in enumerate(group) if c is not None}
            for i, c in enumerate(evaluate(program, xp, {**inputs, **given})):  # type: ignore[arg-type]
                if c is not None:
                    totals[i] = add(totals[i], sum_to_shape(c, tuple(tensors[i].shape)))
        return None, None, None, None, *totals
