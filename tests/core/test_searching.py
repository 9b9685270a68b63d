"""Searching a real STAC API, and the time series that comes of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pystac
import pytest
import rasterio
import requests
from pystac_client import Client
from pystac_client.conformance import ConformanceClasses
from shapely import box

from cropmap_core.errors import CatalogueError, JobError
from cropmap_core.scenes import catalogue
from cropmap_core.scenes.area import area_of_extent, area_of_file, check_searchable
from cropmap_core.scenes.catalogue import CREDENTIALS, Catalogue, choose_catalogue, search
from cropmap_core.scenes.item_list import choose_scenes
from tests.core.range_server import RangeServer, serving
from tests.core.remote_season import extent, season_as_items, stac_item, write_item_list
from tests.core.repackaged import OFFSET, as_safe
from tests.core.seam import Outcome, run_here, unfinished_files
from tests.core.stac_server import COLLECTION, skip_without_server, stac_api
from tests.factories import BANDS, CRS, ORIGIN, write_season

DAYS = ("20180504T105029", "20180613T105031", "20180708T105029", "20180802T105031", "20180827T105029")
CLOUDS = (10, 20, 30, 40, 50)
WHOLE = extent(0, 0, 320, 240)


@dataclass(frozen=True)
class Archive:
    """A season at a catalogue and on a file server, and on disk."""

    season: Path
    items: list[dict[str, Any]]
    files: RangeServer
    url: str


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Archive]:
    """Besides the season there are a scene elsewhere and one of Level 1C in the catalogue."""
    skip_without_server()
    season = write_season(tmp_path_factory.mktemp("season"), seed=3, times=DAYS, offset=OFFSET)
    with serving(tmp_path_factory.mktemp("cogs")) as files:
        items = season_as_items(season, files.folder, files.url)
        for item, cloud in zip(items, CLOUDS, strict=True):
            item["properties"]["eo:cloud_cover"] = cloud
        elsewhere = box(-60, -20, -59, -19)
        others = [
            {**stac_item(DAYS[0], {}), "id": "S2A_MSIL2A_elsewhere", "geometry": elsewhere.__geo_interface__},
            {**stac_item(DAYS[0], {}, **{"processing:level": "L1C"}), "id": "S2A_MSIL1C_top_of_atmosphere"},
        ]
        with stac_api([*items, *others]) as url:
            yield Archive(season, items, files, url)


@pytest.fixture(autouse=True)
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalogue, "_PAGE", 2)


def days_found(url: str, where: str = WHOLE, start: str = "", end: str = "", cloud: int = 100) -> list[str]:
    pages = []
    first, last = (date.fromisoformat(day) if day else None for day in (start, end))
    items = search(Catalogue(url, COLLECTION), area_of_extent(where), first, last, cloud, lambda: pages.append(1))
    assert len(pages) == -(-len(items) // 2)
    listing = choose_scenes(items, area_of_extent(where), first, last, cloud)
    return [scene.acquired.strftime("%Y%m%dT%H%M%S") for scene in listing.scenes]


def searchscenes(archive: Archive, **parameters: Any) -> Outcome:
    return run_here("searchscenes", **{"url": archive.url, "extent": WHOLE, **parameters})


class TestSearch:
    def test_finds_what_meets_the_area_page_by_page(self, archive: Archive) -> None:
        assert days_found(archive.url) == list(DAYS)
        assert days_found(archive.url, "-59.6,-59.5,-19.6,-19.5 [EPSG:4326]") == [DAYS[0]]
        assert days_found(archive.url, "10,11,50,51 [EPSG:4326]") == []

    def test_counts_both_days(self, archive: Archive) -> None:
        assert days_found(archive.url, start="2018-06-13", end="2018-08-02") == list(DAYS[1:4])
        assert days_found(archive.url, start="2018-07-09") == list(DAYS[3:])
        assert days_found(archive.url, end="2018-05-04") == list(DAYS[:1])

    def test_leaves_cloudy_tiles_to_the_server(self, archive: Archive) -> None:
        assert days_found(archive.url, cloud=30) == list(DAYS[:3])

    @pytest.mark.parametrize("spoken", [{ConformanceClasses.FILTER}, set()], ids=["filter", "neither"])
    def test_leaves_cloudy_tiles_out_whatever_the_server_speaks(
        self, spoken: set[ConformanceClasses], archive: Archive, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        known = Client.conforms_to
        optional = {ConformanceClasses.QUERY, ConformanceClasses.FILTER}
        monkeypatch.setattr(
            Client, "conforms_to", lambda self, what: known(self, what) if what not in optional else what in spoken
        )
        assert days_found(archive.url, cloud=30) == list(DAYS[:3])

    def test_tries_again_after_a_500_and_follows_redirects(self, archive: Archive, tmp_path: Path) -> None:
        with serving(tmp_path) as front:
            front.fails("/stac", kind="status", status=500)
            front.fails("/stac", kind="redirect", to=archive.url)
            assert days_found(f"{front.url}/stac") == list(DAYS)

    def test_of_two_processings_wants_the_newest_baseline(self) -> None:
        def processed(baseline: str) -> dict[str, Any]:
            return stac_item(DAYS[0], {}, **{"s2:processing_baseline": baseline}) | {"id": f"S2A_{baseline}"}

        items = [processed("05.09"), processed("05.10"), processed("02.06")]
        listing = choose_scenes(items, area_of_extent(WHOLE), None, None, 100)
        assert [scene.id for scene in listing.scenes] == ["S2A_05.10"]
        assert listing.skipped[0] == (
            "S2A_05.09",
            "baseline 05.09 of an acquisition that S2A_05.10 has with 05.10 too",
        )

    @pytest.mark.parametrize(
        ("baselines", "kept"), [(("02.07", "05.00"), ["S2A_05.00"]), (("05.00", "05.00x"), ["S2A_05.00", "S2A_05.00x"])]
    )
    def test_processings_of_one_pass_may_differ_by_milliseconds(self, baselines: list[str], kept: list[str]) -> None:
        """Of one baseline, scenes of two seconds are two parts of the tile."""
        items = [
            stac_item(
                DAYS[0], {}, **{"s2:processing_baseline": baseline[:5], "datetime": f"2018-05-04T10:54:{second}Z"}
            )
            | {"id": f"S2A_{baseline}"}
            for baseline, second in zip(baselines, ("18.998", "19.003"), strict=True)
        ]
        listing = choose_scenes(items, area_of_extent(WHOLE), None, None, 100)
        assert [scene.id for scene in listing.scenes] == kept


class TestUnfitCatalogues:
    def test_that_cannot_be_reached(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(catalogue, "_RETRIES", 1)
        with pytest.raises(CatalogueError, match="cannot be searched"):
            days_found("http://127.0.0.1:9/stac")

    def test_a_token_behind_the_address_is_told_to_nobody(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(catalogue, "_RETRIES", 1)
        with pytest.raises(CatalogueError) as caught:
            days_found("http://127.0.0.1:9/stac?token=word")
        assert "http://127.0.0.1:9/stac" in caught.value.message
        assert "word" not in str(caught.value)
        assert choose_catalogue("cdse", "https://example.com/v1?token=word", None).name == "https://example.com/v1"

    @pytest.mark.parametrize(
        ("page", "reason"),
        [
            ("<html>Welcome</html>", "does not answer as a STAC API"),
            ('{"type": "Catalog", "id": "x"}', "does not answer as a STAC API"),
            ("[1, 2]", "does not answer as a STAC API"),
        ],
    )
    def test_that_are_none(self, page: str, reason: str, tmp_path: Path) -> None:
        (tmp_path / "stac").write_text(page)
        with serving(tmp_path) as server, pytest.raises(CatalogueError, match=reason):
            days_found(f"{server.url}/stac")

    def test_whose_links_lead_to_files(self, archive: Archive, tmp_path: Path) -> None:
        """What a catalogue says must not make the worker read what lies on the computer."""
        secret = tmp_path / "secret.json"
        secret.write_text('{"type": "FeatureCollection", "features": [{"id": "read"}]}')
        landing = requests.get(archive.url, timeout=30).json()
        for link in landing["links"]:
            if link["rel"] == "search":
                link["href"] = secret.as_uri()
        (tmp_path / "stac").write_text(json.dumps(landing))
        with serving(tmp_path) as server, pytest.raises(CatalogueError, match="it leads to"):
            days_found(f"{server.url}/stac")

    def test_that_want_credentials(self, tmp_path: Path) -> None:
        with serving(tmp_path) as server:
            server.fails("/stac", kind="status", status=401, times=9)
            with pytest.raises(CatalogueError, match="wants credentials"):
                days_found(f"{server.url}/stac")

    def test_credentials_go_to_the_catalogue_s_host_only(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv(CREDENTIALS, "me:word")
        own = Catalogue("https://stac.example.com/v1", COLLECTION)
        assert own.credentials_for("https://stac.example.com/data/B04.tif") == "me:word"
        for url in ("http://stac.example.com/v1", "https://example.com/v1", "https://stac.example.com:444/v1"):
            assert own.credentials_for(url) is None

    def test_credentials_are_sent_when_searching(
        self, archive: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv(CREDENTIALS, "me:word")
        with serving(tmp_path) as front:
            front.fails("/stac", kind="redirect", to=archive.url)
            assert days_found(f"{front.url}/stac") == list(DAYS)
            assert front.log[0].headers["Authorization"] == "Basic bWU6d29yZA=="

    @pytest.mark.parametrize(
        ("preset", "url", "reason"),
        [
            ("google", None, "CATALOGUE is 'google'"),
            ("cdse", "file:///etc", "URL is 'file:///etc'"),
            ("cdse", "stac.example.com", "URL is 'stac.example.com'"),
            ("cdse", "http://[::1", r"URL is 'http://\[::1'"),
            ("cdse", "http://example.com:99999/", "URL is 'http://example.com:99999/'"),
            ("cdse", "ftp://example.com/stac?token=word", "URL is 'ftp://example.com/stac'"),
            ("cdse", "https://me:word@example.com/v1", "URL holds a user or password"),
            ("cdse", "ftp://me:word@example.com/v1", "URL holds a user or password"),
        ],
    )
    def test_that_are_named_wrongly(self, preset: str, url: str | None, reason: str) -> None:
        with pytest.raises(JobError, match=reason) as caught:
            choose_catalogue(preset, url, None)
        assert "word" not in caught.value.message.replace("password", "")

    def test_presets(self) -> None:
        assert choose_catalogue("earth-search-c1", None, None).collection == "sentinel-2-c1-l2a"
        assert choose_catalogue("cdse", "https://example.com/v1/", "s2") == Catalogue("https://example.com/v1", "s2")


class TestArea:
    @pytest.mark.parametrize(
        ("text", "reason"),
        [
            ("1,2,3,400 [EPSG:4326]", "cannot be placed on the globe"),
            ("170,190,0,1 [EPSG:4326]", "180th meridian"),
            ("-170,170,0,1 [EPSG:4326]", "180th meridian"),
        ],
    )
    def test_where_no_catalogue_can_be_searched(self, text: str, reason: str) -> None:
        with pytest.raises(JobError, match=reason):
            check_searchable(area_of_extent(text))

    def test_the_same_area_has_the_same_fingerprint(self) -> None:
        one = area_of_extent("3,4,50,51 [EPSG:4326]")
        assert one.fingerprint == area_of_extent("3.0,4.0,50.0,51.0 [OGC:CRS84]").fingerprint
        assert one.fingerprint != area_of_extent("3,4,50,51.1 [EPSG:4326]").fingerprint

    def test_edges_stay_straight_where_they_were_drawn(self) -> None:
        """In UTM a parallel sags between its ends: by R cos(50.5) sin(50.5) x (3 degrees) ** 2 / 2 = 4.29 km."""
        bounds = area_of_extent("0,6,50.5,51 [EPSG:4326]").bounds_in(CRS)
        ends = area_of_extent("0,0.001,50.5,51 [EPSG:4326]").bounds_in(CRS)
        assert ends[1] - bounds[1] == pytest.approx(4_290, rel=0.01)

    def test_polygons_of_a_file_in_any_crs(self, tmp_path: Path) -> None:
        square = box(ORIGIN[0], ORIGIN[1] - 240, ORIGIN[0] + 320, ORIGIN[1])
        layer = geopandas.GeoDataFrame(geometry=[square], crs=CRS)
        layer.to_crs(31370).to_file(tmp_path / "area.gpkg")
        bounds = area_of_file(tmp_path / "area.gpkg").bounds_in(CRS)
        assert bounds == pytest.approx(square.bounds, abs=0.01)


class TestCommand:
    @pytest.mark.parametrize("resolution", [10, 20])
    def test_the_season_is_the_same_as_from_its_products(
        self, resolution: int, archive: Archive, tmp_path: Path
    ) -> None:
        wanted, made = tmp_path / "wanted.tif", tmp_path / "made.tif"
        products = as_safe(archive.season, tmp_path / "products")
        run_here("stackscenes", scenes=[products], bands=BANDS, resolution=resolution, output=wanted)
        outcome = searchscenes(archive, bands=BANDS, resolution=resolution, output=made)
        assert outcome.outputs["dates"] == [f"{day[:4]}-{day[4:6]}-{day[6:8]}" for day in DAYS]
        assert outcome.outputs["offset"] == [-1000]
        with rasterio.open(wanted) as one, rasterio.open(made) as other:
            assert one.profile == other.profile
            assert one.descriptions == other.descriptions
            np.testing.assert_array_equal(one.read(), other.read())
        assert sorted(path.name for path in tmp_path.iterdir()) == [
            "made.qml", "made.tif", "products", "wanted.qml", "wanted.tif",
        ]  # fmt: skip

    @pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::PendingDeprecationWarning")
    def test_odc_stac_reads_the_same_numbers(self, archive: Archive, tmp_path: Path) -> None:
        """An independent reader of the same Items, on a part of the tile."""
        odc_stac = pytest.importorskip("odc.stac", reason="odc-stac is not installed (scripts/setup dev)")
        odc_geobox = pytest.importorskip("odc.geo.geobox")
        made = tmp_path / "made.tif"
        searchscenes(archive, extent=extent(70, 30, 260, 200), bands=["B04", "B11"], output=made)
        with rasterio.open(made) as dataset:
            corner = dataset.transform.c, dataset.transform.f
            assert (dataset.width, dataset.height, *corner) == (19, 17, ORIGIN[0] + 70, ORIGIN[1] - 30)
            ours = dataset.read().reshape(len(DAYS), 3, dataset.height, dataset.width)
            geobox = odc_geobox.GeoBox((dataset.height, dataset.width), dataset.transform, CRS)
        items = [pystac.Item.from_dict(item) for item in archive.items]
        theirs = odc_stac.load(items, bands=["B04", "B11", "SCL"], geobox=geobox, resampling="nearest", groupby="id")
        for number, band in enumerate(("B04", "B11")):
            np.testing.assert_array_equal(ours[:, number], theirs[band].values.astype(np.int32) - OFFSET)
        np.testing.assert_array_equal(ours[:, 2], theirs["SCL"].values)

    def test_the_item_list_is_as_the_catalogue_gave_it_and_can_be_searched_instead(
        self, archive: Archive, tmp_path: Path
    ) -> None:
        listed, again = tmp_path / "items.geojson", tmp_path / "again.geojson"
        outcome = searchscenes(archive, max_cloud_percent=30, output_items=listed)
        assert outcome.outputs["scenes"] == 3
        assert "Skipped S2A_MSIL1C_top_of_atmosphere: a Level-1C product" in outcome.texts("log")
        features = json.loads(listed.read_text())["features"]
        assert [item["assets"]["B04"]["href"] for item in features] == [
            item["assets"]["B04"]["href"] for item in archive.items[:3]
        ]
        footprints = geopandas.read_file(listed)
        assert (len(footprints), footprints.crs.to_epsg()) == (3, 4326)
        outcome = searchscenes(
            archive, url="http://127.0.0.1:9/", items=listed, end_date="2018-06-30", output_items=again
        )
        assert outcome.outputs["scenes"] == 2
        assert json.loads(again.read_text())["features"] == features[:2]

    def test_the_scenes_stay_where_they_are_asked_for(self, archive: Archive, tmp_path: Path) -> None:
        scenes, stack = tmp_path / "scenes", tmp_path / "stack.tif"
        assert searchscenes(archive, bands=["B04"], output_scenes=scenes).outputs["scenes"] == 5
        outcome = run_here("stackscenes", scenes=[scenes], bands=["B04"], output=stack)
        assert "5 scenes by their STAC items (baseline) (-1000)" in outcome.texts("log")

    def test_a_failed_run_leaves_what_it_fetched_and_no_output(
        self, archive: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        archive.files.fails(f"{DAYS[3]}/B04.tif", kind="status", status=404, times=9)
        outputs = {"output": tmp_path / "series.tif", "output_items": tmp_path / "items.geojson"}
        outcome = searchscenes(archive, bands=["B04"], **outputs)
        archive.files.faults.clear()
        assert outcome.code == "CatalogueError"
        assert "3 of 5 scenes are there" in outcome.last["message"]
        assert [path.name for path in tmp_path.iterdir()] == [".series.scenes"]
        assert unfinished_files(tmp_path) == []
        again = searchscenes(archive, bands=["B04"], **outputs)
        assert "files were there from an earlier run" in again.texts("log")
        assert {path.name for path in tmp_path.iterdir()} == {"series.tif", "items.geojson"}

    @pytest.mark.parametrize(
        ("parameters", "reason"),
        [
            ({}, "There is nothing to write"),
            ({"extent": None, "output": "x.tif"}, "either an AREA or an EXTENT"),
            ({"area": "/there/is/none.gpkg", "output": "x.tif"}, "either an AREA or an EXTENT"),
            ({"output": "x.png"}, "is not named as a GeoTIFF"),
        ],
    )
    def test_what_is_refused_before_anything_is_asked(
        self, parameters: dict[str, Any], reason: str, tmp_path: Path
    ) -> None:
        if "output" in parameters:
            parameters = {**parameters, "output": tmp_path / parameters["output"]}
        outcome = run_here("searchscenes", **{"url": "http://127.0.0.1:9/", "extent": WHOLE, **parameters})
        assert reason in outcome.last["message"]

    def test_nothing_found_says_so(self, archive: Archive, tmp_path: Path) -> None:
        outcome = searchscenes(archive, start_date="2021-01-01", output_items=tmp_path / "items.geojson")
        assert outcome.code == "NoValidObservationError"
        assert list(tmp_path.iterdir()) == []

    def test_a_list_that_would_replace_itself(self, tmp_path: Path) -> None:
        items = write_item_list(tmp_path / "items.geojson", [{"type": "Feature", "stac_version": "1.0.0"}])
        outcome = run_here("searchscenes", items=items, extent=WHOLE, output_items=items, output=tmp_path / "s.tif")
        assert "is an input of the job" in outcome.last["message"]

    def test_a_list_that_is_none(self, tmp_path: Path) -> None:
        empty = write_item_list(tmp_path / "empty.geojson", [])
        outcome = run_here("searchscenes", items=empty, extent=WHOLE, output_items=tmp_path / "items.geojson")
        assert "holds no STAC Item" in outcome.last["message"]
