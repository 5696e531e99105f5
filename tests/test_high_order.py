"""Operators of order four in few dimensions: closed forms against 50 digits and nested differentiation."""

from __future__ import annotations

import mpmath
import numpy as np
import pytest

import ntaylor as nt
from ntaylor.problems.high_order import WAVE_EQUATIONS, Annulus, TanhWave


@pytest.mark.parametrize("name", WAVE_EQUATIONS)
def test_the_waves_solve_their_equations(name):
    equation = WAVE_EQUATIONS[name]()
    x = np.random.default_rng(0).uniform(-0.3, 0.3, (40, len(equation.solution.wave_vector)))
    partials = equation.of_solution(x)
    scale = max(np.max(np.abs(p)) for p in partials.values())
    assert np.max(np.abs(equation.residual(partials))) < 1e-13 * scale

    k, polynomial = equation.solution.wave_vector, equation.solution.polynomial
    faster = TanhWave((*k[:-1], 1.1 * k[-1]), polynomial)
    wrong = equation.residual({alpha: faster.partial(x, alpha) for alpha in equation.indices})
    assert np.max(np.abs(wrong)) > 1e-2


@pytest.mark.parametrize("name", WAVE_EQUATIONS)
def test_partials_are_those_of_fifty_digits(name):
    equation = WAVE_EQUATIONS[name]()
    wave = equation.solution
    x = np.random.default_rng(1).uniform(-0.3, 0.3, len(wave.wave_vector))
    assert max(sum(alpha) for alpha in equation.indices) == 4

    def u(*at):
        t = mpmath.tanh(sum(k * v for k, v in zip(wave.wave_vector, at, strict=True)))
        return sum(a * t**j for j, a in enumerate(wave.polynomial))

    with mpmath.workdps(50):
        for alpha, value in equation.of_solution(x[None]).items():
            expected = float(mpmath.diff(u, tuple(map(float, x)), alpha))
            assert float(value[0]) == pytest.approx(expected, rel=1e-11, abs=1e-11)


def test_every_library_gives_the_values_of_numpy(xp):
    equation = WAVE_EQUATIONS["kdv-2d"]()
    x = np.random.default_rng(0).uniform(-1, 1, (5, 3))
    with xp.without_compute():
        found = equation.of_solution(xp.array(x))
        residual = equation.residual(found)
    assert np.max(np.abs(xp.numpy(residual))) < 1e-13
    for alpha, value in equation.of_solution(x).items():
        np.testing.assert_allclose(xp.numpy(found[alpha]), value, rtol=1e-12, atol=1e-14)
    annulus = Annulus((0.5, -0.3, 0.4))
    for what in ("exact", "exact_laplacian", "exact_biharmonic", "boundary_factor"):
        np.testing.assert_allclose(xp.numpy(getattr(annulus, what)(xp.array(x))), getattr(annulus, what)(x), rtol=1e-12)


@pytest.mark.parametrize("dimension", [1, 2, 3])
def test_the_biharmonic_is_that_of_fifty_digits(dimension):
    rng = np.random.default_rng(dimension)
    w, x = (tuple(map(float, v)) for v in rng.standard_normal((2, dimension)))
    x = tuple(1.5 * v / np.linalg.norm(x) for v in x)

    def u(*at):
        s = sum(v * v for v in at)
        return (1 - s) * (4 - s) * mpmath.exp(sum(k * v for k, v in zip(w, at, strict=True)))

    unit = np.eye(dimension, dtype=int)
    with mpmath.workdps(50):
        second = sum(mpmath.diff(u, x, tuple(map(int, 2 * e))) for e in unit)
        fourth = sum(mpmath.diff(u, x, tuple(map(int, 2 * e + 2 * f))) for e in unit for f in unit)
        value = u(*x)
    at = np.asarray([x])
    assert float(Annulus(w).exact(at)[0]) == pytest.approx(float(value), rel=1e-13)
    assert float(Annulus(w).exact_laplacian(at)[0]) == pytest.approx(float(second), rel=1e-12)
    assert float(Annulus(w).exact_biharmonic(at)[0]) == pytest.approx(float(fourth), rel=1e-12)


def test_the_annulus_is_bounded_by_zeros():
    x = np.asarray([[0.6, 0.8], [1.2, -1.6]])
    assert np.max(np.abs(Annulus((0.5, 0.5)).exact(x))) < 1e-14


@pytest.mark.parametrize("name", WAVE_EQUATIONS)
def test_operators_give_the_waves_partials_and_their_residual(xp, name):
    """All the mixed partials of an equation from one plan, of orders 1 to 4 together, on every library."""
    equation = WAVE_EQUATIONS[name]()
    x = np.random.default_rng(2).uniform(-0.3, 0.3, (6, len(equation.solution.wave_vector)))
    expected = equation.of_solution(x)
    makers = [nt.operators.partial(alpha) for alpha in equation.indices]
    with xp.without_compute():
        found = nt.operators.jointly(makers, equation.solution.exact, xp.array(x))
        partials = dict(zip(equation.indices, found, strict=True))
        residual = equation.residual(partials)
    scale = max(np.max(np.abs(p)) for p in expected.values())
    for alpha, values in partials.items():
        assert (
            np.max(np.abs(xp.numpy(values) - expected[alpha])) < 1e-12 * np.max(np.abs(expected[alpha])) + 1e-14 * scale
        )
    assert np.max(np.abs(xp.numpy(residual))) < 1e-12 * scale


@pytest.mark.parametrize("method", ["plain", "collapsed"])
@pytest.mark.parametrize("dimension", [1, 2, 3, 5])
def test_the_biharmonic_operator_on_the_annulus(xp, dimension, method):
    rng = np.random.default_rng(dimension)
    annulus = Annulus(tuple((0.4 * rng.standard_normal(dimension)).tolist()))
    x = rng.standard_normal((7, dimension))
    x *= rng.uniform(1, 2, (7, 1)) / np.linalg.norm(x, axis=1, keepdims=True)
    with xp.without_compute():
        found = nt.biharmonic(annulus.exact, xp.array(x), method=method)
        first = nt.laplacian(annulus.exact, xp.array(x), method=method)
    expected = annulus.exact_biharmonic(x)
    assert np.max(np.abs(xp.numpy(found) - expected)) < 1e-12 * np.max(np.abs(expected))
    np.testing.assert_allclose(
        xp.numpy(first), annulus.exact_laplacian(x), rtol=0, atol=1e-12 * np.max(np.abs(expected))
    )


def test_a_network_on_the_annulus_is_differentiated_with_its_factor(xp):
    """The hard constraint as one object, and the product written out: two ways to the same biharmonic."""
    net = nt.MLP.create([3, 10, 10, 1], seed=3, xp=xp.namespace, dtype=xp.float64)
    u = nt.operators.HardConstraint(net, nt.operators.Radial(lambda s, _: (1 - s) * (4 - s)))
    x = np.random.default_rng(3).uniform(0.6, 1.1, (5, 3))

    def written_out(x):
        s = (x * x)[..., :1] + (x * x)[..., 1:2] + (x * x)[..., 2:]
        return (1 - s) * (4 - s) * net(x)

    with xp.without_compute():
        found = nt.biharmonic(u, xp.array(x))
        expected = nt.operators.biharmonic()(written_out, xp.array(x), method="plain")
    expected = xp.numpy(expected)
    assert np.max(np.abs(xp.numpy(found) - expected)) < 1e-12 * np.max(np.abs(expected))
