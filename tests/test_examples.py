"""The programs in docs/examples run as a reader runs them, and find the closed form that they are compared with."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES = sorted((ROOT / "docs" / "examples").glob("*.py"))


def need(*libraries):
    """Skip without these. They are not imported here: DeepXDE would choose a backend and write that into a file."""
    for name in libraries:
        if importlib.util.find_spec(name) is None:
            pytest.skip(f"{name} is not installed")


def output_of(path, *arguments, cwd):
    command = [sys.executable, str(path), *map(str, arguments)]
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def error_of(name, *arguments, cwd):
    """The error in the last line that the example prints, which is by its closed form."""
    last = output_of(ROOT / "docs" / "examples" / f"{name}.py", *arguments, cwd=cwd).splitlines()[-1]
    return float(re.search(r"error (\d\.\de[+-]\d+)$", last).group(1))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda p: p.stem)
def test_an_example_is_short_and_listed(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) < 60
    assert f"(examples/{path.name})" in (ROOT / "docs" / "examples.md").read_text(encoding="utf-8")


def test_the_torch_loop_is_less_than_25_lines_with_everything():
    assert len((ROOT / "docs" / "examples" / "torch_beam.py").read_text(encoding="utf-8").splitlines()) < 25


def test_the_plain_torch_loop_finds_the_beam(tmp_path):
    need("torch")
    assert error_of("torch_beam", cwd=tmp_path) < 1e-4


def test_the_residual_language_finds_the_soliton_with_torch(tmp_path):
    need("torch")
    assert error_of("residual_kdv", cwd=tmp_path) < 2e-3


def test_equinox_and_optax_find_bratus_solution_jax(tmp_path):
    need("equinox", "optax")
    assert error_of("equinox_bratu", 1500, cwd=tmp_path) < 1e-4


def test_a_viscosity_is_found_from_measurements(tmp_path):
    last = output_of(ROOT / "docs" / "examples" / "train_burgers.py", cwd=tmp_path)
    viscosity, error = re.fullmatch(r"nu (\d\.\d{7}), relative L2 error (\S+)\n", last).groups()
    assert abs(float(viscosity) - 0.2) < 1e-6
    assert float(error) < 1e-6


def test_a_surrogate_inside_solve_bvp_finds_the_temperature(tmp_path):
    assert error_of("solve_bvp_conduction", 1000, cwd=tmp_path) < 1e-4


@pytest.mark.parametrize(("name", "bound"), [("deepxde_beam", 1e-4), ("deepxde_kdv", 2e-3)])
def test_deepxde_with_torch_finds_the_solution(name, bound, tmp_path):
    need("torch", "deepxde")
    assert error_of(name, cwd=tmp_path) < bound


def test_deepxde_and_torch_give_the_residuals_of_dde_grad(tmp_path):
    """DeepXDE's own derivatives are nested reverse mode, which shares nothing with ours."""
    need("torch", "deepxde")
    found = json.loads(output_of(ROOT / "tests" / "deepxde_comparison.py", cwd=tmp_path).splitlines()[-1])
    assert set(found) == {"beam", "kdv"}
    for name, figures in found.items():
        print(f"{name}: a step by dde.grad takes {figures['ratio']:.2f} of ours, {figures['points']} points")
        assert figures["values"] < 1e-10
        assert figures["gradients"] < 1e-9
