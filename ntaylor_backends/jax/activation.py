"""Activations under JAX's transformations: the pair rule's Leibniz product as their JVP.

``custom_jvp``, not ``custom_vjp``: the rule v̇ = w ⊛ u̇, equation (3.1), is linear in u̇, and what JAX makes of it in
reverse mode is its transpose, the correlation ū_j = Σ_{k≥j} v̄_k w_{k−j} of equation (3.2), with w as the one series
kept. So ``grad`` sweeps back in closed form, and ``jvp``, ``jacfwd``, ``hessian`` and forward-over-reverse work too,
which ``custom_vjp`` would refuse. The recurrences of w are differentiated only where a derivative is
differentiated again; w itself is computed only where one is taken.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero

from ntaylor.activations import Activation, Pullback, of_all_points
from ntaylor.blocks import Coefficients
from ntaylor.fans import Order, merged, opened_out
from ntaylor.series import Series
from ntaylor_backends.jax import block_activation

__all__ = ["activate", "is_own", "named"]

Array = Any

_numbers = itertools.count()
_PREFIX = "ntaylor activation "
_by_name: dict[str, Activation] = {}


def activate(
    activation: Activation, u: Sequence[Array | None], order: Order, parameters: Mapping[str, Array]
) -> tuple[Coefficients, Pullback]:
    """Taylor coefficients 0..order of f(u), differentiable by JAX, and the pullback of ``closed_form``."""

    def pullback(*cotangents: Any, **options: Any) -> Any:
        # For those who sweep back themselves; JAX does not.
        return activation.closed_form(u, order, parameters)[1](*cotangents, **options)

    if not parameters:
        v = block_activation.activate(activation, u, order, _name(activation, order))
        if v is not None:
            return v, pullback
    return _applied(activation, order)(list(u), dict(parameters)), pullback


@functools.cache
def _name(activation: Activation, order: Order) -> str:
    """What the function is called, which is seen again in the jaxpr of a function that applies it: see ``named``."""
    name = f"{_PREFIX}{next(_numbers)}"
    if order == 0:
        _by_name[name] = activation
    return name


@functools.cache
def _applied(activation: Activation, order: Order) -> Any:
    """(u, parameters) -> v, lists of Taylor coefficients in which None is a structural zero."""

    def apply(u: Coefficients, parameters: dict[str, Array]) -> Coefficients:
        return activation.closed_form(u, order, parameters)[0]

    apply.__name__ = _name(activation, order)
    applied = jax.custom_jvp(apply)

    @functools.partial(applied.defjvp, symbolic_zeros=True)
    def tangent_of(primals: Any, tangents: Any) -> tuple[Coefficients, Coefficients]:
        u, parameters = primals
        u_dot, of_parameters = tangents
        found = activation.pairs(u, jnp, order, parameters)
        values = of_all_points(merged(order, [v for v, _, _ in found]), u, jnp)
        tangents = []
        moving = opened_out(order, [None if isinstance(c, SymbolicZero) else c for c in u_dot])
        for (_, w, partials), part in zip(found, moving, strict=True):
            terms = w * Series(part)
            for name, p_dot in of_parameters.items():
                if not isinstance(p_dot, SymbolicZero):
                    terms = terms + activation.partial_of(name, partials) * p_dot
            tangents.append(terms)
        v_dot = merged(order, tangents)
        return values, [_shaped_as(c, v_dot[k] if k < len(v_dot) else None) for k, c in enumerate(values)]

    return applied


def _shaped_as(v: Array | None, tangent: Array | None) -> Array | None:
    if v is None:
        return None
    return jnp.zeros_like(v) if tangent is None else jnp.broadcast_to(tangent, v.shape)


def named(name: str) -> Activation | None:
    """The activation that a traced function of this name applies to one array; None if it is another's."""
    return _by_name.get(name)


def is_own(name: str) -> bool:
    """Whether a traced function of this name is an activation's, to any order."""
    return name.startswith(_PREFIX)
