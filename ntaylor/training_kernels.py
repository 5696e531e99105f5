"""Training kernels: G = J Jᵀ of the residuals' gradients by a network's parameters, and its spectrum.

    >>> import numpy as np, ntaylor as nt
    >>> x = np.linspace(-1, 1, 20)[:, None]
    >>> rows = [nt.training_kernels.Rows(nt.operators.D(0, 0), x, lambda x: np.sin(x[:, 0]), weight=20**-0.5)]
    >>> r, J = nt.training_kernels.residuals_and_jacobian(rows, nt.MLP.create([1, 16, 1], seed=0))
    >>> r.shape, J.shape, nt.training_kernels.kernel(J).shape
    ((20,), (20, 49), (20, 20))

Floor 13. Under gradient flow θ′ = −∇L on L = ½ |r(θ)|² the residuals obey r′ = −J Jᵀ r, so those along an eigenvector
of G with eigenvalue λ fall as exp(−λ t): for small steps λ is the rate of training, and gradient descent of step η
needs η < 2/λ_1 (Jacot, Gabriel and Hongler, arXiv 1806.07572; for equations, Wang, Yu and Perdikaris, arXiv
2007.14527). J comes from the closed-form adjoint of the push, all samples and parameters of a network of any depth at
once. Eigenvalues are squares of J's singular values: those are computed, for squaring J would lose half the digits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from ntaylor import spectra
from ntaylor.collocation import Rows, residuals, residuals_and_gradient, residuals_and_jacobian
from ntaylor.namespace import array_namespace, describe
from ntaylor.networks import MLP

__all__ = [
    "Rows",
    "eigenvalues",
    "kernel",
    "over_training",
    "residuals",
    "residuals_and_gradient",
    "residuals_and_jacobian",
]

Array = Any


def kernel(jacobian: Array) -> Array:
    """G = J Jᵀ, (rows, rows), of J (rows, parameters)."""
    if jacobian.ndim != 2:
        raise ValueError(f"a Jacobian (rows, parameters) is wanted, got {describe(jacobian)}")
    return array_namespace(jacobian).matmul(jacobian, jacobian.T)


def eigenvalues(jacobian: Array) -> Array:
    """Those of G = J Jᵀ that can differ from 0, descending, min(rows, parameters) of them: σ(J)²."""
    values = spectra.singular_values(jacobian)
    return values * values


def over_training(
    rows: Sequence[Rows], networks: Iterable[MLP], *, each: Callable[[int, Array], None] | None = None
) -> Array:
    """Eigenvalues of the kernel at each of the networks, such as those met on the way of a training: (networks, K).

    ``each(i, eigenvalues)`` is called after every one. For :mod:`ntaylor.spectra`, which takes singular values, G is
    its own: its eigenvalues are its singular values.
    """
    found = []
    for i, net in enumerate(networks):
        found.append(eigenvalues(residuals_and_jacobian(rows, net)[1]))
        if each is not None:
            each(i, found[-1])
    if not found:
        raise ValueError("no networks were given: pass those at which the kernel is wanted")
    return array_namespace(*found).stack(found)
