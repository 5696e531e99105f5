"""Layers: a list of Taylor coefficients in, a list of Taylor coefficients out.

Floor 4. ``push`` gives the output coefficients together with a *pullback*, the closed-form adjoint
of that push: no operation of the recurrences is differentiated, and an activation keeps one series,
w = f′(u), for it (``docs/theory.md`` section 3). Coefficients are arrays (…, batch, features) or ``None``,
a structural zero. A coefficient may have fewer axes than the primal, such as a direction that all
points share; it is then one row of the matrix product, not a batch of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ntaylor import activations
from ntaylor.namespace import array_namespace, sum_to_shape
from ntaylor.series import Series, add, correlate, sin_cos

__all__ = [
    "Activate",
    "Chain",
    "Dense",
    "FourierFeatures",
    "Gated",
    "Layer",
    "Odd",
    "Periodic",
    "Residual",
    "Scale",
]

Array = Any
Coefficients = list[Any]
Gradients = dict[str, Array]
Pullback = Callable[..., tuple[Coefficients, Gradients]]
"""(cotangents of the output coefficients, per_sample=False) -> (those of the input, of the parameters).

With ``per_sample=True`` the parameters' gradients are not summed over the batch: a gradient has shape
(…, batch, *parameter.shape), where … are leading axes of the cotangents.
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
        xp = array_namespace(weight)
        present = [k for k, c in enumerate(u) if c is not None]
        rows = _joined_rows(xp, [u[k] for k in present])
        shapes = [(*u[k].shape[:-1], weight.shape[1]) for k in present]
        v: Coefficients = [None] * len(u)
        for k, product in zip(present, _split_rows(xp, rows @ weight, shapes), strict=True):
            v[k] = product
        if bias is not None:
            v[0] = v[0] + bias

        def pullback(cotangent: Coefficients, per_sample: bool = False) -> tuple[Coefficients, Gradients]:
            gradients: Gradients = {}
            given = [k for k in present if k < len(cotangent) and cotangent[k] is not None]
            if per_sample:
                given_z = [cotangent[k] for k in given]
                gradients["weight"] = _outer_per_sample(xp, [u[k] for k in given], given_z)
                if bias is not None:
                    gradients["bias"] = cotangent[0] if 0 in given else given_z[0] * 0
            else:
                given_z = [sum_to_shape(cotangent[k], v[k].shape) for k in given]
                joined = _joined_rows(xp, given_z)
                left = rows if given == present else _joined_rows(xp, [u[k] for k in given])
                gradients["weight"] = left.T @ joined
                if bias is not None:
                    zero = xp.zeros_like(bias)
                    gradients["bias"] = sum_to_shape(given_z[0], bias.shape) if 0 in given else zero
            result: Coefficients = [None] * len(u)
            shapes_in = [(*z.shape[:-1], weight.shape[0]) for z in given_z]
            products = _split_rows(xp, _joined_rows(xp, given_z) @ weight.T, shapes_in)
            for k, product in zip(given, products, strict=True):
                result[k] = product
            return result, gradients

        return v, pullback


def _joined_rows(xp: Any, coefficients: Coefficients) -> Array:
    if len(coefficients) == 1 and coefficients[0].ndim == 2:
        return coefficients[0]
    return xp.concat([xp.reshape(c, (-1, c.shape[-1])) for c in coefficients])


def _split_rows(xp: Any, rows: Array, shapes: Sequence[tuple[int, ...]]) -> list[Array]:
    parts, start = [], 0
    for shape in shapes:
        count = math.prod(shape[:-1])
        parts.append(xp.reshape(rows[start : start + count, :], shape))
        start += count
    return parts


def _outer_per_sample(xp: Any, u: Coefficients, z: Coefficients) -> Array:
    """Σ_k u_k ⊗ z̄_k for every sample, as one batched matrix product over k: (…, batch, in, out)."""
    left = xp.stack([xp.broadcast_to(c, (z[0].shape[-2], c.shape[-1])) for c in u], axis=-1)
    return left @ xp.stack(z, axis=-2)


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
        xp = array_namespace(*u)
        v, w, partials = self.activation.pair(Series(u), xp, order, **parameters)

        def pullback(cotangent: Coefficients, per_sample: bool = False) -> tuple[Coefficients, Gradients]:
            gradients = {name: self._gradient(name, cotangent, q, per_sample) for name, q in partials.items()}
            result = correlate(cotangent, w, len(u))
            if not per_sample:
                result = [_matched(c, like) for c, like in zip(result, u, strict=True)]
            return result, gradients

        return v.truncated(order), pullback

    def _gradient(self, name: str, cotangent: Coefficients, partial: Series, per_sample: bool) -> Array:
        total = None
        for k, c in enumerate(cotangent):
            if c is not None and partial[k] is not None:
                total = add(total, c * partial[k])
        parameter = self.parameters[name]
        if not per_sample:
            return sum_to_shape(total, parameter.shape)
        return total if parameter.ndim else array_namespace(total).sum(total, axis=-1)


def _matched(cotangent: Array | None, like: Array | None) -> Array | None:
    """The cotangent summed to the shape of the coefficient it belongs to; none for a structural zero."""
    return None if cotangent is None or like is None else sum_to_shape(cotangent, like.shape)


class Scale(Layer):
    """(u − shift) · factor with fixed arrays (features,) or scalars, for inputs and outputs of given ranges."""

    def __init__(self, shift: Array, factor: Array):
        self.shift, self.factor = shift, factor
        self.width_in = shift.shape[0] if shift.ndim else None

    def push(self, u: Coefficients, order: int) -> tuple[Coefficients, Pullback]:
        factor = self.factor
        v = [None if c is None else (c - self.shift if k == 0 else c) * factor for k, c in enumerate(u)]

        def pullback(cotangent: Coefficients, per_sample: bool = False) -> tuple[Coefficients, Gradients]:
            return [None if c is None else c * factor for c in cotangent], {}

        return v, pullback


class FourierFeatures(Layer):
    """[sin 2π u B, cos 2π u B] with a fixed random matrix B (in, features): Tancik et al. 2020."""

    def __init__(self, frequencies: Array):
        self.frequencies = frequencies
        self.width_in = frequencies.shape[0]
        self._dense = Dense(frequencies * (2 * math.pi))

    def push(self, u: Coefficients, order: int) -> tuple[Coefficients, Pullback]:
        z, dense_pullback = self._dense.push(u, order)
        v, wave_pullback = _push_waves(z, order)

        def pullback(cotangent: Coefficients, per_sample: bool = False) -> tuple[Coefficients, Gradients]:
            # The matrix is fixed: only the cotangent of the input is wanted.
            return dense_pullback(wave_pullback(cotangent, per_sample))[0], {}

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
        xp = array_namespace(*u)
        waves = [i for i, p in enumerate(self.periods) if p is not None]
        plain = [i for i, p in enumerate(self.periods) if p is None]

        def columns(coefficient: Array, indices: Sequence[int], factors: Sequence[float]) -> Array:
            return xp.stack([coefficient[..., i] * f for i, f in zip(indices, factors, strict=True)], axis=-1)

        factors = [2 * math.pi / self.periods[i] for i in waves]  # type: ignore[operator]
        ones = [1.0] * len(plain)
        z = [None if c is None else columns(c, waves, factors) for c in u]
        v, wave_pullback = _push_waves(z, order)
        if plain:
            rest = [None if c is None else columns(c, plain, ones) for c in u]
            v = _concatenated(xp, v, rest)

        def pullback(cotangent: Coefficients, per_sample: bool = False) -> tuple[Coefficients, Gradients]:
            split = 2 * len(waves)
            z_bar = wave_pullback([None if c is None else c[..., :split] for c in cotangent], per_sample)
            result: Coefficients = []
            for k, like in enumerate(u):
                if like is None:
                    result.append(None)
                    continue
                parts: dict[int, Array] = {}
                for position, i in enumerate(waves):
                    parts[i] = z_bar[k][..., position] * factors[position]
                for position, i in enumerate(plain):
                    direct = cotangent[k] if k < len(cotangent) else None
                    zero = parts[waves[0]] * 0
                    passed = zero if direct is None else direct[..., split + position]
                    parts[i] = passed
                stacked = xp.stack([xp.broadcast_to(parts[i], _widest(parts)) for i in sorted(parts)], axis=-1)
                result.append(stacked if per_sample else sum_to_shape(stacked, like.shape))
            return result, {}

        return v, pullback


def _widest(parts: Mapping[int, Array]) -> tuple[int, ...]:
    return max((tuple(p.shape) for p in parts.values()), key=len)


def _concatenated(xp: Any, left: Coefficients, right: Coefficients) -> Coefficients:
    """Features of ``left`` then of ``right``; an absent side counts as zeros."""
    result: Coefficients = []
    for k in range(max(len(left), len(right))):
        a = left[k] if k < len(left) else None
        b = right[k] if k < len(right) else None
        if a is None and b is None:
            result.append(None)
            continue
        lead = max((tuple(c.shape[:-1]) for c in (a, b) if c is not None), key=len)
        pair = [
            xp.zeros_like(xp.broadcast_to(model[0][..., :1], (*model[0].shape[:-1], model[0].shape[-1])))
            if c is None
            else xp.broadcast_to(c, (*lead, c.shape[-1]))
            for c, model in ((a, left), (b, right))
        ]
        wide = max((tuple(c.shape[:-1]) for c in pair), key=len)
        result.append(xp.concat([xp.broadcast_to(c, (*wide, c.shape[-1])) for c in pair], axis=-1))
    return result


def _push_waves(z: Coefficients, order: int) -> tuple[Coefficients, Callable[..., Coefficients]]:
    """[sin z, cos z] along the features, and the pullback through both at once."""
    xp = array_namespace(*z)
    sine, cosine = sin_cos(Series(z), xp.sin(z[0]), xp.cos(z[0]))
    v = _concatenated(xp, sine.truncated(order), cosine.truncated(order))
    features = z[0].shape[-1]

    def pullback(cotangent: Coefficients, per_sample: bool = False) -> Coefficients:
        of_sine = [None if c is None else c[..., :features] for c in cotangent]
        of_cosine = [None if c is None else c[..., features:] for c in cotangent]
        through_sine = correlate(of_sine, cosine, len(z))
        through_cosine = correlate(of_cosine, -sine, len(z))
        total = [add(a, b) for a, b in zip(through_sine, through_cosine, strict=True)]
        return total if per_sample else [_matched(c, like) for c, like in zip(total, z, strict=True)]

    return v, pullback


class _Composite(Layer):
    """A layer made of others; a part's parameters are named ``part.name``."""

    def __init__(self, parts: Mapping[str, Layer]):
        self.parts = dict(parts)
        self.parameters = {
            f"{part}.{name}": array for part, layer in self.parts.items() for name, array in layer.parameters.items()
        }

    def _replaced(self, parameters: Mapping[str, Array]) -> dict[str, Layer]:
        return {
            part: layer.replace({name: parameters[f"{part}.{name}"] for name in layer.parameters})
            for part, layer in self.parts.items()
        }


def _prefixed(part: str, gradients: Gradients) -> Gradients:
    return {f"{part}.{name}": g for name, g in gradients.items()}


class Chain(_Composite):
    """Layers one after another."""

    def __init__(self, layers: Sequence[Layer]):
        super().__init__({str(i): layer for i, layer in enumerate(layers)})
        self.layers = tuple(layers)
        self.width_in = next((w for layer in layers if (w := layer.width_in) is not None), None)

    def replace(self, parameters: Mapping[str, Array]) -> Chain:
        return type(self)(list(self._replaced(parameters).values()))

    def push(self, u: Coefficients, order: int) -> tuple[Coefficients, Pullback]:
        pullbacks = []
        for layer in self.layers:
            u, layer_pullback = layer.push(u, order)
            pullbacks.append(layer_pullback)

        def pullback(cotangent: Coefficients, per_sample: bool = False) -> tuple[Coefficients, Gradients]:
            gradients: Gradients = {}
            for i in reversed(range(len(pullbacks))):
                cotangent, of_layer = pullbacks[i](cotangent, per_sample)
                gradients |= _prefixed(str(i), of_layer)
            return cotangent, gradients

        return u, pullback


class Residual(Chain):
    """u + layers(u)."""

    def push(self, u: Coefficients, order: int) -> tuple[Coefficients, Pullback]:
        inner, inner_pullback = super().push(u, order)

        def pullback(cotangent: Coefficients, per_sample: bool = False) -> tuple[Coefficients, Gradients]:
            through, gradients = inner_pullback(cotangent, per_sample)
            direct = cotangent if per_sample else [
                _matched(c, like) for c, like in zip(cotangent, u, strict=False)
            ]
            return _summed(direct[: len(u)], through), gradients

        return _summed(u, inner), pullback


class Odd(Chain):
    """layers(u) − layers(−u): odd in its input whatever the layers are."""

    def push(self, u: Coefficients, order: int) -> tuple[Coefficients, Pullback]:
        plus, plus_pullback = super().push(u, order)
        minus, minus_pullback = super().push(_negated(u), order)

        def pullback(cotangent: Coefficients, per_sample: bool = False) -> tuple[Coefficients, Gradients]:
            through_plus, gradients = plus_pullback(cotangent, per_sample)
            through_minus, of_minus = minus_pullback(_negated(cotangent), per_sample)
            gradients = {name: gradients[name] + of_minus[name] for name in gradients}
            return _summed(through_plus, _negated(through_minus)), gradients

        return _summed(plus, _negated(minus)), pullback


def _negated(u: Coefficients) -> Coefficients:
    return [None if c is None else -c for c in u]


def _summed(a: Coefficients, b: Coefficients) -> Coefficients:
    return [add(a[k] if k < len(a) else None, b[k] if k < len(b) else None) for k in range(max(len(a), len(b)))]


class Gated(_Composite):
    """The "modified MLP" (Wang, Teng, Perdikaris 2021, SIAM J. Sci. Comput. 43, eq. 2.31–2.36).

    Two encoders P, Q of the input; H ← (1 − Z)⊙P + Z⊙Q after each hidden layer Z = hidden(H).
    """

    def __init__(self, first: Layer, second: Layer, hidden: Sequence[Layer]):
        super().__init__({"first": first, "second": second, **{str(i): h for i, h in enumerate(hidden)}})
        self.first, self.second, self.hidden = first, second, tuple(hidden)
        self.width_in = first.width_in

    def replace(self, parameters: Mapping[str, Array]) -> Gated:
        parts = self._replaced(parameters)
        return Gated(parts["first"], parts["second"], [parts[str(i)] for i in range(len(self.hidden))])

    def push(self, u: Coefficients, order: int) -> tuple[Coefficients, Pullback]:
        p, p_pullback = self.first.push(u, order)
        q, q_pullback = self.second.push(u, order)
        difference = Series(q) - Series(p)
        state, gates, pullbacks = u, [], []
        for layer in self.hidden:
            gate, layer_pullback = layer.push(state, order)
            gates.append(Series(gate))
            pullbacks.append(layer_pullback)
            # (1 − Z)⊙P + Z⊙Q = P + Z⊙(Q − P): one product.
            state = (Series(p) + gates[-1] * difference).truncated(order)

        def pullback(cotangent: Coefficients, per_sample: bool = False) -> tuple[Coefficients, Gradients]:
            gradients: Gradients = {}
            p_bar: Coefficients = []
            difference_bar: Coefficients = []
            for i in reversed(range(len(pullbacks))):
                p_bar = _summed(p_bar, cotangent)
                difference_bar = _summed(difference_bar, correlate(cotangent, gates[i], order + 1))
                gate_bar = correlate(cotangent, difference, order + 1)
                cotangent, of_layer = pullbacks[i](gate_bar, per_sample)
                gradients |= _prefixed(str(i), of_layer)
            u_bar, of_first = p_pullback(_summed(p_bar, _negated(difference_bar)), per_sample)
            through_q, of_second = q_pullback(difference_bar, per_sample)
            gradients |= _prefixed("first", of_first) | _prefixed("second", of_second)
            return _summed(_summed(cotangent, u_bar), through_q), gradients

        return state, pullback
