"""``nn.Linear`` as a layer of the core's, and a plain ``nn.Sequential`` of such and of activations as its network.

A module that is exactly this, with no hook that would have to be called, need not be run operation by operation.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import nn
from torch.nn.modules.module import _has_any_global_hook

from ntaylor import activations
from ntaylor.array_object import unwrapped_namespace
from ntaylor.fans import Order
from ntaylor.layers import Activate, Coefficients, Dense, Gradients, Layer, Pullback
from ntaylor.networks import MLP
from ntaylor_backends.torch.kernel_choice import are_plain

__all__ = ["Linear", "network_at", "network_of"]


class Linear(Layer):
    """A dense layer with torch's weight, (out, in)."""

    def __init__(self, weight: Any, bias: Any = None):
        self.parameters = {"weight": weight} if bias is None else {"weight": weight, "bias": bias}
        self.width_in = weight.shape[1]

    @property
    def structure(self) -> tuple[Any, ...]:
        return (Linear,)

    @property
    def dense(self) -> Dense:
        """The same as the core's layer."""
        return Dense(self.parameters["weight"].T, self.parameters.get("bias"))

    def push(self, u: Coefficients, order: Order) -> tuple[Coefficients, Pullback]:
        v, pullback = self.dense.push(u, order)

        def transposed(cotangent: Coefficients, per_sample: bool = False) -> tuple[Coefficients, Gradients]:
            of_u, gradients = pullback(cotangent, per_sample)
            xp = unwrapped_namespace([gradients["weight"]])
            return of_u, gradients | {"weight": xp.matrix_transpose(gradients["weight"])}

        return v, transposed


_ACTIVATIONS: dict[type, Callable[[Any], str]] = {
    nn.Tanh: lambda _: "tanh",
    nn.Sigmoid: lambda _: "sigmoid",
    nn.SiLU: lambda _: "silu",
    nn.GELU: lambda module: "gelu" if module.approximate == "none" else "gelu_tanh",
}

_networks: WeakKeyDictionary[nn.Module, tuple[tuple[Any, ...], MLP]] = WeakKeyDictionary()


def network_of(module: Any) -> MLP | None:
    """The network that a plain ``nn.Sequential`` is, of its own parameters; None for all others."""
    if type(module) is not nn.Sequential or torch.compiler.is_compiling() or _has_any_global_hook():
        return None
    seen: list[Any] = []
    for part in (module, *module._modules.values()):
        if not isinstance(part, nn.Module) or _is_altered(part):
            return None
        kind = type(part)
        if kind is nn.Linear:
            seen += (kind, _held(part, "weight"), _held(part, "bias"))
        elif kind in _ACTIVATIONS:
            seen.append(activations.get(_ACTIVATIONS[kind](part)))
        elif part is not module:
            return None
    if nn.Linear not in seen:
        return None
    known = _networks.get(module)
    if known is None or len(known[0]) != len(seen) or any(a is not b for a, b in zip(known[0], seen, strict=True)):
        # Parameters are changed in place as a rule; whoever puts others in their place gets another network.
        known = tuple(seen), MLP([_layer(part) for part in module._modules.values()])
        if all(p.is_leaf and are_plain([p.detach()]) for p in known[1].leaves):  # not what a call put in their place
            _networks[module] = known
    return known[1]


def network_at(module: Any, x: Any, coefficients: Sequence[Any] | None = None) -> MLP | None:
    """:func:`network_of` where points x, and what holds Taylor coefficients, are what it takes.

    All else the module judges itself.
    """
    network = network_of(module)
    if network is None:
        return None
    given = [x] if coefficients is None else coefficients
    tensors = [*given, *network.leaves]
    suits = (
        x.ndim == 2
        and x.shape[1] == network.width_in
        and all(isinstance(t, torch.Tensor) for t in given)
        and {t.dtype for t in tensors} == {x.dtype}
        and {t.device for t in tensors} == {x.device}
    )
    return network if suits else None


def _held(part: nn.Module, name: str) -> Any:
    """The attribute of this name, for which a module would look in Python code."""
    return part._parameters[name] if name in part._parameters else getattr(part, name)


def _layer(part: Any) -> Layer:
    return Linear(part.weight, part.bias) if type(part) is nn.Linear else Activate(_ACTIVATIONS[type(part)](part))


def _is_altered(part: nn.Module) -> bool:
    """With hooks, or with a ``forward`` of its own, as tools put in."""
    return "forward" in part.__dict__ or bool(
        part._forward_hooks or part._forward_pre_hooks or part._backward_hooks or part._backward_pre_hooks
    )
