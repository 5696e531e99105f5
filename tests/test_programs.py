"""Recorded programs: the same numbers as the rules they were recorded from, straight-line, and nothing superfluous."""

# ruff: noqa: ARG005 functions in a table share one signature

from __future__ import annotations

import math

import numpy as np
import pytest

import ntaylor as nt
from ntaylor import programs
from ntaylor.series import Series
from ntaylor_backends.printing import CPLUSPLUS, NUMBA, statements

RNG = np.random.default_rng(0)
FACTORIES = [nt.activations.power(2.5), nt.activations.power(3), nt.activations.power(-1), nt.activations.elu(0.7)]
ACTIVATIONS = [*map(nt.activations.get, nt.activations.names), *FACTORIES]


def rule(activation, order):
    return lambda u, xp, parameters: activation.pair_unchecked(u, xp, order, parameters)


def point(activation, degree):
    """Coefficients u_0..u_degree (5, 3) inside every domain."""
    first = RNG.uniform(0.1, 0.8, (5, 3)) + (1.0 if activation.name == "acosh" else 0.0)
    return [first, *(RNG.standard_normal((5, 3)) for _ in range(degree))]


def named(activation, u, cotangent=()):
    parameters = {name: np.asarray(1.3) for name in activation.parameters}
    names = programs.names_of_inputs([True] * len(u), list(parameters), [True] * len(cotangent))
    return parameters, dict(zip(names, [*u, *parameters.values(), *cotangent], strict=True))


def through_head_and_tail(program, inputs):
    head, tail = program.split()
    assert not [o.name for o in tail.operations if o.name in programs.TRANSCENDENTAL]
    results = programs.evaluate(head, np, inputs)
    return programs.evaluate(tail, np, {**inputs, **dict(zip(head.names_of_outputs, results, strict=True))})


def close(got, expected):
    got = np.broadcast_to(got, expected.shape)
    assert np.max(np.abs(got - expected)) <= 1e-14 * np.max(np.abs(expected), initial=1e-300)


@pytest.mark.parametrize(("order", "degree"), [(0, 0), (1, 1), (5, 1), (6, 6)])
@pytest.mark.parametrize("activation", ACTIVATIONS, ids=lambda a: a.name)
def test_a_program_gives_what_its_rule_gives(activation, order, degree):
    """Forward and adjoint, whole and split, on a line and in general: against the closed form on arrays."""
    u = point(activation, degree)
    cotangent = [RNG.standard_normal((5, 3)) for _ in range(order + 1)]
    parameters, inputs = named(activation, u, cotangent)
    present = [True] * len(u)
    v, pullback = activation.closed_form(u, order, parameters)
    program = programs.forward(rule(activation, order), range(order + 1), present, list(parameters))
    for got in (programs.evaluate(program, np, inputs), through_head_and_tail(program, inputs)):
        for k, c in enumerate(got):
            if k < len(v) and v[k] is not None:
                close(c, v[k])
            else:
                assert c is None
    of_u, of_parameters = pullback(cotangent[: len(v)])
    # v̄_k of a structural zero meets nothing: what is left are the orders that are there.
    given = [k < len(v) and v[k] is not None for k in range(order + 1)]
    program = programs.adjoint(rule(activation, order), present, list(parameters), given)
    for got in (programs.evaluate(program, np, inputs), through_head_and_tail(program, inputs)):
        for c, expected in zip(got, of_u, strict=False):
            if expected is None:
                assert c is None
            else:
                close(c, expected)
        for c, name in zip(got[len(u) :], parameters, strict=True):
            close(np.sum(c), np.asarray(of_parameters[name]))


def test_what_nobody_needs_is_not_there():
    """One coefficient asked for: no operation for the others, no input that it does not depend on."""
    tanh = rule(nt.activations.get("tanh"), 4)
    whole = programs.forward(tanh, range(5), [True] * 5, [])
    first = programs.forward(tanh, [1], [True] * 5, [])
    assert first.inputs == ("u0", "u1")
    assert len(first.operations) < len(whole.operations)
    assert programs.forward(tanh, [0], [True] * 5, []).operations == (programs.Operation("tanh", (0,)),)


def test_a_subexpression_is_computed_once():
    def twice(a, b):
        return [a * b + 1, (b * a) * (a * b)]

    program = programs.record(twice, ["a", "b"])
    assert [o.name for o in program.operations].count("multiply") == 2


def test_constants():
    """A number is no place of a value, and dividing by it is multiplying."""
    program = programs.record(lambda a, b: [(a + 1) * (a + b) / 4, a * 1, b * -1, 2.5, None], ["a", "b"])
    assert not [o for o in program.operations if o.name == "divide"]
    got = programs.evaluate(program, math, {"a": 3.0, "b": 5.0})
    assert got == [8.0, 3.0, -5.0, 2.5, None]


def test_structural_zeros_stay_absent():
    square = rule(nt.activations.get("square"), 6)
    assert [at is None for at in programs.forward(square, range(7), [True, True], []).outputs] == [False] * 3 + [
        True
    ] * 4
    odd = programs.forward(square, range(7), [True, False, True], [])
    assert [at is None for at in odd.outputs] == [False, True] * 2 + [False, True, True]


@pytest.mark.parametrize(
    "value",
    [
        lambda u, xp: u[0] if u[0] > 0 else -u[0],
        lambda u, xp: xp.sum(u[0]),
        lambda u, xp: np.sin(u[0]),
        lambda u, xp: u[0] + np.ones(3),
        lambda u, xp: float(u[0]),
        lambda u, xp: xp.exp(1.0) * u[0],
    ],
)
def test_what_cannot_be_recorded_says_so(value):
    def depends_on_values(u, xp, parameters):
        v = Series([value(u, xp)])
        return v, v, {}

    with pytest.raises(programs.NotRecordableError):
        programs.forward(depends_on_values, [0], [True, True], [])


def test_a_rule_without_the_partial_of_a_parameter_has_no_adjoint():
    def without(u, xp, parameters):
        return u, u, {}

    with pytest.raises(programs.NotRecordableError, match="no partial for"):
        programs.adjoint(without, [True, True], ["a"], [True, True])


@pytest.mark.parametrize("dialect", [NUMBA, CPLUSPLUS], ids=["numba", "c++"])
@pytest.mark.parametrize("activation", ACTIVATIONS, ids=lambda a: a.name)
def test_every_operation_can_be_printed(activation, dialect):
    parameters = list(activation.parameters)
    program = programs.adjoint(rule(activation, 3), [True] * 4, parameters, [True] * 4)
    lines = statements(program, dialect)
    assert len(lines) == len(program.operations)
    assert not [line for line in lines if "{" in line]
