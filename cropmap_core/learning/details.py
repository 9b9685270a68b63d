"""Labels finer than the classes, which a second head learns beside them, so that the embedding tells more apart.

What is one class to the user, like all other crops, is many to the eye: one that has learnt to tell them apart knows
better what is none of the crops (multi-task learning; Caruana 1997, Machine Learning 28). The head belongs to the
network in training only.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from cropmap_core.errors import JobError
from cropmap_core.learning.feeding import NO_TARGET, Indices
from models.network import Network
from models.pixel_series import PixelNetwork

FEWEST = 15
"""Training samples of a fine label that is taught."""
_HEAD = "details"


class DetailLoss:
    """The loss of a second head on a network's embedding.

    Args:
        network: By pixel; it gets the head as a part, which checkpoints and averages hold as any other.
        labels: The fine label of each sample of the file, shape (N,).
        training: The samples to learn from; of labels that fewer than `FEWEST` of them have, nothing is learnt.
        smoothing: Share of the target that is spread over all labels.

    Raises:
        JobError: The network does not look at single pixels.
    """

    def __init__(self, network: Network, labels: NDArray[np.str_], training: Indices, smoothing: float) -> None:
        if not isinstance(network, PixelNetwork):
            raise JobError("DETAILS are for networks that look at each pixel alone.", "Choose tempcnn or ltae.")
        names, counts = np.unique(labels[training], return_counts=True)
        names = names[counts >= FEWEST]
        place = np.searchsorted(names, labels).clip(max=max(len(names) - 1, 0))
        known = names[place] == labels if len(names) else np.zeros(len(labels), bool)
        self._targets = torch.from_numpy(np.where(known, place, NO_TARGET))
        self._smoothing = smoothing
        self._head = nn.Linear(network.embedding, max(len(names), 1))
        self._network = network
        self._embedded: Tensor | None = None
        network.add_module(_HEAD, self._head)
        self._hook = network.classify.register_forward_pre_hook(self._look)

    def _look(self, classify: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        self._embedded = inputs[0] if self._network.training else None

    def of(self, samples: Indices, observed: Tensor) -> Tensor:
        """Of the embeddings that the network has just classified.

        Args:
            samples: Positions in the file of the batch's samples, -1 for what is none of them, shape (B,).
            observed: Whether a sample was ever observed, shape (B,): others have no embedding.
        """
        if self._embedded is None:
            raise RuntimeError("the network has classified nothing yet")
        targets = torch.where(torch.from_numpy(samples) >= 0, self._targets[samples], NO_TARGET)
        targets = targets.to(observed.device)[observed]
        logits = self._head(self._embedded).float()
        total = nn.functional.cross_entropy(
            logits, targets, ignore_index=NO_TARGET, label_smoothing=self._smoothing, reduction="sum"
        )
        return total / (targets != NO_TARGET).sum().clamp(min=1)

    def leave(self) -> None:
        """Takes the head off the network."""
        self._hook.remove()
        delattr(self._network, _HEAD)
