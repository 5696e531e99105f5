"""Functions of JAX arrays: traced once, and opened behind the dense layer that some of them begin with.

A function that meets its points in one matrix product, behind shifts and factors at most, is rest(x @ weight). So its
directions need not go through it as vectors of points: they are multiplied by the weight once for all points, and to
second order no more of them are pushed on than the product has outputs (``docs/theory.md``, (10.3)). Where this product
is, the jaxpr says; the rest is the equations after it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy
from jax.extend.core import ClosedJaxpr, Jaxpr, Literal

from ntaylor.array_object import apply
from ntaylor.dispatch import Traced
from ntaylor.jets import Jet
from ntaylor_backends.jax.interpreter import checkpointed, evaluate, follow, given, inside, is_inlined, values
from ntaylor_backends.jax.primitives import primal

__all__ = ["push", "traced"]

Array = Any


def push(f: Callable[..., Any], *jets: Jet) -> Any:
    """What ``f`` makes of the jets: jets, or arrays where it does not depend on them, in f's own containers.

    f is called once, with traced arrays. If it uses what traced arrays lack, such as an activation's name in their
    namespace or NumPy, it is called again with the jets themselves. A primitive without a rule is named in a
    MissingRule.
    """
    if isinstance(f, Traced):
        return f(*jets)
    try:
        code = _Code(f, *map(primal, jets))
    except (AttributeError, jax.errors.TracerArrayConversionError):
        return f(*jets)
    return code(*jets)


def traced(f: Callable[..., Any], x: Array) -> Traced | None:
    """f traced at x; None if it cannot be, of which :func:`push` says why, or goes another way."""
    try:
        return _Code(f, x)
    except Exception:
        return None


class _Followed(Traced):
    """Outputs for arrays and jets, put into the containers of a function."""

    def __init__(self, outputs: Callable[..., list[Any]], structure: Any):
        self.outputs, self.structure = outputs, structure

    def __call__(self, *args: Any) -> Any:
        # What was known before is NumPy's, and where f returns it JAX's again.
        found = [jnp.asarray(a) if isinstance(a, numpy.ndarray) else a for a in self.outputs(*args)]
        return jax.tree_util.tree_unflatten(self.structure, found)


class _Code(_Followed):
    """A function's jaxpr."""

    def __init__(self, f: Callable[..., Any], *x: Array):
        closed, shape = jax.make_jaxpr(lambda *x: f(*x), return_shape=True)(*x)
        super().__init__(lambda *args: evaluate(closed, args), jax.tree_util.tree_structure(shape))
        self.closed = closed

    @cached_property
    def head(self) -> _Head | None:
        """The dense layer that it begins with."""
        return _found(self.closed.jaxpr, self.closed.jaxpr.invars[0])

    @property
    def width(self) -> int | None:  # type: ignore[override]
        """Of that layer."""
        return None if self.head is None else self.head.width

    def opened(self, x: Array) -> tuple[Array, Array, Traced]:
        assert self.head is not None  # as the width says
        value, weight, rest = _opened(self.closed, [x], self.head)
        return value, weight, _Followed(rest, self.structure)


# --- where the dense layer is ------------------------------------------------------------------------


class _Head(NamedTuple):
    """Which equations of a jaxpr lead from a variable to a dense layer, and at which place of theirs it comes in."""

    before: tuple[tuple[int, int], ...]
    """Factors and shifts: (equation, place)."""
    at: int
    """The product, or the call in which it is."""
    place: int
    width: int
    inside: _Head | None
    """Of the code that is called."""


def _found(jaxpr: Jaxpr, u: Any) -> _Head | None:
    """The head of a jaxpr in which all that depends on ``u`` goes through one dense layer; None if there is none."""
    read = [v for part in (*(eqn.invars for eqn in jaxpr.eqns), jaxpr.outvars) for v in part]
    uses = Counter(v for v in read if not isinstance(v, Literal))
    before: list[tuple[int, int]] = []
    for i, eqn in enumerate(jaxpr.eqns):
        place = next((p for p, v in enumerate(eqn.invars) if v is u), None)
        if place is None:
            continue
        if uses[u] > 1:
            return None
        if eqn.primitive.name == "dot_general":
            if not _is_dense(eqn, place):
                return None
            return _Head(tuple(before), i, place, _width(eqn, place), None)
        if is_inlined(eqn):
            code = inside(eqn)
            code = code.jaxpr if isinstance(code, ClosedJaxpr) else code
            head = _found(code, code.invars[place])
            return None if head is None else _Head(tuple(before), i, place, head.width, head)
        if not _is_factor_or_shift(eqn, place):
            return None
        before.append((i, place))
        (u,) = eqn.outvars
    return None


def _contracted(eqn: Any, place: int) -> int | None:
    """The one axis of an operand that a dot_general sums over; None if there are others, or axes of a batch."""
    contracted, batched = (part[place] for part in eqn.params["dimension_numbers"])
    return int(contracted[0]) if len(contracted) == 1 and not len(batched) else None


def _is_dense(eqn: Any, place: int) -> bool:
    """Whether a dot_general multiplies the last axis of the operand at ``place`` by a matrix, in its own dtype."""
    u, weight, v = eqn.invars[place].aval, eqn.invars[1 - place].aval, eqn.outvars[0].aval
    # A precision that was asked for in this product alone would not hold in the directions' own product.
    as_others = eqn.params.get("precision") is None or jax.config.jax_default_matmul_precision is not None
    return (
        _contracted(eqn, place) == u.ndim - 1
        and weight.ndim == 2
        and weight.size > 0
        and u.dtype == weight.dtype == v.dtype
        and bool(jnp.issubdtype(u.dtype, jnp.floating))
        and as_others
    )


def _width(eqn: Any, place: int) -> int:
    return int(eqn.invars[1 - place].aval.shape[1 - eqn.params["dimension_numbers"][0][1 - place][0]])


def _is_factor_or_shift(eqn: Any, place: int) -> bool:
    """Whether an equation adds to the operand at ``place``, or multiplies it by what is the same at all points."""
    u, v, name = eqn.invars[place].aval, eqn.outvars[0].aval, eqn.primitive.name
    if (u.shape, u.dtype) != (v.shape, v.dtype):
        return False
    if name == "mul" or (name == "div" and place == 0):
        return all(n == 1 for n in eqn.invars[1 - place].aval.shape[:-1])
    return name in ("add", "sub", "neg", "convert_element_type", "copy")


def _scaled(weight: Array, eqn: Any, place: int, operands: Sequence[Any]) -> Array:
    """The weight behind a factor or shift as that of x before it."""
    name = eqn.primitive.name
    if name == "neg" or (name == "sub" and place == 1):
        return -weight
    if name not in ("mul", "div"):
        return weight
    factor = jnp.reshape(jnp.asarray(operands[1 - place], weight.dtype), (-1, 1))
    return factor * weight if name == "mul" else weight / factor


# --- opened ------------------------------------------------------------------------------------------


def _opened(
    closed: ClosedJaxpr | Jaxpr, args: Sequence[Any], head: _Head
) -> tuple[Array, Array, Callable[[Any], list[Any]]]:
    """(the dense layer's value (\\*batch, width), the weight (d, width), its jet -> outputs) of a jaxpr with a head."""
    jaxpr, found = given(closed, args)
    follow(jaxpr.eqns[: head.at], found)
    eqn = jaxpr.eqns[head.at]
    operands = values(eqn.invars, found)
    if head.inside is None:
        value, weight, at = _product(eqn, operands, head.place)
    else:
        value, weight, at = _opened(inside(eqn), operands, head.inside)
        at = checkpointed(eqn, at)
    for i, place in reversed(head.before):
        weight = _scaled(weight, jaxpr.eqns[i], place, values(jaxpr.eqns[i].invars, found))

    def rest(jet: Any) -> list[Any]:
        after = found | dict(zip(eqn.outvars, at(jet), strict=True))
        follow(jaxpr.eqns[head.at + 1 :], after)
        return values(jaxpr.outvars, after)

    return value, weight, rest


def _product(eqn: Any, operands: Sequence[Any], place: int) -> tuple[Array, Array, Callable[[Any], list[Any]]]:
    """A dense layer's (value, weight, what the equation gives of the value), whichever way around it multiplies."""
    weight = jnp.asarray(operands[1 - place])
    weight = weight if _contracted(eqn, 1 - place) == 0 else weight.T
    value = eqn.primitive.bind(*operands, **eqn.params)
    if place == 0:
        return value, weight, lambda v: [v]
    return jnp.moveaxis(value, 0, -1), weight, lambda v: [apply("moveaxis", (v, -1, 0), {})]
