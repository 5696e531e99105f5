"""Networks of fixed random waves, alone or beside a trained network.

Floor 15. A tanh network of a thousand parameters stops at five to seven digits, for its last digits are where the small
singular values of its Jacobian are. Random waves are a linear space in which a smooth solution, or what a network has
left of it, is found by a few Gauss–Newton steps to nearly all digits (the random feature method).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ntaylor.composites import Chain, Sum
from ntaylor.constraints import HardConstraint
from ntaylor.layers import Dense, FourierFeatures, Layer, Scale
from ntaylor.namespace import array_namespace, device
from ntaylor.networks import MLP
from ntaylor.posing import Problem
from ntaylor.suite.entry import Waves

__all__ = ["beside", "joined", "wave_network"]

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
    for i, period in enumerate(periods or ()):
        if period is not None:
            # Of the wave that fits the period once, in ξ.
            unit = np.pi * (high[i] - low[i]) / period
            vectors[i] = np.round(rng.uniform(-1, 1, waves.count) * 3**0.5 * each[i] / unit) * unit
    layers: list[Layer] = [
        Scale(array((low + high) / 2), array(2 / (high - low))),
        FourierFeatures(array(vectors / (2 * np.pi))),  # which multiplies by 2π
        Dense(array(np.zeros((2 * waves.count, len(problem.fields))))),
    ]
    return MLP(layers)


def _one(x: Any) -> Any:
    return 0 * x[..., :1] + 1


def beside(problem: Problem, base: Any) -> Problem:
    """The problem for a network that is added to ``base``, which stays as it is; ``hard`` is applied to the sum."""
    return replace(problem, hard=lambda network: problem.function(HardConstraint(network, _one, base)))


def joined(base: MLP, added: MLP) -> MLP:
    """base + added as one network."""
    return MLP([Sum([Chain(base.layers), Chain(added.layers)])])
