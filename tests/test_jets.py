"""Jets: every rule against mpmath or a closed form, structural zeros, ties, nesting and refusals."""

# ruff: noqa: ARG005 functions in a table share one signature

from __future__ import annotations

import math

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ntaylor as nt
from ntaylor import jets
from ntaylor.array_object import HELD, function_of
from ntaylor.jet_rules import RULES as JET_RULES
from ntaylor.jets import Jet
from ntaylor.series import Series

ORDER = 8
mpmath.mp.dps = 50


def oracle(function, point, order=ORDER):
    """Taylor coefficients of a function of one mpmath number, at 50 digits."""
    return np.asarray([float(c) for c in mpmath.taylor(function, mpmath.mpf(point), order)])


def coefficients(function, point, order=ORDER):
    return nt.jet(function, np.asarray(point), order).coefficients


def check(got, expected, tolerance=1e-12):
    got, expected = np.asarray(got), np.asarray(expected)
    assert got.shape == expected.shape
    np.testing.assert_allclose(got, expected, rtol=0, atol=tolerance * (1 + np.max(np.abs(expected), initial=0)))


MP_ACTIVATIONS = {
    "tanh": mpmath.tanh,
    "sigmoid": lambda u: 1 / (1 + mpmath.exp(-u)),
    "exp": mpmath.exp,
    "expm1": mpmath.expm1,
    "sin": mpmath.sin,
    "cos": mpmath.cos,
    "tan": mpmath.tan,
    "sinh": mpmath.sinh,
    "cosh": mpmath.cosh,
    "softplus": lambda u: mpmath.log(1 + mpmath.exp(u)),
    "silu": lambda u: u / (1 + mpmath.exp(-u)),
    "gaussian": lambda u: mpmath.exp(-u * u),
    "erf": mpmath.erf,
    "ndtr": mpmath.ncdf,
    "gelu": lambda u: u * mpmath.ncdf(u),
    "gelu_tanh": lambda u: u * (1 + mpmath.tanh(mpmath.sqrt(2 / mpmath.pi) * (u + mpmath.mpf("0.044715") * u**3))) / 2,
    "mish": lambda u: u * mpmath.tanh(mpmath.log(1 + mpmath.exp(u))),
    "atan": mpmath.atan,
    "asinh": mpmath.asinh,
    "asin": mpmath.asin,
    "acos": mpmath.acos,
    "atanh": mpmath.atanh,
    "acosh": mpmath.acosh,
    "log": mpmath.log,
    "log1p": lambda u: mpmath.log(1 + u),
    "log2": lambda u: mpmath.log(u) / mpmath.log(2),
    "log10": mpmath.log10,
    "sqrt": mpmath.sqrt,
    "reciprocal": lambda u: 1 / u,
    "square": lambda u: u * u,
    "softsign": lambda u: u / (1 + u),
    "snake": lambda u: u + mpmath.sin(u) ** 2,
    "adaptive_tanh": mpmath.tanh,
    "elu": lambda u: u,
    "relu": lambda u: u,
    **{f"relu{p}": (lambda u, p=p: u**p) for p in range(2, 6)},
}


@pytest.mark.parametrize("name", list(nt.activations.names))
def test_every_activation_through_a_jet(name):
    """f(x + x²/4), so that every order of the inner series is there and the chain rule works."""
    point = 1.3 if name == "acosh" else 0.4
    mp = MP_ACTIVATIONS[name]
    got = coefficients(lambda x: getattr(x.__array_namespace__(), name)(x + 0.25 * x * x), point)
    check(got, oracle(lambda t: mp(t + t * t / 4), point))


# name -> (function on arrays or jets, function on mpmath numbers); all at one point, 0.7.
RULES = {
    "add": (lambda x: x + 2.0 + x, lambda t: 2 * t + 2),
    "radd": (lambda x: 2 + np.sin(x), lambda t: 2 + mpmath.sin(t)),
    "subtract": (lambda x: np.exp(x) - x - 1, lambda t: mpmath.exp(t) - t - 1),
    "rsubtract": (lambda x: 1 - np.exp(x), lambda t: 1 - mpmath.exp(t)),
    "multiply": (lambda x: np.sin(x) * np.exp(x) * 3, lambda t: 3 * mpmath.sin(t) * mpmath.exp(t)),
    "rmultiply": (lambda x: 3 * np.sin(x), lambda t: 3 * mpmath.sin(t)),
    "numpy scalar left": (lambda x: np.float64(3) * x - np.float64(1), lambda t: 3 * t - 1),
    "array left": (lambda x: np.asarray(3.0) * np.sin(x), lambda t: 3 * mpmath.sin(t)),
    "divide": (lambda x: np.sin(x) / (1 + x * x), lambda t: mpmath.sin(t) / (1 + t * t)),
    "divide by number": (lambda x: np.sin(x) / 4, lambda t: mpmath.sin(t) / 4),
    "rdivide": (lambda x: 2 / np.exp(x), lambda t: 2 * mpmath.exp(-t)),
    "array divided": (lambda x: np.asarray(2.0) / np.exp(x), lambda t: 2 * mpmath.exp(-t)),
    "negative": (lambda x: -np.exp(x), lambda t: -mpmath.exp(t)),
    "positive": (lambda x: +np.exp(x), mpmath.exp),
    "abs": (lambda x: abs(np.sin(-x)), mpmath.sin),
    "fabs": (lambda x: np.fabs(-np.sin(x)), mpmath.sin),
    "pow int": (lambda x: np.sin(x) ** 3, lambda t: mpmath.sin(t) ** 3),
    "pow zero": (lambda x: np.sin(x) ** 0, lambda t: mpmath.mpf(1)),
    "pow numpy int": (lambda x: (x - 2) ** np.int64(3), lambda t: (t - 2) ** 3),
    "pow negative int of negative": (lambda x: (x - 2) ** -2, lambda t: (t - 2) ** -2),
    "pow float": (lambda x: np.exp(x) ** 1.5, lambda t: mpmath.exp(1.5 * t)),
    "pow whole float of negative": (lambda x: (x - 2) ** 3.0, lambda t: (t - 2) ** 3),
    "pow numpy float": (lambda x: x ** np.float64(0.5), mpmath.sqrt),
    "pow 0-d array": (lambda x: x ** np.asarray(2.5), lambda t: t ** mpmath.mpf("2.5")),
    "pow 0-d array of negative": (lambda x: (x - 2) ** np.asarray(3.0), lambda t: (t - 2) ** 3),
    "pow jet": (lambda x: (1 + x) ** np.sin(x), lambda t: (1 + t) ** mpmath.sin(t)),
    "rpow": (lambda x: 2**x, lambda t: mpmath.mpf(2) ** t),
    "rpow array": (lambda x: np.asarray(2.5) ** x, lambda t: mpmath.mpf("2.5") ** t),
    "np.power": (lambda x: np.power(x, 3), lambda t: t**3),
    "np.float_power": (lambda x: np.float_power(x, 1.5), lambda t: t ** mpmath.mpf("1.5")),
    "remainder": (lambda x: np.exp(x) % 0.75, lambda t: mpmath.exp(t) - mpmath.mpf("1.5")),
    "rremainder": (lambda x: 5 % np.exp(x), lambda t: 5 - 2 * mpmath.exp(t)),
    "maximum": (lambda x: np.maximum(x, x * x), lambda t: t),
    "maximum number": (lambda x: np.maximum(1, np.exp(x)), mpmath.exp),
    "minimum": (lambda x: np.minimum(x, x * x), lambda t: t * t),
    "minimum number": (lambda x: np.minimum(np.sin(x), 5), mpmath.sin),
    "clip inside": (lambda x: np.clip(np.sin(x), 0, 1), mpmath.sin),
    "clip a_min": (lambda x: np.clip(np.sin(x), a_min=0.9, a_max=1), lambda t: mpmath.mpf("0.9")),
    "clip by jets": (lambda x: np.clip(5 + x, x, 3 * x), lambda t: 3 * t),
    "where": (lambda x: np.where(x > 0.5, np.sin(x), 0), mpmath.sin),
    "where constant": (lambda x: np.where(x > 5, np.sin(x), 1.0), lambda t: mpmath.mpf(1)),
    "hypot": (lambda x: np.hypot(np.sin(x), 2.0), lambda t: mpmath.sqrt(mpmath.sin(t) ** 2 + 4)),
    "rhypot": (lambda x: np.hypot(2.0, x), lambda t: mpmath.sqrt(t**2 + 4)),
    "logaddexp": (lambda x: np.logaddexp(x, x * x), lambda t: mpmath.log(mpmath.exp(t) + mpmath.exp(t * t))),
    "logaddexp number": (lambda x: np.logaddexp(0.0, x), lambda t: mpmath.log(1 + mpmath.exp(t))),
    "arctan2": (lambda x: np.arctan2(np.sin(x), x), lambda t: mpmath.atan2(mpmath.sin(t), t)),
    "arctan2 number": (lambda x: np.arctan2(1.0, x), lambda t: mpmath.pi / 2 - mpmath.atan(t)),
    "floor": (lambda x: x * np.floor(3 * x), lambda t: 2 * t),
    "ceil, round, trunc, sign": (
        lambda x: x * (np.ceil(x) + np.round(x) + np.trunc(x) + np.sign(x) + np.rint(x)),
        lambda t: 4 * t,
    ),
    "floor_divide": (lambda x: x * (x // 0.2) + x * (2 // x), lambda t: 5 * t),
    "comparisons": (lambda x: x * sum(1 * c for c in (x > 0, x >= 1, x < 1, x <= 0, x == x, x != x)), lambda t: 3 * t),
    "tests": (lambda x: x * (np.isfinite(x) + np.isnan(x) + np.isinf(x) + np.signbit(x)), lambda t: t),
    "full_like": (lambda x: np.full_like(x, 3.0) * x + np.full_like(x, np.sin(x)), lambda t: 3 * t + mpmath.sin(t)),
    "like": (lambda x: np.ones_like(x) * x + np.zeros_like(x) + 0 * np.empty_like(np.sin(x)), lambda t: t),
    "astype": (lambda x: np.astype(np.sin(x), np.dtype(np.float64)), mpmath.sin),
    "methods": (
        lambda x: x.astype(float).copy().clip(0, 1) + x.conj().real + 0 * x.imag + x.conjugate() * x.squeeze(),
        lambda t: 2 * t + t * t,
    ),
    "square": (lambda x: np.square(np.sin(x)), lambda t: mpmath.sin(t) ** 2),
    "norm of complex": (lambda x: np.linalg.norm(np.stack([x * (3 + 4j), 12j * x])), lambda t: 13 * t),
    "abs of complex": (
        lambda x: abs(np.exp(1j * x) + x),
        lambda t: mpmath.sqrt(1 + t * t + 2 * t * mpmath.cos(t)),
    ),
    "real, imag, conj": (
        lambda x: np.real(np.exp(1j * x)) + np.imag(np.conj(np.exp(2j * x))) + np.real(np.conjugate(x)) + np.imag(x),
        lambda t: mpmath.cos(t) - mpmath.sin(2 * t) + t,
    ),
    "vecdot of complex": (
        lambda x: np.real(np.vecdot(np.stack([np.exp(1j * x), x]), np.stack([np.exp(3j * x), x]))),
        lambda t: mpmath.cos(2 * t) + t * t,
    ),
    "var of complex": (lambda x: np.var(np.stack([np.exp(1j * x), -np.exp(1j * x)])) * x, lambda t: t),
    "astype int": (lambda x: x * np.astype(3 * x, np.int64), lambda t: 2 * t),
    "arcs": (lambda x: np.arcsin(x) + np.arccos(x) + np.arctan(x), lambda t: mpmath.pi / 2 + mpmath.atan(t)),
    "arc hyperbolics": (
        lambda x: np.arcsinh(x) + np.arctanh(x) + np.arccosh(2 + x),
        lambda t: mpmath.asinh(t) + mpmath.atanh(t) + mpmath.acosh(2 + t),
    ),
}


@pytest.mark.parametrize("name", RULES)
def test_elementwise_rules(name):
    ours, theirs = RULES[name]
    check(coefficients(ours, 0.7), oracle(theirs, 0.7))


X = np.random.default_rng(1).uniform(-1, 1, (3, 4))
W = np.random.default_rng(2).uniform(-1, 1, (4, 5))

# Each is linear in its argument, so on e^{xt}-like data it must commute with taking coefficients.
LINEAR = {
    "sum": lambda u: np.sum(u),
    "sum axis": lambda u: np.sum(u, 0),
    "sum keepdims": lambda u: np.sum(u, axis=1, keepdims=True),
    "sum method": lambda u: u.sum(axis=(0, 1)),
    "mean": lambda u: np.mean(u, 1),
    "mean method": lambda u: u.mean(1, keepdims=True),
    "reshape": lambda u: np.reshape(u, (2, 6)),
    "reshape methods": lambda u: u.reshape(-1).reshape(6, 2).reshape((4, 3)),
    "transpose": lambda u: np.transpose(u),
    "transpose axes": lambda u: np.transpose(u[None, ...], (2, 0, 1)),
    "T": lambda u: u.T,
    "mT": lambda u: u.mT,
    "expand_dims": lambda u: np.expand_dims(u, 1),
    "newaxis": lambda u: u[:, None, :, np.newaxis],
    "squeeze": lambda u: np.squeeze(u[:1], 0),
    "getitem": lambda u: u[1:, ::-2],
    "getitem int": lambda u: u[-1],
    "mask": lambda u: u[X > 0],
    "integer array": lambda u: u[np.asarray([2, 0, 0])],
    "take": lambda u: np.take(u, np.asarray([1, 1, 3]), axis=1),
    "take position": lambda u: np.take(u, np.asarray([1, 1]), 0),
    "flip": lambda u: np.flip(u, 1),
    "roll": lambda u: np.roll(u, 1, 0),
    "repeat": lambda u: np.repeat(u, 2, 1),
    "tile": lambda u: np.tile(u, (2, 1)),
    "moveaxis": lambda u: np.moveaxis(u, 0, 1),
    "broadcast_to": lambda u: np.broadcast_to(u, (2, 3, 4)),
    "cumsum": lambda u: np.cumsum(u, axis=1),
    "cumsum flat": lambda u: np.cumsum(u),
    "diff": lambda u: np.diff(u),
    "diff n": lambda u: np.diff(u, n=2, axis=1),
    "tril": lambda u: np.tril(u) + np.triu(u),
    "matmul": lambda u: u @ W,
    "rmatmul": lambda u: W.T @ u.T,
    "tensordot": lambda u: np.tensordot(u, W, axes=1),
    "vecdot": lambda u: np.vecdot(u, W[:, 0]),
    "concatenate": lambda u: np.concatenate([u, 2 * u], 1),
    "concat": lambda u: np.concat([u, -u]),
    "stack": lambda u: np.stack([u, 3 * u], axis=-1),
    "stack position": lambda u: np.stack((u, 3 * u), 1),
    "unstack": lambda u: sum(np.unstack(u)),
    "ravel": lambda u: np.ravel(np.copy(u)) + u.ravel() + u.flatten(),
    "squeeze all": lambda u: np.squeeze(u[:1]) + u[:1].squeeze() + u[:1].squeeze(0) + u[:1].squeeze(axis=0),
    "transpose method": lambda u: u.transpose() + u.transpose(1, 0) + u.transpose((1, 0)) + u.transpose(None),
    "dot": lambda u: np.dot(u, W) + u.dot(W) + np.dot(W.T @ W[:, :1], np.ones((1, 5))).sum() * np.dot(u, 2.0)[:, :1],
    "dot of vectors": lambda u: np.dot(u[0], W[:, 0]) + np.dot(W[:, 1], u[0]) + np.dot(3.0, u)[0, 0],
    "astype method": lambda u: u.astype(np.float64) + u.astype(u.dtype).copy(),
    "real": lambda u: np.real(u) + np.conj(u) + u.real + u.conj(),
    "iteration": lambda u: sum(row * (i + 1) for i, row in enumerate(u)),
    "where": lambda u: np.where(X > 0, u, 0 * u),
    "broadcasting": lambda u: u[:, :1] * np.ones((3, 4)) + u[:1, :],
}


@pytest.mark.parametrize("name", LINEAR)
def test_linear_rules_act_on_every_coefficient(name):
    """L(exp(tX)) has the coefficients L(X^k/k!), in the same shape; what is absent in u = X t stays absent."""
    operation = LINEAR[name]
    got = nt.jet(lambda t: operation(np.exp(t[..., None, None] * X)), np.asarray(0.0), 5).coefficients
    check(got, np.stack([operation(X**k / math.factorial(k)) for k in range(6)]), 1e-14)
    straight = operation(Jet([X, 2 * X], 5))
    assert len(straight._series) == 2
    check(straight._series[1], operation(2 * X), 1e-14)


def test_reductions_that_are_not_linear():
    x = np.random.default_rng(3).uniform(-1, 1, (3, 4))
    v = np.random.default_rng(4).uniform(-1, 1, (3, 4))

    def mp_scalar(function):
        lines = [(mpmath.matrix(x[i]), mpmath.matrix(v[i])) for i in range(3)]
        entries = [mpmath.taylor(lambda t, a=a, b=b: function(a + t * b), 0, 5) for a, b in lines]
        return np.asarray([[float(c) for c in row] for row in entries]).T

    def variance(a, correction=0):
        mean = sum(a) / len(a)
        return sum((b - mean) ** 2 for b in a) / (len(a) - correction)

    for ours, theirs in [
        (lambda u: np.var(u, 1), variance),
        (lambda u: np.var(u, axis=1, ddof=1), lambda a: variance(a, 1)),
        (lambda u: np.std(u, axis=-1), lambda a: mpmath.sqrt(variance(a))),
        (lambda u: u.std(1), lambda a: mpmath.sqrt(variance(a))),
        (lambda u: u.var(1, ddof=1), lambda a: variance(a, 1)),
        (lambda u: np.linalg.norm(u, axis=1), mpmath.norm),
        (lambda u: np.linalg.norm(u, 2, -1, keepdims=True)[:, 0], mpmath.norm),
        (lambda u: np.linalg.vector_norm(u, axis=1), mpmath.norm),
        (lambda u: u.__array_namespace__().linalg.vector_norm(u, axis=1), mpmath.norm),
    ]:
        check(nt.jet(ours, x, 5, v).coefficients, mp_scalar(theirs))
    place = np.argmax(x, axis=1)
    rows = np.arange(3)
    top = nt.jet(lambda u: np.max(u, 1) ** 2, x, 2, v).coefficients
    a, b = x[rows, place], v[rows, place]
    check(top, np.stack([a * a, 2 * a * b, b * b]))
    check(nt.jet(lambda u: np.min(u), x, 1, v).coefficients, [x.min(), v.flat[x.argmin()]])
    check(nt.jet(lambda u: u.min() + u.max(), x, 1, v).coefficients[1], v.flat[x.argmin()] + v.flat[x.argmax()])
    norm = nt.jet(lambda u: np.linalg.norm(u) + np.linalg.norm(u, "fro"), x, 1, v).coefficients
    check(norm, [2 * np.sqrt(np.sum(x * x)), 2 * np.sum(x * v) / np.sqrt(np.sum(x * x))])


def test_matrix_products_of_two_jets():
    """d/dt of A(t) B(t) by hand: A = A0 + t A1, B = B0 + t B1."""
    rng = np.random.default_rng(5)
    a0, a1, b0, b1 = rng.standard_normal((4, 3, 3))
    a, b = Jet([a0, a1], 4), Jet([b0, b1], 4)
    for product in (np.matmul, lambda u, v: np.tensordot(u, v, axes=1)):
        check(product(a, b).coefficients, [product(a0, b0), a0 @ b1 + a1 @ b0, a1 @ b1, a0 * 0, a0 * 0])
    check(np.vecdot(a, b, axis=0).coefficients[2], (a1 * b1).sum(0))


# --- structural zeros ---------------------------------------------------------------------------


def test_structural_zeros_stay_structural():
    x = Jet([X, np.ones_like(X)], 9)
    assert len((3 * x + 1)._series) == 2
    assert len((x - X)._series) == 2
    assert len(np.concatenate([x, X])._series) == 2
    assert len(np.stack([X, x])._series) == 2
    assert len(np.where(X > 0, x, 0.0)._series) == 2
    assert len((x @ W)._series) == 2
    assert len((W.T @ x.T)._series) == 2
    assert len((x * x)._series) == 3
    assert len(np.maximum(x, 0.0)._series) == 2
    assert len(abs(x)._series) == 2
    assert len(np.clip(x, -1, 1)._series) == 2
    assert len(np.max(x, axis=0)._series) == 2
    constant = Jet([X], 9)
    assert len(np.exp(constant)._series) == 1
    assert len((constant * constant + 1)._series) == 1
    assert len(nt.MLP.create([4, 3, 2])(constant)._series) == 1
    assert nt.jet(lambda y: 0 * y + 1, X[:, 0], 4).order == 4
    odd = Jet([X, None, X], 6)
    assert odd._series[1] is None
    assert [c is None for c in (odd * odd)._series] == [False, True, False, True, False]
    assert odd.series[0] is None
    check(odd.coefficients[1], X * 0)


def test_one_direction_for_all_is_broadcast():
    j = Jet([X, np.asarray(1.0)], 2)
    assert j._series[1].shape == X.shape


# --- piecewise ----------------------------------------------------------------------------------


def test_ties_follow_the_first_argument():
    x = np.asarray([0.0, 1.0])
    check(nt.derivatives(lambda u: np.maximum(u * 2, u), x, 1)[1], [2, 2])
    check(nt.derivatives(lambda u: np.maximum(u, u * 2), x, 1)[1], [1, 2])
    check(nt.derivatives(lambda u: np.minimum(u, 2 * u), x, 1)[1], [1, 1])
    check(nt.derivatives(lambda u: np.maximum(u, 0.0), x, 1)[1], [1, 1])
    check(nt.derivatives(lambda u: np.maximum(0.0, u), x, 1)[1], [0, 1])
    check(nt.derivatives(lambda u: np.clip(u, 0, 1), x, 1)[1], [1, 1])
    check(nt.derivatives(np.abs, np.asarray([0.0, -1.0, 2.0]), 2), [[0, 1, 2], [0, -1, 1], [0, 0, 0]])
    tied = nt.derivatives(lambda u: np.max(np.stack([u, 3 * u]), axis=0), np.asarray([0.0]), 1)
    check(tied, [[0], [2]])


def test_extrema_keep_nan():
    with np.errstate(invalid="ignore"):
        for function in (np.maximum, np.minimum):
            for pair in ((math.nan, 1.0), (1.0, math.nan)):
                j = function(Jet([np.asarray(pair[0])], 0), Jet([np.asarray(pair[1])], 0))
                assert np.isnan(j.primal)


def test_nan_and_infinity_pass_through():
    x = np.asarray([math.nan, 1.0])
    got = nt.derivatives(lambda u: u * u, x, 2)
    assert np.isnan(got[0, 0])
    check(got[:, 1], [1, 2, 2])


# --- powers at special points -------------------------------------------------------------------


def test_whole_powers_hold_at_zero():
    check(nt.derivatives(lambda u: u**3, np.asarray(0.0), 4), [0, 0, 0, 6, 0])
    check(nt.derivatives(lambda u: u**0, np.asarray(0.0), 1), [1, 0])
    columns = nt.derivatives(lambda u: u[:, None] ** np.arange(4), np.asarray([0.0, -2.0]), 3)
    check(columns[:, 0], [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 2, 0], [0, 0, 0, 6]])
    check(columns[:, 1], [[1, -2, 4, -8], [0, 1, -4, 12], [0, 0, 2, -12], [0, 0, 0, 6]])
    assert nt.derivatives(lambda u: u[:, None] ** np.zeros(0), np.zeros(2), 1).shape == (2, 2, 0)
    check(nt.derivatives(lambda u: u[:, None] ** np.zeros(3), np.zeros(1), 1), [np.ones((1, 3)), np.zeros((1, 3))])
    mixed = nt.derivatives(lambda u: u ** np.asarray([0.5, -1.0]), np.asarray([4.0, 4.0]), 2)
    check(mixed, [[2, 0.25], [0.25, -1 / 16], [-1 / 32, 1 / 32]])


@pytest.mark.parametrize(
    ("function", "point"),
    [
        (lambda u: u**0.5, 0.0),
        (lambda u: u**-1, 0.0),
        (lambda u: u**1.5, -1.0),
        (lambda u: u**u, -1.0),
        (lambda u: (-2) ** u, 1.0),
        (lambda u: 0**u, 1.0),
        (lambda u: np.asarray([-2.0]) ** u, 1.0),
        (lambda u: u ** np.asarray([0.5, 2.0]), 0.0),
        (lambda u: u ** np.asarray([-1.0, 2.0]), 0.0),
        (lambda u: 1 / u, 0.0),
        (lambda u: np.sin(u) / u, 0.0),
        (lambda u: np.sqrt(u), 0.0),
        (lambda u: np.log(u), -1.0),
        (lambda u: np.arcsin(u), 1.0),
        (lambda u: np.hypot(u, u), 0.0),
        (lambda u: np.arctan2(u, u), 0.0),
        (lambda u: np.std(np.stack([u, u])), 1.0),
    ],
)
def test_points_without_derivatives_are_refused(function, point):
    with pytest.raises(ValueError, match=r"differentiable|do not exist|base > 0"):
        nt.derivatives(function, np.asarray(point), 2)


@pytest.mark.parametrize(
    ("function", "point", "value"),
    [
        (lambda u: 1 / u, 0.0, math.inf),
        (lambda u: u / np.sin(u), 0.0, math.nan),
        (lambda u: np.arctan2(u, u), 0.0, 0.0),
        (lambda u: u**u, 0.0, 1.0),
        (lambda u: 0**u, 0.0, 1.0),
        (lambda u: (-2) ** u, 2.0, 4.0),
        (lambda u: u ** np.asarray([0.5, 2.0, -1.0]), 0.0, [0.0, 0.0, math.inf]),
        (lambda u: u**-1, 0.0, math.inf),
        (lambda u: np.hypot(u, u), 0.0, 0.0),
        (lambda u: np.linalg.norm(np.stack([u, u])), 0.0, 0.0),
        (lambda u: np.std(np.stack([u, u])), 1.0, 0.0),
        (lambda u: np.log(u), 0.0, -math.inf),
        (lambda u: np.abs(u * 1j), 0.0, 0.0),
    ],
)
def test_values_are_given_where_derivatives_do_not_exist(function, point, value):
    """At order 0 nothing is differentiated: what comes is what the library gives."""
    with np.errstate(divide="ignore", invalid="ignore"):
        np.testing.assert_array_equal(nt.derivatives(function, np.asarray(point), 0)[0], value)
    with np.errstate(divide="ignore", invalid="ignore"), pytest.raises(ValueError, match=r"differentiable|exist|base"):
        nt.derivatives(function, np.asarray(point), 1)


def test_values_on_a_device_are_not_waited_for():
    """What a GPU holds is let through: the answer is inf or NaN, and the device is never made to finish."""
    xp = pytest.importorskip("array_api_strict")
    zero = xp.asarray(0.0, device=xp.Device("device1"))
    with np.errstate(divide="ignore", invalid="ignore"):
        assert not np.isfinite(float(nt.derivatives(lambda u: 1 / u, zero, 1)[1]))
        assert not np.isfinite(float(nt.derivatives(lambda u: u.__array_namespace__().sqrt(u), zero, 1)[1]))
    with pytest.raises(ValueError, match="division"):
        nt.derivatives(lambda u: 1 / u, xp.asarray(0.0), 1)


# --- complex intermediates ----------------------------------------------------------------------

I = np.asarray([1 + 1j, 2 - 1j])  # noqa: E741 it is what it is

COMPLEX_REFUSED = {
    "maximum": lambda z: np.maximum(z, I),
    "minimum": lambda z: np.minimum(I, z),
    "max": lambda z: np.max(z),
    "min": lambda z: z.min(),
    "clip": lambda z: np.clip(z, I, None),
    "sign": lambda z: np.sign(z) * z,
    "hypot": lambda z: np.hypot(z, z),
    "atan2": lambda z: np.arctan2(z, 1.0),
    "relu": lambda z: z.__array_namespace__().relu(z),
}


@pytest.mark.parametrize("name", COMPLEX_REFUSED)
def test_choices_among_complex_numbers_are_refused(name):
    with pytest.raises(TypeError, match=r"complex.* pass .*real"):
        nt.derivatives(lambda x: COMPLEX_REFUSED[name](x * I), np.asarray([0.5, 0.7]), 1)


def test_complex_intermediates():
    x = np.asarray([0.3, 2.0])
    check(nt.derivatives(lambda x: abs(x * (1 + 1j)), x, 2), [math.sqrt(2) * x, math.sqrt(2) + 0 * x, 0 * x], 1e-15)
    with pytest.raises(ValueError, match="sqrt is not differentiable"):
        nt.derivatives(lambda x: abs(x * 1j), np.asarray(0.0), 1)
    with pytest.raises(nt.MissingRule, match="complex exponent"):
        nt.derivatives(lambda x: x**1j, x, 1)


# --- nesting ------------------------------------------------------------------------------------


def test_nested_derivatives_are_of_different_variables():
    """d/dx [x · d/dy (x y)] = d/dx x² = 2x: with one variable for both it would be 3x or more."""
    x = np.asarray([0.5, 2.0])

    def outer(x):
        return x * nt.derivatives(lambda y: x * y, np.ones(2), 1)[1]

    check(nt.derivatives(outer, x, 2), [x**2, 2 * x, 2 + 0 * x])
    # d/dx [ d/dy (x + y)² at y = x ] = d/dx 4x = 4
    check(nt.derivatives(lambda x: nt.derivatives(lambda y: (x + y) ** 2, x * 1.0, 1)[1], x, 1)[1], [4, 4])


def test_derivatives_of_derivatives_are_higher_derivatives():
    x = np.linspace(-1, 1, 5)
    f = lambda u: np.sin(u) * np.exp(u)  # noqa: E731
    net = nt.MLP.create([1, 6, 6, 1], "gelu", seed=4)
    for function in (f, net, lambda u: net(u) * u):
        whole = nt.derivatives(function, x, 5)
        nested = nt.derivatives(lambda u, g=function: nt.derivatives(g, u, 2)[2], x, 3)
        check(nested, whole[2:], 1e-13)
    triple = nt.derivatives(lambda u: nt.derivatives(lambda v: nt.derivatives(f, v, 1)[1], u, 1)[1], x, 1)
    check(triple[1], nt.derivatives(f, x, 3)[3], 1e-13)


def test_mixed_partial_by_nesting():
    """∂²/∂x∂y of sin(x y) = cos(xy) − xy sin(xy)."""
    x, y = np.asarray([0.3, 0.9]), np.asarray([1.2, -0.4])
    got = nt.derivatives(lambda a: nt.derivatives(lambda b: np.sin(a * b), y, 1)[1], x, 1)[1]
    check(got, np.cos(x * y) - x * y * np.sin(x * y))


def test_held_jets_are_all_in_one_variable():
    """Jets that nt.jet gave, or that are made by hand, are multiplied as series."""
    x = np.asarray([0.4, 0.8])
    product = nt.jet(np.sin, x, 4) * nt.jet(np.exp, x, 4)
    check(product.derivatives, nt.derivatives(lambda u: np.sin(u) * np.exp(u), x, 4))
    assert product.level == HELD
    by_hand = Jet([x, np.ones(2)], 4)
    check((by_hand * nt.jet(np.sin, x, 4)).derivatives, nt.derivatives(lambda u: u * np.sin(u), x, 4))


def test_a_held_jet_inside_a_differentiated_function_is_refused_not_confused():
    x = np.asarray([0.4])
    held = nt.jet(np.sin, x, 2)
    with pytest.raises(TypeError, match="made inside it"):
        nt.derivatives(lambda u: u * held, x, 2)
    with pytest.raises(TypeError, match="made inside it"):
        nt.derivatives(lambda u: nt.jet(np.sin, u, 2), x, 2)
    with pytest.raises(TypeError, match="outside of this call"):
        nt.jet(np.sin, held, 2)
    check(nt.derivatives(lambda u: nt.jet(np.sin, u, 2).coefficients[2], x, 1)[1], -np.cos(x) / 2)


def test_network_inside_functions_and_functions_of_parameters():
    net = nt.MLP.create([1, 5, 1], seed=6)
    x = np.linspace(-1, 1, 4)

    def by_parameters(t):
        """Parameters and input both depend on t."""
        return net.replace({k: p * t for k, p in net.parameters.items()})(x)

    step = 1e-3
    values = [by_parameters(np.asarray(1 + s * step)) for s in (-2, -1, 1, 2)]
    difference = (values[0] - 8 * values[1] + 8 * values[2] - values[3]) / (12 * step)
    check(nt.derivatives(by_parameters, np.asarray(1.0), 1)[1], difference, 1e-9)
    both = lambda t: net.replace({k: p * t for k, p in net.parameters.items()})(x * t)  # noqa: E731
    values = [both(np.asarray(1 + s * step)) for s in (-2, -1, 1, 2)]
    difference = (values[0] - 8 * values[1] + 8 * values[2] - values[3]) / (12 * step)
    check(nt.derivatives(both, np.asarray(1.0), 1)[1], difference, 1e-9)


# --- the object ---------------------------------------------------------------------------------


def test_jets_of_different_order_keep_the_lower():
    a, b = Jet([X, X], 5), Jet([X, X, X], 3)
    assert (a + b).order == (a * b).order == np.stack([a, b]).order == 3


def test_derivative():
    j = nt.jet(np.exp, X[0], 5).derivative()
    assert j.order == 4
    check(j.derivatives, nt.derivatives(np.exp, X[0], 4))
    check(Jet([X], 3).derivative().coefficients, np.zeros((3, *X.shape)))
    with pytest.raises(ValueError, match="order 0"):
        Jet([X]).derivative()


class Kept(Jet):
    """A subclass as an adapter makes one, to add a protocol."""

    __slots__ = ()


def test_a_subclass_survives_every_operation():
    j = Kept([X, X], 3)
    plain = Jet([X, X], 3)
    results = [j + 1, plain * j, j @ W, np.sin(j), j.derivative(), np.stack([plain, j]), np.hypot(j, 1.0), j[0], j.T]
    results += [*np.unstack(j), np.where(X > 0, j, 0.0), jets.univariate("tanh", j), np.linalg.norm(j), j.sum()]
    assert {type(r) for r in results} == {Kept}
    assert type(plain + 1) is Jet


def test_univariate_takes_a_name():
    j = Jet([X, X], 3)
    check(jets.univariate("tanh", j).coefficients, np.tanh(j).coefficients, 0)
    with pytest.raises(ValueError, match="unknown activation"):
        jets.univariate("tanhh", j)


def test_constructor_errors():
    with pytest.raises(ValueError, match=r"primal first.*got none"):
        Jet([])
    with pytest.raises(ValueError, match="primal first"):
        Jet([None, X])
    with pytest.raises(ValueError, match="takes 1 to 2"):
        Jet([X, X, X], 1)
    with pytest.raises(TypeError, match="coefficient 0 of a Jet must be an array, got float"):
        Jet([1.0])
    with pytest.raises(TypeError, match="coefficient 1"):
        Jet([X, 1.0])
    with pytest.raises(ValueError, match="must broadcast to it"):
        Jet([X, np.ones(7)])
    with pytest.raises(ValueError, match="order must be"):
        Jet([X], -1)


def test_it_looks_like_an_array():
    j = Jet([X, X], 2)
    assert (j.shape, j.ndim, j.size, j.dtype, len(j)) == ((3, 4), 2, 12, X.dtype, 3)
    assert (np.shape(j), np.ndim(j), np.size(j)) == ((3, 4), 2, 12)
    assert j.device == "cpu"
    assert "order=2" in repr(j)
    xp = j.__array_namespace__()
    assert xp == Jet([X[0]]).__array_namespace__()
    assert xp.pi == np.pi
    assert xp.float64 == np.float64
    assert xp.asarray is not None if hasattr(xp, "asarray") else True
    with pytest.raises(TypeError, match="0-d"):
        len(Jet([np.asarray(1.0)]))
    with pytest.raises(TypeError, match="0-d"):
        iter(Jet([np.asarray(1.0)]))
    with pytest.raises(TypeError, match="unhashable"):
        hash(j)


@pytest.mark.parametrize(
    "misuse",
    [
        float,
        int,
        bool,
        complex,
        np.asarray,
        np.array,
        lambda j: np.array([j, j]),
        lambda j: math.sin(j),
        lambda j: 1 if j > 0 and j else 0,
        lambda j: np.zeros(3).__setitem__(0, j),
        lambda j: j.__setitem__(0, 1.0),
        lambda j: X[j],
        lambda j: j[j],
        lambda j: j.__add__([1.0]) + 1,
        lambda j: j + None,
        lambda j: j + "1",
        lambda j: np.nancumprod(j),
        lambda j: np.linalg.svd(j),
        lambda j: np.add.reduceat(j, [0]),
        lambda j: np.add(j, 1, out=np.zeros(())),
        lambda j: np.mean(j, out=np.zeros(())),
        lambda j: np.sum(j, initial=3.0),
        lambda j: np.sum(j, where=np.asarray(True)),
        lambda j: np.asarray(1.0).__iadd__(j),
        lambda j: np.reshape(1.0 * X, j),
    ],
)
def test_misuse_is_refused(misuse):
    with pytest.raises((TypeError, ValueError, IndexError, AttributeError)):
        misuse(Jet([np.asarray(0.5), np.asarray(1.0)], 2))


def test_in_place_operators_make_a_new_jet():
    j = k = Jet([X, X], 2)
    k += 1
    k *= 2
    check(j.primal, X)
    check(k.primal, 2 * X + 2)


def test_masked_constants_do_not_leak_in():
    masked = np.ma.masked_array([1.0, 2.0], mask=[True, False])
    with pytest.raises(TypeError, match="MaskedArray"):
        nt.derivatives(np.sin, masked, 2)
    with pytest.raises(TypeError, match="matrix"):
        nt.derivatives(np.sin, np.ones((2, 1)).view(np.matrix), 2)


def test_subclasses_of_arrays_work():
    class Mine(np.ndarray):
        pass

    x = np.asarray([0.2, 0.4])
    check(np.asarray(nt.derivatives(np.sin, x.view(Mine), 3)), nt.derivatives(np.sin, x, 3))
    net = nt.MLP.create([1, 3, 1])
    check(np.asarray(nt.derivatives(net, x.view(Mine), 3)), nt.derivatives(net, x, 3))


# --- registration -------------------------------------------------------------------------------


def test_missing_rule_names_it_and_says_what_to_do():
    with pytest.raises(nt.MissingRule, match=r"cumulative_max.*did you mean 'cumulative_sum'.*nt\.jets\.register"):
        nt.derivatives(lambda u: u.__array_namespace__().cumulative_max(u), X[0], 1)
    assert not hasattr(Jet([X]).__array_namespace__(), "cumulative_max")
    names = jets.names()
    assert {"matmul", "norm", "tanh"} <= set(names)
    assert all(function_of(Jet([X]).__array_namespace__(), name) for name in names if not name.startswith("lax."))


def test_register_a_rule():
    name = "flatten_twice"
    try:
        jets.register(name, lambda xp, order, u, factor: u * factor)
        with pytest.raises(ValueError, match="replace=True"):
            jets.register(name, lambda xp, order, u: u)
        scaled = lambda xp, order, u, factor: Series([u[0] * factor], (u * factor).__getitem__)  # noqa: E731
        jets.register(name, scaled, replace=True)
        got = nt.derivatives(lambda u: getattr(u.__array_namespace__(), name)(u, 3.0), X[0], 1)
        check(got, [3 * X[0], 3 + 0 * X[0]])
        with pytest.raises(ValueError, match="already"):
            jets.register("tanh", lambda xp, order, u: u)
    finally:
        JET_RULES.pop(name, None)


def test_rules_that_are_none():
    for name, rule in ((5, lambda xp, order, u: u), ("foo", 5)):
        with pytest.raises(TypeError, match="name of an operation and its rule"):
            jets.register(name, rule)
    try:
        jets.register("forgetful", lambda xp, order, u: None)
        with pytest.raises(TypeError, match="rule for 'forgetful' returned None"):
            nt.derivatives(lambda u: u.__array_namespace__().forgetful(u), X[0], 1)
    finally:
        JET_RULES.pop("forgetful", None)


@pytest.mark.parametrize(("name", "standard"), [("arcsin", "asin"), ("cumsum", "cumulative_sum")])
def test_names_of_numpy_cannot_be_registered(name, standard):
    """They are looked up under the standard's name, so that such a rule would never be used."""
    with pytest.raises(ValueError, match=f"register '{standard}'"):
        jets.register(name, lambda xp, order, u: u)


def test_a_failing_property_keeps_its_error():
    class Broken(Jet):
        @property
        def derivatives(self):
            return np.asarray(1.0).nothing

    with pytest.raises(AttributeError, match="has no attribute 'nothing'") as caught:
        _ = Broken([np.ones(2)]).derivatives
    assert not isinstance(caught.value, nt.MissingRule)


def test_options_by_position():
    u = Jet([np.arange(6.0).reshape(2, 3), np.arange(6.0).reshape(3, 2).T])
    for function in (
        lambda a: np.cumsum(a, 0, np.float64),
        lambda a: np.sum(a, 1, None, None, True),
        lambda a: np.diff(a, 2, 1),
        lambda a: np.diff(a, 1, 0, 0.0 * a[:1]),
        lambda a: np.tensordot(a, np.ones((3, 2)), 1),
        lambda a: np.roll(a, np.int64(1), 1),
        lambda a: np.hstack([a, 0 * a]),
        lambda a: np.outer(a, np.arange(2.0)),
        lambda a: a[:, [0, -1, 0]],
        lambda a: a[np.int64(1), [0, 0]],
    ):
        got = function(u)
        for k in (0, 1):
            np.testing.assert_array_equal(got.coefficients[k], function(u.coefficients[k]))
    for refused in (
        lambda a: np.reshape(a, (3, 2), order="F"),
        lambda a: np.reshape(a, (3, 2), "F"),
        lambda a: np.mean(a, where=np.ones((2, 3), bool)),
        lambda a: np.max(a, initial=0.0),
        lambda a: np.ravel(a, "F"),
        lambda a: np.sum(a, dtype=int),
        lambda a: np.std(a, mean=1.0),
    ):
        with pytest.raises(nt.MissingRule, match=r"(order|where|initial|dtype|mean)=…"):
            refused(u)
    assert f"{Jet([np.asarray(1.5), np.asarray(1.0)]):.2f}" == "1.50"


def test_a_parameter_in_the_same_variable_is_refused():
    j = Jet([X, X], 2)
    with pytest.raises(nt.MissingRule, match="parameter"):
        j.__array_namespace__().snake(j, a=j)


# --- laws ---------------------------------------------------------------------------------------

# Four of them in a row stay finite.
UNARY = [
    np.sin,
    np.cos,
    lambda u: np.exp(-u * u),
    np.tanh,
    np.arctan,
    lambda u: u * u,
    lambda u: 1 / (3 + u * u),
    lambda u: np.sinh(np.tanh(u)),
]


@settings(max_examples=30, deadline=None)
@given(st.lists(st.sampled_from(range(len(UNARY))), min_size=1, max_size=4), st.floats(-1, 1), st.integers(0, 6))
def test_chain_rule_over_random_programs(program, point, order):
    """Pushing a composition at once equals pushing each part on the jet of those before it."""
    x = np.asarray(point)

    def whole(u):
        for i in program:
            u = UNARY[i](u)
        return u

    stepwise = Jet([x, np.ones(())] if order else [x], order)
    for i in program:
        stepwise = UNARY[i](stepwise)
    np.testing.assert_array_equal(nt.jet(whole, x, order).coefficients, stepwise.coefficients)
    # Truncating then composing equals composing then truncating.
    np.testing.assert_array_equal(nt.jet(whole, x, order + 2).coefficients[: order + 1], stepwise.coefficients)


@settings(max_examples=30, deadline=None)
@given(st.floats(-2, 2), st.integers(1, 10))
def test_exp_of_log_is_the_identity(point, order):
    x = np.asarray(point)
    got = nt.jet(lambda u: np.exp(np.log(np.cosh(u))), x, order).coefficients
    np.testing.assert_allclose(got, nt.jet(np.cosh, x, order).coefficients, atol=1e-12)


def test_complex_jets_with_real_coefficients():
    """Of x + 2i, with x real, the primal is complex and all other coefficients are real."""
    jet = Jet([np.asarray(1.0), np.asarray(3.0), np.asarray(-1.0)]) + np.asarray(2j)
    np.testing.assert_allclose(np.real(jet).coefficients, [1, 3, -1])
    np.testing.assert_allclose(np.imag(jet).coefficients, [2, 0, 0])
    np.testing.assert_allclose(np.conj(jet).coefficients, [1 - 2j, 3, -1])
    squared = np.abs(jet) ** 2
    np.testing.assert_allclose(squared.coefficients, [5, 6, 7], rtol=1e-14)
