"""SAFE products: what their XML says of offset and baseline, and what of it is not believed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio

from cropmap_core.errors import MissingBandError, SceneError
from cropmap_core.io.grid import Window
from cropmap_core.scenes.inventory import find_scenes
from cropmap_core.scenes.safe import PRODUCT_XML, read_product
from cropmap_core.scenes.stack import stack_scenes
from tests.core.series_in_memory import whole
from tests.factories import write_safe


def edited(folder: Path, old: str, new: str) -> Path:
    """A product whose XML was changed in one place."""
    safe = write_safe(folder, bands=())
    xml = safe / PRODUCT_XML
    text = xml.read_text(encoding="utf-8")
    assert old in text
    xml.write_text(text.replace(old, new, 1), encoding="utf-8")
    return safe


@pytest.mark.parametrize(("baseline", "offset", "read"), [("05.09", -1000, -1000), ("04.00", 0, 0), ("02.12", None, 0)])
def test_baseline_and_offset(tmp_path: Path, baseline: str, offset: int | None, read: int) -> None:
    product = read_product(write_safe(tmp_path, bands=(), baseline=baseline, offset=offset))
    assert (product.baseline, product.offset) == (baseline, read)


def test_the_offset_is_taken_off_the_digital_numbers(tmp_path: Path) -> None:
    write_safe(tmp_path, values={"B04": 1300}, bands=("B04",), offset=-1000)
    stack = stack_scenes(find_scenes([tmp_path]).scenes, ["B04"], 10, "auto")
    data, _ = whole(stack)
    assert (data[0, 0] == 300).all()
    assert (data[0, 1] == 4).all()  # SCL has no offset


@pytest.mark.parametrize(
    "declaration", ["<!DOCTYPE product SYSTEM 'http://127.0.0.1/x.dtd'>", "<!DOCTYPE product [<!ENTITY a 'b'>]>"]
)
def test_a_dtd_is_refused(tmp_path: Path, declaration: str) -> None:
    safe = edited(tmp_path, "<n1:Level-2A_User_Product", f"{declaration}<n1:Level-2A_User_Product")
    with pytest.raises(SceneError, match=f"{PRODUCT_XML} declares a DTD"):
        read_product(safe)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le"])
def test_an_encoding_that_hides_a_dtd_is_refused(tmp_path: Path, encoding: str) -> None:
    safe = edited(tmp_path, "<n1:Level-2A_User_Product", "<!DOCTYPE a [<!ENTITY b 'c'>]><n1:Level-2A_User_Product")
    text = (safe / PRODUCT_XML).read_text(encoding="utf-8").replace("UTF-8", "UTF-16")
    (safe / PRODUCT_XML).write_bytes(text.encode(encoding))
    with pytest.raises(SceneError, match=PRODUCT_XML):
        read_product(safe)


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ('band_id="3">-1000<', 'band_id="3">-1100<', "different offsets"),
        ('none">10000<', 'none">1000<', "quantification value 1000"),
        ("PROCESSING_BASELINE>05.09<", "PROCESSING_BASELINE><", "has no PROCESSING_BASELINE"),
        ("</n1:Level-2A_User_Product>", "", "cannot be read"),
    ],
)
def test_what_cannot_be_is_refused(tmp_path: Path, old: str, new: str, reason: str) -> None:
    with pytest.raises(SceneError, match=reason):
        read_product(edited(tmp_path, old, new))


@pytest.mark.parametrize("text", ["ten", "nan", "-1000.5", "inf"])
def test_an_offset_that_is_no_whole_number_is_refused(tmp_path: Path, text: str) -> None:
    safe = write_safe(tmp_path, bands=())
    xml = safe / PRODUCT_XML
    xml.write_text(xml.read_text(encoding="utf-8").replace(">-1000<", f">{text}<"), encoding="utf-8")
    with pytest.raises(SceneError, match=PRODUCT_XML):
        read_product(safe)


def test_an_image_that_is_cut_short_is_named(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(200, 4000, (64, 64))
    safe = write_safe(tmp_path, values={"B04": noise}, bands=("B04",), width=64, height=64)
    image = next(safe.rglob("*_B04_10m.jp2"))
    image.write_bytes(image.read_bytes()[: image.stat().st_size // 2])
    with pytest.raises(SceneError, match="_B04_10m.jp2 cannot be read"):
        whole(stack_scenes(find_scenes([safe]).scenes, ["B04"], 10, "auto"))


@pytest.mark.parametrize(
    ("product", "baseline", "offset"),
    [
        ("S2A_MSIL2A_20190212T192651_N0212", "02.12", 0),
        ("esa_S2B_MSIL2A_20210122T133229_N0214", "02.14", 0),
        ("S2B_MSIL2A_20220413T150759_N0400", "04.00", -1000),
        ("S2A_MSIL2A_20230625T234621_N0509", "05.09", -1000),
    ],
)
def test_metadata_of_real_products(l2a_products: Path, product: str, baseline: str, offset: int) -> None:
    (folder,) = (l2a_products / "metadata_only").glob(f"{product}*")
    found = read_product(folder)
    assert (found.baseline, found.offset) == (baseline, offset)


def test_a_real_product_stacks_at_60_m(l2a_products: Path) -> None:
    (safe,) = l2a_products.glob("*.SAFE")
    stack = stack_scenes(find_scenes([safe]).scenes, ["B8A", "B02", "B01"], 60, "auto")
    assert stack.bands == ("B01", "B02", "B8A", "SCL")
    assert (stack.grid.width, stack.grid.height, stack.grid.resolution_m) == (1830, 1830, 60)
    window = Window(row=900, col=800, height=50, width=60)
    block = stack.read(window)
    for channel, band in enumerate(stack.bands):
        (image,) = safe.rglob(f"*_{band}_60m.jp2")
        with rasterio.open(image) as dataset:
            stored = dataset.read(1, window=window.bounds_rc).astype(int)
        if band == "SCL":
            np.testing.assert_array_equal(block.data[0, channel], stored)
        else:
            assert stored.min() > 0
            np.testing.assert_array_equal(block.data[0, channel], stored - 1000)  # x 0.0001: (DN - 1000) / 10000
    assert block.valid.all()


def test_a_real_product_without_its_10_m_bands_does_not_stack_at_10_m(l2a_products: Path) -> None:
    (safe,) = l2a_products.glob("*.SAFE")
    with pytest.raises(MissingBandError, match=r"B02 \(there only at 60 m\)"):
        stack_scenes(find_scenes([safe]).scenes, ["B02"], 10, "auto")
