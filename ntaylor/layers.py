"""Single layers: a list of Taylor coefficients in, a list of Taylor coefficients out.

Floor 4. ``push`` gives the output coefficients together with a *pullback*, the closed-form adjoint
of that push: no operation of the recurrences is differentiated, and an activation keeps one series,
w = f′(u), for it (``docs/theory.md`` section 3). Coefficients are arrays (…, batch, features) or ``None``,
a structural zero. A coefficient may have fewer axes than the primal, such as a direction that all
points share; it is then one row of the matrix product, not a batch of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import zip_longest
from typing import Any

from ntaylor import activations
from ntaylor.array_object import unwrapped_namespace
from ntaylor.namespace import sum_to_shape
from ntaylor.series import Series, add, correlate, sin_cos

__all__ = [
    "Activate",
    "Coefficients",
    "Dense",
    "FourierFeatures",
    "Gradients",
    "Layer",
    "Periodic",
    "Pullback",
    "Scale",
    "matched",
]

Array = Any
Coefficients = list[Any]
Gradients = dict[str, Array]
Pullback = Callable[..., tuple[Coefficients, Gradients]]
"""(cotangents of the output coefficients, per_sample=False) -> (those of the input, of the parameters).

Cotangents have the shapes of their coefficients, or shapes that broadcasting those gives; ``None`` is a
zero one. With ``per_sample=True`` they have shapes (…, batch, features), nothing is summed over the batch,
and a parameter's gradient has shape (…, batch, *parameter.shape); … are leading axes of the cotangents.
"""


class Layer:
    """A map of coefficients with named trainable arrays. Immutable: ``replace`` makes a new one."""

    parameters: Mapping[str, Array] = {}
    width_in: int | None = None
    """Features expected; ``None`` takes any number."""

    def push(self, u: Coefficients, order: int) -> tuple[Coefficients, Pullback]:
        raise NotImplementedError

    def replace(self, parameters: Mapping[str, Array]) -> Layer:
        return self


class Dense(Layer):
    """u @ weight + bias, with weight (in, out) and bias (out,) or None: one matrix product for all orders."""

    def __init__(self, weight: Array, bias: Array | None = None):
        if weight.ndim != 2 or (bias is not None and tuple(bias.shape) != tuple(weight.shape[1:])):
            shapes = f"{tuple(weight.shape)} and {None if bias is None else tuple(bias.shape)}"
            raise ValueError(f"Dense takes a weight (in, out) and a bias (out,) or None; got shapes {shapes}")
        self.parameters = {"weight": weight} if bias is None else {"weight": weight, "bias": bias}
        self.width_in = weight.shape[0]

    def replace(self, parameters: Mapping[str, Array]) -> Dense:
        return Dense(parameters["weight"], parameters.get("bias"))

    def push(self, u: Coefficients, order: int) -> tuple[Coefficients, Pullback]:
        weight, bias = self.parameters["weight"], self.parameters.get("bias")
        xp = unwrapped_namespace([*u, weight])
        v = _products(xp, u, weight)
        if bias is not None:
            v[0] = v[0] + bias

        def pullback(cotangent: Coefficients, per_sample: bool = False) -> tuple[Coefficients, Gradients]:
            given = [None if x is None else z for x, z in zip_longest(u, cotangent[: len(u)])]
            if not per_sample:
                given = matched(given, v)
            u_bar = _products(xp, given, weight.T)
            z_bar = [z for z in given if z is not None]
            if not z_bar:
                return u_bar, {name: xp.zeros_like(p) for name, p in self.parameters.items()}
            inputs = [x for x, z in zip(u, given, strict=True) if z is not None]
            if per_sample:
                gradients = {"weight": _outer_per_sample(xp, inputs, z_bar, u[0].shape)}
            else:
                gradients = {"weight": _rows(xp, inputs).T @ _rows(xp, z_bar)}
            if bias is not None:
                of_bias = xp.zeros_like(z_bar[0]) if given[0] is None else given[0]
                gradients["bias"] = of_bias if per_sample else sum_to_shape(of_bias, bias.shape)
            return u_bar, gradients

        return v, pullback


def _products(xp: Any, u: Coefficients, weight: Array) -> Coefficients:
    """u_k @ weight for every coefficient that is there, in one matrix product."""
    present = [c for c in u if c is not None]
    if not present:
        return [None] * len(u)
    rows = _rows(xp, present) @ weight
    v: Coefficients = []
    start = 0
    for c in u:
        if c is None:
            v.append(None)
            continue
        shape = (*c.shape[:-1], weight.shape[1])
        stop = start + math.prod(shape[:-1])
        v.append(xp.reshape(rows[start:stop, :], shape))
        start = stop
    return v


def _rows(xp: Any, coefficients: Coefficients) -> Array:
    if len(coefficients) == 1 and coefficients[0].ndim == 2:
        return coefficients[0]
    return xp.concat([xp.reshape(c, (math.prod(c.shape[:-1]), c.shape[-1])) for c in coefficients])


def _outer_per_sample(xp: Any, u: Coefficients, z: Coefficients, shape: tuple[int, ...]) -> Array:
    """Σ_k u_k ⊗ z̄_k for every sample, as one batched matrix product over k: (…, batch, in, out)."""
    left = xp.stack([xp.broadcast_to(c, shape) for c in u], axis=-1)
    return left @ xp.stack(z, axis=-2)


def matched(cotangent: Coefficients, like: Coefficients) -> Coefficients:
    """Cotangents summed to the shapes of the coefficients they belong to; none for structural zeros."""
    return [
        None if c is None or x is None else sum_to_shape(c, x.shape)
        for c, x in zip_longest(cotangent[: len(like)], like)
    ]


class Activate(Layer):
    """An activation of ``nt.activations``, by name or as an Activation; learnable ones have parameters.

    A parameter is a scalar that all features share, or an array (features,).
    """

    def __init__(self, activation: str | activations.Activation, parameters: Mapping[str, Array] | None = None):
        self.activation = activations.get(activation)
        self.parameters = dict(parameters or {})
        if set(self.parameters) != set(self.activation.parameters):
            raise ValueError(
                f"activation {self.activation.name!r} has the parameters {sorted(self.activation.parameters)}, "
                f"got {sorted(self.parameters)}"
            )

    def replace(self, parameters: Mapping[str, Array]) -> Activate:
        return Activate(self.activation, parameters)

    def push(self, u: Coefficients, order: int) -> tuple[Coefficients, Pullback]:
        parameters = self.parameters
        xp = unwrapped_namespace([*u, *parameters.values()])
        v, w, partials = self.activation.pair(Series(u), xp, order, **parameters)

        def pullback(cotangent: Coefficients, per_sample: bool = False) -> tuple[Coefficients, Gradients]:
            gradients = {name: self._gradient(name, cotangent, q, per_sample) for name, q in partials.items()}
            result = correlate(cotangent, w, len(u))
            return (result if per_sample else matched(result, u)), gradients

        return v.truncated(order), pullback

    def _gradient(self, name: str, cotangent: Coefficients, partial: Series, per_sample: bool) -> Array:
        total = None
        for k, c in enumerate(cotangent):
            if c is not None and partial[k] is not None:
                total = add(total, c * partial[k])
        parameter = self.parameters[name]
        if total is None:
            return parameter * 0
        if not per_sample:
            return sum_to_shape(total, parameter.shape)
        return total if parameter.ndim else unwrapped_namespace([total]).sum(total, axis=-1)


class Scale(Layer):
    """(u − shift) · factor with fixed arrays (features,) or scalars, for inputs and outputs of given ranges."""

    def __init__(self, shift: Array, factor: Array):
        self.shift, self.factor = shift, factor
        self.width_in = shift.shape[0] if shift.ndim else None

    def push(self, u: Coefficients, order: int) -> tuple[Coefficients, Pullback]:
        factor = self.factor
        v = [None if c is None else (c - self.shift if k == 0 else c) * factor for k, c in enumerate(u)]

        def pullback(cotangent: Coefficients, per_sample: bool = False) -> tuple[Coefficients, Gradients]:
            u_bar = [None if c is None else c * factor for c in cotangent]
            return (u_bar if per_sample else matched(u_bar, u)), {}

        return v, pullback


class FourierFeatures(Layer):
    """[sin 2π u B, cos 2π u B] with a fixed random matrix B (in, features): Tancik et al. 2020."""

    def __init__(self, frequencies: Array):
        self.frequencies = frequencies
        self.width_in = frequencies.shape[0]
        self._weight = frequencies * (2 * math.pi)

    def push(self, u: Coefficients, order: int) -> tuple[Coefficients, Pullback]:
        xp = unwrapped_namespace([*u, self._weight])
        z = _products(xp, u, self._weight)
        v, wave_pullback = _push_waves(xp, z, order)

        def pullback(cotangent: Coefficients, per_sample: bool = False) -> tuple[Coefficients, Gradients]:
            return _products(xp, wave_pullback(cotangent, per_sample), self._weight.T), {}

        return v, pullback


class Periodic(Layer):
    """Each coordinate x with a period L becomes sin and cos of 2πx/L, so the network is exactly periodic.

    ``periods`` has one entry a coordinate; ``None`` passes that coordinate through. The output holds all
    sines, all cosines, then what was passed through.
    """

    def __init__(self, periods: Sequence[float | None]):
        if not any(periods) or any(p is not None and not p > 0 for p in periods):
            raise ValueError(f"periods takes a positive number or None per coordinate, at least one; got {periods}")
        self.periods = tuple(periods)
        self.width_in = len(self.periods)

    def push(self, u: Coefficients, order: int) -> tuple[Coefficients, Pullback]:
        xp = unwrapped_namespace(u)
        factors = [1.0 if p is None else 2 * math.pi / p for p in self.periods]
        indices = sorted(range(len(factors)), key=lambda i: self.periods[i] is None)
        count = sum(p is not None for p in self.periods)

        def columns(c: Array, wanted: Sequence[int]) -> Array:
            return xp.stack([c[..., i] * factors[i] for i in wanted], axis=-1)

        z = [None if c is None else columns(c, indices[:count]) for c in u]
        v, wave_pullback = _push_waves(xp, z, order)
        plain = [None if c is None else columns(c, indices[count:]) for c in u] if count < len(indices) else []

        def pullback(cotangent: Coefficients, per_sample: bool = False) -> tuple[Coefficients, Gradients]:
            waves_bar = wave_pullback([None if c is None else c[..., : 2 * count] for c in cotangent], True)
            u_bar: Coefficients = []
            for of_waves, c in zip_longest(waves_bar, cotangent[: len(u)]):
                of_plain = None if c is None else c[..., 2 * count :]
                sides = [(of_waves, j) for j in range(count)] + [(of_plain, j) for j in range(len(indices) - count)]
                some = next((side[..., 0] * 0 for side in (of_waves, c) if side is not None), None)
                if some is None:
                    u_bar.append(None)
                    continue
                parts = [some if side is None else side[..., j] for side, j in sides]
                u_bar.append(xp.stack([parts[indices.index(i)] * f for i, f in enumerate(factors)], axis=-1))
            return (u_bar if per_sample else matched(u_bar, u)), {}

        return (_side_by_side(xp, v, plain) if plain else v), pullback


def _side_by_side(xp: Any, left: Coefficients, right: Coefficients) -> Coefficients:
    """Features of ``left`` then of ``right``; one that is absent beside one that is there is zeros."""
    result: Coefficients = []
    for pair in zip_longest(left, right):
        if pair[0] is None and pair[1] is None:
            result.append(None)
            continue
        # The primals have all of the batch; coefficients may share one row.
        sides = zip(pair, (left[0], right[0]), strict=True)
        parts = [xp.zeros_like(u0) if c is None else xp.broadcast_to(c, u0.shape) for c, u0 in sides]
        result.append(xp.concat(parts, axis=-1))
    return result


def _push_waves(xp: Any, z: Coefficients, order: int) -> tuple[Coefficients, Callable[..., Coefficients]]:
    """[sin z, cos z] along the features, and the pullback through both at once."""
    sine, cosine = sin_cos(Series(z), xp.sin(z[0]), xp.cos(z[0]))
    v = _side_by_side(xp, sine.truncated(order), cosine.truncated(order))
    features = z[0].shape[-1]

    def pullback(cotangent: Coefficients, per_sample: bool = False) -> Coefficients:
        of_sine = [None if c is None else c[..., :features] for c in cotangent]
        of_cosine = [None if c is None else c[..., features:] for c in cotangent]
        through_sine = correlate(of_sine, cosine, len(z))
        through_cosine = correlate(of_cosine, -sine, len(z))
        total = [add(a, b) for a, b in zip(through_sine, through_cosine, strict=True)]
        return total if per_sample else matched(total, z)

    return v, pullback
