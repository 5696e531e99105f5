"""``nt.check``: right functions agree by every oracle, wrong rules and missing ones are found and named."""

# ruff: noqa: ARG005 rules share one signature

from __future__ import annotations

import math

import mpmath
import numpy as np
import pytest

import ntaylor as nt
from ntaylor import activations, value_oracles
from ntaylor.dispatch import adapter_for

X = np.linspace(-1, 1, 5)


def bump(x):
    return np.exp(np.sin(x)) / (1 + x**2)


@pytest.fixture
def registered():
    """Register activations and jet rules; they are gone afterwards."""
    from ntaylor.jet_rules import RULES

    tables = [(table, dict(table)) for table in (activations._TABLE, RULES)]
    yield nt.activations.register
    for table, before in tables:
        table.clear()
        table.update(before)


# --- oracles that take values alone -----------------------------------------------------------------


def test_a_numpy_function_agrees_on_the_circle():
    report = nt.check(bump, X, 12)
    assert report.ok, str(report)
    assert report.oracle == "values on a complex circle (Cauchy's integral)"
    assert report.compared == report.order == 12
    assert len(report.errors) == len(report.tolerances) == 13
    assert max(report.tolerances) < 1e-9
    assert "agrees to order 12" in str(report)
    assert str(report).count("\n   ") == 13


@pytest.mark.parametrize("u0", [-0.7, 0.2, 1.3])
def test_the_circle_knows_its_own_error(u0):
    """Coefficients are those of mpmath, to ten times the estimated error."""
    x = np.asarray([u0])
    for f, exact in ((bump, lambda t: mpmath.exp(mpmath.sin(t)) / (1 + t**2)), (np.arctan, mpmath.atan)):
        estimates = value_oracles.on_circles(lambda t, f=f: f(x + t), 10, 1.0, True)
        with mpmath.workdps(50):
            true = [float(c) for c in mpmath.taylor(exact, mpmath.mpf(u0), 10)]
        for k, (estimate, c) in enumerate(zip(estimates, true, strict=True)):
            assert abs(estimate.coefficient[0] - c) <= 10 * estimate.error, k
            assert estimate.error < 1e-6 * abs(c), k


def test_differences_know_their_own_error():
    x = np.asarray([0.4], dtype=np.longdouble)
    estimates = value_oracles.by_differences(
        lambda t: np.exp(x + np.longdouble(t)), 6, 1.0, float(np.finfo(np.longdouble).eps)
    )
    for k, estimate in enumerate(estimates):
        true = math.exp(0.4) / math.factorial(k)
        assert abs(float(estimate.coefficient[0]) - true) <= 10 * estimate.error + 1e-15 * true
        assert estimate.error < 1e-5 * true


def test_a_function_that_takes_no_complex_numbers_is_compared_by_differences():
    report = nt.check(lambda x: np.abs(x - 0.3) ** 3 * np.maximum(x, 0.1), X, 4)
    assert report.ok, str(report)
    assert report.oracle == "central differences of values in long double"
    assert max(report.errors) < 1e-6


def test_a_function_that_is_not_holomorphic_is_not_taken_on_the_circle():
    """np.abs of a complex number is no continuation of |x|: negative modes tell."""
    assert value_oracles.on_circles(lambda t: np.abs(X + 3 + t), 4, 1.0, True) is None
    assert value_oracles.on_circles(lambda t: np.real(X + t), 4, 1.0, True) is None


def test_a_kink_at_a_point_is_not_compared():
    report = nt.check(nt.MLP.create([1, 8, 1], "relu"), X, 4)
    assert report.verdict == "not compared"
    assert not report.ok
    assert "NOT COMPARED" in str(report)
    assert "not exact enough" in report.note


def test_a_constant_that_is_a_python_number_agrees():
    assert nt.check(lambda x: 3.0, X).ok


def test_zero_derivatives_of_polynomials_agree():
    report = nt.check(lambda x: x**3 - x, X, 8)
    assert report.ok, str(report)
    assert report.compared == 8


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"odd": True, "residual": True},
        {"gated": True, "activation": "gelu"},
        {"fourier": (3, 1.0)},
        {"periods": (2.0, None), "output_range": (-1.0, 3.0)},
        {"activation": "snake", "input_range": (-1.0, 2.0)},
        {"activation": "softsign"},
    ],
    ids=str,
)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_networks_agree_with_their_values_and_gradients(options, dtype):
    net = nt.MLP.create([2, 6, 6, 1], seed=3, dtype=dtype, **options)
    rng = np.random.default_rng(1)
    x, v = rng.uniform(0.1, 1, (4, 2)).astype(dtype), np.asarray([0.8, -0.6], dtype)
    report = nt.check(net, x, 4, v)
    assert report.ok, str(report)
    error, allowed = report.gradient
    assert error <= allowed < 1e-2


def test_complex_points():
    report = nt.check(lambda z: np.exp(z) * z, X * (1 + 0.5j), 5)
    assert report.ok, str(report)


# --- what is wrong is found -------------------------------------------------------------------------


def test_a_wrong_differential_equation_is_found(registered):
    registered("steep", ode=lambda v, u: 1.001 - v * v, primal=lambda u0, xp: xp.tanh(u0))
    report = nt.check(nt.MLP.create([1, 4, 1], "steep"), X, 3)
    assert report.verdict == "disagrees"
    assert report.errors[0] <= report.tolerances[0]
    assert all(e > t for e, t in zip(report.errors[1:], report.tolerances[1:], strict=True))
    assert str(report).count("DISAGREES") >= 4


def test_a_wrong_slope_that_no_derivative_uses_is_found_in_the_gradient(registered):
    registered("cubic", pair=lambda u, xp: (u + u**3, 1 + 3.001 * u**2))
    report = nt.check(nt.MLP.create([1, 4, 1], "cubic"), X, 3)
    assert all(e <= t for e, t in zip(report.errors, report.tolerances, strict=True))
    assert report.verdict == "disagrees"
    assert report.gradient[0] > report.gradient[1]


def test_a_wrong_rule_of_an_operation_is_found(registered):
    nt.jets.register("cbrt", lambda xp, order, u: u * 2.0)
    report = nt.check(np.cbrt, X + 2, 3)
    assert report.verdict == "disagrees"


def test_a_missing_operation_is_named_with_its_line():
    def model(x):
        y = np.sin(x)
        return np.cbrt(y)  # the line

    report = nt.check(model, X, 4)
    assert report.verdict == "no rule"
    assert not report.ok
    assert "no rule for 'cbrt'" in report.missing
    assert "test_checking.py" in report.where
    assert "in model: return np.cbrt(y)  # the line" in report.where
    assert "CANNOT BE DIFFERENTIATED: no rule for 'cbrt'" in str(report)


def test_what_leaves_arrays_is_named():
    report = nt.check(lambda x: math.sin(x) * x, np.asarray(0.3), 2)
    assert report.verdict == "no rule"
    assert "TypeError" in report.missing
    assert "math.sin(x)" in report.where


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda: nt.check(3, X), TypeError, "f must be a function or a network"),
        (lambda: nt.check(bump, [1.0]), TypeError, "x must be an array"),
        (lambda: nt.check(bump, X, -1), ValueError, "order must be an integer >= 0"),
        (lambda: nt.check(bump, X, 2, limit=-1), ValueError, "order must be an integer >= 0"),
        (lambda: nt.check(bump, np.ones((3, 2))), ValueError, "pass the direction"),
        (lambda: nt.check(np.sqrt, np.zeros(2)), ValueError, "sqrt is not differentiable"),
        (lambda: nt.check(lambda x: x * np.random.default_rng().uniform(), X), ValueError, "from call to call"),
        (lambda: nt.check(lambda x: x.nonsense, X), AttributeError, "nonsense"),
        (lambda: nt.check(np.sin, X[:0]), ValueError, "no points to compare at"),
        (lambda: nt.check(lambda x: np.where(x > 0.5, np.nan, x), X), ValueError, "not finite at some points"),
        (lambda: nt.check(lambda x: x > 0, X), TypeError, "f must return floating values"),
    ],
)
def test_what_does_not_fit_is_refused(call, kind, message):
    with pytest.raises(kind, match=message):
        call()


# --- nested reverse mode ------------------------------------------------------------------------------


@pytest.fixture(params=["torch", "jax"])
def library(request):
    """(xp, array) of a library with autograd."""
    pytest.importorskip(request.param)
    if request.param == "torch":
        import torch

        return torch, lambda values: torch.tensor(np.asarray(values))
    import jax

    jax.config.update("jax_enable_x64", True)
    return jax.numpy, jax.numpy.asarray


def test_nested_reverse_mode_is_right(library):
    """Derivatives of exp(sin x) y, of polynomials that end, and of what mixes the points of a batch."""
    xp, array = library
    x, v = array([[0.3, 1.2], [-0.4, 0.7]]), array([0.8, -0.5])
    nested = adapter_for(x).nested

    def f(x):
        return xp.exp(xp.sin(x[:, 0])) * x[:, 1] + xp.sum(x**2)

    found = np.asarray(nested(f, x, 4, v))
    with mpmath.workdps(50):
        for i in range(2):

            def along(t, i=i):
                moved = [[a + t * b for a, b in zip(row, (0.8, -0.5), strict=True)] for row in x.tolist()]
                return mpmath.exp(mpmath.sin(moved[i][0])) * moved[i][1] + sum(c**2 for row in moved for c in row)

            for k, c in enumerate(mpmath.taylor(along, 0, 4)):
                assert found[k, i] == pytest.approx(float(c * math.factorial(k)), rel=1e-13)
    cubic = np.asarray(nested(lambda x: x**3, array([2.0]), 5, array([1.0])))[:, 0]
    np.testing.assert_allclose(cubic, [8, 12, 12, 6, 0, 0], atol=1e-14)
    assert not np.asarray(nested(lambda x: x * 0 + 1, array([2.0]), 2, array([1.0])))[1:].any()


def test_functions_of_libraries_with_autograd(library):
    xp, array = library
    report = nt.check(lambda x: xp.exp(xp.sin(x)) / (1 + x**2), array(X), 6)
    assert report.ok, str(report)
    assert report.oracle == f"nested reverse mode of {'torch' if xp.__name__ == 'torch' else 'jax'}"
    assert report.compared == 4
    assert "limit=6 compares all" in report.note
    assert nt.check(lambda x: xp.tanh(x) * x, array(X), 6, limit=6).compared == 6


def test_networks_of_libraries_with_autograd_are_compared_by_their_values(library, registered):
    """Their own gradients would repeat the error of a wrong rule."""
    xp, array = library
    net = nt.MLP.create([1, 4, 1], xp=xp, dtype=xp.float64)
    report = nt.check(net, array(X), 3)
    assert report.ok, str(report)
    assert report.oracle.startswith("values")
    registered("cubic", pair=lambda u, xp: (u + u**3, 1 + 3.001 * u**2))
    report = nt.check(nt.MLP.create([1, 4, 1], "cubic", xp=xp, dtype=xp.float64), array(X), 3)
    assert report.verdict == "disagrees"


def test_a_torch_module_names_its_layer_without_a_rule():
    torch = pytest.importorskip("torch")

    class Bessel(torch.nn.Module):
        def forward(self, x):
            return torch.special.i0(x)

    model = torch.nn.Sequential(torch.nn.Linear(1, 3), torch.nn.Sequential(Bessel()), torch.nn.Linear(3, 1))
    report = nt.check(model, torch.linspace(-1, 1, 4)[:, None])
    assert report.verdict == "no rule"
    assert "i0" in report.missing
    assert report.where.startswith("layer '1.0', Bessel; test_checking.py, line ")
    assert nt.check(model[0], torch.linspace(-1, 1, 4)[:, None]).ok


def test_dropout_is_refused():
    torch = pytest.importorskip("torch")
    model = torch.nn.Sequential(torch.nn.Linear(1, 64), torch.nn.Dropout())
    with pytest.raises(ValueError, match=r"f\.eval\(\)"):
        nt.check(model, torch.ones(4, 1))
