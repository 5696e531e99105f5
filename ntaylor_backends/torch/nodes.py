"""One autograd node for a whole network, and one for an activation: forward a push, backward its closed-form pullback.

Nothing here knows what is pushed. A :class:`Step` is a function from tensors to Taylor coefficients with a pullback,
as the core's layers and activations are; the node keeps what the pullback needs for as long as autograd keeps what it
saved. Where the gradient is differentiated again, and under the transforms of ``torch.func``, the same push runs on the
node's own inputs with autograd watching, so that second derivatives are those of the very same formulas. Forward mode
sees the operations themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad

from ntaylor_backends.torch import kernel_choice

__all__ = ["activate", "full_precision", "propagate"]

Coefficients = list[Any]
Pullback = Callable[[Coefficients], Sequence[Any]]


def full_precision(tensor: Any) -> AbstractContextManager[Any]:
    """Autocast off for the device of ``tensor``: its products would be rounded to 8 bits, and derivatives of them."""
    kind = tensor.device.type
    on = torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind)
    return torch.autocast(kind, enabled=False) if on else nullcontext()


class Step:
    """``push(tensors) -> (coefficients, pullback)`` with ``pullback(cotangents) -> one cotangent a tensor``."""

    def __init__(self, push: Callable[[Sequence[Tensor]], tuple[Coefficients, Pullback]]):
        self.push = push
        self.pullback: Pullback | None = None
        self.present: list[bool] = []
        """Which coefficients are there: a node gives out those only."""

    def forward(self, tensors: Sequence[Tensor]) -> tuple[tuple[Tensor, ...], Pullback]:
        """The coefficients that are there, and the pullback, which takes one cotangent for each."""
        with full_precision(tensors[0]):
            v, pullback = self.push(tensors)
        present = self.present = [c is not None for c in v]

        def of_present(cotangents: Sequence[Any]) -> Sequence[Any]:
            given = iter(cotangents)
            return pullback([next(given) if there else None for there in present])

        return tuple(c for c in v if c is not None), of_present

    def run(self, tensors: Sequence[Tensor]) -> Coefficients:
        """The coefficients as outputs of one node."""
        found = iter(_Node.apply(self, *tensors))  # type: ignore[no-untyped-call]
        return [next(found) if there else None for there in self.present]


class _Node(torch.autograd.Function):
    @staticmethod
    def forward(step: Step, *tensors: Tensor) -> tuple[Tensor, ...]:
        v, step.pullback = step.forward(tensors)
        # Autograd's outputs hold the node, which holds the pullback: that must hold other tensors, or none is freed.
        return tuple(c.detach() for c in v)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:  # noqa: ARG004
        step, *tensors = inputs
        ctx.step = step
        ctx.set_materialize_grads(False)
        # The pullback rides on a tensor, so that it is freed when autograd frees what is saved: after a backward, or
        # not kept at all by a checkpoint, which makes the tensors anew, then without it.
        carrier = torch.empty(0)
        carrier.pullback, step.pullback = step.pullback, None  # type: ignore[attr-defined]
        ctx.save_for_backward(*tensors, carrier)

    @staticmethod
    def backward(ctx: Any, *cotangents: Any) -> tuple[Any, ...]:
        *tensors, carrier = ctx.saved_tensors  # also refuses tensors that were written to since
        with full_precision(tensors[0]):
            again = torch.is_grad_enabled()  # what comes out is to be differentiated
            pullback = None if again else getattr(carrier, "pullback", None)
            if pullback is None:
                pullback = ctx.step.forward(tensors)[1]
            return None, *pullback(cotangents)

    @staticmethod
    def vmap(info: Any, in_dims: tuple[Any, ...], step: Step, *tensors: Tensor) -> tuple[tuple[Tensor, ...], Any]:
        def of_one(*one: Tensor) -> tuple[Tensor, ...]:
            return step.forward(one)[0]

        v = torch.vmap(of_one, in_dims=in_dims[1:], randomness=info.randomness)(*tensors)
        return v, (0,) * len(v)


def _without_node() -> bool:
    """Whether the compiler, forward mode or nobody follows: then the operations themselves are what is to be seen."""
    return torch.compiler.is_compiling() or not torch.is_grad_enabled() or forward_ad._current_level >= 0


def propagate(network: Any, u: Coefficients, order: int) -> Coefficients:
    """Taylor coefficients 0..order of the network's output: the network is one node of the graph."""
    if _without_node():
        with full_precision(u[0]):
            return network.push(u, order)[0]  # type: ignore[no-any-return]
    names = list(network.parameters)
    present = [c is not None for c in u]
    count = sum(present)

    def push(tensors: Sequence[Tensor]) -> tuple[Coefficients, Pullback]:
        given = iter(tensors[:count])
        plain = network.replace(dict(zip(names, tensors[count:], strict=True)))
        v, network_pullback = plain.push([next(given) if there else None for there in present], order)

        def pullback(cotangent: Coefficients) -> Sequence[Any]:
            of_u, gradients = network_pullback(cotangent)
            of_u = [*of_u, *[None] * (len(u) - len(of_u))]
            return [*(c for c, there in zip(of_u, present, strict=True) if there), *(gradients[name] for name in names)]

        return v, pullback

    return Step(push).run([*(c for c in u if c is not None), *network.parameters.values()])


def activate(
    activation: Any, u: Sequence[Any], order: int, parameters: Mapping[str, Any]
) -> tuple[Coefficients, Callable[..., Any]]:
    """The slot ``activate``: the pair rule forward, its correlation with w back, as one node of the graph."""
    if _without_node():
        with full_precision(u[0]):
            return kernel_choice.activate(activation, u, order, parameters)
    present = [c is not None for c in u]
    count = sum(present)
    learnt = [name for name, p in parameters.items() if isinstance(p, Tensor)]

    def push(tensors: Sequence[Tensor]) -> tuple[Coefficients, Pullback]:
        given = iter(tensors[:count])
        named = {**parameters, **dict(zip(learnt, tensors[count:], strict=True))}
        plain = [next(given) if there else None for there in present]
        v, of_activation = kernel_choice.activate(activation, plain, order, named)

        def pullback(cotangent: Coefficients) -> Sequence[Any]:
            of_u, gradients = of_activation(cotangent)
            return [
                *(c for c, there in zip(of_u, present, strict=True) if there),
                *(gradients[name] for name in learnt),
            ]

        return v, pullback

    def differentiable(*cotangents: Any, **options: Any) -> Any:
        # For those who sweep back themselves and may be differentiated doing so.
        return activation.closed_form(u, order, parameters)[1](*cotangents, **options)

    v = Step(push).run([*(c for c in u if c is not None), *(parameters[name] for name in learnt)])
    return v, differentiable
