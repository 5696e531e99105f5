"""All derivatives of a network, or of an array function, up to order n in one forward pass."""

from ntaylor import activations, jets
from ntaylor.checking import check
from ntaylor.differentiate import derivatives, jet, value_and_grad
from ntaylor.jets import Jet
from ntaylor.namespace import MissingRule
from ntaylor.networks import MLP

__all__ = ["MLP", "Jet", "MissingRule", "activations", "check", "derivatives", "jet", "jets", "value_and_grad"]

__version__ = "0.1.0"
