"""Random directions from a ``torch.Generator``, which torch.compile does not take for an argument of its functions."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ntaylor.directions import Draws
from ntaylor.namespace import describe

__all__ = ["TorchDraws"]

Array = Any

_COMPILED_WITH: dict[int, torch.Generator] = {}
"""Generators that compiled code draws from, by their id: it holds the number, so they must live on."""


def _draw(kind: str, shape: Sequence[int], rng: torch.Generator, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Drawn on the generator's device, then moved."""
    where: dict[str, Any] = {"generator": rng, "device": rng.device}
    if kind == "choose":
        n, count = shape
        return torch.randperm(n, **where)[:count].to(device)
    if kind == "uniform":
        return torch.rand(list(shape), dtype=dtype, **where).to(device)
    if kind == "normal":
        return torch.randn(list(shape), dtype=dtype, **where).to(device)
    return (2 * torch.randint(0, 2, list(shape), **where) - 1).to(device, dtype)


# The tag keeps a draw from being made again for the backward pass, and ``place``, a number of each place in the code
# that is compiled, keeps two of one shape from being taken for one.
@torch.library.custom_op("ntaylor::draw", mutates_args=(), tags=(torch.Tag.nondeterministic_seeded,))
def _compiled_draw(
    kind: str, shape: Sequence[int], rng: int, place: int, dtype: torch.dtype, device: torch.device
) -> Tensor:
    return _draw(kind, shape, _COMPILED_WITH[rng], dtype, device)


@_compiled_draw.register_fake
def _(kind: str, shape: Sequence[int], rng: int, place: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    if kind == "choose":
        return torch.empty(shape[1:], dtype=torch.int64, device=device)
    return torch.empty(shape, dtype=dtype, device=device)


def _number(rng: torch.Generator) -> int:
    _COMPILED_WITH[id(rng)] = rng
    return id(rng)


_PLACES = itertools.count()


def _place() -> int:
    return next(_PLACES)


_number._dynamo_marked_constant = True  # type: ignore[attr-defined]
_place._dynamo_marked_constant = True  # type: ignore[attr-defined]


class TorchDraws(Draws):
    """Drawn on the generator's device, then moved to that of ``like``."""

    def __init__(self, rng: Any):
        if not isinstance(rng, torch.Generator):
            raise TypeError(f"rng takes a torch.Generator; got {describe(rng)}")
        super().__init__(rng)

    def _drawn(self, kind: str, shape: tuple[int, ...], like: Array) -> Array:
        if torch.compiler.is_compiling():
            return _compiled_draw(kind, shape, _number(self.rng), _place(), like.dtype, like.device)
        return _draw(kind, shape, self.rng, like.dtype, like.device)

    def choose(self, n: int, count: int, like: Array) -> Array:
        return self._drawn("choose", (n, count), like)

    def uniform(self, shape: tuple[int, ...], like: Array) -> Array:
        return self._drawn("uniform", shape, like)

    def normal(self, shape: tuple[int, ...], like: Array) -> Array:
        return self._drawn("normal", shape, like)

    def signs(self, shape: tuple[int, ...], like: Array) -> Array:
        return self._drawn("signs", shape, like)
