"""Fast forms of trained networks, for prediction only."""

from __future__ import annotations

import torch

from models.faster.hybrid_cnn import FasterHybridCNN
from models.hybrid_cnn import HybridCNN
from models.network import Network


def faster(network: Network, precision: torch.dtype = torch.float32) -> Network:
    """A fast form."""
    network = network.eval()
    if isinstance(network, HybridCNN):
        return FasterHybridCNN(network, precision)
    return network
