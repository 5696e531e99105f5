"""The residual language: an equation written as in the paper, and what it needs computed in one pass.

Floor 12.

    >>> import numpy as np, ntaylor as nt
    >>> def kdv(u, x, t):                       # first the fields, last the inputs
    ...     return u.t + 6 * u * u.x + u.xxx
    >>> wave = lambda p: 0.5 / np.cosh(0.5 * (p[:, 0] - p[:, 1])) ** 2
    >>> F = nt.residual(kdv, wave, np.asarray([[0.3, 0.1], [1.0, 0.5]]))
    >>> bool(np.abs(F).max() < 1e-14)
    True

An equation is a function of fields, of the inputs, and by keyword only of coefficients. It is run twice: the first time
on ones, to see which derivatives it asks for, and then for real. What it asked for is remembered with the equation.
"""

from __future__ import annotations

import contextlib
import itertools
import warnings
from collections.abc import Callable, Iterator, Sequence
from types import ModuleType
from typing import Any
from weakref import WeakKeyDictionary, WeakSet

import numpy

from ntaylor import operators
from ntaylor.applying import apply
from ntaylor.balancing import balanced
from ntaylor.dispatch import adapter_for
from ntaylor.equation_signatures import (
    Signature,
    check_coefficients,
    checked_names,
    is_made_inside,
    parameters_of,
    signature_of,
)
from ntaylor.field_object import IDENTITY, RESERVED, Field, Source
from ntaylor.namespace import array_namespace, as_floating, check_order, describe, hides_values, is_array
from ntaylor.operators import Operator
from ntaylor.quantities import Quantity, Repeated, functions, plain
from ntaylor.sobolev import Sobolev, multi_indices_to, with_derivatives

__all__ = [
    "RESERVED",
    "Field",
    "Needed",
    "Quantity",
    "Signature",
    "Sobolev",
    "balanced",
    "functions",
    "of",
    "plain",
    "residual",
]

Array = Any


Needed = tuple[tuple[int, int], ...]
"""What an equation asks for: (operator's number, output of the network), in the order in which it did."""


def _numbers(wanted: Needed) -> tuple[int, ...]:
    """Each operator once."""
    return tuple({number: True for number, _ in wanted})


class _More(Exception):  # noqa: N818 it is no error, but a way out
    """An equation asked for a derivative that is not there."""


def residual(
    equation: Callable[..., Any], net: Callable[[Any], Any], points: Array, /, *, sobolev: int = 0, **coefficients: Any
) -> Any:
    """The residual of an equation at points, one number a point: what training makes small.

    Parameters
    ----------
    equation:
        a function first of fields, one for each output of the network, then of inputs, one for each column of points,
        and by keyword only of coefficients: ``def burgers(u, x, t, *, nu): return u.t + u * u.x - nu * u.xx``.
        Derivatives are written as in :class:`Field`; functions may be NumPy's, the library's or the array API's. It
        returns one number a point, or a tuple of such residuals.
    net:
        an ``nt.MLP``, a :class:`~ntaylor.operators.HardConstraint`, a module or any function that ``nt.jet`` takes, of
        points (\\*batch, d), to (\\*batch,) or (\\*batch, m).
    points: array (\\*batch, d) of a floating dtype; (d,) is one point, and for one input (batch,) are its values.
    sobolev: the order s to which F's own derivatives by all inputs are wanted: the result is a :class:`Sobolev` then.
    coefficients: numbers, arrays or functions; trained unknowns are arrays that are differentiated by.

    Returns
    -------
    array (\\*batch,), or :class:`Sobolev`; a tuple of them where the equation returns one
        on the library of ``points``, and differentiable by the network's parameters and by the coefficients.

    The derivatives that the equation asks for are found in a rehearsal on ones, planned once, and computed together;
    of those asked for in the real run only, in a branch, each is computed then, and remembered for the next time.

    Raises TypeError for a coefficient that is missing or superfluous, for integer points, or an equation that returns
    no array; ValueError where fields, inputs, outputs and columns are not as many; AttributeError for a derivative by
    what is no input.
    """
    order = check_order(sobolev)
    posed = _Posed(equation, net, points, coefficients)
    return posed.with_derivatives(order) if order else posed.value()


class _Posed:
    """An equation, what solves it, and where: checked, and ready to run."""

    def __init__(self, equation: Any, net: Any, points: Any, coefficients: dict[str, Any]):
        adapter_for(points)  # first of all: loading it makes the type of points known
        points = as_floating(points, "points")
        if not callable(net):
            raise TypeError(
                f"net must be a function or a network, got {describe(net)}: call residual(equation, net, points)"
            )
        names, optional, required, any_name = parameters_of(equation)
        if points.ndim == 1 and len(names) == 2:
            points = points[:, None]  # a batch of scalars
        self.equation, self.net, self.points = equation, net, points
        self.signature = signature_of(names, points)
        check_coefficients(coefficients, optional, required, any_name)
        self.coefficients = {
            name: Quantity(c) if is_array(c) and not isinstance(c, Quantity) else c for name, c in coefficients.items()
        }
        self.batch = tuple(points.shape[:-1])

    def source(self, compute: Callable[[tuple[int, ...]], Sequence[Array]]) -> _Numbered:
        return _Numbered(self.signature.inputs, len(self.signature.fields), compute, self.batch)

    def call(self, source: Source, inputs: Sequence[Array] | None = None) -> Any:
        columns = [self.points[..., i] for i in range(len(self.signature.inputs))] if inputs is None else inputs
        return self.equation(*source.fields(), *map(Quantity, columns), **self.coefficients)

    def rehearsed(self) -> Needed:
        """What the equation asks for, seen on ones; if it stops there, what it asked for until then."""
        one = self.points[..., 0] * 0 + 1
        source = self.source(lambda wanted: [one] * len(wanted))
        with _silence(self.points), contextlib.suppress(Exception):
            result = self.call(source)
            for part in result if isinstance(result, tuple) else (result,):
                plain(part)  # a field that is returned as it is
        return tuple(source.asked)

    def wanted(self) -> Needed:
        wanted = _remembered(self.equation, len(self.signature.inputs))
        if wanted is None or not are_known(_numbers(wanted)):
            wanted = self.rehearsed()
            _remember(self.equation, len(self.signature.inputs), wanted)
        return wanted

    def value(self) -> Any:
        wanted = self.wanted()
        source = self.source(self.computed)
        source.compute(_numbers(wanted))
        result = self.call(source)
        checked = self.checked(result)
        if any(key not in wanted for key in source.asked):
            _remember(self.equation, len(self.signature.inputs), _united(wanted, tuple(source.asked)))
        return checked

    def with_derivatives(self, order: int) -> Any:
        """The residual as :class:`Sobolev`: the equation on jets of what it asks for."""
        _check_constant(self.coefficients, self.batch)
        self.check_constants_inside()
        computing = self.source(self.computed)
        wanted = self.wanted()
        while True:
            asked: list[tuple[int, int]] = []
            try:
                found = self.on_jets(wanted, computing, order, asked)
            except _More:
                wanted = _united(wanted, tuple(asked))
                _remember(self.equation, len(self.signature.inputs), wanted)
                continue
            return found

    def check_constants_inside(self) -> None:
        """ValueError for an equation that has values at these very points in it: on jets they would pass for constants.

        Seen on ones, for it does not take one point more; once an equation, and not where the batch is part of it.
        """
        if is_made_inside(self.equation) or hides_values(self.points) or len(self.batch) != 1 or self.batch[0] < 2:
            return
        if any(isinstance(c, Repeated) for c in self.coefficients.values()) or _is_free(self.equation):
            return

        def runs_on(one: Array) -> bool:
            shape = tuple(one.shape)
            count = len(self.signature.fields)
            source = _Numbered(self.signature.inputs, count, lambda wanted: [one] * len(wanted), shape)
            inputs = [Quantity(one)] * len(self.signature.inputs)
            with _silence(one), contextlib.suppress(Exception):
                found = self.equation(*source.fields(), *inputs, **self.coefficients)
                return all(tuple(plain(v).shape) == shape for v in (found if isinstance(found, tuple) else (found,)))
            return False

        one = self.points[:, 0] * 0 + 1
        if runs_on(one) and not runs_on(array_namespace(one).concat([one, one[:1]])):
            raise ValueError(
                f"the equation holds an array of one number a point, shape {self.batch}, and how it depends on the "
                "inputs is not known, so sobolev=… has no derivatives of it: write it as a function of the inputs"
            )
        with contextlib.suppress(TypeError):
            _FREE.add(self.equation)

    def on_jets(self, wanted: Needed, computing: Source, order: int, asked: list[tuple[int, int]]) -> Any:
        betas = multi_indices_to(len(self.signature.inputs), order)
        computing.compute([derived(beta, number) for number in _numbers(wanted) for beta in betas])
        partials = [[computing.value(derived(beta, number), output) for beta in betas] for number, output in wanted]

        def on(*values: Array) -> Any:
            def refuse(more: tuple[int, ...]) -> list[Array]:
                asked.extend(source.asked)
                raise _More(more)

            source = self.source(refuse)
            source.given = dict(zip(wanted, values, strict=False))
            return self.checked(self.call(source, values[len(wanted) :]))

        return with_derivatives(on, partials, self.points, order)

    def computed(self, numbers: tuple[int, ...]) -> list[Array]:
        plan = getattr(PLANS, planned(numbers, len(self.signature.inputs)))
        values = apply(plan, self.net, self.points)
        _check_outputs(values[0], self)
        return values

    def checked(self, result: Any) -> Any:
        if isinstance(result, (tuple, list)):
            if not result:
                raise TypeError("the equation returned an empty tuple: return a residual, or a tuple of them")
            return tuple(self.one(part, f"residual {i} of the equation") for i, part in enumerate(result))
        return self.one(result, "the equation")

    def one(self, value: Any, name: str) -> Array:
        if value is None:
            raise TypeError(f"{name} returned None: end it with return, and the residual")
        value = plain(value)
        if not is_array(value):
            raise TypeError(f"{name} must return one number a point, made of its fields; it returned {value!r}")
        shape, batch = tuple(value.shape), self.batch
        if shape != batch:
            raise ValueError(
                f"{name} must return one number a point, shape {batch}; it returned shape {shape}: fields and inputs "
                f"have shape {batch}; coefficients have it too, or shape ()"
            )
        return value


@contextlib.contextmanager
def _silence(points: Array) -> Iterator[None]:
    if hides_values(points):
        yield
        return
    with warnings.catch_warnings(), numpy.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        yield


def _check_constant(coefficients: dict[str, Any], batch: tuple[int, ...]) -> None:
    for name, c in coefficients.items():
        if is_array(c) and not isinstance(c, Repeated) and max(c.shape, default=1) > 1 and tuple(c.shape) == batch:
            raise ValueError(
                f"the coefficient {name!r} has one number a point, shape {batch}, and how it depends on the inputs is "
                f"not known, so sobolev=… has no derivatives of it: pass a function, and call {name}(…) of the inputs"
            )


def _check_outputs(value: Array, posed: _Posed) -> None:
    shape, batch, fields = tuple(value.shape), posed.batch, posed.signature.fields
    count = 1 if len(shape) == len(batch) else int(shape[-1]) if len(shape) == len(batch) + 1 else 0
    if shape[: len(batch)] != batch or not count:
        raise ValueError(
            f"the network returned shape {shape} at points of shape {tuple(posed.points.shape)}: it must return "
            f"{batch} or {(*batch, 'm')}, one number or m a point"
        )
    if count != len(fields):
        raise ValueError(
            f"the network has {count} output{'s' * (count != 1)}, the equation {len(fields)} "
            f"field{'s' * (len(fields) != 1)} ({', '.join(fields)}) before its {len(posed.signature.inputs)} inputs "
            f"({', '.join(posed.signature.inputs)}): write one field for each output"
        )


# --- what is remembered ------------------------------------------------------------------------------

_WANTED: WeakKeyDictionary[Any, dict[int, Needed]] = WeakKeyDictionary()


_FREE: WeakSet[Any] = WeakSet()
"""Equations without values at points in them."""


def _is_free(equation: Any) -> bool:
    try:
        return equation in _FREE
    except TypeError:  # what has no hash
        return False


def _remembered(equation: Any, dimension: int) -> Needed | None:
    if is_made_inside(equation):
        return None
    with contextlib.suppress(TypeError):  # what has no hash, or cannot be referred to weakly
        return _WANTED.get(getattr(equation, "__func__", equation), {}).get(dimension)
    return None


def _remember(equation: Any, dimension: int, wanted: Needed) -> None:
    if is_made_inside(equation):
        return
    with contextlib.suppress(TypeError):
        _WANTED.setdefault(getattr(equation, "__func__", equation), {})[dimension] = wanted


def _united(before: Needed, now: Needed) -> Needed:
    """Both, but nothing from before that this run did not use and that has a function made anew at every call."""
    used = {number for number, _ in now}
    kept = [(number, output) for number, output in before if number in used or lasts(number)]
    return tuple(dict.fromkeys((*kept, *now)))


# --- operators by number ------------------------------------------------------------------------------

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

if number_of(operators.identity()) != IDENTITY:
    raise AssertionError("the identity is to be the first operator that is numbered")


class _Numbered(Source):
    """A source whose operators are those that are numbered here."""

    def derived(self, monomial: tuple[int, ...], of: int) -> int:
        return derived(monomial, of)

    def after(self, L: Operator, of: int) -> int:
        return after(L, of)


# --- by hand -----------------------------------------------------------------------------------------


def of(net: Callable[[Any], Any], points: Array, inputs: str | Sequence[str]) -> tuple[Field, ...]:
    """One field for each output of the network, whose derivatives are computed when asked for, each once.

    >>> import numpy as np, ntaylor as nt
    >>> u, = nt.fields.of(lambda p: p[:, 0] ** 3 * p[:, 1], np.asarray([[1.0, 2.0]]), "x t")
    >>> nt.fields.plain(u.xx + u.t)
    array([13.])
    """
    adapter_for(points)
    points = as_floating(points, "points")
    names = tuple(inputs.replace(",", " ").split() if isinstance(inputs, str) else inputs)
    if points.ndim == 1 and len(names) == 1:
        points = points[:, None]
    if points.ndim == 0 or int(points.shape[-1]) != len(names) or len(set(names)) < len(names):
        raise ValueError(
            f"inputs names each column of points once, such as 'x t' for points (batch, 2); got {inputs!r} for points "
            f"of shape {tuple(points.shape)}"
        )
    checked_names((), names)
    first = net(points)
    batch = tuple(points.shape[:-1])
    count = 1 if len(first.shape) == len(batch) else int(first.shape[-1])

    def compute(numbers: tuple[int, ...]) -> list[Array]:
        # What comes with them along the same directions is kept, too.
        more = dict.fromkeys(n for number in numbers for n in lower(number))
        beside = tuple(n for n in more if n not in source.found and n not in numbers)
        values = apply(getattr(PLANS, planned((*numbers, *beside), len(names))), net, points)
        source.found.update(zip(beside, values[len(numbers) :], strict=True))
        return values[: len(numbers)]

    source = _Numbered(names, count, compute, batch)
    source.found[IDENTITY] = first
    return source.fields()
