"""Programs as loops that Numba compiles, kept on disk for the next process.

A program is split: its transcendental functions are NumPy's own, which are vectorised, on whole arrays; the
arithmetic is one loop in which every intermediate result is a register.
"""

from __future__ import annotations

import hashlib
import math
import os
import sys
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numba
import numpy as np

from ntaylor.namespace import array_namespace
from ntaylor.programs import Program, evaluate
from ntaylor.storage import write_atomic
from ntaylor_backends.kernels import layout
from ntaylor_backends.printing import NUMBA, output, place, statements

__all__ = ["may_compile", "run", "source"]

Array = Any


def may_compile() -> bool:
    """False under NUMBA_DISABLE_JIT, as users set it to step through functions of their own."""
    return not numba.config.DISABLE_JIT


def run(program: Program, inputs: dict[str, Array], shape: tuple[int, ...]) -> list[Array | None]:
    """The outputs as new arrays of ``shape``; what the functions gave stays in ``inputs`` for the adjoint."""
    head, tail = _split(program)
    names = head.names_of_outputs
    if any(name not in inputs for name in names):
        first = next(iter(inputs.values()))
        inputs.update(zip(names, evaluate(head, array_namespace(first), inputs), strict=True))
    dtype = next(iter(inputs.values())).dtype
    arrays = [inputs[name] for name in tail.inputs]
    sizes, varying = layout(shape, tuple(a.shape for a in arrays))
    results = [None if at is None else np.empty(shape, dtype) for at in tail.outputs]
    # A loss may give cotangents of another dtype, and of any strides.
    flat = [np.ascontiguousarray(a, dtype).reshape(-1) for a in arrays]
    _compiled(tail, varying, len(sizes), dtype)(*sizes, *flat, *(r.reshape(-1) for r in results if r is not None))
    return results


@lru_cache(maxsize=4096)
def _split(program: Program) -> tuple[Program, Program]:
    return program.split()


def source(program: Program, varying: Sequence[tuple[bool, ...]], loops: int) -> str:
    """The kernel as Python for Numba: ``kernel(n0, …, a0, …, r0, …)``, sizes, inputs and results, all flat.

    ``varying`` says of every input along which of the loops it varies (``kernels.layout``).
    """
    outputs = [i for i, at in enumerate(program.outputs) if at is not None]
    arguments = [f"n{i}" for i in range(loops)]
    arguments += [f"a{i}" for i in range(len(program.inputs))] + [f"r{i}" for i in outputs]
    lines = [f"def kernel({', '.join(arguments)}):"]
    lines += [f"{'    ' * (i + 1)}for i{i} in range(n{i}):" for i in range(loops)]
    body = [f"x{i} = a{i}[{place(along)}]" for i, along in enumerate(varying)]
    body += statements(program, NUMBA)
    body += [f"r{i}[{place((True,) * loops)}] = {output(program, i, NUMBA)}" for i in outputs]
    return "\n".join(lines + ["    " * (loops + 1) + line for line in body]) + "\n"


@lru_cache(maxsize=4096)
def _compiled(program: Program, varying: tuple[tuple[bool, ...], ...], loops: int, dtype: Any) -> Callable[..., None]:
    text = source(program, varying, loops)
    results = sum(at is not None for at in program.outputs)
    number = numba.from_dtype(dtype)
    # Inputs may be read-only, results are not; with the types given, one compilation serves both kinds of input.
    types = (numba.types.int64,) * loops
    types += (numba.types.Array(number, 1, "C", readonly=True),) * len(program.inputs)
    types += (numba.types.Array(number, 1, "C"),) * results
    path = _kept(f"# {dtype.name}\n{text}")
    try:
        return _compile(text, dtype, types, path)
    except Exception:
        if path is None:
            raise
        # What was kept is damaged, or of a Numba that this one cannot read: it can be made again.
        return _compile(text, dtype, types, None)


def _compile(text: str, dtype: Any, types: tuple[Any, ...], path: Path | None) -> Callable[..., None]:
    # Numba looks up the module of a function that it reads back.
    names = {"__name__": __name__, "np": np, "math": math, "real": dtype.type}
    exec(compile(text, str(path or "<ntaylor kernel>"), "exec"), names)  # our own text, of numbers and names of ours
    options = {"fastmath": {"contract"}, "error_model": "numpy", "nogil": True}
    kernel = numba.njit(names["kernel"], cache=path is not None, **options)

    def without_aliases(flags: Any) -> Any:
        # Results are new arrays: told so, LLVM vectorises the loop, which beyond order 5 is 5 times as fast. Numba
        # has no public option for it; where this hook is not there the kernel is right all the same.
        flags.noalias = True
        return flags

    compiler = getattr(kernel, "_compiler", None)
    if compiler is not None and hasattr(compiler, "_customize_flags"):
        compiler._customize_flags = without_aliases
    kernel.compile(types)
    return kernel  # type: ignore[no-any-return]


def _kept(text: str) -> Path | None:
    """A file with ``text``, beside which Numba keeps what it compiled; ``None`` where none can be written."""
    name = f"kernel_{hashlib.sha256(text.encode()).hexdigest()[:24]}.py"
    path = _folder() / "ntaylor" / "kernels" / name
    try:
        if not path.exists():
            write_atomic(path, text.encode())
        return path if os.access(path.parent, os.W_OK) else None
    except OSError:
        return None


def _folder() -> Path:
    """Where programs of this system keep what they can make again."""
    if chosen := os.environ.get("NUMBA_CACHE_DIR") or os.environ.get("XDG_CACHE_HOME"):
        return Path(chosen)
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", Path.home()))
    return Path.home() / ("Library/Caches" if sys.platform == "darwin" else ".cache")
