"""Which scenes go into a series: by month, and by the cloud over the raster."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cropmap_core.errors import JobError, NoValidObservationError
from cropmap_core.inference.bundles import Bundle
from cropmap_core.scenes.inventory import Scene, find_scenes
from cropmap_core.scenes.placing import place_scenes
from cropmap_core.scenes.selection import check_cloud_limit, cloud_percents, select_by_cloud, select_by_month
from cropmap_core.scenes.target import GridAsked, choose_grid
from cropmap_core.timeseries.files import open_time_series
from tests.core.seam import Outcome, run_here
from tests.core.tiny_models import END, START
from tests.factories import write_scene


def scenes_of(folder: Path, *days: str) -> tuple[Scene, ...]:
    for day in days:
        write_scene(folder, day, bands=("B04",))
    return find_scenes([folder]).scenes


def percents_of(folder: Path) -> list[float]:
    scenes = place_scenes(find_scenes([folder]).scenes, ("B04", "SCL"), 10)
    return list(cloud_percents(scenes, choose_grid(GridAsked(), scenes)).values())


class TestMonths:
    def test_of_any_year(self, tmp_path: Path) -> None:
        scenes = scenes_of(tmp_path, "2017-05-04", "2017-07-03", "2018-05-09", "2018-06-03")
        days = [f"{scene.acquisition_date}" for scene in select_by_month(scenes, [6, 5])]
        assert days == ["2017-05-04", "2018-05-09", "2018-06-03"]

    def test_none_selects_all(self, tmp_path: Path) -> None:
        scenes = scenes_of(tmp_path, "2017-05-04", "2017-07-03")
        assert select_by_month(scenes, []) == scenes

    def test_where_no_scene_is_left_the_months_there_are_get_told(self, tmp_path: Path) -> None:
        with pytest.raises(
            NoValidObservationError, match="No scene of the months 1, 12.*There are scenes of the months 5, 7"
        ):
            select_by_month(scenes_of(tmp_path, "2017-05-04", "2017-07-03"), [12, 1])

    @pytest.mark.parametrize("month", [0, 13, -1])
    def test_what_is_no_month(self, tmp_path: Path, month: int) -> None:
        with pytest.raises(JobError, match=f"MONTHS holds {month}"):
            select_by_month(scenes_of(tmp_path, "2017-05-04"), [5, month])


class TestCloud:
    @pytest.mark.parametrize(
        ("scl", "percent"),
        [
            ([[4, 5], [6, 7]], 0),
            ([[4, 8], [4, 4]], 25),
            ([[8, 9], [10, 4]], 75),
            ([[3, 2], [11, 1]], 0),  # shadow, dark, snow and saturated are no cloud
            ([[0, 0], [9, 4]], 50),  # of what was observed
            ([[0, 0], [0, 9]], 100),
            ([[0, 0], [0, 0]], 100),
        ],
    )
    def test_its_share_of_the_observed_pixels(self, tmp_path: Path, scl: list[list[int]], percent: float) -> None:
        write_scene(tmp_path, width=4, height=4, bands=("B04",), scl=scl)
        assert percents_of(tmp_path) == [percent]

    def test_is_counted_pixel_by_pixel_in_rasters_of_several_blocks(self, tmp_path: Path) -> None:
        scl = np.full((1500, 20), 4)
        scl[1200:] = 9
        scl[:, 0] = 0
        write_scene(tmp_path, width=40, height=3000, bands=("B04",), scl=scl)
        assert percents_of(tmp_path) == [20]

    def test_the_limit_itself_is_allowed(self, tmp_path: Path) -> None:
        scenes = place_scenes(scenes_of(tmp_path, "2017-05-04", "2017-05-14", "2017-05-24"), ("B04", "SCL"), 10)
        percents = dict(zip((scene.date for scene in scenes), (40.0, 40.1, 0.0), strict=True))
        assert select_by_cloud(scenes, percents, 40) == (scenes[0], scenes[2])

    def test_where_no_scene_is_left_the_clearest_is_told(self, tmp_path: Path) -> None:
        scenes = place_scenes(scenes_of(tmp_path, "2017-05-04", "2017-05-14"), ("B04", "SCL"), 10)
        with pytest.raises(NoValidObservationError, match=r"more than 10 % cloud .* the clearest has 12.5 %"):
            select_by_cloud(scenes, {scenes[0].date: 80.0, scenes[1].date: 12.5}, 10)


class TestJobs:
    def stack(self, season: Path, output: Path, **parameters: object) -> Outcome:
        return run_here("stackscenes", scenes=[season], bands=["B02", "B04"], output=output, offset="0", **parameters)

    def test_a_stack_has_the_selected_scenes_only_and_the_log_tells_the_others(
        self, season: Path, tmp_path: Path
    ) -> None:
        days = [str(scene.acquisition_date) for scene in find_scenes([season]).scenes]
        clouds = dict(zip(days, percents_of(season), strict=True))
        expected = [day for day, percent in clouds.items() if day[5:7] in ("05", "06", "07") and percent <= 30]
        assert 0 < len(expected) < 6
        outcome = self.stack(season, tmp_path / "stack.tif", months=[5, 6, 7], max_cloud_percent=30)
        assert outcome.outputs["dates"] == expected
        assert [str(day) for day in open_time_series(tmp_path / "stack.tif").dates] == expected
        assert "18 scenes of other months are left out." in outcome.texts("log")
        assert f"{6 - len(expected)} dates with more than 30 % cloud are left out: " in outcome.texts("log")

    def test_by_default_nothing_is_left_out(self, season: Path, tmp_path: Path) -> None:
        outcome = self.stack(season, tmp_path / "stack.tif")
        assert len(outcome.outputs["dates"]) == 24
        assert "left out" not in outcome.texts("log")

    def test_a_map_is_of_the_selected_scenes(self, season: Path, hybrid_bundle: Bundle, tmp_path: Path) -> None:
        outcome = run_here(
            "mapcrops",
            scenes=[season],
            model=hybrid_bundle.folder,
            output_classes=tmp_path / "classes.tif",
            start_date=START,
            end_date=END,
            months=[4, 5, 7],
        )
        assert {day[5:7] for day in outcome.outputs["dates"]} == {"04", "05", "07"}

    def test_a_limit_that_is_no_percentage(self) -> None:
        with pytest.raises(JobError, match="MAX_CLOUD is 101"):
            check_cloud_limit(101)
