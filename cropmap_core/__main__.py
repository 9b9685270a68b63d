"""`python -m cropmap_core`: every job as a command line, and `run` for jobs as JSON (docs/jobs.md)."""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from cropmap_core import jobs
from cropmap_core.errors import CropMapError, JobError

_JOB_KEYS = {"version", "id", "command", "parameters"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit status."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    # Before torch is there: threads that wait for one another sleep soon, for reading and others need the cores too.
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")
    if arguments[:1] == ["run"]:
        return _run_document(watch_stdin="--watch-stdin" in arguments[1:])
    return _run_command_line(arguments)


def _run_document(watch_stdin: bool) -> int:
    emit = jobs.json_lines(jobs.reserve_stdout())
    text = jobs.read_first_line() if watch_stdin else sys.stdin.read()
    document: Mapping[str, Any] = {}
    try:
        document = _parse(text)
        job = jobs.Job(document["id"], emit)
    except CropMapError as error:
        return jobs.Job("0" * 8, emit).run(_failing(error))
    if watch_stdin:
        jobs.cancel_when_stdin_ends(job)
    jobs.cancel_on_signals(job)

    def command(job: jobs.Job) -> Mapping[str, Any]:
        job.progress(0.0, "Starting the worker")
        from cropmap_core.commands import COMMANDS  # heavy imports under the job's heartbeat
        from cropmap_core.parameters import bind

        if document["command"] not in COMMANDS:
            raise JobError(f"Unknown command '{document['command']}'.", f"Choose one of {', '.join(COMMANDS)}.")
        function = COMMANDS[document["command"]]
        return function(job, **bind(function, document["parameters"]))

    return job.run(command)


def _failing(error: CropMapError) -> jobs.Command:
    def command(job: jobs.Job) -> Mapping[str, Any]:
        raise error

    return command


def _parse(text: str) -> Mapping[str, Any]:
    remedy = "See docs/job.schema.json."
    try:
        document = json.loads(text)
    except ValueError as error:
        raise JobError(f"The job is no JSON: {error}.", remedy) from None
    if not isinstance(document, dict) or set(document) != _JOB_KEYS or document["version"] != 1:
        raise JobError("The job is not of the documented form.", remedy)
    if not re.fullmatch(r"[0-9a-f]{8,32}", str(document["id"])) or not isinstance(document["parameters"], dict):
        raise JobError("The job's id or parameters are not of the documented form.", remedy)
    return document


def _run_command_line(arguments: Sequence[str]) -> int:
    from cropmap_core.commands import COMMANDS
    from cropmap_core.parameters import add_arguments, bind

    parser = argparse.ArgumentParser(
        prog="python -m cropmap_core",
        description="Crop maps from Sentinel-2.",
        epilog="Commands may be written with dashes, such as classify-samples.",
    )
    commands = parser.add_subparsers(dest="command", required=True)
    if arguments and arguments[0].replace("-", "") in COMMANDS:
        arguments = [arguments[0].replace("-", ""), *arguments[1:]]
    named = [name for name in arguments[:1] if name in COMMANDS]
    for name in named or COMMANDS:  # of a command that is named, only its own imports
        function = COMMANDS[name]
        summary = (function.__doc__ or "").partition("\n")[0]
        add_arguments(commands.add_parser(name, help=summary, description=summary), function)
    commands.add_parser("run", help="Run a job document from standard input.")
    parsed = vars(parser.parse_args(arguments))
    function = COMMANDS[parsed.pop("command")]
    job = jobs.Job(uuid.uuid4().hex[:12], jobs.plain_text(sys.stderr, sys.stdout))
    jobs.cancel_on_signals(job)
    return job.run(lambda running: function(running, **bind(function, parsed)))


if __name__ == "__main__":
    sys.exit(main())
