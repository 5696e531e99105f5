"""Levenberg–Marquardt on problems whose solutions are known in closed form."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import scipy.linalg
import scipy.optimize

from ntaylor.least_squares import Settings, State, levenberg_marquardt


class Rosenbrock:
    """r = (10 (y − x²), 1 − x): the curved valley, zero at (1, 1)."""

    def residual(self, theta):
        return np.asarray([10 * (theta[1] - theta[0] ** 2), 1 - theta[0]])

    def residual_and_jacobian(self, theta):
        return self.residual(theta), np.asarray([[-20 * theta[0], 10.0], [-1.0, 0.0]])


class Linear:
    def __init__(self, matrix, target):
        self.matrix, self.target = matrix, target

    def residual(self, theta):
        return self.matrix @ theta - self.target

    def residual_and_jacobian(self, theta):
        return self.residual(theta), self.matrix


def run(system, theta, settings, **state):
    return list(levenberg_marquardt(system, State(np.asarray(theta, dtype=float), **state), settings))


@pytest.mark.parametrize("acceleration", [False, True])
def test_the_curved_valley_is_followed_to_its_end(acceleration):
    states = run(Rosenbrock(), [-1.2, 1.0], Settings(steps=100, tolerance=1e-28, acceleration=acceleration))
    assert states[-1].finished == "tolerance"
    np.testing.assert_allclose(states[-1].theta, [1, 1], rtol=1e-12)


def test_the_cost_falls_at_every_step_and_is_that_of_theta():
    states = run(Rosenbrock(), [-1.2, 1.0], Settings(steps=30, tolerance=1e-28))
    costs = [s.cost for s in states]
    assert all(b < a for a, b in itertools.pairwise(costs))
    for s in states:
        r = Rosenbrock().residual(s.theta)
        assert s.cost == pytest.approx(r @ r, rel=1e-12)


def test_a_linear_problem_is_solved_as_scipy_solves_it():
    rng = np.random.default_rng(0)
    matrix, target = rng.standard_normal((30, 7)), rng.standard_normal(30)
    states = run(Linear(matrix, target), np.zeros(7), Settings(steps=50, stall=1e-14), damping=1e-8)
    np.testing.assert_allclose(states[-1].theta, scipy.linalg.lstsq(matrix, target)[0], rtol=1e-9)


def test_a_nearly_singular_jacobian_keeps_the_digits_that_normal_equations_lose():
    # Singular values 1 and 1e-9: JᵀJ would hold 1 and 1e-18, below the rounding unit.
    matrix = np.asarray([[1.0, 1.0], [1.0, 1.0 + 2e-9]])
    theta = np.asarray([3.0, -2.0])
    states = run(Linear(matrix, matrix @ theta), np.zeros(2), Settings(steps=20, acceleration=False), damping=1e-22)
    np.testing.assert_allclose(states[-1].theta, theta, rtol=1e-6)


def test_held_entries_do_not_move():
    states = run(Rosenbrock(), [-1.2, 1.0], Settings(steps=20, held=[True, False]))
    assert all(s.theta[0] == -1.2 for s in states)
    assert states[-1].theta[1] == pytest.approx(1.44, rel=1e-9)  # the bottom of the valley at x = −1.2


def test_bounds_are_kept():
    states = run(Rosenbrock(), [-1.2, 1.0], Settings(steps=60, upper=np.asarray([0.5, np.inf])))
    assert max(s.theta[0] for s in states) <= 0.5
    np.testing.assert_allclose(states[-1].theta, [0.5, 0.25], atol=1e-6)


def test_scaling_a_column_to_almost_nothing_leaves_its_entry_where_it_is():
    states = run(Rosenbrock(), [-1.2, 1.0], Settings(steps=1, scale=[1e-9, 1.0]), damping=1e-3)
    assert abs(states[-1].theta[0] + 1.2) < 1e-12
    assert states[-1].cost < 6


@pytest.mark.parametrize("cut", [1, 4, 9])
def test_going_on_from_any_state_gives_the_states_that_would_have_followed(cut):
    settings = Settings(steps=14, tolerance=1e-28)
    whole = run(Rosenbrock(), [-1.2, 1.0], settings)
    rest = list(levenberg_marquardt(Rosenbrock(), whole[cut - 1], settings))
    assert len(rest) == len(whole) - cut
    for a, b in zip(whole[cut:], rest, strict=True):
        assert a.theta.tobytes() == b.theta.tobytes()
        assert (a.cost, a.damping, a.step, a.slow, a.finished) == (b.cost, b.damping, b.step, b.slow, b.finished)


def test_every_way_to_end_is_named():
    line = Linear(np.eye(2), np.ones(2))
    assert run(Rosenbrock(), [-1.2, 1.0], Settings(steps=3))[-1].finished == "steps"
    assert run(Rosenbrock(), [-1.2, 1.0], Settings(steps=99, tolerance=1e-3))[-1].finished == "tolerance"
    assert run(line, [1.0, 1.0], Settings(steps=9))[-1].finished == "no decrease"
    inconsistent = Linear(np.asarray([[1.0], [1.0]]), np.asarray([0.0, 1.0]))
    assert run(inconsistent, [5.0], Settings(steps=99, stall=0.5))[-1].finished in {"stalled", "no decrease"}
    assert run(line, [1.0, 1.0], Settings(steps=9), finished="steps") == []


def test_a_step_to_where_the_residual_is_not_a_number_is_refused():
    class Root:
        """r = √x − 2 from far: an undamped step from x = 0.01 overshoots into x < 0 for some dampings."""

        def residual(self, theta):
            with np.errstate(invalid="ignore"):
                return np.log(theta) + theta - 1

        def residual_and_jacobian(self, theta):
            return self.residual(theta), np.asarray([[1 / theta[0] + 1]])

    states = run(Root(), [8.0], Settings(steps=50, tolerance=1e-28))
    assert np.isfinite(states[-1].cost)
    assert states[-1].theta[0] == pytest.approx(1, rel=1e-12)


def test_it_agrees_with_scipys_own_on_a_fit():
    t = np.linspace(0, 3, 40)
    data = 2.5 * np.exp(-1.3 * t) + 0.01 * np.sin(40 * t)

    class Fit:
        def residual(self, p):
            return p[0] * np.exp(-p[1] * t) - data

        def residual_and_jacobian(self, p):
            e = np.exp(-p[1] * t)
            return self.residual(p), np.stack([e, -p[0] * t * e], axis=1)

    ours = run(Fit(), [1.0, 1.0], Settings(steps=50, stall=1e-15))[-1].theta
    theirs = scipy.optimize.least_squares(Fit().residual, [1.0, 1.0], method="lm", xtol=1e-14, ftol=1e-14).x
    np.testing.assert_allclose(ours, theirs, rtol=1e-6)
