"""Fields: what a network computes, with its derivatives by the names of its inputs, each computed once.

Floor 12: ``u.xxt`` is an operator applied to one output of a network, and an operator on a field is another field, so
nothing is computed before a value is asked for. A :class:`Source` holds what was computed; which derivatives are
needed, and that they are computed together, is for ``fields`` to say.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from typing import Any

from ntaylor import operators
from ntaylor.array_object import HELD
from ntaylor.namespace import did_you_mean
from ntaylor.operators import Operator
from ntaylor.quantities import Quantity

__all__ = ["Field", "Source", "canonical", "derivative_of", "monomial_of"]

Array = Any

_KEPT = 4096
"""So many different operators are told apart before all are forgotten, plans with them."""

_CANONICAL: dict[Any, Operator] = {}


def canonical(L: Operator) -> Operator:
    """Of operators that are equal always the same one, whose plans are kept."""
    if len(_CANONICAL) >= _KEPT:
        _CANONICAL.clear()
    return _CANONICAL.setdefault(L, L)


def derivative_of(monomial: tuple[int, ...], of: Operator | None = None) -> Operator:
    """The operator of these coordinates' derivatives in turn, applied after ``of``; always the same one."""
    made = operators.D(*monomial)
    return canonical(made if of is None else made @ of)


def _after(L: Operator, of: Operator) -> Operator:
    return canonical(L @ of)


# Fractions and dicts of them are not for torch.compile to follow, the operator that comes of them is.
canonical._dynamo_marked_constant = True  # type: ignore[attr-defined]
derivative_of._dynamo_marked_constant = True  # type: ignore[attr-defined]
_after._dynamo_marked_constant = True  # type: ignore[attr-defined]


class Source:
    """What has been computed of a network at some points: values of operators, by the operator."""

    def __init__(
        self, inputs: tuple[str, ...], count: int, compute: Callable[[Sequence[Operator]], Sequence[Array]], batch: Any
    ):
        self.inputs = inputs
        self.count = count
        self.batch = batch
        self._compute = compute
        self.found: dict[int, Array] = {}
        self.asked: dict[tuple[int, int], tuple[Operator, int]] = {}
        """(operator's number, output) → (operator, output), in the order in which they were first asked for."""

    def value(self, L: Operator, output: int) -> Array:
        """L f at the points, of one output, of the shape of the batch."""
        self.asked.setdefault((L._number, output), (L, output))
        if L._number not in self.found:
            self.compute((L,))
        return self.of_output(self.found[L._number], output)

    def of_output(self, whole: Array, output: int) -> Array:
        """One output of what was computed for all."""
        return whole if len(whole.shape) == len(self.batch) else whole[..., output]

    def compute(self, wanted: Sequence[Operator]) -> None:
        """Compute those that are not there, all together."""
        missing = [L for L in wanted if L._number not in self.found]
        if not missing:
            return
        values = self._compute(missing)
        for L, value in zip(missing, values, strict=True):
            self.found[L._number] = value

    def fields(self) -> tuple[Field, ...]:
        """One field an output."""
        identity = derivative_of(())
        return tuple(Field(self, identity, output) for output in range(self.count))


class Field(Quantity):
    """One output of a network at the points of a residual, or a derivative of it; it passes for an array.

    ``u.xxt`` and ``u.d(x=2, t=1)`` are derivatives by the inputs of these names, again fields, and so is ``L(u)`` for
    an operator L of ``nt.operators``. Arithmetic and functions give plain quantities, which have no derivatives: the
    derivative of a product is written with the product rule. Methods of arrays are there too, but no input may bear
    the name of one (:data:`RESERVED`).
    """

    __slots__ = ("_operator", "_output", "_source")

    level = HELD

    def __init__(self, source: Source, operator: Operator, output: int):
        self._source, self._operator, self._output = source, operator, output

    @property
    def _like(self) -> Any:
        return self._source.value(self._operator, self._output)

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
        return Field(self._source, derivative_of(monomial, self._operator), self._output)

    @property
    def _inputs(self) -> tuple[str, ...]:
        return self._source.inputs

    def _operated(self, L: Operator) -> Field:
        """L of this field: what ``L(u)`` asks for."""
        L._dimension(len(self._source.inputs))
        return Field(self._source, _after(L, self._operator), self._output)

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
        return f"Field(output {self._output} of inputs {_listed(self._source.inputs)}, {self._operator!r})"


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
