"""Fast forms of trained networks, for prediction only.

The hybrid CNN, TempCNN and L-TAE, and ensembles and auto-context of them, are computed otherwise: normalisations are
folded into weights, dates stand first, pixels are seen some thousand at a time, and what all pixels have is not masked.
Convolutional recurrences convolve what they take in of all dates at once. Auto-context over a network that itself sees
neighbours is left as it is.

They take no NaN where values are valid: a largest feature may pass over it, where the networks themselves pass it on.
Series have none there: what is not finite in a file, or becomes an index without a value, is not valid.
"""

from __future__ import annotations

import torch

from models.auto_context import AutoContext
from models.convlstm import ConvLSTM
from models.convrnn import ConvRNN
from models.ensemble import Ensemble
from models.faster.auto_context import FasterAutoContext
from models.faster.convolutional_recurrence import faster_recurrence
from models.faster.ensemble import FasterEnsemble, FasterPixelEnsemble
from models.faster.hybrid_cnn import FasterHybridCNN
from models.faster.ltae import FasterLTAE
from models.faster.network import FasterNetwork, Single, TwoStages
from models.faster.pixel_network import FasterPixelNetwork
from models.faster.tempcnn import FasterTempCNN
from models.hybrid_cnn import HybridCNN
from models.ltae import LTAE
from models.network import Network
from models.tempcnn import TempCNN

__all__ = ["FasterNetwork", "TwoStages", "faster", "has_bfloat16"]


def faster(network: Network, precision: torch.dtype = torch.float32) -> FasterNetwork:
    """The fast form of a trained network.

    All others than those named above are computed as they are, in float32 whatever the precision: it only says what
    their `logits` take.

    Args:
        network: The trained one, on its device; it is set to evaluation.
        precision: To compute in, float32 or bfloat16.

    Returns:
        A network of the same kind, stride and reach. Its `logits` take `precision` and give float32.
    """
    with torch.no_grad():
        made = _fast_form(network.eval(), precision)
    return made.to(next(iter(network.state_dict().values())).device)  # weights are rearranged on the processor


def has_bfloat16(network: Network) -> bool:
    """Whether all of a network's fast form computes in bfloat16 when it is asked to; others always in float32.

    Of an ensemble all members: channels that are rounded would be decided otherwise by trees, and save them nothing.
    """
    if isinstance(network, Ensemble):
        return all(has_bfloat16(member) for member in network.members if isinstance(member, Network))
    if isinstance(network, AutoContext):
        return network.first.receptive_radius == 0 and has_bfloat16(network.first)
    return isinstance(network, (HybridCNN, TempCNN, LTAE, ConvLSTM, ConvRNN))


def _fast_form(network: Network, precision: torch.dtype) -> FasterNetwork:
    if isinstance(network, (ConvLSTM, ConvRNN)):
        return Single(faster_recurrence(network, precision), precision)
    if isinstance(network, HybridCNN):
        return FasterHybridCNN(network, precision)
    if isinstance(network, TempCNN):
        return FasterTempCNN(network, precision)
    if isinstance(network, LTAE):
        return FasterLTAE(network, precision)
    if isinstance(network, Ensemble):
        return _ensemble(network, precision)
    if isinstance(network, AutoContext) and network.first.receptive_radius == 0:
        return FasterAutoContext(network, faster(network.first, precision), precision)
    return Single(network, precision)


def _ensemble(network: Ensemble, precision: torch.dtype) -> FasterNetwork:
    members = [faster(member, precision) for member in network.members if isinstance(member, Network)]
    alone = [member for member in members if isinstance(member, FasterPixelNetwork)]
    if len(alone) == len(members):
        return FasterPixelEnsemble(network, alone, precision)
    return FasterEnsemble(network, members, precision)
