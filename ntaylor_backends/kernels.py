"""Activations by kernels: what is common to all adapters that print programs.

An adapter brings one function, ``run(program, inputs, shape)``, that computes a program's outputs as arrays of
``shape`` from arrays that broadcast to it. Which programs are needed, for which coefficients and which cotangents, and
how cotangents of what is shared are summed, is settled here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

from ntaylor.activations import Activation, Pullback, of_one_shape
from ntaylor.namespace import broadcast_shapes, sum_to_shape
from ntaylor.programs import NotRecordableError, Program, adjoint, forward, names_of_inputs
from ntaylor.series import Series, add

__all__ = ["Run", "activate", "adjoint_program", "forward_program", "layout"]

Array = Any
Run = Callable[[Program, dict[str, Array], tuple[int, ...]], list[Array | None]]
"""(program, inputs by name, shape) -> outputs of that shape, ``None`` for structural zeros.

It may leave intermediate results in ``inputs``, under their expressions (``Program.split``), for the adjoint.
"""


@lru_cache(maxsize=4096)
def forward_program(
    activation: Activation, order: int, wanted: tuple[int, ...], present: tuple[bool, ...], names: tuple[str, ...]
) -> Program | None:
    """The program, or ``None`` for a rule that cannot be recorded."""
    try:
        program = forward(_rule(activation, order), wanted, present, names)
        return replace(program, name=f"{activation.name}_forward_{order}")
    except NotRecordableError:
        return None


@lru_cache(maxsize=4096)
def adjoint_program(
    activation: Activation, order: int, present: tuple[bool, ...], names: tuple[str, ...], given: tuple[bool, ...]
) -> Program | None:
    """Likewise, for cotangents of those v_k that are ``given``."""
    try:
        program = adjoint(_rule(activation, order), present, names, given)
        return replace(program, name=f"{activation.name}_adjoint_{order}")
    except NotRecordableError:
        return None


def _rule(activation: Activation, order: int) -> Callable[..., Any]:
    def rule(u: Series, xp: Any, parameters: Mapping[str, Any]) -> Any:
        return activation.pair_unchecked(u, xp, order, parameters)

    return rule


def activate(
    run: Run, activation: Activation, u: Sequence[Array | None], order: int, parameters: Mapping[str, Array]
) -> tuple[list[Array | None], Pullback]:
    """As ``Activation.closed_form``, which also does what kernels cannot: per-sample pullbacks, unrecordable rules."""
    names, present = tuple(parameters), tuple(c is not None for c in u)
    there: list[Array] = [c for c in u if c is not None]
    inputs = dict(zip(names_of_inputs(present, names), (*there, *parameters.values()), strict=True))
    v: list[Array | None] = [None] * (order + 1)
    shapes = _shapes_of_outputs(u, order, parameters)
    for shape in dict.fromkeys(shapes):
        # The primal is not computed once a direction where directions share it.
        wanted = tuple(k for k in range(order + 1) if shapes[k] == shape)
        program = forward_program(activation, order, wanted, present, names)
        if program is None:
            return activation.closed_form(u, order, parameters)
        for k, c in zip(wanted, run(program, inputs, shape), strict=True):
            v[k] = c
    while len(v) > 1 and v[-1] is None:
        v.pop()

    def pullback(
        cotangent: Sequence[Array | None], per_sample: bool = False
    ) -> tuple[list[Array | None], dict[str, Array]]:
        groups = of_one_shape(cotangent)
        given = [tuple(c is not None for c in group) for group in groups]
        programs = [adjoint_program(activation, order, present, names, g) if any(g) else None for g in given]
        if per_sample or None in programs:
            return activation.closed_form(u, order, parameters)[1](cotangent, per_sample)
        totals: list[Array | None] = [None] * (len(there) + len(names))
        shared = [c.shape for c in (*there, *parameters.values())]
        for group, program in zip(groups, programs, strict=True):
            assert program is not None
            values = {**inputs, **{f"g{k}": c for k, c in enumerate(group) if c is not None}}
            shape = broadcast_shapes(*(values[name].shape for name in program.inputs))
            found = run(program, values, shape)
            for i, c in enumerate(found):
                if c is not None:
                    totals[i] = add(totals[i], sum_to_shape(c, shared[i]))
        left = iter(totals)
        of_u = [next(left) if here else None for here in present]
        return of_u, {name: p * 0 if (c := next(left)) is None else c for name, p in parameters.items()}

    return v, pullback


def _shapes_of_outputs(u: Sequence[Array | None], order: int, parameters: Mapping[str, Array]) -> list[tuple[int, ...]]:
    """v_k has the shape of u_0..u_k together; a learnable parameter may have more features than u."""
    shape = broadcast_shapes(*(tuple(p.shape) for p in parameters.values()))
    result = []
    for k in range(order + 1):
        c = u[k] if k < len(u) else None
        if c is not None:
            shape = broadcast_shapes(shape, c.shape)
        result.append(shape)
    return result


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
