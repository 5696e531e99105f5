"""The adapter for PyTorch tensors."""

from __future__ import annotations

from typing import Any

import array_api_compat.torch
import torch

from ntaylor.dispatch import Adapter
from ntaylor.namespace import Library, know
from ntaylor_backends.torch import gradients, jets, nested, nodes

__all__ = ["adapter"]


def _values_are_hidden(tensor: Any) -> bool:
    return torch.compiler.is_compiling()


know(
    Library(
        array_api_compat.torch,
        special={"ndtr": torch.special.ndtr},
        device=lambda tensor: tensor.device,
        hides_values=_values_are_hidden,
    ),
    torch.Tensor,
    torch.nn.Parameter,
)


class _TorchAdapter(Adapter):
    push = staticmethod(jets.push)
    propagate = staticmethod(nodes.propagate)
    activate = staticmethod(nodes.activate)
    value_and_grad = staticmethod(gradients.value_and_grad)
    nested = staticmethod(nested.nested)


adapter = _TorchAdapter()
