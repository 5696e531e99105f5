"""Bratu's equation, u'' + e^u = 0 with u(0) = u(1) = 0, by an Equinox module and Optax under jit."""

import sys

import equinox as eqx
import jax
import jax.numpy as jnp
import optax

import ntaylor as nt

jax.config.update("jax_enable_x64", True)
steps = int(sys.argv[1]) if len(sys.argv) > 1 else 3000


class Bridge(eqx.Module):
    """x (1 - x) net(x): zero at both ends whatever the weights are."""

    net: eqx.nn.MLP

    def __call__(self, x):
        return x * (1 - x) * self.net(x)


model = Bridge(eqx.nn.MLP(1, 1, 16, 2, activation=jnp.tanh, key=jax.random.key(0)))
x = jnp.linspace(0, 1, 40)[:, None]
optimiser = optax.adam(optax.cosine_decay_schedule(5e-3, steps))
state = optimiser.init(eqx.filter(model, eqx.is_array))


@eqx.filter_value_and_grad
def loss(model):
    # The module is of one point, so jax.vmap makes it one of a batch; its derivatives are those of all of it.
    u, _, ddu = nt.derivatives(jax.vmap(model), x, 2)
    return jnp.mean((ddu + jnp.exp(u)) ** 2)


@eqx.filter_jit
def step(model, state):
    value, gradient = loss(model)
    updates, state = optimiser.update(gradient, state)
    return eqx.apply_updates(model, updates), state, value


for _ in range(steps):
    model, state, value = step(model, state)

theta = 1.5171645990507543685  # θ = √2 cosh(θ/4): the lower of the two solutions
exact = -2 * jnp.log(jnp.cosh((x - 0.5) * theta / 2) / jnp.cosh(theta / 4))
print(f"loss {value:.1e}, max error {jnp.max(jnp.abs(jax.vmap(model)(x) - exact)):.1e}")
