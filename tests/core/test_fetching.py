"""Fetching what an area needs from servers that do what servers do."""

from __future__ import annotations

import json
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import planetary_computer
import pytest
import rasterio
from numpy.typing import NDArray

from cropmap_core.errors import Cancelled, CatalogueError, CropMapError
from cropmap_core.scenes.area import Area, area_of_extent
from cropmap_core.scenes.cut_outs import plan_cut_outs
from cropmap_core.scenes.fetching import Fetched, Fetcher
from cropmap_core.scenes.inventory import find_scenes
from cropmap_core.scenes.item_list import ListedScene, choose_scenes
from cropmap_core.scenes.remote import Access, Patience
from tests.core.range_server import RangeServer, serving
from tests.core.remote_season import extent, stac_item, write_cog, write_item_list
from tests.core.repackaged import copied
from tests.core.seam import job_document, run_here, unfinished_files, worker
from tests.factories import ORIGIN

HURRIED = Patience(tries=3, first_wait_s=0.01, longest_wait_s=0.02, connect_s=5, stall_s=1)
EDGE = 1024
TIMES = ("20180504T105029", "20180613T105031")
MIDDLE = extent(3000, 3000, 3300, 3240)
EVERYTHING = extent(0, 0, 20 * EDGE, 20 * EDGE)


@pytest.fixture(scope="module")
def tiles(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, NDArray[Any]]]:
    """A folder with one tile's B04 and SCL, and their pixels."""
    folder = tmp_path_factory.mktemp("tiles")
    pixels = {
        "B04": write_cog(folder / "B04.tif", "B04", EDGE),
        "SCL": write_cog(folder / "SCL.tif", "SCL", EDGE // 2),
    }
    return folder, pixels


@pytest.fixture
def server(
    tiles: tuple[Path, dict[str, NDArray[Any]]], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RangeServer]:
    """Serves the tile as two scenes."""
    served = tmp_path_factory.mktemp("served")
    for time in TIMES:
        (served / time).mkdir()
        for band in ("B04", "SCL"):
            (served / time / f"{band}.tif").symlink_to(tiles[0] / f"{band}.tif")
    with serving(served) as running:
        yield running


def items_at(server: RangeServer, **change: Any) -> list[dict[str, Any]]:
    edge_m = 10.0 * EDGE
    hrefs = {time: {band: f"{server.url}/{time}/{band}.tif" for band in ("B04", "SCL")} for time in TIMES}
    return [stac_item(time, hrefs[time], edge_m, edge_m) | change for time in TIMES]


def listed(items: list[dict[str, Any]], area: Area) -> tuple[ListedScene, ...]:
    return choose_scenes(items, area, None, None, 100).scenes


def fetch(
    items: list[dict[str, Any]],
    folder: Path,
    where: str = MIDDLE,
    progress: Callable[[float], None] = lambda fraction: None,
    credentials: Callable[[str], str | None] = lambda href: None,
) -> Fetched:
    area = area_of_extent(where)
    fetcher = Fetcher("0123456789ab", Access(credentials, HURRIED))
    return fetcher.fetch(listed(items, area), area, ["B04"], 10, folder, progress)


def pixels_of(path: Path) -> NDArray[Any]:
    with rasterio.open(path) as dataset:
        pixels: NDArray[Any] = dataset.read(1)
    return pixels


class TestCutOuts:
    def test_hold_the_area_and_120_m_around_it_in_whole_60_m_pixels(
        self, server: RangeServer, tiles: tuple[Path, dict[str, NDArray[Any]]], tmp_path: Path
    ) -> None:
        """3000 - 120 = 2880 = 48 x 60; 3300 + 120 = 3420 = 57 x 60; 3240 + 120 = 3360 = 56 x 60."""
        fetched = fetch(items_at(server), tmp_path / "scenes")
        assert [folder.name[11:26] for folder in fetched.folders] == list(TIMES)
        for folder in fetched.folders:
            assert sorted(path.name for path in folder.iterdir()) == ["B04_10m.tif", "SCL_20m.tif", "item.json"]
            np.testing.assert_array_equal(pixels_of(folder / "B04_10m.tif"), tiles[1]["B04"][288:336, 288:342])
            np.testing.assert_array_equal(pixels_of(folder / "SCL_20m.tif"), tiles[1]["SCL"][144:168, 144:171])
            with rasterio.open(folder / "B04_10m.tif") as red, rasterio.open(folder / "SCL_20m.tif") as classes:
                corner = (ORIGIN[0] + 2880, ORIGIN[1] - 2880)
                assert (red.transform.c, red.transform.f) == (classes.transform.c, classes.transform.f) == corner
                assert (red.dtypes[0], classes.dtypes[0], red.nodata) == ("uint16", "uint8", 0)

    def test_end_where_the_tile_ends(self, server: RangeServer, tmp_path: Path) -> None:
        folder = fetch(items_at(server), tmp_path, extent(-900, -900, 30, 30)).folders[0]
        assert pixels_of(folder / "B04_10m.tif").shape == (18, 18)  # 30 + 120 m make three pixels of 60 m

    def test_of_jpeg_2000_are_the_same(
        self, server: RangeServer, tiles: tuple[Path, dict[str, NDArray[Any]]], tmp_path: Path
    ) -> None:
        """As the Copernicus Data Space has them, under its names of assets."""
        items = items_at(server)[:1]
        for band in ("B04", "SCL"):
            jp2 = server.folder / TIMES[0] / f"{band}.jp2"
            copied(tiles[0] / f"{band}.tif", jp2, driver="JP2OpenJPEG", QUALITY="100", REVERSIBLE="YES")
        href = f"{server.url}/{TIMES[0]}/{{}}.jp2"
        items[0]["assets"] = {"B04_10m": {"href": href.format("B04")}, "SCL_20m": {"href": href.format("SCL")}}
        folder = fetch(items, tmp_path).folders[0]
        np.testing.assert_array_equal(pixels_of(folder / "B04_10m.tif"), tiles[1]["B04"][288:336, 288:342])
        np.testing.assert_array_equal(pixels_of(folder / "SCL_20m.tif"), tiles[1]["SCL"][144:168, 144:171])

    @pytest.mark.parametrize(
        ("resolution_m", "wanted"),
        [(10, "B04_10m B11_20m SCL_20m"), (20, "B04_20m B11_20m SCL_20m"), (60, "B04_60m B11_60m SCL_60m")],
    )
    def test_are_of_the_copy_that_suits_the_resolution(self, resolution_m: int, wanted: str, tmp_path: Path) -> None:
        copies = ["B04_10m", "B04_20m", "B04_60m", "B11_20m", "B11_60m", "SCL_20m", "SCL_60m", "AOT_10m", "TCI_10m"]
        item = stac_item(TIMES[0], {name: f"s3://eodata/{name}.jp2" for name in copies}, 10_240, 10_240)
        area = area_of_extent(MIDDLE)
        cut_outs = plan_cut_outs(listed([item], area)[0], area, ["B04", "B11"], resolution_m, tmp_path)
        assert " ".join(cut_out.name for cut_out in cut_outs) == wanted
        assert [cut_out.href for cut_out in cut_outs] == [f"s3://eodata/{name}.jp2" for name in wanted.split()]

    def test_are_a_scene_to_everybody(self, server: RangeServer, tmp_path: Path) -> None:
        fetch(items_at(server), tmp_path)
        found = find_scenes([tmp_path])
        assert [f"{scene.acquired:%Y%m%dT%H%M%S}" for scene in found.scenes] == list(TIMES)
        assert {scene.baseline for scene in found.scenes} == {"05.09"}
        assert {scene.mgrs_tile for scene in found.scenes} == {"31UDS"}
        assert found.skipped == ()

    def test_without_their_item_they_are_none(self, server: RangeServer, tmp_path: Path) -> None:
        for folder in fetch(items_at(server), tmp_path).folders:
            (folder / "item.json").unlink()
        with pytest.raises(CropMapError, match="No Sentinel-2 L2A scene"):
            find_scenes([tmp_path])

    def test_of_less_bands_keep_those_that_are_there(self, server: RangeServer, tmp_path: Path) -> None:
        fetch(items_at(server), tmp_path)
        area = area_of_extent(MIDDLE)
        fetcher = Fetcher("0123456789ab", Access(lambda href: None, HURRIED))
        folder = fetcher.fetch(listed(items_at(server), area), area, [], 10, tmp_path, lambda fraction: None).folders[0]
        assert set(json.loads((folder / "item.json").read_text())["assets"]) == {"B04_10m", "SCL_20m"}

    def test_cost_the_bytes_of_their_blocks_and_little_more(
        self, server: RangeServer, tiles: tuple[Path, dict[str, NDArray[Any]]], tmp_path: Path
    ) -> None:
        """Of 4 x 4 blocks of 256 pixels the window meets two times two."""
        fetch(items_at(server)[:1], tmp_path)
        size = (tiles[0] / "B04.tif").stat().st_size
        assert server.sent("B04.tif") < 0.35 * size
        assert size > 1_000_000


class TestFaults:
    @pytest.mark.parametrize(
        "fault",
        [
            {"kind": "status", "status": 500},
            {"kind": "status", "status": 503, "times": 2},
            {"kind": "status", "status": 429},
            {"kind": "status", "status": 500, "methods": ("GET",)},
            {"kind": "status", "status": 500, "methods": ("GET",), "after": 1},
            {"kind": "short", "methods": ("GET",)},
            {"kind": "short", "methods": ("GET",), "after": 1},
            {"kind": "stall", "methods": ("GET",), "after": 1},
            {"kind": "cut", "methods": ("GET",)},
        ],
        ids=str,
    )
    def test_that_pass_leave_no_trace(
        self,
        fault: dict[str, Any],
        server: RangeServer,
        tiles: tuple[Path, dict[str, NDArray[Any]]],
        tmp_path: Path,
    ) -> None:
        server.fails(f"{TIMES[0]}/B04.tif", **fault)
        fetched = fetch(items_at(server), tmp_path / "scenes", EVERYTHING)
        assert len(fetched.folders) == 2
        assert server.remaining_faults() == 0
        for folder in fetched.folders:
            np.testing.assert_array_equal(pixels_of(folder / "B04_10m.tif"), tiles[1]["B04"])

    def test_that_stay_are_an_error_that_names_the_file_and_how_far_it_came(
        self, server: RangeServer, tmp_path: Path
    ) -> None:
        """A file whose second half was lost; its size is that of the half."""
        server.fails(f"{TIMES[1]}/B04.tif", kind="cut", times=1000)
        with pytest.raises(CatalogueError) as caught:
            fetch(items_at(server), tmp_path / "scenes", EVERYTHING)
        assert f"{TIMES[1]}/B04.tif could not be read in 3 tries" in caught.value.message
        assert "1 of 2 scenes are there" in caught.value.message
        assert "run it again to continue" in caught.value.remedy
        assert unfinished_files(tmp_path / "scenes") == []

    def test_what_is_not_there_is_not_asked_for_again(self, server: RangeServer, tmp_path: Path) -> None:
        server.fails(f"{TIMES[0]}/B04.tif", kind="status", status=404, times=1000)
        with pytest.raises(CatalogueError, match=r"B04.tif is not there \(HTTP response code: 404\)"):
            fetch(items_at(server), tmp_path / "scenes")
        assert {asked.method for asked in server.asked(f"{TIMES[0]}/B04.tif")} == {"HEAD"}

    def test_what_is_forbidden_says_what_credentials_it_wants_and_tells_no_token(
        self, server: RangeServer, tmp_path: Path
    ) -> None:
        items = items_at(server)
        items[0]["assets"]["B04"]["href"] += "?sig=SECRET"
        server.fails(f"{TIMES[0]}/B04.tif", kind="status", status=403, times=1000)
        with pytest.raises(CatalogueError, match="is not given to us") as caught:
            fetch(items, tmp_path / "scenes")
        assert "AUTH in QGIS (method Basic" in caught.value.remedy
        assert "SECRET" not in str(caught.value)

    def test_redirects_are_followed(self, server: RangeServer, tmp_path: Path) -> None:
        server.fails(f"{TIMES[0]}/B04.tif", kind="redirect", to=f"{server.url}/{TIMES[1]}/B04.tif", times=1000)
        assert len(fetch(items_at(server), tmp_path / "scenes").folders) == 2


class TestResuming:
    def test_nothing_is_fetched_twice(self, server: RangeServer, tmp_path: Path) -> None:
        server.fails(f"{TIMES[1]}/SCL.tif", kind="status", status=404, times=1000)
        with pytest.raises(CatalogueError):
            fetch(items_at(server), tmp_path / "scenes")
        server.faults.clear()
        there = {path.parent.name[11:26] + "/" + path.name[:3] for path in (tmp_path / "scenes").glob("*/*.tif")}
        server.log.clear()
        fetched = fetch(items_at(server), tmp_path / "scenes")
        assert len(fetched.folders) == 2
        assert fetched.kept_files == len(there) >= 2
        asked = {served.path.removeprefix("/").removesuffix(".tif") for served in server.log}
        assert asked == {f"{time}/{band}" for time in TIMES for band in ("B04", "SCL")} - there

    def test_a_cancelled_run_continues(self, server: RangeServer, tmp_path: Path) -> None:
        def cancel(fraction: float) -> None:
            if fraction > 0:
                raise Cancelled

        with pytest.raises(Cancelled):
            fetch(items_at(server), tmp_path / "scenes", progress=cancel)
        assert unfinished_files(tmp_path / "scenes") == []
        assert len(fetch(items_at(server), tmp_path / "scenes").folders) == 2

    def test_another_area_is_fetched_anew_with_the_same_files_as_on_its_own(
        self, server: RangeServer, tmp_path: Path
    ) -> None:
        fetch(items_at(server), tmp_path / "scenes")
        again = fetch(items_at(server), tmp_path / "scenes", extent(6000, 6000, 6300, 6300))
        alone = fetch(items_at(server), tmp_path / "alone", extent(6000, 6000, 6300, 6300))
        for one, other in zip(again.folders, alone.folders, strict=True):
            assert again.kept_files == 0
            assert [path.read_bytes() for path in sorted(one.iterdir())] == [
                path.read_bytes() for path in sorted(other.iterdir())
            ]

    def test_while_a_scene_is_changed_its_item_is_not_there(self, server: RangeServer, tmp_path: Path) -> None:
        fetch(items_at(server), tmp_path)
        server.fails(f"{TIMES[0]}/SCL.tif", kind="status", status=404, times=1000)
        with pytest.raises(CatalogueError):
            fetch(items_at(server), tmp_path, extent(6000, 6000, 6300, 6300))
        assert not list(tmp_path.glob(f"*{TIMES[0]}*/item.json"))

    def test_what_a_killed_worker_left_is_removed(self, server: RangeServer, tmp_path: Path) -> None:
        folder = fetch(items_at(server), tmp_path).folders[0]
        (folder / ".B04_10m.tif.fedcba987654.part.tif").write_text("half")
        fetch(items_at(server), tmp_path)
        assert unfinished_files(tmp_path) == []


class TestCertificates:
    @pytest.fixture
    def certificate(self, tmp_path: Path) -> Path:
        """One that nobody knows, for localhost, with its key behind it."""
        if shutil.which("openssl") is None:
            pytest.skip("no openssl to make a certificate with")
        key, path = tmp_path / "key.pem", tmp_path / "certificate.pem"
        subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
        request = [
            "openssl",
            "req",
            "-x509",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-days",
            "2",
            "-keyout",
            key,
            "-out",
            path,
        ]
        subprocess.run([*request, *subject], check=True, capture_output=True)
        path.write_text(path.read_text() + key.read_text())
        return path

    def test_that_nobody_knows_are_refused(
        self, certificate: Path, server: RangeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name in ("CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"):
            monkeypatch.delenv(name, raising=False)
        with (
            serving(server.folder, certificate) as https,
            pytest.raises(CatalogueError, match="certificate is not accepted"),
        ):
            fetch(items_at(https), tmp_path / "scenes")

    def test_of_an_authority_that_the_environment_names_are_accepted(
        self, certificate: Path, server: RangeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("CURL_CA_BUNDLE", str(certificate))
        with serving(server.folder, certificate) as https:
            assert len(fetch(items_at(https), tmp_path / "scenes").folders) == 2


def test_cancelling_does_not_wait_for_a_server_that_is_silent(server: RangeServer, tmp_path: Path) -> None:
    """The server answers only when the test is over."""
    server.fails(".tif", kind="stall", times=1000, methods=("GET",))
    items = write_item_list(tmp_path / "items.geojson", items_at(server))
    job = job_document("searchscenes", items=items, extent=MIDDLE, bands=["B04"], output_scenes=tmp_path / "scenes")
    with worker("--watch-stdin") as running:
        running.send(json.dumps(job) + "\n")
        running.follow_until(lambda event: "Fetching" in event.get("text", ""))
        while server.stalled < 4:
            threading.Event().wait(0.05)
        running.send("cancel\n")
        outcome = running.outcome()
    assert (outcome.status, outcome.code) == (130, "Cancelled")
    assert server.stalled == 4  # none of the reads had come to its end
    assert unfinished_files(tmp_path) == []


class TestWhatIsRefused:
    @pytest.mark.parametrize(
        "name", ["../../evil", "a/b", "", ".", "..", "a..b", "C:\\x", "x\n", "-x", ".hidden", "x" * 300, 7, None]
    )
    def test_ids_that_are_no_name_of_a_folder(self, name: Any, server: RangeServer) -> None:
        listing = choose_scenes(items_at(server, id=name)[:1], area_of_extent(MIDDLE), None, None, 100)
        assert listing.scenes == ()
        assert "its id cannot be the name of a folder" in listing.skipped[0][1]

    @pytest.mark.parametrize(
        ("href", "reason"),
        [
            ("file:///etc/passwd.tif", "neither http, https nor s3"),
            ("/etc/passwd.tif", "neither http, https nor s3"),
            ("../B04.tif", "neither http, https nor s3"),
            ("ftp://127.0.0.1/B04.tif", "neither http, https nor s3"),
            ("/vsizip/x.zip/B04.tif", "neither http, https nor s3"),
            ("vrt:///etc/x.tif", "neither http, https nor s3"),
            ("http://user:word@127.0.0.1/B04.tif", "neither http, https nor s3"),
            ("http://127.0.0.1/a b.tif", "neither http, https nor s3"),
            ("http://[::1/B04.tif", "no address that is one"),
            ("http://127.0.0.1/B04.vrt", "no GeoTIFF or JPEG 2000 file"),
            ("http://127.0.0.1/login?next=B04.tif", "no GeoTIFF or JPEG 2000 file"),
            (None, "neither http, https nor s3"),
            (["http://127.0.0.1/B04.tif"], "neither http, https nor s3"),
        ],
    )
    def test_addresses_that_lead_elsewhere(self, href: Any, reason: str, server: RangeServer, tmp_path: Path) -> None:
        items = items_at(server)
        items[0]["assets"]["B04"]["href"] = href
        fetched = fetch(items, tmp_path)
        assert len(fetched.folders) == 1
        assert reason in fetched.skipped[0][1]

    def test_a_page_instead_of_an_image(self, server: RangeServer, tmp_path: Path) -> None:
        page = server.folder / TIMES[0] / "B04.tif"
        page.unlink()
        page.write_text("<html>Please log in.</html>" * 100)
        with pytest.raises(CatalogueError, match="could not be read"):
            fetch(items_at(server), tmp_path)

    def test_what_does_not_touch_the_area_though_its_footprint_says_so(
        self, server: RangeServer, tmp_path: Path
    ) -> None:
        items = items_at(server, geometry=None)
        with pytest.raises(CropMapError, match="it does not touch the area"):
            fetch(items, tmp_path, extent(50_000, 0, 50_300, 300))

    def test_an_item_that_lacks_a_band(self, server: RangeServer, tmp_path: Path) -> None:
        items = items_at(server)
        del items[1]["assets"]["SCL"]
        assert fetch(items, tmp_path).skipped == [(items[1]["id"], "it has no asset SCL for 10 m")]

    def test_a_file_of_another_pixel_size_than_its_name(self, server: RangeServer, tmp_path: Path) -> None:
        items = items_at(server)
        items[0]["assets"]["B04"]["href"] = items[0]["assets"]["SCL"]["href"]
        assert "is expected at 10 m" in fetch(items, tmp_path).skipped[0][1]


class TestCredentials:
    def test_go_to_the_catalogue_s_own_host_only(self, server: RangeServer, tmp_path: Path) -> None:
        with serving(server.folder) as other:
            items = items_at(server)
            items[1]["assets"] = items_at(other)[1]["assets"]
            fetch(items, tmp_path, credentials=lambda href: "me:word" if href.startswith(server.url) else None)
            assert {served.headers.get("Authorization") for served in server.log} == {"Basic bWU6d29yZA=="}
            assert {served.headers.get("Authorization") for served in other.log} == {None}

    def test_are_not_passed_on_by_a_redirect(self, server: RangeServer, tmp_path: Path) -> None:
        with serving(server.folder) as other:
            for time in TIMES:
                for band in ("B04", "SCL"):
                    end = f"{time}/{band}.tif"
                    server.fails(end, kind="redirect", to=f"{other.url}/{end}", times=1000)
            fetch(items_at(server), tmp_path, credentials=lambda href: "me:word")
            assert {served.headers.get("Authorization") for served in server.log} == {"Basic bWU6d29yZA=="}
            assert {served.headers.get("Authorization") for served in other.log} == {None}

    def test_of_s3_are_those_of_the_environment(
        self, server: RangeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name, text in {
            "AWS_S3_ENDPOINT": server.url.removeprefix("http://"), "AWS_HTTPS": "NO", "AWS_VIRTUAL_HOSTING": "FALSE",
            "AWS_ACCESS_KEY_ID": "mykey", "AWS_SECRET_ACCESS_KEY": "hidden",
        }.items():  # fmt: skip
            monkeypatch.setenv(name, text)
        (server.folder / "eodata").symlink_to(server.folder)
        items = json.loads(json.dumps(items_at(server)).replace(server.url, "s3://eodata"))
        assert len(fetch(items, tmp_path / "scenes").folders) == 2
        assert all("Credential=mykey/" in served.headers["Authorization"] for served in server.log)

    def test_of_s3_that_are_missing_are_asked_for(
        self, server: RangeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
        monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
        monkeypatch.setenv("CPL_AWS_AUTODETECT_EC2", "NO")
        items = json.loads(json.dumps(items_at(server)).replace(server.url, "s3://eodata"))
        with pytest.raises(CatalogueError, match="is not given to us") as caught:
            fetch(items, tmp_path / "scenes")
        assert "AWS_ACCESS_KEY_ID" in caught.value.remedy
        assert "Copernicus Data Space" in caught.value.remedy

    def test_of_planetary_computer_are_made_when_a_file_is_opened_and_kept_nowhere(
        self, server: RangeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(planetary_computer, "sign_url", lambda href: f"{href}?sig=SECRET")
        root = {"rel": "root", "href": "https://planetarycomputer.microsoft.com/api/stac/v1/"}
        items = items_at(server, links=[root])
        listed_items = tmp_path / "list.geojson"
        outcome = run_here(
            "searchscenes",
            items=write_item_list(tmp_path / "items.geojson", items),
            extent=MIDDLE,
            bands=["B04"],
            output_items=listed_items,
            output_scenes=tmp_path / "scenes",
        )
        assert outcome.outputs["scenes"] == 2
        assert all(served.query == "sig=SECRET" for served in server.log)
        written = [path.read_bytes() for path in (tmp_path / "scenes").rglob("*") if path.is_file()]
        assert not any(b"SECRET" in content for content in [*written, listed_items.read_bytes()])
        assert "SECRET" not in json.dumps(outcome.events)
