"""Smooth self-similar profiles of the inviscid Burgers equation.

Floor 12. −λU + ((1+λ)X + U) U′ = 0 on [−2, 2] with U(∓2) = ±1, for U and λ together; from arXiv 2412.09752,
section 4. The solutions are X = −U − sgn(U)|U|^{1+1/λ}; they are smooth if and only if 1/λ is an even
integer, so profile k has λ = 1/(2k+2) and is searched in [1/(2k+3), 1/(2k+1)] (``docs/theory.md``, section 7).

What selects λ: with U′(0) = −1 and nothing between, R^(m)(0) = (λ(m−1) − 1) U^(m)(0), equation (7.1). Only at
m = 2k+3 can U^(m)(0) ≠ 0 and R^(m)(0) = 0 hold together, and then λ = 1/(2k+2). Residuals of all orders up
to that one are therefore imposed near 0, each as R^(m)/m!.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import scipy.linalg

from ntaylor.differentiate import jet
from ntaylor.jets import Jet
from ntaylor.networks import MLP
from ntaylor.pointwise import PointwiseResidual, ResidualSystem
from ntaylor.series import Series, solve

__all__ = ["LIMITS", "Limit", "SelfSimilarBurgers", "residual"]

Array = Any


class Limit(NamedTuple):
    """What a figure of :meth:`SelfSimilarBurgers.diagnose` is, and what it must stay below."""

    below: float
    what: str


LIMITS = {
    "residual": Limit(1e-8, "max |R| on 2000 points of [0, 2] that were not trained on"),
    "residual_slope": Limit(1e-7, "max |R′| on the same points"),
    "near_zero": Limit(1e-8, "max |R^(m)/m!| over all imposed orders m >= 2 on the points of [0, 0.1]"),
    "beyond": Limit(1e-7, "max |R^(m)/m!| 0.3^m on other points up to 0.13, and two orders beyond those imposed"),
    "boundary": Limit(1e-9, "|U(2) + 1|"),
    "slope_at_zero": Limit(1e-6, "|U′(0) + 1|"),
    "lambda_local": Limit(1e-9, "what the coefficient of order 2k+3 at 0 alone says of λ, minus λ"),
    "lambda_correction": Limit(1e-10, "|δλ| of one more Newton step on points and orders never used"),
    "profile_correction": Limit(1e-9, "max |δU| of that step"),
}
"""A profile counts as found if every figure is below its limit."""


def residual(X: Jet, U: Jet, lam: Array) -> Jet:
    """R = −λU + ((1+λ)X + U) U′. Its derivatives of every order are those of this jet."""
    found: Jet = -lam * U + ((1 + lam) * X + U) * U.derivative()
    return found


def _boundary(X: Jet, U: Jet, lam: Array) -> Jet:
    """U + 1, to vanish at X = 2. An odd U then has its other boundary value too."""
    found: Jet = U + 1.0
    return found


@dataclass(frozen=True)
class SelfSimilarBurgers:
    """Profile k >= 0. All that is asked for is on X >= 0: the networks are odd, as the solution is."""

    profile: int

    @property
    def selecting_order(self) -> int:
        """m = 2k+3, the order of the residual's derivative at 0 that selects λ."""
        return 2 * self.profile + 3

    @property
    def interval(self) -> tuple[float, float]:
        """Where λ is searched."""
        return 1 / (2 * self.profile + 3), 1 / (2 * self.profile + 1)

    @property
    def middle(self) -> float:
        """Where the search starts."""
        return sum(self.interval) / 2

    @property
    def exact_lambda(self) -> float:
        """1/(2k+2). For the report only: the search never looks at it."""
        return 1 / (2 * self.profile + 2)

    def exact(self, X: Array) -> Array:
        """U(X) from the implicit solution, by Newton's method from the side on which it is monotone."""
        power = self.selecting_order
        size = np.abs(np.asarray(X, dtype=np.float64))
        # g(y) = y + y^p − |X| is increasing and convex, and positive at the start: Newton falls to the root.
        y = np.minimum(size, size ** (1 / power))
        for _ in range(100):
            step = (y + y**power - size) / (1 + power * y ** (power - 1))
            y = y - step
            if np.all(np.abs(step) <= 1e-17 + 1e-16 * y):
                break
        return -np.sign(X) * y

    def exact_coefficients(self, X: Array, order: int) -> Array:
        """Taylor coefficients U^(k)/k! of the exact solution, (order+1, \\*X.shape), from U′ = −1/(1 + p U^{p−1})."""
        power = self.selecting_order
        line = Series([X, np.ones_like(X)])
        u, _ = solve(line, self.exact(X), lambda v: -1 / (1 + power * v ** (power - 1)))
        return np.stack([u[k] for k in range(order + 1)])

    def system(self, network: MLP, points: int, order: int) -> ResidualSystem:
        """R and 0.3 R′ at equidistant points on [0, 2]; orders 0..``order`` near 0; the boundary value.

        Weights: the points' together as those of 101, whatever their number; 1 for every order near 0; 3 for
        the boundary.
        """
        share = np.sqrt(101 / points)
        blocks = (
            (PointwiseResidual(residual, np.linspace(0, 2, points), 1), share * np.asarray([[1.0], [0.3]])),
            (PointwiseResidual(residual, np.linspace(0, 0.1, 6), order), np.ones((order + 1, 1))),
            (PointwiseResidual(_boundary, np.asarray([2.0]), 0, depth=0), np.asarray([[3.0]])),
        )
        return ResidualSystem(network, ("lam",), blocks)

    def residual_norms(self, network: MLP, lam: Array) -> list[float]:
        """max |R^(m)/m!| for m = 0..2k+3: orders 0 and 1 on 2000 points of [0, 2], the others on [0, 0.1]."""
        everywhere = PointwiseResidual(residual, (np.arange(2000) + 0.5) / 1000, 1)
        near = PointwiseResidual(residual, np.linspace(0, 0.1, 6), self.selecting_order)
        norms = [np.max(np.abs(b.values(network, {"lam": lam})), axis=1) for b in (everywhere, near)]
        return [*map(float, norms[0]), *map(float, norms[1][2:])]

    def diagnose(self, network: MLP, lam: Array) -> tuple[dict[str, float], list[str]]:
        """How far this (U, λ) can be trusted, and what speaks against it. Nothing here uses the exact λ.

        A small residual proves little: with the residuals near 0 left out, profile 3 reaches |R| = 5e-13 with λ
        wrong by 2e-2. The telling figures are the last two: how far one more Newton step, on points and orders
        not used before, would move λ and U. ``lambda_local`` is what the coefficient of order m = 2k+3 at 0 says of
        λ by itself; once U is flat there it measures |λ − 1/(m−1)| by equation (7.1), which is to say that asking
        for the profile with that m is asking for that λ. See ``LIMITS``.
        """
        unknowns = {"lam": lam}
        top = self.selecting_order
        norms = self.residual_norms(network, lam)
        at_zero = jet(network, np.zeros(1), top).coefficients[:, 0]
        selecting = PointwiseResidual(residual, np.zeros(1), top).values(network, unknowns)[top, 0]
        # Two orders beyond those imposed and points between and beyond theirs, each order by its share at 0.3.
        beyond = PointwiseResidual(residual, np.linspace(0.01, 0.13, 7), top + 2).values(network, unknowns)
        low, high = self.interval
        lambda_correction, profile_correction = self._newton_correction(network, lam)
        with np.errstate(divide="ignore", invalid="ignore"):  # where U has collapsed both are zero
            lambda_local = abs(float(np.divide(selecting, (top - 1) * at_zero[top])))
        figures = {
            "residual": norms[0],
            "residual_slope": norms[1],
            "near_zero": max(norms[2:]),
            "beyond": float(np.max(np.abs(beyond) * 0.3 ** np.arange(top + 3)[:, None])),
            "boundary": abs(float(network(np.asarray([2.0]))[0]) + 1),
            "slope_at_zero": abs(float(at_zero[1]) + 1),
            "lambda_local": lambda_local,
            "lambda_correction": lambda_correction,
            "profile_correction": profile_correction,
        }
        against = [
            f"{name}, {LIMITS[name].what}, is {value:.1e} and must be below {LIMITS[name].below:.0e}"
            for name, value in figures.items()
            if not value < LIMITS[name].below
        ]
        if not abs(at_zero[top]) > 1e-2:
            against.append(f"the coefficient of order {top} at 0, which selects λ, has vanished ({at_zero[top]:.1e})")
        if not low + 0.02 * (high - low) < lam < high - 0.02 * (high - low):
            against.append(f"λ = {float(lam):.6f} is at the bound of [{low:.6f}, {high:.6f}]")
        return figures, against

    def _newton_correction(self, network: MLP, lam: Array) -> tuple[float, float]:
        """|δλ| and max |δU| of a Newton step of λ and the output weights on points and orders never used."""
        top = self.selecting_order
        blocks = (
            (PointwiseResidual(residual, (np.arange(190) + 0.37) * 2 / 190, 1), np.asarray([[1.0], [0.3]])),
            (PointwiseResidual(residual, np.linspace(0.01, 0.13, 5), top + 1), np.ones((top + 2, 1))),
            # Without it X = −U − C U^p solves the equation for every C, and the step along C would be noise.
            (PointwiseResidual(_boundary, np.asarray([2.0]), 0, depth=0), np.asarray([[3.0]])),
        )
        system = ResidualSystem(network, ("lam",), blocks)
        theta = system.pack(network, {"lam": float(lam)})
        r, jacobian = system.residual_and_jacobian(theta)
        linear = np.asarray(system.mask(*output_weights(network), "lam"))
        moved = np.array(theta)
        # The random features are nearly dependent: without the cut-off the step would be round-off.
        moved[linear] -= scipy.linalg.lstsq(jacobian[:, linear], r, cond=1e-13)[0]
        corrected, unknowns = system.unpack(moved)
        x = np.linspace(0, 2, 401)
        return abs(float(unknowns["lam"] - lam)), float(np.max(np.abs(corrected(x) - network(x))))


def output_weights(network: MLP) -> tuple[str, ...]:
    """The names of the parameters that the network's output is linear in: weights to a single feature."""
    return tuple(name for name, p in network.parameters.items() if name.endswith("weight") and p.shape[1] == 1)
