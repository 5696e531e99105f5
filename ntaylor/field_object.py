"""Fields: what a network computes, with its derivatives by the names of its inputs, each computed once.

Floor 12: ``u.xxt`` is an operator applied to one output of a network, and an operator on a field is another field, so
nothing is computed before a value is asked for. A :class:`Source` holds what was computed; which derivatives are
needed, and that they are computed together, is for ``fields`` to say.
"""

from __future__ import annotations

import itertools
import operator
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from types import ModuleType
from typing import Any

from ntaylor import operators
from ntaylor.array_object import HELD
from ntaylor.namespace import did_you_mean
from ntaylor.operators import Operator
from ntaylor.quantities import Quantity

__all__ = ["IDENTITY", "PLANS", "RESERVED", "Field", "Source", "derived", "monomial_of", "planned"]

Array = Any

_KEPT = 1024
"""So many operators with functions of x, and so many plans, are kept."""

_OPERATORS: dict[int, Operator] = {}
_NUMBERS: dict[Operator, int] = {}
_COUNT = itertools.count()

PLANS = ModuleType("plans")
"""Plans by name. They are attributes of a module because torch.compile looks those up anew each time."""


def number_of(L: Operator) -> int:
    """The number of an operator, the same for equal ones: fields know operators by number.

    torch.compile follows no fractions, so what it meets of operators, in the functions that are marked as giving
    constants, are these numbers.
    """
    number = _NUMBERS.get(L)
    if number is None:
        number = _NUMBERS[L] = next(_COUNT)
        _OPERATORS[number] = L
        heavy = [n for n in _OPERATORS if not lasts(n)] if len(_OPERATORS) > _KEPT else []
        for old in heavy[: len(heavy) // 2]:  # functions that were made for one call, and what they hold
            del _NUMBERS[_OPERATORS.pop(old)]
    return number


def lasts(number: int) -> bool:
    """Whether an operator has constant coefficients, so that it will be met again as an equal one."""
    return not any(t.factors or t.form for t in _OPERATORS[number].terms)


def are_known(numbers: tuple[int, ...]) -> bool:
    """Whether all of these are still there."""
    return all(number in _OPERATORS for number in numbers)


def derived(monomial: tuple[int, ...], of: int) -> int:
    """The number of the operator that takes these coordinates' derivatives in turn, after that of number ``of``."""
    return number_of(operators.D(*monomial) @ _OPERATORS[of])


def after(L: Operator, of: int) -> int:
    """The number of the operator L after that of number ``of``."""
    return number_of(L @ _OPERATORS[of])


def planned(numbers: tuple[int, ...], dimension: int) -> str:
    """The name in ``PLANS`` of the plan of these operators together."""
    name = f"plan_{dimension}_{'_'.join(map(str, numbers))}"
    if not hasattr(PLANS, name):
        made = [n for n in vars(PLANS) if n.startswith("plan_")]
        for old in made[: len(made) // 2] if len(made) >= _KEPT else []:
            delattr(PLANS, old)
        setattr(PLANS, name, operators._plan(dimension, *[_OPERATORS[n] for n in numbers]))
    return name


def lower(number: int) -> tuple[int, ...]:
    """Operators that cost nothing beside ∂_i^n, pure derivatives: those of lower order."""
    terms = list(_OPERATORS[number].terms)
    if len(terms) != 1 or not terms[0].monomial or not lasts(number) or terms[0].laplacians:
        return ()
    monomial = terms[0].monomial
    if len(set(monomial)) > 1:
        return ()
    return tuple(number_of(operators.D(*monomial[:k])) for k in range(1, len(monomial)))


number_of._dynamo_marked_constant = True  # type: ignore[attr-defined]
lasts._dynamo_marked_constant = True  # type: ignore[attr-defined]
are_known._dynamo_marked_constant = True  # type: ignore[attr-defined]
derived._dynamo_marked_constant = True  # type: ignore[attr-defined]
after._dynamo_marked_constant = True  # type: ignore[attr-defined]
lower._dynamo_marked_constant = True  # type: ignore[attr-defined]
planned._dynamo_marked_constant = True  # type: ignore[attr-defined]

IDENTITY = number_of(operators.identity())


class Source:
    """What has been computed of a network at some points: values of operators, by the operator's number."""

    def __init__(
        self, inputs: tuple[str, ...], count: int, compute: Callable[[tuple[int, ...]], Sequence[Array]], batch: Any
    ):
        self.inputs = inputs
        self.count = count
        self.batch = batch
        self._compute = compute
        self.found: dict[int, Array] = {}
        self.given: dict[tuple[int, int], Any] = {}
        """(operator, output) → its value, of whatever make: jets, for one."""
        self.asked: dict[tuple[int, int], bool] = {}
        """(operator, output), in the order in which they were first asked for."""

    def value(self, number: int, output: int) -> Array:
        """L f at the points, of one output, of the shape of the batch."""
        key = (number, output)
        self.asked[key] = True
        if key in self.given:
            return self.given[key]
        if number not in self.found:
            self.compute((number,))
        whole = self.found[number]
        return whole if len(whole.shape) == len(self.batch) else whole[..., output]

    def compute(self, wanted: Sequence[int]) -> None:
        """Compute those that are not there, all together."""
        missing = tuple(n for n in wanted if n not in self.found)
        if not missing:
            return
        for number, value in zip(missing, self._compute(missing), strict=True):
            self.found[number] = value

    def fields(self) -> tuple[Field, ...]:
        """One field an output."""
        return tuple(Field(self, IDENTITY, output) for output in range(self.count))


class Field(Quantity):
    """One output of a network at the points of a residual, or a derivative of it; it passes for an array.

    ``u.xxt`` and ``u.d(x=2, t=1)`` are derivatives by the inputs of these names, again fields, and so is ``L(u)`` for
    an operator L of ``nt.operators``. Arithmetic and functions give plain quantities, which have no derivatives: the
    derivative of a product is written with the product rule. Methods of arrays are there too, but no input may bear
    the name of one (:data:`RESERVED`).
    """

    __slots__ = ("_number", "_output", "_source")

    level = HELD

    def __init__(self, source: Source, number: int, output: int):
        self._source, self._number, self._output = source, number, output

    @property
    def _like(self) -> Any:
        return self._source.value(self._number, self._output)

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the batch, known without computing."""
        return tuple(self._source.batch)

    @property
    def ndim(self) -> int:
        """The number of axes of the batch."""
        return len(self._source.batch)

    def d(self, **orders: int) -> Field:
        """The derivative of these orders by the inputs of these names: ``u.d(x=3, t=1)`` is ∂⁴u/∂x³∂t."""
        inputs = self._source.inputs
        if not orders:
            raise TypeError(
                f"d takes the order by each input, such as u.d({inputs[0]}=2); the inputs are {_listed(inputs)}"
            )
        monomial: list[int] = []
        for name, order in orders.items():
            if name not in inputs:
                raise TypeError(f"u.d({name}=…): there is no input {name!r}; {_near(name, inputs)}")
            if isinstance(order, bool) or not hasattr(order, "__index__"):
                raise TypeError(f"u.d({name}={order!r}): the order of a derivative is an integer >= 0")
            if operator.index(order) < 0:
                raise ValueError(f"u.d({name}={order!r}): the order of a derivative is an integer >= 0")
            monomial += [inputs.index(name)] * operator.index(order)
        return self._derived(tuple(sorted(monomial)))

    def _derived(self, monomial: tuple[int, ...]) -> Field:
        return Field(self._source, derived(monomial, self._number), self._output)

    @property
    def _inputs(self) -> tuple[str, ...]:
        return self._source.inputs

    def _operated(self, L: Operator) -> Field:
        """L of this field: what ``L(u)`` asks for."""
        L._dimension(len(self._source.inputs))
        return Field(self._source, after(L, self._number), self._output)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or hasattr(type(self), name):
            return super().__getattr__(name)
        inputs = self._source.inputs
        monomial = monomial_of(name, inputs)
        if monomial is not None:
            return self._derived(monomial)
        if len(name) > 2 and callable(getattr(self._like, name, None)):
            return self._of_library(name)
        raise AttributeError(f"u.{name} is no derivative of a field: {_near(name, inputs)}")

    @property
    def T(self) -> Any:  # noqa: N802
        """Refused: a field is one number a point."""
        raise AttributeError(f"u.T is no derivative of a field: {_near('T', self._source.inputs)}")

    @property
    def mT(self) -> Any:  # noqa: N802
        """Refused: a field is one number a point."""
        raise AttributeError(f"u.mT is no derivative of a field: {_near('mT', self._source.inputs)}")

    def __repr__(self) -> str:
        return f"Field(output {self._output} of inputs {_listed(self._source.inputs)}, {_OPERATORS[self._number]!r})"


RESERVED = frozenset(name for name in dir(Field) if not name.startswith("_"))
"""What no input may be called, for a field has it as a method or an attribute."""


def monomial_of(name: str, inputs: tuple[str, ...]) -> tuple[int, ...] | None:
    """The coordinates that ``name`` spells with the names of inputs one after another, sorted; None if it does not.

    Raises AttributeError if it can be read in several ways that are not the same derivative.
    """
    found = _meanings(name, inputs)
    if len(found) > 1:
        ways = " or ".join(
            f"u.d({', '.join(f'{inputs[i]}={m.count(i)}' for i in sorted(set(m)))})" for m in sorted(found)
        )
        raise AttributeError(f"u.{name} can be read in more than one way: write {ways}")
    return next(iter(found), None)


monomial_of._dynamo_marked_constant = True  # type: ignore[attr-defined]


@cache
def _meanings(name: str, inputs: tuple[str, ...]) -> frozenset[tuple[int, ...]]:
    return frozenset(tuple(sorted(monomial)) for monomial in _readings(name, inputs))


def _readings(name: str, inputs: tuple[str, ...]) -> Iterator[tuple[int, ...]]:
    if not name:
        yield ()
    for i, text in enumerate(inputs):
        if name.startswith(text):
            for rest in _readings(name[len(text) :], inputs):
                yield (i, *rest)


def _listed(inputs: Sequence[str]) -> str:
    return ", ".join(inputs)


def _near(name: str, inputs: Sequence[str]) -> str:
    """The inputs, and what the name may have been meant for."""
    # Torch's compiler cannot follow the search for near names, and has no use for it.
    one = inputs[0]
    example = f"u.{one}, u.{one}{one} or u.d({one}=3)"
    return f"the inputs are {_listed(inputs)}; {did_you_mean(name, inputs)}a derivative is written {example}"


def reserved_among(inputs: tuple[str, ...]) -> tuple[str, ...]:
    """Names of methods that are an input's name, or are spelled by several."""
    return tuple(name for name in sorted(RESERVED) if _meanings(name, inputs))


reserved_among._dynamo_marked_constant = True  # type: ignore[attr-defined]
