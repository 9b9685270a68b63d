"""The layers of a map: each worked out by hand on a few pixels, then against NumPy on many; and their files."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest
import rasterio
import torch
from numpy.typing import NDArray

from cropmap_core.classes import CLASSES_TAG, CropClass
from cropmap_core.errors import OutputError
from cropmap_core.hierarchy import hierarchy_of
from cropmap_core.inference.map_files import category_names, create_maps, stage_maps
from cropmap_core.inference.map_layers import NO_VALUE, Layers, MapPaths, layers_of
from cropmap_core.io.outputs import Outputs
from tests.core.series_in_memory import grid

JOB = "0123456789ab"
CROPS = (CropClass(3, "Maize", "#f4c430"), CropClass(7, "Wheat & rye", "#c0a060"), CropClass(9, "Grass", "#4caf50"))
ALL = ("entropy", "margin", "probabilities")


def of_pixels(*rows: tuple[float, ...]) -> NDArray[np.float32]:
    """Probabilities of pixels in a row, shape (K, 1, W)."""
    return np.array(rows, np.float32).T[:, None, :]


def seen(probabilities: NDArray[np.float32]) -> NDArray[np.bool_]:
    return np.ones(probabilities.shape[1:], bool)


def test_by_hand() -> None:
    probabilities = of_pixels((0.2, 0.5, 0.3), (1, 0, 0), (1 / 3, 1 / 3, 1 / 3), (0.5, 0.5, 0))
    layers = layers_of(probabilities, seen(probabilities), CROPS, ALL)
    assert layers.classes.tolist() == [[7, 3, 3, 3]], "the first of equals"
    assert layers.places.tolist() == [[1, 0, 0, 0]]
    assert layers.confidence.tolist() == [[50, 100, 33, 50]]
    assert layers.margin is not None
    assert layers.entropy is not None
    assert layers.probabilities is not None
    assert layers.margin.tolist() == [[50, 250, 0, 0]], "0.2 and 1 of 250"
    assert layers.entropy.tolist() == [[234, 0, 250, 158]], "1.0297, 0, ln 3 and ln 2 by ln 3, of 250"
    assert layers.probabilities[:, 0, 0].tolist() == [50, 125, 75]
    assert layers.ood is None


def test_only_what_is_asked_for_is_there() -> None:
    probabilities = of_pixels((0.2, 0.5, 0.3))
    layers = layers_of(probabilities, seen(probabilities), CROPS, ("margin",))
    assert [name for name in Layers._fields if getattr(layers, name) is None] == ["entropy", "probabilities", "ood"]


def test_what_was_never_observed_is_nodata_in_all() -> None:
    probabilities = of_pixels((0.2, 0.5, 0.3), (np.nan,) * 3, (0.9, 0.05, 0.05))
    layers = layers_of(probabilities, np.array([[True, False, False]]), CROPS, ALL)
    assert layers.classes.tolist() == [[7, 0, 0]]
    assert layers.probabilities is not None
    for layer in (layers.confidence, layers.entropy, layers.margin, *layers.probabilities):
        assert layer is not None
        assert layer[0, 0] <= 250
        assert layer[0, 1:].tolist() == [NO_VALUE, NO_VALUE]


def test_one_class_alone_is_certain() -> None:
    probabilities = np.ones((1, 1, 1), np.float32)
    layers = layers_of(probabilities, seen(probabilities), CROPS[:1], ALL)
    found = [layers.classes, layers.confidence, layers.entropy, layers.margin, layers.probabilities]
    assert [layer.item() for layer in found if layer is not None] == [3, 100, 0, 250, 250]


def test_values_beyond_255_take_16_bits() -> None:
    crops = (CropClass(3, "Maize", "#f4c430"), CropClass(300, "Wheat", "#c0a060"))
    probabilities = of_pixels((0.2, 0.8), (0.8, 0.2))
    classes = layers_of(probabilities, seen(probabilities), crops).classes
    assert (classes.dtype, classes.tolist()) == (np.uint16, [[300, 3]])


@pytest.mark.parametrize(("height", "width"), [(1, 1), (3, 5), (90, 101)])
@pytest.mark.parametrize("count", [2, 9, 24])
def test_as_numpy_and_torch_have_it(count: int, height: int, width: int) -> None:
    """The class and the confidence to the bit, as maps had them; the rest within the rounding of a step."""
    rng = np.random.default_rng(count)
    shares = rng.dirichlet(np.full(count, 0.2), height * width).T.reshape(count, height, width)
    probabilities = np.ascontiguousarray(shares, np.float32)
    observed = rng.random((height, width)) > 0.2
    crops = [CropClass(value, f"crop {value}", "#000000") for value in rng.permutation(np.arange(1, 200))[:count]]
    layers = layers_of(probabilities, observed, crops, ALL)
    top = torch.from_numpy(probabilities).max(dim=0)
    own = np.array([crop.value for crop in crops])
    assert np.array_equal(layers.places, top.indices)
    assert np.array_equal(layers.classes, np.where(observed, own[top.indices.numpy()], 0))
    percent = np.rint(100 * top.values.numpy()).astype(np.uint8)
    assert np.array_equal(layers.confidence, np.where(observed, percent, 255))
    ranked = np.sort(probabilities, axis=0)
    exact = probabilities.astype(np.float64)
    logarithm = np.log(exact, where=exact > 0, out=np.zeros_like(exact))
    assert layers.margin is not None
    assert layers.entropy is not None
    for layer, value in (
        (layers.margin, ranked[-1] - ranked[-2]),
        (layers.entropy, -(exact * logarithm).sum(axis=0) / np.log(count)),
    ):
        assert np.abs(layer[observed] - 250 * value[observed]).max(initial=0) < 0.501
    assert np.array_equal(layers.probabilities, np.where(observed, np.rint(250 * probabilities), 255))


def test_a_crop_that_is_not_sure_gives_way_to_its_group() -> None:
    crops = (
        CropClass(1, "Wheat", "#000000", parents=("Cereals",)),
        CropClass(2, "Barley", "#202020", parents=("Cereals",)),
        CropClass(3, "Grass", "#404040", parents=("Grassland",)),
    )
    probabilities = of_pixels((0.5, 0.4, 0.1), (0.8, 0.1, 0.1), (0.4, 0.1, 0.5))
    layers = layers_of(probabilities, seen(probabilities), crops, ("margin",), hierarchy_of(crops), 0.7)
    assert layers.classes.tolist() == [[4, 1, 5]], "Cereals, Wheat, Undecided"
    assert layers.confidence.tolist() == [[90, 80, 50]]
    assert layers.margin is not None
    assert layers.margin.tolist() == [[25, 175, 25]], "of the crops all the same"
    assert layers.places.tolist() == [[0, 0, 2]]


def all_paths(folder: Path) -> MapPaths:
    names = ("classes", "confidence", "entropy", "margin", "probabilities", "ood")
    return MapPaths(*(folder / f"{name}.tif" for name in names))


def write(folder: Path) -> MapPaths:
    """A map of 2 x 3 pixels, the last one of which was never observed."""
    probabilities = of_pixels((0.2, 0.5, 0.3), (1, 0, 0), (0.1, 0.1, 0.8), (0, 0.5, 0.5), (0.6, 0.4, 0), (0, 0, 0))
    observed = np.array([[True] * 5 + [False]])
    layers = layers_of(probabilities.reshape(3, 2, 3), observed.reshape(2, 3), CROPS, ALL)
    layers = layers._replace(ood=np.array([[0, 1, 0], [0, 0, 255]], np.uint8))
    with Outputs(JOB) as outputs:
        paths = all_paths(folder)
        with create_maps(stage_maps(outputs, CROPS, paths), grid(2, 3), CROPS, CROPS, {"CROPMAP_MODEL": "m"}) as maps:
            maps.write(grid(2, 3).window(), layers._asdict())
            maps.tag({"LATE": "known"})
        outputs.commit()
    return paths


class TestFiles:
    def test_hold_what_they_say(self, tmp_path: Path) -> None:
        paths = write(tmp_path)
        with rasterio.open(paths.classes) as dataset:
            assert dataset.read(1).tolist() == [[7, 3, 9], [7, 3, 0]]
            assert (dataset.nodata, dataset.dtypes, dataset.colormap(1)[7]) == (0, ("uint8",), (0xC0, 0xA0, 0x60, 255))
            tags = dataset.tags()
            assert (tags["CROPMAP_MODEL"], tags["LATE"]) == ("m", "known")
            assert '"name": "Wheat & rye"' in tags[CLASSES_TAG]
        for name, first, last in (("confidence", 50, 255), ("entropy", 234, 255), ("margin", 50, 255), ("ood", 0, 255)):
            with rasterio.open(tmp_path / f"{name}.tif") as dataset:
                values = dataset.read(1)
                assert (values[0, 0], values[1, 2], dataset.nodata) == (first, last, 255), name
                scale = 0.004 if name in ("entropy", "margin") else 1
                assert (dataset.scales, dataset.tags(ns="IMAGE_STRUCTURE")["LAYOUT"]) == ((scale,), "COG"), name
        with rasterio.open(tmp_path / "probabilities.tif") as dataset:
            assert dataset.descriptions == ("Maize", "Wheat & rye", "Grass")
            assert dataset.scales == (0.004,) * 3
            assert dataset.read()[:, 0, 0].tolist() == [50, 125, 75]
            assert dataset.read()[:, 1, 2].tolist() == [255] * 3
            assert [each["value"] for each in json.loads(dataset.tags()[CLASSES_TAG])] == [3, 7, 9]

    def test_have_their_styles_and_class_names_beside_them(self, tmp_path: Path) -> None:
        write(tmp_path)
        names = ["classes", "confidence", "entropy", "margin", "ood", "probabilities"]
        files = {f"{name}.{ending}" for name in names for ending in ("tif", "qml")}
        assert {path.name for path in tmp_path.iterdir()} == {*files, "classes.tif.aux.xml"}

    def test_names_of_classes_are_read_by_gdal(self, tmp_path: Path) -> None:
        """Debian's GDAL, which is what QGIS asks; rasterio has no word for them."""
        path = write(tmp_path).classes
        try:
            told = subprocess.run(["gdalinfo", path], capture_output=True, text=True, check=True).stdout
        except FileNotFoundError:
            pytest.skip("there is no gdalinfo")
        told = told.partition("Categories:")[2]
        lines = [line.strip() for line in told.splitlines()[1:11]]
        assert lines[3] == "3: Maize"
        assert lines[7] == "7: Wheat & rye"
        assert lines[0] == "0:"

    def test_of_classes_hold_values_beyond_255(self, tmp_path: Path) -> None:
        crops = (CropClass(3, "Maize", "#f4c430"), CropClass(300, "Wheat", "#c0a060"))
        probabilities = of_pixels((0.2, 0.8), (0.8, 0.2))
        with create_maps(MapPaths(tmp_path / "map.tif"), grid(1, 2), crops, crops) as maps:
            maps.write(grid(1, 2).window(), layers_of(probabilities, seen(probabilities), crops)._asdict())
        with rasterio.open(tmp_path / "map.tif") as dataset:
            assert (dataset.read(1).tolist(), dataset.dtypes) == ([[300, 3]], ("uint16",))
            assert dataset.colormap(1)[300] == (0xC0, 0xA0, 0x60, 255)

    def test_that_go_wrong_leave_nothing(self, tmp_path: Path) -> None:
        (tmp_path / "classes.tif").write_text("old")
        with (
            pytest.raises(OutputError),
            Outputs(JOB) as outputs,
            create_maps(stage_maps(outputs, CROPS, all_paths(tmp_path)), grid(2, 3), CROPS, CROPS),
        ):
            raise OutputError("Disk full.", "Make room.")
        assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("classes.tif", "old")]

    def test_replace_the_names_of_the_map_before(self, tmp_path: Path) -> None:
        (tmp_path / "classes.tif.aux.xml").write_text("old")
        (tmp_path / "entropy.tif.aux.xml").write_text("old")
        write(tmp_path)
        assert (tmp_path / "classes.tif.aux.xml").read_text() == category_names(CROPS)
        assert not (tmp_path / "entropy.tif.aux.xml").exists()
