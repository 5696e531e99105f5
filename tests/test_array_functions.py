"""One table of array functions of all kinds: the same code on jets, at 120 digits, and under JAX's own autograd.

Then random programs of matrices, the array operations that a jet costs, and what stays absent.
"""

# ruff: noqa: ARG005 functions in a table share one signature

from __future__ import annotations

from contextlib import nullcontext

import numpy as np
import pytest
from fifty_digits_namespace import MP, by_values
from hypothesis import given, settings
from hypothesis import strategies as st
from test_linear_algebra import count

import ntaylor as nt
from ntaylor import jet_rules
from ntaylor.jets import Jet

ORDER = 8
RNG = np.random.default_rng(23)
X = np.asarray([[0.31, 0.87, 0.52], [0.72, 0.43, 0.66], [0.24, 0.58, 0.93]])
V = RNG.uniform(-1, 1, (3, 3))
EYE = np.eye(3)


def regular(a):
    return a + 2 * EYE


def positive(xp, a):
    return a @ xp.matrix_transpose(a) + EYE


FUNCTIONS = {
    # elementwise
    "exponentials": lambda xp, a: xp.exp(a) - xp.expm1(a * a) + xp.log1p(a) * xp.log(2 + a),
    "logarithms": lambda xp, a: xp.log2(1 + a) + xp.log10(2 + a * a) * xp.sqrt(a),
    "circular": lambda xp, a: xp.sin(a) * xp.cos(2 * a) + xp.tan(a / 2),
    "arcs": lambda xp, a: xp.asin(a) * xp.acos(a / 2) + xp.atan(3 * a),
    "hyperbolic": lambda xp, a: xp.sinh(a) / xp.cosh(2 * a) + xp.tanh(a * a),
    "arc hyperbolic": lambda xp, a: xp.asinh(a) * xp.atanh(a / 2) + xp.acosh(1.5 + a),
    "arithmetic": lambda xp, a: (2 - a) * a / (3 + a * a) - xp.reciprocal(a) + xp.square(-a),
    "powers": lambda xp, a: a**3 + a**-2 + a**0.5 + xp.pow(1 + a, a),
    "a number to a power": lambda xp, a: 2**a + xp.pow(1 + a, 1.5),
    "angle and length": lambda xp, a: xp.atan2(a, xp.cos(a)) + xp.hypot(a, 1 + a * a),
    "log of a sum": lambda xp, a: xp.logaddexp(a, 2 * a) - xp.logaddexp(1 - a, a),
    # along the primal's branch
    "abs": lambda xp, a: xp.abs(a - 0.5) * a,
    "sign": lambda xp, a: xp.sign(a - 0.5) * a * a,
    "maximum": lambda xp, a: xp.maximum(a * a, 0.3 + 0 * a) * xp.minimum(a, 0.6 + 0 * a),
    "clip": lambda xp, a: xp.clip(xp.sin(a), 0.4 + 0 * a, 0.7 + 0 * a),
    "where": lambda xp, a: xp.where(a > 0.5, xp.sin(a), a * a),
    "floor": lambda xp, a: a * xp.floor(4 * a),
    "remainder": lambda xp, a: xp.remainder(a * a, 0.25 + 0 * a) * a,
    "copysign": lambda xp, a: xp.copysign(a, a - 0.5) * a,
    "sort": lambda xp, a: xp.sort(a, axis=0) * xp.sort(xp.sin(a), axis=1),
    "max and min": lambda xp, a: xp.max(a * a, axis=1) - xp.min(a, axis=0) * xp.max(a),
    # moved about
    "transposed": lambda xp, a: xp.permute_dims(a, (1, 0)) * a + xp.matrix_transpose(a * a),
    "reshaped": lambda xp, a: xp.reshape(a * a, (-1,)) + xp.reshape(xp.reshape(a, (9, 1)), (9,)),
    "joined": lambda xp, a: xp.concat([a, xp.sin(a)], axis=1) * xp.concat([a, a * a], axis=1),
    "stacked": lambda xp, a: xp.stack([a, a * a, 2 * a], axis=1) * a[:, None, :],
    "indexed": lambda xp, a: a[::-1, 1:] * a[:, :2] + a[0, 0] ** 2,
    "taken": lambda xp, a: xp.take(a, np.asarray([2, 0, 0]), axis=1) ** 2,
    "taken along": lambda xp, a: xp.take_along_axis(a * a, np.asarray([[2, 0, 1]]), axis=0),
    "rolled": lambda xp, a: xp.roll(a, 1, axis=0) * xp.flip(a, axis=1),
    "triangles": lambda xp, a: xp.tril(a) @ xp.triu(a * a),
    "broadcast": lambda xp, a: xp.broadcast_to(a * a, (2, 3, 3)) * a[None, :, :] + a[:, :1] * a[:1, :],
    "tiled": lambda xp, a: xp.tile(a * a, (1, 2)) * xp.repeat(a, 2, axis=1),
    # reduced
    "sums": lambda xp, a: xp.sum(a * a, axis=0) * xp.mean(a, axis=1) + xp.sum(a),
    "products": lambda xp, a: xp.prod(a, axis=1) + xp.prod(1 + a),
    "running": lambda xp, a: xp.cumulative_sum(a * a, axis=1) * xp.cumulative_prod(a, axis=0),
    "spread": lambda xp, a: xp.std(a, axis=0) + xp.var(a * a, axis=1),
    "differences": lambda xp, a: xp.diff(a * a, axis=1),
    # linear algebra
    "matmul": lambda xp, a: a @ a @ a + a @ a[:, 0],
    "einsum": lambda xp, a: xp.einsum("ij,kj,kl->il", a, a, xp.sin(a)),
    "tensordot": lambda xp, a: xp.tensordot(a, a * a, axes=([0], [1])),
    "outer and cross": lambda xp, a: xp.linalg.outer(a[0, :], a[1, :]) + xp.linalg.cross(a, a[::-1, :] ** 2),
    "solve": lambda xp, a: xp.linalg.solve(regular(a), a * a),
    "solve a vector": lambda xp, a: xp.linalg.solve(regular(a), a[0, :]),
    "inv": lambda xp, a: xp.linalg.inv(regular(a)),
    "det": lambda xp, a: xp.linalg.det(regular(a)) + xp.linalg.det(a),
    "slogdet": lambda xp, a: xp.linalg.slogdet(regular(a))[1],
    "cholesky": lambda xp, a: xp.linalg.cholesky(positive(xp, a)),
    "eigvalsh": lambda xp, a: xp.linalg.eigvalsh(positive(xp, 2 * a)),
    "matrix power": lambda xp, a: xp.linalg.matrix_power(regular(a), -2) + xp.linalg.matrix_power(a, 3),
    "trace and diagonal": lambda xp, a: xp.linalg.trace(a @ a) * xp.linalg.diagonal(a * a),
    "norms": lambda xp, a: xp.linalg.vector_norm(a, axis=0) + xp.linalg.matrix_norm(a * a),
    "fft": lambda xp, a: xp.real(xp.fft.ifft(xp.fft.fft(a, axis=0) ** 2, axis=0)),
    "complex": lambda xp, a: xp.abs(xp.fft.fft(a * a + 1, axis=1)) + xp.imag(xp.conj(xp.fft.fft(a, axis=1))),
}
WORST = {"eigvalsh": 1e-11}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_to_order_eight(name):
    """Relative to the largest coefficient up to that order: rounding, times the length of the recurrences."""
    function = FUNCTIONS[name]
    got = nt.jet(lambda a: function(a.__array_namespace__(), a), X, ORDER, V).coefficients
    expected = by_values(lambda a: function(MP, a), X, V, ORDER)
    assert got.shape == expected.shape
    scale = np.maximum.accumulate(np.max(np.abs(expected).reshape(ORDER + 1, -1), axis=1))
    error = np.max(np.abs(got - expected).reshape(ORDER + 1, -1), axis=1) / scale
    assert np.all(error < WORST.get(name, 1e-13)), error


@pytest.mark.parametrize("name", [*FUNCTIONS][11:])  # what is elementwise and smooth costs JAX the most and says least
def test_a_function_against_nested_reverse_mode(name):
    """Σ c f(x + t v) and its derivatives to the second, by jax.grad of jax.grad."""
    jax = pytest.importorskip("jax")
    jax.config.update("jax_enable_x64", True)
    function = FUNCTIONS[name]
    weights = np.cos(np.arange(np.size(function(np, X)))).reshape(np.shape(function(np, X)))

    def of_t(t):
        return jax.numpy.sum(function(jax.numpy, X + t * V) * weights)

    expected, nested = [], of_t
    for _ in range(3):
        expected.append(float(nested(0.0)))
        nested = jax.grad(nested)
    got = nt.derivatives(lambda a: np.sum(function(a.__array_namespace__(), a) * weights), X, 2, V)
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-11 * np.max(np.abs(expected)))


# --- random programs ------------------------------------------------------------------------------

STEPS = {
    "sin": lambda xp, a: xp.sin(a),
    "exp": lambda xp, a: xp.exp(a / 4),
    "rational": lambda xp, a: a / (1 + a * a),
    "tanh": lambda xp, a: xp.tanh(a),
    "solve": lambda xp, a: xp.linalg.solve(xp.tanh(a) + 4 * EYE, a),
    "solve a constant": lambda xp, a: xp.linalg.solve(EYE + X, a) / 2,
    "inv": lambda xp, a: xp.linalg.inv(xp.sin(a) + 4 * EYE),
    "det": lambda xp, a: a * xp.linalg.det(a / 4 + EYE) / 4,
    "cholesky": lambda xp, a: xp.linalg.cholesky(a @ xp.matrix_transpose(a) / 4 + EYE),
    "matmul": lambda xp, a: a @ xp.cos(a) / 2,
    "einsum": lambda xp, a: xp.einsum("ij,kj->ik", a, xp.sin(a)) / 2,
    "transpose": lambda xp, a: xp.permute_dims(a, (1, 0)) - a / 3,
    "sums": lambda xp, a: a / 2 + xp.sum(a, axis=0) / 4 * xp.mean(a, axis=1)[:, None],
    "indexing": lambda xp, a: a[::-1, :] * a[:, 1:2] + a[0, 0],
    "stacking": lambda xp, a: xp.stack([a[0, :], xp.sin(a[1, :]), a[2, :] * a[0, :]], axis=1),
    "joining": lambda xp, a: xp.concat([a[1:, :], xp.cos(a[:1, :])], axis=0),
    "sort": lambda xp, a: xp.sort(a, axis=1) + a / 2,
    "prod": lambda xp, a: a / 2 + xp.prod(xp.sin(a), axis=0),
    "trace": lambda xp, a: a / (9 + xp.linalg.trace(a @ a)),
    "norm": lambda xp, a: a / (1 + xp.linalg.matrix_norm(a)),
}


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.lists(st.sampled_from(sorted(STEPS)), min_size=1, max_size=4), st.integers(0, 10**6))
def test_random_programs_of_matrices_to_order_eight(program, seed):
    """Any chain of operations on matrices is, on jets, what the same chain is on numbers of 120 digits."""
    x, v = np.random.default_rng(seed).uniform(-1, 1, (2, 3, 3))

    def whole(xp, a):
        for step in program:
            a = STEPS[step](xp, a)
        return a

    got = nt.jet(lambda a: whole(a.__array_namespace__(), a), x, ORDER, v).coefficients
    expected = by_values(lambda a: whole(MP, a), x, v, ORDER)
    scale = np.maximum.accumulate(np.max(np.abs(expected).reshape(ORDER + 1, -1), axis=1))
    error = np.max(np.abs(got - expected).reshape(ORDER + 1, -1), axis=1) / scale
    assert np.all(error < 1e-12), error


# --- cost -----------------------------------------------------------------------------------------


def full(base, order, more=0.1):
    """A curve with every coefficient there."""
    return [base, *(more / (k + 1) * np.cos(k + X) for k in range(order))]


@pytest.mark.parametrize("n", [1, 3, 8])
def test_no_more_array_operations_than_the_rules_say(n, monkeypatch):
    """Counted by an array that counts, on curves with all coefficients and on x + t v."""

    def operations(function, *curves):
        return count(monkeypatch, function, *curves, order=n)

    pairs = (n + 1) * (n + 2) // 2  # the products u_j v_{k−j} with j ≤ k ≤ n
    line = [X, V][: n + 1]
    assert operations(np.multiply, full(X, n), full(V, n))["multiply"] == pairs
    assert operations(np.multiply, full(X, n), [V])["multiply"] == n + 1
    assert operations(np.multiply, line, line)["multiply"] == 4 - (n == 1)
    assert operations(np.matmul, full(X, n), full(V, n))["matmul"] == pairs
    assert operations(np.matmul, line, [V])["matmul"] == 2
    # exp: k v_k = Σ_{j=1..k} j u_j v_{k−j}; the factors j once each, and 1/k
    found = operations(np.exp, full(X, n))
    assert found["exp"] == 1
    assert found["multiply"] <= n * (n + 1) // 2 + n - 1
    assert found.get("divide", 0) <= n - 1
    found = operations(np.exp, line)
    assert found["exp"] == 1
    assert found["multiply"] <= n + 1
    assert "add" not in found
    # solve: one factorisation, A_j x_{k−j} for 1 ≤ j ≤ k, and one product with the inverse an order
    found = operations(np.linalg.solve, full(3 * EYE + X, n), full(V, n))
    assert found["solve"] == 1
    assert found["matmul"] == n * (n + 1) // 2 + n
    found = operations(np.linalg.solve, [3 * EYE + X], full(V, n))
    assert found["solve"] == 1
    assert "matmul" not in found
    # nothing but the value for a constant
    for function in (np.exp, np.sin, lambda a: a @ a, lambda a: a * a, np.linalg.inv, np.linalg.det):
        assert sum(operations(function, [X]).values()) <= 2


MATRIX = RNG.uniform(-1, 1, (3, 3))
# Every operation that is linear in its argument; the names are those of the tables.
LINEAR = {
    "add": lambda xp, u: xp.add(u, MATRIX) + 1.0,
    "astype": lambda xp, u: xp.astype(u, xp.complex128),
    "broadcast_to": lambda xp, u: xp.broadcast_to(u, (2, 3, 3)),
    "concat": lambda xp, u: xp.concat([u, MATRIX, 2 * u]),
    "conj": lambda xp, u: xp.conj(u * 1j),
    "cumulative_sum": lambda xp, u: xp.cumulative_sum(u, axis=1),
    "divide": lambda xp, u: xp.divide(u, MATRIX) / 3,
    "expand_dims": lambda xp, u: xp.expand_dims(u, axis=1),
    "flip": lambda xp, u: xp.flip(u),
    "full_like": lambda xp, u: xp.full_like(u, u[0, 0]),
    "getitem": lambda xp, u: u[None, ..., ::-1][0, [0, 2]],
    "imag": lambda xp, u: xp.imag(u * (1 + 2j)),
    "linalg.solve": lambda xp, u: xp.linalg.solve(MATRIX, u),
    "matmul": lambda xp, u: MATRIX @ u @ MATRIX,
    "matrix_transpose": lambda xp, u: xp.matrix_transpose(u),
    "max": lambda xp, u: xp.max(u, axis=1),
    "maximum": lambda xp, u: xp.maximum(u, 0.5),
    "mean": lambda xp, u: xp.mean(u, axis=0, keepdims=True),
    "min": lambda xp, u: xp.min(u),
    "minimum": lambda xp, u: xp.minimum(MATRIX, u),
    "moveaxis": lambda xp, u: xp.moveaxis(u, 0, 1),
    "multiply": lambda xp, u: 2 * u * MATRIX,
    "negative": lambda xp, u: -u,
    "permute_dims": lambda xp, u: xp.permute_dims(u, (1, 0)),
    "positive": lambda xp, u: +u,
    "real": lambda xp, u: xp.real(u * (1 + 2j)),
    "remainder": lambda xp, u: u % 0.25,
    "repeat": lambda xp, u: xp.repeat(u, 2, axis=0),
    "reshape": lambda xp, u: xp.reshape(u, (9,)),
    "roll": lambda xp, u: xp.roll(u, 1, axis=0),
    "squeeze": lambda xp, u: xp.squeeze(u[None, ...], axis=0),
    "stack": lambda xp, u: xp.stack([MATRIX, u], axis=1),
    "subtract": lambda xp, u: xp.subtract(MATRIX, u) - 1.0,
    "sum": lambda xp, u: xp.sum(u, axis=(0, 1)),
    "take": lambda xp, u: xp.take(u, np.asarray([2, 2]), axis=1),
    "take_along_axis": lambda xp, u: xp.take_along_axis(u, np.asarray([[2, 0, 1]]), axis=0),
    "tensordot": lambda xp, u: xp.tensordot(u, MATRIX, axes=1),
    "tile": lambda xp, u: xp.tile(u, (2, 1)),
    "to_device": lambda xp, u: u.to_device("cpu"),
    "tril": lambda xp, u: xp.tril(u, k=1),
    "triu": lambda xp, u: xp.triu(u),
    "unstack": lambda xp, u: xp.unstack(u, axis=1)[2],
    "where": lambda xp, u: xp.where(MATRIX > 0, u, 1.0),
    "abs": lambda xp, u: xp.abs(u - 0.5),
    **{
        f"fft.{name}": (lambda xp, u, name=name: getattr(xp.fft, name)(u))
        for name in ("rfft", "rfftn", "ihfft", "fftshift", "ifftshift")
    },
    **{
        f"fft.{name}": (lambda xp, u, name=name: getattr(xp.fft, name)(u * (1 + 1j)))
        for name in ("fft", "ifft", "fftn", "ifftn", "irfft", "irfftn", "hfft")
    },
    # made of others
    "broadcast_arrays": lambda xp, u: xp.broadcast_arrays(u, MATRIX[None, ...])[0],
    "clip": lambda xp, u: xp.clip(u, 0.3, 0.6),
    "copysign": lambda xp, u: xp.copysign(u, MATRIX),
    "diagonal": lambda xp, u: xp.linalg.diagonal(u, offset=1),
    "diff": lambda xp, u: xp.diff(u, axis=1),
    "dot": lambda xp, u: xp.dot(u, MATRIX),
    "einsum": lambda xp, u: xp.einsum("ij,kj,l->kil", u, MATRIX, MATRIX[0]),
    "full": lambda xp, u: xp.full((2, 3, 3), u),
    "hstack": lambda xp, u: xp.hstack([u, MATRIX]) + xp.vstack([u, MATRIX])[:3, :1],
    "inner": lambda xp, u: xp.inner(u, MATRIX),
    "kron": lambda xp, u: xp.kron(MATRIX, u),
    "linalg.cross": lambda xp, u: xp.linalg.cross(u, MATRIX),
    "linalg.trace": lambda xp, u: xp.linalg.trace(u),
    "linspace": lambda xp, u: xp.linspace(0.0, u, 3),
    "meshgrid": lambda xp, u: xp.meshgrid(u[0, :], MATRIX[0])[0],
    "outer": lambda xp, u: xp.linalg.outer(u[0, :], MATRIX[0]),
    "sort": lambda xp, u: xp.sort(u, axis=0),
    "split": lambda xp, u: xp.split(u, 3)[1],
    "swapaxes": lambda xp, u: xp.swapaxes(u, 0, 1),
    "vecdot": lambda xp, u: xp.vecdot(MATRIX, u),
}


def test_the_walk_is_over_the_whole_table():
    linear = {*jet_rules._LINEAR.split(), *(name for name in jet_rules.RULES if name.startswith("fft."))}
    assert linear <= {*LINEAR}


@pytest.mark.parametrize("name", LINEAR)
def test_no_dense_zeros_through_what_is_linear(name):
    """Of x + t v two coefficients, of x + t² v a gap, of a constant one; and their values are the function's."""
    function = LINEAR[name]
    for curve, there in (([X, V], [0, 1]), ([X, None, V], [0, 2]), ([X], [0])):
        u = Jet(curve, ORDER)
        found = function(u.__array_namespace__(), u)
        assert [k for k, c in enumerate(found._series) if c is not None] == there
        assert (found.order, len(found.series)) == (ORDER, ORDER)
    t, u = 1e-3, Jet([X, V], 1)  # on the same branch
    found, xp = function(u.__array_namespace__(), u), Jet([X]).__array_namespace__()
    moved = function(xp, Jet([X + t * V])).primal
    np.testing.assert_allclose(found.primal + t * found._series[1], moved, rtol=1e-12, atol=1e-13)


def test_structural_zeros_of_products():
    """Degrees add: (x + t v)² has three coefficients, a cube four, and no more."""
    u, odd = Jet([X, V], ORDER), Jet([X, None, V], ORDER)
    for function, degree in (
        (lambda a: a * a, 2),
        (lambda a: a @ a, 2),
        (lambda a: a**3, 3),
        (lambda a: np.einsum("ij,jk,kl->il", a, a, a), 3),
        (lambda a: np.kron(a, a), 2),
        (lambda a: np.linalg.matrix_power(a, 4), 4),
        (np.linalg.det, 3),
        (lambda a: np.prod(a, axis=0), 3),
        (lambda a: np.tensordot(a, a, axes=2), 2),
    ):
        assert [k for k, c in enumerate(function(u)._series) if c is not None] == [*range(degree + 1)]
        assert [k for k, c in enumerate(function(odd)._series) if c is not None] == [
            k for k in range(0, 2 * degree + 1, 2) if k <= ORDER
        ]


# --- sorting on every library -----------------------------------------------------------------------

SORTED = {
    "sort": lambda xp, u, i: xp.sort(u, axis=0) * xp.sort(xp.sin(u), axis=-1, descending=True),
    "argsort": lambda xp, u, i: u * u * xp.astype(xp.argsort(u, axis=1), u.dtype),
    "take_along_axis": lambda xp, u, i: xp.take_along_axis(u * u, i, axis=0),
    "both": lambda xp, u, i: xp.take_along_axis(xp.exp(u), xp.argsort(u, axis=-1), axis=-1),
}


@pytest.mark.parametrize("name", SORTED)
@pytest.mark.parametrize("library", ["numpy", "array_api_strict", "dask.array"])
def test_sorting_on_every_library(library, name):
    """In its own arrays, lazily where it is lazy, and with the same gradient."""
    module = pytest.importorskip(library)
    make = (lambda a: module.from_array(a, chunks=2)) if library == "dask.array" else module.asarray
    if library == "array_api_strict":
        module.set_array_api_strict_flags(api_version="2025.12")
    function, indices = SORTED[name], np.asarray([[2, 0, -1], [0, 0, 1]])

    def on(of, u):
        return function(u.__array_namespace__(), u, of(indices))

    def loss(of, u):
        y = on(of, u)
        return y.__array_namespace__().sum(y * y)

    def back(a):
        return np.asarray(a.compute()) if library == "dask.array" else np.asarray(np.from_dlpack(a))

    def refuse(*_, **__):
        raise AssertionError("Dask was made to compute")

    lazily = pytest.importorskip("dask").config.set(scheduler=refuse) if library == "dask.array" else nullcontext()
    with lazily:
        got = nt.jet(lambda u: on(make, u), make(X), ORDER, make(V)).coefficients
        _, gradient = nt.value_and_grad(lambda u: loss(make, u))(make(X))
    expected = by_values(lambda u: SORTED_ON_NUMBERS[name](u, indices), X, V, ORDER)
    np.testing.assert_allclose(back(got), expected, rtol=0, atol=1e-13 * np.max(np.abs(expected)))
    slope = by_values(lambda u: np.sum(SORTED_ON_NUMBERS[name](u, indices) ** 2), X, V, 2)[1].real
    np.testing.assert_allclose(np.sum(back(gradient) * V), slope, rtol=1e-12)


SORTED_ON_NUMBERS = {
    "sort": lambda u, i: np.sort(u, axis=0) * np.sort(MP.sin(u), axis=-1)[:, ::-1],
    "argsort": lambda u, i: u * u * np.argsort(u.astype(float), axis=1),
    "take_along_axis": lambda u, i: np.take_along_axis(u * u, i, axis=0),
    "both": lambda u, i: np.sort(MP.exp(u), axis=-1),
}
