"""A soliton of Korteweg and de Vries with the equation as in the paper: nt.residual, and torch's L-BFGS.

sobolev=1 adds the residual's own gradient in x and t to the loss, from the same jets: fewer points will do.
"""

import torch

import ntaylor as nt

torch.manual_seed(0)
torch.set_default_dtype(torch.float64)
net = torch.nn.Sequential(
    torch.nn.Linear(2, 20), torch.nn.Tanh(), torch.nn.Linear(20, 20), torch.nn.Tanh(), torch.nn.Linear(20, 1)
)


def kdv(u, x, t):  # the network's output, then the columns of the points
    return u.t + 6 * u * u.x + u.xxx


def soliton(points):
    return 0.5 / torch.cosh(0.5 * (points[:, :1] - points[:, 1:])) ** 2


inside = torch.cartesian_prod(torch.linspace(-4, 4, 17), torch.linspace(0, 1, 5))
edge = torch.cat(
    [
        torch.cartesian_prod(torch.linspace(-4, 4, 33), torch.zeros(1)),
        torch.cartesian_prod(torch.tensor([-4.0, 4.0]), torch.linspace(0, 1, 9)),
    ]
)
given = soliton(edge)
optimiser = torch.optim.LBFGS(net.parameters(), line_search_fn="strong_wolfe", tolerance_change=0, max_iter=20)


def loss():
    optimiser.zero_grad()
    equation = nt.residual(kdv, net, inside, sobolev=1)
    value = equation.loss([1, 0.1]) + (net(edge) - given).square().mean()
    value.backward()
    return value


for _ in range(50):
    optimiser.step(loss)
points = torch.cartesian_prod(torch.linspace(-4, 4, 81), torch.linspace(0, 1, 21))
error = torch.linalg.norm(net(points) - soliton(points)) / torch.linalg.norm(soliton(points))
print(f"relative L2 error {error:.1e}")
