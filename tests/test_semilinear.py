"""The semilinear parabolic problems: initial values, points, and how little there is to learn."""

from __future__ import annotations

import math

import mpmath
import numpy as np
import pytest

from ntaylor.problems.semilinear import SEMILINEAR, Semilinear


@pytest.mark.parametrize("dimension", [1, 5, 20])
def test_the_laplacian_of_the_initial_value_is_that_of_fifty_digits(dimension):
    problem = Semilinear("heat", dimension)
    x = np.random.default_rng(0).standard_normal(dimension)
    with mpmath.workdps(50):
        at, h = [mpmath.mpf(float(v)) for v in x], mpmath.mpf(10) ** -12

        def g(moved):
            return 5 / (10 + 2 * sum(v * v for v in moved))

        second = sum(
            (g([*at[:i], at[i] + h, *at[i + 1 :]]) - 2 * g(at) + g([*at[:i], at[i] - h, *at[i + 1 :]])) / h**2
            for i in range(dimension)
        )
        value, second = float(g(at)), float(second)
    assert float(problem.initial(x[None])[0]) == pytest.approx(value, rel=1e-14)
    assert float(problem.initial_laplacian(x[None])[0]) == pytest.approx(second, rel=1e-12)


@pytest.mark.parametrize("equation", SEMILINEAR)
def test_every_library_gives_the_values_of_numpy(xp, equation):
    problem = Semilinear(equation, 4)
    rng = np.random.default_rng(0)
    x, normals, uniforms = rng.standard_normal((5, 4)), rng.standard_normal((6, 4)), rng.random((6, 1))

    def draws(make):
        return (lambda _: make(normals), lambda _: make(uniforms), 6)

    with xp.without_compute():
        found = [problem.initial(xp.array(x)), problem.reaction(xp.array(x)), problem.sample(*draws(xp.array))]
        found.append(problem.sample_initial(lambda _: xp.array(normals), 6))
        if problem.smooth:
            found.append(problem.initial_laplacian(xp.array(x)))
    expected = [problem.initial(x), problem.reaction(x), problem.sample(*draws(np.asarray))]
    expected += [problem.sample_initial(lambda _: normals, 6)]
    expected += [problem.initial_laplacian(x)] if problem.smooth else []
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(xp.numpy(a), b, rtol=1e-13, atol=1e-15)


def test_points_spread_as_the_diffusion_back_from_the_wanted_one_does():
    rng = np.random.default_rng(0)
    drawn = Semilinear("heat", 3).sample(rng.standard_normal, rng.random, 40_000)
    t, x = drawn[:, 0], drawn[:, 1:]
    assert 0 <= t.min() < 1e-3
    assert 0.299 < t.max() <= 0.3
    late = t > 0.15
    for part in (late, ~late):
        # The variance at t is 2(0.3 − t); 4 standard errors of a mean of squares.
        expected, count = np.mean(2 * (0.3 - t[part])), 3 * np.sum(part)
        assert np.mean(x[part] ** 2) == pytest.approx(expected, rel=4 * 2 / math.sqrt(count))


@pytest.mark.parametrize("dimension", [1, 10, 1_000])
@pytest.mark.parametrize("equation", SEMILINEAR)
def test_the_mean_initial_value_is_that_of_random_points(equation, dimension):
    problem = Semilinear(equation, dimension)
    drawn = math.sqrt(0.6) * np.random.default_rng(0).standard_normal((20_000, dimension))
    g = problem.initial(drawn)
    assert problem._mean_initial() == pytest.approx(np.mean(g), abs=5 * np.std(g) / math.sqrt(20_000) + 1e-4)


@pytest.mark.parametrize(("equation", "closeness"), [("heat", 1e-3), ("sine-gordon", 1e-3), ("allen-cahn", 1e-2)])
def test_one_number_with_nothing_learnt_is_already_close_to_the_published_values(equation, closeness):
    """So these problems tell methods apart only below such an error."""
    for dimension, value in SEMILINEAR[equation].published.items():
        problem = Semilinear(equation, dimension)
        assert problem.published == value
        assert problem.baseline() == pytest.approx(value, rel=closeness)
    assert Semilinear(equation, 11).published is None


def test_a_kink_has_no_laplacian_and_unknown_names_are_told():
    with pytest.raises(ValueError, match="use --initial soft"):
        Semilinear("allen-cahn", 3).initial_laplacian(np.zeros((1, 3)))
    with pytest.raises(ValueError, match="did you mean 'heat'"):
        Semilinear("heet", 3)
    with pytest.raises(ValueError, match="must be >= 1"):
        Semilinear("heat", 0)
