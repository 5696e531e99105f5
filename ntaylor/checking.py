"""``check``: whether the derivatives of a user's own function are right, against an oracle that shares nothing.

Floor 8. Chooses the oracle, measures, and says what has no rule and where:

- a module or function of PyTorch or JAX: nested reverse mode of that library, to order 4 unless asked for more, for
  its cost is exponential in the order;
- an ``nt.MLP``, whose own gradients would repeat the error of a wrong rule, and functions of libraries without
  autograd: values alone, on a complex circle (Cauchy's integral), or by central differences where f takes no complex
  numbers.
"""

from __future__ import annotations

import math
import sysconfig
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy

from ntaylor import differentiate, value_oracles
from ntaylor.composites import Chain, Gated, Odd, Skip
from ntaylor.dispatch import adapter_for
from ntaylor.layers import Activate, Dense, FourierFeatures, Layer, Periodic, Scale
from ntaylor.namespace import (
    MissingRule,
    array_namespace,
    as_floating,
    check_order,
    describe,
    is_array,
    is_complex,
)
from ntaylor.networks import is_network

__all__ = ["Agreement", "check"]

Array = Any

_NESTED_ORDER = 4
_DIFFERENCES_ORDER = 6
_UNITS = 2**14
_WEAK = 1e-3


@dataclass(frozen=True)
class Agreement:
    """What :func:`check` found; printed, a table with a line an order.

    ``errors[k]`` is max |error| of derivative k over all points by its largest, ``tolerances[k]`` what the oracle
    allows there: 2¹⁴ units of rounding and ten times its own error. Both end at the highest order compared, and are
    empty where an operation has no rule.
    """

    subject: str
    oracle: str
    order: int
    """The highest derivative asked for."""
    errors: tuple[float, ...] = ()
    tolerances: tuple[float, ...] = ()
    gradient: tuple[float, float] | None = None
    """(error, allowed) of a network's gradient by its parameters, along one direction among them."""
    missing: str | None = None
    """What has no rule, in the words of the error."""
    where: str | None = None
    """The line of the function, and the layer, that needed it."""
    note: str | None = None
    """Why not every order was compared."""

    @property
    def compared(self) -> int:
        """The highest order compared, −1 if none was."""
        return len(self.errors) - 1

    @property
    def verdict(self) -> str:
        """``agrees``, ``disagrees``, ``no rule``, or ``not compared`` where the oracle could tell no derivative."""
        if self.missing is not None:
            return "no rule"
        pairs = [*zip(self.errors, self.tolerances, strict=True), *([self.gradient] if self.gradient else [])]
        if not all(error <= allowed for error, allowed in pairs):
            return "disagrees"
        return "agrees" if self.compared >= min(1, self.order) else "not compared"

    @property
    def ok(self) -> bool:
        """Whether every rule is there, some derivative was compared, and all that were agree."""
        return self.verdict == "agrees"

    def __str__(self) -> str:
        lines = [self.subject]
        if self.missing is not None:
            lines += [f"CANNOT BE DIFFERENTIATED: {self.missing}", *([f"needed by {self.where}"] if self.where else [])]
            return "\n".join(lines)
        lines.append(f"against {self.oracle}")
        if self.errors:
            lines += ["", "order    error  allowed"]
        for k, (error, allowed) in enumerate(zip(self.errors, self.tolerances, strict=True)):
            lines.append(f"{k:5}  {_figures(error, allowed)}")
        if self.gradient:
            lines.append(f" grad  {_figures(*self.gradient)}")
        if self.note:
            lines += ["", self.note]
        verdict = f"agrees to order {self.compared}" if self.ok else self.verdict.upper()
        return "\n".join([*lines, "", verdict])


def _figures(error: float, allowed: float) -> str:
    return f"{error:7.1e}  {allowed:7.1e}{'' if error <= allowed else '  DISAGREES'}"


def check(
    f: Callable[[Any], Any], x: Array, order: int = 4, direction: Array | None = None, *, limit: int | None = None
) -> Agreement:
    """Compare ``nt.derivatives(f, x, order, direction)`` with an oracle that shares nothing with it.

    Parameters
    ----------
    f, x, order, direction:
        as for :func:`ntaylor.derivatives`; a few points are enough.
    limit:
        the highest order to compare. Unless given, 4 for PyTorch and JAX, whose nested reverse mode costs
        exponentially more with every order; else as high as the oracle's own error allows.

    Returns
    -------
    Agreement
        with ``.ok``, ``.errors`` and ``.tolerances`` one an order, ``.oracle``, and where an operation or layer has no
        rule ``.missing`` and ``.where`` instead. ``print`` it.

    Raises
    ------
    TypeError, ValueError
        as :func:`ntaylor.derivatives` does for arguments that do not fit, where there are no points, and for a
        function whose value changes from call to call or is not finite; and whatever ``f(x)`` itself raises.
    """
    order = check_order(order)
    limit = None if limit is None else check_order(limit)
    if not callable(f):
        raise TypeError(f"f must be a function or a network, got {describe(f)}: call check(f, x, order)")
    x = f.point(x) if is_network(f) else as_floating(x, "x")  # type: ignore[attr-defined]
    if not math.prod(x.shape):
        raise ValueError(f"x is a {describe(x)}, which has no points to compare at: pass one or more")
    value = _usable_value(f, x)
    subject = f"{_name(f)} at x, {describe(x)}, to order {order}"
    try:
        jet = differentiate.jet(f, x, order, direction)
    except Exception as error:
        # Beside a rule that is missing, what f itself does that a jet cannot bear; a point outside a domain is a
        # refusal, and so is an argument that does not fit.
        if not isinstance(error, MissingRule) and (isinstance(error, ValueError) or not _where(error, f)):
            raise
        words = str(error) if isinstance(error, MissingRule) else f"{type(error).__name__}: {error}"
        return Agreement(subject, "", order, missing=words, where=_where(error, f))
    coefficients = [jet.primal, *(jet.primal * 0 if c is None else c for c in jet.series)]
    xp = array_namespace(x)
    along = xp.ones_like(x) if direction is None else direction
    highest = order if limit is None else min(order, limit)
    nested = adapter_for(x, value).nested
    gradient = None
    if is_network(f) and _on_numpy(f, numpy.float64) is not None:
        # Values on NumPy: neither the rules' slopes nor the backend's kernels and gradients have a part in them.
        ours = list(map(_host, coefficients))
        found = _against_values(lambda dtype: _on_numpy(f, dtype), _host(x), _host(along), highest, ours, jet.dtype)
        # Where no derivative could be told, as at a kink, neither can this.
        gradient = _gradient(f, x, along, min(order, _NESTED_ORDER)) if len(found[1]) > 1 else None
    elif nested is None:
        # A constant may be a Python number.
        found = _against_values(lambda _: lambda x: _array_of(f(x), x), x, along, highest, coefficients, jet.dtype)
    else:
        highest = min(order, _NESTED_ORDER) if limit is None else highest
        found = _against_nested(nested, f, x, along, highest, coefficients)
    oracle, errors, tolerances = found
    note = None
    if len(errors) <= highest:
        done = f"compared to order {len(errors) - 1} of {highest}: beyond it" if errors else "no order was compared:"
        note = f"{done} the oracle is not exact enough to tell"
    elif highest < order and limit is None:
        note = f"compared to order {highest} of {order}: each costs several times the last; limit={order} compares all"
    return Agreement(subject, oracle, order, tuple(errors), tuple(tolerances), gradient, note=note)


def _host(a: Array) -> numpy.ndarray:
    """An array of any library as one of NumPy in double precision."""
    xp = array_namespace(a)
    return numpy.asarray(xp.astype(a, _widest(xp, a)).tolist())


def _widest(xp: Any, a: Array) -> Any:
    """The double precision of a library, real or complex as ``a``; what it has where it has none."""
    return xp.complex128 if is_complex(a) else xp.float64


def _usable_value(f: Callable[[Any], Any], x: Array) -> Array:
    """f(x); ValueError where a second call gives another, or where it is not finite."""
    value, again = f(x), f(x)
    if is_array(value) and is_array(again) and tuple(value.shape) == tuple(again.shape):
        xp = array_namespace(value)
        if not bool(xp.all((value == again) | (value != value))):
            raise ValueError(
                "f(x) differs from call to call, so there is nothing to compare: take the randomness out, such as "
                "dropout by f.eval()"
            )
        floating = xp.isdtype(value.dtype, ("real floating", "complex floating"))
        if floating and not bool(xp.all(xp.isfinite(value))):
            raise ValueError("f(x) is not finite at some points, so there is nothing to compare: pass others")
    return value


def _array_of(value: Any, x: Array) -> Array:
    return value if is_array(value) else array_namespace(x).zeros_like(x) + value


# --- the oracles ------------------------------------------------------------------------------------


Found = tuple[str, list[float], list[float]]
"""(the oracle's name, errors, what is allowed), one an order."""


def _against_nested(
    nested: Callable[..., Array], f: Callable[[Any], Any], x: Array, along: Array, order: int, coefficients: list[Array]
) -> Found:
    exact = nested(f, x, order, along)
    errors = []
    scale = 0.0
    for k in range(order + 1):
        scale = _largest(exact[k, ...]) or scale  # of the highest order that is not zero
        errors.append(_ratio(_largest(coefficients[k] * float(math.factorial(k)) - exact[k, ...]), scale))
    library = array_namespace(x).__name__.removeprefix("array_api_compat.").partition(".")[0]
    allowed = _UNITS * float(array_namespace(exact).finfo(exact.dtype).eps)
    return f"nested reverse mode of {library}", errors, [allowed] * len(errors)


def _against_values(
    f_in: Callable[[Any], Callable[[Any], Any]],
    x: Array,
    along: Array,
    order: int,
    coefficients: list[Array],
    dtype: Any,
) -> Found:
    """``f_in(dtype)`` is f for arguments of that dtype."""
    oracle = "values on a complex circle (Cauchy's integral)"
    xp = array_namespace(x)
    scale = max(1.0, _largest(x)) / (_largest(along) or 1.0)
    real = not is_complex(coefficients[0])
    f = f_in(xp.float64)
    plane = xp.astype(x, xp.complex128)
    try:
        estimates = value_oracles.on_circles(lambda t: f(plane + t * along), order, scale, real)
    except Exception:  # whatever a function does that takes no complex numbers
        estimates = None
    if estimates is None:
        oracle = "central differences of values"
        order = min(order, value_oracles.DIFFERENCES_ORDER)
        points, line = x, along
        if isinstance(x, numpy.ndarray) and real:
            oracle += " in long double"
            points, line = (numpy.astype(a, numpy.longdouble) for a in (x, along))
            f = f_in(numpy.longdouble)
        eps = float(xp.finfo(f(points).dtype).eps)
        estimates = value_oracles.by_differences(lambda t: f(points + line * t), order, scale, eps)
    units = _UNITS * float(numpy.finfo(str(dtype).rpartition(".")[2]).eps)
    errors, tolerances = [], []
    for estimate, ours in zip(estimates or [], coefficients, strict=False):
        allowed = units + 10 * _ratio(estimate.error, estimate.size)
        if not allowed <= _WEAK + units:
            break
        errors.append(_ratio(_largest(ours - estimate.coefficient), estimate.size))
        tolerances.append(allowed)
    return oracle, errors, tolerances


def _gradient(network: Any, x: Array, along: Array, order: int) -> tuple[float, float] | None:
    """(error, allowed) of the derivative of a loss along one direction of the parameters, against its differences.

    The loss is ½ Σ_k Σ (s_k u_k)² with s_k = 1 / max |u_k|. A rule's slope w, which derivatives need not use, has a
    part in every gradient. None where there are no parameters, or differences cannot tell.
    """
    copy = _on_numpy(network, numpy.float64)
    points, line = _host(x), _host(along)
    rng = numpy.random.default_rng(0)
    steps = {name: rng.uniform(-1, 1, p.shape) for name, p in copy.parameters.items()}
    sizes = numpy.abs(differentiate.jet(copy, points, order, line).coefficients)
    scales = [1 / s if s else 1.0 for s in sizes.reshape(order + 1, -1).max(axis=1).tolist()]

    def loss(net: Any, x: Array, along: Array) -> Array:
        jet = differentiate.jet(net, x, order, along)
        terms = [c * s for c, s in zip([jet.primal, *jet.series], scales, strict=True) if c is not None]
        return sum(array_namespace(c).sum(c * c) for c in terms) / 2

    def moved(t: float) -> Array:
        return loss(copy.replace({name: p + t * steps[name] for name, p in copy.parameters.items()}), points, line)

    estimates = value_oracles.by_differences(moved, 1, 1.0, float(numpy.finfo(float).eps)) if steps else None
    if estimates is None:
        return None
    _, gradient = differentiate.value_and_grad(lambda p: loss(network.replace(p), x, along))(network.parameters)
    ours = sum(float(numpy.sum(_host(g) * steps[name])) for name, g in gradient.items())
    units = _UNITS * float(numpy.finfo(str(x.dtype).rpartition(".")[2]).eps)
    # What cancels in the sum along the direction is counted too.
    size = sum(float(numpy.sum(numpy.abs(_host(g) * steps[name]))) for name, g in gradient.items())
    allowed = units + 10 * _ratio(estimates[1].error, size)
    error = _ratio(abs(ours - float(estimates[1].coefficient)), size)
    return (error, allowed) if allowed <= _WEAK + units else None


def _ratio(a: float, b: float) -> float:
    """a / b for sizes, 0 where both are 0."""
    return 0.0 if a == 0 else a / b if b else math.inf


def _largest(array: Array) -> float:
    xp = array_namespace(array)
    if not math.prod(array.shape):
        return 0.0
    largest = xp.max(xp.abs(array))
    return float(largest.item() if hasattr(largest, "item") else largest)


def _on_numpy(network: Any, dtype: Any) -> Any:
    """The network with NumPy arrays of ``dtype``; None where it has layers that are not known here."""

    def array(a: Array) -> numpy.ndarray:
        return _host(a).astype(numpy.result_type(dtype, _host(a)) if is_complex(a) else dtype)

    def moved(layer: Layer) -> Layer:
        if type(layer) is Dense:
            return Dense(*map(array, layer.parameters.values()))
        if type(layer) is Activate:
            return Activate(layer.activation, {name: array(p) for name, p in layer.parameters.items()})
        if type(layer) is Scale:
            return Scale(array(layer.shift), array(layer.factor))
        if type(layer) is FourierFeatures:
            return FourierFeatures(array(layer.frequencies))
        if type(layer) is Periodic:
            return layer
        if type(layer) is Gated:
            first, second, *hidden = map(moved, layer.parts.values())
            return Gated(first, second, hidden)
        if isinstance(layer, Chain) and (type(layer) in (Chain, Odd, Skip) or is_network(layer)):
            return type(layer)([moved(part) for part in layer.layers])
        raise NotImplementedError

    try:
        return moved(network)
    except NotImplementedError:
        return None


# --- what has no rule, and where --------------------------------------------------------------------

_OURS = (str(Path(__file__).parent), str(Path(__file__).parent.parent / "ntaylor_backends"))


def _frames(error: BaseException) -> list[Any]:
    """(frame, line number) from ``check`` down to where it was raised."""
    return list(traceback.walk_tb(error.__traceback__))


def _where(error: BaseException, f: Any) -> str | None:
    """The last line of the user's own on the way, and the module of f that was running."""
    library = tuple({sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib")})
    found = []
    for summary in traceback.extract_tb(error.__traceback__):
        if not summary.filename.startswith((*_OURS, *library, "<frozen")):
            line = f": {summary.line}" if summary.line else ""
            found = [f"{Path(summary.filename).name}, line {summary.lineno}, in {summary.name}{line}"]
    children = dict(f.named_modules()) if hasattr(f, "named_modules") else {}
    names = {id(module): name for name, module in children.items() if name}
    for frame, _ in reversed(_frames(error)):
        name = names.get(id(frame.f_locals.get("self")))
        if name is not None:
            found.insert(0, f"layer {name!r}, {type(children[name]).__name__}")
            break
    return "; ".join(found) or None


def _name(f: Any) -> str:
    return str(getattr(f, "__name__", None) or type(f).__name__)
