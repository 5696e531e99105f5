"""Semilinear parabolic equations on the whole space: the second benchmark of STDE (arXiv 2412.00088).

Floor 12. u_t = Δu + f(u) from u(0, ·) = g, wanted at (t, x) = (0.3, 0); points are (batch, 1 + D), t first. No exact
solution is known, only published values at that one point. The baseline is one number too, with nothing learnt: the
mean of g where the diffusion brings it together, carried on by the equation v′ = f(v) alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ntaylor.namespace import array_namespace, near_names

__all__ = ["SEMILINEAR", "Semilinear", "SemilinearEquation"]

Array = Any
Draw = Callable[[tuple[int, ...]], Array]


@dataclass(frozen=True)
class SemilinearEquation:
    """f, g, and the published values of u(0.3, 0) by dimension."""

    reaction: Callable[[Array], Array]
    smooth: bool
    """Whether g is the smooth 5/(10 + 2‖x‖²); otherwise it is arctan(max_i x_i), which has kinks."""
    published: dict[int, float]


def _quotient(u: Array) -> Array:
    return (1 - u * u) / (1 + u * u)


def _double_well(u: Array) -> Array:
    return u - u * u * u


def _sine(u: Array) -> Array:
    return array_namespace(u).sin(u)


SEMILINEAR = {
    "heat": SemilinearEquation(_quotient, True, {10: 0.47006, 100: 0.31674, 1_000: 0.28753, 10_000: 0.28433}),
    "allen-cahn": SemilinearEquation(_double_well, False, {10: 0.89060, 100: 1.04510, 1_000: 1.09100, 10_000: 1.11402}),
    "sine-gordon": SemilinearEquation(
        _sine, True, {10: 0.3229470, 100: 0.0528368, 1_000: 0.0055896, 10_000: 0.0005621}
    ),
}


@dataclass(frozen=True)
class Semilinear:
    """One problem: an equation and a dimension. Raises ValueError for an unknown equation or a dimension below 1."""

    equation: str
    dimension: int

    horizon = 0.3

    def __post_init__(self) -> None:
        if self.equation not in SEMILINEAR:
            raise ValueError(f"there is no semilinear {self.equation!r}: {near_names(self.equation, list(SEMILINEAR))}")
        if self.dimension < 1:
            raise ValueError(f"the dimension must be >= 1, got {self.dimension}")

    @property
    def smooth(self) -> bool:
        """Whether u = g + t·net makes sense.

        Where g has kinks, Δg is more than its value at almost every point: it has mass on them. A smooth net cannot
        undo what u = g + t·net leaves out there, and the residual at random points never sees it.
        """
        return SEMILINEAR[self.equation].smooth

    @property
    def published(self) -> float | None:
        """The published value of u(0.3, 0), where there is one for this dimension."""
        return SEMILINEAR[self.equation].published.get(self.dimension)

    def reaction(self, u: Array) -> Array:
        """f(u)."""
        return SEMILINEAR[self.equation].reaction(u)

    def initial(self, x: Array) -> Array:
        """g (batch,) at points (batch, D)."""
        xp = array_namespace(x)
        if not self.smooth:
            return xp.atan(xp.max(x, axis=-1))
        return 5 / (10 + 2 * xp.sum(x * x, axis=-1))

    def initial_laplacian(self, x: Array) -> Array:
        """Δg (batch,) of a smooth g; ValueError of one with kinks, see :attr:`smooth`."""
        if not self.smooth:
            raise ValueError(
                f"the initial value of {self.equation} has kinks, and no Laplacian there: use --initial soft"
            )
        s = array_namespace(x).sum(x * x, axis=-1)
        q = 10 + 2 * s
        # g = 5/q: dg/ds = −10/q², d²g/ds² = 40/q³, and Δg = 4s d²g/ds² + 2D dg/ds.
        return 160 * s / q**3 - 20 * self.dimension / q**2

    def sample(self, normal: Draw, uniform: Draw, count: int) -> Array:
        """``count`` points (t, x): t uniform on [0, 0.3), x of N(0, 2(0.3 − t)).

        Those are the points that √2 times a Brownian motion visits on its way from (0.3, 0) back to t = 0, the only
        ones that u(0.3, 0) depends on. The choice is ours; the paper's text was not at hand.
        """
        t = self.horizon * uniform((count, 1))
        xp = array_namespace(t)
        return xp.concat([t, xp.sqrt(2 * (self.horizon - t)) * normal((count, self.dimension))], axis=-1)

    def sample_initial(self, normal: Draw, count: int) -> Array:
        """``count`` points (0, x) with x of N(0, 0.6), as :meth:`sample` has them at t = 0."""
        x = math.sqrt(2 * self.horizon) * normal((count, self.dimension))
        xp = array_namespace(x)
        return xp.concat([xp.zeros_like(x[:, :1]), x], axis=-1)

    def baseline(self) -> float:
        """v(0.3) with v′ = f(v) from v(0) = E g(X), X of N(0, 0.6): exact where f is linear or D infinite."""
        v = self._mean_initial()
        steps = 300
        h = self.horizon / steps
        for _ in range(steps):  # Runge and Kutta's method of order 4
            a = self.reaction(np.float64(v))
            b = self.reaction(v + h / 2 * a)
            c = self.reaction(v + h / 2 * b)
            d = self.reaction(v + h * c)
            v = float(v + h / 6 * (a + 2 * b + 2 * c + d))
        return v

    def _mean_initial(self) -> float:
        """E g(X), by the midpoint rule over the quantiles of the one number that g depends on."""
        from scipy.special import gammaincinv, ndtri

        p = (np.arange(20_000) + 0.5) / 20_000
        if self.smooth:
            squares = 2 * self.horizon * 2 * gammaincinv(self.dimension / 2, p)
            return float(np.mean(5 / (10 + 2 * squares)))
        # The largest of D normals is below m with probability Φ(m)^D.
        largest = -ndtri(-np.expm1(np.log(p) / self.dimension))
        return float(np.mean(np.arctan(math.sqrt(2 * self.horizon) * largest)))
