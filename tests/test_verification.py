"""``ntaylor verify``: its oracle against another way through mpmath, its verdict on backends right and wrong."""

from __future__ import annotations

import importlib.util
import json
import math

import mpmath
import numpy as np
import pytest

from ntaylor import activations, cases, cli, fifty_digits, verification
from ntaylor.commands import tables
from ntaylor.verification import BACKENDS, Backend, Result, Row

ALL = [*cases.NETWORKS, *cases.COMBINED, *cases.FUNCTIONS, *cases.activation_cases()]
INSTALLED = [name for name, backend in BACKENDS.items() if importlib.util.find_spec(backend.package) is not None]


def case_of(name):
    return next(case for case in ALL if case.name == name)


def run(*names, plan=None):
    return list(verification.rows(names or ["numpy"], plan or [(case_of("plain"), [1, 3])]))


# --- the oracle ---------------------------------------------------------------------------------


@pytest.mark.parametrize("case", ALL, ids=lambda case: case.name)
def test_the_oracle_is_mpmath_taylor_at_fifty_digits(case):
    """Cauchy's integral gives what ``mpmath.taylor`` gives by differences, at the first point, to 40 digits."""
    with mpmath.workdps(120):
        parameters = {name: cases._in_mpmath(p.tolist()) for name, p in case.parameters.items()}
        x = case.points[0].tolist()
        v = [1.0] if case.direction is None else np.atleast_2d(case.direction)[0].tolist()

        def along(t):
            return case.value([a + t * b for a, b in zip(x, v, strict=True)], parameters)

        found = fifty_digits.coefficients(along, 5)
        expected = mpmath.taylor(lambda t: along(t)[0], 0, 5)
        for row, b in zip(found, expected, strict=True):
            assert abs(row[0] - b) <= mpmath.mpf(10) ** -40 * max(abs(c) for c in expected)
        exact = case.exact(5, gradients=False).derivatives
        for k in range(6):
            b = expected[k] * math.factorial(k)
            assert abs(mpmath.mpf(float(exact[0][k, 0, 0])) + float(exact[1][k, 0, 0]) - b) <= 1e-30 * max(1, abs(b))


@pytest.mark.parametrize("name", ["gated", "several inputs", "attention", "snake"])
def test_gradients_of_the_oracle_are_mpmaths_diff(name):
    case, order = case_of(name), 3
    key = list(case.parameters)[-1]
    flat = case.parameters[key].reshape(-1).tolist()
    with mpmath.workdps(120):
        parameters = {name: cases._in_mpmath(p.tolist()) for name, p in case.parameters.items()}
        scales = case.exact(order, gradients=False).scales

        def loss(value):
            entries = np.asarray([value, *flat[1:]], dtype=object).reshape(case.parameters[key].shape).tolist()
            found = case._derivatives({**parameters, key: entries}, order)
            return sum((s * c) ** 2 for s, point in zip(scales, found, strict=True) for row in point for c in row) / 2

        expected = mpmath.diff(loss, mpmath.mpf(flat[0]), h=mpmath.mpf(10) ** -25)
    found = sum(of_order[key][0].reshape(-1)[0] for of_order in case.exact(order).gradients)
    assert found == pytest.approx(float(expected), rel=1e-14)


def test_every_built_in_activation_is_verified():
    built_in = {name for name in activations.names if activations.get(name).source.startswith("theory.md")}
    assert built_in == set(fifty_digits.FUNCTIONS) == {case.name for case in cases.activation_cases()}


def test_no_two_cases_have_one_name():
    assert len({case.name for case in ALL}) == len(ALL)


def test_points_are_in_the_domain_and_off_kinks():
    """Each order of every case is finite, and the lowest are not zero."""
    for case in ALL:
        derivatives = case.exact(5, gradients=False).derivatives[0]
        assert np.isfinite(derivatives).all(), case.name
        assert np.abs(derivatives[:2]).max() > 1e-3, case.name


# --- the measure --------------------------------------------------------------------------------


def test_errors_are_by_the_largest_of_their_order():
    exact = np.asarray([[[2.0], [-4.0]], [[1e6], [1.0]], [[0.0], [0.0]]])
    u = exact + np.asarray([[[0.0], [4e-10]], [[0.0], [1.0]], [[0.0], [1e-4]]])
    np.testing.assert_allclose(verification._errors(u, exact, 0 * exact), [1e-10, 1e-6, 1e-10], rtol=1e-6)


def test_a_nan_is_the_largest_error_and_fails():
    result = Result("case", [1], [0.0, float("nan")], [None, 1e-3], [None, None], [None, None])
    row = Row("numpy", "2", "cpu", "float64", results=[result])
    assert row.verdict == "DISAGREES"
    assert math.isnan(row.worst("values", "gradients")[0])
    assert "nan" in result.beyond("float64")[0]
    json.dumps(row.as_json(), allow_nan=False)


def test_the_tolerance_is_one_number_of_units_of_rounding():
    assert verification.tolerance("float64") == 1e-12
    units = {verification.tolerance(d) / verification.ulp(d) for d in verification.DTYPES}
    assert max(units) == pytest.approx(min(units))


# --- backends -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", INSTALLED)
def test_every_installed_backend_agrees(name):
    """Every network and function and some activations, to order 3 in both dtypes, against mpmath and NumPy."""
    names = verification.chosen({"numpy", name})
    plan = [
        (case, orders)
        for i, (case, orders) in enumerate(verification.planned(3, quick=True))
        if case.name not in activations.names or i % 4 == 0
    ]
    rows = list(verification.rows(names, plan))
    assert {row.backend for row in rows} == set(names)
    for row in rows:
        assert row.reason is None or name == "cupy", row.reason
        assert not [(r.case, r.beyond(row.dtype)) for r in row.results if r.beyond(row.dtype)]
        assert row.verdict in ("agrees", "absent")


def test_to_order_12_on_numpy():
    """The plain network runs at every order, and no order errs by more than at order 1 is allowed."""
    plan = [entry for entry in verification.planned() if entry[0].name in ("plain", "gelu_tanh", "attention")]
    assert [orders for _, orders in plan] == [list(range(1, 13)), [2, 12], [1, 4, 12]]
    for row in run(plan=plan):
        assert row.agrees
        for result, (_, orders) in zip(row.results, plan, strict=True):
            assert len(result.values) == 13
            assert all(0 <= e <= verification.tolerance(row.dtype) for e in result.values)
            assert [n for n, e in enumerate(result.gradients) if e is not None] == orders


@pytest.mark.parametrize("part", ["value", "slope"])
def test_a_rule_that_is_off_by_a_billionth_is_found(monkeypatch, part):
    """In v the derivatives are wrong, in w alone the gradients; float32 cannot see it."""
    right = activations.get("tanh")

    def wrong(u, xp):
        v, w = right.rule(u, xp)
        return (v * (1 + 1e-9), w) if part == "value" else (v, w * (1 + 1e-9))

    monkeypatch.setitem(
        activations._TABLE, "tanh", activations.Activation("tanh", wrong, towers=right.towers, singular=None)
    )
    double, single = run()
    assert double.verdict == "DISAGREES"
    (result,) = double.results
    wanted = {"value": "derivatives at order", "slope": "gradient at order"}[part]
    assert any(line.startswith(wanted) for line in result.beyond("float64"))
    assert 1e-10 < double.worst("values" if part == "value" else "gradients")[0] < 1e-8
    assert single.verdict == "agrees"


def test_backends_that_cannot_run_are_rows_that_say_why(monkeypatch, tmp_path):
    (tmp_path / "broken_library.py").write_text("raise RuntimeError('no driver')")
    monkeypatch.syspath_prepend(tmp_path)

    def no_device(xp):
        raise RuntimeError("cudaErrorNoDevice")

    added = {
        "absent": Backend("a_library_that_is_not_there"),
        "broken": Backend("broken_library"),
        "deviceless": Backend("numpy", devices=no_device),
        "none": Backend("numpy", devices=lambda _: []),
    }
    for name, backend in added.items():
        monkeypatch.setitem(BACKENDS, name, backend)
    rows = run("absent", "broken", "deviceless", "none")
    assert [row.reason for row in rows] == [
        "not installed",
        "import failed: RuntimeError: no driver",
        "no device: RuntimeError: cudaErrorNoDevice",
        "no device",
    ]
    assert [row.verdict for row in rows] == ["absent", "FAILED", "absent", "absent"]
    assert [row.agrees for row in rows] == [True, False, True, True]


def test_what_a_backend_raises_stays_in_its_row(monkeypatch):
    def refuses(array):
        raise RuntimeError("out of\nmemory")

    monkeypatch.setitem(BACKENDS, "small", Backend("numpy", to_host=refuses))
    rows = run("numpy", "small")
    assert [row.verdict for row in rows] == ["agrees", "agrees", "DISAGREES", "DISAGREES"]
    assert rows[2].results[0].beyond("float64") == ["at order 1: RuntimeError: out of memory"]


def test_a_backend_that_differs_from_the_first_is_found(monkeypatch):
    """Both within their tolerance of mpmath would pass; a distance that is none is measured too."""
    monkeypatch.setitem(BACKENDS, "other", Backend("numpy", to_host=lambda a: np.asarray(a) * (1 + 1e-6)))
    first, _, other, _ = run("numpy", "other")
    assert first.worst("apart") is None
    assert other.worst("apart")[0] == pytest.approx(1e-6, rel=1e-3)
    assert other.worst("gradients_apart")[0] == pytest.approx(1e-6, rel=1e-3)
    assert other.verdict == "DISAGREES"


def test_names_and_orders_are_refused():
    with pytest.raises(ValueError, match=r"unknown backend 'troch': did you mean 'torch'"):
        verification.chosen(["troch"])
    with pytest.raises(ValueError, match="no backend was asked for"):
        verification.chosen([])
    for order in (0, 13):
        with pytest.raises(ValueError, match="the order to verify is 1 to 12"):
            verification.planned(order)
    assert verification.chosen(["jax", "numpy"]) == ["numpy", "jax"]


# --- the command --------------------------------------------------------------------------------


def test_the_command_writes_every_figure(tmp_path, capsys):
    path = tmp_path / "made" / "figures.json"
    assert cli.main(["verify", "--backend", "numpy,cupy", "--quick", "--order", "2", "--json", str(path)]) == 0
    content = json.loads(path.read_text(encoding="utf-8"))
    assert content["agrees"] is True
    assert content["order"] == 2
    assert {"numpy", "mpmath"} <= set(content["made_with"])
    rows = [row for row in content["rows"] if row["backend"] == "numpy"]
    assert [row["dtype"] for row in rows] == ["float64", "float32"]
    for row in rows:
        assert [found["case"] for found in row["cases"]] == [c.name for c, _ in verification.planned(2, quick=True)]
        for found in row["cases"]:
            assert len(found["values"]) == found["orders"][-1] + 1
            assert all(isinstance(e, float) for e in found["values"])
            assert [n for n, e in enumerate(found["gradients"]) if e is not None] == found["orders"]
            assert found["problem"] is None
            assert found["beyond"] == []
        worst = max(e for found in row["cases"] for e in found["values"])
        assert row["worst"]["values"]["relative"] == worst
        assert row["version"] == np.__version__
    assert [row["backend"] for row in content["rows"]][-1] == "cupy"
    output = " ".join(capsys.readouterr().out.split())
    assert "numpy agree with mpmath to 1.0e-12 in float64 and 5.4e-04 in float32" in output
    if "cupy" not in INSTALLED:
        assert "cupy: not installed" in output


def test_the_command_fails_where_something_disagrees(monkeypatch, capsys, tmp_path):
    monkeypatch.setitem(BACKENDS, "wrong", Backend("numpy", to_host=lambda a: np.asarray(a) * (1 + 1e-6)))
    path = tmp_path / "figures.json"
    assert cli.main(["verify", "--backend", "wrong", "--quick", "--order", "1", "--json", str(path)]) == 1
    output = " ".join(capsys.readouterr().out.split())
    assert "DISAGREES: wrong cpu float64" in output
    assert "wrong cpu float64: derivatives beyond 1.0e-12: plain (1.0e-06 at order " in output
    assert f"and {len(verification.planned(1, quick=True)) - 5} more" in output
    assert json.loads(path.read_text(encoding="utf-8"))["agrees"] is False


def test_the_command_refuses(monkeypatch, capsys, tmp_path):
    monkeypatch.setitem(BACKENDS, "absent", Backend("a_library_that_is_not_there"))
    for arguments, message in (
        (["--backend", "troch"], "unknown backend 'troch': did you mean 'torch'"),
        (["--order", "13"], "the order to verify is 1 to 12; got 13"),
        (["--json", str(tmp_path)], "is a folder: give a file"),
        (["--backend", "absent"], "nothing was verified"),
    ):
        assert cli.main(["verify", *arguments]) == 2
        assert message in capsys.readouterr().err


@pytest.mark.parametrize("width", [80, 120])
def test_the_table_fits_its_terminal(width):
    from rich.console import Console

    console = Console(width=width, record=True, markup=False, highlight=False, file=open("/dev/null", "w"))  # noqa: SIM115
    rows = []
    for backend, version, device in (("numpy", "2.4.6", "cpu"), ("torch", "2.13.0+cu130", "cuda:0")):
        for dtype in verification.DTYPES:
            results = [
                Result(case.name, [2], [1e-15, 2e-14, 3e-3], [None, None, 1e-14], [1e-16] * 3, [None, None, 1e-15])
                for case in ALL
            ]
            rows.append(Row(backend, version, device, dtype, seconds=123.4, results=results))
    rows += [Row("cupy", "13.6.0", reason="no device: CUDARuntimeError: cudaErrorNoDevice"), Row("jax", reason="gone")]
    tables.print_rows(rows, console)
    text = console.export_text()
    console.file.close()
    assert "…" not in text
    assert max(map(len, text.splitlines())) <= width
    for word in ("2.13.0+cu130", "cuda:0", "float32", "DISAGREES", "absent", "cudaErrorNoDevice", "123.4"):
        assert word in text
