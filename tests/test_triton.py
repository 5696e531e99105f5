"""Triton kernels, without a GPU: in Triton's interpreter they give what the core gives, and its compiler takes them.

The interpreter has no CUDA functions: here they are NumPy's and SciPy's, on the interpreter's arrays. With a GPU the
kernels themselves are compared, as the adapter calls them.
"""

from __future__ import annotations

from types import SimpleNamespace

import kernel_cases
import numpy as np
import pytest
import scipy.special

import ntaylor as nt
from ntaylor_backends import kernels
from ntaylor_backends.kernels import layout

torch = pytest.importorskip("torch", reason="torch is not installed")
triton = pytest.importorskip("triton", reason="Triton is not installed; it comes with torch for CUDA")

import triton.language as tl  # noqa: E402

from ntaylor_backends.torch import kernel_choice, nodes, triton_kernels  # noqa: E402

FUNCTIONS = {
    **{name: getattr(np, name) for name in ("cos", "cosh", "exp", "expm1", "floor", "log", "log10", "log1p", "log2")},
    **{name: getattr(np, name) for name in ("sin", "sinh", "sqrt", "tan", "tanh")},
    **{f"a{name}": getattr(np, f"arc{name}") for name in ("cos", "cosh", "sin", "sinh", "tan", "tanh")},
    "pow": np.power,
    "erf": scipy.special.erf,
    "erfc": scipy.special.erfc,
}


@pytest.fixture
def interpreter(monkeypatch):
    """Kernels made in this test run in the interpreter."""

    def on_blocks(function):
        def call(*blocks):
            first = blocks[0]
            result = function(*(block.handle.data for block in blocks)).astype(first.handle.data.dtype)
            return tl.tensor(type(first.handle)(result, first.handle.dtype), first.type)

        return call

    monkeypatch.setenv("TRITON_INTERPRET", "1")
    functions = SimpleNamespace(**{name: on_blocks(function) for name, function in FUNCTIONS.items()})
    monkeypatch.setattr(triton_kernels, "libdevice", functions)
    monkeypatch.setattr(triton_kernels, "LANES", 64)
    triton_kernels._compiled.cache_clear()
    with np.errstate(all="ignore"):  # lanes outside an array compute on zeros
        yield
    triton_kernels._compiled.cache_clear()


def by_kernels(activation, u, order, parameters):
    return kernels.activate(triton_kernels.run, activation, u, order, parameters)


def compare(activation, u, order, dtype="float64"):
    parameters = kernel_cases.parameters_of(activation, dtype)
    return max(kernel_cases.compare(activation, u, order, parameters, by_kernels, torch.asarray, lambda t: t.numpy()))


@pytest.mark.parametrize("order", [1, 4, 10])
@pytest.mark.usefixtures("interpreter")
def test_every_activation_in_the_interpreter(order):
    """Forward and adjoint along a line and of all coefficients, to 1e-13 of the core."""
    found = {}
    for label, activation in kernel_cases.ACTIVATIONS.items():
        for length in {2, order + 1}:
            u = kernel_cases.series(activation, [(70,)] * length, np.random.default_rng(order))
            found[label, length] = compare(activation, u, order)
    assert {key: error for key, error in found.items() if error > 1e-13} == {}


@pytest.mark.parametrize("shapes", kernel_cases.SHAPES.values(), ids=kernel_cases.SHAPES)
@pytest.mark.parametrize("name", ["gelu", "adaptive_tanh"])
@pytest.mark.usefixtures("interpreter")
def test_coefficients_of_any_shape(name, shapes):
    activation = nt.activations.get(name)
    assert compare(activation, kernel_cases.series(activation, shapes, np.random.default_rng(1)), 3) <= 1e-13


@pytest.mark.usefixtures("interpreter")
def test_a_kernel_without_inputs():
    activation = kernel_cases.CONSTANT
    assert compare(activation, kernel_cases.series(activation, [(5,), (3, 5)], np.random.default_rng(1)), 1) == 0


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.usefixtures("interpreter")
def test_every_operation_is_numpy_s(dtype):
    """Those too that no built-in rule uses, on what is no number too: a rule of a user's may."""
    inputs, _ = kernel_cases.on_every_operation(dtype)
    tensors = {(name,): torch.asarray(a) for name, a in inputs.items()}
    found = triton_kernels.run(kernel_cases.every_operation(), tensors, (60,))
    kernel_cases.check_every_operation([t.numpy() for t in found], dtype)


@pytest.mark.usefixtures("interpreter")
def test_float32_stays_float32():
    """Constants and functions included: the result is that of float32 arithmetic, within some of its eps."""
    activation = nt.activations.get("gelu_tanh")
    u = kernel_cases.series(activation, [(70,)] * 5, np.random.default_rng(1), "float32")
    assert 1e-9 < compare(activation, u, 4, "float32") <= 50 * np.finfo(np.float32).eps


@pytest.mark.usefixtures("interpreter")
def test_strided_tensors_and_cotangents_of_another_dtype():
    """Kernels read memory as it lies: what is transposed, spread out or of another dtype is copied first."""
    activation, rng = nt.activations.get("tanh"), np.random.default_rng(2)
    u = [torch.asarray(rng.uniform(-1, 1, (5, 6))).T, torch.asarray(rng.uniform()).expand(6, 5)]
    v, pullback = by_kernels(activation, u, 2, {})
    wanted, wanted_pullback = activation.closed_form(u, 2, {})
    g = torch.asarray(rng.uniform(-1, 1, (3, 5, 6)).astype(np.float32)).mT
    for found, expected in zip(
        [*v, *pullback(list(g))[0]], [*wanted, *wanted_pullback(list(g.double()))[0]], strict=True
    ):
        assert torch.allclose(found, expected, rtol=1e-14, atol=1e-15)
        assert found.dtype == torch.float64


def test_places_are_64_bit_integers():
    """An array of more than 2^31 entries is nothing that a test can hold."""
    program = next(kernel_cases.programs(nt.activations.get("snake"), (2,)))[3]
    _, text = triton_kernels.kernel(program, [(False, True, True), (True, False, True), (False, False, False)], 3)
    lines = [line.strip() for line in text.splitlines()]
    for line in (
        "i = tl.program_id(0).to(tl.int64) * LANES + tl.arange(0, LANES)",
        "i0 = i // n2 // n1",
        "i1 = i // n2 % n1",
        "i2 = i % n2",
        "x0 = tl.load(a0 + (i1) * n2 + i2, mask=inside)  # u0",
        "x1 = tl.load(a1 + (i0) * n2 + i2, mask=inside)  # u1",
        "x2 = tl.load(a2)  # parameter a",
    ):
        assert line in lines


TORCHS_OWN = pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")  # the first transform of a process
TARGETS = {"float32": "fp32", "float64": "fp64"}


@pytest.mark.parametrize("dtype", TARGETS)
def test_the_compiler_makes_code_for_a_gpu(dtype, monkeypatch, tmp_path):
    """To PTX, with CUDA's functions: an operation that Triton lacks, or has for other types only, is seen here."""
    compiler = pytest.importorskip("triton.backends.compiler", reason="this Triton cannot compile for a named GPU")
    if "nvidia" not in triton.backends.backends:
        pytest.skip("this Triton has no back end for CUDA")
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    triton_kernels._compiled.cache_clear()
    target = compiler.GPUTarget("cuda", 90, 32)
    programs = [kernel_cases.every_operation()]
    for name in ("gelu", "adaptive_tanh", "square"):
        programs += [found[3] for found in kernel_cases.programs(nt.activations.get(name), (3,))]
    for program in programs:
        shapes = {"u0": (3, 5)} | {name: () for name in program.inputs if name.startswith("parameter ")}
        sizes, varying = layout((2, 3, 5), tuple(shapes.get(name, (2, 3, 5)) for name in program.inputs))
        function = triton_kernels._compiled(program, varying, len(sizes))
        integers = ["entries", *(f"n{d}" for d in range(len(sizes)))]
        signature = {
            name: "constexpr" if name == "LANES" else "i64" if name in integers else f"*{TARGETS[dtype]}"
            for name in function.arg_names
        }
        source = triton.compiler.ASTSource(function, signature, {"LANES": 256})
        made = triton.compile(source, target=target, options=triton_kernels.OPTIONS)
        assert f".entry {function.__name__}(" in made.asm["ptx"]
        assert "0d3FB99999A0000000" not in made.asm["ptx"], "0.1 was a float32 before it became a double"


def plain(*shape, **options):
    return torch.ones(*shape, dtype=torch.float64, **options)


def on_a_gpu(tensors):
    """What ``kernel_choice.runner`` would say of these tensors there."""
    return triton_kernels.run if kernel_choice.are_plain(tensors) else None


@TORCHS_OWN
def test_kernels_are_for_plain_tensors_only():
    """Not where autograd, a transform or forward mode would miss what they do."""

    def is_plain(t):
        return kernel_choice.are_plain([t])

    assert is_plain(plain(3))
    assert not is_plain(plain(3, requires_grad=True))
    assert not is_plain(torch.nn.Parameter(plain(3)))
    with torch.no_grad():
        assert is_plain(torch.nn.Parameter(plain(3)))
    seen = []
    torch.vmap(lambda t: (seen.append(is_plain(t)), t)[1])(plain(3))
    torch.func.grad(lambda t: (seen.append(is_plain(t)), t.sum())[1])(plain(3))
    with torch.autograd.forward_ad.dual_level():
        seen.append(is_plain(torch.autograd.forward_ad.make_dual(plain(3), plain(3))))
    assert seen == [False] * 3
    assert not is_plain(np.ones(3))
    assert not is_plain(2.0)


def test_small_tensors_on_the_cpu_are_left_to_the_core():
    assert kernel_choice.runner([plain(3)]) is None
    activation = nt.activations.get("tanh")
    v, pullback = kernel_choice.activate(activation, [plain(3), plain(3)], 2, {})
    wanted, wanted_pullback = activation.closed_form([plain(3), plain(3)], 2, {})
    assert all(map(torch.equal, v, wanted))
    assert all(map(torch.equal, pullback(wanted)[0], wanted_pullback(wanted)[0]))


@TORCHS_OWN
@pytest.mark.usefixtures("interpreter")
def test_cotangents_that_are_followed_take_the_closed_form(monkeypatch):
    """Gradients of gradients, and a backward pass under vmap, see torch's own operations."""
    monkeypatch.setattr(kernel_choice, "runner", on_a_gpu)
    seen = []
    run = triton_kernels.run
    monkeypatch.setattr(triton_kernels, "run", lambda *args: (seen.append(args[0].name), run(*args))[1])
    activation = nt.activations.get("tanh")
    u = [(plain(3) * 0.3).requires_grad_(), plain(3)]

    def top():
        return nodes.activate(activation, u, 2, {})[0][2]

    (once,) = torch.autograd.grad(top().sum(), u[0])
    assert seen == ["tanh_forward_2", "tanh_adjoint_2"]
    (watched,) = torch.autograd.grad(top().sum(), u[0], create_graph=True)
    assert torch.allclose(watched, once, rtol=1e-14)
    assert torch.autograd.grad(watched.sum(), u[0])[0].abs().min() > 0
    (batched,) = torch.autograd.grad(top(), u[0], torch.stack([plain(3), 2 * plain(3)]), is_grads_batched=True)
    assert torch.allclose(batched, torch.stack([once, 2 * once]))
    assert seen[2:] == ["tanh_forward_2"] * 2


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU that torch can use")
@pytest.mark.parametrize("dtype", TARGETS)
def test_on_a_gpu(dtype):
    """All activations as the adapter calls them, and a network with its gradients."""
    triton_kernels._compiled.cache_clear()
    tolerance = 1e-13 if dtype == "float64" else 100 * np.finfo(np.float32).eps
    found = {}
    for label, activation in kernel_cases.ACTIVATIONS.items():
        u = kernel_cases.series(activation, [(40, 5), (3, 40, 5), None, (3, 40, 5)], np.random.default_rng(1), dtype)
        parameters = kernel_cases.parameters_of(activation, dtype)
        found[label] = max(
            kernel_cases.compare(
                activation,
                u,
                4,
                parameters,
                kernel_choice.activate,
                lambda a: torch.asarray(a, device="cuda"),
                lambda t: t.cpu().numpy(),
            )
        )
    assert triton_kernels._compiled.cache_info().misses
    assert {key: error for key, error in found.items() if error > tolerance} == {}


@TORCHS_OWN
@pytest.mark.parametrize("activation", ["gelu", "adaptive_tanh"])
@pytest.mark.usefixtures("interpreter")
def test_a_loss_with_derivatives_by_kernels(activation, monkeypatch):
    """The adapter's node runs kernels, forward and back; values, gradients and those of gradients are torch's."""
    net = nt.MLP.create([1, 6, 6, 1], activation, xp=torch, dtype=torch.float64, seed=0)
    x = torch.linspace(-1, 1, 40, dtype=torch.float64)

    def loss_and_gradients():
        leaves = {name: p.clone().requires_grad_() for name, p in net.parameters.items()}
        u, _, ddu = nt.derivatives(net.replace(leaves), x, 2)
        function = nt.derivatives(lambda t: getattr(t.__array_namespace__(), activation)(t * leaves["0.bias"][0]), x, 2)
        loss = ((ddu + u) ** 2).mean() + (function**2).mean()
        once = torch.autograd.grad(loss, list(leaves.values()), create_graph=True, allow_unused=True)
        total = sum((g**2).sum() for g in once if g is not None)
        return [loss, *once, *torch.autograd.grad(total, list(leaves.values()), allow_unused=True)]

    wanted = loss_and_gradients()
    monkeypatch.setattr(kernel_choice, "runner", on_a_gpu)
    seen = []
    run = triton_kernels.run
    monkeypatch.setattr(triton_kernels, "run", lambda *args: (seen.append(args[0].name), run(*args))[1])
    for found, expected in zip(loss_and_gradients(), wanted, strict=True):
        assert torch.allclose(found, expected, rtol=1e-12, atol=1e-13)
    leaves = {name: p.clone().requires_grad_() for name, p in net.parameters.items()}
    u, _, ddu = nt.derivatives(net.replace(leaves), x, 2)
    ((ddu + u) ** 2).mean().backward()
    assert {f"{activation}_forward_2", f"{activation}_adjoint_2"} <= set(seen)
    close = nt.derivatives(net, x, 2)
    assert torch.allclose(close[2], ddu.detach(), rtol=1e-12)
