"""Derivatives that have names, against closed forms and nested reverse mode, on every library."""

# ruff: noqa: ARG005 functions in a table share one signature

from __future__ import annotations

import numpy as np
import pytest

import ntaylor as nt
from ntaylor.namespace import array_namespace

RNG = np.random.default_rng(4)


def close(got, expected, tolerance=1e-12):
    got, expected = np.asarray(got), np.asarray(expected)
    assert got.shape == expected.shape, (got.shape, expected.shape)
    scale = 1 + np.max(np.abs(expected), initial=0)
    np.testing.assert_allclose(got, expected, rtol=0, atol=tolerance * scale)


def field(d):
    """(exp(a·x), sin(b·x), x_0³) and its tensor of derivatives of any order, by hand."""
    a, b = np.random.default_rng(d).uniform(-1, 1, (2, d))

    def f(x):
        xp = array_namespace(x)
        first, second = (sum(x[..., i] * float(v[i]) for i in range(d)) for v in (a, b))
        return xp.stack([xp.exp(first), xp.sin(second), x[..., 0] ** 3], axis=-1)

    def tensor(x, order):
        powers = []
        for v in (a, b):
            t = np.ones(())
            for _ in range(order):
                t = np.multiply.outer(t, v)
            powers.append(t)
        shape = (*x.shape[:-1], *(1,) * order)
        third = np.zeros((*x.shape[:-1], *(d,) * order))
        cube = [x[..., 0] ** 3, 3 * x[..., 0] ** 2, 6 * x[..., 0], 6 + 0 * x[..., 0]]
        third[(..., *(0,) * order)] = cube[order] if order < 4 else 0.0
        parts = [np.exp(x @ a).reshape(shape) * powers[0], np.sin(x @ b + order * np.pi / 2).reshape(shape) * powers[1]]
        return np.stack([*parts, third], axis=x.ndim - 1)

    return f, tensor


@pytest.mark.parametrize("order", range(7))
@pytest.mark.parametrize("d", [1, 2, 3, 4])
def test_derivative_tensor(xp, d, order):
    if d == 4 and order > 4:
        order = 4  # 84 jets of order 6 are the business of the partials' test
    f, tensor = field(d)
    x = RNG.uniform(-1, 1, (2, d))
    got = xp.numpy(nt.derivative_tensor(f, xp.array(x), order))
    close(got, tensor(x, order), 1e-11)
    for axis in range(order - 1):  # symmetric to the last bit
        np.testing.assert_array_equal(got, np.swapaxes(got, 2 + axis, 3 + axis))


@pytest.mark.parametrize("leading", [(), (4,), (2, 3)])
def test_gradient_and_hessian(xp, leading):
    f, tensor = field(3)
    x = RNG.uniform(-1, 1, (*leading, 3))
    close(xp.numpy(nt.gradient(f, xp.array(x))), tensor(x, 1))
    close(xp.numpy(nt.hessian(f, xp.array(x))), tensor(x, 2))
    close(xp.numpy(nt.gradient(lambda x: f(x)[..., 0], xp.array(x))), tensor(x, 1)[..., 0, :])
    close(xp.numpy(nt.gradient(lambda x: f(x)[..., :1], xp.array(x))), tensor(x, 1)[..., :1, :])


@pytest.mark.parametrize("size", [1e-150, 1e-8, 1.0, 1e8, 0.0])
@pytest.mark.parametrize("each", [True, False])
def test_hessian_product_at_any_length(xp, size, each):
    """Linear in v to the last digits, however short or long v is."""
    f, tensor = field(3)
    x = RNG.uniform(-1, 1, (4, 3))
    v = size * RNG.standard_normal((4, 3) if each else 3)
    got = xp.numpy(nt.hessian_product(f, xp.array(x), xp.array(v)))
    expected = np.einsum("bmij,bj->bmi", tensor(x, 2), np.broadcast_to(v, x.shape))
    assert np.max(np.abs(got - expected)) <= 1e-14 * size * 10


def test_divergence_and_curl(xp):
    """Of (x y z, x² z, y z²): y z + 0 + 2 y z; (z² − x², x y, 2 x z − x z)."""

    def f(p):
        x, y, z = (p[..., i] for i in range(3))
        return array_namespace(p).stack([x * y * z, x**2 * z, y * z**2], axis=-1)

    for leading in [(4,), (2, 3), ()]:
        p = RNG.uniform(-1, 1, (*leading, 3))
        x, y, z = np.moveaxis(p, -1, 0)
        close(xp.numpy(nt.curl(f, xp.array(p))), np.stack([z**2 - x**2, x * y, x * z], axis=-1))
        if xp.name != "dask" or leading:  # Dask has no trace of one matrix
            close(xp.numpy(nt.divergence(f, xp.array(p))), 3 * y * z)
    plane = RNG.uniform(-1, 1, (4, 2))
    turned = nt.curl(lambda p: array_namespace(p).stack([-(p[..., 1] ** 2), p[..., 0] ** 3], axis=-1), xp.array(plane))
    close(xp.numpy(turned), 3 * plane[:, 0] ** 2 + 2 * plane[:, 1])


def test_curl_of_a_gradient_is_zero_and_so_is_the_divergence_of_a_curl():
    net = nt.MLP.create([3, 8, 3], xp=np, dtype=np.float64, seed=1)
    x = RNG.standard_normal((5, 3))
    close(nt.curl(lambda x: nt.gradient(lambda x: net(x)[..., 0], x), x), np.zeros((5, 3)), 1e-13)
    close(nt.divergence(lambda x: nt.curl(net, x), x), np.zeros(5), 1e-13)


def test_networks(xp):
    """The gradient's divergence is the Laplacian, the Hessian's trace too."""
    net, x = xp.network([3, 4, 4, 2]), xp.array(RNG.standard_normal((5, 3)))
    laplacian = xp.numpy(nt.laplacian(net, x, method="plain"))
    hessian = xp.numpy(nt.hessian(net, x))
    close(np.trace(hessian, axis1=-2, axis2=-1), laplacian)
    v = RNG.standard_normal(3)
    close(xp.numpy(nt.hessian_product(net, x, xp.array(v))), hessian @ v)
    close(xp.numpy(nt.partial(net, x, (0, 1, 1))), hessian[..., 1, 2])


def test_functions_that_do_not_depend_on_x(xp):
    x, w = xp.array(RNG.standard_normal((4, 3))), xp.array(np.ones((3, 2)))
    close(xp.numpy(nt.gradient(lambda x: w, x)), np.zeros((3, 2, 3)))
    close(xp.numpy(nt.hessian(lambda x: x @ w, x)), np.zeros((4, 2, 3, 3)))
    close(xp.numpy(nt.gradient(lambda x: x @ w, x)), np.ones((4, 2, 3)))
    close(xp.numpy(nt.hessian_product(lambda x: x @ w, x, xp.array([1.0, 2, 3]))), np.zeros((4, 2, 3)))
    close(xp.numpy(nt.derivative_tensor(lambda x: w, x, 3)), np.zeros((3, 2, 3, 3, 3)))


def test_gradients_by_parameters_of_each():
    """On NumPy, against differences of the same by complex steps of a network written out."""
    net = nt.MLP.create([3, 4, 3], "sin", xp=np, dtype=np.float64, seed=2)
    x = RNG.standard_normal((2, 3))
    for verb in (
        nt.gradient,
        nt.hessian,
        nt.divergence,
        nt.curl,
        lambda f, x: nt.hessian_product(f, x, np.ones(3)),
        lambda f, x: nt.derivative_tensor(f, x, 3),
        lambda f, x: nt.partial(f, x, (1, 2, 0)),
        nt.biharmonic,
    ):

        def loss(p, verb=verb):
            value = verb(net.replace(p), x)
            return array_namespace(value).sum(value * value)

        value, gradient = nt.value_and_grad(loss)(net.parameters)
        name = next(iter(net.parameters))
        step = np.zeros_like(net.parameters[name])
        step[1, 2] = 1e-5
        ends = [loss({**net.parameters, name: net.parameters[name] + s * step}) for s in (1, -1)]
        assert abs((ends[0] - ends[1]) / 2e-5 - gradient[name][1, 2]) < 1e-7 * (1 + abs(value))


@pytest.mark.parametrize(
    ("call", "kind", "words"),
    [
        (lambda x: nt.divergence(lambda x: x[:, :2], x), ValueError, r"f\(x\) of shape \(4, 3\) like x; .*\(4, 2\)"),
        (lambda x: nt.curl(lambda x: x[:, 0], x), ValueError, "curl takes a vector field"),
        (lambda x: nt.curl(lambda x: x, np.ones((2, 4))), ValueError, "2 or 3 dimensions.*4 coordinates"),
        (lambda x: nt.hessian_product(lambda x: x, x, [1, 2, 3]), TypeError, "v must be an array like x"),
        (lambda x: nt.hessian_product(lambda x: x, x, np.ones(3, np.float32)), TypeError, "float32"),
        (lambda x: nt.hessian_product(lambda x: x, x, np.ones(2)), ValueError, r"shape \(2,\)"),
        (lambda x: nt.derivative_tensor(lambda x: x, x, -1), ValueError, "order must be"),
        (lambda x: nt.derivative_tensor(lambda x: x, x, 1.5), TypeError, "order must be"),
        (lambda x: nt.gradient(lambda x: (x, x), x), TypeError, "returned a tuple"),
        (lambda x: nt.gradient(x, x), TypeError, "f must be a function"),
        (lambda x: nt.gradient(lambda x: x, x.astype(int)), TypeError, "floating"),
        (lambda x: nt.partial(lambda x: x, x, 2), TypeError, "multi-index"),
        (lambda x: nt.partial(lambda x: x, x, (1.0, 0, 0)), TypeError, "order in alpha must be an integer"),
        (lambda x: nt.partial(lambda x: x, x, (1, 0)), ValueError, "for 2 coordinates"),
        (lambda x: nt.partial(lambda x: x, x, [[1], [0], [1]]), TypeError, "order in alpha"),
    ],
)
def test_refusals(call, kind, words):
    with pytest.raises(kind, match=words):
        call(RNG.standard_normal((4, 3)))


# --- nested reverse mode ------------------------------------------------------------------------------


def test_torch_against_nested_reverse_mode():
    """Order 6 in 3 dimensions, and Δ³, of a module of torch's own: one gradient a derivative."""
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(3, 5), torch.nn.Tanh(), torch.nn.Linear(5, 1)).double()
    x = torch.tensor(RNG.uniform(-1, 1, (2, 3)), requires_grad=True)

    def nested(indices):
        value = net(x)[:, 0]
        for i in indices:
            value = torch.autograd.grad(value.sum(), x, create_graph=True)[0][:, i]
        return value.detach().numpy()

    for alpha, indices in {(2, 1, 3): (0, 0, 1, 2, 2, 2), (0, 4, 1): (1, 1, 1, 1, 2), (1, 1, 1): (0, 1, 2)}.items():
        close(nt.partial(net, x, alpha).detach().numpy()[:, 0], nested(indices), 1e-11)
    second = sum(nested((i, i)) for i in range(3))
    fourth = sum(nested((i, i, j, j)) for i in range(3) for j in range(3))
    sixth = sum(nested((i, i, j, j, k, k)) for i in range(3) for j in range(3) for k in range(3))
    close(nt.laplacian(net, x).detach().numpy()[:, 0], second)
    close(nt.biharmonic(net, x).detach().numpy()[:, 0], fourth)
    close(nt.operators.polyharmonic(3)(net, x).detach().numpy()[:, 0], sixth, 1e-11)


def test_torch_gradients_of_each():
    """``.backward()`` through every verb, against reverse mode all the way."""
    torch = pytest.importorskip("torch")
    torch.manual_seed(1)
    net = torch.nn.Sequential(torch.nn.Linear(3, 5), torch.nn.Tanh(), torch.nn.Linear(5, 3)).double()
    x = torch.tensor(RNG.uniform(-1, 1, (2, 3)), requires_grad=True)

    def jacobian(value):
        rows = [torch.autograd.grad(value[..., i].sum(), x, create_graph=True)[0] for i in range(value.shape[-1])]
        return torch.stack(rows, dim=-2)

    J = jacobian(net(x))
    H = torch.stack([jacobian(J[:, i, :]) for i in range(3)], dim=1)
    pairs = {
        "gradient": (nt.gradient(net, x), J),
        "divergence": (nt.divergence(net, x), J.diagonal(dim1=-2, dim2=-1).sum(-1)),
        "curl": (nt.curl(net, x)[:, 0], J[:, 2, 1] - J[:, 1, 2]),
        "hessian": (nt.hessian(net, x), H),
        "product": (nt.hessian_product(net, x, x), torch.einsum("bmij,bj->bmi", H, x)),
        "laplacian": (nt.laplacian(net, x), H.diagonal(dim1=-2, dim2=-1).sum(-1)),
        "partial": (nt.partial(net, x, (1, 0, 1)), H[..., 0, 2]),
    }
    for name, (got, expected) in pairs.items():
        close(got.detach().numpy(), expected.detach().numpy())
        of_parameters = [(*net.parameters(), x)] * 2
        one, two = (
            torch.autograd.grad((v**2).sum(), p, allow_unused=True, retain_graph=True)
            for v, p in zip((got, expected), of_parameters, strict=True)
        )
        for a, b in zip(one, two, strict=True):
            if a is None or b is None:
                assert a is b or not (a if b is None else b).any(), name
            else:
                close(a.numpy(), b.numpy(), 1e-11)


def test_jax_against_nested_reverse_mode():
    jax = pytest.importorskip("jax")
    jax.config.update("jax_enable_x64", True)
    import jax.numpy as jnp

    weights = [jnp.asarray(RNG.standard_normal(shape)) * 0.5 for shape in [(3, 4), (4, 3)]]

    def f(x, w=weights):
        return jnp.tanh(x @ w[0]) @ w[1]

    x = jnp.asarray(RNG.uniform(-1, 1, (2, 3)))
    jacobian = jax.jacrev(f)
    hessian = jax.jacrev(jacobian)
    close(jax.jit(lambda x: nt.gradient(f, x))(x), jax.vmap(jacobian)(x))
    close(jax.jit(lambda x: nt.hessian(f, x))(x), jax.vmap(hessian)(x))
    close(jax.vmap(lambda x: nt.hessian(f, x))(x), jax.vmap(hessian)(x))
    product = jax.jit(lambda x: nt.hessian_product(f, x, jnp.ones(3)))(x)
    close(product, jax.vmap(hessian)(x).sum(-1))
    third = jax.vmap(jax.jacrev(hessian))(x)
    close(jax.jit(lambda x: nt.derivative_tensor(f, x, 3))(x), third)

    def ours(w):
        return jnp.sum(nt.laplacian(lambda x: f(x, w), x) ** 2)

    def theirs(w):
        return jnp.sum(
            jax.vmap(lambda x: jnp.trace(jax.jacrev(jax.jacrev(lambda x: f(x, w)))(x), axis1=1, axis2=2))(x) ** 2
        )

    for a, b in zip(jax.jit(jax.grad(ours))(weights), jax.grad(theirs)(weights), strict=True):
        close(a, b)


def test_jax_equinox_modules():
    eqx, jax = pytest.importorskip("equinox"), pytest.importorskip("jax")
    jax.config.update("jax_enable_x64", True)
    module = eqx.nn.MLP(2, "scalar", 4, 1, activation=jax.numpy.tanh, key=jax.random.key(0))
    x = jax.numpy.asarray(RNG.uniform(-1, 1, (3, 2)))
    expected = jax.vmap(lambda x: jax.numpy.trace(jax.jacrev(jax.jacrev(module))(x)))(x)
    close(nt.laplacian(jax.vmap(module), x), expected)
    close(jax.vmap(lambda x: nt.laplacian(module, x))(x), expected)
    close(nt.laplacian(module, x[0]), expected[0])
    weighted = (module * nt.operators.laplacian())(lambda x: x[0] ** 2, x[0])
    close(weighted, 2 * module(x[0]))
