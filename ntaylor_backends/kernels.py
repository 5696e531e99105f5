"""Activations by kernels: what is common to all adapters that print programs.

An adapter brings one function, ``run(program, inputs, shape)``, that computes a program's outputs, laid behind one
another in one array, from arrays that broadcast to ``shape``. Which programs are needed, for which coefficients and
which cotangents, and how cotangents of what is shared are summed, is settled here.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

from ntaylor.activations import Activation, Pullback, of_one_shape
from ntaylor.blocks import Block
from ntaylor.fans import Order, highest, size
from ntaylor.namespace import broadcast_shapes, sum_to_shape
from ntaylor.programs import NotRecordableError, Program, adjoint, forward, tangent
from ntaylor.series import Series, add

__all__ = [
    "Inputs",
    "Run",
    "activate",
    "adjoint_program",
    "forward_program",
    "layout",
    "shapes_of",
    "singly",
    "tangent_program",
]

Array = Any
Shape = tuple[int, ...]
Inputs = dict[tuple[str, ...], Array]
"""Arrays by the names of what they hold: of one name the array itself, of several a block (names, \\*shape)."""
Run = Callable[[Program, Inputs, Shape], Array]
"""(program, inputs, shape) -> outputs that are no structural zeros, one new array (outputs, \\*shape).

It may leave intermediate results in ``inputs``, under their expressions (``Program.split``), for the adjoint.
"""


@lru_cache(maxsize=4096)
def forward_program(
    activation: Activation, order: Order, wanted: tuple[int, ...], present: tuple[bool, ...], names: tuple[str, ...]
) -> Program | None:
    """The program, or ``None`` for a rule that cannot be recorded."""
    try:
        program = forward(_rule(activation, highest(order)), wanted, present, names, order)
        return replace(program, name=f"{activation.name}_forward_{_in_words(order)}")
    except NotRecordableError:
        return None


@lru_cache(maxsize=4096)
def adjoint_program(
    activation: Activation,
    order: Order,
    present: tuple[bool, ...],
    names: tuple[str, ...],
    given: tuple[bool, ...],
    known: tuple[bool, ...] = (),
) -> Program | None:
    """Likewise, for cotangents of those v_k that are ``given``, with those v_k that are ``known`` at hand."""
    try:
        program = adjoint(_rule(activation, highest(order)), present, names, given, known, order)
        return replace(program, name=f"{activation.name}_adjoint_{_in_words(order)}")
    except NotRecordableError:
        return None


@lru_cache(maxsize=4096)
def tangent_program(
    activation: Activation, order: Order, present: tuple[bool, ...], known: tuple[bool, ...]
) -> Program | None:
    """The transpose of ``adjoint_program`` without parameters, of all cotangents."""
    try:
        program = tangent(_rule(activation, highest(order)), present, known, order)
        return replace(program, name=f"{activation.name}_tangent_{_in_words(order)}")
    except NotRecordableError:
        return None


def _rule(activation: Activation, order: int) -> Callable[..., Any]:
    def rule(u: Series, xp: Any, parameters: Mapping[str, Any]) -> Any:
        return activation.pair_unchecked(u, xp, order, parameters)

    return rule


def _in_words(order: Order) -> str:
    return f"{highest(order)}" if isinstance(order, int) else f"fan_{'_'.join(map(str, order.orders))}"


def activate(
    run: Run, activation: Activation, u: Sequence[Array | None], order: Order, parameters: Mapping[str, Array]
) -> tuple[Sequence[Array | None], Pullback]:
    """As ``Activation.closed_form``, which serves rules that cannot be recorded.

    Coefficients of one shape come as a block, and their cotangents are best given as one.
    """
    names, present = tuple(parameters), _present(u)
    shapes = _shapes(u)
    of_parameters = tuple(tuple(p.shape) for p in parameters.values())
    groups = _groups(size(order), shapes, of_parameters)
    programs = [forward_program(activation, order, wanted, present, names) for _, wanted in groups]
    if None in programs or adjoint_program(activation, order, present, names, (True,) * size(order)) is None:
        return activation.closed_form(u, order, parameters)
    inputs = _named("u", u)
    inputs |= {(f"parameter {name}",): p for name, p in parameters.items()}
    v: list[Array | None] = [None] * size(order)
    for (shape, wanted), program in zip(groups, programs, strict=True):
        found = run(program, inputs, shape)  # type: ignore[arg-type]  # none is None
        there = [k for k, at in zip(wanted, program.outputs, strict=True) if at is not None]  # type: ignore[union-attr]
        if there == list(range(len(there))) and len(groups) == 1:
            v = Block(found)  # type: ignore[assignment]
            break
        for i, k in enumerate(there):
            v[k] = found[i, ...]
    while v[-1] is None:
        v.pop()
    known = _present(v)
    inputs |= _named("v", v)
    kept = _kept(inputs, adjoint_program(activation, order, present, names, known, known))
    shared = (*(shape for shape in shapes if shape is not None), *of_parameters)
    in_block = isinstance(u, Block) and not names

    def pullback(
        cotangent: Sequence[Array | None], per_sample: bool = False
    ) -> tuple[Sequence[Array | None], dict[str, Array]]:
        totals: list[Array | None] = [None] * len(shared)
        cotangents = of_one_shape(cotangent)
        for group in cotangents:
            given = _present(group)
            program = adjoint_program(activation, order, present, names, given, known)
            assert program is not None  # that of all cotangents is not
            values = kept | _named("g", group)
            shape = _shape_of(program, values)
            found = run(program, values, shape)
            if in_block and len(cotangents) == 1 and len(found) == len(shared) and (shape == shared[0] or per_sample):
                return Block(found), {}
            rows = itertools.count()
            for i, at in enumerate(program.outputs):
                if at is not None:
                    c = found[next(rows), ...]
                    if not per_sample:
                        c = sum_to_shape(c, shared[i])
                    elif i >= len(shared) - len(names) and not shared[i]:
                        c = c.sum(-1)
                    totals[i] = add(totals[i], c)
        left = iter(totals)
        of_u = [next(left) if here else None for here in present]
        return of_u, {name: p * 0 if (c := next(left)) is None else c for name, p in parameters.items()}

    return v, pullback


def _present(u: Sequence[Array | None]) -> tuple[bool, ...]:
    return (True,) * len(u) if isinstance(u, Block) else tuple(c is not None for c in u)


def _shapes(u: Sequence[Array | None]) -> tuple[Shape | None, ...]:
    if isinstance(u, Block):
        return (tuple(u.array.shape[1:]),) * len(u)
    return tuple(None if c is None else tuple(c.shape) for c in u)


def _named(letter: str, u: Sequence[Array | None]) -> Inputs:
    """The coefficients u_0, u_1, … that are there under the names u0, u1, …"""
    if isinstance(u, Block):
        return {_numbered(letter, len(u)): u.array} if len(u) > 1 else {(f"{letter}0",): u[0]}
    return {(f"{letter}{k}",): c for k, c in enumerate(u) if c is not None}


@lru_cache
def _numbered(letter: str, count: int) -> tuple[str, ...]:
    return tuple(f"{letter}{k}" for k in range(count))


def _kept(inputs: Inputs, program: Program | None) -> Inputs:
    """What the adjoint reads: where v and the values of its functions are at hand, often nothing of u."""
    assert program is not None
    available = {name for names in inputs for name in names}
    needed = program.halves[1].inputs
    if not available.issuperset(name for name in needed if not name.startswith("g")):
        needed = program.inputs
    kept = {names: array for names, array in inputs.items() if not set(names).isdisjoint(needed)}
    return kept or dict([next(iter(inputs.items()))])  # one, to tell the dtype


def _shape_of(program: Program, values: Inputs) -> Shape:
    """What the inputs of the program broadcast to."""
    names = set(program.inputs)
    return broadcast_shapes(*(shape for key, shape in shapes_of(values) if not names.isdisjoint(key)))


def shapes_of(inputs: Inputs) -> tuple[tuple[tuple[str, ...], Shape], ...]:
    """(names, shape of each of what the array holds)."""
    return tuple((names, tuple(a.shape[1:] if len(names) > 1 else a.shape)) for names, a in inputs.items())


@lru_cache(maxsize=4096)
def _groups(
    count: int, shapes: tuple[Shape | None, ...], of_parameters: tuple[Shape, ...]
) -> list[tuple[Shape, tuple[int, ...]]]:
    """(shape, orders k) of the v_k of one shape: that of u_0..u_k together, so what directions share is made once.

    A learnable parameter may have more features than u.
    """
    shape = broadcast_shapes(*of_parameters)
    found: dict[Shape, list[int]] = {}
    for k in range(count):
        x = shapes[k] if k < len(shapes) else None
        if x is not None:
            shape = broadcast_shapes(shape, x)
        found.setdefault(shape, []).append(k)
    return [(shape, tuple(orders)) for shape, orders in found.items()]


def singly(inputs: Inputs) -> Iterator[tuple[str, Array]]:
    """Every input by its own name: rows of blocks, where they are."""
    for names, array in inputs.items():
        if len(names) == 1:
            yield names[0], array
        else:
            yield from ((name, array[k, ...]) for k, name in enumerate(names))


@lru_cache(maxsize=4096)
def layout(
    shape: tuple[int, ...], shapes: tuple[tuple[int, ...], ...]
) -> tuple[tuple[int, ...], tuple[tuple[bool, ...], ...]]:
    """The fewest loops that run over ``shape``: their lengths, and of every input along which of them it varies.

    Neighbouring axes are one loop where every input either varies along both or is the same along both. Inputs are
    C-contiguous and have ``shapes``, which broadcast to ``shape``.
    """
    sizes: list[int] = []
    varying: list[tuple[bool, ...]] = []
    for axis in range(-len(shape), 0):
        if shape[axis] == 1:
            continue
        here = tuple(len(s) >= -axis and s[axis] != 1 for s in shapes)
        if varying and varying[-1] == here:
            sizes[-1] *= shape[axis]
        else:
            sizes.append(shape[axis])
            varying.append(here)
    if not sizes:
        sizes, varying = [math.prod(shape)], [(False,) * len(shapes)]
    return tuple(sizes), tuple(tuple(here[i] for here in varying) for i in range(len(shapes)))
