"""The CUDA C that is printed, without a GPU: it computes what the core does, and CUDA's compilers take it."""

# ruff: noqa: ARG005 rules share one signature

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import replace

import cuda_on_cpu
import kernel_cases
import numpy as np
import pytest

import ntaylor as nt
from ntaylor.programs import NotRecordableError
from ntaylor.series import Series
from ntaylor_backends import cuda

ORDERS = (1, 4, 10)
ENTRIES = 200
EPS32 = float(np.finfo(np.float32).eps)


def printed(dtype, orders=ORDERS):
    """(label of the activation, direction, order, line) -> (program, its kernel's text), names unlike each other."""
    found = {}
    for label, activation in kernel_cases.ACTIVATIONS.items():
        for direction, order, line, program in kernel_cases.programs(activation, orders):
            program = replace(program, name=f"{program.name}_{len(found)}")
            varying = [(not name.startswith("parameter "),) for name in program.inputs]
            found[label, direction, order, line] = program, *cuda.kernel(program, varying, 1, dtype)
    return found


def run(program, launch, inputs, dtype):
    given = [np.ascontiguousarray(inputs[name], dtype) for name in program.inputs]
    results = [None if at is None else np.full(ENTRIES, np.nan, dtype) for at in program.outputs]
    launch((2,), (64,), (np.int64(ENTRIES), *given, *(r for r in results if r is not None)))
    return results


def errors(label, direction, order, line, program, launch, dtype):
    """Of every output, the largest error relative to the largest entry, against the core in float64."""
    activation = kernel_cases.ACTIVATIONS[label]
    rng = np.random.default_rng(order)
    u = kernel_cases.series(activation, [(ENTRIES,)] * (2 if line else order + 1), rng, dtype)
    parameters = {name: np.full(ENTRIES, 1.25) for name in activation.parameters}  # a cotangent an entry
    u = [c.astype(float) for c in u]
    g = [rng.standard_normal(ENTRIES).astype(dtype).astype(float) for _ in range(order + 1)]
    v, pullback = activation.closed_form(u, order, parameters)
    inputs = {f"u{k}": c for k, c in enumerate(u)} | {f"g{k}": c for k, c in enumerate(g)}
    inputs |= {f"parameter {name}": p[:1] for name, p in parameters.items()}
    if direction == "forward":
        wanted = [*v, *[None] * (order + 1 - len(v))]
    else:
        of_u, of_parameters = pullback(g)
        wanted = [*of_u, *of_parameters.values()]
    found = run(program, launch, inputs, dtype)
    return kernel_cases.worst([None if c is None else c.astype(float) for c in found], wanted)


@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-13), ("float32", 50 * EPS32)])
def test_kernels_compute_what_the_core_computes(dtype, tolerance, tmp_path):
    """Values, cotangents of u and of the parameters; in float32 against the core in float64 on equal inputs."""
    if cuda_on_cpu.COMPILER is None:
        pytest.skip(cuda_on_cpu.REASON)
    kernels = printed(dtype)
    launches = cuda_on_cpu.compiled({name: text for _, name, text in kernels.values()}, tmp_path)
    found = {key: errors(*key, program, launches[name], dtype) for key, (program, name, _) in kernels.items()}
    assert {key[0] for key in found} == set(kernel_cases.ACTIVATIONS)
    assert {key: error for key, error in found.items() if error > tolerance} == {}


@pytest.mark.parametrize("dtype", cuda.TYPES)
def test_every_operation_is_numpy_s(dtype, tmp_path):
    """Those too that no built-in rule uses, on what is no number too: a rule of a user's may."""
    if cuda_on_cpu.COMPILER is None:
        pytest.skip(cuda_on_cpu.REASON)
    program = kernel_cases.every_operation()
    name, text = cuda.kernel(program, [(True,)] * 2, 1, dtype)
    inputs, _ = kernel_cases.on_every_operation(dtype)
    results = [np.empty(60, dtype) for _ in program.outputs]
    cuda_on_cpu.compiled({name: text}, tmp_path)[name]((1,), (64,), (np.int64(60), *inputs.values(), *results))
    kernel_cases.check_every_operation(results, dtype)


def few(dtype):
    """Every operation, all activations at order 3, and the longest kernel: CUDA's compilers take seconds for it."""
    operations = cuda.kernel(kernel_cases.every_operation(), [(True,)] * 2, 1, dtype)[1]
    kernels = printed(dtype, (3,)).values()
    longest = max(printed(dtype, (10,)).values(), key=lambda found: len(found[0].values))
    return "".join([operations, *(text for _, _, text in [*kernels, longest])])


@pytest.mark.parametrize("dtype", cuda.TYPES)
def test_nvcc_compiles_the_kernels_without_a_warning(dtype, tmp_path):
    if shutil.which("nvcc") is None:
        pytest.skip("nvcc is not on the PATH")
    text = few(dtype)
    (tmp_path / "kernels.cu").write_text(text)
    command = ["nvcc", "-arch=sm_90", "-Werror", "all-warnings", "-cubin", "-o", "kernels.cubin", "kernels.cu"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    cubin = (tmp_path / "kernels.cubin").read_bytes()
    assert all(name.encode() in cubin for name in re.findall(r"void (\w+)\(", text))


@pytest.mark.parametrize("dtype", cuda.TYPES)
def test_nvrtc_as_cupy_uses_it_compiles_the_kernels(dtype):
    """No header is there, CUDA's mathematical functions are."""
    nvrtc = pytest.importorskip("cupy_backends.cuda.libs.nvrtc", reason="CuPy is not installed")
    try:
        nvrtc.getVersion()
    except Exception as error:
        pytest.skip(f"CuPy finds no NVRTC: {error}")
    program = nvrtc.createProgram(few(dtype), "kernels.cu", (), ())
    try:
        nvrtc.compileProgram(program, ("--gpu-architecture=compute_90", "--std=c++17"))
        log, ptx = nvrtc.getProgramLog(program), nvrtc.getPTX(program)
    finally:
        nvrtc.destroyProgram(program)
    assert "warning" not in log
    assert "ntaylor_every_operation" in (ptx if isinstance(ptx, str) else ptx.decode())


def test_the_source_can_be_read():
    text = cuda.source("tanh", 4)
    assert "void ntaylor_tanh_forward_4(" in text
    assert "// u4" in text
    assert text.count("tanh(") == 1
    assert "typedef double real;" in text
    line = cuda.source("snake", 4, adjoint=True, line=True, dtype="float32")
    assert "void ntaylor_snake_adjoint_4(" in line
    assert "typedef float real;" in line
    assert "// u1" in line
    assert "// u2" not in line
    assert "a2[0];  // parameter a" in line
    assert "void ntaylor_power_0_5_forward_0(" in cuda.source(nt.activations.power(0.5), 0, line=True)


def test_what_cannot_be_printed_is_refused():
    asks = nt.activations.Activation("asks", lambda u, xp: (u, Series([u[0]])) if u[0] > 0 else (u, u))
    with pytest.raises(NotRecordableError, match="asks"):
        cuda.source(asks, 2)
    with pytest.raises(ValueError, match="float32, float64; got 'float16'"):
        cuda.source("tanh", 2, dtype="float16")
    endless = nt.activations.Activation("endless", lambda u, xp: (u * float("inf"), u))
    with pytest.raises(NotRecordableError, match="endless"):
        cuda.source(endless, 2)


def test_places_are_64_bit_integers():
    """An array of more than 2^31 entries is nothing that a test can hold: no integer in the text may be shorter."""
    program = next(kernel_cases.programs(nt.activations.get("snake"), (2,)))[3]
    varying = [(False, True, True), (True, False, True), (False, False, False)]
    _, text = cuda.kernel(program, varying, 3, "float64")
    assert "int " not in text.replace("long long", "")
    for line in ("i0 = i / n2 / n1;", "i1 = i / n2 % n1;", "i2 = i % n2;"):
        assert f"const long long {line}" in text
    for line in ("a0[(i1) * n2 + i2]", "a1[(i0) * n2 + i2]", "a2[0]"):
        assert line in text
