"""The algebra of operators, their exact values against closed forms and mpmath, the text of plans, refusals."""

# ruff: noqa: ARG005, PT006 functions in a table share one signature

from __future__ import annotations

import copy
import math
import pickle
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from fractions import Fraction
from functools import partial as bind

import mpmath
import numpy as np
import pytest

import ntaylor as nt
from ntaylor.namespace import array_namespace
from ntaylor.operators import D, biharmonic, identity, jointly, laplacian, partial, polyharmonic, weighted_laplacian
from ntaylor.partitions import multi_indices

RNG = np.random.default_rng(11)
X = RNG.uniform(-1, 1, (4, 3))


def close(got, expected, tolerance=1e-12):
    got, expected = np.asarray(got), np.asarray(expected)
    assert got.shape == expected.shape, (got.shape, expected.shape)
    scale = 1 + np.max(np.abs(expected), initial=0)
    np.testing.assert_allclose(got, expected, rtol=0, atol=tolerance * scale)


# --- closed forms -------------------------------------------------------------------------------------


class Wave:
    """sin(a·x + 0.3) exp(b·x): its derivative by i is that of Im exp(c·x), c = b + i a, a factor c_i."""

    def __init__(self, dimension, seed=0):
        rng = np.random.default_rng([seed, dimension])
        self.a, self.b = rng.uniform(-1, 1, (2, dimension))

    def __call__(self, x):
        xp = array_namespace(x)
        phase, size = (sum(x[:, i] * float(v[i]) for i in range(len(v))) for v in (self.a, self.b))
        return xp.sin(phase + 0.3) * xp.exp(size)

    def apply(self, symbol, x):
        """Σ c_α ∂^α of it, with the polynomial Σ c_α ξ^α as a function of the vector ξ."""
        c = self.b + 1j * self.a
        return np.imag(symbol(c) * np.exp(x @ c + 0.3j))


@pytest.mark.parametrize("order", range(7))
@pytest.mark.parametrize("dimension", range(1, 7))
def test_mixed_partials_to_order_6(xp, dimension, order):
    alphas = list(multi_indices(dimension, order))
    # Not each of the 462 of order 6 in six dimensions: those that differ in kind, and the tensor test has them all.
    kinds = {tuple(sorted(a)): a for a in alphas}
    f, x = Wave(dimension), np.random.default_rng(order).uniform(-1, 1, (2, dimension))
    chosen = list(kinds.values())
    if xp.name != "numpy":
        chosen = chosen[:: max(1, len(chosen) // 2)]
    for alpha in chosen:
        expected = f.apply(lambda c, alpha=alpha: np.prod(c ** np.asarray(alpha)), x)
        # Weights of large conditions cost digits: the plan says how many.
        close(xp.numpy(nt.partial(f, xp.array(x), alpha)), expected, 1e-13 * _condition(partial(alpha)))


def _condition(L, dimension=None):
    return 10 * max([1.0, *[c for s in L.plan(dimension).steps for c in s.conditions]])


@pytest.mark.parametrize("power", [1, 2, 3])
@pytest.mark.parametrize("dimension", range(1, 7))
def test_powers_of_the_laplacian(xp, dimension, power):
    if xp.name == "jax" and power == 3 and dimension > 3:
        dimension = 3  # seconds of tracing, for what NumPy's arrays have shown
    f, x = Wave(dimension), np.random.default_rng(power).uniform(-1, 1, (2, dimension))
    expected = f.apply(lambda c: np.sum(c * c) ** power, x)
    for L in (polyharmonic(power), polyharmonic(power, dimension), laplacian() ** power):
        close(xp.numpy(L(f, xp.array(x))), expected, 1e-13 * _condition(L, dimension))


def test_named_laplacians(xp):
    f, x = Wave(3), xp.array(X)
    close(xp.numpy(nt.laplacian(f, x)), f.apply(lambda c: np.sum(c * c), X))
    close(xp.numpy(nt.biharmonic(f, x)), f.apply(lambda c: np.sum(c * c) ** 2, X))


@pytest.mark.parametrize("dimension", [1, 2, 5])
@pytest.mark.parametrize("method", ["plain", "collapsed", "auto"])
def test_an_operator_of_every_order_at_once(xp, dimension, method):
    """Order 5 and below, mixed, with exact rational numbers."""
    rng = np.random.default_rng(3)
    terms = {}
    for order in range(6):
        for alpha in list(multi_indices(dimension, order))[:3]:
            terms[alpha] = Fraction(int(rng.integers(-5, 6)), 7)
    L = sum(c * partial(alpha) for alpha, c in terms.items())
    f, x = Wave(dimension), rng.uniform(-1, 1, (2, dimension))

    def symbol(c):
        return sum(float(number) * np.prod(c ** np.asarray(alpha)) for alpha, number in terms.items())

    close(xp.numpy(L(f, xp.array(x), method=method)), f.apply(symbol, x), 1e-13 * _condition(L, dimension))


def test_against_fifty_digits():
    """∂^(2,1,3) and Δ² of tanh(sin(x y) + z²) by mpmath's differences at 50 digits."""

    def f(x):
        return np.tanh(np.sin(x[:, 0] * x[:, 1]) + x[:, 2] ** 2)

    point = (0.3, -0.7, 0.4)
    with mpmath.workdps(60):

        def exact(alpha):
            return float(
                mpmath.diff(lambda a, b, c: mpmath.tanh(mpmath.sin(a * b) + c**2), tuple(map(mpmath.mpf, point)), alpha)
            )

        wanted = exact((2, 1, 3))
        squares = [tuple(2 * (i == k) + 2 * (j == k) for k in range(3)) for i in range(3) for j in range(3)]
        fourth = sum(exact(alpha) for alpha in squares)
    x = np.asarray([point])
    close(nt.partial(f, x, (2, 1, 3)), [wanted])
    close(nt.biharmonic(f, x), [fourth])


# --- weighted Laplacians and coefficients -------------------------------------------------------------


def matrices():
    a = RNG.standard_normal((3, 3))
    return {
        "definite": a @ a.T,
        "indefinite": a + a.T,
        "not symmetric": a,
        "rank 1": np.outer(a[0], a[0]),
        "rank 2, indefinite": np.outer(a[0], a[0]) - np.outer(a[1], a[1]),
        "zero": np.zeros((3, 3)),
        "negative": -np.eye(3),
    }


@pytest.mark.parametrize("method", ["plain", "collapsed", "auto"])
@pytest.mark.parametrize("name", matrices())
def test_constant_weights(xp, name, method):
    C = matrices()[name]
    f = Wave(3)
    L = 2 * weighted_laplacian(C)
    close(xp.numpy(L(f, xp.array(X), method=method)), f.apply(lambda c: 2 * (c @ C @ c), X))
    assert L.plan().directions == np.linalg.matrix_rank((C + C.T) / 2, tol=1e-10)


@pytest.mark.parametrize("shape", ["a matrix a point", "one for all"])
def test_weights_that_are_a_function(xp, shape):
    C = np.asarray([[2.0, 0.5, 0.1], [0.5, 1.0, 0.2], [0.1, 0.2, 3.0]])
    given = xp.array(C)
    if xp.name in ("dask", "array_api_strict"):
        pytest.skip("Dask factors square chunks only, and the strict library's linalg is switched off")

    def matrix(x):
        return given if shape == "one for all" else given * (1 + x[:, 0] ** 2)[:, None, None]

    size = 1 if shape == "one for all" else 1 + X[:, 0] ** 2
    f = Wave(3)
    close(xp.numpy(weighted_laplacian(matrix)(f, xp.array(X))), size * f.apply(lambda c: c @ C @ c, X))


def test_function_coefficients_and_the_product_rule(xp):
    """∂_0(c ∂_1 u) = c ∂_01 u + (∂_0 c) ∂_1 u, and Δ(c u) has a term of the gradients."""
    f, x = Wave(3), xp.array(X)

    def c(x):
        return x[:, 0] ** 2 * x[:, 1]

    values, slope = X[:, 0] ** 2 * X[:, 1], 2 * X[:, 0] * X[:, 1]
    first, mixed = f.apply(lambda c: c[1], X), f.apply(lambda c: c[0] * c[1], X)
    close(xp.numpy((D(0) @ (c * D(1)))(f, x)), values * mixed + slope * first)
    expected = values * f.apply(lambda c: c @ c, X) + 2 * X[:, 1] * f.apply(lambda c: 1, X)
    expected += 2 * (slope * f.apply(lambda c: c[0], X) + X[:, 0] ** 2 * f.apply(lambda c: c[1], X))
    close(xp.numpy((laplacian(3) @ (c * identity()))(f, x)), expected)
    close(xp.numpy((weighted_laplacian(np.eye(3)) @ (c * identity()))(f, x)), expected)
    close(xp.numpy((D() @ (c * laplacian()))(f, x)), values * f.apply(lambda c: c @ c, X))


def test_derivatives_of_products_of_functions():
    """(∂_0)² of c d u, by Leibniz: every function of x is differentiated in its turn."""
    f = Wave(2)
    x = X[:, :2]

    def c(x):
        return x[:, 0] ** 3

    def d(x):
        return x[:, 0] * x[:, 1]

    def whole(x):
        return c(x) * d(x) * f(x)

    for order in range(1, 5):
        close((D(*[0] * order) @ (c * (d * identity())))(f, x), nt.partial(whole, x, (order, 0)))
    M = (D(0, 1) + 2 * D(1)) @ (c * D(0)) @ (d * D(1))

    def inner(x):
        return c(x) * D(0)(lambda x: d(x) * D(1)(f, x), x)

    close(M(f, x), (D(0, 1) + 2 * D(1))(inner, x), 1e-11)


@pytest.mark.parametrize("leading", [(4,), (2, 3), ()])
@pytest.mark.parametrize("outputs", [(), (1,), (5,)])
@pytest.mark.parametrize("kind", ["(batch,)", "(batch, 1)", "float", "numpy number", "0-d"])
def test_shapes_of_coefficients(kind, outputs, leading):
    """One number a point multiplies every output of the point, whatever its shape; never one point's by another's."""
    x = np.random.default_rng(5).uniform(-1, 1, (*leading, 5))

    def f(x):
        s = x[..., 0] ** 2 * x[..., 1]
        return s if not outputs else s[..., None] * np.arange(1.0, outputs[0] + 1)

    c = {
        "(batch,)": lambda x: x[..., 2],
        "(batch, 1)": lambda x: x[..., 2:3],
        "float": lambda x: 1.5,
        "numpy number": lambda x: np.float64(1.5),
        "0-d": lambda x: np.asarray(1.5),
    }[kind]
    times = x[..., 2] if "batch" in kind else np.full(leading, 1.5)
    second, first = times * 2 * x[..., 1], times * 2 * x[..., 0] * x[..., 1]
    if outputs:
        second, first = (a[..., None] * np.arange(1.0, outputs[0] + 1) for a in (second, first))
    close((c * D(0, 0))(f, x), second)
    # (∂_3 c) u vanishes, whatever shape it has.
    close((D(3) @ (c * D(0)) + c * D(0))(f, x), first)


def test_a_number_of_numpy_keeps_float32():
    x = X.astype(np.float32)
    for c in (lambda x: np.float64(2), lambda x: 2.0, lambda x: np.asarray(2, np.float32)):
        assert (c * D(0))(Wave(3), x).dtype == np.float32
    assert (0.1 * laplacian() + weighted_laplacian(np.eye(3)) / 3)(Wave(3), x).dtype == np.float32


def test_a_coefficient_of_a_wrong_shape_is_named():
    with pytest.raises(ValueError, match=r"returned shape \(4, 3\), f\(x\) has shape \(4,\).*\(4,\) or \(4, 1\)"):
        ((lambda x: x) * D(0))(Wave(3), X)
    with pytest.raises(TypeError, match="must return an array or a number, it returned a NoneType"):
        ((lambda x: None) * D(0))(Wave(3), X)


@dataclass
class Unhashable:
    array: np.ndarray

    def __call__(self, x):
        return x[:, 0] * self.array


def test_coefficients_without_a_hash():
    c = Unhashable(np.asarray(2.0))
    L = c * D(1)
    close(L(Wave(3), X), 2 * X[:, 0] * nt.partial(Wave(3), X, (0, 1, 0)))
    assert not (L - c * D(1)).terms
    assert repr(L) == "Operator(Unhashable * D(1))"


# --- the algebra ---------------------------------------------------------------------------------------


def test_laws():
    """A sum, a product by numbers and a composition of operators are those of what they do."""
    L, M = 2 * D(0, 0) - D(1) / 3, D(1, 2) + 0.5 * D()
    f = Wave(3)
    u, v = L(f, X), M(f, X)
    close((L + M)(f, X), u + v)
    close((L - M)(f, X), u - v)
    close((-L)(f, X), -u)
    close((0.1 * L)(f, X), 0.1 * u)
    close((L / 7)(f, X), u / 7)
    close((L @ M)(f, X), L(lambda x: M(f, x), X))
    assert L @ M == M @ L
    assert L @ (M + L) == L @ M + L @ L
    assert L**3 == L @ L @ L
    assert identity() == L**0
    assert L - L == 0 * M
    assert hash(L + M) == hash(M + L)
    assert laplacian(3) != laplacian()
    close((L - L)(f, X), 0 * u)
    close(identity()(f, X), f(X))
    close((3 * identity() + D(0))(f, X), 3 * f(X) + nt.partial(f, X, (1, 0, 0)))


def test_sums_begin_with_zero():
    assert sum(D(i, i) for i in range(3)) == D(0, 0) + D(1, 1) + D(2, 2)
    assert sum([laplacian()]) == laplacian()


@pytest.mark.parametrize("two", [2, 2.0, Fraction(2), np.float32(2), np.int64(2), np.asarray(2.0)])
def test_numbers_on_the_left(two):
    assert two * D(0) == D(0) + D(0)
    assert D(0) / two == 0.5 * D(0)


def test_floats_are_exact():
    (number,) = (0.1 * D(0)).terms.values()
    assert number == Fraction(0.1)


def test_copies_and_pickles():
    L = D(0, 0) / 3 + weighted_laplacian(np.diag([1.0, 2.0, -1.0])) + laplacian(3) + math.sqrt(2) * D(1)
    L(Wave(3), X)
    for M in (pickle.loads(pickle.dumps(L)), copy.copy(L), copy.deepcopy(L)):
        close(M(Wave(3), X), L(Wave(3), X), 0)
    assert pickle.loads(pickle.dumps(D(0) / 3)) == D(0) / 3


def test_threads_share_an_operator():
    L = biharmonic()
    expected = {d: L(Wave(d), np.ones((2, d))) for d in range(1, 5)}
    M = biharmonic()
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda d: (d, M(Wave(d), np.ones((2, d)))), [1, 2, 3, 4] * 8))
    assert all(np.array_equal(value, expected[d]) for d, value in results)


def test_many_dimensions_do_not_pile_up():
    L = D(0)
    for d in range(1, 200):
        L.plan(d)
    assert len(L._plans) <= 32


def test_jointly(xp):
    f, x = Wave(3), xp.array(X)
    Ls = (identity(), laplacian(), D(0), biharmonic(), 0 * D(0), weighted_laplacian(np.diag([1.0, -2.0, 0.0])))
    for L, value in zip(Ls, jointly(Ls, f, x), strict=True):
        close(xp.numpy(value), xp.numpy(L(f, x)))
    assert jointly((), f, x) == []


def test_several_outputs_and_leading_axes(xp):
    def f(x):
        namespace = array_namespace(x)
        return namespace.stack([x[..., 0] ** 2 * x[..., 1], namespace.sin(x[..., 1])], axis=-1)

    x = np.random.default_rng(8).uniform(-1, 1, (2, 3, 2))
    expected = np.stack([2 * x[..., 1], -np.sin(x[..., 1])], axis=-1)
    close(xp.numpy(nt.laplacian(f, xp.array(x))), expected)
    close(xp.numpy(nt.laplacian(f, xp.array(x[0]))), expected[0])
    close(xp.numpy(nt.laplacian(f, xp.array(x[0, 0]))), expected[0, 0])
    close(xp.numpy(nt.laplacian(lambda x: f(x)[..., :1], xp.array(x))), expected[..., :1])


def test_no_points():
    assert nt.laplacian(Wave(3), X[:0]).shape == (0,)
    net = nt.MLP.create([3, 2, 2], xp=np, dtype=np.float64)
    assert nt.laplacian(net, X[:0], method="compressed").shape == (0, 2)


@pytest.mark.parametrize("method", ["plain", "collapsed", "auto"])
def test_functions_without_some_orders(xp, method):
    """What is constant or linear has structural zeros, none of which may become a wrong shape."""
    x, w = xp.array(X), xp.array(np.arange(6.0).reshape(3, 2))
    sums = D(0) + 2 * D(1) - D(2)
    close(xp.numpy(sums(lambda x: x, x, method=method)), np.tile([1.0, 2, -1], (4, 1)))
    close(xp.numpy(sums(lambda x: x @ w, x, method=method)), np.tile([1, 2, -1] @ np.arange(6.0).reshape(3, 2), (4, 1)))
    for L in (laplacian(), biharmonic(), D(0, 1) + laplacian()):
        close(xp.numpy(L(lambda x: x @ w, x, method=method)), np.zeros((4, 2)))
        close(xp.numpy(L(lambda x: w, x, method=method)), np.zeros((3, 2)))
    close(xp.numpy(laplacian()(lambda x: x * x, x, method=method)), np.full((4, 3), 2.0))


def test_complex_values(xp):
    a = np.asarray([0.3, -0.5, 0.8])
    C = np.diag([1.0, -2.0, 3.0])
    given = xp.array(a)

    def f(x):
        return array_namespace(x).exp(1j * (x @ given))

    for method in ("plain", "collapsed"):
        got = weighted_laplacian(C)(f, xp.array(X), method=method)
        close(xp.back(got), -(a @ C @ a) * np.exp(1j * (X @ a)))


@pytest.mark.parametrize("most", [1, 2, 3, 100])
@pytest.mark.parametrize("method", ["plain", "collapsed", "compressed", "auto"])
def test_batches_of_directions(xp, method, most):
    """``max_directions`` changes no value, and no push has more."""
    net, x = xp.network([3, 2, 4, 2]), xp.array(X)
    L = laplacian() + weighted_laplacian(np.diag([1.0, -2.0, 0.5])) + 2 * D(0) + 3 * D(1, 2)
    if xp.name == "dask" and method in ("compressed", "auto"):
        pytest.skip("Dask factors tall chunks only")
    expected = xp.numpy(L(net, x, method="plain"))
    close(xp.numpy(L(net, x, method=method, max_directions=most)), expected)


@pytest.mark.parametrize("method", ["plain", "collapsed", "compressed"])
def test_batches_are_as_small_as_asked(monkeypatch, method):
    from ntaylor import pushing

    sizes = []

    class Counted(pushing.Family):
        __slots__ = ()

        def __new__(cls, size, *rest):
            sizes.append(size)
            return super().__new__(cls, size, *rest)

    def fanned(f, x, directions, fan):
        sizes.append(len(fan.orders))
        return original(f, x, directions, fan)

    original = pushing.fanned
    monkeypatch.setattr(pushing, "Family", Counted)
    monkeypatch.setattr(pushing, "fanned", fanned)
    net = nt.MLP.create([9, 5, 4, 1], xp=np, dtype=np.float64)
    x = RNG.standard_normal((4, 9))
    constrained = nt.operators.HardConstraint(net, lambda x: np.sum(x * x, axis=-1, keepdims=True))
    for f in (net, constrained):
        expected = laplacian()(f, x, method="plain")
        sizes.clear()
        close(laplacian()(f, x, method=method, max_directions=2), expected)
        assert max(sizes) == 2


# --- plans ----------------------------------------------------------------------------------------------


def test_plan_in_words():
    assert str((D(0, 0) + 3 * D(1)).plan()) == (
        "in 2 dimensions:\n"
        "  1 jet of order 2\n"
        "    cost: 3 arrays like f(x)\n"
        "    nested reverse mode instead is 2 gradients deep, its graph grows as 2^2\n"
        "    Σ ω D_v^2 f with\n"
        "      v = (1, 0)  ω = 1\n"
        "  1 jet of order 1\n"
        "    cost: 2 arrays like f(x)\n"
        "    Σ ω D_v f with\n"
        "      v = (0, 1)  ω = 3\n"
        "  of a network, jets of several orders in one pass that shares f(x): 4 arrays"
    )


def viscosity(x):
    return x[:, 0]


@pytest.mark.parametrize(
    "L, dimension, words",
    [
        (biharmonic(), 2, ["4 jets of order 4 that share f(x)", "14 arrays", "not 17", "ω = 2/3", "4 gradients deep"]),
        (laplacian(), 100, ["100 jets of order 2", "v = every coordinate  ω = 1", "compressed", "102 arrays"]),
        (2 * weighted_laplacian(np.diag([1.0, -1.0])), None, ["scaled eigenvectors  ω = 2 or -2"]),
        (weighted_laplacian(viscosity), 3, ["Cholesky factor's columns at each point  ω = 1"]),
        (D(0) @ (viscosity * D(1)), None, ["viscosity(x) · Σ", "∂0 viscosity(x) · Σ"]),
        (5 * identity() + D(0), None, ["5 · f(x)", "1 jet of order 1"]),
        (0 * D(0), 2, ["nothing: the operator is 0"]),
        (D(7) + D(3), None, ["v = e3  ω = 1", "v = e7  ω = 1"]),
        (D(*range(6)), None, ["32 jets of order 6", "and 20 more", "ω = -1/23040"]),
    ],
)
def test_plans_say(L, dimension, words):
    text = str(L.plan(dimension))
    assert all(word in text for word in words), text
    assert max(map(len, text.splitlines())) <= 100, text


def test_plan_counts():
    plan = (biharmonic() + D(0)).plan(2)
    assert (plan.order, plan.directions, plan.dimension) == (4, 4, 2)
    assert laplacian().plan(50).directions == 50


def test_lower_orders_use_directions_that_are_there():
    """Δ and ∂_0 together cost no jet more than Δ."""
    assert (laplacian() + D(0) + 3 * D(1)).plan(3).directions == 3


# --- what is refused ------------------------------------------------------------------------------------

NET = nt.MLP.create([3, 2, 1], xp=np, dtype=np.float64)
F = Wave(3)


@pytest.mark.parametrize(
    "call, kind, words",
    [
        (lambda: D(0) * 2, TypeError, "by an int: write a number or a function of x on its left, 3 \\* D\\(0\\)"),
        (lambda: D(0) * D(1), TypeError, "composition of operators as L @ M"),
        (lambda: D(0) + 3, TypeError, "an operator and an int were added.*identity"),
        (lambda: 3 + D(0), TypeError, "identity"),
        (lambda: D(0) - X, TypeError, "subtracted from what L"),
        (lambda: D(0) / F, TypeError, "divided by a Wave"),
        (lambda: D(0) / 0, ZeroDivisionError, "divided by 0"),
        (lambda: D(0) @ F, TypeError, r"L applied to a function is L\(f, x\)"),
        (lambda: X * D(0), TypeError, "trained, multiply what L"),
        (lambda: 1j * D(0), TypeError, "real number or a function"),
        (lambda: float("nan") * D(0), ValueError, "finite number, got nan"),
        (lambda: D(0) ** -1, ValueError, "integer >= 0, got -1"),
        (lambda: D(-1), ValueError, "coordinate must be an integer >= 0"),
        (lambda: D(0.5), TypeError, "coordinate must be an integer"),
        (lambda: partial(3), TypeError, r"multi-index.*\(2, 0, 1\)"),
        (lambda: partial((1, -1)), ValueError, "order in alpha"),
        (lambda: laplacian(0), ValueError, "dimension must be at least 1"),
        (lambda: laplacian(2) + laplacian(3), ValueError, "2 and 3 coordinates"),
        (lambda: laplacian().plan(), ValueError, r"pass it, as in L.plan\(3\) or L.stencil\(3\)"),
        (lambda: laplacian() @ (F * D(0)), ValueError, r"laplacian\(dimension\)"),
        (lambda: D(0) @ weighted_laplacian(lambda x: x), ValueError, r"sum of c_ij \* D\(i, j\)"),
        (lambda: weighted_laplacian(np.ones((2, 3))), ValueError, r"square matrix.*\(2, 3\)"),
        (lambda: weighted_laplacian([[np.inf]]), ValueError, "finite"),
        (lambda: weighted_laplacian(lambda x: x)(F, X), ValueError, r"must be an array \(4, 3, 3\)"),
        (lambda: partial((1, 0))(F, X), ValueError, r"for 2 coordinates, the points have 3.*\(batch, 2\)"),
        (lambda: D(5)(F, X), ValueError, r"coordinate 5.*3 coordinates.*\(batch, 6\)"),
        (lambda: D(0)(F, X.astype(int)), TypeError, "floating dtype"),
        (lambda: D(0)(F, X.tolist()), TypeError, "numpy.asarray"),
        (lambda: D(0)(F, np.asarray(1.0)), ValueError, "points \\(batch, d\\).*reshape"),
        (lambda: D(0)(X, X), TypeError, "f must be a function"),
        (lambda: D(0)(lambda x: (x, x), X), TypeError, r"one array, it returned a tuple.*f\(x\)\[0\]"),
        (lambda: D(0)(F, X, method="fast"), ValueError, "plain, collapsed, compressed, fd; got 'fast'"),
        (lambda: D(0)(F, X, max_directions=0), ValueError, "at least 1"),
        (lambda: D(0)(F, X, max_directions=1.5), TypeError, "max_directions must be an integer"),
        (lambda: jointly(D(0), F, X), TypeError, "several operators"),
        (lambda: laplacian()(F, X, method="compressed"), ValueError, 'f is a Wave.*pass "collapsed"'),
        (lambda: laplacian()(NET, X[0], method="compressed"), ValueError, r"x has shape \(3,\)"),
        (lambda: D(0)(NET, X, method="compressed"), ValueError, "second order"),
        (lambda: biharmonic()(NET, X, method="compressed"), ValueError, "second order"),
        (lambda: laplacian()(NET, X.astype(np.float32)), TypeError, "float32"),
        (lambda: laplacian()(NET, X[:, :2]), ValueError, "3"),
    ],
)
def test_refusals(call, kind, words):
    with pytest.raises(kind, match=words):
        call()


@pytest.mark.parametrize("name", ["laplacian", "biharmonic"])
def test_named_operators_take_methods(name):
    verb, L = getattr(nt, name), getattr(nt.operators, name)()
    f = Wave(3)
    for options in ({}, {"method": "plain"}, {"max_directions": 2}):
        close(bind(verb, f, X)(**options), L(f, X), 1e-12)


def test_nested_operators(xp):
    """An operator of a function that itself calls one."""
    f, x = Wave(2), xp.array(X[:2, :2])
    close(xp.numpy(nt.laplacian(lambda x: nt.laplacian(f, x), x)), f.apply(lambda c: (c @ c) ** 2, X[:2, :2]))
    if xp.name != "jax":
        net = xp.network([2, 2, 1])
        expected = xp.numpy(nt.biharmonic(net, x))
        close(xp.numpy(nt.laplacian(lambda x: nt.laplacian(net, x), x)), expected)


def test_a_laplacian_over_some_coordinates(xp):
    x = xp.array(RNG.uniform(-1, 1, (3, 5)))
    L = laplacian(coordinates=range(1, 4))
    assert D(1, 1) + D(2, 2) + D(3, 3) == L

    def f(x):
        return x[:, 0] ** 2 * (x[:, 1] ** 4 + x[:, 2] ** 3 * x[:, 4]) + x[:, 3] ** 2

    with xp.without_compute():
        found = L(f, x)
    a = xp.numpy(x)
    close(xp.numpy(found), a[:, 0] ** 2 * (12 * a[:, 1] ** 2 + 6 * a[:, 2] * a[:, 4]) + 2)
    with pytest.raises(ValueError, match="differ"):
        laplacian(coordinates=[1, 1])
    with pytest.raises(ValueError, match=r"by coordinate 5.*\(batch, 6\)"):
        laplacian(coordinates=[5])(f, x)


def test_a_laplacian_over_many_coordinates_is_compressed_like_one_over_all():
    net = nt.MLP.create([301, 6, 4, 1], seed=2)
    x = RNG.standard_normal((4, 301))
    L = laplacian(coordinates=range(1, 301))
    close(L(net, x), laplacian()(net, x, method="plain") - D(0, 0)(net, x))
