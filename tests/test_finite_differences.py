"""Fornberg's weights, the error model, and differences as an engine behind operators."""

# ruff: noqa: ARG005 functions in a table share one signature

from __future__ import annotations

import importlib.util
import itertools
import json
import math
from collections import Counter
from fractions import Fraction
from pathlib import Path

import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import ntaylor as nt
from ntaylor import finite_differences as fd
from ntaylor.namespace import array_namespace
from ntaylor.operators import D, biharmonic, identity, jointly, laplacian, partial, weighted_laplacian

# --- weights ------------------------------------------------------------------------------------------

F = Fraction

# B. Fornberg, Math. Comp. 51 (1988), tables 1 and 3, as printed there: central, and one-sided at a grid point.
CENTRAL = {
    (1, 2): [F(-1, 2), F(1, 2)],
    (1, 4): [F(1, 12), F(-2, 3), F(2, 3), F(-1, 12)],
    (1, 6): [F(-1, 60), F(3, 20), F(-3, 4), F(3, 4), F(-3, 20), F(1, 60)],
    (1, 8): [F(1, 280), F(-4, 105), F(1, 5), F(-4, 5), F(4, 5), F(-1, 5), F(4, 105), F(-1, 280)],
    (2, 2): [1, -2, 1],
    (2, 4): [F(-1, 12), F(4, 3), F(-5, 2), F(4, 3), F(-1, 12)],
    (2, 6): [F(1, 90), F(-3, 20), F(3, 2), F(-49, 18), F(3, 2), F(-3, 20), F(1, 90)],
    (2, 8): [F(-1, 560), F(8, 315), F(-1, 5), F(8, 5), F(-205, 72), F(8, 5), F(-1, 5), F(8, 315), F(-1, 560)],
    (3, 2): [F(-1, 2), 1, -1, F(1, 2)],
    (3, 4): [F(1, 8), -1, F(13, 8), F(-13, 8), 1, F(-1, 8)],
    (3, 6): [F(-7, 240), F(3, 10), F(-169, 120), F(61, 30), F(-61, 30), F(169, 120), F(-3, 10), F(7, 240)],
    (4, 2): [1, -4, 6, -4, 1],
    (4, 4): [F(-1, 6), 2, F(-13, 2), F(28, 3), F(-13, 2), 2, F(-1, 6)],
    (4, 6): [
        F(7, 240),
        F(-2, 5),
        F(169, 60),
        F(-122, 15),
        F(91, 8),
        F(-122, 15),
        F(169, 60),
        F(-2, 5),
        F(7, 240),
    ],
}
ONE_SIDED = {
    (1, 1): [-1, 1],
    (1, 2): [F(-3, 2), 2, F(-1, 2)],
    (1, 3): [F(-11, 6), 3, F(-3, 2), F(1, 3)],
    (1, 4): [F(-25, 12), 4, -3, F(4, 3), F(-1, 4)],
    (2, 1): [1, -2, 1],
    (2, 2): [2, -5, 4, -1],
    (2, 3): [F(35, 12), F(-26, 3), F(19, 2), F(-14, 3), F(11, 12)],
    (2, 4): [F(15, 4), F(-77, 6), F(107, 6), -13, F(61, 12), F(-5, 6)],
    (3, 1): [-1, 3, -3, 1],
    (3, 2): [F(-5, 2), 9, -12, 7, F(-3, 2)],
    (4, 1): [1, -4, 6, -4, 1],
    (4, 2): [3, -14, 26, -24, 11, -2],
}


@pytest.mark.parametrize("case", CENTRAL, ids=str)
def test_central_weights_are_the_published_ones(case):
    assert list(fd.central(*case).weights) == CENTRAL[case]


@pytest.mark.parametrize("case", ONE_SIDED, ids=str)
def test_one_sided_weights_are_the_published_ones(case):
    n = case[0]
    forward, backward = fd.one_sided(*case), fd.one_sided(*case, side="backward")
    assert list(forward.weights) == ONE_SIDED[case]
    assert list(backward.weights) == [(-1) ** n * w for w in ONE_SIDED[case]]
    assert [-s for s in backward.nodes] == list(forward.nodes) == list(range(len(forward.nodes)))


fractions = st.fractions(-8, 8, max_denominator=30)


@given(st.data())
def test_exact_on_arbitrary_nodes(data):
    """Σ w q(node) is q^(n)(at) for any polynomial of degree < the number of nodes, with no rounding at all."""
    nodes = data.draw(st.lists(fractions, min_size=1, max_size=8, unique=True))
    n = data.draw(st.integers(0, len(nodes) - 1))
    at = data.draw(fractions)
    q = data.draw(st.lists(fractions, min_size=len(nodes), max_size=len(nodes)))
    found = fd.weights(n, nodes, at)
    wanted = sum(c * math.perm(k, n) * at ** (k - n) for k, c in enumerate(q) if k >= n)
    assert sum(w * sum(c * s**k for k, c in enumerate(q)) for s, w in zip(nodes, found, strict=True)) == wanted


@given(st.integers(1, 10), st.integers(1, 5), st.sampled_from(fd.SIDES))
def test_exact_to_the_degree_claimed_and_no_further(n, half, side):
    """Degree n + p − 1 is exact; of degree n + p the error is C (n + p)! h^p."""
    stencil = fd.central(n, 2 * half) if side == "central" else fd.one_sided(n, half, side)
    p = stencil.accuracy

    def applied(degree):
        return sum(w * s**degree for s, w in zip(stencil.nodes, stencil.weights, strict=True))

    assert [applied(k) for k in range(n + p)] == [math.factorial(n) * (k == n) for k in range(n + p)]
    assert applied(n + p) == stencil.constant * math.factorial(n + p) != 0


def test_floats_are_taken_exactly():
    assert fd.weights(1, [0.1, -0.1]) == (1 / (2 * F(0.1)), -1 / (2 * F(0.1)))
    assert fd.weights(1, np.asarray([-1.0, 0.0, 2.0])) == fd.weights(1, [-1, 0, 2])


def test_on_nodes_finds_its_accuracy():
    assert fd.on_nodes(2, [-1, 0, 1]) == fd.central(2, 2)
    assert fd.on_nodes(2, [9, 10, 11], at=10).constant == fd.central(2, 2).constant == F(1, 12)
    assert fd.on_nodes(2, [-1, 0, 2]).accuracy == 1
    assert fd.on_nodes(0, [0]).constant == fd.central(0, 4).constant == 0
    assert fd.on_nodes(0, [0, 1]).weights == (1, 0)


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda: fd.weights(2, [0, 1]), ValueError, "takes at least 3 nodes; got 2"),
        (lambda: fd.weights(1, [0, 1, 1.0]), ValueError, "are to differ"),
        (lambda: fd.weights(1, [0, math.inf]), ValueError, "finite"),
        (lambda: fd.weights(1, [0, "a"]), TypeError, "a node must be a real number"),
        (lambda: fd.weights(1, 3), TypeError, "nodes is a sequence"),
        (lambda: fd.weights(-1, [0]), ValueError, "derivative must be an integer >= 0; got -1"),
        (lambda: fd.weights(1.0, [0, 1]), TypeError, "derivative must be an integer"),
        (lambda: fd.central(2, 3), ValueError, "pass 4, or a one-sided stencil"),
        (lambda: fd.central(2, 0), ValueError, "accuracy must be an integer >= 1"),
        (lambda: fd.one_sided(2, 1, "left"), ValueError, "side must be one of forward, backward; got 'left'"),
        (lambda: fd.step_for(2, side="left"), ValueError, "central, forward, backward"),
        (lambda: fd.step_for(2, dtype="int64"), TypeError, "floating"),
        (lambda: fd.error_model(2, 2, 0.0), ValueError, "step must be positive"),
        (lambda: fd.error_model(2, 2, 0.1, scale=-1), ValueError, "scale must be positive"),
    ],
)
def test_what_cannot_be_is_refused(call, kind, message):
    with pytest.raises(kind, match=message):
        call()


def test_module_is_public():
    assert nt.finite_differences is fd


# --- the error model ----------------------------------------------------------------------------------


@pytest.mark.parametrize("side", fd.SIDES)
@pytest.mark.parametrize("accuracy", [2, 4, 6])
@pytest.mark.parametrize("order", range(1, 9))
def test_the_chosen_step_is_the_best_power_of_two_or_next_to_it(order, accuracy, side):
    """A sum of convex functions of log h: what is rounded to a power of two is within a factor of two of the least."""
    h = fd.step_for(order, accuracy, side=side)
    assert math.frexp(h)[0] == 0.5
    totals = [fd.error_model(order, accuracy, h * 2.0**e, side=side).total for e in (-2, -1, 0, 1, 2)]
    assert totals[2] < totals[0]
    assert totals[2] < totals[4]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("accuracy", [2, 4, 6])
@pytest.mark.parametrize("order", range(1, 9))
def test_the_error_of_a_sine_is_below_the_model(order, accuracy, dtype):
    """Where |f^(k)| <= 1 for all k, as the model assumes, what is measured is below the sum of both parts."""
    h = fd.step_for(order, accuracy, dtype)
    x = np.linspace(-3, 3, 101, dtype=dtype)[:, None]
    got = partial((order,))(lambda x: np.sin(x[:, 0]), x, method="fd", step=h, accuracy=accuracy)
    exact = np.sin(x[:, 0].astype(np.float64) + order * np.pi / 2)
    model = fd.error_model(order, accuracy, h, dtype)
    # A step across a power of two rounds x + s h by up to eps |x|, of which the model says that it is left out.
    outside = fd.machine_epsilon(dtype) * 4 * float(fd.central(order, accuracy).absolute_sum) / h**order
    assert np.max(np.abs(got - exact)) < model.total + outside
    # And neither part is there for nothing: a step 16 times as wide, or as narrow, is worse by what the model says.
    for factor, part in ((16, 0), (1 / 16, 1)):
        there = partial((order,))(lambda x: np.sin(x[:, 0]), x, method="fd", step=h * factor, accuracy=accuracy)
        expected = fd.error_model(order, accuracy, h * factor, dtype)[part]
        if expected < 0.1:
            assert 0.01 * expected < np.max(np.abs(there - exact)) < 5 * (expected + outside / factor**order)


def test_a_scale_moves_the_step_and_the_model():
    """In the length over which f varies everything is as at scale 1."""
    for order, accuracy in ((1, 2), (2, 4), (4, 4)):
        assert fd.step_for(order, accuracy, scale=8) == 8 * fd.step_for(order, accuracy)
        wide, unit = fd.error_model(order, accuracy, 0.5, scale=8), fd.error_model(order, accuracy, 0.0625)
        np.testing.assert_allclose(wide, np.asarray(unit) / 8**order, rtol=1e-14)
    assert fd.step_for(2, 2, "float32") > fd.step_for(2, 2)
    assert fd.step_for(0) == 1.0


# --- the stencils of operators ------------------------------------------------------------------------


def polynomial(coefficients, point, alpha):
    """∂^α of Σ c_β x^β at a point, in fractions."""
    total = Fraction(0)
    for beta, c in coefficients.items():
        if all(b >= a for a, b in zip(alpha, beta, strict=True)):
            terms = (math.perm(b, a) * x ** (b - a) for a, b, x in zip(alpha, beta, point, strict=True))
            total += c * math.prod(terms, start=Fraction(1))
    return total


@given(st.data())
def test_tensor_products_are_exact_on_polynomials(data):
    """Of degree < n_i + p in each x_i, at any point, for any steps and sides: ∂^α and nothing else, in fractions."""
    d = data.draw(st.integers(1, 3))
    alpha = tuple(data.draw(st.lists(st.integers(0, 3), min_size=d, max_size=d)))
    accuracy = data.draw(st.sampled_from([2, 4]))
    step = data.draw(st.lists(st.fractions(F(1, 9), 3, max_denominator=9), min_size=d, max_size=d))
    side = data.draw(st.lists(st.sampled_from(fd.SIDES), min_size=d, max_size=d))
    betas = st.tuples(*(st.integers(0, a + accuracy - 1 if a else 4) for a in alpha))
    coefficients = data.draw(st.dictionaries(betas, fractions, max_size=6))
    point = data.draw(st.lists(fractions, min_size=d, max_size=d))
    points, weights = partial(alpha).stencil(d, step, accuracy, side)
    got = sum(
        w * polynomial(coefficients, [x + s for x, s in zip(point, shift, strict=True)], (0,) * d)
        for shift, w in zip(points, weights, strict=True)
    )
    assert got == polynomial(coefficients, point, alpha)


@pytest.mark.parametrize("side", ["central", "forward", ("backward", "central")])
@pytest.mark.parametrize("accuracy", [2, 4])
@pytest.mark.parametrize("L", [laplacian(), laplacian() ** 2, D(0, 1, 1) + 3 * D(0) - 2 * identity()], ids=repr)
def test_the_leading_error_is_the_error_of_the_next_degree(L, accuracy, side):
    """On monomials that are of no higher degree than the leading error's, it is all the error there is."""
    stencil = L.stencil(2, F(1, 3), accuracy, side)
    lowest = min(len(m) for m, _ in stencil.leading_error)
    for beta in itertools.product(range(lowest + 1), repeat=2):
        if sum(beta) > lowest:
            continue
        point, one = (F(1, 2), F(-2, 5)), {beta: F(1)}

        def of(terms, point=point, one=one):
            return sum(c * polynomial(one, point, (m.count(0), m.count(1))) for m, c in terms)

        got = sum(
            w * polynomial(one, [x + s for x, s in zip(point, shift, strict=True)], (0, 0))
            for shift, w in zip(*stencil, strict=True)
        )
        parts = {laplacian(): [((0, 0), 1), ((1, 1), 1)]}
        parts[laplacian() ** 2] = [((0,) * 4, 1), ((1,) * 4, 1), ((0, 0, 1, 1), 2)]
        wanted = of(parts.get(L, [((0, 1, 1), 1), ((0,), 3), ((), -2)]))
        assert got - wanted == of(stencil.leading_error)


def test_the_stencils_of_textbooks():
    points, weights = laplacian().stencil(2, step=1)
    five = {(0, 0): -4, (1, 0): 1, (-1, 0): 1, (0, 1): 1, (0, -1): 1}
    assert dict(zip(points, weights, strict=True)) == five
    thirteen = {(0, 0): 20}
    thirteen |= {p: -8 for p in five if any(p)}
    thirteen |= {(2 * i, 2 * j): 1 for i, j in five if i or j}
    thirteen |= dict.fromkeys(itertools.product((1, -1), repeat=2), 2)
    assert dict(zip(*biharmonic().stencil(2, step=1), strict=True)) == thirteen
    mixed = D(0, 1).stencil(step=(1, F(1, 2)))
    assert dict(zip(*mixed, strict=True)) == {(i, j / F(2)): F(i * j, 2) for i in (1, -1) for j in (1, -1)}
    assert mixed.order == 2
    assert dict(laplacian().stencil(2, step=1).leading_error) == {(0,) * 4: F(1, 12), (1,) * 4: F(1, 12)}


def test_the_model_of_an_operator_is_that_of_its_parts():
    one, two = D(0, 0).stencil(step=F(1, 8)), laplacian().stencil(2, step=F(1, 8))
    np.testing.assert_allclose(one.error_model(), fd.error_model(2, 2, 1 / 8), rtol=1e-15)
    np.testing.assert_allclose(two.error_model("float32", 3.0), 2 * np.asarray(one.error_model("float32", 3.0)))


# --- the engine ---------------------------------------------------------------------------------------

RNG = np.random.default_rng(5)
X = RNG.uniform(-1, 1, (4, 3))
A, B = RNG.uniform(-1, 1, (2, 3))


def wave(x):
    """sin(a·x + 0.3) exp(b·x) = Im exp(c·x + 0.3 i), c = b + i a: every derivative is a factor c_i."""
    xp = array_namespace(x)
    phase, size = (sum(x[..., i] * float(v[i]) for i in range(x.shape[-1])) for v in (A, B))
    return xp.sin(phase + 0.3) * xp.exp(size)


def exactly(symbol, x):
    c = (B + 1j * A)[: x.shape[-1]]
    return np.imag(symbol(c) * np.exp(x @ c + 0.3j))


SYMBOLS = {
    D(0): lambda c: c[0],
    D(1, 1): lambda c: c[1] ** 2,
    D(0, 1, 2): lambda c: c[0] * c[1] * c[2],
    D(0, 0, 1, 1): lambda c: c[0] ** 2 * c[1] ** 2,
    laplacian(): lambda c: np.sum(c**2),
    biharmonic(): lambda c: np.sum(c**2) ** 2,
    laplacian() - 3 * D(2) + F(1, 2) * identity(): lambda c: np.sum(c**2) - 3 * c[2] + 0.5,
    weighted_laplacian([[1.0, 2, 0], [2, -1, 0.5], [0, 0.5, 0]]): lambda c: (
        c[0] ** 2 + 4 * c[0] * c[1] - c[1] ** 2 + c[1] * c[2]
    ),
}


def tolerance(stencil, x, dtype="float64"):
    """What theory allows: the leading error as it is, twice, and the rounding of values some ulps off."""
    leading = sum(np.abs(float(c) * exactly(lambda s, m=m: np.prod(s[list(m)]), x)) for m, c in stencil.leading_error)
    return 2 * np.max(leading) + 8 * stencil.error_model(dtype).rounding * np.max(np.abs(exactly(lambda c: 1, x)))


@pytest.mark.parametrize(
    ("accuracy", "side"), [(2, "central"), (4, "central"), (3, "forward"), (4, ("central", "backward", "forward"))]
)
@pytest.mark.parametrize("L", SYMBOLS, ids=repr)
def test_differences_are_as_near_as_the_error_model_says(xp, L, accuracy, side):
    stencil = L.stencil(3, None, accuracy, side)
    got = xp.numpy(L(wave, xp.array(X), method="fd", accuracy=accuracy, side=side))
    assert got.shape == (4,)
    assert np.max(np.abs(got - exactly(SYMBOLS[L], X))) < tolerance(stencil, X)


@pytest.mark.parametrize("L", SYMBOLS, ids=repr)
def test_in_single_precision_the_step_is_wider(xp, L):
    x = X.astype(np.float32)
    got = xp.numpy(L(wave, xp.array(x, np.float32), method="fd", accuracy=4))
    assert got.dtype == np.float32
    stencil, double = L.stencil(3, accuracy=4, dtype="float32"), L.stencil(3, accuracy=4)
    assert max(map(abs, stencil.points[0])) > 2 * max(map(abs, double.points[0]))
    at = x.astype(np.float64)
    assert np.max(np.abs(got - exactly(SYMBOLS[L], at))) < tolerance(stencil, at, "float32")


@pytest.mark.parametrize("side", fd.SIDES)
@pytest.mark.parametrize("accuracy", [2, 4, 6])
@pytest.mark.parametrize("L", [D(0), D(0, 1), D(2, 2, 2), laplacian(), biharmonic()], ids=repr)
def test_the_error_falls_with_the_power_that_was_asked_for(L, accuracy, side):
    """Halving the step divides it by 2^p, to the next term of the series: at 60 digits, nothing being rounded."""
    point = [mpmath.mpf(float(v)) for v in X[0]]
    with mpmath.workdps(60):
        c = [mpmath.mpc(float(b), float(a)) for a, b in zip(A, B, strict=True)]

        def value(shift):
            moved = sum(
                s * (x + mpmath.mpf(h.numerator) / h.denominator) for s, x, h in zip(c, point, shift, strict=True)
            )
            return mpmath.im(mpmath.exp(moved + mpmath.mpc(0, 0.3)))

        symbol = {D(0, 1): lambda c: c[0] * c[1], D(2, 2, 2): lambda c: c[2] ** 3, D(0): lambda c: c[0]}
        symbol |= {laplacian(): lambda c: sum(s * s for s in c), biharmonic(): lambda c: sum(s * s for s in c) ** 2}
        there = sum(s * x for s, x in zip(c, point, strict=True)) + mpmath.mpc(0, 0.3)
        exact = mpmath.im(symbol[L](c) * mpmath.exp(there))
        errors = []
        for h in (F(1, 512), F(1, 1024)):
            points, weights = L.stencil(3, h, accuracy, side)
            found = sum(
                mpmath.mpf(w.numerator) / w.denominator * value(s) for s, w in zip(points, weights, strict=True)
            )
            errors.append(abs(found - exact))
        assert float(mpmath.log(errors[0] / errors[1], 2)) == pytest.approx(accuracy, abs=0.03)


class Counted:
    """A function that notes the points it was called with."""

    def __init__(self):
        self.calls = []

    def __call__(self, x):
        self.calls.append(np.array(x))
        return wave(x)


@pytest.mark.parametrize(
    ("operators", "count"),
    [
        ((identity(), D(0), D(1), laplacian()), 7),
        ((laplacian(),), 7),
        ((D(0), D(1)), 4),  # the point itself has no weight, and is not evaluated
        ((biharmonic(), laplacian()), 25),
        ((D(0, 1), D(0, 0), D(1, 1)), 9),
        ((identity(),), 1),
    ],
)
def test_every_point_is_evaluated_once_in_one_call(operators, count):
    f = Counted()
    jointly(operators, f, X, method="fd", step=0.25)
    (points,) = f.calls
    assert points.shape == (count * 4, 3)
    assert len(np.unique(np.round(points, 9), axis=0)) == count * 4


def test_so_many_points_at_once():
    f = Counted()
    got = jointly((laplacian(), D(0, 1)), f, X, method="fd", max_directions=4)
    assert [len(points) for points in f.calls] == [16, 16, 12]
    for a, b in zip(got, jointly((laplacian(), D(0, 1)), wave, X, method="fd"), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)


def test_forward_differences_stay_on_their_side():
    """The square root at 0 and beyond: nothing is evaluated at negative x_0, and x_1 is stepped back only."""
    f = Counted()
    x = np.asarray([[0.0, 0.0]])
    (D(0, 0) + D(1) + D(0, 1))(lambda x: f(x) * np.sqrt(x[:, 0]), x, method="fd", side=("forward", "backward"))
    (points,) = f.calls
    assert (points[:, 0] >= 0).all()
    assert (points[:, 1] <= 0).all()


@pytest.mark.parametrize("shape", [(3,), (4, 3), (2, 5, 3), (0, 3)])
def test_batches(xp, shape):
    x = np.random.default_rng(1).uniform(-1, 1, shape)
    values = xp.numpy(laplacian()(wave, xp.array(x), method="fd", accuracy=6))
    assert values.shape == shape[:-1]
    np.testing.assert_allclose(values, exactly(lambda c: np.sum(c**2), x), atol=1e-9)


def test_values_that_are_vectors(xp):
    namespace = xp.namespace

    def f(x):
        return namespace.stack([wave(x), 2 * x[..., 0] * x[..., 1]], axis=-1)

    got = xp.numpy(nt.hessian(f, xp.array(X), method="fd", accuracy=6))
    assert got.shape == (4, 2, 3, 3)
    for i, j in itertools.product(range(3), repeat=2):
        np.testing.assert_allclose(got[:, 0, i, j], exactly(lambda c, i=i, j=j: c[i] * c[j], X), atol=1e-9)
        np.testing.assert_allclose(got[:, 1, i, j], 2.0 * (sorted((i, j)) == [0, 1]), atol=1e-9)


def test_the_functions_that_have_names(xp):
    x = xp.array(X)
    how = {"method": "fd", "accuracy": 6}
    np.testing.assert_allclose(xp.numpy(nt.laplacian(wave, x, **how)), exactly(lambda c: sum(c**2), X), atol=1e-9)
    np.testing.assert_allclose(xp.numpy(nt.biharmonic(wave, x, **how)), exactly(lambda c: sum(c**2) ** 2, X), atol=1e-6)
    mixed = exactly(lambda c: c[0] ** 2 * c[2], X)
    np.testing.assert_allclose(xp.numpy(nt.partial(wave, x, (2, 0, 1), **how)), mixed, atol=1e-8)
    np.testing.assert_allclose(xp.numpy(nt.partial(wave, x, [2, 0, 1], step=0.05, **how)), mixed, atol=1e-7)
    gradient = np.stack([exactly(lambda c, i=i: c[i], X) for i in range(3)], axis=-1)
    np.testing.assert_allclose(xp.numpy(nt.gradient(wave, x, **how)), gradient, atol=1e-11)
    third = xp.numpy(nt.derivative_tensor(wave, x, 3, **how))
    np.testing.assert_allclose(third[:, 0, 2, 1], exactly(np.prod, X), atol=1e-7)
    np.testing.assert_array_equal(third[:, 0, 2, 1], third[:, 2, 1, 0])
    np.testing.assert_array_equal(xp.numpy(nt.derivative_tensor(wave, x, 0, **how)), xp.numpy(wave(x)))

    def field(x):
        return xp.namespace.stack([x[:, 1] ** 2, x[:, 2] * x[:, 0], x[:, 0] ** 2], axis=-1)

    np.testing.assert_allclose(xp.numpy(nt.divergence(field, x, method="fd")), 0, atol=1e-9)
    curl = np.stack([-X[:, 0], -2 * X[:, 0], X[:, 2] - 2 * X[:, 1]], axis=-1)
    np.testing.assert_allclose(xp.numpy(nt.curl(field, x, method="fd")), curl, atol=1e-9)


def test_coefficients_that_are_functions_of_x(xp):
    def c(x):
        return 1 + x[:, 0] ** 2

    L = c * D(2, 2) + D(0) @ (c * D(1)) - 2 * identity()
    got = xp.numpy(L(wave, xp.array(X), method="fd", accuracy=6))
    at = 1 + X[:, 0] ** 2
    wanted = at * exactly(lambda s: s[2] ** 2 + s[0] * s[1], X) + 2 * X[:, 0] * exactly(lambda s: s[1], X)
    np.testing.assert_allclose(got, wanted - 2 * exactly(lambda s: 1, X), atol=1e-9)


def test_a_matrix_that_is_a_function_of_x_need_not_be_positive(xp):
    calls = []

    def matrix(x):
        calls.append(1)
        namespace, zero = array_namespace(x), x[:, 0] * 0
        rows = [[x[:, 0], x[:, 1], zero], [3 * x[:, 1], -1 + zero, zero], [zero, zero, zero]]
        return namespace.stack([namespace.stack(row, axis=-1) for row in rows], axis=-2)

    half = weighted_laplacian(matrix)
    got = xp.numpy((F(1, 2) * half)(wave, xp.array(X), method="fd", accuracy=6))
    parts = [exactly(lambda s, i=i, j=j: s[i] * s[j], X) for i, j in ((0, 0), (0, 1), (1, 1))]
    np.testing.assert_allclose(got, (X[:, 0] * parts[0] + 4 * X[:, 1] * parts[1] - parts[2]) / 2, atol=1e-9)
    assert len(calls) == 1
    with pytest.raises(ValueError, match="must be an array"):
        weighted_laplacian(lambda x: x)(wave, xp.array(X), method="fd")


def test_an_operator_that_is_nothing():
    np.testing.assert_array_equal((0 * D(0))(wave, X, method="fd"), np.zeros(4))
    zero, value = jointly((D(0) - D(0), identity()), wave, X, method="fd")
    np.testing.assert_array_equal(zero, np.zeros(4))
    np.testing.assert_array_equal(value, wave(X))
    assert (D(0) - D(0)).stencil(1).points == ()


def test_a_function_without_jets_has_differences():
    """What only has values: a lookup in a table that no rule is for."""
    table = np.sin(np.linspace(0, 1, 1025))

    def f(x):
        return table[np.rint(x[:, 0] * 1024).astype(int)]

    got = D(0)(f, np.asarray([[0.5]]), method="fd", step=1 / 1024, accuracy=4)
    np.testing.assert_allclose(got, math.cos(0.5), atol=1e-11)


def test_many_coordinates():
    """Δ in 300 dimensions: 601 points, and of a million nothing but the cost stands in the way."""
    x = np.random.default_rng(2).uniform(-1, 1, (2, 300))
    got = laplacian()(lambda x: np.sum(x**4, axis=-1), x, method="fd", accuracy=4, step=0.5)
    np.testing.assert_allclose(got, 12 * np.sum(x**2, axis=-1), rtol=1e-11)


# --- gradients and compilers --------------------------------------------------------------------------

POINTS = RNG.uniform(-1, 1, (6, 2))
I2, L2 = identity(), laplacian()  # what torch.compile meets was made outside


def residual(net, x, **how):
    value, second = jointly((I2, L2), net, x, **how)
    return second + value**2


def test_gradients_by_parameters(xp):
    """On every library, those of the loss of exact derivatives (here of NumPy's), to the differences' own error."""

    def loss(parameters, net, x, **how):
        squares = residual(net.replace(parameters), x, **how) ** 2
        return array_namespace(squares).mean(squares)

    net, plain = xp.network([2, 8, 8, 1], seed=3), nt.MLP.create([2, 8, 8, 1], seed=3)
    value, exact = nt.value_and_grad(lambda p: loss(p, plain, POINTS))(plain.parameters)
    near, got = nt.value_and_grad(lambda p: loss(p, net, xp.array(POINTS), method="fd", accuracy=6))(net.parameters)
    np.testing.assert_allclose(xp.numpy(near), value, rtol=1e-7)
    assert set(got) == set(exact)
    for name in exact:
        np.testing.assert_allclose(xp.numpy(got[name]), exact[name], atol=1e-7)


def test_hard_constraints(xp):
    radial = nt.operators.Radial(lambda s, xp: 1 - s)
    u, plain = (nt.operators.HardConstraint(make([2, 8, 1], seed=1), radial) for make in (xp.network, nt.MLP.create))
    got = xp.numpy(laplacian()(u, xp.array(POINTS), method="fd", accuracy=6))
    np.testing.assert_allclose(got, laplacian()(plain, POINTS), atol=1e-8)


def test_of_jets_and_of_variables():
    """The differences are differentiated by x, with jets and in reverse."""
    exact = nt.derivatives(lambda t: wave_line(t, method="auto"), np.asarray(0.4), 3)
    got = nt.derivatives(lambda t: wave_line(t, method="fd", accuracy=6), np.asarray(0.4), 3)
    np.testing.assert_allclose(got, exact, atol=1e-7)


def wave_line(t, **how):
    xp = array_namespace(t)
    points = xp.stack([xp.stack([t, 0.3 * t])])
    return laplacian()(lambda x: xp.sin(x[:, 0] * x[:, 1] + x[:, 0]), points, **how)[0]


def test_torch_modules_and_compile():
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(2, 8), torch.nn.Tanh(), torch.nn.Linear(8, 1)).double()
    x = torch.tensor(POINTS, requires_grad=True)
    wanted = (*model.parameters(), x)
    exact = torch.autograd.grad(residual(model, x).square().mean(), wanted)
    steps = [
        lambda x: residual(model, x, method="fd", accuracy=6).square().mean(),
        lambda x: residual(model, x, method="fd", accuracy=4, step=0.01).square().mean(),
        lambda x: (
            residual(model, x, method="fd", accuracy=4, step=(1 / 64, 0.01), side=["backward"] * 2).square().mean()
        ),
    ]
    for step in steps:
        eager = torch.autograd.grad(step(x), wanted)
        compiled = torch.autograd.grad(torch.compile(step, fullgraph=True, backend="aot_eager")(x), wanted)
        for a, b, c in zip(exact, eager, compiled, strict=True):
            torch.testing.assert_close(b, a, rtol=0, atol=1e-6)
            torch.testing.assert_close(c, b, rtol=0, atol=1e-10)


def test_torch_compiles_what_has_names():
    torch = pytest.importorskip("torch")
    x = torch.tensor(POINTS)
    W = weighted_laplacian(lambda x: torch.eye(2, dtype=x.dtype) + x[:, :, None] * x[:, None, :])

    def all_of(x):
        def f(x):
            return torch.sin(x[:, 0] * x[:, 1])

        how = {"method": "fd", "accuracy": 4}
        sides = ("forward", "backward")
        return nt.hessian(f, x, **how), nt.partial(f, x, (1, 2), **how), W(f, x, side=sides, max_directions=5, **how)

    for a, b in zip(torch.compile(all_of, fullgraph=True, backend="aot_eager")(x), all_of(x), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-7, atol=1e-7)


def test_jax_jit_grad_and_vmap():
    jax = pytest.importorskip("jax")
    jax.config.update("jax_enable_x64", True)
    jnp = jax.numpy
    x, w = jnp.asarray(POINTS), jnp.asarray([0.7, -1.2])

    def loss(w, x, **how):
        return jnp.mean(laplacian()(lambda x: jnp.tanh(x @ w), x, **how) ** 2)

    exact = jax.grad(loss)(w, x)
    got = jax.jit(jax.grad(lambda w, x: loss(w, x, method="fd", accuracy=6)))(w, x)
    np.testing.assert_allclose(got, exact, atol=1e-8)
    each = jax.vmap(lambda x: laplacian()(lambda x: jnp.tanh(x @ w), x, method="fd", accuracy=6))(x)
    np.testing.assert_allclose(each, laplacian()(lambda x: jnp.tanh(x @ w), x), atol=1e-8)


# --- refusals -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda: laplacian()(wave, X, method="ad"), ValueError, "method must be one of auto, .*, fd; got 'ad'"),
        (lambda: laplacian()(wave, X, step=0.1), ValueError, "are for method=\"fd\"; got method='auto'"),
        (lambda: laplacian()(wave, X, accuracy=4), ValueError, 'are for method="fd"'),
        (lambda: nt.gradient(wave, X, accuracy=4), ValueError, "accuracy=4"),
        (lambda: nt.hessian(wave, X, method="collapsed"), ValueError, 'must be "auto", or "fd"'),
        (lambda: laplacian()(wave, X, method="fd", step=0.0), ValueError, "step must be positive"),
        (lambda: laplacian()(wave, X, method="fd", step=math.nan), ValueError, "step must be positive"),
        (lambda: laplacian()(wave, X, method="fd", step=(0.1, 0.2)), ValueError, "of which there are 3"),
        (lambda: laplacian()(wave, X, method="fd", step="small"), TypeError, "step must be a number"),
        (lambda: laplacian()(wave, X, method="fd", step=[[0.1, 0.1]]), ValueError, "step must be a number"),
        (lambda: laplacian()(wave, X, method="fd", step=([0.1], [0.1], [0.1])), TypeError, "step must be a number"),
        (lambda: laplacian()(wave, X, method="fd", side=[["central"], "central"]), ValueError, "side must be one of"),
        (lambda: laplacian().stencil(), ValueError, r"L\.stencil\(3\)"),
        (lambda: laplacian()(wave, X, method="fd", step=1e-200), ValueError, "float64 cannot hold"),
        (lambda: laplacian()(wave, X.astype(np.float32), method="fd", step=1e-20), ValueError, "float32 cannot hold"),
        (lambda: laplacian()(wave, X, method="fd", accuracy=3), ValueError, "pass 4, or a one-sided stencil"),
        (lambda: laplacian()(wave, X, method="fd", accuracy=2.5), TypeError, "accuracy must be an integer"),
        (lambda: laplacian()(wave, X, method="fd", side="left"), ValueError, "side must be one of central, forward"),
        (lambda: laplacian()(wave, X, method="fd", side=("central",)), ValueError, "of which there are 3"),
        (lambda: laplacian()(lambda x: (x, x), X, method="fd"), TypeError, "returned a tuple"),
        (lambda: laplacian()(lambda x: np.sum(x), X, method="fd"), ValueError, "functions of single points"),
        (lambda: laplacian()(lambda x: X[:, 0], X, method="fd"), ValueError, "whose first axis has length 28"),
        (lambda: laplacian()(wave, X.astype(int), method="fd"), TypeError, "floating"),
        (lambda: ((lambda x: x[:, 0]) * D(0)).stencil(1), ValueError, "others at each point"),
        (lambda: laplacian().stencil(), ValueError, "L.plan"),
    ],
)
def test_what_the_engine_refuses(call, kind, message):
    with pytest.raises(kind, match=message):
        call()


def test_torch_steps_that_are_trained_are_refused():
    torch = pytest.importorskip("torch")
    x = torch.tensor(X)
    with pytest.raises(TypeError, match="the weights are exact"):
        laplacian()(wave, x, method="fd", step=torch.tensor(0.1, requires_grad=True))
    given = laplacian()(wave, x, method="fd", step=torch.tensor([0.125, 0.25, 0.125]))
    torch.testing.assert_close(given, laplacian()(wave, x, method="fd", step=(0.125, 0.25, 0.125)))


def test_the_tables_in_the_documents_are_those_of_the_committed_figures():
    path = Path(__file__).resolve().parent.parent
    specification = importlib.util.spec_from_file_location("script", path / "benchmarks" / "finite_differences.py")
    script = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(script)
    content = json.loads((path / "benchmarks" / "results" / "finite_differences.json").read_text(encoding="utf-8"))
    text = (path / "docs" / "finite_differences.md").read_text(encoding="utf-8")
    assert script.tables(content) in text
    assert script.page(content, text) == text
    # What the text says of them: below the model, and nowhere near the exact engine.
    for row in content["one"]:
        for cell in (row[str(p)] for p in script.ACCURACIES):
            if row["function"] == "sin":
                assert cell["error"] < 1.3 * cell["model"]
            assert cell["error"] > 10 * row["exact_engine"]


def test_stencils_are_made_once():
    L = laplacian()
    for _ in range(3):
        L(wave, X, method="fd")
        L(wave, X, method="fd", step=0.1)
    assert Counter(key[0] for key in L._plans) == {"fd": 2}
