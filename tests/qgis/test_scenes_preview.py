"""What the dialogs tell of the scenes before they run: looked up by the worker, in the background."""

import gc
import os
import time

import pytest
from cropmap.processing_provider import scenes_preview
from qgis.core import QgsProcessingContext
from qgis.PyQt import sip
from qgis.PyQt.QtCore import QEvent
from qgis.PyQt.QtWidgets import QApplication, QLabel

FOUND = {
    "scenes": 3,
    "dates": ["2018-05-04", "2018-05-07"],
    "mgrs_tiles": ["31UDS", "31UES"],
    "offsets": [{"value": -1000, "evidence": "their product XML", "scenes": 3}],
    "offset_evidence": "Radiometric offset: 3 scenes by their product XML (-1000).",
    "bands": ["B02", "B04"],
    "skipped": 4,
    "skipped_examples": ["/data/a<b>.jp2: a quick-look", "/data/c.tif: Landsat", "/data/d.txt: no image"],
    "warnings": [],
}
SHOWN = """3 scenes · 2 days from 2018-05-04 to 2018-05-07 · MGRS tiles 31UDS, 31UES
Radiometric offset: 3 scenes by their product XML (-1000).
4 files skipped."""


@pytest.fixture
def open_dialog(plugin, monkeypatch):
    """Opens an algorithm's dialog as the Toolbox does."""
    from processing.gui.AlgorithmDialog import AlgorithmDialog

    monkeypatch.setattr(scenes_preview, "PAUSE_MS", 0)
    for module in ("AlgorithmDialog", "ParametersPanel", "wrappers"):
        monkeypatch.setattr(f"processing.gui.{module}.iface", None, raising=False)
    opened = []

    def open_dialog(name: str = "stackscenes", **given):
        dialog = AlgorithmDialog(plugin.provider.algorithm(name).create(), False, None)
        opened.append(dialog)
        dialog.setParameters(given)
        dialog.show()
        return dialog

    yield open_dialog
    for dialog in opened:
        if not sip.isdeleted(dialog):
            dialog.close()
            dialog.deleteLater()
    QApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete)


def wrapper(dialog, name: str):
    return dialog.mainWidget().wrappers[name]


def fill(dialog, name: str, value) -> None:
    wrapper(dialog, name).setParameterValue(value, QgsProcessingContext())


def shown(dialog) -> str:
    return wrapper(dialog, "SCENES").preview.text().replace("\u200b", "")


def wait_until(is_so) -> None:
    """Lets Qt work until something is so, for a minute at most."""
    for _ in range(6000):
        QApplication.processEvents()
        if is_so():
            return
        time.sleep(0.01)
    pytest.fail("it never came to this")


def wait_for_text(dialog, text: str) -> None:
    wait_until(lambda: text in shown(dialog))


def runs(process_id: int) -> bool:
    try:
        os.kill(process_id, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.parametrize("name", ["stackscenes", "mapcrops"])
def test_the_dialog_tells_what_it_found(open_dialog, fake_worker, tmp_path, name):
    fake_worker.plays(["result", FOUND])

    dialog = open_dialog(name, SCENES=[str(tmp_path)])
    wait_for_text(dialog, "3 scenes")

    assert shown(dialog) == SHOWN
    tip = wrapper(dialog, "SCENES").preview.toolTip()
    assert "/data/a&lt;b&gt;.jp2: a quick-look" in tip
    assert tip.endswith("and 1 more")
    assert fake_worker.job["command"] == "scanscenes"
    assert fake_worker.job["parameters"] == {
        "scenes": [str(tmp_path)], "start_date": None, "end_date": None, "months": [], "offset": "auto",
    }  # fmt: skip


def test_what_the_real_worker_finds_is_told(open_dialog, worker, season):
    dialog = open_dialog(SCENES=[str(season)], MONTHS=["5", "6"])
    wait_for_text(dialog, "4 scenes · 4 days from 2018-05-06 to 2018-06-21 · MGRS tile 31UDS")

    fill(dialog, "OFFSET", "0")
    wait_for_text(dialog, "Radiometric offset: 4 scenes by the parameter OFFSET (0).")

    fill(dialog, "SCENES", ["/nowhere"])
    wait_for_text(dialog, "There is no file or folder /nowhere.")


def test_one_scene_of_one_day_is_told_in_the_singular():
    one = {**FOUND, "scenes": 1, "dates": ["2018-05-04"], "mgrs_tiles": ["31UDS"], "skipped": 1}

    assert scenes_preview.summary(one).splitlines() == [
        "1 scene · 2018-05-04 · MGRS tile 31UDS",
        "Radiometric offset: 3 scenes by their product XML (-1000).",
        "1 file skipped.",
    ]


def test_an_offset_that_cannot_be_told_is_a_warning():
    unknown = {**FOUND, "mgrs_tiles": [], "offsets": [], "skipped": 0, "warnings": ["No pixel is dark. Give OFFSET."]}

    assert scenes_preview.summary(unknown).splitlines() == [
        "3 scenes · 2 days from 2018-05-04 to 2018-05-07",
        "Warning: No pixel is dark. Give OFFSET.",
    ]


def test_what_selects_scenes_is_looked_up_again(open_dialog, fake_worker, tmp_path):
    fake_worker.plays(["result", FOUND])
    dialog = open_dialog(SCENES=[str(tmp_path)])
    wait_for_text(dialog, "3 scenes")

    fake_worker.plays(["result", {**FOUND, "scenes": 2}])
    fill(dialog, "START_DATE", "2018-05-01")
    fill(dialog, "MONTHS", ["5", "6"])
    fill(dialog, "OFFSET", "0")
    wait_for_text(dialog, "2 scenes")

    selection = {name: fake_worker.job["parameters"][name] for name in ("start_date", "months", "offset")}
    assert selection == {"start_date": "2018-05-01", "months": [5, 6], "offset": "0"}


def test_nothing_is_looked_up_again_for_what_does_not_select_scenes(open_dialog, fake_worker, tmp_path):
    fake_worker.plays(["result", FOUND])
    dialog = open_dialog(SCENES=[str(tmp_path)])
    wait_for_text(dialog, "3 scenes")

    fill(dialog, "MAX_CLOUD", 10)
    fill(dialog, "SCENES", [f"{tmp_path} "])

    assert shown(dialog) == SHOWN


def test_an_error_is_shown_with_its_remedy(open_dialog, fake_worker, tmp_path):
    error = {"code": "SceneError", "message": "No Sentinel-2 L2A scenes.", "remedy": "Give their folder."}
    fake_worker.plays(["event", {"event": "error", **error}])

    dialog = open_dialog(SCENES=[str(tmp_path)])

    wait_for_text(dialog, "No Sentinel-2 L2A scenes. Give their folder.")


def test_a_long_text_is_shown_whole_and_gives_its_room_back(open_dialog, fake_worker):
    error = {"code": "SceneError", "message": f"There is nothing in {'/a_folder' * 40}.", "remedy": ""}
    fake_worker.plays(["event", {"event": "error", **error}])
    dialog = open_dialog(SCENES=["/first"])
    preview = wrapper(dialog, "SCENES").preview
    dialog.resize(700, 600)
    one_line = preview.fontMetrics().height()

    wait_for_text(dialog, "There is nothing in")
    wait_until(lambda: preview.height() > 5 * one_line)
    assert preview.width() < 700

    fill(dialog, "SCENES", [])
    wait_until(lambda: preview.height() <= one_line + 2)


def test_a_mistake_is_shown_without_the_worker(open_dialog, fake_worker, tmp_path):
    dialog = open_dialog(SCENES=[str(tmp_path)], START_DATE="2018-06-01", END_DATE="2018-05-01")

    assert shown(dialog) == "START_DATE 2018-06-01 is after END_DATE 2018-05-01. Swap them: both days are included."
    assert not (fake_worker.folder / "job.json").exists()


def test_without_a_runtime_the_remedy_is_shown(open_dialog, monkeypatch, tmp_path):
    monkeypatch.setenv("CROPMAP_PYTHON", "")

    dialog = open_dialog(SCENES=[str(tmp_path)])

    wait_for_text(dialog, "CropMap has no Python environment to compute in yet: run")


def test_no_scenes_are_nothing_to_look_for(open_dialog, fake_worker):
    assert shown(open_dialog(SCENES=[])) == ""


def test_another_folder_ends_the_scan_of_the_first(open_dialog, fake_worker, tmp_path):
    fake_worker.plays(["wait"])
    dialog = open_dialog(SCENES=["/first"])
    wait_until((fake_worker.folder / "surroundings.json").exists)
    assert shown(dialog) == "Scanning…"
    first = fake_worker.surroundings["pid"]

    fake_worker.plays(["result", FOUND])
    fill(dialog, "SCENES", [str(tmp_path)])

    wait_for_text(dialog, "3 scenes")
    wait_until(lambda: not runs(first))


@pytest.mark.parametrize("leave", ["close", "deleteLater"])
def test_a_dialog_that_goes_ends_its_scan(open_dialog, fake_worker, leave):
    fake_worker.plays(["wait"])
    dialog = open_dialog(SCENES=["/first"])
    wait_until((fake_worker.folder / "surroundings.json").exists)

    getattr(dialog, leave)()
    QApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete)
    gc.collect()

    wait_until(lambda: not runs(fake_worker.surroundings["pid"]))


def test_a_dialog_that_comes_back_looks_again(open_dialog, fake_worker, tmp_path):
    fake_worker.plays(["wait"])
    dialog = open_dialog(SCENES=[str(tmp_path)])
    wait_until((fake_worker.folder / "surroundings.json").exists)
    dialog.hide()
    fake_worker.plays(["result", FOUND])

    dialog.show()

    wait_for_text(dialog, "3 scenes")


def test_in_a_batch_there_is_the_plain_line(plugin, monkeypatch):
    from processing.gui.BatchAlgorithmDialog import BatchAlgorithmDialog

    for module in ("BatchPanel", "wrappers"):
        monkeypatch.setattr(f"processing.gui.{module}.iface", None, raising=False)
    dialog = BatchAlgorithmDialog(plugin.provider.algorithm("stackscenes").create(), None)
    panel = dialog.mainWidget()
    cell = panel.wrappers[0][panel.parameter_to_column["SCENES"]]

    assert cell.preview is None
    assert cell.wrappedWidget().findChildren(QLabel) == []
    dialog.deleteLater()
    QApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete)
