"""The Kuramoto–Sivashinsky equation, fourth order, over a time in which the solution is still tame.

Floor 15. u_t + u u_x + u_xx + u_xxxx = 0, periodic with period 22, where three waves grow, from
cos θ (1 + sin θ), θ = 2πx/22, for 0 <= t <= 2. The reference is a Fourier series of 128 points stepped by ETDRK4
(Kassam and Trefethen 2005, SIAM J. Sci. Comput. 26, who compute the same equation at period 32π).
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from ntaylor.posing import Problem
from ntaylor.suite.entry import Entry, Recipe, Waves
from ntaylor.suite.parts import hard, space, vanishing
from ntaylor.suite.spectral import Evolution, evolve

__all__ = ["ENTRIES", "reference"]

Array = Any
PERIOD = 22.0
END = 2.0


def kuramoto_sivashinsky(u, x, t):  # type: ignore[no-untyped-def]
    """u_t + u u_x + u_xx + u_xxxx = 0."""
    return u.t + u * u.x + u.xx + u.xxxx


def start(x: Any) -> Any:
    """u(x, 0)."""
    xp, theta = space(x), 2 * np.pi / PERIOD * x
    return xp.cos(theta) * (1 + xp.sin(theta))


@lru_cache(maxsize=4)
def reference(points: int = 128, step: float = 0.005, nodes: int = 32) -> Evolution:
    """The solution, to about 1e-10."""
    return evolve(
        start,
        lambda k: k**2 - k**4,
        lambda u, k: -0.5j * k * np.fft.rfft(u * u),
        low=0.0,
        length=PERIOD,
        points=points,
        edges=(0.0, END / 2, END),
        step=step,
        nodes=nodes,
    )


def _problem() -> Problem:
    return Problem(
        kuramoto_sivashinsky,
        {"x": (0.0, PERIOD), "t": (0.0, END)},
        hard=hard(vanishing((1, 0.0)), lambda p: start(p[..., :1])),
        solution=lambda p: reference()(p),
    )


ENTRIES = (
    Entry(
        name="kuramoto-sivashinsky",
        title="Kuramoto–Sivashinsky",
        equation="u_t + uu_x + u_xx + u_xxxx = 0, period 22, 0 ≤ t ≤ 2",
        order=4,
        smooth=True,
        source="reference by Fourier series and ETDRK4, Kassam and Trefethen 2005",
        published="3.5e-4 with Adam and causal weights, from another start (arXiv 2203.07404)",
        make=_problem,
        recipe=Recipe(
            {"widths": [2, 24, 24, 1], "periods": (PERIOD, None), "input_range": ([0.0, 0.0], [PERIOD, END])},
            {"optimizer": "lm", "steps": 120, "points": 1000},
            Waves(550, (0.0, 2.0), 1500, band=(66.0, None)),
        ),
    ),
)
