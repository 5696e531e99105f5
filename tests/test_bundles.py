"""Coefficients along R directions as one array: each operation against doing it direction by direction.

An operation on bundles is what NumPy does to each direction's array; a function's jets along R directions are those
that ``nt.jet`` makes one after another; and a total is the sum of what a bundle would have been.
"""

# ruff: noqa: ARG005 functions in a table share one signature

from __future__ import annotations

import numpy as np
import pytest

import ntaylor as nt
from ntaylor.array_object import new_level
from ntaylor.bundles import _RULES, Bundle, Family, Total, through
from ntaylor.directions import Coordinates, Fields, Rows, of_integers
from ntaylor.namespace import MissingRule, array_namespace
from ntaylor.pushing import along

RNG = np.random.default_rng(21)
R, SHAPE = 3, (4, 2)
STACK, OTHER = RNG.standard_normal((2, R, *SHAPE))
PLAIN = RNG.standard_normal(SHAPE)
WEIGHTS = np.asarray([2.0, -1.0, 0.5])


STRICT_LACKS = {
    # an array of theirs on the left raises, where it should return NotImplemented
    *("add, a constant", "multiply", "multiply, by more axes", "subtract, from a constant", "through"),
    "getitem, an array",  # next to an Ellipsis
    *("determinant", "diagonal", "matrices", "solve", "trace"),  # the extension is switched off
}


def skip_what_strict_lacks(xp, name):
    if xp.name == "array_api_strict" and name in STRICT_LACKS:
        pytest.skip("not in the standard without extensions, or its arrays do not yield")


def close(got, expected, tolerance=1e-13):
    got, expected = np.asarray(got), np.asarray(expected)
    assert got.shape == expected.shape, (got.shape, expected.shape)
    scale = 1 + np.max(np.abs(expected), initial=0)
    np.testing.assert_allclose(got, expected, rtol=0, atol=tolerance * scale)


# name -> the operation on (namespace, u, v, plain): u and v are bundles, or one direction's arrays
LINEAR = {
    "add": lambda xp, u, v, a: u + v,
    "add, a constant": lambda xp, u, v, a: a + u,
    "add, broadcast": lambda xp, u, v, a: u[:, None, :] + v[0, ...],
    "subtract": lambda xp, u, v, a: u - v,
    "subtract, from a constant": lambda xp, u, v, a: a - u,
    "multiply": lambda xp, u, v, a: a * u,
    "multiply, broadcast": lambda xp, u, v, a: u[0, ...] * a,
    "multiply, by more axes": lambda xp, u, v, a: xp.stack([a, a])[..., None] * u[..., None],
    "divide": lambda xp, u, v, a: u / (a * a + 1),
    "negative": lambda xp, u, v, a: -u,
    "positive": lambda xp, u, v, a: +u,
    "real": lambda xp, u, v, a: xp.real(u * (1 + 2j)),
    "imag": lambda xp, u, v, a: xp.imag(u * (1 + 2j)),
    "conj": lambda xp, u, v, a: xp.imag(xp.conj(u * (1 + 2j))),
    "sum": lambda xp, u, v, a: xp.sum(u),
    "sum, axis": lambda xp, u, v, a: xp.sum(u, axis=0),
    "sum, last axis": lambda xp, u, v, a: xp.sum(u, axis=-1, keepdims=True),
    "sum, axes": lambda xp, u, v, a: xp.sum(u[None, ...], axis=(0, -1)),
    "mean": lambda xp, u, v, a: xp.mean(u, axis=1),
    "mean of all": lambda xp, u, v, a: xp.mean(u),
    "cumulative_sum": lambda xp, u, v, a: xp.cumulative_sum(u, axis=0),
    "cumulative_sum, a vector": lambda xp, u, v, a: xp.cumulative_sum(u[:, 0]),
    "flip": lambda xp, u, v, a: xp.flip(u, axis=0),
    "flip all": lambda xp, u, v, a: xp.flip(u),
    "roll": lambda xp, u, v, a: xp.roll(u, 1, axis=0),
    "roll all": lambda xp, u, v, a: xp.roll(u, 3),
    "take": lambda xp, u, v, a: xp.take(u, xp.asarray([2, 0]), axis=0),
    "take of a vector": lambda xp, u, v, a: xp.take(u[:, 1], xp.asarray([2, 0, 2])),
    "squeeze": lambda xp, u, v, a: xp.squeeze(u[:, None, :], axis=1),
    "diff": lambda xp, u, v, a: xp.diff(u, axis=0),
    "diff, last axis": lambda xp, u, v, a: xp.diff(u, axis=-1),
    "astype": lambda xp, u, v, a: xp.astype(u, xp.float32),
    "matrix_transpose": lambda xp, u, v, a: xp.matrix_transpose(u),
    ".T": lambda xp, u, v, a: u.T,
    "tril": lambda xp, u, v, a: xp.tril(u, k=-1),
    "triu": lambda xp, u, v, a: xp.triu(u),
    "concat": lambda xp, u, v, a: xp.concat([u, v], axis=-1),
    "concat, a constant": lambda xp, u, v, a: xp.concat([u, a]),
    "concat, flat": lambda xp, u, v, a: xp.concat([u, v], axis=None),
    "stack": lambda xp, u, v, a: xp.stack([u, v], axis=1),
    "stack, last": lambda xp, u, v, a: xp.stack([u, a], axis=-1),
    "broadcast_to": lambda xp, u, v, a: xp.broadcast_to(u, (2, *SHAPE)),
    "broadcast_to, up": lambda xp, u, v, a: xp.broadcast_to(u[:1, ...], SHAPE),
    "expand_dims": lambda xp, u, v, a: xp.expand_dims(u, axis=0),
    "expand_dims, last": lambda xp, u, v, a: xp.expand_dims(u, axis=-1),
    "getitem": lambda xp, u, v, a: u[1, ...],
    "getitem, slices": lambda xp, u, v, a: u[::2, -1:],
    "getitem, None": lambda xp, u, v, a: u[..., None, 0],
    "getitem, an array": lambda xp, u, v, a: u[xp.asarray([1, 1, 0]), ...],
    "getitem, an array and a number": lambda xp, u, v, a: u[xp.asarray([1, 1, 0]), 1],
    "matmul": lambda xp, u, v, a: u @ xp.matrix_transpose(a),
    "matmul, left": lambda xp, u, v, a: xp.matmul(xp.matrix_transpose(a), u),
    "matmul, a vector": lambda xp, u, v, a: u @ a[0, ...],
    "matmul, a vector left": lambda xp, u, v, a: xp.matmul(a[:, 0], u),
    "matmul of a vector": lambda xp, u, v, a: u[:, 0] @ a,
    "matmul of vectors": lambda xp, u, v, a: u[:, 0] @ a[:, 1],
    "matmul, batched": lambda xp, u, v, a: xp.stack([u, v]) @ xp.stack([a.T, a.T]),
    "matmul, one for a batch": lambda xp, u, v, a: xp.stack([u, v]) @ a.T,
    "matmul, under a batch": lambda xp, u, v, a: xp.matmul(xp.stack([a.T, a.T]), u),
    "permute_dims": lambda xp, u, v, a: xp.permute_dims(u[None, ...], (2, 0, 1)),
    "permute_dims, negative": lambda xp, u, v, a: xp.permute_dims(u, (-1, 0)),
    "reshape": lambda xp, u, v, a: xp.reshape(u, (2, -1)),
    "reshape, flat": lambda xp, u, v, a: xp.reshape(u, (-1,)),
    "where": lambda xp, u, v, a: xp.where(a > 0, u, v),
    "where, a constant": lambda xp, u, v, a: xp.where(a[:, :1] > 0, u, a),
    "moveaxis": lambda xp, u, v, a: xp.moveaxis(u[None, ...], 0, -1),
    "repeat": lambda xp, u, v, a: xp.repeat(u, 2, axis=0),
    "tile": lambda xp, u, v, a: xp.tile(u, (2, 1)),
    "trace": lambda xp, u, v, a: xp.linalg.trace(u[:2, :]),
    "diagonal": lambda xp, u, v, a: xp.linalg.diagonal(u[:2, :]),
    "unstack": lambda xp, u, v, a: xp.stack(xp.unstack(u, axis=1)),
    "unstack, last axis": lambda xp, u, v, a: xp.unstack(u, axis=-1)[1],
    "zeros_like": lambda xp, u, v, a: xp.zeros_like(u) + u,
}
BILINEAR = {
    "multiply": lambda xp, u, v, a: u * v,
    "multiply, broadcast": lambda xp, u, v, a: u[:, None, :] * v[0, ...],
    "divide by a product": lambda xp, u, v, a: u / (v * v + 1),
    "matmul": lambda xp, u, v, a: u @ xp.matrix_transpose(v),
    "matmul of vectors": lambda xp, u, v, a: u[:, 0] @ v[:, 1],
    "tensordot": lambda xp, u, v, a: xp.tensordot(u, v, axes=((0,), (0,))),
    "vecdot": lambda xp, u, v, a: xp.vecdot(u, v),
    "solve": lambda xp, u, v, a: xp.linalg.solve(u[:2, :] @ u[:2, :].T + 1 * (v[:2, :] @ v[:2, :].T), v[:2, :]),
}
DASK_LACKS = {"take", "take of a vector", "solve", "matmul, under a batch", "trace", "diagonal", "diff"}


def test_every_rule_is_here():
    assert set(_RULES) <= {name.split(",")[0].split(" ")[0] for name in (*LINEAR, *BILINEAR)}


def family(xp, weights=None, order=None):
    w = None if weights is None else xp.array(weights)
    total = float(R if weights is None else np.sum(weights))
    return Family(R, new_level(), order, w, total)


def one_by_one(operation):
    return np.stack([np.asarray(operation(np, u, v, PLAIN)) for u, v in zip(STACK, OTHER, strict=True)])


@pytest.mark.parametrize("name", [*LINEAR, *(f"of two: {name}" for name in BILINEAR)])
def test_operations_direction_by_direction(xp, name):
    operation = BILINEAR[name[8:]] if name.startswith("of two") else LINEAR[name]
    skip_what_strict_lacks(xp, name.removeprefix("of two: "))
    if xp.name == "dask" and name.removeprefix("of two: ") in DASK_LACKS:
        pytest.skip("not in Dask for arrays of these shapes")
    group = family(xp)
    u, v = (Bundle(xp.array(stack), group) for stack in (STACK, OTHER))
    got = operation(array_namespace(u), u, v, xp.array(PLAIN))
    expected = one_by_one(operation)
    assert isinstance(got, Bundle)
    assert (got.shape, got.ndim) == (expected.shape[1:], expected.ndim - 1)
    close(xp.numpy(got.array), expected, 1e-6 if name == "astype" else 1e-12)


@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["summed", "weighted"])
@pytest.mark.parametrize("name", LINEAR)
def test_totals_are_sums_of_what_bundles_would_be(xp, name, weights):
    """Σ_r ω_r A(u_r, v_r) = A(Σ_r ω_r u_r, Σ_r ω_r v_r), a constant counted Σ_r ω_r times."""
    if xp.name == "dask" and name in DASK_LACKS:
        pytest.skip("not in Dask for arrays of these shapes")
    if xp.name == "jax" and name == "permute_dims, negative":
        pytest.skip("JAX takes no negative axes there")
    operation = LINEAR[name]
    skip_what_strict_lacks(xp, name)
    group = family(xp, weights)
    u, v = (Bundle(xp.array(stack), group).total() for stack in (STACK, OTHER))
    got = operation(array_namespace(u), u, v, xp.array(PLAIN))
    assert isinstance(got, Total)
    expected = np.tensordot(np.ones(R) if weights is None else weights, one_by_one(operation), 1)
    close(xp.numpy(got.array), expected, 1e-6 if name == "astype" else 1e-12)


@pytest.mark.parametrize("name", ["add", "subtract", "concat", "stack", "where", "broadcast"])
def test_a_bundle_that_meets_a_total_is_summed(xp, name):
    group = family(xp, WEIGHTS)
    u, v = Bundle(xp.array(STACK), group), Bundle(xp.array(OTHER), group)
    operation = {"broadcast": lambda xp, u, v, a: u + v[0, ...]}.get(name) or LINEAR[name]
    expected = np.tensordot(WEIGHTS, one_by_one(operation), 1)
    for left, right in ((u.total(), v), (u, v.total())):
        got = operation(array_namespace(left), left, right, xp.array(PLAIN))
        close(xp.numpy(got.array), expected, 1e-12)


def test_a_product_of_totals_is_refused(xp):
    group = family(xp)
    u = Bundle(xp.array(STACK), group)
    for left, right in ((u.total(), u.total()), (u, u.total()), (u.total(), u)):
        with pytest.raises(MissingRule, match="not linear"):
            left * right


def test_through_maps_over_directions(xp):
    """Whatever the function: with vmap where the library has it, else in a loop; structures come back as they are."""
    skip_what_strict_lacks(xp, "through")
    group = family(xp)
    u, v = (Bundle(xp.array(stack), group) for stack in (STACK, OTHER))
    calls = []

    def function(a, b, c):
        calls.append(1)
        return (a * b, [c + b])

    first, (second,) = through(function, [u, xp.array(PLAIN), v])
    close(xp.numpy(first.array), STACK * PLAIN)
    close(xp.numpy(second.array), OTHER + PLAIN)
    assert len(calls) == (R if xp.name in ("numpy", "dask") else 1)


# --- functions ------------------------------------------------------------------------------------------


FUNCTIONS = {
    "products": lambda xp, x: xp.sin(x[..., :1]) * x * xp.exp(-x) / (1 + x * x),
    "constants": lambda xp, x: 2 - x * 3 + xp.ones_like(x),
    "linear": lambda xp, x: xp.sum(x, axis=-1),
    "absent": lambda xp, x: xp.zeros_like(x),
    "reduced": lambda xp, x: xp.mean(xp.cos(x), axis=-1, keepdims=True) - xp.sum(x) ** 2,
    "matrices": lambda xp, x: xp.linalg.solve(x[..., :, None] * x[..., None, :] + 3 * xp.eye(3), x[..., None])[..., 0],
    "determinant": lambda xp, x: xp.linalg.det(x[..., :, None] * x[..., None, :] + 3 * xp.eye(3)),
    "pieces": lambda xp, x: xp.where(x > 0, x**3, xp.tanh(x)) + xp.maximum(x, x * x) + xp.clip(x, -0.5, 0.5),
    "joined": lambda xp, x: xp.concat([x, xp.stack([x[..., 0], x[..., 1] * x[..., 2]], axis=-1)], axis=-1),
    "sorted": lambda xp, x: xp.sort(x * x, axis=-1),
    "prod": lambda xp, x: xp.prod(1 + x, axis=-1) + xp.linalg.vector_norm(x, axis=-1),
    "powers": lambda xp, x: (2 + x * x) ** 1.5 + 2.0**x + x**3,
    "moved": lambda xp, x: xp.flip(xp.moveaxis(x[..., None] * x[..., None, :], -1, 0), axis=0),
}
ON_EACH = ("products", "linear", "absent", "reduced", "pieces", "joined", "constants", "powers")
POINTS = np.random.default_rng(9).uniform(0.1, 0.9, (2, 3)) * np.asarray([[1, -1, 1], [1, 1, -1]])
VECTORS = np.random.default_rng(3).standard_normal((4, 3))


def looped(name, order):
    """Coefficients along every direction, one after another, by NumPy's jets: (order+1, R, …)."""
    f = FUNCTIONS[name]
    jets = [nt.jet(lambda x: f(array_namespace(x), x), POINTS, order, v).coefficients for v in VECTORS]
    return np.stack(jets, axis=1)


@pytest.mark.parametrize("total", [None, "summed", "weighted"])
@pytest.mark.parametrize("order", [1, 2, 4])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_direction_by_direction(xp, name, order, total):
    if xp.name in ("dask", "jax") and (name not in ON_EACH or order == 4):
        pytest.skip("seconds of tracing, or not in Dask")
    skip_what_strict_lacks(xp, name)
    f, weights = FUNCTIONS[name], np.asarray([1.0, -2.0, 0.5, 3.0]) if total == "weighted" else np.ones(4)
    given = xp.array(weights) if total == "weighted" else None

    def of_points(x):
        return f(array_namespace(x), x)

    x, rows = xp.array(POINTS), xp.array(VECTORS)
    c = along(of_points, x, Rows(rows), order, given, None if total is None else float(weights.sum()))
    expected = looped(name, order)
    close(xp.numpy(c[0]), expected[0, 0], 1e-12)
    for k in range(1, order + 1):
        wanted = expected[k]
        if k == order and total is not None:
            wanted = np.tensordot(weights, wanted, 1)
        if c[k] is None:
            assert not wanted.any()
        else:
            close(xp.numpy(c[k]), wanted, 1e-11)


@pytest.mark.parametrize("kind", ["coordinates", "some coordinates", "rows", "fields", "integers"])
def test_families(xp, kind):
    """The vectors of a family, its products, inner products and squares, and its parts, are of one another."""
    x, weight = RNG.standard_normal((5, 3)), RNG.standard_normal((3, 4))
    vectors = np.broadcast_to(VECTORS[:, None, :], (4, 5, 3))
    families = {
        "coordinates": (Coordinates(range(3)), np.eye(3)[:, None, :]),
        "some coordinates": (Coordinates(xp.array([2, 0], np.int64)), np.eye(3)[[2, 0], None, :]),
        "rows": (Rows(xp.array(VECTORS)), VECTORS[:, None, :]),
        "fields": (Fields(xp.array(vectors * np.arange(1.0, 6)[:, None])), vectors * np.arange(1.0, 6)[:, None]),
        "integers": (of_integers((((0, 1), (2, -3)), ((1, 2),)), 3), np.asarray([[[1.0, 0, -3]], [[0, 2.0, 0]]])),
    }
    found, expected = families[kind]
    given = xp.array(x)
    assert found.count == len(expected)
    close(xp.numpy(found.stack(given)), expected)
    close(xp.numpy(found.product(given, xp.array(weight))), expected @ weight)
    inner, squares = xp.numpy(found.inner(given)), xp.numpy(found.squares(given))
    whole = np.broadcast_to(expected, (len(expected), 5, 3))
    close(np.broadcast_to(inner, (len(expected), 5, 1)), np.sum(whole * x, axis=-1, keepdims=True))
    close(np.broadcast_to(squares, (len(expected), 5, 1)), np.sum(whole**2, axis=-1, keepdims=True))
    close(xp.numpy(found.part(1, 2).stack(given)), expected[1:2])


def test_unit_vectors_are_coordinates():
    assert of_integers((((2, 1),), ((0, 1),)), 3) == Coordinates((2, 0))


# --- operators within operators ------------------------------------------------------------------------


def test_an_operator_of_a_function_that_calls_one(xp):
    """Bundles of bundles: Δ(x_0 Δu + |∇u|²) for u = x_0² x_1 + x_1³."""

    def u(x):
        return x[..., 0] ** 2 * x[..., 1] + x[..., 1] ** 3

    def f(x):
        slope = nt.gradient(u, x)
        return x[..., 0] * nt.laplacian(u, x) + array_namespace(slope).sum(slope * slope, axis=-1)

    x = RNG.uniform(-1, 1, (3, 2))
    a, b = x.T
    # 8ab + 4a²b² + a⁴ + 6a²b² + 9b⁴ by a twice and by b twice
    close(xp.numpy(nt.laplacian(f, xp.array(x))), (20 * b**2 + 12 * a**2) + (20 * a**2 + 108 * b**2), 1e-12)


def test_jets_within_and_around_operators(xp):
    """d³/dt³ of a Laplacian along a direction, and the Laplacian of a third derivative, are the same."""
    net = xp.network([2, 3, 1])
    x, v = xp.array(RNG.uniform(-1, 1, (2, 2))), xp.array([0.3, -0.8])
    outer = nt.derivatives(lambda x: nt.laplacian(net, x), x, 2, v)
    inner = nt.laplacian(lambda x: nt.derivatives(net, x, 2, v)[2, ...], x)
    close(xp.numpy(outer[2, ...]), xp.numpy(inner), 1e-12)


def test_two_families_do_not_mix(xp):
    """An inner family's bundle holds arrays of the outer one's; neither is taken for the other."""

    def f(x):
        inner = nt.gradient(lambda x: x[..., 0] * x[..., 1] ** 2, x)
        return inner * x

    x = RNG.uniform(-1, 1, (3, 2))
    a, b = x.T
    expected = np.stack([np.stack([b**2, 2 * a * b], -1), np.stack([2 * b**2, 4 * a * b], -1)], axis=-2)
    close(xp.numpy(nt.gradient(f, xp.array(x))), expected)


def test_numpy_gradients_through_bundles():
    """Reverse mode through nested operators of a plain function, against differences."""
    x = RNG.uniform(-1, 1, (3, 2))

    def loss(p):
        def f(x):
            return array_namespace(x).sin(x @ p)

        value = nt.laplacian(lambda x: nt.laplacian(f, x), x)
        return array_namespace(value).sum(value**2)

    p = RNG.standard_normal((2, 2))
    value, gradient = nt.value_and_grad(loss)(p)
    for index in np.ndindex(2, 2):
        step = np.zeros((2, 2))
        step[index] = 1e-5
        assert abs((loss(p + step) - loss(p - step)) / 2e-5 - gradient[index]) < 1e-6 * (1 + abs(value))
