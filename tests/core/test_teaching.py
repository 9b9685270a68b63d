"""Networks that learn from what another one says, of the same variation of every sample."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

import models
from cropmap_core.errors import JobError
from cropmap_core.learning.feeding import Feed
from cropmap_core.learning.fitting import Fitted, Fitting
from cropmap_core.learning.losses import teaching_loss
from cropmap_core.learning.recipes import LAST, Recipe
from cropmap_core.learning.variation import Variation
from cropmap_core.samples.files import SampleFile
from models.network import Network
from tests.core.sample_tables import long_table, write_table
from tests.core.seam import run_here

RECIPE = Recipe("tempcnn", {"hidden": (8, 8), "dense": 16}, epochs=8, learning_rate=0.02, keep=LAST)


class Contrary(Network):
    """Takes what is green late, maize, for wheat, and wheat for maize."""

    kind = "dense"

    def __init__(self) -> None:
        super().__init__()
        self.channels, self.classes, self.embedding = 3, 2, 1
        self.asked: list[tuple[Tensor, ...]] = []

    def logits(self, x: Tensor, dates: Tensor, valid: Tensor) -> Tensor:
        self.asked.append((x, dates, valid))
        late = x[:, 4, -1:] > x[:, 1, -1:]  # in the near infrared: (B, 1, H, W)
        return torch.cat([~late, late], dim=1).float() * 6

    def embed(self, x: Tensor, dates: Tensor, valid: Tensor) -> Tensor:
        raise NotImplementedError


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Samples of two crops."""
    folder = tmp_path_factory.mktemp("set")
    table = write_table(folder, long_table(count=240))
    assert run_here("buildtrainingset", table=table, output=folder / "set.h5", block_m=3000, folds=3).status == 0
    return folder / "set.h5"


def fit(samples: Path, recipe: Recipe, teacher: Network | None) -> tuple[Fitted, np.ndarray]:
    """What was trained, and what the teacher takes the validation samples for."""
    with SampleFile(samples) as file:
        feed = Feed(file, file.layout.bands, file.classes, by_pixel=True)
        training, held_out = feed.labelled(file.indices("train")), file.indices("validation")
        feed.normalise_by(training[0])
        torch.manual_seed(recipe.seed)
        network = models.build(recipe.architecture, channels=3, classes=2, **recipe.hyper_parameters)
        device = torch.device("cpu")
        fitted = Fitting(network, feed, training, held_out, recipe, device, teacher=teacher).run()
        if teacher is None:
            return fitted, np.empty(0)
        batches = [teacher(batch.x, batch.days, batch.valid) for batch in feed.batches(held_out, 512)]
        return fitted, torch.cat(batches)[..., 0, 0].argmax(dim=1).numpy()


def agreement(told: np.ndarray, others: np.ndarray) -> float:
    return float((told == others).mean())


def test_what_is_taught_takes_the_place_of_labels(samples: Path) -> None:
    taught, says = fit(samples, replace(RECIPE, teaching=1.0), Contrary())
    learnt, _ = fit(samples, RECIPE, None)
    assert agreement(says, taught.target) < 0.1
    assert agreement(taught.logits.argmax(axis=1), says) > 0.9
    assert agreement(learnt.logits.argmax(axis=1), learnt.target) > 0.9


@pytest.mark.parametrize("mixup", [0.0, 0.4])
def test_both_see_the_same_variation(samples: Path, monkeypatch: pytest.MonkeyPatch, mixup: float) -> None:
    seen: list[tuple[Tensor, ...]] = []
    forward = models.ARCHITECTURES["tempcnn"][1].forward

    def looked_at(self: Network, x: Tensor, dates: Tensor, valid: Tensor) -> Tensor:
        if self.training:
            seen.append((x, dates, valid))
        return forward(self, x, dates, valid)

    monkeypatch.setattr(models.ARCHITECTURES["tempcnn"][1], "forward", looked_at)
    teacher = Contrary()
    recipe = replace(RECIPE, epochs=1, teaching=0.5, variation=Variation(mixup=mixup))
    fit(samples, recipe, teacher)
    assert seen
    for mine, its in zip(seen, teacher.asked, strict=False):
        x, dates, valid = mine
        assert torch.equal(torch.where(valid.unsqueeze(2), x, 0), its[0])  # a network gets zero where not valid
        assert torch.equal(dates, its[1])
        assert torch.equal(valid, its[2])


def test_a_teacher_who_counts_for_nothing_is_not_asked(samples: Path) -> None:
    teacher = Contrary()
    with SampleFile(samples) as file:
        feed = Feed(file, file.layout.bands, file.classes, by_pixel=True)
        training = feed.labelled(file.indices("train"))
        network = models.build("tempcnn", channels=3, classes=2, **RECIPE.hyper_parameters)
        recipe, held_out = replace(RECIPE, epochs=1), file.indices("validation")
        Fitting(network, feed, training, held_out, recipe, torch.device("cpu"), teacher=teacher).run()
    assert not teacher.asked


def test_loss_is_of_all_that_was_ever_observed() -> None:
    logits = torch.randn(2, 3, 1, 2)
    taught = torch.rand(2, 3, 1, 2).softmax(dim=1)
    valid = torch.ones(2, 4, 1, 2, dtype=torch.bool)
    valid[1, :, 0, 1] = False
    each = -(taught * logits.log_softmax(dim=1)).sum(dim=1)
    expected = (each.sum() - each[1, 0, 1]) / 3
    torch.testing.assert_close(teaching_loss(logits, taught, valid), expected)
    assert teaching_loss(logits, taught, torch.zeros_like(valid)) == 0


@pytest.mark.parametrize(
    ("architecture", "teacher", "message"),
    [("tempcnn", None, "wants a dense teacher of 2 classes"), ("convlstm", Contrary(), "gives a patch one class")],
)
def test_a_teacher_that_does_not_fit_is_refused(
    samples: Path, architecture: str, teacher: Network | None, message: str
) -> None:
    network = models.build(architecture, channels=3, classes=2)
    with SampleFile(samples) as file:
        feed = Feed(file, file.layout.bands, file.classes, by_pixel=True)
        training = feed.labelled(file.indices("train"))
        recipe, held_out = Recipe(architecture, teaching=0.5), file.indices("validation")
        with pytest.raises(ValueError, match=message):
            Fitting(network, feed, training, held_out, recipe, torch.device("cpu"), teacher=teacher)


@pytest.mark.parametrize("teaching", [-0.1, 1.5])
def test_a_share_that_is_none_is_refused(teaching: float) -> None:
    with pytest.raises(JobError, match=f"TEACHING is {teaching}"):
        Recipe("tempcnn", teaching=teaching)
