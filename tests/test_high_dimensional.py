"""The high-dimensional problems: forcings against automatic differentiation and 50 digits, baselines, norms."""

from __future__ import annotations

import math

import mpmath
import numpy as np
import pytest

from ntaylor.problems.high_dimensional import (
    EQUATIONS,
    SOLUTIONS,
    HighDimensional,
    baseline,
    points_in_ball,
    relative_errors,
)

HARDER = [name for name, solution in SOLUTIONS.items() if solution.harder]


def points(count, dimension, seed=0):
    rng = np.random.default_rng(seed)
    return points_in_ball(rng.standard_normal((count, dimension)), rng.random((count, 1)))


def in_mpmath(solution, c, x):
    """u at a list of mpmath numbers, by loops over the definition."""
    d = len(x)
    if solution.startswith("two-body"):
        subtracted = mpmath.sin(1) if solution.endswith("centred") else 0
        s = sum(
            c[i] * (mpmath.sin(x[i] + mpmath.cos(x[i + 1]) + x[i + 1] * mpmath.cos(x[i])) - subtracted)
            for i in range(d - 1)
        )
    elif solution.startswith("three-body"):
        subtracted, factor = (1, d) if solution.endswith("centred") else (0, 1)
        s = sum(c[i] * (mpmath.exp(x[i] * x[i + 1] * x[i + 2]) - subtracted) * factor for i in range(d - 2))
    else:
        s = sum(mpmath.sin(sum(c[i][k] * x[i] for i in range(d))) for k in range(8)) / mpmath.sqrt(8)
    return (1 - sum(t * t for t in x)) * s


@pytest.mark.parametrize("dimension", [5, 20])
@pytest.mark.parametrize("solution", SOLUTIONS)
def test_solution_and_laplacian_are_those_of_fifty_digits(solution, dimension):
    problem = HighDimensional("poisson", solution, dimension, seed=3)
    c, (x,) = problem.coefficients(), points(1, dimension)
    with mpmath.workdps(50):
        exact_c = [[mpmath.mpf(float(v)) for v in row] if c.ndim == 2 else mpmath.mpf(float(row)) for row in c]
        at = [mpmath.mpf(float(v)) for v in x]
        h = mpmath.mpf(10) ** -12  # the difference's error is h², that of rounding 1e-50/h²
        u = in_mpmath(solution, exact_c, at)
        second = mpmath.mpf(0)
        for i in range(dimension):
            ahead, behind = ([*at[:i], at[i] + sign * h, *at[i + 1 :]] for sign in (1, -1))
            second += (in_mpmath(solution, exact_c, ahead) - 2 * u + in_mpmath(solution, exact_c, behind)) / h**2
        u, second = float(u), float(second)
    scale = dimension * float(np.sum(np.abs(c)))
    assert float(problem.exact(x[None], c)[0]) == pytest.approx(u, abs=1e-15 * scale)
    assert float(problem.exact_laplacian(x[None], c)[0]) == pytest.approx(second, abs=1e-14 * scale)


REACTIONS = {"poisson": lambda u: 0 * u, "allen-cahn": lambda u: u - u**3, "sine-gordon": np.sin}


@pytest.mark.parametrize("dimension", [5, 20])
@pytest.mark.parametrize("solution", SOLUTIONS)
@pytest.mark.parametrize("equation", EQUATIONS)
def test_the_forcing_is_that_of_nested_differentiation_in_jax(equation, solution, dimension):
    jax = pytest.importorskip("jax")
    jax.config.update("jax_enable_x64", True)
    problem = HighDimensional(equation, solution, dimension, seed=1)
    c, x = problem.coefficients(), points(4, dimension)

    def u(point):
        return problem.exact(point[None], jax.numpy.asarray(c))[0]

    both = jax.vmap(lambda p: (u(p), jax.numpy.trace(jax.jacrev(jax.grad(u))(p))))
    value, second = jax.jit(both)(x)
    expected = np.asarray(second) + REACTIONS[equation](np.asarray(value))
    np.testing.assert_allclose(problem.forcing(x, c), expected, rtol=1e-12, atol=1e-11)


@pytest.mark.parametrize("dimension", [5, 20])
@pytest.mark.parametrize("solution", SOLUTIONS)
@pytest.mark.parametrize("equation", EQUATIONS)
def test_the_forcing_is_that_of_nested_differentiation_in_torch(equation, solution, dimension):
    torch = pytest.importorskip("torch")
    problem = HighDimensional(equation, solution, dimension, seed=1)
    c, plain = problem.coefficients(), points(4, dimension)
    x = torch.tensor(plain, requires_grad=True)
    u = problem.exact(x, torch.tensor(c))
    (slope,) = torch.autograd.grad(u.sum(), x, create_graph=True)
    second = sum(
        torch.autograd.grad(slope[:, i].sum(), x, retain_graph=True)[0][:, i].numpy() for i in range(dimension)
    )
    expected = second + REACTIONS[equation](u.detach().numpy())
    np.testing.assert_allclose(problem.forcing(plain, c), expected, rtol=1e-12, atol=1e-11)


@pytest.mark.parametrize("solution", SOLUTIONS)
def test_every_library_gives_the_values_of_numpy(xp, solution):
    problem = HighDimensional("allen-cahn", solution, 6, seed=2)
    c, x = problem.coefficients(), points(4, 6)
    with xp.without_compute():
        u, g = problem.exact(xp.array(x), xp.array(c)), problem.forcing(xp.array(x), xp.array(c))
    np.testing.assert_allclose(xp.numpy(u), problem.exact(x, c), rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(xp.numpy(g), problem.forcing(x, c), rtol=1e-12, atol=1e-11)
    rng = np.random.default_rng(0)
    normals, radii = rng.standard_normal((3, 6)), rng.random((3, 1))
    drawn = problem.sample(lambda _: xp.array(normals), lambda _: xp.array(radii), 3)
    np.testing.assert_allclose(xp.numpy(drawn), points_in_ball(normals, radii), rtol=1e-14)


@pytest.mark.parametrize("solution", SOLUTIONS)
def test_the_solution_vanishes_on_the_sphere_and_nowhere_near(solution):
    problem = HighDimensional("poisson", solution, 7)
    normals, c = np.random.default_rng(0).standard_normal((50, 7)), problem.coefficients()
    on_sphere = problem.exact(points_in_ball(normals, np.ones((50, 1))), c)
    inside = problem.exact(points_in_ball(normals, np.full((50, 1), 0.9)), c)
    assert np.max(np.abs(on_sphere)) < 1e-13
    assert np.max(np.abs(inside)) > 1e-3


@pytest.mark.parametrize("solution", HARDER)
def test_the_factor_of_the_harder_solutions_vanishes_at_the_origin(solution):
    problem = HighDimensional("poisson", solution, 7)
    assert abs(float(problem.exact(np.zeros((1, 7)), problem.coefficients())[0])) < 1e-15


def baseline_of(solution, dimension, seed, count):
    problem = HighDimensional("poisson", solution, dimension, seed)
    c, exact, squares = problem.coefficients().astype(np.float32), [], []
    for x in problem.test_points(count, "float32", 2**22):
        exact.append(problem.exact(x, c).astype(float))
        squares.append(np.sum(x * x, axis=-1).astype(float))
    return baseline(np.concatenate(squares), np.concatenate(exact))


@pytest.mark.parametrize(("dimension", "expected"), [(100, 5e-2), (1_000, 2e-2), (10_000, 3e-3), (100_000, 3e-3)])
def test_one_fitted_constant_nearly_solves_the_published_two_body_problem(dimension, expected):
    """The figures at hand are of one seed each; between seeds they differ by a factor of three and more."""
    found = [baseline_of("two-body", dimension, seed, 2_000_000 // max(dimension, 2_000))[0] for seed in range(5)]
    assert expected / 4 < np.median(found) < expected * 4
    assert np.median(found) < 0.1


@pytest.mark.parametrize("dimension", [10, 100, 1_000, 10_000, 100_000])
@pytest.mark.parametrize("solution", HARDER)
def test_no_constant_comes_near_the_harder_solutions_in_any_dimension(solution, dimension):
    for seed in range(2):
        l2, l1 = baseline_of(solution, dimension, seed, 1_000_000 // max(dimension, 5_000))
        assert l2 >= 0.5
        assert l1 >= 0.5


def test_the_baseline_of_a_multiple_of_its_own_shape_is_zero():
    s = np.linspace(0, 0.9, 50)
    assert max(baseline(s, -3.0 * (1 - s))) < 1e-15
    # Orthogonal to the shape: the best constant is 0.
    assert baseline(np.asarray([0.0, 0.0]), np.asarray([1.0, -1.0])) == (1.0, 1.0)


def test_relative_errors_are_norms_over_all_points():
    l2, l1 = relative_errors(np.asarray([3.0, 0.0]), np.asarray([0.0, 4.0]))
    assert l2 == pytest.approx(5 / 4)
    assert l1 == pytest.approx(7 / 4)


def test_test_points_are_fixed_and_their_radii_uniform():
    problem = HighDimensional("poisson", "two-body", 6, seed=4)
    whole = np.concatenate(list(problem.test_points(2_000)))
    cut = np.concatenate(list(problem.test_points(2_000, largest=6 * 37)))
    np.testing.assert_array_equal(whole, cut)
    radii = np.linalg.norm(whole, axis=-1)
    assert radii.max() < 1
    # Kolmogorov's distance, at the level of one in ten thousand.
    assert np.max(np.abs(np.sort(radii) - (np.arange(2_000) + 0.5) / 2_000)) < 2.2 / math.sqrt(2_000)
    assert next(problem.test_points(3, "float32")).dtype == np.float32
    other = next(HighDimensional("poisson", "two-body", 6, seed=5).test_points(3))
    assert np.max(np.abs(other - whole[:3])) > 1e-3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("allen-chan", "two-body", 5), "did you mean 'allen-cahn'"),
        (("poisson", "twobody", 5), "did you mean 'two-body'"),
        (("poisson", "three-body", 2), "three-body needs a dimension >= 3, got 2"),
    ],
)
def test_what_is_not_in_the_table_is_told(arguments, message):
    with pytest.raises(ValueError, match=message):
        HighDimensional(*arguments)
