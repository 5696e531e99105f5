"""Networks of JAX arrays: pytrees under every transformation, with the closed-form adjoint, on several devices."""

from __future__ import annotations

import collections
import copy
import functools
import pickle
import subprocess
import sys
import warnings

import numpy as np
import pytest

import ntaylor as nt
from ntaylor.activations import Activation
from ntaylor.series import Series, integrate

jax = pytest.importorskip("jax")
jnp = jax.numpy

RNG = np.random.default_rng(3)
POINTS = RNG.uniform(-1, 1, 5)


@pytest.fixture(autouse=True)
def _float64():
    jax.config.update("jax_enable_x64", True)


def network(*args, **options):
    """A network with every parameter away from zero, so that no gradient vanishes by symmetry."""
    made = nt.MLP.create(*args, xp=jnp, **options)
    rng = np.random.default_rng(5)
    return made.replace({name: jnp.asarray(0.4 * rng.standard_normal(p.shape)) for name, p in made.parameters.items()})


def plain_network(parameters, x):
    """tanh layers written out, for one scalar."""
    v = x[None]
    count = len(parameters) // 2
    for i in range(count):
        v = v @ parameters[f"{2 * i}.weight"] + parameters[f"{2 * i}.bias"]
        v = v if i == count - 1 else jnp.tanh(v)
    return v[0]


def nested(parameters, x, order):
    """u, u′, … of ``plain_network`` by nested reverse mode."""
    return tower(lambda p, t: plain_network(p, t), parameters, x, order)


@functools.partial(jax.jit, static_argnums=(0, 3))
def tower(f, parameters, x, order):
    """f, f′, … at the scalars x by nested reverse mode."""
    found = []
    for _ in range(order + 1):
        found.append(jax.vmap(lambda t, f=f: f(parameters, t))(x))
        f = jax.grad(f, argnums=1)
    return jnp.stack(found)


def relative(got, expected):
    """The largest difference over the largest entry, of two trees."""
    got, expected = (np.concatenate([np.ravel(a) for a in jax.tree.leaves(t)]) for t in (got, expected))
    assert got.shape == expected.shape
    return np.max(np.abs(got - expected)) / np.max(np.abs(expected))


def squares(net, x, order=3):
    return jnp.sum(nt.derivatives(net, x, order) ** 2)


# --- pytrees ---------------------------------------------------------------------------------------


def test_leaves_are_the_parameters_under_their_names():
    net = network([2, 4, 1], "snake", fourier=(3, 1.0), input_range=(-1.0, 2.0))
    leaves, tree = jax.tree_util.tree_flatten_with_path(net)
    assert [path[0].key for path, _ in leaves] == list(net.parameters)
    assert all(a is b for (_, a), b in zip(leaves, net.parameters.values(), strict=True))
    back = jax.tree_util.tree_unflatten(tree, [leaf for _, leaf in leaves])
    x = jnp.asarray(RNG.standard_normal((3, 2)))
    assert (back(x) == net(x)).all()
    assert repr(back) == repr(net)


def test_anything_may_be_a_leaf():
    """JAX puts placeholders into trees; a network is not checked before it is used."""
    net = network([1, 4, 1])
    for leaf in (None, 3, object(), "text"):
        back = jax.tree.map(lambda _, leaf=leaf: leaf, net)
        assert list(back.parameters.values()) == [leaf] * 4
        assert back.layers[0].parameters["weight"] is leaf


@pytest.mark.parametrize("options", [{}, {"gated": True}, {"odd": True}, {"fourier": (3, 1.0)}, {"periods": (2.0,)}])
def test_a_replacement_is_of_the_same_structure(options):
    net = network([1, 4, 4, 1], **options)
    other = net.replace({name: p + 1 for name, p in net.parameters.items()})
    assert jax.tree.structure(net) == jax.tree.structure(other)
    assert hash(jax.tree.structure(net)) == hash(jax.tree.structure(other))


@pytest.mark.parametrize("options", [{"fourier": (3, 1.0)}, {"input_range": (-1.0, 2.0), "output_range": (0.0, 3.0)}])
def test_networks_made_alike_are_of_one_structure(options):
    """So is one that was copied or read back: a function that jit compiled is not traced again after a restart."""
    net = nt.MLP.create([2, 4, 1], xp=jnp, **options)
    for other in (
        nt.MLP.create([2, 4, 1], xp=jnp, **options),
        copy.deepcopy(net),
        pickle.loads(pickle.dumps(net)),
    ):
        assert jax.tree.structure(net) == jax.tree.structure(other)
        assert hash(jax.tree.structure(net)) == hash(jax.tree.structure(other))
    assert jax.tree.structure(net) != jax.tree.structure(nt.MLP.create([2, 4, 1], xp=jnp, input_range=(-1.0, 2.5)))


def test_a_network_with_anything_for_leaves_can_be_printed():
    net = network([2, 4, 1])
    assert "0 parameters" not in repr(net)
    for leaf in (None, "label", 3, object()):
        assert "MLP(Dense, Activate, Dense" in repr(jax.tree.map(lambda _, leaf=leaf: leaf, net))


def test_other_networks_are_of_another_structure():
    structures = [
        jax.tree.structure(network(*args))
        for args in ([[1, 4, 1]], [[2, 4, 1]], [[1, 4, 4, 1]], [[1, 4, 1], "sin"], [[1, 4, 1], "snake"])
    ]
    assert len(set(structures)) == len(structures)


def test_jit_traces_once_for_all_replacements():
    traced = []

    @jax.jit
    def run(net, x):
        traced.append(1)
        return nt.derivatives(net, x, 3)

    net, x = network([1, 6, 1]), jnp.asarray(POINTS)
    first = run(net, x)
    second = run(net.replace({name: 2 * p for name, p in net.parameters.items()}), x)
    assert len(traced) == 1
    assert relative(first, nested(net.parameters, x, 3)) < 1e-13
    assert not jnp.allclose(first, second)


def test_no_tracer_stays_behind():
    """What jit returns, and what it was given, can be used afterwards."""
    net, x = network([1, 6, 1]), jnp.asarray(POINTS)
    with jax.checking_leaks():
        doubled = jax.jit(lambda net: jax.tree.map(lambda p: 2 * p, net))(net)
        made = jax.jit(lambda: nt.MLP.create([1, 3, 1], xp=jnp))()
    assert relative(nt.derivatives(doubled, x, 2), nested(doubled.parameters, x, 2)) < 1e-13
    assert made(x).shape == x.shape
    assert net(x).shape == x.shape


def test_a_network_made_of_numpy_arrays_is_known_after_its_parameters_are_replaced():
    """In a process where JAX has met no network before."""
    script = """
import jax, jax.numpy as jnp, ntaylor as nt
plain = nt.MLP.create([1, 3, 1])
net = plain.replace({name: jnp.asarray(p) for name, p in plain.parameters.items()})
assert len(jax.tree.leaves(net)) == 4
"""
    subprocess.run([sys.executable, "-c", script], check=True)


def test_jets_cross_jit():
    x = jnp.asarray(POINTS)
    jet = jax.jit(lambda x: nt.jet(jnp.sin, x, 3))(x)
    assert isinstance(jet, nt.Jet)
    assert relative(jet.derivatives, jnp.stack([jnp.sin(x), jnp.cos(x), -jnp.sin(x), -jnp.cos(x)])) < 1e-15
    empty = jax.jit(lambda: nt.Jet([x], 4))()
    assert empty.series == (None,) * 4


# --- transformations -------------------------------------------------------------------------------


@pytest.mark.parametrize("order", [1, 4])
def test_derivatives_and_gradients_agree_with_nested_grad(order):
    net, x = network([1, 6, 6, 1]), jnp.asarray(POINTS)
    assert relative(nt.derivatives(net, x, order), nested(net.parameters, x, order)) < 1e-13
    got = jax.jit(jax.grad(squares), static_argnums=2)(net, x, order)
    expected = jax.jit(jax.grad(lambda p: jnp.sum(nested(p, x, order) ** 2)))(net.parameters)
    assert isinstance(got, nt.MLP)
    assert relative(got.parameters, expected) < 1e-12


TRANSFORMED = {
    "grad of x": lambda f: jax.grad(lambda p, x: jnp.sum(f(p, x) ** 2), argnums=1),
    "jacrev": lambda f: jax.jacrev(f),
    "jacfwd": lambda f: jax.jacfwd(f),
    "hessian": lambda f: jax.hessian(lambda p, x: jnp.sum(f(p, x) ** 2)),
    "reverse over reverse": lambda f: jax.jacrev(jax.grad(lambda p, x: jnp.sum(f(p, x) ** 2))),
    "jvp": lambda f: lambda p, x: jax.jvp(lambda p: f(p, x), (p,), (jax.tree.map(jnp.cos, p),))[1],
    "vmap": lambda f: lambda p, x: jax.vmap(f, in_axes=(None, 0))(p, jnp.stack([x, 2 * x])),
    "vmap of parameters": lambda f: (
        lambda p, x: jax.vmap(f, in_axes=(0, None))(jax.tree.map(lambda a: jnp.stack([a, -a]), p), x)
    ),
    "checkpoint": lambda f: jax.grad(lambda p, x: jnp.sum(jax.checkpoint(f)(p, x) ** 2)),
    "third": lambda f: jax.jacfwd(jax.jacrev(jax.grad(lambda p, x: jnp.sum(f(p, x) ** 2), 1), 1), 1),
}


@pytest.mark.parametrize("name", TRANSFORMED)
def test_every_transformation_agrees_with_nested_grad(name):
    net, x = network([1, 3, 1]), jnp.asarray(POINTS[:3])

    def ours(p, x):
        return nt.derivatives(net.replace(p), x, 2)

    got = jax.jit(TRANSFORMED[name](ours))(net.parameters, x)
    expected = jax.jit(TRANSFORMED[name](lambda p, x: nested(p, x, 2)))(net.parameters, x)
    assert relative(got, expected) < 1e-12


@pytest.mark.parametrize("activation", ["tanh", "sigmoid", "softplus", "silu", "gelu", "mish", "sin", "gaussian"])
def test_nested_grad_of_a_network_is_right_where_branches_meet(activation):
    """At u = 0 exactly, where a network with zero biases starts; no order is cut off by the |u| inside a rule."""
    net = nt.MLP.create([1, 3, 1], activation, xp=jnp)
    found = tower(lambda net, t: net(t), net, jnp.zeros(1), 4)[:, 0]
    expected = nt.derivatives(nt.MLP.create([1, 3, 1], activation), 0.0, 4)
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-14)


def test_a_network_inside_a_function():
    """Boundary conditions built in: the network is applied to a traced array, and keeps its own rule."""
    net, x = network([1, 5, 1], "gelu"), jnp.asarray(POINTS)

    def written_out(p, t):
        hidden = jax.nn.gelu(t[None] @ p["0.weight"] + p["0.bias"], approximate=False)
        return (1 - t**2) * (hidden @ p["2.weight"] + p["2.bias"])[0]

    expected = tower(written_out, net.parameters, x, 4)
    assert relative(nt.derivatives(lambda x: (1 - x**2) * net(x), x, 4), expected) < 1e-12
    vmapped = jax.jit(lambda x: nt.derivatives(lambda x: (1 - x**2) * jax.vmap(net)(x), x, 4))(x)
    assert relative(vmapped, expected) < 1e-12
    inner = jax.jit(lambda x: nt.derivatives(lambda x: nt.derivatives(net, x, 2)[2] * (1 - x**2), x, 1))(x)
    u = nt.derivatives(net, x, 3)
    assert relative(inner[1], u[3] * (1 - x**2) - 2 * x * u[2]) < 1e-12


# --- the adjoint -----------------------------------------------------------------------------------


def operations(jaxpr):
    """How often each primitive stands in a jaxpr and those inside it."""
    found = collections.Counter()
    for eqn in jaxpr.eqns:
        found[eqn.primitive.name] += 1
        for value in eqn.params.values():
            if hasattr(value, "jaxpr") or hasattr(value, "eqns"):
                found += operations(getattr(value, "jaxpr", value))
    return found


@pytest.mark.parametrize("order", [3, 8])
@pytest.mark.parametrize("activation", ["tanh", "gelu", "log1p"])
def test_the_backward_pass_is_one_correlation(activation, order, monkeypatch):
    """ū_j = Σ_k v̄_k w_{k−j}: (n+1)(n+2)/2 products, no division, and the n + 1 coefficients of w are all it keeps."""
    monkeypatch.setattr("ntaylor_backends.jax.cpu_kernels.available", lambda: False)
    activation = nt.activations.get(activation)
    u = [jnp.full(3, 0.3 / (k + 1)) for k in range(order + 1)]

    def backward(push):
        v, pull = jax.vjp(push, u)
        return operations(jax.make_jaxpr(pull)(v).jaxpr), len(jax.tree.leaves(pull))

    ours, kept = backward(lambda u: activation.push(u, order, {})[0])
    assert ours["mul"] == (order + 1) * (order + 2) // 2
    assert set(ours) <= {"mul", "add_any", "add", "convert_element_type", "copy", "pjit", "jit"}
    assert kept == order + 1
    differentiated, kept_then = backward(lambda u: activation.closed_form(u, order, {})[0])
    assert differentiated["mul"] + differentiated["div"] >= 2 * ours["mul"]
    assert kept_then > 2 * kept


def test_w_is_made_only_where_a_derivative_is_taken(monkeypatch):
    """Without kernels, that is: to see whether there can be some, the rule is recorded with w."""
    monkeypatch.setattr("ntaylor_backends.jax.cpu_kernels.available", lambda: False)
    asked = []

    def rule(u, xp):
        cosine = [xp.cos(u[0]), -xp.sin(u[0]) * u[1], None]
        w = Series((), lambda k: asked.append(k) or cosine[k])
        return integrate(w * u.derivative(), xp.sin(u[0])), w

    probe = Activation("probe", rule)
    u = [jnp.asarray(POINTS), jnp.ones(5)]
    jax.make_jaxpr(lambda u: probe.push(u, 1, {})[0])(u)
    assert max(asked) == 0
    jax.make_jaxpr(jax.grad(lambda u: jnp.sum(probe.push(u, 1, {})[0][1])))(u)
    assert max(asked) == 1


def test_the_pullback_for_those_who_sweep_themselves():
    net, x = network([1, 4, 1], "snake"), jnp.asarray(POINTS)
    u = [x[:, None], jnp.ones((1, 1))]
    v, pullback = net.push(u, 3)
    _, ours = pullback([2 * c for c in v])
    theirs = jax.grad(lambda net: sum(jnp.sum(c**2) for c in net.push(u, 3)[0]))(net)
    assert relative(ours, theirs.parameters) < 1e-13


def test_learnable_parameters_have_gradients():
    net, x = network([1, 4, 1], "adaptive_tanh"), jnp.asarray(POINTS)

    def written_out(p, t):
        return (jnp.tanh(p["1.a"] * (t[None] @ p["0.weight"] + p["0.bias"])) @ p["2.weight"] + p["2.bias"])[0]

    def loss(p):
        f = lambda t: written_out(p, t)  # noqa: E731
        return jnp.sum(jax.vmap(jax.grad(jax.grad(f)))(x) ** 2)

    got = jax.grad(lambda net: jnp.sum(nt.derivatives(net, x, 2)[2] ** 2))(net)
    assert relative(got.parameters, jax.grad(loss)(net.parameters)) < 1e-12


def test_shared_directions_and_absent_coefficients():
    """R directions beside one primal, and a direction of one row, have cotangents of their own shapes."""
    net = network([2, 4, 1])
    x, directions = jnp.asarray(RNG.standard_normal((5, 2))), jnp.asarray(RNG.standard_normal((3, 1, 2)))

    def together(directions, x):
        return jnp.sum(net.propagate([x, directions], 2)[2] ** 2)

    def apart(directions, x):
        return sum(jnp.sum(net.propagate([x, d], 2)[2] ** 2) for d in directions)

    for argument in (0, 1):
        assert relative(jax.grad(together, argument)(directions, x), jax.grad(apart, argument)(directions, x)) < 1e-13


# --- value_and_grad ----------------------------------------------------------------------------------


@pytest.mark.parametrize("wrap", [lambda f: f, jax.jit], ids=["eager", "jit"])
def test_value_and_grad(wrap):
    net, x = network([1, 4, 1]), jnp.asarray(POINTS)
    value, gradient = wrap(nt.value_and_grad(lambda p: squares(net.replace(p), x)))(net.parameters)
    of_network, network_gradient = wrap(nt.value_and_grad(squares))(net, x)
    expected, expected_gradient = jax.value_and_grad(lambda p: jnp.sum(nested(p, x, 3) ** 2))(net.parameters)
    assert value.shape == ()
    assert relative(value, expected) < 1e-13
    assert relative(gradient, expected_gradient) < 1e-12
    assert relative(network_gradient.parameters, expected_gradient) < 1e-12
    assert of_network == value


def test_value_and_grad_with_auxiliary():
    net, x = network([1, 4, 1]), jnp.asarray(POINTS)

    def loss(net):
        jet = nt.jet(net, x, 2)
        return jnp.sum(jet.primal**2), {"jet": jet, "net": net, "n": 3, "none": None}

    for run in (nt.value_and_grad(loss), jax.jit(nt.value_and_grad(loss))):
        (value, auxiliary), gradient = run(net)
        assert isinstance(gradient, nt.MLP)
        assert relative(value, jnp.sum(net(x) ** 2)) < 1e-15
        assert relative(auxiliary["jet"].derivatives, nested(net.parameters, x, 2)) < 1e-13
        assert (auxiliary["net"](x) == net(x)).all()
        assert auxiliary["n"] == 3
        assert auxiliary["none"] is None


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        (lambda a: a, "must be a scalar"),
        (lambda a: None, "returned nothing"),  # noqa: ARG005
        (lambda a: jnp.sum(a) * 1j, "must be real"),
        (lambda a: (a, a, a), "tuple of 3"),
        (lambda a: jnp.ones(()), "does not depend on the parameters"),  # noqa: ARG005
    ],
)
def test_losses_are_checked(loss, message):
    with pytest.raises(ValueError, match=message):
        nt.value_and_grad(loss)(jnp.ones(2))


def test_parameters_are_checked():
    with pytest.raises(TypeError, match="floating"):
        nt.value_and_grad(jnp.sum)(jnp.arange(3))
    with pytest.raises(TypeError, match="complex"):
        nt.value_and_grad(jnp.sum)(jnp.ones(3) * 1j)


# --- dtypes and devices ------------------------------------------------------------------------------


def test_float32_without_x64():
    """Nothing is promoted and nothing truncated: JAX would warn, and a warning fails."""
    jax.config.update("jax_enable_x64", False)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            net, x = nt.MLP.create([1, 4, 4, 1], "gelu", xp=jnp), jnp.asarray(POINTS)
            value, gradient = jax.jit(nt.value_and_grad(squares))(net, x)
            hessian = jax.jit(jax.hessian(squares))(net, x)
            got = nt.derivatives(net, x, 4)
        assert {a.dtype for a in (value, got, *jax.tree.leaves((gradient, hessian)))} == {np.dtype("float32")}
        expected = nt.derivatives(nt.MLP.create([1, 4, 4, 1], "gelu"), POINTS, 4)
        assert relative(got, expected) < 1e-5
    finally:
        jax.config.update("jax_enable_x64", True)


def test_float32_beside_x64():
    net = nt.MLP.create([1, 4, 1], "softplus", xp=jnp, dtype=jnp.float32)
    x = jnp.asarray(POINTS, dtype=jnp.float32)
    value, gradient = nt.value_and_grad(lambda net: squares(net, x) * 0.5)(net)
    assert {a.dtype for a in (value, *jax.tree.leaves(gradient))} == {np.dtype("float32")}
    with pytest.raises(TypeError, match=r"dtypes were mixed.*net.parameters\['0.weight'\]"):
        nt.derivatives(net, jnp.asarray(POINTS), 2)


def test_several_devices():
    """shard_map, sharded inputs, and arrays put on different devices, on four virtual ones."""
    done = subprocess.run([sys.executable, "-c", DEVICES], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["mapped", "gradient", "function", "sharded", "refused", "moved"]


DEVICES = """
import os, warnings
warnings.simplefilter("error")
os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=4"
import jax, jax.numpy as jnp, numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec as P
try:
    from jax import shard_map
except ImportError:  # before JAX 0.6
    from jax.experimental.shard_map import shard_map
jax.config.update("jax_enable_x64", True)
import ntaylor as nt

mesh = Mesh(np.asarray(jax.devices()), ("points",))
net = nt.MLP.create([1, 5, 1], "gelu", xp=jnp, seed=1)
x = jnp.linspace(-1.0, 1.0, 8)
expected = nt.derivatives(nt.MLP.create([1, 5, 1], "gelu", seed=1), np.asarray(x), 3)
near = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-13)

over = dict(mesh=mesh, out_specs=P(None, "points"))
mapped = shard_map(lambda net, x: nt.derivatives(net, x, 3), in_specs=(P(), P("points")), **over)
near(jax.jit(mapped)(net, x), expected)
print("mapped")

def loss(net, x):
    part = jnp.sum(nt.derivatives(net, x, 3)[3] ** 2)
    return jax.lax.psum(part, "points")
whole = shard_map(loss, mesh=mesh, in_specs=(P(), P("points")), out_specs=P())
plain = jax.grad(lambda net: jnp.sum(nt.derivatives(net, x, 3)[3] ** 2))(net)
for a, b in zip(jax.tree.leaves(jax.jit(jax.grad(whole))(net, x)), jax.tree.leaves(plain), strict=True):
    near(a, b)
print("gradient")

f = lambda x: jnp.sin(x) * jax.nn.softplus(x) + jax.lax.psum(jnp.sum(x * x), "points")
g = lambda x: jnp.sin(x) * jax.nn.softplus(x) + jnp.sum(x * x)
mapped = shard_map(lambda x: nt.derivatives(f, x, 3), in_specs=P("points"), **over)
near(jax.jit(mapped)(x), nt.derivatives(g, x, 3))
print("function")

spread = jax.device_put(x, NamedSharding(mesh, P("points")))
for run in (nt.derivatives, jax.jit(nt.derivatives, static_argnums=2)):
    got = run(net, spread, 3)
    near(got, expected)
    assert len(got.sharding.device_set) == 4
print("sharded")

first, second = (jax.device_put(a, d) for a, d in ((x, jax.devices()[1]), (net, jax.devices()[2])))
try:
    nt.derivatives(second, first, 3)
except ValueError as error:
    assert "x is on" in str(error) and "net.parameters['0.weight'] is on" in str(error), error
    print("refused")
got = nt.derivatives(net, first, 3)
near(got, expected)
assert got.devices() == {jax.devices()[1]}
print("moved")
"""
