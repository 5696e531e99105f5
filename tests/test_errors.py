"""Every message says what came, what was expected and what to type: the table of docs/architecture.md."""

# ruff: noqa: ARG005 functions in a table share one signature

from __future__ import annotations

import re

import numpy as np
import pytest

import ntaylor as nt
from ntaylor import namespace

X = np.asarray([0.1, 0.2])
POINTS = np.ones((4, 3))
NET = nt.MLP.create([1, 4, 1])
NET3 = nt.MLP.create([3, 4, 1])


def strict(values):
    return pytest.importorskip("array_api_strict").asarray(values)


# what is done -> (error, every part of the message)
CASES = {
    "libraries mixed, network": (
        lambda: nt.derivatives(NET, strict(X), 2),
        TypeError,
        ["different libraries", "x is a array_api_strict array of shape (2,)", "'0.weight'] is a numpy", "Convert"],
    ),
    "libraries mixed, direction": (
        lambda: nt.derivatives(np.sin, POINTS, 2, strict([1.0, 0.0, 0.0])),
        TypeError,
        ["x is a numpy array of shape (4, 3)", "direction is a array_api_strict", "Convert all to one library"],
    ),
    "libraries mixed, inside a jet": (
        lambda: NET(nt.Jet([strict(X), strict(X)])),
        TypeError,
        ["x is a array_api_strict array", "numpy array", "Convert"],
    ),
    "integers": (
        lambda: nt.derivatives(np.sin, np.asarray([1, 2]), 2),
        TypeError,
        ["x must have a floating dtype", "numpy array of shape (2,) and dtype int64", "x.astype(float)"],
    ),
    "booleans": (lambda: nt.derivatives(np.sin, np.asarray([True]), 2), TypeError, ["dtype bool", "x.astype(float)"]),
    "objects": (
        lambda: nt.derivatives(np.sin, np.asarray([1.0, None], dtype=object), 2),
        TypeError,
        ["dtype object", "floating"],
    ),
    "a whole number": (lambda: nt.derivatives(np.sin, 3, 2), TypeError, ["the integer 3", "x=float(3)"]),
    "a bool": (lambda: nt.derivatives(np.sin, True, 2), TypeError, ["got bool"]),
    "a list": (lambda: nt.derivatives(np.sin, [0.1], 2), TypeError, ["got list", "numpy.asarray(x, dtype=float)"]),
    "a list to a network": (lambda: NET([0.1]), TypeError, ["got list", "numpy.asarray"]),
    "None": (lambda: nt.derivatives(np.sin, None, 2), TypeError, ["got NoneType"]),
    "text": (lambda: nt.derivatives(np.sin, "0.1", 2), TypeError, ["got str"]),
    "integer direction": (
        lambda: nt.derivatives(NET3, POINTS, 2, np.asarray([1, 0, 0])),
        TypeError,
        ["direction must have a floating dtype", "int64", "direction.astype(float)"],
    ),
    "order -1": (lambda: nt.derivatives(np.sin, X, -1), ValueError, ["order must be an integer >= 0", "order=4", "-1"]),
    "order 1.5": (lambda: nt.derivatives(np.sin, X, 1.5), TypeError, ["order must be an integer", "1.5 (float)"]),
    "order True": (lambda: nt.derivatives(np.sin, X, True), TypeError, ["order must be an integer", "True (bool)"]),
    "order None": (lambda: nt.jet(np.sin, X, None), TypeError, ["order must be an integer", "NoneType"]),
    "order as text": (lambda: nt.jet(np.sin, X, "2"), TypeError, ["'2' (str)"]),
    "no direction": (
        lambda: nt.derivatives(np.sin, POINTS, 2),
        ValueError,
        ["x has shape (4, 3)", "3 coordinates", "direction=xp.asarray([1.0, 0.0, 0.0])", "xp.reshape(x, (-1,))"],
    ),
    "no direction, network": (lambda: nt.derivatives(NET3, POINTS[0], 2), ValueError, ["3 coordinates", "direction="]),
    "one number for three": (lambda: nt.derivatives(NET3, 0.5, 2), ValueError, ["shape (batch, 3)"]),
    "direction of another shape": (
        lambda: nt.derivatives(NET3, POINTS, 2, np.ones(2)),
        ValueError,
        ["direction has shape (2,)", "x has (4, 3)", "shape (3,)"],
    ),
    "direction larger than x": (
        lambda: nt.derivatives(NET3, POINTS, 2, np.ones((2, 4, 3))),
        ValueError,
        ["direction has shape (2, 4, 3)", "must broadcast to x"],
    ),
    "direction as a list": (
        lambda: nt.derivatives(NET3, POINTS, 2, [1.0, 0.0, 0.0]),
        TypeError,
        ["direction must be an array like x", "list", "xp.asarray(direction, dtype=x.dtype)"],
    ),
    "x of another width": (
        lambda: nt.derivatives(NET3, np.ones((4, 2)), 2, np.ones(2)),
        ValueError,
        ["takes 3 features in the last axis", "shape (4, 2)"],
    ),
    "f not a function": (
        lambda: nt.derivatives(X, np.sin, 2),
        TypeError,
        ["f must be a function or a network", "numpy array of shape (2,)", "derivatives(f, x, order)"],
    ),
    "f gives a string": (
        lambda: nt.derivatives(lambda x: (x, "x"), X, 2),
        TypeError,
        ["f must return arrays", "tuples", "it returned a str"],
    ),
    "several inputs without directions": (
        lambda: nt.derivatives(lambda x, y: x * y, (X, X), 2),
        ValueError,
        ["direction=(v, w)", "None for what does not move"],
    ),
    "directions of another structure": (
        lambda: nt.derivatives(lambda p: p["a"], {"a": X, "b": (X, X)}, 2, {"a": X, "b": X}),
        ValueError,
        ["direction of x['b']", "a tuple of 2", "numpy array of shape (2,)"],
    ),
    "a direction that does not fit one of several": (
        lambda: nt.derivatives(lambda x, y: x * y, (X, X), 2, (None, np.ones(3))),
        ValueError,
        ["direction has shape (3,), x[1] has (2,)"],
    ),
    "an integer among several": (
        lambda: nt.derivatives(lambda x, y: x * y, (X, np.ones(2, int)), 2, (None, X)),
        TypeError,
        ["x[1] must have a floating dtype"],
    ),
    "several inputs of a network": (
        lambda: nt.derivatives(NET3, (X, X), 2, (X, X)),
        TypeError,
        ["takes one array, x is a tuple", "xp.concat"],
    ),
    "a held jet among several": (
        lambda: nt.derivatives(lambda x, y: x * y, (nt.Jet([X]), X), 2, (None, X)),
        TypeError,
        ["x[0] is a Jet made outside", "x[0].primal"],
    ),
    "f gives nothing": (lambda: nt.derivatives(lambda x: None, X, 2), TypeError, ["returned a NoneType"]),
    "unknown activation": (
        lambda: nt.MLP.create([1, 2, 1], "sigmod"),
        ValueError,
        ["unknown activation 'sigmod'", "did you mean 'sigmoid'", "Known:", "nt.activations.register"],
    ),
    "no activation": (lambda: nt.MLP.create([1, 2, 1], np.tanh), TypeError, ["got ufunc", "nt.activations.register"]),
    "an operation without a rule": (
        lambda: nt.derivatives(np.nancumprod, X, 2),
        nt.MissingRule,
        [
            "no rule for 'nancumprod' on a Jet",
            "nt.jets.names()",
            "nt.jets.register('nancumprod', rule)",
            "nt.activations.register",
        ],
    ),
    "an option without a rule": (
        lambda: nt.derivatives(lambda x: np.sum(x, initial=1.0), X, 2),
        nt.MissingRule,
        ["sum(initial=…)"],
    ),
    "not differentiable": (
        lambda: nt.derivatives(np.sqrt, np.asarray([0.0, 1.0]), 2),
        ValueError,
        ["sqrt is not differentiable to order 2", "u > 0", "order=0"],
    ),
    "division by zero": (
        lambda: nt.derivatives(lambda x: 1 / x, np.asarray([0.0, 1.0]), 2),
        ValueError,
        ["division by a jet that is zero"],
    ),
    "a branch on a value": (
        lambda: nt.derivatives(lambda x: x if x * 1.0 else -x, np.asarray(0.1), 1),
        TypeError,
        ["Python bool", "xp.where"],
    ),
    "out of the library": (
        lambda: nt.derivatives(lambda x: np.asarray(x) * 2, X, 1),
        TypeError,
        ["plain NumPy array", "lose its derivatives"],
    ),
    "shapes that do not broadcast": (
        lambda: nt.derivatives(lambda x: x + np.ones(3), X, 1),
        ValueError,
        ["(2,)", "(3,)"],
    ),
    "no gradient": (
        lambda: nt.value_and_grad(lambda p: np.sum(np.nancumprod(p)))(X),
        nt.MissingRule,
        ["no gradient for 'nancumprod'", "outside the loss", "nt.activations.register"],
    ),
    "a product": (
        lambda: nt.derivatives(np.nanprod, X, 2),
        nt.MissingRule,
        ["no rule for 'nanprod' on a Jet", "nt.jets.register('nanprod', rule)"],
    ),
    "einsum": (
        lambda: nt.derivatives(lambda x: np.einsum(x, [0], x, [0], []), X, 2),
        nt.MissingRule,
        ["einsum of sublists", "as one string"],
    ),
    "partition": (
        lambda: nt.value_and_grad(lambda p: np.sum(np.partition(p, 1)))(X),
        nt.MissingRule,
        ["no gradient for 'partition'"],
    ),
    "a method without a rule": (
        lambda: nt.derivatives(lambda x: x.partition(1), X, 2),
        nt.MissingRule,
        ["no rule for 'partition' on a Jet", "nt.jets.register"],
    ),
    "a method of a function": (
        lambda: nt.derivatives(lambda x: x.roll(1), X, 2),
        nt.MissingRule,
        ["a Jet has no method 'roll'", "xp.roll(…)", "np.roll(…)"],
    ),
    "another norm": (
        lambda: nt.derivatives(lambda x: np.linalg.norm(x[:, None] * x, 2), X, 2),
        nt.MissingRule,
        ["norm(ord=2) over 2 axes", "leave ord out"],
    ),
    "another vector norm": (
        lambda: nt.derivatives(lambda x: np.linalg.vector_norm(x, ord=0.5), X, 2),
        nt.MissingRule,
        ["vector_norm(ord=0.5)", "xp.abs"],
    ),
    "dot in three axes": (
        lambda: nt.derivatives(lambda x: np.dot(x, x[None, :, None]), X, 2),
        nt.MissingRule,
        ["more than 2 axes", "xp.tensordot"],
    ),
    "integer parameters": (
        lambda: nt.value_and_grad(lambda p: np.sum(p * 1.5))(np.asarray([1, 2])),
        TypeError,
        ["parameter must have a floating dtype", "Pass parameter.astype(float)"],
    ),
    "an operation over lists": (
        lambda: nt.derivatives(lambda x: np.sum([x, x]), X, 1),
        TypeError,
        ["plain NumPy array", "np.stack([a, b])"],
    ),
    "into a plain array": (
        lambda: nt.derivatives(lambda x: np.zeros(2).__iadd__(x), X, 1),
        nt.MissingRule,
        ["np.add(out=…)", "r += u", "a Jet into a plain array", "write r = r + u"],
    ),
    "a number out of a jet": (
        lambda: nt.derivatives(lambda x: float(x[0]), X, 1),
        TypeError,
        ["Python float", "xp.where", "To print it"],
    ),
    "too many arguments": (
        lambda: nt.derivatives(lambda x: x.__array_namespace__().add(x), X, 1),
        nt.MissingRule,
        ["no rule for add with these arguments", "it takes u, v"],
    ),
    "no coefficients": (lambda: nt.Jet([]), ValueError, ["the primal first", "got none"]),
    "an absent primal": (lambda: nt.Jet([None, X]), ValueError, ["the primal first", "the first is None"]),
    "a complex choice": (
        lambda: nt.derivatives(lambda x: np.maximum(x * 1j, 0.0), X, 1),
        TypeError,
        ["maximum of a complex array", "xp.real(z)", "xp.abs(z)"],
    ),
    "a complex loss": (
        lambda: nt.value_and_grad(lambda p: np.sum(p * 1j))(X),
        ValueError,
        ["must be real", "xp.abs(…) ** 2", "xp.real"],
    ),
    "masked arrays": (
        lambda: nt.derivatives(np.sin, np.ma.masked_array(X), 1),
        TypeError,
        ["MaskedArray", "numpy.asarray(x)"],
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_messages(name):
    act, error, parts = CASES[name]
    with pytest.raises(error) as caught:
        act()
    assert not isinstance(caught.value, KeyError)
    message = str(caught.value)
    for part in parts:
        assert part in message, message


def test_missing_rules_are_attributes_too():
    """hasattr on a jet's namespace answers, as code that supports several libraries expects."""
    xp = nt.Jet([X]).__array_namespace__()
    assert hasattr(xp, "sin")
    assert hasattr(xp.linalg, "vector_norm")
    assert not hasattr(xp.linalg, "svd")
    assert not hasattr(xp, "__wrapped__")
    assert issubclass(nt.MissingRule, NotImplementedError)


def test_messages_about_missing_rules_are_short():
    """The near names and what to type, not a list of all there are."""
    for act in (
        lambda: nt.derivatives(np.nancumprod, X, 2),
        lambda: nt.value_and_grad(lambda p: np.sum(np.nancumprod(p)))(X),
    ):
        with pytest.raises(nt.MissingRule, match="register") as caught:
            act()
        assert len(str(caught.value).partition(" (called at")[0]) < 320
        assert "Known" not in str(caught.value)


def test_probing_a_jet_is_answered():
    """Libraries ask hasattr for protocols; what is not there is not there."""
    j = nt.Jet([X])
    for name in ("__torch_function__", "__dlpack__", "__cuda_array_interface__", "_private", "numpy", "partition"):
        assert not hasattr(j, name)
    assert hasattr(j, "ravel")


def test_devices_mixed():
    module = pytest.importorskip("array_api_strict")
    other = module.asarray([1.0, 0.0, 0.0], device=module.Device("device1"))
    with pytest.raises(ValueError, match=r"x is on .*CPU_DEVICE.*direction is on .*device1.*Move all"):
        nt.derivatives(lambda x: x, module.ones((4, 3)), 2, other)
    net = nt.MLP.create([3, 2], xp=module, device=module.Device("device1"))
    with pytest.raises(ValueError, match="different devices"):
        net(module.ones((4, 3)))
    there = nt.derivatives(net, module.ones((4, 3), device=other.device), 2, other)
    assert there.device == other.device


def test_broadcast_shapes():
    assert namespace.broadcast_shapes((3, 1), (4,), ()) == (3, 4)
    assert namespace.broadcast_shapes((0, 1), (1, 5)) == (0, 5)
    with pytest.raises(ValueError, match=re.escape("(3,) and (4,) do not broadcast")):
        namespace.broadcast_shapes((3,), (4,))


def test_array_namespace():
    with pytest.raises(TypeError, match="expected an array, got float"):
        namespace.array_namespace(1.0)
    with pytest.raises(TypeError, match="different libraries"):
        namespace.array_namespace(X, strict([1.0]))
    assert not namespace.is_array(np.float64)
    assert not namespace.is_array(np.dtype(np.float64))
    assert namespace.describe(1.0) == "float"
    assert "Jet of shape (2,)" in namespace.describe(nt.Jet([X]))
