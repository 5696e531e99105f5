"""The slot ``model``: a ``torch.nn.Module`` as arrays by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from ntaylor.dispatch import Model
from ntaylor_backends.torch.sequential import network_of

__all__ = ["model"]


class _Called:
    """A module with other tensors in the places of its parameters."""

    def __init__(self, module: nn.Module, tensors: Mapping[str, Any]):
        self.module, self.tensors = module, dict(tensors)

    def __call__(self, x: Any) -> Any:
        return torch.func.functional_call(self.module, self.tensors, (x,))


def model(net: Any, points: Any) -> Model | None:
    """The module's parameters that require a gradient; what is trained is written into the module itself.

    A plain ``nn.Sequential`` of linear layers and activations is a network with a closed-form pullback.
    """
    if not isinstance(net, nn.Module):
        return None
    if isinstance(net, nn.parallel.DistributedDataParallel):
        net = net.module
    arrays = {name: p.detach().clone() for name, p in net.named_parameters() if p.requires_grad}
    if not arrays:
        raise TypeError("no parameter of the module requires a gradient, so there is nothing to train")

    def given(trained: Mapping[str, Any]) -> Any:
        with torch.no_grad():
            for name, p in net.named_parameters():
                if name in trained:
                    p.copy_(trained[name])
        return net

    network = network_of(net)
    if network is not None and {*network.parameters} == {*arrays}:
        network = network.replace({name: arrays[name] for name in network.parameters})
        return Model(arrays, network.replace, given, network)
    return Model(arrays, lambda tensors: _Called(net, tensors), given)
