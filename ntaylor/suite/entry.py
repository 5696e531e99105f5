"""What the catalogue knows of a problem beside the problem itself: order, sources, published figures, a recipe.

Floor 15.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ntaylor.posing import Problem

__all__ = ["Entry", "Recipe", "Waves"]


@dataclass(frozen=True)
class Waves:
    """A network of fixed random waves: [sin z, cos z] W, z = Kξ, with ξ the inputs mapped to [−1, 1].

    ``count`` wave vectors K, whose entries are from N(0, ``frequency``²), a number or one an input, or, where ``band``
    has a number for an input, evenly from ±band; those of an input with a period are rounded to what is periodic. Only
    W is trained. The
    residual of a linear equation is linear in W, and that of others nearly so: Gauss–Newton steps converge to the last
    digits in a few (the random feature method, Chen, Chi, E, Yang 2022, arXiv 2207.13380).
    """

    count: int
    frequency: float | tuple[float, ...]
    points: int
    band: tuple[float | None, ...] | None = None
    condition_points: int | None = None
    steps: int = 16
    stretch: float | None = None
    """A length δ: of the first input asinh((x − c)/δ) is seen, so that a layer of that width at c is as wide as the
    rest; c is ``centre``."""
    centre: float = 0.0


@dataclass(frozen=True)
class Recipe:
    """A network and how it is trained, as data: what ``ntaylor solve`` does unless told otherwise.

    ``network`` are arguments of :meth:`ntaylor.MLP.create`, ``train`` those of :func:`ntaylor.train`. With ``waves``
    these come in its place, or, with ``first``, beside it when it has been trained; with ``march``, window by window.
    """

    network: Mapping[str, Any]
    train: Mapping[str, Any]
    waves: Waves | None = None
    first: bool = False
    march: tuple[tuple[float, Waves], ...] = ()
    """Windows of time one after another: where each ends, and its waves; each starts from the one before."""

    @property
    def words(self) -> str:
        """What it is, in a few words: for tables."""
        widths, kind = "×".join(map(str, self.network["widths"][1:-1])), self.network.get("activation", "tanh")
        trained = f"{kind} {widths}"
        if self.march:
            return f"{'+'.join(str(waves.count) for _, waves in self.march)} waves in {len(self.march)} windows"
        if self.waves is None:
            return trained
        return f"{trained} + {self.waves.count} waves" if self.first else f"{self.waves.count} waves"


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
    window: Callable[[float, float, Callable[[Any], Any] | None], Problem] | None = None
    """(start, end, solution at the start or None for the problem's own) -> the problem on a window of time."""
    whole: Callable[[Callable[[Any], Any]], Callable[[Any], Any]] | None = None
    """The solution on the windows -> that on the problem's domain, where the windows have a part of it."""
    truth: Mapping[str, float] = field(default_factory=dict)
    """The values that the unknowns should be found to have."""
    limit: Callable[[], Mapping[str, float]] | None = None
    """Standard deviations of the unknowns that no unbiased estimate from noisy values undercuts."""
    grid: tuple[int, ...] = (101, 101)
    """Points a side on which errors are measured and pictures drawn; of many inputs a single count of points."""

    def test_points(self) -> Any:
        """Where errors are measured, (n, d): a grid with the ends, or, from three inputs on, Sobol points."""
        problem = self.make()
        if len(self.grid) != len(problem.domain):
            return problem.points(self.grid[0], seed=12345)
        axes = [np.linspace(*bounds, n) for bounds, n in zip(problem.domain.values(), self.grid, strict=True)]
        return np.stack([axis.ravel() for axis in np.meshgrid(*axes, indexing="ij")], axis=-1)
