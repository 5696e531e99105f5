"""The problem itself: its exact solution, and what its diagnosis sees. No training here."""

from __future__ import annotations

import mpmath
import numpy as np
import pytest

import ntaylor as nt
from ntaylor.problems.self_similar_burgers import LIMITS, SelfSimilarBurgers, residual

PROFILES = [SelfSimilarBurgers(k) for k in range(5)]


@pytest.mark.parametrize("problem", PROFILES, ids=lambda p: f"profile{p.profile}")
def test_the_exact_solution_satisfies_its_implicit_equation(problem):
    x = np.concatenate([np.linspace(-2, 2, 401), [1e-9, -1e-9, 1e-300, 0.0]])
    u = problem.exact(x)
    with mpmath.workdps(40):
        for xi, ui in zip(x, u, strict=True):
            y = mpmath.mpf(float(ui))
            left = -y - mpmath.sign(y) * abs(y) ** problem.selecting_order
            # One ulp of U moves X by at most (1 + p) ulp.
            ulp = 2.3e-16 * max(abs(y), 1e-300)
            assert abs(left - mpmath.mpf(float(xi))) <= 4 * (1 + problem.selecting_order) * ulp
    assert problem.exact(np.asarray([-2.0, 2.0])).tolist() == [1.0, -1.0]


@pytest.mark.parametrize("problem", PROFILES, ids=lambda p: f"profile{p.profile}")
def test_the_exact_derivatives_are_those_of_the_inverse_function(problem):
    """At U = y: dX/dU = −(1 + p y^{p−1}); U′ and U″ of an inverse function in closed form."""
    x = np.linspace(-1.9, 1.9, 21)
    c = problem.exact_coefficients(x, 3)
    y, p = c[0], problem.selecting_order
    first = -(1 + p * y ** (p - 1))
    second = -p * (p - 1) * y ** (p - 2)
    np.testing.assert_allclose(c[1], 1 / first, rtol=1e-13)
    np.testing.assert_allclose(2 * c[2], -second / first**3, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("problem", PROFILES, ids=lambda p: f"profile{p.profile}")
def test_the_residual_of_the_exact_solution_vanishes_to_all_orders(problem):
    x, order = np.linspace(-0.5, 0.5, 11), problem.selecting_order + 1
    u = nt.Jet(list(problem.exact_coefficients(x, order)))
    r = residual(nt.Jet([x, np.ones_like(x)], order - 1), u, problem.exact_lambda)
    assert r.order == order - 1
    scale = np.max(np.abs(u.coefficients))
    assert np.max(np.abs(r.coefficients)) < 1e-13 * scale


@pytest.mark.parametrize("problem", PROFILES, ids=lambda p: f"profile{p.profile}")
def test_only_the_selecting_order_identifies_lambda(problem):
    """Equation (7.1): at 0, R^(m) = (λ(m−1) − 1) U^(m) when U′(0) = −1 and nothing is between."""
    m = problem.selecting_order
    at_zero = nt.Jet(list(problem.exact_coefficients(np.zeros(1), m + 1)))
    for lam in (0.2, 0.37):
        r = residual(nt.Jet([np.zeros(1), np.ones(1)], m), at_zero, lam).coefficients[:, 0]
        np.testing.assert_allclose(r[:m], 0, atol=1e-14)
        assert r[m] == pytest.approx((lam * (m - 1) - 1) * at_zero.coefficients[m, 0], rel=1e-12)
    assert problem.exact_lambda == pytest.approx(1 / (m - 1), rel=1e-15)


@pytest.mark.parametrize("problem", PROFILES, ids=lambda p: f"profile{p.profile}")
def test_the_search_starts_in_the_middle_and_not_at_the_answer(problem):
    low, high = problem.interval
    assert problem.middle == (low + high) / 2
    assert low < problem.exact_lambda < high
    assert abs(problem.middle - problem.exact_lambda) > 1e-3 * problem.exact_lambda


def test_the_diagnosis_rejects_a_network_that_is_no_solution():
    problem = SelfSimilarBurgers(1)
    network = nt.MLP.create([1, 8, 8, 1], odd=True, seed=0)
    figures, against = problem.diagnose(network, np.asarray(problem.middle))
    assert set(figures) == set(LIMITS)
    assert any(reason.startswith("residual, max |R|") for reason in against)


def test_the_diagnosis_names_a_lambda_at_its_bound():
    problem = SelfSimilarBurgers(1)
    network = nt.MLP.create([1, 8, 8, 1], odd=True, seed=0)
    _, against = problem.diagnose(network, np.asarray(problem.interval[0]))
    assert any("is at the bound of" in reason for reason in against)
