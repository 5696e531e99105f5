"""Reverse mode for namespaces that have none: NumPy, CuPy, and any other of the array API.

Floor 4. A ``Variable`` is an array object that remembers how it was made. ``value_and_grad`` wraps the
parameters, calls the loss, and sweeps back once. Whole networks and activations are single nodes
whose adjoints are the closed forms of ``layers`` and ``series``; here stand only the transposes of the
array operations that a loss is built from. An operation without a transpose is refused by name.
"""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from ntaylor import activations
from ntaylor.array_object import ArrayObject, unwrapped_namespace
from ntaylor.dispatch import Adapter, serve
from ntaylor.namespace import array_namespace, is_array, near_names, sum_to_shape
from ntaylor.series import Series, correlate

__all__ = ["Variable", "sweep", "value_and_grad"]

Array = Any
Pullback = Callable[[Sequence[Array | None]], Sequence[Array | None]]


class Node:
    """One recorded operation: what it came from and how cotangents go back through it."""

    __slots__ = ("number", "parents", "pullback", "outputs")
    _numbers = itertools.count()

    def __init__(self, parents: Sequence[Any], pullback: Pullback | None, outputs: int):
        # Numbered in the order of making, so that descending numbers are a reverse topological order.
        self.number = next(self._numbers)
        self.parents = [p if isinstance(p, Variable) else None for p in parents]
        self.pullback = pullback
        self.outputs = outputs


class Variable(ArrayObject):
    """An array whose dependence on the parameters is recorded."""

    __slots__ = ("index", "node", "value")

    def __init__(self, value: Array, node: Node | None = None, index: int = 0):
        self.value = value
        self.node = Node((), None, 1) if node is None else node
        self.index = index

    def __repr__(self) -> str:
        return f"Variable({self.value!r})"

    @property
    def _like(self) -> Array:
        return self.value

    @classmethod
    def _has_rule(cls, name: str) -> bool:
        return name in _RULES or name in _CONSTANT or name in activations.names

    @classmethod
    def _missing(cls, name: str) -> str:
        known = [*_RULES, *_CONSTANT, *activations.names]
        return (
            f"no gradient for {name!r} in nt.value_and_grad: {near_names(name, known)}. Build the loss from "
            "these, or compute this part outside the loss if it does not depend on the parameters"
        )

    @classmethod
    def _apply(cls, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        values = [_value(a) for a in args]
        if name in _CONSTANT:
            return getattr(array_namespace(*values), name)(*values, **kwargs)
        if name in _RULES:
            xp = array_namespace(*_flat(values))
            result, pullback = _RULES[name](xp, *values, **{k: _value(v) for k, v in kwargs.items()})
            parents = list(args[0]) if isinstance(args[0], (list, tuple)) else list(args)
            return record(result, parents, pullback)
        return activate(activations.get(name), args, 0, {})[0]


def _value(a: Any) -> Any:
    if isinstance(a, Variable):
        return a.value
    return [_value(b) for b in a] if isinstance(a, list) or (type(a) is tuple and _has_variable(a)) else a


def _has_variable(values: Iterable[Any]) -> bool:
    return any(isinstance(v, Variable) for v in values)


def _flat(values: Iterable[Any]) -> Iterable[Any]:
    for v in values:
        if isinstance(v, list):
            yield from _flat(v)
        elif is_array(v):
            yield v


def record(result: Any, parents: Sequence[Any], pullback: Pullback) -> Any:
    """Variables for ``result``, an array or a list of them, that remember ``parents`` and ``pullback``.

    ``pullback`` takes one cotangent (or None) an output and returns one (or None) a parent.
    """
    if isinstance(result, (list, tuple)):
        node = Node(parents, pullback, len(result))
        return [None if r is None else Variable(r, node, i) for i, r in enumerate(result)]
    return Variable(result, Node(parents, pullback, 1), 0)


def sweep(outputs: Sequence[Variable], cotangents: Sequence[Array], leaves: Sequence[Variable]) -> list[Array | None]:
    """Cotangents of ``leaves`` from those of ``outputs``: one pass back over what was recorded."""
    gathered: dict[Node, list[Array | None]] = {}
    waiting: list[tuple[int, Node]] = []

    def give(variable: Variable, cotangent: Array) -> None:
        node = variable.node
        if node not in gathered:
            gathered[node] = [None] * node.outputs
            heapq.heappush(waiting, (-node.number, node))
        slot = gathered[node]
        slot[variable.index] = cotangent if slot[variable.index] is None else slot[variable.index] + cotangent

    for variable, cotangent in zip(outputs, cotangents, strict=True):
        give(variable, cotangent)
    kept = {leaf.node for leaf in leaves}
    while waiting:
        node = heapq.heappop(waiting)[1]
        if node.pullback is None:
            continue
        of_outputs = gathered[node] if node in kept else gathered.pop(node)
        for parent, cotangent in zip(node.parents, node.pullback(of_outputs), strict=False):
            if parent is not None and cotangent is not None:
                give(parent, cotangent)
    return [gathered[leaf.node][leaf.index] if leaf.node in gathered else None for leaf in leaves]


def value_and_grad(loss: Callable[[Any], Any], parameters: Any) -> tuple[Any, Any]:
    """The value of ``loss(parameters)`` and its gradient, shaped as ``parameters``.

    ``loss`` may return (value, auxiliary); then ((value, auxiliary), gradient) comes back.
    """
    leaves: list[Variable] = []

    def wrap(array: Array) -> Variable:
        leaves.append(Variable(array))
        return leaves[-1]

    result = loss(map_leaves(wrap, parameters))
    value, auxiliary = result if isinstance(result, tuple) else (result, None)
    if not isinstance(value, Variable):
        raise ValueError(
            f"the loss gave a {type(value).__name__} that does not depend on the parameters: use the parameters "
            "it is given, as in nt.derivatives(net.replace(parameters), x, order), and array operations on them"
        )
    if value.size != 1:
        raise ValueError(f"the loss must be a scalar, it has shape {value.shape}: end it with xp.mean(…) or xp.sum(…)")
    xp = array_namespace(value.value)
    found = iter(sweep([value], [xp.ones_like(value.value)], leaves))
    of_leaves = iter(leaves)

    def gradient(_: Array) -> Array:
        cotangent, leaf = next(found), next(of_leaves)
        return xp.zeros_like(leaf.value) if cotangent is None else cotangent

    plain = map_leaves(_value, auxiliary, any_leaf=True)
    return (value.value if auxiliary is None else (value.value, plain)), map_leaves(gradient, parameters)


def map_leaves(function: Callable[[Any], Any], tree: Any, *, any_leaf: bool = False) -> Any:
    """``tree`` of dicts, lists, tuples and None with ``function`` applied to every array in it."""
    if tree is None:
        return None
    if isinstance(tree, Mapping):
        return {key: map_leaves(function, value, any_leaf=any_leaf) for key, value in tree.items()}
    if isinstance(tree, (list, tuple)):
        mapped = [map_leaves(function, value, any_leaf=any_leaf) for value in tree]
        return type(tree)(*mapped) if hasattr(tree, "_fields") else type(tree)(mapped)
    if not any_leaf and not is_array(tree):
        raise TypeError(
            f"parameters must be arrays in dicts, lists or tuples; found a {type(tree).__name__}: "
            "pass a 0-d array for a number, such as xp.asarray(0.5)"
        )
    return function(tree)


# --- nodes with closed-form adjoints --------------------------------------------------------------


def activate(
    activation: activations.Activation, u: Sequence[Any], order: int, parameters: Mapping[str, Any]
) -> list[Any]:
    """f along the coefficients ``u`` as one node: the pair rule forward, its correlation back."""
    values = [_value(c) for c in u]
    named = {name: _value(p) for name, p in parameters.items()}
    xp = unwrapped_namespace([*values, *named.values()])
    v, w, partials = activation.pair(Series(values), xp, order, **named)

    def pullback(cotangent: Sequence[Array | None]) -> list[Array | None]:
        of_u = correlate(cotangent, w, len(values))
        shaped = [None if c is None or x is None else sum_to_shape(c, x.shape) for c, x in zip(of_u, values, strict=True)]
        for name, parameter in named.items():
            pairs = [(c, partials[name][k]) for k, c in enumerate(cotangent)]
            total = sum(c * q for c, q in pairs if c is not None and q is not None)
            shaped.append(sum_to_shape(total, parameter.shape) if is_array(total) else None)
        return shaped

    return record(v.truncated(order), [*u, *parameters.values()], pullback)  # type: ignore[no-any-return]


def propagate(network: Any, u: Sequence[Any], order: int) -> list[Any]:
    """A whole network as one node, with the adjoint that its layers give."""
    names = list(network.parameters)
    plain = network.replace({name: _value(network.parameters[name]) for name in names})
    v, network_pullback = plain.push([_value(c) for c in u], order)

    def pullback(cotangent: Sequence[Array | None]) -> list[Array | None]:
        of_u, gradients = network_pullback(list(cotangent))
        of_u = [*of_u, *[None] * (len(u) - len(of_u))]
        return [*of_u, *(gradients[name] for name in names)]

    return record(v, [*u, *(network.parameters[name] for name in names)], pullback)  # type: ignore[no-any-return]


class _VariableAdapter(Adapter):
    priority = 100
    propagate = staticmethod(propagate)
    activate = staticmethod(activate)


serve(Variable, _VariableAdapter())


# --- transposes of array operations ---------------------------------------------------------------
# rule(xp, *values) -> (result, pullback); pullback takes a list of one cotangent and returns one a parent.

_CONSTANT = frozenset(
    """ceil floor round sign trunc isfinite isinf isnan less less_equal greater greater_equal equal not_equal
    logical_and logical_not logical_or all any argmax argmin argsort zeros_like ones_like empty_like full_like
    result_type""".split()
)


def _shape(a: Any) -> tuple[int, ...]:
    return tuple(getattr(a, "shape", ()))


def _elementwise(function: Callable[..., Any]) -> Callable[..., Any]:
    """A binary operation with broadcasting; ``function(xp, a, b)`` gives (value, ∂/∂a ȳ, ∂/∂b ȳ)."""

    def rule(xp: Any, a: Any, b: Any) -> tuple[Any, Pullback]:
        value, to_a, to_b = function(xp, a, b)

        def pullback(cotangents: Sequence[Array | None]) -> list[Array | None]:
            (y,) = cotangents
            return [sum_to_shape(to_a(y), _shape(a)), sum_to_shape(to_b(y), _shape(b))]

        return value, pullback

    return rule


def _divide(xp: Any, a: Any, b: Any) -> Any:
    value = a / b
    return value, lambda y: y / b, lambda y: -y * value / b


def _maximum(xp: Any, a: Any, b: Any) -> Any:
    mask = xp.astype(a >= b, (a if is_array(a) else b).dtype)
    return xp.maximum(a, b), lambda y: y * mask, lambda y: y * (1 - mask)


def _minimum(xp: Any, a: Any, b: Any) -> Any:
    mask = xp.astype(a <= b, (a if is_array(a) else b).dtype)
    return xp.minimum(a, b), lambda y: y * mask, lambda y: y * (1 - mask)


def _pow(xp: Any, a: Any, b: Any) -> tuple[Any, Pullback]:
    if isinstance(b, (int, float)):
        v, w, _ = activations.power(b).pair(Series([a]), xp, 1)
        return v[0], lambda y: [y[0] * w[0], None]
    value = xp.pow(a, b)
    log_a = xp.log(a) if is_array(a) else math.log(a)
    return value, lambda y: [
        sum_to_shape(y[0] * b * xp.pow(a, b - 1), _shape(a)),
        sum_to_shape(y[0] * value * log_a, _shape(b)),
    ]


def _abs(xp: Any, a: Any) -> tuple[Any, Pullback]:
    sign = xp.sign(a)
    return xp.abs(a), lambda y: [y[0] * sign]


def _where(xp: Any, condition: Any, a: Any, b: Any) -> tuple[Any, Pullback]:
    like = a if is_array(a) else b
    a, b = (c if is_array(c) else xp.zeros_like(like) + c for c in (a, b))

    def pullback(cotangents: Sequence[Array | None]) -> list[Array | None]:
        (y,) = cotangents
        zero = xp.zeros_like(y)
        return [
            None,
            sum_to_shape(xp.where(condition, y, zero), _shape(a)),
            sum_to_shape(xp.where(condition, zero, y), _shape(b)),
        ]

    return xp.where(condition, a, b), pullback


def _clip(xp: Any, a: Any, min: Any = None, max: Any = None) -> tuple[Any, Pullback]:
    inside = xp.ones_like(a, dtype=xp.bool)
    if min is not None:
        inside = xp.logical_and(inside, a >= min)
    if max is not None:
        inside = xp.logical_and(inside, a <= max)
    return xp.clip(a, min, max), lambda y: [xp.where(inside, y[0], xp.zeros_like(y[0]))]


def _normalized_axes(axis: Any, ndim: int) -> tuple[int, ...]:
    axes = tuple(range(ndim)) if axis is None else (axis,) if isinstance(axis, int) else tuple(axis)
    return tuple(a % ndim for a in axes)


def _sum(xp: Any, a: Any, axis: Any = None, dtype: Any = None, keepdims: bool = False) -> tuple[Any, Pullback]:
    kept = tuple(1 if i in _normalized_axes(axis, a.ndim) else n for i, n in enumerate(a.shape))
    value = xp.sum(a, axis=axis, dtype=dtype, keepdims=keepdims)
    return value, lambda y: [xp.broadcast_to(xp.reshape(y[0], kept), a.shape)]


def _mean(xp: Any, a: Any, axis: Any = None, keepdims: bool = False) -> tuple[Any, Pullback]:
    _, sum_pullback = _sum(xp, a, axis=axis, keepdims=keepdims)
    value = xp.mean(a, axis=axis, keepdims=keepdims)
    count = a.size // max(value.size, 1)
    return value, lambda y: sum_pullback([y[0] / count])


def _variance(
    xp: Any, a: Any, axis: Any = None, correction: float = 0.0, keepdims: bool = False
) -> tuple[Any, Pullback]:
    centred = a - xp.mean(a, axis=axis, keepdims=True)
    count = a.size // max(xp.mean(a, axis=axis, keepdims=True).size, 1)
    value, sum_pullback = _sum(xp, centred * centred, axis=axis, keepdims=keepdims)
    scale = 1 / (count - correction)
    return value * scale, lambda y: [2 * scale * centred * sum_pullback(y)[0]]  # type: ignore[operator]


def _reshape(xp: Any, a: Any, shape: Any, copy: Any = None) -> tuple[Any, Pullback]:
    return xp.reshape(a, shape), lambda y: [xp.reshape(y[0], a.shape)]


def _permute(xp: Any, a: Any, axes: Sequence[int]) -> tuple[Any, Pullback]:
    axes = _normalized_axes(tuple(axes), a.ndim)
    inverse = tuple(axes.index(i) for i in range(a.ndim))
    return xp.permute_dims(a, axes), lambda y: [xp.permute_dims(y[0], inverse)]


def _reshaping(name: str) -> Callable[..., Any]:
    def rule(xp: Any, a: Any, *args: Any, **kwargs: Any) -> tuple[Any, Pullback]:
        return getattr(xp, name)(a, *args, **kwargs), lambda y: [xp.reshape(y[0], a.shape)]

    return rule


def _own_inverse(name: str) -> Callable[..., Any]:
    def rule(xp: Any, a: Any, **kwargs: Any) -> tuple[Any, Pullback]:
        function = getattr(xp, name)
        return function(a, **kwargs), lambda y: [function(y[0], **kwargs)]

    return rule


def _roll(xp: Any, a: Any, shift: Any, axis: Any = None) -> tuple[Any, Pullback]:
    back = -shift if isinstance(shift, int) else tuple(-s for s in shift)
    return xp.roll(a, shift, axis=axis), lambda y: [xp.roll(y[0], back, axis=axis)]


def _broadcast_to(xp: Any, a: Any, shape: Any) -> tuple[Any, Pullback]:
    return xp.broadcast_to(a, shape), lambda y: [sum_to_shape(y[0], a.shape)]


def _astype(xp: Any, a: Any, dtype: Any, copy: bool = True) -> tuple[Any, Pullback]:
    return xp.astype(a, dtype, copy=copy), lambda y: [xp.astype(y[0], a.dtype)]


def _concat(xp: Any, arrays: Sequence[Any], axis: int | None = 0) -> tuple[Any, Pullback]:
    if axis is None:
        sizes = [a.size for a in arrays]
    else:
        sizes = [a.shape[axis] for a in arrays]
    edges = [0, *itertools.accumulate(sizes)]

    def pullback(cotangents: Sequence[Array | None]) -> list[Array | None]:
        (y,) = cotangents
        assert y is not None
        along = 0 if axis is None else axis % y.ndim
        before = (slice(None),) * along
        parts = [y[(*before, slice(i, j), ...)] for i, j in itertools.pairwise(edges)]
        return [xp.reshape(p, a.shape) for p, a in zip(parts, arrays, strict=True)]

    return xp.concat(arrays, axis=axis), pullback


def _stack(xp: Any, arrays: Sequence[Any], axis: int = 0) -> tuple[Any, Pullback]:
    return xp.stack(arrays, axis=axis), lambda y: list(xp.unstack(y[0], axis=axis))


def _unstack(xp: Any, a: Any, axis: int = 0) -> tuple[Any, Pullback]:
    parts = list(xp.unstack(a, axis=axis))

    def pullback(cotangents: Sequence[Array | None]) -> list[Array | None]:
        zero = xp.zeros_like(parts[0])
        return [xp.stack([zero if c is None else c for c in cotangents], axis=axis)]

    return parts, pullback


def _getitem(xp: Any, a: Any, key: Any) -> tuple[Any, Pullback]:
    parts = key if isinstance(key, tuple) else (key,)
    if any(isinstance(p, list) or (is_array(p) and not xp.isdtype(p.dtype, "bool")) for p in parts):
        # Repeated entries of an index array would overwrite each other in the transpose.
        raise NotImplementedError(
            "no gradient for indexing with an integer array: use xp.take(a, indices, axis=…), slices or a mask"
        )

    def pullback(cotangents: Sequence[Array | None]) -> list[Array | None]:
        full = xp.zeros_like(a)
        full[key] = cotangents[0]
        return [full]

    return a[key], pullback


def _take(xp: Any, a: Any, indices: Any, axis: int | None = None) -> tuple[Any, Pullback]:
    axis = 0 if axis is None else axis % a.ndim
    length = a.shape[axis]

    def pullback(cotangents: Sequence[Array | None]) -> list[Array | None]:
        # One row an index: a matrix product adds up repeated ones, which assignment would not.
        selected = xp.reshape(indices % length, (-1, 1)) == xp.arange(length, device=array_device(indices))
        moved = xp.moveaxis(cotangents[0], axis, -1) @ xp.astype(selected, a.dtype)
        return [xp.moveaxis(moved, -1, axis), None]

    return xp.take(a, indices, axis=axis), pullback


def array_device(a: Array) -> Any:
    return a.device


def _matmul(xp: Any, a: Any, b: Any) -> tuple[Any, Pullback]:
    def pullback(cotangents: Sequence[Array | None]) -> list[Array | None]:
        (y,) = cotangents
        # Vectors are matrices of one row or column for the time of the product.
        rows = a[None, :] if a.ndim == 1 else a
        columns = b[:, None] if b.ndim == 1 else b
        y = xp.reshape(y, (*_batch(a, b), rows.shape[-2], columns.shape[-1]))
        to_a = sum_to_shape(y @ xp.matrix_transpose(columns), rows.shape)
        to_b = sum_to_shape(xp.matrix_transpose(rows) @ y, columns.shape)
        return [xp.reshape(to_a, a.shape), xp.reshape(to_b, b.shape)]

    value = a @ b
    return value, pullback


def _batch(a: Array, b: Array) -> tuple[int, ...]:
    product = a @ b
    matrix_axes = (a.ndim > 1) + (b.ndim > 1)
    return tuple(product.shape[: product.ndim - matrix_axes])


def _vecdot(xp: Any, a: Any, b: Any, axis: int = -1) -> tuple[Any, Pullback]:
    value, sum_pullback = _sum(xp, a * b, axis=axis)

    def pullback(cotangents: Sequence[Array | None]) -> list[Array | None]:
        (y,) = sum_pullback(cotangents)
        return [sum_to_shape(y * b, a.shape), sum_to_shape(y * a, b.shape)]

    return value, pullback


_RULES: dict[str, Callable[..., Any]] = {
    "abs": _abs,
    "add": _elementwise(lambda xp, a, b: (a + b, lambda y: y, lambda y: y)),
    "astype": _astype,
    "broadcast_to": _broadcast_to,
    "clip": _clip,
    "concat": _concat,
    "divide": _elementwise(_divide),
    "expand_dims": _reshaping("expand_dims"),
    "flip": _own_inverse("flip"),
    "getitem": _getitem,
    "matmul": _matmul,
    "matrix_transpose": _own_inverse("matrix_transpose"),
    "maximum": _elementwise(_maximum),
    "mean": _mean,
    "minimum": _elementwise(_minimum),
    "multiply": _elementwise(lambda xp, a, b: (a * b, lambda y: y * b, lambda y: y * a)),
    "negative": lambda xp, a: (-a, lambda y: [-y[0]]),
    "permute_dims": _permute,
    "positive": lambda xp, a: (a, lambda y: [y[0]]),
    "pow": _pow,
    "reshape": _reshape,
    "roll": _roll,
    "squeeze": _reshaping("squeeze"),
    "stack": _stack,
    "subtract": _elementwise(lambda xp, a, b: (a - b, lambda y: y, lambda y: -y)),
    "sum": _sum,
    "take": _take,
    "unstack": _unstack,
    "var": _variance,
    "vecdot": _vecdot,
    "where": _where,
}
