"""Modules of Equinox and Flax as they are, and optimisers of Optax on networks."""

from __future__ import annotations

import numpy as np
import pytest

import ntaylor as nt

jax = pytest.importorskip("jax")
jnp = jax.numpy

POINTS = np.linspace(-1, 0.9, 5)  # not 0, where LayerNorm of a layer with zero biases is singular
ORDER = 3


@pytest.fixture(autouse=True)
def _float64():
    jax.config.update("jax_enable_x64", True)


def nested(f, x, order):
    """f, f′, … of a function of one scalar by nested reverse mode."""
    found = []
    for _ in range(order + 1):
        found.append(jax.vmap(f)(x))
        f = jax.grad(f)
    return jnp.stack(found)


def close(got, expected, tolerance=1e-12):
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True):
        scale = 1 + np.max(np.abs(b), initial=0.0)
        np.testing.assert_allclose(a, b, rtol=0, atol=tolerance * scale)


def check(on_batch, on_scalar, module):
    """Derivatives, and the gradient of a loss made of them, of ``on_batch(module)`` and ``on_scalar(module)``."""
    x = jnp.asarray(POINTS)

    @jax.jit
    def ours(module):
        return nt.derivatives(on_batch(module), x[:, None], ORDER)[..., 0]

    @jax.jit
    def theirs(module):
        return nested(on_scalar(module), x, ORDER)

    close(ours(module), theirs(module))
    close(*(jax.jit(jax.grad(lambda m, f=f: jnp.sum(f(m) ** 2)))(module) for f in (ours, theirs)), tolerance=1e-11)


@pytest.mark.parametrize("activation", ["tanh", "softplus", "gelu"])
def test_equinox(activation):
    """A module of one point under vmap; its static fields are left alone by partition."""
    equinox = pytest.importorskip("equinox")
    made = equinox.nn.MLP(1, 1, 4, 2, activation=getattr(jax.nn, activation), key=jax.random.key(0))
    arrays, static = equinox.partition(made, equinox.is_inexact_array)

    def module(arrays):
        return equinox.combine(arrays, static)

    check(lambda a: jax.vmap(module(a)), lambda a: lambda t: module(a)(t[None])[0], arrays)
    one = nt.derivatives(made, jnp.ones(1), 2)
    close(one, nt.derivatives(jax.vmap(made), jnp.ones((1, 1)), 2)[:, 0])


def test_equinox_training_step():
    equinox = pytest.importorskip("equinox")
    net, x = nt.MLP.create([1, 4, 1], xp=jnp), jnp.asarray(POINTS)
    module = equinox.nn.MLP(1, 1, 4, 1, activation=jnp.tanh, key=jax.random.key(0))

    @equinox.filter_jit
    @equinox.filter_value_and_grad
    def loss(both, x):
        net, module = both
        return jnp.mean((nt.derivatives(net, x, 2)[2] - nt.derivatives(jax.vmap(module), x[:, None], 1)[1, :, 0]) ** 2)

    value, (of_net, of_module) = loss((net, module), x)
    assert value > 0
    assert isinstance(of_net, nt.MLP)
    assert type(of_module) is type(module)


def test_flax_linen():
    linen = pytest.importorskip("flax.linen")

    class Network(linen.Module):
        @linen.compact
        def __call__(self, x):
            x = linen.LayerNorm()(linen.swish(linen.Dense(4, param_dtype=jnp.float64)(x)))
            return linen.Dense(1, param_dtype=jnp.float64)(x)

    network = Network()
    variables = network.init(jax.random.key(0), jnp.ones((1, 1)))
    check(
        lambda v: lambda x: network.apply(v, x),
        lambda v: lambda t: network.apply(v, t[None, None])[0, 0],
        variables,
    )


def test_flax_nnx():
    nnx = pytest.importorskip("flax.nnx")

    class Network(nnx.Module):
        def __init__(self, rngs):
            self.first = nnx.Linear(1, 4, rngs=rngs, param_dtype=jnp.float64)
            self.last = nnx.Linear(4, 1, rngs=rngs, param_dtype=jnp.float64)

        def __call__(self, x):
            return self.last(nnx.gelu(self.first(x)))

    network = Network(nnx.Rngs(0))
    description, state = nnx.split(network)
    check(
        lambda s: nnx.merge(description, s),
        lambda s: lambda t: nnx.merge(description, s)(t[None, None])[0, 0],
        state,
    )
    x = jnp.asarray(POINTS)[:, None]
    close(nt.derivatives(network, x, 2), nt.derivatives(lambda x: nnx.merge(description, state)(x), x, 2))

    @nnx.jit
    def gradient(network, x):
        return nnx.grad(lambda network: jnp.mean(nt.derivatives(network, x, 2)[2] ** 2))(network)

    assert all(jnp.any(leaf != 0) for leaf in jax.tree.leaves(gradient(network, x)["first"]["kernel"]))


def test_optax():
    """Adam on a network as a pytree, traced once, finds a solution of u″ = −1, u(±1) = 0."""
    optax = pytest.importorskip("optax")
    x, traced = jnp.linspace(-1.0, 1.0, 11), []
    optimiser = optax.adam(1e-2)

    @jax.jit
    def step(net, state):
        traced.append(1)

        def loss(net):
            u, _, curvature = nt.derivatives(lambda x: (1 - x**2) * net(x), x, 2)
            return jnp.mean((curvature + 1) ** 2), u

        (value, u), gradient = nt.value_and_grad(loss)(net)
        updates, state = optimiser.update(gradient, state, net)
        return optax.apply_updates(net, updates), state, value, u

    net = nt.MLP.create([1, 8, 1], xp=jnp)
    state = optimiser.init(net)
    for _ in range(400):
        net, state, value, u = step(net, state)
    assert isinstance(net, nt.MLP)
    assert len(traced) == 1
    assert value < 1e-3
    np.testing.assert_allclose(u, (1 - x**2) / 2, atol=2e-2)
