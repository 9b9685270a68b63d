"""Ensembles: the mean as it was, and a correction that learns whom to believe and leaves alone what it cannot judge."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

import models
from cropmap_core.inference.bundles import load_bundle
from cropmap_core.learning.stacking import PARTS, Heard, parts_of, stack
from cropmap_core.samples.files import SampleFile
from models.ensemble import LEAST_PROBABILITY
from models.faster import faster
from tests.core.made_of_networks import ensemble, ensemble_of
from tests.core.sample_tables import long_table, write_table
from tests.core.seam import Outcome, run_here
from tests.core.test_networks import CHANNELS, CLASSES, DENSE, SMALL, as_member, network, season, with_holes

TOLD = {**as_member("tempcnn"), "temperature": 1.0}


def masked(example: tuple[Tensor, Tensor, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    """As `logits` gets it."""
    x, dates, valid = example
    return torch.where(valid.unsqueeze(2), x, 0.0), dates, valid


def probabilities(network: Any, example: tuple[Tensor, Tensor, Tensor]) -> Tensor:
    return torch.softmax(network(*example), dim=1)


def heard(count: int, seed: int) -> Heard:
    """Two members: the first knows classes 0 and 1, the second 2 and 3; what they do not know they claim boldly."""
    random = np.random.default_rng(seed)
    target = random.integers(CLASSES, size=count)
    logits = random.normal(0, 1, (count, 2, CLASSES))
    for member, known in enumerate(((0, 1), (2, 3))):
        knows = np.isin(target, known)
        logits[knows, member, target[knows]] += 3
        logits[~knows, member, random.integers(CLASSES, size=int((~knows).sum()))] += 3
    return Heard(torch.from_numpy(logits).float().softmax(dim=2), target, np.arange(count))


def honest(count: int, seed: int) -> Heard:
    """Two members that say the same, and are as often right as they say: nothing is to be corrected."""
    random = np.random.default_rng(seed)
    said = torch.from_numpy(random.normal(0, 2, (count, CLASSES))).float().softmax(dim=1)
    target = np.array([random.choice(CLASSES, p=p / p.sum()) for p in said.double().numpy()])
    return Heard(torch.stack([said, said], dim=1), target, np.arange(count))


def surprise(weights: tuple[Tensor, Tensor], there: Heard) -> float:
    made = ensemble("stacked")
    made.correction.load_state_dict(dict(zip(("weight", "bias"), weights, strict=True)))
    with torch.no_grad():
        return float(
            torch.nn.functional.cross_entropy(made.together(there.probabilities), torch.from_numpy(there.target))
        )


def of_mean(there: Heard) -> float:
    return surprise((torch.zeros(CLASSES, 2 * CLASSES), torch.zeros(CLASSES)), there)


def dealt(count: int) -> NDArray[np.int64]:
    return np.arange(count) % PARTS


class TestTheNetwork:
    @torch.no_grad()
    def test_of_a_bundle_that_says_nothing_is_the_mean(self) -> None:
        made = models.build("ensemble", channels=CHANNELS, classes=CLASSES, members=[TOLD, TOLD]).eval()
        assert not [name for name in made.state_dict() if name.startswith("correction")]
        example = with_holes()
        parts = [probabilities(member, example) for member in made.members]
        torch.testing.assert_close(probabilities(made, example), sum(parts) / 2)

    @torch.no_grad()
    def test_of_no_weights_is_the_mean(self) -> None:
        members = {name: network(name) for name in ("tempcnn", "rnn")}
        stacked = ensemble_of(members, "stacked")
        example = with_holes()
        assert (stacked(*example) - ensemble_of(members, "mean")(*example)).abs().max() > 1e-2
        for tensor in stacked.correction.parameters():
            tensor.zero_()
        torch.testing.assert_close(stacked(*example), ensemble_of(members, "mean")(*example))

    @torch.no_grad()
    def test_adds_weighted_log_probabilities_to_the_mean(self) -> None:
        made = ensemble("stacked")
        for tensor in made.correction.parameters():
            tensor.zero_()
        made.correction.weight[2, CLASSES + 1] = 0.5  # class 2 gains what the second member says of class 1
        made.correction.bias[0] = -1
        example = season(height=1, width=1)
        said = torch.stack([(member(*example) / 1.5).softmax(dim=1)[0, :, 0, 0] for member in made.members])
        expected = said.mean(dim=0).clamp(min=LEAST_PROBABILITY).log()
        logs = said.clamp(min=1e-3).log()
        expected[2] += 0.5 * (logs[1, 1] - logs[1].mean())
        expected[0] -= 1
        torch.testing.assert_close(made(*example)[0, :, 0, 0], expected)

    @torch.no_grad()
    @pytest.mark.parametrize("name", DENSE)
    def test_takes_any_dense_architecture_for_a_member(self, name: str) -> None:
        made = ensemble("stacked", (name, "rnn") if name != "rnn" else ("rnn",))
        x, dates, valid = with_holes()
        logits = made(x, dates, valid)
        assert logits.shape == (1, CLASSES, 7, 7)
        assert torch.equal(made(torch.where(valid.unsqueeze(2), x, float("nan")), dates, valid), logits)
        assert made.receptive_radius == made.members[0].receptive_radius

    @pytest.mark.parametrize("name", [name for name in SMALL if name not in DENSE])
    def test_takes_no_patch_architecture(self, name: str) -> None:
        with pytest.raises(ValueError, match="gives a patch one class"):
            ensemble("mean", (name,))

    @torch.no_grad()
    @pytest.mark.parametrize("combine", ["mean", "stacked"])
    def test_makes_classes_likelier(self, combine: str) -> None:
        plain, example = ensemble(combine), with_holes()
        wanted = [0.0] * (CLASSES - 1) + [0.7]
        told = [{**as_member(name), "temperature": 1.5} for name in ("tempcnn", "rnn")]
        settings = {"channels": CHANNELS, "classes": CLASSES, "members": told, "combine": combine}
        made = models.build("ensemble", **settings, adjustment=wanted).eval()
        made.load_state_dict(plain.state_dict())
        shifted = plain(*example) + torch.tensor(wanted)[:, None, None]
        torch.testing.assert_close(made(*example), shifted)
        torch.testing.assert_close(faster(made).logits(*masked(example)), shifted, rtol=0, atol=2e-5)

    @pytest.mark.parametrize("adjustment", [(0.5,), (0.0,) * (CLASSES - 1) + (float("nan"),), ("1",) * CLASSES])
    def test_of_an_adjustment_that_is_none_is_refused(self, adjustment: tuple[object, ...]) -> None:
        with pytest.raises(ValueError, match=f"expected {CLASSES} finite numbers, or none"):
            models.build("ensemble", channels=CHANNELS, classes=CLASSES, members=[TOLD], adjustment=adjustment)

    def test_of_another_kind_is_refused(self) -> None:
        with pytest.raises(ValueError, match="expected mean or stacked"):
            models.build("ensemble", channels=CHANNELS, classes=CLASSES, members=[TOLD], combine="vote")


class TestACorrection:
    def test_learns_whom_to_believe_about_which_class(self) -> None:
        found = stack(heard(600, seed=0), dealt(600), CLASSES)
        other = heard(600, seed=1)
        assert found.ridge is not None
        assert found.surprise < 0.9 * found.surprise_of_mean
        assert surprise((found.weight, found.bias), other) < 0.9 * of_mean(other)

    def test_of_members_that_are_right_is_the_mean(self) -> None:
        found = stack(honest(300, seed=0), dealt(300), CLASSES)
        assert found.ridge is None
        assert not found.weight.any()
        assert not found.bias.any()
        assert found.surprise == found.surprise_of_mean

    @pytest.mark.parametrize("seed", range(5))
    def test_from_few_pixels_is_never_much_worse_than_the_mean(self, seed: int) -> None:
        for make in (heard, honest):
            found = stack(make(25, seed=seed), dealt(25), CLASSES)
            other = make(2000, seed=100 + seed)
            assert surprise((found.weight, found.bias), other) < 1.03 * of_mean(other)

    def test_is_judged_on_pixels_that_it_was_not_fitted_on(self) -> None:
        """Labels at random can be learnt by heart, and are not learnt otherwise."""
        there = honest(60, seed=3)
        at_random = Heard(there.probabilities, np.random.default_rng(0).integers(CLASSES, size=60), there.sample)
        found = stack(at_random, dealt(60), CLASSES)
        assert found.surprise >= 0.95 * np.log(CLASSES)

    def test_leaves_a_class_alone_that_is_not_there(self) -> None:
        there = heard(600, seed=0)
        kept = there.target != 3
        some = Heard(there.probabilities[torch.from_numpy(kept)], there.target[kept], there.sample[kept])
        found = stack(some, dealt(int(kept.sum())), CLASSES)
        assert not found.weight[3].any()
        assert not found.bias[3].any()
        assert found.weight[:3].any()

    def test_without_parts_to_judge_it_by_is_the_mean(self) -> None:
        found = stack(heard(50, seed=0), np.zeros(50, np.int64), CLASSES)
        assert (found.ridge, found.parts) == (None, 0)

    def test_is_decided_by_the_pixels_alone(self) -> None:
        one, again = (stack(heard(200, seed=0), dealt(200), CLASSES) for _ in range(2))
        assert torch.equal(one.weight, again.weight)


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """120 samples of two crops, monthly from March to August."""
    folder = tmp_path_factory.mktemp("set")
    table = write_table(folder, long_table(count=120))
    assert run_here("buildtrainingset", table=table, output=folder / "set.h5", block_m=3000, folds=3).status == 0
    return folder / "set.h5"


def train(samples: Path, output: Path, **parameters: Any) -> Outcome:
    quick = {"epochs": 3, "learning_rate": 0.01, "device": "cpu"}
    return run_here("trainmodel", samples=samples, output=output, **{**quick, **parameters})


class TestTraining:
    def test_places_stay_whole(self, samples: Path) -> None:
        with SampleFile(samples) as file:
            sample = np.repeat(file.indices("validation"), 3)
            parts = parts_of(file, sample, seed=0)
        assert set(parts) == set(range(PARTS))
        assert (parts.reshape(-1, 3) == parts.reshape(-1, 3)[:, :1]).all()
        assert np.bincount(parts).max() <= 2 * np.bincount(parts).min()

    def test_a_stacked_ensemble_becomes_a_bundle(self, samples: Path, tmp_path: Path) -> None:
        outcome = train(samples, tmp_path / "both", architecture=["ltae", "random_forest"], combine="stacked")
        assert outcome.status == 0, outcome.last
        bundle = load_bundle(tmp_path / "both")
        assert bundle.hyper_parameters["combine"] == "stacked"
        assert "cross-fitted" in bundle.properties["cropmap:accuracy"]["method"]
        assert bundle.network().correction.weight.shape == (2, 4)
        told = json.loads((tmp_path / "both" / "training.json").read_text())["stacking"]
        assert told["fitted_on"].startswith("validation samples")
        assert told["parts"] == PARTS
        assert told["log_loss"] <= told["log_loss_of_mean"] * 1.1
        assert "stacked: " in (tmp_path / "both" / "README.md").read_text()
        table = write_table(tmp_path, long_table(count=8, seed=5))
        classes = tmp_path / "classes.csv"
        assert run_here("classifysamples", model=bundle.folder, input=table, output=classes).status == 0

    def test_a_single_member_cannot_be_stacked(self, samples: Path, tmp_path: Path) -> None:
        outcome = train(samples, tmp_path / "one", combine="stacked")
        assert outcome.code == "JobError"
        assert "single member" in outcome.last["message"]
