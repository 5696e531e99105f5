"""The same answers on every array library, in its own arrays, dtype and device, and lazily where it is lazy."""

# ruff: noqa: ARG005 functions in a table share one signature

from __future__ import annotations

import numpy as np
import pytest

import ntaylor as nt
from ntaylor.namespace import array_namespace

RNG = np.random.default_rng(0)
POINTS = RNG.uniform(-0.9, 0.9, 6)


def close(xp, got, expected, tolerance=1e-13):
    got = xp.numpy(got)
    assert got.dtype == expected.dtype
    np.testing.assert_allclose(got, expected, rtol=0, atol=tolerance * (1 + np.max(np.abs(expected), initial=0.0)))


FUNCTIONS = {
    "polynomial": lambda xp, x: 1 + x * (2 - x**3) / (3 + x * x),
    "elementwise": lambda xp, x: xp.sin(x) * xp.exp(-x * x) + xp.tanh(x) - xp.log1p(x * x) * xp.atan(x),
    "pieces": lambda xp, x: xp.where(x > 0, x * x, xp.sin(x)) + xp.maximum(x, 0.25 * x) + xp.abs(x - 2),
    "clipped": lambda xp, x: xp.clip(x, -0.5, 0.5) + xp.minimum(x, x * x),
    "joined": lambda xp, x: xp.concat([xp.stack([x, x * x]), xp.ones_like(x)[None, ...]]),
    "reduced": lambda xp, x: xp.mean(xp.cos(x)[None, ...] * xp.reshape(x, (-1, 1)), axis=1),
    "powers": lambda xp, x: (2 + x) ** 2.5 + 2.0**x + (2 + x) ** (-3),
    "complex": lambda xp, x: xp.abs(xp.exp(1j * x) + x) + xp.imag(xp.conj(xp.exp(2j * x))) * xp.real((1 + 1j) * x),
    "lengths": lambda xp, x: xp.linalg.vector_norm(xp.stack([x, xp.cos(x)]), axis=0) * xp.var(x[:, None] * x, axis=0),
    "products": lambda xp, x: xp.prod(xp.stack([x, xp.cos(x), 1 + x]), axis=0) * xp.prod(1 + x / 4),
    "contracted": lambda xp, x: xp.einsum("i,ij,j->i", x, xp.sin(x)[:, None] * x, xp.cos(x)),
    "moved": lambda xp, x: xp.flip(xp.permute_dims(x[:, None] * x[None, :], (1, 0)), axis=0),
    "hyperbolic": lambda xp, x: xp.sinh(x) / xp.cosh(x) + xp.hypot(x, xp.ones_like(x)) + xp.atan2(x, xp.cos(x)),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_plain_functions_agree(xp, name):
    """Any array function gives what it gives on NumPy, without computing where the library is lazy."""
    expected = nt.derivatives(lambda x: FUNCTIONS[name](np, x), POINTS, 6)
    with xp.without_compute():
        got = nt.derivatives(lambda x: FUNCTIONS[name](x.__array_namespace__(), x), xp.array(POINTS), 6)
    close(xp, got, expected)


@pytest.mark.parametrize("name", sorted(set(nt.activations.names) - {"acosh"}))
def test_every_activation_agrees(xp, name):
    x = np.abs(POINTS) * 0.9 + 0.05
    function = lambda x: getattr(x.__array_namespace__(), name)(x)  # noqa: E731
    expected = nt.derivatives(function, x, 3)
    with xp.without_compute():
        got = nt.derivatives(function, xp.array(x), 3)
    close(xp, got, expected, 1e-12)


NETWORKS = {
    "plain": {},
    "residual": {"residual": True},
    "gated": {"gated": True},
    "odd": {"odd": True},
    "fourier": {"fourier": (4, 1.0)},
    "periodic": {"periods": (2.0, None)},
    "ranges": {"input_range": ([-1.0, -2.0], [1.0, 3.0]), "output_range": (0.0, 4.0)},
    "learnable": {"activation": "snake"},
    "no bias": {"bias": False, "activation": "gelu"},
}


@pytest.mark.parametrize("name", NETWORKS)
def test_networks_agree(xp, name):
    net = nt.MLP.create([2, 6, 6, 3], seed=1, **NETWORKS[name])
    x, direction = RNG.standard_normal((4, 2)), np.asarray([0.6, -0.8])
    expected = nt.derivatives(net, x, 5, direction)
    with xp.without_compute():
        got = nt.derivatives(xp.network([2, 6, 6, 3], seed=1, **NETWORKS[name]), xp.array(x), 5, xp.array(direction))
    close(xp, got, expected)


@pytest.mark.parametrize("name", NETWORKS)
def test_gradients_agree(xp, name):
    net = nt.MLP.create([2, 5, 5, 2], seed=2, **NETWORKS[name])
    x, direction = RNG.standard_normal((4, 2)), np.asarray([0.6, -0.8])

    def gradient(net, space, x, direction):
        def loss(p):
            u, _, uxx, uxxx = nt.derivatives(net.replace(p), x, 3, direction)
            return space.mean((uxx + space.sin(u)) ** 2) + space.sum(uxxx * uxxx)

        return nt.value_and_grad(loss)(net.parameters)

    value, expected = gradient(net, np, x, direction)
    with xp.without_compute():
        other = xp.network([2, 5, 5, 2], seed=2, **NETWORKS[name])
        got_value, got = gradient(other, _Dispatching(), xp.array(x), xp.array(direction))
    close(xp, got_value, np.asarray(value))
    assert got.keys() == expected.keys()
    for key in expected:
        close(xp, got[key], expected[key], 1e-12)


class _Dispatching:
    """Functions of whatever namespace their argument is of, as array-API code looks them up."""

    def __getattr__(self, name):
        return lambda a: getattr(array_namespace(a), name)(a)


def test_parameters_are_made_in_the_namespace(xp):
    """MLP.create gives the same numbers in every library, in the dtype asked for."""
    made = nt.MLP.create([1, 4, 1], xp=xp.namespace, dtype=xp.float32, seed=3)
    expected = nt.MLP.create([1, 4, 1], dtype=np.float32, seed=3)
    for name, parameter in made.parameters.items():
        close(xp, parameter, expected.parameters[name], 0)


def test_float32_stays_float32(xp):
    net = nt.MLP.create([1, 4, 1], "gelu", xp=xp.namespace, dtype=xp.float32)
    x = xp.array(POINTS, np.float32)
    assert xp.numpy(nt.derivatives(net, x, 4)).dtype == np.float32
    assert xp.numpy(nt.derivatives(lambda x: x.__array_namespace__().erf(x) * 2.0, x, 4)).dtype == np.float32
    _, gradient = nt.value_and_grad(lambda p: _Dispatching().sum(nt.derivatives(net.replace(p), x, 2)[2, ...] ** 2))(
        net.parameters
    )
    assert {xp.numpy(g).dtype for g in gradient.values()} == {np.dtype(np.float32)}


def test_a_jet_is_of_its_arrays_library(xp):
    j = nt.jet(lambda x: x * x, xp.array(POINTS), 3)
    assert isinstance(j, nt.Jet)
    close(xp, j.primal, POINTS**2)
    close(xp, j.coefficients, np.stack([POINTS**2, 2 * POINTS, POINTS * 0 + 1, POINTS * 0]))
