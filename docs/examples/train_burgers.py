"""Burgers' equation with its viscosity unknown, from 60 measurements: nt.Problem and nt.train, on NumPy.

u_t + u u_x = nu u_xx; the wave is u = 1 - tanh((x - t) / (2 nu)) with nu = 0.2.
"""

import numpy as np

import ntaylor as nt


def wave(points):
    return 1 - np.tanh((points[:, 0] - points[:, 1]) / 0.4)


def burgers(u, x, t, *, nu):
    return u.t + u * u.x - nu * u.xx


def measurement(u, x, t, *, values):
    return u - values


measured = np.random.default_rng(0).uniform((-1, 0), (1, 1), (60, 2))
problem = nt.Problem(
    burgers,
    domain={"x": (-1, 1), "t": (0, 1)},
    conditions=[nt.Condition(measurement, points=measured, values=wave(measured), weight=10)],
    unknowns={"nu": 1.0},
    solution=wave,
)
net = nt.MLP.create([2, 20, 20, 1], seed=0)
found = nt.train(problem, net, optimizer="lm", steps=150, points=600, progress=False)
print(f"nu {found.unknowns['nu']:.7f}, relative L2 error {found.error:.1e}")
