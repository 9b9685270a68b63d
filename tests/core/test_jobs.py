"""The worker's end of the seam: what a job says, how it is stopped, and what reaches QGIS of it."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from cropmap_core.__main__ import main
from cropmap_core.errors import Cancelled, CropMapError, ParcelError
from cropmap_core.inference.bundles import Bundle
from cropmap_core.jobs import CANCELLED, FAILED, SUCCEEDED, Job
from tests.core.seam import (
    JOB_ID,
    REPOSITORY,
    TIMEOUT_S,
    Event,
    Worker,
    as_json,
    job_document,
    numbered_parcels,
    run_in_worker,
    unfinished_files,
    validator,
    worker,
)
from tests.core.tiny_models import END, START, save_tiny_bundle
from tests.factories import write_season

Result = Mapping[str, Any]


class TestAJob:
    """In this process, with commands made up."""

    def run(self, command: Any) -> tuple[int, list[Event]]:
        events: list[Event] = []
        status = Job(JOB_ID, events.append).run(command)
        for event in events:
            validator("event").validate(event)
        return status, events

    def test_ends_with_its_result(self) -> None:
        def command(job: Job) -> Result:
            job.progress(0.5, "Half-way")
            job.log("said")
            job.warning("warned")
            return {"output": "map.tif"}

        assert self.run(command) == (
            SUCCEEDED,
            [
                {"event": "progress", "fraction": 0.5, "text": "Half-way"},
                {"event": "log", "text": "said"},
                {"event": "warning", "text": "warned"},
                {"event": "result", "outputs": {"output": "map.tif"}},
            ],
        )

    def test_progress_never_runs_backwards_nor_beyond_the_end(self) -> None:
        def command(job: Job) -> Result:
            for fraction in (0.2, 0.1, 0.7, 0.3, 1.5, 0.9):
                job.progress(fraction)
            return {}

        _, events = self.run(command)
        assert [event["fraction"] for event in events[:-1]] == [0.2, 0.2, 0.7, 0.7, 1, 1]

    def test_a_part_of_a_job_has_a_progress_of_its_own(self) -> None:
        def command(job: Job) -> Result:
            part = job.part(0.2, 0.6)
            for fraction in (0.0, 0.5, 1.0):
                part(fraction)
            return {}

        _, events = self.run(command)
        assert [event["fraction"] for event in events[:-1]] == [0.2, 0.4, 0.6]

    def test_a_known_error_becomes_its_code_message_and_remedy(self) -> None:
        def command(job: Job) -> Result:
            raise ParcelError("No parcels.", "Give some.")

        assert self.run(command) == (
            FAILED,
            [{"event": "error", "code": "ParcelError", "message": "No parcels.", "remedy": "Give some."}],
        )

    def test_an_unforeseen_error_carries_its_traceback(self) -> None:
        def command(job: Job) -> Result:
            return {"ratio": 1 / 0}

        status, (event,) = self.run(command)
        assert (status, event["code"]) == (FAILED, "InternalError")
        assert "ZeroDivisionError" in event["message"]
        assert 'return {"ratio": 1 / 0}' in event["detail"]

    def test_too_little_memory_is_said_as_such(self) -> None:
        def command(job: Job) -> Result:
            raise MemoryError("Unable to allocate 9.3 TiB")

        status, (event,) = self.run(command)
        assert (status, event["code"]) == (FAILED, "OutOfMemoryError")
        assert "9.3 TiB" in event["message"]

    def test_a_cancelled_job_stops_at_its_next_progress(self) -> None:
        reached = []

        def command(job: Job) -> Result:
            job.progress(0.5)
            job.cancel()
            job.progress(0.6)
            reached.append("too far")
            return {}

        status, events = self.run(command)
        assert (status, reached) == (CANCELLED, [])
        assert [event.get("code", event["event"]) for event in events] == ["progress", "Cancelled"]

    def test_a_job_that_computes_for_long_is_heard_of(self) -> None:
        def command(job: Job) -> Result:
            job.progress(0.25)
            time.sleep(2.4)
            return {}

        _, events = self.run(command)
        beats = [event for event in events[1:] if event["event"] == "progress"]
        assert len(beats) >= 2  # one a second; there are four unless the machine is busy
        assert {event["fraction"] for event in beats} == {0.25}

    def test_errors_read_as_a_sentence_and_its_remedy(self) -> None:
        assert str(CropMapError("It broke.", "Mend it.")) == "It broke. Mend it."
        assert Cancelled().code == "Cancelled"


@pytest.fixture(scope="module")
def long_job(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A job of minutes: a patch around every pixel through a network that is large, all of it in one block."""
    folder = tmp_path_factory.mktemp("long")
    write_season(folder / "season", times=[f"2018-0{month}-06" for month in range(4, 9)], width=128, height=128)
    large = {"patch_size": 9, "hidden": (64, 128)}
    bundle = save_tiny_bundle(folder / "model", "convlstm", hyper_parameters=large, stride_pixels=1)
    return {
        "scenes": [folder / "season"],
        "model": bundle.folder,
        "start_date": START,
        "end_date": END,
        "output_classes": folder / "maps" / "classes.tif",
        "output_confidence": folder / "maps" / "confidence.tif",
    }


def is_classifying(event: Event) -> bool:
    """In the middle of the block: what comes next takes minutes."""
    return event["event"] == "progress" and event["fraction"] > 0.4


def with_old_maps(job: dict[str, Any]) -> dict[str, Any]:
    job["output_classes"].parent.mkdir(exist_ok=True)
    for name in ("output_classes", "output_confidence"):
        job[name].write_text(f"old {name}")
    return job


def old_maps_are_whole(job: dict[str, Any]) -> bool:
    return all(job[name].read_text() == f"old {name}" for name in ("output_classes", "output_confidence"))


def say_cancel(running: Worker) -> None:
    running.send("cancel\n")


def close_stdin(running: Worker) -> None:
    running.stdin.close()


def terminate(running: Worker) -> None:
    running.process.send_signal(signal.SIGTERM)


STOPS = [
    say_cancel,
    close_stdin,
    pytest.param(terminate, marks=pytest.mark.skipif(sys.platform == "win32", reason="POSIX")),
]


class TestStopping:
    @pytest.mark.parametrize("stop", STOPS)
    def test_ends_a_job_within_2_s_and_leaves_nothing(self, long_job: dict[str, Any], stop: Any) -> None:
        """In the middle of minutes of computing. A busy machine has three attempts to be in time."""
        for _ in range(3):
            with worker("--watch-stdin") as running:
                running.send(json.dumps(job_document("mapcrops", **with_old_maps(long_job))) + "\n")
                running.follow_until(is_classifying)
                asked = time.monotonic()
                stop(running)
                status = running.process.wait(TIMEOUT_S)
                took_s = time.monotonic() - asked
                last = json.loads(running.stdout.read().splitlines()[-1])
            assert (status, last["event"], last["code"]) == (CANCELLED, "error", "Cancelled")
            assert old_maps_are_whole(long_job)
            assert unfinished_files(long_job["output_classes"].parent) == []
            if took_s < 2:
                return
        if os.getloadavg()[0] > 2 * (os.cpu_count() or 1):
            pytest.skip(f"the worker took {took_s:.1f} s to end, on a machine that is busy with other things")
        raise AssertionError(f"the worker took {took_s:.1f} s to end")

    def test_while_the_worker_starts_counts_too(self, tmp_path: Path) -> None:
        with worker("--watch-stdin") as running:
            running.send(json.dumps(job_document("runtimeinfo")) + "\n")
            running.follow_until(lambda event: event.get("text") == "Starting the worker")
            say_cancel(running)
            running.process.wait(TIMEOUT_S)
            last = json.loads(running.stdout.read().splitlines()[-1])
        assert last["code"] == "Cancelled"

    @pytest.mark.skipif(sys.platform == "win32", reason="POSIX")
    def test_a_command_line_stops_at_sigterm(self, long_job: dict[str, Any]) -> None:
        job = as_json(with_old_maps(long_job))
        arguments = [f"--{name.replace('_', '-')}={value}" for name, value in job.items() if name != "scenes"]
        command = [sys.executable, "-m", "cropmap_core", "mapcrops", "--scenes", *job["scenes"], *arguments]
        with subprocess.Popen(command, cwd=REPOSITORY, stderr=subprocess.PIPE, text=True) as running:
            assert running.stderr is not None
            for line in running.stderr:
                if "Classifying" in line:
                    break
            running.terminate()
            complaints = running.stderr.read()
            assert running.wait(TIMEOUT_S) == CANCELLED
        assert "Cancelled: The job was cancelled." in complaints
        assert old_maps_are_whole(long_job)
        assert unfinished_files(long_job["output_classes"].parent) == []

    @pytest.mark.skipif(sys.platform == "win32", reason="POSIX")
    def test_sigkill_leaves_the_targets_and_files_that_are_known_by_the_jobs_id(self, long_job: dict[str, Any]) -> None:
        """Before it, the job is heard of although its network says nothing of how it goes."""
        folder = long_job["output_classes"].parent
        with worker("--watch-stdin") as running:
            running.send(json.dumps(job_document("mapcrops", **with_old_maps(long_job))) + "\n")
            running.follow_until(is_classifying)
            for _ in range(3):
                running.follow_until(is_classifying)
            running.process.kill()
            assert running.process.wait(TIMEOUT_S) == -signal.SIGKILL
        assert old_maps_are_whole(long_job)
        left = unfinished_files(folder)
        assert left
        assert all(f".{JOB_ID}.part" in name for name in left)
        for name in left:
            (folder / name).unlink()


class TestTheWorker:
    """As a process of its own, over its standard streams."""

    def test_tells_what_it_is_while_standard_input_stays_open(self) -> None:
        with worker("--watch-stdin") as running:
            running.send(json.dumps(job_document("runtimeinfo")) + "\n")
            running.follow_until(lambda event: event["event"] == "result")
            assert running.process.wait(TIMEOUT_S) == SUCCEEDED
        told = running.events[-1]["outputs"]
        assert told["python"] == ".".join(map(str, sys.version_info[:3]))
        assert {"torch", "numpy", "rasterio", "geopandas", "exactextract"} <= set(told["packages"])
        assert told["devices"][0]["kind"] == "cpu"
        assert told["threads"] >= 1
        assert all({"id", "title", "classes"} <= set(model) for model in told["models"])

    def test_speaks_events_alone_and_never_takes_progress_back(
        self, season: Path, hybrid_bundle: Bundle, tmp_path: Path
    ) -> None:
        """`outcome` fails on any line that is no event of the schema."""
        document = job_document(
            "mapcrops",
            scenes=[season],
            model=hybrid_bundle.folder,
            start_date=START,
            end_date=END,
            parcels=numbered_parcels(tmp_path / "parcels.gpkg"),
            output_classes=tmp_path / "classes.tif",
            output_parcels=tmp_path / "parcels.csv",
        )
        outcome = run_in_worker(document)
        fractions = [event["fraction"] for event in outcome.events if event["event"] == "progress"]
        assert fractions == sorted(fractions)
        assert fractions[-1] == 1
        assert outcome.events[0]["text"] == "Starting the worker"
        assert outcome.last["event"] == "result"
        assert sum(event["event"] == "result" for event in outcome.events) == 1

    def test_keeps_what_libraries_print_off_its_events(self) -> None:
        """Through Python and past it, as compiled code prints."""
        noisy = """
import os, sys
import cropmap_core.commands as commands
from cropmap_core.__main__ import main
def runtimeinfo(job):
    print("from Python")
    os.write(1, b"from compiled code\\n")
    return {}
commands.COMMANDS = {"runtimeinfo": runtimeinfo}
sys.exit(main())
"""
        with worker(code=noisy) as running:
            running.send(json.dumps(job_document("runtimeinfo")))
            outcome = running.outcome()
        assert outcome.outputs == {}
        assert "from Python" in running.complaints
        assert "from compiled code" in running.complaints


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        ("no JSON", "The job is no JSON"),
        ("", "The job is no JSON"),
        ("[]", "not of the documented form"),
        ({"version": 2, "id": JOB_ID, "command": "runtimeinfo", "parameters": {}}, "not of the documented form"),
        ({"version": 1, "id": JOB_ID, "command": "runtimeinfo"}, "not of the documented form"),
        ({"version": 1, "id": "../../x", "command": "runtimeinfo", "parameters": {}}, "id or parameters"),
        ({"version": 1, "id": JOB_ID, "command": "runtimeinfo", "parameters": []}, "id or parameters"),
        (job_document("sudo"), "Unknown command 'sudo'"),
        (job_document("fillgaps", series="a.tif"), "missing: output"),
        (job_document("fillgaps", series="a.tif", output=None), "missing: output"),
        (job_document("fillgaps", series="a.tif", output="b.tif", SERIES="c.tif"), "unknown: SERIES"),
    ],
)
def test_a_job_that_is_none_ends_with_an_error(
    document: Any, reason: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """In this process, whose standard streams stand in for the worker's."""
    outcome = run_main(document, monkeypatch, capfd)
    assert (outcome[0], outcome[1]["code"]) == (FAILED, "JobError")
    assert reason in outcome[1]["message"]


def run_main(document: Any, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> tuple[int, Event]:
    """Runs `python -m cropmap_core run` without a process of its own; its status and last event."""
    text = document if isinstance(document, str) else json.dumps(document)
    monkeypatch.setattr("sys.stdin", io.StringIO(text))
    monkeypatch.setattr("cropmap_core.jobs.cancel_on_signals", lambda job: None)
    stdout = os.dup(1)
    try:
        status = main(["run"])
    finally:
        os.dup2(stdout, 1)
        os.close(stdout)
    events = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    for event in events:
        validator("event").validate(event)
    return status, events[-1]
