"""QGIS's end of the seam: runs one job in the worker and follows its events (docs/jobs.md)."""

from __future__ import annotations

import json
import os
import queue
import re
import signal
import tempfile
import threading
import uuid
from collections import deque
from collections.abc import Iterable

from .errors import JobCancelled, JobFailed
from .kept_files import put_back
from .processes import EXIT_GRACE_S, POLL_S, clean_environment, end_group, has_ended, start

PLUGIN_FOLDER = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))
PROTOCOL_VERSION = 1
# Together with the grace of `end_group` well below the two seconds in which a cancelled job is over.
CANCEL_GRACE_S = 0.8
DRAIN_S = 2.0
STDERR_LINES = 30


def run_job(
    python: str,
    command: str,
    parameters: dict,
    feedback,
    targets: Iterable[str] = (),
    span: tuple[float, float] = (0.0, 100.0),
    environment: dict[str, str] | None = None,
) -> dict:
    """Run a job in the worker and wait for its result.

    Args:
        python: The worker's interpreter.
        command: One of the commands in docs/job.schema.json.
        parameters: Its parameters; paths absolute.
        feedback: QgsFeedback that hears of progress and may cancel.
        targets: The files that the job writes.
        span: The percent of progress at the job's start and end.
        environment: What the worker's environment gets besides: secrets, which a job document must not hold.

    Returns:
        The outputs of the job's result.

    Raises:
        JobCancelled: The user cancelled; nothing is left of the job.
        JobFailed: The worker reported an error, or ended without a result.
    """
    job = {"version": PROTOCOL_VERSION, "id": uuid.uuid4().hex[:16], "command": command, "parameters": parameters}
    outputs = None
    try:
        # A folder of its own to stand in: what lies in the user's folder could otherwise be imported by accident.
        with tempfile.TemporaryDirectory(prefix="cropmap-") as folder:
            worker = _Worker(python, folder, environment or {})
            try:
                worker.send(job)
                outputs = _follow(worker, command, _Listener(feedback, *span))
            finally:
                worker.end()
    finally:
        if outputs is None:
            remove_unfinished(job["id"], targets)
    return outputs


def remove_unfinished(job_id: str, targets: Iterable[str]) -> None:
    """Clear up after a job that was killed: put back what it had moved aside, remove what it had begun."""
    moved_aside = re.compile(rf"\.(.+)\.{job_id}\.part\.old")
    for folder in {os.path.dirname(target) for target in targets}:
        for name in os.listdir(folder) if os.path.isdir(folder) else []:
            path = os.path.join(folder, name)
            original = moved_aside.fullmatch(name)
            if original:
                put_back(path, os.path.join(folder, original.group(1)))
            elif f".{job_id}.part" in name:
                os.remove(path)


class _Worker:
    """A worker process, the lines it says, and the last lines of its complaints."""

    def __init__(self, python: str, folder: str, environment: dict[str, str]) -> None:
        surroundings = {**clean_environment(PLUGIN_FOLDER), **environment}
        try:
            self.process = start([python, "-m", "cropmap_core", "run", "--watch-stdin"], surroundings, folder)
        except OSError as error:
            raise JobFailed(
                "RuntimeMissingError",
                f"The worker's Python {python} cannot be started ({error.strerror}).",
                'Set CROPMAP_PYTHON to one that can, or run "qgis_process run cropmap:installruntime".',
            ) from error
        self.lines: queue.Queue[str | None] = queue.Queue()
        self.complaints: deque[str] = deque(maxlen=STDERR_LINES)
        self._sender = None
        self._readers = [
            threading.Thread(target=self._read_events, daemon=True),
            threading.Thread(target=self._read_complaints, daemon=True),
        ]
        for reader in self._readers:
            reader.start()

    def send(self, job: dict) -> None:
        """Hand over the job, without waiting: a long list of scenes is more than a pipe takes before it is read."""
        self._sender = threading.Thread(target=self._write, args=(json.dumps(job) + "\n",), daemon=True)
        self._sender.start()

    def cancel(self) -> None:
        """Ask the worker to stop, and end it if it does not."""
        if not self._sender.is_alive():
            self._write("cancel\n")
            self._close_input()
            has_ended(self.process, CANCEL_GRACE_S)
        end_group(self.process)

    def end(self) -> None:
        """Leave no process, no thread and no open pipe behind."""
        end_group(self.process)
        for thread in [self._sender, *self._readers]:
            if thread is not None:
                thread.join(timeout=1)
        self._close_input()
        for stream in (self.process.stdout, self.process.stderr):
            stream.close()

    def last_complaints(self) -> list[str]:
        """The last lines that an ended worker wrote to its standard error."""
        self._readers[1].join(timeout=1)
        return [line for line in self.complaints if line]

    def line_left_behind(self) -> str | None:
        """A line of an ended worker that its reader had no time for yet; a grandchild may hold the pipe open."""
        try:
            return self.lines.get(timeout=DRAIN_S)
        except queue.Empty:
            return None

    def _write(self, text: str) -> None:
        try:
            self.process.stdin.write(text)
            self.process.stdin.flush()
        except (OSError, ValueError):
            return  # the worker is gone: its exit status says why

    def _close_input(self) -> None:
        try:
            self.process.stdin.close()
        except OSError:
            return  # what could not be flushed concerned a worker that is gone

    def _read_events(self) -> None:
        for line in self.process.stdout:
            self.lines.put(line)
        self.lines.put(None)

    def _read_complaints(self) -> None:
        for line in self.process.stderr:
            self.complaints.append(line.rstrip())


class _Listener:
    """Passes events on to QGIS's feedback; progress never runs backwards."""

    def __init__(self, feedback, start_percent: float, end_percent: float) -> None:
        self.feedback = feedback
        self._start = start_percent
        self._share = end_percent - start_percent
        self._highest = start_percent

    def hear(self, event: dict) -> None:
        """Pass on a worker's event."""
        kind = event["event"]
        if kind == "progress":
            self._highest = max(self._highest, self._start + self._share * float(event["fraction"]))
            self.feedback.setProgress(self._highest)
            if event.get("text"):
                self.feedback.setProgressText(event["text"])
        elif kind == "log":
            self.feedback.pushInfo(event["text"])
        elif kind == "warning":
            self.feedback.pushWarning(event["text"])
        else:
            self.feedback.pushDebugInfo(f"The worker said: {json.dumps(event)}")


def _follow(worker: _Worker, command: str, listener: _Listener) -> dict:
    """Hear the worker out; its last word decides."""
    while not listener.feedback.isCanceled():
        try:
            line = worker.lines.get(timeout=POLL_S)
        except queue.Empty:
            if worker.process.poll() is None:
                continue
            line = worker.line_left_behind()
        if line is None:
            raise _crash(worker, command)
        event = _event(line)
        if event is None:
            listener.feedback.pushDebugInfo(line.rstrip())
        elif event["event"] in ("result", "error"):
            return _outputs(event, worker)
        else:
            listener.hear(event)
    worker.cancel()
    last_word = _last_word_of(worker)
    if last_word is None or last_word["event"] != "result":
        raise JobCancelled
    return _outputs(last_word, worker)  # it was done before it heard of the cancellation: the outputs are whole


def _event(line: str) -> dict | None:
    """An event, or nothing where a library printed a line of its own."""
    try:
        event = json.loads(line)
    except json.JSONDecodeError:
        return None
    return event if isinstance(event, dict) and "event" in event else None


def _last_word_of(worker: _Worker) -> dict | None:
    """The result or error among the lines that an ended worker left unread."""
    while True:
        try:
            line = worker.lines.get(timeout=POLL_S)
        except queue.Empty:
            return None
        if line is None:
            return None
        event = _event(line)
        if event is not None and event["event"] in ("result", "error"):
            return event


def _outputs(last_word: dict, worker: _Worker) -> dict:
    has_ended(worker.process, EXIT_GRACE_S)
    if last_word["event"] == "result":
        return last_word["outputs"]
    if last_word["code"] == "Cancelled":
        raise JobCancelled
    raise JobFailed(last_word["code"], last_word["message"], last_word["remedy"], last_word.get("detail", ""))


def _crash(worker: _Worker, command: str) -> JobFailed:
    """The error of a worker that ended without a word."""
    has_ended(worker.process, EXIT_GRACE_S)
    status = worker.process.poll()
    complaints = worker.last_complaints()
    detail = "\n".join(complaints)
    said = f" Its last words: {' | '.join(complaints[-3:])}" if complaints else ""
    if status is not None and status < 0:
        name = signal.Signals(-status).name if -status in set(signal.Signals) else f"signal {-status}"
        remedy = "Outputs are as they were before; run it again."
        if name == "SIGKILL":
            remedy = (
                "The system does this when memory runs out: close other programs or map a smaller area or a shorter "
                "season, then run it again. Outputs are as they were before."
            )
        return JobFailed("InternalError", f"The worker was killed by {name} during {command}.{said}", remedy, detail)
    return JobFailed(
        "InternalError",
        f"The worker ended during {command} with status {status} and without a result.{said}",
        "Please report this with the log. Outputs are as they were before.",
        detail,
    )
