"""The torch adapter as a whole: whom it serves, what it refuses and in which words, precision, processes."""

# ruff: noqa: ARG005 functions in a table share one signature

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402
from torch_oracle import nested, worst  # noqa: E402

import ntaylor as nt  # noqa: E402
from ntaylor.composed import COMPOSED  # noqa: E402
from ntaylor.jet_rules import RULES  # noqa: E402
from ntaylor_backends.torch.functions import FUNCTIONS  # noqa: E402

X = torch.linspace(-0.9, 0.9, 5, dtype=torch.float64)[:, None]


def sequential(dtype=torch.float64):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(1, 6), nn.Tanh(), nn.Linear(6, 6), nn.GELU(), nn.Linear(6, 2)).to(dtype)


class Residual(nn.Module):
    """A forward as people write them: lists of modules, own parameters, shapes, a skip."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(2)
        self.layers = nn.ModuleList([nn.Linear(2, 2) for _ in range(2)])
        self.scales = nn.ParameterList([nn.Parameter(torch.full((2,), 0.7)) for _ in range(2)])
        self.register_buffer("shift", torch.tensor([0.1, -0.2]))

    def forward(self, x):
        assert x.shape[-1] == 2
        assert x.dtype == self.shift.dtype
        h = x - self.shift.to(x.device)
        for layer, scale in zip(self.layers, self.scales, strict=True):
            h = h + scale * torch.tanh(layer(h))
        return torch.cat([h, h.pow(2).sum(dim=-1, keepdim=True)], dim=-1).view(x.size(0), -1)


def test_a_custom_forward():
    model = Residual().double()
    x, direction = torch.rand(4, 2, dtype=torch.float64), torch.tensor([1.0, -0.5], dtype=torch.float64)
    assert worst(nt.derivatives(model, x, 4, direction), nested(model, x, 4, direction)) < 1e-12


def test_results_are_tensors_of_xs_dtype():
    for dtype in (torch.float32, torch.float64):
        j = nt.jet(sequential(dtype), X.to(dtype), 3)
        assert isinstance(j.coefficients, torch.Tensor)
        assert j.coefficients.dtype == dtype
        assert j.derivatives.shape == (4, 5, 2)


def test_derivatives_of_derivatives():
    """A function may call nt.derivatives on the jet that it is given."""

    def f(x):
        return torch.sin(x) * nt.derivatives(lambda y: torch.exp(y * x), x, 1)[1]

    def plain(x):  # d/dy exp(yx) at y = x
        return torch.sin(x) * x * torch.exp(x * x)

    assert worst(nt.derivatives(f, X, 4), nested(plain, X, 4)) < 1e-12


def test_hooks_of_modules_are_called():
    model, seen = sequential(), []
    model[0].register_forward_hook(lambda module, args, output: seen.append(isinstance(output, nt.Jet)))
    nt.derivatives(model, X, 2)
    assert seen == [True]


def test_complex_arguments():
    z = torch.tensor([0.3 + 0.2j, -0.5 + 0.1j], dtype=torch.complex128)
    got = nt.derivatives(lambda z: torch.exp(z) * torch.sin(z), z, 3)
    # (e^z sin z)^(k) = Im-free closed form √2^k e^z sin(z + kπ/4)
    for k in range(4):
        expected = 2 ** (k / 2) * torch.exp(z) * torch.sin(z + k * np.pi / 4)
        torch.testing.assert_close(got[k], expected, rtol=1e-13, atol=1e-13)
    with pytest.raises(TypeError, match="piecewise"):
        nt.derivatives(torch.relu, z, 1)


def test_networks_within_torch_functions():
    """net(x) of an nt.MLP is for torch's functions what x is."""
    net = nt.MLP.create([1, 3, 1], xp=torch, dtype=torch.float64)
    w = net.parameters

    def by_hand(x):
        return torch.tanh(x @ w["0.weight"] + w["0.bias"]) @ w["2.weight"] + w["2.bias"]

    got = nt.derivatives(lambda x: torch.cat([torch.sin(net(x)), (1 - x**2) * net(x)], dim=-1), X, 3)
    expected = nested(lambda x: torch.cat([torch.sin(by_hand(x)), (1 - x**2) * by_hand(x)], dim=-1), X, 3)
    assert worst(got, expected) < 1e-12


def test_torchs_functions_take_what_nt_jet_returns():
    model, net = sequential(), nt.MLP.create([1, 3, 1], xp=torch, dtype=torch.float64)
    for f in (model, net, lambda x: torch.exp(-x)):
        j = nt.jet(f, X, 3)
        got = torch.cat([torch.sin(j), j.square()], dim=-1).derivatives
        expected = nt.derivatives(lambda x, f=f: torch.cat([torch.sin(f(x)), f(x).square()], dim=-1), X, 3)
        torch.testing.assert_close(got, expected, rtol=1e-14, atol=1e-14)


def test_in_place_operators_change_the_jet_itself():
    """As they change a tensor under every name it has, but not its clone."""

    def f(x):
        h = x.clone()
        same = h
        h += x**2
        same *= 2
        nn.functional.relu(h, inplace=True)
        return h * x

    assert worst(nt.derivatives(f, X, 3), nested(f, X, 3)) < 1e-12


# --- refusals ------------------------------------------------------------------------------------


def test_an_operation_without_a_rule_is_named_with_where_it_was_called():
    with pytest.raises(
        nt.MissingRule, match=r"'squeeze_copy' on a jet \(called at .*test_torch.py:\d+\).*nt.jets.register"
    ):
        nt.derivatives(lambda x: torch.squeeze_copy(x), X, 2)
    with pytest.raises(nt.MissingRule, match=r"in EmbeddingBag, called at .*test_torch.py"):
        nt.derivatives(nn.Sequential(nn.EmbeddingBag(3, 1)), X, 2)
    with pytest.raises(nt.MissingRule, match="'i0'"):
        nt.derivatives(lambda x: x.i0(), X, 2)


class Square(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.x = x
        return x * x

    @staticmethod
    def backward(ctx, g):
        return 2 * ctx.x * g


def without_gradient(x):
    with torch.no_grad():
        total = x.sum()
    return x * total


@pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad:UserWarning")
@pytest.mark.parametrize(
    "f",
    [
        without_gradient,
        Square.apply,
        lambda x: torch.utils.checkpoint.checkpoint(torch.sin, x, use_reentrant=True),
        lambda x: nt.derivatives(without_gradient, x, 1)[1],
    ],
)
def test_nothing_is_differentiated_where_torch_differentiates_nothing(f):
    """Neither through torch.no_grad() nor by another formula than the gradients will be of: refused."""
    with pytest.raises(nt.MissingRule, match=r"torch.no_grad\(\) holds.*x.detach\(\)"):
        nt.derivatives(f, X, 2)


def test_within_no_grad_there_are_derivatives():
    expected = nt.derivatives(sequential(), X, 3)
    for off in (torch.no_grad, torch.inference_mode):
        with off():
            got = nt.derivatives(sequential(), X, 3)
        assert not got.requires_grad
        torch.testing.assert_close(got, expected, rtol=1e-14, atol=1e-14)


@pytest.mark.parametrize(
    ("f", "words"),
    [
        (lambda x: x.add_(1), "writes in place: use 'add'"),
        (lambda x: torch.sin_(x * 1), "writes in place: use 'sin'"),
        (lambda x: torch.zeros(5, 1).index_put_((torch.tensor([0]),), x[:1]), "use 'index_put'"),
        (lambda x: torch.zeros(5, 1).put_(torch.tensor([0]), x[0]), "torch.cat"),
        (lambda x: x.item(), r"x.detach\(\)"),
        (lambda x: torch.autograd.grad(x.sum(), x), "call nt.derivatives"),
    ],
)
def test_refusals_say_what_to_write(f, words):
    with pytest.raises(nt.MissingRule, match=words):
        nt.derivatives(f, X, 2)


def test_jets_may_not_be_written_to():
    def assigned(x):
        y = x.clone()
        y[0] = 1.0
        return y

    with pytest.raises(nt.MissingRule, match=r"torch\.cat"):
        nt.derivatives(assigned, X, 2)
    with pytest.raises(ValueError, match="in place"):
        nt.derivatives(lambda x: x[:, 0].__iadd__(x), X, 2)
    with pytest.raises(TypeError, match="as_tensor take no jets"):
        nt.derivatives(torch.as_tensor, X, 2)


@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")
def test_scripted_modules_are_refused():
    for scripted in (torch.jit.script(sequential()), torch.jit.trace(sequential(), X)):
        with pytest.raises(nt.MissingRule, match="pass the module that it was made from"):
            nt.derivatives(scripted, X, 2)


def test_an_unknown_option_is_named():
    with pytest.raises(nt.MissingRule, match="decimals"):
        nt.derivatives(lambda x: torch.round(x, decimals=2), X, 2)


def test_what_is_registered_serves_torchs_function_of_that_name():
    nt.activations.register(
        "bessel_j0", ode=None, derivatives=lambda u0, order, xp: _bessel(u0, order), replace=True
    )  # fmt: skip
    got = nt.derivatives(torch.special.bessel_j0, X, 1)
    torch.testing.assert_close(got[1], -torch.special.bessel_j1(X))


def _bessel(u0, order):
    assert order <= 1
    return [torch.special.bessel_j0(u0), -torch.special.bessel_j1(u0)][: order + 1]


@pytest.mark.parametrize("module", [nn.Dropout(), nn.AlphaDropout(), nn.BatchNorm1d(1), nn.RReLU()])
def test_modules_in_training_mode_are_refused(module):
    with pytest.raises(nt.MissingRule, match=r"model.eval\(\)"):
        nt.derivatives(module.double().train(), X, 2)


def test_libraries_may_not_be_mixed():
    net = nt.MLP.create([1, 3, 1], xp=torch, dtype=torch.float64)
    with pytest.raises(TypeError, match=r"x is a numpy array.*net.parameters\['0.weight'\] is a torch array"):
        nt.derivatives(net, X.numpy(), 2)
    with pytest.raises(TypeError, match=r"x is a torch array.*direction is a numpy array"):
        nt.derivatives(torch.sin, X, 2, np.ones((5, 1)))


def test_a_module_at_points_of_numpy_says_what_is_mixed():
    class Own(torch.nn.Module):
        def forward(self, x):
            return torch.nn.functional.linear(x, torch.ones(1, 2))

    plain = torch.nn.Sequential(torch.nn.Linear(2, 1))
    for f in (plain, Own()):
        with pytest.raises(TypeError, match=f"f, a {type(f).__name__}, is another library's than x, a numpy array"):
            nt.laplacian(f, np.ones((3, 2)))


def test_devices_may_not_be_mixed():
    net = nt.MLP.create([1, 3, 1], xp=torch, dtype=torch.float64)
    with pytest.raises(ValueError, match=r"x is on meta; net.parameters\['0.weight'\] is on cpu"):
        nt.derivatives(net, X.to("meta"), 2)
    with pytest.raises(ValueError, match=r"in linear, argument 0 is on meta; argument 1 is on cpu"):
        nt.derivatives(sequential(), X.to("meta"), 2)


def test_dtypes_may_not_be_mixed():
    with pytest.raises(TypeError, match="dtypes were mixed in linear"):
        nt.derivatives(sequential(torch.float32), X, 2)


def test_everything_runs_on_another_device():
    """On torch's "meta" device, which has shapes and no values: nothing is made on the CPU by mistake."""
    net = nt.MLP.create([1, 3, 1], xp=torch, dtype=torch.float32, device="meta")
    for f in (net, sequential(torch.float32).to("meta"), lambda x: torch.softmax(x * x, 0) + x.clamp(-1, 1)):
        assert nt.derivatives(f, X.float().to("meta"), 3).device.type == "meta"


def test_no_name_of_the_core_means_another_thing_in_torch():
    """Every rule of the core whose name torch has is in the adapter's table, which says what torch means by it."""
    of_torch = [n for n in {*RULES, *COMPOSED} if hasattr(torch, n) or hasattr(torch.Tensor, n)]
    assert not set(of_torch) - set(FUNCTIONS)


# --- precision -----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["network", "module"])
def test_autocast_does_not_round_derivatives(kind):
    """Inside torch.autocast the result is that of outside, to the last bit.

    So is the backward of a network, one node; that of a module is torch's own and, as torch asks, called outside.
    """
    if kind == "network":
        model = nt.MLP.create([1, 6, 6, 1], xp=torch, dtype=torch.float32)
        parameters = [p.requires_grad_() for p in model.parameters.values()]
    else:
        model = sequential(torch.float32)
        parameters = list(model.parameters())
    x = X.float()

    def gradients(derivatives):
        return torch.autograd.grad(derivatives[1:].sum(), parameters, allow_unused=True)

    outside = nt.derivatives(model, x, 3)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = nt.derivatives(model, x, 3)
        assert model(x).dtype == (torch.float32 if kind == "network" else torch.bfloat16)
        got = gradients(inside) if kind == "network" else None
    got = gradients(inside) if got is None else got
    assert inside.dtype == torch.float32
    assert torch.equal(inside, outside)
    assert all(g is e or torch.equal(g, e) for g, e in zip(got, gradients(outside), strict=True))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_networks_compute_in_their_dtype(dtype):
    """Every order is right to a few of the few digits there are; a wrong formula would be wrong by its own size."""
    exact = sequential()
    rounded = sequential().to(dtype)
    exact.load_state_dict({name: p.double() for name, p in rounded.state_dict().items()})
    x = X.to(dtype)
    got = nt.derivatives(rounded, x, 3)
    assert got.dtype == dtype
    assert worst(got.double(), nt.derivatives(exact, x.double(), 3)) < 16 * torch.finfo(dtype).eps


# --- processes -----------------------------------------------------------------------------------

DISTRIBUTED = """
import sys
import torch
import torch.distributed as dist
from torch import nn
import ntaylor as nt

rank, place, results = int(sys.argv[1]), sys.argv[2], sys.argv[3]
torch.set_num_threads(1)
dist.init_process_group("gloo", init_method=f"file://{place}", rank=rank, world_size=2)


class Loss(nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        return (nt.derivatives(self.inner, x, 3)[2:] ** 2).mean()


def model():
    torch.manual_seed(rank)  # DDP gives rank 1 the parameters of rank 0
    return nn.Sequential(nn.Linear(1, 5), nn.Tanh(), nn.Linear(5, 1, bias=False)).double()


x = torch.linspace(-1, 1, 8, dtype=torch.float64)[:, None][4 * rank : 4 * rank + 4]
outside = nn.parallel.DistributedDataParallel(model())
(nt.derivatives(outside, x, 3)[2:] ** 2).mean().backward()
inside = nn.parallel.DistributedDataParallel(Loss(model()))
inside(x).backward()
found = {
    "outside": [p.grad for p in outside.parameters()],
    "inside": [p.grad for p in inside.parameters()],
    "parameters": outside.module.state_dict(),
}
torch.save(found, f"{results}/{rank}.pt")
dist.destroy_process_group()
"""


def test_distributed_data_parallel(tmp_path):
    """Two processes with half of the points each have the gradients of one process with all of them."""
    script = tmp_path / "distributed.py"
    script.write_text(DISTRIBUTED)
    command = [sys.executable, str(script)]
    running = [
        subprocess.Popen([*command, str(rank), str(tmp_path / "meeting"), str(tmp_path)], stderr=subprocess.PIPE)
        for rank in range(2)
    ]
    errors = [process.communicate(timeout=120)[1].decode() for process in running]
    assert [process.returncode for process in running] == [0, 0], errors
    found = [torch.load(tmp_path / f"{rank}.pt") for rank in range(2)]
    model = nn.Sequential(nn.Linear(1, 5), nn.Tanh(), nn.Linear(5, 1, bias=False)).double()
    model.load_state_dict(found[0]["parameters"])
    x = torch.linspace(-1, 1, 8, dtype=torch.float64)[:, None]
    (nt.derivatives(model, x, 3)[2:] ** 2).mean().backward()
    for rank in range(2):
        for kind in ("outside", "inside"):
            for got, p in zip(found[rank][kind], model.parameters(), strict=True):
                torch.testing.assert_close(got, p.grad, rtol=1e-13, atol=1e-15)
