"""``ntaylor bench`` as a user types it: tables, the record, messages, exit status; and the page made of a record."""

from __future__ import annotations

import importlib.util
import json
from dataclasses import replace
from pathlib import Path

import pytest

from ntaylor import cli, measuring, ratios, workloads
from ntaylor.ratios import Measured
from ntaylor.workloads import Job, Workload

ROOT = Path(__file__).resolve().parent.parent
TINY = Workload(order=2, depth=1, width=4, batch=8)
QUICK = [
    *(Job("published", replace(TINY, order=n)) for n in (1, 2)),
    Job("operators", replace(TINY, inputs=3, task="laplacian")),
]


@pytest.fixture
def small(monkeypatch):
    """A run of seconds: tiny networks, few calls."""
    monkeypatch.setattr(workloads, "quick", lambda: QUICK)
    monkeypatch.setattr(workloads, "full", lambda: [*QUICK, Job("memory", TINY, frozenset({"rival", "ours"}))])
    real = measuring.Settings
    monkeypatch.setattr(measuring, "Settings", lambda *_, **__: real(seconds=0.01, least=2, most=2, cold=False))


def bench(*arguments):
    return cli.main(["bench", "--backend", "numpy", *map(str, arguments)])


def read(path):
    return json.loads(path.read_text(encoding="utf-8"))


def test_a_quick_run_prints_ratios_to_the_floor_and_to_every_rival(small, capsys):
    assert bench("--quick") == 0
    output = capsys.readouterr().out
    assert "numpy cpu float64: 1×4, batch 8" in output
    assert "numpy cpu float64: laplacian of 1×4" in output
    words = output.split()
    for head in ("n-TangentProp", "floor", "nt.MLP", "ms"):
        assert head in words
    lines = [line.split() for line in output.splitlines() if "NumPy alone" in line and "nt.MLP" in line]
    assert [line[0] for line in lines] == ["1", "2", "2"]
    assert all(float(word) > 0 for line in lines for word in line[4:])


def test_a_full_run_writes_a_record_and_goes_on_with_it(small, capsys, tmp_path, monkeypatch):
    path = tmp_path / "new" / "record.json"
    assert bench("--full", "--json", path) == 0
    output = capsys.readouterr().out
    assert f"every figure is in {path}" in output
    assert "peak memory" in output
    first = read(path)
    assert {c["part"] for c in first["cells"].values()} == {"published", "operators", "memory"}
    assert first["made_with"]["processor"]
    assert first["libraries"]["numpy"]["versions"]["numpy"]
    for cell in first["cells"].values():
        for row in cell["contestants"]:
            assert row["verdict"] in ("timed", "weighed")
            assert row["error"] <= first["tolerance"]["float64"]

    def refuse(*_):
        raise AssertionError("measured again")

    with monkeypatch.context() as patched:
        patched.setattr(measuring._Library, "cell", refuse)
        assert bench("--full", "--json", path) == 0
    assert read(path)["cells"] == first["cells"]

    assert bench("--full", "--part", "memory", "--again", "--json", path) == 0
    third = read(path)
    assert {k: c for k, c in third["cells"].items() if c["part"] != "memory"} == {
        k: c for k, c in first["cells"].items() if c["part"] != "memory"
    }
    assert set(third["cells"]) == set(first["cells"])


def test_an_interrupted_run_keeps_what_it_has_measured(small, capsys, tmp_path, monkeypatch):
    path = tmp_path / "record.json"
    real = measuring._Library.cell

    def interrupted(self, job, *rest):
        if job.part == "operators":
            raise KeyboardInterrupt
        return real(self, job, *rest)

    with monkeypatch.context() as patched:
        patched.setattr(measuring._Library, "cell", interrupted)
        assert bench("--json", path) == 130
    assert "the same command goes on" in " ".join(capsys.readouterr().out.split())
    assert len(read(path)["cells"]) == 2
    assert bench("--json", path) == 0
    assert len(read(path)["cells"]) == 3


def test_a_record_of_another_machine_is_not_gone_on_with(small, capsys, tmp_path):
    path = tmp_path / "record.json"
    assert bench("--part", "operators", "--json", path) == 0
    record = read(path)
    record["made_with"]["processor"] = "Abacus 3000"
    path.write_text(json.dumps(record), encoding="utf-8")
    capsys.readouterr()
    assert bench("--part", "operators", "--json", path) == 2
    message = capsys.readouterr().err
    assert "processor Abacus 3000 there" in message
    assert "--again to measure anew" in message
    assert bench("--part", "operators", "--json", path, "--again") == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--part", "publised"], "did you mean"),
        (["--part", "grid"], "(more with --full)"),
        (["--json", "{folder}"], "is a folder: give a file"),
        (["--json", "{folder}/damaged.json"], "is no record of ntaylor bench, or damaged"),
        (["--backend", "numpi"], "unknown backend 'numpi'"),
    ],
)
def test_what_cannot_be_done_is_refused_with_what_to_type(small, capsys, tmp_path, arguments, message):
    (tmp_path / "damaged.json").write_text("{}", encoding="utf-8")
    assert cli.main(["bench", *(word.format(folder=tmp_path) for word in arguments)]) == 2
    assert message in capsys.readouterr().err


def record_with(*rows, **about):
    """A record of one cell of 3×24, batch 256, on torch, with these rows."""
    workload = {**Workload(order=1).__dict__, **about}
    cell = {"part": "published", "backend": "torch", "device": "cpu", "workload": workload, "contestants": list(rows)}
    return {
        "made_with": measuring.machine(),
        "settings": measuring.Settings().__dict__,
        "tolerance": {"float64": 1e-8, "float32": 2e-3},
        "libraries": {
            "torch": {
                "versions": {"torch": "2", "torch-jet": "not installed"},
                "threads": {"torch": 2},
                "notes": ["a note"],
                "of": {"cpu": {"name": None, "copy": None}},
            },
            "cupy": {"reason": "not installed"},
        },
        "cells": {"published: one": cell},
    }


def row(name, mode, role, milliseconds=None, verdict="timed", **more):
    times = (
        {key: {"median": milliseconds / 1e3, "low": 0.0, "high": 1.0, "count": 3} for key in ("forward", "step")}
        if (milliseconds)
        else {}
    )
    return {"name": name, "mode": mode, "role": role, "verdict": verdict, **times, **more}


OURS = row("ntaylor, nt.MLP", "eager", "ours", 2.0)
ROWS = [
    OURS,
    row("floor", "eager", "floor", 1.0),
    row("nested torch.autograd", "eager", "rival", 1.0),
    row("n-TangentProp", "eager", "rival", 6.0),
    row("torch-jet", "eager", "rival", verdict="not installed"),
    row("fraud", "eager", "rival", verdict="wrong", error=0.5, gradient_error=None),
    row("sloth", "eager", "rival", verdict="over budget", reason="90 s"),
]


def test_a_table_has_ours_by_the_floor_and_the_others_by_ours():
    heads, lines, losses = ratios.ratio_table(record_with(*ROWS)["cells"].values())
    table = dict(zip(heads, zip(lines[0], losses[0], strict=True), strict=True))
    assert table["ms"] == ("2.00", False)
    assert table["of the floor"] == ("2.00", False)
    assert table["nested torch.autograd"] == ("0.50", True), "where ours is slower"
    assert table["n-TangentProp"] == ("3.00", False)
    assert table["torch-jet"] == ("–", False)
    assert table["fraud"] == ("WRONG", False)
    assert table["sloth"] == ("over budget", False)


def test_a_wrong_contestant_ends_the_command_with_status_one(small, capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(measuring._Library, "cell", lambda *_: [dict(r) for r in ROWS])
    assert bench("--part", "published") == 1
    output = " ".join(capsys.readouterr().out.split())
    assert "WRONG, not timed:" in output
    assert "derivatives off by 5.0e-01, gradient by no finite number, allowed 1e-08" in output


def test_targets_are_computed_from_the_record_and_say_what_is_missing():
    found = {target.against: target for target in ratios.targets(record_with(*ROWS))}
    assert len(found) == 10
    nested = found["nested torch.autograd"].measured
    assert nested[0] == Measured("ours eager", [("n = 1", 0.5, False), ("n = 2", None, None)])
    assert nested[1] == Measured("ours compiled", [("n = 6", None, None), ("n = 8", None, None)])
    other = {t.against: t for t in ratios.targets(record_with(*ROWS, width=32))}
    assert other["nested torch.autograd"].measured[0].figures[0][1] is None, "another network is not the wanted one"


def test_growth_is_a_power():
    record = record_with()
    sizes = {"depth": 5, "width": 128, "batch": 1024}
    record["cells"] = {}
    for n, ms in ((4, 1.0), (16, 8.0)):
        cell = next(iter(record_with(row("ntaylor, nt.MLP", "eager", "ours", ms), order=n, **sizes)["cells"].values()))
        record["cells"][str(n)] = {**cell, "part": "large"}
    (torch, *others) = ratios.targets(record)[8].measured
    assert torch == Measured("torch eager, 5×128", [("", pytest.approx(1.5), False)])
    assert all(value is None for m in others for _, value, _ in m.figures)


@pytest.fixture
def script():
    specification = importlib.util.spec_from_file_location("performance", ROOT / "benchmarks" / "performance.py")
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def test_the_page_shows_losing_cells_absent_libraries_and_notes(script):
    text = script.page(record_with(*ROWS))
    assert "| 1 | nt.MLP | eager | 2.00 | 2.00 | **0.50** | 3.00 | – | WRONG | over budget |" in text
    assert "ours eager: **0.50** at n = 1, not measured at n = 2" in text
    assert "- sloth, eager: over budget (90 s) at n = 1" in text
    assert "cupy: not installed." in text
    assert "torch-jet not installed" in text
    assert "a note." in text
    assert "On a GPU: not measured." in text
    assert measuring.machine()["processor"] in text


def test_the_pictures_are_those_the_page_shows(script, tmp_path, monkeypatch):
    pytest.importorskip("matplotlib")
    monkeypatch.setattr(script, "PICTURES", tmp_path)
    record = record_with(*ROWS)
    (cell,) = record["cells"].values()
    nested = [OURS, row("nested torch.autograd", "eager", "rival", 30.0)]
    for n, part in ((2, "published"), (3, "grid"), (6, "grid")):
        rows = (
            nested
            if n < 6
            else [OURS, row("nested torch.autograd", "eager", "rival", verdict="over budget", reason="20 s")]
        )
        workload = {**cell["workload"], "order": n}
        record["cells"][f"{part} {n}"] = {**cell, "part": part, "workload": workload, "contestants": rows}
    script.draw(record)
    text = script.page(record)
    written = sorted(path.name for path in tmp_path.iterdir())
    assert written == ["performance-grid.svg", "performance-published-torch.svg"]
    assert all(f"]({name})" in text for name in written)
    assert "cells of arXiv 2412.09752 2 were run; not run: width 32, 48, 76, 88, 104; batch 64, 1024, 4096." in text
    before = (tmp_path / "performance-grid.svg").read_bytes()
    script.draw(record)
    assert (tmp_path / "performance-grid.svg").read_bytes() == before, "the same record is the same file"
