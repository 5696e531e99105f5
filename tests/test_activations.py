"""Every activation against mpmath: value, derivatives to order 20, the series of f′, and what is refused.

The oracle shares nothing with the library: mpmath evaluates the function itself, in closed form and at some
hundred digits, on a small circle around u_0; Cauchy's formula turns those values into Taylor coefficients of
f at u_0 (checked below against ``mpmath.taylor`` at 50 digits); a polynomial u(t) is composed with them by
Horner's scheme, in mpmath numbers.

Errors are relative and norm-wise: for each order, ‖ours − true‖ / ‖true‖ over a batch of points. Batches are
kept apart (ordinary points, |u| about 1e-3, and each place in a tail) so that a large derivative at one place
hides no error at another.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from functools import cache

import mpmath
import numpy as np
import pytest
from mpmath import mpf

import ntaylor as nt
from ntaylor import activations
from ntaylor.series import Series

HIGHEST = 20
EPS = {"float64": 2.0**-52, "float32": 2.0**-23}
# What is asked for is 1e-12 to order 16 in float64, 4504 units of rounding. In float32 the same number of
# units is asked for, and to order 20 in both no more than that either.
LIMIT = {dtype: 1e-12 / EPS["float64"] * eps for dtype, eps in EPS.items()}


# --- the oracle ---------------------------------------------------------------------------------

POINTS = 32


@cache
def circle(digits: int, count: int) -> tuple[list[mpmath.mpc], list[list[mpf]]]:
    """Points e^{iθ} on the upper half circle, and for each k < count the weights of (Re f, Im f) at them."""
    with mpmath.workdps(digits):
        half = range(POINTS // 2 + 1)
        weights = []
        for k in range(count):
            # f(z̄) is the conjugate of f(z), so all but the real points count twice.
            share = [mpf(1 if i in (0, POINTS // 2) else 2) / POINTS for i in half]
            weights.append([c * mpmath.cospi(mpf(2 * i * k) / POINTS) for i, c in zip(half, share, strict=True)])
            weights[k] += [c * mpmath.sinpi(mpf(2 * i * k) / POINTS) for i, c in zip(half, share, strict=True)]
        return [mpmath.expjpi(mpf(2 * i) / POINTS) for i in half], weights


@cache
def coefficients_at(label: str, u0: float, count: int = HIGHEST + 2) -> list[mpf]:
    """f^(k)(u0)/k! for k < count, by the trapezium rule on the circle |z − u0| = r (Cauchy's formula).

    With N = 32 points the error is c_{k+N} r^N relative to c_k: below 30^-32 = 1e-47 where the singularities are
    named, and 60^-32 where the poles of gelu_tanh crowd at u = 15. The digits cover the division by r^k and
    the 26 that tanh(30) loses.
    """
    case = CASES[label]
    digits = 280 if abs(u0) > 2.7 else 200
    with mpmath.workdps(digits):
        u0 = mpf(u0)
        if case.coefficients is not None:
            return case.coefficients(u0, count)
        radius = min([mpf(1) / 1000, *(abs(u0 - s) / 30 for s in case.singularities)])
        points, weights = circle(digits, count)
        values = [mpmath.mpc(case.exact(u0 + radius * z)) for z in points]
        parts = [v.real for v in values] + [v.imag for v in values]
        sums = [mpmath.fdot(parts, row) for row in weights]
        # What is left of an exact zero, such as a polynomial's high coefficients, is rounding.
        noise = max(map(abs, values)) * mpf(10) ** (20 - digits)
        return [c / radius**k if abs(c) > noise else mpf(0) for k, c in enumerate(sums)]


@cache
def powers(shift: tuple[float, ...], order: int) -> list[list[mpf]]:
    """Coefficients 0..order of (u − u_0)^m, m = 0..order, for u − u_0 = shift_0 t + shift_1 t² + …"""
    with mpmath.workdps(100):
        exact = [mpf(0), *map(mpf, shift)]
        table = [[mpf(1)] + [mpf(0)] * order]
        for _ in range(order):
            table.append([mpf(0)] * (order + 1))
            for i, a in enumerate(table[-2]):
                for j in range(1, min(len(exact), order + 1 - i)):
                    table[-1][i + j] += a * exact[j]
        return table


def exact_pair(label: str, u: list[float], order: int) -> tuple[list[mpf], list[mpf]]:
    """Coefficients 0..order of f(u(t)) and of f′(u(t)): Σ_m f^(m)(u_0)/m! (u(t) − u_0)^m."""
    outer = coefficients_at(label, u[0])
    with mpmath.workdps(100):
        columns = list(zip(*powers(tuple(u[1:]), order), strict=True))
        slope = [k * c for k, c in enumerate(outer)][1:]
        return tuple(
            [mpmath.fdot(f[: k + 1], column[: k + 1]) for k, column in enumerate(columns)] for f in (outer, slope)
        )


# --- what is tested where -----------------------------------------------------------------------

ORDINARY = (-2.3, -1.7, -0.9, -0.4, 0.3, 0.8, 1.4, 2.1)
POSITIVE = (0.3, 0.6, 0.9, 1.3, 1.9, 2.7)
INSIDE = (-0.83, -0.55, -0.2, 0.15, 0.4, 0.71)
SMALL = ((-1.1e-3, -0.9e-3, 1e-3, 1.2e-3),)


def near(*places: float) -> tuple[tuple[float, ...], ...]:
    """A batch of three points about each place."""
    return tuple((p * 0.97, p, p * 1.04) for p in places)


def both(*places: float) -> tuple[tuple[float, ...], ...]:
    return near(*places) + near(*(-p for p in places))


@dataclasses.dataclass(frozen=True)
class Case:
    exact: Callable
    ordinary: tuple[float, ...] = ORDINARY
    batches: tuple[tuple[float, ...], ...] = SMALL
    """Beside the ordinary points: small ones, tails, edges of the domain. Each batch is judged alone."""
    activation: activations.Activation | None = None
    """None: the one in the table of that name."""
    singularities: tuple[float, ...] = ()
    """On or near the real line, where the nearest one sets the scale of u(t)."""
    coefficients: Callable | None = None
    """(u0, count) -> f^(k)(u0)/k!, in closed form where evaluating f far out in the plane is slow."""


def _piecewise(right: Callable, left: Callable, batches: tuple, **more) -> Case:
    return Case(lambda u: right(u) if mpmath.re(u) > 0 else left(u), batches=batches, singularities=(0,), **more)


def _ndtr(u):
    return mpmath.erfc(-u / mpmath.sqrt(2)) / 2


def _sigmoid(u):
    return 1 / (1 + mpmath.exp(-u))


def _softplus(u):
    return mpmath.log1p(mpmath.exp(u)) if mpmath.re(u) < 0 else u + mpmath.log1p(mpmath.exp(-u))


def _gelu_tanh(u):
    return u * _sigmoid(2 * mpmath.sqrt(2 / mpmath.pi) * (u + mpf("0.044715") * u**3))


def _mish(u):
    return u * mpmath.tanh(_softplus(u))


def _erf_coefficients(u, count):
    """erf^(k+1) = (−1)^k 2/√π H_k(u) e^{−u²} with Hermite's polynomials."""
    derivatives = [mpmath.erf(u)]
    bell = 2 / mpmath.sqrt(mpmath.pi) * mpmath.exp(-u * u)
    derivatives += [(-1) ** k * bell * mpmath.hermite(k, u) for k in range(count - 1)]
    return [d / mpmath.factorial(k) for k, d in enumerate(derivatives)]


def _ndtr_coefficients(u, count):
    root = mpmath.sqrt(2)
    scaled = [c / (2 * root**k) for k, c in enumerate(_erf_coefficients(u / root, count))]
    return [_ndtr(u), *scaled[1:]]


def _gelu_coefficients(u, count):
    cdf = _ndtr_coefficients(u, count)
    return [u * cdf[k] + (cdf[k - 1] if k else 0) for k in range(count)]


TAILS = SMALL + both(8, 15, 19, 30)
EDGES = (*SMALL, (0.97, 0.98, 0.985), (-0.985, -0.98, -0.97), (0.9991, 0.9992), (-0.9992, -0.9991))

CASES: dict[str, Case] = {
    "tanh": Case(mpmath.tanh, batches=TAILS),
    "adaptive_tanh": Case(mpmath.tanh, batches=TAILS),
    "sigmoid": Case(_sigmoid, batches=TAILS),
    "exp": Case(mpmath.exp, batches=TAILS),
    "expm1": Case(lambda u: mpmath.exp(u) - 1, batches=TAILS),
    "sin": Case(mpmath.sin, batches=TAILS),
    "cos": Case(mpmath.cos, batches=TAILS),
    "tan": Case(
        mpmath.tan,
        ordinary=(-1.2, -0.7, -0.3, 0.2, 0.9, 1.1),
        batches=SMALL + near(1.5, -1.5, 30.3),
        singularities=(-math.pi / 2, math.pi / 2),
    ),
    "sinh": Case(mpmath.sinh, batches=TAILS),
    "cosh": Case(mpmath.cosh, batches=TAILS),
    "softplus": Case(_softplus, batches=TAILS),
    "silu": Case(lambda u: u * _sigmoid(u), batches=TAILS),
    "mish": Case(_mish, batches=TAILS),
    "gaussian": Case(lambda u: mpmath.exp(-u * u), batches=SMALL + both(4, 8, 15, 19)),
    "erf": Case(mpmath.erf, coefficients=_erf_coefficients, batches=SMALL + both(3.5, 8, 15)),
    "ndtr": Case(_ndtr, coefficients=_ndtr_coefficients, batches=TAILS),
    "gelu": Case(lambda u: u * _ndtr(u), coefficients=_gelu_coefficients, batches=TAILS),
    "gelu_tanh": Case(_gelu_tanh, batches=SMALL + both(4, 8, 15)),
    "atan": Case(mpmath.atan, batches=TAILS + both(1e3)),
    "asinh": Case(mpmath.asinh, batches=TAILS + both(1e3)),
    "softsign": _piecewise(lambda u: u / (1 + u), lambda u: u / (1 - u), TAILS + both(1e5)),
    "square": Case(lambda u: u * u, batches=TAILS),
    "snake": Case(lambda u: u + mpmath.sin(u) ** 2, batches=TAILS),
    "asin": Case(mpmath.asin, ordinary=INSIDE, batches=EDGES, singularities=(-1, 1)),
    "acos": Case(mpmath.acos, ordinary=INSIDE, batches=EDGES, singularities=(-1, 1)),
    "atanh": Case(mpmath.atanh, ordinary=INSIDE, batches=EDGES, singularities=(-1, 1)),
    "acosh": Case(
        mpmath.acosh,
        ordinary=(1.3, 1.7, 2.2),
        batches=(*near(8, 30, 1000.0), (1.001, 1.0011), (1.02, 1.03)),
        singularities=(-1, 1),
    ),
    "log": Case(
        mpmath.log, ordinary=POSITIVE, batches=(*near(0.001, 30, 100000.0), (0.999, 1.001, 1.0015)), singularities=(0,)
    ),
    "log2": Case(
        lambda u: mpmath.log(u) / mpmath.log(2), ordinary=POSITIVE, batches=near(1e-3, 30, 1e5), singularities=(0,)
    ),
    "log10": Case(
        lambda u: mpmath.log(u) / mpmath.log(10), ordinary=POSITIVE, batches=near(1e-3, 30, 1e5), singularities=(0,)
    ),
    "log1p": Case(
        lambda u: mpmath.log(1 + u), ordinary=POSITIVE, batches=SMALL + near(-0.95, 30, 1e5), singularities=(-1,)
    ),
    "sqrt": Case(mpmath.sqrt, ordinary=POSITIVE, batches=near(1e-3, 30, 1e5), singularities=(0,)),
    "reciprocal": Case(lambda u: 1 / u, batches=near(1e-3, -1e-3, 30, 1e5), singularities=(0,)),
    "elu": _piecewise(lambda u: u, lambda u: mpmath.exp(u) - 1, TAILS),
    "elu(0.5)": _piecewise(lambda u: u, lambda u: (mpmath.exp(u) - 1) / 2, TAILS, activation=activations.elu(0.5)),
    "relu": _piecewise(lambda u: u, lambda _: 0, TAILS),
}
for _p in range(2, 6):
    CASES[f"relu{_p}"] = _piecewise(lambda u, p=_p: u**p, lambda _: 0, TAILS)
CASES["relu7"] = _piecewise(lambda u: u**7, lambda _: 0, SMALL, activation=activations.relu_power(7))
for _p in (-2, -1, 2, 3):
    CASES[f"power({_p})"] = Case(
        lambda u, p=_p: u**p, batches=near(1e-3, -1e-3, 30, -30), activation=activations.power(_p), singularities=(0,)
    )
for _p in (0.5, 2.5, -1.5, math.pi):
    CASES[f"power({_p})"] = Case(
        lambda u, p=_p: u ** mpf(p),
        ordinary=POSITIVE,
        batches=near(1e-3, 30, 1e5),
        activation=activations.power(_p),
        singularities=(0,),
    )

# A curve u(t) per point: coefficients 1, 2, 3. The line has the first alone.
CURVE = ((0.9, -0.35, 0.2), (-0.7, 0.25, -0.15), (1.1, 0.4, -0.3), (-0.8, -0.3, 0.1), (0.6, 0.2, 0.25))


def series_of_batch(
    points: tuple[float, ...], dtype: str, curved: bool, singularities: tuple[float, ...] = ()
) -> list[np.ndarray]:
    """Coefficients u_0, u_1 (and u_2, u_3 of a curve), each (len(points),).

    Where a singularity is near, u(t) is slowed so that the coefficients stay in float32's range.
    """
    pace = min([1.0, *(abs(p - s) for p in points for s in singularities)])
    pace = 2.0 ** math.floor(math.log2(pace))
    rows = [
        (p, *(c * pace ** (k + 1) for k, c in enumerate(CURVE[i % len(CURVE)][: 3 if curved else 1])))
        for i, p in enumerate(points)
    ]
    return [np.asarray(column, dtype=dtype) for column in zip(*rows, strict=True)]


def errors(label: str, points: tuple[float, ...], dtype: str, curved: bool) -> tuple[np.ndarray, np.ndarray]:
    """Relative errors of v and of w in norm over the points, for each order 0..HIGHEST."""
    case = CASES[label]
    u = series_of_batch(points, dtype, curved, case.singularities)
    activation = case.activation or activations.get(label)
    v, w, _ = activation.pair(Series(u), np, HIGHEST)
    exact = [exact_pair(label, [float(c[i]) for c in u], HIGHEST) for i in range(len(points))]
    tiny = mpf(float(np.finfo(dtype).tiny))
    # Where f′ or f″ is below the smallest normal number it has lost its digits, and so has all that comes from it.
    lost = any(0 < abs(c) < tiny for e in u[0] for c in coefficients_at(label, float(e))[1:3])
    found = []
    for series, which in ((v, 0), (w, 1)):
        per_order = []
        for k in range(HIGHEST + 1 if not lost else 1 - which):
            true = [e[which][k] for e in exact]
            ours = np.zeros(len(points), dtype) if series[k] is None else series[k]
            assert ours.dtype == dtype
            gap = mpmath.norm([mpf(float(a)) - b for a, b in zip(ours, true, strict=True)])
            scale = mpmath.norm(true)
            # Nor are there relative digits to ask for where the true value is so small.
            per_order.append(float(gap / max(scale, tiny)))
        found.append(np.asarray([*per_order, 0.0]))
    return found[0], found[1]


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("label", CASES)
def test_derivatives_and_slopes_agree_with_mpmath(label, dtype):
    """v and w are the series of f(u(t)) and f′(u(t)) to order 20, on lines and curves, in every batch of points."""
    case = CASES[label]
    for points in (case.ordinary, *case.batches):
        for curved in (False, True):
            v, w = errors(label, points, dtype, curved)
            for name, found in (("v", v), ("w", w)):
                worst = int(np.argmax(found))
                assert found[worst] < LIMIT[dtype], f"{name}_{worst} at u near {points[0]}, curved={curved}"


def test_every_name_in_the_table_is_tested():
    assert set(activations.names) <= set(CASES)


@pytest.mark.parametrize("label", CASES)
def test_the_oracle_is_mpmath_taylor_at_50_digits(label):
    """Cauchy's formula gives what ``mpmath.taylor`` gives at 50 digits, by differences, at one point a function."""
    u0 = float(CASES[label].ordinary[-2])
    ours = coefficients_at(label, u0)
    with mpmath.workdps(50):
        theirs = mpmath.taylor(CASES[label].exact, mpf(u0), 8)
        for a, b in zip(ours, theirs, strict=False):
            assert abs(a - b) <= mpf(10) ** -30 * max(1, abs(b))


# --- parameters -----------------------------------------------------------------------------------

A = 1.25
CASES_OF_A = {
    "adaptive_tanh": lambda u, a: mpmath.tanh(a * u),
    "snake": lambda u, a: u + mpmath.sin(a * u) ** 2 / a,
}


@pytest.mark.parametrize("shape", [(), (len(ORDINARY),)])
@pytest.mark.parametrize("label", CASES_OF_A)
def test_partials_by_a_learnable_parameter_agree_with_mpmath(label, shape, monkeypatch):
    """∂f(u(t))/∂a is the series that mpmath finds by differentiating f(u, a) in a; v and w hold at a ≠ 1 too."""
    f = CASES_OF_A[label]
    monkeypatch.setitem(CASES, "value", Case(lambda u: f(u, A)))
    monkeypatch.setitem(CASES, "partial", Case(lambda u: mpmath.diff(lambda a: f(u, a), A)))
    u = series_of_batch(ORDINARY, "float64", True)
    v, w, partials = activations.get(label).pair(Series(u), np, 12, a=np.full(shape, A))
    assert set(partials) == set(activations.get(label).parameters) == {"a"}
    # The cache knows labels, not functions: these two are this test's alone.
    coefficients_at.cache_clear()
    for i in range(len(ORDINARY)):
        point = [float(c[i]) for c in u]
        exact_v, exact_w = exact_pair("value", point, 12)
        exact_partial, _ = exact_pair("partial", point, 12)
        for ours, exact in ((v, exact_v), (w, exact_w), (partials["a"], exact_partial)):
            scale = mpmath.norm(exact)
            assert all(abs(mpf(float(ours[k][i])) - exact[k]) < 1e-13 * scale for k in range(13))
    coefficients_at.cache_clear()


# --- where a function is not smooth ---------------------------------------------------------------

OUTSIDE = {
    "log": (0.0, "u > 0"),
    "log2": (-1.0, "u > 0"),
    "log10": (-0.5, "u > 0"),
    "log1p": (-1.0, "u > -1"),
    "sqrt": (0.0, "u > 0"),
    "reciprocal": (0.0, "u ≠ 0"),
    "asin": (1.0, "|u| < 1"),
    "acos": (-1.0, "|u| < 1"),
    "atanh": (-1.0, "|u| < 1"),
    "acosh": (1.0, "u > 1"),
    "power(0.5)": (0.0, "u > 0"),
    "power(2.5)": (-1.0, "u > 0"),
    "power(-2)": (0.0, "u ≠ 0"),
}


@pytest.mark.parametrize("label", OUTSIDE)
def test_points_outside_the_domain_are_refused_with_what_to_do(label):
    """One point outside is enough; the message names the function, the domain and order=0."""
    bad, domain = OUTSIDE[label]
    activation = CASES[label].activation or activations.get(label)
    inside = 1.5 if label == "acosh" else 0.5
    with pytest.raises(ValueError, match="not differentiable to order 3") as caught:
        activation.pair(Series([np.asarray([inside, bad])]), np, 3)
    for words in (activation.name, domain, "order=0"):
        assert words in str(caught.value)


@pytest.mark.parametrize(
    ("label", "end", "value"),
    [
        ("sqrt", 0.0, 0.0),
        ("asin", 1.0, math.pi / 2),
        ("acos", -1.0, math.pi),
        ("acosh", 1.0, 0.0),
        ("power(0.5)", 0.0, 0),
    ],
)
def test_the_value_at_the_end_of_a_domain_is_given_at_order_0(label, end, value):
    activation = CASES[label].activation or activations.get(label)
    v, _, _ = activation.pair(Series([np.asarray([end])]), np, 0)
    assert v[0] == pytest.approx(value, abs=1e-15)


def kink(activation: activations.Activation, order: int = 4) -> list[float]:
    v, _, _ = activation.pair(Series([np.asarray([0.0]), np.asarray([1.0])]), np, order)
    return [0.0 if v[k] is None else float(v[k][0]) * math.factorial(k) for k in range(order + 1)]


def test_at_a_kink_the_branch_is_the_documented_one():
    """ReLU and its powers, and ELU, follow the left branch at 0; softsign the right one from order 2 up."""
    assert kink(activations.get("relu")) == [0, 0, 0, 0, 0]
    assert kink(activations.relu_power(3)) == [0, 0, 0, 0, 0]
    assert kink(activations.elu(0.5)) == [0, 0.5, 0.5, 0.5, 0.5]
    assert kink(activations.get("softsign")) == [0, 1, -2, 6, -24]


@pytest.mark.parametrize(
    "label", ["relu", "relu5", "elu", "softplus", "sigmoid", "tanh", "silu", "mish", "ndtr", "gelu"]
)
@pytest.mark.parametrize(("dtype", "far"), [("float64", 1e80), ("float32", 1e10)])
def test_far_on_the_left_nothing_overflows(label, dtype, far):
    """The unused branch of a piecewise rule, and the tail of a smooth one, stay finite with all coefficients."""
    u = Series([np.asarray([-far], dtype), np.asarray([1.0], dtype)])
    v, w, _ = activations.get(label).pair(u, np, 6)
    assert all(np.isfinite(s[k]).all() for s in (v, w) for k in range(7) if s[k] is not None)
    assert all(v[k] is None or v[k] == 0 for k in range(2, 7))


# --- names and registering ------------------------------------------------------------------------


def test_an_unknown_name_is_refused_with_the_near_ones():
    with pytest.raises(ValueError, match=r"'tanhh'.*did you mean.*'tanh'.*register"):
        activations.get("tanhh")
    with pytest.raises(TypeError, match=r"name such as 'tanh'.*function.*register"):
        activations.get(np.tanh)


def test_names_are_a_sorted_read_only_view():
    assert list(activations.names) == sorted(activations.names)
    assert "tanh" in activations.names
    assert "Tanh" not in activations.names
    assert activations.names[0] == min(activations.names)
    assert len(activations.names) == len(list(activations.names))
    assert repr(activations.names) == repr(sorted(activations.names))
    with pytest.raises(TypeError):
        activations.names[0] = "mine"


@pytest.mark.parametrize("bad", [0, -1, 1.5, True, "2"])
def test_relu_power_takes_whole_powers(bad):
    with pytest.raises(ValueError, match=r"whole power >= 1.*activations\.power"):
        activations.relu_power(bad)


@pytest.mark.parametrize("bad", ["2", True, None, np.asarray(2.0)])
def test_power_takes_a_python_number(bad):
    with pytest.raises(TypeError, match="Python number"):
        activations.power(bad)


def test_the_zeroth_power_is_one():
    v, w, _ = activations.power(0).pair(Series([np.asarray([0.0, 2.0]), np.asarray(1.0)]), np, 3)
    assert v[0].tolist() == [1, 1]
    assert w[0].tolist() == [0, 0]
    assert v[1] is None


@pytest.fixture
def table(monkeypatch):
    """A copy of the table for the test to write in; the real one is untouched."""
    copy = dict(activations._TABLE)
    monkeypatch.setattr(activations, "_TABLE", copy)
    return copy


def check_registered(name: str, exact: Callable, points: tuple[float, ...], monkeypatch) -> None:
    monkeypatch.setitem(CASES, name, Case(exact))
    for curved in (False, True):
        v, w = errors(name, points, "float64", curved)
        assert max(v.max(), w.max()) < LIMIT["float64"]


def test_register_by_pair(table, monkeypatch):
    def witch(u, xp):
        v = 1 / (1 + u * u)
        return v, -2 * (u * (v * v))

    assert activations.register("witch", pair=witch) is activations.get("witch")
    check_registered("witch", lambda u: 1 / (1 + u * u), ORDINARY, monkeypatch)


def test_register_by_differential_equation(table, monkeypatch):
    activations.register(
        "cube_root",
        primal=lambda u0, xp: xp.pow(u0, 1 / 3),
        ode=lambda v, u: v / (3 * u),
        singular=lambda u0, _: u0 <= 0,
        domain="u > 0",
    )
    check_registered("cube_root", lambda u: mpmath.cbrt(u), POSITIVE, monkeypatch)
    with pytest.raises(ValueError, match=r"cube_root .*u > 0"):
        activations.get("cube_root").pair(Series([np.asarray(-1.0)]), np, 1)


def test_register_by_differential_equation_with_a_constant_slope(table):
    activations.register("double", primal=lambda u0, _: 2 * u0, ode=lambda *_: 2.0)
    v, w, _ = activations.get("double").pair(Series([np.ones(3), np.ones(3)]), np, 2)
    assert v[1].tolist() == w[0].tolist() == [2, 2, 2]
    assert v[2] is None


def test_register_by_derivatives(table, monkeypatch):
    asked = []

    def wave(u0, order, xp):
        asked.append(order)
        return [2.0**m * xp.sin(2 * u0 + m * math.pi / 2) for m in range(order + 1)]

    activations.register("wave", derivatives=wave)
    check_registered("wave", lambda u: mpmath.sin(2 * u), ORDINARY, monkeypatch)
    asked.clear()
    v, w, _ = activations.get("wave").pair(Series([np.asarray(0.3), np.asarray(1.0)]), np, 5)
    v.truncated(5)
    assert asked == [5], "a jet of order 5 asks once, for the derivatives to order 5"
    w.truncated(5)
    assert asked == [5, 6], "only w_5 needs one more"


def test_derivatives_that_are_too_few_are_named(table):
    activations.register("short", derivatives=lambda u0, *_: [u0, u0 * 0 + 1])
    v, _, _ = activations.get("short").pair(Series([np.ones(2), np.ones(2)]), np, 3)
    with pytest.raises(ValueError, match="'short' returned 2 entries; it must return 4"):
        v.truncated(3)


def test_a_learnable_parameter_is_registered_with_its_partial(table):
    def scaled(u, xp, c):
        return u * c, Series([u[0] * 0 + c]), {"c": u}

    activations.register("scaled", pair=scaled, parameters={"c": 3.0})
    u = Series([np.ones(2), np.ones(2)])
    v, w, partials = activations.get("scaled").pair(u, np, 1)
    assert v[0].tolist() == w[0].tolist() == [3, 3]
    assert partials["c"] is u


def test_what_register_refuses(table):
    """Each refusal says what to pass instead, and leaves the table as it was."""
    before = dict(table)

    def rule(u, xp):
        return u, u

    for wanted, arguments in {
        "exists; choose another name or pass replace=True": {"name": "tanh", "pair": rule},
        "exactly one of pair=, ode= and derivatives=; got none": {"name": "new"},
        "exactly one of .* got": {"name": "new", "pair": rule, "ode": rule},
        "needs primal=": {"name": "new", "ode": rule},
        "primal= goes with ode= only": {"name": "new", "pair": rule, "primal": rule},
        "learnable parameters need pair=": {"name": "new", "derivatives": rule, "parameters": {"a": 1.0}},
    }.items():
        with pytest.raises(ValueError, match=wanted):
            activations.register(**arguments)
    assert table == before
    replaced = activations.register("tanh", pair=rule, replace=True)
    assert activations.get("tanh") is replaced


def both(u, _):
    return u, 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("x", {"pair": 3}), r"pair= takes a function; got 3 \(int\)"),
        (("x", {"pair": 0}), r"pair= takes a function; got 0"),
        (("x", {"derivatives": []}), "derivatives= takes a function"),
        (("x", {"ode": both, "primal": 1.0}), "primal= takes a function"),
        ((3, {"pair": both}), "register takes a name first.*got 3"),
        (("", {"pair": both}), "register takes a name first"),
    ],
)
def test_what_register_does_not_take(table, arguments, message):
    before = dict(table)
    with pytest.raises(TypeError, match=message):
        activations.register(arguments[0], **arguments[1])
    assert table == before


def test_the_examples_of_the_module_run(table):
    """All three descriptions, and how a registered function is called on an array."""
    import doctest

    found = doctest.testmod(activations)
    assert found.attempted > 5
    assert not found.failed
    scipy_special = pytest.importorskip("scipy.special")
    x, h = np.asarray([2.0]), 1e-5
    activations.register("j0", derivatives=lambda u0, order, _: [scipy_special.jvp(0, u0, m) for m in range(order + 1)])
    slope = nt.derivatives(lambda x: scipy_special.j0(x), x, 1)[1]
    np.testing.assert_allclose(slope, (scipy_special.j0(x + h) - scipy_special.j0(x - h)) / (2 * h), atol=1e-9)
    for name in ("cubic", "cbrt"):
        activation, u = activations.get(name), Series([np.asarray([0.7]), np.asarray([1.0])])
        v, w, _ = activation.pair(u, np, 2)
        np.testing.assert_allclose(v[1], w[0])


def test_a_function_of_the_namespace_does_not_apply_to_a_series(table):
    activations.register("bad", pair=lambda u, xp: (xp.sin(u), xp.cos(u)))
    with pytest.raises(TypeError, match=r"sin does not apply to a Series.*activations\.get\('sin'\)\.pair"):
        nt.derivatives(lambda x: x.__array_namespace__().bad(x), np.ones(2), 1)
    array, u = np.asarray([2.0, 3.0]), Series([np.asarray([1.0, 4.0])])
    for got, expected in (
        (array + u, [3, 7]),
        (array - u, [1, -1]),
        (array * u, [2, 12]),
        (array / u, [2, 0.75]),
        (np.float64(2) * u, [2, 8]),
        (np.divide(u, array), [0.5, 4 / 3]),
        (np.multiply(u, u), [1, 16]),
    ):
        assert isinstance(got, Series)
        np.testing.assert_allclose(got[0], expected)


def test_a_learnable_rule_without_partials_is_told_what_to_return(table):
    activations.register("q", pair=lambda u, _, a: (a * u * u, 2 * a * u), parameters={"a": 1.0})
    net = nt.MLP.create([1, 3, 1], "q", seed=0)
    x = np.asarray([0.3, 0.8])
    assert nt.derivatives(net, x, 1).shape == (2, 2)
    with pytest.raises(TypeError, match=r"rule of q gave no partial for its parameter 'a'.*return \(v, w, {'a': …}\)"):
        nt.value_and_grad(lambda p: np.sum(net.replace(p)(x)))(net.parameters)


@pytest.mark.parametrize(
    "make",
    [
        lambda: activations.power(3),
        lambda: activations.power(0),
        lambda: activations.power(-2),
        lambda: activations.power(0.5),
        lambda: activations.relu_power(7),
        lambda: activations.elu(0.5),
    ],
)
def test_made_activations_and_networks_of_them_can_be_pickled(make):
    import pickle

    activation = make()
    u = Series([np.asarray([0.7, 1.2]), np.asarray([1.0, 2.0])])
    other = pickle.loads(pickle.dumps(activation))
    for a, b in zip(other.pair(u, np, 2)[:2], activation.pair(u, np, 2)[:2], strict=True):
        np.testing.assert_array_equal(a[0], b[0])
    net = nt.MLP.create([1, 3, 1], activation, seed=0)
    net = net.replace({name: abs(p) for name, p in net.parameters.items()})
    x = np.asarray([[0.4]])
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(net))(x), net(x))


def test_a_rule_that_returns_no_pair_is_named(table):
    activations.register("lost", pair=lambda u, _: u)
    with pytest.raises(TypeError, match=r"rule of lost must return \(v, w\).*it returned Series"):
        activations.get("lost").pair(Series([np.ones(1)]), np, 1)


HOLOMORPHIC = {
    "tanh": mpmath.tanh,
    "sigmoid": lambda z: 1 / (1 + mpmath.exp(-z)),
    "softplus": lambda z: mpmath.log(1 + mpmath.exp(z)),
    "silu": lambda z: z / (1 + mpmath.exp(-z)),
    "mish": lambda z: z * mpmath.tanh(mpmath.log(1 + mpmath.exp(z))),
    "exp": mpmath.exp,
    "sin": mpmath.sin,
    "log": mpmath.log,
    "sqrt": mpmath.sqrt,
    "asin": mpmath.asin,
    "erf": mpmath.erf,
}


@pytest.mark.parametrize("name", HOLOMORPHIC)
def test_complex_arguments_give_the_complex_derivatives(name):
    points = np.asarray([0.3 + 0.4j, -0.6 + 0.2j, -0.2 - 0.7j, 1.1 - 0.3j])
    found = nt.derivatives(lambda z: nt.jets.univariate(nt.activations.get(name), z), points, 8, np.asarray([1.0 + 0j]))
    with mpmath.workdps(50):
        expected = np.asarray([[complex(d) for d in mpmath.diffs(HOLOMORPHIC[name], z, 8)] for z in points]).T
    error = np.linalg.norm(found - expected, axis=1) / np.linalg.norm(expected, axis=1)
    assert np.max(error) < 1e-12


@pytest.mark.parametrize("name", ["relu", "relu3", "elu", "softsign"])
def test_piecewise_functions_refuse_complex_arguments(name):
    with pytest.raises(TypeError, match=f"{name} is piecewise and has no complex derivative: pass a real array"):
        nt.activations.get(name).pair(Series([np.asarray([1j]), np.asarray([1 + 0j])]), np, 1)


@pytest.mark.parametrize("name", ["tanh", "relu3", "elu", "snake", "log"])
def test_activations_of_the_table_and_networks_of_them_can_be_pickled(name):
    import copy
    import pickle

    activation = nt.activations.get(name)
    assert pickle.loads(pickle.dumps(activation)) is activation
    network = nt.MLP.create([1, 3, 1], activation="tanh" if name == "log" else name)
    x = np.linspace(0.1, 1, 5)
    for other in (pickle.loads(pickle.dumps(network)), copy.deepcopy(network)):
        np.testing.assert_array_equal(other(x), network(x))
