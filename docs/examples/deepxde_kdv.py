"""A soliton of Korteweg and de Vries in DeepXDE, u_t + 6 u u_x + u_xxx = 0, with derivatives from ntaylor.

The layers are a plain nn.Sequential inside of DeepXDE's module: that is what ntaylor runs fastest on a CPU.
"""

import os

os.environ["DDE_BACKEND"] = "pytorch"  # before it is imported
import deepxde as dde
import numpy as np
from torch import nn, tensor

import ntaylor as nt

dde.config.set_default_float("float64")
dde.config.set_random_seed(0)


class Network(dde.nn.pytorch.NN):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(2, 20), nn.Tanh(), nn.Linear(20, 20), nn.Tanh(), nn.Linear(20, 1))

    def forward(self, points):
        return self.layers(points)


net = Network()
along_x, along_t = tensor([1.0, 0.0]), tensor([0.0, 1.0])


def kdv(points, u):
    points = points.detach()  # gradients are wanted by the weights, not by the points
    _, u_x, _, u_xxx = nt.derivatives(net.layers, points, 3, along_x)
    return nt.derivatives(net.layers, points, 1, along_t)[1] + 6 * u * u_x + u_xxx


def soliton(p):
    return 0.5 / np.cosh(0.5 * (p[:, :1] - p[:, 1:])) ** 2


def slope(p):
    return -soliton(p) * np.tanh(0.5 * (p[:, :1] - p[:, 1:]))


domain = dde.geometry.GeometryXTime(dde.geometry.Interval(-4, 4), dde.geometry.TimeDomain(0, 1))
ends = dde.icbc.DirichletBC(domain, soliton, lambda _, on_boundary: on_boundary)
right = dde.icbc.NeumannBC(domain, slope, lambda p, on_boundary: on_boundary and p[0] > 0)
start = dde.icbc.IC(domain, soliton, lambda _, on_initial: on_initial)
data = dde.data.TimePDE(domain, kdv, [ends, right, start], 400, 80, 80, solution=soliton, num_test=1000)
model = dde.Model(data, net)
dde.optimizers.config.set_LBFGS_options(maxiter=1000)
model.compile("L-BFGS", metrics=["l2 relative error"])

if __name__ == "__main__":
    _, state = model.train()
    print(f"relative L2 error {state.best_metrics[0]:.1e}")
