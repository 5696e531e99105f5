"""Programs as loops that Numba compiles, kept on disk for the next process.

A program is one loop in which every intermediate result is a register. Transcendental functions other than those of
``loop_functions`` would keep it from being vectorised: such a program is split, and its functions are NumPy's own, on
whole arrays.
"""

from __future__ import annotations

import hashlib
import inspect
import itertools
import math
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numba
import numpy as np

from ntaylor.array_object import unwrapped_namespace
from ntaylor.programs import TRANSCENDENTAL, Program, evaluate
from ntaylor.storage import write_atomic
from ntaylor_backends.kernels import Inputs, layout, shapes_of, singly
from ntaylor_backends.numpy import buffers, loop_functions
from ntaylor_backends.printing import NUMBA, arguments, output, place, statements
from ntaylor_backends.threads import at_once

__all__ = ["may_compile", "prepared", "run", "source"]

Array = Any


def may_compile() -> bool:
    """False under NUMBA_DISABLE_JIT, as users set it to step through functions of their own."""
    return not numba.config.DISABLE_JIT


def run(
    program: Program,
    inputs: Inputs,
    shape: tuple[int, ...],
    threads: int = 1,
    dtype: Any = None,
    call: Callable[[Callable[..., Array], Sequence[Array]], Array] = lambda kernel, arrays: kernel(*arrays),
) -> Array:
    """The outputs as one new array; what the functions gave stays in ``inputs`` for the adjoint.

    Arrays of another library than NumPy need NumPy's ``dtype``, and a ``call`` of a function of NumPy's arrays.
    """
    head, tail = program.halves
    names = head.names_of_outputs
    of_functions: tuple[tuple[str, int], ...] = ()
    kind = np.dtype(dtype or next(iter(inputs.values())).dtype)
    if any((name,) not in inputs for name in names):
        given = {key: a for key, a in inputs.items() if not set(key).isdisjoint(head.inputs)}
        # Functions of what all directions share are not computed anew for each.
        if kind == np.float64 and _in_loop(head) and all(of == shape for _, of in shapes_of(given)):
            tail, of_functions = _with_functions(program)
        else:
            found = evaluate(head, unwrapped_namespace(inputs.values()), dict(singly(given)))
            inputs.update(((name,), a) for name, a in zip(names, found, strict=True))
    used, kernel = prepared(tail, shapes_of(inputs), shape, kind, threads)
    found = call(kernel, [inputs[names] for names in used])
    if not of_functions:
        return found
    inputs.update(((name,), found[row, ...]) for name, row in of_functions)
    return found[: sum(at is not None for at in program.outputs), ...]


@lru_cache(maxsize=4096)
def _in_loop(head: Program) -> bool:
    return all(o.name in loop_functions.__all__ or o.name not in TRANSCENDENTAL for o in head.operations)


@lru_cache(maxsize=4096)
def _with_functions(program: Program) -> tuple[Program, tuple[tuple[str, int], ...]]:
    """The program with the values of its functions among its outputs; their names, and in which row each is."""
    handed = program.handed
    outputs = list(program.outputs) + [at for at in handed.values() if at not in program.outputs]
    rows = [at for at in outputs if at is not None]
    return replace(program, outputs=tuple(outputs)), tuple((name, rows.index(at)) for name, at in handed.items())


@lru_cache(maxsize=4096)
def prepared(
    program: Program,
    inputs: tuple[tuple[tuple[str, ...], tuple[int, ...]], ...],
    shape: tuple[int, ...],
    dtype: Any,
    threads: int,
) -> tuple[tuple[tuple[str, ...], ...], Callable[..., Array]]:
    """A program, for inputs of ``kernels.shapes_of``: names of the arrays it reads, and itself.

    It gives one new array; its longest loop is shared by ``threads`` where it is long.
    """
    held = dict(inputs)
    used, reads = _reads(program, tuple(held))
    sizes, varying = layout(shape, tuple(held[names] for names in used))
    results = sum(at is not None for at in program.outputs)
    rows = [len(names) for names in used]
    kernel = _compiled(program, reads, varying, len(sizes), dtype)
    entries = results * math.prod(shape)
    parts = [(0, sizes[0])]
    if threads > 1 and entries >= SHARED and sizes[0] >= threads:
        ends = [sizes[0] * i // threads for i in range(threads + 1)]
        parts = list(itertools.pairwise(ends))

    allocate = buffers.empty if entries * dtype.itemsize >= buffers.SMALLEST else np.empty
    empty = partial(allocate, (results, *shape), dtype)

    def call(*arrays: Array) -> Array:
        result = empty()
        # A loss may give cotangents of another dtype, and of any strides.
        flat = [np.ascontiguousarray(a, dtype).reshape(count, -1) for count, a in zip(rows, arrays, strict=True)]
        flat.append(result.reshape(results, -1))
        if len(parts) == 1:
            outside = kernel(*parts[0], *sizes, *flat)
        else:
            outside = sum(at_once([partial(kernel, *part, *sizes, *flat) for part in parts]))
        if outside:
            rows_of_inputs = (arrays[at] if rows[at] == 1 else arrays[at][row] for at, row in reads)
            named = dict(zip(program.inputs, rows_of_inputs, strict=True))
            for row, value in zip(result, (v for v in evaluate(program, np, named) if v is not None), strict=True):
                row[...] = value
        return result

    return used, call


SHARED = 2**20
"""Entries of the results from which on several threads are worth being woken."""


@lru_cache(maxsize=4096)
def _reads(
    program: Program, held: tuple[tuple[str, ...], ...]
) -> tuple[tuple[tuple[str, ...], ...], tuple[tuple[int, int], ...]]:
    """(names in the arrays that the program reads, and for each of its inputs which of these and which row)."""
    places = {name: (names, row) for names in held for row, name in enumerate(names)}
    read = [places[name] for name in program.inputs]
    used = tuple(dict.fromkeys(names for names, _ in read))
    return used, tuple((used.index(names), row) for names, row in read)


def source(program: Program, reads: Sequence[tuple[int, int]], varying: Sequence[tuple[bool, ...]], loops: int) -> str:
    """The kernel as Python for Numba: ``kernel(first, last, n0, …, a0, …, r)``, arrays of flat rows.

    ``reads`` says of every input in which array it is and in which of its rows, ``varying`` of every array along which
    of the loops it varies (``kernels.layout``). Of the first loop the turns from ``first`` to before ``last`` are done.
    What it returns is how often a function was called outside of where the loop's own is right.
    """
    outputs = [i for i, at in enumerate(program.outputs) if at is not None]
    sizes = [f"n{i}" for i in range(loops)]
    rows = [f"x{i}" for i in range(len(reads))] + [f"y{i}" for i in outputs]
    lines = [f"def entries({', '.join([*sizes, *(f'{row}s' for row in rows)])}):"]
    lines += ["    outside = 0"]
    lines += [f"{'    ' * (i + 1)}for i{i} in range(n{i}):" for i in range(loops)]
    body = [f"x{i} = x{i}s[{place(varying[array])}]" for i, (array, _) in enumerate(reads)]
    body += statements(program, NUMBA)
    within = ((x, most) for name, most in loop_functions.WITHIN.items() for x in arguments(program, name, NUMBA))
    body += [f"outside += abs({x}) > {most}" for x, most in dict.fromkeys(within)]
    body += [f"y{i}s[{place((True,) * loops)}] = {output(program, i, NUMBA)}" for i in outputs]
    lines += [*("    " * (loops + 1) + line for line in body), "    return outside"]

    def part(array: str, row: int, along: tuple[bool, ...]) -> str:
        if not along[0]:
            return f"{array}[{row}]"
        turn = "".join(f" * {size}" for size, varies in zip(sizes[1:], along[1:], strict=True) if varies)
        return f"{array}[{row}][first{turn} : last{turn}]"

    every = (True,) * loops
    given = [part(f"a{array}", row, varying[array]) for array, row in reads]
    given += [part("r", row, every) for row in range(len(outputs))]
    lines += [
        "",
        "",
        f"def kernel({', '.join(['first', 'last', *sizes, *(f'a{i}' for i in range(len(varying)))])}, r):",
    ]
    lines += [f"    return entries({', '.join(['last - first', *sizes[1:], *given])})"]
    return "\n".join(lines) + "\n"


@lru_cache(maxsize=4096)
def _compiled(
    program: Program,
    reads: tuple[tuple[int, int], ...],
    varying: tuple[tuple[bool, ...], ...],
    loops: int,
    dtype: Any,
) -> Callable[..., None]:
    called = {o.name for o in program.operations} & {*loop_functions.__all__} if dtype == np.float64 else set()
    # As text, so that what is kept on disk is found by all that it does.
    functions = [inspect.getsource(getattr(loop_functions, name)) for name in loop_functions.__all__] if called else []
    text = "\n\n".join([f"# {dtype.name}", *functions, source(program, reads, varying, loops)])
    # Numba names machine code by module, function, types and a count of this process. Kernels that two processes have
    # compiled could bear one name, and where a third loads both from disk one would run the other's loop: so the name
    # of a kernel is its own.
    own = hashlib.sha256(text.encode()).hexdigest()[:24]
    text = text.replace("entries(", f"entries_{own}(").replace("def kernel(", f"def kernel_{own}(")
    number = numba.from_dtype(dtype)
    # Inputs may be read-only, results are not; with the types given, one compilation serves both kinds of input.
    types = (numba.types.int64,) * (2 + loops)
    types += (numba.types.Array(number, 2, "C", readonly=True),) * len(varying)
    types += (numba.types.Array(number, 2, "C"),)
    path = _kept(own, text)
    try:
        return _compile(text, own, dtype, types, path)
    except Exception:
        if path is None:
            raise
        # What was kept is damaged, or of a Numba that this one cannot read: it can be made again.
        return _compile(text, own, dtype, types, None)


def _compile(text: str, own: str, dtype: Any, types: tuple[Any, ...], path: Path | None) -> Callable[..., None]:
    # Numba looks up the module of a function that it reads back.
    names = {"__name__": __name__, "np": np, "math": math, "real": dtype.type}
    exec(compile(text, str(path or "<ntaylor kernel>"), "exec"), names)  # our own text, of numbers and names of ours
    options = {"fastmath": {"contract"}, "error_model": "numpy", "nogil": True}
    for name in set(loop_functions.__all__) & set(names):
        names[name] = numba.njit(names[name], **options)
    names[f"entries_{own}"] = entries = numba.njit(names[f"entries_{own}"], **options)

    def without_aliases(flags: Any) -> Any:
        # Rows do not overlap, and results are new: told so, LLVM vectorises the loop, which beyond order 5 is 5 times
        # as fast. Numba has no public option for it; where this hook is not there the kernel is right all the same.
        flags.noalias = True
        return flags

    compiler = getattr(entries, "_compiler", None)
    if compiler is not None and hasattr(compiler, "_customize_flags"):
        compiler._customize_flags = without_aliases
    kernel = numba.njit(names[f"kernel_{own}"], cache=path is not None, **options)
    kernel.compile(types)
    return kernel  # type: ignore[no-any-return]


def _kept(own: str, text: str) -> Path | None:
    """A file with ``text``, beside which Numba keeps what it compiled; ``None`` where none can be written."""
    path = _folder() / "ntaylor" / "kernels" / f"kernel_{own}.py"
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
