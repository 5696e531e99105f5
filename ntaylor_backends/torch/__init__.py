"""The adapter for PyTorch tensors."""

from __future__ import annotations

import math
from typing import Any

import array_api_compat.torch
import torch

from ntaylor.dispatch import Adapter
from ntaylor.namespace import Library, know
from ntaylor_backends.torch import (
    contestants,
    draws,
    gradients,
    gram_root,
    jets,
    kernel_choice,
    models,
    nested,
    nodes,
    recorder,
    sequential,
    training,
)

__all__ = ["adapter"]


def _values_are_hidden(tensor: Any) -> bool:
    return torch.compiler.is_compiling()


def _normal_cdf(tensor: Any) -> Any:
    # torch.special.ndtr is (1 + erf)/2, which has no correct digit left at −9.
    return torch.special.erfc(tensor * -math.sqrt(0.5)) / 2


know(
    Library(
        array_api_compat.torch,
        special={"ndtr": _normal_cdf},
        device=lambda tensor: tensor.device,
        hides_values=_values_are_hidden,
    ),
    torch.Tensor,
    torch.nn.Parameter,
)


class _TorchAdapter(Adapter):
    push = staticmethod(jets.push)
    jet = jets.TorchJet
    propagate = staticmethod(nodes.propagate)
    network = staticmethod(sequential.network_at)
    push_network = staticmethod(recorder.push_network)
    writes = staticmethod(kernel_choice.writes)
    activate = staticmethod(nodes.activate)
    fuses = staticmethod(kernel_choice.fuses)
    value_and_grad = staticmethod(gradients.value_and_grad)
    vjp = staticmethod(gradients.vjp)
    jacobian = staticmethod(gradients.jacobian)
    nested = staticmethod(nested.nested)
    draws = draws.TorchDraws
    gram_root = staticmethod(gram_root.gram_root)
    vmap = staticmethod(torch.func.vmap)
    model = staticmethod(models.model)
    trainer = training.Trainer
    share = staticmethod(training.share)
    contestants = contestants.Contestants
    hessian_diagonal = staticmethod(training.hessian_diagonal)


adapter = _TorchAdapter()
