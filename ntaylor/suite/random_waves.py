"""Networks of fixed random waves, alone or beside a trained network.

Floor 15. A tanh network of a thousand parameters stops at five to seven digits, for its last digits are where the small
singular values of its Jacobian are. Random waves are a linear space in which a smooth solution, or what a network has
left of it, is found by a few Gauss–Newton steps to nearly all digits (the random feature method).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ntaylor.composites import Chain, Sum
from ntaylor.constraints import HardConstraint
from ntaylor.fans import Order
from ntaylor.layers import Activate, Coefficients, Dense, FourierFeatures, Gradients, Layer, Pullback, Scale
from ntaylor.namespace import array_namespace, device
from ntaylor.networks import MLP
from ntaylor.posing import Problem
from ntaylor.suite.entry import Waves

__all__ = ["Marched", "beside", "joined", "wave_network"]

Array = Any


def wave_network(
    problem: Problem, waves: Waves, like: Array, seed: int, periods: Sequence[float | None] | None = None
) -> MLP:
    """The network of ``waves``, with W = 0, in the library, dtype and device of the array ``like``."""
    xp, where = array_namespace(like), device(like)

    def array(values: Array) -> Array:
        return xp.asarray(np.asarray(values, dtype=np.float64), dtype=like.dtype, device=where)

    low, high = np.asarray(list(problem.domain.values()), dtype=np.float64).T
    rng = np.random.default_rng([seed, 1])
    each = np.broadcast_to(np.asarray(waves.frequency, dtype=np.float64), low.shape)
    vectors = rng.standard_normal((len(low), waves.count)) * each[:, None]
    for i, band in enumerate(waves.band or ()):
        if band is not None:
            vectors[i] = rng.uniform(-band, band, waves.count)
    for i, period in enumerate(periods or ()):
        if period is not None:
            unit = np.pi * (high[i] - low[i]) / period  # of the wave that fits the period once, in ξ
            vectors[i] = np.round(vectors[i] / unit) * unit
    layers: list[Layer] = [
        _coordinates(low, high, waves.stretch, waves.centre, array),
        FourierFeatures(array(vectors / (2 * np.pi))),  # which multiplies by 2π
        Dense(array(np.zeros((2 * waves.count, len(problem.fields))))),
    ]
    return MLP(layers)


class _Fixed(Layer):
    """A layer whose arrays are not parameters."""

    def __init__(self, inner: Layer):
        self.inner = inner
        self.width_in = inner.width_in

    def push(self, u: Coefficients, order: Order) -> tuple[Coefficients, Pullback]:
        v, inner_pullback = self.inner.push(u, order)

        def pullback(cotangent: Coefficients, per_sample: bool = False) -> tuple[Coefficients, Gradients]:
            return inner_pullback(cotangent, per_sample)[0], {}

        return v, pullback


def _coordinates(
    low: Array, high: Array, stretch: float | None, centre: float, array: Callable[[Array], Array]
) -> Layer:
    """x ↦ ξ in [−1, 1]: each input by its range, or the first by asinh((x − c)/δ)."""
    if stretch is None:
        return Scale(array((low + high) / 2), array(2 / (high - low)))
    straight, shift = np.diag(2 / (high - low)), -(high + low) / (high - low)
    straight[0, 0] = shift[0] = 0.0
    into, out, back = np.zeros((len(low), 1)), np.zeros((1, len(low))), np.zeros(len(low))
    first, last = np.arcsinh((np.asarray([low[0], high[0]]) - centre) / stretch)
    into[0, 0], out[0, 0], back[0] = 1 / stretch, 2 / (last - first), -(last + first) / (last - first)
    shifted = Dense(array(into), array([-centre / stretch]))
    bent = Chain([shifted, Activate("asinh"), Dense(array(out), array(back))])
    return _Fixed(Sum([Dense(array(straight), array(shift)), bent]))


class Marched:
    """A solution window by window: callable on points whose last column is time."""

    def __init__(self, ends: Sequence[float], functions: Sequence[Callable[[Array], Array]]):
        self.ends, self.functions = tuple(ends), tuple(functions)

    def __call__(self, x: Array) -> Array:
        found = self.functions[-1](x)
        for end, function in zip(self.ends[-2::-1], self.functions[-2::-1], strict=True):
            found = array_namespace(x).where(x[..., -1:] <= end, function(x), found)
        return found


def _one(x: Any) -> Any:
    return 0 * x[..., :1] + 1


def beside(problem: Problem, base: Any) -> Problem:
    """The problem for a network that is added to ``base``, which stays as it is; ``hard`` is applied to the sum."""
    return replace(problem, hard=lambda network: problem.function(HardConstraint(network, _one, base)))


def joined(base: MLP, added: MLP) -> MLP:
    """base + added as one network."""
    return MLP([Sum([Chain(base.layers), Chain(added.layers)])])
