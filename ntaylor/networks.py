"""``MLP``, the network that a user makes, trains and differentiates.

Floor 6: puts layers in a row, checks what comes in, and lets the backend of the arrays propagate.
"""

from __future__ import annotations

import itertools
import math
import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ntaylor import activations
from ntaylor.array_object import objects_in, unwrapped_namespace
from ntaylor.blocks import Block, arrays_in, mapped_all
from ntaylor.composites import Chain, Gated, Odd, Skip
from ntaylor.dispatch import adapter_for
from ntaylor.fans import Order
from ntaylor.jets import Jet
from ntaylor.layers import Activate, Coefficients, Dense, FourierFeatures, Layer, Periodic, Pullback, Scale
from ntaylor.namespace import (
    array_namespace,
    as_floating,
    broadcast_shapes,
    check_same_dtype,
    check_same_kind,
    describe,
    device,
    is_array,
    is_complex,
    near_names,
    number_like,
)

__all__ = ["MLP", "is_network"]

Array = Any


class MLP(Chain):
    """A network: layers one after another, callable on arrays and jets of any array namespace.

    ``net(x)`` maps (…, batch, d) to (…, batch, m). A network of one input also takes a batch of scalars
    (batch,), or one scalar, and then gives (batch,) if it has one output, (batch, m) otherwise.
    A Python float takes the dtype and library of the parameters.

    ``net.parameters`` is a plain, flat dict of the arrays. Assigning into it does not change the network, whose
    layers hold the arrays; ``net = net.replace(parameters)`` makes the same network with others.
    """

    def __init__(self, layers: Sequence[Layer]):
        super().__init__(layers)
        self.is_ours = type(self).push is MLP.push and all(map(_is_ours, self.layers))
        """Whether the network and all of its layers are what this library says they are."""
        _announce(self.parameters)

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
        odd: make the network an odd function of its input, net(x) − net(−x); ranges must be (−a, a).
        fourier: (count, scale) for random Fourier features with frequencies from N(0, scale²).
        periods: one period, or None, per input, in the units of x whatever ``input_range`` is: see
            :class:`Periodic`.
        input_range, output_range: (low, high) that is mapped to, or from, [−1, 1].

        Raises TypeError for options of the wrong kind, ValueError for widths or options that do not fit together.
        """
        widths = _checked_widths(widths)
        if (residual or gated) and len(set(widths[1:-1])) != 1:
            raise ValueError(f"residual= and gated= need hidden layers of one width; got widths {widths}")
        if residual and gated:
            raise ValueError("pass residual=True or gated=True, not both")
        if fourier is not None and periods is not None:
            raise ValueError("pass fourier= or periods=, not both")
        if odd:
            _check_odd(widths[0], "input_range", input_range)
            _check_odd(widths[-1], "output_range", output_range)
        build = _Builder.of(xp, dtype, device, seed, activations.get(activation), bias)
        features = [
            *build.from_range(widths[0], input_range),
            *build.fourier(widths[0], fourier),
            *build.periodic(widths[0], periods, input_range),
        ]
        width = _width_out(features, widths[0])
        hidden = (build.gated if gated else build.residual if residual else build.plain)([width, *widths[1:-1]])
        last = build.dense(widths[-2] if hidden else width, widths[-1])
        layers = [*features, *hidden, last]
        return cls([*([Odd(layers)] if odd else layers), *build.to_range(widths[-1], output_range)])

    def replace(self, parameters: Mapping[str, Array]) -> MLP:
        """The same network with other parameters; their names and shapes must be those of ``net.parameters``."""
        if not isinstance(parameters, Mapping):
            raise TypeError(f"replace takes a dict such as net.parameters, got {describe(parameters)}")
        unknown = [name for name in parameters if name not in self.parameters]
        missing = [name for name in self.parameters if name not in parameters]
        if unknown:
            raise ValueError(f"unknown parameter {unknown[0]!r}: {near_names(unknown[0], list(self.parameters))}")
        if missing:
            raise ValueError(f"replace needs every parameter; missing: {', '.join(missing)}")
        for name, old in self.parameters.items():
            if not is_array(parameters[name]):
                raise TypeError(
                    f"parameter {name!r} must be an array of shape {tuple(old.shape)}, got "
                    f"{describe(parameters[name])}: pass xp.asarray(…), or xp.full_like(net.parameters[{name!r}], …) "
                    "for one number"
                )
            if tuple(parameters[name].shape) != tuple(old.shape):
                raise ValueError(
                    f"parameter {name!r} has shape {tuple(parameters[name].shape)}; "
                    f"the network needs {tuple(old.shape)}"
                )
        _announce(parameters)
        return super().replace(parameters)  # type: ignore[return-value]

    def __call__(self, x: Any) -> Any:
        """The network's value; of a Jet, the jet of its value."""
        # Parameters that depend on the jet's variable too are coefficients' equals: then x is an array to them.
        if isinstance(x, Jet) and all(p.level < x.level for p in objects_in(self.parameters.values())):
            return type(x)(self.propagate(x._series, x.order), x.order, level=x.level)
        return self.propagate([self.point(x)], 0)[0]

    def point(self, x: Any) -> Array:
        """``x`` as a floating array with as many features as the network takes; a Python float in its dtype.

        Raises ValueError for other shapes, TypeError for what has no floating dtype.
        """
        if type(x) in (float, complex) and self.parameters:
            parameter = next(iter(self.parameters.values()))
            x = number_like(x, parameter) if type(x) is float or is_complex(parameter) else x
        x = as_floating(x, "x")
        if not (x.ndim < 2 and self.width_in == 1) and (x.ndim == 0 or x.shape[-1] != self.width_in):
            hint = ""
            if self.width_in == 1:
                hint = "; for a batch of scalars pass x of shape (batch,) or (batch, 1)"
            elif x.ndim < 2:
                hint = f": pass x of shape (batch, {self.width_in}), or ({self.width_in},) for one point"
            raise ValueError(f"the network takes {self.width_in} features in the last axis, x is a {describe(x)}{hint}")
        return x

    def propagate(self, coefficients: Coefficients, order: Order) -> Coefficients:
        """Taylor coefficients of the output, up to ``order``, from those of the input.

        The primal has a shape that ``net(x)`` takes. The others broadcast to it, may be absent or ``None``, and may
        have axes in front: with coefficients (R, batch, d), or (R, 1, d), R directions share one primal (batch, d),
        whose rows are multiplied once. Then the output's primal is (batch, m) and its series (R, batch, m). With a
        fan for ``order`` they are its coefficients, of the input and of the output.

        Raises ValueError for shapes that do not fit, TypeError for libraries or dtypes mixed.
        """
        x = self.point(coefficients[0])
        scalars = x.ndim < 2 and self.width_in == 1
        self._check_kinds(x, coefficients)
        # A lone scalar or vector becomes a batch of one, so that every layer sees (batch, features).
        lone = x.ndim == (0 if scalars else 1)

        def batched(c: Array) -> Array:
            xp = unwrapped_namespace([c])
            if scalars:
                c = xp.expand_dims(c, axis=-1)
            elif tuple(c.shape[-1:]) != (x.shape[-1],):  # a direction with all coordinates equal
                c = xp.broadcast_to(c, (*c.shape[:-1], x.shape[-1]))
            return xp.expand_dims(c, axis=-2) if lone else c

        fit = not scalars and not lone and all(c is None or c.shape[-1:] == x.shape[-1:] for c in coefficients)
        u = coefficients if fit else [None if c is None else batched(c) for c in coefficients]
        v = self._propagated(u, order)
        # In a block all are of one shape.
        batch = None if isinstance(v, Block) else tuple(v[0].shape[:-1])

        def restored(c: Array) -> Array:
            if batch is not None and tuple(c.shape[:-1]) != batch:
                shape = (*broadcast_shapes(c.shape[:-1], batch), c.shape[-1])
                c = unwrapped_namespace([c]).broadcast_to(c, shape)
            c = c[..., 0, :] if lone else c
            return c[..., 0] if scalars and c.shape[-1] == 1 else c

        return mapped_all(restored, v)

    def _propagated(self, u: Coefficients, order: Order) -> Coefficients:
        """Coefficients (\\*batch, m) from (\\*batch, d), by whom the backend has for it."""
        propagate = adapter_for(*u, *self.parameters.values()).propagate
        return propagate(self, u, order) if propagate is not None else self.push(u, order)[0]

    def _check_kinds(self, x: Array, coefficients: Coefficients) -> None:
        """Raise TypeError or ValueError unless coefficients and parameters go with x."""
        arrays = [c for c in (*coefficients[1:], *self.parameters.values()) if c is not None]
        last, dtype = arrays[-1] if arrays else x, x.dtype
        of_one_library = type(last) is type(x) or array_namespace(last) == array_namespace(x)
        if not of_one_library or device(last) != device(x) or any(a.dtype != dtype for a in arrays):
            series = {f"coefficient {k}": c for k, c in enumerate(coefficients) if k and c is not None}
            named = {f"net.parameters[{name!r}]": p for name, p in self.parameters.items()}
            check_same_kind(x=x, **dict(list(named.items())[:1]))
            check_same_dtype(x=x, **series, **named)
        for k, c in enumerate(coefficients):
            if k and c is not None:
                _check_fits(x, f"coefficient {k}", c)

    def push(self, u: Coefficients, order: Order) -> tuple[Coefficients, Pullback]:
        push = adapter_for(*arrays_in(u), *self.leaves).push_network
        plain = super().push
        return plain(u, order) if push is None else push(self, u, order, plain)

    def __repr__(self) -> str:
        # JAX's tree functions put None and much else in the place of parameters.
        count = sum(math.prod(getattr(p, "shape", ())) for p in self.parameters.values())
        kinds = ", ".join(type(layer).__name__ for layer in self.layers)
        return f"MLP({kinds}; {count} parameters)"


def _is_ours(layer: Layer) -> bool:
    """Whether a layer, and all that it is made of, is of this library."""
    own = type(layer).__module__.startswith(("ntaylor.", "ntaylor_backends."))
    return own and all(map(_is_ours, getattr(layer, "parts", {}).values()))


def _announce(parameters: Mapping[str, Array]) -> None:
    """Have the adapter of these arrays loaded: it may teach its library what a network is, before it meets one."""
    adapter_for(*parameters.values())


def _check_fits(x: Array, name: str, c: Array) -> None:
    """Raise ValueError unless ``c`` broadcasts against x to x's shape, with any axes in front."""
    if c.ndim == x.ndim and all(n == 1 or n == of_x for n, of_x in zip(c.shape, x.shape, strict=True)):
        return
    try:
        shape = broadcast_shapes(tuple(c.shape), tuple(x.shape))
        fits = shape[len(shape) - x.ndim :] == tuple(x.shape)
    except ValueError:
        fits = False
    if not fits:
        raise ValueError(
            f"{name} has shape {tuple(c.shape)}, x has {tuple(x.shape)}: pass an array that broadcasts to x, or for R "
            f"directions that share x one of shape (R, {', '.join(map(str, x.shape))})"
        )


# --- what MLP.create is made of -------------------------------------------------------------------


def _checked_widths(widths: Any) -> list[int]:
    if isinstance(widths, str) or not hasattr(widths, "__iter__"):
        raise TypeError(f"widths takes a list of integers, such as [2, 64, 64, 1]; got {widths!r}")
    checked = []
    for i, width in enumerate(widths):
        try:
            checked.append(operator.index(width))
        except TypeError:
            raise TypeError(
                f"widths takes integers, such as [2, 64, 64, 1]; entry {i} is {width!r} ({type(width).__name__}): "
                "pass int(…) of it"
            ) from None
    if len(checked) < 2 or min(checked) < 1:
        raise ValueError(f"widths takes the inputs, any hidden widths and the outputs, all >= 1; got {checked}")
    return checked


def _width_out(layers: Sequence[Layer], width: int) -> int:
    """Features after the fixed layers at the input."""
    for layer in layers:
        if isinstance(layer, FourierFeatures):
            width = 2 * layer.frequencies.shape[1]
        elif isinstance(layer, Periodic):
            width += sum(p is not None for p in layer.periods)
    return width


@dataclass(frozen=True)
class _Builder:
    """Makes layers whose arrays are of one namespace, dtype and device, with numbers from one generator.

    An option that is not given makes no layer: each of its methods returns a list of those it makes.
    """

    space: Any
    dtype: Any
    device: Any
    rng: Any
    activation: activations.Activation
    bias: bool

    @classmethod
    def of(
        cls, xp: Any, dtype: Any, device: Any, seed: int, activation: activations.Activation, bias: bool
    ) -> _Builder:
        import numpy

        if xp is not None and not hasattr(xp, "asarray"):
            raise TypeError(
                f"xp must be an array namespace, such as the module numpy, torch or jax.numpy; got {xp!r} "
                f"({type(xp).__name__}): import it and pass the module"
            )
        space = array_namespace((numpy if xp is None else xp).zeros(1))
        if dtype is None:
            dtype = space.__array_namespace_info__().default_dtypes(device=device)["real floating"]
        try:
            floating = space.isdtype(space.zeros(1, dtype=dtype).dtype, ("real floating", "complex floating"))
        except (TypeError, AttributeError):  # no dtype of this library
            floating = False
        if not floating:
            raise TypeError(f"dtype must be a floating dtype of {space.__name__}, such as xp.float64; got {dtype!r}")
        return cls(space, dtype, device, numpy.random.default_rng(seed), activation, bias)

    def array(self, values: Any) -> Array:
        import numpy

        return self.space.asarray(numpy.asarray(values, dtype=numpy.float64), dtype=self.dtype, device=self.device)

    def dense(self, n_in: int, n_out: int) -> Dense:
        weight = self.rng.standard_normal((n_in, n_out)) * math.sqrt(2 / (n_in + n_out))
        return Dense(self.array(weight), self.array([0.0] * n_out) if self.bias else None)

    def activated(self, n_in: int, n_out: int) -> list[Layer]:
        learnable = {name: self.array(value) for name, value in self.activation.parameters.items()}
        return [self.dense(n_in, n_out), Activate(self.activation, learnable)]

    def plain(self, widths: Sequence[int]) -> list[Layer]:
        return [layer for pair in itertools.pairwise(widths) for layer in self.activated(*pair)]

    def residual(self, widths: Sequence[int]) -> list[Layer]:
        first = self.activated(*widths[:2])
        return [*first, *(Skip(self.activated(*pair)) for pair in itertools.pairwise(widths[1:]))]

    def gated(self, widths: Sequence[int]) -> list[Layer]:
        encoders = [Chain(self.activated(*widths[:2])) for _ in range(2)]
        return [Gated(encoders[0], encoders[1], [Chain(self.activated(*pair)) for pair in itertools.pairwise(widths)])]

    def fourier(self, width: int, option: Any) -> list[Layer]:
        if option is None:
            return []
        try:
            count, scale = option
            count, scale = operator.index(count), float(scale)
        except (TypeError, ValueError):
            raise TypeError(
                f"fourier takes (count, scale), an integer and a number, such as fourier=(64, 1.0); got {option!r}"
            ) from None
        if count < 1 or not 0 < scale < math.inf:
            raise ValueError(f"fourier takes (count, scale) with a count >= 1 and a finite scale > 0; got {option}")
        return [FourierFeatures(self.array(self.rng.standard_normal((width, count)) * scale))]

    def periodic(self, width: int, option: Any, input_range: Any) -> list[Layer]:
        """Periods are in the units of x; the layer sees x after ``from_range``."""
        if option is None:
            return []
        if isinstance(option, str) or not hasattr(option, "__len__"):
            raise TypeError(
                f"periods takes one period, or None, per input, such as periods={(2.0,) + (None,) * (width - 1)}; "
                f"got {option!r}"
            )
        if len(option) != width:
            raise ValueError(f"periods has {len(option)} entries for {width} inputs; pass one per input")
        layer = Periodic(option)
        if input_range is None:
            return [layer]
        import numpy

        low, high = _bounds("input_range", width, input_range)
        factors = numpy.broadcast_to(2 / (high - low), (width,))
        return [Periodic([None if p is None else float(p * f) for p, f in zip(option, factors, strict=True)])]

    def from_range(self, width: int, option: Any) -> list[Layer]:
        """[low, high] to [−1, 1]."""
        if option is None:
            return []
        low, high = _bounds("input_range", width, option)
        return [Scale(self.array((low + high) / 2), self.array(2 / (high - low)))]

    def to_range(self, width: int, option: Any) -> list[Layer]:
        """[−1, 1] to [low, high]."""
        if option is None:
            return []
        low, high = _bounds("output_range", width, option)
        return [Scale(self.array(-(low + high) / (high - low)), self.array((high - low) / 2))]


def _bounds(name: str, width: int, option: Any) -> tuple[Any, Any]:
    """(low, high) as float64 NumPy arrays, scalars or (width,)."""
    import numpy

    try:
        low, high = (numpy.asarray(bound, dtype=numpy.float64) for bound in option)
    except (TypeError, ValueError):
        raise TypeError(
            f"{name} takes (low, high), numbers or one a feature, such as {name}=(-1.0, 1.0); got {option!r}"
        ) from None
    if any(bound.shape not in ((), (1,), (width,)) for bound in (low, high)):
        raise ValueError(f"{name} has bounds of shapes {low.shape} and {high.shape} for {width} features; got {option}")
    if not (numpy.all(low < high) and numpy.all(numpy.isfinite(high - low))):
        raise ValueError(f"{name} takes (low, high), finite, with low < high everywhere; got {option}")
    return low, high


def _check_odd(width: int, name: str, option: Any) -> None:
    """Raise ValueError unless the range is none, or one that an odd function maps from or to itself."""
    import numpy

    if option is None:
        return
    low, high = _bounds(name, width, option)
    if not numpy.all(low == -high):
        raise ValueError(
            f"an odd network needs {name}=(-a, a), symmetric about 0; got {option}: pass such a range, or odd=False"
        )


def is_network(f: Any) -> bool:
    """Whether ``f`` propagates coefficients itself, as :class:`MLP` does."""
    return isinstance(f, MLP)
