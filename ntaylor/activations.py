"""Univariate functions by name: a table name → rule, domain, source.

Floor 3. The rules themselves are those of ``pair_rules``; here they get names, domains and starting values,
and users add their own. The same table serves network layers, jets of any function, and gradients.

Register your own, from whichever you have:

>>> import numpy as np, ntaylor as nt
>>> cbrt = nt.activations.register(
...     "cbrt", primal=lambda u0, xp: xp.pow(u0, u0 * 0 + 1 / 3), ode=lambda v, u: v / (3 * u),
...     singular=lambda u0, xp: u0 <= 0, domain="u > 0")
>>> cubic = nt.activations.register("cubic", pair=lambda u, xp: (u + u**3, 1 + 3 * u**2))
>>> cycle = lambda u0, xp: [xp.sin(u0), xp.cos(u0), -xp.sin(u0), -xp.cos(u0)]
>>> wave = nt.activations.register(
...     "wave", derivatives=lambda u0, order, xp: [cycle(u0, xp)[m % 4] for m in range(order + 1)])

All three now are activations of networks, ``nt.MLP.create(widths, "cubic")``. In a function that is differentiated,
a registered name is one of the namespace of the jet, ``x.__array_namespace__().cubic(x)``; and where NumPy or SciPy
has a ufunc of that name, such as ``np.cbrt`` or ``scipy.special.j0``, that works on jets:

>>> x = np.asarray([2.0])
>>> nt.derivatives(lambda x: x.__array_namespace__().cubic(x), x, 3)[:, 0].tolist()
[10.0, 13.0, 12.0, 6.0]
>>> net = nt.MLP.create([1, 8, 1], "wave")
>>> nt.derivatives(net, x, 3).shape
(4, 1)
>>> bool(np.allclose(nt.derivatives(np.cbrt, x, 1)[1], 1 / (3 * np.cbrt(x) ** 2)))
True
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from typing import Any

from ntaylor import pair_rules
from ntaylor.array_object import unwrapped_namespace
from ntaylor.blocks import Block, arrays_in
from ntaylor.dispatch import adapter_for
from ntaylor.faa_di_bruno import tower
from ntaylor.fans import Order, gathered, highest, lengths, merged, opened_out, orders_of, spread
from ntaylor.namespace import any_true, broadcast_shapes, is_array, is_complex, near_names, sum_to_shape
from ntaylor.series import Series, add, correlate, solve

__all__ = [
    "Activation",
    "elu",
    "get",
    "names",
    "of_all_points",
    "of_one_shape",
    "of_two",
    "power",
    "register",
    "relu_power",
]

Array = Any
Pair = tuple[Series, Series]
Pullback = Callable[..., tuple[Sequence[Array | None], dict[str, Array]]]


@dataclass(frozen=True, eq=False)
class Activation:
    """A univariate function with its pair rule.

    ``rule(u, xp, **parameters)`` gives (v, w), or (v, w, partials) where ``partials[name]`` is the
    series of ∂f(u)/∂parameter. ``parameters`` holds the learnable ones with their starting values.
    ``singular(u0, xp)`` marks the points where f is not differentiable to every order and where
    asking for order >= 1 is refused; ``domain`` is what the message says is needed.
    """

    name: str
    rule: Callable[..., Any] | None
    """None: the pair is made from ``towers``."""
    source: str = ""
    parameters: Mapping[str, float] = field(default_factory=dict)
    singular: Callable[[Array, Any], Array] | None = None
    domain: str = "all real u"
    holomorphic: bool = True
    """Whether it has a complex derivative; a piecewise function has none, and refuses complex arrays."""
    towers: Callable[[Array, int, Any], Sequence[Array]] | None = None
    """(u0, order, xp) -> f^(m)(u0), m = 0..order, for the published algorithm, where known exactly."""

    def pair(self, u: Series, xp: Any, order: int, **parameters: Array) -> tuple[Series, Series, dict[str, Series]]:
        """(v, w, partials) along ``u``.

        ValueError where f is not differentiable to ``order``, TypeError for a complex u in a piecewise f.
        """
        self._check_argument(u[0], xp, order)
        return self.pair_unchecked(u, xp, order, parameters)

    def _check_argument(self, u0: Array, xp: Any, order: int) -> None:
        complex_argument = is_complex(u0)
        if complex_argument and not self.holomorphic and order > 0:
            raise TypeError(f"{self.name} is piecewise and has no complex derivative: pass a real array")
        # The domains are those of the real functions; a complex one continues round the point.
        if self.singular is not None and order > 0 and not complex_argument and any_true(self.singular(u0, xp)):
            raise ValueError(
                f"{self.name} is not differentiable to order {order} at some of these points: it needs "
                f"{self.domain}. Keep the argument inside that domain, or ask for order=0"
            )

    def pair_unchecked(
        self, u: Series, xp: Any, order: int, parameters: Mapping[str, Array]
    ) -> tuple[Series, Series, dict[str, Series]]:
        """As :meth:`pair`, without a look at where u_0 lies."""
        if self.rule is None:
            return *_pair_from_derivatives(self, u, xp, order), {}
        found = self.rule(u, xp, **{**self.parameters, **parameters})
        if isinstance(found, tuple) and isinstance(found[0], Series):
            # A slope that is a number, as that of (u, 1).
            found = tuple(Series([u[0] * 0 + s]) if isinstance(s, (int, float)) else s for s in found)
        kinds = [type(s).__name__ for s in found] if isinstance(found, tuple) else type(found).__name__
        if kinds not in (["Series"] * 2, ["Series"] * 2 + ["dict"]):
            raise TypeError(
                f"the rule of {self.name} must return (v, w) or (v, w, partials): two Series, and a dict of name → "
                f"Series; it returned {kinds}"
            )
        v, w, *partials = found
        return v, w, partials[0] if partials else {}

    def push(
        self,
        u: Sequence[Array | None],
        order: Order,
        parameters: Mapping[str, Array],
        *,
        differentiable: int | None = None,
    ) -> tuple[Sequence[Array | None], Pullback]:
        """Coefficients 0..order of f(u) and the pullback, by the adapter of these arrays or in closed form.

        The pullback is that of :meth:`closed_form`. f is refused where it is not differentiable to the order
        ``differentiable``, which is ``order`` unless given. Errors are those of :meth:`pair`.
        """
        arrays = (*arrays_in(u), *parameters.values())
        self._check_argument(
            u[0], unwrapped_namespace(arrays), highest(order) if differentiable is None else differentiable
        )
        activate = adapter_for(*arrays).activate
        if activate is None:
            return self.closed_form(u, order, parameters)
        return activate(self, u, order, parameters)  # type: ignore[no-any-return]

    def closed_form(
        self, u: Sequence[Array | None], order: Order, parameters: Mapping[str, Array]
    ) -> tuple[Sequence[Array | None], Pullback]:
        """Coefficients 0..order of f(u), and the pullback: one correlation with w, equation (3.2).

        ``pullback(cotangent, per_sample=False)`` gives the cotangents of ``u`` and of the parameters by name. They
        have the shapes of what they belong to; with ``per_sample=True`` those of ``u`` are left as they come, and
        those of the parameters are summed over the features only.
        """
        xp = unwrapped_namespace((*arrays_in(u), *parameters.values()))
        found = self.pairs(u, xp, order, parameters)
        v = of_all_points(merged(order, [v for v, _, _ in found]), u, xp)

        def of_parameter(name: str, cotangent: Sequence[Array | None], per_sample: bool) -> Array:
            parameter = parameters[name]
            shape = tuple(getattr(parameter, "shape", ()))
            total = None
            for group in [list(cotangent)] if per_sample else of_one_shape(cotangent):
                of_group = None
                for of_direction, (_, _, partials) in zip(spread(order, group), found, strict=True):
                    for k, c in enumerate(of_direction):
                        if c is not None and partials[name][k] is not None:
                            of_group = add(of_group, c * partials[name][k])
                if of_group is not None:
                    total = add(total, of_group if per_sample else sum_to_shape(of_group, shape))
            if total is None:
                return parameter * 0
            return xp.sum(total, axis=-1) if per_sample and not shape else total

        def correlated(cotangent: Sequence[Array | None]) -> list[Array | None]:
            parts = zip(spread(order, cotangent), found, lengths(order, len(u)), strict=True)
            return gathered(order, [correlate(part, w, count) for part, (_, w, _), count in parts], len(u))

        def pullback(
            cotangent: Sequence[Array | None], per_sample: bool = False
        ) -> tuple[list[Array | None], dict[str, Array]]:
            for name in parameters:
                self.partial_of(name, found[0][2])
            if per_sample:
                of_u = correlated(cotangent)
            else:
                of_u = [None] * len(u)
                for group in of_one_shape(cotangent):
                    for j, (c, x) in enumerate(zip(correlated(group), u, strict=True)):
                        if c is not None and x is not None:
                            of_u[j] = add(of_u[j], sum_to_shape(c, x.shape))
            return of_u, {name: of_parameter(name, cotangent, per_sample) for name in parameters}

        return v, pullback

    def pairs(
        self, u: Sequence[Array | None], xp: Any, order: Order, parameters: Mapping[str, Array]
    ) -> list[tuple[Series, Series, dict[str, Series]]]:
        """As :meth:`pair_unchecked`, of every direction of a fan; of a number, of the one."""
        parts = zip(opened_out(order, u), orders_of(order), strict=True)
        return [self.pair_unchecked(Series(part), xp, n, parameters) for part, n in parts]

    def partial_of(self, name: str, partials: Mapping[str, Series]) -> Series:
        """The series of ∂f(u)/∂name among those that the rule gave; TypeError where it gave none."""
        if not isinstance(partials.get(name), Series):
            raise TypeError(
                f"the rule of {self.name} gave no partial for its parameter {name!r}, so there is no gradient: "
                f"return (v, w, {{{name!r}: …}}) with the series of ∂f(u)/∂{name}"
            )
        return partials[name]

    def __deepcopy__(self, _: Any) -> Activation:
        return self  # immutable, and compared by identity

    def __reduce__(self) -> Any:
        # By name where the table has it: rules are functions, which do not travel to other processes.
        return (get, (self.name,)) if _TABLE.get(self.name) is self else super().__reduce__()


def of_all_points(v: list[Array | None], u: Sequence[Array | None], xp: Any) -> list[Array | None]:
    """v_k of the shape of u_0..u_k together, where a rule gave one with fewer axes.

    A polynomial's top coefficients are shared where the direction is, such as u_1² for u². Their cotangents
    must nevertheless come one a point: (3.2) multiplies them by coefficients of w that have the batch.
    """
    shape: tuple[int, ...] = ()
    result: list[Array | None] = []
    for k, c in enumerate(v):
        x = u[k] if k < len(u) else None
        if x is not None and tuple(x.shape) != shape:
            shape = broadcast_shapes(shape, x.shape)
        if c is not None and not is_array(c):  # a rule's constant
            c = xp.zeros_like(u[0]) + c
        if c is not None and tuple(c.shape) != shape:
            # A learnable parameter may have more features than u.
            c = xp.broadcast_to(c, broadcast_shapes(shape, c.shape))
        result.append(c)
    return result


def of_one_shape(cotangent: Sequence[Array | None]) -> list[Sequence[Array | None]]:
    """The cotangents as a sum of lists that each hold those of one shape; one list, of zeros, if there are none.

    What goes back from one shape is summed over what a coefficient is shared by before it meets that of another.
    """
    if isinstance(cotangent, Block):
        return [cotangent]
    shapes: list[tuple[int, ...]] = []
    for c in cotangent:
        # Compared, never hashed: see ``broadcast_shapes``.
        if c is not None and not any(tuple(c.shape) == shape for shape in shapes):
            shapes.append(tuple(c.shape))
    if len(shapes) < 2:
        return [cotangent]
    return [[c if c is not None and tuple(c.shape) == shape else None for c in cotangent] for shape in shapes]


def of_two(name: str, u: Any, v: Any, order: int) -> Series | None:
    """The "product" u v or the "quotient" u / v, where their adapter makes one kernel of it; None elsewhere.

    What is linear in u is an activation of u whose parameters are the coefficients of v. A number by v is no operation
    of two.
    """
    if order == 0 or not (isinstance(u, Series) and isinstance(v, Series)):
        return None
    held_u, held_v = u.truncated(order), v.truncated(order)
    inverse = name == "quotient" and isinstance(u[0], (int, float))
    if not inverse and not is_array(u[0]):
        return None
    if name == "product" and math.prod(held_u[0].shape) < math.prod(held_v[0].shape):
        held_u, held_v = held_v, held_u
    arrays = [*(() if inverse else arrays_in(held_u)), *arrays_in(held_v)]
    fuses = adapter_for(*arrays).fuses if len(held_v) > 1 else None
    if fuses is None or not fuses(*arrays):
        return None
    if inverse:
        found: Series = Series(get("reciprocal").push(held_v, order, {})[0]) * u[0]
        return found
    activation = _of_two(name, len(held_v))
    of_v = {f"v{j}": c for j, c in enumerate(held_v) if c is not None}
    return Series(activation.push(held_u, order, of_v)[0])


@cache
def _of_two(name: str, count: int) -> Activation:
    rule, source = {
        "product": (pair_rules.product, "theory.md (2.1), (3.4)"),
        "quotient": (pair_rules.quotient, "theory.md (2.2), (3.5)"),
    }[name]
    return Activation(name, rule(count), source)


def relu_power(p: int) -> Activation:
    """max(u, 0)^p for a whole p >= 1, piecewise: p = 1 is ReLU.

    At the kink u = 0 all derivatives are those of the left branch, 0; derivatives of order below p
    are continuous there, so this is a convention for orders >= p only (torch's and JAX's for p = 1).
    """
    if not isinstance(p, int) or isinstance(p, bool) or p < 1:
        raise ValueError(f"relu_power takes a whole power >= 1, got {p!r}; use activations.power for others")
    return Activation("relu" if p == 1 else f"relu{p}", pair_rules.relu_power(p), "theory.md (4.12)", holomorphic=False)


def elu(alpha: float = 1.0) -> Activation:
    """u for u > 0, α(e^u − 1) otherwise (Clevert, Unterthiner, Hochreiter 2015).

    At the kink u = 0 the derivatives are those of the left branch; for α = 1 the first is continuous.
    """
    return Activation("elu", pair_rules.elu(alpha), "theory.md (4.12)", holomorphic=False)


def power(p: float) -> Activation:
    """u^p. Whole p >= 0 holds everywhere, negative whole p needs u ≠ 0, any other p needs u > 0."""
    if not isinstance(p, (int, float)) or isinstance(p, bool):
        raise TypeError(f"power takes a Python number as exponent, got {type(p).__name__}")
    whole = float(p).is_integer()
    if whole and p >= 0:
        return Activation(f"power({p})", pair_rules.whole_power(int(p)), "theory.md (2.1)")
    return Activation(
        f"power({p})",
        pair_rules.power(p),
        "theory.md (4.9)",
        singular=_at_zero if whole else _up_to_zero,
        domain="u ≠ 0" if whole else "u > 0",
    )


# Where functions are singular: of this file, so that an Activation can be pickled.


def _at_zero(u0: Array, xp: Any) -> Array:
    return u0 == 0


def _up_to_zero(u0: Array, xp: Any) -> Array:
    return u0 <= 0


def _up_to_one(u0: Array, xp: Any) -> Array:
    return u0 <= 1


def _up_to_minus_one(u0: Array, xp: Any) -> Array:
    return u0 <= -1


def _outside_one(u0: Array, xp: Any) -> Array:
    return xp.abs(u0) >= 1


def _polynomial_tower(name: str, slope: tuple[int, ...]) -> Callable[[Array, int, Any], Sequence[Array]]:
    return partial(_tower_of_polynomials, name, slope)


def _tower_of_polynomials(name: str, slope: tuple[int, ...], u0: Array, order: int, xp: Any) -> Sequence[Array]:
    value, _, _ = get(name).pair(Series([u0]), xp, 0)
    return tower(value[0], slope, order)


def _sigmoid_tower(u0: Array, order: int, xp: Any) -> Sequence[Array]:
    # σ(u) = (1 + tanh(u/2))/2. The polynomials in σ itself cancel near σ = 1/2: 4 digits at order 10.
    value, _, _ = get("sigmoid").pair(Series([u0]), xp, 0)
    derivatives = tower(xp.tanh(u0 / 2), (1, 0, -1), order)
    return [value[0], *(derivatives[m] / 2.0 ** (m + 1) for m in range(1, order + 1))]


def _sin_tower(u0: Array, order: int, xp: Any) -> Sequence[Array]:
    cycle = (xp.sin(u0), xp.cos(u0), -xp.sin(u0), -xp.cos(u0))
    return [cycle[m % 4] for m in range(order + 1)]


# --- the table ----------------------------------------------------------------------------------

_TABLE: dict[str, Activation] = {}


def _enter(name: str, rule: Callable[..., Any], equation: str, **more: Any) -> None:
    _TABLE[name] = Activation(name, rule, f"theory.md {equation}", **more)


_enter("tanh", pair_rules.tanh, "(4.1)", towers=_polynomial_tower("tanh", (1, 0, -1)))
_enter("sigmoid", pair_rules.sigmoid, "(4.2)", towers=_sigmoid_tower)
_enter("exp", pair_rules.exp, "(4.3)", towers=_polynomial_tower("exp", (0, 1)))
_enter("expm1", pair_rules.expm1, "(4.3)")
_enter("sin", pair_rules.sin, "(2.4)", towers=_sin_tower)
_enter("cos", pair_rules.cos, "(2.4)")
_enter("tan", pair_rules.tan, "(4.1)", towers=_polynomial_tower("tan", (1, 0, 1)))
_enter("sinh", pair_rules.sinh, "(2.4)")
_enter("cosh", pair_rules.cosh, "(2.4)")
_enter("softplus", pair_rules.softplus, "(4.4)")
_enter("silu", pair_rules.silu, "(4.5)")
_enter("gaussian", pair_rules.gaussian, "(4.6), exp(-u²)")
_enter("erf", pair_rules.erf, "(4.6)")
_enter("ndtr", pair_rules.normal_cdf, "(4.6), the normal distribution function")
_enter("gelu", pair_rules.gelu, "(4.7), u Φ(u)")
_enter("gelu_tanh", pair_rules.gelu_tanh, "(4.7), the tanh form")
_enter("mish", pair_rules.mish, "(4.5), u tanh(softplus u)")
_enter("atan", pair_rules.atan, "(4.8)")
_enter("asinh", pair_rules.asinh, "(4.8)")
_enter("softsign", pair_rules.softsign, "(4.10), u/(1+|u|); at 0 the right branch from order 2 up", holomorphic=False)
_enter("square", pair_rules.square, "(2.1)")
_enter("snake", pair_rules.snake, "(4.11), u + sin²(a u)/a, learnable a", parameters={"a": 1.0})
_enter("adaptive_tanh", pair_rules.adaptive_tanh, "(4.11), tanh(a u), learnable a", parameters={"a": 1.0})
_enter("asin", pair_rules.asin, "(4.8)", singular=_outside_one, domain="|u| < 1")
_enter("acos", pair_rules.acos, "(4.8)", singular=_outside_one, domain="|u| < 1")
_enter("atanh", pair_rules.atanh, "(4.8)", singular=_outside_one, domain="|u| < 1")
_enter("acosh", pair_rules.acosh, "(4.8)", singular=_up_to_one, domain="u > 1")
_enter("log", pair_rules.log, "(4.8)", singular=_up_to_zero, domain="u > 0")
_enter("log1p", pair_rules.log1p, "(4.8)", singular=_up_to_minus_one, domain="u > -1")
_enter("log2", pair_rules.scaled_log("log2", 2), "(4.8)", singular=_up_to_zero, domain="u > 0")
_enter("log10", pair_rules.scaled_log("log10", 10), "(4.8)", singular=_up_to_zero, domain="u > 0")
_enter("sqrt", pair_rules.sqrt, "(2.5)", singular=_up_to_zero, domain="u > 0")
_enter("reciprocal", pair_rules.reciprocal, "(2.2)", singular=_at_zero, domain="u ≠ 0")
for _activation in (elu(), *map(relu_power, range(1, 6))):
    _TABLE[_activation.name] = _activation


class _Names(Sequence[str]):
    """The known names, always current: a read-only view of the table."""

    def __getitem__(self, index: Any) -> Any:
        return sorted(_TABLE)[index]

    def __len__(self) -> int:
        return len(_TABLE)

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(_TABLE))

    def __contains__(self, name: object) -> bool:
        return name in _TABLE

    def __repr__(self) -> str:
        return repr(sorted(_TABLE))


names: Sequence[str] = _Names()
"""Every activation's name, built in or registered, sorted."""


def get(activation: str | Activation) -> Activation:
    """The activation of that name; an :class:`Activation` passes. ValueError names the near ones."""
    if isinstance(activation, Activation):
        return activation
    if not isinstance(activation, str):
        raise TypeError(
            f"activation must be a name such as 'tanh' or an Activation, got {type(activation).__name__}. "
            "For your own function, use nt.activations.register(name, …)"
        )
    if activation not in _TABLE:
        raise ValueError(
            f"unknown activation {activation!r}: {near_names(activation, list(_TABLE))}. "
            "For your own, use nt.activations.register(name, …)"
        )
    return _TABLE[activation]


def register(
    name: str,
    *,
    pair: Callable[..., Any] | None = None,
    ode: Callable[[Series, Series], Series] | None = None,
    primal: Callable[[Array, Any], Array] | None = None,
    derivatives: Callable[[Array, int, Any], Sequence[Array]] | None = None,
    parameters: Mapping[str, float] | None = None,
    singular: Callable[[Array, Any], Array] | None = None,
    domain: str = "all real u",
    source: str = "registered by the user",
    replace: bool = False,
) -> Activation:
    """Add a univariate function, from exactly one of three descriptions; return it.

    - ``pair(u, xp, **parameters) -> (v, w)`` or ``(v, w, partials)``: the series of f(u) and f′(u), with
      the arithmetic of :class:`ntaylor.series.Series`; ``partials`` maps each learnable parameter's
      name to the series of ∂f/∂parameter.
    - ``ode(v, u) -> w`` with ``primal(u0, xp) -> v0``: the right-hand side of f′ as a function of v = f(u)
      and u, such as ``lambda v, u: 1 - v * v`` for tanh.
    - ``derivatives(u0, order, xp) -> [f(u0), f′(u0), …, f^(order)(u0)]``: combined with the powers of u − u_0,
      equation (5.4). It is asked for one order more than the jet's only where a gradient is taken.

    How to call it afterwards, and an example of each: at the top of ``ntaylor/activations.py``,
    ``help(nt.activations)``.

    Raises TypeError for a name that is no string and a description that is no function, and
    ValueError for a name that is taken (unless ``replace=True``) and for anything but exactly one
    description.
    """
    if not isinstance(name, str) or not name:
        raise TypeError(f"register takes a name first, such as 'cbrt'; got {name!r}")
    for kind, value in {
        "pair": pair,
        "ode": ode,
        "primal": primal,
        "derivatives": derivatives,
        "singular": singular,
    }.items():
        if value is not None and not callable(value):
            raise TypeError(f"{kind}= takes a function; got {value!r} ({type(value).__name__})")
    if name in _TABLE and not replace:
        raise ValueError(f"activation {name!r} exists; choose another name or pass replace=True")
    given = [
        kind for kind, value in {"pair": pair, "ode": ode, "derivatives": derivatives}.items() if value is not None
    ]
    if len(given) != 1:
        raise ValueError(f"register takes exactly one of pair=, ode= and derivatives=; got {given or 'none'}")
    if ode is not None and primal is None:
        raise ValueError("ode= needs primal=, the function itself: primal=lambda u0, xp: …")
    if primal is not None and ode is None:
        raise ValueError("primal= goes with ode= only; pair= and derivatives= give the function themselves")
    if parameters and pair is None:
        raise ValueError("learnable parameters need pair=, which returns their partials too")
    rule = pair if ode is None or primal is None else _rule_from_ode(ode, primal)
    _TABLE[name] = Activation(
        name, rule, source, dict(parameters or {}), singular=singular, domain=domain, towers=derivatives
    )
    return _TABLE[name]


def _rule_from_ode(
    ode: Callable[[Series, Series], Series], primal: Callable[[Array, Any], Array]
) -> Callable[..., Pair]:
    def rule(u: Series, xp: Any) -> Pair:
        def slope(v: Series) -> Series:
            w = ode(v, u)
            return w if isinstance(w, Series) else Series([u[0] * 0 + w])

        return solve(u, primal(u[0], xp), slope)

    return rule


def _pair_from_derivatives(kind: Activation, u: Series, xp: Any, order: int) -> Pair:
    """v_k = Σ_{m≤k} f^(m)(u_0)/m! ((u − u_0)^m)_k, equation (5.4), and w likewise from f^(m+1)."""
    known: list[Array] = []

    def outer(m: int) -> Array:
        if len(known) <= m:
            # The user's function gives all orders at once: ask for what the jet needs, and for one more
            # only when w_n is wanted, for it may be a table that ends there.
            wanted = max(m, order)
            assert kind.towers is not None
            known[:] = kind.towers(u[0], wanted, xp)
            if len(known) <= wanted:
                raise ValueError(
                    f"derivatives(u0, {wanted}, xp) of {kind.name!r} returned {len(known)} entries; "
                    f"it must return {wanted + 1}: f(u0), f′(u0), …, f^({wanted})(u0)"
                )
        return known[m]

    # Without coefficient 0 the m-th power begins at order m, and on a line it has that term alone.
    powers = [Series([None], u.__getitem__)]

    def coefficient(k: int, shift: int) -> Array:
        if k == 0:
            return outer(shift)
        total = None
        for m in range(1, k + 1):
            if len(powers) < m:
                powers.append(powers[-1] * powers[0])
            if powers[m - 1][k] is not None:
                total = add(total, outer(m + shift) / float(math.factorial(m)) * powers[m - 1][k])
        return total

    return Series((), lambda k: coefficient(k, 0)), Series((), lambda k: coefficient(k, 1))
