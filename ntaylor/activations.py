"""Univariate functions as pair rules: a table name → rule, domain, source.

Floor 2. A pair rule takes the series u and returns ``(v, w)``, the series of f(u) and of f′(u), as
Taylor coefficients; that pair is all that forward, JVP and VJP need (``docs/theory.md`` section 3).
The same table serves network layers, jets of any function, and gradients.

Register your own, from whichever you have::

    nt.activations.register("cube_root", primal=lambda u, xp: xp.pow(u, 1 / 3), ode=lambda v, u: v / (3 * u))
    nt.activations.register("bump", pair=lambda u, xp: ...)
    nt.activations.register("j0", derivatives=lambda u0, order, xp: [...])
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from ntaylor.faa_di_bruno import tower
from ntaylor.namespace import any_true, near_names, special
from ntaylor.series import Series, add, cosh_sinh, integrate, select, sin_cos, solve, square_root

__all__ = ["Activation", "elu", "get", "names", "power", "register", "relu_power"]

Array = Any
Pair = tuple[Series, Series]


@dataclass(frozen=True)
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
    towers: Callable[[Array, int, Any], Sequence[Array]] | None = None
    """(u0, order, xp) -> f^(m)(u0), m = 0..order, for the published algorithm, where known exactly."""

    def pair(self, u: Series, xp: Any, order: int, **parameters: Array) -> tuple[Series, Series, dict[str, Series]]:
        """(v, w, partials) along ``u``; ValueError where f is not differentiable to ``order``."""
        if self.singular is not None and order > 0 and any_true(self.singular(u[0], xp)):
            raise ValueError(
                f"{self.name} is not differentiable to order {order} at some of these points: it needs "
                f"{self.domain}. Keep the argument inside that domain, or ask for order=0"
            )
        if self.rule is None:
            return *_pair_from_derivatives(self, u, xp, order), {}
        found = self.rule(u, xp, **{**self.parameters, **parameters})
        kinds = [type(s).__name__ for s in found] if isinstance(found, tuple) else type(found).__name__
        if kinds not in (["Series"] * 2, ["Series"] * 2 + ["dict"]):
            raise TypeError(
                f"the rule of {self.name} must return (v, w) or (v, w, partials): two Series, and a dict of name → "
                f"Series; it returned {kinds}"
            )
        v, w, *partials = found
        return v, w, partials[0] if partials else {}


# --- the rules ----------------------------------------------------------------------------------
# Each is its differential equation. Where the closing relation would cancel in coefficient 0, the
# accurate value is passed as w0 (see ``series.solve``).


def _tanh(u: Series, xp: Any) -> Pair:
    decay = xp.exp(-2 * xp.abs(u[0]))
    sech_squared = 4 * decay / ((1 + decay) * (1 + decay))
    return solve(u, xp.tanh(u[0]), lambda v: 1 - v * v, w0=sech_squared)


def _sigmoid(u: Series, xp: Any) -> Pair:
    # About its centre, c = σ − 1/2 = tanh(u/2)/2, so that w = 1/4 − c². In w = σ − σ² the two terms of
    # every w_k, v_k and 2 σ_0 v_k, cancel where u is small; here the factor c_0 is small and accurate.
    decay = xp.exp(-xp.abs(u[0]))
    value = xp.where(u[0] < 0, decay, decay * 0 + 1) / (1 + decay)
    sech_squared = decay / ((1 + decay) * (1 + decay))
    c, w = solve(u, xp.tanh(u[0] / 2) / 2, lambda c: 0.25 - c * c, w0=sech_squared)
    return _with_value(c, value), w


def _exp(u: Series, xp: Any) -> Pair:
    return solve(u, xp.exp(u[0]), lambda v: v)


def _expm1(u: Series, xp: Any) -> Pair:
    _, w = _exp(u, xp)
    return _with_value(w, xp.expm1(u[0])), w


def _sin(u: Series, xp: Any) -> Pair:
    return sin_cos(u, xp.sin(u[0]), xp.cos(u[0]))


def _cos(u: Series, xp: Any) -> Pair:
    sine, cosine = _sin(u, xp)
    return cosine, -sine


def _tan(u: Series, xp: Any) -> Pair:
    return solve(u, xp.tan(u[0]), lambda v: 1 + v * v)


def _sinh(u: Series, xp: Any) -> Pair:
    cosine, sine = cosh_sinh(u, xp.cosh(u[0]), xp.sinh(u[0]))
    return sine, cosine


def _cosh(u: Series, xp: Any) -> Pair:
    return cosh_sinh(u, xp.cosh(u[0]), xp.sinh(u[0]))


def _softplus(u: Series, xp: Any) -> Pair:
    w, _ = _sigmoid(u, xp)
    value = xp.where(u[0] > 0, u[0], u[0] * 0) + xp.log1p(xp.exp(-xp.abs(u[0])))
    return integrate(w * u.derivative(), value), w


def _silu(u: Series, xp: Any) -> Pair:
    s, slope = _sigmoid(u, xp)
    return u * s, s + u * slope


def _gaussian(u: Series, xp: Any) -> Pair:
    return solve(u, xp.exp(-u[0] * u[0]), lambda v: -2 * (u * v))


def _erf(u: Series, xp: Any) -> Pair:
    bell, _ = _gaussian(u, xp)
    w = bell * (2 / math.sqrt(math.pi))
    return integrate(w * u.derivative(), special(xp, "erf")(u[0])), w


def _normal_cdf(u: Series, xp: Any) -> Pair:
    # ndtr, not (1 + erf)/2, which has no correct digit left at u = -8.3.
    density = xp.exp(-u[0] * u[0] / 2) * (1 / math.sqrt(2 * math.pi))
    w, _ = solve(u, density, lambda phi: -(u * phi))
    return integrate(w * u.derivative(), special(xp, "ndtr")(u[0])), w


def _gelu(u: Series, xp: Any) -> Pair:
    cdf, density = _normal_cdf(u, xp)
    return u * cdf, cdf + u * density


def _gelu_tanh(u: Series, xp: Any) -> Pair:
    # u (1 + tanh z)/2 = u · sigmoid(2z), which keeps its digits where tanh z is near -1.
    u_squared = u * u
    twice_z = (u + 0.044715 * (u_squared * u)) * (2 * math.sqrt(2 / math.pi))
    gate, gate_slope = _sigmoid(twice_z, xp)
    dz = (1 + (3 * 0.044715) * u_squared) * (2 * math.sqrt(2 / math.pi))
    return u * gate, gate + u * gate_slope * dz


def _mish(u: Series, xp: Any) -> Pair:
    s, slope = _softplus(u, xp)
    t, t_slope = _tanh(s, xp)
    return u * t, t + u * (t_slope * slope)


def _atan(u: Series, xp: Any) -> Pair:
    w = 1 / (1 + u * u)
    return integrate(u.derivative() / (1 + u * u), xp.atan(u[0])), w


def _inverse_root(d: Series, xp: Any) -> Series:
    """d^(−1/2) by equation (4.9), O(n) on a line where d has three terms; 1/√d would cost O(n²) there.

    And √d has cancelling coefficients where d is nearly a square, as 1 + u² is for large u.
    """

    @cache
    def solution() -> Series:
        return solve(d, 1 / xp.sqrt(d[0]), lambda w: -0.5 * w / d)[0]

    # Made when first asked for: at the end of a domain the value is wanted, and this has none.
    return Series((), lambda k: solution()[k])


def _one_minus_square(u: Series) -> Series:
    # Coefficient 0 as (1 − u)(1 + u), for 1 − u² cancels near the ends of the domain; the others as those of
    # −u², for in the product the terms of the first, u_1 (1 − u_0) and u_1 (1 + u_0), cancel for small u.
    return _with_value(-(u * u), (1 - u[0]) * (1 + u[0]))


def _asin(u: Series, xp: Any) -> Pair:
    w = _inverse_root(_one_minus_square(u), xp)
    return integrate(w * u.derivative(), xp.asin(u[0])), w


def _acos(u: Series, xp: Any) -> Pair:
    _, w = _asin(u, xp)
    return integrate(-(w * u.derivative()), xp.acos(u[0])), -w


def _asinh(u: Series, xp: Any) -> Pair:
    w = _inverse_root(1 + u * u, xp)
    return integrate(w * u.derivative(), xp.asinh(u[0])), w


def _acosh(u: Series, xp: Any) -> Pair:
    w = _inverse_root(-_one_minus_square(u), xp)
    return integrate(w * u.derivative(), xp.acosh(u[0])), w


def _atanh(u: Series, xp: Any) -> Pair:
    denominator = _one_minus_square(u)
    return integrate(u.derivative() / denominator, xp.atanh(u[0])), 1 / denominator


def _log(u: Series, xp: Any) -> Pair:
    return integrate(u.derivative() / u, xp.log(u[0])), 1 / u


def _log1p(u: Series, xp: Any) -> Pair:
    return integrate(u.derivative() / (1 + u), xp.log1p(u[0])), 1 / (1 + u)


def _scaled_log(base_name: str, base: float) -> Callable[..., Pair]:
    def rule(u: Series, xp: Any) -> Pair:
        v, w = _log(u, xp)
        return _with_value(v * (1 / math.log(base)), getattr(xp, base_name)(u[0])), w * (1 / math.log(base))

    return rule


def _sqrt(u: Series, xp: Any) -> Pair:
    v = square_root(u, xp.sqrt(u[0]))
    return v, 0.5 / v


def _reciprocal(u: Series, xp: Any) -> Pair:
    v = 1 / u
    return v, -(v * v)


def _square(u: Series, xp: Any) -> Pair:
    return u * u, 2 * u


def _softsign(u: Series, xp: Any) -> Pair:
    # v from its derivative: in the quotient u/(1 + |u|) the terms of v_1, u_1 and v_0 u_1, cancel for large
    # u, and in 1 − 1/(1 + |u|) the terms of v_0 for small u.
    inverse = 1 / (1 + select(xp.where, u[0] >= 0, u, -u))
    w = inverse * inverse
    return integrate(w * u.derivative(), u[0] / (1 + xp.abs(u[0]))), w


def _snake(u: Series, xp: Any, a: Array) -> tuple[Series, Series, dict[str, Series]]:
    # sin² = (1 − cos 2au)/2 spares the products; its coefficient 0 is the square, which does not cancel.
    sine, cosine = _sin(u * (2 * a), xp)
    root = xp.sin(u[0] * a)
    sine_squared = _with_value(-0.5 * cosine, root * root)
    v = u + sine_squared * (1 / a)
    return v, 1 + sine, {"a": u * sine * (1 / a) - sine_squared * (1 / (a * a))}


def _adaptive_tanh(u: Series, xp: Any, a: Array) -> tuple[Series, Series, dict[str, Series]]:
    v, w = _tanh(u * a, xp)
    return v, w * a, {"a": u * w}


def _with_value(v: Series, value: Array) -> Series:
    """``v`` with its coefficient 0 replaced by a more accurate one."""
    return Series([value], v.__getitem__)


def relu_power(p: int) -> Activation:
    """max(u, 0)^p for a whole p >= 1, piecewise: p = 1 is ReLU.

    At the kink u = 0 all derivatives are those of the left branch, 0; derivatives of order below p
    are continuous there, so this is a convention for orders >= p only (torch's and JAX's for p = 1).
    """
    if not isinstance(p, int) or isinstance(p, bool) or p < 1:
        raise ValueError(f"relu_power takes a whole power >= 1, got {p!r}; use activations.power for others")

    def rule(u: Series, xp: Any) -> Pair:
        active = u[0] > 0
        zero = Series([u[0] * 0])
        one = Series([u[0] * 0 + 1])
        # The power of the other branch is clipped so that it cannot overflow where unused.
        clipped = _with_value(u, xp.where(active, u[0], u[0] * 0))
        slope = one if p == 1 else p * clipped ** (p - 1)
        return select(xp.where, active, clipped**p, zero), select(xp.where, active, slope, zero)

    return Activation("relu" if p == 1 else f"relu{p}", rule, "theory.md (4.12), piecewise")


def elu(alpha: float = 1.0) -> Activation:
    """u for u > 0, α(e^u − 1) otherwise (Clevert, Unterthiner, Hochreiter 2015).

    At the kink u = 0 the derivatives are those of the left branch; for α = 1 the first is continuous.
    """

    def rule(u: Series, xp: Any) -> Pair:
        positive = u[0] > 0
        # The exponential of the other branch is clipped so that it cannot overflow where unused.
        clipped = _with_value(u, xp.where(positive, u[0] * 0, u[0]))
        v, w = _expm1(clipped, xp)
        one = Series([u[0] * 0 + 1])
        return select(xp.where, positive, u, v * alpha), select(xp.where, positive, one, w * alpha)

    return Activation("elu", rule, "theory.md (4.12), piecewise")


def power(p: float) -> Activation:
    """u^p. Whole p >= 0 holds everywhere, negative whole p needs u ≠ 0, any other p needs u > 0."""
    if not isinstance(p, (int, float)) or isinstance(p, bool):
        raise TypeError(f"power takes a Python number as exponent, got {type(p).__name__}")
    if float(p).is_integer() and p >= 0:
        return _whole_power(int(p))
    whole = float(p).is_integer()

    def rule(u: Series, xp: Any) -> Pair:
        v0 = xp.pow(u[0], u[0] * 0 + p)
        return solve(u, v0, lambda v: p * v / u)

    return Activation(
        f"power({p})",
        rule,
        "theory.md (4.9)",
        singular=(lambda u0, _: u0 == 0) if whole else (lambda u0, _: u0 <= 0),
        domain="u ≠ 0" if whole else "u > 0",
    )


def _whole_power(p: int) -> Activation:
    def rule(u: Series, xp: Any) -> Pair:
        if p == 0:
            return Series([u[0] * 0 + 1]), Series([u[0] * 0])
        return u**p, Series([u[0] * 0 + 1]) if p == 1 else p * u ** (p - 1)

    return Activation(f"power({p})", rule, "theory.md (2.1)")


def _polynomial_tower(name: str, slope: tuple[int, ...]) -> Callable[[Array, int, Any], Sequence[Array]]:
    def towers(u0: Array, order: int, xp: Any) -> Sequence[Array]:
        value, _, _ = get(name).pair(Series([u0]), xp, 0)
        return tower(value[0], slope, order)

    return towers


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


_enter("tanh", _tanh, "(4.1)", towers=_polynomial_tower("tanh", (1, 0, -1)))
_enter("sigmoid", _sigmoid, "(4.2)", towers=_sigmoid_tower)
_enter("exp", _exp, "(4.3)", towers=_polynomial_tower("exp", (0, 1)))
_enter("expm1", _expm1, "(4.3)")
_enter("sin", _sin, "(2.4)", towers=_sin_tower)
_enter("cos", _cos, "(2.4)")
_enter("tan", _tan, "(4.1)", towers=_polynomial_tower("tan", (1, 0, 1)))
_enter("sinh", _sinh, "(2.4)")
_enter("cosh", _cosh, "(2.4)")
_enter("softplus", _softplus, "(4.4)")
_enter("silu", _silu, "(4.5)")
_enter("gaussian", _gaussian, "(4.6), exp(-u²)")
_enter("erf", _erf, "(4.6)")
_enter("ndtr", _normal_cdf, "(4.6), the normal distribution function")
_enter("gelu", _gelu, "(4.7), u Φ(u)")
_enter("gelu_tanh", _gelu_tanh, "(4.7), the tanh form")
_enter("mish", _mish, "(4.5), u tanh(softplus u)")
_enter("atan", _atan, "(4.8)")
_enter("asinh", _asinh, "(4.8)")
_enter("softsign", _softsign, "(4.10), u/(1+|u|), piecewise (4.12): at 0 the right branch from order 2 up")
_enter("square", _square, "(2.1)")
_enter("snake", _snake, "(4.11), u + sin²(a u)/a, learnable a", parameters={"a": 1.0})
_enter("adaptive_tanh", _adaptive_tanh, "(4.11), tanh(a u), learnable a", parameters={"a": 1.0})
_enter("asin", _asin, "(4.8)", singular=lambda u0, xp: xp.abs(u0) >= 1, domain="|u| < 1")
_enter("acos", _acos, "(4.8)", singular=lambda u0, xp: xp.abs(u0) >= 1, domain="|u| < 1")
_enter("atanh", _atanh, "(4.8)", singular=lambda u0, xp: xp.abs(u0) >= 1, domain="|u| < 1")
_enter("acosh", _acosh, "(4.8)", singular=lambda u0, _: u0 <= 1, domain="u > 1")
_enter("log", _log, "(4.8)", singular=lambda u0, _: u0 <= 0, domain="u > 0")
_enter("log1p", _log1p, "(4.8)", singular=lambda u0, _: u0 <= -1, domain="u > -1")
_enter("log2", _scaled_log("log2", 2), "(4.8)", singular=lambda u0, _: u0 <= 0, domain="u > 0")
_enter("log10", _scaled_log("log10", 10), "(4.8)", singular=lambda u0, _: u0 <= 0, domain="u > 0")
_enter("sqrt", _sqrt, "(2.5)", singular=lambda u0, _: u0 <= 0, domain="u > 0")
_enter("reciprocal", _reciprocal, "(2.2)", singular=lambda u0, _: u0 == 0, domain="u ≠ 0")
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

    Raises ValueError for a name that is taken (unless ``replace=True``) and for anything but exactly one
    description.
    """
    if name in _TABLE and not replace:
        raise ValueError(f"activation {name!r} exists; choose another name or pass replace=True")
    given = [kind for kind, value in {"pair": pair, "ode": ode, "derivatives": derivatives}.items() if value]
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
