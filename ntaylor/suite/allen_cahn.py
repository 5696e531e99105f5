"""The Allen–Cahn equation of the first paper on physics-informed networks: fronts that steepen.

Floor 15. u_t = 10⁻⁴ u_xx + 5(u − u³), periodic on [−1, 1], u(x, 0) = x² cos πx, 0 <= t <= 1 (Raissi, Perdikaris and
Karniadakis 2019, J. Comput. Phys. 378, section 3.2.1). The start has a corner where the period closes: its slope jumps
from −2 to 2 at x = ±1. The solution has layers there of width √(10⁻⁴ t), so it is not smooth at t = 0, and fronts of
width 0.006 at the end. The reference is a Fourier series of 2048 points stepped by ETDRK4.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np

from ntaylor.namespace import array_namespace
from ntaylor.posing import Condition, Problem
from ntaylor.suite.entry import Entry, Recipe, Waves
from ntaylor.suite.parts import hard, space, vanishing
from ntaylor.suite.spectral import Evolution, evolve

__all__ = ["ENTRIES", "reference", "unfolded"]

Array = Any


def allen_cahn(u, x, t):  # type: ignore[no-untyped-def]
    """u_t = 10⁻⁴ u_xx + 5(u − u³), divided by 5."""
    return 0.2 * u.t - 2e-5 * u.xx - u + u * u * u


def start(x: Any) -> Any:
    """u(x, 0)."""
    return x * x * space(x).cos(np.pi * x)


@lru_cache(maxsize=4)
def reference(points: int = 2048, step: float = 0.002, nodes: int = 24) -> Evolution:
    """The solution; panels of time grow from t = 0, where the corner is."""
    return evolve(
        start,
        lambda k: 5 - 1e-4 * k**2,
        lambda u, _: -5 * np.fft.rfft(u * u * u),
        low=-1.0,
        length=2.0,
        points=points,
        edges=(0.0, 1e-3, 4e-3, 0.016, 0.0625, 0.25, 0.5, 0.75, 1.0),
        step=step,
        nodes=nodes,
    )


def _flow(v: Any, time: Any) -> Any:
    """What v becomes by v′ = 5(v − v³), which is most of what happens to u."""
    xp = space(time)
    return v * xp.exp(5 * time) / xp.sqrt(1 + v * v * (xp.exp(10 * time) - 1))


_LAYER = 0.04


def _flat(u, x, t):  # type: ignore[no-untyped-def]
    return u.x


def _window(first: float, last: float, start_from: Callable[[Any], Any] | None) -> Problem:
    """On 0 <= x <= 1, for u is even in x; points and coordinate are dense at x = 1/2, where the front is.

    No condition is asked for at x = 1: the layer that the corner leaves there is thinner than the waves, and to ask for
    it would spoil the rest.
    """
    low, high = np.arcsinh(-0.5 / _LAYER), np.arcsinh(0.5 / _LAYER)

    def sample(unit: Array) -> Array:
        s = unit[:, 0]
        x = np.where(s < 0.5, 2 * s, 0.5 + _LAYER * np.sinh(low + (high - low) * (2 * s - 1)))
        return np.stack([x, first + (last - first) * unit[:, 1]], axis=1)

    def term(p: Any) -> Any:
        at_start = space(p).concat([p[..., :1], 0 * p[..., 1:] + first], axis=-1)
        return _flow(start(p[..., :1]) if start_from is None else start_from(at_start), p[..., 1:] - first)

    return Problem(
        allen_cahn,
        {"x": (0.0, 1.0), "t": (first, last)},
        [Condition(_flat, where={"x": 0.0}, weight=1e-4)],
        hard=hard(lambda p: p[..., 1:] - first, term),
        solution=lambda p: reference()(p),
        sample=sample,
    )


def unfolded(function: Callable[[Array], Array]) -> Callable[[Array], Array]:
    """A solution on 0 <= x continued to all x as an even function of x."""
    return lambda p: function(array_namespace(p).concat([abs(p[..., :1]), p[..., 1:]], axis=-1))


def _problem() -> Problem:
    return Problem(
        allen_cahn,
        {"x": (-1.0, 1.0), "t": (0.0, 1.0)},
        hard=hard(vanishing((1, 0.0)), lambda p: start(p[..., :1])),
        solution=lambda p: reference()(p),
    )


ENTRIES = (
    Entry(
        name="allen-cahn",
        title="Allen–Cahn",
        equation="u_t = 10⁻⁴u_xx + 5(u − u³), period 2, u(x, 0) = x² cos πx",
        order=2,
        smooth=False,
        source="Raissi, Perdikaris, Karniadakis 2019, J. Comput. Phys. 378; reference by Fourier series and ETDRK4",
        published="1e-4 to 5e-5 with Adam and causal weights (arXiv 2203.07404, 2308.08468)",
        make=_problem,
        recipe=Recipe(
            {"widths": [2, 24, 24, 24, 1], "periods": (2.0, None), "input_range": ([-1.0, 0.0], [1.0, 1.0])},
            {"optimizer": "lm", "steps": 150, "points": 1500},
            march=tuple(
                (end, Waves(count, frequency, points, stretch=_LAYER, centre=0.5))
                for end, count, frequency, points in (
                    (0.3, 250, (6.0, 3.0), 900),
                    (0.6, 350, (9.0, 3.0), 1100),
                    (0.8, 400, (12.0, 3.0), 1300),
                    (1.0, 400, (14.0, 3.0), 1300),
                )
            ),
        ),
        window=_window,
        whole=unfolded,
        grid=(201, 101),
    ),
)
