"""The command as a user types it: files, messages, exit status."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from ntaylor import cli, profile_search
from ntaylor.commands import profiles


def run(*arguments, cwd):
    environment = {**os.environ, "COLUMNS": "80"}
    command = [sys.executable, "-m", "ntaylor", *arguments]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=300, check=False)


def test_a_profile_is_solved_into_a_report_a_network_and_a_picture(tmp_path):
    done = run("burgers", "--profile", "0", "--out", "here", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    written = sorted(p.name for p in (tmp_path / "here").iterdir())
    assert written == ["network.safetensors", "profile.png", "report.json"]
    report = json.loads((tmp_path / "here" / "report.json").read_text())
    assert {"profile", "lambda", "lambda_error", "max_error", "converged", "steps", "seconds"} <= set(report)
    assert report["converged"] is True
    assert report["lambda_error"] <= 1e-9
    assert report["max_error"] <= 1e-8
    assert {str(m) for m in range(4)} <= set(report["residual_norms"])
    network, lam = profile_search.load_network(tmp_path / "here" / "network.safetensors")
    assert lam == report["lambda"]
    assert abs(float(network(np.asarray(2.0))) + 1) < 1e-8
    assert (tmp_path / "here" / "profile.png").read_bytes().startswith(b"\x89PNG")
    assert "converged" in done.stdout
    assert "…" not in done.stdout, "the table is cut at 80 columns"
    assert max(map(len, done.stdout.splitlines())) <= 80

    again = run("burgers", "--profile", "0", "--out", "here", cwd=tmp_path)
    assert again.returncode == 2
    assert "give --resume to go on from it, --overwrite to start anew" in again.stderr
    resumed = run("burgers", "--profile", "0", "--out", "here", "--resume", cwd=tmp_path)
    assert resumed.returncode == 0
    assert json.loads((tmp_path / "here" / "report.json").read_text()) == report
    other = run("burgers", "--profile", "0", "--seed", "7", "--out", "here", "--resume", cwd=tmp_path)
    assert other.returncode == 2
    assert "here holds profile 0, seed 0; asked for profile 0, seed 7" in other.stderr


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM], ids=["ctrl-c", "terminated"])
def test_an_interrupted_run_leaves_a_checkpoint_and_resume_ends_where_an_unbroken_run_ends(tmp_path, how):
    command = [sys.executable, "-m", "ntaylor", "burgers", "--profile", "1", "--no-plot", "--out"]
    # A shell's background jobs ignore SIGINT, and so would their children: this one is to be a foreground one. It sees
    # to that itself, for a fork of this process is warned of where another test has loaded JAX.
    foreground = (
        "import runpy, signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
        "runpy.run_module('ntaylor', run_name='__main__', alter_sys=True)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", foreground, *command[3:], "broken"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 120
    while not (tmp_path / "broken" / "checkpoint.safetensors").exists():
        assert process.poll() is None, "it ended before a checkpoint was written"
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(how)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "the same command with --resume goes on" in " ".join(output.split())
    assert not (tmp_path / "broken" / "report.json").exists()

    refused = run(*command[3:], "broken", cwd=tmp_path)
    assert refused.returncode == 2
    assert "checkpoint of an interrupted run" in refused.stderr
    assert run(*command[3:], "broken", "--resume", cwd=tmp_path).returncode == 0
    assert run(*command[3:], "whole", cwd=tmp_path).returncode == 0
    broken, whole = (json.loads((tmp_path / name / "report.json").read_text()) for name in ("broken", "whole"))
    for key in ("lambda", "max_error", "steps", "costs_of_the_last_attempt", "residual_norms"):
        assert broken[key] == whole[key]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["burgers"], "one of the arguments --profile --all is required"),
        (["burgers", "--profile", "-1"], "is not a whole number >= 0"),
        (["burgers", "--profile", "x"], "is not a whole number >= 0"),
        (["burgers", "--profile", "1", "--all"], "not allowed with"),
        (["nonsense"], "invalid choice"),
        ([], "required"),
    ],
)
def test_bad_arguments_are_told(tmp_path, arguments, message):
    done = run(*arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert message in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_checkpoint_is_named_and_kept(tmp_path):
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "checkpoint.safetensors").write_bytes(b"broken")
    done = run("burgers", "--profile", "0", "--out", "d", "--resume", cwd=tmp_path)
    assert done.returncode == 2
    assert "is damaged" in done.stderr
    assert "Traceback" not in done.stderr
    assert (tmp_path / "d" / "checkpoint.safetensors").read_bytes() == b"broken"


def test_a_profile_that_is_not_found_is_never_reported_as_found(tmp_path, monkeypatch, capsys):
    """With every attempt rejected the command says so, shows no λ as found, and ends with status 1."""
    from ntaylor.problems.self_similar_burgers import SelfSimilarBurgers

    real = SelfSimilarBurgers.diagnose
    monkeypatch.setattr(SelfSimilarBurgers, "diagnose", lambda *a: (real(*a)[0], ["lambda_correction is too large"]))
    monkeypatch.setattr(profile_search, "_ATTEMPTS", 1)
    status = cli.main(["burgers", "--profile", "0", "--out", str(tmp_path / "d"), "--no-plot"])
    assert status == 1
    output = capsys.readouterr().out
    assert "not found" in output
    assert "lambda_correction is too large" in output
    report = json.loads((tmp_path / "d" / "report.json").read_text())
    assert report["converged"] is False
    assert report["against"] == ["lambda_correction is too large"]


def test_nothing_is_lost_when_the_picture_is_interrupted(tmp_path, monkeypatch, capsys):
    """The checkpoint stays until the report is written; --resume then only finishes."""

    def interrupted(*_):
        raise KeyboardInterrupt

    arguments = ["burgers", "--profile", "0", "--out", str(tmp_path / "d")]
    with monkeypatch.context() as patched:
        patched.setattr(profiles, "_draw", interrupted)
        assert cli.main(arguments) == 130
    assert "the same command with --resume goes on" in " ".join(capsys.readouterr().out.split())
    assert not (tmp_path / "d" / "report.json").exists()
    assert cli.main([*arguments, "--resume"]) == 0
    assert sorted(p.name for p in (tmp_path / "d").iterdir()) == ["network.safetensors", "profile.png", "report.json"]


def test_a_collapsed_network_is_reported_and_not_a_crash(tmp_path, monkeypatch):
    """U = 0 makes a figure 0/0: the report must say so, in JSON, and the run must count as failed."""
    real = profile_search._start

    def collapsed(*arguments):
        state = real(*arguments)
        theta = 0 * state.theta
        theta[-1] = state.theta[-1]
        return profile_search.State(theta)

    monkeypatch.setattr(profile_search, "_start", collapsed)
    monkeypatch.setattr(profile_search, "_ATTEMPTS", 1)
    monkeypatch.setattr(profile_search, "STAGES", ("hold",))
    assert cli.main(["burgers", "--profile", "1", "--out", str(tmp_path / "d"), "--no-plot"]) == 1
    report = json.loads((tmp_path / "d" / "report.json").read_text())
    assert report["converged"] is False
    assert report["diagnosis"]["lambda_local"]["value"] is None
    assert any(reason.startswith("lambda_local, ") and "is nan" in reason for reason in report["against"])


def test_a_narrow_terminal_gets_whole_numbers(capsys, monkeypatch):
    from rich.console import Console

    report = {"profile": 0, "lambda": 0.5, "lambda_error": 1e-16, "max_error": 2e-15, "steps": 41, "attempts": 1}
    profiles._print_summary([{**report, "seconds": 2.5, "converged": True}], Console(width=60))
    assert "λ found  0.500000000000" in capsys.readouterr().out


def test_a_console_without_greek_letters_does_not_lose_the_run(tmp_path):
    environment = {**os.environ, "COLUMNS": "80", "PYTHONIOENCODING": "cp1252"}
    command = [sys.executable, "-m", "ntaylor", "burgers", "--profile", "0", "--no-plot", "--out", "d[/b]"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "d[" / "b]" / "report.json").exists() or (tmp_path / "d[/b]" / "report.json").exists()


@pytest.mark.parametrize("content", ["{}", "garbage"])
def test_a_damaged_report_is_named(tmp_path, content):
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "report.json").write_text(content)
    done = run("burgers", "--profile", "0", "--out", "d", "--resume", cwd=tmp_path)
    assert done.returncode == 2
    assert "report.json is damaged" in done.stderr


def test_an_out_that_is_a_file_and_a_profile_out_of_reach_are_refused_at_once(tmp_path):
    (tmp_path / "f").write_text("mine")
    done = run("burgers", "--profile", "0", "--out", "f", cwd=tmp_path)
    assert done.returncode == 2
    assert "--out f is a file: give a folder" in done.stderr
    assert (tmp_path / "f").read_text() == "mine"
    done = run("burgers", "--profile", "300", cwd=tmp_path)
    assert done.returncode == 2
    assert "needs derivatives of order 604" in " ".join(done.stderr.split())


def test_overwrite_takes_the_old_report_away_first(tmp_path, monkeypatch):
    """Else an interrupted run would leave the old result looking like its own."""
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "report.json").write_text("{}")

    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(profile_search, "search", interrupted)
    assert cli.main(["burgers", "--profile", "0", "--out", str(tmp_path / "d"), "--overwrite"]) == 130
    assert list((tmp_path / "d").iterdir()) == []


def test_the_version_is_the_packages(tmp_path):
    import ntaylor

    assert run("--version", cwd=tmp_path).stdout.strip() == f"ntaylor {ntaylor.__version__}"
