"""Residuals by jet arithmetic and their Jacobians, against closed forms and differences."""

# ruff: noqa: ARG005 functions in a table share one signature

from __future__ import annotations

import mpmath
import numpy as np
import pytest

import ntaylor as nt
from ntaylor.pointwise import PointwiseResidual, ResidualSystem
from ntaylor.problems.self_similar_burgers import residual as burgers


def oscillator(X, U, omega):
    """U″ + ω² U − X: of second order, with an explicit coordinate."""
    return U.derivative().derivative() + omega * omega * U - X


def network_taylor(net, x, order):
    """Taylor coefficients of a dense tanh network at one point with 60 digits, by mpmath alone."""
    weights = list(net.parameters.values())

    def value(t):
        v = [mpmath.mpf(x) + t]
        for i in range(0, len(weights), 2):
            w, b = weights[i], weights[i + 1]
            products = [[v[j] * mpmath.mpf(w[j, k]) for j in range(len(v))] for k in range(len(b))]
            v = [mpmath.fsum(terms) + mpmath.mpf(b[k]) for k, terms in enumerate(products)]
            if i + 2 < len(weights):
                v = [mpmath.tanh(z) for z in v]
        return v[0]

    with mpmath.workdps(60):
        return mpmath.taylor(value, 0, order)


def test_burgers_residual_of_every_order_equals_the_high_precision_one():
    net = nt.MLP.create([1, 5, 4, 1], seed=3)
    lam, x, order = 0.3, 0.7, 6
    found = PointwiseResidual(burgers, np.asarray([x]), order).values(net, {"lam": np.asarray(lam)})[:, 0]
    u = network_taylor(net, x, order + 1)
    with mpmath.workdps(60):
        lam_mp, x_mp = mpmath.mpf(lam), mpmath.mpf(x)
        slope = [(k + 1) * u[k + 1] for k in range(order + 1)]
        factor = [(1 + lam_mp) * (x_mp if k == 0 else 1 if k == 1 else 0) + u[k] for k in range(order + 1)]
        expected = [
            -lam_mp * u[m] + mpmath.fsum(factor[j] * slope[m - j] for j in range(m + 1)) for m in range(order + 1)
        ]
    np.testing.assert_allclose(found, [float(e) for e in expected], rtol=1e-12, atol=1e-14)


def test_a_second_order_equation_takes_depth_two():
    # U = cos(2x) through a one-layer "network": a single sine feature with phase.
    net = nt.MLP.create([1, 1, 1], activation="sin")
    parameters = {"0.weight": [[2.0]], "0.bias": [np.pi / 2], "2.weight": [[1.0]], "2.bias": [0.0]}
    net = net.replace({name: np.asarray(p) for name, p in parameters.items()})
    x = np.linspace(-1, 1, 5)
    values = PointwiseResidual(oscillator, x, 3, depth=2).values(net, {"omega": np.asarray(2.0)})
    # U″ + 4U = 0, so what is left is −X, of which only the orders 0 and 1 are not zero.
    np.testing.assert_allclose(values, [-x, -np.ones(5), np.zeros(5), np.zeros(5)], atol=1e-13)
    with pytest.raises(ValueError, match=r"to order 2, wanted 3: pass depth="):
        PointwiseResidual(oscillator, x, 3, depth=1).values(net, {"omega": np.asarray(2.0)})


@pytest.mark.parametrize(("equation", "depth", "name"), [(burgers, 1, "lam"), (oscillator, 2, "omega")])
@pytest.mark.parametrize("options", [{}, {"odd": True}, {"gated": True}, {"residual": True}])
def test_the_jacobian_is_that_of_central_differences(equation, depth, name, options):
    net = nt.MLP.create([1, 4, 4, 1], seed=1, **options)
    x = np.asarray([0.1, 0.4, 0.9])
    system = ResidualSystem(
        net,
        (name,),
        (
            (PointwiseResidual(equation, x, 4, depth), np.asarray([[1.0], [0.5], [0.2], [0.1], [0.05]])),
            (PointwiseResidual(equation, x[:1], 0, depth), np.asarray([[2.0]])),
        ),
    )
    theta = system.pack(net, {name: 0.7})
    theta = theta + 0.1 * np.random.default_rng(0).standard_normal(theta.shape)
    r, jacobian = system.residual_and_jacobian(theta)
    np.testing.assert_allclose(r, system.residual(theta), rtol=1e-13, atol=1e-15)
    assert jacobian.shape == (16, theta.size)
    # Fourth-order differences: error h⁴ of the fifth derivative, about 1e-9 of the scale here.
    h = 1e-3
    for i in range(theta.size):
        e = h * (np.arange(theta.size) == i)
        f = [system.residual(theta + s * e) for s in (-2, -1, 1, 2)]
        difference = (f[0] - 8 * f[1] + 8 * f[2] - f[3]) / (12 * h)
        np.testing.assert_allclose(jacobian[:, i], difference, atol=2e-7 * max(1, np.abs(difference).max()))


def test_packing_and_unpacking_are_inverse():
    net = nt.MLP.create([1, 3, 1], seed=5)
    system = ResidualSystem(net, ("lam", "mu"), ())
    theta = system.pack(net, {"mu": 2.0, "lam": 1.0})
    assert theta[-2:].tolist() == [1.0, 2.0]
    again, unknowns = system.unpack(theta)
    assert {name: float(v) for name, v in unknowns.items()} == {"lam": 1.0, "mu": 2.0}
    for name, p in net.parameters.items():
        np.testing.assert_array_equal(again.parameters[name], p)
    assert sum(system.mask("lam")) == 1
    assert sum(system.mask("0.weight", "2.weight")) == 6


NET = nt.MLP.create([1, 3, 1])
POINTS = np.asarray([0.1, 0.2])


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: PointwiseResidual(3, POINTS, 1), TypeError, "must be a function .* got int"),
        (lambda: PointwiseResidual(burgers, POINTS[:, None], 1), ValueError, r"shape \(batch,\).*reshape"),
        (lambda: PointwiseResidual(burgers, np.asarray([1]), 1), TypeError, "floating dtype"),
        (lambda: PointwiseResidual(burgers, POINTS, -1), ValueError, "order must be an integer >= 0"),
        (lambda: PointwiseResidual(burgers, POINTS, 1, 1.5), TypeError, "depth must be an integer >= 0"),
        (lambda: evaluate(lambda X, U: U.primal), TypeError, "must return a Jet, it returned a numpy array"),
        (lambda: evaluate(lambda X, U: None), TypeError, "must return a Jet, it returned a NoneType"),
        (lambda: evaluate(lambda X, U: np.sum(U.derivative())), ValueError, r"residual of shape \(\) .* each point"),
        (lambda: jacobian(lambda X, U: X * X), ValueError, "does not depend on U"),
        (lambda: jacobian(lambda X, U: U.primal), TypeError, "must return a Jet"),
        (lambda: evaluate(burgers, nt.MLP.create([2, 3, 1])), ValueError, "takes 2 features"),
        (lambda: evaluate(burgers, nt.MLP.create([1, 3, 2])), ValueError, "gives 2 outputs"),
        (lambda: evaluate(burgers, nt.MLP.create([1, 3, 1], dtype=np.float32)), TypeError, "dtypes were mixed"),
        (lambda: ResidualSystem(NET, ("lam",), ()).pack(NET, {}), ValueError, "no value for the unknowns lam"),
        (lambda: ResidualSystem(NET, ("lam",), ()).unpack(np.ones(3)), ValueError, r"this system needs \(11,\)"),
    ],
)
def test_what_does_not_fit_is_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()


def evaluate(equation, net=NET):
    return PointwiseResidual(equation, POINTS, 1).values(net, {})


def jacobian(equation):
    return PointwiseResidual(equation, POINTS, 1).values_and_jacobian(NET, {})
