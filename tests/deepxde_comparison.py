"""The residuals of the DeepXDE examples by ntaylor and by dde.grad, nested reverse mode: run by test_examples.py.

A process of its own, for DeepXDE sets torch's default dtype. Prints, as JSON, for each example the largest difference
of the residuals and of their gradients by the parameters, each by the largest value, and how often a step of ours, with
its backward pass, goes into one of theirs.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "docs" / "examples"))

import deepxde_beam
import deepxde_kdv
import torch

dde = deepxde_kdv.dde


def nested_beam(x, u):
    curvature = dde.grad.hessian(u, x)
    return dde.grad.hessian(curvature, x) + 1, curvature, dde.grad.jacobian(curvature, x)


def nested_kdv(points, u):
    u_x = dde.grad.jacobian(u, points, j=0)
    u_xx = dde.grad.jacobian(u_x, points, j=0)
    return (dde.grad.jacobian(u, points, j=1) + 6 * u * u_x + dde.grad.jacobian(u_xx, points, j=0),)


def our_beam(x, u):
    return deepxde_beam.beam(x, u), deepxde_beam.bending(x, u, None), deepxde_beam.shear(x, u, None)


def our_kdv(points, u):
    return (deepxde_kdv.kdv(points, u),)


def compared(example, ours, nested):
    x = torch.as_tensor(example.data.train_x).requires_grad_()
    parameters = list(example.net.parameters())

    def step(residuals):
        dde.gradients.clear()
        example.net.zero_grad()
        found = residuals(x, example.net(x))
        sum(r.square().mean() for r in found).backward()
        # A copy: the next step's backward pass would write into what zero_grad left.
        return [r.detach() for r in found], [p.grad.clone() for p in parameters if p.grad is not None]

    def difference(a, b):
        assert len(a) == len(b)
        return max(float((p - q).abs().max() / q.abs().max()) for p, q in zip(a, b, strict=True))

    values, gradients = zip(step(ours), step(nested), strict=True)
    ratios = []
    for _ in range(15):
        seconds = []
        for residuals in (ours, nested):
            start = time.perf_counter()
            step(residuals)
            seconds.append(time.perf_counter() - start)
        ratios.append(seconds[1] / seconds[0])
    return {
        "values": difference(*values),
        "gradients": difference(*gradients),
        "ratio": statistics.median(ratios),
        "points": len(x),
    }


figures = {
    "beam": compared(deepxde_beam, our_beam, nested_beam),
    "kdv": compared(deepxde_kdv, our_kdv, nested_kdv),
}
print(json.dumps(figures))
