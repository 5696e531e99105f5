"""Programs as text: the statements of a kernel, in the words of a language.

Nothing here knows what is computed. A :class:`Dialect` says how a language writes the operations that
``ntaylor.programs`` records; infix operators are the same in all.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from ntaylor.programs import COMPARISONS, LOGICAL, Argument, Constant, Input, Program

__all__ = [
    "CPLUSPLUS",
    "NUMBA",
    "TRITON",
    "Dialect",
    "arguments",
    "coordinates",
    "identifier",
    "llvm",
    "output",
    "place",
    "statements",
]

_INFIX = {
    "add": "{0} + {1}",
    "subtract": "{0} - {1}",
    "multiply": "{0} * {1}",
    "divide": "{0} / {1}",
    "negative": "-{0}",
    "less": "{0} < {1}",
    "less_equal": "{0} <= {1}",
    "greater": "{0} > {1}",
    "greater_equal": "{0} >= {1}",
    "equal": "{0} == {1}",
    "not_equal": "{0} != {1}",
}


@dataclass(frozen=True)
class Dialect:
    """How a language writes operations: name → text with {0}, {1}, … for the arguments."""

    operations: Mapping[str, str]
    number: str
    """A constant {0}, in the type that is computed in."""
    assign: str = "{0} = {1}"
    assign_truth: str = "{0} = {1}"
    name: str = "{0}"
    """A value of this name, in an expression."""
    digits: Callable[[float], str] = repr
    """How a constant's digits are written."""

    def has(self, program: Program) -> bool:
        """Whether the language has a word for all that the program does."""
        return all(o.name in self.operations or o.name in _INFIX for o in program.operations)


def statements(program: Program, dialect: Dialect) -> list[str]:
    """One line an operation. Input i is read as ``x<i>``; see :func:`output` for the results."""
    lines = []
    written = _INFIX | dict(dialect.operations)
    for at, value in enumerate(program.values):
        if isinstance(value, Input):
            continue
        expression = written[value.name].format(*(_read(program, argument, dialect) for argument in value.arguments))
        truth = value.name in COMPARISONS | LOGICAL
        lines.append((dialect.assign_truth if truth else dialect.assign).format(f"t{at}", expression))
    return lines


def arguments(program: Program, name: str, dialect: Dialect) -> list[str]:
    """After the statements, the expressions of what the function ``name`` is called with."""
    called = [o.arguments[0] for o in program.operations if o.name == name]
    return [_read(program, argument, dialect) for argument in dict.fromkeys(called)]


def output(program: Program, index: int, dialect: Dialect) -> str | None:
    """The expression for output ``index`` after the statements, ``None`` for a structural zero."""
    at = program.outputs[index]
    return None if at is None else _read(program, at, dialect)


def identifier(program: Program) -> str:
    """The name of a program's kernel, as any language takes it."""
    return re.sub(r"[\W_]+", "_", f"ntaylor_{program.name}", flags=re.ASCII)


def coordinates(loops: int, quotient: str) -> list[tuple[str, str]]:
    """(name, expression) of i0, i1, …, for loops of n0, n1, … turns, in the number ``i`` of an entry in C order."""
    found, rest = [], "i"
    for d in reversed(range(loops)):
        found.append((f"i{d}", f"{rest} % n{d}" if d else rest))
        rest += f" {quotient} n{d}"
    return found[::-1]


def place(along: Sequence[bool]) -> str:
    """Where in a flat, C-contiguous array that varies along these loops the entry i0, i1, … is."""
    text = ""
    for i, varies in enumerate(along):
        if varies:
            text = f"({text}) * n{i} + i{i}" if text else f"i{i}"
    return text or "0"


def _read(program: Program, argument: Argument, dialect: Dialect) -> str:
    if isinstance(argument, Constant):
        return dialect.number.format(dialect.digits(argument.number))
    # Inputs are the first of the values.
    return dialect.name.format(f"{'x' if isinstance(program.values[argument], Input) else 't'}{argument}")


_SAME_NAME = """acos acosh asin asinh atan atanh cos cosh erf exp expm1 floor log log10 log1p log2 sin sinh sqrt tan
    tanh""".split()  # noqa: SIM905 one name a line reads worse

# Φ by erfc, not (1 + erf)/2, which has no correct digit left at u = -8.3.
_NDTR = "{half} * {erfc}({scale} * {{0}})"

CPLUSPLUS = Dialect(
    {name: f"{name}({{0}})" for name in _SAME_NAME}
    | {
        "abs": "fabs({0})",
        "maximum": "({0} > {1} || {0} != {0} ? {0} : {1})",
        "minimum": "({0} < {1} || {0} != {0} ? {0} : {1})",
        "pow": "pow({0}, {1})",
        "ndtr": _NDTR.format(half="real(0.5)", erfc="erfc", scale="real(-0.7071067811865476)"),
        "sign": "({0} > real(0) ? real(1) : {0} < real(0) ? real(-1) : {0})",
        "where": "({0} ? {1} : {2})",
        "logical_and": "{0} && {1}",
        "logical_or": "{0} || {1}",
        "logical_not": "!{0}",
    },
    number="real({0})",
    assign="const real {0} = {1};",
    assign_truth="const bool {0} = {1};",
)
"""C++ and CUDA C, where ``real`` is the type computed in."""

_NUMPY_NAMES = {f"a{name}": f"arc{name}" for name in ("cos", "cosh", "sin", "sinh", "tan", "tanh")}

NUMBA = Dialect(
    {name: f"np.{_NUMPY_NAMES.get(name, name)}({{0}})" for name in _SAME_NAME}
    | {
        "abs": "abs({0})",
        "cos": "cos({0})",
        "erf": "math.erf({0})",
        "exp": "exp({0})",
        "sin": "sin({0})",
        "tanh": "tanh({0})",
        "maximum": "({0} if {0} > {1} or {0} != {0} else {1})",
        "minimum": "({0} if {0} < {1} or {0} != {0} else {1})",
        "ndtr": _NDTR.format(half="real(0.5)", erfc="math.erfc", scale="real(-0.7071067811865476)"),
        "pow": "{0} ** {1}",
        "sign": "np.sign({0})",
        "where": "({1} if {0} else {2})",
        "logical_and": "{0} and {1}",
        "logical_or": "{0} or {1}",
        "logical_not": "not {0}",
    },
    number="real({0})",
)
"""Python for Numba's compiler. ``real`` is NumPy's type of a number; cos, exp, sin and tanh are the kernel's own."""

TRITON = Dialect(
    {name: f"libdevice.{name}({{0}})" for name in _SAME_NAME}
    | {
        "abs": "tl.abs({0})",
        "maximum": "tl.where(({0} > {1}) | ({0} != {0}), {0}, {1})",
        "minimum": "tl.where(({0} < {1}) | ({0} != {0}), {0}, {1})",
        "ndtr": _NDTR.format(half="0.5", erfc="libdevice.erfc", scale="-0.7071067811865476"),
        "pow": "libdevice.pow({0}, {1})",
        "sign": "tl.where({0} > 0, tl.full((), 1, real), tl.where({0} < 0, tl.full((), -1, real), {0}))",
        "where": "tl.where({0}, {1}, {2})",
        "logical_and": "{0} & {1}",
        "logical_or": "{0} | {1}",
        "logical_not": "~{0}",
    },
    # A number alone would be a float32 before it meets a float64.
    number="tl.full((), {0}, real)",
)
"""Triton, where ``real`` is the type computed in. Functions are CUDA's: Triton's own exp of a float32 is rougher."""


def llvm(real: str) -> Dialect:
    """LLVM's own language, for numbers of type ``real``, float or double. It has no transcendental functions.

    A product may be added without being rounded in between, as in all other kernels.
    """
    arithmetic = {"add": "fadd contract", "subtract": "fsub contract", "multiply": "fmul contract", "divide": "fdiv"}
    comparisons = {"less": "olt", "less_equal": "ole", "greater": "ogt", "greater_equal": "oge"}
    comparisons |= {"equal": "oeq", "not_equal": "une"}
    short = {"float": "f32", "double": "f64"}[real]
    functions = {"abs": "fabs", "floor": "floor", "sqrt": "sqrt"}
    return Dialect(
        {name: f"{word} {real} {{0}}, {{1}}" for name, word in arithmetic.items()}
        | {name: f"fcmp {word} {real} {{0}}, {{1}}" for name, word in comparisons.items()}
        | {name: f"call {real} @llvm.{word}.{short}({real} {{0}})" for name, word in functions.items()}
        | {
            "negative": f"fneg {real} {{0}}",
            "maximum": f"call {real} @llvm.maximum.{short}({real} {{0}}, {real} {{1}})",
            "minimum": f"call {real} @llvm.minimum.{short}({real} {{0}}, {real} {{1}})",
            "where": f"select i1 {{0}}, {real} {{1}}, {real} {{2}}",
            "logical_and": "and i1 {0}, {1}",
            "logical_or": "or i1 {0}, {1}",
            "logical_not": "xor i1 {0}, true",
        },
        number="{0}",
        assign="%{0} = {1}",
        assign_truth="%{0} = {1}",
        name="%{0}",
        digits=lambda number: _bits(number, short),
    )


def _bits(number: float, short: str) -> str:
    """A number as LLVM reads it whatever its digits: the bits of the float64 that it is after rounding."""
    if short == "f32":
        (number,) = struct.unpack("f", struct.pack("f", number))
    return f"0x{struct.unpack('>Q', struct.pack('>d', number))[0]:016X}"
