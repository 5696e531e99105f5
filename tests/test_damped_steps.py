"""The damped step by every way, against the normal equations in 50 digits."""

from __future__ import annotations

import mpmath
import numpy as np
import pytest

from ntaylor.damped_steps import SOLVERS, damped_steps
from ntaylor.least_squares import Settings, State, levenberg_marquardt


def exact(jacobian, r, damping):
    """(JᵀJ + λI)⁻¹ Jᵀ r in 50 digits."""
    with mpmath.workdps(50):
        j, right = mpmath.matrix(jacobian.tolist()), mpmath.matrix(r.tolist())
        found = mpmath.lu_solve(j.T * j + mpmath.mpf(damping) * mpmath.eye(jacobian.shape[1]), j.T * right)
        return np.asarray([float(v) for v in found])


@pytest.fixture
def space(xp):
    if xp.name not in ("numpy", "torch", "jax"):
        pytest.skip("libraries with linear algebra")
    return xp


@pytest.mark.parametrize("solver", ["svd", "qr", "cholesky", "auto"])
@pytest.mark.parametrize("shape", [(9, 5), (5, 5), (4, 6)])
def test_every_way_gives_the_same_step(space, solver, shape):
    rng = np.random.default_rng(1)
    jacobian, r = rng.standard_normal(shape), rng.standard_normal(shape[0])
    steps = damped_steps(space.array(jacobian), solver, [1e-3, 0.5])
    for damping in (1e-3, 0.5, 1e-3):
        found = space.numpy(steps.solve(space.array(r), damping))
        np.testing.assert_allclose(found, exact(jacobian, r, damping), rtol=1e-10, atol=1e-14)
    assert steps.method == ("cholesky" if solver == "auto" else solver)


@pytest.mark.parametrize("solver", ["svd", "qr", "auto"])
def test_small_singular_values_keep_their_digits(space, solver):
    """Singular values to 1e-10: squared they are lost. The normal equations in double precision are wrong here."""
    rng = np.random.default_rng(2)
    left, right = (np.linalg.qr(rng.standard_normal((n, 6)))[0] for n in (12, 6))
    jacobian = left @ np.diag(10.0 ** -np.arange(0.0, 12.0, 2.0)) @ right.T
    r = jacobian @ rng.standard_normal(6)
    steps = damped_steps(space.array(jacobian), solver, [1e-17])
    assert steps.method != "cholesky"
    expected = exact(jacobian, r, 1e-17)
    np.testing.assert_allclose(space.numpy(steps.solve(space.array(r), 1e-17)), expected, rtol=1e-4)
    wrong = np.linalg.solve(jacobian.T @ jacobian + 1e-17 * np.eye(6), jacobian.T @ r)
    assert np.abs(wrong - expected).max() > 1e-3 * np.abs(expected).max()


def test_auto_changes_its_way_where_rounding_would_tell():
    rng = np.random.default_rng(3)
    jacobian = rng.standard_normal((8, 4))
    size = float(np.sum(jacobian * jacobian))
    epsilon = float(np.finfo(float).eps)
    assert damped_steps(jacobian, "auto", [1.0, 1.1e3 * epsilon * size]).method == "cholesky"
    assert damped_steps(jacobian, "auto", [1.0, 0.9e3 * epsilon * size]).method == "qr"


class _Fit:
    """Two exponentials on data they made: zero residual at (2, −1, 1, −3)."""

    def __init__(self, space):
        self.xp, self.t = space.namespace, space.array(np.linspace(0, 2, 30))
        self.data = self._value(space.array([2.0, -1.0, 1.0, -3.0]))

    def _value(self, p):
        return p[0] * self.xp.exp(p[1] * self.t) + p[2] * self.xp.exp(p[3] * self.t)

    def residual(self, p):
        return self._value(p) - self.data

    def residual_and_jacobian(self, p):
        first, second = self.xp.exp(p[1] * self.t), self.xp.exp(p[3] * self.t)
        columns = [first, p[0] * self.t * first, second, p[2] * self.t * second]
        return self.residual(p), self.xp.stack(columns, 1)


@pytest.mark.parametrize("solver", SOLVERS)
def test_levenberg_marquardt_on_every_library(space, solver):
    start = State(space.array([1.0, -0.5, 0.5, -2.0]))
    states = list(levenberg_marquardt(_Fit(space), start, Settings(steps=80, tolerance=1e-24, solver=solver)))
    assert states[-1].finished == "tolerance"
    np.testing.assert_allclose(space.numpy(states[-1].theta), [2, -1, 1, -3], rtol=1e-6)


def test_bounds_and_held_entries_on_every_library(space):
    settings = Settings(steps=20, held=[False, True, False, False], upper=np.asarray([1.5, 9, 9, 9.0]), solver="auto")
    states = list(levenberg_marquardt(_Fit(space), State(space.array([1.0, -1.0, 0.5, -2.0])), settings))
    theta = np.asarray([space.numpy(s.theta) for s in states])
    assert (theta[:, 1] == -1).all()
    assert (theta[:, 0] <= 1.5).all()
    assert theta[-1, 0] == 1.5
    assert states[-1].cost < states[0].cost


def test_unknown_solvers_are_refused():
    with pytest.raises(ValueError, match="no solver is called 'choleski'"):
        next(levenberg_marquardt(None, State(np.ones(2)), Settings(steps=1, solver="choleski")))
