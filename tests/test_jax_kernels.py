"""Kernels that XLA calls on a CPU: the numbers are those without them, under every transformation.

What they are compared with is nested ``jax.grad`` of functions written out, mpmath at 50 digits, and the closed form.
"""

from __future__ import annotations

import math
import subprocess
import sys

import mpmath
import numpy as np
import pytest

import ntaylor as nt

jax = pytest.importorskip("jax")
jnp = jax.numpy

from ntaylor_backends.jax import block_activation, cpu_kernels  # noqa: E402 after the skip

pytestmark = pytest.mark.skipif(
    not cpu_kernels.available() or jax.default_backend() != "cpu", reason="needs Numba's llvmlite, and a CPU"
)
POINTS = np.random.default_rng(3).uniform(-1, 1, 7)


@pytest.fixture(autouse=True)
def _float64(monkeypatch):
    jax.config.update("jax_enable_x64", True)
    monkeypatch.setattr(block_activation, "_threads", lambda: 2)  # whatever this machine has


@pytest.fixture
def without(monkeypatch):
    """A function of no arguments -> what it gives without kernels."""

    def run(function):
        with monkeypatch.context() as patch:
            patch.setattr(cpu_kernels, "available", lambda: False)
            return function()

    return run


def network(activation="tanh", dtype=None, widths=(1, 5, 4, 1)):
    """A network with every parameter away from zero."""
    made = nt.MLP.create(list(widths), activation, xp=jnp)
    rng = np.random.default_rng(5)
    arrays = {name: 0.4 * rng.standard_normal(p.shape) for name, p in made.parameters.items()}
    return made.replace({name: jnp.asarray(a, dtype=dtype) for name, a in arrays.items()})


def near(got, expected, tolerance=1e-11):
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True):
        scale = float(np.max(np.abs(b), initial=0.0))
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance * scale + 1e-300)


def kernels_in(function, *arguments):
    """How many calls of kernels there are in what XLA compiled."""
    return jax.jit(function).lower(*arguments).compile().as_text().count('custom_call_target="ntaylor_')


def derivatives(net, x):
    return nt.derivatives(net, x, 5)


def loss(net, x):
    return jnp.sum(derivatives(net, x) ** 2)


# --- numbers ---------------------------------------------------------------------------------------


EASY = ["tanh", "sigmoid", "sin", "cos", "exp", "gelu", "silu", "softplus", "gaussian", "atan", "relu3", "ndtr"]


@pytest.mark.parametrize("activation", EASY)
def test_derivatives_gradients_and_those_of_gradients_are_those_of_the_closed_form(activation, without):
    net, x = network(activation), jnp.asarray(POINTS)

    def everything():
        along = jax.tree.map(jnp.cos, net)
        of_gradient = jax.jit(lambda net: jax.jvp(jax.grad(loss), (net, x), (along, jnp.ones_like(x)))[1])
        return derivatives(net, x), jax.jit(jax.grad(loss))(net, x), of_gradient(net)

    near(everything(), without(everything))
    assert kernels_in(derivatives, net, x) >= 1
    assert without(lambda: kernels_in(lambda *a: derivatives(*a), net, x)) == 0


@pytest.mark.parametrize("order", [1, 2, 9])
def test_against_fifty_digits(order):
    """f(u) along u = u_0 + u_1 t + …, at points where tanh is steep, flat and 0."""
    mpmath.mp.dps = 50
    u = [jnp.asarray([0.0, 0.3, -2.0, 9.0]) / (k + 1) + (0.1 * k) for k in range(order + 1)]
    found = nt.activations.get("tanh").push(u, order, {})[0]
    for i in range(4):
        along = [mpmath.mpf(float(c[i])) for c in u]
        expected = mpmath.taylor(lambda t, along=along: mpmath.tanh(mpmath.polyval(along[::-1], t)), 0, order)
        np.testing.assert_allclose([float(c[i]) for c in found], [float(c) for c in expected], rtol=1e-12, atol=1e-17)


@pytest.mark.parametrize("activation", ["tanh", "sigmoid", "softplus", "silu"])
def test_derivatives_of_derivatives_where_u_is_zero(activation):
    """No order is cut off by the |u| inside a rule, whose derivative at 0 is the branch's."""

    def f(u):
        return nt.activations.get(activation).push([u, jnp.ones_like(u)], 2, {})[0][2]

    exact = nt.activations.get(activation).push([np.zeros(1), np.ones(1)], 5, {})[0]
    for k in range(2, 6):
        factor = math.factorial(k) / 2
        np.testing.assert_allclose(f(jnp.zeros(())), float(exact[k][0]) * factor if k < len(exact) else 0.0, atol=1e-13)
        f = jax.grad(f)


def test_in_float32():
    net, x = network(dtype=jnp.float32), jnp.asarray(POINTS, dtype=jnp.float32)
    exact = network()
    assert derivatives(net, x).dtype == jnp.float32
    near(derivatives(net, x), derivatives(exact, jnp.asarray(POINTS)), 1e-4)
    near(jax.grad(loss)(net, x), jax.grad(loss)(exact, jnp.asarray(POINTS)), 1e-3)
    assert kernels_in(derivatives, net, x) == 2


# --- transformations ---------------------------------------------------------------------------------

TRANSFORMED = {
    "grad": lambda f: jax.grad(lambda n, x: jnp.sum(f(n, x) ** 2)),
    "jvp": lambda f: lambda n, x: jax.jvp(f, (n, x), (n, x))[1],
    "jacfwd": lambda f: jax.jacfwd(f, 1),
    "hessian": lambda f: jax.hessian(lambda n, x: jnp.sum(f(n, x) ** 2), 1),
    "vmap of points": lambda f: jax.vmap(f, (None, 0)),
    "vmap of parameters": lambda f: (
        lambda n, x: jax.vmap(f, (0, None))(jax.tree.map(lambda a: jnp.stack([a, 2 * a]), n), x)
    ),
    "vmap of a gradient": lambda f: jax.vmap(jax.grad(lambda n, x: jnp.sum(f(n, x) ** 2)), (None, 0)),
    "checkpoint": lambda f: jax.grad(lambda n, x: jnp.sum(jax.checkpoint(f)(n, x) ** 2)),
    "scan": lambda f: (
        lambda n, x: jax.lax.scan(lambda c, t: (c + f(n, t), None), jnp.zeros((4, 7)), jnp.stack([x, 2 * x]))[0]
    ),
    "nested derivatives": lambda f: lambda n, x: nt.derivatives(lambda t: f(n, t)[2], x, 3),
    "derivatives of a gradient": lambda f: (
        lambda n, x: nt.derivatives(lambda t: jax.grad(lambda t: jnp.sum(f(n, t)[3]))(t), x, 2)
    ),
}


@pytest.mark.parametrize("name", TRANSFORMED)
def test_transformations(name, without):
    net, x = network(), jnp.asarray(POINTS)

    def transformed():
        return jax.jit(TRANSFORMED[name](lambda n, x: nt.derivatives(n, x, 3)))(net, x)

    near(transformed(), without(transformed))


def test_without_jit_and_with_it_disabled(without):
    net, x = network(), jnp.asarray(POINTS)
    expected = without(lambda: (derivatives(net, x), jax.grad(loss)(net, x)))
    near((derivatives(net, x), jax.grad(loss)(net, x)), expected)
    with jax.disable_jit():
        near((derivatives(net, x), jax.grad(loss)(net, x)), expected)


def test_donated_parameters_are_written_over_and_nothing_else(without):
    net, x = network(), jnp.asarray(POINTS)

    def step(net, x):
        return jax.tree.map(lambda p, g: p - 0.1 * g, net, jax.grad(loss)(net, x))

    expected = without(lambda: step(net, x))
    near(jax.jit(step, donate_argnums=0)(jax.tree.map(jnp.copy, net), x), expected)
    np.testing.assert_array_equal(x, POINTS)


def test_a_function_of_dense_layers_is_one_product_and_one_kernel_a_layer(without):
    net, x = network(), jnp.asarray(POINTS)[:, None]

    def function(p, x):
        for i in (0, 2):
            x = jnp.tanh(x @ p[f"{i}.weight"] + p[f"{i}.bias"])
        return x @ p["4.weight"] + p["4.bias"]

    def found(p):
        return nt.derivatives(lambda x: function(p, x), x, 5)

    near(found(net.parameters), derivatives(net, x))
    assert kernels_in(found, net.parameters) == 2
    gradient = jax.grad(lambda p: jnp.sum(found(p) ** 2))
    near(gradient(net.parameters), without(lambda: gradient(net.parameters)))


# --- where there are none ------------------------------------------------------------------------------


LEFT = {
    "complex numbers": (lambda x: nt.derivatives(jnp.tanh, x, 4), np.asarray([0.3 + 0.1j])),
    "float16": (lambda x: nt.derivatives(jnp.tanh, x, 2), np.asarray([0.3], np.float16)),
    "learnable parameters": (lambda x: nt.derivatives(network("snake"), x, 4), POINTS),
    "no derivative": (lambda x: nt.derivatives(network(), x, 0), POINTS),
    "rules with branches": (lambda x: nt.derivatives(network("elu"), x, 4), POINTS),
    "what is too large": (lambda x: nt.derivatives(network(), x, 1), np.ones(2**16)),
}


@pytest.mark.parametrize("what", LEFT)
def test_what_is_left_to_xla(what, without):
    function, argument = LEFT[what]
    near(function(jnp.asarray(argument)), without(lambda: function(jnp.asarray(argument))))
    assert kernels_in(function, jnp.asarray(argument)) == 0


def test_what_is_exported_calls_no_kernel():
    """Where it is loaded there is none."""
    export = pytest.importorskip("jax.export")
    net, x = network(), jnp.asarray(POINTS)
    exported = export.export(jax.jit(lambda x: derivatives(net, x)))(x)
    assert "custom_call @ntaylor" not in exported.mlir_module()
    near(exported.call(x), derivatives(net, x))
    batch = jax.ShapeDtypeStruct(export.symbolic_shape("batch"), x.dtype)
    near(export.export(jax.jit(lambda x: derivatives(net, x)))(batch).call(x), derivatives(net, x))


def test_a_sharding_that_is_part_of_the_type():
    """Of one device too: JAX would have to be told of every result."""
    kinds = pytest.importorskip("jax.sharding")
    if not hasattr(kinds, "AxisType") or not hasattr(jax, "set_mesh"):
        pytest.skip("before JAX 0.7")
    mesh = jax.make_mesh((1,), ("points",), axis_types=(kinds.AxisType.Explicit,))
    net, x = network(), jnp.asarray(POINTS)
    expected = jax.grad(loss)(net, x)
    with jax.set_mesh(mesh):
        spread = jax.device_put(x, kinds.NamedSharding(mesh, kinds.PartitionSpec("points")))
        near(jax.jit(jax.grad(lambda net, x: loss(net, x)))(net, spread), expected)


def test_it_can_be_gone_without(monkeypatch):
    net, x = network(), jnp.asarray(POINTS)
    monkeypatch.setattr(block_activation, "LARGEST", 0)
    assert kernels_in(lambda x: derivatives(net, x), x) == 0


def test_one_that_cannot_be_compiled_is_left_to_xla(monkeypatch):
    net, x = network(), jnp.asarray(POINTS)
    expected = derivatives(net, x)

    def fails(_):
        raise RuntimeError("LLVM IR parsing error")

    monkeypatch.setattr(cpu_kernels, "_machine_code", fails)
    monkeypatch.setattr(cpu_kernels, "_compiled", {})
    cpu_kernels._target.cache_clear()
    try:
        near(jax.jit(lambda x: derivatives(net, x) + 0.0)(x), expected)
        assert kernels_in(lambda x: derivatives(net, x), x) == 0
    finally:
        cpu_kernels._target.cache_clear()


def test_a_program_kept_on_disk_finds_its_kernels_in_another_process(tmp_path):
    """JAX's own cache of compiled programs: kernels bear names that say what they do, and are made anew."""
    runs = [
        subprocess.run([sys.executable, "-c", KEPT, str(tmp_path)], capture_output=True, text=True, check=False)
        for _ in range(2)
    ]
    assert [r.returncode for r in runs] == [0, 0], runs[0].stderr + runs[1].stderr
    assert runs[0].stdout == runs[1].stdout
    assert any(tmp_path.iterdir())


KEPT = """
import sys
import jax, jax.numpy as jnp
jax.config.update("jax_compilation_cache_dir", sys.argv[1])
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
jax.config.update("jax_persistent_cache_min_entry_size_bytes", 0)
import ntaylor as nt
net = nt.MLP.create([1, 8, 8, 1], xp=jnp)
print(jax.jit(jax.grad(lambda net: jnp.sum(nt.derivatives(net, jnp.ones(4), 4) ** 2)))(net).parameters)
"""


def test_several_devices():
    """A kernel a device inside of shard_map; elsewhere XLA shares the work out, which it cannot with a kernel's."""
    done = subprocess.run([sys.executable, "-c", DEVICES], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["shared", "mapped", "gradient"]


DEVICES = """
import os
os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=4"
import jax, jax.numpy as jnp, numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec as P
try:
    from jax import shard_map
except ImportError:  # before JAX 0.6
    from jax.experimental.shard_map import shard_map
jax.config.update("jax_enable_x64", True)
import ntaylor as nt

net, x = nt.MLP.create([1, 8, 8, 1], xp=jnp, seed=1), jnp.linspace(-1.0, 0.7, 16)
mesh = Mesh(np.asarray(jax.devices()), ("points",))
expected = nt.derivatives(nt.MLP.create([1, 8, 8, 1], seed=1), np.asarray(x), 5)
near = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-10)
f = lambda net, x: nt.derivatives(net, x, 5)
text = lambda function: jax.jit(function).lower(net, x).compile().as_text()

spread = jax.device_put(x, NamedSharding(mesh, P("points")))
found = jax.jit(f)(net, spread)
near(found, expected)
assert found.sharding.spec == P(None, "points")
assert "all-gather" not in jax.jit(f).lower(net, spread).compile().as_text()
print("shared")

mapped = shard_map(f, mesh=mesh, in_specs=(P(), P("points")), out_specs=P(None, "points"))
near(jax.jit(mapped)(net, x), expected)
print("mapped")

loss = lambda net, x: jnp.sum(f(net, x) ** 2)
whole = lambda net, x: jax.lax.psum(loss(net, x), "points")
whole = shard_map(whole, mesh=mesh, in_specs=(P(), P("points")), out_specs=P())
for a, b in zip(*(jax.tree.leaves(jax.jit(jax.grad(l))(net, x)) for l in (whole, loss)), strict=True):
    near(a, b)
along = lambda l: jax.jit(lambda net: jax.jvp(jax.grad(lambda net: l(net, x)), (net,), (net,))[1])(net)
for a, b in zip(*(jax.tree.leaves(along(l)) for l in (whole, loss)), strict=True):
    near(a, b)
print("gradient")
"""
