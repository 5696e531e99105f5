"""The residual language on JAX: functions, Equinox modules, jit, grad, vmap; nested reverse mode as the oracle."""

# ruff: noqa: ARG005 equations have one signature

from __future__ import annotations

import numpy as np
import pytest

import ntaylor as nt

jax = pytest.importorskip("jax")
jnp = jax.numpy
jax.config.update("jax_enable_x64", True)

POINTS = jnp.asarray(np.random.default_rng(1).uniform(-1, 1, (5, 2)))
WEIGHT = jnp.asarray(np.random.default_rng(2).standard_normal((2, 4)))


def one(p, weight=WEIGHT):
    return jnp.sum(jnp.tanh(p @ weight))


def net(p):
    return jnp.sum(jnp.tanh(p @ WEIGHT), axis=-1)


def burgers(u, x, t, *, nu):
    return u.t + u * u.x - nu * u.xx + np.sin(np.pi * x) * jnp.exp(u)


def nested(p, nu):
    """F at one point by nested reverse mode."""
    slope = jax.grad(one)
    uxx = jax.grad(lambda q: slope(q)[0])(p)[0]
    return slope(p)[1] + one(p) * slope(p)[0] - nu * uxx + jnp.sin(jnp.pi * p[0]) * jnp.exp(one(p))


def close(got, expected, tolerance=1e-11):
    got, expected = np.asarray(got), np.asarray(expected)
    assert got.shape == expected.shape
    np.testing.assert_allclose(got, expected, rtol=0, atol=tolerance * (1 + np.max(np.abs(expected))))


def test_sobolev_tensors_are_those_of_nested_reverse_mode():
    found = jax.jit(lambda p, nu: [nt.residual(burgers, net, p, nu=nu, sobolev=2).tensor(j) for j in range(3)])(
        POINTS, 0.3
    )
    close(found[0], jax.vmap(lambda p: nested(p, 0.3))(POINTS))
    close(found[1], jax.vmap(jax.grad(lambda p: nested(p, 0.3)))(POINTS))
    close(found[2], jax.vmap(jax.jacrev(jax.grad(lambda p: nested(p, 0.3))))(POINTS))


def test_gradients_by_an_unknown_under_jit():
    def loss(nu):
        return nt.residual(burgers, net, POINTS, nu=nu, sobolev=1).loss()

    def expected(nu):
        value = jax.vmap(lambda p: nested(p, nu))(POINTS)
        slope = jax.vmap(jax.grad(lambda p: nested(p, nu)))(POINTS)
        return jnp.mean(value**2) + jnp.mean(jnp.sum(slope**2, axis=-1))

    close(jax.jit(jax.grad(loss))(0.3), jax.grad(expected)(0.3))
    close(nt.value_and_grad(loss)(jnp.asarray(0.3))[1], jax.grad(expected)(0.3))


def test_vmap_over_points():
    got = jax.vmap(lambda p: nt.residual(burgers, net, p, nu=0.3))(POINTS)
    close(got, nt.residual(burgers, net, POINTS, nu=0.3))


def test_functions_of_jax_that_are_jitted_themselves():
    def equation(u, x, t):
        return jax.nn.sigmoid(u) * u.x + jnp.where(x > 0, u, 0.0) + jnp.stack([u, x]).sum(axis=0)

    u, x = net(POINTS), POINTS[:, 0]
    ux = jax.vmap(jax.grad(one))(POINTS)[:, 0]
    close(nt.residual(equation, net, POINTS), jax.nn.sigmoid(u) * ux + jnp.where(x > 0, u, 0.0) + u + x)
    close(nt.residual(equation, net, POINTS, sobolev=1).value, nt.residual(equation, net, POINTS))


def test_an_equinox_module_and_its_gradient():
    eqx = pytest.importorskip("equinox")
    model = eqx.nn.MLP(2, "scalar", 6, 2, jax.nn.tanh, key=jax.random.key(0))

    def loss(m):
        return nt.residual(lambda u, x, t: u.t + u * u.x - u.xx, jax.vmap(m), POINTS, sobolev=1).loss()

    def expected(m):
        def residual(p):
            slope = jax.grad(m)
            return slope(p)[1] + m(p) * slope(p)[0] - jax.grad(lambda q: slope(q)[0])(p)[0]

        slopes = jax.vmap(jax.grad(residual))(POINTS)
        return jnp.mean(jax.vmap(residual)(POINTS) ** 2) + jnp.mean(jnp.sum(slopes**2, axis=-1))

    got, known = eqx.filter_jit(eqx.filter_grad(loss))(model), eqx.filter_grad(expected)(model)
    for a, b in zip(got.layers, known.layers, strict=True):
        close(a.weight, b.weight)
