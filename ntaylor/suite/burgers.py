"""The viscous Burgers equation: a sine steepens to a front, and is taken apart by Cole and Hopf.

Floor 15. u_t + u u_x = ν u_xx on [−1, 1], u(x, 0) = −sin πx, u(±1, t) = 0, ν = 0.01/π (Basdevant and others 1986,
Comput. Fluids 14; the standard example since Raissi, Perdikaris and Karniadakis 2019, J. Comput. Phys. 378). With
E = exp(−cos πy / 2πν − (x − y)²/4νt) it is u = −∫ sin πy E dy / ∫ E dy (Cole 1951, Hopf 1950). And the inverse problem:
u_t + λ u u_x = ν u_xx, whose λ and ν are to be found from noisy values; λu solves the equation with λ = 1.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ntaylor.namespace import array_namespace
from ntaylor.posing import Condition, Problem
from ntaylor.suite.entry import Entry, Recipe, Waves
from ntaylor.suite.parts import hard, space, vanishing

__all__ = ["ENTRIES", "cole_hopf", "measured", "statistical_limit", "unfolded"]

Array = Any
VISCOSITY = 0.01 / np.pi
NOISE = 0.01
_TRUE = {"lam": 1.0, "nu": 0.05}
_SPAN, _NODES = 9.0, 1201


def cole_hopf(points: Array, nu: float = VISCOSITY, lam: float = 1.0) -> Array:
    """u (n,) at points (n, 2), columns x and t, of u_t + λ u u_x = ν u_xx from −sin πx, to 1e-12.

    With y = x − z √(4νt) the integrand is analytic and falls like e^{−z²}, so the trapezoidal rule converges faster
    than any power. E is largest where (x − y)²/4t = (1 − cos πy)/2π at most, |x − y| <= √(4t/π); z runs to that and on.
    """
    x, t = np.asarray(points, dtype=np.float64).T
    out = -np.sin(np.pi * x)
    for part in np.array_split(np.flatnonzero(t > 0), 1 + len(x) // 500):
        width = np.sqrt(4 * nu * t[part])[:, None]
        reach = _SPAN + np.sqrt(lam / (np.pi * nu))
        z = np.linspace(-reach, reach, _NODES)
        y = x[part][:, None] - z * width
        exponent = -z * z - lam * np.cos(np.pi * y) / (2 * np.pi * nu)
        E = np.exp(exponent - exponent.max(axis=1, keepdims=True))
        out[part] = -np.sum(np.sin(np.pi * y) * E, axis=1) / np.sum(E, axis=1)
    return out


def burgers(u, x, t, *, nu=VISCOSITY):  # type: ignore[no-untyped-def]
    """u_t + u u_x = ν u_xx."""
    return u.t + u * u.x - nu * u.xx


def inverse(u, x, t, *, lam, nu):  # type: ignore[no-untyped-def]
    """u_t + λ u u_x = ν u_xx."""
    return u.t + lam * u * u.x - nu * u.xx


def _start(p: Array) -> Array:
    return -space(p).sin(np.pi * p[..., :1])


_CONDITIONS = hard(vanishing((0, -1.0), (0, 1.0), (1, 0.0)), _start)
_DOMAIN = {"x": (-1.0, 1.0), "t": (0.0, 1.0)}


def _forward() -> Problem:
    return Problem(burgers, _DOMAIN, hard=_CONDITIONS, solution=cole_hopf)


_LAYER = 0.01
"""δ of the coordinate asinh(x/δ), in which the front is resolved."""


def _window(first: float, last: float, start: Callable[[Any], Any] | None) -> Problem:
    """On half of the domain, 0 <= x <= 1, for u is odd in x, and so u(0, t) = 0; points lie as close as the front."""
    whole = float(np.arcsinh(1 / _LAYER))

    def sample(unit: Array) -> Array:
        s = unit[:, 0]
        x = np.where(s < 0.35, s / 0.35, _LAYER * np.sinh((s - 0.35) / 0.65 * whole))
        return np.stack([x, first + (last - first) * unit[:, 1]], axis=1)

    def factor(p: Any) -> Any:
        # Not x itself: the network would have to be 1/x in the layer.
        return space(p).asinh(p[..., :1] / _LAYER) * (1 - p[..., :1]) * (p[..., 1:] - first)

    def term(p: Any) -> Any:
        if start is None:
            return _start(p)
        return start(space(p).concat([p[..., :1], 0 * p[..., 1:] + first], axis=-1))

    domain = {"x": (0.0, 1.0), "t": (first, last)}
    return Problem(burgers, domain, hard=hard(factor, term), solution=cole_hopf, sample=sample)


def unfolded(function: Callable[[Array], Array]) -> Callable[[Array], Array]:
    """A solution on 0 <= x continued to all x as an odd function of x."""

    def odd(p: Array) -> Array:
        xp, x = array_namespace(p), p[..., :1]
        side = xp.where(x < 0, -xp.ones_like(x), xp.ones_like(x))
        return side * function(xp.concat([side * x, p[..., 1:]], axis=-1))

    return odd


def measured(count: int = 400, seed: int = 0) -> tuple[Array, Array]:
    """Points (count, 2) and values there, with independent Gaussian noise of standard deviation ``NOISE``."""
    rng = np.random.default_rng(seed)
    points = rng.uniform([-1.0, 0.0], [1.0, 1.0], (count, 2))
    return points, cole_hopf(points, **_TRUE) + NOISE * rng.standard_normal(count)


def statistical_limit(count: int = 400, seed: int = 0) -> dict[str, float]:
    """The Cramér–Rao bound: standard deviations that no unbiased estimate of (λ, ν) from these points undercuts.

    σ √diag (SᵀS)⁻¹ with the sensitivities S = ∂u/∂(λ, ν), the start and the ends being known exactly.
    """
    points, _ = measured(count, seed)
    columns = []
    for name, value in _TRUE.items():
        step = 1e-4 * value
        up, down = (cole_hopf(points, **{**_TRUE, name: value + s}) for s in (step, -step))
        columns.append((up - down) / (2 * step))
    S = np.stack(columns, axis=1)
    return dict(zip(_TRUE, (float(d) for d in NOISE * np.sqrt(np.diag(np.linalg.inv(S.T @ S)))), strict=True))


def _data(u, x, t, *, values):  # type: ignore[no-untyped-def]
    return u - values


def _backward() -> Problem:
    points, values = measured()
    return Problem(
        inverse,
        _DOMAIN,
        [Condition(_data, points=points, values=values, weight=1.0)],
        unknowns={"lam": 0.5, "nu": 0.1},
        hard=_CONDITIONS,
        solution=lambda p: cole_hopf(p, **_TRUE),
    )


_NETWORK = {"odd": False, "input_range": ([-1.0, 0.0], [1.0, 1.0])}

ENTRIES = (
    Entry(
        name="burgers",
        title="viscous Burgers",
        equation="u_t + uu_x = (0.01/π)u_xx, u(x, 0) = −sin πx, u(±1, t) = 0",
        order=2,
        smooth=True,
        source="Basdevant and others 1986, Comput. Fluids 14; Cole 1951, Hopf 1950, by quadrature",
        published="1e-4 with Adam; 1e-12 to 1e-14 with second-order optimisers on an H100",
        make=_forward,
        recipe=Recipe(
            {"widths": [2, 20, 20, 20, 1], **_NETWORK},
            {"optimizer": "lm", "steps": 300, "points": 1500},
            march=tuple(
                (end, Waves(count, frequency, points, stretch=_LAYER))
                for end, count, frequency, points in (
                    (0.25, 350, (7.0, 3.0), 1100),
                    (0.4, 500, (8.0, 4.0), 1500),
                    (0.7, 450, (8.0, 4.0), 1300),
                    (1.0, 400, (8.0, 3.0), 1200),
                )
            ),
        ),
        window=_window,
        whole=unfolded,
        grid=(401, 101),
    ),
    Entry(
        name="inverse-burgers",
        title="Burgers, λ and ν from noisy values",
        equation="u_t + λuu_x = νu_xx, λ and ν unknown, 400 values with noise 0.01",
        order=2,
        smooth=True,
        source="as viscous Burgers, with λ = 1, ν = 0.05; values from Cole and Hopf's solution, noise from seed 0",
        published="λ to 0.1 %, ν to 1 to 5 % at 1 % noise (Raissi and others 2019, ν = 0.01/π)",
        make=_backward,
        recipe=Recipe(
            {"widths": [2, 16, 16, 1], **_NETWORK},
            {"optimizer": "lm", "steps": 100, "points": 800},
            Waves(350, (0.0, 4.0), 1100, band=(40.0, None), steps=25),
        ),
        truth=_TRUE,
        limit=statistical_limit,
    ),
)
