"""All derivatives of a network, or of an array function, up to order n in one forward pass."""

from ntaylor import (
    activations,
    fields,
    finite_differences,
    jets,
    operators,
    random_features,
    spectra,
    training_kernels,
)
from ntaylor.calculus import (
    biharmonic,
    curl,
    derivative_tensor,
    divergence,
    gradient,
    hessian,
    hessian_product,
    laplacian,
    partial,
)
from ntaylor.checking import check
from ntaylor.differentiate import derivatives, jet, value_and_grad
from ntaylor.fields import residual
from ntaylor.jets import Jet
from ntaylor.namespace import MissingRule
from ntaylor.networks import MLP
from ntaylor.posing import Condition, Problem
from ntaylor.training import train

__all__ = [
    "MLP",
    "Condition",
    "Jet",
    "MissingRule",
    "Problem",
    "activations",
    "biharmonic",
    "check",
    "curl",
    "derivative_tensor",
    "derivatives",
    "divergence",
    "fields",
    "finite_differences",
    "gradient",
    "hessian",
    "hessian_product",
    "jet",
    "jets",
    "laplacian",
    "operators",
    "partial",
    "random_features",
    "residual",
    "spectra",
    "train",
    "training_kernels",
    "value_and_grad",
]

__version__ = "0.1.0"
