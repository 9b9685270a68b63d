"""Fetches the cut-outs of listed scenes, several at once.

An Item's file is written last: what was not fetched to its end is no scene to anybody. A cut-out that is there is not
fetched again, so an interrupted run continues.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import planetary_computer

from cropmap_core.errors import Cancelled, CatalogueError, NoValidObservationError
from cropmap_core.io.outputs import Outputs, write_text
from cropmap_core.scenes.area import Area
from cropmap_core.scenes.cut_outs import ITEM_FILE, CutOut, clear_unfinished, local_item, plan_cut_outs
from cropmap_core.scenes.item_list import ListedScene
from cropmap_core.scenes.packagings.stac import UnusableItem
from cropmap_core.scenes.remote import Access, RemoteRaster

_THREADS = 8
"""Reading waits for the network, not for the processor."""
_POLL_S = 0.2
_PLANETARY_COMPUTER = "https://planetarycomputer.microsoft.com/"

Progress = Callable[[float], None]


@dataclass
class Fetched:
    """What lies in the folder."""

    folders: list[Path] = field(default_factory=list)
    """Of the scenes that are complete, by acquisition time."""
    skipped: list[tuple[str, str]] = field(default_factory=list)
    """Id and reason."""
    kept_files: int = 0
    """Files that were there before."""


@dataclass
class _OnItsWay:
    scene: ListedScene
    cut_outs: list[CutOut]
    futures: set[Future[None]] = field(default_factory=set)

    @property
    def item_file(self) -> Path:
        return self.cut_outs[0].folder / ITEM_FILE


class Fetcher:
    """Fetches with several threads, and can be stopped.

    Args:
        job_id: Names unfinished files.
        access: How files are reached; its `stopped` is set when this ends in an error.
    """

    def __init__(self, job_id: str, access: Access) -> None:
        self._job_id = job_id
        self._access = access
        self._unfinished: set[Outputs] = set()
        self._lock = threading.Lock()
        self._discarded = False
        self._kept_files = 0

    def fetch(
        self,
        scenes: Sequence[ListedScene],
        area: Area,
        bands: Sequence[str],
        resolution_m: int,
        folder: Path,
        progress: Progress,
    ) -> Fetched:
        """Fetches what an area needs of some scenes.

        Args:
            scenes: Of a catalogue, by acquisition time.
            area: What the cut-outs must cover.
            bands: Reflectance bands; SCL is added.
            resolution_m: The pixel size they will be read at, which decides what copy of a band is fetched.
            folder: Gets a folder per scene.
            progress: Called a few times a second with the share that is done; may raise to stop.

        Raises:
            CatalogueError: A file cannot be had; what was fetched so far stays.
            OutputError: A file cannot be written.
            NoValidObservationError: No scene can be used.
        """
        fetched, on_their_way = Fetched(), []
        for scene in scenes:
            try:
                on_their_way.append(_OnItsWay(scene, plan_cut_outs(scene, area, bands, resolution_m, folder)))
            except UnusableItem as reason:
                fetched.skipped.append((scene.id, str(reason)))
        self._fetch_all(on_their_way, fetched, progress)
        fetched.kept_files = self._kept_files
        if not fetched.folders:
            shown = "; ".join(f"{name}: {reason}" for name, reason in fetched.skipped[:3])
            raise NoValidObservationError(
                f"None of {len(scenes)} scenes can be used. {shown}.", "Check AREA or EXTENT, BANDS and the catalogue."
            )
        return fetched

    def discard(self) -> bool:
        """Stops, and removes unfinished files though other threads may still write them."""
        self._access.stopped.set()
        with self._lock:
            self._discarded = True
            for outputs in self._unfinished:
                outputs.discard()
        return True

    def _fetch_all(self, on_their_way: list[_OnItsWay], fetched: Fetched, progress: Progress) -> None:
        total, done = sum(len(each.cut_outs) for each in on_their_way), 0
        pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="fetch")
        try:
            for each in on_their_way:
                clear_unfinished(each.cut_outs[0].folder)
                if not all(cut_out.is_there() for cut_out in each.cut_outs):
                    each.item_file.unlink(missing_ok=True)  # it would speak of files that are about to change
                signed = _is_of_planetary_computer(each.scene)
                each.futures = {pool.submit(self._fetch_one, cut_out, signed) for cut_out in each.cut_outs}
            for each in on_their_way:
                try:
                    for finished in _as_they_finish(each.futures):
                        done += finished
                        progress(done / total)
                    self._write_item(each)
                except UnusableItem as reason:
                    for future in each.futures:
                        future.cancel()
                    fetched.skipped.append((each.scene.id, str(reason)))
                except CatalogueError as error:
                    raise CatalogueError(
                        f"{error.message} {len(fetched.folders)} of {len(on_their_way)} scenes are there.",
                        f"{error.remedy} Then run it again to continue: what is there is not fetched again.",
                    ) from error
                else:
                    fetched.folders.append(each.cut_outs[0].folder)
        except BaseException:
            self._access.stopped.set()
            raise
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    def _fetch_one(self, cut_out: CutOut, signed: bool) -> None:
        if cut_out.is_there():
            with self._lock:
                self._kept_files += 1
            return
        sign = planetary_computer.sign_url if signed else str
        with RemoteRaster(cut_out.href, self._access, sign) as raster, self._outputs() as outputs:
            cut_out.make(raster, outputs)
            outputs.commit()

    def _write_item(self, each: _OnItsWay) -> None:
        text = local_item(each.scene, each.cut_outs)
        with suppress(OSError):
            if each.item_file.read_text(encoding="utf-8") == text:
                return
        with self._outputs() as outputs:
            write_text(outputs.stage(each.item_file), text)
            outputs.commit()

    @contextmanager
    def _outputs(self) -> Iterator[Outputs]:
        """Files that `discard` finds."""
        with Outputs(self._job_id) as outputs:
            with self._lock:
                if self._discarded:
                    raise Cancelled
                self._unfinished.add(outputs)
            try:
                yield outputs
            finally:
                with self._lock:
                    self._unfinished.discard(outputs)


def _as_they_finish(futures: set[Future[None]]) -> Iterator[int]:
    """How many finished, at least a few times a second; the first error is raised."""
    waiting = futures
    while waiting:
        finished, waiting = wait(waiting, _POLL_S, FIRST_COMPLETED)
        for future in finished:
            future.result()
        yield len(finished)


def _is_of_planetary_computer(scene: ListedScene) -> bool:
    links = scene.item.get("links")
    return any(
        isinstance(link, dict) and str(link.get("href", "")).startswith(_PLANETARY_COMPUTER)
        for link in (links if isinstance(links, list) else [])
    )
