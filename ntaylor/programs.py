"""A rule recorded once, for one order, as straight-line code on scalars.

Floor 3. A pair rule is run on :class:`Scalar`s, which remember what is done to them; what comes out is a
:class:`Program`, a list of operations each of which has one value. Kernels are printed from it, one line an
operation, so that the mathematics of a kernel is that of ``pair_rules`` and ``series`` and is stated there alone:
the adjoint's is equation (3.2), by :func:`ntaylor.series.correlate`.

The recorder drops what no output needs, finds common subexpressions, folds constants, and divides by a constant by
multiplying with its reciprocal; it never reorders a sum. All coefficients are Taylor coefficients of real functions.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, reduce
from typing import Any

from ntaylor.fans import Order, gathered, lengths, merged, opened_out, spread
from ntaylor.namespace import Library, know, special
from ntaylor.series import Series, add, correlate

__all__ = [
    "Constant",
    "Input",
    "NotRecordableError",
    "Operation",
    "Program",
    "Scalar",
    "adjoint",
    "evaluate",
    "forward",
    "record",
    "tangent",
]

ELEMENTWISE = frozenset(
    """abs acos acosh asin asinh atan atanh cos cosh erf exp expm1 floor log log10 log1p log2 maximum minimum ndtr pow
    sign sin sinh sqrt tan tanh where""".split()  # noqa: SIM905 one name a line reads worse
)
"""The functions of the array namespace that a rule may call on coefficient 0 and be recorded; a printer knows each."""

TRANSCENDENTAL = ELEMENTWISE - {"abs", "floor", "maximum", "minimum", "sign", "sqrt", "where"}
ARITHMETIC = frozenset(["add", "subtract", "multiply", "divide", "negative"])
COMPARISONS = frozenset(["less", "less_equal", "greater", "greater_equal", "equal", "not_equal"])
LOGICAL = frozenset(["logical_and", "logical_or", "logical_not"])


class NotRecordableError(Exception):
    """A rule does something that depends on values, or calls what no kernel has; it can still be run on arrays."""


@dataclass(frozen=True)
class Constant:
    """A number that the rule has written down."""

    number: float


Argument = int | Constant
"""An int is the place of a value in ``Program.values``."""


@dataclass(frozen=True)
class Input:
    """A number that the program is given: u_k, a learnable parameter, or the cotangent v̄_k."""

    name: str


@dataclass(frozen=True)
class Operation:
    """``name`` is that of the array API (``add``, ``exp``, ``where``, ``less``, …) on earlier values and constants."""

    name: str
    arguments: tuple[Argument, ...]


@dataclass(frozen=True, eq=False)  # programs are made once and looked up by identity
class Program:
    """Values in the order in which they are computed, inputs first, and the places of those that are wanted."""

    values: tuple[Input | Operation, ...]
    outputs: tuple[Argument | None, ...]
    """Every output asked for; ``None`` where it is a structural zero."""
    name: str = "kernel"
    """What a reader of the printed kernel, or of a profile, sees."""

    @cached_property
    def inputs(self) -> tuple[str, ...]:
        """Names of the inputs that an output needs."""
        return tuple(value.name for value in self.values if isinstance(value, Input))

    @property
    def operations(self) -> tuple[Operation, ...]:
        """What is left to compute when the inputs are there."""
        return tuple(value for value in self.values if isinstance(value, Operation))

    def split(self) -> tuple[Program, Program]:
        """(head, tail): the transcendental functions and what they need; all the rest, which is arithmetic.

        The outputs of the head are further inputs of the tail, each named by its expression, so that equal names in
        two programs mean equal values. Arithmetic vectorises where calls of functions do not.
        """
        in_head, handed = self._in_head, {at: name for name, at in self.handed.items()}
        recording = _Recording()
        scalars: list[Scalar] = []
        for at, value in enumerate(self.values):
            crosses = at in in_head and isinstance(value, Operation)
            if at in handed:
                scalars.append(recording.place(Input(handed[at])))
            elif crosses:
                scalars.append(recording.place(Input(f"unread {at}")))
            elif isinstance(value, Input):
                scalars.append(recording.place(value))
            else:
                arguments = [scalars[a] if isinstance(a, int) else a for a in value.arguments]
                scalars.append(recording.apply(value.name, arguments))
        tail = recording.program([scalars[at] if isinstance(at, int) else at for at in self.outputs])
        return _Recording(list(self.values)).program_of_places(list(handed)), tail

    @cached_property
    def halves(self) -> tuple[Program, Program]:
        """:meth:`split`, done once."""
        return self.split()

    @cached_property
    def handed(self) -> dict[str, int]:
        """By its expression the place of every value that goes from the head to the tail."""
        return {
            self._expression(at): at
            for at in sorted(self._in_head)
            if isinstance(self.values[at], Operation) and (at in self.outputs or self._read_outside_head(at))
        }

    @cached_property
    def _in_head(self) -> set[int]:
        found: set[int] = set()
        for at in reversed(range(len(self.values))):
            value = self.values[at]
            if isinstance(value, Operation) and (value.name in TRANSCENDENTAL or at in found):
                found.update((at, *(a for a in value.arguments if isinstance(a, int))))
        return found

    def _read_outside_head(self, at: int) -> bool:
        return any(
            isinstance(value, Operation) and at in value.arguments and place not in self._in_head
            for place, value in enumerate(self.values)
        )

    def _expression(self, argument: Argument) -> str:
        if isinstance(argument, Constant):
            return repr(argument.number)
        value = self.values[argument]
        if isinstance(value, Input):
            return value.name
        return f"{value.name}({', '.join(map(self._expression, value.arguments))})"

    @cached_property
    def names_of_outputs(self) -> list[str]:
        """Every output's expression in the inputs, as :meth:`split` names what goes from the head to the tail."""
        return ["none" if at is None else self._expression(at) for at in self.outputs]


@dataclass
class _Recording:
    values: list[Input | Operation] = field(default_factory=list)
    places: dict[Input | Operation, int] = field(default_factory=dict)
    instead: dict[int, int] = field(default_factory=dict)
    """Operations whose value an input has: by their places."""

    def place(self, value: Input | Operation) -> Scalar:
        if value not in self.places:
            self.places[value] = len(self.values)
            self.values.append(value)
        return Scalar(self, self.places[value])

    def argument(self, value: Any) -> Argument:
        if isinstance(value, Constant):
            return value
        if isinstance(value, Scalar):
            if value.recording is not self:
                raise NotRecordableError("scalars of two recordings were mixed")
            return value.at
        if isinstance(value, (int, float)):
            if not math.isfinite(value):  # languages have no common word for it
                raise NotRecordableError(f"{value} among the arguments")
            return Constant(float(value))
        raise NotRecordableError(f"a {type(value).__name__} among the arguments")

    def apply(self, name: str, values: Sequence[Any]) -> Any:
        arguments = tuple(self.argument(value) for value in values)
        if name in ("add", "multiply"):  # a + b is b + a: constants last
            arguments = tuple(sorted(arguments, key=lambda a: (isinstance(a, Constant), str(a))))
        if name == "where" and self._is_modulus(*arguments):
            return self.apply("abs", (Scalar(self, arguments[2]),))  # type: ignore[arg-type]
        first, last = arguments[0], arguments[-1]
        if isinstance(first, int) and isinstance(last, Constant):
            if name == "divide" and last.number != 0:
                return self.apply("multiply", (Scalar(self, first), 1 / last.number))
            if name == "multiply" and last.number == 1:
                return Scalar(self, first)
            if name == "multiply" and last.number == -1:
                return self.apply("negative", (Scalar(self, first),))
        return self.place(Operation(name, arguments))

    def _is_modulus(self, condition: Argument, a: Argument, b: Argument) -> bool:
        """Whether it is b < 0 ? −b : b, which rules write for |b| where a complex array may come."""
        if not (isinstance(condition, int) and isinstance(a, int) and isinstance(b, int)):
            return False
        is_left, opposite = Operation("less", (b, Constant(0.0))), Operation("negative", (b,))
        return self.values[condition] == is_left and self.values[a] == opposite

    def stands_for(self, known: Scalar, value: Any) -> None:
        """Let the input ``known`` be read wherever ``value`` is wanted, if that is the result of an operation."""
        if isinstance(value, Scalar) and isinstance(self.values[value.at], Operation):
            self.instead[value.at] = known.at

    def program(self, outputs: Sequence[Any]) -> Program:
        """What ``outputs`` need, in the order of recording, renumbered."""
        return self.program_of_places([None if value is None else self.argument(value) for value in outputs])

    def program_of_places(self, wanted: Sequence[Argument | None]) -> Program:
        """The same for outputs by their places."""

        def place_of(at: int) -> int:
            return self.instead.get(at, at)

        needed = {place_of(at) for at in wanted if isinstance(at, int)}
        for at in reversed(range(len(self.values))):
            value = self.values[at]
            if isinstance(value, Operation) and at in needed:
                needed.update(place_of(a) for a in value.arguments if isinstance(a, int))
        kept = sorted(needed, key=lambda at: (not isinstance(self.values[at], Input), at))
        new = {at: i for i, at in enumerate(kept)}

        def renumbered(argument: Argument) -> Argument:
            return new[place_of(argument)] if isinstance(argument, int) else argument

        values = [self.values[at] for at in kept]
        return Program(
            tuple(
                value if isinstance(value, Input) else Operation(value.name, tuple(map(renumbered, value.arguments)))
                for value in values
            ),
            tuple(None if at is None else renumbered(at) for at in wanted),
        )


def _operator(name: str, swapped: bool = False) -> Callable[..., Any]:
    def method(self: Scalar, *others: Any) -> Any:
        if any(isinstance(other, Series) for other in others):
            return NotImplemented
        return self.recording.apply(name, (*others, self) if swapped else (self, *others))

    return method


class Scalar:
    """A number of a program being recorded: an array of no axes to whoever asks, whose value nobody knows yet."""

    __slots__ = ("at", "recording")
    __hash__ = None  # type: ignore[assignment]
    __array_ufunc__ = None
    shape: tuple[int, ...] = ()
    ndim = 0
    dtype = "real"

    def __init__(self, recording: _Recording, at: int):
        self.recording, self.at = recording, at

    def __bool__(self) -> bool:
        raise NotRecordableError("the rule asks whether something holds: only xp.where can")

    __float__ = __int__ = __bool__

    __add__, __radd__ = _operator("add"), _operator("add", swapped=True)
    __sub__, __rsub__ = _operator("subtract"), _operator("subtract", swapped=True)
    __mul__, __rmul__ = _operator("multiply"), _operator("multiply", swapped=True)
    __truediv__, __rtruediv__ = _operator("divide"), _operator("divide", swapped=True)
    __pow__, __rpow__ = _operator("pow"), _operator("pow", swapped=True)
    __neg__, __abs__ = _operator("negative"), _operator("abs")
    __lt__, __le__ = _operator("less"), _operator("less_equal")
    __gt__, __ge__ = _operator("greater"), _operator("greater_equal")
    __eq__ = _operator("equal")
    __ne__ = _operator("not_equal")
    __and__, __or__, __invert__ = _operator("logical_and"), _operator("logical_or"), _operator("logical_not")


class _Namespace:
    """What a rule calls on scalars."""

    __name__ = "ntaylor.programs.scalars"
    float32 = float64 = Scalar.dtype

    def __getattr__(self, name: str) -> Any:
        if name not in ELEMENTWISE | ARITHMETIC | COMPARISONS | LOGICAL:
            if name.startswith("__"):
                raise AttributeError(name)
            raise NotRecordableError(f"xp.{name} is nothing that kernels have")

        def call(*arguments: Any) -> Any:
            scalar = next((a for a in arguments if isinstance(a, Scalar)), None)
            if scalar is None:
                raise NotRecordableError(f"xp.{name} of constants")
            return scalar.recording.apply(name, arguments)

        return call

    @staticmethod
    def isdtype(_: Any, kind: Any) -> bool:
        return "real floating" in kind if isinstance(kind, tuple) else kind == "real floating"

    @staticmethod
    def zeros_like(value: Scalar) -> Any:
        return value * 0

    @staticmethod
    def ones_like(value: Scalar) -> Any:
        return value * 0 + 1


SCALARS = _Namespace()
know(Library(SCALARS, device=lambda _: "cpu", hides_values=lambda _: True), Scalar)


def record(function: Callable[..., Sequence[Any]], names: Sequence[str]) -> Program:
    """The program of ``function``, which takes one Scalar a name and returns outputs: Scalars, numbers or ``None``.

    Raises NotRecordableError where it does what depends on values, or calls what no kernel has.
    """
    recording = _Recording()
    scalars = [recording.place(Input(name)) for name in names]
    try:
        return recording.program(function(*scalars))
    except NotRecordableError:
        raise
    except Exception as error:
        # From a rule that takes its arguments for arrays of some library; on arrays it says itself what is wrong.
        raise NotRecordableError(str(error)) from error


Rule = Callable[..., Any]
"""rule(u, xp, parameters) -> (v, w, partials), as ``Activation`` gives it."""


def evaluate(program: Program, xp: Any, inputs: Mapping[str, Any]) -> list[Any]:
    """The outputs for arrays, or numbers that ``xp`` takes, by the input's name; ``None`` for zeros."""
    values: list[Any] = []
    for value in program.values:
        if isinstance(value, Input):
            values.append(inputs[value.name])
            continue
        arguments = [values[a] if isinstance(a, int) else a.number for a in value.arguments]
        infix = getattr(operator, _PYTHON.get(value.name, ""), None)
        values.append((special(xp, value.name) if infix is None else infix)(*arguments))
    return [
        values[at] if isinstance(at, int) else at.number if isinstance(at, Constant) else None for at in program.outputs
    ]


_PYTHON = {"add": "add", "subtract": "sub", "multiply": "mul", "divide": "truediv", "negative": "neg"}


def forward(
    rule: Rule,
    wanted: Sequence[int],
    present: Sequence[bool],
    parameters: Sequence[str],
    order: Order | None = None,
) -> Program:
    """The coefficients v_k of f(u) with k in ``wanted``, from those u_k that are ``present`` and the parameters.

    With a fan for ``order``, k counts the coefficients of all its directions.

    Inputs are ``u0``, …, without those that are absent, and ``parameter <name>``; outputs are in the order of
    ``wanted``, ``None`` where v_k is a structural zero.
    """

    def values(*scalars: Scalar) -> list[Any]:
        u, named, _ = _arguments(scalars, present, parameters, ())
        of_all = max(wanted) if order is None else order
        v = merged(of_all, [v for v, _, _ in _found(rule, of_all, u, named)])
        return [v[k] if k < len(v) else None for k in wanted]

    return record(values, names_of_inputs(present, parameters))


def adjoint(
    rule: Rule,
    present: Sequence[bool],
    parameters: Sequence[str],
    cotangents: Sequence[bool],
    known: Sequence[bool] = (),
    order: Order | None = None,
) -> Program:
    """ū_j of those u_j that are present, then the parameters' cotangents, from u, the parameters and v̄_k.

    ``cotangents`` says which v̄_k are there; their inputs are ``g0``, …. Equation (3.2). Those v_k that are ``known``
    are inputs ``v0``, … too and are not computed again: the w of a closing relation, as 1 − v², then needs no u at all.
    A parameter's cotangent here is that of one element: where elements share a parameter it is still to be summed.
    """
    names = names_of_inputs(present, parameters, cotangents)
    of_v = {k: f"v{k}" for k, there in enumerate(known) if there}

    def values(*scalars: Scalar) -> list[Any]:
        u, named, given = _arguments(scalars[: len(names)], present, parameters, cotangents)
        of_all = max(len(cotangents), len(known)) - 1 if order is None else order
        found = _found(rule, of_all, u, named)
        v = merged(of_all, [v for v, _, _ in found]) if of_v else []
        for k, scalar in zip(of_v, scalars[len(names) :], strict=True):
            scalar.recording.stands_for(scalar, v[k])
        if missing := [name for name in parameters if name not in found[0][2]]:
            raise NotRecordableError(f"the rule gives no partial for {missing}")
        parts = list(zip(spread(of_all, given), found, lengths(of_all, len(present)), strict=True))
        of_u = gathered(of_all, [correlate(part, w, count) for part, (_, w, _), count in parts], len(present))
        # Σ_k v̄_k ∂v_k/∂parameter is the correlation's first.
        of_parameters = [
            reduce(add, [correlate(part, partials[name], 1)[0] for part, (_, _, partials), _ in parts])
            for name in parameters
        ]
        return [c for c, there in zip(of_u, present, strict=True) if there] + of_parameters

    return record(values, [*names, *of_v.values()])


def tangent(rule: Rule, present: Sequence[bool], known: Sequence[bool], order: Order) -> Program:
    """v̇_k for all k, of which :func:`adjoint` is the transpose: equation (3.1), from u, the u̇_j and the ``known`` v_k.

    There is one u̇_j for every u_j that is present; they are the inputs ``g0``, ….
    """
    names = names_of_inputs(present, (), present)
    of_v = {k: f"v{k}" for k, there in enumerate(known) if there}

    def values(*scalars: Scalar) -> list[Any]:
        u, _, given = _arguments(scalars[: len(names)], present, (), present)
        found = _found(rule, order, u, {})
        v = merged(order, [v for v, _, _ in found])
        for k, scalar in zip(of_v, scalars[len(names) :], strict=True):
            scalar.recording.stands_for(scalar, v[k])
        parts = zip(found, opened_out(order, given), strict=True)
        return merged(order, [w * Series(part) for (_, w, _), part in parts])

    return record(values, [*names, *of_v.values()])


def _found(rule: Rule, order: Order, u: Sequence[Scalar | None], named: Mapping[str, Scalar]) -> list[Any]:
    """(v, w, partials) of every direction."""
    return [rule(Series(part), SCALARS, named) for part in opened_out(order, u)]


def names_of_inputs(present: Sequence[bool], parameters: Sequence[str], cotangents: Sequence[bool] = ()) -> list[str]:
    """What the inputs of :func:`forward` and :func:`adjoint` are called."""
    of_u = [f"u{k}" for k, there in enumerate(present) if there]
    of_g = [f"g{k}" for k, there in enumerate(cotangents) if there]
    return [*of_u, *(f"parameter {name}" for name in parameters), *of_g]


def _arguments(
    scalars: Sequence[Scalar], present: Sequence[bool], parameters: Sequence[str], cotangents: Sequence[bool]
) -> tuple[list[Scalar | None], Mapping[str, Scalar], list[Scalar | None]]:
    left = iter(scalars)
    u = [next(left) if there else None for there in present]
    named = {name: next(left) for name in parameters}
    return u, named, [next(left) if there else None for there in cotangents]
