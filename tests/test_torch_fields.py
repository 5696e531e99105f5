"""The residual language on PyTorch: modules, nested reverse mode as the oracle, torch.compile."""

# ruff: noqa: ARG005 equations have one signature

from __future__ import annotations

import numpy as np
import pytest

import ntaylor as nt
from ntaylor import fields

torch = pytest.importorskip("torch")
torch.set_num_threads(1)

DOUBLE = torch.float64


def module(outputs=1):
    torch.manual_seed(0)
    return torch.nn.Sequential(
        torch.nn.Linear(2, 8, dtype=DOUBLE), torch.nn.Tanh(), torch.nn.Linear(8, outputs, dtype=DOUBLE)
    )


def points():
    return torch.tensor(np.random.default_rng(1).uniform(-1, 1, (5, 2)))


def burgers(u, x, t, *, nu):
    return u.t + u * u.x - nu * u.xx + torch.sin(torch.pi * x) * u.x**2


def nested(net, at, nu, order):
    """F, ∇F and ∇²F by reverse mode nested as often as there are derivatives."""
    at = at.clone().requires_grad_()

    def gradient(y):
        return torch.autograd.grad(y.sum(), at, create_graph=True)[0]

    u = net(at)[:, 0]
    du = gradient(u)
    uxx = gradient(du[:, 0])[:, 0]
    value = du[:, 1] + u * du[:, 0] - nu * uxx + torch.sin(torch.pi * at[:, 0]) * du[:, 0] ** 2
    found = [value]
    for _ in range(order):
        rows = found[-1].reshape(len(at), -1)
        slopes = torch.stack([gradient(rows[:, i]) for i in range(rows.shape[1])], dim=1)
        found.append(slopes.reshape(*found[-1].shape, 2))
    return found


def close(got, expected, tolerance=1e-11):
    torch.testing.assert_close(got, expected, rtol=0, atol=tolerance * (1 + float(expected.detach().abs().max())))


@pytest.mark.parametrize("order", [1, 3])
def test_sobolev_tensors_and_gradients_are_those_of_nested_reverse_mode(order):
    net, at = module(), points()
    nu = torch.tensor(0.3, dtype=DOUBLE, requires_grad=True)
    expected = nested(net, at, nu, order)
    found = nt.residual(burgers, net, at, nu=nu, sobolev=order)
    for j, tensor in enumerate(expected):
        close(found.tensor(j), tensor)
    unknown = [nu, *net.parameters()]
    got = torch.autograd.grad(found.loss(), unknown)
    loss = sum((tensor**2).sum() / len(at) for tensor in expected)
    for a, b in zip(got, torch.autograd.grad(loss, unknown), strict=True):
        close(a, b)


@pytest.mark.parametrize("sobolev", [0, 1])
def test_compiled_whole(sobolev):
    """Two residuals in one graph, one of an equation that is made inside, give what they give without torch.compile."""
    net, at = module(), points()
    nu = torch.tensor(0.3, dtype=DOUBLE, requires_grad=True)
    sine = fields.functions.sin

    def loss(p):
        residual = nt.residual(burgers, net, p, nu=nu, sobolev=sobolev)
        first = residual.loss() if sobolev else (residual**2).mean()
        return first + nt.residual(lambda u, x, t: nt.laplacian(u) + u.d(t=1) * sine(x), net, p).square().mean()

    unknown = [nu, *net.parameters()]
    value = loss(at)
    expected = torch.autograd.grad(value, unknown)
    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")(at)
    close(compiled, value)
    for a, b in zip(torch.autograd.grad(compiled, unknown), expected, strict=True):
        close(a, b)


def test_numpy_and_torch_functions_and_methods_in_one_equation():
    net, at = module(2), points()

    def mixed(u, v, x, t):
        return np.sin(np.pi * x) * torch.exp(u) + torch.where(x > 0, u.x, v) + v.square() + np.float64(2) * u

    at.requires_grad_()
    u, v = net(at).T
    x = at[:, 0]
    (ux,) = torch.autograd.grad(u.sum(), [at], create_graph=True)
    ux = ux[:, 0]
    close(
        nt.residual(mixed, net, at.detach()), torch.sin(np.pi * x) * u.exp() + torch.where(x > 0, ux, v) + v**2 + 2 * u
    )


def test_an_unknown_through_numpy_functions_is_differentiated():
    net, at = module(), points()
    nu = torch.nn.Parameter(torch.tensor(0.1, dtype=DOUBLE))
    (slope,) = torch.autograd.grad(nt.residual(lambda u, x, t, *, nu: np.exp(nu) * u, net, at, nu=nu).sum(), [nu])
    close(slope, (torch.exp(nu) * net(at)).sum())


def test_vmapped_over_points_and_differentiated_by_them():
    net, at = module(), points()

    def one(p):
        return nt.residual(lambda u, x, t: u.xx * np.sin(x), net, p[None])[0]

    close(torch.func.vmap(one)(at), nt.residual(lambda u, x, t: u.xx * np.sin(x), net, at))
    slope = torch.func.vmap(torch.func.grad(one))(at)
    close(slope, nt.residual(lambda u, x, t: u.xx * np.sin(x), net, at, sobolev=1).tensor(1))


def test_arrays_of_numpy_are_not_taken_for_tensors():
    with pytest.raises(TypeError, match="different libraries"):
        nt.residual(lambda u, x, t: u * np.ones(5), module(), points())
