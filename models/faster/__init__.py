"""Fast forms of trained networks, for prediction only."""

from __future__ import annotations

import torch

from models.convlstm import ConvLSTM
from models.convrnn import ConvRNN
from models.faster.convolutional_recurrence import faster_recurrence
from models.faster.hybrid_cnn import FasterHybridCNN
from models.hybrid_cnn import HybridCNN
from models.network import Network


def faster(network: Network, precision: torch.dtype = torch.float32) -> Network:
    """A fast form."""
    network = network.eval()
    if isinstance(network, HybridCNN):
        return FasterHybridCNN(network, precision)
    if isinstance(network, (ConvLSTM, ConvRNN)):
        return faster_recurrence(network, precision)
    return network
