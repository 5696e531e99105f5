"""``ntaylor highdim`` as a user types it: files, messages, exit status."""

from __future__ import annotations

import importlib.util
import json
import math
import os
import signal
import subprocess
import sys

import pytest

from ntaylor import cli
from ntaylor import high_dimensional_training as training
from ntaylor.storage import load_arrays

TORCH = importlib.util.find_spec("torch") is not None
# All on torch; on JAX, which compiles every one, an exact and an estimating one.
_ON_JAX = pytest.mark.skipif(importlib.util.find_spec("optax") is None, reason="no JAX and Optax")
_ON_TORCH = pytest.mark.skipif(not TORCH, reason="no torch")
METHODS = [
    *(pytest.param("jax", method, marks=_ON_JAX) for method in ("compressed", "sparse")),
    *(
        pytest.param("torch", method, marks=_ON_TORCH)
        for method in ("compressed", "sparse", "rademacher", "gaussian", "full-ad")
    ),
]
SHORT = ["--steps", "4", "--batch", "5", "--test-points", "50", "--dim", "8"]
POISSON = ["highdim", "--equation", "poisson", *SHORT]


def report_in(folder):
    return json.loads((folder / "report.json").read_text())


@pytest.mark.parametrize(("backend", "method"), METHODS)
def test_every_method_writes_a_report_and_a_network(tmp_path, capsys, backend, method):
    arguments = ["--method", method, "--backend", backend, "--output", str(tmp_path / "d")]
    unbiased = ["--unbiased"] if method == "gaussian" else []
    assert cli.main([*POISSON, *arguments, *unbiased, "--samples", "3"]) == 0
    report = report_in(tmp_path / "d")
    assert {"l2", "l1", "baseline_l2", "baseline_l1"} == set(report["errors"])
    assert all(math.isfinite(e) and e > 0 for e in report["errors"].values())
    assert report["steps"] == 4
    assert report["steps_per_second"] > 0
    assert report["peak_bytes"] > 1e7
    assert report["settings"]["method"] == method
    assert report["settings"]["unbiased"] is bool(unbiased)
    assert [point["step"] for point in report["curve"]] == [1, 2, 3, 4]
    assert sorted(p.name for p in (tmp_path / "d").iterdir()) == ["network.safetensors", "report.json"]
    arrays, about = load_arrays(tmp_path / "d" / "network.safetensors")
    assert about["steps"] == 4
    assert sorted(a.shape for a in arrays.values() if a.ndim == 2) == [(8, 128), (128, 1), *[(128, 128)] * 3]
    output = capsys.readouterr().out
    assert "relative L2 error" in output
    assert "of the baseline" in output


@pytest.mark.skipif(not TORCH, reason="no torch")
@pytest.mark.parametrize("equation", ["heat", "allen-cahn", "sine-gordon"])
def test_semilinear_equations_report_the_value_beside_the_published_one(tmp_path, capsys, equation):
    arguments = ["highdim", "--semilinear", "--equation", equation, *SHORT[:-1], "10", "--backend", "torch"]
    assert cli.main([*arguments, "--method", "full-ad", "--output", str(tmp_path / "d"), "--plot"]) == 0
    report = report_in(tmp_path / "d")
    errors = report["errors"]
    assert errors["relative"] == pytest.approx(abs(errors["value"] / errors["published_value"] - 1))
    assert report["problem"]["initial"] == ("soft" if equation == "allen-cahn" else "hard")
    assert (tmp_path / "d" / "error.png").read_bytes().startswith(b"\x89PNG")
    assert "u(0.3, 0)" in capsys.readouterr().out


@pytest.mark.skipif(not TORCH, reason="no torch")
def test_an_interrupted_command_resumes_to_what_an_unbroken_one_gives(tmp_path, monkeypatch, capsys):
    arguments = [*POISSON, "--method", "full-ad", "--backend", "torch", "--output"]
    real = training.train

    def interrupted(*positional, on_step, **named):
        def stop(at):
            on_step(at)
            if at.step == 2:
                signal.raise_signal(signal.SIGINT)

        return real(*positional, on_step=stop, **named)

    with monkeypatch.context() as patched:
        patched.setattr(training, "train", interrupted)
        assert cli.main([*arguments, str(tmp_path / "broken")]) == 130
    assert "the same command with --resume goes on" in " ".join(capsys.readouterr().out.split())
    assert [p.name for p in (tmp_path / "broken").iterdir()] == ["checkpoint.safetensors"]
    assert cli.main([*arguments, str(tmp_path / "broken")]) == 2
    assert "give --resume to go on from it" in capsys.readouterr().err
    assert cli.main([*arguments, str(tmp_path / "broken"), "--resume", "--samples", "3"]) == 2
    assert "a run with samples 16; asked for 3" in capsys.readouterr().err
    assert cli.main([*arguments, str(tmp_path / "broken"), "--resume"]) == 0
    assert cli.main([*arguments, str(tmp_path / "whole")]) == 0
    broken, whole = report_in(tmp_path / "broken"), report_in(tmp_path / "whole")
    assert broken["errors"] == whole["errors"]
    assert [p["loss"] for p in broken["curve"]] == [p["loss"] for p in whole["curve"]]

    assert cli.main([*arguments, str(tmp_path / "whole"), "--resume"]) == 0
    assert report_in(tmp_path / "whole") == whole
    assert cli.main([*arguments, str(tmp_path / "whole"), "--resume", "--seed", "1"]) == 2
    assert "a run with other arguments" in capsys.readouterr().err


@pytest.mark.skipif(not TORCH, reason="no torch")
def test_a_loss_that_is_no_number_ends_the_run_with_status_one(tmp_path, capsys):
    arguments = [*POISSON, "--method", "full-ad", "--backend", "torch", "--rate", "1e30"]
    assert cli.main([*arguments, "--output", str(tmp_path / "d")]) == 1
    assert "Try a smaller --rate" in " ".join(capsys.readouterr().out.split())
    report = report_in(tmp_path / "d")
    assert report["diverged_at_step"] is not None
    assert report["steps"] < 4


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--equation", "poisson"], "the following arguments are required: --dim"),
        (["--equation", "navier", "--dim", "4"], "invalid choice: 'navier'"),
        (["--equation", "heat", "--dim", "4"], "add --semilinear"),
        (["--equation", "poisson", "--dim", "4", "--semilinear"], "takes --equation heat"),
        (["--equation", "heat", "--dim", "4", "--semilinear", "--solution", "waves"], "leave it out with --semilinear"),
        (["--equation", "allen-cahn", "--dim", "4", "--semilinear", "--initial", "hard"], "give --initial soft"),
        (["--equation", "poisson", "--dim", "4", "--initial", "hard"], "add --semilinear, or leave it out"),
        (["--equation", "poisson", "--dim", "0"], "'0' is not a whole number >= 1"),
        (["--equation", "poisson", "--dim", "2", "--solution", "three-body"], "needs a dimension >= 3"),
        (["--equation", "poisson", "--dim", "4", "--unbiased"], "compressed is exact"),
        (["--equation", "poisson", "--dim", "4", "--rate", "-1"], "the rate must be a positive number"),
        (["--equation", "poisson", "--dim", "4", "--resume", "--overwrite"], "exclude each other"),
    ],
)
def test_bad_arguments_are_told_and_nothing_is_written(tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(training.importlib.util, "find_spec", lambda _: object())
    try:
        status = cli.main(["highdim", *arguments])
    except SystemExit as end:  # argparse's own
        status = end.code
    assert status == 2
    assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_an_output_that_is_a_file_is_refused(tmp_path, capsys):
    (tmp_path / "f").write_text("mine")
    assert cli.main([*POISSON, "--backend", "jax", "--output", str(tmp_path / "f")]) == 2
    assert "is a file: give a folder" in capsys.readouterr().err
    assert (tmp_path / "f").read_text() == "mine"


def test_a_backend_that_is_not_installed_is_told(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(training.importlib.util, "find_spec", lambda _: None)
    assert cli.main([*POISSON, "--backend", "torch", "--output", str(tmp_path / "d")]) == 2
    assert "torch is not installed: pip install 'ntaylor[torch]'" in capsys.readouterr().err
    assert cli.main([*POISSON, "--output", str(tmp_path / "d")]) == 2
    assert "training needs JAX or PyTorch" in capsys.readouterr().err


def test_the_help_says_what_is_solved_and_what_is_written():
    environment = {**os.environ, "COLUMNS": "80"}
    done = subprocess.run(
        [sys.executable, "-m", "ntaylor", "highdim", "--help"],
        env=environment, capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    text = " ".join(done.stdout.split())
    for words in ("Δu + f(u) = g in the unit ball", "report.json", "Exit status: 0 done", "--resume", "baseline"):
        assert words in text
