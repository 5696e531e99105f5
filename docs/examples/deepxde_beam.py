"""A cantilever in DeepXDE, u'''' + 1 = 0, whose derivatives are ntaylor's: in place of nested dde.grad.hessian.

DeepXDE hands (x, u) to the equation, the values only. The network is reached as the name `net`, and called by
ntaylor as it is, output transform included.
"""

import functools
import os

os.environ["DDE_BACKEND"] = "pytorch"  # before it is imported
import deepxde as dde

import ntaylor as nt

dde.config.set_default_float("float64")
dde.config.set_random_seed(0)

net = dde.nn.FNN([1, 20, 20, 1], "tanh", "Glorot uniform")
net.apply_output_transform(lambda x, u: x**2 * u)  # u(0) = u'(0) = 0 by construction


@functools.lru_cache(maxsize=1)
def derivatives(x, u):
    """All to order 4 in one pass. DeepXDE makes a new u every step, and hands it to the equation and to conditions."""
    return nt.derivatives(net, x, 4)


def beam(x, u):
    return derivatives(x, u)[4] + 1


def bending(x, u, _):
    return derivatives(x, u)[2]


def shear(x, u, _):
    return derivatives(x, u)[3]


def free_end(x, on_boundary):
    return on_boundary and dde.utils.isclose(x[0], 1)


rod = dde.geometry.Interval(0, 1)
ends = [dde.icbc.OperatorBC(rod, condition, free_end) for condition in (bending, shear)]
data = dde.data.PDE(
    rod, beam, ends, num_domain=20, num_boundary=2, solution=lambda x: -(x**4) / 24 + x**3 / 6 - x**2 / 4, num_test=100
)
model = dde.Model(data, net)
dde.optimizers.config.set_LBFGS_options(maxiter=1000)
model.compile("L-BFGS", metrics=["l2 relative error"])

if __name__ == "__main__":
    _, state = model.train()
    print(f"relative L2 error {state.best_metrics[0]:.1e}")
