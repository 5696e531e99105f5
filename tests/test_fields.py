"""The residual language, against closed forms, mpmath and nested reverse mode, on every library."""

# ruff: noqa: ARG005 equations have one signature

from __future__ import annotations

import warnings

import mpmath
import numpy as np
import pytest

import ntaylor as nt
from ntaylor import fields
from ntaylor.namespace import array_namespace

RNG = np.random.default_rng(7)
POINTS = RNG.uniform(-1, 1, (6, 2))
SECOND_IN_X = nt.operators.D(0, 0)


def close(got, expected, tolerance=1e-12):
    got, expected = np.asarray(got), np.asarray(expected)
    assert got.shape == expected.shape, (got.shape, expected.shape)
    np.testing.assert_allclose(got, expected, rtol=0, atol=tolerance * (1 + np.max(np.abs(expected), initial=0)))


def soliton(p):
    """u = ½ sech²((x − t)/2), which solves u_t + 6 u u_x + u_xxx = 0."""
    xp = array_namespace(p)
    return 0.5 / xp.cosh(0.5 * (p[..., 0] - p[..., 1])) ** 2


def kdv(u, x, t):
    return u.t + 6 * u * u.x + u.xxx


def wave(p):
    """u = x³ t² + sin(x t), and v = exp(x − 2 t)."""
    xp = array_namespace(p)
    x, t = p[..., 0], p[..., 1]
    return xp.stack([x**3 * t**2 + xp.sin(x * t), xp.exp(x - 2 * t)], axis=-1)


def first(p):
    return wave(p)[..., 0]


class Counted:
    """A function that counts its calls: every push is one."""

    def __init__(self, function):
        self.function, self.calls = function, 0

    def __call__(self, p):
        self.calls += 1
        return self.function(p)


# --- values --------------------------------------------------------------------------------------------


def test_a_solution_has_no_residual(xp):
    close(xp.numpy(nt.residual(kdv, soliton, xp.array(POINTS))), np.zeros(6), 1e-13)


def test_derivatives_by_name(xp):
    x, t = POINTS.T
    expected = {
        "u.x": 3 * x**2 * t**2 + t * np.cos(x * t),
        "u.xxt": 12 * x * t - 2 * t * np.sin(x * t) - t**2 * x * np.cos(x * t),
        "u.d(x=2, t=1)": 12 * x * t - 2 * t * np.sin(x * t) - t**2 * x * np.cos(x * t),
        "u.t.x.x": 12 * x * t - 2 * t * np.sin(x * t) - t**2 * x * np.cos(x * t),
        "u.d(x=0)": x**3 * t**2 + np.sin(x * t),
        "v.ttx": 4 * np.exp(x - 2 * t),
        "nt.laplacian(v)": 5 * np.exp(x - 2 * t),
        "nt.laplacian(v.x)": 5 * np.exp(x - 2 * t),
        "nt.biharmonic(v)": 25 * np.exp(x - 2 * t),
        "nt.partial(v, (1, 2))": 4 * np.exp(x - 2 * t),
        "nt.operators.D(0, 0)(v) + SECOND_IN_X(v.t)": -np.exp(x - 2 * t),
        "nt.divergence((u, v))": 3 * x**2 * t**2 + t * np.cos(x * t) - 2 * np.exp(x - 2 * t),
        "nt.gradient(v)[..., 1]": -2 * np.exp(x - 2 * t),
        "nt.hessian(v)[..., 0, 1]": -2 * np.exp(x - 2 * t),
    }
    names = {"nt": nt, "SECOND_IN_X": SECOND_IN_X}
    for text, value in expected.items():
        equation = eval(f"lambda u, v, x, t: {text}", names)  # our own text
        close(xp.numpy(nt.residual(equation, wave, xp.array(POINTS))), value, 1e-11)


def test_operators_with_functions_of_x():
    """(x ∂_x)² u = x u_x + x² u_xx, the product rule applied by the algebra."""
    euler = (lambda p: p[..., 0]) * nt.operators.D(0)
    x, t = POINTS.T
    got = nt.residual(lambda u, x, t: euler(euler(u)), first, POINTS)
    ux = 3 * x**2 * t**2 + t * np.cos(x * t)
    uxx = 6 * x * t**2 - t**2 * np.sin(x * t)
    close(got, x * ux + x**2 * uxx)


def test_numpy_functions_work_on_fields_and_inputs(xp):
    x, t = POINTS.T

    def equation(u, x, t):
        return np.sin(np.pi * x) * np.exp(u) + np.where(x > 0, u.x, np.sqrt(2) * u.t) - np.maximum(t, 0.0) ** 2

    u = x**3 * t**2 + np.sin(x * t)
    ux, ut = 3 * x**2 * t**2 + t * np.cos(x * t), 2 * x**3 * t + x * np.cos(x * t)
    expected = np.sin(np.pi * x) * np.exp(u) + np.where(x > 0, ux, np.sqrt(2) * ut) - np.maximum(t, 0.0) ** 2
    close(xp.numpy(nt.residual(equation, first, xp.array(POINTS))), expected)


def test_functions_of_the_array_api_by_name(xp):
    fn = fields.functions
    got = nt.residual(lambda u, x, t: fn.sin(fn.pi * x) * u.x + fn.arctan(t), first, xp.array(POINTS))
    x, t = POINTS.T
    close(xp.numpy(got), np.sin(np.pi * x) * (3 * x**2 * t**2 + t * np.cos(x * t)) + np.arctan(t))


def test_functions_of_the_namespace_that_a_field_names(xp):
    def equation(u, x, t):
        space = x.__array_namespace__()
        return space.tanh(u.x) + space.where(x > 0, t, -t)

    x, t = POINTS.T
    expected = np.tanh(3 * x**2 * t**2 + t * np.cos(x * t)) + np.where(x > 0, t, -t)
    close(xp.numpy(nt.residual(equation, first, xp.array(POINTS))), expected)


def test_a_system_returns_a_tuple(xp):
    p, q = nt.residual(lambda u, v, x, t: (u.x, v.x - v), wave, xp.array(POINTS))
    x, t = POINTS.T
    close(xp.numpy(p), 3 * x**2 * t**2 + t * np.cos(x * t))
    close(xp.numpy(q), np.zeros(6))


def test_a_network_and_the_derivatives_it_has(xp):
    if xp.name == "dask":
        pytest.skip("Dask cannot reshape what it took of the first layer's chunked weight")
    net = xp.network([2, 8, 8, 1], seed=3)
    points = xp.array(POINTS)
    got = nt.residual(lambda u, x, t, *, nu: u.t + u * u.x - nu * u.xx, net, points, nu=0.1)

    def of(alpha):
        return xp.numpy(nt.partial(net, points, alpha))[:, 0]

    close(xp.numpy(got), of((0, 1)) + xp.numpy(net(points))[:, 0] * of((1, 0)) - 0.1 * of((2, 0)))


def test_a_hard_constraint(xp):
    net = xp.network([2, 8, 1], seed=3)
    hard = nt.operators.HardConstraint(net, lambda p: 1 - p[:, :1] ** 2)
    points = xp.array(POINTS)
    got = nt.residual(lambda u, x, t: nt.laplacian(u) + u.t, hard, points)
    expected = nt.laplacian(hard, points) + nt.partial(hard, points, (0, 1))
    close(xp.numpy(got), xp.numpy(expected)[:, 0])


def test_one_point_no_points_a_batch_of_scalars_and_a_grid(xp):
    close(xp.numpy(nt.residual(lambda u, x, t: u.xx, lambda p: p[..., 0] ** 3, xp.array([2.0, 1.0]))), 12.0)
    assert nt.residual(kdv, soliton, xp.array(np.zeros((0, 2)))).shape == (0,)
    scalars = nt.residual(lambda u, x: u.xx + np.sin(x), lambda p: p[..., 0] ** 3, xp.array([1.0, 2.0]))
    close(xp.numpy(scalars), [6 + np.sin(1.0), 12 + np.sin(2.0)])
    grid = xp.array(POINTS.reshape(2, 3, 2))
    close(xp.numpy(nt.residual(kdv, soliton, grid)), np.zeros((2, 3)), 1e-13)


def test_single_precision_stays(xp):
    net = nt.MLP.create([2, 6, 1], xp=xp.namespace, dtype=xp.float32)
    points = xp.array(POINTS, np.float32)

    def equation(u, x, t):
        return np.sqrt(2) * u.xx + np.exp(x) * np.float64(3.0)

    assert nt.residual(equation, net, points).dtype == xp.float32
    assert nt.residual(equation, net, points, sobolev=2).tensor(2).dtype == xp.float32


# --- what is computed, and how often -------------------------------------------------------------------


def test_one_pass_for_all_that_is_asked_and_another_for_what_a_branch_asks():
    """The count of pushes is that of a joint plan, and a branch adds one the first time only."""
    joint = Counted(first)
    operators = [nt.operators.D(1), nt.operators.D(), nt.operators.D(0), nt.operators.D(0, 0, 0)]
    nt.operators.jointly(operators, joint, POINTS)
    net = Counted(first)
    nt.residual(kdv, net, POINTS)
    assert net.calls == joint.calls

    def branched(u, x, t):
        return u.xxx if float(abs(u).max()) > 0.999 else u.x  # the ones of the rehearsal go the first way

    net = Counted(lambda p: 0.1 * first(p) / 2)
    close(
        nt.residual(branched, net, POINTS),
        0.05 * (3 * POINTS[:, 0] ** 2 * POINTS[:, 1] ** 2) + 0.05 * (POINTS[:, 1] * np.cos(POINTS.prod(axis=1))),
    )
    before = net.calls
    nt.residual(branched, net, POINTS)
    assert net.calls < 2 * before, "what the branch asked for is planned with the rest from then on"


def test_by_hand_each_derivative_is_computed_once(xp):
    net = Counted(first)
    (u,) = fields.of(net, xp.array(POINTS), "x t")
    assert net.calls == 1
    x, t = POINTS.T
    for _ in range(2):
        close(xp.numpy(fields.plain(u.xx)), 6 * x * t**2 - t**2 * np.sin(x * t))
        assert net.calls == 2
        close(xp.numpy(fields.plain(u.x * u)), (3 * x**2 * t**2 + t * np.cos(x * t)) * (x**3 * t**2 + np.sin(x * t)))
        assert net.calls == 2, "u and u.x came with u.xx"
    fields.plain(u.t)
    assert net.calls == 3
    fields.plain(u.xx + u.t + u.x)
    assert net.calls == 3


def test_the_rehearsal_is_silent_and_forgets_its_failures():
    def equation(u, x, t):
        assert not np.all(fields.plain(u) == 1), "ones are no solution of mine"
        return np.log(u - 1 + 0 * u.x) * 0 + u.x

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        got = nt.residual(equation, lambda p: 3 + first(p), POINTS)
    x, t = POINTS.T
    close(got, 3 * x**2 * t**2 + t * np.cos(x * t))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        nt.residual(lambda u, x, t: 1 / (u - 1) + u.x, lambda p: 3 + first(p), POINTS)


def test_functions_of_x_made_in_the_equation_do_not_pile_up():
    def equation(u, x, t):
        return ((lambda p: p[..., 0]) * nt.operators.D(0))(u) + u.t

    net = Counted(first)
    for _ in range(4):
        nt.residual(equation, net, POINTS)
    of_four, net.calls = net.calls, 0
    for _ in range(4):
        nt.residual(equation, net, POINTS)
    assert net.calls <= of_four


# --- unknowns and gradients ----------------------------------------------------------------------------


def burgers(u, x, t, *, nu):
    return u.t + u * u.x - nu * u.xx + np.sin(np.pi * x)


@pytest.mark.parametrize("order", [0, 2])
def test_gradients_by_parameters_and_unknowns(xp, order):
    """By the library's own way, against differences of the loss in NumPy."""
    if xp.name in ("dask", "array_api_strict"):
        pytest.skip("operators have no gradients in these libraries, which mix no other arrays with their own")
    net, points = xp.network([2, 5, 1], seed=1), xp.array(POINTS)
    plain = nt.MLP.create([2, 5, 1], seed=1)

    def loss(network, nu, at):
        if order:
            return nt.residual(burgers, network, at, nu=nu, sobolev=order).loss((1.0, 0.1, 0.01))
        residual = nt.residual(burgers, network, at, nu=nu)
        return (residual * residual).mean()

    value, gradient = nt.value_and_grad(lambda p: loss(net.replace(p["net"]), p["nu"], points))(
        {"net": net.parameters, "nu": xp.array(0.3)}
    )

    def numeric(move):
        return (move(1e-6) - move(-1e-6)) / 2e-6

    close(xp.numpy(value), loss(plain, 0.3, POINTS))
    slope = numeric(lambda h: loss(plain, 0.3 + h, POINTS))
    close(xp.numpy(gradient["nu"]), slope, 1e-7)
    for name, p in plain.parameters.items():
        direction = np.random.default_rng(0).standard_normal(p.shape)
        slope = numeric(
            lambda h, name=name, p=p, direction=direction: loss(
                plain.replace({**plain.parameters, name: p + h * direction}), 0.3, POINTS
            )
        )
        close(np.sum(xp.numpy(gradient["net"][name]) * direction), slope, 1e-6)


# --- Sobolev -------------------------------------------------------------------------------------------


def exact_derivative(function, point, alpha):
    with mpmath.workdps(40):
        return float(mpmath.diff(function, tuple(map(mpmath.mpf, point.tolist())), tuple(alpha)))


EQUATIONS = {
    # d: (equation, network, the same residual in mpmath with derivatives by hand)
    1: (
        lambda u, x: u.xx + np.sin(x) * u**2 - np.exp(-x) * u.x,
        lambda p: array_namespace(p).sin(2 * p[..., 0]),
        lambda x: (
            -4 * mpmath.sin(2 * x) + mpmath.sin(x) * mpmath.sin(2 * x) ** 2 - 2 * mpmath.exp(-x) * mpmath.cos(2 * x)
        ),
    ),
    2: (
        lambda u, x, t: u.t + u * u.xxt + np.sin(x * t) * u.x,
        lambda p: array_namespace(p).exp(p[..., 0] - 0.5 * p[..., 1]),
        lambda x, t: -mpmath.exp(x - t / 2) / 2 - mpmath.exp(2 * x - t) / 2 + mpmath.sin(x * t) * mpmath.exp(x - t / 2),
    ),
    3: (
        lambda u, x, y, z: nt.laplacian(u) * u.z + np.cos(x * y) / (1 + u**2),
        lambda p: array_namespace(p).sin(p[..., 0] + 2 * p[..., 1] - p[..., 2]),
        lambda x, y, z: (
            6 * mpmath.sin(x + 2 * y - z) * mpmath.cos(x + 2 * y - z)
            + mpmath.cos(x * y) / (1 + mpmath.sin(x + 2 * y - z) ** 2)
        ),
    ),
}


@pytest.mark.parametrize(("d", "order"), [(1, 4), (2, 3), (3, 2)])
def test_sobolev_tensors_to_the_last_digits(xp, d, order):
    """∇^j F against 40-digit differences of the residual in closed form."""
    equation, net, exact = EQUATIONS[d]
    points = np.random.default_rng(d).uniform(-1, 1, (2, d))
    found = nt.residual(equation, net, xp.array(points), sobolev=order)
    assert found.order == order
    for j in range(order + 1):
        tensor = xp.numpy(found.tensor(j))
        assert tensor.shape == (2, *(d,) * j)
        for index in np.ndindex(*(d,) * j):
            alpha = [index.count(i) for i in range(d)]
            expected = [exact_derivative(exact, p, alpha) for p in points]
            np.testing.assert_allclose(tensor[(slice(None), *index)], expected, rtol=1e-10, atol=1e-10)
    close(xp.numpy(found.value), xp.numpy(nt.residual(equation, net, xp.array(points))))


def test_sobolev_losses_and_rows_say_the_same(xp):
    found = nt.residual(burgers, first, xp.array(POINTS), nu=0.3, sobolev=2)
    weights = (1.0, 0.5, 0.25)
    expected = sum(w * np.sum(xp.numpy(found.tensor(j)) ** 2) / 6 for j, w in enumerate(weights))
    close(xp.numpy(found.loss(weights)), expected)
    close(np.sum(xp.numpy(found.rows(weights)) ** 2), expected)
    close([float(term) for term in found.terms()], [np.sum(xp.numpy(found.tensor(j)) ** 2) / 6 for j in range(3)])
    close(xp.numpy(found.loss()), sum(float(term) for term in found.terms()))


def test_sobolev_of_a_system_and_of_one_point():
    pair = nt.residual(lambda u, v, x, t: (u.x, v.x - 2 * v), wave, POINTS, sobolev=1)
    close(pair[1].tensor(1), np.stack([-np.exp(POINTS @ [1, -2]), 2 * np.exp(POINTS @ [1, -2])], axis=-1))
    one = nt.residual(lambda u, v, x, t: v, wave, POINTS[0], sobolev=2)
    close(one.tensor(2), np.exp(POINTS[0] @ [1, -2]) * np.outer([1, -2], [1, -2]))
    none = nt.residual(lambda u, v, x, t: v, wave, POINTS[:0], sobolev=1)
    assert float(none.loss()) == 0.0


def test_sobolev_refuses_values_at_the_points_that_it_cannot_differentiate():
    """As a coefficient, and just so where the equation has them of its own: they would pass for constants."""
    values = np.sin(POINTS[:, 0])
    for equation in (lambda u, x, t: u - values, lambda u, x, t, *, f=values: (u, u.x - f)):
        with pytest.raises(ValueError, match=r"holds an array of one number a point, shape \(\d+,\)"):
            nt.residual(equation, first, POINTS, sobolev=1)
        nt.residual(equation, first, POINTS)
    nt.residual(lambda u, x, t: u - np.asarray([1.0, 2.0])[0], first, POINTS, sobolev=1)


def test_sobolev_of_an_equation_without_fields_or_with_one_alone():
    alone = nt.residual(lambda u, x, t: x * t**2 + 0 * u, first, POINTS, sobolev=2)
    x, t = POINTS.T
    close(alone.tensor(1), np.stack([t**2, 2 * x * t], axis=-1))
    itself = nt.residual(lambda u, x, t: u, first, POINTS, sobolev=2)
    close(itself.tensor(2), nt.hessian(first, POINTS))


def test_sobolev_asks_again_where_the_rehearsal_stopped():
    def equation(u, x, t):
        if np.all(fields.plain(x) == fields.plain(u)):
            raise RuntimeError
        assert u.ndim == 1
        return u.x * u.xx

    close(
        nt.residual(equation, first, POINTS, sobolev=1).value,
        nt.partial(first, POINTS, (1, 0)) * nt.partial(first, POINTS, (2, 0)),
    )


# --- what is refused -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("equation", "error", "words"),
    [
        (lambda u, x, t: u.y, AttributeError, "'y' is no input, the inputs are x, t"),
        (lambda u, x, t: u.xxq, AttributeError, "'q' is no input"),
        (lambda u, x, t: u.T, AttributeError, "inputs are x, t"),
        (lambda u, theta, t: u.thetta, AttributeError, "did you mean 'theta'"),
        (lambda u, a, aa: u.aaa, AttributeError, r"u\.d\(a=3\) or u\.d\(a=1, aa=1\)"),
        (lambda u, x, t: u.d(y=1), TypeError, "inputs are x, t"),
        (lambda u, x, t: u.d(), TypeError, "order by each input"),
        (lambda u, x, t: u.d(x=-1), ValueError, ">= 0"),
        (lambda u, x, t: u.d(x=1.5), TypeError, "integer"),
        (lambda u, mean, t: u.t, ValueError, "give the input another name"),
        (lambda u, x, t: None, TypeError, "returned None"),
        (lambda u, x, t: 1.0, TypeError, "one number a point"),
        (lambda u, x, t: u.sum(), ValueError, "one number a point"),
        (lambda u, x, t: nt.gradient(u), ValueError, r"shape \(6,\)"),
        (lambda u, x, t: nt.laplacian(u * u), TypeError, "no field"),
        (lambda u, x, t: nt.operators.D(2)(u), ValueError, "coordinate 2"),
        (lambda u, v, x, t: u, ValueError, "1 output, the equation 2 fields"),
        (lambda x, t: x, ValueError, "none is left for a field"),
        (lambda *a: a[0], TypeError, r"got \*a"),
        (lambda u, x, t, nu=1.0: u, TypeError, "behind a star"),
        (lambda u, x, t, *, nu: u, TypeError, "needs the coefficient nu"),
        (lambda u, x, t: (), TypeError, "empty"),
        (3, TypeError, "must be a function"),
    ],
)
def test_what_is_wrong_is_said(equation, error, words):
    with pytest.raises(error, match=words):
        nt.residual(equation, first, POINTS)


def test_more_that_is_wrong_is_said():
    with pytest.raises(TypeError, match="did you mean 'nu'"):
        nt.residual(burgers, first, POINTS, nu=0.1, mu=0.2)
    with pytest.raises(TypeError, match="floating"):
        nt.residual(kdv, first, np.ones((3, 2), dtype=int))
    with pytest.raises(TypeError, match="dtypes were mixed"):
        nt.residual(kdv, nt.MLP.create([2, 3, 1]), POINTS.astype(np.float32))
    with pytest.raises(ValueError, match="order must be"):
        nt.residual(kdv, first, POINTS, sobolev=-1)
    with pytest.raises(ValueError, match="pass a function"):
        nt.residual(lambda u, x, t, *, f: u - f, first, POINTS, f=np.ones(6), sobolev=1)
    with pytest.raises(TypeError, match="needs the points"):
        nt.laplacian(first)
    with pytest.raises(ValueError, match="names each column"):
        fields.of(first, POINTS, "x")
    found = nt.residual(lambda u, x, t: u, first, POINTS, sobolev=1)
    with pytest.raises(ValueError, match="0 to 1"):
        found.tensor(2)
    with pytest.raises(ValueError, match=r"each order 0\.\.1"):
        found.loss((1.0,))
    with pytest.raises(ValueError, match=">= 0"):
        found.rows((1.0, -1.0))


# --- balancing -----------------------------------------------------------------------------------------


def test_balanced_weights_make_gradients_equal():
    weights = fields.balanced([1.0, 100.0, 0.01])
    np.testing.assert_allclose(np.asarray(weights) * [1.0, 100.0, 0.01], (1 + 100 + 0.01) / 3)
    assert fields.balanced([2.0, 0.5], kind="ntk") == (2.5 / 2.0, 2.5 / 0.5)
    assert fields.balanced([(3.0, 1.0), (9.0, 0.5)], kind="first") == (1.0, 6.0)
    np.testing.assert_allclose(fields.balanced([1.0, 3.0], (4.0, 5.0), memory=0.5), [(4 + 2) / 2, (5 + 2 / 3) / 2])
    assert fields.balanced([0.0, 2.0], (7.0, 1.0), memory=0.0) == (7.0, 1.0)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: fields.balanced([1.0], kind="best"), "norms, first, ntk"),
        (lambda: fields.balanced([float("nan")]), "not finite"),
        (lambda: fields.balanced([]), "got none"),
        (lambda: fields.balanced([1.0], (1.0, 2.0)), "2 previous"),
        (lambda: fields.balanced([1.0], memory=1.0), "memory"),
        (lambda: fields.balanced([1.0], kind="first"), "pair"),
    ],
)
def test_what_cannot_be_balanced(call, words):
    with pytest.raises(ValueError, match=words):
        call()
