"""Fields: what a network computes, with its derivatives by the names of its inputs, each computed once.

Floor 10: ``u.xxt`` is an operator applied to one output of a network, and an operator on a field is another field, so
nothing is computed before a value is asked for. A :class:`Source` holds what was computed; which derivatives are
needed, and that they are computed together, is for ``fields`` to say.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from typing import Any

from ntaylor.array_object import HELD
from ntaylor.namespace import did_you_mean
from ntaylor.quantities import Quantity

__all__ = ["IDENTITY", "RESERVED", "Field", "Source", "monomial_of", "reserved_among"]

Array = Any

IDENTITY = 0
"""The number of the operator that does nothing: fields know operators by number, for torch.compile can follow those."""


class Source:
    """What has been computed of a network at some points: values of operators, by the operator's number.

    Subclasses say which number a derivative has: ``derived`` and ``after``.
    """

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

    def derived(self, monomial: tuple[int, ...], of: int) -> int:
        """The number of the operator that takes these coordinates' derivatives in turn, after that of number ``of``."""
        raise NotImplementedError

    def after(self, L: Any, of: int) -> int:
        """The number of the operator L after that of number ``of``."""
        raise NotImplementedError

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
                raise TypeError(f"u.d({name}=…): {_near(name, inputs)}")
            if isinstance(order, bool) or not hasattr(order, "__index__"):
                raise TypeError(f"u.d({name}={order!r}): the order of a derivative is an integer >= 0")
            if operator.index(order) < 0:
                raise ValueError(f"u.d({name}={order!r}): the order of a derivative is an integer >= 0")
            monomial += [inputs.index(name)] * operator.index(order)
        return self._derived(tuple(sorted(monomial)))

    def _derived(self, monomial: tuple[int, ...]) -> Field:
        return Field(self._source, self._source.derived(monomial, self._number), self._output)

    @property
    def _inputs(self) -> tuple[str, ...]:
        return self._source.inputs

    def _operated(self, L: Any) -> Field:
        """L of this field: what ``L(u)`` asks for."""
        L._dimension(len(self._source.inputs))
        return Field(self._source, self._source.after(L, self._number), self._output)

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
        return (
            f"{type(self).__name__}(output {self._output}, inputs {_listed(self._source.inputs)}, value {self._like!r})"
        )


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
    """What of the name is no input, what it may have been meant for, and the inputs."""
    rest = min((name[n:] for n in range(len(name)) if not n or _meanings(name[:n], tuple(inputs))), key=len)
    one = inputs[0]
    return (
        f"{rest!r} is no input, the inputs are {_listed(inputs)}; "
        f"{did_you_mean(rest, [i for i in inputs if len(i) > 1])}"
        f"a derivative is written u.{one}, u.{one}{one} or u.d({one}=3)"
    )


def reserved_among(inputs: tuple[str, ...]) -> tuple[str, ...]:
    """Names of methods that are an input's name, or are spelled by several."""
    return tuple(name for name in sorted(RESERVED) if _meanings(name, inputs))


reserved_among._dynamo_marked_constant = True  # type: ignore[attr-defined]
