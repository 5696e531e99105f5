"""What ``ntaylor.operators`` promises, in its slowest form: used only where that module is not there.

One jet a direction, nothing shared, nothing compressed; enough for tests of those who call it.
"""

from __future__ import annotations

import importlib.util
import sys
from types import ModuleType, SimpleNamespace

import numpy as np

import ntaylor as nt
from ntaylor.namespace import array_namespace


class HardConstraint:
    def __init__(self, net, a):
        self.net, self.a, self.parameters = net, a, net.parameters

    def __call__(self, x):
        xp = array_namespace(x)
        return self.a.function(xp.sum(x * x, axis=-1, keepdims=True), xp) * self.net(x)


class Radial:
    def __init__(self, function):
        self.function = function


class Operator:
    def __init__(self, terms):
        self.terms = terms
        """(coefficient, function of (u, x)) pairs"""

    def __call__(self, u, x):
        return sum(c * term(u, x) for c, term in self.terms)

    def __add__(self, other):
        return Operator([*self.terms, *other.terms])

    def estimate(self, u, x, *, samples, rng, kind, sets=1, standard_error=True):
        samples = min(samples, x.shape[-1]) if kind == "sparse" else samples
        found = []
        for _ in range(sets):
            directions, rng = _directions(x, samples, rng, kind)
            weight = x.shape[-1] / samples if kind == "sparse" else 1 / samples
            found.append(sum(_second(u, x, directions[i]) for i in range(samples)) * weight)
        value = array_namespace(x).stack(found) if sets > 1 else found[0]
        return SimpleNamespace(value=value, primal=u(x), standard_error=None)


def _second(u, x, direction):
    xp = array_namespace(x)
    return nt.derivatives(u, x, 2, xp.broadcast_to(direction, x.shape))[2]


def _directions(x, samples, rng, kind):
    d = x.shape[-1]
    if type(rng).__module__.startswith("torch"):
        import torch

        normal = torch.randn((samples, d), generator=rng, dtype=x.dtype)
        chosen = torch.eye(d, dtype=x.dtype)[torch.randperm(d, generator=rng)[:samples]]
    else:
        import jax

        rng, key = jax.random.split(rng)
        normal = jax.random.normal(key, (samples, d), x.dtype)
        chosen = jax.numpy.eye(d, dtype=x.dtype)[jax.random.permutation(key, d)[:samples]]
    sign = array_namespace(x).sign(normal)
    return {"sparse": chosen, "rademacher": sign, "gaussian": normal}[kind], rng


def _unit(x, i):
    xp = array_namespace(x)
    return xp.asarray(np.eye(x.shape[-1])[i].tolist(), dtype=x.dtype)


def identity():
    return Operator([(1, lambda u, x: u(x))])


def laplacian():
    return Operator([(1, lambda u, x: sum(_second(u, x, _unit(x, i)) for i in range(x.shape[-1])))])


def D(*axes):  # noqa: N802 the operator's letter
    def term(u, x):
        assert len(set(axes)) == 1
        xp = array_namespace(x)
        return nt.derivatives(u, x, len(axes), xp.broadcast_to(_unit(x, axes[0]), x.shape))[len(axes)]

    return Operator([(1, term)])


def jointly(operators, u, x):
    return tuple(operator(u, x) for operator in operators)


def installed(monkeypatch):
    """Put this in the place of ``ntaylor.operators`` for the time of a test, unless that is there."""
    if importlib.util.find_spec("ntaylor.operators") is None:
        module = ModuleType("ntaylor.operators")
        module.__dict__.update({name: globals()[name] for name in __all__})
        monkeypatch.setitem(sys.modules, "ntaylor.operators", module)


__all__ = ["D", "HardConstraint", "Radial", "identity", "jointly", "laplacian"]
