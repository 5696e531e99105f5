"""``ntaylor check`` as a user types it: what it takes, what it says, its exit status."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys

import pytest

MODEL = """
import numpy as np
import ntaylor as nt

def network():
    return nt.MLP.create([2, 4, 1], dtype=np.float32)

def function():
    return np.sin

def with_points():
    return np.sin, np.linspace(0, 1, 3)

def with_direction():
    return lambda x: np.sin(x).sum(axis=-1), np.ones((3, 2)), np.asarray([1.0, 2.0])

def missing():
    return lambda x: np.cbrt(x) + 1

def wrong():
    nt.activations.register("steep", ode=lambda v, u: 1.001 - v * v, primal=lambda u0, xp: xp.tanh(u0))
    return nt.MLP.create([1, 4, 1], "steep")

def raises():
    return 1 / 0

def four():
    return 1, 2, 3, 4

def number():
    return 3

def listed():
    return np.sin, [1.0, 2.0]

def fails():
    return lambda x: x @ np.ones((5, 5))

def scalars_only():
    return np.sum, np.ones((2, 3))

constant = 3
"""


@pytest.fixture
def check(tmp_path):
    (tmp_path / "model.py").write_text(MODEL)
    (tmp_path / "broken.py").write_text("import a_library_that_is_not_there\n")

    def run(*arguments):
        environment = {**os.environ, "COLUMNS": "200"}
        command = [sys.executable, "-m", "ntaylor", "check", *arguments]
        return subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300, check=False
        )

    return run


@pytest.mark.parametrize(
    ("arguments", "status", "text"),
    [
        (["model.py:network"], 0, "numpy array of shape (8, 2) and dtype float32, to order 4"),
        (["model:function", "--points", "3", "--dtype", "float32"], 0, "shape (3, 1) and dtype float32"),
        (["model.py:with_points", "--order", "6"], 0, "agrees to order 6"),
        (["model.py:with_points", "--order", "6", "--limit", "2"], 0, "agrees to order 2"),
        (["model.py:with_direction"], 0, "shape (3, 2) and dtype float64"),
        (["model.py:missing"], 1, "no rule for 'cbrt'"),
        (["model.py:wrong"], 1, "DISAGREES"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_is_reported(check, arguments, status, text):
    done = check(*arguments)
    assert done.returncode == status, done.stderr
    assert text in done.stdout
    assert done.stdout.startswith(arguments[0])
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["model.py"], "SOURCE is file.py:factory or package.module:factory, such as model.py:make; got 'model.py'"),
        (["nowhere.py:f"], "there is no file nowhere.py"),
        (["nowhere:f"], "nowhere cannot be imported: ModuleNotFoundError"),
        (["broken.py:f"], "broken.py cannot be imported: ModuleNotFoundError: No module named 'a_library_that_is"),
        (["broken.py:f"], "(broken.py, line 1)"),
        (["model.py:fucntion"], "model.py has no 'fucntion': did you mean 'function'"),
        (["model.py:constant"], "model.py:constant is a int: it must be a function"),
        (["model.py:raises"], "raised ZeroDivisionError: division by zero (model.py, line 25)"),
        (["model.py:four"], "returned a tuple of 4: return the model, (model, x) or (model, x, direction)"),
        (["model.py:number"], "returned a int as the model"),
        (["model.py:listed"], "returned a list as x: it must be an array"),
        (["model.py:fails"], "the model itself fails at x, numpy array of shape (8, 1)"),
        (["model.py:scalars_only"], "pass the direction to differentiate along"),
        (["model.py:with_points", "--points", "3", "--inputs", "2"], "leave out --points and --inputs"),
        (["model.py:function", "--points", "0"], "--points and --inputs are 1 or more"),
        (["model.py:function", "--backend", "nunpy"], "unknown backend 'nunpy': did you mean 'numpy'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_is_refused(check, arguments, message):
    done = check(*arguments)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_a_torch_model_brings_its_library_dtype_and_width(check, tmp_path):
    if importlib.util.find_spec("torch") is None:
        pytest.skip("torch is not installed")
    (tmp_path / "net.py").write_text(
        "import torch\n"
        "def make():\n"
        "    return torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Tanh(), torch.nn.Linear(4, 1)).double()\n"
    )
    done = check("net.py:make")
    assert done.returncode == 0, done.stderr + done.stdout
    assert "torch array of shape (8, 3) and dtype torch.float64" in done.stdout
    assert "against nested reverse mode of torch" in done.stdout
    assert done.stderr == ""
