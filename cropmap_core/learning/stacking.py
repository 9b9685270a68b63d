"""Stacking: whom of an ensemble's members to believe about which class, learnt from the validation samples.

The members were not trained on those samples, but steered by them. What is learnt corrects the mean of the members'
probabilities (`models.ensemble`), by a multinomial logistic regression with a ridge: the stronger it is, the closer to
the mean. How strong is found by cross-fitting: each part of the validation samples, whole places together, is judged by
a correction fitted on the others. Of ridges that cannot be told apart the strongest is taken, and the strongest of all
is the mean itself, so that few samples do little harm.

References:
    Wolpert (1992), Stacked Generalization, Neural Networks 5; Breiman et al. (1984), Classification and Regression
    Trees (the rule of one standard error).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from cropmap_core.learning.feeding import NO_TARGET, Feed, Indices
from cropmap_core.samples.files import SampleFile
from cropmap_core.samples.places import block_numbers
from models.ensemble import LEAST_PROBABILITY, Ensemble, stacked_inputs

RIDGES = (3000.0, 1000.0, 300.0, 100.0)
"""Of a weight's square, beside the surprise of all pixels together, so that few pixels move the weights little;
strongest first, and before the first stands the mean. With weaker ones than these, 100 to 200 pixels of
`pixels/us_2021` made the log-loss on another fold up to a third larger."""
PARTS = 5
MOST_PIXELS = 50_000
"""Validation pixels that a correction is fitted on; more are drawn from at random."""
_PLACES_M = (5000, 1000)  # whole places go into one part, of the first size that makes parts enough
_STEPS = 60  # of L-BFGS

Check = Callable[[], None]
Numbers = NDArray[np.int64]


@dataclass(frozen=True)
class Stacking:
    """A correction of the mean of an ensemble's members, and what it does on samples that it was not fitted on."""

    weight: Tensor
    """Shape (K, M * K)."""
    bias: Tensor
    """Shape (K,)."""
    ridge: float | None
    """None where nothing is better than the mean."""
    parts: int
    """Parts of the validation pixels, each judged by a correction that was fitted on the others; 0 for none."""
    logits: NDArray[np.float32]
    """Of the validation pixels, each by a correction that was not fitted on it, shape (N, K)."""
    target: Numbers
    """Positions of their classes, shape (N,)."""
    surprise: float
    """Mean negative log-probability of the right class in `logits`."""
    surprise_of_mean: float
    """The same of the members' mean."""

    def as_json(self) -> dict[str, Any]:
        """As it stands in training.json."""
        return {
            "fitted_on": "validation samples, which steered the members too",
            "judged_by": "cross-fitting" if self.parts else "nothing: there are too few places",
            "pixels": len(self.target),
            "parts": self.parts,
            "ridge": self.ridge,
            "log_loss": self.surprise,
            "log_loss_of_mean": self.surprise_of_mean,
        }


@dataclass(frozen=True)
class Heard:
    """What members say of labelled pixels."""

    probabilities: Tensor
    """Shape (N, M, K)."""
    target: Numbers
    """Shape (N,)."""
    sample: Indices
    """Which sample each is of, shape (N,)."""

    def some(self, most: int, seed: int) -> Heard:
        """So many of them at most, drawn at random."""
        if len(self.target) <= most:
            return self
        kept = np.sort(np.random.default_rng(seed).choice(len(self.target), most, replace=False))
        return Heard(self.probabilities[torch.from_numpy(kept)], self.target[kept], self.sample[kept])


def hear(
    network: Ensemble, feed: Feed, index: Indices, at_once: int, device: torch.device, check: Check = lambda: None
) -> Heard:
    """What each member says of all labelled pixels of samples.

    Args:
        network: On the device, in eval mode.
        feed: Makes batches.
        index: The samples.
        at_once: Samples in a batch.
        device: Where the network is.
        check: Called before each batch; may raise to stop.
    """
    shape = (0, len(network.members), network.classes)
    said, targets, samples = [torch.empty(shape)], [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    for batch in feed.batches(index, at_once):
        check()
        x, days, valid = (each.to(device) for each in (batch.x, batch.days, batch.valid))
        with torch.inference_mode():
            x = x.masked_fill(~valid.unsqueeze(2), 0.0)
            found = network.of_members(x, days, valid).cpu()  # (B, H, W, M, K)
        looked_at = batch.target != NO_TARGET
        said.append(found[looked_at])
        targets.append(batch.target[looked_at].numpy())
        samples.append(np.repeat(batch.index, looked_at.flatten(1).sum(dim=1).numpy()))
    return Heard(torch.cat(said), np.concatenate(targets), np.concatenate(samples))


def parts_of(file: SampleFile, sample: Indices, seed: int) -> Numbers:
    """Which part of the validation pixels each belongs to, shape (N,): places of 5 km, 1 km or samples stay whole."""
    lon, lat = (file.column(name)[sample] for name in ("lon", "lat"))
    places = sample
    for size_m in _PLACES_M:
        cells = block_numbers(lon, lat, size_m)
        if (cells >= 0).all() and len(np.unique(cells)) >= 2 * PARTS:
            places = cells
            break
    _, place, sizes = np.unique(places, return_inverse=True, return_counts=True)
    part_of_place = np.zeros(len(sizes), np.int64)
    filled = np.zeros(min(PARTS, len(sizes)))
    order = np.random.default_rng(seed).permutation(len(sizes))
    for number in order[np.argsort(-sizes[order], kind="stable")]:  # the largest first, into the emptiest part
        part = int(filled.argmin())
        part_of_place[number] = part
        filled[part] += sizes[number]
    return part_of_place[place]


def stack(heard: Heard, parts: Numbers, classes: int) -> Stacking:
    """Fits a correction.

    Args:
        heard: What the members say of the validation pixels.
        parts: Which part each pixel belongs to, shape (N,).
        classes: K.
    """
    inputs = stacked_inputs(heard.probabilities.double())  # (N, M * K)
    mean = heard.probabilities.double().mean(dim=1).clamp(min=LEAST_PROBABILITY).log()  # (N, K)
    target = torch.from_numpy(heard.target)
    numbers = np.unique(parts)
    nothing = torch.zeros(classes, inputs.shape[1] + 1, dtype=torch.float64)
    crossed: dict[float | None, Tensor] = {None: mean}
    if len(numbers) > 1:
        crossed.update({ridge: torch.empty_like(mean) for ridge in RIDGES})
        for number in numbers:
            out = torch.from_numpy(parts == number)
            fitted = nothing
            for ridge in RIDGES:  # each begins where the stronger one ended
                fitted = _fit(inputs[~out], mean[~out], target[~out], ridge, fitted)
                crossed[ridge][out] = _corrected(inputs[out], mean[out], fitted)
    surprises = {ridge: functional.cross_entropy(found, target, reduction="none") for ridge, found in crossed.items()}
    chosen = _strongest(surprises, torch.from_numpy(parts))
    fitted = nothing
    for ridge in RIDGES[: RIDGES.index(chosen) + 1] if chosen is not None else ():
        fitted = _fit(inputs, mean, target, ridge, fitted)
    return Stacking(
        fitted[:, :-1].float(),
        fitted[:, -1].float(),
        chosen,
        len(numbers) if len(numbers) > 1 else 0,
        crossed[chosen].float().numpy(),
        heard.target,
        float(surprises[chosen].mean()),
        float(surprises[None].mean()),
    )


def _strongest(surprises: dict[float | None, Tensor], parts: Tensor) -> float | None:
    """The strongest ridge that is not surprised more than the best by more than one standard error.

    Of the parts or of the pixels, whichever is larger: pixels of a place are alike, and five parts may vary little by
    chance.
    """
    best = min(surprises, key=lambda ridge: float(surprises[ridge].mean()))
    for ridge, surprise in surprises.items():
        more = surprise - surprises[best]
        by_part = torch.stack([more[parts == number].mean() for number in torch.unique(parts)])
        error = max(float(each.std() / len(each) ** 0.5) if len(each) > 1 else 0.0 for each in (by_part, more))
        if float(more.mean()) <= error:
            return ridge
    return best


def _corrected(inputs: Tensor, mean: Tensor, fitted: Tensor) -> Tensor:
    return mean + inputs @ fitted[:, :-1].T + fitted[:, -1]


def _fit(inputs: Tensor, mean: Tensor, target: Tensor, ridge: float, start: Tensor) -> Tensor:
    """Weights and, last, bias of the classes that are there; those that are not keep zeros: nothing is known of them.

    Returns:
        float64, shape (K, M * K + 1).
    """
    there, place = torch.unique(target, return_inverse=True)
    some = start[there].clone().requires_grad_()
    optimiser = torch.optim.LBFGS([some], max_iter=_STEPS, line_search_fn="strong_wolfe")

    def surprise() -> Tensor:
        optimiser.zero_grad()
        logits = _corrected(inputs, mean[:, there], some)
        loss = functional.cross_entropy(logits, place) + ridge / len(place) * some.square().sum()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    optimiser.step(surprise)  # type: ignore[no-untyped-call]
    fitted = torch.zeros_like(start)
    fitted[there] = some.detach()
    return fitted
