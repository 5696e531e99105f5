"""Programs as CUDA C, and what a reader asks of them; neither CuPy nor a GPU is needed to print one.

An entry of the results is one thread's. Inputs are flat and C-contiguous and are read where they are, however they
broadcast (``kernels.layout``); places are 64-bit integers.
"""

from __future__ import annotations

from collections.abc import Sequence

from ntaylor import activations, programs
from ntaylor.activations import Activation
from ntaylor.programs import Program
from ntaylor_backends.kernels import adjoint_program, forward_program
from ntaylor_backends.printing import CPLUSPLUS, coordinates, identifier, output, place, statements

__all__ = ["kernel", "source"]

TYPES = {"float32": "float", "float64": "double"}


def source(
    activation: str | Activation,
    order: int,
    *,
    adjoint: bool = False,
    line: bool = False,
    dtype: str = "float64",
) -> str:
    """The CUDA C by which an activation is applied to CuPy arrays, to be read or to be compiled elsewhere.

    With ``adjoint=True`` the kernel that turns cotangents of v_0..v_order into those of u; with ``line=True`` that for
    u_0 and u_1 alone, as the first layer of a network gives them. All arrays are of one shape and learnable parameters
    are scalars. Raises NotRecordableError for a rule that cannot be a kernel.
    """
    chosen = activations.get(activation)
    if dtype not in TYPES:
        raise ValueError(f"dtype must be one of {', '.join(TYPES)}; got {dtype!r}")
    present, names = (True,) * (2 if line and order else order + 1), tuple(chosen.parameters)
    every = range(order + 1)
    program = (
        adjoint_program(chosen, order, present, names, (True,) * len(every))
        if adjoint
        else forward_program(chosen, order, tuple(every), present, names)
    )
    if program is None:
        raise programs.NotRecordableError(f"the rule of {chosen.name} depends on values, or calls what no kernel has")
    return kernel(program, [(not name.startswith("parameter "),) for name in program.inputs], 1, dtype)[1]


def kernel(program: Program, varying: Sequence[tuple[bool, ...]], loops: int, dtype: str) -> tuple[str, str]:
    """(name, text) of the kernel, which takes (n0, n1, …, inputs, results that are no structural zeros).

    The sizes n0, n1, … are those of the loops, and ``varying`` says of every input along which it varies.
    """
    name = identifier(program)
    outputs = [i for i, at in enumerate(program.outputs) if at is not None]
    sizes = [f"n{d}" for d in range(loops)]
    arguments = [f"const long long {size}" for size in sizes]
    arguments += [f"const real* __restrict__ a{i}" for i in range(len(varying))]
    arguments += [f"real* __restrict__ r{i}" for i in outputs]
    used = {f"i{d}" for along in varying for d, varies in enumerate(along) if varies}
    body = [f"const long long {i} = {expression};" for i, expression in coordinates(loops, "/") if i in used]
    body += [
        f"const real x{i} = a{i}[{place(along)}];  // {read}"
        for i, (along, read) in enumerate(zip(varying, program.inputs, strict=True))
    ]
    body += statements(program, CPLUSPLUS)
    body += [f"r{i}[i] = {output(program, i, CPLUSPLUS)};" for i in outputs]
    lines = [
        f"typedef {TYPES[dtype]} real;",
        "",
        f'extern "C" __global__ void {name}(',
        "    " + ",\n    ".join(arguments) + ")",
        "{",
        f"    const long long size = {' * '.join(sizes)}, step = (long long)gridDim.x * blockDim.x;",
        "    for (long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x; i < size; i += step) {",
        *(f"        {statement}" for statement in body),
        "    }",
        "}",
    ]
    return name, "\n".join(lines) + "\n"
