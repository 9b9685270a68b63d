"""Two runs must not fetch into one folder at once."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from cropmap_core.errors import OutputError
from cropmap_core.io.locks import alone_in
from tests.core.remote_season import extent, stac_item, write_item_list
from tests.core.seam import run_here

HOLD = """
import sys, time
from pathlib import Path
from cropmap_core.io.locks import alone_in
with alone_in(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_second_run_is_refused_until_the_first_one_is_killed(tmp_path: Path) -> None:
    folder = tmp_path / "scenes"
    with subprocess.Popen([sys.executable, "-c", HOLD, str(folder)], stdout=subprocess.PIPE, text=True) as first:
        assert first.stdout is not None
        assert first.stdout.readline() == "held\n"
        with pytest.raises(OutputError, match="Another run is fetching into .*scenes"), alone_in(folder):
            pass
        first.send_signal(signal.SIGKILL if sys.platform != "win32" else signal.SIGTERM)
    with alone_in(folder):
        assert folder.is_dir()


def test_nothing_of_it_stays(tmp_path: Path) -> None:
    with alone_in(tmp_path / "empty"):
        pass
    with alone_in(tmp_path / "full"):
        (tmp_path / "full" / "scene").mkdir()
    assert names(tmp_path) == ["full"]
    assert names(tmp_path / "full") == ["scene"]


def test_searchscenes_holds_the_folder_it_fetches_into(tmp_path: Path) -> None:
    items = write_item_list(tmp_path / "items.geojson", [stac_item("20180504T105029", {})])
    with alone_in(tmp_path / "scenes"):
        outcome = run_here(
            "searchscenes", items=str(items), extent=extent(0, 0, 100, 100), output_scenes=str(tmp_path / "scenes")
        )
    assert outcome.code == "OutputError"
    assert "Another run" in outcome.last["message"]
