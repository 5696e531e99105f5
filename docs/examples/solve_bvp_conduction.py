"""Heat conduction where the conductivity k(u) is a network fitted to data, inside scipy.integrate.solve_bvp.

(k(u) u')' = 0, u(0) = 0, u(1) = 1. Newton's method inside solve_bvp needs the Jacobian of the right-hand side, and
with it k', k'' of the surrogate: one call for all of them.
"""

import sys

import numpy as np
from scipy.integrate import solve_bvp
from scipy.optimize import minimize

import ntaylor as nt

steps = int(sys.argv[1]) if len(sys.argv) > 1 else 2000

# 1. The surrogate: 30 "measurements" of k(u) = 1 + u², which nothing below knows.
data = np.linspace(-0.2, 1.2, 30)
net = nt.MLP.create([1, 10, 1], seed=0)
edges = np.cumsum([p.size for p in net.parameters.values()])[:-1]


def network(theta):
    shapes = [(name, p.shape) for name, p in net.parameters.items()]
    return net.replace({name: part.reshape(s) for (name, s), part in zip(shapes, np.split(theta, edges), strict=True)})


def misfit(theta):
    loss = nt.value_and_grad(lambda p: np.mean((net.replace(p)(data) - 1 - data**2) ** 2))
    value, gradient = loss(network(theta).parameters)
    return float(value), np.concatenate([g.ravel() for g in gradient.values()])


start = np.concatenate([p.ravel() for p in net.parameters.values()])
options = {"maxiter": steps, "maxfun": 2 * steps, "ftol": 0, "gtol": 1e-12}
k = network(minimize(misfit, start, jac=True, method="L-BFGS-B", options=options).x)


# 2. The boundary value problem for y = (u, u'): u'' = −k'(u)/k(u) u'².
def fun(x, y):
    k0, k1 = nt.derivatives(k, y[0], 1)
    return np.stack([y[1], -k1 / k0 * y[1] ** 2])


def fun_jac(x, y):
    k0, k1, k2 = nt.derivatives(k, y[0], 2)
    zero, one = np.zeros_like(x), np.ones_like(x)
    return np.asarray([[zero, one], [(k1**2 - k0 * k2) / k0**2 * y[1] ** 2, -2 * k1 / k0 * y[1]]])


def ends(at_0, at_1):
    return np.asarray([at_0[0], at_1[0] - 1])


x = np.linspace(0, 1, 11)
found = solve_bvp(fun, ends, x, [x, np.ones_like(x)], fun_jac=fun_jac, tol=1e-9)
u = found.sol(x)[0]
# The exact solution makes ∫k du = u + u³/3 a straight line in x.
print(f"{found.niter} iterations, max error {np.max(np.abs(u + u**3 / 3 - 4 / 3 * x)):.1e}")
