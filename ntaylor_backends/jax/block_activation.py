"""Activations of all coefficients as one array, on a CPU: a loop forward and a loop back.

What the functions of coefficient 0 give, tanh u_0 and its like, XLA computes, whose functions are vectorised; all the
rest is one loop a push (:mod:`loops`). The tangent is equation (3.1), with w from v wherever the rule has it so: then v
alone is kept for the way back, which a dense layer keeps too.
"""

from __future__ import annotations

import functools
import math
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero

from ntaylor.activations import Activation
from ntaylor.blocks import Block
from ntaylor.fans import Order
from ntaylor.namespace import broadcast_shapes
from ntaylor.programs import COMPARISONS, LOGICAL, Operation, Program
from ntaylor_backends.jax import cpu_kernels
from ntaylor_backends.jax.loops import Loop, run, values
from ntaylor_backends.kernels import adjoint_program, forward_program, tangent_program

__all__ = ["Shifted", "activate"]

Array = Any


class Rows(Block):
    """A block that is taken apart in one go: so that the transpose puts it together in one, not row by row."""

    __slots__ = ("_rows",)

    def __init__(self, array: Array):
        super().__init__(array)
        self._rows: list[Array] | None = None

    def __getitem__(self, k: Any) -> Any:
        if self._rows is None:
            parts = jax.lax.split(self.array, [1] * len(self))
            self._rows = [jax.lax.squeeze(part, (0,)) for part in parts]
        return self._rows[k]

    def __iter__(self) -> Iterator[Array]:
        return iter(self[:])


class Shifted(Rows):
    """A block of which a bias is still to be added to the primal: whoever reads coefficient 0 does it at no cost."""

    __slots__ = ("_array", "rows", "shift")

    def __init__(self, rows: Array, shift: Array):
        self.rows, self.shift = rows, shift
        self._array = self._rows = None

    @property
    def array(self) -> Array:  # type: ignore[override]
        if self._array is None:
            self._array = _shifted(self.rows, self.shift)
        return self._array

    def __len__(self) -> int:
        return int(self.rows.shape[0])


def _shifted(rows: Array, shift: Array) -> Array:
    """The rows with the shift added to row 0. So that its transpose is a sum of that row, and nothing joined."""
    primal = jnp.broadcast_to(shift, rows.shape[1:])[None]
    return rows + jax.lax.pad(primal, rows.dtype.type(0), [(0, rows.shape[0] - 1, 0), *[(0, 0, 0)] * (rows.ndim - 1)])


def activate(activation: Activation, u: Sequence[Array | None], order: Order, name: str) -> Block | None:
    """Taylor coefficients 0..order of f(u), differentiable by JAX; None where it is better done otherwise.

    ``name`` is what the function is called in a jaxpr.
    """
    if not isinstance(order, int) or order < 1 or jax.default_backend() != "cpu" or not cpu_kernels.available():
        return None
    given = _as_block(u)
    if given is None:
        return None
    rows = given[0]
    if _is_spread(rows) or not all(isinstance(n, int) for n in rows.shape) or _is_large(rows, order):
        return None
    loops = _loops(activation, order, rows.shape[0])
    if loops is None or not loops.are_kernels(rows.dtype):
        return None
    return Rows(_applied(loops, name)(*given))


LARGEST = 2**15
"""Entries of a coefficient, for every order, up to which one thread's loop is faster than what XLA's threads share."""
MOST = 2**19
"""Entries of all coefficients up to which that holds at high orders too: beyond, the memory is what takes the time."""


@functools.cache
def _threads() -> int:
    """How many XLA has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _as_block(u: Sequence[Array | None]) -> tuple[Array, ...] | None:
    """(rows,) or (rows, what is to be added to row 0), of coefficients that all have the primal's shape or less."""
    if isinstance(u, Shifted):
        return (u.rows, u.shift)
    if isinstance(u, Block):
        return (u.array,)
    count = max(k for k, c in enumerate(u) if c is not None) + 1
    given: list[Array] = [c for c in u[:count] if c is not None]
    shape, dtype = given[0].shape, given[0].dtype
    if len(given) < count or any(c.dtype != dtype or broadcast_shapes(c.shape, shape) != shape for c in given):
        return None
    return (jnp.stack([jnp.broadcast_to(c, shape) for c in given]),)


def _is_spread(array: Array) -> bool:
    """Whether several devices may have parts of it: rows of all orders in one product would be gathered on each.

    Inside of ``shard_map`` they have not: what varies there is what one device has. Where a sharding is part of an
    array's type, JAX wants to be told of the rows of a product too.
    """
    mesh = getattr(getattr(array.aval, "sharding", None), "mesh", None)
    if any(getattr(kind, "name", "") == "Explicit" for kind in getattr(mesh, "axis_types", None) or ()):
        return True
    return jax.device_count() > 1 and not getattr(array.aval, "vma", frozenset())


def _is_large(rows: Array, order: int) -> bool:
    """Whether XLA's threads, which share out each of its own loops, are faster than the one that runs ours."""
    work = math.prod(rows.shape[1:]) * _threads()
    return work > LARGEST * order or work * (order + 1) > MOST


# --- loops ---------------------------------------------------------------------------------------------


class _Loops(NamedTuple):
    """What computes an activation, of so many coefficients to such an order."""

    forward: Loop
    of_forward: Program
    """The functions of u_0 that it reads."""
    tangent: Loop
    adjoint: Loop
    of_tangent: Program
    """The functions that tangent and adjoint read, of u_0 and v_0."""

    def are_kernels(self, dtype: Any) -> bool:
        """Whether all of it can be."""
        return all(cpu_kernels.speaks(loop.program, dtype) for loop in (self.forward, self.tangent, self.adjoint))


@functools.cache
def _loops(activation: Activation, order: int, count: int) -> _Loops | None:
    """None for a rule that cannot be recorded, or has structural zeros among its coefficients: those cost nothing."""
    present, known = (True,) * count, (True,) * (order + 1)
    programs = (
        forward_program(activation, order, tuple(range(order + 1)), present, ()),
        tangent_program(activation, order, present, known),
        adjoint_program(activation, order, present, (), known, known),
    )
    if any(p is None or None in p.outputs for p in programs) or len(programs[1].outputs) != order + 1:  # type: ignore[union-attr]
        return None
    (of_forward, forward), (of_tangent, tangent), (of_adjoint, adjoint) = (p.halves for p in programs)  # type: ignore[union-attr]
    if not {*of_adjoint.names_of_outputs} <= {*of_tangent.names_of_outputs}:
        return None
    if any(_gives_truth(head) for head in (of_forward, of_tangent)):
        return None
    u, v, g = (tuple(f"{letter}{k}" for k in range(order + 1)) for letter in "uvg")
    # Row 0 of u may lack its bias, so u_0 comes by itself.
    rows = ("", *u[1:count])
    kept = _read((rows, v, ("u0",), *((name,) for name in of_tangent.names_of_outputs)), tangent, adjoint)
    # Each is the other's transpose.
    tangent_loop = Loop(tangent, (*kept, g[:count]), lambda: adjoint_loop)
    adjoint_loop = Loop(adjoint, (*kept, g), lambda: tangent_loop)
    read = _read((rows, ("u0",), *((name,) for name in of_forward.names_of_outputs)), forward)
    return _Loops(Loop(forward, read), of_forward, tangent_loop, adjoint_loop, of_tangent)


def _gives_truth(head: Program) -> bool:
    """Whether it hands on what holds or not, which is no number."""
    found = (head.values[at] for at in head.outputs if isinstance(at, int))
    return any(isinstance(v, Operation) and v.name in COMPARISONS | LOGICAL for v in found)


def _read(arrays: Sequence[tuple[str, ...]], *programs: Program) -> tuple[tuple[str, ...], ...]:
    """Those arrays, by the names of their rows, of which a program reads something."""
    names = {name for program in programs for name in program.inputs}
    return tuple(rows for rows in arrays if not names.isdisjoint(rows))


@functools.cache
def _applied(loops: _Loops, name: str) -> Callable[..., Array]:
    """(rows of u, perhaps what is to be added to row 0) -> rows of v."""

    def primal(rows: Array, shift: Sequence[Array]) -> Array:
        return sum(shift, rows[0])

    def arrays(loop: Loop, rows: Array, known: dict[str, Array], head: Program, v: Array | None = None) -> list[Array]:
        """What the loop reads, without the last array of one that is linear in it."""
        known |= dict(zip(head.names_of_outputs, values(head, known), strict=True))
        blocks = {"": rows, "v0": v}
        names = loop.rows if loop.transpose is None else loop.rows[:-1]
        return [known[of[0]][None] if len(of) == 1 else blocks[of[0]] for of in names]

    def apply(rows: Array, *shift: Array) -> Array:
        known = {"u0": primal(rows, shift)}
        return run(loops.forward, *arrays(loops.forward, rows, known, loops.of_forward))

    apply.__name__ = name
    applied = jax.custom_jvp(apply)

    @functools.partial(applied.defjvp, symbolic_zeros=True)
    def tangent_of(primals: Sequence[Array], tangents: Sequence[Any]) -> tuple[Array, Array]:
        rows, *shift = primals
        v = applied(*primals)
        known = {"u0": primal(rows, shift), "v0": v[0]}
        of_rows, *of_shift = (None if isinstance(t, SymbolicZero) else t for t in tangents)
        u_dot = jnp.zeros_like(rows) if of_rows is None else of_rows
        for shift_dot in of_shift:
            u_dot = u_dot if shift_dot is None else _shifted(u_dot, shift_dot)
        return v, run(loops.tangent, *arrays(loops.tangent, rows, known, loops.of_tangent, v), u_dot)

    return applied
