"""The worker's end of the seam: jobs in this process and in one of their own, their events held to the schema."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import geopandas
from jsonschema import Draft202012Validator

from cropmap_core.commands import COMMANDS
from cropmap_core.jobs import Job
from cropmap_core.parameters import bind
from cropmap_core.timeseries.files import TimeSeriesFile, open_time_series
from tests.factories import write_parcels

REPOSITORY = Path(__file__).parents[2]
SCHEMA = json.loads((REPOSITORY / "docs" / "job.schema.json").read_text(encoding="utf-8"))
JOB_ID = "0123456789ab"
TIMEOUT_S = 120  # for a worker that hangs; no test waits so long for one that works

Event = dict[str, Any]


@cache
def validator(kind: str) -> Draft202012Validator:
    """Holds a document to `job`, `event` or another definition of docs/job.schema.json."""
    schema = {"$ref": f"#/$defs/{kind}", "$defs": SCHEMA["$defs"]}
    return Draft202012Validator(schema, format_checker=Draft202012Validator.FORMAT_CHECKER)


@dataclass(frozen=True)
class Outcome:
    """How a job went."""

    status: int
    events: list[Event]

    @property
    def last(self) -> Event:
        return self.events[-1]

    @property
    def outputs(self) -> dict[str, Any]:
        assert self.status == 0, self.last
        return dict(self.last["outputs"])

    @property
    def code(self) -> str:
        return str(self.last.get("code", "none: it ended with a result"))

    def texts(self, kind: str) -> str:
        return "\n".join(event["text"] for event in self.events if event["event"] == kind)


def as_json(value: Any) -> Any:
    """Paths as texts, all the way down."""
    if isinstance(value, Mapping):
        return {name: as_json(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [as_json(item) for item in value]
    return str(value) if isinstance(value, Path) else value


def job_document(command: str, **parameters: Any) -> dict[str, Any]:
    return {"version": 1, "id": JOB_ID, "command": command, "parameters": as_json(parameters)}


def run_here(command: str, **parameters: Any) -> Outcome:
    """Runs a job as the worker does, but in this process, and checks the job and its events against the schema."""
    validator("job").validate(job_document(command, **parameters))
    return run_unchecked(command, **parameters)


def run_unchecked(command: str, **parameters: Any) -> Outcome:
    """Runs a job that the schema may not allow, as a hand-written one or a command line can be."""
    events: list[Event] = []
    function = COMMANDS[command]
    status = Job(JOB_ID, events.append).run(lambda job: function(job, **bind(function, as_json(parameters))))
    for event in events:
        validator("event").validate(event)
    return Outcome(status, events)


def stack_here(scenes: Path | Sequence[Path], output: Path, **parameters: Any) -> tuple[TimeSeriesFile, Outcome]:
    """Stacks scenes without offset, and opens what was written."""
    paths = [scenes] if isinstance(scenes, Path) else list(scenes)
    outcome = run_here("stackscenes", scenes=paths, output=output, **{"offset": "0", **parameters})
    assert outcome.status == 0, outcome.last
    return open_time_series(output), outcome


class Worker:
    """A worker process that runs one job."""

    def __init__(self, *options: str, code: str | None = None) -> None:
        how = ["-m", "cropmap_core"] if code is None else ["-c", code]
        self.process = subprocess.Popen(
            [sys.executable, *how, "run", *options],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=REPOSITORY,
            text=True,
        )
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.stdin, self.stdout = self.process.stdin, self.process.stdout
        self.events: list[Event] = []

    def send(self, text: str) -> None:
        self.stdin.write(text)
        self.stdin.flush()

    def follow_until(self, reached: Callable[[Event], bool]) -> None:
        """Reads events up to the first one that is meant."""
        for line in self.stdout:
            self.events.append(json.loads(line))
            if reached(self.events[-1]):
                return
        raise AssertionError(f"the job ended before: {self.events[-1:]}")

    def outcome(self) -> Outcome:
        """Waits for the end; every line must be an event."""
        output, self.complaints = self.process.communicate(timeout=TIMEOUT_S)
        self.events += [json.loads(line) for line in output.splitlines()]
        for event in self.events:
            validator("event").validate(event)
        return Outcome(self.process.returncode, self.events)


@contextmanager
def worker(*options: str, code: str | None = None) -> Iterator[Worker]:
    """A worker that does not outlive its test."""
    started = Worker(*options, code=code)
    try:
        yield started
    finally:
        started.process.kill()
        started.process.wait()


def run_in_worker(document: Mapping[str, Any]) -> Outcome:
    """Runs a job document in a process of its own."""
    with worker() as running:
        running.send(json.dumps(document))
        return running.outcome()


def numbered_parcels(path: Path, **options: Any) -> Path:
    """The factories' parcels as QGIS hands them over: numbered in the field `parcel`."""
    layer = geopandas.read_file(write_parcels(path, **options))
    layer["parcel"] = range(len(layer))
    layer.to_file(path, layer="parcels", driver="GPKG")
    return path


def unfinished_files(folder: Path) -> list[str]:
    """What a job left behind."""
    return sorted(path.name for path in folder.rglob("*") if ".part" in path.name)
