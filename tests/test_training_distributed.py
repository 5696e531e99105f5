"""Points shared out among processes or devices: the losses are those of one process that has them all."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from training_cases import decay, heat

import ntaylor as nt

HERE = Path(__file__).parent
OPTIONS = {"points": 64, "condition_points": 24, "progress": False}

_TORCH = """
import json, sys
import torch
torch.set_num_threads(1)
torch.distributed.init_process_group("gloo")
sys.path.insert(0, {here!r})
from training_cases import heat
import ntaylor as nt
net = nt.MLP.create([2, 8, 1], xp=torch, dtype=torch.float64, seed=torch.distributed.get_rank())
found = {{}}
for optimizer in ("adam", "lbfgs"):
    result = nt.train(heat(), net, optimizer=optimizer, steps=8, rate=1e-2, **{options!r})
    found[optimizer] = [p.loss for p in result.history]
    found[optimizer + " bias"] = result.network.parameters["0.bias"].tolist()
try:
    nt.train(heat(), net, steps=1, **{options!r})
except ValueError as error:
    found["lm"] = str(error)
print(json.dumps(found))
torch.distributed.destroy_process_group()
"""

_JAX = """
import json, sys
import jax
jax.config.update("jax_enable_x64", True)
import jax.numpy as jnp
sys.path.insert(0, {here!r})
from training_cases import decay
import ntaylor as nt
assert len(jax.devices()) == 4
mesh = jax.make_mesh((4,), ("points",))
net = nt.MLP.create([1, 8, 1], xp=jnp, dtype=jnp.float64, seed=0)
found = {{}}
alone = nt.train(decay(), net, optimizer="adam", steps=5, rate=1e-2, **{options!r})
found["alone"] = [p.loss for p in alone.history]
for optimizer in ("adam", "lm"):
    result = nt.train(decay(), net, optimizer=optimizer, steps=5, rate=1e-2, devices=mesh, **{options!r})
    found[optimizer] = [p.loss for p in result.history]
    found[optimizer + " devices"] = len(result.network.parameters["0.bias"].devices())
try:
    nt.train(decay(), net, steps=1, devices=mesh, **{{**{options!r}, "points": 61}})
except ValueError as error:
    found["61"] = str(error)
print(json.dumps(found))
"""


def _environment(**more):
    return {**os.environ, "OMP_NUM_THREADS": "1", **more}


def _started(script, **environment):
    code = script.format(here=str(HERE), options=OPTIONS)
    return subprocess.Popen(
        [sys.executable, "-c", code],
        env=_environment(**environment),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _answer(process):
    out, err = process.communicate(timeout=240)
    assert process.returncode == 0, err[-3000:]
    return json.loads(out.strip().splitlines()[-1])


def test_two_gloo_processes_of_torch_take_the_steps_of_one():
    torch = pytest.importorskip("torch")
    if not torch.distributed.is_available():
        pytest.skip("torch was built without torch.distributed")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    where = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": "2"}
    processes = [_started(_TORCH, RANK=str(rank), **where) for rank in (0, 1)]
    found = [_answer(p) for p in processes]
    assert found[0] == found[1]
    # The second process began with another network: all start from the first one's.
    net = nt.MLP.create([2, 8, 1], xp=torch, dtype=torch.float64, seed=0)
    for optimizer in ("adam", "lbfgs"):
        alone = nt.train(heat(), net, optimizer=optimizer, steps=8, rate=1e-2, **OPTIONS)
        np.testing.assert_allclose(found[0][optimizer], [p.loss for p in alone.history], rtol=1e-10)
        np.testing.assert_allclose(
            found[0][f"{optimizer} bias"], alone.network.parameters["0.bias"], rtol=1e-7, atol=1e-9
        )
    assert "least squares run in one process" in found[0]["lm"]


def test_four_devices_of_jax_take_the_steps_of_one():
    pytest.importorskip("jax")
    found = _answer(_started(_JAX, XLA_FLAGS="--xla_force_host_platform_device_count=4", JAX_PLATFORMS="cpu"))
    np.testing.assert_allclose(found["adam"], found["alone"], rtol=1e-10)
    net = nt.MLP.create([1, 8, 1], seed=0)
    alone = nt.train(decay(), net, optimizer="lm", steps=5, **OPTIONS)  # NumPy's, which need not be compiled
    np.testing.assert_allclose(found["lm"], [p.loss for p in alone.history], rtol=1e-8)
    assert found["adam devices"] == found["lm devices"] == 4
    assert "61 points for 4 devices" in found["61"]
