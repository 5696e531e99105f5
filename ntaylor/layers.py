"""Single layers: a list of Taylor coefficients in, a list of Taylor coefficients out.

Floor 4. ``push`` gives the output coefficients together with a *pullback*, the closed-form adjoint
of that push: no operation of the recurrences is differentiated, and an activation keeps one series,
w = f′(u), for it (``docs/theory.md`` section 3).

Coefficients are arrays or ``None``, a structural zero. The primal u_0 is (\\*batch, features), and the others
broadcast against it. What is shared is stored and multiplied once: a direction that all points share is
(features,) or (1, features), one row of the matrix product; R directions that share the primal are
coefficients (R, \\*batch, features) or (R, 1, features) beside the primal's (\\*batch, features). A cotangent
has its coefficient's shape, so backwards what was shared is summed over, by :func:`settled`.
"""

from __future__ import annotations

import functools
import math
import numbers
from collections.abc import Callable, Mapping, Sequence
from copy import copy
from itertools import zip_longest
from typing import Any

from ntaylor import activations
from ntaylor.array_object import unwrapped_namespace
from ntaylor.blocks import Block, Coefficients, arrays_in, mapped_all
from ntaylor.dispatch import adapter_for
from ntaylor.fans import Order, gathered, lengths, merged, opened_out, spread
from ntaylor.namespace import broadcast_shapes, sum_to_shape
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
    "correlated",
    "leading_axes",
    "settled",
    "summed",
]

Array = Any
Gradients = dict[str, Array]
Pullback = Callable[..., tuple[Coefficients, Gradients]]
"""(cotangents of the output coefficients, per_sample=False) -> (those of the input, of the parameters).

Cotangents have the shapes of their coefficients, or shapes that broadcasting those against the batch gives;
``None`` is a zero one. Those of the input come back in the input coefficients' shapes, summed over batch or
directions where a coefficient is shared by them; a parameter's gradient has the parameter's shape.

With ``per_sample=True`` nothing is summed over the batch. Cotangents are (…, \\*directions, \\*batch, features), with
the directions that their own coefficient has; a parameter's gradient is (…, \\*batch, \\*parameter.shape), summed
over the directions. The axes … come first and are the same for all: independent cotangents, pulled back at once.
"""


class Layer:
    """A map of coefficients with named trainable arrays. Immutable: ``replace`` makes a new one."""

    parameters: Mapping[str, Array] = {}
    width_in: int | None = None
    """Features expected; ``None`` takes any number."""
    _itself: object = None

    def push(self, u: Coefficients, order: Order) -> tuple[Coefficients, Pullback]:
        """Taylor coefficients v_0..v_n of the output from those of the input, and the pullback.

        Parameters
        ----------
        u:
            Taylor coefficients (not derivatives), at most order + 1; those that are missing or ``None`` are
            structural zeros. The primal u_0 is (\\*batch, features). Any other may have fewer axes, shared by all
            points, or more in front, such as (R, \\*batch, features) or (R, 1, features) for R directions that
            share the primal: then v_k is (R, …) too, v_0 has the batch alone, and both are what R separate
            pushes give.
        order:
            the highest order n wanted; or a fan, of which u and v are the coefficients then.

        Returns
        -------
        v, pullback
            v without trailing structural zeros; the adjoint of this push at u, see :data:`Pullback`: with R
            directions it is the sum of the R separate ones.
        """
        raise NotImplementedError

    def replace(self, parameters: Mapping[str, Array]) -> Layer:
        """The same layer with other parameters, of the same names; what they are is not looked at."""
        other = copy(self)
        other.parameters = {name: parameters[name] for name in self.parameters}
        return other

    @property
    def structure(self) -> tuple[Any, ...]:
        """All that the layer is besides its parameters: equal, and of one hash, for a layer and its replacements.

        Of a layer that does not say, nothing is known: it is equal to its own replacements alone.
        """
        if self._itself is None:
            self._itself = object()
        return (type(self), self._itself)


class _Same:
    """A fixed array in a layer's structure: equal to one of the same dtype and entries, as a copy of the layer has.

    One whose entries are not known, as while a compiler follows the code, is equal to itself alone.
    """

    def __init__(self, array: Array):
        self.array = array
        self.kind = (tuple(array.shape), str(array.dtype))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, _Same) or self.kind != other.kind:
            return False
        if self.array is other.array:
            return True
        try:
            return bool(self.array.tolist() == other.array.tolist())
        except (AttributeError, TypeError, RuntimeError):
            return False

    def __hash__(self) -> int:
        return hash(self.kind)


def settled(cotangent: Coefficients, like: Coefficients, lead: int | None = None) -> Coefficients:
    """Cotangents summed over the axes along which the coefficients they belong to are shared.

    ``like`` are the coefficients, the primal first; cotangents of structural zeros are dropped. ``lead`` is
    ``None`` to sum to the very shapes, or in a per-sample pullback the number of axes … in front: then the
    batch stays and only directions are summed over.
    """
    if isinstance(cotangent, Block) and isinstance(like, Block) and cotangent.array.shape == like.array.shape:
        return cotangent
    points = like[0].ndim
    result: list[Array | None] = []
    for c, x in zip_longest(cotangent[: len(like)], like):
        if c is None or x is None:
            result.append(None)
        elif lead is None:
            result.append(sum_to_shape(c, x.shape))
        else:
            axes = tuple(range(lead, c.ndim - max(x.ndim, points)))
            result.append(unwrapped_namespace([c]).sum(c, axis=axes) if axes else c)
    return result


def leading_axes(cotangent: Coefficients, v: Coefficients, per_sample: bool) -> int | None:
    """How many axes … the cotangents of v have in front in a per-sample pullback; None in one that sums."""
    if not per_sample:
        return None
    pairs = zip(cotangent, v, strict=False)
    return next((c.ndim - max(x.ndim, v[0].ndim) for c, x in pairs if c is not None and x is not None), 0)


def correlated(
    cotangent: Coefficients, w: Sequence[Series], like: Coefficients, lead: int | None, order: Order
) -> Coefficients:
    """The adjoint of the product with w, a series a direction, (3.2), settled to the coefficients ``like``.

    Cotangents of one shape go back together, and are summed over what a coefficient is shared by before they
    meet those of another shape: v̄_0, which directions share, must not be added to each of theirs.
    """
    total: Coefficients = [None] * len(like)
    for group in activations.of_one_shape(cotangent):
        parts = zip(spread(order, group), w, lengths(order, len(like)), strict=True)
        of_each = [correlate(*part) for part in parts]
        total = summed(total, settled(gathered(order, of_each, len(like)), like, lead))
    return total


def summed(a: Coefficients, b: Coefficients) -> Coefficients:
    """Coefficient by coefficient; the shorter is continued by structural zeros."""
    return [add(*pair) for pair in zip_longest(a, b)]


class Dense(Layer):
    """u @ weight + bias, with weight (in, out) and bias (out,) or None.

    A block of coefficients is one matrix product; others are one each, which costs less than to join them. The bias
    touches the primal only.
    """

    def __init__(self, weight: Array, bias: Array | None = None):
        if weight.ndim != 2 or (bias is not None and tuple(bias.shape) != tuple(weight.shape[1:])):
            shapes = f"{tuple(weight.shape)} and {None if bias is None else tuple(bias.shape)}"
            raise ValueError(f"Dense takes a weight (in, out) and a bias (out,) or None; got shapes {shapes}")
        self.parameters = {"weight": weight} if bias is None else {"weight": weight, "bias": bias}
        self.width_in = weight.shape[0]

    @property
    def structure(self) -> tuple[Any, ...]:
        return (Dense,)

    @property
    def dense(self) -> Dense:
        """Itself: what stores the same otherwise gives one of these."""
        return self

    def push(self, u: Coefficients, order: Order) -> tuple[Coefficients, Pullback]:
        weight, bias = self.parameters["weight"], self.parameters.get("bias")
        xp = unwrapped_namespace([*arrays_in(u), weight])
        v = mapped_all(lambda c: _product(xp, c, weight), u)
        if bias is not None and isinstance(v, Block) and _may_write(v.array, bias):
            primal = v[0]
            primal += bias
        elif bias is not None and isinstance(v, Block) and (shifted := adapter_for(v.array, bias).shifted) is not None:
            v = shifted(v.array, bias)
        elif bias is not None:
            v = [v[0] + bias, *v[1:]]

        def pullback(cotangent: Coefficients, per_sample: bool = False) -> tuple[Coefficients, Gradients]:
            lead = leading_axes(cotangent, v, per_sample)
            given = settled(cotangent, v, lead)
            z_bar = arrays_in(given)
            if not z_bar:
                return given, {name: xp.zeros_like(p) for name, p in self.parameters.items()}
            inputs = arrays_in(u) if isinstance(given, Block) else [u[k] for k, z in enumerate(given) if z is not None]
            if lead is None:
                terms = (xp.matmul(_rows(xp, c).T, _rows(xp, z)) for c, z in zip(inputs, z_bar, strict=True))
                gradients = {"weight": functools.reduce(add, terms)}
            else:
                gradients = {"weight": _outer_per_sample(xp, inputs, z_bar, u[0].shape, lead)}
            if bias is not None:
                of_bias = given[0] if given[0] is not None else settled([xp.zeros_like(z_bar[0])], v, lead)[0]
                gradients["bias"] = sum_to_shape(of_bias, bias.shape) if lead is None else of_bias
            return mapped_all(lambda c: _product(xp, c, weight.T), given), gradients

        return v, pullback


def _may_write(*arrays: Array) -> bool:
    """Whether a new array may be changed in place, with nobody following what is done."""
    writes = adapter_for(*arrays).writes
    return writes is not None and writes(*arrays)


def _product(xp: Any, c: Array, weight: Array) -> Array:
    """c @ weight, its rows one under another in one product of two matrices."""
    # Not ``@``, whose operands torch.compile swaps where the left one is an object of ours.
    rows = xp.matmul(_rows(xp, c), weight)
    return rows if c.ndim == 2 else xp.reshape(rows, (*c.shape[:-1], weight.shape[-1]))


def _rows(xp: Any, c: Array) -> Array:
    """(rows, features)."""
    return c if c.ndim == 2 else xp.reshape(c, (math.prod(c.shape[:-1]), c.shape[-1]))


def _outer_per_sample(xp: Any, u: Coefficients, z: Coefficients, shape: tuple[int, ...], lead: int) -> Array:
    """Σ_k u_k ⊗ z̄_k for every sample, summed over directions: (…, batch, in, out).

    One batched matrix product, whose inner axis holds every order and direction. ``shape`` is the primal's.
    """
    left, right = [], []
    for u_k, z_k in zip(u, z, strict=True):
        directions = z_k.shape[lead : z_k.ndim - len(shape)]
        count = math.prod(directions)
        left.append(xp.reshape(xp.broadcast_to(u_k, (*directions, *shape)), (count, *shape)))
        right.append(xp.reshape(z_k, (*z_k.shape[:lead], count, *z_k.shape[z_k.ndim - len(shape) :])))
    return xp.moveaxis(xp.concat(left), 0, -1) @ xp.moveaxis(xp.concat(right, axis=lead), lead, -2)


class Activate(Layer):
    """An activation of ``nt.activations``, by name or as an Activation; learnable ones have parameters.

    A parameter is a scalar that all features share, or an array (features,). Output coefficients have the batch
    even where none of them depends on the point, as u_1² of u² along a shared direction: their cotangents must
    come one a point, for (3.2) multiplies them by coefficients of f′(u) that differ from point to point.
    """

    def __init__(self, activation: str | activations.Activation, parameters: Mapping[str, Array] | None = None):
        self.activation = activations.get(activation)
        self.parameters = dict(parameters or {})
        if set(self.parameters) != set(self.activation.parameters):
            raise ValueError(
                f"activation {self.activation.name!r} has the parameters {sorted(self.activation.parameters)}, "
                f"got {sorted(self.parameters)}"
            )

    @property
    def structure(self) -> tuple[Any, ...]:
        return (Activate, self.activation)

    def push(self, u: Coefficients, order: Order) -> tuple[Coefficients, Pullback]:
        parameters = self.parameters
        v, pull = self.activation.push(u, order, parameters)

        def pullback(cotangent: Coefficients, per_sample: bool = False) -> tuple[Coefficients, Gradients]:
            lead = leading_axes(cotangent, v, per_sample)
            if lead is None:
                return pull(cotangent)
            found = [pull(group, per_sample) for group in activations.of_one_shape(cotangent)]
            u_bar: Coefficients = [None] * len(u)
            gradients: Gradients = {}
            for through, of_group in found:
                u_bar = summed(u_bar, settled(through, u, lead))
                for name, g in of_group.items():
                    # One a point of a parameter (features,), or of a number, whose features are summed already.
                    like = u[0] if parameters[name].ndim else u[0][..., 0]
                    (term,) = settled([g], [like], lead)
                    gradients[name] = add(gradients.get(name), term)
            return u_bar, gradients

        return v, pullback


class Scale(Layer):
    """(u − shift) · factor with fixed arrays (features,) or scalars, for inputs and outputs of given ranges.

    The shift moves the primal alone. The pullback multiplies by the factor.
    """

    def __init__(self, shift: Array, factor: Array):
        self.shift, self.factor = shift, factor
        self.width_in = shift.shape[0] if shift.ndim else None

    @property
    def structure(self) -> tuple[Any, ...]:
        return (Scale, _Same(self.shift), _Same(self.factor))

    def push(self, u: Coefficients, order: Order) -> tuple[Coefficients, Pullback]:
        factor = self.factor
        v = [None if c is None else (c - self.shift if k == 0 else c) * factor for k, c in enumerate(u)]

        def pullback(cotangent: Coefficients, per_sample: bool = False) -> tuple[Coefficients, Gradients]:
            u_bar = [None if c is None else c * factor for c in cotangent]
            return settled(u_bar, u, leading_axes(cotangent, v, per_sample)), {}

        return v, pullback


class FourierFeatures(Layer):
    """[sin 2π u B, cos 2π u B] with a fixed random matrix B (in, features): Tancik et al. 2020.

    (…, in) becomes (…, 2 features): one matrix product for all orders, then the coupled pair (2.4). The pullback
    is that pair's, and a product with Bᵀ.
    """

    def __init__(self, frequencies: Array):
        self.frequencies = frequencies
        self.width_in = frequencies.shape[0]
        self._weight = frequencies * (2 * math.pi)

    @property
    def structure(self) -> tuple[Any, ...]:
        return (FourierFeatures, _Same(self.frequencies))

    def push(self, u: Coefficients, order: Order) -> tuple[Coefficients, Pullback]:
        xp = unwrapped_namespace([*u, self._weight])
        z = mapped_all(lambda c: _product(xp, c, self._weight), u)
        v, wave_pullback = _push_waves(xp, z, order)

        def pullback(cotangent: Coefficients, per_sample: bool = False) -> tuple[Coefficients, Gradients]:
            of_waves = wave_pullback(cotangent, per_sample)
            return mapped_all(lambda c: _product(xp, c, self._weight.T), of_waves), {}

        return v, pullback


class Periodic(Layer):
    """Each coordinate x with a period L becomes sin and cos of 2πx/L, so the network is exactly periodic.

    ``periods`` has one entry a coordinate; ``None`` passes that coordinate through. The output holds all
    sines, all cosines, then what was passed through.
    """

    def __init__(self, periods: Sequence[float | None]):
        if not all(p is None or isinstance(p, numbers.Real) for p in periods):
            raise TypeError(f"periods takes a positive number or None per coordinate; got {periods!r}")
        if not any(periods) or any(p is not None and not p > 0 for p in periods):
            raise ValueError(f"periods takes a positive number or None per coordinate, at least one; got {periods}")
        self.periods = tuple(periods)
        self.width_in = len(self.periods)

    @property
    def structure(self) -> tuple[Any, ...]:
        return (Periodic, self.periods)

    def push(self, u: Coefficients, order: Order) -> tuple[Coefficients, Pullback]:
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
            of_waves = wave_pullback([None if c is None else c[..., : 2 * count] for c in cotangent], per_sample)
            rest_bar = [None if c is None else c[..., 2 * count :] for c in cotangent]
            lead = leading_axes(cotangent, v, per_sample)
            of_plain = settled(rest_bar, plain, lead) if plain else [None] * len(u)
            u_bar: list[Array | None] = []
            for waves, rest in zip(of_waves, of_plain, strict=True):
                some = next((side[..., 0] * 0 for side in (waves, rest) if side is not None), None)
                if some is None:
                    u_bar.append(None)
                    continue
                sides = [(waves, j) for j in range(count)] + [(rest, j) for j in range(len(indices) - count)]
                parts = [some if side is None else side[..., j] for side, j in sides]
                u_bar.append(xp.stack([parts[indices.index(i)] * f for i, f in enumerate(factors)], axis=-1))
            return u_bar, {}

        return (_side_by_side(xp, v, plain) if plain else v), pullback


def _side_by_side(xp: Any, left: Coefficients, right: Coefficients) -> Coefficients:
    """Features of ``left`` then of ``right``; one that is absent beside one that is there is zeros."""
    widths = left[0].shape[-1], right[0].shape[-1]
    result: list[Array | None] = []
    for pair in zip_longest(left, right):
        some = next((c for c in pair if c is not None), None)
        if some is None:
            result.append(None)
            continue
        # One side may share a row, or a primal, that the other does not.
        rows = broadcast_shapes(*(c.shape[:-1] for c in pair if c is not None))
        sides = [xp.zeros_like(some[..., :1]) if c is None else c for c in pair]
        parts = [xp.broadcast_to(c, (*rows, width)) for c, width in zip(sides, widths, strict=True)]
        result.append(xp.concat(parts, axis=-1))
    return result


def _push_waves(xp: Any, z: Coefficients, order: Order) -> tuple[Coefficients, Callable[..., Coefficients]]:
    """[sin z, cos z] along the features, and the pullback through both at once."""
    sin0, cos0 = xp.sin(z[0]), xp.cos(z[0])
    sines, cosines = zip(*[sin_cos(Series(part), sin0, cos0) for part in opened_out(order, z)], strict=True)
    v = _side_by_side(xp, merged(order, sines), merged(order, cosines))
    features = z[0].shape[-1]

    def pullback(cotangent: Coefficients, per_sample: bool = False) -> Coefficients:
        lead = leading_axes(cotangent, v, per_sample)
        of_sine = [None if c is None else c[..., :features] for c in cotangent]
        of_cosine = [None if c is None else c[..., features:] for c in cotangent]
        through_sine = correlated(of_sine, cosines, z, lead, order)
        return summed(through_sine, correlated(of_cosine, [-sine for sine in sines], z, lead, order))

    return v, pullback
