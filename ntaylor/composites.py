"""Layers made of layers: in a row, side by side, around a skip, gated.

Floor 5. Nothing is differentiated here: a composite's pullback is its parts' pullbacks, put together by the
linearity of sums and by equation (3.4) for the gate's product (``docs/theory.md``). Coefficients and
cotangents have the shapes that ``layers`` states.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy
from typing import Any

from ntaylor.bundles import collapsed
from ntaylor.fans import Order, merged, opened_out
from ntaylor.layers import Coefficients, Gradients, Layer, Pullback, correlated, leading_axes, settled, summed
from ntaylor.series import Series

__all__ = ["Chain", "Gated", "Odd", "Skip", "Sum"]

Array = Any


class _Composite(Layer):
    """A layer made of others; a part's parameters are named ``part.name``."""

    _structure: tuple[Any, ...] | None = None
    """Found once; replacements have the same."""

    def __init__(self, parts: Mapping[str, Layer]):
        self.parts = dict(parts)
        self.parameters = {
            f"{part}.{name}": array for part, layer in self.parts.items() for name, array in layer.parameters.items()
        }
        self.leaves = tuple(self.parameters.values())
        """The arrays that the layers have, in the order of ``parameters``, a dict that anybody may write to."""

    def replace(self, parameters: Mapping[str, Array]) -> _Composite:
        other = copy(self)
        other.parameters = {name: parameters[name] for name in self.parameters}
        other.leaves = tuple(other.parameters.values())
        other.parts = {
            part: layer.replace({name: parameters[f"{part}.{name}"] for name in layer.parameters})
            for part, layer in self.parts.items()
        }
        return other

    @property
    def structure(self) -> tuple[Any, ...]:
        if self._structure is None:
            self._structure = (type(self), *((part, layer.structure) for part, layer in self.parts.items()))
        return self._structure


def _prefixed(part: str, gradients: Gradients) -> Gradients:
    return {f"{part}.{name}": g for name, g in gradients.items()}


class Chain(_Composite):
    """Layers one after another."""

    def __init__(self, layers: Sequence[Layer]):
        super().__init__({str(i): layer for i, layer in enumerate(layers)})
        self.width_in = next((w for layer in layers if (w := layer.width_in) is not None), None)

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The layers, the input's first."""
        return tuple(self.parts.values())

    def push(self, u: Coefficients, order: Order) -> tuple[Coefficients, Pullback]:
        pullbacks = []
        for layer in self.layers:
            v, layer_pullback = layer.push(u, order)
            u = collapsed(v)
            pullbacks.append(layer_pullback)

        def pullback(cotangent: Coefficients, per_sample: bool = False) -> tuple[Coefficients, Gradients]:
            gradients: Gradients = {}
            for i in reversed(range(len(pullbacks))):
                cotangent, of_layer = pullbacks[i](cotangent, per_sample)
                gradients |= _prefixed(str(i), of_layer)
            return cotangent, gradients

        return u, pullback


class Skip(Chain):
    """u + layers(u)."""

    def push(self, u: Coefficients, order: Order) -> tuple[Coefficients, Pullback]:
        inner, inner_pullback = super().push(u, order)
        if inner[0].shape[-1] != u[0].shape[-1]:
            widths = f"{u[0].shape[-1]} features to {inner[0].shape[-1]}"
            raise ValueError(f"Skip adds its layers' output to their input, but they take {widths}")

        def pullback(cotangent: Coefficients, per_sample: bool = False) -> tuple[Coefficients, Gradients]:
            lead = leading_axes(cotangent, v, per_sample)
            through, gradients = inner_pullback(settled(cotangent, inner, lead), per_sample)
            return summed(settled(cotangent, u, lead), through), gradients

        v = summed(u, inner)
        return v, pullback


class Odd(Chain):
    """layers(u) − layers(−u): odd in its input whatever the layers are."""

    def push(self, u: Coefficients, order: Order) -> tuple[Coefficients, Pullback]:
        plus, plus_pullback = super().push(u, order)
        minus, minus_pullback = super().push(_negated(u), order)

        def pullback(cotangent: Coefficients, per_sample: bool = False) -> tuple[Coefficients, Gradients]:
            through_plus, gradients = plus_pullback(cotangent, per_sample)
            through_minus, of_minus = minus_pullback(_negated(cotangent), per_sample)
            gradients = {name: gradients[name] + of_minus[name] for name in gradients}
            return summed(through_plus, _negated(through_minus)), gradients

        return summed(plus, _negated(minus)), pullback


def _negated(u: Coefficients) -> Coefficients:
    return [None if c is None else -c for c in u]


class Gated(_Composite):
    """The "modified MLP" (Wang, Teng, Perdikaris 2021, SIAM J. Sci. Comput. 43, eq. 2.31–2.36).

    Two encoders P, Q of the input; H ← (1 − Z)⊙P + Z⊙Q after each hidden layer Z = hidden(H).
    """

    def __init__(self, first: Layer, second: Layer, hidden: Sequence[Layer]):
        super().__init__({"first": first, "second": second, **{str(i): h for i, h in enumerate(hidden)}})
        self.width_in = first.width_in

    def push(self, u: Coefficients, order: Order) -> tuple[Coefficients, Pullback]:
        first, second, *hidden = self.parts.values()
        p, p_pullback = first.push(u, order)
        q, q_pullback = second.push(u, order)
        of_p = _series(order, p)
        difference = [b - a for a, b in zip(of_p, _series(order, q), strict=True)]
        apart = summed(q, _negated(p))
        state, gates, pullbacks = u, [], []
        for layer in hidden:
            gate, layer_pullback = layer.push(state, order)
            gates.append((gate, _series(order, gate)))
            pullbacks.append(layer_pullback)
            # (1 − Z)⊙P + Z⊙Q = P + Z⊙(Q − P): one product.
            products = [z * d for z, d in zip(gates[-1][1], difference, strict=True)]
            state = summed(p, merged(order, products))

        def pullback(cotangent: Coefficients, per_sample: bool = False) -> tuple[Coefficients, Gradients]:
            lead = leading_axes(cotangent, state, per_sample)
            gradients: Gradients = {}
            p_bar: Coefficients = []
            difference_bar: Coefficients = []
            for i in reversed(range(len(pullbacks))):
                p_bar = summed(p_bar, settled(cotangent, p, lead))
                gate, of_gate = gates[i]
                difference_bar = summed(difference_bar, correlated(cotangent, of_gate, apart, lead, order))
                gate_bar = correlated(cotangent, difference, gate, lead, order)
                cotangent, of_layer = pullbacks[i](gate_bar, per_sample)
                gradients |= _prefixed(str(i), of_layer)
            through_p = summed(p_bar, settled(_negated(difference_bar), p, lead))
            u_bar, of_first = p_pullback(through_p, per_sample)
            through_q, of_second = q_pullback(settled(difference_bar, q, lead), per_sample)
            gradients |= _prefixed("first", of_first) | _prefixed("second", of_second)
            return summed(summed(cotangent, u_bar), through_q), gradients

        return state, pullback


def _series(order: Order, u: Coefficients) -> list[Series]:
    """That of every direction."""
    return [Series(part) for part in opened_out(order, u)]


class Sum(_Composite):
    """The sum of several layers' outputs for one input: networks side by side."""

    def __init__(self, layers: Sequence[Layer]):
        super().__init__({str(i): layer for i, layer in enumerate(layers)})
        self.width_in = next((w for layer in layers if (w := layer.width_in) is not None), None)

    def push(self, u: Coefficients, order: Order) -> tuple[Coefficients, Pullback]:
        v: Coefficients = []
        terms = []
        for layer in self.parts.values():
            output, layer_pullback = layer.push(u, order)
            v = summed(v, output)
            terms.append((output, layer_pullback))

        def pullback(cotangent: Coefficients, per_sample: bool = False) -> tuple[Coefficients, Gradients]:
            lead = leading_axes(cotangent, v, per_sample)
            u_bar: Coefficients = []
            gradients: Gradients = {}
            for i, (output, layer_pullback) in enumerate(terms):
                through, of_layer = layer_pullback(settled(cotangent, output, lead), per_sample)
                u_bar = summed(u_bar, through)
                gradients |= _prefixed(str(i), of_layer)
            return u_bar, gradients

        return v, pullback
