"""What the catalogue knows of a problem beside the problem itself: order, sources, published figures, a recipe.

Floor 15.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ntaylor.posing import Problem

__all__ = ["Entry", "Recipe", "Widen"]


@dataclass(frozen=True)
class Widen:
    """A second stage: fixed random features put beside the trained network, with output weights zero at first.

    ``count`` waves [sin z, cos z], z = k·ξ, with ξ the inputs mapped to [−1, 1] and k from N(0, ``frequency``²) in
    each; the problem is nearly linear in their weights, so that few Gauss–Newton steps give many more digits.
    """

    count: int
    frequency: float | tuple[float, ...]
    points: int
    steps: int = 6


@dataclass(frozen=True)
class Recipe:
    """A network and how it is trained, as data: what ``ntaylor solve`` does unless told otherwise.

    ``network`` are arguments of :meth:`ntaylor.MLP.create`, ``train`` those of :func:`ntaylor.train`.
    """

    network: Mapping[str, Any]
    train: Mapping[str, Any]
    widen: Widen | None = None


@dataclass(frozen=True)
class Entry:
    """One problem of the suite."""

    name: str
    title: str
    equation: str
    """As it would be written on paper."""
    order: int
    """The highest derivative in it."""
    smooth: bool
    """Whether the solution is smooth on the scale of the domain; otherwise the 1e-6 is no promise."""
    source: str
    """Of the problem and of its solution."""
    published: str
    """What others have reached, with the source."""
    make: Callable[[], Problem]
    recipe: Recipe
    truth: Mapping[str, float] = field(default_factory=dict)
    """The values that the unknowns should be found to have."""
    grid: tuple[int, ...] = (101, 101)
    """Points a side on which errors are measured and pictures drawn; of many inputs a single count of points."""

    def test_points(self) -> Any:
        """Where errors are measured, (n, d): a grid with the ends, or, from three inputs on, Sobol points."""
        problem = self.make()
        if len(self.grid) != len(problem.domain):
            return problem.points(self.grid[0], seed=12345)
        axes = [np.linspace(*bounds, n) for bounds, n in zip(problem.domain.values(), self.grid, strict=True)]
        return np.stack([axis.ravel() for axis in np.meshgrid(*axes, indexing="ij")], axis=-1)
