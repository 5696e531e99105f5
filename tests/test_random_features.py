"""Random features and training kernels, against closed forms, mpmath and nested reverse mode."""

from __future__ import annotations

import doctest
import itertools
import math

import mpmath
import numpy as np
import pytest

import ntaylor as nt
from ntaylor import random_features, training_kernels
from ntaylor.collocation import Rows

D, laplacian, identity = nt.operators.D, nt.operators.laplacian, nt.operators.identity


def arrays(features):
    """w (d, h) and b (h,) as NumPy arrays."""
    layer = features.network.layers[0]
    return np.asarray(layer.parameters["weight"]), np.asarray(layer.parameters["bias"])


# --- features ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("dimension", [1, 2, 3])
def test_the_matrix_of_sines_is_the_closed_form(xp, dimension):
    """Δ sin(w·x + b) = −|w|² sin(w·x + b), and ∂_0 is w_0 cos."""
    features = random_features.create(dimension, 7, "sin", scale=2.0, xp=xp.namespace, dtype=xp.float64, seed=3)
    x = np.random.default_rng(0).uniform(-1, 1, (5, dimension))
    rows = [Rows(laplacian(), xp.array(x)), Rows(D(0), xp.array(x), weight=0.5)]
    matrix, right = random_features.system(features, rows)
    plain = random_features.create(dimension, 7, "sin", scale=2.0, seed=3)
    w, b = arrays(plain)
    u = x @ w + b
    expected = np.concatenate([-np.sum(w * w, axis=0) * np.sin(u), 0.5 * w[0] * np.cos(u)])
    np.testing.assert_allclose(xp.numpy(matrix), expected, rtol=1e-12, atol=1e-13)
    np.testing.assert_array_equal(xp.numpy(right), np.zeros(10))


def test_the_sixth_derivative_of_tanh_is_that_of_mpmath():
    features = random_features.create(1, 4, "tanh", scale=3.0, seed=1)
    x = np.asarray([[-0.3], [0.8]])
    matrix, _ = random_features.system(features, [Rows(D(0, 0, 0, 0, 0, 0), x)])
    w, b = arrays(features)
    with mpmath.workdps(40):
        for i, j in itertools.product(range(2), range(4)):
            u, expected = mpmath.mpf(w[0, j]) * mpmath.mpf(x[i, 0]) + mpmath.mpf(b[j]), None
            expected = mpmath.diff(mpmath.tanh, u, 6) * mpmath.mpf(w[0, j]) ** 6
            assert matrix[i, j] == pytest.approx(float(expected), rel=1e-10)


def test_laws_are_what_they_say_and_seeds_repeat():
    uniform = arrays(random_features.create(2, 4000, law="uniform", scale=3.0, bias_scale=0.5, seed=0))
    assert np.abs(uniform[0]).max() <= 3.0 < np.abs(uniform[0]).max() + 0.01
    assert np.abs(uniform[1]).max() <= 0.5
    normal = arrays(random_features.create(2, 4000, law="normal", scale=3.0, seed=0))
    assert np.std(normal[0]) == pytest.approx(3.0, rel=0.05)
    again = arrays(random_features.create(2, 4000, law="normal", scale=3.0, seed=0))
    np.testing.assert_array_equal(normal[0], again[0])
    own = random_features.create(1, 3, law=lambda _: (np.asarray([[1.0, 2.0, 3.0]]), np.zeros(3)))
    np.testing.assert_array_equal(own(np.asarray([[2.0]])), np.tanh([[2.0, 4.0, 6.0]]))


# --- fits --------------------------------------------------------------------------------------------


def poisson(xp, dimension, count=12):
    """Rows of Δu = f with u = Π sin πx_i on [−1, 1]^d, and u itself as a function of points of NumPy."""

    def solution(x):
        return np.prod(np.sin(np.pi * x), axis=-1)

    line = np.linspace(-1, 1, count)
    grid = np.stack([g.ravel() for g in np.meshgrid(*[line] * dimension, indexing="ij")], axis=-1)
    edge = np.any(np.abs(grid) == 1, axis=-1)
    right = -dimension * np.pi**2 * solution(grid[~edge])
    rows = [Rows(laplacian(), xp.array(grid[~edge]), xp.array(right)), Rows(identity(), xp.array(grid[edge]))]
    return rows, solution, grid


@pytest.mark.parametrize(("dimension", "count", "features", "limit"), [(1, 40, 80, 1e-5), (2, 20, 200, 1e-3)])
def test_poisson_is_solved_and_the_network_is_the_solution(xp, dimension, count, features, limit):
    if xp.name == "dask":
        pytest.skip("Dask decomposes tall matrices of few chunks only")
    rows, solution, grid = poisson(xp, dimension, count)
    model = random_features.create(dimension, features, scale=4 / dimension, xp=xp.namespace, dtype=xp.float64, seed=0)
    if xp.name == "array_api_strict":  # without extensions, as the fixture sets it
        with pytest.raises(TypeError, match="no linear algebra"):
            random_features.solve(model, rows)
        return
    fit = random_features.solve(model, rows, cutoff=1e-12)
    found, exact = xp.numpy(fit.network(xp.array(grid)))[:, 0], solution(grid)
    assert np.linalg.norm(found - exact) < limit * np.linalg.norm(exact)
    assert fit.residual < limit
    assert fit.residual_of(rows) == pytest.approx(fit.residual, rel=1e-3, abs=1e-12)
    s = xp.numpy(fit.singular_values)
    assert fit.rank == np.sum(s > 1e-12 * s[0])
    assert fit.condition == pytest.approx(s[0] / s[fit.rank - 1])
    second, right = (xp.numpy(a) for a in (nt.laplacian(fit.network, rows[0].points)[:, 0], rows[0].values))
    assert np.linalg.norm(second - right) < limit * np.linalg.norm(right)


def test_the_fit_is_the_least_squares_solution_of_least_norm():
    """NumPy's own lstsq with the same rcond, on a system that the cut-off truncates."""
    x, ends = np.linspace(-1, 1, 30)[:, None], np.asarray([[-1.0], [1.0]])
    rows = [Rows(D(0, 0), x, lambda x: np.exp(x[:, 0])), Rows(identity(), ends)]
    features = random_features.create(1, 40, scale=2.0, seed=1)
    for cutoff, fit in zip((1e-9, 1e-5), random_features.solve_at(features, rows, (1e-9, 1e-5)), strict=True):
        matrix, right = random_features.system(features, rows)
        expected, _, rank, _ = np.linalg.lstsq(matrix, right, rcond=cutoff)
        assert fit.rank == rank < 40
        np.testing.assert_allclose(fit.coefficients, expected, rtol=1e-4)
        assert fit.residual == pytest.approx(
            np.linalg.norm(matrix @ expected - right) / np.linalg.norm(right), rel=1e-5
        )


@pytest.mark.parametrize(("order", "steps"), [(2, (0.1, 0.05, 0.025)), (4, (0.2, 0.1, 0.05))])
@pytest.mark.parametrize("dimension", [1, 2])
def test_the_matrix_by_differences_converges_with_the_square_of_the_step_until_rounding(order, steps, dimension):
    """‖A_FD − A‖ falls as h² while truncation rules, and grows as eps/h^n where rounding does."""
    features = random_features.create(dimension, 20, "tanh", scale=1.0, seed=2)
    x = np.random.default_rng(1).uniform(-1, 1, (15, dimension))
    rows = Rows(nt.operators.polyharmonic(order // 2), x)
    exact = rows.apply(features)

    def off(step):
        return np.linalg.norm(rows.by("fd", step=step).apply(features) - exact)

    errors = [off(h) for h in steps]
    for coarse, fine in itertools.pairwise(errors):
        assert coarse / fine == pytest.approx(4.0, rel=0.1)
    # Of both parts, 2^-10 and 2^-11 of a fourth derivative are rounding alone: 16 times as much at half the step.
    fine = {2: (2.0**-18, 2.0**-19), 4: (2.0**-10, 2.0**-11)}[order]
    assert off(fine[1]) / off(fine[0]) == pytest.approx(2.0**order, rel=0.5)
    assert off(fine[0]) > 1e-16 / fine[0] ** order


def test_an_activation_that_is_too_rough_has_a_matrix_of_zeros():
    features = random_features.create(1, 10, nt.activations.relu_power(3), seed=0)
    rows = [Rows(D(0, 0, 0, 0), np.linspace(-1, 1, 9)[:, None], 1.0)]
    with pytest.raises(ValueError, match="smoother activation"):
        random_features.solve(features, rows)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: random_features.create(0, 3), ValueError, "dimension"),
        (lambda: random_features.create(1, 2.5), TypeError, "count"),
        (lambda: random_features.create(1, 3, law="cauchy"), ValueError, "uniform, normal"),
        (lambda: random_features.create(1, 3, law=3), TypeError, "function"),
        (lambda: random_features.create(1, 3, law=lambda rng: rng), TypeError, r"\(w, b\)"),
        (lambda: random_features.create(1, 3, law=lambda _: (np.ones((3, 1)), np.ones(3))), ValueError, "shape"),
        (lambda: random_features.create(1, 3, scale=0.0), ValueError, "scale"),
        (lambda: random_features.create(1, 3, scale="1"), TypeError, "scale must be a finite number"),
        (lambda: random_features.create(1, 3, "tahn"), ValueError, "did you mean"),
        (lambda: Rows(D(0), np.ones((2, 1)), weight=0), ValueError, "weight of Rows is a finite number > 0"),
        (lambda: Rows(D(0), np.ones((2, 1)), weight=math.nan), ValueError, "weight of Rows is a finite number > 0"),
        (lambda: Rows(D(0), np.ones((2, 1)), np.ones(2) * 1j), TypeError, "real numbers"),
        (lambda: training_kernels.residuals([], np.sin), TypeError, "list of Rows"),
        (
            lambda: training_kernels.residuals_and_jacobian(Rows(D(0), np.ones((2, 1))), nt.MLP.create([1, 2, 1])),
            TypeError,
            "list of Rows",
        ),
        (
            lambda: random_features.solve(random_features.create(1, 3), [Rows(D(0), np.ones((2, 1)), math.nan)]),
            ValueError,
            "right-hand side",
        ),
        (
            lambda: random_features.solve(random_features.create(1, 3), [Rows(D(0), np.ones((0, 1)))]),
            ValueError,
            "no points",
        ),
        (lambda: Rows(3, np.ones((2, 1))), TypeError, "operator"),
        (lambda: Rows(D(0), np.ones(2)), ValueError, "reshape"),
        (lambda: Rows(D(0), np.ones((2, 1)), np.ones(3)), ValueError, "one number a row"),
        (lambda: Rows(D(0), np.ones((2, 1)), "f"), TypeError, "number or an array"),
        (lambda: random_features.system(random_features.create(1, 3), []), TypeError, "list of Rows"),
        (
            lambda: random_features.system(random_features.create(2, 3), [Rows(D(0), np.ones((2, 1)))]),
            ValueError,
            "2 inputs",
        ),
        (
            lambda: random_features.solve(random_features.create(1, 3), [Rows(D(0), np.ones((2, 1)))], cutoff=1.0),
            ValueError,
            "cut-off",
        ),
        (lambda: random_features.create(1, 3).model(np.ones(4)), ValueError, "3 features"),
    ],
)
def test_bad_input_is_told(call, error, message):
    with pytest.raises(error, match=message):
        call()


# --- kernels -----------------------------------------------------------------------------------------

OPERATORS = {
    "Poisson": laplacian(),
    "biharmonic": nt.operators.biharmonic(),
    "mixed, with coefficients": (lambda x: 1 + x[:, 0]) * D(0, 1) + 3 * D(1) - identity(),
    "a form": nt.operators.weighted_laplacian([[2.0, 0.5], [0.5, -1.0]]) + D(0, 0, 1),
}


TWO, THREE = [2, 6, 1], [2, 5, 4, 1]


@pytest.mark.parametrize(
    ("name", "widths"),
    [("Poisson", TWO), ("biharmonic", THREE), ("mixed, with coefficients", THREE), ("a form", TWO)],
)
def test_the_jacobian_is_that_of_the_residual_row_by_row(xp, name, widths):
    """Against central differences of the residual by every parameter, which know no adjoint."""
    points = np.random.default_rng(0).uniform(-1, 1, (4, 2))
    net = xp.network(widths, seed=2)
    rows = [Rows(OPERATORS[name], xp.array(points), 0.5, weight=2.0)]
    r, jacobian = training_kernels.residuals_and_jacobian(rows, net)
    plain = nt.MLP.create(widths, seed=2)
    plain_rows = Rows(OPERATORS[name], points, 0.5, weight=2.0)
    theta = np.concatenate([p.ravel() for p in plain.parameters.values()])

    def residual(theta):
        parameters, begin = {}, 0
        for key, p in plain.parameters.items():
            parameters[key] = theta[begin : begin + p.size].reshape(p.shape)
            begin += p.size
        return plain_rows.residual(plain.replace(parameters))

    h = 1e-3
    weights = {-2: 1 / 12, -1: -2 / 3, 1: 2 / 3, 2: -1 / 12}
    columns = [sum(w * residual(theta + s * h * unit) for s, w in weights.items()) / h for unit in np.eye(len(theta))]
    expected = np.stack(columns, axis=1)
    np.testing.assert_allclose(xp.numpy(r), residual(theta), rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(xp.numpy(jacobian), expected, rtol=1e-6, atol=1e-8 * np.abs(expected).max())


@pytest.mark.parametrize(
    ("operator", "method", "options"),
    [
        (nt.operators.biharmonic(), "auto", {}),
        (nt.operators.biharmonic(), "fd", {"step": 0.05, "accuracy": 4}),
        (laplacian() + D(0), "fd", {"step": (0.05, 0.1), "side": "forward", "max_directions": 2}),
        (OPERATORS["mixed, with coefficients"], "fd", {"step": 0.1}),
    ],
    ids=["jets", "one stencil", "in parts", "functions of x"],
)
def test_the_gradient_is_the_jacobian_times_the_residual(xp, operator, method, options):
    x = xp.array(np.random.default_rng(0).uniform(-1, 1, (6, 2)))
    rows = [Rows(operator, x, 1.0).by(method, **options), Rows(identity(), x, weight=3.0)]
    net = xp.network([2, 6, 1], seed=1)
    r, jacobian = training_kernels.residuals_and_jacobian(rows, net)
    again, gradient = training_kernels.residuals_and_gradient(rows, net)
    np.testing.assert_allclose(xp.numpy(again), xp.numpy(r), rtol=1e-9, atol=1e-9)
    joined = np.concatenate([xp.numpy(gradient[name]).ravel() for name in net.parameters])
    expected = xp.numpy(r) @ xp.numpy(jacobian)
    np.testing.assert_allclose(joined, expected, rtol=1e-8, atol=1e-9 * np.abs(expected).max())


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_chosen_step_is_that_of_the_dtype_in_all_that_is_computed(dtype):
    """The residual with the gradient is that of the operator itself, whose step depends on the dtype of the points."""
    x = np.random.default_rng(0).uniform(-1, 1, (6, 1)).astype(dtype)
    rows = Rows(nt.operators.biharmonic(), x).by("fd")
    net = nt.MLP.create([1, 6, 1], dtype=np.dtype(dtype), seed=1)
    r, gradient = rows.residual_and_gradient(net)
    eps = np.finfo(dtype).eps
    step = float(nt.finite_differences.step_for(4, dtype=dtype))
    rounding = 100 * eps / step**4
    assert np.abs(r - rows.residual(net)).max() < rounding
    exact = Rows(nt.operators.biharmonic(), x.astype(np.float64)).residual(
        net.replace({k: p.astype(np.float64) for k, p in net.parameters.items()})
    )
    assert np.abs(r - exact).max() < rounding + 10 * step**2
    assert all(g.dtype == x.dtype for g in gradient.values())


def test_the_jacobian_is_that_of_nested_reverse_mode():
    torch = pytest.importorskip("torch")
    net = nt.MLP.create([2, 5, 1], xp=torch, dtype=torch.float64, seed=4)
    x = torch.tensor(np.random.default_rng(2).uniform(-1, 1, (3, 2)))
    _, jacobian = Rows(laplacian(), x).residual_and_jacobian(net)
    parameters = {name: p.clone().requires_grad_() for name, p in net.parameters.items()}
    point = x.clone().requires_grad_()
    w, b, v, c = parameters.values()
    u = (torch.tanh(point @ w + b) @ v + c).sum()
    (g,) = torch.autograd.grad(u, point, create_graph=True)
    second = sum(torch.autograd.grad(g[:, i].sum(), point, create_graph=True)[0][:, i] for i in range(2))
    for i in range(3):
        rows = torch.autograd.grad(second[i], list(parameters.values()), retain_graph=True, allow_unused=True)
        flat = [
            (torch.zeros_like(p) if g is None else g).ravel() for p, g in zip(parameters.values(), rows, strict=True)
        ]
        np.testing.assert_allclose(jacobian[i].numpy(), torch.cat(flat).numpy(), rtol=1e-10, atol=1e-12)


def test_the_kernel_rules_the_first_step_of_gradient_descent():
    """r(θ − η Jᵀr) = r − η G r + O(η²)."""
    x = np.linspace(-1, 1, 9)[:, None]
    rows = [Rows(D(0, 0), x, lambda x: np.sin(x[:, 0]))]
    net = nt.MLP.create([1, 12, 1], seed=0)
    r, jacobian = training_kernels.residuals_and_jacobian(rows, net)
    kernel = training_kernels.kernel(jacobian)
    np.testing.assert_allclose(
        training_kernels.eigenvalues(jacobian), np.linalg.eigvalsh(kernel)[::-1], atol=1e-12 * np.trace(kernel)
    )
    off = []
    for rate in (1e-2, 5e-3):
        _, gradient = training_kernels.residuals_and_gradient(rows, net)
        stepped = net.replace({name: p - rate * gradient[name] for name, p in net.parameters.items()})
        off.append(np.linalg.norm(rows[0].residual(stepped) - (r - rate * kernel @ r)))
    assert off[0] / off[1] == pytest.approx(4.0, rel=0.1)


def test_kernels_over_training_are_those_of_the_networks_on_the_way():
    x = np.linspace(-1, 1, 9)[:, None]
    rows = [Rows(D(0, 0), x)]
    nets = [nt.MLP.create([1, 6, 1], seed=seed) for seed in (0, 1)]
    seen = []
    found = training_kernels.over_training(rows, nets, each=lambda i, values: seen.append((i, values[0])))
    assert found.shape == (2, 9)
    expected = training_kernels.eigenvalues(training_kernels.residuals_and_jacobian(rows, nets[1])[1])
    np.testing.assert_array_equal(found[1], expected)
    assert [i for i, _ in seen] == [0, 1]
    with pytest.raises(ValueError, match="no networks"):
        training_kernels.over_training(rows, [])


def test_values_and_weights_take_the_dtype_of_the_points(xp):
    points = xp.array(np.linspace(-1, 1, 3)[:, None], np.float32)
    for values in (np.float64(2.0), 2, xp.array(np.full(3, 2.0)), xp.array(np.full(3, 2), np.int64)):
        rows = Rows(D(0), points, values, weight=np.int64(3))
        found = rows.residual(lambda x: x[:, 0])
        assert found.dtype == points.dtype
        np.testing.assert_allclose(xp.numpy(found), -3.0)


def test_what_is_no_network_or_no_jacobian_is_told():
    rows = Rows(D(0, 0), np.linspace(-1, 1, 3)[:, None])
    with pytest.raises(TypeError, match=r"nt\.MLP"):
        rows.residual_and_jacobian(np.sin)
    with pytest.raises(ValueError, match="one output"):
        rows.residual_and_jacobian(nt.MLP.create([1, 3, 2]))
    with pytest.raises(ValueError, match="rows, parameters"):
        training_kernels.kernel(np.ones(3))


def test_the_examples_run():
    assert doctest.testmod(random_features).failed == 0
    assert doctest.testmod(training_kernels).failed == 0
