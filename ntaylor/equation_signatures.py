"""How an equation is called: which of its arguments are fields, inputs and coefficients.

Floor 11: read off its signature and the shape of the points, and what is wrong with them said in words.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Any

from ntaylor.field_object import reserved_among
from ntaylor.namespace import describe, did_you_mean

__all__ = ["Signature", "check_coefficients", "checked_names", "is_made_inside", "parameters_of", "signature_of"]

Array = Any


@dataclass(frozen=True)
class Signature:
    """How an equation is called: names of the fields, of the inputs, and of the coefficients."""

    fields: tuple[str, ...]
    inputs: tuple[str, ...]


def parameters_of(equation: Any) -> tuple[tuple[str, ...], set[str], set[str], bool]:
    """(positional names, optional coefficients, required ones, whether any other is taken)."""
    if not callable(equation):
        raise TypeError(
            "equation must be a function of fields and inputs, such as lambda u, x, t: u.t - u.xx; got "
            f"{describe(equation)}"
        )
    if is_made_inside(equation):
        code = equation.__code__
        if code.co_flags & 12 or equation.__defaults__:
            raise TypeError("an equation names its fields and inputs, and has no defaults but for coefficients")
        count = code.co_argcount
        return code.co_varnames[:count], set(code.co_varnames[count : count + code.co_kwonlyargcount]), set(), False
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
            raise TypeError(f"got *{p.name}: name its fields, its inputs and its coefficients one by one")
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


def is_made_inside(equation: Any) -> bool:
    """Whether torch.compile is at work on what makes the equation: then it knows of it no more than its code."""
    try:
        return hasattr(equation, "__code__") and equation.__kwdefaults__ is Ellipsis  # never so
    except AttributeError:
        return True


def signature_of(names: tuple[str, ...], points: Array) -> Signature:
    """Fields and inputs: as many inputs, at the end, as points have coordinates."""
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
    return checked_names(fields, inputs)


def checked_names(fields: tuple[str, ...], inputs: tuple[str, ...]) -> Signature:
    """These names; ValueError where u.name could not be told from a method of arrays."""
    hidden = reserved_among(inputs)
    if hidden:
        raise ValueError(
            f"the inputs are {', '.join(inputs)}, but {hidden[0]!r} is a method of every field, so u.{hidden[0]} could "
            "not be told from a derivative: give the input another name"
        )
    return Signature(fields, inputs)


def check_coefficients(given: dict[str, Any], optional: set[str], required: set[str], any_name: bool) -> None:
    """Raise TypeError for coefficients that are missing or superfluous."""
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
