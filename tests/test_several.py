"""Several inputs, each with its own direction, and outputs in tuples, lists and dicts, on every array library."""

from __future__ import annotations

from typing import NamedTuple

import mpmath
import numpy as np
import pytest
from oracles import on_a_circle

import ntaylor as nt
from ntaylor.jets import Jet

ORDER = 8
RNG = np.random.default_rng(5)
X, Y, V, W = RNG.uniform(0.2, 0.9, (3,)), RNG.uniform(0.2, 0.9, (2, 3)), RNG.uniform(-1, 1, (3,)), np.asarray(0.7)


class Pair(NamedTuple):
    first: object
    second: object


def f(x, y):
    return (x + 1) ** 2 / (y * y + 2) + y


EXPECTED = on_a_circle(lambda t: f(X + t * V, Y + t * W), ORDER, radius=1.0).real


def close(xp, jet, expected, tolerance=1e-13):
    assert isinstance(jet, Jet)
    np.testing.assert_allclose(
        xp.numpy(jet.coefficients), expected, rtol=0, atol=tolerance * (1 + np.abs(expected).max())
    )


def test_a_tuple_holds_the_arguments(xp):
    x, y, v, w = (xp.array(a) for a in (X, Y, V, W))
    with xp.without_compute():
        got = nt.jet(f, (x, y), ORDER, (v, w))
        first = nt.jet(f, (x, y), ORDER, (v, None))
        constant = nt.jet(f, (x, y), 0, (v, w))
    close(xp, got, EXPECTED)
    close(xp, first, on_a_circle(lambda t: f(X + t * V, Y), ORDER, radius=1.0).real)
    close(xp, constant, EXPECTED[:1])
    derivatives = xp.numpy(nt.derivatives(f, (x, y), 3, (v, w)))
    np.testing.assert_allclose(derivatives, EXPECTED[:4] * np.asarray([1, 1, 2, 6])[:, None, None], rtol=1e-12)


def test_inputs_keep_their_structural_zeros_apart(xp):
    """What depends linearly on one input has two coefficients, whatever the other goes through."""
    x, y, v, w = (xp.array(a) for a in (X, Y, V, W))
    linear, curved = nt.jet(lambda x, y: (3 * x[:2], y * y * y), (x, y), 5, (v, w))
    assert [c is None for c in linear.series] == [False, True, True, True, True]
    assert [c is None for c in curved.series] == [False, False, False, True, True]
    close(xp, linear, [3 * X[:2], 3 * V[:2], *np.zeros((4, 2))])


def test_lists_and_dicts_are_one_argument(xp):
    x, y, v, w = (xp.array(a) for a in (X, Y, V, W))
    with xp.without_compute():
        found = [
            nt.jet(lambda p: f(*p), [x, y], ORDER, [v, w]),
            nt.jet(lambda p: f(p["x"], p["y"]), {"x": x, "y": y}, ORDER, {"y": w, "x": v}),
            nt.jet(lambda p: f(*p), Pair(x, y), ORDER, Pair(v, w)),
            nt.jet(
                lambda p, q: f(p["x"], q[0]), ({"x": x, "no": None}, [y, x]), ORDER, ({"x": v, "no": None}, [w, None])
            ),
        ]
    for jet in found:
        close(xp, jet, EXPECTED)


def test_outputs_keep_their_structure(xp):
    x, v = xp.array(X), xp.array(V)

    def several(x):
        return {"square": x * x, "list": [x + 1.0, (x * 0 + 2.0, 3.0)], "pair": Pair(x, x * x * x)}

    got = nt.jet(several, x, 2, v)
    assert (type(got), type(got["list"]), type(got["list"][1]), type(got["pair"])) == (dict, list, tuple, Pair)
    close(xp, got["square"], [X * X, 2 * X * V, V * V])
    close(xp, got["list"][0], [X + 1, V, 0 * X])
    close(xp, got["list"][1][0], [2 + 0 * X, 0 * X, 0 * X])
    close(xp, got["list"][1][1], [3 + 0 * X, 0 * X, 0 * X])
    close(xp, got["pair"].second, [X**3, 3 * X * X * V, 3 * X * V * V])
    derivatives = nt.derivatives(several, x, 2, v)
    np.testing.assert_allclose(xp.numpy(derivatives["pair"].second)[2], 6 * X * V * V, rtol=1e-13)


def test_structural_zeros_of_each_input():
    """On NumPy every input is a jet of its own: constants stay plain, lines stay lines."""
    seen = []

    def noted(x, y, z):
        seen.extend([x, y, z])
        return x + y

    line = nt.jet(noted, (X, Y, X), ORDER, (V, W, None))
    assert (len(seen[0]._series), len(seen[1]._series), type(seen[2])) == (2, 2, np.ndarray)
    assert len(line._series) == 2
    assert nt.jet(lambda n, x: x * n["count"], ({"count": 3}, X), 2, (None, V)).primal.shape == (3,)


def test_nested_and_inside_gradients():
    """∂²/∂x∂y of f by two jets; the gradient by p of the jet of f(x, p)."""
    x, y = np.asarray(0.4), np.asarray(0.6)
    g = lambda x, y: np.sin(x * y) * np.exp(x)  # noqa: E731
    mixed = nt.derivatives(lambda a: nt.derivatives(g, (a, y), 1, (None, np.ones(())))[1], x, 1)[1]
    with mpmath.workdps(30):
        expected = mpmath.diff(lambda a, b: mpmath.sin(a * b) * mpmath.exp(a), (0.4, 0.6), (1, 1))
    np.testing.assert_allclose(mixed, float(expected), rtol=1e-13)

    def loss(p):
        return nt.derivatives(lambda x, q: q["a"] * x**3, (x, p), 2, (np.ones(()), None))[2]

    value, gradient = nt.value_and_grad(loss)({"a": np.asarray(2.0)})
    np.testing.assert_allclose([value, gradient["a"]], [6 * 2 * 0.4, 6 * 0.4])
    # along a direction of both: d²/dt² (a + t)(x + t)³ = 6 (a + t)(x + t) + 6 (x + t)²
    both = nt.derivatives(lambda x, q: q["a"] * x**3, (x, {"a": np.asarray(2.0)}), 2, (np.ones(()), {"a": np.ones(())}))
    np.testing.assert_allclose(both[2], 6 * 2 * 0.4 + 6 * 0.16, rtol=1e-14)


def test_complex_and_real_inputs():
    z, x = np.asarray([0.3 + 0.4j]), np.asarray([0.5])
    got = nt.jet(lambda z, x: np.exp(z * x), (z, x), 4, (np.asarray(1j), np.asarray(1.0)))
    expected = on_a_circle(lambda t: np.exp((z + 1j * t) * (x + t)), 4, radius=1.0)
    np.testing.assert_allclose(got.coefficients, expected, rtol=1e-13)


@pytest.mark.parametrize("library", ["torch", "jax"])
def test_adapters_differentiate_through_several(library):
    """The library's own gradient by both inputs of Σ d²/dt² x² y³ along (1, 1)."""
    pytest.importorskip(library)
    x, y = 0.5, 0.7
    # (x + t)²(y + t)³ has the second derivative 2y³ + 12 x y² + 6 x² y.
    expected = [12 * y * y + 12 * x * y, 6 * y * y + 24 * x * y + 6 * x * x]
    if library == "torch":
        import torch

        a, b = (torch.tensor(v, dtype=torch.float64, requires_grad=True) for v in (x, y))
        one = torch.ones((), dtype=torch.float64)
        nt.derivatives(lambda x, y: x**2 * y**3, (a, b), 2, (one, one))[2].backward()
        got = [a.grad.item(), b.grad.item()]
    else:
        import jax

        jax.config.update("jax_enable_x64", True)
        one = jax.numpy.ones(())
        of_both = lambda a, b: nt.derivatives(lambda x, y: x**2 * y**3, (a, b), 2, (one, one))[2]  # noqa: E731
        got = jax.jit(jax.grad(of_both, (0, 1)))(jax.numpy.asarray(x), jax.numpy.asarray(y))
    np.testing.assert_allclose(got, expected, rtol=1e-14)
