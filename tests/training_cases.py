"""Problems that training is tested on: small, with known solutions."""

# ruff: noqa: ARG005 equations name all their inputs

from __future__ import annotations

import numpy as np

import ntaylor as nt

RATE = 0.1


def heat_solution(points):
    return np.sin(np.pi * points[:, 0]) * np.exp(-RATE * np.pi**2 * points[:, 1])


DATA = np.asarray([[0.5, 0.5], [0.2, 0.7], [-0.4, 0.9]])


def heat(**options):
    """u_t = ν u_xx with ν unknown, from three measured values."""
    return nt.Problem(
        lambda u, x, t, *, nu: u.t - nu * u.xx,
        {"x": (-1.0, 1.0), "t": (0.0, 1.0)},
        [
            nt.Condition(lambda u, x, t: u - np.sin(np.pi * x), where={"t": 0.0}, weight=10.0),
            nt.Condition(lambda u, x, t: u, where={"x": (-1.0, 1.0)}),
            nt.Condition(lambda u, x, t, *, values: u - values, points=DATA, values=heat_solution(DATA), weight=10.0),
        ],
        unknowns={"nu": 0.05},
        solution=heat_solution,
        **options,
    )


def oscillator():
    """u″ + u = 0 as a system of first order, on one input."""
    return nt.Problem(
        lambda u, v, t: (u.t - v, v.t + u),
        {"t": (0.0, 1.5)},
        [nt.Condition(lambda u, v, t: (u, v - 1.0), where={"t": 0.0})],
        solution=lambda p: np.stack([np.sin(p[:, 0]), np.cos(p[:, 0])], axis=-1),
    )


def poisson():
    """u_xx + u_yy = f with u = 0 on the square's boundary by construction."""

    def constrained(net):
        return nt.operators.HardConstraint(net, lambda p: ((1 - p[..., 0] ** 2) * (1 - p[..., 1] ** 2))[..., None])

    return nt.Problem(
        lambda u, x, y: u.xx + u.yy + 2 * (2 - x**2 - y**2),
        {"x": (-1.0, 1.0), "y": (-1.0, 1.0)},
        hard=constrained,
        solution=lambda p: (1 - p[:, 0] ** 2) * (1 - p[:, 1] ** 2),
    )


def decay():
    """u′ = −k u, k unknown, from u(0) and u(1): what compiles fastest."""
    ends = np.asarray([[0.0], [1.0]])
    return nt.Problem(
        lambda u, x, *, k: u.x + k * u,
        {"x": (0.0, 1.0)},
        [nt.Condition(lambda u, x, *, values: u - values, points=ends, values=np.exp(-ends[:, 0]), weight=10.0)],
        unknowns={"k": 0.5},
        solution=lambda p: np.exp(-p[:, 0]),
    )
