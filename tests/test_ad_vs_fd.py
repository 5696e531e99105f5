"""The study of automatic against finite differences: its problems, its record, its findings and its command."""

from __future__ import annotations

import json
import math
import signal
from dataclasses import asdict, replace

import numpy as np
import pytest

from ntaylor import ad_vs_fd, cli, random_features
from ntaylor.ad_vs_fd_findings import (
    Count,
    _growth,
    findings,
    fit_rows,
    losses,
    method_name,
    pairs,
    smooth_enough,
    training_rows,
)
from ntaylor.ad_vs_fd_page import advice, draw, page
from ntaylor.collocation import Rows
from ntaylor.study_records import load_record, save_record

TINY = replace(
    ad_vs_fd.QUICK,
    orders=(2, 4),
    dimensions=(1,),
    activations=("tanh", "relu3"),
    seeds=1,
    features={"1": 24},
    points={"1": 24},
    width=6,
    training_points={"1": 8},
    training_steps={"1": 4},
    single=("tanh",),
    long=6,
)


@pytest.fixture(scope="module")
def record(tmp_path_factory):
    path = tmp_path_factory.mktemp("study") / "record.json"
    return ad_vs_fd.study(TINY, path)


# --- problems ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", [2, 4, 6])
@pytest.mark.parametrize("dimension", [1, 2])
def test_the_exact_solution_has_no_residual_and_nothing_has_norm_one_a_block(order, dimension):
    """Differentiated by jets from its own formula: signs, factors and boundary rows at once."""

    def u(x):
        product = 1.0
        for i in range(dimension):
            product = product * np.sin(np.pi * x[:, i] + 0.4)
        return product

    for rows in ad_vs_fd._problem(order, dimension, 6):
        assert np.abs(rows.residual(u)).max() < 1e-12
        assert np.linalg.norm(rows.residual(lambda x: 0 * x[:, 0])) == pytest.approx(1.0)
    np.testing.assert_allclose(ad_vs_fd.solution(np.asarray([[0.2] * dimension])), u(np.asarray([[0.2] * dimension])))


def test_activations_that_are_too_rough_are_fitted_beside_a_smoother_one_and_not_trained():
    cells = list(ad_vs_fd.cells(TINY))
    fitted = [(c.order, c.activation) for c in cells if c.kind == "features"]
    assert fitted == [(2, "tanh"), (2, "relu3"), (4, "tanh"), (4, "relu3"), (4, "relu5")]
    trained = {(c.order, c.activation, c.optimiser, c.dtype) for c in cells if c.kind == "training"}
    assert (4, "relu3", "gd", "float64") not in trained
    assert {(4, "relu5", "gd", "float64"), (4, "tanh", "adam", "float32")} <= trained
    assert len({c.key for c in cells}) == len(cells)
    assert smooth_enough("relu5", 4)
    assert not smooth_enough("relu3", 4)
    assert smooth_enough("tanh", 6)


# --- fits and trainings ------------------------------------------------------------------------------


def test_a_fit_by_jets_beats_coarse_differences_and_its_figures_are_those_of_the_matrix(record):
    cell = next(c for c in record["cells"].values() if (c["kind"], c["activation"]) == ("features", "tanh"))
    exact, coarse = cell["methods"]["jets"], cell["methods"]["fd 2^-3"]
    assert min(exact["error"]) < 1e-3 * min(coarse["error"])
    assert coarse["large"] > 0.01 > cell["methods"]["fd 2^-7"]["large"]
    features = random_features.create(1, 24, "tanh", scale=4.0, seed=0)
    matrix, _ = random_features.system(features, ad_vs_fd._problem(2, 1, 24))
    s = np.linalg.svd(matrix, compute_uv=False)
    assert exact["largest"] == pytest.approx(s[0], rel=1e-5)
    for i, cutoff in enumerate(TINY.cutoffs):
        kept = s[s > cutoff * s[0]]
        p = kept / kept.sum()
        if cutoff >= 1e-10:  # below, what is kept is a matter of rounding
            assert exact["number"][i] == len(kept)
            assert exact["entropy"][i] == pytest.approx(-np.sum(p * np.log(p)), rel=1e-5)
            assert exact["smallest_kept"][i] == pytest.approx(kept[-1], rel=1e-4)


def test_differences_lay_noise_of_eps_over_h_to_the_order_under_the_spectrum():
    """Where the exact spectrum has ended, the last quarter grows as h^-4 of a fourth derivative while steps shrink."""
    methods = ad_vs_fd.run(ad_vs_fd.Cell("features", 4, 1, "tanh", 0), ad_vs_fd.Settings())["methods"]
    small = [methods[f"fd 2^-{k}"]["small"] for k in (4, 5, 7, 9)]
    assert small[1] / small[0] == pytest.approx(2.0**4, rel=0.2)
    assert small[2] / small[1] == pytest.approx(4.0**4, rel=0.2)
    assert small[3] / small[2] == pytest.approx(4.0**4, rel=0.2)
    assert small[0] > 100


@pytest.mark.parametrize("optimiser", ["gd", "adam"])
def test_trainings_are_those_of_torch_with_its_own_optimisers(optimiser):
    """The same network, loss and rate by torch.optim, with u″ from nested reverse mode."""
    torch = pytest.importorskip("torch")
    settings = replace(TINY, training_steps={"1": 12})
    cell = ad_vs_fd.Cell("training", 2, 1, "tanh", 0, optimiser)
    found = ad_vs_fd.run(cell, settings)["methods"]["jets"]
    net = ad_vs_fd._start(cell, settings)
    parameters = [torch.tensor(np.array(p), requires_grad=True) for p in net.parameters.values()]
    interior, boundary = ad_vs_fd._problem(2, 1, 8)
    kind = {"gd": torch.optim.SGD, "adam": torch.optim.Adam}[optimiser]
    steps = kind(parameters, lr=found["rate"])
    losses = []

    def u(x):
        w, b, a = parameters
        return torch.tanh(x @ w + b) @ a

    for _ in range(13):
        steps.zero_grad()
        x = torch.tensor(interior.points, requires_grad=True)
        (slope,) = torch.autograd.grad(u(x).sum(), x, create_graph=True)
        (second,) = torch.autograd.grad(slope.sum(), x, create_graph=True)
        parts = [
            (second[:, 0] - torch.tensor(interior.values)) * torch.tensor(interior.weight),
            (u(torch.tensor(boundary.points))[:, 0] - torch.tensor(boundary.values)) * torch.tensor(boundary.weight),
        ]
        loss = sum(torch.sum(part**2) for part in parts)
        losses.append(float(loss.detach()))
        (loss / 2).backward()
        steps.step()
    shown = [losses[step] for step in found["curve"]["step"]]
    np.testing.assert_allclose(found["curve"]["loss"], shown, rtol=1e-5)
    np.testing.assert_allclose(found["curve"]["exact_loss"], shown, rtol=1e-5)


def test_a_training_that_diverges_says_when(monkeypatch):
    cell = ad_vs_fd.Cell("training", 2, 1, "tanh", 0, "adam")
    found = ad_vs_fd.run(cell, replace(TINY, rate=1e9, training_steps={"1": 50}))["methods"]["jets"]
    assert found["diverged_at"] is not None
    assert all(math.isfinite(v) for v in found["curve"]["loss"])


# --- the record --------------------------------------------------------------------------------------


def without_times(value):
    """Figures that are the same at every run."""
    if isinstance(value, dict):
        return {k: without_times(v) for k, v in value.items() if k not in ("seconds", "seconds_a_step")}
    return [without_times(v) for v in value] if isinstance(value, list) else value


def test_a_study_in_pieces_is_the_study_in_one(record, tmp_path):
    path, seen = tmp_path / "record.json", []
    real = ad_vs_fd.run

    def interrupted(cell, settings):
        if len(seen) == 2:
            raise KeyboardInterrupt
        seen.append(cell.key)
        return real(cell, settings)

    ad_vs_fd.run = interrupted
    try:
        with pytest.raises(KeyboardInterrupt):
            ad_vs_fd.study(TINY, path)
    finally:
        ad_vs_fd.run = real
    assert list(json.loads(path.read_text(encoding="utf-8"))["cells"]) == seen
    again = []
    whole = ad_vs_fd.study(TINY, path, each=lambda done, _, key: again.append((done, key)))
    assert again[0][0] == 2
    assert not {key for _, key in again} & set(seen)
    assert without_times(whole["cells"]) == without_times(record["cells"])
    assert without_times(load_record(path, asdict(TINY))["cells"]) == without_times(record["cells"])


def test_no_time_is_no_cell_and_an_ended_study_runs_nothing(record, tmp_path, monkeypatch):
    path = tmp_path / "record.json"
    assert ad_vs_fd.study(TINY, path, seconds=-1.0)["cells"] == {}
    save_record(path, record)
    monkeypatch.setattr(ad_vs_fd, "run", lambda *_: pytest.fail("a cell was run again"))
    assert ad_vs_fd.study(TINY, path)["cells"].keys() == record["cells"].keys()


def test_records_of_other_studies_and_damaged_ones_are_refused_and_kept(record, tmp_path):
    path = tmp_path / "record.json"
    save_record(path, record)
    before = path.read_bytes()
    with pytest.raises(ValueError, match="other scale, seeds"):
        ad_vs_fd.study(replace(TINY, seeds=2, scale={"1": 1.0, "2": 1.0}), path)
    assert path.read_bytes() == before
    for damaged in (b'{"cells": {}}', before[: len(before) // 2], b"[]"):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match="no record of this study, or is damaged"):
            ad_vs_fd.study(TINY, path)
        assert path.read_bytes() == damaged


# --- findings ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("count", "verdict"),
    [
        (Count(9, 1, 0), "confirmed"),
        (Count(0, 1, 9), "refuted: the opposite holds"),
        (Count(1, 9, 0), "no difference"),
        (Count(5, 5, 0), "never the opposite, but often equal"),
        (Count(5, 0, 5), "not in general"),
        (Count(0, 0, 0), "not measured"),
    ],
)
def test_verdicts_want_nine_tenths(count, verdict):
    assert count.verdict == verdict


def altered(record, change):
    """The record with its exact figures changed by ``change(methods)``."""
    content = json.loads(json.dumps(record))
    for cell in content["cells"].values():
        change(cell["kind"], cell["methods"])
    return content


def verdicts(content):
    return {statement: verdict for statement, verdict, _ in findings(content)}


def test_findings_follow_the_record(record):
    """A record in which AD's entropies are larger and its losses lower confirms, the mirrored one refutes."""

    def better(factor):
        def change(kind, methods):
            for name, f in methods.items():
                if kind == "features":
                    f["normalised"] = [factor if name == "jets" else 1.0] * len(f["normalised"])
                else:
                    f["curve"]["exact_loss"][-1] = 1.0 if name == "jets" else factor

        return altered(record, change)

    up, down = verdicts(better(2.0)), verdicts(better(0.5))
    assert up["AD's truncated entropy H(a)/log N_a is larger"] == "confirmed, whatever the cut-off"
    assert down["AD's truncated entropy H(a)/log N_a is larger"].startswith("refuted")
    assert (
        up["AD trains faster, by Adam"]
        == "coarsest step: confirmed; chosen step: confirmed; best of the tried steps: confirmed"
    )
    assert "refuted" in down["AD trains faster, by gradient descent"]
    assert set(up["more so at higher order"].split("; ")) == {
        f"{s} step: no difference" for s in ("coarsest", "chosen", "best")
    }


def test_a_finding_that_holds_at_one_cut_off_alone_says_so(record):
    def change(kind, methods):
        if kind == "features":
            for name, f in methods.items():
                f["normalised"] = [2.0 if name == "jets" and i < 2 else 1.0 for i in range(len(f["normalised"]))]

    verdict = verdicts(altered(record, change))["AD's truncated entropy H(a)/log N_a is larger"]
    assert verdict == "confirmed; how often, depends on the cut-off"


def test_never_is_said_of_those_cut_offs_alone_at_which_it_was_never(record):
    def change(kind, methods):
        if kind == "features":
            for name, f in methods.items():
                f["entropy"] = [1.0] * len(f["entropy"])
                if name == "fd auto":
                    f["entropy"] = [0.5] * (len(f["entropy"]) - 1) + [0.5 if f["rank_of_cell"] else 2.0]

    content = json.loads(json.dumps(record))
    for i, cell in enumerate(c for c in content["cells"].values() if c["kind"] == "features"):
        for f in cell["methods"].values():
            f["rank_of_cell"] = i
    verdict = verdicts(altered(content, change))["AD's truncated entropy H(a) is larger"]
    assert verdict == "never the opposite, but often equal, at all cut-offs but 0.0001 σ_1"


@pytest.mark.parametrize(
    ("at_order", "verdict"),
    [
        ({2: 1.0, 4: 2.0}, "yes"),
        ({2: 2.0, 4: 1.0}, "no, less so"),
        ({2: 1.0, 4: 1.0}, "no difference"),
    ],
)
def test_more_so_at_higher_order_compares_medians_and_says_of_how_many(record, at_order, verdict):
    content = json.loads(json.dumps(record))
    for cell in content["cells"].values():
        if cell["kind"] == "long":
            for name, f in cell["methods"].items():
                f["curve"]["exact_loss"][-1] = 1.0 if name == "jets" else at_order[cell["order"]]
    (found,) = [f for f in findings(content) if f[0] == "more so at higher order, in long trainings"]
    assert found[1] == "; ".join(f"{step} step: {verdict}" for step in ("coarsest", "chosen", "best"))
    assert found[2].count("(1/1 pairs)") == 3


def test_growth_that_is_not_at_every_order_says_so():
    assert [_growth(r) for r in ([1, 3, 2], [1, 0.5, 1], [1, 1.005, 1], [2])] == [
        "not at every order",
        "no",
        "no difference",
        "not measured",
    ]


def test_exact_derivatives_that_diverge_have_lost(record):
    def diverge(*which):
        def change(kind, methods):
            if kind != "features":
                for name, f in methods.items():
                    f["diverged_at"] = 3 if (name == "jets") in which else None

        return altered(record, change)

    every = len(losses(record))
    assert losses(diverge(True))
    assert all(math.isinf(exact) for _, exact in losses(diverge(True)))
    assert all(math.isinf(other) for other, _ in losses(diverge(False)))
    assert len(losses(diverge(False))) == every
    assert losses(diverge(True, False)) == []
    assert "refuted" in verdicts(diverge(True))["AD trains faster, by Adam"]
    assert verdicts(diverge(False))["AD trains faster, by gradient descent"].startswith("coarsest step: confirmed")


def test_where_differences_win_is_counted(record):
    def change(kind, methods):
        if kind == "features":
            for name, f in methods.items():
                f["error"] = [1.0 if name == "jets" else 2.0] * len(f["error"])

    assert "in 0 of 5 groups of fits." in advice(altered(record, change))[-1]
    content = altered(record, change)
    for cell in content["cells"].values():
        if (cell["kind"], cell["activation"], cell["order"]) == ("features", "tanh", 4):
            cell["methods"]["fd auto"]["error"][0] = 0.5
    assert "in 1 of 5 groups of fits: tanh at order 4." in advice(content)[-1]


def test_pairs_leave_rough_activations_out(record):
    found = pairs(record, "features")
    assert all(smooth_enough(c["activation"], c["order"]) for _, _, c in found)
    assert len(found) == 4 * 6  # four smooth cells, five steps and the chosen one


def test_tables_have_a_cell_a_head_and_mark_what_is_rough(record):
    from ntaylor.ad_vs_fd_findings import FIT_HEAD, TRAINING_HEAD

    rows = fit_rows(record)
    assert all(len(row) == len(FIT_HEAD) for row in rows)
    assert {row[2] for row in rows} == {"tanh", "relu3", "relu3 *", "relu5"}
    assert all(len(row) == len(TRAINING_HEAD) for row in training_rows(record))
    assert len(fit_rows(record, short=True)) < len(rows)


def test_relu_is_the_first_of_its_powers():
    assert not smooth_enough("relu", 2)
    assert not smooth_enough("relu1", 2)
    assert smooth_enough("relu3", 2)
    assert smooth_enough("selu", 2)


def test_steps_are_named_as_powers_of_two():
    assert [method_name(h) for h in (2.0**-7, 0.1, None)] == ["fd 2^-7", "fd 0.1", "fd auto"]


def test_the_page_ends_with_ten_sentences_of_the_records_numbers(record):
    text = page(record)
    tail = text.partition("## What this means for your PINN\n")[2].strip().splitlines()
    assert [line.split(".")[0] for line in tail] == [str(i) for i in range(1, 11)]
    assert [line.split(". ", 1)[1] for line in tail] == advice(record)


def test_sentences_follow_the_record(record):
    def change(kind, methods):
        for name, f in methods.items():
            if kind == "features":
                f["error"] = [0.125 if name == "jets" else 0.5] * len(f["error"])

    first, second, *_ = advice(altered(record, change))
    assert "a median error of 0.12, 0.12 by exact ones, and of 0.5, 0.5 by differences" in first
    assert second.endswith("0.5, 0.5.")
    assert advice(record)[0] != first


def test_pictures_are_drawn_and_what_is_not_measured_is_left_out(record, tmp_path):
    pytest.importorskip("matplotlib")
    paths = draw(record, tmp_path, "x")
    assert [p.name for p in paths] == ["x-spectra.png", "x-steps.png", "x-loss.png", "x-kernels.png"]
    assert all(p.read_bytes().startswith(b"\x89PNG") for p in paths)
    only = {**record, "cells": {k: c for k, c in record["cells"].items() if c["kind"] == "features"}}
    assert [p.name for p in draw(only, tmp_path, "y")] == ["y-spectra.png", "y-steps.png"]
    assert len(advice(only)) == 10
    assert findings(only)


# --- the command -------------------------------------------------------------------------------------

SMALL = ["ad-vs-fd", "--quick", "--orders", "2", "--dims", "1", "--activations", "tanh", "--seeds", "1"]
SMALL += ["--training-steps", "3", "--long-steps", "4", "--h", "0.125", "0.0078125", "--no-plot", "--output"]


def test_the_command_prints_tables_and_findings_and_keeps_the_record(tmp_path, capsys):
    folder = tmp_path / "d"
    assert cli.main([*SMALL, str(folder)]) == 0
    output = capsys.readouterr().out
    content = json.loads((folder / "record.json").read_text(encoding="utf-8"))
    assert {c["kind"] for c in content["cells"].values()} == {"features", "training", "long"}
    for words in ("H/log N", "fd 2^-7", "fd auto", "AD trains faster, by Adam", "smallest kept", "10. "):
        assert words in output
    lines = [line for line in output.splitlines() if "jets" in line and "tanh" in line]
    heads = [line for line in output.splitlines() if line.startswith("order")]
    assert lines[0].index("jets") == heads[0].index("method")
    assert [p.name for p in folder.iterdir()] == ["record.json"]

    before = (folder / "record.json").read_bytes()
    assert cli.main([*SMALL, str(folder)]) == 2
    assert "give --resume" in capsys.readouterr().err
    assert cli.main([*SMALL, str(folder), "--resume"]) == 0
    assert (folder / "record.json").read_bytes() == before
    assert cli.main([*SMALL, str(folder), "--resume", "--training-steps", "4"]) == 2
    assert "other training_steps" in capsys.readouterr().err


def test_an_interrupted_command_goes_on(tmp_path, monkeypatch, capsys):
    real = ad_vs_fd.run

    def interrupted(cell, settings):
        if cell.kind == "training":
            signal.raise_signal(signal.SIGTERM)  # SIGINT is ignored where a shell started this in the background
        return real(cell, settings)

    with monkeypatch.context() as patched:
        patched.setattr(ad_vs_fd, "run", interrupted)
        assert cli.main([*SMALL, str(tmp_path)]) == 130
    assert "the same command with --resume goes on" in " ".join(capsys.readouterr().out.split())
    assert cli.main([*SMALL, str(tmp_path), "--resume"]) == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--orders", "3"], "invalid choice: 3"),
        (["--activations", "tahn"], "did you mean 'tan' or 'tanh'"),
        (["--h", "-1"], "--h takes steps in (0, 1]"),
        (["--seeds", "0"], "'0' is not a whole number >= 1"),
        (["--resume", "--overwrite"], "exclude each other"),
    ],
)
def test_bad_arguments_are_told_and_nothing_is_written(tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    try:
        status = cli.main(["ad-vs-fd", *arguments])
    except SystemExit as end:  # argparse's own
        status = end.code
    assert status == 2
    assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_an_output_that_is_a_file_is_refused(tmp_path, capsys):
    (tmp_path / "f").write_text("mine")
    assert cli.main([*SMALL, str(tmp_path / "f")]) == 2
    assert "is a file: give a folder" in capsys.readouterr().err
    assert (tmp_path / "f").read_text() == "mine"


def test_rows_by_another_method_are_the_same_rows():
    rows = ad_vs_fd._problem(2, 1, 6)[0]
    other = rows.by("fd", step=0.125)
    assert isinstance(other, Rows)
    np.testing.assert_array_equal(other.right(), rows.right())
    assert (other.method, rows.method) == ("fd", "auto")
