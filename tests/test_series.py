"""The laws of power series, each a sentence, and what the recurrences cost.

Laws are tested on fractions, where they hold exactly, so no tolerance hides a wrong term; those that need
exp, log or sqrt are tested on fractions too, from points where their values are rational.
"""

from __future__ import annotations

import math
from collections import Counter
from fractions import Fraction
from typing import ClassVar

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ntaylor import activations
from ntaylor.series import Series, add, correlate, cosh_sinh, integrate, select, sin_cos, solve, square_root

ORDER = 7

fractions = st.fractions(-3, 3, max_denominator=5)
coefficients = st.lists(st.none() | fractions, min_size=0, max_size=ORDER)


@st.composite
def series(draw, first=fractions):
    """Coefficients u_0..u_n, some of them structural zeros; u_0 is a number."""
    return [draw(first), *draw(coefficients)]


nonzero = fractions.filter(bool)
squares = fractions.filter(bool).map(lambda c: c * c)


def numbers(s: Series, order: int = ORDER) -> list[Fraction]:
    """Coefficients 0..order, structural zeros as 0."""
    return [Fraction(0) if s[k] is None else s[k] for k in range(order + 1)]


def exp(u: Series, value=Fraction(1)) -> Series:
    return solve(u, value, lambda v: v)[0]


def log(u: Series, value=Fraction(0)) -> Series:
    return integrate(u.derivative() / u, value)


# --- laws -----------------------------------------------------------------------------------------


@given(series(), series())
def test_product_commutes(u, v):
    """uv = vu."""
    assert numbers(Series(u) * Series(v)) == numbers(Series(v) * Series(u))


@given(series(), series(), series())
def test_product_is_associative_and_distributes(u, v, w):
    """(uv)w = u(vw) and u(v + w) = uv + uw."""
    u, v, w = Series(u), Series(v), Series(w)
    assert numbers((u * v) * w) == numbers(u * (v * w))
    assert numbers(u * (v + w)) == numbers(u * v + u * w)


@given(series())
def test_a_square_is_the_product_with_itself(u):
    """The halved sum for u·u is the whole sum for two equal series; u³ and u⁵ are products."""
    s = Series(u)
    assert numbers(s * s) == numbers(s * Series(u))
    assert numbers(s**3) == numbers(s * Series(u) * Series(u))
    assert numbers(s**5) == numbers(s**2 * s**3)


@given(series(), series(first=nonzero))
def test_quotient_undoes_product(u, v):
    """(uv)/v = u and (u/v)v = u."""
    u, v = Series(u), Series(v)
    assert numbers((u * v) / v) == numbers(u)
    assert numbers((u / v) * v) == numbers(u)
    assert numbers((1 / v) * v) == [1] + [0] * ORDER


@given(series(first=st.just(Fraction(0))))
def test_log_undoes_exp(u):
    """log∘exp is the identity."""
    assert numbers(log(exp(Series(u)))) == numbers(Series(u))


@given(series(first=st.just(Fraction(1))))
def test_exp_undoes_log(u):
    """exp∘log is the identity."""
    assert numbers(exp(log(Series(u)))) == numbers(Series(u))


@given(series(first=squares))
def test_square_root_squared_is_the_identity(u):
    """√u · √u = u."""
    root = square_root(Series(u), Fraction(math.isqrt(u[0].numerator), math.isqrt(u[0].denominator)))
    assert numbers(root * root) == numbers(Series(u))


@given(series(first=st.just(Fraction(0))))
def test_sin_cos_and_cosh_sinh_lie_on_their_curves(u):
    """sin² + cos² = 1 and cosh² − sinh² = 1."""
    sine, cosine = sin_cos(Series(u), Fraction(0), Fraction(1))
    assert numbers(sine * sine + cosine * cosine) == [1] + [0] * ORDER
    hyperbolic, slope = cosh_sinh(Series(u), Fraction(1), Fraction(0))
    assert numbers(hyperbolic * hyperbolic - slope * slope) == [1] + [0] * ORDER
    assert numbers(hyperbolic + slope) == numbers(exp(Series(u)))


@given(series(), fractions)
def test_derivative_undoes_integrate(u, constant):
    """(∫u)′ = u, and the constant is coefficient 0."""
    integral = integrate(Series(u), constant)
    assert integral[0] == constant
    assert numbers(integral.derivative()) == numbers(Series(u))


@given(series(), series())
def test_derivative_of_a_product(u, v):
    """(uv)′ = u′v + uv′."""
    u, v = Series(u), Series(v)
    assert numbers((u * v).derivative()) == numbers(u.derivative() * v + u * v.derivative())


@given(series(first=st.just(Fraction(0))))
def test_chain_rule(u):
    """(f∘u)′ = (f′∘u) u′, with f′ composed on its own, for tanh and tan from 0."""
    for sign in (-1, 1):
        v, w = solve(Series(u), Fraction(0), lambda v, sign=sign: 1 + sign * (v * v))
        assert numbers(v.derivative()) == numbers(w * Series(u).derivative())
        # f′ = 1 ± f² has f″ = ±2 f f′: w by its own differential equation, not through v.
        slope = integrate(2 * sign * (v * w) * Series(u).derivative(), Fraction(1))
        assert numbers(slope) == numbers(w)


@given(series(first=st.just(Fraction(0))), st.integers(0, ORDER))
def test_truncating_then_composing_equals_composing_then_truncating(u, order):
    """No coefficient depends on a higher one."""
    for rule in (exp, lambda s: solve(s, Fraction(0), lambda v: 1 - v * v)[0], lambda s: 1 / (1 - s)):
        assert numbers(rule(Series(u[: order + 1])), order) == numbers(rule(Series(u)), order)


@given(series(first=st.just(Fraction(0))), series(), series())
def test_the_adjoint_of_jvp_is_vjp(u, tangent, cotangent):
    """⟨v̄, JVP(u̇)⟩ = ⟨VJP(v̄), u̇⟩, with the JVP w ⊛ u̇ and the VJP a correlation with the same w."""
    _, w = solve(Series(u), Fraction(0), lambda v: 1 - v * v)
    forward = numbers(w * Series(tangent))
    backward = correlate(cotangent, w, ORDER + 1)
    left = sum(a * b for a, b in zip(cotangent, forward, strict=False) if a is not None)
    right = sum(a * b for a, b in zip(backward, tangent, strict=False) if a is not None and b is not None)
    assert left == right


@given(series(first=st.just(Fraction(0))), series())
def test_the_jvp_is_the_derivative_along_the_tangent(u, tangent):
    """w ⊛ u̇ is d/dε f(u + ε u̇), by dual numbers: products whose ε² is dropped."""
    v, w = solve(Series(u), Fraction(0), lambda v: 1 - v * v)

    class Dual:
        def __init__(self, value, slope):
            self.value, self.slope = value, slope

        def __add__(self, other):
            other = other if isinstance(other, Dual) else Dual(other, 0)
            return Dual(self.value + other.value, self.slope + other.slope)

        __radd__ = __add__

        def __neg__(self):
            return Dual(-self.value, -self.slope)

        def __sub__(self, other):
            return self + (-other)

        def __rsub__(self, other):
            return -self + other

        def __mul__(self, other):
            other = other if isinstance(other, Dual) else Dual(other, 0)
            return Dual(self.value * other.value, self.value * other.slope + self.slope * other.value)

        __rmul__ = __mul__

        def __truediv__(self, number):
            return Dual(self.value / number, self.slope / number)

    dual_u = [Dual(a, b) for a, b in zip(numbers(Series(u)), numbers(Series(tangent)), strict=True)]
    # tanh(0 + ε u̇_0) = ε u̇_0.
    dual_v, _ = solve(Series(dual_u), Dual(Fraction(0), dual_u[0].slope), lambda v: 1 - v * v)
    assert [dual_v[k].value for k in range(ORDER + 1)] == numbers(v)
    assert [dual_v[k].slope for k in range(ORDER + 1)] == numbers(w * Series(tangent))


# --- exact results --------------------------------------------------------------------------------


def test_known_series_in_fractions():
    """1/(1−t), √((1+t)²), 1/√(1−4t) with the central binomials, and tan with the tangent numbers."""
    t = [Fraction(0), Fraction(1)]
    assert numbers(1 / (1 - Series(t)), 30) == [1] * 31
    assert numbers(square_root((1 + Series(t)) ** 2, Fraction(1)), 30) == [1, 1] + [0] * 29
    central = 1 / square_root(1 - 4 * Series(t), Fraction(1))
    assert numbers(central, 30) == [math.comb(2 * k, k) for k in range(31)]
    tan, _ = solve(Series(t), Fraction(0), lambda v: 1 + v * v)
    tangent = [0, 1, 0, 2, 0, 16, 0, 272, 0, 7936, 0, 353792]
    assert [c * math.factorial(k) for k, c in enumerate(numbers(tan, 11))] == tangent


def test_exp_of_exp_counts_set_partitions():
    """exp(e^t − 1) has derivatives 1, 1, 2, 5, 15, 52, …: Bell's numbers."""
    t = Series([Fraction(0), Fraction(1)])
    bell = exp(exp(t) - 1)
    assert [c * math.factorial(k) for k, c in enumerate(numbers(bell, 8))] == [1, 1, 2, 5, 15, 52, 203, 877, 4140]


def test_the_accurate_slope_replaces_coefficient_0_only():
    """w0 enters w_0, and through it the rest, as the value of f′(u_0)."""
    u = Series([Fraction(0), Fraction(1)])
    v, w = solve(u, Fraction(1, 2), lambda v: 1 - v * v, w0=Fraction(2))
    assert (w[0], v[1], w[1]) == (2, 2, -2)


def test_arithmetic_with_constants():
    s = Series([Fraction(3), Fraction(1)])
    assert numbers(1 - s, 1) == [-2, -1]
    assert numbers(s - 1, 1) == [2, 1]
    assert numbers(2 + s, 1) == [5, 1]
    assert numbers(2 * s, 1) == numbers(s * 2, 1) == [6, 2]
    assert numbers(s / 2, 1) == [Fraction(3, 2), Fraction(1, 2)]
    assert numbers(-s, 1) == [-3, -1]
    assert add(None, None) is None


@pytest.mark.parametrize("bad", [0, -1, 0.5])
def test_only_whole_powers_are_taken(bad):
    with pytest.raises(ValueError, match=r"whole powers >= 1.*activations\.power"):
        Series([1.0]) ** bad


def test_an_array_on_the_left_is_a_constant():
    """A NumPy array times a Series is a Series, not an object array of Series."""
    product = np.asarray([2.0, 3.0]) * Series([np.ones(2), np.ones(2)])
    assert isinstance(product, Series)
    assert product[1].tolist() == [2, 3]


def test_select_follows_each_branch():
    mask = np.asarray([True, False])
    found = select(np.where, mask, Series([np.ones(2), np.ones(2)]), Series([np.full(2, 5.0)]))
    assert found[0].tolist() == [1, 5]
    assert found[1].tolist() == [1, 0]
    assert found[2] is None


# --- structural zeros, laziness, cost -------------------------------------------------------------


class Counted:
    """A number that counts the multiplications of two such numbers, and those by a constant apart."""

    counts: ClassVar[Counter[str]] = Counter()

    def __init__(self, value: float):
        self.value = value

    def _with(self, other, kind, operation):
        self.counts[kind if isinstance(other, Counted) else f"{kind} by a constant"] += 1
        return Counted(operation(self.value, getattr(other, "value", other)))

    def __mul__(self, other):
        return self._with(other, "products", lambda a, b: a * b)

    __rmul__ = __mul__

    def __truediv__(self, other):
        return self._with(other, "quotients", lambda a, b: a / b)

    def __rtruediv__(self, other):
        return self._with(other, "quotients", lambda a, b: b / a)

    def __add__(self, other):
        return self._with(other, "sums", lambda a, b: a + b)

    __radd__ = __add__

    def __sub__(self, other):
        return self._with(other, "sums", lambda a, b: a - b)

    def __rsub__(self, other):
        return self._with(other, "sums", lambda a, b: b - a)

    def __neg__(self):
        return Counted(-self.value)


@pytest.fixture
def counts():
    Counted.counts.clear()
    return Counted.counts


def counted(*values: float) -> Series:
    return Series([Counted(v) for v in values])


def tanh(u: Series) -> tuple[Series, Series]:
    return solve(u, Counted(math.tanh(u[0].value)), lambda v: 1 - v * v)


@given(series(), series(), st.integers(0, ORDER))
def test_structural_zeros_stay_structural(u, v, gap):
    """A sum, product, derivative or integral is None at k exactly where every one of its terms is absent."""
    a, b = Series(u), Series(v)
    here, there = ({k for k in range(ORDER + 1) if s[k] is not None} for s in (a, b))
    for k in range(ORDER + 1):
        assert ((a + b)[k] is None) == ((a - b)[k] is None) == (k not in here | there)
        assert ((a * b)[k] is None) == (not any(k - j in there for j in here))
        assert ((-a)[k] is None) == ((a * 2)[k] is None) == ((a / 2)[k] is None) == (k not in here)
        assert (a.derivative()[k] is None) == (k + 1 >= len(u) or u[k + 1] is None)
        if k:
            assert (integrate(a, Fraction(0))[k] is None) == (k - 1 not in here)
    sparse = Series([Fraction(1), *([None] * gap), Fraction(1)])
    assert all((sparse * 3)[k] is None for k in range(1, gap + 1))


def test_trailing_zeros_are_cut_off_but_never_coefficient_0():
    assert Series([1, 2, None, None]).truncated(3) == [1, 2]
    assert Series([1, None, 3]).truncated(1) == [1]
    assert Series([None, None]).truncated(4) == [None]


def test_on_a_line_a_polynomial_is_finite():
    """u = u_0 + u_1 t has u² of three coefficients; the others are absent, not zeros."""
    assert len((Series([2.0, 1.0]) ** 2).truncated(9)) == 3


@pytest.mark.parametrize(("rule", "per_order"), [("exp", 1), ("quotient", 1)])
def test_on_a_line_a_linear_recurrence_costs_one_product_an_order(rule, per_order, counts):
    """exp and 1/u along u_0 + u_1 t: the k-th step has the one term with u_1."""
    u = counted(0.7, 1.3)
    v = solve(u, Counted(math.exp(0.7)), lambda v: v)[0] if rule == "exp" else 1 / u
    v.truncated(20)
    assert counts["products"] == 20 * per_order


@pytest.mark.parametrize("order", [4, 9, 16, 25])
def test_on_a_line_the_first_activation_saves_half(order, counts):
    """tanh to order n: n products w·u′ on a line, n(n+1)/2 on a curve; and w = 1 − v² to order n − 1 in both.

    So on a line the steps of v cost O(n); what remains quadratic is the closing relation, at half a product
    a term by symmetry.
    """
    closing = sum(k // 2 + 1 for k in range(order))
    tanh(counted(0.4, 0.9))[0].truncated(order)
    assert counts["products"] == order + closing
    counts.clear()
    tanh(counted(0.4, *[0.9] * order))[0].truncated(order)
    assert counts["products"] == order * (order + 1) // 2 + closing


def test_tanh_costs_three_quarters_of_n_squared(counts):
    """Products on a curve are 3n²/4 + n for even n, beside O(n) by constants; partitions of 40 would be 37338."""
    for order in (10, 20, 40):
        counts.clear()
        tanh(counted(0.4, *[0.9] * order))[0].truncated(order)
        assert counts["products"] == 3 * order**2 // 4 + order
        assert counts["products by a constant"] + counts["quotients by a constant"] <= 3 * order


def test_the_slope_is_not_made_to_the_last_order_unless_asked(counts):
    """v to order n needs w to order n − 1: w_n costs nothing until a gradient asks for it."""
    n = 8
    v, w = tanh(counted(0.4, 0.9))
    v.truncated(n)
    before = counts["products"]
    v.truncated(n)
    assert counts["products"] == before, "a coefficient is made once"
    w[n - 1]
    assert counts["products"] == before
    w[n]
    assert counts["products"] == before + n // 2 + 1


def test_nothing_is_made_before_it_is_asked_for():
    made = []

    def rule(k):
        made.append(k)
        return float(k)

    s = Series([0.0], rule)
    product = s * s + s.derivative()
    assert made == []
    product[2]
    assert made == [1, 2, 3]


def test_a_deep_request_does_not_recurse_deeply():
    """Coefficient 300 asked for at once fills upwards; Python's stack stays shallow."""
    v, _ = solve(Series([0.5, 1.0]), math.tanh(0.5), lambda v: 1 - v * v)
    assert math.isfinite(v[300])


@pytest.mark.parametrize("name", ["asinh", "asin", "atan", "log", "sqrt"])
def test_inverse_functions_on_a_line(name):
    """Their series on a line has the right first terms, from the differential equation by hand.

    f″ = −p d′/d f′ at u_0 = 0.3, with f′ = d^(−p).
    """
    d, slope, p = {
        "asinh": (1 + 0.09, 0.6, 0.5),
        "asin": (1 - 0.09, -0.6, 0.5),
        "atan": (1 + 0.09, 0.6, 1.0),
        "log": (0.3, 1.0, 1.0),
        "sqrt": (0.3, 1.0, 0.5),
    }[name]
    v, w, _ = activations.get(name).pair(Series([np.asarray(0.3), np.asarray(1.0)]), np, 2)
    first = d**-p * (0.5 if name == "sqrt" else 1)
    assert float(v[1]) == pytest.approx(first, rel=1e-14)
    assert float(2 * v[2]) == pytest.approx(-p * slope / d * first, rel=1e-14)
    assert float(w[1]) == pytest.approx(float(2 * v[2]), rel=1e-14)
