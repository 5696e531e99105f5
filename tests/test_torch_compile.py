"""torch.compile of whole training steps: one graph, no warning, no second compilation."""

from __future__ import annotations

import subprocess
import sys

import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402
from torch._dynamo.testing import CompileCounterWithBackend  # noqa: E402

import ntaylor as nt  # noqa: E402

# Torch's own, on the first use of some of its parts in a process.
pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")

X = torch.linspace(-1, 1, 7, dtype=torch.float64)[:, None]


@pytest.fixture(autouse=True)
def _forget():
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def counting():
    return CompileCounterWithBackend("aot_eager")


def network(activation="tanh", **options):
    net = nt.MLP.create([1, 5, 4, 1], activation, xp=torch, dtype=torch.float64, **options)
    return net.replace({name: p.requires_grad_() for name, p in net.parameters.items()})


def sequential(activation=nn.Tanh):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(1, 5), activation(), nn.Linear(5, 4), activation(), nn.Linear(4, 1)).double()


def residual(f, x, order=3):
    u, du, ddu, *rest = nt.derivatives(f, x, order)
    return ((ddu + u * du) ** 2).mean() + sum((r * r).mean() for r in rest)


ACTIVATIONS = ["tanh", "gelu", "silu", "softplus", "sin", "sigmoid", "snake", "mish", "asinh", "relu3", "elu"]


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_networks_of_every_kind_of_rule(activation):
    """Values and gradients of one graph are those of eager mode."""
    net = network(activation)
    counter = counting()
    compiled = torch.compile(lambda x: residual(net, x), fullgraph=True, backend=counter)
    parameters = list(net.parameters.values())
    got = torch.autograd.grad(compiled(X), parameters)
    expected = torch.autograd.grad(residual(net, X), parameters)
    for g, e in zip(got, expected, strict=True):
        torch.testing.assert_close(g, e, rtol=1e-11, atol=1e-12)
    compiled_once = counter.frame_count
    compiled(X)
    assert counter.frame_count == compiled_once


@pytest.mark.parametrize("options", [{"residual": True}, {"odd": True}, {"fourier": (3, 1.0)}, {"periods": (2.0,)}])
def test_networks_with_options(options):
    net = nt.MLP.create([1, 4, 4, 1], xp=torch, dtype=torch.float64, **options)
    compiled = torch.compile(lambda x: nt.derivatives(net, x, 3), fullgraph=True, backend=counting())
    torch.testing.assert_close(compiled(X), nt.derivatives(net, X, 3), rtol=1e-12, atol=1e-12)


KINDS = {
    "ELU": nn.ELU,
    "GELU": nn.GELU,
    "LayerNorm": lambda: nn.LayerNorm(4),
    "Mish": nn.Mish,
    "ReLU6": nn.ReLU6,
    "SiLU": nn.SiLU,
    "Softmax": lambda: nn.Softmax(dim=-1),
    "Softplus": nn.Softplus,
    "Tanh": nn.Tanh,
}


@pytest.mark.parametrize("name", KINDS)
def test_modules(name):
    model = nn.Sequential(nn.Linear(1, 4), KINDS[name](), nn.Linear(4, 1)).double()
    compiled = torch.compile(lambda x: residual(model, x), fullgraph=True, backend=counting())
    parameters = list(model.parameters())
    got = torch.autograd.grad(compiled(X), parameters, allow_unused=True)
    expected = torch.autograd.grad(residual(model, X), parameters, allow_unused=True)
    for g, e in zip(got, expected, strict=True):
        torch.testing.assert_close(g, e, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("kind", ["network", "module"])
def test_a_training_loop_compiles_once(kind):
    """Ten steps with the optimiser outside: the losses of eager mode, and the second call compiles nothing."""

    def losses(step, model):
        parameters = list(model.parameters.values() if kind == "network" else model.parameters())
        optimiser = torch.optim.SGD(parameters, lr=1e-2)
        found = []
        for _ in range(10):
            optimiser.zero_grad()
            loss = step(model, X)
            loss.backward()
            optimiser.step()
            found.append(loss.detach())
        return torch.stack(found)

    make = network if kind == "network" else sequential
    counter = counting()
    got = losses(torch.compile(residual, fullgraph=True, backend=counter), make())
    torch.testing.assert_close(got, losses(residual, make()), rtol=1e-9, atol=0)
    assert counter.frame_count == 1
    assert got[-1] < got[0]


def test_a_whole_training_step_is_one_graph():
    """Loss, gradients and the update of the parameters, by torch.func and by nt.value_and_grad."""
    model, net = sequential(), network()

    def step_of_a_module(parameters, x):
        def loss(parameters):
            return residual(lambda x: torch.func.functional_call(model, parameters, (x,)), x)

        gradient, value = torch.func.grad_and_value(loss)(parameters)
        return value, {name: p - 1e-3 * gradient[name] for name, p in parameters.items()}

    def step_of_a_network(parameters, x):
        value, gradient = nt.value_and_grad(lambda p: residual(net.replace(p), x))(parameters)
        return value, {name: p - 1e-3 * gradient[name] for name, p in parameters.items()}

    for step, parameters in (
        (step_of_a_module, {name: p.detach() for name, p in model.named_parameters()}),
        (step_of_a_network, {name: p.detach() for name, p in net.parameters.items()}),
    ):
        counter = counting()
        compiled = torch.compile(step, fullgraph=True, backend=counter)
        expected = parameters
        for _ in range(3):
            value, parameters = compiled(parameters, X)
            value_expected, expected = step(expected, X)
            torch.testing.assert_close(value, value_expected, rtol=1e-11, atol=0)
        torch.testing.assert_close(parameters, expected, rtol=1e-11, atol=1e-12)
        assert counter.frame_count == 1


@pytest.mark.filterwarnings("ignore:The .grad attribute:UserWarning")  # Dynamo looks at .grad of all it resumes with
def test_auxiliary_values_are_refused_or_break_the_graph():
    net = network()

    def run(parameters, x):
        return nt.value_and_grad(lambda p: (residual(net.replace(p), x), 1))(parameters)

    parameters = {name: p.detach() for name, p in net.parameters.items()}
    (value, one), _ = torch.compile(run, backend=counting())(parameters, X)
    assert one == 1
    torch.testing.assert_close(value, residual(net, X).detach())
    with pytest.raises(torch._dynamo.exc.Unsupported):
        torch.compile(run, fullgraph=True, backend=counting())(parameters, X)


@pytest.mark.filterwarnings("ignore:The .grad attribute:UserWarning")  # Dynamo looks at .grad of all it resumes with
def test_backward_and_optimiser_inside():
    """A whole step in one compiled function, as torch compiles a backward: it breaks the graph there by itself."""
    model, other = sequential(), sequential()

    def step(model, optimiser, x):
        optimiser.zero_grad()
        loss = residual(model, x)
        loss.backward()
        optimiser.step()
        return loss.detach()

    compiled = torch.compile(step, backend=counting())
    optimisers = [torch.optim.SGD(m.parameters(), lr=1e-3) for m in (model, other)]
    for _ in range(3):
        torch.testing.assert_close(compiled(model, optimisers[0], X), step(other, optimisers[1], X))


def test_other_batch_sizes():
    """A second size compiles once more, for any size from then on, as everything in torch does."""
    net = network()
    counter = counting()
    compiled = torch.compile(lambda x: nt.derivatives(net, x, 3), fullgraph=True, backend=counter)
    for size in (7, 5, 9, 12):
        x = torch.rand(size, 1, dtype=torch.float64)
        torch.testing.assert_close(compiled(x), nt.derivatives(net, x, 3))
    assert counter.frame_count <= 2


def test_a_function_and_a_direction():
    x, direction = torch.rand(5, 2, dtype=torch.float64), torch.tensor([0.6, -0.8], dtype=torch.float64)

    def f(x):
        return torch.sin(x[:, 0]) * torch.exp(-(x[:, 1] ** 2)) / (2 + x.sum(1))

    compiled = torch.compile(lambda x: nt.derivatives(f, x, 4, direction), fullgraph=True, backend=counting())
    torch.testing.assert_close(compiled(x), nt.derivatives(f, x, 4, direction))


JOINED = {
    "cat": lambda x: torch.cat([x, x * x], dim=-1),
    "stack": lambda x: torch.stack([x, x * x]),
    "einsum": lambda x: torch.einsum("bi,ij->bj", x, x.T),
    "solve": lambda x: torch.linalg.solve(torch.matmul(x, x.T) + torch.eye(len(x)).double(), x),
    "attention": lambda x: nn.functional.scaled_dot_product_attention(x, x * x, torch.sin(x), is_causal=True),
    "softmax": lambda x: torch.softmax(x, dim=-1) * torch.log_softmax(x, dim=0),
    "sort": lambda x: torch.sort(x, dim=0).values * torch.cumprod(x, 1),
    "conv": lambda x: nn.functional.conv1d(x[None], torch.ones(1, len(x), 1).double()),
    "in place": lambda x: nn.functional.relu(x.clone(), inplace=True).__iadd__(x),
}


@pytest.mark.parametrize("name", JOINED)
def test_functions_of_several_jets(name):
    x = torch.rand(3, 3, dtype=torch.float64)
    compiled = torch.compile(lambda x: nt.derivatives(JOINED[name], x, 2, x), fullgraph=True, backend=counting())
    torch.testing.assert_close(compiled(x), nt.derivatives(JOINED[name], x, 2, x))


def test_an_encoder_layer_with_gradients():
    """Attention and LayerNorm unchanged, two derivatives, one graph: values and gradients are those of eager mode."""
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(4, 2, 8, dropout=0.0, batch_first=True).double()
    x, v = torch.rand(2, 3, 4, dtype=torch.float64), torch.rand(2, 3, 4, dtype=torch.float64)

    def loss(x):
        return (nt.derivatives(layer, x, 2, v)[2] ** 2).mean()

    parameters = [p for p in layer.parameters() if p.ndim > 1]
    got = torch.autograd.grad(torch.compile(loss, fullgraph=True, backend=counting())(x), parameters)
    for g, e in zip(got, torch.autograd.grad(loss(x), parameters), strict=True):
        torch.testing.assert_close(g, e, rtol=1e-10, atol=1e-12)


def test_a_missing_rule_is_named_where_the_graph_breaks():
    with pytest.raises(nt.MissingRule, match="'i0'"):
        torch.compile(lambda x: nt.derivatives(torch.i0, x, 2), backend=counting())(X + 2)


def test_matrix_products_are_right_or_refused():
    """Dynamo swaps the operands of jet @ tensor (torch 2.13): refused there, and torch.matmul is right."""
    x, w = torch.rand(3, 3, dtype=torch.float64), torch.rand(3, 3, dtype=torch.float64)

    def compiled(f):
        return torch.compile(lambda x: nt.derivatives(f, x, 2, x), fullgraph=True, backend=counting())(x)

    for right in (lambda x: torch.matmul(x, w), lambda x: torch.matmul(w, x), lambda x: torch.matmul(x, x.T)):
        torch.testing.assert_close(compiled(right), nt.derivatives(right, x, 2, x))
    with pytest.raises(torch._dynamo.exc.Unsupported):
        compiled(lambda x: x @ w)


FRESH = """
import torch
import ntaylor as nt

model = torch.nn.Sequential(torch.nn.Linear(1, 3), torch.nn.Tanh(), torch.nn.Linear(3, 1)).double()
x = torch.linspace(0, 1, 4, dtype=torch.float64)[:, None]

@torch.compile(fullgraph=True)
def loss(x):
    return (nt.derivatives(model, x, 2)[2] ** 2).mean()

value = loss(x)
value.backward()
with torch._dynamo.config.patch(error_on_recompile=True):
    loss(x)
compiled = [p.grad.clone() for p in model.parameters()]
model.zero_grad(set_to_none=True)
(nt.derivatives(model, x, 2)[2] ** 2).mean().backward()
for p, g in zip(model.parameters(), compiled):
    if p.grad is None:  # the last bias, which second derivatives do not have
        assert g is None or not g.any()
    else:
        torch.testing.assert_close(g, p.grad)
print("done")
"""


def test_a_fresh_process_with_the_default_compiler(tmp_path):
    """Nothing of ntaylor was called before, the generated code is compiled, and the user sees no warning."""
    script = tmp_path / "fresh.py"
    script.write_text(
        FRESH.replace("compiled = [p.grad.clone()", "compiled = [None if p.grad is None else p.grad.clone()")
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=300, check=False)
    assert done.stdout == "done\n", done.stderr
    assert done.stderr == ""


def test_transforms_inside_see_what_activations_do():
    """grad of grad, gradients by parameters after grad by x, vmap of jacrev: lost where a node hides the operations."""
    torch._dynamo.reset()
    net = nt.MLP.create([1, 4, 1], xp=torch, dtype=torch.float64, seed=0)
    leaves = {name: p.requires_grad_() for name, p in net.parameters.items()}
    net = net.replace(leaves)
    x = torch.linspace(-1, 1, 3, dtype=torch.float64)

    def second(t):
        return nt.derivatives(net, t, 2)[2].sum()

    def twice(t):
        return torch.func.grad(lambda s: torch.func.grad(second)(s).sum())(t)

    def once(t):
        return torch.func.grad(second)(t)

    def rows(t):
        return torch.vmap(torch.func.jacrev(lambda s: nt.derivatives(net, s, 1)[1]))(t)

    for function in (twice, once, rows):
        compiled = torch.compile(function, backend="aot_eager")
        torch.testing.assert_close(compiled(x), function(x), rtol=1e-12, atol=1e-13)
    found = torch.autograd.grad(
        (torch.compile(once, backend="aot_eager")(x) ** 2).sum(), list(leaves.values()), allow_unused=True
    )
    wanted = torch.autograd.grad((once(x) ** 2).sum(), list(leaves.values()), allow_unused=True)
    for g, e in zip(found, wanted, strict=True):
        assert (g is None) == (e is None)
        if e is not None:
            torch.testing.assert_close(g, e, rtol=1e-12, atol=1e-13)
