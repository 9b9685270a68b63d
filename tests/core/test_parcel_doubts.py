"""Each reason to doubt a record, by a parcel that has it and one that just has not."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import rasterio

from cropmap_core.errors import JobError
from cropmap_core.parcels import Maps, RecordOptions, Thresholds
from cropmap_core.parcels.doubts import Doubt, Grounds, doubts_of, reason_text
from cropmap_core.timeseries.gaps import PROVENANCE
from tests.core.parcel_cases import class_raster, described, layer, on_pixels, pixel_box, raster

SURE = Grounds(
    pixels=np.array([10.0]),
    covered=np.array([0.8]),
    buffer_failed=np.array([False]),
    purity=np.array([0.7]),
    probability=np.array([0.5]),
    clear_dates=np.array([4.0]),
    filled=np.array([0.5]),
    edge=np.array([0.5]),
    ood=np.array([0.5]),
    overlap=np.array([0.05]),
)


def reasons(grounds: Grounds) -> str:
    (found,) = doubts_of(grounds, Thresholds())
    return reason_text(int(found))


def test_a_record_at_every_threshold_is_not_doubted() -> None:
    assert reasons(SURE) == ""


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"pixels": 9.99}, "TOO_SMALL"),
        ({"buffer_failed": True}, "TOO_SMALL"),
        ({"purity": 0.69}, "MIXED"),
        ({"probability": 0.49}, "LOW_CONFIDENCE"),
        ({"clear_dates": 3.9}, "FEW_OBSERVATIONS"),
        ({"filled": 0.51}, "FEW_OBSERVATIONS"),
        ({"edge": 0.51}, "EDGE"),
        ({"ood": 0.51}, "OUT_OF_DISTRIBUTION"),
        ({"covered": 0.79}, "NOT_COVERED"),
        ({"covered": np.nan}, "NOT_COVERED"),
        ({"overlap": 0.06}, "OVERLAP"),
        ({"purity": np.nan, "probability": np.nan, "clear_dates": np.nan, "filled": np.nan, "ood": np.nan}, ""),
        ({"pixels": 0.0, "covered": 0.0, "overlap": 1.0, "purity": np.nan}, "NOT_COVERED;OVERLAP"),
        ({"purity": 0.1, "probability": 0.1, "overlap": 0.2}, "MIXED;LOW_CONFIDENCE;OVERLAP"),
    ],
)
def test_a_reason(change: dict[str, float], code: str) -> None:
    assert reasons(replace(SURE, **{name: np.array([value]) for name, value in change.items()})) == code


def test_the_codes_are_stable() -> None:
    assert [doubt.name for doubt in Doubt] == [
        "TOO_SMALL", "MIXED", "LOW_CONFIDENCE", "FEW_OBSERVATIONS", "EDGE", "OUT_OF_DISTRIBUTION", "NOT_COVERED",
        "OVERLAP",
    ]  # fmt: skip


@pytest.mark.parametrize("name", [field.name for field in fields(Thresholds)])
def test_thresholds_that_are_none(name: str) -> None:
    with pytest.raises(JobError, match=f"{name.upper()} is -1"):
        Thresholds(**{name: -1.0})
    if name not in ("min_pixels", "min_clear_dates"):
        with pytest.raises(JobError, match="Give a share from 0 to 1"):
            Thresholds(**{name: 70.0})


class TestOfParcels:
    @pytest.fixture
    def maps(self, tmp_path: Path) -> Maps:
        """Grass with a corner of maize, the last row never observed."""
        classes = np.full((12, 12), 2)
        classes[:6, :6] = 1
        classes[11] = 0
        return Maps(class_raster(tmp_path / "classes.tif", classes))

    def test_of_one_crop_are_sure(self, maps: Maps, tmp_path: Path) -> None:
        (record,) = described(layer(tmp_path / "p.gpkg", [pixel_box(0, 0, 6, 6)]), maps)
        assert (record.doubt, record.doubt_reason) == (0, None)

    @pytest.mark.parametrize(
        ("corners", "expected"),
        [
            (((0, 0), (3, 0), (3, 3), (0, 3)), "TOO_SMALL"),
            (((0, 0), (10, 0), (10, 6), (0, 6)), "MIXED"),
            (((0, 0), (12, 0), (12, 6), (0, 6)), "MIXED"),
            (((0.5, 0.2), (1.4, 0.2), (1.4, 11), (0.5, 11)), "TOO_SMALL;MIXED;EDGE"),
            (((6, 8), (12, 8), (12, 12), (6, 12)), "NOT_COVERED"),
            (((8, 0), (16, 0), (16, 8), (8, 8)), "NOT_COVERED"),
            (((0, 11), (3, 11), (3, 12), (0, 12)), "NOT_COVERED"),
        ],
    )
    def test_for_their_shape_and_place(
        self, maps: Maps, tmp_path: Path, corners: tuple[tuple[float, float], ...], expected: str
    ) -> None:
        (record,) = described(layer(tmp_path / "p.gpkg", [on_pixels(*corners)]), maps)
        assert (record.doubt, record.doubt_reason) == (1, expected)

    def test_for_what_goes_with_the_map(self, maps: Maps, tmp_path: Path) -> None:
        confidence = raster(tmp_path / "confidence.tif", np.full((12, 12), 40), 255)
        ood = raster(tmp_path / "ood.tif", np.ones((12, 12)), 255)
        bands = np.stack([np.full((12, 12), value) for value in (2, 0.8, 90)])
        provenance = raster(tmp_path / "provenance.tif", bands, np.nan, "float32")
        with rasterio.open(provenance, "r+") as dataset:
            dataset.descriptions = PROVENANCE
        given = maps._replace(confidence=confidence, ood=ood, provenance=provenance)
        parcels = layer(tmp_path / "p.gpkg", [pixel_box(0, 0, 6, 6)])
        (record,) = described(parcels, given)
        assert record.doubt_reason == "LOW_CONFIDENCE;FEW_OBSERVATIONS;OUT_OF_DISTRIBUTION"
        lenient = Thresholds(min_probability=0.4, min_clear_dates=2, max_filled=0.8, max_ood=1)
        (record,) = described(parcels, given, options=RecordOptions(thresholds=lenient))
        assert (record.doubt, record.doubt_reason) == (0, None)

    def test_that_overlap_or_are_there_twice(self, maps: Maps, tmp_path: Path) -> None:
        """The first two share 4 of 24 and of 36 pixels, the next two are one, the last only touches."""
        shapes = [
            pixel_box(0, 0, 6, 4), pixel_box(0, 3.3334, 6, 9), pixel_box(6, 0, 12, 4), pixel_box(6, 0, 12, 4),
            pixel_box(6, 4, 12, 9),
        ]  # fmt: skip
        records = described(layer(tmp_path / "p.gpkg", shapes), maps)
        overlapping = ["OVERLAP" in (record.doubt_reason or "") for record in records]
        assert overlapping == [True, True, True, True, False]
        lenient = RecordOptions(thresholds=Thresholds(max_overlap=0.12))
        records = described(layer(tmp_path / "p.gpkg", shapes), maps, options=lenient)
        assert ["OVERLAP" in (record.doubt_reason or "") for record in records] == [True, False, True, True, False]

    def test_that_a_buffer_has_freed_of_their_edges(self, maps: Maps, tmp_path: Path) -> None:
        """Most of its pixels are cut; those within it are not mixed with its neighbours'."""
        parcels = layer(tmp_path / "p.gpkg", [on_pixels((6.5, 0.5), (11.5, 0.5), (11.5, 4.5), (6.5, 4.5))])
        lenient = RecordOptions(thresholds=Thresholds(max_edge=0.3))
        (whole,) = described(parcels, maps, options=lenient)
        (inner,) = described(parcels, maps, buffer_m=10, options=lenient)
        assert (whole.doubt_reason, inner.doubt_reason) == ("EDGE", None)
