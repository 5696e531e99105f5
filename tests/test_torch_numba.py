"""Tensors of the CPU through Numba's kernels: the numbers of torch's own operations, and of nested autograd."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("numba")

from torch_oracle import nested  # noqa: E402

import ntaylor as nt  # noqa: E402
from ntaylor_backends import numpy as of_numpy  # noqa: E402
from ntaylor_backends import recordings  # noqa: E402
from ntaylor_backends.torch import cpu_kernels, kernel_choice  # noqa: E402


@pytest.fixture
def counted(monkeypatch, tmp_path):
    """Kernels for tensors of any size, and the programs that they ran."""
    monkeypatch.setattr(of_numpy, "SMALLEST", 0)
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    seen = []
    run = cpu_kernels.run
    monkeypatch.setattr(cpu_kernels, "run", lambda *args: (seen.append(args[0].name), run(*args))[1])
    return seen


def relative(got, expected):
    return max(float((g - e).abs().max() / e.abs().max()) for g, e in zip(got, expected, strict=True))


def module():
    torch.manual_seed(1)
    return torch.nn.Sequential(
        torch.nn.Linear(1, 6), torch.nn.Tanh(), torch.nn.Linear(6, 5), torch.nn.GELU(), torch.nn.Linear(5, 1)
    ).double()


def loss_of(derivatives):
    u, du, ddu, dddu = derivatives
    return ((ddu + u * du) ** 2).mean() + (dddu**2).mean()


def test_a_modules_gradients_and_second_derivatives_are_those_of_nested_autograd(counted):
    """The second backward is of torch's own operations: no kernel is differentiated."""
    model = module()
    x = torch.rand(9, 1, dtype=torch.float64) * 2 - 1
    parameters = list(model.parameters())
    found = []
    for derivatives in (nt.derivatives(model, x, 3), nested(model, x, 3)):
        once = torch.autograd.grad(loss_of(derivatives), parameters, create_graph=True, retain_graph=True)
        total = sum((g**2).sum() for g in once)
        twice = torch.autograd.grad(total, parameters, allow_unused=True)
        found.append([*(g.detach() for g in once), *(g for g in twice if g is not None)])
    assert any(entry._recording is not None for entry in recordings._entries.values())
    assert relative(*found) < 1e-10


def test_infinities_are_not_reported(counted, recwarn):
    """As torch's own operations do not, whatever NumPy's products would say."""
    net = nt.MLP.create([1, 40, 40, 1], xp=torch, dtype=torch.float32, seed=0)
    net = net.replace({name: p.requires_grad_() for name, p in net.parameters.items()})
    x = torch.full((50, 1), 3e38)
    for _ in range(3):
        u = nt.derivatives(net, x, 2, torch.full((50, 1), 3e38))
        gradients = torch.autograd.grad((u * 3e38).sum(), list(net.parameters.values()))
    assert not all(bool(g.isfinite().all()) for g in gradients)
    assert not recwarn.list


@pytest.mark.parametrize("options", [{}, {"activation": "snake"}, {"gated": True}], ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_network_is_what_it_is_without_kernels(counted, monkeypatch, options, dtype):
    net = nt.MLP.create([2, 6, 6, 1], xp=torch, dtype=dtype, seed=2, **options)
    x = torch.linspace(-1, 1, 14, dtype=dtype).reshape(7, 2)
    direction = torch.tensor([0.6, -0.8], dtype=dtype)

    def both():
        leaves = {name: p.clone().requires_grad_() for name, p in net.parameters.items()}
        d = nt.derivatives(net.replace(leaves), x, 3, direction)
        loss_of(d).backward()
        return [d.detach(), *(p.grad for p in leaves.values())]

    got = both()
    assert any(entry._recording is not None for entry in recordings._entries.values())
    monkeypatch.setattr(of_numpy, "SMALLEST", 10**9)
    assert relative(got, both()) < (1e-12 if dtype is torch.float64 else 2e-4)


def test_one_backward_pass_runs_the_adjoint_kernel(counted):
    layers = module()
    loss_of(nt.derivatives(lambda x: layers(x), torch.rand(9, 1, dtype=torch.float64), 3)).backward()
    assert [name for name in counted if "adjoint" in name] == ["gelu_adjoint_3", "tanh_adjoint_3"]


def test_what_autograd_or_a_transform_follows_takes_no_kernel(counted):
    u = [torch.rand(4, 3, dtype=torch.float64) for _ in range(3)]
    assert kernel_choice.runner(u) is not None
    assert kernel_choice.runner([*u, u[0].clone().requires_grad_()]) is None
    assert kernel_choice.runner([u[0], u[1].float()]) is None
    tanh = nt.activations.get("tanh")
    assert torch.func.vmap(lambda a: kernel_choice.activate(tanh, [a, a], 2, {})[0][2])(u[0]).shape == (4, 3)
    assert not counted


def test_without_numba_torch_computes(counted, monkeypatch):
    monkeypatch.setattr(of_numpy, "compiler", lambda: None)
    nt.derivatives(module(), torch.rand(9, 1, dtype=torch.float64), 3)
    assert not counted
