"""The adapter for JAX arrays, traced ones included.

What the slots do: :mod:`activation` gives the closed-form adjoint to JAX's transformations, :mod:`tracing` and
:mod:`interpreter` push JAX functions, :mod:`gradient` takes gradients. :mod:`pytrees` tells JAX what networks and jets
are.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import jax.scipy.special
import jaxlib  # noqa: F401  its arrays' types are those that come

from ntaylor.dispatch import Adapter
from ntaylor.namespace import Library, know
from ntaylor_backends.jax import (
    activation,
    block_activation,
    contestants,
    directions,
    draws,
    gradient,
    gram_root,
    least_squares,
    models,
    nested,
    pytrees,
    tracing,
    training,
)

__all__ = ["adapter"]


def _device(array: Any) -> Any:
    """The device of an array that is on one; None of a traced or sharded one."""
    return None if isinstance(array, jax.core.Tracer) or len(array.devices()) > 1 else array.device


def _stays(array: Any) -> bool:
    # JAX moves what was put nowhere in particular; what fits a sharding it knows best itself.
    return not isinstance(array, jax.core.Tracer) and array.committed and len(array.devices()) == 1


def _values_are_hidden(array: Any) -> bool:
    return isinstance(array, jax.core.Tracer)


def _and_below(kind: Any) -> list[type]:
    return [kind, *(below for child in kind.__subclasses__() for below in _and_below(child))]


know(
    Library(
        jnp,
        special={"erf": jax.scipy.special.erf, "ndtr": jax.scipy.special.ndtr},
        device=_device,
        stays=_stays,
        hides_values=_values_are_hidden,
    ),
    type(jnp.zeros(())),
    *_and_below(jax.core.Tracer),
)
pytrees.register()


class _JaxAdapter(Adapter):
    push = staticmethod(tracing.push)
    traced = staticmethod(tracing.traced)
    activate = staticmethod(activation.activate)
    shifted = staticmethod(block_activation.Shifted)
    value_and_grad = staticmethod(gradient.value_and_grad)
    vjp = staticmethod(gradient.vjp)
    jacobian = staticmethod(gradient.jacobian)
    compiled = staticmethod(jax.jit)
    nested = staticmethod(nested.nested)
    draws = draws.JaxDraws
    gram_root = staticmethod(gram_root.gram_root)
    total = staticmethod(directions.total)
    spread = staticmethod(directions.spread)
    vmap = staticmethod(jax.vmap)
    model = staticmethod(models.model)
    trainer = training.Trainer
    least_squares = staticmethod(least_squares.least_squares)
    placed = staticmethod(models.placed)
    contestants = contestants.Contestants
    hessian_diagonal = staticmethod(training.hessian_diagonal)


adapter = _JaxAdapter()
