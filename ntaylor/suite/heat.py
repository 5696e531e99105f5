"""The heat equation in one dimension: sin πx decays.

Floor 15. The example of Müller and Zeinhofer 2023 (arXiv 2302.13163): u_t = u_xx/4, exact u = e^{−π²t/4} sin πx.
"""

from __future__ import annotations

import numpy as np

from ntaylor.posing import Problem
from ntaylor.suite.entry import Entry, Recipe, Waves
from ntaylor.suite.parts import hard, space, vanishing

__all__ = ["ENTRIES"]


def heat(u, x, t):  # type: ignore[no-untyped-def]
    """u_t = u_xx/4."""
    return u.t - 0.25 * u.xx


def _heat() -> Problem:
    return Problem(
        heat,
        {"x": (0.0, 1.0), "t": (0.0, 1.0)},
        hard=hard(vanishing((0, 0.0), (0, 1.0), (1, 0.0)), lambda p: space(p).sin(np.pi * p[..., :1])),
        solution=lambda p: np.exp(-(np.pi**2) / 4 * p[:, 1]) * np.sin(np.pi * p[:, 0]),
    )


ENTRIES = (
    Entry(
        name="heat",
        title="heat equation",
        equation="u_t = u_xx/4, u(x, 0) = sin πx, u(0, t) = u(1, t) = 0",
        order=2,
        smooth=True,
        source="Müller and Zeinhofer 2023, arXiv 2302.13163; exact u = exp(−π²t/4) sin πx",
        published="3e-8 with second-order optimisers",
        make=_heat,
        recipe=Recipe(
            {"widths": [2, 20, 20, 1], "input_range": ([0.0, 0.0], [1.0, 1.0])},
            {"optimizer": "lm", "steps": 60, "points": 600},
            Waves(150, 3.0, 700),
        ),
    ),
)
