"""Every name of the array API standard, as array-api-strict checks it: with a rule, or refused with a reason.

The oracle is Cauchy's integral over values of NumPy's own functions at complex t, which knows no Taylor arithmetic; for
what is not holomorphic, over the branch that the primal takes, written down beside it.
"""

from __future__ import annotations

import numpy as np
import pytest
from oracles import on_a_circle

import ntaylor as nt
from ntaylor.array_object import function_of
from ntaylor.gradients import Variable
from ntaylor.jets import Jet
from ntaylor.standard import EXTENSIONS, MAKERS, PASSED_THROUGH, REFUSED, SHARED

strict = pytest.importorskip("array_api_strict")

ORDER = 8
NEWEST = "2025.12"


@pytest.fixture
def space():
    """array-api-strict at the newest version of the standard that it checks, all extensions on."""
    before = strict.get_array_api_strict_flags()
    strict.set_array_api_strict_flags(
        api_version=NEWEST, boolean_indexing=True, data_dependent_shapes=True, enabled_extensions=("linalg", "fft")
    )
    yield strict
    strict.set_array_api_strict_flags(**before)


OF_STRICT_ITSELF = {
    *("Device", "ArrayAPIStrictFlags", "__version__"),
    *(f"{verb}_array_api_strict_flags" for verb in ("set", "get", "reset")),
}


def rule_name(extension, name):
    return name if name in SHARED else f"{extension}.{name}"


STANDARD = sorted(
    {*strict.__all__} - OF_STRICT_ITSELF - {*EXTENSIONS}
    | {rule_name(extension, name) for extension in EXTENSIONS for name in getattr(strict, extension).__all__}
)
"""Every name in the standard's namespace and its extensions, dotted where a rule's is."""


def test_every_name_of_the_standard_is_accounted_for():
    """With a rule, or refused with a reason, or of the library because no array goes in."""
    unknown = [n for n in STANDARD if not (Jet._has_rule(n) or n in REFUSED or n in MAKERS or n in PASSED_THROUGH)]
    assert not unknown
    twice = [n for n in STANDARD if n in REFUSED and Jet._has_rule(n)]
    assert not twice
    assert {*CASES} == {n for n in STANDARD if Jet._has_rule(n)}, (
        "a rule without a case below, or a case without a rule"
    )
    assert {*REFUSED} <= {*STANDARD, "linalg.eig", "linalg.eigvals"}, "a name that the standard has not"


def test_the_extensions_are_the_standards(space):
    for extension, names in EXTENSIONS.items():
        assert {*getattr(space, extension).__all__} <= names


X = np.asarray([0.31, 0.87, 0.52, 0.7])
V = np.asarray([0.6, -0.3, 0.5, 0.8])
ROWS = np.asarray([[0.9, 0.2, -0.3, 0.4], [0.1, 1.1, 0.3, -0.2], [-0.4, 0.2, 1.3, 0.1]])
INTEGERS = np.asarray([2, 0, 0, 1])
SIGNS = np.asarray([-1.0, 1, -1, 1])  # of X - 0.6


def square(xp, x):
    """A matrix (3, 3) of the entries of x (4,), regular and not symmetric."""
    return table(xp, x) @ xp.matrix_transpose(constant(xp, ROWS))


def table(xp, x):
    """A matrix (3, 4)."""
    return x * constant(xp, ROWS) + xp.stack([x * x, x, x * x * x])


def positive(xp, x):
    a = square(xp, x)
    return a @ xp.matrix_transpose(a) + constant(xp, np.eye(3))


def constant(xp, values):
    """Of the library under the namespace, which makes plain arrays."""
    return xp.asarray(values)


def linear(function):
    """What a function of real arrays that is linear in them is on complex ones, if it is to be holomorphic."""
    return lambda x: function(np.real(x)) + 1j * function(np.imag(x))


def complex_of(xp, x):
    return xp.astype(x, xp.complex128)


def unary(name, moved=lambda x: x):
    return lambda xp, x: getattr(xp, name)(moved(x))


def factor(name):
    return lambda xp, x: x * xp.astype(getattr(xp, name)(3 * x), xp.float64)


def compared(name):
    return lambda xp, x: xp.where(getattr(xp, name)(x, 0.6), x * x, x)


# The name → (function on jets, the same on complex NumPy arrays; the first alone where it is holomorphic as it is).
BIG, SMALL = (X > 0.6), (X < 0.6)
CASES = {
    **{
        name: (unary(name),)
        for name in (
            *(
                "acos",
                "acosh",
                "asin",
                "asinh",
                "atan",
                "atanh",
                "cos",
                "cosh",
                "exp",
                "expm1",
                "log",
                "log10",
                "log1p",
            ),
            *("log2", "negative", "positive", "reciprocal", "sin", "sinh", "sqrt", "square", "tan", "tanh"),
        )
    },
    "acosh": (unary("acosh", lambda x: x + 1.5),),
    "abs": (unary("abs", lambda x: x - 0.6), lambda x: SIGNS * (x - 0.6)),
    "add": (lambda xp, x: xp.add(x, xp.add(2.0 * x, constant(xp, V))),),
    "atan2": (lambda xp, x: xp.atan2(x, xp.cos(x)), lambda x: np.arctan(x / np.cos(x))),
    "clip": (lambda xp, x: xp.clip(x, 0.4, 0.6), lambda x: np.asarray([0.4, 0.6, 0, 0.6]) + x * [0, 0, 1, 0]),
    "conj": (lambda xp, x: xp.conj(complex_of(xp, x) * (1 + 2j)), lambda x: (1 - 2j) * x),
    "copysign": (
        lambda xp, x: xp.copysign(x, constant(xp, SIGNS)) + xp.copysign(0 * x - 2.0, x) + xp.copysign(x - 0.6, -x),
        lambda x: SIGNS * x + 2 - SIGNS * (x - 0.6),
    ),
    "divide": (lambda xp, x: xp.divide(x, xp.cos(x)),),
    "hypot": (lambda xp, x: xp.hypot(x, xp.cos(x)), lambda x: np.sqrt(x * x + np.cos(x) ** 2)),
    "imag": (lambda xp, x: xp.imag(complex_of(xp, x) * (1 + 2j)), lambda x: 2 * x),
    "logaddexp": (
        lambda xp, x: xp.logaddexp(x, x * x) + xp.logaddexp(2 - x, x),
        lambda x: np.log(np.exp(x) + np.exp(x * x)) + np.log(np.exp(2 - x) + np.exp(x)),
    ),
    "maximum": (lambda xp, x: xp.maximum(x, 0.6), lambda x: np.where(BIG, x, 0.6)),
    "minimum": (lambda xp, x: xp.minimum(0.6, x), lambda x: np.where(BIG, 0.6, x)),
    "multiply": (lambda xp, x: xp.multiply(x, xp.sin(x)),),
    "pow": (lambda xp, x: xp.pow(x, 3) + xp.pow(x, xp.cos(x)) + xp.pow(x, -1.5),),
    "real": (lambda xp, x: xp.real(complex_of(xp, x) * (3 + 2j)), lambda x: 3 * x),
    "remainder": (lambda xp, x: xp.remainder(x, 0.25), lambda x: x - 0.25 * np.floor(X / 0.25)),
    "subtract": (lambda xp, x: xp.subtract(x, 2.0 * x * x),),
    # locally constant: factors of what is differentiated
    "ceil": (factor("ceil"), lambda x: x * np.ceil(3 * X)),
    "floor": (factor("floor"), lambda x: x * np.floor(3 * X)),
    "round": (factor("round"), lambda x: x * np.round(3 * X)),
    "trunc": (factor("trunc"), lambda x: x * np.trunc(3 * X)),
    "sign": (factor("sign"), lambda x: x),
    "signbit": (factor("signbit"), lambda x: 0 * x),
    "isfinite": (factor("isfinite"), lambda x: x),
    "isinf": (factor("isinf"), lambda x: 0 * x),
    "isnan": (factor("isnan"), lambda x: 0 * x),
    "floor_divide": (lambda xp, x: x * xp.floor_divide(x, 0.25), lambda x: x * np.floor(X / 0.25)),
    "equal": (compared("equal"), lambda x: x),
    "not_equal": (compared("not_equal"), lambda x: x * x),
    "less": (compared("less"), lambda x: np.where(BIG, x, x * x)),
    "less_equal": (compared("less_equal"), lambda x: np.where(BIG, x, x * x)),
    "greater": (compared("greater"), lambda x: np.where(BIG, x * x, x)),
    "greater_equal": (compared("greater_equal"), lambda x: np.where(BIG, x * x, x)),
    "logical_and": (
        lambda xp, x: xp.where(xp.logical_and(x > 0.6, x < 0.8), x * x, x),
        lambda x: x + (x * x - x) * [0, 0, 0, 1],
    ),
    "logical_or": (lambda xp, x: xp.where(xp.logical_or(x > 0.6, x < 0.8), x * x, x), lambda x: x * x),
    "logical_xor": (
        lambda xp, x: xp.where(xp.logical_xor(x > 0.6, x > 0.8), x * x, x),
        lambda x: x + (x * x - x) * [0, 0, 0, 1],
    ),
    "logical_not": (lambda xp, x: xp.where(xp.logical_not(x > 0.6), x * x, x), lambda x: np.where(BIG, x, x * x)),
    "all": (lambda xp, x: xp.where(xp.all(x > 0), x * x, x), lambda x: x * x),
    "any": (lambda xp, x: xp.where(xp.any(x), x * x, x), lambda x: x * x),
    "argmax": (lambda xp, x: xp.take(x, xp.reshape(xp.argmax(x), (1,))), lambda x: x[1:2]),
    "argmin": (lambda xp, x: xp.take(x, xp.reshape(xp.argmin(x), (1,))), lambda x: x[:1]),
    "argsort": (lambda xp, x: xp.take(x, xp.argsort(x, descending=True)), lambda x: x[[1, 3, 2, 0]]),
    "count_nonzero": (lambda xp, x: x * xp.astype(xp.count_nonzero(x), xp.float64), lambda x: 4 * x),
    "isin": (
        lambda xp, x: xp.where(xp.isin(xp.astype(10 * x, xp.int64), constant(xp, np.asarray([3, 8]))), x * x, x),
        lambda x: x + (x * x - x) * [1, 1, 0, 0],
    ),
    "nonzero": (lambda xp, x: xp.take(x, xp.nonzero(x)[0]), lambda x: x),
    "searchsorted": (
        lambda xp, x: x * xp.astype(xp.searchsorted(constant(xp, np.asarray([0.4, 0.6])), x), xp.float64),
        lambda x: x * [0, 2, 1, 2],
    ),
    "ones_like": (lambda xp, x: x * xp.ones_like(x), lambda x: x),
    "zeros_like": (lambda xp, x: x + xp.zeros_like(x), lambda x: x),
    "empty_like": (lambda xp, x: xp.where(xp.isnan(x), xp.empty_like(x), x), lambda x: x),
    "result_type": (lambda xp, x: xp.astype(x, xp.result_type(x, xp.complex64)), lambda x: x),
    # moved about
    "asarray": (lambda xp, x: xp.asarray(xp.asarray(x * x, copy=True), dtype=xp.complex128), lambda x: x * x),
    "astype": (lambda xp, x: xp.astype(x, xp.complex128), lambda x: x),
    "broadcast_arrays": (
        lambda xp, x: (lambda a, b: a * b)(*xp.broadcast_arrays(x[:, None], constant(xp, ROWS[:, None, :1]))),
        lambda x: x[:, None] * ROWS[:, None, :1],
    ),
    "broadcast_to": (lambda xp, x: xp.broadcast_to(x, (2, 4)) * xp.sin(x),),
    "concat": (lambda xp, x: xp.concat([x, xp.sin(x), constant(xp, V)]),),
    "expand_dims": (lambda xp, x: xp.expand_dims(xp.sin(x), axis=1),),
    "flip": (lambda xp, x: xp.flip(xp.sin(x)),),
    "full": (lambda xp, x: xp.full((2, 4), xp.sin(x)) + xp.full((4,), 2.0), lambda x: np.stack([np.sin(x) + 2] * 2)),
    "full_like": (
        lambda xp, x: xp.full_like(x, xp.sin(x[0])) * xp.full_like(x, 3.0),
        lambda x: 3 * np.sin(x[0]) + 0 * x,
    ),
    "linspace": (lambda xp, x: xp.linspace(x[0], xp.sin(x[1]), 5), lambda x: np.linspace(x[0], np.sin(x[1]), 5)),
    "meshgrid": (
        lambda xp, x: (
            (lambda a, b: a * xp.sin(b))(*xp.meshgrid(x, x[:3])) + 0 * xp.meshgrid(x, x[:3], indexing="ij")[0][0, 0]
        ),
        lambda x: (lambda a, b: a * np.sin(b))(*np.meshgrid(x, x[:3])),
    ),
    "moveaxis": (lambda xp, x: xp.moveaxis(table(xp, x), 0, 1),),
    "permute_dims": (lambda xp, x: xp.permute_dims(table(xp, x), (1, 0)),),
    "matrix_transpose": (lambda xp, x: xp.matrix_transpose(table(xp, x)) + table(xp, x).mT,),
    "repeat": (lambda xp, x: xp.repeat(x * x, 2) + 0 * xp.repeat(x, constant(xp, np.asarray([2, 2, 2, 2]))),),
    "reshape": (lambda xp, x: xp.reshape(x * x, (2, 2)),),
    "roll": (lambda xp, x: xp.roll(x * x, 1),),
    "squeeze": (lambda xp, x: xp.squeeze((x * x)[None, :], axis=0),),
    "stack": (lambda xp, x: xp.stack([x, x * x, constant(xp, V)], axis=-1),),
    "tile": (lambda xp, x: xp.tile(x * x, (2, 1)),),
    "tril": (lambda xp, x: xp.tril(table(xp, x), k=-1),),
    "triu": (lambda xp, x: xp.triu(table(xp, x), k=1),),
    "unstack": (lambda xp, x: xp.unstack(table(xp, x), axis=1)[2],),
    "take": (lambda xp, x: xp.take(table(xp, x), constant(xp, INTEGERS), axis=1),),
    "take_along_axis": (lambda xp, x: xp.take_along_axis(table(xp, x), constant(xp, INTEGERS[None, :]), axis=0),),
    "where": (lambda xp, x: xp.where(x > 0.6, x * x, 0.5), lambda x: np.where(BIG, x * x, 0.5)),
    "sort": (
        lambda xp, x: xp.sort(table(xp, x), axis=0) + xp.sort(x, descending=True),
        lambda x: np.take_along_axis(table(np, x), np.argsort(table(np, X), axis=0), 0) + x[[1, 3, 2, 0]],
    ),
    # reduced
    "cumulative_prod": (
        lambda xp, x: xp.cumulative_prod(table(xp, x), axis=1) + xp.cumulative_prod(x, include_initial=True)[:-1],
    ),
    "cumulative_sum": (lambda xp, x: xp.cumulative_sum(table(xp, x), axis=1),),
    "diff": (lambda xp, x: xp.diff(table(xp, x), axis=1, n=2) * xp.diff(x, prepend=x[:1])[:2],),
    "max": (lambda xp, x: xp.max(x * x), lambda x: x[1] ** 2),
    "min": (lambda xp, x: xp.min(x * x, axis=0), lambda x: x[0] ** 2),
    "mean": (lambda xp, x: xp.mean(table(xp, x), axis=1, keepdims=True),),
    "prod": (
        lambda xp, x: (
            xp.prod(table(xp, x), axis=1, keepdims=True) * xp.prod(table(xp, x), axis=0) + xp.prod(x[:0]) * xp.prod(x)
        ),
    ),
    "std": (
        lambda xp, x: xp.std(table(xp, x), axis=1, correction=1.0),
        lambda x: np.sqrt(np.sum((table(np, x) - np.mean(table(np, x), axis=1, keepdims=True)) ** 2, axis=1) / 3),
    ),
    "sum": (lambda xp, x: xp.sum(table(xp, x), axis=1),),
    "var": (
        lambda xp, x: xp.var(table(xp, x), axis=0),
        lambda x: np.mean((table(np, x) - np.mean(table(np, x), axis=0)) ** 2, axis=0),
    ),
    # linear algebra
    "matmul": (lambda xp, x: xp.matmul(table(xp, x), x) + (table(xp, x) @ xp.stack([x, x * x], axis=1))[:, 0],),
    "outer": (lambda xp, x: xp.linalg.outer(x, x * x),),
    "tensordot": (lambda xp, x: xp.tensordot(table(xp, x), table(xp, x * x), axes=((0,), (0,))),),
    "vecdot": (lambda xp, x: xp.vecdot(table(xp, x), x), lambda x: table(np, x) @ x),
    "vector_norm": (
        lambda xp, x: (
            xp.linalg.vector_norm(table(xp, x), axis=1)
            + xp.linalg.vector_norm(x, ord=1) * xp.linalg.vector_norm(x, ord=3)
            + xp.linalg.vector_norm(x, ord=float("inf"), keepdims=True) * xp.linalg.vector_norm(x, ord=-float("inf"))
        ),
        lambda x: np.sqrt(np.sum(table(np, x) ** 2, axis=1)) + np.sum(x) * np.sum(x**3) ** (1 / 3) + x[1] * x[0],
    ),
    "linalg.cholesky": (
        lambda xp, x: (lambda low, up: low @ up)(
            xp.linalg.cholesky(positive(xp, x)), xp.linalg.cholesky(positive(xp, x), upper=True)
        ),
        lambda x: positive(np, x),
    ),
    "linalg.cross": (
        lambda xp, x: xp.linalg.cross(table(xp, x), table(xp, x * x), axis=0),
        lambda x: np.cross(table(np, x).T, table(np, x * x).T).T,
    ),
    "linalg.det": (lambda xp, x: xp.linalg.det(square(xp, x)),),
    "linalg.diagonal": (
        lambda xp, x: xp.linalg.diagonal(table(xp, x), offset=1),
        lambda x: np.diagonal(table(np, x), 1),
    ),
    "linalg.eigh": (
        lambda xp, x: (lambda e: (e.eigenvectors * e.eigenvalues[None, :]) @ e.eigenvectors.mT)(
            xp.linalg.eigh(positive(xp, x))
        ),
        lambda x: positive(np, x),
    ),
    "linalg.eigvalsh": (
        lambda xp, x: xp.sum(xp.linalg.eigvalsh(positive(xp, x)) ** 2),
        lambda x: np.sum(positive(np, x) ** 2),
    ),
    "linalg.inv": (lambda xp, x: xp.linalg.inv(square(xp, x)),),
    "linalg.matrix_norm": (
        lambda xp, x: xp.linalg.matrix_norm(table(xp, x)) + xp.linalg.matrix_norm(xp.exp(table(xp, x)), ord=1),
        lambda x: np.sqrt(np.sum(table(np, x) ** 2)) + np.sum(np.exp(table(np, x)), axis=0)[1],
    ),
    "linalg.matrix_power": (
        lambda xp, x: (
            xp.linalg.matrix_power(square(xp, x), 3)
            + xp.linalg.matrix_power(square(xp, x), -2)
            + xp.linalg.matrix_power(square(xp, x), 0)
        ),
    ),
    "linalg.matrix_rank": (
        lambda xp, x: x * xp.astype(xp.linalg.matrix_rank(square(xp, x)), xp.float64),
        lambda x: 3 * x,
    ),
    "linalg.qr": (
        lambda xp, x: (lambda q, r: xp.stack([q @ r, q.mT @ q]))(*xp.linalg.qr(square(xp, x))),
        lambda x: np.stack([square(np, x), np.eye(3)]),
    ),
    "linalg.slogdet": (
        lambda xp, x: (lambda d: xp.exp(d.logabsdet) * d.sign)(xp.linalg.slogdet(square(xp, x))),
        lambda x: np.linalg.det(square(np, x)),
    ),
    "linalg.solve": (
        lambda xp, x: xp.linalg.solve(square(xp, x), table(xp, x)) + xp.linalg.solve(square(xp, x), x[:3])[:, None],
    ),
    "linalg.trace": (lambda xp, x: xp.linalg.trace(table(xp, x), offset=1), lambda x: np.trace(table(np, x), 1)),
    # Fourier transforms
    **{
        f"fft.{name}": (lambda xp, x, name=name: getattr(xp.fft, name)(complex_of(xp, table(xp, x)) * (1 + 2j)),)
        for name in ("fft", "ifft", "fftn", "ifftn", "fftshift", "ifftshift")
    },
    **{
        f"fft.{name}": (
            lambda xp, x, name=name: getattr(xp.fft, name)(table(xp, x)),
            lambda x, name=name: linear(getattr(np.fft, name))(table(np, x)),
        )
        for name in ("rfft", "rfftn", "ihfft")
    },
    **{
        f"fft.{name}": (
            lambda xp, x, name=name: getattr(xp.fft, name)(complex_of(xp, table(xp, x)) * (1 + 2j)),
            lambda x, name=name: linear(lambda a: getattr(np.fft, name)(a * (1 + 2j)))(table(np, x)),
        )
        for name in ("irfft", "irfftn", "hfft")
    },
}


@pytest.mark.parametrize("name", CASES)
def test_every_rule_of_the_standard(space, name):
    """Coefficients 0 to 8 along x + v t, in the library's own arrays."""
    ours, *theirs = CASES[name]
    reference = theirs[0] if theirs else lambda x: ours(np, x)
    got = nt.jet(lambda x: ours(x.__array_namespace__(), x), space.asarray(X), ORDER, space.asarray(V)).coefficients
    assert type(got) is type(space.asarray(X))
    expected = on_a_circle(lambda t: reference(X + t * V), ORDER)
    got = np.from_dlpack(got)
    assert got.shape == expected.shape
    # The circle's own error is 1e-15 over radius^k = 4^k; so each order is judged against its own.
    scale = (1 + np.max(np.abs(expected[0]))) * 4.0 ** np.arange(ORDER + 1)
    error = np.max(np.abs(got - expected).reshape(ORDER + 1, -1), axis=1)
    assert np.all(error < 1e-13 * scale), error / scale


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_refused_with_a_reason(name):
    """By jets and in gradients, and named; hasattr says that it is not there."""
    for kind, array in (("on a Jet", Jet([X, V])), ("in nt.value_and_grad", Variable(X))):
        xp = array.__array_namespace__()
        with pytest.raises(nt.MissingRule) as caught:
            function_of(xp, name)(array)
        assert REFUSED[name] in str(caught.value)
        assert f"{name!r} {kind}" in str(caught.value)
        assert name in MAKERS or not hasattr(
            getattr(xp, name.split(".")[0]) if "." in name else xp, name.split(".")[-1]
        )


def test_makers_are_the_librarys_own(space):
    """Arrays and answers that depend on no jet are plain."""
    xp = Jet([space.asarray(X)]).__array_namespace__()
    for made in (
        *(xp.arange(3), xp.asarray([1.0, 2.0]), xp.empty((2,)), xp.eye(2), xp.full((2,), 1.0), xp.linspace(0, 1, 3)),
        *(xp.ones((2,)), xp.zeros((2,)), xp.fft.fftfreq(4), xp.fft.rfftfreq(4), xp.from_dlpack(space.asarray(X))),
    ):
        assert type(made) is type(space.asarray(X))
    assert xp.finfo(Jet([space.asarray(X)])).eps == space.finfo(space.float64).eps
    assert xp.can_cast(Jet([space.asarray(X)]), xp.complex128)
    assert xp.broadcast_shapes((2, 1), (3,)) == (2, 3)
    with pytest.raises(TypeError, match=r"xp\.stack"):
        xp.asarray([Jet([space.asarray(X)]), 1.0])
    with pytest.raises(nt.MissingRule, match="length depends"):
        xp.arange(Jet([space.asarray(1.0)]))


OPERATORS = {
    "__abs__": lambda a: abs(a),
    "__add__": lambda a: a + 1.0,
    "__radd__": lambda a: 1.0 + a,
    "__sub__": lambda a: a - 1.0,
    "__rsub__": lambda a: 1.0 - a,
    "__mul__": lambda a: a * 2.0,
    "__rmul__": lambda a: 2.0 * a,
    "__truediv__": lambda a: a / 2.0,
    "__rtruediv__": lambda a: 2.0 / a,
    "__floordiv__": lambda a: a * (a // 0.5),
    "__rfloordiv__": lambda a: a * (2.0 // a),
    "__mod__": lambda a: a % 0.5,
    "__rmod__": lambda a: 2.0 % a,
    "__pow__": lambda a: a**3,
    "__rpow__": lambda a: 2.0**a,
    "__matmul__": lambda a: a @ a,
    "__rmatmul__": lambda a: a.__rmatmul__(strict.asarray(X)),  # its own arrays refuse all others on their right
    "__neg__": lambda a: -a,
    "__pos__": lambda a: +a,
    "__lt__": lambda a: a < 0.6,
    "__le__": lambda a: a <= 0.6,
    "__gt__": lambda a: a > 0.6,
    "__ge__": lambda a: a >= 0.6,
    "__eq__": lambda a: a == 0.6,
    "__ne__": lambda a: a != 0.6,
    "__getitem__": lambda a: a[1:3],
    "T": lambda a: a[None, :].T,
    "mT": lambda a: a[None, :].mT,
    "to_device": lambda a: a.to_device(strict.Device("CPU_DEVICE")),
    **{
        f"__i{name}__": (lambda a, name=name: getattr(a, f"__{name}__")(2.0))
        for name in ("add", "sub", "mul", "truediv")
    },
    **{f"__i{name}__": (lambda a, name=name: getattr(a, f"__{name}__")(2.0)) for name in ("floordiv", "mod", "pow")},
    "__imatmul__": lambda a: a @ a,
    "__array_namespace__": lambda a: a.__array_namespace__().sin(a),
    **{name: (lambda a, name=name: getattr(a, name)) for name in ("shape", "ndim", "size", "dtype", "device")},
}

NUMBERS = ("__bool__", "__complex__", "__float__", "__index__", "__int__")
BITS = tuple(f"__{r}{name}__" for name in ("and", "or", "xor", "lshift", "rshift") for r in ("", "r", "i"))
NOT_THERE = {
    "__setitem__": "cannot be assigned to in place",
    "__dlpack__": "no attribute",
    "__dlpack_device__": "no attribute",
    "__buffer__": "no attribute",
    **dict.fromkeys(NUMBERS, "Python|integer"),
    "__array__": "plain NumPy array",
    **dict.fromkeys((*BITS, "__invert__"), "unsupported operand|bad operand"),
}


def test_every_operator_and_attribute_is_accounted_for(space):
    of_python = {*dir(object), "__annotations__", "__slots__", "__weakref__", "__module__", "__len__", "__iter__"}
    known = {*OPERATORS, *NOT_THERE, *of_python}
    assert [n for n in dir(space.asarray(X)) if n not in known and (n[:2] == "__" or n[0] != "_")] == []


@pytest.mark.parametrize("name", OPERATORS)
def test_operators_and_attributes(space, name):
    """The primal is what the library gives; a derivative is there where the value depends on t."""
    array = space.asarray(X)
    got, expected = OPERATORS[name](Jet([array, space.asarray(V)], 3)), OPERATORS[name](array)
    if isinstance(got, Jet):
        np.testing.assert_allclose(np.from_dlpack(got.primal), np.from_dlpack(expected), rtol=1e-15)
        assert got._series[1] is not None
    elif isinstance(expected, type(array)):
        assert bool(space.all(got == expected))
    else:
        assert got == expected


@pytest.mark.parametrize("name", NOT_THERE)
def test_operators_that_are_refused(name):
    """With an error of Python's own kind, that says what it is about."""
    act = {
        "__setitem__": lambda j: j.__setitem__(0, 1.0),
        "__bool__": bool,
        "__complex__": complex,
        "__float__": float,
        "__int__": int,
        "__index__": lambda j: [1, 2][j],
        "__array__": np.asarray,
        "__invert__": lambda j: ~j,
        **{n: (lambda j: j & j) for n in BITS},
    }.get(name, lambda j: getattr(j, name))
    with pytest.raises((TypeError, AttributeError), match=NOT_THERE[name]):
        act(Jet([np.asarray(0.5), np.asarray(1.0)]))
    if name in BITS:
        assert not any(name in kind.__dict__ for kind in Jet.__mro__)
