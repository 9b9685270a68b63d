"""Fold models: each says a class of its own, so that the confusion matrix shows which of them was asked."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cropmap_core.classes import CropClass
from cropmap_core.errors import ModelBundleError, SeenSamplesError
from cropmap_core.evaluation import evaluating
from cropmap_core.evaluation.caveats import warnings_of
from cropmap_core.evaluation.document import document
from cropmap_core.evaluation.evaluating import Asked, evaluate
from cropmap_core.evaluation.fold_models import load_models
from cropmap_core.evaluation.report import render
from cropmap_core.evaluation.results import Evaluation
from cropmap_core.inference import bundles
from cropmap_core.inference.bundles import Bundle
from cropmap_core.learning.seen import collect_seen, write_seen
from cropmap_core.samples.files import SampleFile
from tests.core.evaluation_cases import GRASS, MAIZE, POTATOES, Oracle, write_set
from tests.core.tiny_models import CLASSES, save_tiny_bundle

VALUES = (MAIZE, GRASS, POTATOES)


class SaysItsFold(Oracle):
    """Says of every pixel the class whose position is the number of its fold."""

    def probabilities(self, data: np.ndarray, valid: np.ndarray, bands: Sequence[str], days: Any = None) -> np.ndarray:
        found = np.zeros((len(data), len(VALUES), *data.shape[3:]), np.float32)
        found[:, int(self.bundle.folder.name[-1])] = 1
        return found


def write_folds(path: Path, valid: bool | list[bool] = True) -> Path:
    fold = np.array([0, 1, 2, 1, 0, 2, 2])
    label = np.array(VALUES)[fold]
    return write_set(path, label, label, fold=fold, lon=3 + 0.01 * np.arange(len(fold)), valid=valid)


@pytest.fixture
def samples(tmp_path: Path) -> Path:
    """Each sample's class is that which the model says that has not seen its fold."""
    return write_folds(tmp_path / "s.h5")


@pytest.fixture
def folder(tmp_path: Path, samples: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(evaluating, "Predictor", SaysItsFold)
    for fold in range(3):
        place = tmp_path / "maize" / f"maize-fold{fold}"
        bundle = save_tiny_bundle(place, "tempcnn", seed=fold, id=place.name)
        remember(bundle, samples, fold)
    return tmp_path / "maize"


def remember(bundle: Bundle, samples: Path, without: int) -> None:
    """Has a model seen all samples but those of a fold."""
    with SampleFile(samples) as file:
        trained = np.flatnonzero(file.column("fold") != without)
        write_seen(collect_seen(file, trained, np.empty(0, np.int64)), bundle.folder)


def judge(samples: Path, folder: Path, **asked: Any) -> Evaluation:
    with SampleFile(samples) as file:
        models = [load_models(folder)]
        return evaluate(file, models, torch.device("cpu"), Asked("all", **asked), lambda fraction: None)


def test_each_sample_is_judged_by_the_one_that_has_not_seen_it(samples: Path, folder: Path) -> None:
    found = judge(samples, folder)
    (model,) = found.models
    assert model.pixels.scores.confusion.tolist() == [[2, 0, 0], [0, 2, 0], [0, 0, 3]]
    assert (model.exposure.asked, model.exposure.seen) == (7, 0)
    assert model.budgets.counts[-1].trace() == 7


def test_one_that_all_have_seen_is_refused(samples: Path, folder: Path) -> None:
    for fold in (0, 1):
        remember(load_models(folder / f"maize-fold{fold}").bundle, samples, without=2)
    with pytest.raises(SeenSamplesError, match="maize has seen 4 of the 7 samples"):
        judge(samples, folder)
    assert judge(samples, folder, allow_seen=True).models[0].exposure.trained == 4


def test_samples_are_known_by_their_places_too(folder: Path, tmp_path: Path) -> None:
    """With another mask they have other fingerprints."""
    masked = write_folds(tmp_path / "masked.h5", valid=[True, False, True, True, True])
    (model,) = judge(masked, folder).models
    assert model.pixels.scores.confusion.tolist() == [[2, 0, 0], [0, 2, 0], [0, 0, 3]]
    assert model.exposure.recognised


def test_samples_that_none_has_seen_are_judged_by_the_first_and_that_is_said(folder: Path, tmp_path: Path) -> None:
    elsewhere = write_set(tmp_path / "other.h5", [MAIZE, GRASS], [MAIZE, GRASS], percent=40, lat=52)
    found = judge(elsewhere, folder)
    assert found.models[0].pixels.scores.predicted.tolist() == [2, 0, 0]
    said = "All samples are judged by maize-fold0: none of the fold models of maize recognises any of them."
    assert said in warnings_of(found)
    page = render(found)
    assert "none of them recognises any sample" in page
    assert "by one that has not seen it" not in page


def test_without_the_record_of_one_they_are_refused(samples: Path, folder: Path) -> None:
    (folder / "maize-fold1" / "seen.safetensors").unlink()
    with pytest.raises(ModelBundleError, match="maize-fold1 does not say what it has seen"):
        judge(samples, folder, allow_seen=True)


def test_they_are_told_as_one_model(samples: Path, folder: Path) -> None:
    found = judge(samples, folder)
    (model,) = document(found)["models"]
    assert model["id"] == "maize"
    assert model["fold_models"] == {"maize-fold0": 2, "maize-fold1": 2, "maize-fold2": 3}
    page = render(found)
    assert "Not one model but 3 fold models of one recipe: each sample is judged by one that has not seen it." in page
    assert not any("recognises" in text for text in warnings_of(found))


def test_other_classes_are_of_another_recipe(folder: Path) -> None:
    others = (*CLASSES[:2], CropClass(9, "Hemp", "#123456"))
    save_tiny_bundle(folder / "maize-fold1", "tempcnn", classes=others)
    with pytest.raises(ModelBundleError, match="their classes differ"):
        load_models(folder)


def test_a_bundle_is_a_model_by_itself(folder: Path) -> None:
    found = load_models(folder / "maize-fold2")
    assert found.folds == (found.bundle,)
    with pytest.raises(ModelBundleError, match="is not a model bundle"):
        load_models(folder.parent)


def test_a_bundled_id_means_the_same_in_every_folder(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundled = save_tiny_bundle(tmp_path / "bundled" / "maize", "tempcnn", id="maize")
    monkeypatch.setattr(bundles, "BUNDLED", tmp_path / "bundled")
    monkeypatch.chdir(folder.parent)
    found = load_models("maize")
    assert [each.folder for each in found.folds] == [bundled.folder]
    assert len(load_models(folder).folds) == 3


def test_names_may_hold_brackets(tmp_path: Path) -> None:
    for fold in range(2):
        save_tiny_bundle(tmp_path / "maize[1]" / f"maize[1]-fold{fold}", "tempcnn")
    assert len(load_models(tmp_path / "maize[1]").folds) == 2
