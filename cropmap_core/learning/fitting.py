"""Fitting of a network to samples: epoch by epoch, steered by what it does on samples that it does not learn from.

Every epoch is decided by the seed and its own number alone, so that a training that is killed goes on from its
checkpoint to the very same weights.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from cropmap_core.errors import TrainingError
from cropmap_core.learning.checkpoints import (
    State,
    Weights,
    copy_weights,
    load_checkpoint,
    on_device,
    save_checkpoint,
)
from cropmap_core.learning.details import DetailLoss
from cropmap_core.learning.feeding import NO_TARGET, Fed, Feed, Indices
from cropmap_core.learning.losses import TrainingLoss, classification_loss, sampling_weights, teaching_loss
from cropmap_core.learning.patches import patches_at_random
from cropmap_core.learning.recipes import LAST, Recipe
from cropmap_core.learning.schedule import share_of_rate
from cropmap_core.learning.scores import Scores, confusion_matrix
from cropmap_core.learning.validating import predict
from models.network import Network

Entry = Mapping[str, float]
_LEAST_BATCH, _PIXEL_BATCH, _PATCH_BATCH = 4, 256, 8
_STEPS_AN_EPOCH = 32  # at least, unless a batch is given
_AVERAGED_SHARE = 0.05  # of all steps
_ORDER, _DRAW, _WEIGHTS, _HEAD = 1, 2, 3, 4  # what is drawn at random, each by a seed of its own
_VALIDATED_AT_ONCE = 4


@dataclass(frozen=True)
class Watch:
    """Who looks on."""

    progress: Callable[[float, str], None] = lambda fraction, text: None
    """Called with the share that is done and what to say of it; may raise to stop."""
    epoch: Callable[[Entry], None] = lambda entry: None
    """Called with what was measured in an epoch."""
    warning: Callable[[str], None] = lambda text: None
    finish: bool = False
    """Ends at once with the best epoch so far."""

    def between(self, start: float, end: float) -> Watch:
        """Who looks on at what takes the share of the time from `start` to `end`."""
        return replace(self, progress=lambda done, text: self.progress(start + (end - start) * done, text))

    def part(self, number: int, count: int, name: str) -> Watch:
        """Who looks on at one of several trainings, which take alike."""
        if count == 1:
            return self

        def progress(fraction: float, text: str) -> None:
            self.progress((number + fraction) / count, f"Member {number + 1}, {name}: {text}" if text else "")

        return replace(self, progress=progress, epoch=self.epoch if number == 0 else lambda entry: None)


@dataclass(frozen=True)
class Fitted:
    """A network at its best epoch."""

    network: Network
    history: tuple[Entry, ...]
    best_epoch: int
    ended: str
    """Why training ended."""
    logits: NDArray[np.float32]
    """Of the validation pixels, not calibrated, shape (N, K)."""
    target: NDArray[np.int64]
    """Positions of their classes, shape (N,)."""


class Fitting:
    """The training of one network.

    Args:
        network: Untrained, or trained on something else.
        feed: Makes its batches.
        training: Samples to learn from, as `Feed.labelled` gives them.
        validation: Samples to look at after each epoch.
        recipe: How.
        device: Where to compute.
        folder: For the checkpoint; None for none.
        watch: Who looks on.
        teacher: A dense network of the same channels, scaling and classes, whose logits are those of probabilities; the
            recipe says how much it counts.

    Raises:
        ValueError: The recipe wants a teacher and there is none, or one that cannot teach this network.
    """

    def __init__(
        self,
        network: Network,
        feed: Feed,
        training: tuple[Indices, NDArray[np.int64]],
        validation: Indices,
        recipe: Recipe,
        device: torch.device,
        folder: Path | None = None,
        watch: Watch = Watch(),
        teacher: Network | None = None,
    ) -> None:
        self._network, self._feed, self._recipe = network.to(device), feed, recipe
        self._teacher = None
        if recipe.teaching:
            if teacher is None or (teacher.kind, teacher.classes) != ("dense", network.classes):
                raise ValueError(f"the recipe wants a dense teacher of {network.classes} classes")
            if network.kind != "dense":
                raise ValueError(f"{recipe.architecture} gives a patch one class; a teacher gives one to each pixel")
            self._teacher = teacher.to(device).eval()
        self._index, counts = training
        self._validation = validation
        self._device, self._folder, self._watch = device, folder, watch
        of_patches = feed.samples_of(2) == 1
        self._size = recipe.batch_size or _batch_size(len(self._index), of_patches)
        self._chances = sampling_weights(counts) if recipe.balance == "sampling" else None
        self._loss = TrainingLoss(recipe, feed.classes, counts.sum(axis=0), device)
        self._details = None
        if recipe.details:
            torch.manual_seed(_seed(recipe.seed, _HEAD))
            labels = feed.column(recipe.details)
            self._details = DetailLoss(self._network, labels, self._index, recipe.label_smoothing)
            network.to(device)
        self._optimiser = torch.optim.AdamW(
            network.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay
        )
        self._steps = math.ceil(len(self._index) / self._size)
        # Over more than a small part of the training an average would still hold the first, random weights.
        self._decay = min(recipe.averaging, 1 - 1 / max(1.0, _AVERAGED_SHARE * self._steps * recipe.epochs))
        self._half = computes_in_half(recipe.precision, device)
        self._worked_s = 0.0
        self._done = 0.0

    def run(self) -> Fitted:
        """Trains to the end.

        Raises:
            TrainingError: The loss is no number before there is an epoch to fall back on, or there is none to finish.
        """
        state = self._begin()
        started = time.perf_counter()
        first = state.epoch
        while not state.ended and state.epoch < self._recipe.epochs and not self._watch.finish:
            self._take_epoch(state)
            spent = time.perf_counter() - started
            left_s = spent / (state.epoch - first) * (self._recipe.epochs - state.epoch) if state.epoch > first else 0
            self._say(state, left_s)
        if not state.best:
            raise TrainingError(
                "There is no epoch yet to finish with.", "Let the training go on until the first epoch is done."
            )
        self._network.load_state_dict(on_device(state.best, self._device))
        if self._details is not None:
            self._details.leave()
        logits, target = self._validate()
        ended = state.ended or ("finished when asked to" if self._watch.finish else "all epochs are done")
        return Fitted(self._network.cpu().eval(), tuple(state.history), state.best_epoch, ended, logits, target)

    @property
    def loader_share(self) -> float:
        """Share of the time of all steps in which the network waited for batches."""
        return self._feed.waited_s / self._worked_s if self._worked_s else 0.0

    def _begin(self) -> State:
        state = load_checkpoint(self._folder) if self._folder is not None else None
        if state is None:
            average = copy_weights(self._network) if self._recipe.averaging else {}
            return State(copy_weights(self._network), average, {}, self._optimiser.state_dict())
        self._network.load_state_dict(on_device(state.network, self._device))
        self._optimiser.load_state_dict(state.optimiser)
        return state

    def _take_epoch(self, state: State) -> None:
        """One pass over the samples, then validation; what fails leaves the best epoch as it was."""
        epoch, recipe = state.epoch, self._recipe
        started = time.perf_counter()
        torch.manual_seed(_seed(recipe.seed, _WEIGHTS, epoch))  # of dropout
        average = on_device(state.average, self._device)
        losses = []
        self._network.train()
        for step, batch in enumerate(self._batches(epoch)):
            self._done = (epoch + step / self._steps) / recipe.epochs
            self._watch.progress(self._done, "")
            share = share_of_rate((epoch * self._steps + step) / (recipe.epochs * self._steps), recipe.warm_up)
            for group in self._optimiser.param_groups:
                group["lr"] = recipe.learning_rate * share
            loss = self._step(batch, np.random.default_rng([recipe.seed, _DRAW, epoch, step]))
            if loss is None:
                continue
            if not math.isfinite(loss):
                self._give_up(state, epoch, step, batch)
                return
            losses.append(loss)
            taken = epoch * self._steps + step
            _average(average, self._network, min(self._decay, (1 + taken) / (10 + taken)))
        self._worked_s += time.perf_counter() - started
        state.network, state.optimiser = copy_weights(self._network), self._optimiser.state_dict()
        if average:
            self._network.load_state_dict(average)
            state.average = copy_weights(self._network)
        entry = self._measure(epoch, losses, time.perf_counter() - started)
        state.epoch += 1
        state.history.append(dict(entry))
        best = max(state.history, key=lambda each: (each["validation_macro_f1"], -each["validation_loss"]))
        if best is state.history[-1] or recipe.keep == LAST:
            state.best, state.best_epoch = copy_weights(self._network), state.epoch
        elif recipe.patience and state.epoch - state.best_epoch >= recipe.patience:
            state.ended = f"no better epoch in {recipe.patience}"
        self._network.load_state_dict(on_device(state.network, self._device))
        if self._folder is not None:
            save_checkpoint(state, self._folder)
        self._watch.epoch(entry)

    def _batches(self, epoch: int) -> Iterator[Fed]:
        index = self._index
        if self._chances is not None:
            random = np.random.default_rng([self._recipe.seed, _ORDER, epoch])
            index = random.choice(index, len(index), p=self._chances)
        return self._feed.batches(index, self._size, self._recipe.variation, (self._recipe.seed, _ORDER, epoch))

    def _step(self, batch: Fed, random: np.random.Generator) -> float | None:
        """One step of the optimiser.

        Returns:
            The loss; None where no pixel of the batch has a target, NaN where loss or gradient is no number.
        """
        x, days, valid, target = batch.x, batch.days, batch.valid, batch.target
        if self._network.kind == "patch":
            size = int(self._network.patch_size)
            x, valid, target, sample = patches_at_random(x, valid, target, size, self._recipe.patches, random)
            days = days[sample]
        if not (target != NO_TARGET).any():
            return None
        x, days, valid, target = (each.to(self._device) for each in (x, days, valid, target))
        detailed = np.where(batch.outlier.numpy(), NO_TARGET, batch.index)
        mixed = self._recipe.variation.mixed(len(x), random)
        with self._autocast():
            if mixed is None:
                logits = self._network(x, days, valid)
                loss = self._loss_of(logits, target, detailed, valid)
            else:
                partner, share = torch.from_numpy(mixed[0]).to(self._device), mixed[1]
                x, valid = share * x + (1 - share) * x[partner], valid & valid[partner]
                logits = self._network(x, days, valid)
                loss = share * self._loss_of(logits, target, detailed, valid)
                loss = loss + (1 - share) * self._loss_of(logits, target[partner], detailed[mixed[0]], valid)
            if self._teacher is not None:
                with torch.no_grad():
                    taught = self._teacher(x, days, valid).float().softmax(dim=1)
                teaching = self._recipe.teaching
                loss = (1 - teaching) * loss + teaching * teaching_loss(logits.float(), taught, valid)
        self._optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        norm = nn.utils.clip_grad_norm_(self._network.parameters(), self._recipe.largest_gradient or math.inf)
        if not (torch.isfinite(loss) and torch.isfinite(norm)):
            return math.nan
        self._optimiser.step()
        return float(loss.detach())

    def _loss_of(self, logits: Tensor, target: Tensor, index: Indices, valid: Tensor) -> Tensor:
        loss = self._loss(logits.float(), target)
        if self._details is not None:
            loss = loss + self._recipe.detail_weight * self._details.of(index, valid.flatten(1).any(dim=1))
        return loss

    def _measure(self, epoch: int, losses: list[float], seconds: float) -> Entry:
        entry = {
            "epoch": epoch + 1,
            "train_loss": float(np.mean(losses)) if losses else math.nan,
            "validation_loss": math.nan,
            "validation_macro_f1": math.nan,
            "validation_oa": math.nan,
            "learning_rate": float(self._optimiser.param_groups[0]["lr"]),
            "seconds": round(seconds, 3),
        }
        if self._recipe.keep == LAST and epoch + 1 < self._recipe.epochs:
            return entry
        logits, target = self._validate()
        scores = Scores(confusion_matrix(target, logits.argmax(axis=1), logits.shape[1]))
        loss = classification_loss(torch.from_numpy(logits), torch.from_numpy(target), None, 0.0, None)
        return {
            **entry,
            "validation_loss": float(loss),
            "validation_macro_f1": float(scores.macro_f1),
            "validation_oa": float(scores.overall_accuracy),
        }

    def _validate(self) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        with self._autocast():
            return predict(
                self._network,
                self._feed,
                self._validation,
                _VALIDATED_AT_ONCE * self._size,
                self._recipe.patches,
                self._device,
                lambda: self._watch.progress(self._done, ""),
            )

    def _autocast(self) -> AbstractContextManager[object]:
        return torch.autocast(self._device.type, torch.bfloat16) if self._half else nullcontext()

    def _give_up(self, state: State, epoch: int, step: int, batch: Fed) -> None:
        where = f"in epoch {epoch + 1}, batch {step + 1} (samples {', '.join(map(str, batch.index[:5]))}, ...)"
        if not state.best:
            raise TrainingError(
                f"The loss is no number {where}.",
                "Lower LEARNING_RATE, or look for absurd values with summarizesamples.",
            )
        kept = "last" if self._recipe.keep == LAST else "best"
        self._watch.warning(f"The loss is no number {where}: the {kept} epoch until then, {state.best_epoch}, is kept.")
        state.ended = f"the loss was no number {where}"
        self._network.load_state_dict(on_device(state.network, self._device))
        if self._folder is not None:
            save_checkpoint(state, self._folder)

    def _say(self, state: State, left_s: float) -> None:
        if not state.history:
            return
        entry = state.history[-1]
        validated = (
            ""
            if math.isnan(entry["validation_macro_f1"])
            else f", validation {entry['validation_loss']:.3f}, macro F1 {entry['validation_macro_f1']:.3f}"
        )
        best = f" (best of epoch {state.best_epoch})" if self._recipe.keep != LAST else ""
        self._watch.progress(
            state.epoch / self._recipe.epochs,
            f"Epoch {state.epoch} of {self._recipe.epochs}: loss {entry['train_loss']:.3f}{validated}{best}; "
            f"{left_s:.0f} s left",
        )


def computes_in_half(precision: str, device: torch.device) -> bool:
    """Whether networks compute in bfloat16: with `auto` wherever the device has instructions for it."""
    if precision != "auto":
        return precision == "bfloat16"
    if device.type != "cpu":
        return device.type == "cuda"
    has = torch.cpu.get_capabilities()
    return bool(has.get("avx512_bf16") or has.get("amx_bf16"))  # without them bfloat16 is slower than float32


def _batch_size(samples: int, of_patches: bool) -> int:
    """So large that steps are quick, so small that few samples still make many steps."""
    return min(_PATCH_BATCH if of_patches else _PIXEL_BATCH, max(_LEAST_BATCH, samples // _STEPS_AN_EPOCH))


def _average(average: Weights, network: nn.Module, decay: float) -> None:
    """Moves an average of weights towards those of a network; counters are taken over."""
    if not average:
        return
    with torch.no_grad():
        for name, tensor in network.state_dict().items():
            if tensor.is_floating_point():
                average[name].lerp_(tensor, 1 - decay)
            else:
                average[name].copy_(tensor)


def _seed(*parts: int) -> int:
    return int(np.random.SeedSequence(parts).generate_state(1)[0])
