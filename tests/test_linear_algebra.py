"""Linear algebra on jets against 50 digits, its cost in array operations, NumPy's own names, and its gradients."""

from __future__ import annotations

import array_api_compat.numpy
import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import of_matrices, on_a_circle

import ntaylor as nt
from ntaylor import linalg_rules
from ntaylor.jets import Jet

ORDER = 8
RNG = np.random.default_rng(7)
A = [RNG.standard_normal((3, 3)) for _ in range(3)]
B = [RNG.standard_normal((3, 1)) for _ in range(2)]
S = [A[0] @ A[0].T + 2 * np.eye(3), A[1] + A[1].T, A[2] + A[2].T]
TALL = [RNG.standard_normal((4, 2)) for _ in range(3)]


def close(got, expected, tolerance=1e-13):
    """Coefficient by coefficient, relative to the largest of them up to that order."""
    got = np.asarray(got.coefficients if isinstance(got, Jet) else got)
    expected = np.asarray(expected).reshape(got.shape)
    scale = np.maximum.accumulate(np.max(np.abs(expected).reshape(len(got), -1), axis=1))
    error = np.max(np.abs(got - expected).reshape(len(got), -1), axis=1)
    assert np.all(error <= tolerance * scale), error / scale


def signed(columns, first):
    """A matrix of which each column may have the other sign, with those of ``first``."""
    return columns * np.sign(np.sum(columns[0] * first, axis=0))


CURVES = {
    "solve": (np.linalg.solve, mpmath.lu_solve, [A, B]),
    "solve, constant matrix": (np.linalg.solve, mpmath.lu_solve, [A[:1], B]),
    "solve, constant right-hand side": (np.linalg.solve, mpmath.lu_solve, [A, B[:1]]),
    "inv": (np.linalg.inv, mpmath.inverse, [A]),
    "det": (np.linalg.det, mpmath.det, [A]),
    "slogdet": (lambda a: np.linalg.slogdet(a)[1], lambda a: mpmath.log(abs(mpmath.det(a))), [A]),
    "cholesky": (np.linalg.cholesky, mpmath.cholesky, [S]),
    "eigvalsh": (np.linalg.eigvalsh, lambda a: mpmath.eigsy(a, eigvals_only=True), [S]),
    "matrix_power": (lambda a: np.linalg.matrix_power(a, 5), lambda a: a**5, [A]),
    "negative power": (lambda a: np.linalg.matrix_power(a, -2), lambda a: mpmath.inverse(a) ** 2, [A]),
    "norm": (lambda a: np.linalg.norm(a, 1, axis=0).sum(), lambda a: sum(abs(x) for x in a), [TALL]),
}


@pytest.mark.parametrize("name", CURVES)
def test_against_fifty_digits(name):
    ours, theirs, curves = CURVES[name]
    jets = [Jet(curve, ORDER) for curve in curves]
    close(ours(*jets), of_matrices(theirs, curves, ORDER), 1e-11 if name == "eigvalsh" else 1e-13)


def test_factors_against_fifty_digits():
    """QR and eigenvectors, whose columns another code may give with the other sign."""
    for curve in (A, TALL):
        q, r = np.linalg.qr(Jet(curve, ORDER))
        expected = of_matrices(lambda a: mpmath.qr(a, mode="skinny")[0], [curve], ORDER)
        close(q, signed(expected, q.primal))
        expected = of_matrices(lambda a: mpmath.qr(a, mode="skinny")[1], [curve], ORDER)
        close(r, expected * np.sign(expected[0].diagonal() * r.primal.diagonal())[:, None])
    values, vectors = np.linalg.eigh(Jet(S, ORDER))
    close(values, of_matrices(lambda a: mpmath.eigsy(a, eigvals_only=True), [S], ORDER), 1e-11)
    close(vectors, signed(of_matrices(lambda a: mpmath.eigsy(a)[1], [S], ORDER), vectors.primal), 1e-11)
    kind = np.linalg.slogdet(Jet(A, 2))
    assert (kind._fields, type(kind.logabsdet), type(kind.sign)) == (("sign", "logabsdet"), Jet, np.float64)


@pytest.mark.parametrize(("size", "tolerance"), [(1, 1e-15), (2, 1e-14), (8, 1e-13), (16, 1e-11), (17, 1e-7)])
def test_determinants_of_every_size(size, tolerance):
    rng = np.random.default_rng(size)
    curve = [rng.standard_normal((size, size)) for _ in range(2)]
    got = np.linalg.det(Jet(curve, ORDER)).coefficients
    expected = of_matrices(mpmath.det, [curve], ORDER).ravel()
    np.testing.assert_allclose(got, expected, rtol=0, atol=tolerance * np.max(np.abs(expected)))


def test_singular_matrices():
    """Their determinant is a polynomial like any other; its logarithm and the inverse are not there."""
    singular = np.asarray([[1.0, 2.0], [2.0, 4.0]])
    close(np.linalg.det(Jet([singular, np.eye(2)], 3)), [0, 5, 1, 0], 1e-15)
    assert np.linalg.det(np.zeros((0, 0))) == np.linalg.det(Jet([np.zeros((0, 0))] * 2, 1)).primal
    u = Jet([singular, np.eye(2)], 3)
    with np.errstate(divide="ignore"), pytest.raises(ValueError, match=r"slogdet of a singular matrix"):
        np.linalg.slogdet(u)
    for function in (np.linalg.inv, lambda a: np.linalg.solve(a, a)):
        with pytest.raises(np.linalg.LinAlgError, match="Singular"):
            function(u)
    large = np.zeros((linalg_rules.DIVISION_FREE + 1,) * 2)
    with pytest.raises(ValueError, match="sizes up to 16, got 17"):
        np.linalg.det(Jet([large, large + 1]))
    with pytest.raises(ValueError, match="columns are dependent"):
        np.linalg.qr(Jet([np.zeros((3, 2)), np.ones((3, 2))]))
    with pytest.raises(ValueError, match="eigenvalues coincide"):
        np.linalg.eigh(Jet([np.eye(2), singular]))
    with pytest.raises(nt.MissingRule, match=r"qr\(mode='complete'\) of a matrix of 2 rows and 2"):
        np.linalg.qr(u, mode="complete")
    with pytest.raises(nt.MissingRule, match="2 rows and 3 columns"):
        np.linalg.qr(Jet([np.ones((2, 3))]))
    with pytest.raises(nt.MissingRule, match=r"matrix_norm\(ord=2\).*eigvalsh"):
        np.linalg.matrix_norm(u, ord=2)


def test_complex_matrices():
    """Along a real t: L Lᴴ, Q R and V Λ Vᴴ give the matrix back, and slogdet's sign turns."""
    rng = np.random.default_rng(3)
    curve = [rng.standard_normal((3, 3)) + 1j * rng.standard_normal((3, 3)) for _ in range(3)]
    u = Jet(curve, ORDER)
    adjoint = lambda a: np.matrix_transpose(np.conj(a))  # noqa: E731
    hermitian = u @ adjoint(u) + np.eye(3)
    for upper in (False, True):
        factor = np.linalg.cholesky(hermitian, upper=upper)
        close(adjoint(factor) @ factor if upper else factor @ adjoint(factor), hermitian.coefficients, 1e-12)
        assert np.all(np.abs(np.imag(np.linalg.diagonal(factor.coefficients))) < 1e-12)
    q, r = np.linalg.qr(u)
    close(q @ r, u.coefficients, 1e-12)
    close(adjoint(q) @ q, Jet([np.eye(3) + 0j], ORDER).coefficients, 1e-11)
    assert np.max(np.abs(np.tril(r.coefficients, -1))) < 1e-11
    values, vectors = np.linalg.eigh(hermitian)
    assert values.dtype == np.float64
    close((vectors * values[None, :]) @ adjoint(vectors), hermitian.coefficients, 1e-10)
    sign, logarithm = np.linalg.slogdet(u)
    close(sign * np.exp(logarithm), np.linalg.det(u).coefficients, 1e-12)
    close(np.linalg.solve(u, hermitian), (np.linalg.inv(u) @ hermitian).coefficients, 1e-11)


@settings(max_examples=25, deadline=None)
@given(
    st.sampled_from(
        [
            *(((3, 3), (3,)), ((2, 3, 3), (3,)), ((3, 3), (3, 2)), ((2, 3, 3), (3, 1)), ((3, 3), (4, 3, 2))),
            ((2, 1, 3, 3), (5, 3, 2)),
        ]
    ),
    st.tuples(st.integers(1, 3), st.integers(1, 3)).filter(lambda n: max(n) > 1),
    st.integers(0, 50),
)
def test_solutions_of_all_shapes(shapes, known, seed):
    """A x is b, whichever of the two depends on t."""
    rng = np.random.default_rng(seed)
    a, b = (
        Jet([rng.standard_normal(shape) + (k == 0 and shape is shapes[0]) * 4 * np.eye(3) for k in range(n)], 4)
        if shape is shapes[0]
        else Jet([rng.standard_normal(shape) for _ in range(n)], 4)
        for shape, n in zip(shapes, known, strict=True)
    )
    x = np.linalg.solve(a, b)
    assert x.shape == np.linalg.solve(a.primal, b.primal).shape
    np.testing.assert_allclose(x.primal, np.linalg.solve(a.primal, b.primal), rtol=1e-12)
    product = (a @ x[..., None])[..., 0] if b.ndim == 1 else a @ x
    expected = np.broadcast_to(b.coefficients.reshape(5, *[1] * (x.ndim - b.ndim), *b.shape), (5, *x.shape))
    np.testing.assert_allclose(product.coefficients, expected, rtol=0, atol=1e-11)


# --- cost -----------------------------------------------------------------------------------------


class Counted(np.ndarray):
    """A NumPy array that counts the functions it goes through."""

    calls: dict = {}  # noqa: RUF012 reset by those who read it

    def __array_ufunc__(self, ufunc, method, *inputs, **kwargs):
        return _count(ufunc.__name__, getattr(ufunc, method), inputs, kwargs)

    def __array_function__(self, func, types, args, kwargs):
        return _count(func.__name__, func, args, kwargs)


def _plain(value):
    if isinstance(value, (list, tuple)):
        return type(value)(map(_plain, value)) if type(value) in (list, tuple) else value
    return value.view(np.ndarray) if isinstance(value, Counted) else value


def _count(name, function, args, kwargs):
    Counted.calls[name] = Counted.calls.get(name, 0) + 1
    found = function(*_plain(args), **{key: _plain(v) for key, v in kwargs.items()})
    if isinstance(found, tuple):
        return type(found)(*map(_counted, found)) if hasattr(found, "_fields") else tuple(map(_counted, found))
    return _counted(found)


def _counted(array):
    return np.asarray(array).view(Counted)


def count(monkeypatch, function, *curves, order=ORDER):
    Counted.calls = {}

    def solve(a, b):  # array-api-compat's makes plain arrays of both first
        Counted.calls["solve"] = Counted.calls.get("solve", 0) + 1
        return _counted(np.linalg.solve(_plain(a), _plain(b)))

    monkeypatch.setattr(array_api_compat.numpy.linalg, "solve", solve)
    function(*(Jet([None if c is None else _counted(c) for c in curve], order) for curve in curves))
    return Counted.calls


@pytest.mark.parametrize("name", ["solve", "inv", "cholesky", "qr", "eigh", "slogdet"])
def test_one_factorisation_a_call(name, monkeypatch):
    """Whatever the order; all else are products."""
    curves = [S, [B[0]]] if name == "solve" else [S]
    calls = count(monkeypatch, getattr(np.linalg, name), *curves)
    factored = {key: n for key, n in calls.items() if key in ("solve", "inv", "cholesky", "qr", "eigh", "slogdet")}
    allowed = {"cholesky": {"cholesky": 1, "inv": 1}, "qr": {"qr": 1, "inv": 1}, "slogdet": {"slogdet": 1, "inv": 1}}
    assert factored == allowed.get(name, {name: 1})


def test_products_that_the_rules_say(monkeypatch):
    """(2.1), (8.1), (8.2): a curve of three coefficients meets two of another at each order."""
    n = ORDER
    assert count(monkeypatch, np.matmul, A[:2], A[:2])["matmul"] == 4
    assert count(monkeypatch, lambda a: a @ A[0], A[:2])["matmul"] == 2
    assert count(monkeypatch, np.multiply, A[:2], A[:1])["multiply"] == 2
    # x_k: one product with A_1, one with the inverse.
    assert count(monkeypatch, np.linalg.inv, A[:2])["matmul"] == 2 * n
    assert count(monkeypatch, np.linalg.solve, A[:2], B[:1])["matmul"] == 2 * n
    assert count(monkeypatch, np.linalg.solve, A, B[:1])["matmul"] == 2 * n + n - 1
    assert "matmul" not in count(monkeypatch, np.linalg.solve, A[:1], B)
    assert count(monkeypatch, np.linalg.solve, A[:1], B)["solve"] == 1
    # L_k: two products with L_0⁻¹ and one with L_0, one a pair (j, k − j).
    assert count(monkeypatch, np.linalg.cholesky, S[:2])["matmul"] == 3 * n + (n - 1) * n // 2
    # a product of 8 jets by halves: three products of two, on the coefficients that are there
    assert count(monkeypatch, np.prod, [np.ones(8), np.ones(8)])["multiply"] <= 4 + 9 + 25
    assert count(monkeypatch, lambda u: np.einsum("ij,jk->ik", u, A[0]), A[:2])["matmul"] == 2


LINEAR = {
    "fft": np.fft.fft,
    "rfft2": lambda u: np.fft.rfftn(u, axes=(0, 1)),
    "irfft": lambda u: np.fft.irfft(u, n=5),
    "shift": np.fft.fftshift,
    "solve": lambda u: np.linalg.solve(S[0], u),
    "trace": np.trace,
    "linalg.trace": np.linalg.trace,
    "diagonal": lambda u: np.diagonal(u, 1) + np.linalg.diagonal(u, offset=-1),
    "einsum": lambda u: np.einsum("ij,kj->ki", u, A[1]),
    "kron": lambda u: np.kron(u, A[0]),
    "cross": lambda u: np.cross(u, A[0]),
    "meshgrid": lambda u: np.meshgrid(u[0], np.arange(4.0))[0],
    "broadcast_arrays": lambda u: np.broadcast_arrays(u, np.ones((2, 1, 1)))[0],
    "swapaxes": lambda u: np.swapaxes(u, 0, 1),
    "take_along_axis": lambda u: np.take_along_axis(u, np.asarray([[0, 2, 1]]), 0),
    "sort": lambda u: np.sort(u, axis=None),
    "inner": lambda u: np.inner(u, A[0]) * np.inner(3.0, u),
    "linspace": lambda u: np.linspace(u, A[0], 4),
}


@pytest.mark.parametrize("name", LINEAR)
def test_what_is_absent_stays_absent(name):
    """x + t v through a linear operation has a primal and one coefficient, and a gap stays a gap."""
    operation = LINEAR[name]
    straight = operation(Jet([S[0], S[1]], ORDER))
    if name not in ("inner",):
        assert len(straight._series) == 2
        if name != "sort":
            expected = operation(S[0] + S[1]) - operation(S[0])
            np.testing.assert_allclose(straight._series[1], expected, rtol=1e-12, atol=1e-12)
        odd = operation(Jet([S[0], None, S[1]], ORDER))
        assert odd._series[1] is None
    np.testing.assert_allclose(straight.primal, operation(S[0]), rtol=1e-14, atol=1e-14)
    assert len(operation(Jet([S[0]], ORDER))._series) == 1


def test_constants_through_linear_algebra():
    constant = Jet([S[0]], ORDER)
    for name in ("inv", "det", "cholesky", "eigvalsh"):
        assert len(getattr(np.linalg, name)(constant)._series) == 1
    for name in ("qr", "slogdet", "eigh"):
        assert all(not isinstance(r, Jet) or len(r._series) == 1 for r in getattr(np.linalg, name)(constant))


# --- NumPy's own names ----------------------------------------------------------------------------

U = [RNG.uniform(0.3, 0.9, (2, 3, 3)) for _ in range(2)]
NUMPY = {
    "prod": lambda u: np.prod(u, 1) + u.prod(axis=-1) + np.prod(u),
    "cumprod": lambda u: np.cumprod(u) + np.cumprod(u, 1).ravel(),
    "einsum, three": lambda u: np.einsum("bij,bjk,kl->bil", u, u, U[0][0]),
    "einsum, trace": lambda u: np.einsum("bii->b", u) + np.einsum("bii,bjj", u, u).sum(),
    "einsum, dots": lambda u: np.einsum("...ij,...j->...i", u, u[..., 0]) + np.einsum("...i->...", u),
    "einsum, sums": lambda u: np.einsum("bij,k->k", u, U[0][0, 0]) + np.einsum("bij->j", u),
    "einsum, all": lambda u: np.einsum("bij,bij", u, u) + np.einsum("bij,cij->", u, u, optimize=True),
    "einsum, ones": lambda u: np.einsum("bij,bij->bij", u[:, :1], u[:1]),
    "einsum, elementwise": lambda u: np.einsum("bij,bj->bji", u, u[:, 0]),
    "trace": lambda u: np.trace(u, 1, 1, 2) + np.trace(u).sum() + np.linalg.trace(u, offset=-1),
    "trace of no diagonal": lambda u: np.trace(u[0], 5) + u[0, 0, 0],
    "diagonal": lambda u: np.diagonal(u, axis1=1, axis2=2) + np.linalg.diagonal(u),
    "cross": lambda u: np.cross(u, u[..., ::-1]) + np.linalg.cross(u, u * u, axis=1),
    "kron": lambda u: np.kron(u[0], u) + np.kron(u[0, 0], u[0, 0]).sum(),
    "inner": lambda u: np.inner(u, u) * np.inner(u[0, 0], u[0, 1]),
    "outer": lambda u: np.linalg.outer(u[0, 0], u[0, 1]) + np.outer(u[0, 1], u[0, 0]),
    "matmul": lambda u: np.linalg.matmul(u, u) + np.linalg.tensordot(u, u[0], axes=1),
    "vecdot": lambda u: np.linalg.vecdot(U[0], u),
    "power of zero": lambda u: np.linalg.matrix_power(u, 0) @ u,
    "meshgrid": lambda u: (lambda a, b, c: a * b * c)(*np.meshgrid(u[0, 0], u[0, 1], u[0, 2], indexing="ij")),
    "inverse by parts": lambda u: np.linalg.inv(u + 2 * np.eye(3)) @ np.linalg.solve(u + 2 * np.eye(3), u),
    "det of many": lambda u: np.linalg.det(u) * np.linalg.det(u[:1]),
    "fft": lambda u: np.fft.ifft(np.fft.fft(u, 4) ** 2, norm="ortho") + np.fft.fft(u, axis=1, n=4)[:, :, :1].mT,
    "fftn": lambda u: np.fft.ifftn(np.fft.fftn(u, (2, 2), (1, 2)) ** 2, axes=(1,)),
}


@pytest.mark.parametrize("name", NUMPY)
def test_numpys_names(name):
    function = NUMPY[name]
    got = nt.jet(function, U[0], ORDER, U[1])
    close(got, on_a_circle(lambda t: function(U[0] + t * U[1]), ORDER), 1e-10)


def test_einsum_refusals():
    u = Jet([np.ones((2, 3))])
    for subscripts, operands in (("ij,jk", (u,)), ("i", (u,)), ("ij->k", (u,)), ("ij->ii", (u,)), ("ijk", (u,))):
        with pytest.raises(ValueError, match="einsum"):
            np.einsum(subscripts, *operands)
    for subscripts, operands in (("ii", (u,)), ("ij,ik", (u, u.T))):
        with pytest.raises(ValueError, match="share the letter"):
            np.einsum(subscripts, *operands)


def test_sorting_follows_the_primal():
    """At a tie the one that comes first stays first."""
    u = Jet([np.asarray([2.0, 1.0, 1.0]), np.asarray([1.0, 2.0, 3.0])], 1)
    close(np.sort(u), [[1, 1, 2], [2, 3, 1]], 0)
    np.testing.assert_array_equal(np.argsort(u), [1, 2, 0])
    close(u.__array_namespace__().sort(u, descending=True), [[2, 1, 1], [1, 2, 3]], 0)
    with pytest.raises(TypeError, match="sort of a complex array"):
        np.sort(u * 1j)


# --- random programs ------------------------------------------------------------------------------

STEPS = {
    "multiply": lambda a: a @ S[0] / 5,
    "square": lambda a: a @ a / 4,
    "inverse": lambda a: np.linalg.inv(3 * np.eye(3) + a / 4),
    "solve": lambda a: np.linalg.solve(3 * np.eye(3) + a / 5, a.T),
    "cumprod": lambda a: np.cumprod(np.cos(a / 3), 1),
    "prod": lambda a: a * np.prod(np.sin(a), axis=0) / 3,
    "einsum": lambda a: np.einsum("ij,jk,kl->li", a, S[1], a) / 20,
    "fft": lambda a: np.fft.ifft(np.fft.fft(a, axis=0) ** 2, axis=0) / 3,
    "det": lambda a: a + np.linalg.det(a / 2 + np.eye(3)),
    "cross": lambda a: np.cross(a, a[::-1] + 1) / 2,
    "tanh": lambda a: np.tanh(a / 4),
    "trace": lambda a: a / (3 + np.trace(a @ a) / 50),
    "roll": lambda a: np.roll(a, 1, axis=0) * np.exp(a / 6),
}


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from(sorted(STEPS)), min_size=1, max_size=4), st.integers(0, 1000))
def test_random_programs_of_matrices(program, seed):
    """A jet through any chain of operations is what values on a circle say."""
    rng = np.random.default_rng(seed)
    x, v = rng.uniform(-1, 1, (2, 3, 3))

    def whole(a):
        for step in program:
            a = STEPS[step](a)
        return a

    radius = 0.02  # far inside every radius of convergence, so its own error is rounding over radius^k
    got = nt.jet(whole, x, 3, v).coefficients
    expected = on_a_circle(lambda t: whole(x + t * v), 3, radius=radius)
    scale = 1e-14 * (1 + np.max(np.abs(expected[0]))) / radius ** np.arange(4.0) * 30
    assert np.all(np.max(np.abs(got - expected).reshape(4, -1), axis=1) < scale + 1e-12 * np.max(np.abs(expected)))


SCALARS = {
    "sin": (np.sin, mpmath.sin),
    "exp": (lambda u: np.exp(u / 2), lambda u: mpmath.exp(u / 2)),
    "tanh": (np.tanh, mpmath.tanh),
    "atan": (np.arctan, mpmath.atan),
    "square": (lambda u: u * u / 2, lambda u: u * u / 2),
    "rational": (lambda u: u / (2 + u * u), lambda u: u / (2 + u * u)),
    "root": (lambda u: np.sqrt(2 + u * u), lambda u: mpmath.sqrt(2 + u * u)),
    "log": (lambda u: np.log(3 + np.cos(u)), lambda u: mpmath.log(3 + mpmath.cos(u))),
    "erf": (lambda u: u.__array_namespace__().erf(u), mpmath.erf),
    "product": (lambda u: np.prod(np.stack([u, 1 + u, np.cos(u)])), lambda u: u * (1 + u) * mpmath.cos(u)),
    "solve": (
        lambda u: np.linalg.solve(np.reshape(np.stack([3 + u, u, 1 - u, 2 + u * u]), (2, 2)), np.stack([u, 1 + u]))[0],
        lambda u: ((2 + u * u) * u - u * (1 + u)) / ((3 + u) * (2 + u * u) - u * (1 - u)),
    ),
    "hypot": (lambda u: np.hypot(u, 1 + 0 * u), lambda u: mpmath.sqrt(u * u + 1)),
    "power": (lambda u: (2 + np.sin(u)) ** u, lambda u: (2 + mpmath.sin(u)) ** u),
}


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from(sorted(SCALARS)), min_size=1, max_size=4), st.floats(-1, 1))
def test_random_programs_of_numbers(program, point):
    """To order 8 against mpmath at 50 digits; powers and roots are kept where they are smooth."""

    def ours(u):
        for name in program:
            u = np.tanh(u) if name in ("solve", "power") else u
            u = SCALARS[name][0](u)
        return u

    def theirs(u):
        for name in program:
            u = mpmath.tanh(u) if name in ("solve", "power") else u
            u = SCALARS[name][1](u)
        return u

    got = nt.jet(ours, np.asarray(point), ORDER).coefficients
    with mpmath.workdps(50):
        expected = np.asarray([float(c) for c in mpmath.taylor(theirs, mpmath.mpf(point), ORDER)])
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-11 * (1 + np.max(np.abs(expected))))


# --- nesting, and another library's nested reverse mode ---------------------------------------------


def test_jets_inside_jets_and_gradients():
    """∂²/∂s∂t of a solution and of a determinant; the gradient by A of what a jet says about them."""
    a, v, w = A[0] + 3 * np.eye(3), A[1], A[2]
    b = B[0][:, 0]
    functions = {
        "solve": lambda m: np.linalg.solve(m, b),
        "det": np.linalg.det,
        "cholesky": lambda m: np.linalg.cholesky(m @ m.T),
        "slogdet": lambda m: np.linalg.slogdet(m).logabsdet,
        "eigvalsh": lambda m: np.linalg.eigvalsh(m @ m.T),
        "eigh": lambda m: np.linalg.eigh(m @ m.T).eigenvectors ** 2,
        "qr": lambda m: np.linalg.qr(m).Q @ np.linalg.qr(m).R ** 2,
        "prod and sort": lambda m: np.prod(m, axis=0) + np.sort(m, axis=0)[0],
        "fft": lambda m: np.real(np.fft.ifft(np.fft.fft(m) ** 2)),
        "rfftn and hfft": lambda m: np.fft.hfft(np.fft.irfftn(np.fft.rfftn(m, norm="ortho") ** 2, (3, 3), (0, 1))),
    }
    for function in functions.values():
        inner = lambda m, f=function: nt.jet(f, m, 1, w).coefficients[1]  # noqa: E731
        mixed = nt.derivatives(inner, a, 1, v)[1]
        # 2 D_v D_w = D²_{v+w} − D²_v − D²_w
        both, first, second = (nt.derivatives(function, a, 2, d)[2] for d in (v + w, v, w))
        np.testing.assert_allclose(mixed, (both - first - second) / 2, rtol=0, atol=1e-11 * (1 + np.max(np.abs(both))))
        weights = np.cos(np.arange(mixed.size)).reshape(mixed.shape)
        of_jet = lambda m, f=function: nt.jet(f, m, 2, w).coefficients[2]  # noqa: E731
        third = np.sum(nt.derivatives(of_jet, a, 1, v)[1] * weights)
        _, gradient = nt.value_and_grad(lambda m, f=of_jet, c=weights: np.sum(f(m) * c))(a)
        np.testing.assert_allclose(np.sum(gradient * v), third, rtol=1e-10)


NESTED = {
    "solve": lambda xp, a: xp.linalg.solve(a, a[0]),
    "inv": lambda xp, a: xp.linalg.inv(a),
    "det": lambda xp, a: xp.linalg.det(a),
    "slogdet": lambda xp, a: xp.linalg.slogdet(a)[1],
    "cholesky": lambda xp, a: xp.linalg.cholesky(a @ a.T),
    "qr": lambda xp, a: xp.linalg.qr(a)[1],
    "eigh": lambda xp, a: xp.linalg.eigh(a @ a.T)[0],
    "einsum": lambda xp, a: xp.einsum("ij,kj,lk->il", a, a, xp.sin(a)),
    "sort": lambda xp, a: xp.sort(a * xp.sin(a), axis=1),
    "prod": lambda xp, a: xp.prod(a, axis=0),
    "fft": lambda xp, a: xp.abs(xp.fft.fft(a * a + 1)),
    "kron": lambda xp, a: xp.kron(a, xp.cos(a)),
}


@pytest.mark.parametrize("library", ["jax", "torch"])
@pytest.mark.parametrize("name", NESTED)
def test_against_nested_reverse_mode(name, library):
    """Order 3 by three gradients of one another along t, from an autograd that shares nothing."""
    pytest.importorskip(library)
    a, v = A[0] + 2 * np.eye(3), A[1]
    weights = np.cos(np.arange(100.0))

    def of(xp, m):
        y = NESTED[name](xp, m).reshape(-1)
        return (y * xp.asarray(weights[: y.shape[0]])).sum()

    if library == "jax":
        import jax

        jax.config.update("jax_enable_x64", True)
        functions = [lambda t: of(jax.numpy, a + t * v)]
        for _ in range(3):
            functions.append(jax.grad(functions[-1]))
        expected = [float(f(0.0)) for f in functions]
    else:
        import torch

        t = torch.zeros((), dtype=torch.float64, requires_grad=True)
        value = of(_Torch(), torch.tensor(a) + t * torch.tensor(v))
        expected = [value.item()]
        for _ in range(3):
            (value,) = torch.autograd.grad(value, t, create_graph=True)
            expected.append(value.item())
    got = nt.derivatives(lambda t: of(np, a + t * v), np.asarray(0.0), 3)
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-11 * np.max(np.abs(expected)))


class _Torch:
    """torch under NumPy's names, where they differ."""

    def __getattr__(self, name):
        import torch

        if name == "sort":
            return lambda a, axis: torch.sort(a, dim=axis).values
        if name == "prod":
            return lambda a, axis: torch.prod(a, dim=axis)
        return getattr(torch, name)
