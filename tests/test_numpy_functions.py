"""NumPy's functions, methods and options on jets, as code finds them that was written for NumPy.

The oracles are NumPy's own values: by Cauchy's integral where the function is holomorphic, else along real t, where the
Taylor polynomial must be the function.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from oracles import on_a_circle

import ntaylor as nt
from ntaylor import jets
from ntaylor.jet_rules import RULES
from ntaylor.jets import Jet
from ntaylor.numpy_functions import NUMPY
from ntaylor.series import Series

ORDER = 8
RNG = np.random.default_rng(11)
# Away from where a branch ends: multiples of 0.25, halves of tenths, 0.3, 0.6, and the 2/k.
X = np.asarray([[0.27, 0.53, 0.62, 0.21], [0.31, 0.87, 0.43, 0.78], [0.89, 0.69, 0.48, 0.57]])
V = RNG.uniform(-0.9, 0.9, (3, 4))

HOLOMORPHIC = {
    "append": lambda u: np.append(u, u * u, axis=0)[..., 1:] + np.append(u, [1.0, 2.0])[-1],
    "apply_along_axis": lambda u: (
        np.apply_along_axis(lambda row: row * np.sum(row), 0, u)
        + np.apply_along_axis(lambda row: np.prod(row), 1, u)[:, None]
        + np.apply_along_axis(lambda row: row[:, None] * row, 1, u)[:, 1]
    ),
    "array_split": lambda u: np.array_split(u * u, 3, axis=1)[0] + np.array_split(u, [2, 3], axis=1)[0],
    "atleast": lambda u: np.atleast_2d(u[0] ** 2) * np.atleast_3d(u[0])[0] + np.atleast_1d(u[0, 0], 2.0)[0],
    "atleast_3d": lambda u: np.atleast_3d(u * u) + np.atleast_3d(u[0, 0]),
    "average": lambda u: np.average(u * u, axis=0) + np.average(u, 0, [1.0, 2.0, 3.0]) + np.average(u, None, u),
    "column_stack": lambda u: np.column_stack([u[0], u[1] ** 2, np.column_stack([u[2], u[0]])]),
    "convolve": lambda u: np.convolve(u[0], u[1, :2]) + np.convolve(u[1, :2], u[0], "same")[1],
    "convolve valid": lambda u: np.convolve(u[0], u[1], "valid") + np.convolve(u[0], [1.0, 2.0], mode="same"),
    "diag": lambda u: np.diag(u[0] ** 2, 1)[:4, :4] + np.diag(u[0], -1)[:4, :4] + np.diag(u[:, 1:], 1)[0],
    "dstack": lambda u: np.dstack([u, u * u]),
    "exp2": np.exp2,
    "fft2": lambda u: np.fft.ifft2(np.fft.fft2(u) ** 2) + np.fft.fft2(u, s=(2, 2), axes=(1, 0))[0, 0],
    "fliplr, flipud": lambda u: np.fliplr(u * u) * np.flipud(u),
    "gradient": lambda u: np.gradient(u * u, 0.5, axis=1) + np.gradient(u * u)[0],
    "hsplit, vsplit": lambda u: np.hsplit(u * u, 2)[1][0] + np.vsplit(u, 3)[2][0, :2] + np.hsplit(u[0], 2)[0],
    "multi_dot": lambda u: np.linalg.multi_dot([u, u.T, u]),
    "matvec": lambda u: np.matvec(u, u[1] ** 2),
    "nan_to_num": lambda u: np.nan_to_num(u * u),
    "pad": lambda u: np.pad(u * u, 1) + np.pad(u, ((1, 1), (0, 2)), "edge") + np.pad(u, (1, 1), mode="wrap"),
    "pad by a value": lambda u: np.pad(u * u, ((0, 0), (2, 0)), constant_values=3.0),
    "polyval": lambda u: np.polyval([2.0, 0.5, 1.0], u) + np.polyval(u[0], u) + np.polyval(u[0], 0.5),
    "rot90": lambda u: sum((np.rot90(u[:, :3] ** 2, k) * (k + 2) for k in range(-1, 5)), start=0.0),
    "rot90 back": lambda u: np.rot90(u * u, axes=(1, 0)),
    "trapezoid": lambda u: np.trapezoid(u * u) + np.trapezoid(u, dx=0.5) + np.trapezoid(u, u * u),
    "trapezoid on a grid": lambda u: np.trapezoid(u * u, [0.0, 0.5, 2.0], axis=0) + np.trapezoid([1.0, 2, 3], u[:, 0]),
    # options and methods
    "NumPy's integers as axes": lambda u: (
        np.prod(u, axis=np.int64(1)) + np.cumprod(u, axis=np.int64(1))[:, 2] + u.sum(np.int64(-1))
    ),
    "linspace along another axis": lambda u: np.linspace(u[0], u[1] ** 2, 3, axis=1),
    "tile by name": lambda u: np.tile(u * u, reps=(2, 1)),
    "tril by position": lambda u: np.tril(u * u, 1) + np.triu(u, -1),
    "divmod": lambda u: sum(part * u for part in (u + 2, u)),
    "ufunc methods": lambda u: (
        np.add.reduce(u * u)
        + np.multiply.reduce(u, 0)
        + np.add.accumulate(u, 1)[1]
        + np.multiply.accumulate(u)[2]
        + np.multiply.reduce(u, axis=1, keepdims=True)[0]
    ),
    "ufunc outer": lambda u: np.multiply.outer(u[0], u[:, 1]) + np.add.outer(u[0], [1.0, 2, 3]),
    "ufunc outer of two": lambda u: np.subtract.outer(u[0] ** 2, u[:, 0]) + np.divide.outer([1.0, 2, 3, 4], u[:, 0]),
    "methods": lambda u: (
        u.cumsum(1)[:, 1] * u.cumprod(0)[1, 1] + u.trace() + u.take([0, 2, 1], axis=0)[:, 1] * u.diagonal(1)
    ),
    "further methods": lambda u: u.repeat(2, 1)[:, 1:5] ** 2 * u.swapaxes(0, 1)[1, 0],
    "complex bases": lambda u: (1 + 2j) ** u + np.asarray(2j) ** u,
}
REAL = {
    "degrees": lambda u: np.degrees(u) + np.rad2deg(u) + np.radians(u) * np.deg2rad(u),
    "maximum.reduce": lambda u: np.maximum.reduce(u * u) + np.minimum.reduce(u, axis=0),
    "median": lambda u: np.median(u * u) + np.median(u, axis=1, keepdims=True) + np.median(u, axis=0),
    "norm": lambda u: np.linalg.norm(u * u, 1) + np.linalg.norm(u, np.inf) + np.linalg.norm(u, axis=np.int64(1))[0],
    "norm over axes": lambda u: np.linalg.norm(u * u * np.ones((2, 1, 1)), 1, axis=(1, 0), keepdims=True),
    "ptp": lambda u: np.ptp(u * u, axis=1) + u.ptp() if isinstance(u, Jet) else np.ptp(u * u, axis=1) + np.ptp(u),
    "rfft2": lambda u: np.fft.irfft2(np.abs(np.fft.rfft2(u, norm="ortho")) ** 2),
    "select": lambda u: np.select([u > 0.6, u < 0.3], [u * u, u**3], 2.0) + np.select([u > 0.5], [np.sin(u)]),
    "vdot, vecmat": lambda u: np.vdot(u, u * u) + np.vecmat(u[:, 0], u),
    "divmod": lambda u: (lambda whole, rest: whole * u + rest)(*divmod(u, 0.25)),
    "rdivmod": lambda u: (lambda whole, rest: whole * u * u + rest)(*divmod(2.0, u)),
    "places": lambda u: u[0, u[0].argmax()] ** 2 + u[1, u[1].argmin()] * u.all() + u[2].any() + u[0].argsort() * u[0],
    "round": lambda u: u.round() * u + np.round(u, 1) * u,
}


@pytest.mark.parametrize("name", HOLOMORPHIC)
def test_against_values_on_a_circle(name):
    function = HOLOMORPHIC[name]
    got = nt.jet(function, X, ORDER, V).coefficients
    expected = on_a_circle(lambda t: function(X + t * V), ORDER)
    assert got.shape == expected.shape
    scale = (1 + np.max(np.abs(expected[0]))) * 4.0 ** np.arange(ORDER + 1)
    error = np.max(np.abs(got - expected).reshape(ORDER + 1, -1), axis=1)
    assert np.all(error < 1e-13 * scale), error / scale


@pytest.mark.parametrize("name", REAL)
def test_against_values_along_a_line(name):
    function = REAL[name]
    got = nt.jet(function, X, ORDER, V).coefficients
    for t in (-0.005, 0.002, 0.005):
        np.testing.assert_allclose(sum(c * t**k for k, c in enumerate(got)), function(X + t * V), rtol=1e-13)
    assert np.max(np.abs(got[1])) > 1e-3


@pytest.mark.parametrize("name", sorted({*HOLOMORPHIC} - {"complex bases", "places"}))
def test_their_gradients(name):
    """⟨∇ Σ c f(x), v⟩ is the first derivative of Σ c f along v, which another rule table gives."""
    function = HOLOMORPHIC[name]
    weights = np.cos(np.arange(function(X).size)).reshape(function(X).shape)

    def loss(u):
        return np.sum(np.real(function(u)) * weights)

    _, gradient = nt.value_and_grad(loss)(X)
    expected = np.sum(np.real(on_a_circle(lambda t: function(X + t * V), 1)[1] * weights))
    np.testing.assert_allclose(np.sum(gradient * V), expected, rtol=1e-12)


def test_every_function_is_in_a_table():
    text = Path(__file__).read_text(encoding="utf-8")
    missing = [n for n in NUMPY if f"{n.replace('numpy', 'np')}(" not in text and n != "numpy.exp2"]
    assert not missing


def test_questions_about_values_are_answered():
    u = Jet([X, V], 3)
    assert np.allclose(u, X) and np.array_equal(u, X) and np.isclose(u, X).all()  # noqa: PT018 one subject
    assert not np.iscomplexobj(u) and np.isrealobj(u) and np.isreal(u).all() and not np.iscomplex(u).any()  # noqa: PT018
    assert np.can_cast(u.dtype, np.complex128)
    np.testing.assert_array_equal(np.digitize(u, [0.5]), np.digitize(X, [0.5]))
    np.testing.assert_array_equal(np.argwhere(u), np.argwhere(X))
    np.testing.assert_array_equal(np.flatnonzero(u), np.flatnonzero(X))
    assert np.allclose(nt.jet(lambda a: a * np.allclose(a, a), X, 1, V).coefficients, [X, V])


def test_structural_zeros_stay_through_what_is_linear():
    u = Jet([X, V], ORDER)
    for function in (
        np.fliplr,
        lambda a: np.pad(a, 2, "edge"),
        lambda a: np.pad(a, 2),
        np.gradient,
        lambda a: np.diag(a[0]),
        lambda a: np.trapezoid(a, [0.0, 1, 2, 4]),
        lambda a: np.convolve(a[0], [1.0, 2.0]),
        lambda a: np.polyval(a[0], 2.0),
        lambda a: np.average(a, 0, [1.0, 2, 3]),
        np.median,
        lambda a: np.add.outer(a, [1.0, 2.0]),
        lambda a: np.column_stack([a, X]),
        lambda a: np.apply_along_axis(np.cumsum, 1, a),
        np.fft.fft2,
        np.nan_to_num,
        np.ptp,
        lambda a: a.swapaxes(0, 1).cumsum(),
    ):
        found = function(u)
        for part in found if isinstance(found, tuple) else (found,):
            assert len(part._series) == 2


def test_several_dtypes_become_one():
    """A constant of a wider dtype widens every coefficient, as imag, which takes complex arrays, needs."""
    u = Jet([X.astype(np.float32), V.astype(np.float32)], 3)
    for wider in (u + X, u + 1j * X, np.where(X > 0.5, u, X), X - u, np.maximum(u, X)):
        assert {c.dtype for c in wider._series} == {wider.dtype}
    strict = pytest.importorskip("array_api_strict")
    z = Jet([strict.asarray(X), strict.asarray(V)], 3) + strict.asarray(1j * X)
    xp = z.__array_namespace__()
    np.testing.assert_allclose(np.from_dlpack(xp.imag(z).coefficients), [X, 0 * X, 0 * X, 0 * X])
    expected = nt.jet(lambda a: np.sqrt(a * a + X * X), X, 3, V).coefficients
    np.testing.assert_allclose(np.from_dlpack(xp.abs(z).coefficients), expected, rtol=1e-13, atol=1e-14)
    assert u.astype("float64").dtype == u.astype(float).dtype == np.float64


REFUSED = {
    "average": (lambda u: np.average(u, 0, [1.0, 2, 3], returned=True), "returned=True"),
    "average of another shape": (lambda u: np.average(u, weights=[1.0, 2, 3]), "weights of another shape"),
    "gradient": (lambda u: np.gradient(u, edge_order=2), "edge_order=2"),
    "median": (lambda u: np.median(u, axis=(0, 1)), "xp.reshape first"),
    "pad": (lambda u: np.pad(u, 1, "reflect"), "mode='reflect'"),
    "pad, wide": (lambda u: np.pad(u, 9, "wrap"), "than the axis is long"),
    "pad, two values": (lambda u: np.pad(u, 1, constant_values=(1, 2)), "one number"),
    "ufunc.at": (lambda u: np.add.reduceat(u, [0]), "only for outer and for .*add.reduce"),
    "eigh of the upper": (lambda u: np.linalg.eigvalsh(u[:, :3], "U"), r"UPLO=….*np\.conj\(a\.mT\)"),
    "norm": (lambda u: np.linalg.norm(u, -1), "norm.ord=-1. over 2 axes"),
    "complex exponent": (lambda u: u ** np.asarray(1j), "complex exponent"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refusals_name_the_line(name):
    function, words = REFUSED[name]
    with pytest.raises(nt.MissingRule, match=words) as caught:
        nt.jet(function, X, 2, V)
    line = function.__code__.co_firstlineno
    assert str(caught.value).endswith(f" (called at {__file__}:{line})")
    assert str(caught.value).count("called at") == 1


def test_a_refusal_inside_of_a_library_names_the_users_line(tmp_path):
    """Frames of installed packages are passed over where there are others; a hasattr pays for none of it."""
    package = tmp_path / "site-packages" / "a_library_of_others.py"
    package.parent.mkdir()
    package.write_text("def inner(a):\n    return a.__array_namespace__().no_such_thing(a)\n")
    space: dict = {}
    exec(compile(package.read_text(), str(package), "exec"), space)

    def mine(a):
        return space["inner"](a)

    for run in (lambda: nt.jet(mine, X, 1, V), lambda: nt.value_and_grad(lambda p: np.sum(mine(p)))(X)):
        with pytest.raises(nt.MissingRule, match="no_such_thing") as caught:
            run()
        assert f"(called at {__file__}:{mine.__code__.co_firstlineno + 1})" in str(caught.value)
    with pytest.raises(nt.MissingRule) as caught:
        nt.jet(space["inner"], X, 1, V)
    assert str(caught.value).endswith(f"(called at {package}:2)")
    assert "called at" not in str(nt.MissingRule("never raised"))


def test_a_function_of_numpy_can_be_registered():
    with pytest.raises(nt.MissingRule, match="'sinc'"):
        nt.jet(np.sinc, X, 1, V)
    try:
        jets.register("numpy.sinc", lambda xp, _, u: Series([xp.sinc(u[0])]))
        assert nt.jet(np.sinc, X, 1, V).primal[0, 0] == np.sinc(X[0, 0])
    finally:
        RULES.pop("numpy.sinc", None)


def test_a_complex_base_of_zero_is_refused():
    with pytest.raises(ValueError, match="base > 0"):
        nt.jet(lambda u: np.asarray(0j) ** u, np.asarray(0.5), 1)
    got = nt.jet(lambda u: (2j) ** u, np.asarray(0.5), 4).coefficients
    rate = math.log(2) + 0.5j * math.pi
    np.testing.assert_allclose(got, [2j**0.5 * rate**k / math.factorial(k) for k in range(5)], rtol=1e-14)


def test_arrays_with_nothing_in_them():
    empty = Jet([np.zeros((0, 0))] * 2, 2)
    assert [np.linalg.eigvalsh(empty).shape, np.linalg.eigh(empty).eigenvectors.shape] == [(0,), (0, 0)]
    assert nt.value_and_grad(lambda p: np.sum(np.linalg.eigh(p)[1]))(np.zeros((0, 0)))[1].shape == (0, 0)
    np.testing.assert_array_equal(np.pad(empty, 1).primal, np.zeros((2, 2)))
    with pytest.raises(ValueError, match="at least 2 entries"):
        np.gradient(Jet([np.zeros(1)] * 2))
