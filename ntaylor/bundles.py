"""Coefficients along many directions that pass for one: jets along R directions share their primal.

Floor 2. The rules of jets multiply, add and map coefficients linearly; only the primal goes through anything else.
So R jets at one point are one jet, whose primal is a plain array and whose other coefficients are a ``Bundle``, one
array with the R directions in front that an operation takes for an array of the shape behind it. What does not depend
on the direction, f′(u_0) among it, is computed once.

**Collapsed** (arXiv 2505.13644). The top coefficient enters every rule linearly, with a factor that all directions
share: v_K,r = w_0 u_K,r + rest_r. Where only Σ_r ω_r v_K,r is wanted it is therefore carried as that sum, a ``Total``:
one array instead of R. A total added to a bundle sums the bundle; all else that is linear maps it as an array
(``docs/theory.md`` section 10).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from ntaylor.array_object import ArrayObject, Namespace, apply, function_of, objects_in, unwrapped_namespace
from ntaylor.blocks import Block
from ntaylor.dispatch import Adapter, adapter_for, serve
from ntaylor.namespace import MissingRule, hides_values, is_array, special
from ntaylor.series import Series, add, operator_of
from ntaylor.standard import EXTENSIONS

__all__ = ["Bundle", "Family", "Total", "collapsed", "of_family", "through"]

Array = Any


class Family(NamedTuple):
    """What the coefficients along R directions have in common."""

    size: int
    """R."""
    level: float
    """Below that of the jets whose coefficients they are."""
    order: int | None = None
    """The order from which coefficients are carried summed over the directions; None: none is."""
    weights: Array | None = None
    """ω_r of that sum, (R,); None: all 1."""
    weight: float = 0.0
    """Σ_r ω_r."""

    def total(self, stack: Array) -> Array:
        """Σ_r ω_r stack_r."""
        xp = unwrapped_namespace([stack])
        if self.weights is None:
            own = adapter_for(stack).total
            return xp.sum(stack, axis=0) if own is None else own(stack)
        weights = self.weights if self.weights.dtype == stack.dtype else xp.astype(self.weights, stack.dtype)
        return xp.reshape(weights @ xp.reshape(stack, (self.size, -1)), tuple(stack.shape[1:]))


_OPERATORS = {"sub": "subtract", "mul": "multiply", "truediv": "divide"}


class _Namespace(Namespace):
    """That of the arrays, whose every function bundles take: in the worst case direction by direction."""

    def __getattr__(self, name: str) -> Any:
        base = self.__dict__["_base"]
        if not (name in EXTENSIONS or name.startswith("_") or hasattr(base, name)):
            return special(base, name)  # which rules apply to primals
        return super().__getattr__(name)


class _Along(ArrayObject):
    """An array that holds what belongs to all directions of a family."""

    __slots__ = ("array", "family")

    def __init__(self, array: Array, family: Family):
        self.array = array
        self.family = family

    @property
    def level(self) -> float:  # type: ignore[override]
        """The family's."""
        return self.family.level

    @property
    def dtype(self) -> Any:
        return self.array.dtype

    @property
    def device(self) -> Any:
        return self.array.device

    def _mapped(self, function: Callable[[Any], Any]) -> Any:
        return type(self)(function(self.array), self.family)

    @classmethod
    def __torch_function__(cls, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        # For torch.compile, to which an operator with a tensor on either side is an operation on tensors.
        name, swapped = operator_of(function)
        if name == "matmul" and any(is_array(a) and hides_values(a) for a in args if not isinstance(a, _Along)):
            raise MissingRule("torch.compile swaps the operands of @ with coefficients of ours: write xp.matmul(a, b)")
        return apply(_OPERATORS.get(name, name), tuple(reversed(args)) if swapped else tuple(args), kwargs or {})

    def __array_namespace__(self, *, api_version: str | None = None) -> Namespace:
        return _Namespace(type(self), unwrapped_namespace([self.array]))

    @classmethod
    def _has_rule(cls, name: str) -> bool:
        return not name.startswith("numpy.")  # NumPy's own names: rules use the standard's

    @classmethod
    def _missing(cls, name: str) -> str:
        return f"no rule for {name!r} on coefficients along several directions"

    @classmethod
    def _apply(cls, name: str, args: tuple[Any, ...], kwargs: dict[str, Any], level: float) -> Any:
        family = next(a for a in objects_in((*args, *kwargs.values())) if a.level == level).family
        if any(isinstance(a, Total) and a.level == level for a in objects_in(args)):
            return _of_totals(name, args, kwargs, family)
        rule = _RULES.get(name)
        found = None if rule is None else rule(name, family, *args, **kwargs)
        if found is not None:
            return _wrapped(found, family, Bundle)
        return through(lambda *given: _plain(name, given, kwargs), args)


class Bundle(_Along):
    """R arrays of one shape, one a direction, (R, \\*shape) in memory, which pass for one array of that shape."""

    __slots__ = ()

    @property
    def shape(self) -> tuple[int, ...]:
        """That of each."""
        return tuple(self.array.shape[1:])

    @property
    def ndim(self) -> int:
        return int(self.array.ndim) - 1

    @property
    def _like(self) -> Array:
        return self.array[0, ...]

    def __repr__(self) -> str:
        return f"Bundle({self.family.size} of shape {self.shape})"

    def total(self) -> Total:
        """Their weighted sum."""
        return Total(self.family.total(self.array), self.family)


class Total(_Along):
    """Σ_r ω_r c_r of coefficients that are wanted as that sum only."""

    __slots__ = ()

    @property
    def _like(self) -> Array:
        return self.array

    def __repr__(self) -> str:
        return f"Total({self.family.size} of shape {self.shape})"


def collapsed(coefficients: Sequence[Any]) -> Sequence[Any]:
    """The coefficients 0, 1, …, those from the family's order on summed over its directions."""
    if isinstance(coefficients, Block):
        return coefficients
    return [
        c.total() if isinstance(c, Bundle) and c.family.order is not None and k >= c.family.order else c
        for k, c in enumerate(coefficients)
    ]


def of_family(c: Array, family: Family, k: int) -> Bundle | Total:
    """A coefficient of order k >= 1 as one along the directions of the family, summed from its order on."""
    if not (isinstance(c, (Bundle, Total)) and c.family is family):
        c = Bundle(unwrapped_namespace([c]).broadcast_to(c, (family.size, *c.shape)), family)
    return collapsed([None] * k + [c])[k]  # type: ignore[no-any-return]


class _AlongAdapter(Adapter):
    """Bundles of any library are served by the core's rules, whatever slots their library's adapter fills."""

    priority = 300

    def activate(
        self, activation: Any, u: Sequence[Any], order: int, parameters: Mapping[str, Any]
    ) -> tuple[list[Any], Callable[..., Any]]:
        """To second order f″(u_0) is made once, not once a direction, and meets the squares' sum: (10.2)."""
        if order != 2 or len(u) < 2 or not isinstance(u[1], Bundle):
            return activation.closed_form(u, order, parameters)  # type: ignore[no-any-return]
        xp = unwrapped_namespace([u[0], *parameters.values()])
        v, w, _ = activation.pair_unchecked(Series([u[0], xp.ones_like(u[0])]), xp, 2, parameters)
        slope, bend = w[0], w[1]
        second = None
        if bend is not None:
            square = u[1] * u[1]
            second = collapsed([None, None, square])[2] * (bend / 2)
        if len(u) > 2 and u[2] is not None:
            second = add(second, u[2] * slope)
        return [v[0], u[1] * slope, second], lambda *args, **options: activation.closed_form(u, order, parameters)[1](
            *args, **options
        )


serve(Bundle, _AlongAdapter())
serve(Total, _AlongAdapter())


def _plain(name: str, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    """The operation on arrays, or on objects of a lower level."""
    if any(True for _ in objects_in((*args, *kwargs.values()))):
        return apply(name, tuple(args), kwargs)
    if name == "getitem":
        return args[0][args[1]]
    return function_of(unwrapped_namespace(args), name)(*args, **kwargs)


def _replaced(values: Any, function: Callable[[_Along], Any]) -> Any:
    """``values``, lists in lists, with ``function`` of every object of a family in it."""
    if isinstance(values, _Along):
        return function(values)
    if isinstance(values, (list, tuple)) and any(isinstance(a, _Along) for a in objects_in(values)):
        return type(values)(_replaced(v, function) for v in values)
    return values


# --- totals -----------------------------------------------------------------------------------------

_JOINTLY = {"add": 0, "subtract": 0, "concat": 0, "stack": 0, "where": 1}
"""Linear in several arguments together, from this place on: there a constant is a term of every direction."""


def _of_totals(name: str, args: tuple[Any, ...], kwargs: dict[str, Any], family: Family) -> Any:
    if name in _JOINTLY:
        first = _JOINTLY[name]
        return Total(_plain(name, (*args[:first], *map(_summed_by(family), args[first:])), kwargs), family)
    if sum(isinstance(a, _Along) and a.family is family for a in objects_in(args)) > 1:
        raise MissingRule(f"{name} of two coefficients of which one is summed over the directions is not linear in it")
    return _wrapped(_plain(name, _replaced(args, lambda a: a.array), kwargs), family, Total)


def _summed_by(family: Family) -> Callable[[Any], Any]:
    def summed(value: Any) -> Any:
        if isinstance(value, (list, tuple)):
            return type(value)(map(summed, value))
        if isinstance(value, Total) and value.family is family:
            return value.array
        if isinstance(value, Bundle) and value.family is family:
            return family.total(value.array)
        return value * family.weight

    return summed


def _wrapped(result: Any, family: Family, kind: type[_Along]) -> Any:
    if isinstance(result, (list, tuple)):
        parts = [_wrapped(r, family, kind) for r in result]
        return type(result)(*parts) if hasattr(result, "_fields") else type(result)(parts)
    return kind(result, family)


def through(function: Callable[..., Any], args: Sequence[Any], jointly: Sequence[int] | None = None) -> Any:
    """``function(*args)``, a function of arrays, where some of the arguments belong to a family of directions.

    It is mapped over the directions as the arrays' library does it, or in a loop. A total goes through as it is: then
    the function is linear in it, together with the arguments at ``jointly``, each of which is summed. Without any of
    these it is called as it is.
    """
    some = next((a for a in objects_in(args) if isinstance(a, _Along)), None)
    if some is None:
        return function(*args)
    family = some.family
    if any(isinstance(a, Total) for a in objects_in(args)):
        if jointly is not None:
            summed = _summed_by(family)
            args = [summed(a) if i in jointly else a for i, a in enumerate(args)]
        return _wrapped(function(*_replaced(list(args), lambda a: a.array)), family, Total)
    stacks: list[Array] = []

    def noted(a: _Along) -> int:
        stacks.append(a.array)
        return len(stacks) - 1

    _replaced(list(args), noted)

    def of_one(*arrays: Array) -> Any:
        found = iter(arrays)
        return function(*_replaced(list(args), lambda _: next(found)))

    vmap = adapter_for(*stacks).vmap
    if vmap is not None:
        return _wrapped(vmap(of_one)(*stacks), family, Bundle)
    results = [of_one(*(stack[r, ...] for stack in stacks)) for r in range(family.size)]
    return _stacked(results, family)


def _stacked(results: list[Any], family: Family) -> Any:
    if isinstance(results[0], (list, tuple)):
        parts = [_stacked(list(column), family) for column in zip(*results, strict=True)]
        kind = type(results[0])
        return kind(*parts) if hasattr(results[0], "_fields") else kind(parts)
    return Bundle(unwrapped_namespace(results).stack(results), family)


# --- bundles: what needs no loop ---------------------------------------------------------------------


def _aligned(value: Any, ndim: int) -> Any:
    """With the directions in front of ``ndim`` axes."""
    if not isinstance(value, Bundle):
        return value
    stack = value.array
    missing = ndim + 1 - stack.ndim
    if not missing:
        return stack
    return unwrapped_namespace([stack]).reshape(stack, (stack.shape[0], *(1,) * missing, *stack.shape[1:]))


def _elementwise(name: str, family: Family, *args: Any, **kwargs: Any) -> Array:
    ndim = max(getattr(a, "ndim", 0) for a in args)
    return _plain(
        name, [_aligned(a, ndim) if isinstance(a, Bundle) else _beside(a, family, ndim) for a in args], kwargs
    )


def _beside(value: Any, family: Family, ndim: int) -> Any:
    """What all directions share, as the library's own products with theirs want it."""
    spread = adapter_for(value).spread if is_array(value) and value.ndim else None
    if spread is None:
        return value
    axes = (1,) * (ndim - value.ndim)
    return spread(unwrapped_namespace([value]).reshape(value, (*axes, *value.shape)) if axes else value, family.size)


def _shifted(axis: Any, ndim: int) -> Any:
    """An axis, or several, of the shape behind the directions; None is all."""
    if axis is None:
        return tuple(range(1, ndim + 1))
    if isinstance(axis, (tuple, list)):
        return tuple(_shifted(a, ndim) for a in axis)
    return axis + 1 if axis >= 0 else axis


def _along_axis(name: str, family: Family, u: Any, /, *args: Any, axis: Any = None, **kwargs: Any) -> Array | None:
    if not isinstance(u, Bundle) or any(True for _ in objects_in((*args, *kwargs.values()))):
        return None
    if axis is None and name != "sum" and name != "mean" and u.ndim != 1:
        return None
    axis = _shifted(axis, u.ndim)
    if name in ("cumulative_sum", "cumulative_prod", "take", "diff") and isinstance(axis, tuple):
        (axis,) = axis
    return _plain(name, (u.array, *args), {**kwargs, "axis": axis})


def _reshape(name: str, family: Family, u: Bundle, /, shape: Any, **kwargs: Any) -> Array:
    shape = (shape,) if isinstance(shape, int) else tuple(shape)
    if -1 in shape:
        known = -math.prod(shape)
        shape = tuple(math.prod(u.shape) // known if s == -1 and known else s for s in shape)
    return _plain(name, (u.array, (family.size, *shape)), kwargs)


def _broadcast_to(name: str, family: Family, u: Bundle, /, shape: Any) -> Array:
    shape = tuple(shape)
    return _plain(name, (_aligned(u, len(shape)), (family.size, *shape)), {})


def _expand_dims(name: str, family: Family, u: Bundle, /, axis: Any = 0) -> Array:
    return _plain(name, (u.array,), {"axis": _shifted(axis, u.ndim)})


def _permute_dims(name: str, family: Family, u: Bundle, /, axes: Any) -> Array:
    return _plain(name, (u.array, (0, *(a % u.ndim + 1 for a in axes))), {})


def _moveaxis(name: str, family: Family, u: Bundle, /, source: Any, destination: Any) -> Array:
    # torch.func.vmap cannot follow moveaxis.
    return _plain(name, (u.array, _shifted(source, u.ndim), _shifted(destination, u.ndim)), {})


def _unstack(name: str, family: Family, u: Bundle, /, *, axis: int = 0) -> list[Array]:
    before = (slice(None),) * (axis % u.ndim + 1)
    return [u.array[(*before, i)] for i in range(u.shape[axis])]


def _vecdot(name: str, family: Family, u: Any, v: Any, /, *, axis: int = -1) -> Array | None:
    # The axis counts from behind in both, which need not have as many in front.
    return _elementwise(name, family, u, v, axis=axis) if axis < 0 else None


def _joined(name: str, family: Family, arrays: Any, /, *, axis: Any = 0) -> Array | None:
    if axis is None:
        return None

    def stacked(a: Any) -> Array:
        if isinstance(a, Bundle):
            return a.array
        return unwrapped_namespace([a]).broadcast_to(a, (family.size, *a.shape))

    return _plain(name, ([stacked(a) for a in arrays],), {"axis": _shifted(axis, 0)})


def _where(name: str, family: Family, condition: Any, u: Any, v: Any, /) -> Array:
    return _elementwise(name, family, condition, u, v)


def _matmul(name: str, family: Family, u: Any, v: Any, /) -> Array | None:
    # With a vector among them, or a bundle under more axes than it has, the directions would be taken for rows.
    if u.ndim < 2 or v.ndim < 2:
        if isinstance(u, Bundle) and u.ndim == 1 and not isinstance(v, Bundle) and v.ndim == 2:
            return u.array @ v
        return None
    if isinstance(u, Bundle) and not isinstance(v, Bundle) and v.ndim == 2:
        # One product of all rows of all directions.
        xp, shape = unwrapped_namespace([u.array, v]), u.array.shape
        return xp.reshape(xp.reshape(u.array, (-1, shape[-1])) @ v, (*shape[:-1], v.shape[-1]))
    ndim = max(u.ndim, v.ndim)
    return _aligned(u, ndim) @ _aligned(v, ndim)


def _getitem(name: str, family: Family, u: Bundle, key: Any, /) -> Array | None:
    keys = key if isinstance(key, tuple) else (key,)
    arrays = sum(is_array(part) for part in keys)
    # NumPy puts what several arrays and integers choose in front where a slice parts them.
    if arrays > 1 or (arrays and any(isinstance(part, int) for part in keys)):
        return None
    return u.array[(slice(None), *keys)]


def _as_it_is(name: str, family: Family, u: Bundle, /, *args: Any, **kwargs: Any) -> Array:
    return _plain(name, (u.array, *args), kwargs)


_RULES: dict[str, Callable[..., Array | list[Array] | None]] = {
    **dict.fromkeys("add subtract multiply divide negative positive real imag conj".split(), _elementwise),  # noqa: SIM905
    **dict.fromkeys("sum mean cumulative_sum flip roll take squeeze diff".split(), _along_axis),  # noqa: SIM905
    **dict.fromkeys("astype zeros_like matrix_transpose tril triu".split(), _as_it_is),  # noqa: SIM905
    **dict.fromkeys(("concat", "stack"), _joined),
    "broadcast_to": _broadcast_to,
    "expand_dims": _expand_dims,
    "getitem": _getitem,
    "matmul": _matmul,
    "moveaxis": _moveaxis,
    "permute_dims": _permute_dims,
    "reshape": _reshape,
    "unstack": _unstack,
    "vecdot": _vecdot,
    "where": _where,
}
"""Operation → the stack of the results, or None where it goes direction by direction."""
