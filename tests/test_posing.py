"""Problems: their points, their names, and what is refused."""

# ruff: noqa: ARG005 equations share one signature

from __future__ import annotations

import numpy as np
import pytest

import ntaylor as nt
from ntaylor.sampling import KINDS, unit_points


def heat(u, x, t, *, kappa):
    return u.t - kappa * u.xx


BOX = {"x": (-1.0, 3.0), "t": (0.0, 0.5)}


def start(u, x, t):
    return u - np.sin(x)


def posed(**changes):
    parts = {"equation": heat, "domain": BOX, "unknowns": {"kappa": 0.1}}
    return nt.Problem(**{**parts, **changes})


@pytest.mark.parametrize("kind", KINDS)
def test_points_fill_the_box(kind):
    points = posed().points(100, seed=3, kind=kind)
    assert points.shape == (100, 2)
    assert points.dtype == np.float64
    np.testing.assert_allclose(points.min(axis=0), [-1, 0], atol=0.3)
    np.testing.assert_allclose(points.max(axis=0), [3, 0.5], atol=0.3)
    np.testing.assert_array_equal(points, posed().points(100, seed=3, kind=kind))
    if kind != "grid":
        assert not np.array_equal(points, posed().points(100, seed=4, kind=kind))


def test_a_sobol_sequence_is_balanced():
    points = unit_points(256, 2, seed=1)
    counts = np.histogram2d(points[:, 0], points[:, 1], bins=16, range=[(0, 1)] * 2)[0]
    np.testing.assert_array_equal(counts, 1)
    strata = np.sort(np.floor(unit_points(50, 3, seed=1, kind="latin") * 50), axis=0)
    np.testing.assert_array_equal(strata, np.arange(50)[:, None] * np.ones(3))


def test_a_condition_lies_on_its_faces():
    problem = posed(conditions=[nt.Condition(start, where={"t": 0.0}), nt.Condition(start, where={"x": (-1.0, 3.0)})])
    arrays = problem.arrays(200, condition_count=30)
    assert {name: a.shape for name, a in arrays.items()} == {"equation": (200, 2), "t=0": (30, 2), "x=-1,3": (30, 2)}
    assert set(arrays["t=0"][:, 1]) == {0.0}
    assert len(set(arrays["t=0"][:, 0])) == 30
    np.testing.assert_array_equal(np.sort(arrays["x=-1,3"][:, 0]), np.repeat([-1.0, 3.0], 15))
    corner = nt.Condition(start, where={"x": (-1, 3), "t": 0})
    np.testing.assert_array_equal(problem.condition_points(corner, 30), [[-1, 0], [3, 0]])


def test_names_weights_and_data():
    at = np.zeros((4, 2))
    conditions = [
        nt.Condition(start, where={"t": 0.0}, weight=3.0),
        nt.Condition(start, where={"t": 0.0}),
        nt.Condition(lambda u, x, t, *, values: u - values, points=at, values=np.arange(4)),
        nt.Condition(start, points=lambda unit: unit * [4, 0]),
    ]
    problem = posed(conditions=conditions)
    assert problem.labels == ("t=0", "t=0 #2", "data", "points")
    assert (problem.fields, problem.inputs) == (("u",), ("x", "t"))
    assert [problem.weight(t) for t in ("equation", "t=0", "t=0[1]", "t=0 #2")] == [1.0, 3.0, 3.0, 1.0]
    arrays = problem.arrays(10, condition_count=7)
    np.testing.assert_array_equal(arrays["data values"], [0, 1, 2, 3])
    np.testing.assert_array_equal(arrays["data"], at)
    assert arrays["points"].shape == (7, 2)


def test_a_domain_that_is_no_box():
    def disc(unit):
        r, angle = np.sqrt(unit[:, :1]), 2 * np.pi * unit[:, 1:]
        return np.concatenate([r * np.cos(angle), r * np.sin(angle)], axis=1)

    problem = nt.Problem(lambda u, x, y: u.xx + u.yy, {"x": (-1, 1), "y": (-1, 1)}, sample=disc)
    assert np.max(np.linalg.norm(problem.points(500), axis=1)) <= 1
    wrong = nt.Problem(problem.equation, problem.domain, sample=lambda unit: unit[:, 0])
    with pytest.raises(ValueError, match=r"sample must give points \(n, 2\), got shape \(8,\)"):
        wrong.points(8)


def test_errors_are_those_of_the_solution():
    problem = posed(solution=lambda p: p[:, 0] + p[:, 1])
    points = np.asarray([[3.0, 0.0], [0.0, 0.5], [1.5, 0.5]])
    found = problem.errors(np.asarray([3.0, 0.5, 2.5]), points)
    assert found == {"relative_l2": pytest.approx(0.5 / np.sqrt(9 + 0.25 + 4)), "max_error": 0.5}
    with pytest.raises(ValueError, match="no solution to compare with"):
        posed().errors(np.zeros(3), points)


@pytest.mark.parametrize("solution", [lambda p: p.T, lambda p: 0.0, lambda p: p[:2], lambda p: p[:, 0]])
def test_a_solution_of_another_shape_than_the_networks_is_refused(solution):
    """Two fields as (2, n) are as many numbers as (n, 2), but other ones."""
    problem = posed(solution=solution)
    with pytest.raises(ValueError, match=r"at 3 points where the network has \(3, 2\): it gives \(3,\)"):
        problem.errors(np.zeros((3, 2)), np.zeros((3, 2)))


@pytest.mark.parametrize("name", ["weight of the sensor", "my values", "equation[0]", 3])
def test_a_name_that_would_be_taken_for_something_else_is_refused(name):
    with pytest.raises(ValueError, match="a name is words"):
        nt.Condition(start, where={"t": 0.0}, name=name)


@pytest.mark.parametrize("where", [{}, {"x": ()}, {"x": "left"}, "t=0", {"x": None}])
def test_where_is_refused_that_says_no_place(where):
    with pytest.raises(ValueError, match="where= takes numbers, or tuples of them, by input"):
        nt.Condition(start, where=where)


def test_where_takes_arrays_and_numpys_numbers():
    condition = nt.Condition(start, where={"x": np.asarray([-1.0, 3.0]), "t": np.float32(0.0)}, weight=np.float32(2))
    assert condition.label == "x=-1,3 t=0"
    np.testing.assert_array_equal(posed(conditions=[condition]).condition_points(condition, 9), [[-1, 0], [3, 0]])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"domain": {"t": (0, 1), "x": (0, 1)}}, r"ends with the inputs \(x, t\), the domain has \(t, x\)"),
        ({"domain": {"x": (1, 1), "t": (0, 1)}}, r"domain\['x'\] must be \(low, high\)"),
        ({"domain": {"x": 1.0, "t": (0, 1)}}, r"domain\['x'\] must be \(low, high\)"),
        ({"unknowns": {}}, "the equation's kappa has no value"),
        ({"unknowns": {"kappa": np.nan}}, "starts at a finite number"),
        ({"unknowns": {"kappa": np.ones(2)}}, "starts at a finite number"),
        ({"unknowns": {"kappa": "small"}}, "starts at a finite number"),
        ({"unknowns": {"kappa": 1.0, "nu": 2.0}}, "no equation takes 'nu'; keyword-only: kappa"),
        ({"equation": lambda x, t: x, "unknowns": {}}, "needs at least one field before them"),
        ({"conditions": [nt.Condition(start, where={"y": 0.0})]}, "no input is called 'y'; Known: t, x"),
        ({"conditions": [nt.Condition(start, where={"t": 0.7})]}, r"t = 0.7 lies outside the domain \[0, 0.5\]"),
        ({"conditions": [nt.Condition(lambda v, x, t: v, where={"t": 0})]}, r"fields \(v\), the equation \(u\)"),
        ({"conditions": [nt.Condition(lambda u, x, t, *, c: u, where={"t": 0})]}, "which is no unknown"),
        ({"conditions": [nt.Condition(start, points=np.zeros(3))]}, r"points must be \(n, 2\), columns x, t"),
        ({"conditions": [nt.Condition(start, points=np.zeros((3, 2)), values=np.zeros(3))]}, "takes none"),
        (
            {"conditions": [nt.Condition(lambda u, x, t, *, values: u, points=np.zeros((3, 2)), values=np.zeros(4))]},
            "one a point",
        ),
    ],
)
def test_what_does_not_fit_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        posed(**changes)


def test_what_is_no_problem_is_refused():
    with pytest.raises(TypeError, match="equation must be a function"):
        nt.Problem(3, BOX)
    with pytest.raises(TypeError, match="name its fields, its inputs"):
        nt.Problem(lambda *u: u, BOX)
    with pytest.raises(TypeError, match="domain takes bounds by input"):
        nt.Problem(heat, [(0, 1)])
    with pytest.raises(TypeError, match="hard must be a function"):
        posed(hard=1)
    with pytest.raises(TypeError, match=r"conditions are nt\.Condition"):
        posed(conditions=[start])
    with pytest.raises(TypeError, match="put the one Condition into brackets"):
        posed(conditions=nt.Condition(start, where={"t": 0}))
    with pytest.raises(TypeError, match="unknowns takes start values by name"):
        posed(unknowns=["kappa"])
    with pytest.raises(TypeError, match="a Condition takes a function"):
        nt.Condition(0.0, where={"t": 0})
    with pytest.raises(ValueError, match="one of the two; got neither"):
        nt.Condition(start)
    with pytest.raises(ValueError, match="belong to given points"):
        nt.Condition(start, where={"t": 0}, values=[1])
    with pytest.raises(ValueError, match="weight is a finite number"):
        nt.Condition(start, where={"t": 0}, weight=-1)
    with pytest.raises(ValueError, match="points are 'sobol'"):
        posed().points(3, kind="halton")
    with pytest.raises(TypeError, match="is a whole number"):
        posed().points(3.5)
    with pytest.raises(ValueError, match=">= 1"):
        posed().points(0)
