"""The second stage of a recipe: fixed random waves beside a trained network, whose weights alone are left to find.

Floor 15. A tanh network of a thousand parameters stops at five to seven digits, because its Jacobian's small singular
values are where its last digits are. Beside it, the correction is small and smooth, and random features are a linear
space in which it is found by a few Gauss–Newton steps (the random feature method; ``profile_search`` does the same).
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
from ntaylor.suite.entry import Widen

__all__ = ["beside", "joined", "waves"]

Array = Any


def waves(
    problem: Problem, widen: Widen, network: MLP, seed: int, periods: Sequence[float | None] | None = None
) -> MLP:
    """The network [sin z, cos z] · W of ``widen``, with W = 0, as wide and in the library of ``network``.

    Where an input has a period, its wave numbers are the nearest whole ones, in the unit that makes them periodic.
    """
    like = next(iter(network.parameters.values()))
    xp, where = array_namespace(like), device(like)

    def array(values: Array) -> Array:
        return xp.asarray(np.asarray(values, dtype=np.float64), dtype=like.dtype, device=where)

    low, high = np.asarray(list(problem.domain.values()), dtype=np.float64).T
    rng = np.random.default_rng([seed, 1])
    each = np.broadcast_to(np.asarray(widen.frequency, dtype=np.float64), low.shape)
    # FourierFeatures multiplies by 2π.
    frequencies = rng.standard_normal((len(low), widen.count)) * each[:, None] / (2 * np.pi)
    for i, period in enumerate(periods or ()):
        if period is not None:
            unit = (high[i] - low[i]) / (2 * period)  # of a wave that fits the period once, in ξ
            frequencies[i] = np.round(frequencies[i] / unit) * unit
    outputs = len(problem.fields)
    layers: list[Layer] = [
        Scale(array((low + high) / 2), array(2 / (high - low))),
        FourierFeatures(array(frequencies)),
        Dense(array(np.zeros((2 * widen.count, outputs)))),
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
