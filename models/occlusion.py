"""Occlusion: how much a class loses when a date or a channel is taken away.

It asks nothing of a network but its answers, so it explains trees and ensembles as well as what has attention or
gradients. One thing is taken away at a time: what two dates know alike neither of them seems to matter for. Zeiler and
Fergus move a grey square over an image; here a date is not valid any more, which is no date to every network (zeros to
trees on series), and a channel is at its mean.

References:
    Zeiler, Fergus (2014), Visualizing and Understanding Convolutional Networks, ECCV.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from models.network import Network

Step = Callable[[], None]


def date_importance(
    network: Network,
    x: Tensor,
    dates: Tensor,
    valid: Tensor,
    positions: Tensor | None = None,
    temperature: float = 1.0,
    step: Step = lambda: None,
) -> Tensor:
    """How much less probable a class is without each date.

    The date is taken away from all pixels of a sample: of a network that sees around, what neighbours lose counts too.

    Args:
        network: Trained, in eval mode.
        x: As in `Network.forward`, some samples: memory is that of one `forward` of them, and of the result.
        dates: As in `Network.forward`.
        valid: As in `Network.forward`.
        positions: Of the class that is asked for, int64, shape (B, H, W) of a dense, (B,) of a patch network; None for
            the class that the network gives.
        temperature: What logits are divided by.
        step: Called before each date; may raise to stop.

    Returns:
        Log-probability of the class with the date less that without it: above 0 where it speaks for the class. float32,
        shape (B, T, H, W) or (B, T). 0 for a date that is valid nowhere. A pixel without its only date is judged as
        one that was never observed.

    Raises:
        ValueError: The shapes do not belong together.
    """

    def without() -> Iterable[tuple[Tensor, Tensor]]:
        for date in range(x.shape[1]):
            left = valid.clone()
            left[:, date] = False
            yield x, left

    return _losses(network, x, dates, valid, positions, temperature, step, without())


def channel_importance(
    network: Network,
    x: Tensor,
    dates: Tensor,
    valid: Tensor,
    positions: Tensor | None = None,
    temperature: float = 1.0,
    step: Step = lambda: None,
) -> Tensor:
    """How much less probable a class is with each channel at its mean, which is 0 after normalisation, at all dates.

    Args:
        network: As in `date_importance`.
        x: As in `date_importance`.
        dates: As in `date_importance`.
        valid: As in `date_importance`.
        positions: As in `date_importance`.
        temperature: As in `date_importance`.
        step: Called before each channel; may raise to stop.

    Returns:
        Log-probability of the class with the channel less that without it, float32, shape (B, C, H, W) or (B, C).

    Raises:
        ValueError: The shapes do not belong together.
    """

    def without() -> Iterable[tuple[Tensor, Tensor]]:
        for channel in range(x.shape[2]):
            left = x.clone()
            left[:, :, channel] = 0
            yield left, valid

    return _losses(network, x, dates, valid, positions, temperature, step, without())


@torch.no_grad()
def _losses(
    network: Network,
    x: Tensor,
    dates: Tensor,
    valid: Tensor,
    positions: Tensor | None,
    temperature: float,
    step: Step,
    occluded: Iterable[tuple[Tensor, Tensor]],
) -> Tensor:
    whole = network(x, dates, valid)
    positions = whole.argmax(dim=1) if positions is None else positions
    expected = (whole.shape[0], *whole.shape[2:])
    if tuple(positions.shape) != expected:
        raise ValueError(f"positions has shape {tuple(positions.shape)}; expected {expected}")

    def of_class(logits: Tensor) -> Tensor:
        found = torch.log_softmax(logits.float() / temperature, dim=1)
        return found.gather(1, positions.unsqueeze(1)).squeeze(1)  # (B, H, W) or (B,)

    before = of_class(whole)
    after = []
    for values, there in occluded:
        step()
        after.append(of_class(network(values, dates, there)))
    return before.unsqueeze(1) - torch.stack(after, dim=1)
