"""Reverse mode for namespaces that have none: NumPy, CuPy, and any other of the array API.

Floor 5. A ``Variable`` is an array object that remembers how it was made. ``value_and_grad`` wraps the
parameters, calls the loss, and sweeps back once. Whole networks and activations are single nodes
whose adjoints are the closed forms of ``layers`` and ``series``; those of array operations come from
``transposes``. An operation without a transpose is refused by name.
"""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy

from ntaylor import activations
from ntaylor.array_object import (
    ArrayObject,
    call_rule,
    function_of,
    new_level,
    objects_in,
    refuse_complex,
    unwrapped_namespace,
)
from ntaylor.blocks import opened
from ntaylor.composed import COMPOSED
from ntaylor.dispatch import Adapter, adapter_for, serve
from ntaylor.fans import Order, highest, size
from ntaylor.linalg_rules import EighResult, QRResult, SlogdetResult, check_reduced
from ntaylor.linalg_transposes import eigh_transposed, qr_transposed
from ntaylor.namespace import MissingRule, any_true, as_floating, did_you_mean, is_array, is_complex
from ntaylor.standard import CONSTANT, REFUSED
from ntaylor.transposes import TRANSPOSES

__all__ = [
    "Variable",
    "check_loss",
    "check_parameter",
    "loss_and_auxiliary",
    "map_auxiliary",
    "map_leaves",
    "sweep",
    "value_and_grad",
    "vjp",
]

Array = Any
Pullback = Callable[[Sequence[Array | None]], Sequence[Array | None]]


class Node:
    """One recorded operation: what it came from and how cotangents go back through it."""

    __slots__ = ("number", "outputs", "parents", "pullback")
    _numbers = itertools.count()

    def __init__(self, parents: Sequence[Variable | None], pullback: Pullback | None, outputs: int):
        # Numbered in the order of making, so that descending numbers are a reverse topological order.
        self.number = next(self._numbers)
        self.parents = parents
        self.pullback = pullback
        self.outputs = outputs


class Variable(ArrayObject):
    """An array whose dependence on the parameters is recorded."""

    __slots__ = ("index", "level", "node", "value")

    def __init__(self, value: Array, node: Node | None = None, index: int = 0, *, level: float = 0):
        self.value = value
        self.node = Node((), None, 1) if node is None else node
        self.index = index
        self.level = level

    def __repr__(self) -> str:
        return f"Variable({self.value!r})"

    @property
    def _like(self) -> Array:
        return self.value

    @classmethod
    def _has_rule(cls, name: str) -> bool:
        return any(name in table for table in (TRANSPOSES, CONSTANT, COMPOSED, _NODES, activations.names))

    @classmethod
    def _missing(cls, name: str) -> str:
        known = [n for n in (*TRANSPOSES, *CONSTANT, *COMPOSED, *_NODES, *activations.names) if "numpy." not in n]
        if name in REFUSED:
            return f"no gradient for {name!r} in nt.value_and_grad: {REFUSED[name]}"
        return (
            f"no gradient for {name!r} in nt.value_and_grad: {did_you_mean(name, known)}Write it with operations that "
            "have one, compute it outside the loss if it does not depend on the parameters, or add a function of one "
            f"variable with nt.activations.register({name!r}, …)"
        )

    @classmethod
    def _apply(cls, name: str, args: tuple[Any, ...], kwargs: dict[str, Any], level: float) -> Any:
        if name in COMPOSED and name not in TRANSPOSES:
            return call_rule(name, COMPOSED[name], (), args, kwargs)
        if name in _NODES:
            return call_rule(name, _NODES[name], (), args, kwargs)
        values = [_value(a, level) for a in args]
        if name in CONSTANT:
            if name == "sign":
                refuse_complex(name, *values)  # z/|z| turns with z
            options = {key: _value(v, level) for key, v in kwargs.items()}
            return function_of(unwrapped_namespace([*values, *options.values()]), name)(*values, **options)
        if name not in TRANSPOSES:
            return activate(activations.get(name), args, 0, kwargs)[0][0]
        if any(True for _ in objects_in(kwargs.values())):
            raise MissingRule(f"no gradient for {name} with a Variable as a keyword argument: pass it by position")
        result, transposes = call_rule(name, TRANSPOSES[name], (unwrapped_namespace(values),), values, kwargs)
        parents = args[0] if isinstance(args[0], (list, tuple)) else args
        wanted = [isinstance(p, Variable) and p.level == level for p in parents]

        def pullback(cotangents: Sequence[Array | None]) -> list[Array | None]:
            y = cotangents[0]
            return [t(y) if w else None for t, w in zip(transposes, wanted, strict=False)]

        return record([result], parents, pullback, level)[0]


def _value(a: Any, level: float) -> Any:
    """What ``a`` is to the rules of a level: of its variables the values, of all else itself."""
    if isinstance(a, Variable) and a.level == level:
        return a.value
    return [_value(b, level) for b in a] if isinstance(a, (list, tuple)) and any(True for _ in objects_in(a)) else a


def _top_level(values: Sequence[Any]) -> float:
    return max(a.level for a in objects_in(values))


def record(results: Sequence[Any], parents: Sequence[Any], pullback: Pullback, level: float) -> list[Any]:
    """Variables for ``results`` that remember ``parents`` and ``pullback``; None for None.

    ``pullback`` takes one cotangent (or None) an output and returns one (or None) a parent.
    """
    own = [p if isinstance(p, Variable) and p.level == level else None for p in parents]
    node = Node(own, pullback, len(results))
    return [None if r is None else Variable(r, node, i, level=level) for i, r in enumerate(results)]


def sweep(outputs: Sequence[Variable], cotangents: Sequence[Array], leaves: Sequence[Variable]) -> list[Array | None]:
    """Cotangents of ``leaves`` from those of ``outputs``: one pass back over what was recorded."""
    gathered: dict[Node, list[Array | None]] = {}
    waiting: list[tuple[int, Node]] = []

    def give(variable: Variable, cotangent: Array) -> None:
        node = variable.node
        if cotangent.dtype != variable.dtype and is_complex(cotangent) and not is_complex(variable):
            # Re(ȳ dy) with a real dy; a loss that is real may go through complex numbers.
            cotangent = unwrapped_namespace([cotangent]).real(cotangent)
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


def vjp(function: Callable[[list[Any]], Sequence[Any]], arrays: Sequence[Array]) -> tuple[list[Array], Pullback]:
    """The outputs of ``function(arrays)``, and what takes cotangents of them back to the arrays, as often as called.

    ``function`` maps a list of arrays to a sequence of arrays. The pullback takes one cotangent, or None, an output and
    gives one, or None where nothing depends on it, an array.
    """
    level = new_level()
    leaves = [Variable(a, level=level) for a in arrays]
    outputs = list(function(list(leaves)))
    followed = [isinstance(o, Variable) and o.level == level for o in outputs]

    def pullback(cotangents: Sequence[Array | None]) -> Sequence[Array | None]:
        given = [(o, c) for o, c, f in zip(outputs, cotangents, followed, strict=True) if f and c is not None]
        return sweep([o for o, _ in given], [c for _, c in given], leaves)

    return [o.value if f else o for o, f in zip(outputs, followed, strict=True)], pullback


def value_and_grad(loss: Callable[[Any], Any], parameters: Any) -> tuple[Any, Any]:
    """The value of ``loss(parameters)`` and its gradient, shaped as ``parameters``.

    ``loss`` may return (value, auxiliary); then ((value, auxiliary), gradient) comes back.
    """
    leaves: list[Variable] = []

    level = new_level()

    def wrap(array: Array) -> Variable:
        leaves.append(Variable(check_parameter(array), level=level))
        return leaves[-1]

    result = loss(map_leaves(wrap, parameters))
    value, auxiliary = loss_and_auxiliary(result)
    check_loss(value, isinstance(value, Variable) and value.level == level)
    xp = unwrapped_namespace([value.value])
    found = iter(sweep([value], [xp.ones_like(value.value)], leaves))
    of_leaves = iter(leaves)

    def gradient(_: Array) -> Array:
        cotangent, leaf = next(found), next(of_leaves)
        if cotangent is None:
            return xp.zeros_like(leaf.value)
        if cotangent.dtype != leaf.dtype:
            # A float32 parameter that met float64 constants is still updated in float32.
            cotangent = xp.astype(cotangent, leaf.dtype)
        return _own(cotangent)

    own_value, gradients = _own(value.value), map_leaves(gradient, parameters)
    if not isinstance(result, tuple):
        return own_value, gradients

    def plain(a: Any) -> Any:
        return _own(a.value) if isinstance(a, Variable) and a.level == level else a

    return (own_value, map_auxiliary(plain, auxiliary)), gradients


def check_parameter(array: Array) -> Array:
    """A parameter that a gradient is taken by; TypeError for integers and complex numbers."""
    if is_complex(array):
        raise TypeError(
            "a parameter is complex, and its gradient a matter of convention: pass its real and imaginary parts"
        )
    return as_floating(array, "parameter")


def loss_and_auxiliary(result: Any) -> tuple[Any, Any]:
    """What a loss returned, as (value, auxiliary or None); ValueError for a tuple of any length but two."""
    if isinstance(result, tuple) and len(result) != 2:
        raise ValueError(
            f"the loss returned a tuple of {len(result)}: return the scalar, or (scalar, auxiliary) with all else in "
            "one dict or tuple, such as return loss, {'residual': r, 'data': d}"
        )
    return result if isinstance(result, tuple) else (result, None)


def check_loss(value: Any, depends: bool) -> None:
    """Raise ValueError unless the loss's value is one real number that ``depends`` on the parameters."""
    if depends:
        if math.prod(value.shape) != 1:
            raise ValueError(
                f"the loss must be a scalar, it has shape {tuple(value.shape)}: end it with xp.mean(…) or xp.sum(…)"
            )
        if is_complex(value):
            raise ValueError(
                "the loss must be real, it is complex: end it with xp.sum(xp.abs(…) ** 2), or take xp.real of it"
            )
        return
    if value is None:
        raise ValueError("the loss returned nothing (NoneType): end it with return, and the scalar")
    if isinstance(value, (list, Mapping)) or (isinstance(value, ArrayObject) and not isinstance(value, Variable)):
        raise ValueError(
            f"the loss returned a {type(value).__name__}: return one scalar, such as xp.mean(…) of what it holds, or "
            "the tuple (scalar, auxiliary)"
        )
    raise ValueError(
        f"the loss gave a {type(value).__name__} that does not depend on the parameters: use the parameters "
        "it is given, as in nt.derivatives(net.replace(parameters), x, order), and array operations on them"
    )


def _own(array: Array) -> Array:
    """A copy for the caller to write to: gradients share memory where transposes hand cotangents on, or view them."""
    if isinstance(array, (ArrayObject, numpy.generic)):
        return array  # neither can be written to
    return unwrapped_namespace([array]).asarray(array, copy=True)


def map_auxiliary(function: Callable[[Any], Any], auxiliary: Any) -> Any:
    """What a loss returned beside its value with ``function`` applied to all in it, arrays of jets and networks too."""

    def of_leaf(a: Any) -> Any:
        if isinstance(a, ArrayObject) and not isinstance(a, Variable):
            return a._mapped(of_leaf)
        return function(a)

    return map_leaves(of_leaf, auxiliary, any_leaf=True)


def map_leaves(function: Callable[[Any], Any], tree: Any, *, any_leaf: bool = False) -> Any:
    """``tree`` of dicts, lists, tuples, networks and None with ``function`` applied to every array in it."""
    if tree is None:
        return None
    if isinstance(tree, ArrayObject):
        return function(tree)
    if isinstance(tree, Mapping):
        return {key: map_leaves(function, value, any_leaf=any_leaf) for key, value in tree.items()}
    if isinstance(tree, (list, tuple)):
        mapped = [map_leaves(function, value, any_leaf=any_leaf) for value in tree]
        return type(tree)(*mapped) if hasattr(tree, "_fields") else type(tree)(mapped)
    if hasattr(tree, "replace") and isinstance(getattr(tree, "parameters", None), Mapping):  # a network
        return tree.replace(map_leaves(function, dict(tree.parameters), any_leaf=any_leaf))
    if not any_leaf and not is_array(tree):
        raise TypeError(
            f"parameters must be arrays in dicts, lists or tuples; found a {type(tree).__name__}: "
            "pass a 0-d array for a number, such as xp.asarray(0.5)"
        )
    return function(tree)


# --- nodes with closed-form adjoints --------------------------------------------------------------


def activate(
    activation: activations.Activation, u: Sequence[Any], order: Order, parameters: Mapping[str, Any]
) -> tuple[list[Any], activations.Pullback]:
    """f along the coefficients ``u`` as one node: the pair rule forward, its correlation back."""
    if not u or len(u) > size(order):
        raise TypeError(f"{activation.name} takes one array and nothing else, got {len(u)}")
    level = _top_level([*u, *parameters.values()])
    values = [_value(c, level) for c in u]
    named = {name: _value(p, level) for name, p in parameters.items()}
    # A gradient takes one derivative more than the coefficients that go forward.
    v, activation_pullback = activation.push(values, order, named, differentiable=highest(order) + 1)

    def pullback(cotangent: Sequence[Array | None]) -> list[Array | None]:
        of_u, gradients = activation_pullback(cotangent)
        return [*of_u, *(gradients[name] for name in named)]

    def pullback_on_variables(*cotangents: Any, **options: Any) -> Any:
        # Asked for where the gradient is differentiated again: then it is made of operations on variables.
        return activation.closed_form(u, order, parameters)[1](*cotangents, **options)

    return record(v, [*u, *parameters.values()], pullback, level), pullback_on_variables


def fuses(*arrays: Any) -> bool:
    """Whether those that the variables hold are fused."""
    level = _top_level(arrays)
    values = [_value(a, level) for a in arrays]
    of_values = adapter_for(*values).fuses
    return of_values is not None and of_values(*values)


def propagate(network: Any, u: Sequence[Any], order: Order) -> Sequence[Any]:
    """A whole network as one node, with the adjoint that its layers give."""
    names = list(network.parameters)
    parameters = [network.parameters[name] for name in names]
    level = _top_level([*u, *parameters])
    plain = network.replace({name: _value(network.parameters[name], level) for name in names})
    v, network_pullback = plain.push([_value(c, level) for c in u], order)
    held, closed = opened(v)

    def pullback(cotangent: Sequence[Array | None]) -> list[Array | None]:
        of_u, gradients = network_pullback(closed(cotangent))
        of_u = [*of_u, *[None] * (len(u) - len(of_u))]
        return [*of_u, *(gradients[name] for name in names)]

    return closed(record(held, [*u, *parameters], pullback, level))


def _unstack(a: Variable, *, axis: int = 0) -> list[Any]:
    """The parts along ``axis`` as one node, so that all derivatives unpacked cost one pass back."""
    xp = unwrapped_namespace([a.value])

    def pullback(cotangents: Sequence[Array | None]) -> list[Array | None]:
        zero = xp.zeros_like(next(c for c in cotangents if c is not None))
        return [unwrapped_namespace(cotangents).stack([zero if c is None else c for c in cotangents], axis=axis)]

    return record(xp.unstack(a.value, axis=axis), [a], pullback, a.level)


def _slogdet(a: Variable) -> SlogdetResult:
    """The sign is locally constant; log|det A| has the gradient A⁻ᵀ."""
    refuse_complex("slogdet", a)
    xp = unwrapped_namespace([a.value])
    sign, logarithm = xp.linalg.slogdet(a.value)
    if any_true(sign == 0):
        raise ValueError("slogdet of a singular matrix is not differentiable: log|det| is infinite there")

    def pullback(cotangents: Sequence[Array | None]) -> list[Array | None]:
        (y,) = cotangents
        return [None if y is None else y[..., None, None] * xp.matrix_transpose(xp.linalg.inv(a.value))]

    return SlogdetResult(sign, record([logarithm], [a], pullback, a.level)[0])


def _eigh(a: Variable) -> EighResult:
    refuse_complex("eigh", a)
    return EighResult(*_of_two(a, unwrapped_namespace([a.value]).linalg.eigh(a.value), eigh_transposed))


def _qr(a: Variable, *, mode: str = "reduced") -> QRResult:
    refuse_complex("qr", a)
    check_reduced(a.shape, mode)
    return QRResult(*_of_two(a, unwrapped_namespace([a.value]).linalg.qr(a.value), qr_transposed))


def _of_two(a: Variable, found: Any, transposed: Callable[..., Any]) -> list[Any]:
    def pullback(cotangents: Sequence[Array | None]) -> list[Array | None]:
        return [transposed(unwrapped_namespace([*cotangents, *found]), found, *cotangents)]

    return record(list(found), [a], pullback, a.level)


_NODES: dict[str, Callable[..., Any]] = {
    "linalg.eigh": _eigh,
    "linalg.qr": _qr,
    "linalg.slogdet": _slogdet,
    "unstack": _unstack,
}
"""Operations of several results, each one node."""


class _VariableAdapter(Adapter):
    priority = 100
    propagate = staticmethod(propagate)
    activate = staticmethod(activate)
    fuses = staticmethod(fuses)


serve(Variable, _VariableAdapter())
