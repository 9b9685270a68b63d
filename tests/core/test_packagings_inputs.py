"""Inputs of each packaging that tell their date and offset in one way or another, and those that are not used."""

from __future__ import annotations

import json
import shutil
import tempfile
import zipfile
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rasterio.transform import from_origin

from cropmap_core.errors import CropMapError, MissingBandError, SceneError
from cropmap_core.io.grid import Window
from cropmap_core.scenes.inventory import Scene, find_scenes
from cropmap_core.scenes.packagings import stac_items
from cropmap_core.scenes.stack import stack_scenes
from tests.core.conftest import data_folder
from tests.core.repackaged import as_stac_items, write_earth_engine, write_item, zipped
from tests.core.series_in_memory import whole
from tests.factories import ORIGIN, write_safe, write_scene, write_season

ELSEWHERE = "2018-09-09"  # the scene that is found beside the input that is not used


ANY_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.sampled_from(["https://[", "file://", "\0", "x" * 5000, "0001-01-01T00:00:00+23:59", "99.99", "//x/y", "."]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


def only_scene(folder: Path) -> Scene:
    (scene,) = find_scenes([folder]).scenes
    return scene


def reason(folder: Path, *names: str) -> str:
    """Why what is in a folder is not used, though there is a scene beside it."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    write_scene(folder / "scene", ELSEWHERE, bands=("B04",))
    found = find_scenes([folder])
    assert len(found.scenes) == 1
    (skipped,) = found.skipped
    return skipped.reason


def reason_of_item(folder: Path) -> str:
    """Why an Item is not used; its files, whose names say nothing, are then listed too."""
    write_scene(folder / "scene", ELSEWHERE, bands=("B04",))
    found = find_scenes([folder])
    assert len(found.scenes) == 1
    return next(skipped.reason for skipped in found.skipped if skipped.path.name == "item.json")


class TestNames:
    @pytest.mark.parametrize(
        ("name", "why"),
        [
            ("LC08_L2SP_199025_20180504_20200901_02_T1_SR_B4.TIF", "a Landsat file"),
            ("T31UDS_20180504T105029_TCI_10m.jp2", "a quick-look"),
            ("S2B_31UDS_20180504_0_L2A/preview.jpg", "a quick-look"),
            ("S2B_31UDS_20180504_0_L2A/AOT.tif", "a map of the atmosphere"),
            ("T31UDS_20180504T105029_B04.jp2", "a Level-1C band"),
            ("notes.txt", "its name is not that of a Sentinel-2 band file"),
        ],
    )
    def test_what_is_no_band_says_what_it_is(self, tmp_path: Path, name: str, why: str) -> None:
        assert reason(tmp_path, name).startswith(why)

    def test_what_programs_leave_beside_rasters_is_not_worth_telling(self, tmp_path: Path) -> None:
        scene = write_scene(tmp_path)
        (scene / "T31UDS_20180504T105029_B04_10m.tif.aux.xml").touch()
        assert find_scenes([tmp_path]).skipped == ()

    @pytest.mark.parametrize(
        ("folder", "name"),
        [
            ("S2B_31UDS_20180504_0_L2A", "T31UDS_20180504T000000"),
            ("S2A_5UDS_20180504_1_L2A", "T05UDS_20180504T000000"),
            ("S2B_T31UDS_20180504T105029_L2A", "T31UDS_20180504T105029"),
        ],
    )
    def test_folders_of_cogs_on_aws(self, tmp_path: Path, folder: str, name: str) -> None:
        (tmp_path / folder).mkdir()
        for band in ("B04", "B8A", "SCL", "B01"):
            (tmp_path / folder / f"{band}.tif").touch()
        scene = only_scene(tmp_path)
        assert (scene.name, scene.stated_offset) == (name, None)
        assert scene.files.keys() == {("B04", 10), ("B8A", 20), ("SCL", 20), ("B01", 60)}

    @pytest.mark.parametrize(("baseline", "offset"), [("0214", 0), ("0301", 0), ("0400", -1000), ("0510", -1000)])
    def test_the_product_that_band_files_were_taken_from_tells_their_offset(
        self, tmp_path: Path, baseline: str, offset: int
    ) -> None:
        product = f"S2A_MSIL2A_20180504T105031_N{baseline}_R051_T31UDS_20180504T131412.SAFE"
        scene = only_scene(write_scene(tmp_path / product))
        assert scene.stated_offset is not None
        assert (scene.baseline, scene.stated_offset.value) == (f"{baseline[:2]}.{baseline[2:]}", offset)

    def test_a_product_of_no_known_baseline_tells_nothing(self, tmp_path: Path) -> None:
        product = "S2A_MSIL2A_20180504T105031_N9999_R051_T31UDS_20180504T131412.SAFE"
        assert only_scene(write_scene(tmp_path / product)).stated_offset is None

    def test_an_8_bit_picture_named_like_a_band(self, tmp_path: Path) -> None:
        (file,) = write_scene(tmp_path, bands=("B04",)).glob("*_B04_*")
        with rasterio.open(file) as dataset:
            profile = {**dataset.profile, "dtype": "uint8"}
        with rasterio.open(file, "w", **profile) as dataset:
            dataset.write(np.full((8, 8), 90, np.uint8), 1)
        with pytest.raises(SceneError, match="B04_10m.tif holds 8-bit values"):
            stack_scenes(find_scenes([tmp_path]).scenes, ["B04"], 10, "0")

    def test_a_file_that_points_elsewhere_is_not_followed(self, tmp_path: Path) -> None:
        """GDAL tells formats by content: a text named .tif could make it read any file or address."""
        (file,) = write_scene(tmp_path / "a", bands=("B04",)).glob("*_B04_*")
        elsewhere = file.rename(tmp_path / "elsewhere.bin")
        with rasterio.open(elsewhere) as dataset:
            size = f'rasterXSize="{dataset.width}" rasterYSize="{dataset.height}"'
        source = f"<SimpleSource><SourceFilename>{elsewhere}</SourceFilename></SimpleSource>"
        file.write_text(
            f'<VRTDataset {size}><VRTRasterBand dataType="UInt16" band="1">{source}</VRTRasterBand></VRTDataset>'
        )
        with pytest.raises(SceneError, match="B04_10m.tif cannot be read"):
            stack_scenes(find_scenes([tmp_path / "a"]).scenes, ["B04"], 10, "0")


class TestSafe:
    def test_the_xml_of_a_product_stands_for_its_folder(self, tmp_path: Path) -> None:
        safe = write_safe(tmp_path, bands=("B04",))
        assert find_scenes([safe / "MTD_MSIL2A.xml"]).scenes == find_scenes([safe]).scenes

    def test_a_product_without_images(self, tmp_path: Path) -> None:
        safe = write_safe(tmp_path, bands=())
        for image in safe.rglob("*.jp2"):
            image.unlink()
        assert reason(tmp_path).startswith("a product without the images")


@pytest.fixture(scope="module")
def archive_of_a_product(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    folder = tmp_path_factory.mktemp("product")
    return zipped(write_safe(folder, bands=("B04",)), folder / "scene.zip").read_bytes()


class TestZips:
    def archive(self, folder: Path, **members: bytes) -> Path:
        with zipfile.ZipFile(folder / "scenes.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in members.items():
                archive.writestr(name, content)
        return folder

    def test_an_archive_may_hold_several_products_in_folders(self, tmp_path: Path) -> None:
        for day in ("2023-05-04", "2023-06-03"):
            write_safe(tmp_path / "downloads" / "may", day, bands=("B04",))
        zipped(tmp_path / "downloads", tmp_path / "zips" / "downloads.zip")
        first, second = find_scenes([tmp_path / "zips"]).scenes
        assert (first.baseline, second.acquired) == ("05.09", datetime(2023, 6, 3, 10, 50, 29))
        assert first.place.parent == tmp_path / "zips" / "downloads.zip" / "downloads" / "may"

    def test_the_genuine_product_zipped_is_the_same(self, l2a_products: Path, tmp_path: Path) -> None:
        (safe,) = l2a_products.glob("*.SAFE")
        stacks = [
            stack_scenes(find_scenes([path]).scenes, ["B01", "B02", "B04"], 60, "auto")
            for path in (safe, zipped(safe, tmp_path / "product.zip"))
        ]
        unpacked, packed = (stack.read(Window(900, 800, 50, 60)) for stack in stacks)
        np.testing.assert_array_equal(packed.data, unpacked.data)
        assert stacks[1].offsets == stacks[0].offsets
        assert stacks[1].offsets.values == (-1000,)
        assert stacks[1].offsets.warnings == ()

    def test_another_way_of_packing(self, tmp_path: Path) -> None:
        with zipfile.ZipFile(tmp_path / "scenes.zip", "w", zipfile.ZIP_BZIP2) as archive:
            archive.writestr("S2.SAFE/MTD_MSIL2A.xml", b"x")
        assert "cannot be read in place" in reason(tmp_path)

    @settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
    @given(place=st.floats(0, 1, exclude_max=True), byte=st.integers(0, 255), cut=st.booleans())
    def test_damage_is_a_skip_or_an_error_that_says_so(
        self, archive_of_a_product: bytes, tmp_path: Path, place: float, byte: int, cut: bool
    ) -> None:
        content = bytearray(archive_of_a_product)
        position = int(place * len(content))
        content[position] = byte
        folder = Path(tempfile.mkdtemp(dir=tmp_path))  # GDAL remembers what an archive of the same name held
        (folder / "scene.zip").write_bytes(bytes(content[:position] if cut else content))
        told = "scene.zip"
        try:
            whole(stack_scenes(find_scenes([folder]).scenes, ["B04"], 10, "0"))
        except CropMapError as error:
            told = error.message
        assert "scene.zip" in told

    def test_a_password(self, tmp_path: Path) -> None:
        self.archive(tmp_path, **{"S2.SAFE/MTD_MSIL2A.xml": b"x"})
        content = bytearray((tmp_path / "scenes.zip").read_bytes())
        content[content.index(b"PK\x01\x02") + 8] |= 1
        (tmp_path / "scenes.zip").write_bytes(bytes(content))
        assert reason(tmp_path) == "a zip archive with a password: unpack it first"

    @pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/passwd", "a/../../b", "C:\\x", "a\\..\\..\\b"])
    def test_a_path_that_climbs_out(self, tmp_path: Path, name: str) -> None:
        safe = zipped(write_safe(tmp_path / "x", bands=("B04",)), tmp_path / "zips" / "scene.zip")
        with zipfile.ZipFile(safe, "a") as archive:
            archive.writestr(name, b"x")
        assert reason(tmp_path / "zips").startswith("a zip archive with a path that climbs out of it")

    def test_a_bomb(self, tmp_path: Path) -> None:
        self.archive(tmp_path, **{"S2.SAFE/MTD_MSIL2A.xml": bytes(8 * 2**20)})
        assert "unpacks to far more than a product" in reason(tmp_path)

    def test_members_that_share_their_bytes(self, tmp_path: Path) -> None:
        """Many entries of the directory for the same data: more bytes packed than the archive has."""
        self.archive(tmp_path, **{"a.jp2": bytes(np.random.default_rng(0).bytes(50_000))})
        archive = (tmp_path / "scenes.zip").read_bytes()
        start = archive.index(b"PK\x01\x02")
        end = archive.index(b"PK\x05\x06")
        many = bytearray(archive[:start] + archive[start:end] * 20 + archive[end:])
        record = len(many) - 22
        many[record + 8 : record + 12] = (20).to_bytes(2, "little") * 2
        many[record + 12 : record + 16] = (20 * (end - start)).to_bytes(4, "little")
        (tmp_path / "scenes.zip").write_bytes(bytes(many))
        assert "unpacks to far more than a product (20 files" in reason(tmp_path)

    @pytest.mark.parametrize(
        ("member", "why"),
        [
            ("readme.txt", "a zip archive without a Sentinel-2 L2A product in it"),
            ("S2A_MSIL1C.SAFE/MTD_MSIL1C.xml", "a Level-1C product"),
        ],
    )
    def test_other_archives(self, tmp_path: Path, member: str, why: str) -> None:
        self.archive(tmp_path, **{member: b"x"})
        assert reason(tmp_path).startswith(why)

    def test_a_download_that_was_cut_short(self, tmp_path: Path) -> None:
        archive = zipped(write_safe(tmp_path / "x", bands=("B04",)), tmp_path / "zips" / "scene.zip")
        archive.write_bytes(archive.read_bytes()[:-500])
        assert "empty or damaged" in reason(tmp_path / "zips")

    def test_an_xml_with_a_dtd(self, tmp_path: Path) -> None:
        self.archive(tmp_path, **{"S2.SAFE/MTD_MSIL2A.xml": b"<!DOCTYPE a [<!ENTITY b 'c'>]><a/>"})
        with pytest.raises(SceneError, match=r"scenes.zip/S2.SAFE/MTD_MSIL2A.xml declares a DTD"):
            find_scenes([tmp_path])


class TestEarthEngine:
    def export(self, folder: Path, name: str, tags: dict[str, str] | None = None, **options: Any) -> Path:
        scene = write_scene(folder.parent / "like", bands=("B02",))
        bands = options.pop("bands", ("B02", "B8A", "SCL"))
        pixels = {band: np.full((8, 8), 4, options.pop("dtype", np.uint16)) for band in bands}
        like = next(scene.glob("*_B02_*"))
        return write_earth_engine(folder / name, pixels, like, tags or {}, **options)

    @pytest.mark.parametrize(
        ("name", "tags", "acquired"),
        [
            ("20180504T105029_20180504T105418_T31UDS.tif", {}, "2018-05-04T10:50:29"),
            ("S2_2018-05-04.tif", {}, "2018-05-04"),
            ("crops_20180504.tif", {}, "2018-05-04"),
            ("20180504T105029.tif", {}, "2018-05-04"),
            ("a.tif", {"system:time_start": "1525431029000"}, "2018-05-04T10:50:29"),
            ("a.tif", {"DATE_ACQUIRED": "2018-05-04"}, "2018-05-04"),
            ("a.tif", {"system:index": "20180504T105029_20180504T105418_T31UDS"}, "2018-05-04T10:50:29"),
        ],
    )
    def test_the_date_is_in_the_name_or_the_tags(
        self, tmp_path: Path, name: str, tags: dict[str, str], acquired: str
    ) -> None:
        scene = only_scene(self.export(tmp_path / "gee", name, tags).parent)
        assert scene.acquired == datetime.fromisoformat(acquired)
        assert scene.files.keys() == {("B02", 10), ("B8A", 10), ("SCL", 10)}
        assert scene.stated_offset is None

    @pytest.mark.parametrize(
        ("name", "tags"),
        [
            ("20220504T105029_20220504T105418_T31UDS", {"PROCESSING_BASELINE": "04.00"}),
            ("S2A_MSIL2A_20220504T105029_N0400_R051_T31UDS_20220504T160000", {}),
        ],
    )
    def test_parts_of_one_export_are_all_there_though_their_baseline_is_known(
        self, tmp_path: Path, name: str, tags: dict[str, str]
    ) -> None:
        for column in (0, 8):
            self.export(tmp_path / "gee", f"{name}-0000000000-{column:010d}.tif", tags)
        inventory = find_scenes([tmp_path / "gee"])
        assert len(inventory.scenes) == 2
        assert not inventory.skipped

    @pytest.mark.parametrize("nodata", [0, 65535])
    def test_what_the_file_declares_missing_is_missing(self, tmp_path: Path, nodata: int) -> None:
        path = self.export(tmp_path / "gee", "S2_2018-05-04.tif", nodata=nodata)
        with rasterio.open(path, "r+") as dataset:
            dataset.write(np.array([[nodata]], np.uint16), 1, window=((2, 3), (5, 6)))
        _, valid = whole(stack_scenes(find_scenes([path]).scenes, ["B02"], 10, "0"))
        assert np.argwhere(~valid).tolist() == [[0, 2, 5]]

    @pytest.mark.parametrize(
        ("tags", "offset"),
        [
            ({"system:id": "COPERNICUS/S2_SR_HARMONIZED/x", "PROCESSING_BASELINE": "05.09"}, 0),
            ({"system:id": "COPERNICUS/S2_SR/x", "PROCESSING_BASELINE": "05.09"}, -1000),
            ({"PROCESSING_BASELINE": "02.14"}, 0),
            ({"PROCESSING_BASELINE": "05.09"}, None),
            ({"system:id": "COPERNICUS/S2_SR/x", "PROCESSING_BASELINE": "unknown"}, None),
        ],
    )
    def test_the_collection_tells_the_offset(self, tmp_path: Path, tags: dict[str, str], offset: int | None) -> None:
        stated = only_scene(self.export(tmp_path / "gee", "S2_2018-05-04.tif", tags).parent).stated_offset
        assert (stated.value if stated else None) == offset

    def test_parts_of_an_export_are_one_date(self, tmp_path: Path) -> None:
        """Earth Engine cuts large exports and appends the first row and column of each part."""
        folder = tmp_path / "gee"
        left = self.export(folder, "S2_2018-05-04-0000000000-0000000000.tif")
        right = folder / "S2_2018-05-04-0000000000-0000000008.tif"
        shutil.copy(left, right)
        with rasterio.open(right, "r+") as dataset:
            dataset.transform = from_origin(ORIGIN[0] + 80, ORIGIN[1], 10, 10)
        stack = stack_scenes(find_scenes([folder]).scenes, ["B02"], 10, "0")
        data, valid = whole(stack)
        assert (len(stack.dates), data.shape, valid.all()) == (1, (1, 2, 8, 16), True)

    def test_without_scl_it_is_a_scene_that_needs_a_choice(self, tmp_path: Path) -> None:
        self.export(tmp_path / "gee", "S2_2018-05-04.tif", bands=("B02", "B04"))
        with pytest.raises(MissingBandError, match=r"Missing band SCL .*MISSING_SCL"):
            stack_scenes(find_scenes([tmp_path / "gee"]).scenes, ["B02"], 10, "0")

    @pytest.mark.parametrize(
        ("name", "options", "why"),
        [
            ("S2_2018-05-04_2018-05-14.tif", {}, "bands of Sentinel-2 without one date"),
            ("20189904T105029_20180504T105418_T31UDS.tif", {}, "its name is not that of"),
            ("S2.tif", {}, "bands of Sentinel-2 without one date"),
            ("S2_2018-05-04.tif", {"dtype": np.float32}, "float32 values: export the 16-bit"),
            ("S2_2018-05-04.tif", {"dtype": np.uint8}, "8-bit values"),
            ("S2_2018-05-04.tif", {"crs": "EPSG:4326"}, "pixels of 10 x 10 units of EPSG:4326"),
            ("S2_2018-05-04.tif", {"bands": ("NDVI",)}, "its name is not"),
            ("S2_2018-05-04.tif", {"tags": {"CROPMAP_DATES": "[]"}}, "a time series file of CropMap"),
        ],
    )
    def test_what_is_not_used_says_why(self, tmp_path: Path, name: str, options: dict[str, Any], why: str) -> None:
        self.export(tmp_path / "gee", name, **options)
        assert reason(tmp_path / "gee").startswith(why)


class TestOpenEo:
    def test_the_real_cube_with_all_it_takes(self) -> None:
        scenes = find_scenes([data_folder("cubes") / "test_optical_cube.nc"]).scenes
        assert [f"{scene.acquired:%Y-%m-%d}" for scene in (scenes[0], scenes[-1])] == ["2023-10-02", "2023-12-31"]
        stack = stack_scenes(scenes, ["B02", "B03", "B04", "B08"], 10, "auto")
        assert (len(stack.dates), stack.offsets.values) == (19, (0,) * 19)
        data, valid = whole(stack)
        with rasterio.open(f'netcdf:"{data_folder("cubes")}/test_optical_cube.nc":S2-L2A-B08') as dataset:
            stored = dataset.read().astype(int)
        np.testing.assert_array_equal(data[:, 3], stored)
        assert valid.all()

    def test_the_real_cube_without_blue_needs_the_parameter(self) -> None:
        scenes = find_scenes([data_folder("cubes") / "cdse_sentinel2_l2a.nc"]).scenes
        stack = stack_scenes(scenes, ["B04", "B11"], 10, "0")
        assert (len(stack.dates), stack.bands) == (12, ("B04", "B11", "SCL"))

    def test_a_cube_may_be_named_by_the_time_of_its_making(self, tmp_path: Path) -> None:
        cube = tmp_path / "a b" / "openEO_2018-05-04T10:50:29Z.nc"
        cube.parent.mkdir()
        shutil.copy(data_folder("cubes") / "cdse_sentinel2_l2a.nc", cube)
        stack = stack_scenes(find_scenes([tmp_path]).scenes, ["B04"], 10, "0")
        assert stack.read(Window(0, 0, 1, 1)).data.shape == (12, 2, 1, 1)

    def test_another_netcdf_file(self, tmp_path: Path) -> None:
        assert reason(tmp_path, "weather.nc").startswith("a netCDF file that cannot be used")


class TestStacItems:
    def item(self, folder: Path, assets: dict[str, Any] | None = None, **properties: Any) -> Path:
        scene = write_scene(folder.parent / "elsewhere", bands=("B02",))
        for band in ("B02", "SCL"):
            (folder / f"{band}.tif").parent.mkdir(parents=True, exist_ok=True)
            (folder / f"{band}.tif").write_bytes(next(scene.glob(f"*_{band}_*")).read_bytes())
        own = {"B02": {"href": "B02.tif"}, "SCL": {"href": "./SCL.tif"}}
        return write_item(folder / "item.json", "2018-05-04T10:50:29", assets or own, **properties)

    @pytest.mark.parametrize(
        ("properties", "raster", "offset"),
        [
            ({}, {}, None),
            ({"s2:processing_baseline": "02.14"}, {}, 0),
            ({"s2:processing_baseline": "05.09"}, {}, -1000),
            ({"processing:version": "05.10"}, {}, -1000),
            ({"earthsearch:boa_offset_applied": True, "s2:processing_baseline": "05.09"}, {"offset": -0.1}, 0),
            ({"earthsearch:boa_offset_applied": False, "s2:processing_baseline": "05.09"}, {"offset": 0}, -1000),
            ({"earthsearch:boa_offset_applied": False}, {"offset": -0.1, "scale": 0.0001}, -1000),
            ({"s2:processing_baseline": "05.09"}, {"offset": 0, "scale": 0.0001}, 0),
            ({}, {"offset": -0.1, "scale": 0.0001}, -1000),
        ],
    )
    def test_the_item_tells_the_offset(
        self, tmp_path: Path, properties: dict[str, Any], raster: dict[str, float], offset: int | None
    ) -> None:
        assets = {"blue": {"href": "B02.tif", "raster:bands": [raster]}, "scl": {"href": "SCL.tif"}}
        stated = only_scene(self.item(tmp_path / "stac", assets, **properties).parent).stated_offset
        assert (stated.value if stated else None) == offset

    def test_its_tile_time_and_files(self, tmp_path: Path) -> None:
        scene = only_scene(self.item(tmp_path / "stac").parent)
        assert (scene.name, scene.files.keys()) == ("T31UDS_20180504T105029", {("B02", 10), ("SCL", 20)})

    def test_absolute_hrefs_and_collections_of_items(self, tmp_path: Path) -> None:
        item = self.item(tmp_path / "stac")
        assets = {
            "B02": {"href": str(tmp_path / "stac" / "B02.tif")},
            "scl": {"href": (tmp_path / "stac" / "SCL.tif").as_uri()},
        }
        feature = {**json.loads(item.read_text()), "assets": assets}
        item.write_text(json.dumps({"type": "FeatureCollection", "features": [feature]}))
        assert only_scene(tmp_path / "stac").files.keys() == {("B02", 10), ("SCL", 20)}

    def test_files_that_an_item_names_are_no_scene_of_their_own(self, tmp_path: Path) -> None:
        """Though they have the names of an archive."""
        scene = write_scene(tmp_path, bands=("B04",))
        assets = {path.name.split("_")[2]: {"href": path.name} for path in scene.iterdir()}
        write_item(scene / "item.json", "2018-05-04T10:50:29", assets, **{"s2:processing_baseline": "05.09"})
        assert only_scene(tmp_path).baseline == "05.09"

    @pytest.mark.parametrize(
        ("change", "why"),
        [
            ({"href": "https://example.com/B02.tif"}, "asset B02 lies at https://example.com, not on this computer"),
            ({"href": "s3://bucket/B02.tif"}, "asset B02 lies at s3://bucket"),
            ({"href": "/vsicurl/https://example.com/B02.tif"}, "asset B02 is not there"),
            ({"href": "gone.tif"}, "asset B02 is not there: gone.tif"),
            ({"href": ""}, "asset B02 is not there: it has no href"),
            ({"href": "item.json"}, "asset B02 is no GeoTIFF or JPEG 2000 file"),
            ({"raster:bands": [{"scale": 0.001}]}, "asset B02 states scale 0.001"),
            ({"raster:bands": [{"offset": -0.2}]}, "asset B02 states scale None and offset -0.2"),
        ],
    )
    def test_assets_that_cannot_be_used(self, tmp_path: Path, change: dict[str, Any], why: str) -> None:
        self.item(tmp_path / "stac", {"B02": {"href": "B02.tif", **change}})
        assert why in reason_of_item(tmp_path / "stac")

    @pytest.mark.parametrize(
        ("properties", "why"),
        [
            ({"platform": "landsat-8"}, "it is not of Sentinel-2"),
            ({"processing:level": "L1C"}, "a Level-1C product"),
            ({"datetime": None}, "its datetime is no date"),
        ],
    )
    def test_other_items(self, tmp_path: Path, properties: dict[str, Any], why: str) -> None:
        self.item(tmp_path / "stac", **properties)
        assert why in reason_of_item(tmp_path / "stac")

    @settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=100)
    @given(data=st.data())
    def test_whatever_an_item_holds_it_is_a_scene_or_skipped(self, tmp_path: Path, data: st.DataObject) -> None:
        assets = {"B02": {"href": "B02.tif", "raster:bands": [{"offset": 0, "scale": 0.0001}]}}
        own = {"s2:processing_baseline": "05.09", "earthsearch:boa_offset_applied": True}
        item = json.loads(self.item(tmp_path / "stac", assets, **own).read_text())
        band = item["assets"]["B02"]
        holder = data.draw(st.sampled_from([item, item["properties"], item["assets"], band, band["raster:bands"][0]]))
        holder[data.draw(st.sampled_from(sorted(holder)))] = data.draw(ANY_JSON)
        (tmp_path / "stac" / "item.json").write_text(json.dumps(item))
        found = stac_items.find([tmp_path / "stac" / "item.json"])
        assert len(found.scenes) + len(found.skipped) == len(found.claimed & {tmp_path / "stac" / "item.json"})

    @pytest.mark.parametrize(
        "text", ["", "[]", "{}", "{'a'", '{"type": "FeatureCollection", "features": 3}', "[" * 9999]
    )
    def test_json_that_is_no_item(self, tmp_path: Path, text: str) -> None:
        (tmp_path / "settings.json").write_text(text)
        assert reason(tmp_path).startswith("its name is not")


def test_packagings_mix(tmp_path: Path) -> None:
    """One date as a folder, one zipped, one as files, one as an Item, and something else."""
    write_safe(tmp_path, "2018-04-04", bands=("B04",), values={"B04": 1500})
    zipped(
        write_safe(tmp_path.parent / "unzipped", "2018-05-04", bands=("B04",), values={"B04": 1500}), tmp_path / "b.zip"
    )
    write_scene(tmp_path, "2018-06-03", bands=("B04",), values={"B04": 500})
    as_stac_items(write_season(tmp_path.parent / "season", times=["2018-07-03"], width=8, height=8), tmp_path / "items")
    (tmp_path / "notes.txt").touch()
    found = find_scenes([tmp_path])
    stack = stack_scenes(found.scenes, ["B04"], 10, "0")
    assert [day.month for day in stack.dates] == [4, 5, 6, 7]
    assert [skipped.path.name for skipped in found.skipped] == ["notes.txt"]
    assert (whole(stack)[0][:3, 0] == 500).all()
