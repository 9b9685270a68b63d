"""The worker's half of the seam: what a running command may say, and how it is stopped (docs/jobs.md)."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TextIO

from cropmap_core.errors import Cancelled, CropMapError, OutOfMemoryError

Event = dict[str, Any]
Command = Callable[["Job"], Mapping[str, Any]]

_HEARTBEAT_S = 0.5
_PATIENCE_BEATS = 1
"""Heartbeats that a cancelled job has for reaching its next progress, before its process is ended."""
SUCCEEDED, FAILED, CANCELLED = 0, 1, 130


class Job:
    """One running command: its voice and its stop button.

    Args:
        job_id: Names the job's unfinished files.
        emit: Receives events; called from several threads, one at a time.
    """

    def __init__(self, job_id: str, emit: Callable[[Event], None]) -> None:
        self.id = job_id
        self._emit = emit
        self._lock = threading.Lock()
        self._cancelled = threading.Event()
        self._ended = threading.Event()
        self._fraction = 0.0
        self._undo: Callable[[], bool] = lambda: True

    def progress(self, fraction: float, text: str | None = None) -> None:
        """Reports the share of the job that is done, and stops the job when it was cancelled.

        Args:
            fraction: 0 to 1; a smaller value than before counts as the one before.
            text: What is being done from here on, when that changes.

        Raises:
            Cancelled: The user cancelled.
        """
        if self._cancelled.is_set():
            raise Cancelled
        with self._lock:
            self._fraction = max(self._fraction, min(fraction, 1.0))
            event: Event = {"event": "progress", "fraction": round(self._fraction, 4)}
            self._emit(event if text is None else {**event, "text": text})

    def part(self, start: float, end: float) -> Callable[[float], None]:
        """A progress of its own, 0 to 1, for one part of the job."""
        return lambda fraction: self.progress(start + (end - start) * fraction)

    def log(self, text: str) -> None:
        """Tells the user's log."""
        self._say({"event": "log", "text": text})

    def warning(self, text: str) -> None:
        """Tells the user's log what may be wrong."""
        self._say({"event": "warning", "text": text})

    def cancel(self) -> None:
        """Stops the job at its next progress, or soon with its process; may be called from any thread."""
        self._cancelled.set()

    def undo_with(self, undo: Callable[[], bool]) -> None:
        """Says how to remove what the job has begun, should its process have to be ended while it computes.

        Args:
            undo: Returns False where the outputs are in place already; called from another thread.
        """
        self._undo = undo

    def _say(self, event: Event) -> None:
        with self._lock:
            self._emit(event)

    @contextmanager
    def _heartbeat(self) -> Iterator[None]:
        def beat() -> None:
            patience = _PATIENCE_BEATS
            while not self._ended.wait(_HEARTBEAT_S):
                if self._cancelled.is_set():
                    if patience == 0:
                        self._abandon()
                    patience = max(0, patience - 1)
                with self._lock:
                    self._emit({"event": "progress", "fraction": round(self._fraction, 4)})

        thread = threading.Thread(target=beat, name="heartbeat", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._ended.set()
            thread.join()

    def _abandon(self) -> None:
        """Ends the process of a cancelled job that is in the middle of an import, a read or a network's forward."""
        with self._lock:
            if not self._ended.is_set() and self._undo():
                self._emit(_error_event(Cancelled()))
                os._exit(CANCELLED)

    def run(self, command: Command) -> int:
        """Runs a command to its end and says how it ended.

        Returns:
            The exit status: 0 after a result, 1 after an error, 130 after a cancellation.
        """
        try:
            with self._heartbeat():
                outputs = command(self)
        except Cancelled as error:
            self._say(_error_event(error))
            return CANCELLED
        except CropMapError as error:
            self._say(_error_event(error))
            return FAILED
        except Exception as error:  # the outermost frame: what nobody foresaw still has to reach the user
            self._say(_unforeseen(error))
            return FAILED
        self._say({"event": "result", "outputs": dict(outputs)})
        return SUCCEEDED


def json_lines(stream: TextIO) -> Callable[[Event], None]:
    """Writes events as lines of JSON."""

    def emit(event: Event) -> None:
        stream.write(json.dumps(event, ensure_ascii=True) + "\n")
        stream.flush()

    return emit


def plain_text(messages: TextIO, results: TextIO) -> Callable[[Event], None]:
    """Writes events for a person at a terminal: messages as text, the result as JSON."""
    shown = -1

    def emit(event: Event) -> None:
        nonlocal shown
        kind = event["event"]
        if kind == "progress":
            percent = int(event["fraction"] * 100)
            if "text" in event or percent >= shown + 10:
                shown = percent
                print(f"{percent:3d} % {event.get('text', '')}".rstrip(), file=messages, flush=True)
        elif kind == "result":
            print(json.dumps(event["outputs"]), file=results, flush=True)
        elif kind == "error":
            print(f"{event['code']}: {event['message']} {event['remedy']}", file=messages)
            print(event.get("detail", ""), file=messages, end="", flush=True)
        else:
            print(event["text"], file=messages, flush=True)

    return emit


def reserve_stdout() -> TextIO:
    """Keeps standard output for events alone: whatever libraries print goes to standard error from here on."""
    events = os.fdopen(os.dup(1), "w", encoding="utf-8", newline="\n")
    sys.stdout.flush()
    os.dup2(2, 1)
    return events


def read_first_line() -> str:
    """Reads standard input up to its first line break, and not a byte further."""
    line = bytearray()
    while (byte := os.read(0, 1)) not in (b"", b"\n"):
        line += byte
    return line.decode("utf-8")


def cancel_when_stdin_ends(job: Job) -> None:
    """Cancels the job when its parent closes standard input, says `cancel`, or dies."""

    def watch() -> None:
        # Not sys.stdin: a daemon thread that holds its lock would break the interpreter's shutdown.
        pending = b""
        while chunk := os.read(0, 256):
            pending += chunk
            if b"cancel" in pending:
                break
        job.cancel()

    threading.Thread(target=watch, name="stdin", daemon=True).start()


def cancel_on_signals(job: Job) -> None:
    """Lets SIGTERM and SIGINT end the job in order."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: job.cancel())


def _error_event(error: CropMapError) -> Event:
    return {"event": "error", "code": error.code, "message": error.message, "remedy": error.remedy}


def _unforeseen(error: Exception) -> Event:
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return _error_event(
            OutOfMemoryError(
                f"The machine has too little memory for the job: {error}",
                "Close other programs, map a smaller area, or set DEVICE to cpu.",
            )
        )
    return {
        "event": "error",
        "code": "InternalError",
        "message": f"CropMap failed in a way it should not: {type(error).__name__}: {error}.",
        "remedy": "Please report it with the log.",
        "detail": "".join(traceback.format_exception(error)),
    }
