"""CuPy's adapter: the core's numbers, on CuPy's arrays, by kernels.

Everything runs on CuPy where there is a GPU. Everywhere it runs on a stand-in that is NumPy's arrays with a
``RawKernel`` that compiles its text for the CPU, so that our side of the adapter is what runs: which kernels, of which
sizes and arguments, on arrays of which shapes, strides and dtypes.
"""

# ruff: noqa: ARG005 rules share one signature

from __future__ import annotations

import importlib
import subprocess
import sys

import cuda_on_cpu
import kernel_cases
import numpy as np
import pytest

import ntaylor as nt
from ntaylor.dispatch import adapter_for

X = np.linspace(-0.8, 0.9, 23)


def why_no_device():
    """A reason, or nothing where CuPy can compute."""
    try:
        import cupy

        cupy.cuda.runtime.getDeviceCount()
        cupy.ones(3).sum().get()
    except Exception as error:
        return f"no CuPy with a device: {type(error).__name__}"
    return ""


NO_DEVICE = why_no_device()


@pytest.fixture(scope="module", params=["stand-in"] if NO_DEVICE else ["stand-in", "device"])
def cp(request):
    """CuPy, or what stands in for it."""
    if request.param == "device":
        yield importlib.import_module("cupy")
    else:
        if cuda_on_cpu.COMPILER is None:
            pytest.skip(cuda_on_cpu.REASON)
        with cuda_on_cpu.in_place_of_cupy() as stand_in:
            yield stand_in


@pytest.fixture
def launched(cp, monkeypatch):
    """Names of the kernels that were launched."""
    seen = []
    adapter_module = importlib.import_module("ntaylor_backends.cupy")
    compiled = adapter_module._compiled

    def counting(*args):
        kernel = compiled(*args)
        seen.append(kernel.name)
        return kernel

    monkeypatch.setattr(adapter_module, "_compiled", counting)
    return seen


def to_numpy(cp):
    """Back to NumPy; fails for what is not CuPy's, or on another device."""

    def back(a):
        assert type(a) is cp.ndarray
        assert a.device == cp.ones(1).device
        return a.get()

    return back


def close(cp, found, wanted, tolerance=1e-12):
    found = to_numpy(cp)(found)
    assert found.dtype == wanted.dtype
    assert kernel_cases.worst([found], [np.asarray(wanted)]) <= tolerance


def network(cp, *args, **kwargs):
    """(of CuPy, of NumPy), of equal parameters."""
    plain = nt.MLP.create(*args, **kwargs)
    own = nt.MLP.create(*args, xp=cp, **kwargs)
    return own.replace({name: cp.asarray(p) for name, p in plain.parameters.items()}), plain


@pytest.mark.parametrize("shapes", kernel_cases.SHAPES.values(), ids=kernel_cases.SHAPES)
@pytest.mark.parametrize("name", ["gelu", "adaptive_tanh"])
def test_an_activation_and_its_pullback(cp, launched, name, shapes):
    """Values, cotangents and the gradients of parameters are those of the core, however coefficients are shared."""
    activation = nt.activations.get(name)
    u = kernel_cases.series(activation, shapes, np.random.default_rng(1))
    adapter = adapter_for(cp.ones(1))
    found = kernel_cases.compare(
        activation, u, 3, kernel_cases.parameters_of(activation), adapter.activate, cp.asarray, to_numpy(cp)
    )
    assert max(found) <= 1e-13
    empty = any(0 in shape for shape in shapes[:1])
    assert empty or {f"ntaylor_{name}_forward_3", f"ntaylor_{name}_adjoint_3"} <= set(launched)


@pytest.mark.parametrize("name", ["snake", "relu3", "square", "mish"])
def test_other_activations_on_a_network_s_shapes(cp, name):
    activation = nt.activations.get(name)
    u = kernel_cases.series(activation, [(300, 5), (5,), None, (300, 5)], np.random.default_rng(1))
    found = kernel_cases.compare(
        activation,
        u,
        4,
        kernel_cases.parameters_of(activation),
        adapter_for(cp.ones(1)).activate,
        cp.asarray,
        to_numpy(cp),
    )
    assert max(found) <= 1e-13


def test_a_kernel_without_inputs(cp):
    activation, activate = kernel_cases.CONSTANT, adapter_for(cp.ones(1)).activate
    u = kernel_cases.series(activation, [(5,), (3, 5)], np.random.default_rng(1))
    assert max(kernel_cases.compare(activation, u, 1, {}, activate, cp.asarray, to_numpy(cp))) == 0


def test_strided_arrays_and_cotangents_of_another_dtype(cp):
    """Kernels read memory as it lies: what is transposed, reversed, spread out or of another dtype is copied first."""
    activation, rng = nt.activations.get("tanh"), np.random.default_rng(2)
    views = [rng.uniform(-1, 1, (5, 6)).T, rng.uniform(-1, 1, (12, 5))[::-2], np.broadcast_to(rng.uniform(), (6, 5))]
    own = [cp.asarray(v.base) for v in views[:2]]
    u = [own[0].reshape(5, 6).T, own[1].reshape(12, 5)[::-2], cp.broadcast_to(cp.asarray(views[2][0, 0]), (6, 5))]
    v, pullback = adapter_for(u[0]).activate(activation, u, 2, {})
    wanted, wanted_pullback = activation.closed_form(views, 2, {})
    for f, w in zip(v, wanted, strict=True):
        close(cp, f, w, 1e-14)
    g = rng.uniform(-1, 1, (3, 5, 6))
    of_u, _ = pullback([cp.asarray(c.astype(np.float32)).T for c in g])
    wanted_of_u, _ = wanted_pullback([c.astype(np.float32).astype(float).T for c in g])
    for f, w in zip(of_u, wanted_of_u, strict=True):
        close(cp, f, w, 1e-14)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_derivatives_of_a_network(cp, launched, dtype):
    tolerance = 1e-12 if dtype == "float64" else 1e-5
    own, plain = network(cp, [1, 9, 9, 2], "gelu", dtype=dtype, seed=3)
    x = X.astype(dtype)
    close(cp, nt.derivatives(own, cp.asarray(x), 5), nt.derivatives(plain, x, 5), tolerance)
    assert launched == ["ntaylor_gelu_forward_5"] * 2


def test_derivatives_along_directions(cp):
    own, plain = network(cp, [3, 9, 2], "adaptive_tanh", seed=3)
    rng = np.random.default_rng(4)
    x, direction = rng.uniform(-1, 1, (7, 3)), rng.uniform(-1, 1, (7, 3))
    for d in (direction, direction[0]):
        close(cp, nt.derivatives(own, cp.asarray(x), 4, cp.asarray(d)), nt.derivatives(plain, x, 4, d))


def test_derivatives_of_a_function(cp, launched):
    """Of the namespace, of arrays' operators and of constants."""

    def f(x):
        xp = x.__array_namespace__()
        return xp.exp(-x * x) * xp.sin(3 * x) / (2 + xp.tanh(x)) + xp.sqrt(x + 2)

    close(cp, nt.derivatives(f, cp.asarray(X), 8), nt.derivatives(f, X, 8))
    assert {"ntaylor_exp_forward_8", "ntaylor_sin_forward_8"} <= set(launched)


@pytest.mark.parametrize("name", ["tanh", "erf", "ndtr", "gelu"])
def test_special_functions_are_cupy_s_at_any_order(cp, name):
    for order in (0, 1):
        found = nt.derivatives(lambda x: getattr(x.__array_namespace__(), name)(x), cp.asarray(X), order)
        wanted = nt.derivatives(lambda x: getattr(x.__array_namespace__(), name)(x), X, order)
        close(cp, found, wanted)


@pytest.mark.parametrize("activation", ["tanh", "snake"])
def test_gradients_of_a_loss_with_derivatives(cp, launched, activation):
    """The closed-form adjoint: value and every gradient are NumPy's, learnable parameters of activations included."""
    own, plain = network(cp, [1, 8, 8, 1], activation, seed=5)

    def loss_of(net, x):
        def loss(parameters):
            u, _, ddu = nt.derivatives(net.replace(parameters), x, 2)
            residual = ddu + u * u
            return residual.__array_namespace__().mean(residual**2)

        return loss

    value, gradient = nt.value_and_grad(loss_of(own, cp.asarray(X)))(own.parameters)
    wanted, wanted_gradient = nt.value_and_grad(loss_of(plain, X))(plain.parameters)
    close(cp, value, wanted)
    assert list(gradient) == list(wanted_gradient)
    for name in gradient:
        close(cp, gradient[name], wanted_gradient[name])
    assert {f"ntaylor_{activation}_forward_2", f"ntaylor_{activation}_adjoint_2"} == set(launched)


def test_a_kernel_is_made_once(cp):
    adapter_module = importlib.import_module("ntaylor_backends.cupy")
    own, _ = network(cp, [1, 5, 1], "cosh", seed=0)
    nt.derivatives(own, cp.asarray(X), 3)
    before = adapter_module._compiled.cache_info()
    nt.derivatives(own, cp.asarray(X[:4]), 3)  # of another length
    after = adapter_module._compiled.cache_info()
    assert (after.misses, after.hits) == (before.misses, before.hits + 1)


def test_what_kernels_do_not_do_the_core_does(cp, launched):
    """Complex arrays, and rules that cannot be recorded."""
    z = X + 0.3j
    f = nt.activations.get("tanh").closed_form
    for found, wanted in zip(
        adapter_for(cp.ones(1)).activate(nt.activations.get("tanh"), [cp.asarray(z)] * 3, 2, {})[0],
        f([z] * 3, 2, {})[0],
        strict=True,
    ):
        close(cp, found, wanted)
    asks = nt.activations.Activation("asks", lambda u, xp: (u * float(u[0].shape[0]), u * 0 + float(u[0].shape[0])))
    v, _ = adapter_for(cp.ones(1)).activate(asks, [cp.asarray(X)] * 2, 1, {})
    close(cp, v[1], 23 * X)
    assert launched == []


def test_numpy_arrays_are_not_mixed_in(cp):
    own, plain = network(cp, [1, 4, 1], "tanh", seed=0)
    with pytest.raises(TypeError, match="different libraries"):
        nt.derivatives(plain, cp.asarray(X), 2)
    with pytest.raises(TypeError, match="different libraries"):
        nt.derivatives(own, X, 2)


@pytest.mark.skipif(bool(NO_DEVICE), reason=NO_DEVICE)
def test_all_activations_on_the_device():
    import cupy

    found = {}
    for label, activation in kernel_cases.ACTIVATIONS.items():
        u = kernel_cases.series(activation, [(40, 5), (3, 40, 5), None, (3, 40, 5)], np.random.default_rng(1))
        parameters = kernel_cases.parameters_of(activation)
        activate = adapter_for(cupy.ones(1)).activate
        found[label] = max(kernel_cases.compare(activation, u, 4, parameters, activate, cupy.asarray, to_numpy(cupy)))
    assert {label: error for label, error in found.items() if error > 1e-13} == {}


def test_ntaylor_does_not_import_cupy():
    code = "import sys, ntaylor, ntaylor_backends.cuda; sys.exit('cupy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
