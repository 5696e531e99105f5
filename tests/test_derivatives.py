"""nt.derivatives and nt.jet on plain functions: accuracy, shapes, directions, what a hostile caller passes."""

# ruff: noqa: ARG005 functions in a table share one signature

from __future__ import annotations

import doctest
import math

import mpmath
import numpy as np
import pytest

import ntaylor as nt
from ntaylor import differentiate

mpmath.mp.dps = 50

FUNCTIONS = {
    "tanh of a polynomial": (lambda x: np.tanh(1 + x - x**3), lambda t: mpmath.tanh(1 + t - t**3)),
    "rational": (lambda x: (1 + x) / (2 + x * x), lambda t: (1 + t) / (2 + t * t)),
    "nested": (lambda x: np.exp(np.sin(np.exp(-x))), lambda t: mpmath.exp(mpmath.sin(mpmath.exp(-t)))),
    "roots": (lambda x: np.sqrt(2 + x) * (3 + x) ** 0.3, lambda t: mpmath.sqrt(2 + t) * (3 + t) ** mpmath.mpf("0.3")),
    "logs": (lambda x: np.log(2 + x) * np.log1p(x * x), lambda t: mpmath.log(2 + t) * mpmath.log(1 + t * t)),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_accuracy_to_order_16(name):
    """Every derivative to order 16 within 1e-12 of its norm over the points, against 50 digits."""
    ours, theirs = FUNCTIONS[name]
    points = np.asarray([-0.6, 0.1, 0.75])
    got = nt.derivatives(ours, points, 16)
    mpmath.mp.dps = 90  # the oracle's own differences lose digits with the order
    exact = [mpmath.taylor(theirs, mpmath.mpf(float(p)), 16) for p in points]
    mpmath.mp.dps = 50
    factorial = [math.factorial(k) for k in range(17)]
    expected = np.asarray([[float(c * f) for c, f in zip(row, factorial, strict=True)] for row in exact]).T
    # 0.3 above is the double, in the oracle the decimal: the same to 1e-17.
    error = np.linalg.norm(got - expected, axis=1) / np.linalg.norm(expected, axis=1)
    assert error.max() < 1e-12


def test_the_docstring_example():
    assert doctest.testmod(differentiate).failed == 0


def test_directions():
    """f(x) = x₀² x₁ along v: derivatives by hand."""
    f = lambda x: x[..., 0] ** 2 * x[..., 1]  # noqa: E731
    x = np.asarray([[1.0, 2.0], [3.0, -1.0]])
    v = np.asarray([[1.0, 1.0], [0.5, 2.0]])

    def by_hand(x, v):
        a, b, p, q = x[:, 0], x[:, 1], v[:, 0], v[:, 1]
        return np.stack([a * a * b, 2 * a * b * p + a * a * q, 2 * b * p * p + 4 * a * p * q, 6 * p * p * q])

    np.testing.assert_allclose(nt.derivatives(f, x, 3, v), by_hand(x, v))
    np.testing.assert_allclose(nt.derivatives(f, x, 3, v[0]), by_hand(x, np.broadcast_to(v[0], x.shape)))
    np.testing.assert_allclose(nt.derivatives(f, x, 3, np.asarray(1.0)), by_hand(x, np.ones_like(x)))
    np.testing.assert_allclose(nt.derivatives(f, x, 3, np.zeros(2))[1:], 0)


@pytest.mark.parametrize("shape", [(), (0,), (1,), (4,), (4, 1), (0, 1), (2, 3, 1)])
def test_a_batch_of_scalars_needs_no_direction(shape):
    x = np.random.default_rng(0).uniform(-1, 1, shape)
    got = nt.derivatives(np.sin, x, 3)
    assert got.shape == (4, *shape)
    np.testing.assert_allclose(got, np.stack([np.sin(x), np.cos(x), -np.sin(x), -np.cos(x)]), rtol=1e-14, atol=1e-16)


def test_order_zero_is_the_value():
    x = np.asarray([0.3, 0.4])
    np.testing.assert_array_equal(nt.derivatives(np.sin, x, 0), np.sin(x)[None])
    np.testing.assert_array_equal(nt.derivatives(np.sqrt, np.asarray([0.0]), 0), [[0.0]])
    np.testing.assert_array_equal(nt.derivatives(np.sin, x, np.int64(1)), nt.derivatives(np.sin, x, 1))


def test_constant_functions():
    x = np.asarray([0.3, 0.4])
    np.testing.assert_array_equal(nt.derivatives(lambda u: 2.0, x, 2), [[2, 2], [0, 0], [0, 0]])
    np.testing.assert_array_equal(nt.derivatives(lambda u: np.ones(3), x, 1), [[1, 1, 1], [0, 0, 0]])
    np.testing.assert_array_equal(nt.derivatives(lambda u: np.floor(u), x, 1), [[0, 0], [0, 0]])


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.complex64, np.complex128])
def test_dtypes_are_kept(dtype):
    x = np.asarray([0.5, 1.0], dtype=dtype)
    got = nt.derivatives(lambda u: np.exp(u) * u / (1 + u) + np.sqrt(u) ** 3, x, 4)
    assert got.dtype == dtype


def test_complex_points():
    z = np.asarray([0.3 + 0.4j, -1j])
    got = nt.derivatives(lambda u: np.exp(1j * u) * u, z, 3)
    expected = [(1j**k * z + k * 1j ** (k - 1) if k else z) * np.exp(1j * z) for k in range(4)]
    np.testing.assert_allclose(got, expected, rtol=1e-14)


def test_results_own_their_memory():
    x = np.asarray([0.3, 0.4])
    got = nt.derivatives(lambda u: u, x, 1)
    got[...] = 7
    assert x[0] == 0.3


def test_numpy_warnings_are_none():
    """No overflow where the answer is representable."""
    x = np.asarray([-700.0, -30.0, 30.0, 700.0])
    for name in ("tanh", "sigmoid", "softplus", "silu", "gelu", "mish", "elu", "erf", "gaussian"):
        got = nt.derivatives(lambda u, n=name: getattr(u.__array_namespace__(), n)(u), x, 3)
        assert np.isfinite(got).all(), name


def test_jets_give_coefficients():
    j = nt.jet(np.exp, np.asarray([0.0]), 5)
    np.testing.assert_allclose(j.coefficients[:, 0], [1 / math.factorial(k) for k in range(6)])
    np.testing.assert_allclose(j.derivatives[:, 0], 1)


def test_dtypes_are_not_mixed():
    """Nothing is promoted: a network, a direction or a coefficient of another dtype than x is refused."""
    x32, x64 = np.ones((3, 2), dtype=np.float32), np.ones((3, 2))
    v32, v64 = np.ones(2, dtype=np.float32), np.ones(2)
    net32, net64 = (nt.MLP.create([2, 3, 1], dtype=dtype) for dtype in (np.float32, np.float64))
    for call in (
        lambda: nt.derivatives(net64, x32, 2, v32),
        lambda: net64(x32),
        lambda: net32(x64),
        lambda: net64(nt.Jet([x32, x32])),
        lambda: nt.derivatives(net64, x64.astype(np.float16), 2, v64.astype(np.float16)),
        lambda: nt.MLP.create([2, 3, 1], dtype=np.complex128)(x64),
        lambda: net32(x64.astype(np.complex128)),
    ):
        with pytest.raises(TypeError, match=r"dtypes were mixed: x is a .*0\.weight.*pass xp\.astype\(x, xp.*create"):
            call()
    for f in (np.sin, net32):
        with pytest.raises(
            TypeError, match=r"x is a .*float32; direction is a .*float64.*xp\.astype\(direction, xp\.float32\)"
        ):
            nt.derivatives(f, x32, 2, v64)
    with pytest.raises(TypeError, match=r"coefficient 1 is a .*float64"):
        net32.propagate([x32, x64], 2)
    half = nt.MLP.create([2, 3, 1], dtype=np.float16)
    assert nt.derivatives(half, x64.astype(np.float16), 2, v64.astype(np.float16)).dtype == np.float16
    # A real network and direction at complex points of their precision: the result has the points' dtype.
    for net, x, v in ((net32, x32 * (1 + 1j), v32), (net64, x64 * (1 + 1j), v64)):
        assert nt.derivatives(net, x, 2, v).dtype == x.dtype


def test_value_and_grad_takes_a_function():
    with pytest.raises(
        TypeError, match=r"takes the loss, a function of the parameters; got int.*\(loss\)\(parameters\)"
    ):
        nt.value_and_grad(3)


def test_functions_that_return_no_floating_values_are_refused():
    x = np.asarray([0.5, -1.0])
    for f, came in (
        (lambda x: x > 0, r"a numpy array of shape \(2,\) and dtype bool"),
        (lambda x: np.asarray([1, 2]), r"a numpy array of shape \(2,\) and dtype int"),
        (lambda x: True, "True"),
    ):
        for verb in (nt.derivatives, nt.jet):
            for order in (0, 2):
                with pytest.raises(TypeError, match=f"f must return floating values, it returned {came}"):
                    verb(f, x, order)


def test_a_direction_that_is_no_array_is_told_the_dtype():
    with pytest.raises(TypeError, match=r"got list: pass xp\.asarray\(direction, dtype=x\.dtype\)"):
        nt.derivatives(np.sin, np.ones((3, 2)), 1, [1, 0])
