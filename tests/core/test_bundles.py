"""Bundles: what is written reads the same, and what is damaged or does not fit is refused by name."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cropmap_core.errors import IncompatibleModelError, ModelBundleError, OutputError
from cropmap_core.inference.bundles import (
    Bundle,
    CropClass,
    bundled_ids,
    list_bundles,
    load_bundle,
    save_bundle,
)
from cropmap_core.inference.fit import Composites, check_fits
from cropmap_core.inference.predictor import Predictor
from models import build
from models.network import Network

HYPER_PARAMETERS = {
    "convlstm": {"channels": 3, "classes": 2, "hidden": (4, 6), "patch_size": 3},
    "hybrid_cnn": {"channels": 3, "classes": 2, "embedding": 8, "widths": (4, 6)},
}


def untrained(architecture: str) -> Network:
    torch.manual_seed(5)
    return build(architecture, **HYPER_PARAMETERS[architecture])


def describe(folder: Path, architecture: str = "convlstm") -> Bundle:
    """A model of two classes over a year, from two bands and an index."""
    return Bundle(
        id=folder.name,
        title="Two crops",
        folder=folder,
        architecture=architecture,
        hyper_parameters=HYPER_PARAMETERS[architecture],
        channels=("B04", "B08", "NDMI"),
        mean=(0.1, 0.3, 0.2),
        std=(0.05, 0.1, 0.5),
        classes=(CropClass(1, "Maize", "#f2c14e", "Zea mays"), CropClass(7, "Permanent grass", "#5fa55a", "Grassland")),
        first_days=tuple(f"{month:02}-01" for month in range(1, 13)),
        bbox=(3.0, 50.8, 3.1, 50.9),
        stride_pixels=1,
        properties={"description": "Made for a test.", "cropmap:accuracy": {"parcels": 18}},
    )


def save(folder: Path, architecture: str = "convlstm") -> Bundle:
    return save_bundle(describe(folder, architecture), untrained(architecture), {"version": 1}, "# Two crops\n")


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return save(tmp_path / "two-crops")


def edit_item(bundle: Bundle, change: Callable[[dict[str, Any]], None]) -> None:
    path = bundle.folder / "item.json"
    item = json.loads(path.read_text(encoding="utf-8"))
    change(item)
    path.write_text(json.dumps(item), encoding="utf-8")


@pytest.mark.parametrize("architecture", HYPER_PARAMETERS)
def test_network_read_back_predicts_the_same(tmp_path: Path, architecture: str) -> None:
    saved = save(tmp_path / "model", architecture)
    x, dates = torch.randn(2, 12, 3, 4, 5), torch.arange(24.0).view(2, 12)
    valid = torch.rand(2, 12, 4, 5) > 0.2
    read, made = load_bundle(saved.folder).network(), untrained(architecture).eval()
    assert not read.training
    assert torch.equal(read(x, dates, valid), made(x, dates, valid))


def test_description_reads_back(bundle: Bundle) -> None:
    read, described = load_bundle(bundle.folder), describe(bundle.folder)
    assert read == bundle
    assert read.properties is not None
    assert read.properties["cropmap:accuracy"] == {"parcels": 18}
    as_described = replace(read, properties=described.properties, hyper_parameters=described.hyper_parameters)
    assert as_described == described


def test_item_is_a_stac_item_that_lists_classes_and_bands(bundle: Bundle) -> None:
    item = json.loads((bundle.folder / "item.json").read_text(encoding="utf-8"))
    assert (item["type"], item["stac_version"], item["id"]) == ("Feature", "1.1.0", "two-crops")
    assert item["geometry"]["coordinates"][0][2] == [3.1, 50.9]
    properties = item["properties"]
    assert properties["mlm:output"][0]["classification:classes"][1] == {
        "value": 7,
        "name": "Permanent grass",
        "title": "Permanent grass",
        "description": "Grassland",
        "color_hint": "5FA55A",
    }
    assert properties["mlm:input"][0]["bands"] == ["B04", "B08", "NDMI"]
    assert properties["mlm:input"][0]["value_scaling"][2] == {"type": "z-score", "mean": 0.2, "stddev": 0.5}
    assert [band["name"] for band in properties["bands"]] == ["B04", "B08", "NDMI"]
    assert properties["mlm:total_parameters"] == sum(weight.numel() for weight in untrained("convlstm").parameters())
    for asset in item["assets"].values():
        assert (bundle.folder / asset["href"]).is_file()


def test_saving_again_replaces_the_whole_bundle(bundle: Bundle) -> None:
    (bundle.folder / "leftover.txt").write_text("from an older model", encoding="utf-8")
    save(bundle.folder, "hybrid_cnn")
    assert load_bundle(bundle.folder).architecture == "hybrid_cnn"
    assert sorted(path.name for path in bundle.folder.iterdir()) == [
        "README.md",
        "item.json",
        "signatures.json",
        "weights.safetensors",
    ]
    assert [path.name for path in bundle.folder.parent.iterdir()] == ["two-crops"]


def test_what_does_not_fit_together_is_not_saved(bundle: Bundle) -> None:
    three_channels = replace(bundle, channels=("B04", "B08"), mean=(0.1, 0.3), std=(0.05, 0.1))
    with pytest.raises(ModelBundleError, match="lists 2 channels; its network has 3"):
        save_bundle(three_channels, untrained("convlstm"), {}, "")
    assert load_bundle(bundle.folder) == bundle
    assert [path.name for path in bundle.folder.parent.iterdir()] == ["two-crops"]


def test_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(OutputError, match="cannot be written"):
        save(tmp_path / "file" / "model")


def test_reflectance_and_indices_are_normalised(bundle: Bundle) -> None:
    data = np.array([0.15, 0.5, 0.7], dtype=np.float32).reshape(1, 3, 1, 1)
    np.testing.assert_allclose(bundle.normalise(data).ravel(), [1, 2, 1], rtol=1e-5)
    digital_numbers = np.array([1500, 5000, 7000], dtype=np.int16).reshape(1, 3, 1, 1)
    np.testing.assert_allclose(bundle.normalise(digital_numbers), bundle.normalise(data), rtol=1e-5)


def test_bands_that_its_indices_need_are_stacked_too(bundle: Bundle) -> None:
    assert bundle.indices == ("NDMI",)
    assert bundle.reflectance_bands == ("B04", "B08", "B11")


def test_season_days_count_from_the_first_month(bundle: Bundle) -> None:
    assert bundle.season_days([date(2018, 1, 1), date(2018, 2, 1), date(2018, 3, 1)]).tolist() == [0, 31, 59]
    assert bundle.season_days([date(2017, 11, 4), date(2018, 1, 1)]).tolist() == [3, 61]


def test_unknown_model_lists_those_there_are() -> None:
    with pytest.raises(ModelBundleError, match="no model 'flanders-2019'") as refused:
        load_bundle("flanders-2019")
    for name in bundled_ids():
        assert name in refused.value.remedy


def test_folder_that_is_no_bundle(tmp_path: Path) -> None:
    with pytest.raises(ModelBundleError, match=r"is not a model bundle: it has no item\.json"):
        load_bundle(tmp_path)


@pytest.mark.parametrize("name", ["weights.safetensors", "signatures.json", "README.md"])
def test_missing_file_is_named(bundle: Bundle, name: str) -> None:
    (bundle.folder / name).unlink()
    with pytest.raises(ModelBundleError, match=f"lacks {name}"):
        load_bundle(bundle.folder)


@pytest.mark.parametrize("name", ["item.json", "signatures.json"])
@pytest.mark.parametrize("content", ['{"type": "Feat', "[1, 2]", "\xff"])
def test_bad_json_is_named(bundle: Bundle, name: str, content: str) -> None:
    (bundle.folder / name).write_text(content, encoding="latin-1")
    with pytest.raises(ModelBundleError, match=name):
        load_bundle(bundle.folder)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("mlm:architecture", "oracle", "unknown architecture 'oracle'; known are atlstm, "),
        ("mlm:architecture", None, "mlm:architecture is None"),
        ("mlm:hyperparameters", {"channels": 3, "classes": 2, "layers": 2}, "unknown: layers"),
        ("mlm:hyperparameters", {"channels": 3, "classes": 3}, "lists 2 classes; its network has 3"),
        ("mlm:hyperparameters", {"channels": 3, "classes": 2, "hidden": [4, 5]}, "tensors differ, for instance cells"),
        ("mlm:hyperparameters", {"channels": 3, "classes": 2, "hidden": "large"}, "hidden is 'large'"),
        ("mlm:input", [], "mlm:input is not a list of one object"),
        ("mlm:output", [{"name": "crop class"}], "classification:classes is missing"),
        ("cropmap:first_days", ["01-01", "13-01"], r"cropmap:first_days is \['01-01', '13-01'\]"),
        ("cropmap:first_days", [], r"cropmap:first_days is \[\]"),
        ("cropmap:period", "fortnight", "cropmap:period is 'fortnight'"),
        ("cropmap:period", "week", "cropmap:period is 'week'"),
        ("cropmap:stride_pixels", True, "cropmap:stride_pixels is True"),
        ("cropmap:stride_pixels", 0, "cropmap:stride_pixels is 0"),
    ],
)
def test_bad_property_is_named(bundle: Bundle, key: str, value: object, message: str) -> None:
    edit_item(bundle, lambda item: item["properties"].update({key: value}))
    with pytest.raises(ModelBundleError, match=message) as refused:
        load_bundle(bundle.folder)
    assert str(bundle.folder) in refused.value.message
    assert refused.value.remedy


@pytest.mark.parametrize(
    ("position", "change", "message"),
    [
        (1, {"value": 1}, "two classes share the value 1"),
        (1, {"name": "Maize"}, "two classes share the name Maize"),
        (0, {"value": 0}, "class value 0 is not within 1-65535"),
        (0, {"value": 65536}, "class value 65536 is not within 1-65535"),
        (0, {"value": "1"}, "value is '1', not of type int"),
        (0, {"color_hint": "#f2c14e"}, "color_hint of class 1 is '#f2c14e'"),
    ],
)
def test_bad_class_is_named(bundle: Bundle, position: int, change: dict[str, object], message: str) -> None:
    def spoil(item: dict[str, Any]) -> None:
        item["properties"]["mlm:output"][0]["classification:classes"][position].update(change)

    edit_item(bundle, spoil)
    with pytest.raises(ModelBundleError, match=message):
        load_bundle(bundle.folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"bands": ["B04", "B08", "B04"]}, "bands of mlm:input are"),
        ({"value_scaling": []}, "3 bands but 0 entries of value_scaling"),
        ({"value_scaling": [{"type": "z-score", "mean": 0, "stddev": 0}] * 3}, "value_scaling holds"),
        ({"value_scaling": [{"type": "min-max", "minimum": 0, "maximum": 1}] * 3}, "value_scaling holds"),
    ],
)
def test_bad_input_is_named(bundle: Bundle, change: dict[str, object], message: str) -> None:
    edit_item(bundle, lambda item: item["properties"]["mlm:input"][0].update(change))
    with pytest.raises(ModelBundleError, match=message):
        load_bundle(bundle.folder)


@pytest.mark.parametrize(("reach", "halo"), [(None, 6), (0, 0), (2, 2), (3, 4), (6, 6)])
def test_a_reach_that_was_measured_is_all_that_is_read_around_a_window(
    tmp_path: Path, reach: int | None, halo: int
) -> None:
    """In whole strides, which are of 2 pixels here."""
    saved = save(tmp_path / "model", "hybrid_cnn")
    edit_item(saved, lambda item: item["properties"].update({"cropmap:reach_pixels": reach}))
    predictor = Predictor(load_bundle(saved.folder))
    assert (predictor.step, predictor.halo) == (2, halo)


@pytest.mark.parametrize(
    ("reach", "message"),
    [
        (7, "is 7; its network looks no farther than 6 pixels"),
        (-1, "is -1, no whole number"),
        (2.5, "is 2.5, no whole number"),
        (True, "is True, no whole number"),
        ("4", "is '4', no whole number"),
    ],
)
def test_a_reach_that_cannot_be_is_refused(tmp_path: Path, reach: object, message: str) -> None:
    saved = save(tmp_path / "model", "hybrid_cnn")
    edit_item(saved, lambda item: item["properties"].update({"cropmap:reach_pixels": reach}))
    with pytest.raises(ModelBundleError, match=f"cropmap:reach_pixels {message}"):
        load_bundle(saved.folder)


def test_weights_of_another_network(bundle: Bundle, tmp_path: Path) -> None:
    other = save(tmp_path / "other", "hybrid_cnn")
    shutil.copy(other.folder / "weights.safetensors", bundle.folder)
    with pytest.raises(ModelBundleError, match=r"weights\.safetensors does not fit convlstm"):
        load_bundle(bundle.folder)


@pytest.mark.parametrize("size", [0, 7, 400])
def test_weights_cut_short(bundle: Bundle, size: int) -> None:
    path = bundle.folder / "weights.safetensors"
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(ModelBundleError, match=r"weights\.safetensors cannot be read"):
        load_bundle(bundle.folder)


def months(first: str, last: str) -> list[date]:
    days = np.arange(np.datetime64(first, "M"), np.datetime64(last, "M") + 1).astype("datetime64[D]")
    return [day.item() for day in days]


BANDS = ("B02", "B04", "B08", "NDMI")


def fits(bundle: Bundle, dates: list[date], bands: tuple[str, ...] = BANDS, period: str = "month") -> tuple[str, ...]:
    return check_fits(bundle, Composites(bands, period, tuple(dates)))


def test_any_year_fits_and_more_bands_do_no_harm(bundle: Bundle) -> None:
    fits(bundle, months("2018-01", "2018-12"))
    fits(bundle, months("2031-01", "2031-12"))


def test_season_over_new_year_fits(bundle: Bundle) -> None:
    winter = replace(bundle, first_days=("10-01", "11-01", "12-01", "01-01", "02-01", "03-01"))
    fits(winter, months("2018-10", "2019-03"))
    with pytest.raises(IncompatibleModelError, match=r"2018-10 to 2019-03; the time series lacks 2018-10, 2019-03\."):
        fits(winter, months("2018-11", "2019-02"))


def test_missing_bands_are_named(bundle: Bundle) -> None:
    with pytest.raises(IncompatibleModelError, match="needs B08, NDMI; the time series holds B02, B04") as refused:
        fits(bundle, months("2018-01", "2018-12"), ("B02", "B04"))
    assert "Add the index NDMI" in refused.value.remedy
    assert "Stack the scenes with B08" in refused.value.remedy


@pytest.mark.parametrize(
    ("dates", "difference"),
    [
        (months("2018-03", "2018-11"), "2018-01 to 2018-12; the time series lacks 2018-01, 2018-02, 2018-12."),
        (months("2017-12", "2018-12"), "2018-01 to 2018-12; the time series has besides 2017-12."),
        (
            months("2017-08", "2018-11"),
            "lacks 2018-12 and has besides 2017-08, 2017-09, 2017-10, 2017-11, 2017-12.",
        ),
        (months("2018-12", "2018-12") + months("2018-01", "2018-11"), "the time series is not in order."),
        ([date(2018, 5, 4), date(2018, 5, 9)], "one composite per month; the time series has the dates 2018-05-04"),
        ([], "has no date"),
    ],
)
def test_months_that_differ_are_named(bundle: Bundle, dates: list[date], difference: str) -> None:
    with pytest.raises(IncompatibleModelError) as refused:
        fits(bundle, dates)
    assert difference in refused.value.message


def test_remedy_names_the_dates_to_ask_for(bundle: Bundle) -> None:
    with pytest.raises(IncompatibleModelError) as refused:
        fits(bundle, months("2020-01", "2020-11"))
    assert "START_DATE=2020-01-01 and END_DATE=2020-12-31" in refused.value.remedy


def test_bundled_models_are_whole() -> None:
    """What comes with CropMap loads, predicts, and explains itself."""
    assert {bundle.id for bundle in list_bundles()} >= {"flanders-2018-convlstm", "flanders-2018-hybrid-cnn"}
    for bundle in list_bundles():
        assert bundle.folder.name == bundle.id
        network = bundle.network()
        size = network.patch_size if network.kind == "patch" else 8
        x = torch.zeros(1, len(bundle.first_days), len(bundle.channels), size, size)
        logits = network(x, torch.arange(len(bundle.first_days)).float()[None] * 30, x[:, :, 0] == 0)
        assert logits.shape[1] == len(bundle.classes)
        signatures = json.loads((bundle.folder / "signatures.json").read_text(encoding="utf-8"))
        assert [each["value"] for each in signatures["classes"]] == [crop.value for crop in bundle.classes]
        card = (bundle.folder / "README.md").read_text(encoding="utf-8")
        for crop in bundle.classes:
            assert crop.name in card
