"""JAX functions that begin with a dense layer: opened behind it, with the numbers of nested ``jax.hessian``."""

from __future__ import annotations

import numpy as np
import pytest

import ntaylor as nt
from ntaylor import pushing
from ntaylor.operators import D, HardConstraint, Radial, identity, jointly, laplacian, weighted_laplacian

jax = pytest.importorskip("jax")
jnp = jax.numpy

WIDTH, OUTPUTS = 5, 2
RNG = np.random.default_rng(7)


@pytest.fixture(autouse=True)
def _float64():
    jax.config.update("jax_enable_x64", True)


def close(got, expected, tolerance=1e-12):
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True):
        a, b = np.asarray(a), np.asarray(b)
        assert a.shape == b.shape, (a.shape, b.shape)
        np.testing.assert_allclose(a, b, rtol=0, atol=tolerance * (1 + np.max(np.abs(b), initial=0.0)))


def parameters(d, dtype=np.float64):
    rng = np.random.default_rng(d)
    shapes = {"W": (d, WIDTH), "b": (WIDTH,), "V": (WIDTH, OUTPUTS)}
    return {name: jnp.asarray(rng.standard_normal(shape) / 2, dtype) for name, shape in shapes.items()}


def points(d, count=3):
    return jnp.asarray(np.random.default_rng(0).standard_normal((count, d)) / d**0.5)


def behind(p, u):
    return jnp.tanh(u + p["b"]) @ p["V"] + jnp.sin(u[..., :OUTPUTS])


def scaled(p, x):
    high = jnp.arange(1.0, x.shape[-1] + 1)
    return behind(p, (2 * (x - p["b"][0]) / high - 1) @ p["W"])


def within(p, x):
    return jax.jit(lambda u: behind(p, (1 - u) @ p["W"]))(-x) * p["b"][:OUTPUTS]


def of_a_point(p, x):
    return behind(p, p["W"].T @ x)


FUNCTIONS = {
    "x @ W": lambda p, x: behind(p, x @ p["W"]),
    "x @ W.T": lambda p, x: behind(p, jnp.einsum("...i,ji->...j", x, p["W"].T)),
    "W first": lambda p, x: behind(p, jnp.einsum("ij,bi->bj", p["W"], x)),
    "a range of inputs": scaled,
    "in a call": within,
    "vmap": lambda p, x: jax.vmap(lambda x: of_a_point(p, 3 * x))(x),
    "vmap of jit": lambda p, x: jax.vmap(jax.jit(lambda x: of_a_point(p, x)))(x),
    "checkpoint": lambda p, x: jax.vmap(jax.checkpoint(lambda x: of_a_point(p, x)))(x),
    "features": lambda p, x: behind(p, jnp.sin(x @ p["W"]) * jnp.cos(jnp.ones(1))),
}
"""Functions that use x once."""

OTHERS = {
    "residual": lambda p, x: behind(p, x @ p["W"]) + x[..., :1],
    "two products": lambda p, x: behind(p, x @ p["W"]) * jnp.sum(jnp.cos(x @ p["W"]), -1, keepdims=True),
    "behind a function": lambda p, x: behind(p, jnp.sin(x) @ p["W"]),
    "a factor of each point": lambda p, x: behind(p, (x * jnp.arange(1.0, len(x) + 1)[:, None]) @ p["W"]),
    "columns": lambda p, x: behind(p, x[:, 1:] @ p["W"][1:]),
    "a part in a loop": lambda p, x: jax.lax.scan(lambda c, _: (c, None), behind(p, x @ p["W"]) + x[:, :1], None, 2)[0],
    "its own precision": lambda p, x: behind(p, jnp.matmul(x, p["W"], precision="highest")),
}
"""Functions that are pushed as they are."""


def hessian(f, x):
    """(batch, outputs, d, d)"""
    return jax.vmap(jax.hessian(lambda point: f(point[None])[0]))(x)


def nested(f, x):
    """The Laplacian."""
    return jax.jit(lambda x: jnp.trace(hessian(f, x), axis1=-2, axis2=-1))(x)


@pytest.fixture
def pushed_on(monkeypatch):
    """How many directions each push of a function, or of what is behind its first layer, has."""
    counts = []
    original = pushing._pushed_to_one

    def push(f, coefficients, order):
        counts.append(coefficients[1].family.size)
        return original(f, coefficients, order)

    monkeypatch.setattr(pushing, "_pushed_to_one", push)
    return counts


@pytest.mark.parametrize("d", [3, 9])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_laplacians_are_those_of_nested_hessians(pushed_on, name, d):
    p, x = parameters(d), points(d)

    def f(x):
        return FUNCTIONS[name](p, x)

    expected = nested(f, x)
    close(jax.jit(lambda x: nt.laplacian(f, x))(x), expected)
    assert pushed_on == [min(d, WIDTH)]
    if name == "vmap":
        close(laplacian()(f, x, max_directions=2), expected)
        assert max(pushed_on[1:]) == 2


@pytest.mark.parametrize("name", OTHERS)
def test_other_functions_are_pushed_as_they_are(pushed_on, name):
    p, x = parameters(9), points(9)

    def f(x):
        return OTHERS[name](p, x)

    expected = nested(f, x[:1])
    close(jax.jit(lambda x: nt.laplacian(f, x))(x)[:1], expected)
    assert pushed_on == [9]
    with pytest.raises(ValueError, match=r"nothing else with x.*f is a function, x has shape"):
        laplacian()(f, x, method="compressed")


def test_weighted_and_joint_operators(pushed_on):
    p, x = parameters(9), points(9)
    a = np.random.default_rng(2).standard_normal((9, 9))

    def f(x):
        return FUNCTIONS["vmap"](p, x)

    H, slope = hessian(f, x), jax.vmap(jax.jacobian(lambda point: f(point[None])[0]))(x)
    Ls = (weighted_laplacian(a + a.T), laplacian() + 3 * D(0) - identity(), D(0, 1))
    expected = (
        jnp.einsum("ij,boij->bo", jnp.asarray(a + a.T), H),
        jnp.trace(H, axis1=-2, axis2=-1) + 3 * slope[..., 0] - f(x),
        H[..., 0, 1],
    )
    for L, value in zip(Ls, expected, strict=True):
        close(jax.jit(lambda x, L=L: L(f, x))(x), value)
    assert max(pushed_on) <= 2 * WIDTH
    close(jax.jit(lambda x: tuple(jointly(Ls, f, x)))(x), expected)


def test_first_and_higher_derivatives():
    """Directions are multiplied by the weight at every order."""
    p, x = parameters(3), points(3)

    def f(x):
        return FUNCTIONS["vmap"](p, 2 - x)

    close(nt.gradient(f, x), jax.vmap(jax.jacobian(lambda point: f(point[None])[0]))(x))
    close(jax.jit(lambda x: nt.biharmonic(f, x))(x), nested(lambda x: nested(f, x), x), 1e-11)


def test_one_point_and_vmap_of_points(pushed_on):
    p, x = parameters(9), points(9)
    expected = nested(lambda x: FUNCTIONS["x @ W"](p, x), x)
    each = jax.jit(jax.vmap(lambda x: nt.laplacian(lambda x: of_a_point(p, x), x)))(x)
    close(each, expected)
    close(nt.laplacian(lambda x: of_a_point(p, x), x[1]), expected[1])
    assert pushed_on == [WIDTH] * 2


@pytest.mark.parametrize("name", ["x @ W", "a range of inputs", "in a call", "vmap", "checkpoint"])
def test_gradients_by_parameters(name):
    p, x = parameters(9), points(9)

    def loss(of):
        return lambda p, x: jnp.mean(of(lambda x: FUNCTIONS[name](p, x), x) ** 2)

    ours = loss(nt.laplacian)
    theirs = loss(nested)
    close(*(jax.jit(jax.value_and_grad(of, argnums=(0, 1)))(p, x) for of in (ours, theirs)))
    ensemble = jax.tree.map(lambda a: jnp.stack([a, 2 * a]), p)
    close(*(jax.jit(jax.vmap(jax.grad(of), (0, None)))(ensemble, x) for of in (ours, theirs)))
    direction = jax.tree.map(jnp.cos, p)
    close(*(jax.jit(lambda p, of=of: jax.jvp(jax.grad(of), (p, x), (direction, x)))(p) for of in (ours, theirs)), 1e-11)


def test_equinox(pushed_on):
    equinox = pytest.importorskip("equinox")
    x = points(9)
    made = equinox.nn.MLP(9, 2, WIDTH, 2, activation=jnp.tanh, key=jax.random.key(0))
    made = jax.tree.map(lambda a: a.astype(float) if equinox.is_inexact_array(a) else a, made)

    def loss(of):
        return lambda model: jnp.sum(of(jax.vmap(model), x) ** 2)

    ours, theirs = map(loss, (nt.laplacian, nested))
    close(*(equinox.filter_jit(equinox.filter_value_and_grad(of))(made) for of in (ours, theirs)))
    assert pushed_on == [WIDTH]


def test_flax(pushed_on):
    linen, nnx = pytest.importorskip("flax.linen"), pytest.importorskip("flax.nnx")
    x = points(9)
    module = linen.Sequential([linen.Dense(WIDTH, param_dtype=float), linen.tanh, linen.Dense(1, param_dtype=float)])
    variables = module.init(jax.random.key(0), x)
    layers = [nnx.Linear(9, WIDTH, rngs=nnx.Rngs(0), param_dtype=float), nnx.tanh]
    for f in (lambda x: module.apply(variables, x), nnx.Sequential(*layers)):
        close(nt.laplacian(f, x), nested(f, x))
    assert pushed_on == [WIDTH] * 2


@pytest.mark.parametrize("d", [3, 9])
def test_hard_constraints(d):
    p, x = parameters(d), points(d)
    held = HardConstraint(lambda x: FUNCTIONS["x @ W"](p, x)[:, :1], Radial(lambda s, xp: (1 - s) * xp.exp(-s)))
    expected = nested(held, x)
    close(nt.laplacian(held, x), expected)
    close(laplacian()(held, x, method="compressed"), expected)


def test_float32():
    p, x = parameters(40), points(40)
    exact = nested(lambda x: FUNCTIONS["vmap"](p, x), x)
    small = jax.tree.map(lambda a: a.astype(jnp.float32), p)
    got = nt.laplacian(lambda x: FUNCTIONS["vmap"](small, x), x.astype(jnp.float32))
    assert got.dtype == jnp.float32
    close(got, exact, 3e-6)
    # What f computes in another dtype than that of x is not opened.
    close(nt.laplacian(lambda x: FUNCTIONS["vmap"](small, x.astype(jnp.float32)).astype(x.dtype), x), exact, 3e-6)


def test_the_function_is_called_once():
    p, x = parameters(9), points(9)
    for function in (FUNCTIONS["x @ W"], OTHERS["residual"]):
        called = []

        def f(x, function=function, called=called):
            called.append(x)
            if x.shape[-1] != 9:
                raise ValueError("nine inputs")
            return function(p, x)

        nt.laplacian(f, x)
        (3 * laplacian() - D(0) + identity())(f, x)
        laplacian().estimate(f, x, samples=2, rng=0, sets=2)
        assert len(called) == 3
        with pytest.raises(ValueError, match="nine inputs"):
            nt.laplacian(f, x[:, 1:])


def test_what_is_refused_is_refused_as_before():
    p, x = parameters(9), points(9)
    with pytest.raises(TypeError, match="returns one array, it returned a tuple"):
        nt.laplacian(lambda x: (FUNCTIONS["x @ W"](p, x), 1.0), x)
    with pytest.raises(TypeError, match="must return floating values"):
        nt.laplacian(lambda x: FUNCTIONS["x @ W"](p, x) > 0, x)
    with pytest.raises(nt.jets.MissingRule, match=r"schur(.|\n)*in line"):
        nt.laplacian(lambda x: jax.lax.linalg.schur(jnp.ones((3, 3)) * jnp.sum(x @ p["W"]))[0], x)
    with pytest.raises(TypeError, match="different libraries"):
        nt.laplacian(lambda x: nt.MLP.create([9, 5, 1], xp=np)(x), x)


def test_functions_that_jax_cannot_trace_are_followed_otherwise():
    p, x = parameters(9), points(9)

    def f(x):
        return x.__array_namespace__().softplus(x @ p["W"])  # a name that JAX's own namespace lacks

    close(nt.laplacian(f, x), nested(lambda x: jax.nn.softplus(x @ p["W"]), x))


def test_no_vectors_of_a_million_directions():
    d = 1_000_000
    w = jnp.full((d, 2), 1e-3, jnp.float32)
    value = nt.laplacian(lambda x: jnp.sum(jnp.sin(x @ w), -1, keepdims=True), jnp.full((2, d), 1e-4, jnp.float32))
    np.testing.assert_allclose(value, -2 * np.sin(0.1), rtol=1e-4)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
@pytest.mark.parametrize("kind", ["function", "network"])
def test_numbers_of_16_bits(kind, dtype):
    p = parameters(9, dtype)
    if kind == "function":
        f = lambda x: jnp.tanh(x @ p["W"]) @ p["V"]  # noqa: E731
        wide = lambda x: jnp.tanh(x @ p["W"].astype(float)) @ p["V"].astype(float)  # noqa: E731
    else:
        f = nt.MLP.create([9, WIDTH, OUTPUTS], xp=jnp, dtype=dtype)
        wide = f.replace({name: a.astype(float) for name, a in f.parameters.items()})
    x = points(9).astype(dtype)
    found = laplacian()(f, x)
    assert found.dtype == dtype
    expected = jax.vmap(lambda point: jnp.trace(jax.hessian(wide)(point), axis1=-2, axis2=-1))(x.astype(float))
    close(found.astype(float), expected, 40 * float(jnp.finfo(dtype).eps))


def test_a_layer_without_outputs():
    found = laplacian()(lambda x: jnp.tanh(x @ jnp.ones((7, 0))) @ jnp.ones((0, 2)), jnp.ones((4, 7)))
    close(found, np.zeros((4, 2)))
