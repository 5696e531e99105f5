"""Operators of high order in few dimensions, with functions whose derivatives are known in closed form.

Floor 12. The waves of Korteweg–de Vries type of the STDE paper (arXiv 2412.00088), u = F(k·x) with F a polynomial in
tanh, so that every mixed partial is k^α F^(|α|); and the biharmonic operator on the annulus 1 < ‖x‖ < 2. They are what
operators are checked against, and what a training run would solve for.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ntaylor.namespace import array_namespace

__all__ = ["WAVE_EQUATIONS", "Annulus", "TanhWave", "WaveEquation", "kadomtsev_petviashvili", "kdv", "kdv_2d"]

Array = Any
MultiIndex = tuple[int, ...]
Residual = Callable[[Mapping[MultiIndex, Array]], Array]


@dataclass(frozen=True)
class TanhWave:
    """u(x) = Σ_j a_j T^j, T = tanh(k·x), at points (batch, len(k))."""

    wave_vector: tuple[float, ...]
    polynomial: tuple[float, ...]
    """a_0, a_1, …"""

    def exact(self, x: Array) -> Array:
        """u (batch,)."""
        return self.partial(x, (0,) * len(self.wave_vector))

    def partial(self, x: Array, alpha: MultiIndex) -> Array:
        """∂^α u (batch,), from T′ = 1 − T²: the derivatives of T^j are polynomials in T."""
        xp = array_namespace(x)
        phase = sum(k * x[..., i] for i, k in enumerate(self.wave_vector))
        t = xp.tanh(phase)
        polynomial = list(self.polynomial)
        for _ in range(sum(alpha)):
            polynomial = _times_slope([j * a for j, a in enumerate(polynomial)][1:])
        total = xp.zeros_like(t)
        for a in reversed(polynomial):
            total = t * total + a
        return total * math.prod(k**order for k, order in zip(self.wave_vector, alpha, strict=True))


def _times_slope(polynomial: Sequence[float]) -> list[float]:
    """The polynomial times 1 − T²."""
    product = [*polynomial, 0.0, 0.0]
    for j, a in enumerate(polynomial):
        product[j + 2] -= a
    return product


@dataclass(frozen=True)
class WaveEquation:
    """``residual`` vanishes for ``solution``; ``indices``, t last, are those of the partials it takes."""

    indices: tuple[MultiIndex, ...]
    residual: Residual
    solution: TanhWave

    def of_solution(self, x: Array) -> dict[MultiIndex, Array]:
        """The partials of the solution that the residual takes, in closed form."""
        return {alpha: self.solution.partial(x, alpha) for alpha in self.indices}


def kdv(speed: float = 1.0, dispersion: float = 0.0025) -> WaveEquation:
    """u_t + u u_x + a u_xxx = 0 on (x, t): the soliton 3c sech²(√(c/4a) (x − c t)).

    Gradient-enhanced training takes the residual's derivatives along x and t too; here they are two more
    components of it, and vanish as it does.
    """
    k = math.sqrt(speed / (4 * dispersion))

    def residual(u: Mapping[MultiIndex, Array]) -> Array:
        xp = array_namespace(u[0, 0])
        r = u[0, 1] + u[0, 0] * u[1, 0] + dispersion * u[3, 0]
        r_x = u[1, 1] + u[1, 0] * u[1, 0] + u[0, 0] * u[2, 0] + dispersion * u[4, 0]
        r_t = u[0, 2] + u[0, 1] * u[1, 0] + u[0, 0] * u[1, 1] + dispersion * u[3, 1]
        return xp.stack([r, r_x, r_t])

    indices = ((0, 0), (0, 1), (1, 0), (3, 0), (1, 1), (2, 0), (4, 0), (0, 2), (3, 1))
    return WaveEquation(indices, residual, TanhWave((k, -k * speed), (3 * speed, 0.0, -3 * speed)))


def kdv_2d(k: float = 0.6, l: float = 0.8) -> WaveEquation:  # noqa: E741 the letter of the wave vector
    """u_ty + u_xxxy + 3(u_y u_x)_x − u_xx + 2u_yy = 0 on (x, y, t).

    With u = 2k tanh(kx + ly − ωt) its terms are (−ωl − k² + 2l²) F″ + k³l F⁗ + 6k²l F′F″, and vanish for
    ω = (2l² − k² + 4k³l)/l.
    """
    omega = (2 * l * l - k * k + 4 * k**3 * l) / l

    def residual(u: Mapping[MultiIndex, Array]) -> Array:
        product = u[1, 1, 0] * u[1, 0, 0] + u[0, 1, 0] * u[2, 0, 0]
        return u[0, 1, 1] + u[3, 1, 0] + 3 * product - u[2, 0, 0] + 2 * u[0, 2, 0]

    indices = ((0, 1, 1), (3, 1, 0), (1, 1, 0), (1, 0, 0), (0, 1, 0), (2, 0, 0), (0, 2, 0))
    return WaveEquation(indices, residual, TanhWave((k, l, -omega), (0.0, 2 * k)))


def kadomtsev_petviashvili(k: float = 0.7, slope: float = 0.5, sigma_squared: float = 1.0) -> WaveEquation:
    """(u_t + 6u u_x + u_xxx)_x + 3σ² u_yy = 0 on (x, y, t): the line soliton 2k² sech² k(x + ly − ct).

    Its terms leave 4k² = c − 3σ²l².
    """
    speed = 4 * k * k + 3 * sigma_squared * slope * slope

    def residual(u: Mapping[MultiIndex, Array]) -> Array:
        product = u[1, 0, 0] * u[1, 0, 0] + u[0, 0, 0] * u[2, 0, 0]
        return u[1, 0, 1] + 6 * product + u[4, 0, 0] + 3 * sigma_squared * u[0, 2, 0]

    indices = ((0, 0, 0), (1, 0, 0), (2, 0, 0), (1, 0, 1), (4, 0, 0), (0, 2, 0))
    wave = TanhWave((k, k * slope, -k * speed), (2 * k * k, 0.0, -2 * k * k))
    return WaveEquation(indices, residual, wave)


WAVE_EQUATIONS = {"kdv-gradient-enhanced": kdv, "kdv-2d": kdv_2d, "kadomtsev-petviashvili": kadomtsev_petviashvili}
"""By name; each with its parameters' defaults."""


@dataclass(frozen=True)
class Annulus:
    """Δ²u = g on 1 < ‖x‖ < 2 with u = (1 − r²)(4 − r²) e^{w·x}, zero on both spheres; from arXiv 2312.14499.

    The paper's S is a sum of exponentials of products; with S = e^{w·x} the fourth derivatives are short enough to be
    checked by eye. w is a tuple of D numbers.
    """

    wave_vector: tuple[float, ...]

    def exact(self, x: Array) -> Array:
        """u (batch,)."""
        xp = array_namespace(x)
        s, q = self._square_and_phase(x)
        return (1 - s) * (4 - s) * xp.exp(q)

    def boundary_factor(self, x: Array) -> Array:
        """(1 − r²)(4 − r²) (batch,): times a network, a function that is zero on both spheres."""
        s, _ = self._square_and_phase(x)
        return (1 - s) * (4 - s)

    def exact_laplacian(self, x: Array) -> Array:
        """Δu (batch,)."""
        s, q = self._square_and_phase(x)
        return self._first(s, q) * array_namespace(x).exp(q)

    def exact_biharmonic(self, x: Array) -> Array:
        """Δ²u (batch,).

        Δ(b e^q) = (Mb) e^q with M = Δ + 2w·∇ + κ², κ = ‖w‖; of b(s, q), s = r², q = w·x, it is
        4s b_ss + 2D b_s + 4q b_sq + κ² b_qq + 2(2q b_s + κ² b_q) + κ² b. Here twice, of b = (1 − s)(4 − s).
        """
        s, q = self._square_and_phase(x)
        d, kappa = len(self.wave_vector), self._kappa_squared
        b = self._first(s, q)
        b_s = 8 + 4 * d + 8 * q + kappa * (2 * s - 5)
        b_q = 4 * (2 * s - 5)
        twice = 8 * s * kappa + 2 * d * b_s + 32 * q + 2 * (2 * q * b_s + kappa * b_q) + kappa * b
        return twice * array_namespace(x).exp(q)

    @property
    def _kappa_squared(self) -> float:
        return sum(w * w for w in self.wave_vector)

    def _first(self, s: Array, q: Array) -> Array:
        d, kappa = len(self.wave_vector), self._kappa_squared
        return 8 * s + (2 * d + 4 * q) * (2 * s - 5) + kappa * (1 - s) * (4 - s)

    def _square_and_phase(self, x: Array) -> tuple[Array, Array]:
        xp = array_namespace(x)
        q = sum(w * x[..., i] for i, w in enumerate(self.wave_vector))
        return xp.sum(x * x, axis=-1), q
