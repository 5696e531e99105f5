"""Random directions from a ``torch.Generator``."""

from __future__ import annotations

from typing import Any

import torch

from ntaylor.directions import Draws
from ntaylor.namespace import describe

__all__ = ["TorchDraws"]

Array = Any


class TorchDraws(Draws):
    """Drawn on the generator's device, then moved to that of ``like``."""

    def __init__(self, rng: Any):
        if not isinstance(rng, torch.Generator):
            raise TypeError(f"rng takes a torch.Generator; got {describe(rng)}")
        super().__init__(rng)

    def _options(self, like: Array) -> dict[str, Any]:
        return {"generator": self.rng, "device": self.rng.device, "dtype": like.dtype}

    def choose(self, n: int, count: int, like: Array) -> Array:
        return torch.randperm(n, generator=self.rng, device=self.rng.device)[:count].to(like.device)

    def uniform(self, shape: tuple[int, ...], like: Array) -> Array:
        return torch.rand(shape, **self._options(like)).to(like.device)

    def normal(self, shape: tuple[int, ...], like: Array) -> Array:
        return torch.randn(shape, **self._options(like)).to(like.device)

    def signs(self, shape: tuple[int, ...], like: Array) -> Array:
        bits = torch.randint(0, 2, shape, generator=self.rng, device=self.rng.device)
        return (2 * bits - 1).to(like.device, like.dtype)
