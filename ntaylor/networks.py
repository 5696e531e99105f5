"""``MLP``, the network that a user makes, trains and differentiates.

Floor 6: puts layers in a row, checks what comes in, and lets the backend of the arrays propagate.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Mapping, Sequence
from typing import Any

from ntaylor import activations
from ntaylor.array_object import objects_in, unwrapped_namespace
from ntaylor.composites import Chain, Gated, Odd, Skip
from ntaylor.dispatch import adapter_for
from ntaylor.jets import Jet
from ntaylor.layers import Activate, Dense, FourierFeatures, Layer, Periodic, Scale
from ntaylor.namespace import array_namespace, as_floating, check_same_kind, describe, near_names

__all__ = ["MLP", "is_network"]

Array = Any
Coefficients = list[Any]


class MLP(Chain):
    """A network: layers one after another, callable on arrays and jets of any array namespace.

    ``net(x)`` maps (…, batch, d) to (…, batch, m). A network of one input also takes a batch of scalars
    (batch,), or one scalar, and then gives (batch,) if it has one output, (batch, m) otherwise.
    ``net.parameters`` is a flat dict of arrays; ``net.replace(parameters)`` is the same network with others.
    """

    @classmethod
    def create(
        cls,
        widths: Sequence[int],
        activation: str | activations.Activation = "tanh",
        *,
        xp: Any = None,
        dtype: Any = None,
        device: Any = None,
        seed: int = 0,
        bias: bool = True,
        residual: bool = False,
        gated: bool = False,
        odd: bool = False,
        fourier: tuple[int, float] | None = None,
        periods: Sequence[float | None] | None = None,
        input_range: tuple[Any, Any] | None = None,
        output_range: tuple[Any, Any] | None = None,
    ) -> MLP:
        """A network of the given layer widths, inputs first, with Glorot-normal weights and zero biases.

        Parameters
        ----------
        widths: such as ``[2, 64, 64, 1]``: 2 inputs, two hidden layers, 1 output.
        activation: a name of ``nt.activations.names`` or an Activation, used on every hidden layer.
        xp, dtype, device: where the parameters live: ``numpy`` unless given, its default float, its default
            device. The numbers themselves come from NumPy's generator and ``seed``: the same on all.
        bias: whether dense layers have one.
        residual: hidden layers of equal width become u + activation(dense(u)).
        gated: the "modified MLP" of :class:`Gated`; all hidden widths must be equal.
        odd: make the network an odd function of its input, net(x) − net(−x).
        fourier: (count, scale) for random Fourier features with frequencies from N(0, scale²).
        periods: one period, or None, per input: see :class:`Periodic`.
        input_range, output_range: (low, high) that is mapped to, or from, [−1, 1].

        Raises ValueError for widths or options that do not fit together.
        """
        import numpy

        widths = [operator.index(w) for w in widths]
        if len(widths) < 2 or min(widths) < 1:
            raise ValueError(f"widths takes the inputs, any hidden widths and the outputs, all >= 1; got {widths}")
        if fourier is not None and fourier[0] < 1:
            raise ValueError(f"fourier takes (count, scale) with a count >= 1; got {fourier}")
        for name, bounds in (("input_range", input_range), ("output_range", output_range)):
            if bounds is not None and not numpy.all(numpy.less(*bounds)):
                raise ValueError(f"{name} takes (low, high) with low < high everywhere; got {bounds}")
        if fourier is not None and periods is not None:
            raise ValueError("pass fourier= or periods=, not both")
        hidden = widths[1:-1]
        if (residual or gated) and len(set(hidden)) != 1:
            raise ValueError(f"residual= and gated= need hidden layers of one width; got widths {widths}")
        if residual and gated:
            raise ValueError("pass residual=True or gated=True, not both")
        space = array_namespace((numpy if xp is None else xp).zeros(1))
        if dtype is None:
            dtype = space.__array_namespace_info__().default_dtypes(device=device)["real floating"]
        rng = numpy.random.default_rng(seed)

        def array(values: Any) -> Array:
            return space.asarray(numpy.asarray(values, dtype=numpy.float64), dtype=dtype, device=device)

        def dense(n_in: int, n_out: int) -> Dense:
            weight = rng.standard_normal((n_in, n_out)) * math.sqrt(2 / (n_in + n_out))
            return Dense(array(weight), array(numpy.zeros(n_out)) if bias else None)

        kind = activations.get(activation)

        def hidden_layers(n_in: int, n_out: int) -> list[Layer]:
            learnable = {name: array(value) for name, value in kind.parameters.items()}
            return [dense(n_in, n_out), Activate(kind, learnable)]

        layers: list[Layer] = []
        if input_range is not None:
            low, high = (numpy.asarray(bound, dtype=numpy.float64) for bound in input_range)
            layers.append(Scale(array((low + high) / 2), array(2 / (high - low))))
        width = widths[0]
        if fourier is not None:
            count, scale = fourier
            layers.append(FourierFeatures(array(rng.standard_normal((width, count)) * scale)))
            width = 2 * count
        if periods is not None:
            if len(periods) != width:
                raise ValueError(f"periods has {len(periods)} entries for {width} inputs; pass one per input")
            layers.append(Periodic(periods))
            width += sum(p is not None for p in periods)
        if gated:
            encoders = [Chain(hidden_layers(width, hidden[0])) for _ in range(2)]
            inner = [Chain(hidden_layers(width if i == 0 else hidden[0], h)) for i, h in enumerate(hidden)]
            layers.append(Gated(encoders[0], encoders[1], inner))
        else:
            for i, h in enumerate(hidden):
                pair = hidden_layers(width if i == 0 else hidden[i - 1], h)
                layers.extend([Skip(pair)] if residual and i > 0 else pair)
        layers.append(dense(hidden[-1] if hidden else width, widths[-1]))
        if odd:
            layers = [Odd(layers)]
        if output_range is not None:
            low, high = (numpy.asarray(bound, dtype=numpy.float64) for bound in output_range)
            half = (high - low) / 2
            layers.append(Scale(array(-(low + high) / (high - low)), array(half)))
        return cls(layers)

    def replace(self, parameters: Mapping[str, Array]) -> MLP:
        """The same network with other parameters; their names and shapes must be those of ``net.parameters``."""
        unknown = [name for name in parameters if name not in self.parameters]
        missing = [name for name in self.parameters if name not in parameters]
        if unknown:
            raise ValueError(f"unknown parameter {unknown[0]!r}: {near_names(unknown[0], list(self.parameters))}")
        if missing:
            raise ValueError(f"replace needs every parameter; missing: {', '.join(missing)}")
        for name, old in self.parameters.items():
            if tuple(parameters[name].shape) != tuple(old.shape):
                raise ValueError(
                    f"parameter {name!r} has shape {tuple(parameters[name].shape)}; "
                    f"the network needs {tuple(old.shape)}"
                )
        return type(self)(list(self._replaced(parameters).values()))

    def __call__(self, x: Any) -> Any:
        """The network's value; of a Jet, the jet of its value."""
        # Parameters that depend on the jet's variable too are coefficients' equals: then x is an array to them.
        if isinstance(x, Jet) and all(p.level < x.level for p in objects_in(self.parameters.values())):
            return Jet(self.propagate(x._series, x.order), x.order, level=x.level)
        return self.propagate([as_floating(x, "x")], 0)[0]

    def propagate(self, coefficients: Coefficients, order: int) -> Coefficients:
        """Taylor coefficients of the output, up to ``order``, from those of the input.

        Coefficients have the shapes that ``net(x)`` takes and gives; the last may be absent or None.
        """
        x = coefficients[0]
        scalars = x.ndim < 2 and self.width_in == 1
        if not scalars and (x.ndim == 0 or x.shape[-1] != self.width_in):
            raise ValueError(
                f"the network takes {self.width_in} features in the last axis, x is a {describe(x)}"
                + ("; for a batch of scalars pass x of shape (batch,) or (batch, 1)" if self.width_in == 1 else "")
            )
        check_same_kind(x=x, **{f"net.parameters[{name!r}]": p for name, p in list(self.parameters.items())[:1]})
        xp = unwrapped_namespace(coefficients)
        # A lone scalar or vector becomes a batch of one, so that every layer sees (batch, features).
        lone = x.ndim == (0 if scalars else 1)

        def batched(c: Array) -> Array:
            if scalars:
                c = xp.expand_dims(c, axis=-1)
            elif tuple(c.shape[-1:]) != (x.shape[-1],):  # a direction with all coordinates equal
                c = xp.broadcast_to(c, (*c.shape[:-1], x.shape[-1]))
            return xp.expand_dims(c, axis=0) if lone and c.ndim < 2 else c

        u = [None if c is None else batched(c) for c in coefficients]
        propagate = adapter_for(*u, *self.parameters.values()).propagate
        v = propagate(self, u, order) if propagate is not None else self.push(u, order)[0]
        xp = unwrapped_namespace(v)
        batch = tuple(v[0].shape[:-1])

        def restored(c: Array) -> Array:
            c = c if tuple(c.shape[:-1]) == batch else xp.broadcast_to(c, (*batch, c.shape[-1]))
            c = c[0, ...] if lone else c
            return c[..., 0] if scalars and c.shape[-1] == 1 else c

        return [None if c is None else restored(c) for c in v]

    def __repr__(self) -> str:
        count = sum(math.prod(p.shape) for p in self.parameters.values())
        kinds = ", ".join(type(layer).__name__ for layer in self.layers)
        return f"MLP({kinds}; {count} parameters)"


def is_network(f: Any) -> bool:
    """Whether ``f`` propagates coefficients itself, as :class:`MLP` does."""
    return isinstance(f, MLP)
