"""Reference solutions of periodic evolution equations, by Fourier series and exponential time differencing.

Floor 15. u_t = L u + N(u) with L diagonal in Fourier space, stepped by ETDRK4 (Cox and Matthews 2002, J. Comput. Phys.
176; coefficients by contour integrals as Kassam and Trefethen 2005, SIAM J. Sci. Comput. 26). The solution is kept at
Chebyshev points of time panels and interpolated between them, so that it can be asked for anywhere.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = ["Evolution", "evolve"]

Array = Any


@dataclass(frozen=True)
class Evolution:
    """u(x, t) on [low, low + length) × [0, edges[-1]], periodic in x."""

    low: float
    length: float
    edges: tuple[float, ...]
    nodes: Array
    """Chebyshev points of [−1, 1], increasing, ends included."""
    coefficients: Array
    """(panels, nodes, modes): Fourier coefficients, as ``numpy.fft.rfft`` has them divided by the points."""

    def __call__(self, points: Array) -> Array:
        """Values (n,) at points (n, 2), columns x and t; ValueError for times that were not computed."""
        x, t = np.asarray(points, dtype=np.float64).T
        if len(t) and not (t.min() >= self.edges[0] and t.max() <= self.edges[-1]):
            known = f"{self.edges[0]:g} <= t <= {self.edges[-1]:g}"
            raise ValueError(f"the solution is known for {known}; asked for {t.min():g} to {t.max():g}")
        panel = np.clip(np.searchsorted(self.edges, t, side="right") - 1, 0, len(self.edges) - 2)
        out = np.empty(len(x))
        for p in np.unique(panel):
            for part in np.array_split(np.flatnonzero(panel == p), 1 + np.count_nonzero(panel == p) // 2000):
                out[part] = self._values(int(p), x[part], t[part])
        return out

    def _values(self, panel: int, x: Array, t: Array) -> Array:
        first, last = self.edges[panel : panel + 2]
        at_time = _barycentric(self.nodes, 2 * (t - first) / (last - first) - 1) @ self.coefficients[panel]
        modes = at_time.shape[1]
        waves = np.exp(2j * np.pi / self.length * np.outer(x - self.low, np.arange(modes)))
        weights = np.full(modes, 2.0)
        weights[0] = 1.0
        result: Array = np.real(at_time * waves) @ weights
        return result


def _barycentric(nodes: Array, x: Array) -> Array:
    """(len(x), len(nodes)): values of the Lagrange polynomials at Chebyshev points of the second kind."""
    weights = (-1.0) ** np.arange(len(nodes))
    weights[[0, -1]] *= 0.5
    apart = x[:, None] - nodes
    hit = apart == 0
    share = weights / np.where(hit, 1.0, apart)
    rows = hit.any(axis=1)
    matrix = share / np.where(rows, 1.0, share.sum(axis=1))[:, None]
    matrix[rows] = hit[rows]
    return matrix


def evolve(
    start: Callable[[Array], Array],
    linear: Callable[[Array], Array],
    nonlinear: Callable[[Array, Array], Array],
    *,
    low: float,
    length: float,
    points: int,
    edges: Sequence[float],
    step: float,
    nodes: int = 24,
) -> Evolution:
    """The solution from u(x, 0) = start(x).

    ``linear(k)`` is the symbol of L at wave numbers k; ``nonlinear(u, k)`` gives the rfft of N(u) from the values u on
    the grid. Two thirds of the modes are kept after every product, and no step is longer than ``step``.
    """
    x = low + length * np.arange(points) / points
    k = 2 * np.pi / length * np.arange(points // 2 + 1)
    kept = np.arange(points // 2 + 1) <= points // 3
    symbol = np.asarray(linear(k), dtype=np.float64)

    def force(v: Array) -> Array:
        return nonlinear(np.fft.irfft(v, points), k) * kept

    v = np.fft.rfft(start(x)) * kept
    chebyshev = -np.cos(np.pi * np.arange(nodes) / (nodes - 1))
    panels = []
    for first, last in itertools.pairwise(edges):
        times = first + (chebyshev + 1) / 2 * (last - first)
        panel = [v]
        for a, b in itertools.pairwise(times):
            count = int(np.ceil((b - a) / step - 1e-9))
            advance = _etdrk4(symbol, (b - a) / count)
            for _ in range(count):
                v = advance(v, force)
            panel.append(v)
        panels.append(np.stack(panel)[:, kept] / points)
    return Evolution(low, length, tuple(edges), chebyshev, np.stack(panels))


def _etdrk4(symbol: Array, h: float) -> Callable[[Array, Callable[[Array], Array]], Array]:
    """One step of length h: Kassam and Trefethen, their (2.6) to (2.9), with 32 points on the upper half circle."""
    whole, half = np.exp(h * symbol), np.exp(h * symbol / 2)
    z = h * symbol[:, None] + np.exp(1j * np.pi * (np.arange(32) + 0.5) / 32)

    def mean(values: Array) -> Array:
        return h * np.real(np.mean(values, axis=1))

    q = mean((np.exp(z / 2) - 1) / z)
    f1 = mean((-4 - z + np.exp(z) * (4 - 3 * z + z**2)) / z**3)
    f2 = mean((2 + z + np.exp(z) * (z - 2)) / z**3)
    f3 = mean((-4 - 3 * z - z**2 + np.exp(z) * (4 - z)) / z**3)

    def advance(v: Array, force: Callable[[Array], Array]) -> Array:
        n_v = force(v)
        a = half * v + q * n_v
        n_a = force(a)
        b = half * v + q * n_a
        n_b = force(b)
        c = half * a + q * (2 * n_b - n_v)
        return whole * v + f1 * n_v + 2 * f2 * (n_a + n_b) + f3 * force(c)

    return advance
