"""A program on blocks of coefficients as one primitive of JAX, which XLA calls on a CPU.

A :class:`Loop` reads the rows of several arrays (rows, \\*shape) and gives one such array. It may be linear in its last
array; then another loop is its transpose. That is all that JAX's transformations ask for: the tangent of an activation,
equation (3.1), and its adjoint, equation (3.2), are two such loops, each the other's transpose.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from ntaylor.programs import Program, evaluate
from ntaylor_backends.jax import cpu_kernels

__all__ = ["NAME", "Loop", "plain", "run", "values"]

Array = Any
NAME = "ntaylor_loop"


@dataclass(frozen=True, eq=False)  # made once and looked up by identity
class Loop:
    """A program without transcendental functions, and where its inputs are."""

    program: Program
    rows: tuple[tuple[str, ...], ...]
    """Of every array the names of its rows, as the program calls its inputs."""
    transpose: Callable[[], Loop] | None = field(default=None)
    """Of a loop that is linear in its last array: the one that takes a cotangent in its place."""

    def __repr__(self) -> str:
        return self.program.name

    @property
    def reads(self) -> list[tuple[int, int]]:
        """Of every input of the program in which array it is, and in which of its rows."""
        places = {name: (i, row) for i, names in enumerate(self.rows) for row, name in enumerate(names)}
        return [places[name] for name in self.program.inputs]


def run(loop: Loop, *blocks: Array) -> Array:
    """The outputs (outputs, \\*shape) from the arrays (rows, \\*shape)."""
    return _loop.bind(*_varying_alike(blocks), loop=loop)


def plain(*blocks: Array, loop: Loop) -> Array:
    """The same in JAX's own operations."""
    inputs = {
        name: block[row] for block, names in zip(blocks, loop.rows, strict=True) for row, name in enumerate(names)
    }
    # A coefficient that is a number is one all the same.
    found = [c + jnp.zeros_like(blocks[0][0]) if isinstance(c, float) else c for c in values(loop.program, inputs)]
    return jnp.stack(found)


def values(program: Program, inputs: Mapping[str, Array]) -> list[Array]:
    """The outputs of a program, differentiable any number of times."""
    return evaluate(program, _Namespace(), inputs)


class _Namespace:
    """JAX's, but with the modulus whose derivative at 0 is that of the branch on the right, as in the rule it is from:
    what is even in u is smooth then, and has all its derivatives where u is 0.
    """

    def __getattr__(self, name: str) -> Any:
        return getattr(jnp if hasattr(jnp, name) else jax.scipy.special, name)

    @staticmethod
    def abs(x: Array) -> Array:
        return jnp.where(x < 0, -x, x)


_loop = Primitive(NAME)


def _varying_alike(blocks: Sequence[Array]) -> Sequence[Array]:
    """Inside of shard_map, where JAX keeps book of which devices an array differs on: all on those where one does."""
    differing: list[frozenset[str]] = [getattr(b.aval, "vma", frozenset()) for b in blocks]
    everywhere = frozenset[str]().union(*differing)
    if all(here == everywhere for here in differing):
        return blocks
    vary = partial(jax.lax.pcast, to="varying") if hasattr(jax.lax, "pcast") else jax.lax.pvary  # before JAX 0.8
    return [vary(b, tuple(everywhere - here)) for b, here in zip(blocks, differing, strict=True)]


@_loop.def_impl
def _eagerly(*blocks: Array, loop: Loop) -> Array:
    if jax.config.jax_disable_jit:
        return plain(*blocks, loop=loop)
    return _jitted(*blocks, loop=loop)


_jitted = jax.jit(lambda *blocks, loop: _loop.bind(*blocks, loop=loop), static_argnames="loop")


@_loop.def_abstract_eval
def _abstract(*blocks: Any, loop: Loop) -> Any:
    return blocks[0].update(shape=(len(loop.program.outputs), *blocks[0].shape[1:]), weak_type=False)


def _jvp(blocks: Sequence[Array], tangents: Sequence[Any], *, loop: Loop) -> tuple[Array, Array]:
    found: list[Array] = []
    last = len(blocks) - 1 if loop.transpose is not None else len(blocks)
    if any(type(t) is not ad.Zero for t in tangents[last:]):
        found.append(run(loop, *blocks[:last], tangents[last]))
    moving = [i for i, t in enumerate(tangents[:last]) if type(t) is not ad.Zero]
    if moving:
        # A derivative of a derivative: what the program does is differentiated.
        def of_moving(*given: Array) -> Array:
            return plain(*(given[moving.index(i)] if i in moving else b for i, b in enumerate(blocks)), loop=loop)

        found.append(jax.jvp(of_moving, [blocks[i] for i in moving], [tangents[i] for i in moving])[1])
    return run(loop, *blocks), sum(found[1:], found[0])


def _transpose(cotangent: Any, *blocks: Any, loop: Loop) -> list[Any]:
    assert loop.transpose is not None  # JAX transposes what is linear
    *others, last = blocks
    if type(cotangent) is ad.Zero:
        return [None] * len(others) + [ad.Zero(last.aval)]
    return [None] * len(others) + [run(loop.transpose(), *others, cotangent)]


def _batched(blocks: Sequence[Array], axes: Sequence[int | None], *, loop: Loop) -> tuple[Array, int]:
    size = next(b.shape[axis] for b, axis in zip(blocks, axes, strict=True) if axis is not None)

    def along(b: Array, axis: int | None) -> Array:
        if axis is not None:
            return jnp.moveaxis(b, axis, 1)
        return jnp.broadcast_to(b[:, None], (b.shape[0], size, *b.shape[1:]))

    return run(loop, *map(along, blocks, axes)), 1


ad.primitive_jvps[_loop] = _jvp
ad.primitive_transposes[_loop] = _transpose
batching.primitive_batchers[_loop] = _batched


# --- what XLA gets -------------------------------------------------------------------------------------


def _called(*blocks: Array, name: str, loop: Loop) -> Array:
    flat = [b.reshape(b.shape[0], -1) for b in blocks]
    of_result = jax.ShapeDtypeStruct((len(loop.program.outputs), flat[0].shape[1]), flat[0].dtype)
    return jax.ffi.ffi_call(name, of_result)(*flat).reshape(-1, *blocks[0].shape[1:])


def _lowered_for_cpu(context: Any, *blocks: Any, loop: Loop) -> Any:
    first = context.avals_in[0]
    name = None
    if _stays_here(context.module_context) and all(isinstance(n, int) for n in first.shape) and first.size:
        name = cpu_kernels.target(loop.program, loop.reads, len(blocks), first.dtype)
    function = plain if name is None else partial(_called, name=name)
    return mlir.lower_fun(function, multiple_results=False)(context, *blocks, loop=loop)


def _stays_here(module: Any) -> bool:
    """Whether what is compiled runs in this process alone, and sees all of an array.

    What is exported must find the kernel where it is loaded, and the compiler cannot share a kernel's array out among
    devices. Inside of ``shard_map`` it need not: there an array is what one device has.
    """
    if len(module.platforms) > 1 or module.lowering_parameters.for_export:
        return False
    axes = module.axis_context
    if hasattr(axes, "num_devices"):
        return bool(axes.num_devices == 1)
    return hasattr(axes, "manual_axes") and set(axes.manual_axes) == set(axes.mesh.axis_names)


mlir.register_lowering(_loop, mlir.lower_fun(plain, multiple_results=False))
mlir.register_lowering(_loop, _lowered_for_cpu, platform="cpu")
