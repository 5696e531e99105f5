"""Elliptic equations in the unit ball of any dimension: the benchmark of STDE (arXiv 2412.00088), and harder variants.

Floor 12. Δu + f(u) = g for ‖x‖ < 1, u = 0 on the sphere, with u = (1 − ‖x‖²) S(x) known and g made from it. All is
written once against the array API, on points (batch, D), and costs O(D) a point: S, x·∇S and ΔS are derived by hand
and compared with automatic differentiation in ``tests/test_high_dimensional.py``.

In high dimension the published solutions hide little: the coordinates of a point are O(1/√D), so that S is nearly its
value at the origin, and one fitted constant times (1 − ‖x‖²) has a small error already. That error, the baseline, is
given for every problem; the solutions marked ``harder`` have S(0) = 0, and a baseline near 1 in every dimension.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from ntaylor.namespace import array_namespace, near_names

__all__ = [
    "EQUATIONS",
    "PUBLISHED_ERRORS",
    "PUBLISHED_SPEEDS",
    "SOLUTIONS",
    "HighDimensional",
    "Solution",
    "baseline",
    "points_in_ball",
    "relative_errors",
]

Array = Any
Draw = Callable[[tuple[int, ...]], Array]
Factor = tuple[Array, Array, Array]


# --- S, x·∇S and ΔS, each (batch,) ------------------------------------------------------------------


def _two_body(x: Array, c: Array) -> Factor:
    """S = Σ c_i sin a_i with a_i = x_i + cos x_{i+1} + x_{i+1} cos x_i."""
    return _two_body_less(x, c, 0.0)


def _two_body_centred(x: Array, c: Array) -> Factor:
    """S = Σ c_i (sin a_i − sin 1): at the origin every a_i is 1."""
    return _two_body_less(x, c, math.sin(1))


def _two_body_less(x: Array, c: Array, constant: float) -> Factor:
    xp = array_namespace(x)
    y, z = x[..., :-1], x[..., 1:]
    sin_y, cos_y, sin_z, cos_z = xp.sin(y), xp.cos(y), xp.sin(z), xp.cos(z)
    a = y + cos_z + z * cos_y
    a_y, a_z = 1 - z * sin_y, cos_y - sin_z
    sin_a, cos_a = xp.sin(a), xp.cos(a)
    laplacian = -cos_a * (z * cos_y + cos_z) - sin_a * (a_y * a_y + a_z * a_z)
    return (
        xp.sum(c * (sin_a - constant), axis=-1),
        xp.sum(c * cos_a * (y * a_y + z * a_z), axis=-1),
        xp.sum(c * laplacian, axis=-1),
    )


def _three_body(x: Array, c: Array) -> Factor:
    """S = Σ c_i exp(x_i x_{i+1} x_{i+2})."""
    xp = array_namespace(x)
    return _of_products(x, c, xp.exp)


def _three_body_centred(x: Array, c: Array) -> Factor:
    """S = Σ c_i (exp(x_i x_{i+1} x_{i+2}) − 1) D: without the factor it would fall with the dimension as 1/D."""
    xp = array_namespace(x)
    return _of_products(x, c * x.shape[-1], xp.expm1)


def _of_products(x: Array, c: Array, value: Callable[[Array], Array]) -> Factor:
    xp = array_namespace(x)
    a, b, d = x[..., :-2], x[..., 1:-1], x[..., 2:]
    p = a * b * d
    e = c * xp.exp(p)
    pairs = (a * b) ** 2 + (b * d) ** 2 + (a * d) ** 2
    return xp.sum(c * value(p), axis=-1), xp.sum(e * p, axis=-1) * 3, xp.sum(e * pairs, axis=-1)


_WAVES = 8
_FREQUENCY = 2.0


def _waves(x: Array, w: Array) -> Factor:
    """S = Σ_k sin(w_k·x) / √8 with 8 random w_k of N(0, 4): odd, and w_k·x is O(1) in every dimension."""
    xp = array_namespace(x)
    z = x @ w
    scale = 1 / math.sqrt(_WAVES)
    sin_z = xp.sin(z)
    squares = xp.sum(w * w, axis=0)
    return (
        xp.sum(sin_z, axis=-1) * scale,
        xp.sum(z * xp.cos(z), axis=-1) * scale,
        xp.sum(squares * sin_z, axis=-1) * -scale,
    )


def _normal(fewer: int) -> Callable[[np.random.Generator, int], Array]:
    return lambda rng, dimension: rng.standard_normal(dimension - fewer)


@dataclass(frozen=True)
class Solution:
    """A family of solutions u = (1 − ‖x‖²) S(x; c)."""

    factor: Callable[[Array, Array], Factor]
    coefficients: Callable[[np.random.Generator, int], Array]
    """(rng, D) -> c"""
    least_dimension: int
    harder: bool = False
    """Whether S(0) = 0; the others are as published."""


SOLUTIONS = {
    "two-body": Solution(_two_body, _normal(1), 2),
    "three-body": Solution(_three_body, _normal(2), 3),
    "two-body-centred": Solution(_two_body_centred, _normal(1), 2, harder=True),
    "three-body-centred": Solution(_three_body_centred, _normal(2), 3, harder=True),
    "waves": Solution(_waves, lambda rng, d: _FREQUENCY * rng.standard_normal((d, _WAVES)), 1, harder=True),
}


# --- f ----------------------------------------------------------------------------------------------


def _nothing(u: Array) -> Array:
    return u * 0


def _double_well(u: Array) -> Array:
    return u - u * u * u


def _sine(u: Array) -> Array:
    return array_namespace(u).sin(u)


EQUATIONS = {"poisson": _nothing, "allen-cahn": _double_well, "sine-gordon": _sine}
"""f of Δu + f(u) = g by the equation's name."""


# --- the table --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class HighDimensional:
    """One problem of the table: an equation, a solution, a dimension, and the seed of the solution's coefficients.

    Raises ValueError for an unknown equation or solution, or a dimension that is too small for the solution.
    """

    equation: str
    solution: str
    dimension: int
    seed: int = 0

    def __post_init__(self) -> None:
        for what, name, known in (("equation", self.equation, EQUATIONS), ("solution", self.solution, SOLUTIONS)):
            if name not in known:
                raise ValueError(f"there is no {what} {name!r}: {near_names(name, list(known))}")
        least = SOLUTIONS[self.solution].least_dimension
        if self.dimension < least:
            raise ValueError(f"{self.solution} needs a dimension >= {least}, got {self.dimension}")

    def coefficients(self) -> Array:
        """c, in float64 on NumPy: made from the seed before anything else is drawn from it."""
        return SOLUTIONS[self.solution].coefficients(np.random.default_rng([self.seed, 0]), self.dimension)

    def exact(self, x: Array, c: Array) -> Array:
        """u (batch,) at points (batch, D); ``c`` is :meth:`coefficients`, on x's library, dtype and device."""
        s, _, _ = SOLUTIONS[self.solution].factor(x, c)
        return (1 - _square(x)) * s

    def exact_laplacian(self, x: Array, c: Array) -> Array:
        """Δu (batch,)."""
        return self._value_and_laplacian(x, c)[1]

    def forcing(self, x: Array, c: Array) -> Array:
        """g = Δu + f(u) (batch,)."""
        u, laplacian = self._value_and_laplacian(x, c)
        return laplacian + self.reaction(u)

    def reaction(self, u: Array) -> Array:
        """f(u), of any shape."""
        return EQUATIONS[self.equation](u)

    def sample(self, normal: Draw, uniform: Draw, count: int) -> Array:
        """``count`` points of the ball from functions shape -> array: of N(0, 1), and uniform on [0, 1)."""
        return points_in_ball(normal((count, self.dimension)), uniform((count, 1)))

    def test_points(self, count: int, dtype: str = "float64", largest: int = 2**25) -> Iterator[Array]:
        """``count`` fixed points, the same for every method and library: NumPy arrays of at most ``largest`` numbers.

        How they are cut into arrays does not change them.
        """
        rng = np.random.default_rng([self.seed, 1])
        radii = rng.random((count, 1))
        batch = max(1, largest // self.dimension)
        for start in range(0, count, batch):
            r = radii[start : start + batch]
            normals = rng.standard_normal((len(r), self.dimension), dtype=np.dtype(dtype).type)
            yield points_in_ball(normals, r.astype(dtype))

    def _value_and_laplacian(self, x: Array, c: Array) -> tuple[Array, Array]:
        # Δ(aS) = SΔa + 2∇a·∇S + aΔS with a = 1 − ‖x‖², ∇a = −2x, Δa = −2D.
        s, slope, laplacian = SOLUTIONS[self.solution].factor(x, c)
        a = 1 - _square(x)
        return a * s, a * laplacian - 4 * slope - 2 * self.dimension * s


def points_in_ball(normals: Array, radii: Array) -> Array:
    """Points whose direction is uniform and whose radius is ``radii`` (batch, 1), as in the published benchmark.

    Uniform radii are no uniform points: in high dimension those would all lie on the sphere, where u = 0.
    """
    xp = array_namespace(normals, radii)
    return normals * (radii / xp.sqrt(xp.sum(normals * normals, axis=-1, keepdims=True)))


def _square(x: Array) -> Array:
    return array_namespace(x).sum(x * x, axis=-1)


# --- how good an approximation is -------------------------------------------------------------------


def relative_errors(found: Array, exact: Array) -> tuple[float, float]:
    """(‖found − exact‖₂ / ‖exact‖₂, the same in the 1-norm) over all points."""
    difference = found - exact
    return (
        float(np.linalg.norm(difference) / np.linalg.norm(exact)),
        float(np.sum(np.abs(difference)) / np.sum(np.abs(exact))),
    )


def baseline(squares: Array, exact: Array) -> tuple[float, float]:
    """Relative L2 and L1 error of κ(1 − ‖x‖²), with the one constant κ fitted by least squares to ``exact`` (n,).

    ``squares`` holds ‖x‖². What a network reaches says something only where it is well below this.
    """
    shape = 1 - squares
    return relative_errors(shape * (np.dot(shape, exact) / np.dot(shape, shape)), exact)


# --- published figures, arXiv 2412.00088 ------------------------------------------------------------

PUBLISHED_ERRORS = {
    # Relative L2 of two-body Allen-Cahn by STDE with 16 samples: the least over the checkpoints of a run, of five
    # seeds; ours is the last of one.
    ("allen-cahn", "two-body"): {100: 1.89e-2, 1_000: 7.07e-4, 10_000: 8.33e-4, 100_000: 1.50e-3, 1_000_000: 3.99e-3},
}
PUBLISHED_SPEEDS = {
    # Iterations a second and MB, two-body Allen-Cahn by STDE with 16 samples on an A100 with 40 GB.
    100_000: (283.0, 1063),
    1_000_000: (21.3, 6295),
}
