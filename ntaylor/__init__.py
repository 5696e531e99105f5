"""All derivatives of a network, or of an array function, up to order n in one forward pass."""

from ntaylor import activations, fields, jets, operators
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

__all__ = [
    "MLP",
    "Jet",
    "MissingRule",
    "activations",
    "biharmonic",
    "check",
    "curl",
    "derivative_tensor",
    "derivatives",
    "divergence",
    "fields",
    "gradient",
    "hessian",
    "hessian_product",
    "jet",
    "jets",
    "laplacian",
    "operators",
    "partial",
    "residual",
    "value_and_grad",
]

__version__ = "0.1.0"
