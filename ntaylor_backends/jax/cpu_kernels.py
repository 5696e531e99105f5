"""Programs as functions that XLA calls on a CPU: LLVM's language, compiled by the llvmlite that Numba brings.

XLA makes every order of a recurrence a loop of its own over memory, and some of them again for the next. Here a program
is one loop in which every intermediate result is a register, called by XLA's foreign function interface: no Python is
run in the call. Numba's own way to machine code takes a second a kernel; LLVM alone, from text that needs no inference
of types, takes 30 milliseconds, so nothing is kept on disk.
"""

from __future__ import annotations

import ctypes
import hashlib
import re
import sys
import threading
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import jax
import numpy as np

from ntaylor.programs import Program
from ntaylor_backends.printing import llvm, output, statements

__all__ = ["available", "source", "speaks", "target"]

_REAL = {"float32": "float", "float64": "double"}
_DIALECTS = {name: llvm(real) for name, real in _REAL.items()}

_lock = threading.Lock()
_compiled: dict[str, Any] = {}
"""What holds the machine code, by the name under which XLA knows it."""


@cache
def available() -> bool:
    """Whether kernels can be made here; where not, XLA compiles the programs."""
    try:
        import llvmlite.binding as binding

        _target_machine()
        # Before, LLVM's pointers had types, of which this text says nothing.
        return binding.llvm_version_info[0] >= 17 and _minor_version() is not None and sys.maxsize > 2**32
    except Exception:  # no llvmlite, or one that is other than what is written here takes it to be
        return False


def speaks(program: Program, dtype: Any) -> bool:
    """Whether a program in numbers of this dtype can be a kernel."""
    name = np.dtype(dtype).name
    return name in _DIALECTS and _DIALECTS[name].has(program)


def target(program: Program, reads: Sequence[tuple[int, int]], arrays: int, dtype: Any) -> str | None:
    """The name under which XLA calls a program; None if it cannot be compiled.

    It takes that many arrays (rows, entries) and gives one, (outputs, entries). ``reads`` says of every input in which
    array it is and in which of its rows.
    """
    return _target(program, tuple(reads), arrays, np.dtype(dtype).name)


@cache
def _target(program: Program, reads: tuple[tuple[int, int], ...], arrays: int, dtype: str) -> str | None:
    text = source(program, reads, arrays, dtype)
    # By what it does, so that a program that JAX compiled in another process finds it here under the same name.
    name = f"ntaylor_{hashlib.sha256(text.encode()).hexdigest()[:32]}"
    with _lock:
        if name not in _compiled:
            try:
                code, address = _machine_code(text)
                jax.ffi.register_ffi_target(name, jax.ffi.pycapsule(ctypes.c_void_p(address)), platform="cpu")
            except Exception:  # the same program is XLA's to compile
                return None
            _compiled[name] = code
    return name


# --- text ---------------------------------------------------------------------------------------------


def source(program: Program, reads: Sequence[tuple[int, int]], arrays: int, dtype: str) -> str:
    """The kernel as LLVM reads it."""
    real, dialect = _REAL[dtype], _DIALECTS[dtype]
    results = len(program.outputs)
    rows = [*(f"x{i}" for i in range(len(reads))), *(f"y{i}" for i in range(results))]
    size = np.dtype(dtype).itemsize
    loop = []
    for i in range(len(reads)):
        loop += [f"%p{i} = getelementptr inbounds {real}, ptr %x{i}s, i64 %i"]
        loop += [f"%x{i} = load {real}, ptr %p{i}, align {size}"]
    loop += statements(program, dialect)
    for i in range(results):
        loop += [f"%q{i} = getelementptr inbounds {real}, ptr %y{i}s, i64 %i"]
        loop += [f"store {real} {output(program, i, dialect)}, ptr %q{i}, align {size}"]
    # Rows do not overlap: told so, LLVM vectorises the loop. What is inlined it would be told less clearly.
    given = ", ".join(f"ptr noalias %{row}s" for row in rows)
    entries = [
        f"define private void @entries(i64 %n, {given}) noinline nounwind {{",
        "start:",
        "  %some = icmp sgt i64 %n, 0",
        "  br i1 %some, label %loop, label %done",
        "loop:",
        "  %i = phi i64 [0, %start], [%next, %loop]",
        *(f"  {line}" for line in loop),
        "  %next = add nuw nsw i64 %i, 1",
        "  %more = icmp slt i64 %next, %n",
        "  br i1 %more, label %loop, label %done",
        "done:",
        "  ret void",
        "}",
    ]
    return "\n".join([*entries, *_handler(reads, arrays, results, real), *_declared(entries)]) + "\n"


# Where in the structures of jaxlib/include/xla/ffi/api/c_api.h, on a system of 64 bits, what is read and written is:
# in the frame of a call the extension, the stage, the arguments and the results; in an extension that asks about the
# handler where to write the version that it is made for; in a buffer its data and its lengths.
_EXTENSION, _STAGE, _ARGUMENTS, _RESULTS = 8, 32, 72, 112
_KIND, _METADATA, _MAJOR, _MINOR = 8, 24, 24, 28
_DATA, _LENGTHS = 24, 40
_ABOUT, _EXECUTE = 1, 3


def _handler(reads: Sequence[tuple[int, int]], arrays: int, results: int, real: str) -> list[str]:
    """The function that XLA calls, with one pointer to all it has to say."""

    def at(name: str, base: str, offset: int, kind: str = "ptr") -> list[str]:
        """``name`` is what lies ``offset`` bytes behind ``base``."""
        return [
            f"  %{name}.at = getelementptr i8, ptr %{base}, i64 {offset}",
            f"  %{name} = load {kind}, ptr %{name}.at",
        ]

    lines = ["define ptr @handler(ptr %frame) nounwind {"]
    lines += at("extension", "frame", _EXTENSION)
    lines += ["  %plain = icmp eq ptr %extension, null", "  br i1 %plain, label %called, label %extended", "extended:"]
    lines += at("kind", "extension", _KIND, "i32")
    lines += [f"  %about = icmp eq i32 %kind, {_ABOUT}", "  br i1 %about, label %asked, label %called", "asked:"]
    lines += at("metadata", "extension", _METADATA)
    for name, offset, number in (("major", _MAJOR, 0), ("minor", _MINOR, _minor_version())):
        lines += [f"  %{name} = getelementptr i8, ptr %metadata, i64 {offset}", f"  store i32 {number}, ptr %{name}"]
    lines += ["  ret ptr null", "called:", *at("stage", "frame", _STAGE, "i32")]
    lines += [f"  %now = icmp eq i32 %stage, {_EXECUTE}", "  br i1 %now, label %run, label %done", "run:"]
    lines += [*at("arguments", "frame", _ARGUMENTS), *at("results", "frame", _RESULTS)]
    for i in range(arrays):
        lines += [*at(f"argument{i}", "arguments", 8 * i), *at(f"a{i}", f"argument{i}", _DATA)]
    lines += [*at("result", "results", 0), *at("r", "result", _DATA)]
    lines += [*at("lengths", "result", _LENGTHS), *at("n", "lengths", 8, "i64")]
    rows = [(f"a{array}", row) for array, row in reads] + [("r", row) for row in range(results)]
    for array, row in rows:
        lines += [f"  %{array}.{row}.to = mul i64 %n, {row}"]
        lines += [f"  %{array}.{row} = getelementptr {real}, ptr %{array}, i64 %{array}.{row}.to"]
    lines += [f"  call void @entries(i64 %n, {', '.join(f'ptr %{array}.{row}' for array, row in rows)})"]
    return [*lines, "  br label %done", "done:", "  ret ptr null", "}"]


def _declared(lines: Sequence[str]) -> list[str]:
    """What functions of LLVM's own are."""
    found = dict.fromkeys(re.findall(r"call (\w+) (@llvm[\w.]+)\(([^)]*)\)", "\n".join(lines)))
    declared = {}
    for real, name, arguments in found:
        declared[name] = f"declare {real} {name}({', '.join([real] * (arguments.count(',') + 1))})"
    return list(declared.values())


# --- machine code --------------------------------------------------------------------------------------


@cache
def _minor_version() -> int | None:
    """Of the interface that this jaxlib was built with; None if its structures are others than those above."""
    header = (Path(jax.ffi.include_dir()) / "xla/ffi/api/c_api.h").read_text(encoding="utf-8")
    major, minor = (int(re.findall(rf"#define XLA_FFI_API_{part} (\d+)", header)[0]) for part in ("MAJOR", "MINOR"))
    return minor if major == 0 else None


def _target_machine() -> Any:
    import llvmlite.binding as binding

    binding.initialize_native_target()
    binding.initialize_native_asmprinter()
    return binding.Target.from_default_triple().create_target_machine(
        cpu=binding.get_host_cpu_name(), features=binding.get_host_cpu_features().flatten(), opt=3, jit=True
    )


def _machine_code(text: str) -> tuple[Any, int]:
    """(what holds it, the address of the handler)."""
    import llvmlite.binding as binding

    machine = _target_machine()  # of its own: it goes with the code
    module = binding.parse_assembly(text)
    module.triple, module.data_layout = machine.triple, str(machine.target_data)
    options = binding.create_pipeline_tuning_options(speed_level=3)
    options.loop_vectorization = True
    builder = binding.create_pass_builder(machine, options)
    builder.getModulePassManager().run(module, builder)
    engine = binding.create_mcjit_compiler(module, machine)
    engine.finalize_object()
    return engine, engine.get_function_address("handler")
