"""The Helmholtz equation on a square, with a solution that oscillates more one way than the other.

Floor 15. The example of Wang, Teng and Perdikaris 2021 (SIAM J. Sci. Comput. 43, section 4.1): Δu + u = q on [−1, 1]²,
u = 0 on the boundary, exact u = sin πx sin 4πy.
"""

from __future__ import annotations

import numpy as np

from ntaylor.posing import Problem
from ntaylor.suite.entry import Entry, Recipe, Waves
from ntaylor.suite.parts import hard, vanishing

__all__ = ["ENTRIES"]


def helmholtz(u, x, y):  # type: ignore[no-untyped-def]
    """Δu + u = q, divided by the size of q."""
    q = (1 - 17 * np.pi**2) * np.sin(np.pi * x) * np.sin(4 * np.pi * y)
    return (u.xx + u.yy + u - q) / (17 * np.pi**2)


def _helmholtz() -> Problem:
    return Problem(
        helmholtz,
        {"x": (-1.0, 1.0), "y": (-1.0, 1.0)},
        hard=hard(vanishing((0, -1.0), (0, 1.0), (1, -1.0), (1, 1.0))),
        solution=lambda p: np.sin(np.pi * p[:, 0]) * np.sin(4 * np.pi * p[:, 1]),
    )


ENTRIES = (
    Entry(
        name="helmholtz",
        title="Helmholtz, square",
        equation="Δu + u = q on [−1, 1]², u = 0 on the boundary",
        order=2,
        smooth=True,
        source="Wang, Teng, Perdikaris 2021, SIAM J. Sci. Comput. 43; exact u = sin πx sin 4πy",
        published="about 1e-3 with Adam and balanced weights there",
        make=_helmholtz,
        recipe=Recipe(
            {"widths": [2, 24, 24, 1], "activation": "sin"},
            {"optimizer": "lm", "steps": 80, "points": 900},
            Waves(300, (3.0, 8.0), 1000),
        ),
    ),
)
