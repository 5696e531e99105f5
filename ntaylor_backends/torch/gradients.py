"""``nt.value_and_grad`` on tensors: autograd's own sweep, with what the core promises of values and errors."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from ntaylor.gradients import check_loss, check_parameter, loss_and_auxiliary, map_auxiliary, map_leaves
from ntaylor.namespace import MissingRule, describe

__all__ = ["jacobian", "value_and_grad", "vjp"]

_AT_ONCE = 256
"""Rows of a Jacobian that one batched sweep makes."""


def value_and_grad(loss: Callable[[Any], Any], parameters: Any) -> tuple[Any, Any]:
    """The slot ``value_and_grad``: (value, gradient) or ((value, auxiliary), gradient), all of them detached.

    Tensors are watched for the time of the call; whether they require a gradient before and after is not touched.
    """
    if torch.compiler.is_compiling():
        return _compiled(loss, parameters)
    leaves: list[Any] = []

    def watched(tensor: Any) -> Any:
        if not isinstance(tensor, torch.Tensor):
            raise TypeError(f"parameters must be of one library: among tensors there is a {describe(tensor)}")
        leaves.append(check_parameter(tensor).detach().requires_grad_())
        return leaves[-1]

    with torch.enable_grad():
        result = loss(map_leaves(watched, parameters))
        value, auxiliary = loss_and_auxiliary(result)
        check_loss(value, isinstance(value, torch.Tensor) and value.requires_grad)
        found = torch.autograd.grad(value, leaves, allow_unused=True)
    if all(g is None for g in found):
        check_loss(value, depends=False)
    gradients = iter([torch.zeros_like(p) if g is None else g for p, g in zip(leaves, found, strict=True)])
    gradient = map_leaves(lambda _: next(gradients), parameters)
    if not isinstance(result, tuple):
        return value.detach(), gradient
    return (value.detach(), map_auxiliary(_detached, auxiliary)), gradient


def _compiled(loss: Callable[[Any], Any], parameters: Any) -> tuple[Any, Any]:
    """The same by ``torch.func``, which the compiler follows as it does not follow ``torch.autograd.grad``."""
    leaves: list[Any] = []
    map_leaves(leaves.append, parameters)

    def of_leaves(given: list[Any]) -> Any:
        rest = list(given)
        value, auxiliary = loss_and_auxiliary(loss(map_leaves(lambda _: rest.pop(0), parameters)))
        if auxiliary is not None:
            raise MissingRule("no rule for an auxiliary value in torch.compile(fullgraph=True): return the loss alone")
        return value

    found, value = torch.func.grad_and_value(of_leaves)([p.detach() for p in leaves])
    rest = [g.detach() for g in found]
    return value.detach(), map_leaves(lambda _: rest.pop(0), parameters)


def _detached(a: Any) -> Any:
    return a.detach() if isinstance(a, torch.Tensor) else a


def vjp(function: Callable[[list[Any]], Sequence[Any]], arrays: Sequence[Any]) -> tuple[list[Any], Callable[..., Any]]:
    """The slot ``vjp``."""
    with torch.enable_grad():
        leaves = [a.detach().requires_grad_() for a in arrays]
        outputs = list(function(list(leaves)))

    def pullback(cotangents: Sequence[Any]) -> Sequence[Any]:
        given = [
            (o, c)
            for o, c in zip(outputs, cotangents, strict=True)
            if c is not None and isinstance(o, torch.Tensor) and o.requires_grad
        ]
        if not given:
            return [None] * len(leaves)
        return torch.autograd.grad(
            [o for o, _ in given], leaves, [c for _, c in given], retain_graph=True, allow_unused=True
        )

    return [_detached(o) for o in outputs], pullback


def jacobian(function: Callable[[Any], Any], parameters: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
    """The slot ``jacobian``: autograd's sweep, batched over rows."""
    with torch.enable_grad():
        leaves = {name: p.detach().requires_grad_() for name, p in parameters.items()}
        rows = function(leaves)
    count = rows.shape[0]
    parts: list[Sequence[Any]] = []
    for start in range(0, count, _AT_ONCE):
        size = min(_AT_ONCE, count - start)
        units = torch.zeros(size, count, dtype=rows.dtype, device=rows.device)
        units[torch.arange(size), start + torch.arange(size)] = 1
        parts.append(
            torch.autograd.grad(
                rows, list(leaves.values()), units, retain_graph=True, allow_unused=True, is_grads_batched=True
            )
        )
    found = {}
    for i, (name, p) in enumerate(parameters.items()):
        of_parts = [part[i] for part in parts]
        zero = of_parts[0] is None
        found[name] = p.new_zeros(count, *p.shape) if zero else torch.cat(of_parts).detach()
    return rows.detach(), found
