"""Networks and jets as JAX sees them: trees whose leaves are their arrays.

A network's leaves are exactly its parameters, under their names; all else is static and equal for a network and
its replacements, so that ``jit`` does not trace again. A jet's leaves are the coefficients that are there, and those
along several directions are one leaf, of a family that is known by identity. A value in an equation is its leaf.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Any

import jax
from jax.tree_util import DictKey, GetAttrKey

from ntaylor.bundles import Bundle, Family, Total
from ntaylor.composites import Chain
from ntaylor.jets import Jet
from ntaylor.networks import MLP
from ntaylor.quantities import Quantity, plain

__all__ = ["register"]


class _Kind:
    """A network without its parameters: equal, and of one hash, for a network and its replacements."""

    def __init__(self, network: MLP):
        self.names = tuple(network.parameters)
        self.key = (network.structure, self.names, network.width_in)
        self.without: Any = Chain.replace(network, dict.fromkeys(self.names))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Kind) and self.key == other.key

    def __hash__(self) -> int:
        return hash(self.key)

    def __repr__(self) -> str:
        return ", ".join(type(layer).__name__ for layer in self.without.layers)


def _leaves_of_network(network: MLP) -> tuple[list[Any], _Kind]:
    return list(network.parameters.values()), _Kind(network)


def _named_leaves_of_network(network: MLP) -> tuple[list[tuple[Any, Any]], _Kind]:
    return [(DictKey(name), p) for name, p in network.parameters.items()], _Kind(network)


def _network(kind: _Kind, leaves: Iterable[Any]) -> Any:
    # Past the checks of MLP.replace: JAX puts in what it likes, None and object() among others.
    return Chain.replace(kind.without, dict(zip(kind.names, leaves, strict=True)))


def _leaves_of_jet(jet: Jet) -> tuple[tuple[list[Any]], tuple[int, float]]:
    return (list(jet._series),), (jet.order, jet.level)


def _named_leaves_of_jet(jet: Jet) -> tuple[list[tuple[Any, Any]], tuple[int, float]]:
    return [(GetAttrKey("series"), list(jet._series))], (jet.order, jet.level)


def _jet(kind: tuple[int, float], children: Iterable[Any]) -> Jet:
    jet: Jet = object.__new__(Jet)
    jet.order, jet.level = kind
    (jet._series,) = children
    return jet


class _Same:
    """A family of directions: its weights are arrays, perhaps traced, so only itself is equal to it."""

    def __init__(self, family: Family):
        self.family = family

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and self.family is other.family

    def __hash__(self) -> int:
        return id(self.family)


def _leaf_along(value: Any) -> tuple[tuple[Any], _Same]:
    return (value.array,), _Same(value.family)


def _named_leaf_along(value: Any) -> tuple[list[tuple[Any, Any]], _Same]:
    return [(GetAttrKey("array"), value.array)], _Same(value.family)


def _along(kind: type[Any], same: _Same, children: Iterable[Any]) -> Any:
    (array,) = children
    return kind(array, same.family)


def _value_of_quantity(quantity: Quantity) -> tuple[tuple[Any], None]:
    return (plain(quantity),), None


def _quantity(_: None, leaves: Iterable[Any]) -> Any:
    # Not in a Quantity again: what is inside of jax.nn's functions, jitted, is to be an array and nothing else.
    (value,) = leaves
    return value


def register() -> None:
    """Tell JAX; once, as the adapter is loaded."""
    jax.tree_util.register_pytree_with_keys(MLP, _named_leaves_of_network, _network, _leaves_of_network)
    jax.tree_util.register_pytree_with_keys(Jet, _named_leaves_of_jet, _jet, _leaves_of_jet)
    for kind in (Bundle, Total):
        jax.tree_util.register_pytree_with_keys(kind, _named_leaf_along, partial(_along, kind), _leaf_along)
    for quantity in (Quantity, *Quantity.__subclasses__()):  # fields among them, which come out as what they hold
        jax.tree_util.register_pytree_node(quantity, _value_of_quantity, _quantity)
