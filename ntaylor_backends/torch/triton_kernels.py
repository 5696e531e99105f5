"""Programs as Triton kernels, for tensors on a GPU.

An entry of the results is one lane's. Inputs are flat and C-contiguous and are read where they are, however they
broadcast (``kernels.layout``); places are 64-bit integers.
"""

from __future__ import annotations

import itertools
import linecache
import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import torch
import triton
import triton.language as tl
from triton.language.extra import libdevice

from ntaylor.programs import Program
from ntaylor_backends.kernels import Inputs, layout, singly
from ntaylor_backends.printing import TRITON, coordinates, identifier, output, place, statements

__all__ = ["kernel", "run"]

Tensor = Any

LANES = 256
OPTIONS = {
    "num_warps": 8,  # a lane a thread: at order 10 one takes up to 158 of its 255 registers, and two would not fit
    "enable_fp_fusion": True,
}
_numbers = itertools.count()


def run(program: Program, inputs: Inputs, shape: tuple[int, ...]) -> Tensor:
    """The outputs as one new tensor, on the device and of the dtype of the first input."""
    like = next(iter(inputs.values()))
    named = dict(singly(inputs))
    given = [named[name] for name in program.inputs]
    sizes, varying = layout(shape, tuple(tuple(t.shape) for t in given))
    entries = math.prod(sizes)
    count = sum(at is not None for at in program.outputs)
    results = torch.empty((count, *shape), dtype=like.dtype, device=like.device)
    if entries and count:
        compiled = _compiled(program, varying, len(sizes))
        # A loss may give cotangents of another dtype, and of any strides.
        flat = [t.to(like.dtype).contiguous() for t in given]
        with torch.cuda.device_of(like):  # kernels are launched on the device that is current
            compiled[(triton.cdiv(entries, LANES),)](entries, *sizes, *flat, *results.unbind(), LANES=LANES, **OPTIONS)
    return results


def kernel(program: Program, varying: Sequence[tuple[bool, ...]], loops: int) -> tuple[str, str]:
    """(name, text) of the kernel, which takes (entries, n0, n1, …, inputs, results that are no structural zeros).

    The sizes n0, n1, … are those of the loops, and ``varying`` says of every input along which it varies.
    """
    name = identifier(program)
    outputs = [i for i, at in enumerate(program.outputs) if at is not None]
    arguments = ["entries", *(f"n{d}" for d in range(loops)), *(f"a{i}" for i in range(len(varying)))]
    arguments += [f"r{i}" for i in outputs]
    used = {f"i{d}" for along in varying for d, varies in enumerate(along) if varies}
    body = [
        f"real: tl.constexpr = r{outputs[0]}.dtype.element_ty",
        "i = tl.program_id(0).to(tl.int64) * LANES + tl.arange(0, LANES)",
        "inside = i < entries",
    ]
    body += [f"{i} = {expression}" for i, expression in coordinates(loops, "//") if i in used]
    for i, (along, read) in enumerate(zip(varying, program.inputs, strict=True)):
        where = f"a{i} + {place(along)}, mask=inside" if any(along) else f"a{i}"
        body.append(f"x{i} = tl.load({where})  # {read}")
    body += statements(program, TRITON)
    body += [f"tl.store(r{i} + i, {output(program, i, TRITON)}, mask=inside)" for i in outputs]
    lines = ["@triton.jit", f"def {name}({', '.join(arguments)}, LANES: tl.constexpr):"]
    return name, "\n".join(lines + [f"    {line}" for line in body]) + "\n"


@lru_cache(maxsize=4096)
def _compiled(program: Program, varying: tuple[tuple[bool, ...], ...], loops: int) -> Any:
    """Triton compiles it when it is first called, once a dtype and device, and keeps it on disk."""
    name, text = kernel(program, varying, loops)
    # Triton reads the source of a function where Python's tracebacks do.
    path = f"<{name} {next(_numbers)}>"
    linecache.cache[path] = len(text), None, text.splitlines(keepends=True), path
    names = {"__name__": __name__, "triton": triton, "tl": tl, "libdevice": libdevice}
    exec(compile(text, path, "exec"), names)  # our own text, of numbers and names of ours
    return names[name]
