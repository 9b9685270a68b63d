"""QGIS's end of the seam, against a worker that plays what each test needs."""

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from cropmap.processing_provider import processes, worker_client
from cropmap.processing_provider.errors import JobCancelled, JobFailed
from jsonschema import Draft202012Validator

from .conftest import ROOT, Ear

SCHEMA = json.loads((ROOT / "docs" / "job.schema.json").read_text())
PROGRESS = {"event": "progress", "fraction": 0.5}


def valid(document: dict, what: str) -> bool:
    return Draft202012Validator({**SCHEMA, "$ref": f"#/$defs/{what}"}).is_valid(document)


def job_with_targets(worker, feedback, *targets: Path) -> dict:
    parameters = {f"output_{number}": str(target) for number, target in enumerate(targets)}
    return worker_client.run_job(str(worker.python), "stackscenes", parameters, feedback, map(str, targets))


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    status = Path(f"/proc/{pid}/status").read_text() if Path(f"/proc/{pid}").exists() else ""
    return "State:\tZ" not in status


def test_a_job_is_of_the_documented_form_and_its_result_comes_back(fake_worker, ear):
    fake_worker.plays(["result", {"threads": 2}])

    outputs = worker_client.run_job(str(fake_worker.python), "runtimeinfo", {}, ear)

    assert outputs == {"threads": 2}
    assert valid(fake_worker.job, "job")
    assert fake_worker.surroundings["arguments"] == ["-m", "cropmap_core", "run", "--watch-stdin"]


def test_what_the_worker_says_reaches_the_log(fake_worker, ear):
    events = [{"event": "log", "text": "12 scenes"}, {"event": "warning", "text": "cloudy"}]
    assert all(valid(event, "event") for event in events)
    fake_worker.plays(*[["event", event] for event in events], ["raw", "from a library"], ["result", {}])

    job_with_targets(fake_worker, ear)

    assert ear.heard == ["12 scenes", "warning: cloudy", "debug: from a library"]


def test_progress_never_runs_backwards_and_fills_its_span(fake_worker, ear):
    fractions = [0.5, 0.25, 0.75, 1.0]
    fake_worker.plays(*[["event", {"event": "progress", "fraction": f}] for f in fractions], ["result", {}])

    worker_client.run_job(str(fake_worker.python), "runtimeinfo", {}, ear, span=(10, 90))

    assert ear.progress_heard[-3:] == [50, 70, 90]
    assert ear.progress_heard == sorted(ear.progress_heard)


def test_an_error_keeps_its_code_message_and_remedy(fake_worker, ear):
    error = {"event": "error", "code": "SceneError", "message": "No scenes in /x.", "remedy": "Give another folder."}
    assert valid(error, "event")
    fake_worker.plays(["event", error])

    with pytest.raises(JobFailed) as failure:
        job_with_targets(fake_worker, ear)

    assert (failure.value.code, str(failure.value)) == ("SceneError", "No scenes in /x. Give another folder.")


def test_a_worker_killed_in_mid_job_is_an_error_with_its_last_words_and_leaves_nothing(fake_worker, ear, tmp_path):
    target = tmp_path / "stack.tif"
    target.write_text("old")
    fake_worker.plays(["event", PROGRESS], ["begin", "output_0"], ["complain", "std::bad_alloc"], ["kill"])

    with pytest.raises(
        JobFailed, match=r"killed by SIGKILL during stackscenes\. Its last words: std::bad_alloc .*memory"
    ):
        job_with_targets(fake_worker, ear, target)

    assert [path.name for path in tmp_path.iterdir()] == ["stack.tif"]
    assert target.read_text() == "old"


def test_a_worker_killed_while_it_puts_outputs_in_place_gives_the_old_ones_back(fake_worker, ear, tmp_path):
    target = tmp_path / "stack.tif"
    target.write_text("old")
    fake_worker.plays(["set aside", "output_0"], ["write", "output_0"], ["kill"])

    with pytest.raises(JobFailed, match="SIGKILL"):
        job_with_targets(fake_worker, ear, target)

    assert [path.name for path in tmp_path.iterdir()] == ["stack.tif"]
    assert target.read_text() == "old"


def test_a_worker_that_ends_without_a_result_is_an_error(fake_worker, ear):
    fake_worker.plays(["complain", "ImportError: no torch"], ["exit", 3])

    with pytest.raises(JobFailed, match="status 3 and without a result. Its last words: ImportError: no torch"):
        job_with_targets(fake_worker, ear)


def test_a_result_counts_even_if_the_worker_then_fails_to_leave_cleanly(fake_worker, ear):
    fake_worker.plays(["result", {"output": "there"}], ["exit", 1])

    assert job_with_targets(fake_worker, ear) == {"output": "there"}


@pytest.mark.parametrize("heeds_cancel", [True, False], ids=["willing worker", "stubborn worker"])
def test_cancelling_ends_the_worker_and_all_it_started_and_leaves_nothing(fake_worker, tmp_path, heeds_cancel):
    fake_worker.plays(["spawn"], ["begin", "output_0"], ["event", PROGRESS], ["wait"], heeds_cancel=heeds_cancel)

    with pytest.raises(JobCancelled):
        job_with_targets(fake_worker, Ear(cancel_at=50), tmp_path / "stack.tif")

    assert list(tmp_path.iterdir()) == []
    assert not is_alive(fake_worker.surroundings["pid"])
    assert not is_alive(int((fake_worker.folder / "child.txt").read_text()))


def test_the_patience_with_a_cancelled_worker_adds_up_to_less_than_two_seconds():
    terminate_grace_s = processes.end_group.__defaults__[0]

    assert processes.POLL_S <= 0.1
    assert 2 * processes.POLL_S + worker_client.CANCEL_GRACE_S + terminate_grace_s + processes.KILL_WAIT_S < 2


def test_a_job_cancelled_before_it_starts_is_not_done(fake_worker):
    feedback = Ear()
    feedback.cancel()
    fake_worker.plays(["wait"])

    with pytest.raises(JobCancelled):
        job_with_targets(fake_worker, feedback)


def test_a_job_longer_than_a_pipe_holds_reaches_the_worker(fake_worker, ear):
    scenes = [f"/scenes/{number:0100d}.tif" for number in range(5000)]
    fake_worker.plays(["result", {}])

    worker_client.run_job(str(fake_worker.python), "stackscenes", {"scenes": scenes}, ear)

    assert fake_worker.job["parameters"]["scenes"] == scenes


def test_a_worker_that_never_reads_its_job_can_be_cancelled(tmp_path):
    deaf = tmp_path / "python"
    deaf.write_text("#!/bin/sh\nexec sleep 600\n")
    deaf.chmod(0o755)
    feedback = Ear()
    threading.Timer(0.3, feedback.cancel).start()

    with pytest.raises(JobCancelled):
        worker_client.run_job(str(deaf), "stackscenes", {"scenes": ["x" * 200_000]}, feedback)


def test_the_worker_sees_neither_the_python_nor_the_gdal_of_qgis(fake_worker, ear, monkeypatch):
    for name in (
        "PYTHONHOME",
        "PYTHONSTARTUP",
        "VIRTUAL_ENV",
        "PROJ_LIB",
        "PROJ_DATA",
        "GDAL_DATA",
        "GDAL_DRIVER_PATH",
    ):
        monkeypatch.setenv(name, "/qgis")
    monkeypatch.setenv("PYTHONPATH", "/qgis/python")
    monkeypatch.setenv("OSGEO4W_ROOT", "/opt/qgis")
    monkeypatch.setenv("LD_LIBRARY_PATH", "/opt/qgis/lib:/opt/cuda/lib")
    fake_worker.plays(["result", {}])

    job_with_targets(fake_worker, ear)

    environment = fake_worker.surroundings["environment"]
    assert not [name for name, value in environment.items() if value == "/qgis"]
    assert environment["PYTHONPATH"] == str(ROOT)
    assert environment["LD_LIBRARY_PATH"] == "/opt/cuda/lib"


def test_the_worker_stands_in_a_folder_of_its_own(fake_worker, ear, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    fake_worker.plays(["result", {}])

    job_with_targets(fake_worker, ear)

    folder = Path(fake_worker.surroundings["folder"])
    assert folder != tmp_path
    assert not folder.exists()


def test_no_thread_stays_behind(fake_worker, ear):
    before = threading.active_count()
    fake_worker.plays(["result", {}])

    job_with_targets(fake_worker, ear)

    assert threading.active_count() == before


def test_the_worker_ends_when_qgis_is_killed(fake_worker, tmp_path):
    fake_worker.plays(["event", PROGRESS], ["wait"])
    qgis = tmp_path / "doomed_qgis.py"
    qgis.write_text(
        "import os, sys\n"
        f"sys.path.insert(0, {str(ROOT)!r})\n"
        "from tests.qgis.conftest import Ear\n"
        "from cropmap.processing_provider import worker_client\n"
        "class Killed(Ear):\n"
        "    def _hear_progress(self, percent):\n"
        "        os.kill(os.getpid(), 9)\n"
        f"worker_client.run_job({str(fake_worker.python)!r}, 'runtimeinfo', {{}}, Killed())\n"
    )

    subprocess.run([sys.executable, qgis], check=False, timeout=60, env={**os.environ, "TMPDIR": str(tmp_path)})

    for _ in range(100):
        if not is_alive(fake_worker.surroundings["pid"]):
            return
        time.sleep(0.1)
    pytest.fail("the worker outlived QGIS by ten seconds")
