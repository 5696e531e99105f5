"""A benchmark measures what it says: references, contestants, turns, budgets, memory, and a record that grows."""

from __future__ import annotations

import importlib.util
from dataclasses import replace

import mpmath
import numpy as np
import pytest

from ntaylor import contests, measuring, references
from ntaylor.dispatch import Contestant, Prepared
from ntaylor.verification import BACKENDS, short_name
from ntaylor.workloads import FULL_GRID, PARTS, PUBLISHED_GRID, Job, Workload, full, quick

TINY = Workload(order=3, depth=2, width=4, batch=8)
SETTINGS = measuring.Settings(seconds=0.01, least=2, most=3, cold=False)
KINDS = {
    "derivatives": TINY,
    "values": replace(TINY, order=0),
    "a function": replace(TINY, model="function", inputs=3),
    "laplacian": replace(TINY, order=2, inputs=3, task="laplacian"),
    "biharmonic": replace(TINY, order=4, inputs=2, task="biharmonic"),
}


def installed(name: str) -> bool:
    return importlib.util.find_spec(name) is not None


# --- references ---------------------------------------------------------------------------------------


def test_the_reference_is_what_fifty_digits_give():
    """Derivatives, and the slope of the loss in the reference's direction, by mpmath's own differentiation."""
    workload = replace(TINY, order=2)
    exact = references.reference(workload)
    parameters, v = workload.parameters(), references._random_direction(workload)
    x = workload.points()[: workload.different, 0]

    def value(t, s):
        h = mpmath.matrix([[t]])
        for i in range(workload.depth + 1):
            w, b = ((parameters[f"{2 * i}.{n}"], v[f"{2 * i}.{n}"]) for n in ("weight", "bias"))
            w = mpmath.matrix(w[0].tolist()) + s * mpmath.matrix(w[1].tolist())
            b = mpmath.matrix([b[0].tolist()]) + s * mpmath.matrix([b[1].tolist()])
            h = h * w + b
            h = h.apply(mpmath.tanh) if i < workload.depth else h
        return h[0]

    with mpmath.workdps(50):
        derivatives = [[mpmath.diff(lambda t: value(t, mpmath.mpf(0)), float(p), k) for p in x] for k in range(3)]

        def loss(s):
            return sum(mpmath.diff(lambda t: value(t, s), float(p), k) ** 2 for p in x for k in range(3)) / len(x)

        slope = mpmath.diff(loss, 0)
    assert np.allclose(exact.outputs, np.array(derivatives, dtype=float), rtol=1e-12, atol=1e-13)
    assert exact.slopes[2] == pytest.approx(float(slope), rel=1e-11)


def test_a_reference_serves_every_lower_order_and_every_batch():
    high, low = references.reference(replace(TINY, order=6)), references.reference(TINY)
    assert np.allclose(high.outputs[:4], low.outputs, rtol=1e-12, atol=1e-12)
    assert np.allclose(high.slopes[:4], low.slopes, rtol=1e-11)
    assert np.allclose(references.reference(replace(TINY, batch=64)).slopes, low.slopes, rtol=1e-11)


def test_a_batch_repeats_its_points_whole_times():
    assert len(np.unique(TINY.points())) == 8
    assert np.array_equal(replace(TINY, batch=16).points(), np.tile(TINY.points(), (2, 1)))
    with pytest.raises(ValueError, match="batch must be a multiple of 8"):
        replace(TINY, batch=12)


# --- contestants --------------------------------------------------------------------------------------


@pytest.fixture
def side(request):
    """The side of a library on its processor, in this process."""
    pytest.importorskip(request.param)
    with BACKENDS[request.param].setting():
        side = contests._Side(request.param, None)
        side.on("cpu")
        yield side


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("side", ["numpy", "torch", "jax"], indirect=True)
def test_every_contestant_gives_what_the_reference_says(side, kind):
    exact = references.reference(KINDS[kind])
    rows = side.begin(KINDS[kind])
    here = [row for row in rows if row["missing"] is None and row["mode"] != "compiled"]
    assert {row["role"] for row in here} >= {"ours"}
    for row in here:
        found = side.prepare(row["name"], row["mode"], exact)
        assert found["agrees"], (row, found)
        assert max(found["error"], found["gradient_error"]) < 1e-10, row
    times = side.measure(0.01, 2, 3)
    assert set(times) == {f"{row['name']}, {row['mode']}" for row in here}


# The compiler's own imports warn.
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
@pytest.mark.parametrize("side", ["torch"], indirect=True)
def test_a_compiled_contestant_agrees_too(side):
    side.begin(replace(TINY, order=1))
    found = side.prepare("ntaylor, nt.MLP", "compiled", references.reference(replace(TINY, order=1)))
    assert found["agrees"]


@pytest.mark.parametrize("side", ["numpy"], indirect=True)
def test_float32_has_a_wider_tolerance_and_keeps_it(side):
    workload = replace(TINY, dtype="float32")
    side.begin(workload)
    found = side.prepare("ntaylor, nt.MLP", "NumPy alone", references.reference(TINY))
    assert found["agrees"]
    assert 1e-9 < found["error"] < references.tolerance("float32")


def test_rivals_are_there_where_they_are_installed():
    for library, rivals in (("torch", {"torch-jet": "jet"}), ("jax", {"folx": "folx"})):
        if installed(library):
            with BACKENDS[library].setting():
                side = contests._Side(library, None)
                side.on("cpu")
                rows = side.begin(KINDS["laplacian"])
            for name, module in rivals.items():
                row = next(row for row in rows if row["name"] == name)
                assert (row["missing"] is None) == installed(module), name


@pytest.mark.skipif(not installed("torch"), reason="no torch")
def test_a_rival_that_asks_for_a_newer_python_is_noted(monkeypatch):
    from ntaylor_backends.torch import contestants

    monkeypatch.setattr(contestants, "version", lambda _: "1.0.0")
    monkeypatch.setattr(contestants, "metadata", lambda _: {"Requires-Python": ">=9.1"})
    (note,) = contestants.Contestants("cpu", None).about()["notes"]
    assert note.startswith("torch-jet 1.0.0 asks for Python 9.1; here it ran on 3.")
    monkeypatch.setattr(contestants, "metadata", lambda _: {"Requires-Python": ">=3.8"})
    assert contestants.Contestants("cpu", None).about()["notes"] == []


class _Fakes:
    """A right contestant and two wrong ones: of the derivatives, and of the gradient."""

    def __init__(self, side):
        self._real = side.contestants

    def of(self, workload, ours):
        right = next(c for c in self._real.of(workload, ours) if c.name == "ntaylor, nt.MLP")
        made = right.prepare()

        def outputs(found):
            wrong = np.array(made.outputs(found))
            wrong[-1, 3] *= 1 + 1e-6
            return wrong

        def gradient(found):
            return {**made.gradient(found), "2.bias": 1.001 * made.gradient(found)["2.bias"]}

        fakes = {
            "right": made,
            "derivative": Prepared(made.forward, made.step, outputs, made.gradient),
            "gradient": Prepared(made.forward, made.step, made.outputs, gradient),
            "nan": Prepared(made.forward, made.step, lambda found: np.nan * made.outputs(found), made.gradient),
        }
        return [Contestant(name, "fake", "rival", lambda p=p: p) for name, p in fakes.items()]


@pytest.mark.parametrize("side", ["numpy"], indirect=True)
def test_a_wrong_contestant_is_found_and_not_timed(side):
    side.contestants = _Fakes(side)
    exact = references.reference(TINY)
    side.begin(TINY)
    found = {name: side.prepare(name, "fake", exact) for name in ("right", "derivative", "gradient", "nan")}
    assert [name for name, row in found.items() if row["agrees"]] == ["right"]
    assert found["derivative"]["error"] == pytest.approx(1e-6, rel=1)
    assert found["derivative"]["gradient_error"] < 1e-12
    assert found["gradient"]["error"] < 1e-12 < found["gradient"]["gradient_error"]
    assert found["nan"]["error"] is None
    assert list(side.measure(0.01, 2, 2)) == ["right, fake"]


# --- turns --------------------------------------------------------------------------------------------


def test_contestants_take_turns_and_the_slow_one_takes_fewer(monkeypatch):
    clock, calls = [0.0], []
    monkeypatch.setattr(contests.time, "perf_counter", lambda: clock[0])

    def prepared(name, seconds):
        def call():
            calls.append(name)
            clock[0] += seconds

        return Prepared(call, call, lambda found: found, lambda found: found)

    ready = {"fast": prepared("fast", 0.5), "slow": prepared("slow", 2.0)}
    found = contests.time_interleaved(ready, seconds=16.0, least=1, most=100)
    assert found["fast"]["step"] == {"median": 0.5, "low": 0.5, "high": 0.5, "count": 8}
    assert found["slow"]["forward"]["count"] == 2
    assert found["slow"]["backward"]["median"] == 0
    # Forward and step after each other; of seven more rounds the slow one joins the last.
    assert calls == ["fast", "fast", "slow", "slow", *["fast"] * 14, "slow", "slow"]


def test_quartiles():
    assert contests.quartiles([4.0, 1.0, 2.0, 3.0, 5.0]) == {"median": 3.0, "low": 2.0, "high": 4.0, "count": 5}


# --- processes and the record ---------------------------------------------------------------------------


def verdicts(record):
    return {
        (cell["workload"]["order"], f"{row['name']}, {row['mode']}"): row["verdict"]
        for cell in record["cells"].values()
        for row in cell["contestants"]
    }


def test_what_is_in_the_record_is_not_measured_again(monkeypatch):
    jobs, saved = [Job("published", TINY, frozenset({"ours"}))], []
    first = measuring.run(jobs, ["numpy"], SETTINGS, {}, lambda record: saved.append(len(record["cells"])))
    assert saved == [0, 1]
    assert set(verdicts(first).values()) == {"timed"}
    (cell,) = first["cells"].values()
    for row in cell["contestants"]:
        assert row["role"] != "ours"
        assert row["step"]["low"] <= row["step"]["median"] <= row["step"]["high"]
        assert 2 <= row["step"]["count"] <= 3
    asked = []

    def cell_of(self, job, *rest):
        asked.append(job.workload.order)
        return []

    monkeypatch.setattr(measuring._Library, "cell", cell_of)
    more = [*jobs, Job("published", replace(TINY, order=1))]
    second = measuring.run(more, ["numpy"], SETTINGS, dict(first))
    assert asked == [1]
    assert len(second["cells"]) == 2
    first["libraries"]["numpy"]["versions"]["numpy"] = "0.1"
    with pytest.raises(ValueError, match="measure all of it anew"):
        measuring.run(jobs, ["numpy"], SETTINGS, first)


def test_who_is_beyond_the_budget_is_not_asked_for_more():
    jobs = [Job("published", replace(TINY, order=n), frozenset({"ours", "rival"})) for n in (1, 2)]
    record = measuring.run(jobs, ["numpy"], replace(SETTINGS, budget_seconds=0.0), {})
    assert set(verdicts(record).values()) == {"over budget"}
    reasons = [cell["contestants"][0]["reason"] for cell in record["cells"].values()]
    assert reasons == ["0 s", "0 s at 2×4, batch 8, n = 1"]


@pytest.mark.skipif(not installed("torch"), reason="no torch")
def test_the_others_are_timed_although_one_ended_their_process():
    workload = replace(TINY, order=12)
    jobs = [Job("published", workload, frozenset({"compiled", "torch-jet", "floor", "n-TangentProp"}))]
    found = verdicts(measuring.run(jobs, ["torch"], replace(SETTINGS, nested_seconds=0.5), {}))
    assert found.pop((12, "nested torch.autograd, eager")) == "over budget"
    assert set(found.values()) == {"timed"}


def test_a_step_weighs_at_least_what_it_has_to_keep():
    """By-hand backpropagation keeps every layer's values; more than a few times them would be a leak."""
    workload = Workload(order=1, batch=2**16)
    jobs = [Job("memory", workload, frozenset({"ours", "rival"}))]
    (cell,) = measuring.run(jobs, ["numpy"], SETTINGS, {})["cells"].values()
    (row,) = cell["contestants"]
    kept = 2 * workload.batch * workload.width * workload.depth * 8
    assert row["verdict"] == "weighed"
    assert kept <= row["bytes"] < 6 * kept


def test_a_library_that_is_absent_is_said_to_be():
    if installed("cupy"):
        pytest.skip("CuPy is here")
    record = measuring.run([Job("published", TINY)], ["cupy"], SETTINGS, {})
    assert record["libraries"]["cupy"] == {"reason": "not installed"}
    assert record["cells"] == {}


def test_the_machine_is_named():
    found = measuring.machine()
    assert found["processor"]
    assert {"ntaylor", "numpy", "python", "machine", "date"} <= set(found)


# --- what is run ----------------------------------------------------------------------------------------


def test_a_full_run_has_what_the_published_figures_have():
    jobs = full()
    assert {job.part for job in jobs} == set(PARTS)
    small = [j.workload.order for j in jobs if j.part == "published" and j.workload.dtype == "float64"]
    assert small == list(range(13))
    assert {j.workload.dtype for j in jobs} == {"float64", "float32"}
    assert all(set(FULL_GRID[key]) <= set(PUBLISHED_GRID[key]) for key in PUBLISHED_GRID)
    keys = [(job.part, job.workload.key) for job in jobs]
    assert len(set(keys)) == len(keys), "a cell has one key"
    assert {(j.workload.task, j.workload.inputs) for j in jobs if j.part == "operators"} == {
        ("laplacian", 10),
        ("laplacian", 100),
        ("laplacian", 1000),
        ("biharmonic", 5),
        ("biharmonic", 20),
    }
    assert len(quick()) < 10


def test_devices_have_short_names():
    assert short_name("cuda:1") == "cuda:1"
