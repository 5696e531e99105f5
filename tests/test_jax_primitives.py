"""JAX's primitives one by one and in functions of its libraries: against nested autodiff of JAX and 50 digits."""

# ruff: noqa: ARG005 functions in a table share one signature

from __future__ import annotations

import mpmath
import numpy as np
import pytest
from oracles import of_matrices

import ntaylor as nt

jax = pytest.importorskip("jax")
jnp = jax.numpy
lax = jax.lax
linalg = pytest.importorskip("jax.scipy.linalg")
special = pytest.importorskip("jax.scipy.special")
taylor_mode = pytest.importorskip("jax.experimental.jet")

RNG = np.random.default_rng(3)
POINTS = np.linspace(0.15, 0.85, 4)
M = RNG.standard_normal((4, 4))
S = M @ M.T + 2 * np.eye(4)


@pytest.fixture(autouse=True)
def _float64():
    jax.config.update("jax_enable_x64", True)


def nested(f, x, order):
    """Derivatives of t ↦ f(x + t) at 0 by JAX's own forward mode nested; each level keeps the values of those below."""

    def raised(g):
        def higher(t):
            values, slopes = jax.jvp(g, (t,), (jnp.ones_like(t),))
            return (*values, slopes[-1])

        return higher

    tower = lambda t: (f(x + t),)  # noqa: E731
    for _ in range(order):
        tower = raised(tower)
    quickly = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}
    return np.stack([np.asarray(v) for v in jax.jit(tower, compiler_options=quickly)(jnp.zeros((), x.dtype))])


def close(got, expected, tolerance=1e-13):
    """Order by order, relative to the largest up to it."""
    got, expected = np.asarray(got), np.asarray(expected)
    assert got.shape == expected.shape
    assert got.dtype == expected.dtype
    largest = np.max(np.abs(expected).reshape(len(expected), -1), axis=1, initial=1e-300)
    error = np.max(np.abs(got - expected).reshape(len(got), -1), axis=1, initial=0.0)
    assert np.all(error <= tolerance * np.maximum.accumulate(largest)), error / largest


def wave(x):
    return jnp.sin(9 * x)


def grid(x):
    return jnp.outer(x, jnp.cos(5 * x))


def unsymmetric(x):
    return jnp.asarray(S) + jnp.outer(jnp.sin(x), jnp.cos(2 * x))


def symmetric(x):
    return jnp.asarray(S) + jnp.outer(jnp.sin(x), jnp.sin(x))


def windows(operation, start, padding="SAME", dilation=None):
    return lambda x: lax.reduce_window(wave(x), start, operation, (2,), (1,), padding, window_dilation=dilation)


TO_EIGHT = {
    # sums, products and extremes along an axis
    "cumprod": lambda x: jnp.cumprod(1 + x),
    "cummax": lambda x: lax.cummax(wave(x)),
    "cummin": lambda x: lax.cummin(wave(x), reverse=True),
    "associative scan": lambda x: lax.associative_scan(lambda a, b: a + b + a * b, x),
    "average pool": windows(lax.add, 0.0),
    "max pool": windows(lax.max, -jnp.inf),
    "min pool": windows(lax.min, jnp.inf, dilation=(2,)),
    "max pool of images": lambda x: lax.reduce_window(
        jnp.stack([grid(x), jnp.sin(grid(x))]), -jnp.inf, lax.max, (1, 2, 2), (1, 2, 1), "VALID"
    ),
    # entries put elsewhere
    "sort": lambda x: jnp.sort(wave(x)),
    "sort of rows, descending": lambda x: jnp.sort(grid(x), axis=0, descending=True),
    "sort by two keys": lambda x: jnp.stack(lax.sort((wave(x), x * x, jnp.exp(x)), num_keys=2)),
    "argsort": lambda x: x[jnp.argsort(wave(x))] ** 2,
    "lexsort": lambda x: jnp.exp(x)[jnp.lexsort((x, wave(x)))],
    "top_k": lambda x: lax.top_k(wave(x), 2)[0],
    "median": lambda x: jnp.median(wave(x)),
    "nanmedian": lambda x: jnp.nanmedian(wave(x)),
    "percentile": lambda x: jnp.percentile(wave(x), 30),
    "searchsorted": lambda x: x**2 * jnp.searchsorted(jnp.linspace(0, 1, 7), x),
    "interp of values": lambda x: jnp.interp(jnp.sin(x), jnp.linspace(0, 1, 5), jnp.asarray([1.0, 3, 2, 5, 4])),
    "linspace": lambda x: jnp.linspace(x[0] ** 2, jnp.sin(x[1]), 5),
    "scattered product": lambda x: jnp.exp(x).at[jnp.asarray([0, 2])].multiply(jnp.sin(x[:2]), unique_indices=True),
    "scattered largest": lambda x: x.at[jnp.asarray([0, 2])].max(jnp.sin(3 * x[:2])),
    "scattered least, one entry twice": lambda x: x.at[jnp.asarray([3, 3])].min(jnp.sin(3 * x[:2])),
    "scattered difference": lambda x: x.at[jnp.asarray([0, 0])].subtract(jnp.sin(3 * x[:2])),
    "unstacked": lambda x: jnp.stack(jnp.unstack(jnp.sin(x))[::-1]),
    "block diagonal": lambda x: linalg.block_diag(jnp.outer(x, x), jnp.sin(x)),
    "toeplitz": lambda x: linalg.toeplitz(jnp.exp(x)),
    "resized image": lambda x: jax.image.resize(grid(x), (7, 7), "cubic"),
    "map_coordinates": lambda x: jax.scipy.ndimage.map_coordinates(jnp.asarray(M), [jnp.sin(x), 3 * x], order=1),
    # Fourier transforms
    "fft": lambda x: jnp.fft.fft(jnp.exp(x)).real,
    "ifft": lambda x: jnp.fft.ifft(jnp.exp(x)).imag,
    "rfft": lambda x: jnp.fft.rfft(jnp.exp(x)).imag,
    "irfft": lambda x: jnp.fft.irfft(jnp.exp(1j * x)),
    "fftn": lambda x: jnp.fft.fftn(grid(x)).imag,
    # functions of one variable
    "integer_pow": lambda x: lax.integer_pow(x, -3),
    "gammaln": lambda x: special.gammaln(1 + x),
    "digamma": lambda x: special.digamma(1 + x),
    "polygamma": lambda x: special.polygamma(2, 1 + x),
    "erfinv": lambda x: special.erfinv(x),
    "gammainc": lambda x: special.gammainc(2.5, x),
    "gammaincc": lambda x: special.gammaincc(2.5, x),
    "betainc": lambda x: special.betainc(2.5, 1.5, x),
    "entr": lambda x: special.entr(x),
    "xlog1py": lambda x: special.xlog1py(x, x),
    "logit": lambda x: special.logit(x),
    # others
    "map": lambda x: lax.map(jnp.sin, x * x),
    "convolve": lambda x: jax.scipy.signal.convolve(jnp.sin(x), x * x),
    "trapezoid": lambda x: jax.scipy.integrate.trapezoid(jnp.sin(x), x * x),
    "polyval": lambda x: jnp.polyval(jnp.asarray([1.0, 2, 3]), jnp.sin(x)),
}
LOOSE = {"gammainc": 1e-12, "gammaincc": 1e-12, "betainc": 1e-12, "logit": 1e-12}
"""Where the nested oracle cancels."""


@pytest.mark.parametrize("name", TO_EIGHT)
def test_functions_to_order_8(name):
    x, f = jnp.asarray(POINTS), TO_EIGHT[name]
    close(jax.jit(lambda x: nt.derivatives(f, x, 8))(x), nested(f, x, 8), LOOSE.get(name, 1e-13))


TO_FOUR = {
    "solve": lambda x: jnp.linalg.solve(unsymmetric(x), x * x),
    "solve with many columns": lambda x: jnp.linalg.solve(unsymmetric(x), jnp.asarray(M)),
    "solve, matrix constant": lambda x: jnp.linalg.solve(jnp.asarray(S), jnp.sin(x)),
    "solve, a stack": lambda x: jnp.linalg.solve(
        jnp.stack([unsymmetric(x), symmetric(x)]), jnp.stack([x, jnp.sin(x)])[..., None]
    ),
    "inv": lambda x: jnp.linalg.inv(unsymmetric(x)),
    "det": lambda x: jnp.linalg.det(unsymmetric(x)),
    "slogdet": lambda x: jnp.linalg.slogdet(unsymmetric(x))[1],
    "cholesky": lambda x: jnp.linalg.cholesky(symmetric(x)),
    "cho_solve": lambda x: linalg.cho_solve(linalg.cho_factor(symmetric(x)), x),
    "solve, positive": lambda x: linalg.solve(symmetric(x), x, assume_a="pos"),
    "triangular": lambda x: linalg.solve_triangular(unsymmetric(x), x, lower=True),
    "triangular, transposed, unit diagonal": lambda x: linalg.solve_triangular(
        unsymmetric(x), jnp.asarray(M) * x, trans=1, unit_diagonal=True
    ),
    "triangular, from the right": lambda x: lax.linalg.triangular_solve(unsymmetric(x), grid(x), lower=True),
    "tridiagonal": lambda x: lax.linalg.tridiagonal_solve(jnp.sin(x), 2 + x, x * x, jnp.asarray(M[:, :2]) * x[:, None]),
    "eigenvalues": lambda x: jnp.linalg.eigvalsh(symmetric(x)),
    "eigenvectors": lambda x: jnp.linalg.eigh(symmetric(x))[1],
    "Q": lambda x: jnp.linalg.qr(unsymmetric(x))[0],
    "R": lambda x: jnp.linalg.qr(unsymmetric(x)[:, :2])[1],
    "singular values": lambda x: jnp.linalg.svd(unsymmetric(x)[:, :3], compute_uv=False),
    "singular vectors": lambda x: jnp.linalg.svd(unsymmetric(x)[:, :3], full_matrices=False)[0],
    "2-norm": lambda x: jnp.linalg.norm(unsymmetric(x), 2),
    "pinv": lambda x: jnp.linalg.pinv(unsymmetric(x)[:, :2]),
    "lstsq": lambda x: jnp.linalg.lstsq(unsymmetric(x)[:, :2], x)[0],
    "matrix_power": lambda x: jnp.linalg.matrix_power(unsymmetric(x) / 10, 3),
    "expm": lambda x: linalg.expm(unsymmetric(x) / 10),
    "lu": lambda x: linalg.lu(unsymmetric(x))[2],
    "lu_solve": lambda x: linalg.lu_solve(linalg.lu_factor(unsymmetric(x)), x),
    "gmres": lambda x: jax.scipy.sparse.linalg.gmres(lambda v: unsymmetric(x) @ v, x, tol=1e-15)[0],
    "normal density": lambda x: jax.scipy.stats.multivariate_normal.logpdf(x, jnp.zeros(4), symmetric(x)),
    "cumprod, reverse": lambda x: lax.cumprod(grid(x), axis=1, reverse=True),
    "cumlogsumexp": lambda x: lax.cumlogsumexp(grid(x), axis=1, reverse=True),
    "reduce": lambda x: lax.reduce(grid(x), 0.0, lambda a, b: a + b + a * b, (0,)),
    "gradient of a max pool": lambda x: jax.grad(lambda y: jnp.sum(windows(lax.max, -jnp.inf)(y) ** 2))(x),
    "interp of nodes": lambda x: jnp.interp(jnp.linspace(0.2, 0.7, 5), x, jnp.sin(x)),
    "corrcoef": lambda x: jnp.corrcoef(jnp.sin(jnp.outer(x, jnp.arange(1, 6.0)))),
    "gamma": lambda x: special.gamma(1 + x),
    "betaln": lambda x: special.betaln(1 + x, x),
    "ndtri": lambda x: special.ndtri(x),
    "log_ndtr": lambda x: special.log_ndtr(x),
    "expi": lambda x: special.expi(x),
    "i0": lambda x: special.i0(2 + x),
    "i1e": lambda x: special.i1e(2 + x),
    "kl_div": lambda x: special.kl_div(x, 2 * x * x),
    "multigammaln": lambda x: special.multigammaln(3 + x, 2),
    "Student's t": lambda x: jax.scipy.stats.t.logpdf(x, 2.5),
    "rfft modulus": lambda x: jnp.abs(jnp.fft.rfft(jnp.exp(x))),
}


@pytest.mark.parametrize("name", TO_FOUR)
def test_functions_to_order_4(name):
    x, f = jnp.asarray(POINTS), TO_FOUR[name]
    close(jax.jit(lambda x: nt.derivatives(f, x, 4))(x), nested(f, x, 4), 1e-12)


A, B = [RNG.standard_normal((3, 3)) for _ in range(3)], [RNG.standard_normal((3, 1)) for _ in range(2)]
DEFINITE = [A[0] @ A[0].T + 2 * np.eye(3), A[1] + A[1].T, A[2] + A[2].T]
TALL = [a[:, :2] for a in A]


def banded(a, b):
    bands = [jnp.concatenate([jnp.zeros(1), jnp.diagonal(a, -1)]), jnp.diagonal(a), jnp.diagonal(a, 1)]
    return lax.linalg.tridiagonal_solve(*bands[:2], jnp.concatenate([bands[2], jnp.zeros(1)]), b)


def of_band(a, b):
    return mpmath.lu_solve(
        mpmath.matrix(3, 3) + mpmath.matrix([[a[i, j] * (abs(i - j) < 2) for j in range(3)] for i in range(3)]), b
    )


def of_triangle(a, b):
    return mpmath.lu_solve(mpmath.matrix([[a[i, j] * (i >= j) for j in range(3)] for i in range(3)]), b)


def lower_factor(a):
    """L of L U = A without exchanges."""
    first = mpmath.matrix([[1, 0, 0], [a[1, 0] / a[0, 0], 1, 0], [a[2, 0] / a[0, 0], 0, 1]])
    entry = (a[2, 1] - first[2, 0] * a[0, 1]) / (a[1, 1] - first[1, 0] * a[0, 1])
    first[2, 1] = entry
    return first


WITH_50_DIGITS = {
    "solve": (jnp.linalg.solve, mpmath.lu_solve, [A, B]),
    "solve, matrix constant": (jnp.linalg.solve, mpmath.lu_solve, [A[:1], B]),
    "inv": (jnp.linalg.inv, mpmath.inverse, [A]),
    "det": (jnp.linalg.det, mpmath.det, [A]),
    "slogdet": (lambda a: jnp.linalg.slogdet(a)[1], lambda a: mpmath.log(abs(mpmath.det(a))), [A]),
    "cholesky": (jnp.linalg.cholesky, mpmath.cholesky, [DEFINITE]),
    "cho_solve": (lambda a, b: linalg.cho_solve(linalg.cho_factor(a), b), mpmath.lu_solve, [DEFINITE, B]),
    "triangular": (lambda a, b: linalg.solve_triangular(a, b, lower=True), of_triangle, [A, B]),
    "tridiagonal": (banded, of_band, [A, B]),
    "conjugate gradients": (
        lambda a, b: jax.scipy.sparse.linalg.cg(lambda v: a @ v, b[:, 0], tol=1e-16)[0][:, None],
        mpmath.lu_solve,
        [DEFINITE, B],
    ),
    "eigvalsh": (jnp.linalg.eigvalsh, lambda a: mpmath.eigsy(a, eigvals_only=True), [DEFINITE]),
    "singular values": (
        lambda a: jnp.linalg.svd(a, compute_uv=False)[::-1],
        lambda a: mpmath.eigsy(a.T * a, eigvals_only=True).apply(mpmath.sqrt),
        [TALL],
    ),
    "pinv": (jnp.linalg.pinv, lambda a: mpmath.inverse(a.T * a) * a.T, [TALL]),
    "lstsq": (lambda a, b: jnp.linalg.lstsq(a, b)[0], lambda a, b: mpmath.inverse(a.T * a) * a.T * b, [TALL, B]),
    "lu": (lambda a: linalg.lu(a)[1], lower_factor, [[a + 4 * np.eye(3) * (i == 0) for i, a in enumerate(A)]]),
    "expm": (linalg.expm, mpmath.expm, [[a / 4 for a in A]]),
}
LOOSE_MATRICES = {"eigvalsh": 1e-11, "singular values": 1e-11, "conjugate gradients": 1e-12}


@pytest.mark.parametrize("name", WITH_50_DIGITS)
def test_matrices_to_order_8(name):
    """Along A_0 + A_1 t + A_2 t²: coefficients, where nested autodiff takes minutes to compile."""
    ours, theirs, curves = WITH_50_DIGITS[name]

    def f(t):
        return ours(*(sum(jnp.asarray(c) * t**k for k, c in enumerate(curve)) for curve in curves))

    got = np.asarray(jax.jit(lambda t: nt.jet(f, t, 8).coefficients)(jnp.zeros(())))
    expected = of_matrices(theirs, curves, 8)
    close(got.reshape(expected.shape), expected, LOOSE_MATRICES.get(name, 1e-13))


DIFFERENTIATED = """solve cholesky cho_solve triangular tridiagonal eigenvectors Q det slogdet pinv lu gmres""".split()  # noqa: SIM905


@pytest.mark.parametrize("name", [*DIFFERENTIATED, "singular values"])
def test_gradients_through_a_jet(name):
    """With respect to a parameter of the function, of a loss made of derivatives to order 2; and its JVP."""
    f, x = TO_FOUR[name], jnp.asarray(POINTS)

    def loss(derivatives):
        return lambda a: jnp.sum(jnp.cos(jnp.asarray(derivatives(lambda x: f(a * x), x))))

    def by_hand(g, x):
        first = lambda t: jax.jvp(lambda t: g(x + t), (t,), (1.0,))  # noqa: E731
        (value, slope), (_, second) = jax.jvp(first, (0.0,), (1.0,))
        return [value, slope, second]

    ours, theirs = loss(lambda g, x: nt.derivatives(g, x, 2)), loss(by_hand)
    expected = jax.jit(jax.grad(theirs))(1.3)
    np.testing.assert_allclose(jax.jit(jax.grad(ours))(1.3), expected, rtol=1e-11)
    np.testing.assert_allclose(jax.jit(lambda a: jax.jvp(ours, (a,), (1.0,))[1])(1.3), expected, rtol=1e-11)


MAPPED = ["solve", "cholesky", "triangular", "tridiagonal", "eigenvalues", "det", "pinv", "cumlogsumexp", "reduce"]


@pytest.mark.parametrize("name", MAPPED)
def test_under_vmap_and_without_compiling(name):
    f, x = TO_FOUR[name], jnp.asarray(POINTS)
    ours = lambda x: nt.derivatives(f, x, 3)  # noqa: E731
    many = jnp.stack([x, x[::-1], x**2])
    one_by_one = np.stack([np.asarray(jax.jit(ours)(x)) for x in many])
    np.testing.assert_allclose(jax.vmap(ours)(many), one_by_one, rtol=0, atol=1e-12 * np.max(np.abs(one_by_one)))
    inside = nt.derivatives(jax.vmap(f), many, 3, jnp.ones_like(many))
    np.testing.assert_allclose(inside, one_by_one.swapaxes(0, 1), rtol=0, atol=1e-12 * np.max(np.abs(one_by_one)))
    close(ours(x), one_by_one[0], 1e-12)


SINGLE = [
    "solve",
    "cholesky",
    "tridiagonal",
    "eigenvalues",
    "pinv",
    "cumlogsumexp",
    "sort",
    "max pool",
    "gammaln",
    "fft",
]


@pytest.mark.parametrize("name", SINGLE)
def test_float32_stays(name):
    f = (TO_FOUR | TO_EIGHT)[name]
    expected = np.asarray(jax.jit(lambda x: nt.derivatives(f, x, 3))(jnp.asarray(POINTS)))
    jax.config.update("jax_enable_x64", False)
    try:
        got = nt.derivatives(f, jnp.asarray(POINTS, dtype=jnp.float32), 3)
        assert got.dtype == jnp.float32
        np.testing.assert_allclose(got, expected, rtol=0, atol=1e-4 * np.max(np.abs(expected)))
    finally:
        jax.config.update("jax_enable_x64", True)


def test_every_primitive_of_jax_experimental_jet_is_known():
    """Whatever is in the table of the JAX that is installed."""
    from ntaylor_backends.jax import interpreter, primitives

    theirs = {primitive.name for primitive in taylor_mode.jet_rules}
    assert len(theirs) > 70
    assert {name for name in theirs if not primitives.known(name)} - {*interpreter._CALLS} == {"erf_inv"}
    # That one by JAX's own derivative: see TO_EIGHT.


def test_factors_of_one_triangle():
    """That which JAX reads; its own JVP takes the other into account too, which the values do not depend on."""
    x = jnp.asarray(POINTS)
    low = lambda x: jnp.tril(unsymmetric(x)) + jnp.tril(unsymmetric(x), -1).T  # noqa: E731
    got = nt.derivatives(lambda x: lax.linalg.cholesky(unsymmetric(x), symmetrize_input=False), x, 4)
    close(got, nested(lambda x: jnp.linalg.cholesky(low(x)), x, 4), 1e-12)
    for lower, f in ((True, low), (False, lambda x: low_of_transpose(x))):
        got = nt.derivatives(
            lambda x, lower=lower: lax.linalg.eigh(unsymmetric(x), lower=lower, symmetrize_input=False)[1], x, 4
        )
        close(got, nested(lambda x, f=f: jnp.linalg.eigvalsh(f(x)), x, 4), 1e-12)


def low_of_transpose(x):
    return jnp.triu(unsymmetric(x)) + jnp.triu(unsymmetric(x), 1).T


def test_windows_with_an_operation_of_the_users():
    """Padding, strides and both dilations; JAX itself has no derivative of the derivative."""
    x = jnp.asarray(POINTS)

    def product(x):
        return lax.reduce_window(1 + x, 1.0, lax.mul, (2,), (2,), ((0, 1),), window_dilation=(2,), base_dilation=(2,))

    close(nt.derivatives(product, x, 4), nested(lambda x: (1 + x[:-1]) * (1 + x[1:]), x, 4))


def test_an_entry_multiplied_once():
    """Known from the indices, under jit too; JAX's own derivative wants to be told."""
    x = jnp.asarray(POINTS)
    factors = jnp.asarray([True, False, True, False])
    expected = nested(lambda x: jnp.exp(x) * jnp.where(factors, jnp.sin(jnp.repeat(x[:2], 2)), 1), x, 4)
    f = lambda x: jnp.exp(x).at[jnp.asarray([0, 2])].multiply(jnp.sin(x[:2]))  # noqa: E731
    close(jax.jit(lambda x: nt.derivatives(f, x, 4))(x), expected)


def test_a_reduction_that_does_not_commute():
    """Of maps y ↦ b + a y in their order; JAX's own derivative takes them in another."""
    x = jnp.asarray(POINTS)

    def compose(p, q):
        return p[0] + q[0] * p[1], p[1] * q[1]

    def in_a_row(x):
        total = (0.0, 1.0)
        for i in range(4):
            total = compose(total, (x[i], jnp.sin(x[i])))
        return total[0]

    got = nt.derivatives(lambda x: lax.reduce((x, jnp.sin(x)), (0.0, 1.0), compose, (0,))[0], x, 4)
    close(got, nested(in_a_row, x, 4))


def test_ties():
    """Where entries are equal JAX's own JVP says which is followed: in sort the first, in cummax the mean."""
    x = jnp.asarray([0.5, 0.5, 0.2])
    direction = jnp.asarray([1.0, 3.0, 0.0])
    assert nt.derivatives(jnp.sort, x, 1, direction)[1].tolist() == [0, 1, 3]
    assert nt.derivatives(lax.cummax, x, 1, direction)[1].tolist() == [1, 2, 2]


REFUSED = {
    "schur": (lambda x: linalg.schur(symmetric(x))[0], "no rule for the JAX primitive 'schur'"),
    "eigenvectors of a general matrix": (
        lambda x: jnp.linalg.eig(unsymmetric(x))[1].real,
        "non-symmetric eigenvectors",
    ),
    "qr, more columns than rows": (lambda x: jnp.linalg.qr(unsymmetric(x)[:2])[0], "at least as many rows as columns"),
    "qr with pivoting": (lambda x: linalg.qr(unsymmetric(x), pivoting=True)[0], "permute the columns first"),
    "all singular vectors": (lambda x: jnp.linalg.svd(unsymmetric(x)[:, :2])[0], "full matri"),
    "some eigenvalues": (
        lambda x: lax.linalg.eigh(symmetric(x), subset_by_index=(0, 2))[1],
        r"eigh\(subset_by_index=…\): take all",
    ),
    "gammainc in its first argument": (lambda x: special.gammainc(x, 0.5), "igamma_grad_a"),
    "an entry multiplied twice": (
        lambda x: x.at[jnp.asarray([0, 0])].multiply(x[:2]),
        "pass unique_indices=True if none does",
    ),
    "a rule that JAX traces once only": (lambda x: special.exp1(x), "its JVP holds on to values traced before"),
    "a callback": (lambda x: jax.pure_callback(np.sin, x, x), "Pure callbacks do not support JVP"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused_says_what(name):
    f, message = REFUSED[name]
    with pytest.raises(nt.jets.MissingRule, match=f"(?s){message}"):
        nt.derivatives(f, jnp.asarray(POINTS), 2)


def test_values_that_coincide_are_refused():
    with pytest.raises(ValueError, match="eigenvalues coincide"):
        nt.derivatives(lambda x: jnp.linalg.eigvalsh(jnp.eye(4) * x[0]), jnp.asarray(POINTS), 2)


# --- functions of others, unchanged, where jax.experimental.jet fails -------------------------------


def _runge_kutta(f, y, times):
    """Classical, as a scan."""

    def step(y, interval):
        t, h = interval
        a = f(t, y)
        b = f(t + h / 2, y + h / 2 * a)
        c = f(t + h / 2, y + h / 2 * b)
        d = f(t + h, y + h * c)
        y = y + h / 6 * (a + 2 * b + 2 * c + d)
        return y, y

    return lax.scan(step, y, (times[:-1], jnp.diff(times)))[0]


PUBLISHED = {
    "jax.numpy.linalg.solve, jax-ml/jax#26801": lambda x: jnp.linalg.solve(S + x * M, jnp.sin(x + M[0])),
    "jax.numpy.linalg.eigh, jax-ml/jax#26801": lambda x: jnp.linalg.eigh(S + jnp.diag(jnp.sin(x * M[0])))[0],
    "jax.scipy.stats.multivariate_normal.logpdf": lambda x: jax.scipy.stats.multivariate_normal.logpdf(
        M[0], M[1], S + jnp.exp(x) * np.eye(4)
    ),
    "jax.scipy.sparse.linalg.cg": lambda x: jax.scipy.sparse.linalg.cg(
        lambda v: S @ v + jnp.exp(x) * v, jnp.asarray(M[0]) * x, tol=1e-15
    )[0],
    "an ODE by lax.scan, jax-ml/jax#27699": lambda x: _runge_kutta(
        lambda t, y: jnp.stack([y[1], -jnp.sin(y[0])]), jnp.stack([x, x**2]), jnp.linspace(0.0, 1.0, 11)
    ),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_functions_that_jax_experimental_jet_cannot_take(name):
    """As their authors wrote them: they agree with nested reverse mode here, and there they raise KeyError.

    https://github.com/jax-ml/jax/issues/26801 asks for rules of custom_linear_solve and eigh,
    https://github.com/jax-ml/jax/issues/27699 for those of scan and while, to expand the solution of an ODE.
    """
    f, x = PUBLISHED[name], jnp.asarray(0.6)
    expected, tower = [], f
    for _ in range(4):
        expected.append(jax.jit(tower)(x))
        tower = jax.jacrev(tower)
    close(jax.jit(lambda x: nt.derivatives(f, x, 3))(x), jnp.stack(expected), 1e-12)
    with pytest.raises(KeyError):
        taylor_mode.jet(f, (0.6,), ((1.0, 0.0, 0.0),))


def test_diffrax():
    """The solver as it is, https://github.com/patrick-kidger/diffrax/issues/616: y′ = y², whose y is known.

    Its steps are chosen to a tolerance of 1e-10, and are not differentiated; what is left is the scheme's error.
    """
    diffrax = pytest.importorskip("diffrax")

    def f(x):
        return diffrax.diffeqsolve(
            diffrax.ODETerm(lambda t, y, args: y * y),
            diffrax.Tsit5(),
            t0=0.0,
            t1=0.5,
            dt0=None,
            y0=x,
            stepsize_controller=diffrax.PIDController(rtol=1e-10, atol=1e-10),
        ).ys[0]

    x = jnp.asarray(0.6)
    with mpmath.workdps(30):
        expected = [float(mpmath.diff(lambda x: x / (1 - x / 2), mpmath.mpf("0.6"), k)) for k in range(4)]
    np.testing.assert_allclose(jax.jit(lambda x: nt.derivatives(f, x, 3))(x), expected, rtol=1e-7)
    with pytest.raises((KeyError, jax.errors.UnexpectedTracerError)):
        taylor_mode.jet(f, (x,), ((1.0, 0.0, 0.0),))


# --- coefficients along several directions, as operators push them ---------------------------------


def _near(row):
    return 3 * np.eye(4) + M / 4 + jnp.diag(jnp.sin(row))


def _loop(body):
    return lambda x: lax.fori_loop(0, 3, lambda i, c: body(x, i, c), x[:, 3])


def _scanned(x):
    last, each = lax.scan(lambda c, a: (jnp.sin(c * a) + c, c * a), jnp.ones(len(x)), x.T)
    return last * each.sum(0)


def _conjugate_gradients(row):
    product = lambda u: S @ u + row * u  # noqa: E731
    return jax.scipy.sparse.linalg.cg(product, jnp.cos(row), tol=1e-14, maxiter=40)[0].sum()


ALONG_SEVERAL = {
    "associative_scan": lambda x: lax.associative_scan(lambda a, b: a * b, jnp.sin(x), axis=1)[:, -1],
    "cg": jax.vmap(_conjugate_gradients),
    "checkpoint": lambda x: jax.checkpoint(lambda a: jnp.sin(a) * a)(x).prod(-1),
    "cond": lambda x: lax.cond(x[0, 0] > 0, lambda a, n: jnp.sin(a) * n, lambda a, n: a + n, x, 2).prod(-1),
    "cond of a constant": lambda x: lax.cond(x[0, 0] < 0, lambda a: a, jnp.ones_like, x)[:, 0] + x[:, 0] ** 2,
    "cumlogsumexp": lambda x: lax.cumlogsumexp(jnp.sin(x), 1).prod(-1),
    "fori_loop": _loop(lambda x, i, c: c * jnp.sin(x[:, i]) + 1),
    "reduce": lambda x: lax.reduce(jnp.sin(x), 0.0, lambda a, b: a + b + a * b, (1,)),
    "reduce_window": lambda x: lax.reduce_window(
        jnp.sin(x), 0.0, lambda a, b: a + b + a * b, (1, 2), (1, 1), "SAME"
    ).prod(-1),
    "scan": _scanned,
    "scan of rows": lambda x: lax.scan(lambda c, a: (c + 1, (a * jnp.sin(a) * c).prod()), 1, x)[1],
    "slogdet": lambda x: jnp.linalg.slogdet(jax.vmap(_near)(x))[1],
    "solve": jax.vmap(lambda row: jnp.linalg.solve(_near(row), jnp.cos(row)).sum()),
    "switch": lambda x: lax.switch(1, [lambda a: a, jnp.cos], x).prod(-1),
    "while of rows": jax.vmap(
        lambda row: lax.while_loop(lambda c: c.sum() < 5, lambda c: c * 1.5 + row**2, row).prod()
    ),
    "while": lambda x: lax.while_loop(lambda c: jnp.sum(c) < 30.0, lambda c: c * 1.5 + jnp.sin(x[:, 0]), x[:, 1]),
}


@pytest.mark.parametrize("name", ALONG_SEVERAL)
def test_operators_push_all_directions_through_loops_branches_and_solvers_at_once(name):
    f, x = ALONG_SEVERAL[name], jnp.linspace(0.1, 0.9, 12).reshape(3, 4)
    expected = 0
    for row in np.eye(4):
        e = jnp.broadcast_to(row, x.shape)
        slope = lambda y, e=e: jax.jvp(f, (y,), (e,))[1]  # noqa: E731
        expected = expected + jax.jit(lambda y, e=e, g=slope: jax.jvp(g, (y,), (e,))[1])(x)
    got = jax.jit(lambda x: nt.laplacian(f, x))(x)
    np.testing.assert_allclose(got, expected, rtol=1e-11, atol=1e-11)


def test_weights_of_a_sum_over_directions_may_be_traced_outside_of_a_loop():
    x = jnp.linspace(0.1, 0.9, 12).reshape(3, 4)
    D = nt.operators.D
    operator = 2.0 * D(0, 0) - D(1, 1)
    hessian = jax.vmap(jax.hessian(lambda row: _scanned(row[None])[0]))(x)
    got = jax.jit(lambda x: operator(_scanned, x))(x)
    np.testing.assert_allclose(got, 2 * hessian[:, 0, 0] - hessian[:, 1, 1], rtol=1e-11, atol=1e-11)


def test_what_is_filled_in_beyond_the_end_is_constant():
    places = jnp.array([0, 7])
    f = lambda x: jnp.sin(x).at[places].get(mode="fill", fill_value=5.0) * x[:2]  # noqa: E731
    got = nt.derivatives(f, jnp.asarray(POINTS), 3, jnp.ones(4))
    close(got, nested(f, jnp.asarray(POINTS), 3))
    np.testing.assert_array_equal(got[:, 1], [5 * POINTS[1], 5, 0, 0])


def test_of_while_loops_under_vmap_each_ends_by_itself():
    f = jax.vmap(lambda a: lax.while_loop(lambda c: c[1] < 2, lambda c: (c[0] + 1, c[1] * 1.5 + a**2), (0, a))[1])
    x = jnp.asarray(POINTS)
    close(nt.derivatives(f, x, 3), nested(f, x, 3))
