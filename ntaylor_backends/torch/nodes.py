"""One autograd node for a whole network, and one for an activation: forward a push, backward its closed-form pullback.

Nothing here knows what is pushed. A :class:`Step` is a function from tensors to Taylor coefficients with a pullback,
as the core's layers and activations are; the node keeps what the pullback needs for as long as autograd keeps what it
saved. Where the gradient is differentiated again, and under the transforms of ``torch.func``, the same push runs on the
node's own inputs with autograd watching, so that second derivatives are those of the very same formulas. Forward mode
sees the operations themselves.
"""

from __future__ import annotations

import inspect
import operator
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from itertools import zip_longest
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd import forward_ad

from ntaylor.blocks import Block, Coefficients, opened
from ntaylor.fans import Order
from ntaylor_backends.torch import compiled, kernel_choice
from ntaylor_backends.torch.kernel_choice import are_plain, operations_seen

__all__ = ["activate", "full_precision", "propagate"]

Pullback = Callable[[Coefficients], Sequence[Any]]


def full_precision(tensor: Any) -> AbstractContextManager[Any]:
    """Autocast off for the device of ``tensor``: its products would be rounded to 8 bits, and derivatives of them."""
    kind = tensor.device.type
    on = torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind)
    return torch.autocast(kind, enabled=False) if on else _AS_IT_IS


_AS_IT_IS = nullcontext()


class Step:
    """``push(tensors) -> (coefficients, pullback)`` with ``pullback(cotangents) -> one cotangent a tensor``."""

    def __init__(self, push: Callable[[Sequence[Tensor]], tuple[Coefficients, Pullback]]):
        self.push = push
        self.pullback: Pullback | None = None
        self.closed: Callable[[Sequence[Tensor | None]], Coefficients] = list
        """Makes coefficients of the tensors that the node gives out."""

    def forward(self, tensors: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """The tensors that hold the coefficients; the pullback is kept."""
        with full_precision(tensors[0]):
            v, self.pullback = self.push(tensors)
        held, self.closed = opened(v)
        return tuple(held)

    def run(self, tensors: Sequence[Tensor]) -> Coefficients:
        """The coefficients as outputs of one node."""
        held = _Node.apply(self, *tensors)  # type: ignore[no-untyped-call]
        return self.closed(held)


class _Node(torch.autograd.Function):
    @staticmethod
    def forward(step: Step, *tensors: Tensor) -> tuple[Tensor, ...]:
        # Autograd's outputs hold the node, which holds the pullback: that must hold other tensors, or none is freed.
        return tuple(c.detach() for c in step.forward(tensors))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        step, *tensors = inputs
        ctx.step = step
        ctx.set_materialize_grads(False)
        # The pullback rides on a tensor, so that it is freed when autograd frees what is saved: after a backward, or
        # not kept at all by a checkpoint, which makes the tensors anew, then without it.
        carrier = torch.empty(0)
        carrier.pullback, step.pullback = step.pullback, None  # type: ignore[attr-defined]
        # The outputs, whose memory the pullback reads too, for torch to see whether they were written to.
        ctx.count = len(tensors)
        ctx.save_for_backward(*tensors, *output, carrier)

    @staticmethod
    def backward(ctx: Any, *cotangents: Any) -> tuple[Any, ...]:
        saved = ctx.saved_tensors  # also refuses tensors that were written to since
        tensors, carrier = saved[: ctx.count], saved[-1]
        with full_precision(tensors[0]):
            of_step = ctx.step.closed(cotangents)
            pullback = getattr(carrier, "pullback", None)
            # What comes out is to be differentiated, or a transform follows it: then by operations that are seen.
            if torch.is_grad_enabled() or not are_plain([c for c in cotangents if c is not None]):
                with operations_seen():
                    return None, *ctx.step.push(tensors)[1](of_step)
            if pullback is None:
                pullback = ctx.step.push(tensors)[1]
            return None, *pullback(of_step)

    @staticmethod
    def vmap(info: Any, in_dims: tuple[Any, ...], step: Step, *tensors: Tensor) -> tuple[tuple[Tensor, ...], Any]:
        def of_one(*one: Tensor) -> tuple[Tensor, ...]:
            return step.forward(one)

        v = torch.vmap(of_one, in_dims=in_dims[1:], randomness=info.randomness)(*tensors)
        return v, (0,) * len(v)


class _Positional(inspect.Signature):
    """That of a function whose arguments are taken as they come."""

    def bind(self, *args: Any) -> Any:  # type: ignore[override]
        return _Given(args)


class _Given(NamedTuple):
    """What torch asks of ``inspect.BoundArguments``."""

    args: tuple[Any, ...]
    kwargs: Mapping[str, Any] = {}

    def apply_defaults(self) -> None:
        pass


# Torch binds the arguments to it in every call, which otherwise takes longer than many an operation.
_Node.forward.__signature__ = _Positional()  # type: ignore[attr-defined]


def _without_node() -> bool:
    """Whether the compiler, forward mode or nobody follows: then the operations themselves are what is to be seen."""
    return torch.compiler.is_compiling() or not torch.is_grad_enabled() or forward_ad._current_level >= 0


def propagate(network: Any, u: Coefficients, order: Order) -> Coefficients:
    """Taylor coefficients 0..order of the network's output: the network is one node of the graph."""
    held, closed = opened(u)
    if _without_node():
        with full_precision(held[0]):
            return network.push(u, order)[0]  # type: ignore[no-any-return]
    names = list(network.parameters)

    def push(tensors: Sequence[Tensor]) -> tuple[Coefficients, Pullback]:
        given = tensors[len(held) :]
        same = all(map(operator.is_, given, network.parameters.values()))
        plain = network if same else network.replace(dict(zip(names, given, strict=True)))
        v, network_pullback = plain.push(closed(tensors[: len(held)]), order)

        def pullback(cotangent: Coefficients) -> Sequence[Any]:
            of_u, gradients = network_pullback(cotangent)
            return [*_in_places(of_u, u), *(gradients[name] for name in names)]

        return v, pullback

    return Step(push).run([*held, *network.parameters.values()])


def activate(
    activation: Any, u: Coefficients, order: Order, parameters: Mapping[str, Any]
) -> tuple[Coefficients, Callable[..., Any]]:
    """The slot ``activate``: the pair rule forward, its correlation with w back, as one node of the graph."""
    held, closed = opened(u)
    if _without_node():
        with full_precision(held[0]):
            choice = compiled if torch.compiler.is_compiling() else kernel_choice
            return choice.activate(activation, u, order, parameters)
    learnt = [name for name, p in parameters.items() if isinstance(p, Tensor)]

    def push(tensors: Sequence[Tensor]) -> tuple[Coefficients, Pullback]:
        named = {**parameters, **dict(zip(learnt, tensors[len(held) :], strict=True))}
        v, of_activation = kernel_choice.activate(activation, closed(tensors[: len(held)]), order, named)

        def pullback(cotangent: Coefficients) -> Sequence[Any]:
            of_u, gradients = of_activation(cotangent)
            return [*_in_places(of_u, u), *(gradients[name] for name in learnt)]

        # Each a tensor of its own: taken from a block, each would give autograd a cotangent of the whole block.
        return list(v), pullback

    def differentiable(*cotangents: Any, **options: Any) -> Any:
        # For those who sweep back themselves and may be differentiated doing so.
        return activation.closed_form(u, order, parameters)[1](*cotangents, **options)

    v = Step(push).run([*held, *(parameters[name] for name in learnt)])
    return v, differentiable


def _in_places(cotangents: Coefficients, u: Coefficients) -> list[Any]:
    """Cotangents of u's coefficients as those of the tensors that hold them."""
    if not isinstance(u, Block):
        return [c for c, x in zip_longest(cotangents, u) if x is not None]
    if isinstance(cotangents, Block):
        return [cotangents.array]
    there = next((c for c in cotangents if c is not None), None)
    zero = None if there is None else torch.zeros_like(there)
    return [None if there is None else torch.stack([zero if c is None else c for c in cotangents])]
