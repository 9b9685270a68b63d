"""Folders that one run at a time may work in."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from cropmap_core.errors import OutputError
from cropmap_core.io.outputs import written_whole

_NAME = ".in_use.lock"


@contextmanager
def alone_in(folder: Path, doing: str = "fetching into") -> Iterator[None]:
    """Holds a folder, which is made where it is missing and removed where it stays empty.

    The operating system holds the lock and drops it when the process ends, however it ends; the file alone says
    nothing. File systems without locks are not guarded.

    Args:
        folder: The folder.
        doing: What a run does with it, for the message.

    Raises:
        OutputError: Another run holds it, or it cannot be made.
    """
    with written_whole(folder):
        folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / _NAME)
    with written_whole(folder):
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise OutputError(
                f"Another run is {doing} {folder}.", "Wait until it is done, or give another folder or output."
            ) from None
        except NotImplementedError:  # no locks on this file system
            pass
    try:
        yield
    finally:
        lock.release()
        with suppress(OSError):  # it is another run's by now
            (folder / _NAME).unlink()
        with suppress(OSError):  # something is in it
            folder.rmdir()
