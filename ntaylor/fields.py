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
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import numpy

from ntaylor import operators
from ntaylor.dispatch import adapter_for
from ntaylor.field_object import RESERVED, Field, Source, derivative_of, reserved_among
from ntaylor.namespace import as_floating, describe, did_you_mean, hides_values, is_array
from ntaylor.operators import Operator
from ntaylor.quantities import Quantity, plain

__all__ = ["RESERVED", "Field", "Needed", "Quantity", "Signature", "of", "plain", "residual"]

Array = Any


class Needed(NamedTuple):
    """What an equation asks for: (operator, output of the network), in the order in which it did."""

    derivatives: tuple[tuple[Operator, int], ...]

    @property
    def operators(self) -> tuple[Operator, ...]:
        """Each operator once."""
        return tuple({L._number: L for L, _ in self.derivatives}.values())


@dataclass(frozen=True)
class Signature:
    """How an equation is called: names of the fields, of the inputs, and of the coefficients."""

    fields: tuple[str, ...]
    inputs: tuple[str, ...]


def residual(
    equation: Callable[..., Any], net: Callable[[Any], Any], points: Array, /, *, sobolev: int = 0, **coefficients: Any
) -> Any:
    """The residual of an equation at points, one number a point: what training makes small."""
    if sobolev:
        raise NotImplementedError("sobolev")
    posed = _Posed(equation, net, points, coefficients)
    return posed.value()


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
        self.inputs = [Quantity(points[..., i]) for i in range(len(self.signature.inputs))]
        self.batch = tuple(points.shape[:-1])

    def source(self, compute: Callable[[Sequence[Operator]], Sequence[Array]]) -> Source:
        return Source(self.signature.inputs, len(self.signature.fields), compute, self.batch)

    def call(self, source: Source) -> Any:
        return self.equation(*source.fields(), *self.inputs, **self.coefficients)

    def rehearsed(self) -> tuple[tuple[Operator, int], ...]:
        """What the equation asks for, seen on ones; if it stops there, what it asked for until then."""
        one = self.points[..., 0] * 0 + 1
        source = self.source(lambda wanted: [one] * len(wanted))
        with _silence(self.points), contextlib.suppress(Exception):
            result = self.call(source)
            for part in result if isinstance(result, tuple) else (result,):
                plain(part)  # a field that is returned as it is
        return tuple(source.asked.values())

    def value(self) -> Any:
        wanted = _remembered(self.equation, self.signature)
        if wanted is None:
            wanted = self.rehearsed()
            _remember(self.equation, self.signature, wanted)
        source = self.source(self.computed)
        source.compute(Needed(wanted).operators)
        result = self.call(source)
        checked = self.checked(result)
        if any(key not in {(L._number, o) for L, o in wanted} for key in source.asked):
            _remember(self.equation, self.signature, _united(wanted, tuple(source.asked.values())))
        return checked

    def computed(self, wanted: Sequence[Operator]) -> list[Array]:
        values = operators.jointly(tuple(wanted), self.net, self.points)
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

_WANTED: WeakKeyDictionary[Any, dict[Signature, tuple[tuple[Operator, int], ...]]] = WeakKeyDictionary()


def _remembered(equation: Any, signature: Signature) -> tuple[tuple[Operator, int], ...] | None:
    with contextlib.suppress(TypeError):  # what has no hash, or cannot be referred to weakly
        return _WANTED.get(getattr(equation, "__func__", equation), {}).get(signature)
    return None


def _remember(equation: Any, signature: Signature, wanted: tuple[tuple[Operator, int], ...]) -> None:
    with contextlib.suppress(TypeError):
        _WANTED.setdefault(getattr(equation, "__func__", equation), {})[signature] = wanted


def _united(
    before: tuple[tuple[Operator, int], ...], now: tuple[tuple[Operator, int], ...]
) -> tuple[tuple[Operator, int], ...]:
    """Both, but nothing from before that this run did not use and that has a function made anew at every call."""
    used = {L._number for L, _ in now}
    kept = [(L, o) for L, o in before if L._number in used or not any(t.factors or t.form for t in L.terms)]
    return tuple({(L._number, o): (L, o) for L, o in (*kept, *now)}.values())


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
    source = Source(names, count, lambda wanted: operators.jointly(tuple(wanted), net, points), batch)
    source.found[derivative_of(())._number] = first
    return source.fields()
