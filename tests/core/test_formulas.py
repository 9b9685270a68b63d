"""The catalogue of indices, held against spyndex itself."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import spyndex
from numpy.typing import NDArray

from cropmap_core.timeseries.formulas import INDICES, LETTERS, SHORT_LIST
from cropmap_core.timeseries.indices import WithIndices, read_formulas, with_indices
from tests.core.series_in_memory import pixel_series, whole

OURS = ("NDVI45", "NDRE", "LAI_PROXY")
RANGES = {
    "A": (200, 300), "B": (300, 500), "G": (600, 900), "R": (550, 590), "RE1": (1000, 1400), "RE2": (2000, 2800),
    "RE3": (2900, 3500), "N": (3600, 4500), "N2": (4600, 5000), "WV": (4000, 4500), "S1": (1800, 2400),
    "S2": (800, 1200),
}  # fmt: skip
"""Of a green field, in digital numbers, so that no difference of two bands is near zero."""


@pytest.fixture(scope="module")
def field() -> dict[str, NDArray[np.int64]]:
    """Bands of 200 pixels, by spyndex's letters."""
    random = np.random.default_rng(0)
    return {letter: random.integers(*limits, 200) for letter, limits in RANGES.items()}


@pytest.fixture(scope="module")
def fused(field: dict[str, NDArray[np.int64]]) -> dict[str, NDArray[np.float32]]:
    """All indices of them, computed in one pass."""
    rows = list(np.array(list(field.values())).T)
    dates = [f"{year}-01-01" for year in range(1800, 2000)]
    series: WithIndices = with_indices(
        pixel_series([LETTERS[letter] for letter in field], rows, dates), list(INDICES), False
    )
    data, _ = whole(series)
    return dict(zip(series.bands, data[:, :, 0, 0].T, strict=True))


def by_spyndex(name: str, field: dict[str, NDArray[np.int64]]) -> NDArray[np.float64]:
    """An index in float64, with the constants that spyndex and the mission state."""
    reflectance = {letter: values / 10000 for letter, values in field.items()}
    operands: dict[str, Any] = {**reflectance, "L": spyndex.constants.L.default}

    def parameter(wanted: str) -> Any:
        if wanted == "L" and name == "SAVI":
            return 0.5
        if re.fullmatch("k[A-Z]{2}", wanted):
            pair = {"a": operands[wanted[1]], "b": operands[wanted[2]]}
            return spyndex.computeKernel("RBF", **pair, sigma=spyndex.constants.sigma.default)
        if wanted.startswith("lambda"):
            return spyndex.bands[wanted.removeprefix("lambda")].sentinel2a.wavelength
        return reflectance[wanted] if wanted in reflectance else spyndex.constants[wanted].default

    with np.errstate(invalid="ignore"):  # roots of negative numbers
        value = spyndex.computeIndex(name, {each: parameter(each) for each in spyndex.indices[name].bands})
    return np.broadcast_to(np.asarray(value, dtype=np.float64), 200)


@pytest.mark.parametrize("name", [name for name in INDICES if name not in OURS])
def test_every_index_of_spyndex_has_its_values(
    name: str, fused: dict[str, NDArray[np.float32]], field: dict[str, NDArray[np.int64]]
) -> None:
    np.testing.assert_allclose(fused[name], by_spyndex(name, field), rtol=1e-4, atol=1e-6)


def test_all_of_spyndex_that_sentinel_2_allows_is_there_but_what_needs_the_light() -> None:
    allowed = {name for name, index in spyndex.indices.items() if "Sentinel-2" in index.platforms}
    assert allowed - set(INDICES) == {"NIRvP"}  # photosynthetically active radiation
    assert set(INDICES) - allowed == set(OURS)


def test_the_letters_are_those_of_spyndex() -> None:
    theirs = {letter: band.sentinel2a.band for letter, band in spyndex.bands.items() if hasattr(band, "sentinel2a")}
    assert {letter: band.replace("B0", "B") for letter, band in LETTERS.items()} == theirs


def test_the_short_list_comes_first_and_no_index_twice() -> None:
    assert tuple(INDICES)[: len(SHORT_LIST)] == SHORT_LIST
    assert len(set(INDICES)) == len(list(INDICES)) == len(INDICES)


def test_names_can_be_names_of_bands_in_a_file() -> None:
    assert [name for name in INDICES if not re.fullmatch(r"[A-Za-z]\w*", name, re.ASCII)] == []
    assert not {*LETTERS, *LETTERS.values(), "SCL"} & set(INDICES)


def test_the_dialogs_offer_the_same_names() -> None:
    file = Path(__file__).parents[2] / "processing_provider" / "index_names.json"
    assert json.loads(file.read_text()) == list(INDICES)


@pytest.mark.parametrize("name", INDICES)
def test_every_index_says_what_it_is_and_where_it_is_from(name: str) -> None:
    index = INDICES[name]
    assert index.name == name
    assert len(index.title) > 5
    assert len(index.source) > 10
    assert index.bands


def test_an_index_that_there_is_not() -> None:
    assert "NIRvP" not in INDICES
    with pytest.raises(KeyError, match="NIRvP"):
        INDICES["NIRvP"]


def test_an_index_of_arrays_of_any_shape() -> None:
    nir, red = np.full((2, 3, 4), 0.5), np.full((2, 3, 4), 0.3)
    red[0, 0, 0] = -0.5
    ndvi = INDICES["NDVI"].compute(nir, red)
    assert (ndvi.shape, ndvi.dtype) == ((2, 3, 4), np.float32)
    assert np.isnan(ndvi[0, 0, 0])
    assert ndvi[1, 2, 3] == pytest.approx(0.25)


def test_the_documentation_states_the_formulas_of_the_short_list(
    fused: dict[str, NDArray[np.float32]], field: dict[str, NDArray[np.int64]]
) -> None:
    text = (Path(__file__).parents[2] / "docs" / "indices.md").read_text()
    stated = dict(re.findall(r"^\| `(\w+)` \| `([^`]+)` \|", text, re.MULTILINE))
    assert tuple(stated) == SHORT_LIST

    formulas = read_formulas([f"MY_{name} = {formula}" for name, formula in stated.items()])
    bands = {LETTERS[letter]: values / 10000 for letter, values in field.items()}
    for index, name in zip(formulas, stated, strict=True):
        np.testing.assert_allclose(index.compute(*(bands[band] for band in index.bands)), fused[name], rtol=1e-5)
