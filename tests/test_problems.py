"""The suite: every exact solution solves its own equation and meets its conditions, in fifty digits; every reference
agrees with itself at twice the resolution and with another method.
"""

# ruff: noqa: ARG005 solutions share one signature

from __future__ import annotations

import re

import mpmath
import numpy as np
import pytest
from scipy.integrate import solve_ivp

import ntaylor as nt
from ntaylor.suite import allen_cahn, burgers, kdv, kuramoto_sivashinsky, phase_field_crystal
from ntaylor.suite.catalogue import PROBLEMS, PROFILES, find

PI = mpmath.pi


def _soliton(x, t):
    # One soliton is a sech²: not made of F, as the code's is.
    return mpmath.sech((x - t) / 2) ** 2 / 2


def _two_solitons(x, t):
    """Hirota's u = 2 (log F)″ with the derivative taken by mpmath."""
    share = mpmath.log(mpmath.mpf(5))

    def log_f(z):
        a, b = z - t + share, mpmath.mpf("1.5") * z - mpmath.mpf("3.375") * t + share
        return mpmath.log(1 + mpmath.exp(a) + mpmath.exp(b) + mpmath.exp(a + b) / 25)

    return 2 * mpmath.diff(log_f, x, 2)


def _cole_hopf(x, t, nu, lam=1, integral=None):
    """The quotient of the two integrals: sums that converge faster than any power, or mpmath's own quadrature."""
    if t == 0:
        return -mpmath.sin(PI * x)

    def exponent(y):
        return -lam * mpmath.cos(PI * y) / (2 * PI * nu) - (x - y) ** 2 / (4 * nu * t)

    # Twenty widths are beyond where E ends; ten points a width are exact to 1e-30 and more.
    grid = [x + k * mpmath.sqrt(4 * nu * t) / 10 for k in range(-200, 201)]
    top = max(map(exponent, grid))
    integral = integral or (lambda f: mpmath.fsum(map(f, grid)))
    above = integral(lambda y: mpmath.sin(PI * y) * mpmath.exp(exponent(y) - top))
    return -above / integral(lambda y: mpmath.exp(exponent(y) - top))


def _kovasznay():
    decay = 20 - mpmath.sqrt(400 + 4 * PI**2)
    return (
        lambda x, y: 1 - mpmath.exp(decay * x) * mpmath.cos(2 * PI * y),
        lambda x, y: decay / (2 * PI) * mpmath.exp(decay * x) * mpmath.sin(2 * PI * y),
        lambda x, y: (1 - mpmath.exp(2 * decay * x)) / 2,
    )


NU = mpmath.mpf("0.05")
EXACT = {
    "poisson-2d": (lambda x, y: mpmath.sin(PI * x) * mpmath.sin(PI * y),),
    "poisson-5d": (lambda *at: mpmath.fsum(mpmath.cos(PI * c) for c in at),),
    "heat": (lambda x, t: mpmath.exp(-(PI**2) * t / 4) * mpmath.sin(PI * x),),
    "helmholtz": (lambda x, y: mpmath.sin(PI * x) * mpmath.sin(4 * PI * y),),
    "plate": (lambda x, y: (mpmath.sin(PI * x) * mpmath.sin(PI * y)) ** 2,),
    "beam-6": (lambda x: (1 - x) * mpmath.exp(x),),
    "kovasznay": _kovasznay(),
    "kdv": (_soliton,),
    "kdv-2": (_two_solitons,),
    "inverse-burgers": (lambda x, t: _cole_hopf(x, t, NU),),
}
REFERENCES = {"burgers", "allen-cahn", "kuramoto-sivashinsky", "phase-field-crystal"}
SLOW = {"inverse-burgers", "kdv-2"}
"""Whose derivatives are of integrals, or of derivatives: a point is enough."""


class Field:
    """A solution in mpmath whose derivatives are named as an equation names them: ``u.xxt``."""

    def __init__(self, f, inputs, at):
        self._f, self._inputs, self._at = f, inputs, at
        self.value = f(*at)

    def __getattr__(self, name):
        if name.startswith("_") or not set(name) <= set(self._inputs):
            raise AttributeError(name)
        orders = tuple(name.count(letter) for letter in self._inputs)
        return mpmath.diff(self._f, self._at, orders)

    def _mpmath_(self, precision, rounding):
        return self.value

    def __float__(self):
        return float(self.value)

    __add__ = __radd__ = lambda self, other: self.value + other
    __mul__ = __rmul__ = lambda self, other: self.value * other

    def __sub__(self, other):
        return self.value - other

    def __rsub__(self, other):
        return other - self.value

    def __neg__(self):
        return -self.value


@pytest.fixture
def fifty_digits(monkeypatch):
    """``np.sin`` of an mpmath number is mpmath's: NumPy calls the method."""
    for name in ("sin", "cos", "exp", "tanh", "sqrt"):
        monkeypatch.setattr(mpmath.mpf, name, _method(name), raising=False)
    with mpmath.workdps(40):
        yield


def _method(name):
    return lambda self: getattr(mpmath, name)(self)


def _evaluated(name, residual, point, **keywords):
    inputs = find(name).make().inputs
    at = tuple(mpmath.mpf(float(v)) for v in point)
    fields = [Field(f, inputs, at) for f in EXACT[name]]
    found = residual(*fields, *at, **keywords)
    return [abs(float(r)) for r in (found if isinstance(found, tuple) else (found,))]


def test_every_problem_has_an_oracle():
    assert set(EXACT) | REFERENCES == set(PROBLEMS)


@pytest.mark.parametrize("name", EXACT)
def test_the_solution_is_that_of_fifty_digits(name):
    problem = find(name).make()
    points = problem.points(6, seed=5)
    expected = np.asarray([[float(f(*map(mpmath.mpf, map(float, p)))) for f in EXACT[name]] for p in points])
    found = problem.solution(points)
    np.testing.assert_allclose(found.reshape(expected.shape), expected, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("name", EXACT)
def test_the_solution_solves_the_equation(name, fifty_digits):
    problem = find(name).make()
    truth = dict(find(name).truth)
    for point in problem.points(1 if name in SLOW else 4, seed=6):
        # Coefficients such as π are float64 in the equations: they, not the solution, leave 1e-13.
        assert max(_evaluated(name, problem.equation, point, **truth)) < 1e-11
        at = tuple(mpmath.mpf(float(v)) for v in point)
        shifted = [Field(f, problem.inputs, at) for f in EXACT[name]]
        found = problem.equation(*map(_Scaled, shifted), *at, **truth)
        assert max(abs(float(r)) for r in (found if isinstance(found, tuple) else (found,))) > 1e-6


class _Scaled(Field):
    """1.1 times a field and x²/10: what solves no equation here."""

    def __init__(self, field):
        super().__init__(lambda *at: mpmath.mpf("1.1") * field._f(*at) + at[0] ** 2 / 10, field._inputs, field._at)


@pytest.mark.parametrize("name", [name for name in EXACT if find(name).make().conditions and name not in SLOW])
def test_the_solution_meets_the_conditions(name, fifty_digits):
    problem = find(name).make()
    for condition in problem.conditions:
        points = problem.condition_points(condition, 4, seed=7)
        worst = max(max(_evaluated(name, condition.residual, p)) for p in points)
        assert worst < 1e-12


@pytest.mark.parametrize("name", [name for name in PROBLEMS if find(name).make().hard is not None])
def test_hard_conditions_hold_for_any_network(name):
    problem = find(name).make()
    solves = problem.function(nt.MLP.create(**_plain(find(name).recipe.network), seed=3))
    periodic = any(find(name).recipe.network.get("periods", ()))
    for column, bounds in zip(problem.inputs, problem.domain.values(), strict=True):
        if column == "x" and periodic:
            ends = [problem.points(30, seed=8) for _ in bounds]
            for points, end in zip(ends, bounds, strict=True):
                points[:, 0] = end
            np.testing.assert_allclose(solves(ends[0]), solves(ends[1]), atol=1e-12)
            continue
        for bound in bounds[:1] if column == "t" else bounds:
            points = problem.points(30, seed=8)
            points[:, problem.inputs.index(column)] = bound
            found = np.asarray(solves(points))[:, 0]
            # The series of a reference whose start is no series ends somewhere: at the corner by 2e-4.
            tolerance = 1e-3 if name == "allen-cahn" else 1e-11
            np.testing.assert_allclose(found, problem.solution(points), atol=tolerance)


def _plain(options):
    return {"activation": "tanh", **options}


@pytest.mark.parametrize(
    ("x", "t", "nu", "lam"),
    [(0.3, 0.2, burgers.VISCOSITY, 1.0), (0.01, 0.4, burgers.VISCOSITY, 1.0), (-0.002, 1.0, burgers.VISCOSITY, 1.0),
     (0.9, 0.05, 0.05, 1.0), (0.5, 1.0, 0.05, 2.0)],
)  # fmt: skip
def test_cole_and_hopf_by_another_quadrature(x, t, nu, lam):
    with mpmath.workdps(20):
        at = [mpmath.mpf(v) for v in (x, t, nu, lam)]
        # The integrand is nothing farther out than the fronts, which are at most √(4t/π) away.
        reach = float(np.sqrt(4 * lam * t / np.pi) + 10 * np.sqrt(4 * nu * t))
        cuts = [at[0] + mpmath.mpf(c) for c in np.linspace(-reach, reach, 25)]
        expected = float(_cole_hopf(*at, integral=lambda f: mpmath.quad(f, cuts)))
    assert burgers.cole_hopf(np.asarray([[x, t]]), nu=nu, lam=lam)[0] == pytest.approx(expected, abs=1e-12)


SPECTRAL = {
    "kuramoto-sivashinsky": (kuramoto_sivashinsky.reference, {"points": 96, "step": 0.01}, 1e-8),
    "phase-field-crystal": (phase_field_crystal.reference, {"points": 48, "step": 0.004}, 1e-8),
    "allen-cahn": (allen_cahn.reference, {"points": 1024, "step": 0.003}, 2e-6),
}


@pytest.mark.parametrize("name", SPECTRAL)
def test_references_agree_with_themselves(name):
    make, coarse, tolerance = SPECTRAL[name]
    problem = find(name).make()
    # The corner of Allen and Cahn's start is smooth soon: until then the series converge slowly, at x = ±1.
    points = problem.points(2000, seed=9)
    points = points[points[:, 1] > (0.05 if name == "allen-cahn" else 0)]
    shift = [0.0, 1.0] if name == "phase-field-crystal" else [0.0, 0.0]
    assert problem.errors(make(**coarse)(points + shift), points)["relative_l2"] < tolerance


def test_a_reference_is_not_asked_beyond_its_end():
    with pytest.raises(ValueError, match=r"is known for 0 <= t <= 2; asked for 2\.5"):
        kuramoto_sivashinsky.reference()(np.asarray([[1.0, 2.5]]))


def _spectral_slope(u, length, order):
    k = 2j * np.pi / length * np.fft.fftfreq(len(u), 1 / len(u))
    return np.fft.ifft(k**order * np.fft.fft(u)).real


def _rate_ks(t, u):
    def d(order):
        return _spectral_slope(u, 22.0, order)

    return -u * d(1) - d(2) - d(4)


def _rate_pfc(t, u):
    def d(v, order):
        return _spectral_slope(v, 4 * np.pi, order)

    return d(0.5 * u + 2 * d(u, 2) + d(u, 4) + u**3, 2)


def _rate_ac(t, u):
    return 1e-4 * _spectral_slope(u, 2.0, 2) + 5 * (u - u**3)


@pytest.mark.parametrize(
    ("name", "rate", "count", "end", "method"),
    [
        ("kuramoto-sivashinsky", _rate_ks, 48, 2.0, "Radau"),
        ("phase-field-crystal", _rate_pfc, 30, 1.0, "Radau"),
        ("allen-cahn", _rate_ac, 800, 0.5, "DOP853"),
    ],
)
def test_references_agree_with_another_method(name, rate, count, end, method):
    """Collocation in space, written as on paper, and Runge–Kutta methods of order 5 or 8 in time."""
    problem = find(name).make()
    low, high = problem.domain["x"]
    x = low + (high - low) * np.arange(count) / count

    def at(t):
        return np.stack([x, np.full(count, t)], axis=1)

    first = 0.1 if name == "allen-cahn" else 0.0  # behind the corner's time
    found = solve_ivp(rate, (first, end), problem.solution(at(first)), method=method, rtol=1e-10, atol=1e-11)
    np.testing.assert_allclose(found.y[:, -1], problem.solution(at(end)), atol=2e-6 if first else 2e-8)


def test_the_noise_and_the_limit_are_what_they_say():
    points, values = burgers.measured(4000, seed=1)
    noise = values - burgers.cole_hopf(points, nu=0.05)
    assert abs(noise.std() - burgers.NOISE) < 4 * burgers.NOISE / np.sqrt(8000)
    limit = burgers.statistical_limit(400, seed=0)
    # The spread of the estimates of a linearised fit to data drawn again and again.
    points, _ = burgers.measured(400, seed=0)
    step = 1e-3
    S = (
        np.stack(
            [
                (burgers.cole_hopf(points, nu=0.05, lam=1 + step) - burgers.cole_hopf(points, nu=0.05, lam=1 - step))
                / 2,
                (burgers.cole_hopf(points, nu=0.05 + step) - burgers.cole_hopf(points, nu=0.05 - step)) / 2,
            ],
            axis=1,
        )
        / step
    )
    draws = np.random.default_rng(2).standard_normal((400, 3000)) * burgers.NOISE
    spread = np.linalg.lstsq(S, draws, rcond=None)[0].std(axis=1)
    np.testing.assert_allclose([limit["lam"], limit["nu"]], spread, rtol=0.06)


def test_two_solitons_far_apart_are_one_each():
    t = np.full(4, -20.0)
    for kappa in (1.0, 1.5):
        # Behind or ahead of the other, each is a sech² of its own.
        x = np.linspace(-1, 1, 4) + kappa**2 * t
        behind = {1.0: -np.log(5), 1.5: np.log(5)}[kappa]
        alone = kappa**2 / 2 / np.cosh((kappa * x - kappa**3 * t + behind) / 2) ** 2
        both, _ = kdv.solitons(x, t, (1.0, 1.5), (np.log(5), np.log(5)))
        np.testing.assert_allclose(both, alone, atol=1e-5)


def test_the_catalogue():
    assert len(PROFILES) == 5
    with pytest.raises(ValueError, match=re.escape("did you mean 'kdv'")):
        find("kdvv")
    for name, entry in PROBLEMS.items():
        assert entry.name == name
        problem = entry.make()
        letters = re.findall(r"\bu\.([a-z]+)", __import__("inspect").getsource(problem.equation))
        assert max(map(len, letters)) == entry.order, name
        assert set(entry.truth) == set(problem.unknowns)
        assert entry.test_points().shape[1] == len(problem.domain)
        assert all((entry.title, entry.equation, entry.source, entry.published))
