"""Compressed directions: at most as many as the first layer has outputs, and every value and gradient as without.

Plain, collapsed and compressed differ by rounding only, 1e-12 of the largest entry.
"""

# ruff: noqa: ARG005 functions in a table share one signature

from __future__ import annotations

import numpy as np
import pytest

import ntaylor as nt
from ntaylor import pushing
from ntaylor.composites import Chain
from ntaylor.fans import Fan
from ntaylor.namespace import array_namespace
from ntaylor.operators import D, HardConstraint, Radial, identity, jointly, laplacian, weighted_laplacian
from ntaylor_backends import recordings

RNG = np.random.default_rng(41)
METHODS = ("plain", "collapsed", "compressed", "auto")
SIZES = {"D < h": 3, "D = h": 5, "D > h": 9, "D >> h": 40}
WIDTH = 5


@pytest.fixture(autouse=True)
def _libraries_with_qr(request):
    if "xp" in request.fixturenames and request.getfixturevalue("xp").name in ("array_api_strict", "dask"):
        pytest.skip("linalg is switched off, or does not take these chunks")


def close(got, expected, tolerance=1e-12):
    got, expected = np.asarray(got), np.asarray(expected)
    assert got.shape == expected.shape, (got.shape, expected.shape)
    scale = 1 + np.max(np.abs(expected), initial=0)
    np.testing.assert_allclose(got, expected, rtol=0, atol=tolerance * scale)


def operators(d):
    a = np.random.default_rng(d).standard_normal((d, d))
    return {
        "laplacian": laplacian(),
        "and lower orders": 2 * laplacian() + 3 * D(0) - identity(),
        "definite": weighted_laplacian(a @ a.T / d),
        "indefinite": weighted_laplacian(a + a.T),
        "few directions": D(0, 1) - 2 * D(1, 1),
        "a function's multiple": (lambda x: x[..., 0]) * laplacian(),
    }


def constrained(net, kind):
    """a · net + b, radial or with functions of any kind."""

    def factor(x):
        xp = array_namespace(x)
        return xp.sum(x * x, axis=-1, keepdims=True) * xp.sin(x[..., :1])

    radial = Radial(lambda s, xp: (1 - s) * xp.exp(-s))
    return {
        "radial": lambda: HardConstraint(net, radial),
        "radial, radial": lambda: HardConstraint(net, radial, Radial(lambda s, xp: s * s)),
        "radial, function": lambda: HardConstraint(net, radial, factor),
        "function": lambda: HardConstraint(net, factor),
        "function, function": lambda: HardConstraint(net, factor, lambda x: x[..., 1:2] ** 3),
        "function, linear": lambda: HardConstraint(net, factor, lambda x: x[..., 1:2]),
    }[kind]()


CONSTRAINTS = ("radial", "radial, radial", "radial, function", "function", "function, function", "function, linear")


@pytest.mark.parametrize("name", operators(3))
@pytest.mark.parametrize("size", SIZES)
def test_compressed_is_collapsed_is_plain(xp, size, name):
    if xp.name == "jax" and (size in ("D < h", "D = h") or name in ("definite", "few directions")):
        pytest.skip("tracing takes seconds; the other libraries have it")
    d = SIZES[size]
    L, net = operators(d)[name], xp.network([d, WIDTH, 4, 2])
    x = xp.array(RNG.standard_normal((3, d)))
    expected = xp.numpy(L(net, x, method="plain"))
    for method in METHODS[1:]:
        close(xp.numpy(L(net, x, method=method)), expected)


@pytest.mark.parametrize("kind", CONSTRAINTS)
@pytest.mark.parametrize("size", ["D < h", "D >> h"])
def test_hard_constraints(xp, size, kind):
    if xp.name == "jax" and (size == "D < h" or kind in ("radial, radial", "function, linear", "function")):
        pytest.skip("tracing takes seconds; the other libraries have it")
    d = SIZES[size]
    f = constrained(xp.network([d, WIDTH, 4, 2]), kind)
    points = RNG.standard_normal((3, d)) / d**0.5
    x = xp.array(points)
    chosen = ["laplacian", "indefinite"] if xp.name == "jax" else [*operators(d)]
    for name in chosen:
        L = operators(d)[name]
        # The formula itself, as a plain function.
        expected = xp.numpy(
            L(lambda x: f.factor(x) * f.network(x) + (0 * x[..., :1] if f.term is None else f.term(x)), x)
        )
        for method in METHODS if xp.name != "jax" else METHODS[2:]:
            close(xp.numpy(L(f, x, method=method)), expected)
            if name == "laplacian":
                close(xp.numpy(L(f, x, method=method, max_directions=2)), expected)


def test_hard_constraints_in_estimates_and_higher_orders(xp):
    f = constrained(xp.network([4, 3, 1]), "radial, function")
    x = xp.array(RNG.standard_normal((2, 4)) / 2)

    def plain(x):
        return f.factor(x) * f.network(x) + f.term(x)

    close(xp.numpy(nt.partial(f, x, (1, 2, 0, 1))), xp.numpy(nt.partial(plain, x, (1, 2, 0, 1))))
    for kind in ("sparse", "rademacher"):
        ours, theirs = (laplacian().estimate(g, x, samples=2, rng=0, kind=kind).value for g in (f, plain))
        close(xp.numpy(ours), xp.numpy(theirs))


def test_what_a_hard_constraint_refuses():
    net = nt.MLP.create([9, 2, 1], xp=np, dtype=np.float64)
    with pytest.raises(TypeError, match=r"factor must be a function, such as operators\.Radial"):
        HardConstraint(net, 3.0)
    with pytest.raises(TypeError, match="Radial takes a function of s"):
        Radial(3.0)
    with pytest.raises(ValueError, match="end them with keepdims=True"):
        laplacian()(HardConstraint(net, lambda x: x[:, 0]), np.ones((4, 9)))


NETWORKS = {
    "input_range": ([9, 5, 4, 1], {"input_range": (-2.0, 3.0)}),
    "one layer": ([9, 3], {}),
    "one hidden unit": ([9, 1, 2], {}),
    "sin": ([9, 5, 1], {"activation": "sin"}),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_networks(xp, name):
    widths, options = NETWORKS[name]
    net, x = xp.network(widths, **options), xp.array(RNG.standard_normal((3, 9)))
    for L in (laplacian(), weighted_laplacian(np.diag(np.arange(9.0) - 4))):
        expected = xp.numpy(L(net, x, method="plain"))
        for method in ("collapsed", "compressed"):
            close(xp.numpy(L(net, x, method=method)), expected)


def first_weights(kind, d):
    w = np.random.default_rng(1).standard_normal((d, WIDTH))
    if kind == "rank 2":
        w[:, 2:] = w[:, :1] + w[:, 1:2]
    elif kind == "zero":
        w[:] = 0
    elif kind == "equal units":
        w[:, 1] = w[:, 0]
    elif kind == "few inputs":
        w[3:] = 0
    return w


@pytest.mark.parametrize("kind", ["rank 2", "zero", "equal units", "few inputs"])
def test_singular_first_layers(xp, kind):
    """The root of a singular Gram matrix, and the first derivative of it, are those of a regular one."""
    if xp.name == "jax" and kind not in ("rank 2", "zero"):
        pytest.skip("tracing takes seconds; the other libraries have it")
    net = xp.network([9, WIDTH, 4, 1])
    name = next(iter(net.parameters))
    parameters = {**net.parameters, name: xp.array(first_weights(kind, 9))}
    x = xp.array(RNG.standard_normal((3, 9)))

    def loss(p, method):
        value = laplacian()(net.replace(p), x, method=method)
        return array_namespace(value).sum(value * value)

    (one, of_one), (two, of_two) = (
        nt.value_and_grad(lambda p, m=method: loss(p, m))(parameters) for method in ("plain", "compressed")
    )
    close(xp.numpy(one), xp.numpy(two))
    for key, gradient in of_one.items():
        close(xp.numpy(of_two[key]), xp.numpy(gradient))


def test_float32(xp):
    """In float32 as near to plain, in units of rounding."""
    net, points = xp.network([40, WIDTH, 4, 1]), RNG.standard_normal((3, 40))
    small = net.replace({k: xp.array(xp.numpy(p), np.float32) for k, p in net.parameters.items()})
    exact = xp.numpy(laplacian()(net, xp.array(points), method="plain"))
    for method in METHODS:
        got = laplacian()(small, xp.array(points, np.float32), method=method)
        assert got.dtype == xp.array(points, np.float32).dtype
        close(xp.numpy(got), exact, 2e-6)


# --- how many are pushed -------------------------------------------------------------------------------


@pytest.fixture
def pushed_behind(monkeypatch):
    """How many directions meet each network, or each chain of layers behind its first."""
    counts = []
    original = Chain.push
    recordings._entries.clear()  # what is recorded is not pushed layer by layer

    def push(self, coefficients, order):
        if isinstance(order, Fan):
            counts.append(len(order.orders))
        else:
            counts.append(1 if len(coefficients) < 2 else coefficients[1].family.size)
        return original(self, coefficients, order)

    monkeypatch.setattr(Chain, "push", push)
    monkeypatch.setattr(pushing, "Chain", Chain)
    return counts


@pytest.mark.parametrize("d", [3, 5, 9, 1000])
@pytest.mark.parametrize("constraint", [None, *CONSTRAINTS])
def test_at_most_as_many_directions_as_the_smaller_of_both(pushed_behind, d, constraint):
    net = nt.MLP.create([d, WIDTH, 4, 1], xp=np, dtype=np.float64)
    f = net if constraint is None else constrained(net, constraint)
    x = np.random.default_rng(0).standard_normal((2, d)) / d**0.5
    laplacian()(f, x)
    assert max(pushed_behind) == min(d, WIDTH)
    assert len(pushed_behind) <= 2, "and one for the factor's gradient"
    pushed_behind.clear()
    indefinite = weighted_laplacian(np.diag(np.where(np.arange(d) % 2, -1.0, 2.0)))
    if d < 1000:
        indefinite(f, x)
        assert max(pushed_behind) == min((d + 1) // 2, WIDTH) + min(d // 2, WIDTH)


def test_several_operators_are_compressed_each(pushed_behind):
    net = nt.MLP.create([20, WIDTH, 1], xp=np, dtype=np.float64)
    x = RNG.standard_normal((2, 20))
    Ls = (laplacian(), laplacian() - 3 * D(0, 0))
    expected = [L(net, x, method="plain") for L in Ls]
    pushed_behind.clear()
    for got, value in zip(jointly(Ls, net, x), expected, strict=True):
        close(got, value)
    assert max(pushed_behind) <= 2 * WIDTH


def test_no_matrix_of_the_dimension():
    """A million coordinates: no array has two axes of that size, so this fits where D² numbers would not."""
    d = 1_000_000
    net = nt.MLP.create([d, 3, 1], xp=np, dtype=np.float32)
    f = HardConstraint(net, Radial(lambda s, xp: 1 - s))
    x = np.full((2, d), 1e-4, np.float32)
    assert np.all(np.isfinite(laplacian()(f, x)))


# --- gradients -----------------------------------------------------------------------------------------


def residual(net, p, x, method, L):
    value = L(net.replace(p), x, method=method)
    return array_namespace(value).sum(value * value)


@pytest.mark.parametrize("name", ["laplacian", "indefinite", "and lower orders"])
def test_gradients_by_parameters(xp, name):
    L, net = operators(9)[name], xp.network([9, WIDTH, 4, 1])
    x = xp.array(RNG.standard_normal((3, 9)))
    gradients = {
        method: nt.value_and_grad(lambda p, m=method: residual(net, p, x, m, L))(net.parameters)[1]
        for method in METHODS[:3]
    }
    for method in METHODS[1:3]:
        for key, gradient in gradients["plain"].items():
            close(xp.numpy(gradients[method][key]), xp.numpy(gradient))


@pytest.mark.parametrize("kind", CONSTRAINTS)
def test_gradients_of_hard_constraints_numpy(kind):
    net = nt.MLP.create([9, WIDTH, 1], xp=np, dtype=np.float64)
    x = RNG.standard_normal((3, 9)) / 3
    f = constrained(net, kind)
    plain, compressed = (
        nt.value_and_grad(lambda p, m=method: residual(f, p, x, m, laplacian()))(f.parameters)[1]
        for method in ("plain", "compressed")
    )
    for key, gradient in plain.items():
        close(compressed[key], gradient)


def test_second_derivatives_by_parameters_numpy():
    """A Hessian times a vector: the gradient of a directional derivative, through the root's own derivative."""
    net = nt.MLP.create([9, WIDTH, 1], xp=np, dtype=np.float64)
    x = RNG.standard_normal((3, 9))
    v = {k: RNG.standard_normal(p.shape) for k, p in net.parameters.items()}

    def product(method):
        def inner(p):
            gradient = nt.value_and_grad(lambda q: residual(net, q, x, method, laplacian()))(p)[1]
            return sum(array_namespace(g).sum(g * v[k]) for k, g in gradient.items())

        return nt.value_and_grad(inner)(net.parameters)[1]

    plain, compressed = product("plain"), product("compressed")
    for key, gradient in plain.items():
        close(compressed[key], gradient, 1e-11)


def test_torch_backward_and_hessian_products():
    """``.backward()``, then the gradient of a gradient, by parameters and by x."""
    torch = pytest.importorskip("torch")
    results = {}
    for method in METHODS[:3]:
        net = nt.MLP.create([9, WIDTH, 4, 1], xp=torch, dtype=torch.float64)
        leaves = [p.clone().requires_grad_() for p in net.parameters.values()]
        x = torch.tensor(np.random.default_rng(2).standard_normal((3, 9)), requires_grad=True)
        p = dict(zip(net.parameters, leaves, strict=True))
        L = laplacian() + weighted_laplacian(np.diag(np.arange(9.0) - 4)) + identity()  # every parameter counts
        residual(net, p, x, method, L).backward()
        first = [a.grad.clone() for a in (*leaves, x)]
        gradients = torch.autograd.grad(residual(net, p, x, method, L), (*leaves, x), create_graph=True)
        contracted = sum((g * torch.cos(torch.arange(g.numel()).reshape(g.shape))).sum() for g in gradients)
        results[method] = [*first, *torch.autograd.grad(contracted, (*leaves, x))]
    for method in METHODS[1:3]:
        for got, expected in zip(results[method], results["plain"], strict=True):
            close(got.numpy(), expected.numpy(), 1e-11)


@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")  # by Dynamo itself
@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")
def test_torch_compile_of_a_laplacian():
    torch = pytest.importorskip("torch")
    torch._dynamo.reset()
    net = nt.MLP.create([9, WIDTH, 4, 1], xp=torch, dtype=torch.float64)
    module = torch.nn.Sequential(torch.nn.Linear(9, 4), torch.nn.Tanh(), torch.nn.Linear(4, 2)).double()
    x = torch.tensor(RNG.standard_normal((3, 9)), requires_grad=True)
    for f in (net, module):
        compiled = torch.compile(lambda x, f=f: nt.laplacian(f, x), fullgraph=True, backend="aot_eager")
        got, expected = compiled(x), nt.laplacian(f, x)
        close(got.detach().numpy(), expected.detach().numpy())
        one, two = (torch.autograd.grad((v**2).sum(), x)[0].numpy() for v in (got, expected))
        close(one, two)


def test_jax_grad_jit_vmap_and_third_derivatives():
    jax = pytest.importorskip("jax")
    jax.config.update("jax_enable_x64", True)
    net = nt.MLP.create([9, 3, 1], xp=jax.numpy, dtype=jax.numpy.float64)
    x = jax.numpy.asarray(RNG.standard_normal((2, 9)))
    L = laplacian() + weighted_laplacian(np.diag(np.arange(9.0) - 4))
    direction = {
        k: jax.numpy.cos(jax.numpy.arange(p.size, dtype=float)).reshape(p.shape) for k, p in net.parameters.items()
    }

    def of(method):
        def loss(s, x=x):
            return residual(net, {k: p + s * direction[k] for k, p in net.parameters.items()}, x, method, L)

        def gradient(p):
            return jax.grad(lambda p: residual(net, p, x, method, L))(p)

        third = jax.grad(jax.grad(jax.grad(loss)))
        run = jax.jit(lambda p, s: (gradient(p), loss(s), third(s), jax.jvp(gradient, (p,), (direction,))[1]))
        return jax.tree_util.tree_leaves(run(dict(net.parameters), 0.0))

    for got, expected in zip(of("compressed"), of("plain"), strict=True):
        close(got, expected, 1e-11)
    each = jax.jit(jax.vmap(lambda x: L(net, x[None, :], method="compressed")[0]))(x)
    close(each, L(net, x, method="plain"))


def test_traced_and_trained_coefficients_are_named():
    """A number that is differentiated must not silently become a constant."""
    jax, torch = pytest.importorskip("jax"), pytest.importorskip("torch")
    with pytest.raises(TypeError, match="trained, multiply what L"):
        jax.jit(lambda c: (c * D(0)).plan())(2.0)
    with pytest.raises(TypeError, match="trained, multiply what L"):
        torch.tensor(2.0, requires_grad=True) * D(0)
    with pytest.raises(TypeError, match="differentiated or traced: pass lambda x: matrix"):
        weighted_laplacian(torch.eye(3, requires_grad=True))
    assert torch.tensor(2.0) * D(0) == jax.numpy.asarray(2.0) * D(0) == 2 * D(0)


def test_a_trained_matrix_numpy():
    """Gradients by the matrix itself, through its Cholesky factor."""
    net = nt.MLP.create([3, 4, 1], xp=np, dtype=np.float64)
    x, a = RNG.standard_normal((4, 3)), RNG.standard_normal((3, 3))

    def loss(a):
        xp = array_namespace(a)
        C = a @ xp.matrix_transpose(a) + np.eye(3)
        value = weighted_laplacian(lambda x: C)(net, x)
        return array_namespace(value).sum(value)

    gradient = nt.value_and_grad(loss)(a)[1]
    hessian = nt.hessian(net, x)[:, 0].sum(0)
    close(gradient, 2 * hessian @ a)
