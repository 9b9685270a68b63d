"""evaluatemodel as its users run it: the page, the numbers beside it, the layer of errors, and what is refused."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import geopandas
import numpy as np
import pytest

from cropmap_core.classes import CropClass
from cropmap_core.evaluation import evaluating
from cropmap_core.samples.files import SampleFile
from tests.core.evaluation_cases import GRASS, MAIZE, POTATOES, Oracle, write_set
from tests.core.sample_tables import long_table, write_table
from tests.core.seam import Outcome, run_here, unfinished_files
from tests.core.tiny_models import CLASSES, save_tiny_bundle


class Page(HTMLParser):
    """What there is on a page: tags with their attributes, and text."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def all(self, name: str) -> list[dict[str, str | None]]:
        return [attributes for tag, attributes in self.tags if tag == name]


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """120 samples of maize and wheat, monthly from March to August, in blocks of 3 km."""
    folder = tmp_path_factory.mktemp("set")
    table = write_table(folder, long_table(count=120))
    assert run_here("buildtrainingset", table=table, output=folder / "set.h5", block_m=3000, folds=3).status == 0
    return folder / "set.h5"


@pytest.fixture(scope="module")
def models(samples: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two that were trained on the set's training samples."""
    folder = tmp_path_factory.mktemp("models")
    quick = {"epochs": 3, "hyper_parameters": ["hidden=8,8,8; dense=16"], "batch_size": 16, "device": "cpu"}
    for seed, name in enumerate(("first", "second")):
        assert run_here("trainmodel", samples=samples, output=folder / name, seed=seed, **quick).status == 0
    return [folder / "first", folder / "second"]


@pytest.fixture(scope="module")
def judged(samples: Path, models: list[Path], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Outcome]:
    """A report on both."""
    folder = tmp_path_factory.mktemp("report")
    outcome = run_here("evaluatemodel", models=models, samples=samples, output_html=folder / "report.html")
    assert outcome.status == 0, outcome.last
    return folder, outcome


@pytest.fixture
def oracle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(evaluating, "Predictor", Oracle)
    return save_tiny_bundle(tmp_path / "oracle", "hybrid_cnn").folder


class TestTrainedModels:
    def test_have_not_seen_the_test_samples(self, judged: tuple[Path, Outcome]) -> None:
        told = json.loads((judged[0] / "report.json").read_text())
        for model in told["models"]:
            assert model["seen"]["recorded"]
            assert (model["seen"]["trained"], model["seen"]["validated"]) == (0, 0)
            assert model["seen"]["nearest_training_sample_m"] > 100

    def test_are_told_in_the_log(self, judged: tuple[Path, Outcome]) -> None:
        log = judged[1].texts("log")
        assert re.search(r"first on \d+ pixels of the set test: OA [01]\.\d+ \(95 %: .*\), macro F1", log)
        assert "second against first: macro F1 " in log
        assert "McNemar p = " in log

    @pytest.mark.parametrize("which", ["train", "validation", "all"])
    def test_are_not_judged_by_what_they_have_seen(
        self, samples: Path, models: list[Path], tmp_path: Path, which: str
    ) -> None:
        outcome = run_here(
            "evaluatemodel", models=models[:1], samples=samples, output_html=tmp_path / "r.html", set=which
        )
        assert outcome.code == "SeenSamplesError"
        with SampleFile(samples) as file:
            count = len(file) if which == "all" else len(file.indices(which))
            known = len(file.indices("train")) + len(file.indices("validation")) if which == "all" else count
        assert f"has seen {known} of the {count} samples of the set {which}" in outcome.last["message"]
        assert "ALLOW_SEEN" in outcome.last["remedy"]
        assert list(tmp_path.iterdir()) == []

    def test_are_judged_by_it_when_told_and_marked(self, samples: Path, models: list[Path], tmp_path: Path) -> None:
        parameters = {"set": "all", "allow_seen": True, "output_html": tmp_path / "r.html"}
        outcome = run_here("evaluatemodel", models=models[:1], samples=samples, **parameters)
        assert outcome.outputs["models"][0]["seen"] > 0
        for text in (outcome.texts("warning"), Page(tmp_path / "r.html").text):
            assert re.search(r"first has seen \d+ of the 120 samples", text)
        told = json.loads((tmp_path / "r.json").read_text())
        assert told["models"][0]["seen"]["allowed"]
        assert any("has seen" in text for text in told["warnings"])

    def test_show_their_learning_curves(self, judged: tuple[Path, Outcome]) -> None:
        told = json.loads((judged[0] / "report.json").read_text())
        assert [len(model["learning"]["history"]) for model in told["models"]] == [3, 3]
        assert Page(judged[0] / "report.html").text.count("Learning curves") == 2


class TestThePage:
    def test_needs_nothing_but_itself(self, judged: tuple[Path, Outcome]) -> None:
        page = Page(judged[0] / "report.html")
        assert page.all("script") == page.all("link") == []
        assert all((image["src"] or "").startswith("data:image/svg+xml;base64,") for image in page.all("img"))
        assert all((link["href"] or "").startswith("#") for link in page.all("a"))
        assert "url(" not in (judged[0] / "report.html").read_text()

    def test_can_be_read_aloud(self, judged: tuple[Path, Outcome]) -> None:
        page = Page(judged[0] / "report.html")
        assert page.all("html")[0]["lang"] == "en"
        assert len(page.all("h1")) == 1
        assert all(len(image["alt"] or "") > 10 for image in page.all("img"))
        assert all("scope" in header for header in page.all("th"))
        assert len(page.all("caption")) == len(page.all("table"))

    def test_fits_a_phone(self, judged: tuple[Path, Outcome]) -> None:
        """Every table may be scrolled, by hand and by keyboard."""
        page = Page(judged[0] / "report.html")
        assert {"name": "viewport", "content": "width=device-width, initial-scale=1"} in page.all("meta")
        regions = [each for each in page.all("div") if each.get("class") == "wide"]
        assert len(regions) >= len(page.all("table"))
        assert all(each["tabindex"] == "0" and each["aria-label"] for each in regions)

    def test_says_what_labels_are(self, judged: tuple[Path, Outcome]) -> None:
        assert "Labels are declarations, surveys or a classified map" in Page(judged[0] / "report.html").text

    def test_takes_names_as_text(self, oracle: Path, tmp_path: Path) -> None:
        evil = (CropClass(MAIZE, "Maize", "#f4c430"), CropClass(GRASS, "<script>alert(1)</script>", "#4caf50"))
        path = write_set(tmp_path / "s.h5", [MAIZE, GRASS], [MAIZE, MAIZE], classes=evil, zone=["<b>", "</table>"])
        assert run_here("evaluatemodel", models=[oracle], samples=path, output_html=tmp_path / "r.html").status == 0
        page = Page(tmp_path / "r.html")
        assert page.all("script") == []
        assert "<script>alert(1)</script>" in page.text

    def test_is_the_same_again(
        self, judged: tuple[Path, Outcome], samples: Path, models: list[Path], tmp_path: Path
    ) -> None:
        run_here("evaluatemodel", models=models, samples=samples, output_html=tmp_path / "report.html")
        for name in ("report.html", "report.json"):
            assert (tmp_path / name).read_bytes() == (judged[0] / name).read_bytes()


class TestTheNumbers:
    def test_are_those_of_the_confusion(self, oracle: Path, tmp_path: Path) -> None:
        label, said = [MAIZE, MAIZE, GRASS, POTATOES], [MAIZE, GRASS, GRASS, POTATOES]
        path = write_set(tmp_path / "s.h5", label, said, parcel=[1, 1, 2, 3])
        run_here("evaluatemodel", models=[oracle], samples=path, output_html=tmp_path / "r.html")
        (model,) = json.loads((tmp_path / "r.json").read_text())["models"]
        assert model["pixels"]["confusion"]["counts"] == [[1, 1, 0], [0, 1, 0], [0, 0, 1]]
        assert model["pixels"]["overall_accuracy"] == 0.75
        assert model["pixels"]["classes"]["Grass"]["precision"] == 0.5
        assert model["pixels"]["macro"]["f1"] == pytest.approx((2 / 3 + 2 / 3 + 1) / 3, abs=1e-5)
        assert model["parcels"]["count"] == 3
        assert [row["dates"] for row in model["by_dates"]] == [1, 2, 3, 4, 5]
        assert model["by_dates"][-1]["last"] == "2018-08-01"

    def test_stand_where_they_are_asked_for(self, oracle: Path, tmp_path: Path) -> None:
        path = write_set(tmp_path / "s.h5", [MAIZE, GRASS], [MAIZE, GRASS])
        outputs = run_here(
            "evaluatemodel",
            models=[oracle],
            samples=path,
            output_html=tmp_path / "r.html",
            output_json=tmp_path / "numbers.json",
        ).outputs
        assert outputs["output_json"] == str(tmp_path / "numbers.json")
        assert (tmp_path / "numbers.json").is_file()
        assert not (tmp_path / "r.json").exists()

    def test_hold_no_nan(self, oracle: Path, tmp_path: Path) -> None:
        path = write_set(tmp_path / "s.h5", [MAIZE, GRASS], [MAIZE, GRASS])
        run_here("evaluatemodel", models=[oracle], samples=path, output_html=tmp_path / "r.html")
        assert "NaN" not in (tmp_path / "r.json").read_text()


class TestTheLayerOfErrors:
    def test_has_a_point_for_each(self, oracle: Path, tmp_path: Path) -> None:
        path = write_set(
            tmp_path / "s.h5", [MAIZE, GRASS, GRASS], [GRASS, GRASS, MAIZE], lon=[3, 4, np.nan], lat=[51, 52, np.nan]
        )
        layer = tmp_path / "errors.gpkg"
        run_here("evaluatemodel", models=[oracle], samples=path, output_html=tmp_path / "r.html", output_errors=layer)
        errors = geopandas.read_file(layer).sort_values("sample_id")
        assert errors["sample_id"].tolist() == ["s0", "s2"]
        assert errors["predicted"].tolist() == ["Grass", "Maize"]
        assert (errors.geometry.iloc[0].x, errors.geometry.iloc[0].y) == (3, 51)
        assert errors.geometry.iloc[1] is None

    def test_of_a_model_without_errors_is_empty(self, oracle: Path, tmp_path: Path) -> None:
        path = write_set(tmp_path / "s.h5", [MAIZE, GRASS], [MAIZE, GRASS])
        layer = tmp_path / "errors.gpkg"
        run_here("evaluatemodel", models=[oracle], samples=path, output_html=tmp_path / "r.html", output_errors=layer)
        assert len(geopandas.read_file(layer)) == 0


class TestModels:
    def test_of_one_name_are_told_apart(self, oracle: Path, tmp_path: Path) -> None:
        other = save_tiny_bundle(tmp_path / "other", "hybrid_cnn", seed=1).folder
        path = write_set(tmp_path / "s.h5", [MAIZE, GRASS], [MAIZE, GRASS])
        outcome = run_here("evaluatemodel", models=[oracle, other], samples=path, output_html=tmp_path / "r.html")
        assert [model["id"] for model in outcome.outputs["models"]] == ["tiny-hybrid-cnn", "tiny-hybrid-cnn (2)"]

    def test_given_twice_are_refused(self, oracle: Path, tmp_path: Path) -> None:
        path = write_set(tmp_path / "s.h5", [MAIZE, GRASS], [MAIZE, GRASS])
        outcome = run_here(
            "evaluatemodel", models=[oracle, f"{oracle}/"], samples=path, output_html=tmp_path / "r.html"
        )
        assert outcome.code == "JobError"
        assert "twice" in outcome.last["message"]

    def test_that_predict_maps_are_judged_as_they_predict(self, tmp_path: Path) -> None:
        """No oracle: a network of random weights, patch by patch."""
        bundle = save_tiny_bundle(tmp_path / "convlstm", "convlstm")
        label = np.random.default_rng(0).choice([each.value for each in CLASSES], (4, 6, 6))
        path = write_set(tmp_path / "s.h5", label, label)
        outcome = run_here("evaluatemodel", models=[bundle.folder], samples=path, output_html=tmp_path / "r.html")
        assert 0 <= outcome.outputs["models"][0]["overall_accuracy"] <= 1
        assert outcome.outputs["samples"] == 4


class TestBadInput:
    def test_leaves_nothing_behind(self, oracle: Path, tmp_path: Path) -> None:
        whole = write_set(tmp_path / "s.h5", [MAIZE, GRASS], [MAIZE, GRASS])
        cut = tmp_path / "cut.h5"
        cut.write_bytes(whole.read_bytes()[:-3000])
        (tmp_path / "r.html").write_text("what was there")
        outcome = run_here("evaluatemodel", models=[oracle], samples=cut, output_html=tmp_path / "r.html")
        assert outcome.code == "SamplesError"
        assert "cut short" in outcome.last["message"]
        assert (tmp_path / "r.html").read_text() == "what was there"
        assert unfinished_files(tmp_path) == []

    @pytest.mark.parametrize(
        ("given", "code"),
        [
            ({"output_html": "r.pdf"}, "JobError"),
            ({"output_errors": "errors.shp"}, "JobError"),
            ({"models": ["no-such-model"]}, "ModelBundleError"),
            ({"samples": "none.h5"}, "SamplesError"),
            ({"output_json": "r.html"}, "OutputError"),
        ],
    )
    def test_is_named(
        self, oracle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: dict[str, object], code: str
    ) -> None:
        monkeypatch.chdir(tmp_path)
        path = write_set(tmp_path / "s.h5", [MAIZE, GRASS], [MAIZE, GRASS])
        parameters = {"models": [oracle], "samples": path, "output_html": "r.html", **given}
        outcome = run_here("evaluatemodel", **parameters)
        assert outcome.code == code
        assert not (tmp_path / "r.html").exists()
