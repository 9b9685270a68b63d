"""What a network says of samples that it does not learn from."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray

from cropmap_core.learning.feeding import NO_TARGET, Feed, Indices
from cropmap_core.learning.patches import patches_at_random
from models.network import Network

Check = Callable[[], None]
_SEED = 0


def predict(
    network: Network,
    feed: Feed,
    index: Indices,
    at_once: int,
    patches: int,
    device: torch.device,
    check: Check = lambda: None,
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Logits of all labelled pixels of samples; of a patch network, of patches around some of them.

    Args:
        network: On the device.
        feed: Makes batches.
        index: The samples.
        at_once: Samples in a batch.
        patches: Patches of each sample, for a patch network: the same ones every time.
        device: Where the network is.
        check: Called before each batch; may raise to stop.

    Returns:
        Logits, shape (N, K), and positions of the classes, shape (N,).
    """
    network.eval()
    logits = [np.empty((0, network.classes), np.float32)]
    targets = [np.empty(0, np.int64)]
    for number, batch in enumerate(feed.batches(index, at_once)):
        check()
        x, days, valid, target = batch.x, batch.days, batch.valid, batch.target
        if network.kind == "patch":
            random = np.random.default_rng([_SEED, number])
            x, valid, target, sample = patches_at_random(x, valid, target, int(network.patch_size), patches, random)
            days = days[sample]
        with torch.inference_mode():
            found = network(x.to(device), days.to(device), valid.to(device)).float()
        looked_at = target != NO_TARGET
        logits.append(found.cpu().movedim(1, -1)[looked_at].numpy())
        targets.append(target[looked_at].numpy())
    return np.concatenate(logits), np.concatenate(targets)
