"""Reverse mode against complex steps of plain NumPy, losses of all kinds, trees, nesting and refusals."""

# ruff: noqa: ARG005 functions in a table share one signature

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import complex_step

import ntaylor as nt

RNG = np.random.default_rng(11)


def check(loss, *arrays):
    """The gradient of ``loss(*arrays)`` by every array, together and in one tree."""
    value, gradients = nt.value_and_grad(lambda p: loss(*p))(list(arrays))
    np.testing.assert_allclose(value, loss(*arrays), rtol=1e-13)
    for i, (array, gradient) in enumerate(zip(arrays, gradients, strict=True)):
        expected = complex_step(lambda a, i=i: loss(*arrays[:i], a, *arrays[i + 1 :]), array)
        assert gradient.shape == array.shape
        assert gradient.dtype == array.dtype
        np.testing.assert_allclose(gradient, expected, rtol=0, atol=1e-12 * (1 + np.max(np.abs(expected), initial=0)))


def weigh(y):
    """Any array to one number, with a different weight for every entry."""
    return np.sum(y * np.cos(np.arange(y.size, dtype=float)).reshape(y.shape))


A, B, C = RNG.uniform(0.3, 0.9, (3, 4)), RNG.uniform(0.3, 0.9, (3, 4)), RNG.uniform(0.3, 0.9, (4,))
MASK = RNG.uniform(size=(3, 4)) > 0.5

ONE = {
    "sum": lambda a: np.sum(a),
    "sum axis": lambda a: weigh(np.sum(a, 1)),
    "sum axes": lambda a: np.sum(a * a, axis=(0, -1)),
    "sum keepdims": lambda a: weigh(a * np.sum(a, axis=0, keepdims=True)),
    "mean": lambda a: np.mean(a * a) + weigh(a.mean(axis=1)),
    "mean method": lambda a: weigh(a * a.mean(0, keepdims=True)) + a.sum() * a[0, 0],
    "reshape": lambda a: weigh(np.reshape(a, (2, 6)) @ np.ones((6, 2))),
    "reshape methods": lambda a: weigh(a.reshape(-1)) + weigh(a.reshape(4, 3)),
    "permute": lambda a: weigh(np.transpose(a)) + weigh(a.T) + weigh(np.permute_dims(a[None, ...], (2, 0, 1))),
    "matrix_transpose": lambda a: weigh(a.T @ a),
    "moveaxis": lambda a: weigh(np.moveaxis(a[None, ...], 0, 2)),
    "expand and squeeze": lambda a: weigh(np.squeeze(np.expand_dims(a, 1), 1)),
    "broadcast_to": lambda a: weigh(np.broadcast_to(a, (2, 3, 4))),
    "flip": lambda a: weigh(np.flip(a)) + weigh(np.flip(a, axis=1)),
    "roll": lambda a: weigh(np.roll(a, 1, 0)) + weigh(np.roll(a, (1, 2), axis=(0, 1))),
    "take": lambda a: weigh(np.take(a, np.asarray([0, 0, -1]), axis=1)),
    "getitem": lambda a: weigh(a[1]) + weigh(a[:, 1:3]) + weigh(a[::-2, None, ..., -1]) + a[0, 0],
    "mask": lambda a: weigh(a[MASK]),
    "unstack": lambda a: sum((i + 1) * weigh(row) for i, row in enumerate(a)) + weigh(np.unstack(a, axis=1)[2]),
    "cumsum": lambda a: weigh(np.cumsum(a, axis=1)) + weigh(np.cumsum(a)) + weigh(np.cumsum(a, 0, a.dtype)),
    "options by position": lambda a: weigh(np.sum(a, 1, None, None, True)) + weigh(np.reshape(a, (2, 6), "C")),
    "integers of NumPy": lambda a: (
        weigh(a[np.int64(1)]) + weigh(a[:, np.argmax(B[0])]) + weigh(np.roll(a, np.int64(1)))
    ),
    "lists": lambda a: weigh(a[[0, -1]]) + weigh(a[:, [0, -1, 0]]) + weigh(a[..., [3]]) + weigh(a[1, [2, 2]]),
    "index arrays": lambda a: (
        weigh(a[np.asarray([0, 0, 2]), 1:]) + weigh(a[[0, 1, 1], [2, 3, 3]]) + weigh(a[0, :][[1]])
    ),
    "index arrays apart": lambda a: weigh(a[None, [0, 0]]) + weigh(a[..., None][0, :, [0, 0]]) + weigh(a[[[0], [1]]]),
    "empty lists": lambda a: weigh(a[[]]) + weigh(a),
    "take of lists": lambda a: weigh(np.take(a, [0, -1, 0], axis=0)) + weigh(np.take(a, [5, 5])) + np.take(a, 7),
    "take of a table": lambda a: weigh(np.take(a, np.asarray([[0, 1], [1, 1]]), 1)) + weigh(np.take(a, 2, axis=-1)),
    "diff": lambda a: weigh(np.diff(a)) + weigh(np.diff(a, 2)) + weigh(np.diff(a, axis=0, prepend=0.0, append=a[:1])),
    "tile": lambda a: weigh(np.tile(a, 2)) + weigh(np.tile(a, (2, 3))) + weigh(np.tile(a[0], (2, 1, 2))),
    "repeat": lambda a: weigh(np.repeat(a, 2)) + weigh(np.repeat(a, [1, 0, 3], axis=0)) + weigh(np.repeat(a, 2, 1)),
    "split": lambda a: sum((i + 1) * weigh(part) for i, part in enumerate([*np.split(a, 2, 1), *np.split(a, [1])])),
    "pow": lambda a: weigh(a**3) + weigh(a**-1.5) + weigh(2.0**a) + weigh(a ** np.int64(2)),
    "pow of array": lambda a: weigh(a ** np.asarray([0.0, 1.0, 2.0, -0.5])),
    "whole powers of negatives": lambda a: weigh((a - 2) ** 2) + weigh((a - 2) ** 3.0),
    "with numbers": lambda a: weigh(3 * a - 1) + weigh(1 - a) + weigh(2 / a) + weigh(a / 3) + weigh(-(+a)),
    "with arrays": lambda a: weigh(B * a) + weigh(B - a) + weigh(B / a) + weigh(C @ a.T) + weigh(a @ C),
    "univariates": lambda a: weigh(np.sin(a) * np.exp(-a) + np.log(a) * np.sqrt(a) - np.arctan(a) / np.cosh(a)),
    "astype": lambda a: weigh(np.astype(a, np.complex128 if a.dtype == complex else np.float64)),
    "full_like": lambda a: weigh(np.full_like(a, 2.0) * a),
    "locally constant": lambda a: weigh(a * (2 + 0 * MASK)) + weigh(a * (B > 0.5)),
}


@pytest.mark.parametrize("name", ONE)
def test_transposes_of_one_array(name):
    check(ONE[name], A)


ONE |= {
    "prod": lambda a: weigh(np.prod(a, 1)) + np.prod(a) + weigh(np.prod(a, axis=0, keepdims=True) * a),
    "prod with a zero": lambda a: np.prod(a - B[0, 0] * 0 - A[0, 0]) + weigh(np.prod(a - A[:, :1], axis=0)),
    "cumprod": lambda a: weigh(np.cumprod(a, axis=1)) + weigh(np.cumprod(a)),
    "einsum": lambda a: (
        weigh(np.einsum("ij,kj->ik", a, B)) + np.einsum("ij,ij,j->", a, B, C) + weigh(np.einsum("ij->j", a))
    ),
    "trace": lambda a: np.trace(a[:, :3]) + weigh(np.diagonal(a, 1)) + weigh(np.linalg.diagonal(a[None], offset=-1)),
    "kron and inner": lambda a: weigh(np.kron(a, B)) + weigh(np.inner(B, a)),
    "cross": lambda a: weigh(np.cross(a.T, B.T)),
    "take_along_axis": lambda a: weigh(np.take_along_axis(a, np.asarray([[0, 0, 2, 1], [1, 1, 1, 1]]), 0)),
    "triangles": lambda a: weigh(np.tril(a)) + weigh(np.triu(a, k=1)),
    "swapaxes": lambda a: weigh(np.swapaxes(a, 0, 1)),
    "meshgrid": lambda a: weigh(np.meshgrid(a[0], a[1])[0] * np.meshgrid(a[0], a[1])[1]),
    "matrix_power": lambda a: weigh(np.linalg.matrix_power(a[:, :3], 3)) + weigh(np.linalg.matrix_power(a[:, :3], -1)),
    "inv": lambda a: weigh(np.linalg.inv(a[:, :3])) + weigh(np.linalg.inv(np.stack([a[:, :3], a[:, 1:]]))),
    "det": lambda a: np.linalg.det(a[:, :3]) ** 2 + weigh(np.linalg.det(np.stack([a[:, :3], a[:, 1:]]))),
    "solve": lambda a: weigh(np.linalg.solve(a[:, 1:], a)) + weigh(np.linalg.solve(a[:, :3], a[:, 0])),
    "solve of many": lambda a: weigh(np.linalg.solve(np.stack([a[:, :3], B[:, :3]]), a[None])),
    "solve of one": lambda a: (
        weigh(np.linalg.solve(B[:, :3], np.stack([a, a * a]))) + weigh(np.linalg.solve(a[:, :3], C[1:]))
    ),
}

TWO = {
    "arithmetic": lambda a, b: weigh(a + b) + weigh(a - b) + weigh(a * b) + weigh(a / b),
    "pow": lambda a, b: weigh(a**b),
    "matmul": lambda a, b: weigh(a @ b.T),
    "vecdot": lambda a, b: weigh((a * b).sum(axis=-1)),
    "concat": lambda a, b: weigh(np.concatenate([a, b, a])) + weigh(np.concatenate([a, B, b], axis=1)),
    "tensordot": lambda a, b: (
        weigh(np.tensordot(a, b)) + weigh(np.tensordot(a, b, 0)) + weigh(np.tensordot(a, b, (0, 0)))
    ),
    "tensordot of axes": lambda a, b: weigh(np.tensordot(a, b, axes=([1, 0], [-1, 0]))) + np.tensordot(a, B),
    "outer": lambda a, b: weigh(np.outer(a, b)) + weigh(np.outer(a[0], C)),
    "hstack and vstack": lambda a, b: (
        weigh(np.hstack([a, B, b])) + weigh(np.vstack([a, b[0]])) + weigh(np.hstack([a[0], C]))
    ),
    "concat flat": lambda a, b: weigh(np.concatenate([a, b], axis=None)),
    "stack": lambda a, b: weigh(np.stack([a, b])) + weigh(np.stack([a, B, b], axis=-1)),
    "where": lambda a, b: weigh(np.where(MASK, a, b)) + weigh(np.where(MASK, a, 0.0)) + weigh(np.where(MASK, 1.0, b)),
    "hypot and logaddexp": lambda a, b: weigh(np.sqrt(a * a + b * b)) + weigh(np.log(np.exp(a) + np.exp(b))),
    "the same twice": lambda a, b: weigh(a * a * b) + weigh(np.stack([a, a])),
}


@pytest.mark.parametrize("name", TWO)
def test_transposes_of_two_arrays(name):
    check(TWO[name], A, B)


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from(
        [
            ((3, 4), (4,)),
            ((3, 1), (1, 4)),
            ((2, 3, 4), (3, 1)),
            ((), (3,)),
            ((1,), ()),
            ((0, 3), (3,)),
            ((2, 1), (2, 1)),
        ]
    ),
    st.sampled_from(["+", "-", "*", "/", "**"]),
    st.integers(0, 100),
)
def test_broadcasting_sums_back(shapes, operation, seed):
    """The cotangent of a broadcast operand is summed to the operand's own shape."""
    rng = np.random.default_rng(seed)
    a, b = (rng.uniform(0.5, 1.5, shape) for shape in shapes)
    operate = {
        "+": lambda a, b: a + b,
        "-": lambda a, b: a - b,
        "*": lambda a, b: a * b,
        "/": lambda a, b: a / b,
        "**": lambda a, b: a**b,
    }[operation]
    check(lambda a, b: weigh(operate(a, b)), a, b)


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from(
        [
            ((3,), (3,)),
            ((3,), (3, 2)),
            ((2, 3), (3,)),
            ((2, 3), (3, 4)),
            ((5, 2, 3), (3, 4)),
            ((2, 3), (5, 3, 4)),
            ((5, 2, 3), (5, 3, 4)),
            ((5, 1, 2, 3), (4, 3, 2)),
            ((3,), (5, 3, 2)),
            ((5, 2, 3), (3,)),
        ]
    ),
    st.integers(0, 100),
)
def test_matrix_products_of_all_shapes(shapes, seed):
    rng = np.random.default_rng(seed)
    check(lambda a, b: weigh(np.asarray(1.0) * (a @ b)), *(rng.standard_normal(shape) for shape in shapes))


def test_rules_that_complex_steps_cannot_see():
    """Piecewise ones, by hand."""
    a = np.asarray([-2.0, 0.5, 3.0])
    b = np.asarray([1.0, 0.5, 1.0])
    gradient = lambda f, *p: nt.value_and_grad(lambda p: f(*p))(list(p))[1]  # noqa: E731
    equal = np.testing.assert_array_equal
    equal(gradient(lambda a: np.sum(abs(a)), a)[0], [-1, 1, 1])
    equal(gradient(lambda a, b: np.sum(np.maximum(a, b)), a, b), [[0, 1, 1], [1, 0, 0]])
    equal(gradient(lambda a, b: np.sum(np.minimum(a, b)), a, b), [[1, 1, 0], [0, 0, 1]])
    equal(gradient(lambda a: np.sum(np.maximum(a, 1)), a)[0], [0, 0, 1])
    equal(gradient(lambda a: np.sum(np.clip(a, -1, 1)), a)[0], [0, 1, 0])
    equal(gradient(lambda a, b: np.sum(np.clip(a, 0.0, b)), a, b), [[0, 1, 0], [0, 0, 1]])
    equal(gradient(lambda a: np.max(a) + 2 * np.min(a), a)[0], [2, 0, 1])
    equal(gradient(lambda a: np.sum(np.max(np.stack([a, a]), axis=0)), a)[0], [1, 1, 1])
    equal(gradient(lambda a: np.sum(a % 1.25), a)[0], [1, 1, 1])
    equal(gradient(lambda a: np.sum(5 % a), a)[0], [3, -10, -1])
    equal(gradient(lambda a: np.sum(np.where(a > 0, a, 0) * (a == a)), a)[0], [0, 1, 1])
    equal(gradient(lambda a: np.sum(np.full_like(b, 1.0) * np.full_like(a, a[0])), a)[0], [3, 0, 0])
    spread = lambda a: np.mean((a - a.mean()) ** 2)  # noqa: E731
    for ours, formula in [
        (lambda a: np.var(a) + np.std(a), lambda a: spread(a) + np.sqrt(spread(a))),
        (lambda a: weigh(np.var(a, axis=0, ddof=1)), lambda a: weigh(np.sum((a - a.mean(axis=0)) ** 2, axis=0) / 2)),
    ]:
        np.testing.assert_allclose(gradient(ours, A)[0], complex_step(formula, A), rtol=1e-12)
    np.testing.assert_allclose(gradient(lambda a, b: np.sum(np.hypot(a, b)), a, b)[0], a / np.hypot(a, b))
    np.testing.assert_allclose(gradient(lambda a, b: np.sum(np.arctan2(a, b)), a, b)[0], b / (a**2 + b**2))
    np.testing.assert_allclose(gradient(lambda a, b: np.sum(np.logaddexp(a, b)), a, b)[1], 1 / (1 + np.exp(a - b)))
    np.testing.assert_allclose(gradient(lambda a, b: np.sum(np.vecdot(a, b)), a, b), [b, a])


def test_norms_products_and_methods():
    """Whose rules are those of other operations, against closed forms or the formula written out."""
    gradient = lambda f, *p: nt.value_and_grad(lambda p: f(*p))(list(p))[1]  # noqa: E731
    close = np.testing.assert_allclose
    norms = np.linalg.norm(A, axis=1, keepdims=True)
    close(gradient(lambda a: np.linalg.norm(a), A)[0], A / np.linalg.norm(A))
    close(gradient(lambda a: np.sum(np.linalg.norm(a, axis=1)), A)[0], A / norms)
    close(gradient(lambda a: np.sum(a.__array_namespace__().linalg.vector_norm(a, axis=1)), A)[0], A / norms)
    check(lambda a, b: weigh(np.dot(a, b.T)) + np.dot(a[0], b[0]) + weigh(a.dot(C)) + weigh(np.dot(a, 2.0)), A, B)
    check(lambda a: weigh(np.square(a)) + weigh(a.ravel()) + weigh(a[:1].squeeze()) + weigh(a.transpose(1, 0)), A)
    close(
        gradient(lambda a: np.sum(a.astype(float).copy().clip(0, 10).conj().real ** 2) + 0 * np.sum(a.imag), A)[0],
        2 * A,
    )
    close(gradient(lambda a: a.max() + a.min() * 2, np.asarray([1.0, 3.0, 2.0]))[0], [2, 1, 0])
    check(lambda a: np.sum((a - a.mean()) ** 2) / 12, A)
    close(gradient(lambda a: a.var() + a.std(), A)[0], (A - A.mean()) * (2 / 12 + 1 / (12 * A.std())))


COMPLEX = {
    "abs": (lambda p: np.sum(np.abs(p * (1 + 1j)) ** 2), lambda p: 2 * np.sum(p * p)),
    "abs alone": (lambda p: np.sum(abs(np.exp(1j * p) + p)), lambda p: np.sum(np.sqrt(1 + p * p + 2 * p * np.cos(p)))),
    "real": (lambda p: np.sum(np.real(np.exp((1 + 2j) * p))), lambda p: np.sum(np.exp(p) * np.cos(2 * p))),
    "imag": (
        lambda p: np.sum(np.imag(np.exp((1 + 2j) * p) / (1j * p))),
        lambda p: -np.sum(np.exp(p) * np.cos(2 * p) / p),
    ),
    "conj": (lambda p: np.sum(np.real(np.conj(p * 1j) * np.exp(1j * p))), lambda p: np.sum(p * np.sin(p))),
    "vecdot": (
        lambda p: np.real(np.vecdot(np.exp(1j * p), np.exp(3j * p) * (p + 0j))),
        lambda p: np.sum(p * np.cos(2 * p)),
    ),
    "norm": (lambda p: np.linalg.norm(p * np.exp(1j * p)), lambda p: np.sqrt(np.sum(p * p))),
    "var": (lambda p: np.var(p * (3 + 4j)), lambda p: 25 * np.sum((p - np.sum(p) / 2) ** 2) / 2),
    "matmul": (
        lambda p: np.sum(np.abs(np.asarray([[1j, 1], [2, -1j]]) @ p) ** 2),
        lambda p: 5 * p[0] ** 2 + 2 * p[1] ** 2,
    ),
    "astype": (lambda p: np.sum(np.imag(np.astype(p, np.complex128) ** 2 * 1j)), lambda p: np.sum(p * p)),
    "many": (
        lambda p: np.sum(np.abs(np.stack([p * 1j, p])[0, ::-1] - np.where(p > 0, 1j, 0.0) * 2) ** 2),
        lambda p: np.sum((p - 2) ** 2),
    ),
}


@pytest.mark.parametrize("name", COMPLEX)
def test_losses_through_complex_numbers(name):
    """The gradient by real parameters is that of the loss written with real numbers alone, and is real."""
    loss, real = COMPLEX[name]
    p = np.asarray([0.6, 1.4])
    value, gradient = nt.value_and_grad(loss)(p)
    np.testing.assert_allclose(value, real(p), rtol=1e-14)
    assert gradient.dtype == p.dtype
    np.testing.assert_allclose(gradient, complex_step(real, p), rtol=1e-13)
    _, single = nt.value_and_grad(loss)(p.astype(np.float32))
    assert single.dtype == np.float32


@pytest.mark.parametrize(
    "choice",
    [
        lambda z: np.maximum(z, 1.0),
        lambda z: np.minimum(1j, z),
        lambda z: np.max(z),
        lambda z: z.min(),
        lambda z: np.clip(z, 0.0, None),
        lambda z: np.sign(z) * z,
        lambda z: np.hypot(z, z),
        lambda z: np.arctan2(z, 1.0),
        lambda z: z.__array_namespace__().relu(z),
    ],
)
def test_choices_among_complex_numbers_are_refused(choice):
    with pytest.raises(TypeError, match=r"complex.* pass .*real"):
        nt.value_and_grad(lambda p: np.sum(np.abs(choice(p * (1 + 1j)))))(np.ones(2))


def parts(y):
    """Real and imaginary parts to one number, each entry with a weight of its own."""
    return weigh(y.real) + 2 * weigh(np.sin(y.imag))


FOURIER = {
    "fft": lambda a: parts(np.fft.fft(a)) + parts(np.fft.fft(a, 3, norm="ortho")) + parts(np.fft.fft(a, 6, axis=0)),
    "ifft": lambda a: parts(np.fft.ifft(a * (1 + 2j))) + parts(np.fft.ifft(a, 3, 0, "forward")),
    "fftn": lambda a: parts(np.fft.fftn(a)) + parts(np.fft.ifftn(a * 1j, axes=(1,), norm="ortho")),
    "rfft": lambda a: parts(np.fft.rfft(a)) + parts(np.fft.rfft(a, 3, norm="ortho")) + parts(np.fft.rfft(a, 7, axis=0)),
    "irfft": lambda a: weigh(np.fft.irfft(a * (1 + 2j))) + weigh(np.fft.irfft(a * 1j, 5, norm="ortho")),
    "irfft of other lengths": lambda a: weigh(np.fft.irfft(a * 1j, 4)) + weigh(np.fft.irfft(a * (1 - 1j), 9, axis=0)),
    "shifts": lambda a: weigh(np.fft.fftshift(a)) + weigh(np.fft.ifftshift(a, axes=1)),
}


@pytest.mark.parametrize("name", FOURIER)
def test_fourier_transforms(name):
    """The gradient against the derivative along every coordinate, by jets: it shares nothing with the transposes."""
    _, gradient = nt.value_and_grad(FOURIER[name])(A)
    unit = np.eye(A.size).reshape(A.size, *A.shape)
    expected = [nt.jet(FOURIER[name], A, 1, v).coefficients[1] for v in unit]
    np.testing.assert_allclose(gradient.ravel(), expected, rtol=0, atol=1e-13 * (1 + np.max(np.abs(expected))))


SYMMETRIC = {
    "cholesky": lambda s: weigh(np.linalg.cholesky(s)),
    "cholesky, upper": lambda s: weigh(np.linalg.cholesky(s, upper=True)),
    "cholesky of many": lambda s: weigh(np.linalg.cholesky(np.stack([s, s @ s]))),
    "eigvalsh": lambda s: weigh(np.linalg.eigvalsh(s) ** 2),
    "slogdet": lambda s: (
        np.linalg.slogdet(s).logabsdet * np.linalg.slogdet(s[:2, 1:])[0] + np.linalg.slogdet(s)[1] ** 2
    ),
    "sort": lambda s: weigh(np.sort(s * s, axis=1)) + weigh(np.sort(s, axis=None)),
    "copysign": lambda s: weigh(np.copysign(s, B[:, :3] - 0.6)),
    "norms": lambda s: (
        np.linalg.norm(s[0], 1)
        + np.linalg.norm(s[1], 3)
        + np.linalg.norm(s[2], np.inf)
        + np.linalg.matrix_norm(s, ord=1)
    ),
    "full and linspace": lambda s: weigh(s.__array_namespace__().full((2, 3), s[0]) * np.linspace(s[1], s[2], 2)),
}


@pytest.mark.parametrize("name", SYMMETRIC)
def test_where_complex_steps_do_not_go(name):
    """Not holomorphic: against jets along every coordinate, not only symmetric ones, for one triangle is read."""
    s = A[:, :3] @ A[:, :3].T + np.diag([1.0, 2.0, 4.0])
    _, gradient = nt.value_and_grad(SYMMETRIC[name])(s)
    unit = np.eye(9).reshape(9, 3, 3)
    expected = [nt.jet(SYMMETRIC[name], s, 1, v).coefficients[1] for v in unit]
    np.testing.assert_allclose(gradient.ravel(), expected, rtol=0, atol=1e-13 * (1 + np.max(np.abs(expected))))


def test_linear_algebra_twice_differentiated():
    """v·∇(w·∇ f) by a gradient of a gradient, by a jet of a gradient and by jets alone."""
    s, v = A[:, :3] @ A[:, :3].T + 2 * np.eye(3), B[:, :3]
    for name in ("cholesky", "eigvalsh", "slogdet", "sort"):
        f = SYMMETRIC[name]
        slope = lambda p, f=f: nt.value_and_grad(f)(p)[1]  # noqa: E731
        by_jet = nt.jet(slope, s, 1, v).coefficients[1]
        expected = nt.derivatives(f, s, 2, v)[2]
        np.testing.assert_allclose(np.sum(by_jet * v), expected, rtol=1e-10, atol=1e-12)
        if name != "eigvalsh":  # through the eigenvectors, which have no gradient
            _, twice = nt.value_and_grad(lambda p, slope=slope: np.sum(slope(p) * v))(s)
            np.testing.assert_allclose(np.sum(twice * v), expected, rtol=1e-10, atol=1e-12)
    for f in (lambda p: weigh(np.linalg.solve(p, v)), lambda p: np.linalg.det(p), lambda p: weigh(np.linalg.inv(p))):
        slope = lambda p, f=f: nt.value_and_grad(f)(p)[1]  # noqa: E731
        _, twice = nt.value_and_grad(lambda p, slope=slope: np.sum(slope(p) * v))(s)
        np.testing.assert_allclose(np.sum(twice * v), nt.derivatives(f, s, 2, v)[2], rtol=1e-10)


def test_linear_algebra_without_a_gradient():
    singular = np.ones((2, 2))
    with pytest.raises(ValueError, match="det of a singular matrix"):
        nt.value_and_grad(lambda p: np.linalg.det(p))(singular)
    with np.errstate(divide="ignore"), pytest.raises(ValueError, match="slogdet of a singular matrix"):
        nt.value_and_grad(lambda p: np.linalg.slogdet(p)[1])(np.zeros((2, 2)))
    for name in ("cholesky", "eigh", "eigvalsh", "qr", "slogdet"):
        with pytest.raises(TypeError, match=f"{name} of a complex array"):
            nt.value_and_grad(lambda p, name=name: np.sum(abs(getattr(np.linalg, name)(p * 1j)[0])))(singular)
    for function, words in ((np.linalg.qr, "columns are dependent"), (np.linalg.eigh, "eigenvalues coincide")):
        degenerate = np.zeros((2, 2))
        with pytest.raises(ValueError, match=words):
            nt.value_and_grad(lambda p, function=function: np.sum(function(p)[1]))(degenerate)
    with pytest.raises(nt.MissingRule, match="2 rows and 3 columns"):
        nt.value_and_grad(lambda p: np.sum(np.linalg.qr(p)[1]))(np.ones((2, 3)))
    with pytest.raises(nt.MissingRule, match=r"fft\.fftn\(out=…\)|np\.fft\.fftn\(out=…\)"):
        nt.value_and_grad(lambda p: np.sum(abs(np.fft.fftn(p, out=np.zeros((2, 2), complex)))))(singular)


def test_complex_numbers_and_nesting():
    """∇ Σ|d/dx e^{ipx}|² = 2p by jets inside a gradient; d/dt ∇_p Σ|p e^{ipt} + t|² by a gradient inside a jet."""
    x, p = np.asarray([0.3, 0.5]), np.asarray([1.2, 0.4])
    _, got = nt.value_and_grad(lambda p: np.sum(abs(nt.derivatives(lambda x: np.exp(1j * p * x), x, 1)[1]) ** 2))(p)
    np.testing.assert_allclose(got, 2 * p, rtol=1e-13)

    def gradient(modulus, t):
        return nt.value_and_grad(lambda p: np.sum(modulus(p, t)))(p)[1]

    # |p e^{ipt} + t|² = p² + 2 p t cos(pt) + t²
    t = np.asarray(0.7)
    got = nt.derivatives(lambda t: gradient(lambda p, t: np.abs(p * np.exp(1j * p * t) + t) ** 2, t), t, 3)
    expected = nt.derivatives(lambda t: gradient(lambda p, t: p * p + 2 * p * t * np.cos(p * t) + t * t, t), t, 3)
    np.testing.assert_allclose(got, expected, rtol=1e-12)


def test_complex_exponents_are_refused():
    with pytest.raises(nt.MissingRule, match="complex exponent"):
        nt.value_and_grad(lambda p: np.sum(np.abs(p**1j)))(np.ones(2))


# --- losses over derivatives --------------------------------------------------------------------

NET = nt.MLP.create([1, 5, 5, 1], "sin", seed=3)
X = np.linspace(-1, 1, 6)

LOSSES = {
    "index": lambda d: np.mean(d[3] ** 2),
    "unpack": lambda d: (lambda u, ux, uxx, uxxx: np.mean((u * ux + uxx - np.sin(u)) ** 2) + uxxx[0])(*d),
    "slices": lambda d: np.sum(d[1:3, ::2] ** 2) + d[0, 0],
    "norm": lambda d: np.sqrt(np.sum(d[2] * d[2])),
    "weights": lambda d: np.sum(d * np.arange(4.0)[:, None]) * 1e-2,
    "matrix": lambda d: np.sum((d @ np.ones((6, 2))) ** 3),
}


@pytest.mark.parametrize("through", ["network", "function", "jet"])
@pytest.mark.parametrize("name", LOSSES)
def test_losses_over_derivatives(name, through):
    """Gradients by every parameter equal complex steps of a loss written without ntaylor's layers."""

    def of_function(p, x):
        first = np.sin(x[:, None] @ p["0.weight"] + p["0.bias"])
        return np.sin(first @ p["2.weight"] + p["2.bias"]) @ p["4.weight"] + p["4.bias"]

    def plain(p):
        return LOSSES[name](nt.derivatives(lambda x: of_function(p, x)[:, 0], X, 3))

    def ours(p):
        net = NET.replace(p)
        if through == "network":
            return LOSSES[name](nt.derivatives(net, X, 3))
        if through == "function":
            return LOSSES[name](nt.derivatives(lambda x: net(x) * 1.0, X, 3))
        return LOSSES[name](nt.jet(lambda x: of_function(p, x)[:, 0], X, 3).derivatives)

    value, gradient = nt.value_and_grad(ours)(NET.parameters)
    np.testing.assert_allclose(value, plain(NET.parameters), rtol=1e-12)
    for key, array in NET.parameters.items():
        expected = complex_step(lambda a, key=key: plain({**NET.parameters, key: a}), array)
        np.testing.assert_allclose(gradient[key], expected, rtol=0, atol=1e-11 * (1 + np.abs(expected).max()))


@pytest.mark.parametrize("activation", ["tanh", "gelu", "softplus", "snake", "adaptive_tanh", "silu"])
@pytest.mark.parametrize("options", [{}, {"gated": True}, {"residual": True}, {"odd": True}, {"fourier": (2, 0.5)}])
def test_options_by_differences(activation, options):
    """Along a random change of all parameters, against fourth-order differences D(h), which err by O(h⁴).

    So |D(h) − D(h/2)| is about 15 times what D(h/2) errs by, and bounds it.
    """
    net = nt.MLP.create([2, 4, 4, 1], activation, seed=5, **options)
    x, v = RNG.standard_normal((3, 2)), RNG.standard_normal(2)
    change = {k: 0.1 * RNG.standard_normal(p.shape) for k, p in net.parameters.items()}

    def loss(p):
        u, ux, uxx = nt.derivatives(net.replace(p), x, 2, v)
        return np.mean(u * ux + uxx**2)

    def difference(h):
        values = [loss({k: p + s * h * change[k] for k, p in net.parameters.items()}) for s in (-2, -1, 1, 2)]
        return (values[0] - 8 * values[1] + 8 * values[2] - values[3]) / (12 * h)

    value, gradient = nt.value_and_grad(loss)(net.parameters)
    coarse, fine = difference(8e-3), difference(4e-3)
    got = sum(np.sum(gradient[k] * change[k]) for k in change)
    assert abs(got - fine) < abs(coarse - fine) + 1e-12 * (1 + abs(value)) / 4e-3
    assert abs(coarse - fine) < 1e-5 * (1 + abs(fine))
    assert all(gradient[k].shape == p.shape for k, p in net.parameters.items())


def test_gradient_by_x_and_direction():
    """∂/∂x of u′(x) is u″(x); ∂/∂v of v·∇u is ∇u."""
    x = np.linspace(-1, 1, 4)
    for f in (NET, np.sin, lambda u: NET(u) * u):
        _, by_x = nt.value_and_grad(lambda x, f=f: np.sum(nt.derivatives(f, x, 1)[1]))(x)
        np.testing.assert_allclose(by_x, nt.derivatives(f, x, 2)[2], atol=1e-14)
    net = nt.MLP.create([3, 4, 1])
    point = RNG.standard_normal((2, 3))
    _, by_v = nt.value_and_grad(lambda v: np.sum(nt.derivatives(net, point, 1, v)[1]))(np.ones(3))
    expected = [np.sum(nt.derivatives(net, point, 1, e)[1]) for e in np.eye(3)]
    np.testing.assert_allclose(by_v, expected, atol=1e-14)


# --- nesting ------------------------------------------------------------------------------------


def test_gradient_of_a_gradient():
    """Hessian-vector products: ∇(v·∇ Σ sin(q)³)."""
    q, v = np.asarray([0.3, 0.8]), np.asarray([2.0, -1.0])

    def inner(p):
        return np.sum(nt.value_and_grad(lambda q: np.sum(np.sin(q) ** 3))(p)[1] * v)

    _, got = nt.value_and_grad(inner)(q)
    np.testing.assert_allclose(got, v * (6 * np.sin(q) * np.cos(q) ** 2 - 3 * np.sin(q) ** 3))


def test_gradient_of_a_gradient_through_a_network_and_indexing():
    net = nt.MLP.create([1, 3, 1], seed=2)
    w = net.parameters["0.weight"]

    def first(w):
        loss = lambda p: np.sum(net.replace({**net.parameters, "0.weight": p})(X)[1:4] ** 2)  # noqa: E731
        return nt.value_and_grad(loss)(w)[1]

    change = RNG.standard_normal(w.shape)
    _, second = nt.value_and_grad(lambda w: np.sum(first(w) * change))(w)
    h = 1e-4
    difference = (first(w + h * change) - first(w - h * change)) / (2 * h)
    np.testing.assert_allclose(second, difference, atol=1e-7)


def test_derivatives_of_a_gradient():
    """d/dt ∇_p Σ sin(p t): a gradient inside a differentiated function."""
    p, t = np.asarray([1.0, 2.0]), np.asarray(0.3)
    got = nt.derivatives(lambda t: nt.value_and_grad(lambda p: np.sum(np.sin(p * t)))(p)[1], t, 1)
    np.testing.assert_allclose(got, [t * np.cos(p * t), np.cos(p * t) - p * t * np.sin(p * t)])


# --- trees, auxiliaries, arguments ----------------------------------------------------------------


class Pair(NamedTuple):
    left: np.ndarray
    right: object


def test_trees():
    a, b = np.asarray([1.0, 2.0]), np.asarray(3.0)
    tree = {"x": [a, (b,)], "y": Pair(a, {"z": b, "none": None})}

    def loss(p):
        return np.sum(p["x"][0] * p["y"].left) * p["x"][1][0] + p["y"].right["z"] ** 2

    value, gradient = nt.value_and_grad(loss)(tree)
    assert value == 24.0
    assert isinstance(gradient["y"], Pair)
    np.testing.assert_array_equal(gradient["x"][0], [3, 6])
    np.testing.assert_array_equal(gradient["x"][1][0], 5)
    np.testing.assert_array_equal(gradient["y"].left, [3, 6])
    assert gradient["y"].right["none"] is None
    assert gradient["y"].right["z"] == 6
    assert gradient.keys() == tree.keys()


def test_auxiliary_output_and_extra_arguments():
    def loss(p, scale, *, shift):
        y = p * scale + shift
        return np.sum(y * y), {"y": y, "note": "text", "nothing": None, "list": [y[0], 1.5]}

    p = np.asarray([1.0, 2.0])
    (value, auxiliary), gradient = nt.value_and_grad(loss)(p, 3.0, shift=1.0)
    assert value == 65
    np.testing.assert_array_equal(gradient, [24, 42])
    assert type(auxiliary["y"]) is np.ndarray
    assert auxiliary["list"] == [4.0, 1.5]
    assert auxiliary["note"] == "text"


def test_unused_parameters_have_zero_gradient():
    _, gradient = nt.value_and_grad(lambda p: np.sum(p["a"]))({"a": np.ones(2), "b": np.ones((2, 3))})
    np.testing.assert_array_equal(gradient["b"], np.zeros((2, 3)))


def test_a_parameter_used_many_times():
    p = np.asarray([0.1, 0.2])

    def loss(p):
        y = p
        for _ in range(2000):
            y = y * 0.999 + p
        return np.sum(y)

    _, gradient = nt.value_and_grad(loss)(p)
    np.testing.assert_allclose(gradient, sum(0.999**k for k in range(2001)))


def test_results_are_the_callers_own():
    """No two share memory, with each other or with the parameters, and all can be written to."""
    p = {"a": np.ones(3), "b": np.ones(3), "c": np.asarray(2.0), "d": np.ones(1)}
    losses = [
        lambda p: np.sum((p["a"] + p["b"]) ** 2) + p["c"],
        lambda p: np.sum(p["a"]) + np.mean(p["b"]) + p["d"][0],
        lambda p: (p["c"], [p["a"], p["a"], p["b"].T]),
        lambda p: (np.reshape(p["d"], ()), p),
        lambda p: p["d"],
    ]
    for loss in losses:
        value, gradient = nt.value_and_grad(loss)(p)
        value, auxiliary = value if isinstance(value, tuple) else (value, [])
        auxiliary = list(auxiliary.values()) if isinstance(auxiliary, dict) else auxiliary
        arrays = [a for a in (value, *auxiliary, *gradient.values(), *p.values()) if isinstance(a, np.ndarray)]
        assert len(arrays) >= 8
        for i, a in enumerate(arrays):
            assert a.flags.writeable
            assert 0 not in a.strides
            assert not any(np.shares_memory(a, b) for b in arrays[:i])


def test_the_auxiliary_is_kept_and_plain():
    """Also None, a jet and a network that hold Variables."""
    p = np.asarray([0.3, 0.5])
    (value, auxiliary), gradient = nt.value_and_grad(lambda p: (np.sum(p), None))(p)
    assert (value, auxiliary) == (0.8, None)
    np.testing.assert_array_equal(gradient, 1)

    def loss(p):
        u = nt.jet(lambda x: np.sin(p * x), np.asarray([1.0, 2.0]), 2)
        net = NET.replace({**NET.parameters, "4.bias": p[:1]})
        return np.sum(u.derivatives), {"jet": u, "net": net}

    (_, auxiliary), _ = nt.value_and_grad(loss)(p)
    assert type(auxiliary["jet"].primal) is np.ndarray
    np.testing.assert_allclose(auxiliary["jet"].derivatives[0], np.sin(p * [1.0, 2.0]))
    assert all(type(a) is np.ndarray for a in auxiliary["net"].parameters.values())
    assert auxiliary["net"](X).shape == X.shape


def test_powers_of_zero():
    """d/dp 0**p is 0 for p > 0, not 0 · log 0."""
    p = np.asarray([0.5, 2.0])
    for base in (0.0, np.zeros(2), np.float64(0)):
        _, gradient = nt.value_and_grad(lambda p, base=base: np.sum(base**p))(p)
        np.testing.assert_array_equal(gradient, 0)
    _, gradient = nt.value_and_grad(lambda q: np.sum(q["u"] ** q["p"]))({"u": np.asarray([2.0, 0.0]), "p": p})
    np.testing.assert_allclose(gradient["p"], [np.sqrt(2) * np.log(2), 0])


def test_norm_of_zero():
    """As abs: of the subgradients, 0."""
    for norm in (np.linalg.norm, np.linalg.vector_norm, lambda a: np.linalg.norm(a * (1 + 1j))):
        value, gradient = nt.value_and_grad(lambda p, norm=norm: norm(p))(np.zeros(3))
        assert value == 0
        np.testing.assert_array_equal(gradient, 0)
    rows = np.asarray([[0.0, 0.0], [3.0, 4.0]])
    _, gradient = nt.value_and_grad(lambda p: weigh(np.linalg.norm(p, axis=1, keepdims=True)))(rows)
    np.testing.assert_allclose(gradient, np.asarray([[0, 0], [0.6, 0.8]]) * np.cos(1))
    slope = lambda p: nt.value_and_grad(np.linalg.norm)(p)[1]  # noqa: E731
    _, second = nt.value_and_grad(lambda p: slope(p)[0])(np.asarray([3.0, 4.0]))
    np.testing.assert_allclose(second, [16 / 125, -12 / 125])


def test_indexing_twice_differentiated():
    """∇(v·∇ Σ p[i]³) with repeated i, through the gather that is the transpose."""
    v = np.asarray([1.0, -2.0, 0.5])
    p = np.asarray([0.5, 1.5, 2.0])
    for index, count in (([0, 0, -1], [2, 0, 1]), (slice(1, None), [0, 1, 1]), (v > 0, [1, 0, 1])):
        slope = lambda p, index=index: nt.value_and_grad(lambda q: np.sum(q[index] ** 3))(p)[1]  # noqa: E731
        np.testing.assert_allclose(slope(p), np.asarray(count) * 3 * p**2)
        _, second = nt.value_and_grad(lambda p, slope=slope: np.sum(slope(p) * v))(p)
        np.testing.assert_allclose(second, np.asarray(count) * 6 * p * v)


def test_numbers_can_be_printed_in_a_loss():
    seen = []

    def loss(p):
        value = np.sum(p)
        seen.extend([f"{value:.2e}", f"{value}", f"{np.sum(p * 1j):.1f}"])
        return value

    nt.value_and_grad(loss)(np.asarray([1.0, 2.0]))
    assert seen[0] == "3.00e+00"
    assert seen[1].startswith("Variable(")
    assert seen[2] == "0.0+3.0j"


def test_parameters_are_not_written_to():
    p = {k: np.array(v) for k, v in NET.parameters.items()}
    for v in p.values():
        v.flags.writeable = False
    _, gradient = nt.value_and_grad(lambda p: np.mean(nt.derivatives(NET.replace(p), X, 3)[3] ** 2))(p)
    for g in gradient.values():
        g += 1  # the gradient is the caller's own
    assert all(np.array_equal(p[k], NET.parameters[k]) for k in p)


# --- refusals -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("loss", "error", "message"),
    [
        (lambda p: np.sum(np.nancumprod(p)), nt.MissingRule, "'nancumprod'"),
        (lambda p: np.sum(np.linalg.svd(p[None, :])[1]), nt.MissingRule, "'linalg.svd'.*eigvalsh"),
        (
            lambda p: np.add.reduceat(p, [0]),
            nt.MissingRule,
            r"np\.add\.reduceat.* only for outer and for .*add\.reduce",
        ),
        (lambda p: np.sum(p, initial=2.0), (nt.MissingRule, TypeError), "initial"),
        (lambda p: (np.sum(p), p, p), ValueError, r"tuple of 3.*\(scalar, auxiliary\)"),
        (lambda p: [np.sum(p), p], ValueError, r"returned a list.*tuple \(scalar, auxiliary\)"),
        (lambda p: np.sum(np.reshape(p, (3, 1), order="F")), nt.MissingRule, r"reshape\(order=…\).*xp\.reshape\(a\.T"),
        (lambda p: np.mean(p, where=np.ones(3, bool)), nt.MissingRule, r"mean\(where=…\).*leave where out.*a\[mask\]"),
        (lambda p: np.max(p, initial=0.0), nt.MissingRule, r"max\(initial=…\).*afterwards"),
        (lambda p: np.sum(np.cumulative_sum(p, include_initial=True)), nt.MissingRule, r"include_initial.*xp\.concat"),
        (lambda p: np.mean(p, 0, np.float64), nt.MissingRule, r"mean\(dtype=…\).*xp\.astype"),
        (lambda p: np.sum(np.cumsum(p, 0, int)), nt.MissingRule, r"cumulative_sum\(dtype=…\)"),
        (lambda p: np.sum(p, dtype=np.int64), nt.MissingRule, r"sum\(dtype=…\)"),
        (lambda p: np.sum(np.cumulative_sum(p[None, :])), ValueError, "needs axis="),
        (lambda p: np.std(p, mean=1.0), nt.MissingRule, r"std\(mean=…\)"),
        (lambda p: np.sum(np.take(p, [7], mode="wrap")), nt.MissingRule, r"take\(mode=…\)"),
        (lambda p: np.sum(np.ravel(p, "F")), nt.MissingRule, r"np\.ravel\(order=…\)"),
        (lambda p: np.sum(p, 0, None, np.zeros(())), nt.MissingRule, r"np\.sum\(out=…\)"),
        (lambda p: np.sin(p, dtype=np.float32), nt.MissingRule, r"np\.sin\(dtype=…\)"),
        (lambda p: np.zeros(3).__iadd__(p), nt.MissingRule, "write r = r \\+ u"),
        (lambda p: np.array([p, p]).sum(), TypeError, r"np\.stack\(\[a, b\]\)"),
        (lambda p: np.sum([p, p]), TypeError, r"np\.stack\(\[a, b\]\)"),
        (lambda p: np.array([p[0], p[1]]).sum(), TypeError, r"np\.stack\(\[a, b\]\)"),
        (
            lambda p: float(np.sum(p)),
            TypeError,
            r"print the value that nt\.value_and_grad returns.*\(loss, auxiliary\)",
        ),
        (lambda p: f"{p:.3e}", TypeError, r"shape \(3,\) has no format"),
        (lambda p: np.sum(np.hstack([p, 1.0])), nt.MissingRule, "xp.zeros"),
        (lambda p: p, ValueError, r"must be a scalar, it has shape \(3,\)"),
        (lambda p: 3.0, ValueError, "does not depend on the parameters"),
        (lambda p: np.sum(np.floor(p)), ValueError, "does not depend on the parameters"),
        (lambda p: None, ValueError, "NoneType"),
        (lambda p: float(np.sum(p)), TypeError, "Python float"),
        (lambda p: np.asarray(p).sum(), TypeError, "plain NumPy array"),
        (lambda p: np.sum(p) if p[0] * 1.0 else 0, TypeError, "Python bool"),
        (lambda p: np.sum(np.arctan2(p - p, 0 * p)), ValueError, r"atan2\(0, 0\) is not differentiable"),
        (lambda p: np.sum(np.sqrt(p - 1)), ValueError, "sqrt is not differentiable"),
        (lambda p: p.__setitem__(0, 1.0), TypeError, "in place"),
        (lambda p: nt.jet(np.sin, p, 2), ValueError, "Jet"),
    ],
)
def test_refusals(loss, error, message):
    with pytest.raises(error, match=message):
        nt.value_and_grad(loss)(np.asarray([1.0, 2.0, 3.0]))


@pytest.mark.parametrize("parameters", [{"a": 1.0}, [np.ones(2), "text"], 3.0])
def test_leaves_must_be_arrays(parameters):
    with pytest.raises(TypeError, match="must be arrays"):
        nt.value_and_grad(lambda p: 0.0)(parameters)


def test_integer_parameters_are_refused():
    with pytest.raises(TypeError, match="floating"):
        nt.value_and_grad(lambda p: np.sum(p * 1.5))(np.asarray([1, 2]))


def test_complex_parameters_and_losses_are_refused():
    with pytest.raises(TypeError, match="complex"):
        nt.value_and_grad(lambda p: np.sum(abs(p)))(np.asarray([1j]))
    with pytest.raises(ValueError, match="must be real"):
        nt.value_and_grad(lambda p: np.sum(p * 1j))(np.ones(2))


def test_parameters_without_a_leaf_are_refused():
    with pytest.raises((TypeError, ValueError), match="parameters"):
        nt.value_and_grad(lambda p: 0.0)({})


def test_the_gradient_of_a_network_is_a_network():
    """A network may stand for its parameters, alone or in containers."""
    net, x = nt.MLP.create([1, 3, 1], seed=4), np.linspace(-1, 1, 4)

    def loss(net, scale=1.0):
        return np.mean((scale * nt.derivatives(net, x, 2)[2]) ** 2)

    value, expected = nt.value_and_grad(lambda p: loss(net.replace(p)))(net.parameters)
    of_network, gradient = nt.value_and_grad(loss)(net)
    _, (in_dict, _) = nt.value_and_grad(lambda both: loss(*both))((net, np.ones(())))
    assert of_network == value
    for found in (gradient, in_dict):
        assert isinstance(found, nt.MLP)
        for name, g in expected.items():
            np.testing.assert_allclose(found.parameters[name], g, rtol=1e-13)
