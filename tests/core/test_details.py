"""Labels finer than the classes: a second head that learns them, and is left behind; epochs that nobody chooses."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import models
from cropmap_core.errors import JobError, SamplesError
from cropmap_core.learning.details import DetailLoss
from cropmap_core.learning.feeding import Feed
from cropmap_core.learning.fitting import Fitted, Fitting
from cropmap_core.learning.recipes import LAST, Recipe
from cropmap_core.learning.variation import NO_VARIATION
from cropmap_core.samples.files import SampleFile
from tests.core.sample_tables import long_table, write_table
from tests.core.seam import run_here

SMALL = {"hidden": (8, 8), "dense": 16}
RECIPE = Recipe("tempcnn", SMALL, epochs=3, learning_rate=0.01, variation=NO_VARIATION, keep=LAST)


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """240 samples of two crops; of the maize, every other is early."""
    folder = tmp_path_factory.mktemp("set")
    rows = long_table(count=240)
    number = rows["sample_id"].str[1:].astype(int)
    rows["kind"] = np.where(number % 4 == 0, "early maize", rows["label"])
    table = write_table(folder, rows)
    outcome = run_here("buildtrainingset", table=table, output=folder / "set.h5", block_m=3000, folds=3)
    assert outcome.status == 0
    return folder / "set.h5"


def fit(samples: Path, recipe: Recipe, folder: Path | None = None) -> Fitted:
    with SampleFile(samples) as file:
        feed = Feed(file, file.layout.bands, file.classes, by_pixel=True)
        training = feed.labelled(file.indices("train"))
        feed.normalise_by(training[0])
        torch.manual_seed(recipe.seed)
        network = models.build(recipe.architecture, channels=3, classes=2, **recipe.hyper_parameters)
        held_out = file.indices("validation")
        return Fitting(network, feed, training, held_out, recipe, torch.device("cpu"), folder).run()


def test_the_last_epoch_is_kept_whatever_the_validation_samples_say(samples: Path) -> None:
    fitted = fit(samples, RECIPE)
    assert fitted.best_epoch == 3
    assert [math.isnan(each["validation_macro_f1"]) for each in fitted.history] == [True, True, False]
    with SampleFile(samples) as file:
        others = len(file.indices("test"))
        feed = Feed(file, file.layout.bands, file.classes, by_pixel=True)
        training = feed.labelled(file.indices("train"))
        feed.normalise_by(training[0])
        torch.manual_seed(0)
        network = models.build("tempcnn", channels=3, classes=2, **SMALL)
        elsewhere = Fitting(network, feed, training, file.indices("test"), RECIPE, torch.device("cpu")).run()
    assert len(elsewhere.logits) == others
    for name, weight in fitted.network.state_dict().items():
        assert torch.equal(weight, elsewhere.network.state_dict()[name])


def test_the_head_is_left_behind(samples: Path) -> None:
    plain, taught = fit(samples, RECIPE), fit(samples, replace(RECIPE, details="kind"))
    assert plain.network.state_dict().keys() == taught.network.state_dict().keys()
    assert any(
        not torch.equal(weight, taught.network.state_dict()[name])
        for name, weight in plain.network.state_dict().items()
    )
    assert np.isfinite(taught.logits).all()


def test_a_training_that_was_stopped_goes_on_with_the_same_head(samples: Path, tmp_path: Path) -> None:
    class StopError(Exception):
        pass

    recipe = replace(RECIPE, details="kind", variation=replace(NO_VARIATION, mixup=0.2))
    whole = fit(samples, recipe)

    def stop(entry: object) -> None:
        raise StopError

    with SampleFile(samples) as file:
        feed = Feed(file, file.layout.bands, file.classes, by_pixel=True)
        training = feed.labelled(file.indices("train"))
        feed.normalise_by(training[0])
        torch.manual_seed(0)
        network = models.build("tempcnn", channels=3, classes=2, **SMALL)
        fitting = Fitting(network, feed, training, file.indices("validation"), recipe, torch.device("cpu"), tmp_path)
        fitting._watch = replace(fitting._watch, epoch=stop)
        with pytest.raises(StopError):
            fitting.run()
    gone_on = fit(samples, recipe, tmp_path)
    assert len(gone_on.history) == 3
    for name, weight in whole.network.state_dict().items():
        assert torch.equal(weight, gone_on.network.state_dict()[name])


def test_the_loss_is_of_the_fine_labels_that_are_frequent() -> None:
    torch.manual_seed(0)
    network = models.build("ltae", channels=3, classes=2, width=32, heads=2)
    labels = np.array(["rare"] * 3 + ["oats"] * 30 + ["rye"] * 30)
    loss = DetailLoss(network, labels, np.arange(63), 0.0)
    assert network.get_submodule("details").weight.shape[0] == 2
    x, days = torch.randn(4, 6, 3, 1, 1), torch.arange(6.0).expand(4, 6)
    valid = torch.ones(4, 6, 1, 1, dtype=torch.bool)
    valid[3] = False  # never observed: it has no embedding
    network.train()(x, days, valid)
    observed = valid.flatten(1).any(dim=1)
    found = loss.of(np.array([0, 3, 40, 41]), observed)
    alone = loss.of(np.array([1, 3, 40, 62]), observed)
    assert found.item() == pytest.approx(alone.item())
    assert found.item() > 0
    assert loss.of(np.array([0, 1, 2, 50]), observed).item() == 0
    found.backward()
    assert network.state_dict()["details.weight"].shape == (2, 128)
    loss.leave()
    assert "details.weight" not in network.state_dict()


def test_a_column_that_there_is_not(samples: Path) -> None:
    with pytest.raises(SamplesError, match="no column variety"):
        fit(samples, replace(RECIPE, details="variety"))


def test_a_network_that_looks_around_has_no_second_head() -> None:
    network = models.build("hybrid_cnn", channels=3, classes=2)
    with pytest.raises(JobError, match="each pixel alone"):
        DetailLoss(network, np.array(["a", "b"]), np.arange(2), 0.0)
