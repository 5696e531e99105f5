"""Jacobians of residuals from two closed-form adjoints, against nested reverse mode and 40-digit arithmetic."""

# ruff: noqa: ARG005 equations name all their inputs

from __future__ import annotations

import math

import mpmath
import numpy as np
import pytest

import ntaylor as nt
from ntaylor.systems import pointwise_jacobian

POINTS = np.random.default_rng(5).uniform(-1, 1, (6, 2))


def parts(xp, net, points, unknowns):
    """Everything an equation has: mixed and repeated derivatives, products, an unknown, a system of two, x itself."""
    v = net(points)[:, 0]
    mixed = nt.partial(net, points, (2, 1))[:, 0]
    laplacian = nt.laplacian(net, points)[:, 0]
    along = nt.derivatives(net, points, 3, xp.asarray([0.5, -1.0], dtype=points.dtype))[3, ...][:, 0]
    return [laplacian * v - unknowns["a"] * mixed, v * v * v + unknowns["b"] * along + points[:, 1]]


@pytest.fixture
def system(xp):
    if xp.name in ("dask", "array_api_strict"):
        pytest.skip("NumPy, torch and JAX have the doors that differ")
    points = xp.array(POINTS)
    unknowns = {"a": xp.array(0.3), "b": xp.array(-0.7)}
    return xp, points, unknowns


def rows_of(xp, net, points, unknowns, **options):
    found = pointwise_jacobian(
        lambda net, given: parts(xp.namespace, net, points, given), net, unknowns, check=True, **options
    )
    return found, xp.numpy(found.jacobian(list(net.parameters), list(unknowns)))


def torch_jacobian(net, points, unknowns, equation):
    """∂r/∂θ by torch's nested reverse mode alone: no jet, no closed-form adjoint."""
    import torch

    arrays = [*net.parameters.values(), *unknowns.values()]
    leaves = [torch.tensor(np.array(a)).requires_grad_() for a in arrays]
    x = torch.tensor(points).requires_grad_()
    names = list(net.parameters)
    weights = dict(zip(names, leaves, strict=False))

    def value(x):
        for name in names:
            if name.endswith("weight"):
                x = x @ weights[name] + weights[name.replace("weight", "bias")]
                x = x if name == names[-2] else torch.tanh(x)
        return x[:, 0]

    def d(v, i):
        return torch.autograd.grad(v.sum(), x, create_graph=True)[0][:, i]

    r = torch.cat(equation(x, value(x), d, *leaves[len(names) :]))
    grads = [torch.autograd.grad(v, leaves, retain_graph=True, allow_unused=True) for v in r]
    return np.asarray(
        [
            np.concatenate(
                [(torch.zeros_like(p) if g is None else g).numpy().ravel() for g, p in zip(row, leaves, strict=False)]
            )
            for row in grads
        ]
    )


def by_torch(x, v, d, a, b):
    vx, vy = d(v, 0), d(v, 1)
    vxx, vyy = d(vx, 0), d(vy, 1)
    first = lambda w: 0.5 * d(w, 0) - d(w, 1)  # noqa: E731
    return [(vxx + vyy) * v - a * d(vxx, 1), v**3 + b * first(first(first(v))) + x[:, 1]]


def test_the_jacobian_is_that_of_nested_reverse_mode(system):
    pytest.importorskip("torch")
    xp, points, unknowns = system
    net = xp.network([2, 5, 4, 1], seed=3)
    found, jacobian = rows_of(xp, net, points, unknowns)
    plain = nt.MLP.create([2, 5, 4, 1], seed=3)
    expected = torch_jacobian(plain, POINTS, {"a": np.asarray(0.3), "b": np.asarray(-0.7)}, by_torch)
    assert jacobian.shape == (12, 15 + 24 + 5 + 2)
    np.testing.assert_allclose(jacobian, expected, rtol=1e-11, atol=1e-12)
    direct = parts(xp.namespace, net, points, unknowns)
    for value, again in zip(found.values, direct, strict=True):
        np.testing.assert_allclose(xp.numpy(value), xp.numpy(again), rtol=1e-12, atol=1e-13)


def test_one_entry_against_forty_digits():
    """∂/∂w of v_xxy at one point, w one weight of the first layer, by mpmath's differences in 40 digits."""
    net = nt.MLP.create([2, 3, 1], seed=2)
    point = POINTS[:1]
    found = pointwise_jacobian(lambda net, _: [nt.partial(net, point, (2, 1))[:, 0]], net, {}, check=True)
    names = list(net.parameters)
    p = {name: np.asarray(a) for name, a in net.parameters.items()}
    with mpmath.workdps(40):

        def value(x, y, w):
            first = [[mpmath.mpf(float(e)) for e in row] for row in p[names[0]]]
            first[1][2] = w
            z = [x * first[0][j] + y * first[1][j] + mpmath.mpf(float(p[names[1]][j])) for j in range(3)]
            return mpmath.fsum(mpmath.tanh(z[j]) * mpmath.mpf(float(p[names[2]][j, 0])) for j in range(3))

        at = (mpmath.mpf(float(point[0, 0])), mpmath.mpf(float(point[0, 1])), mpmath.mpf(float(p[names[0]][1, 2])))
        expected = mpmath.diff(value, at, (2, 1, 1))
    assert found.of_parameters[names[0]][0, 0, 1, 2] == pytest.approx(float(expected), rel=1e-12)


@pytest.mark.parametrize(
    "options", [{"gated": True}, {"residual": True}, {"fourier": (3, 1.0)}, {"activation": "snake"}]
)
def test_every_kind_of_layer_takes_part(options):
    """The Jacobian-vector product is the derivative along a direction, by fourth-order differences."""
    net = nt.MLP.create([2, 4, 4, 1], seed=1, **options)
    rng = np.random.default_rng(0)
    direction = {name: rng.standard_normal(p.shape) for name, p in net.parameters.items()}

    def residual(net, _):
        return [nt.laplacian(net, POINTS)[:, 0] * net(POINTS)[:, 0]]

    jacobian = pointwise_jacobian(residual, net, {}, check=True).jacobian(list(net.parameters), [])
    product = jacobian @ np.concatenate([direction[name].ravel() for name in net.parameters])

    def moved(t):
        return residual(net.replace({name: p + t * direction[name] for name, p in net.parameters.items()}), {})[0]

    h = 1e-3
    differences = (moved(-2 * h) - 8 * moved(-h) + 8 * moved(h) - moved(2 * h)) / (12 * h)
    np.testing.assert_allclose(product, differences, rtol=1e-6, atol=1e-7 * np.abs(product).max())


def test_a_hard_constraint_is_differentiated_with_its_network(system):
    xp, points, _ = system
    net = xp.network([2, 4, 1], seed=7)

    def constrained(net):
        return nt.operators.HardConstraint(net, nt.operators.Radial(lambda s, xp: 1 - s))

    def residual(net, _):
        return [nt.laplacian(constrained(net), points)[:, 0]]

    found = pointwise_jacobian(residual, net, {}, check=True)
    jacobian = xp.numpy(found.jacobian(list(net.parameters), []))
    # Linear in the last layer: J @ (its weight, bias) is the residual itself.
    names = list(net.parameters)
    size = math.prod(net.parameters[names[0]].shape) + 4
    last = np.concatenate([xp.numpy(net.parameters[n]).ravel() for n in names[2:]])
    expected = xp.numpy(nt.laplacian(constrained(net), points))[:, 0]
    np.testing.assert_allclose(jacobian[:, size:] @ last, expected, rtol=1e-11)


def test_compressed_operators_are_pulled_back_too():
    """A Laplacian of more coordinates than the first layer has outputs, through a constraint that is compressed."""
    x = np.random.default_rng(1).uniform(-0.3, 0.3, (4, 9))
    net = nt.MLP.create([9, 3, 1], seed=2)

    def residual(net, _):
        constrained = nt.operators.HardConstraint(net, nt.operators.Radial(lambda s, xp: 1 - s))
        return [nt.laplacian(constrained, x)[:, 0], nt.laplacian(net, x)[:, 0]]

    found = pointwise_jacobian(residual, net, {}, check=True)
    names = list(net.parameters)
    _, gradient = nt.value_and_grad(lambda p: np.sum(residual(net.replace(p), {})[0]))(net.parameters)
    for name in names:
        np.testing.assert_allclose(found.of_parameters[name][0].sum(axis=0), gradient[name], rtol=1e-10, atol=1e-12)


def test_what_mixes_points_is_refused(system):
    xp, points, _ = system
    net = xp.network([2, 3, 1], seed=0)
    space = xp.namespace
    for equation in (
        lambda v: v - space.mean(v),
        lambda v: v * space.concat([v[1:], v[:1]]) if xp.name != "torch" else v * space.cat([v[1:], v[:1]]),
    ):
        with pytest.raises(ValueError, match="mixes the points of the batch"):
            pointwise_jacobian(lambda net, _, f=equation: [f(net(points)[:, 0])], net, {}, check=True)


def test_what_cannot_be_pulled_back_is_refused(system):
    xp, points, _ = system
    net = xp.network([2, 3, 1], seed=0)
    direction = xp.array([1.0, 0.0])
    with pytest.raises(ValueError, match="does not depend on the network"):
        pointwise_jacobian(lambda net, _: [points[:, 0]], net, {}, check=True)
    with pytest.raises(ValueError, match="one number a point"):
        pointwise_jacobian(lambda net, _: [xp.namespace.mean(net(points))], net, {}, check=True)
    if xp.name == "jax":  # whose functions are traced, so that the network's input is no array
        with pytest.raises(nt.MissingRule, match="differentiate the network itself"):
            pointwise_jacobian(
                lambda net, _: [nt.derivatives(lambda x: net(x) ** 2, points, 1, direction)[1, ...][:, 0]],
                net,
                {},
                check=True,
            )


def test_a_residual_that_does_not_depend_on_one_parameter_has_zeros_there():
    net = nt.MLP.create([1, 3, 1], seed=0)
    x = np.asarray([[0.1], [0.4]])
    found = pointwise_jacobian(lambda net, _: [nt.partial(net, x, (1,))[:, 0]], net, {"c": np.asarray(1.0)}, check=True)
    jacobian = found.jacobian(list(net.parameters), ["c"])
    np.testing.assert_array_equal(jacobian[:, -2:], 0)  # the last bias, and c
    assert np.abs(jacobian[:, :-2]).min() > 0
