"""The residual language: an equation written as in the paper, and what it needs computed in one pass.

Floor 13.

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
import inspect
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import numpy

from ntaylor.dispatch import adapter_for
from ntaylor.field_object import (
    IDENTITY,
    PLANS,
    RESERVED,
    Field,
    Source,
    are_known,
    derived,
    lasts,
    lower,
    planned,
    reserved_among,
)
from ntaylor.namespace import as_floating, check_order, describe, did_you_mean, hides_values, is_array
from ntaylor.plans import apply
from ntaylor.quantities import Quantity, functions, plain
from ntaylor.sobolev import Sobolev, multi_indices_to, with_derivatives

__all__ = ["RESERVED", "Field", "Needed", "Quantity", "Signature", "Sobolev", "functions", "of", "plain", "residual"]

Array = Any


Needed = tuple[tuple[int, int], ...]
"""What an equation asks for: (operator's number, output of the network), in the order in which it did."""


def _numbers(wanted: Needed) -> tuple[int, ...]:
    """Each operator once."""
    return tuple({number: True for number, _ in wanted})


class _More(Exception):  # noqa: N818 it is no error, but a way out
    """An equation asked for a derivative that is not there."""


@dataclass(frozen=True)
class Signature:
    """How an equation is called: names of the fields, of the inputs, and of the coefficients."""

    fields: tuple[str, ...]
    inputs: tuple[str, ...]


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
        names, optional, required, any_name = _parameters(equation)
        if points.ndim == 1 and len(names) == 2:
            points = points[:, None]  # a batch of scalars
        self.equation, self.net, self.points = equation, net, points
        self.signature = _signature(names, points)
        _check_coefficients(coefficients, optional, required, any_name)
        self.coefficients = {name: Quantity(c) if is_array(c) else c for name, c in coefficients.items()}
        self.batch = tuple(points.shape[:-1])

    def source(self, compute: Callable[[tuple[int, ...]], Sequence[Array]]) -> Source:
        return Source(self.signature.inputs, len(self.signature.fields), compute, self.batch)

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
            if len(shape) == 0:
                return value + self.points[..., 0] * 0
            raise ValueError(
                f"{name} must return one number a point, shape {batch}; it returned shape {shape}: fields and inputs "
                f"have shape {batch}, and so must coefficients, or ()"
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


def _parameters(equation: Any) -> tuple[tuple[str, ...], set[str], set[str], bool]:
    """(positional names, optional coefficients, required ones, whether any other is taken)."""
    if not callable(equation):
        raise TypeError(
            "equation must be a function of fields and inputs, such as lambda u, x, t: u.t - u.xx; got "
            f"{describe(equation)}"
        )
    try:
        parameters = inspect.signature(equation).parameters.values()
    except (TypeError, ValueError):
        raise TypeError(
            "the equation does not tell the names of its arguments: write it with def, first the fields, last the "
            "inputs"
        ) from None
    names: list[str] = []
    optional: set[str] = set()
    required: set[str] = set()
    any_name = False
    for p in parameters:
        if p.kind is p.VAR_POSITIONAL:
            raise TypeError(f"an equation names its fields and inputs; got *{p.name}")
        if p.kind is p.VAR_KEYWORD:
            any_name = True
        elif p.kind is p.KEYWORD_ONLY:
            (required if p.default is p.empty else optional).add(p.name)
        elif p.default is not p.empty:
            raise TypeError(
                f"the equation has a default for {p.name!r}, which is no field and no input: put coefficients behind a "
                f"star, def equation(u, x, *, {p.name}={p.default!r})"
            )
        else:
            names.append(p.name)
    return tuple(names), optional, required, any_name


def _signature(names: tuple[str, ...], points: Array) -> Signature:
    if points.ndim == 0:
        raise ValueError("points is one number: pass points of shape (batch, d), or (batch,) for one input")
    d = int(points.shape[-1])
    if len(names) <= d:
        what = f"the last {d} of its arguments are inputs" if names else "it has no arguments"
        raise ValueError(
            f"points has shape {tuple(points.shape)}, so the equation has {d} input{'s' * (d != 1)} and one field at "
            f"least; {what}, and of its {len(names)} ({', '.join(names)}) none is left for a field: write "
            f"def equation(u, {', '.join('xyzt'[i] if d <= 4 else f'x{i}' for i in range(d))}), or pass points of "
            f"shape (batch, {max(len(names) - 1, 1)})"
        )
    fields, inputs = names[: len(names) - d], names[len(names) - d :]
    return _checked_names(fields, inputs)


def _checked_names(fields: tuple[str, ...], inputs: tuple[str, ...]) -> Signature:
    hidden = reserved_among(inputs)
    if hidden:
        raise ValueError(
            f"the inputs are {', '.join(inputs)}, but {hidden[0]!r} is a method of every field, so u.{hidden[0]} could "
            "not be told from a derivative: give the input another name"
        )
    return Signature(fields, inputs)


def _check_coefficients(given: dict[str, Any], optional: set[str], required: set[str], any_name: bool) -> None:
    for name in given:
        if name not in optional | required and not any_name:
            known = sorted(optional | required)
            takes = f"its coefficients are {', '.join(known)}" if known else "it has none, none is behind a star"
            raise TypeError(f"the equation takes no coefficient {name!r}: {did_you_mean(name, known)}{takes}")
    missing = sorted(required - given.keys())
    if missing:
        raise TypeError(
            f"the equation needs the coefficient{'s' * (len(missing) > 1)} {', '.join(missing)}: pass "
            f"residual(equation, net, points, {', '.join(f'{name}=…' for name in missing)})"
        )


def _check_constant(coefficients: dict[str, Any], batch: tuple[int, ...]) -> None:
    for name, c in coefficients.items():
        if is_array(c) and max(c.shape, default=1) > 1 and tuple(c.shape) == batch:
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


def _remembered(equation: Any, dimension: int) -> Needed | None:
    with contextlib.suppress(TypeError):  # what has no hash, or cannot be referred to weakly
        return _WANTED.get(getattr(equation, "__func__", equation), {}).get(dimension)
    return None


def _remember(equation: Any, dimension: int, wanted: Needed) -> None:
    with contextlib.suppress(TypeError):
        _WANTED.setdefault(getattr(equation, "__func__", equation), {})[dimension] = wanted


def _united(before: Needed, now: Needed) -> Needed:
    """Both, but nothing from before that this run did not use and that has a function made anew at every call."""
    used = {number for number, _ in now}
    kept = [(number, output) for number, output in before if number in used or lasts(number)]
    return tuple(dict.fromkeys((*kept, *now)))


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
    _checked_names((), names)
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

    source = Source(names, count, compute, batch)
    source.found[IDENTITY] = first
    return source.fields()
