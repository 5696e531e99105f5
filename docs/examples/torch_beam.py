"""A beam on an elastic foundation, u'''' + 4u = 0 from u = 1, u' = u'' = u''' = 0 at 0: u is cos x cosh x."""

import torch

import ntaylor as nt

torch.manual_seed(0)
net = torch.nn.Sequential(torch.nn.Linear(1, 20), torch.nn.Tanh(), torch.nn.Linear(20, 1)).double()
x = torch.linspace(0, 1, 40, dtype=torch.float64)[:, None]
optimiser = torch.optim.LBFGS(net.parameters(), line_search_fn="strong_wolfe", tolerance_change=0, max_iter=20)


def loss():
    optimiser.zero_grad()
    u = nt.derivatives(net, x, 4)  # u[k] is the k-th derivative: (5, 40, 1), from one pass
    value = (u[4] + 4 * u[0]).square().mean() + (u[0, 0, 0] - 1) ** 2 + u[1:4, 0].square().sum()
    value.backward()
    return value


for _ in range(50):
    optimiser.step(loss)
print(f"max error {(net(x) - torch.cos(x) * torch.cosh(x)).abs().max():.1e}")
