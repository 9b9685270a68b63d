"""The engine: a whole series, a part at a time, through a network; reading, computing and writing overlap.

Every part is read once (`surroundings`), as large as the memory at hand allows. What a device cannot do is done by less
at a time, then by smaller parts, then by another device; finished blocks stay (`finished_blocks`), whatever happens.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import rasterio
import torch
from numpy.typing import NDArray
from torch import Tensor

from cropmap_core.errors import OutOfMemoryError
from cropmap_core.inference.damage import CarefulReading
from cropmap_core.inference.devices import is_lost, is_out_of_memory
from cropmap_core.inference.finished_blocks import Arrays, FinishedBlocks
from cropmap_core.inference.precision import name_of
from cropmap_core.inference.predictor import Predictor, Progress
from cropmap_core.inference.stages import DeviceFailed, Stages, first_line
from cropmap_core.inference.surroundings import Parts, Surroundings, Wanted, divide, needed_for
from cropmap_core.io.grid import Window
from cropmap_core.io.outputs import GDAL_CACHE
from cropmap_core.timeseries.series import Block, Series

LEAST_EDGE = 64
"""Of parts, in pixels."""
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Seen:
    """A finished window, before anything is decided."""

    window: Window
    probabilities: NDArray[np.float32]
    """Shape (H + 2 A, W + 2 A, K), A being `Asked.around` rounded up to whole steps of the network; of no meaning where
    nothing was observed."""
    observed: NDArray[np.bool_]
    """Shape (H + 2 A, W + 2 A)."""
    looked_at: tuple[slice, slice]
    """Rows and columns of the window whose series are there."""
    block: Block
    """Those series."""


@dataclass(frozen=True)
class Asked:
    """What is to be made of a series."""

    series: Series
    """The channels of the bundle that are there."""
    days: NDArray[np.float32]
    """Days since the season's start, shape (T,)."""
    there: Sequence[str]
    """Names of the channels."""
    finish: Callable[[Seen], Arrays]
    """Makes what is kept of a window; called by other threads, one window after the other for each device."""
    around: int = 0
    """Pixels around a window whose probabilities `finish` needs."""
    every: int = 1
    """`finish` needs the series of one of so many rows and columns of the raster: 1 for all pixels."""
    wanted: Callable[[Window], bool] | None = None
    """Which windows are to be made; None for all."""
    keep_going: bool = False
    """What cannot be read counts as never observed."""
    begin: Callable[[int], None] | None = None
    """Is told how many pixels are to be made, before any is; may raise."""


@dataclass
class Report:
    """How it was done."""

    devices: list[str] = field(default_factory=list)
    """Those that finished blocks; in this run or in those before it, as all below."""
    edge: int = 0
    """Of parts, in pixels."""
    steps: list[str] = field(default_factory=list)
    """What was done by less, or elsewhere, than was planned."""
    unreadable: list[str] = field(default_factory=list)
    """Parts that could not be read, and why."""
    blocks: int = 0
    taken_over: int = 0
    """Blocks that were finished before this run."""


def run(
    asked: Asked,
    predictor_on: Callable[[torch.device], Predictor],
    devices: Sequence[torch.device],
    store: FinishedBlocks,
    edge_for: Callable[[Stages, int], int],
    progress: Progress = lambda fraction: None,
    log: Callable[[str], None] = lambda text: None,
) -> Report:
    """Classifies a series; its finished blocks are in the store then.

    Args:
        asked: What is to be made of it.
        predictor_on: Makes the predictor of a device.
        devices: Where to compute; all at once.
        store: Where finished blocks go, and what was finished before.
        edge_for: The edge of parts that suits a network and so many pixels around windows, a multiple of its step.
        progress: Called with the share that is done; may raise to stop.
        log: Is told of what was not foreseen.

    Raises:
        SceneError: A part cannot be read.
        OutputError: A block cannot be kept.
        OutOfMemoryError: The machine has too little for the least there is to do.
    """
    report, left, begin = Report(), list(devices), asked.begin

    def tell(text: str) -> None:
        store.note_step(text)
        log(text)

    while True:
        try:
            stages = [Stages(_predictor(predictor_on, device), asked.days, asked.there, tell) for device in left]
            step = stages[0].predictor.step
            lag = stages[0].lag + -(-asked.around // step) * step
            edge = store.edge or edge_for(stages[0], lag)
            store.use_edge(edge)
            try:
                with rasterio.Env(GDAL_CACHEMAX=GDAL_CACHE):
                    work = _Work(asked, stages, store, edge, report, progress)
                    if begin is not None:
                        begin(work.pixels)
                        begin = None
                    work.run()
            except (MemoryError, RuntimeError) as error:
                if not is_out_of_memory(error):
                    raise
                smaller = edge // 2
                if smaller < max(LEAST_EDGE, 2 * lag, step) or smaller % step:
                    raise _least_is_too_much(error, edge, left) from error
                store.use_edge(smaller)
                tell(f"Too little memory for parts of {edge} x {edge} pixels: on with {smaller} x {smaller}.")
                continue
            report.devices, report.steps = sorted(store.devices), list(store.steps)
            report.edge, report.unreadable = edge, list(store.unreadable)
            return report
        except DeviceFailed as failure:
            left = [device for device in left if device != failure.device] or [CPU]
            tell(f"{failure.reason}: on with {', '.join(map(str, left))}.")


def _predictor(predictor_on: Callable[[torch.device], Predictor], device: torch.device) -> Predictor:
    """The predictor of a device.

    Raises:
        DeviceFailed: The device, other than the processor, has no memory for it or does not answer.
    """
    try:
        return predictor_on(device)
    except RuntimeError as error:
        if device == CPU or not (is_out_of_memory(error) or is_lost(error, device)):
            raise
        raise DeviceFailed(device, f"{device} cannot take the model ({first_line(error)})") from error


def _least_is_too_much(error: BaseException, edge: int, devices: Sequence[torch.device]) -> Exception:
    """What to raise where parts cannot be smaller: of a device, that it failed; of the machine, that it is the end."""
    what = f"has too little memory for parts of {edge} x {edge} pixels"
    others = [device for device in devices if device != CPU]
    if isinstance(error, RuntimeError) and others:
        return DeviceFailed(others[0], f"{others[0]} {what}")
    return OutOfMemoryError(
        f"The machine {what}: {first_line(error)}.", "Close other programs, or choose a smaller model."
    )


class _Work:
    """One attempt at all that is not finished."""

    def __init__(
        self,
        asked: Asked,
        stages: Sequence[Stages],
        store: FinishedBlocks,
        edge: int,
        report: Report,
        progress: Progress,
    ) -> None:
        self._asked, self._stages, self._store = asked, stages, store
        self._report, self._progress = report, progress
        self._lag = stages[0].lag
        step = stages[0].predictor.step
        self._around = -(-asked.around // step) * step
        grid = asked.series.grid
        self.parts = divide(grid.height, grid.width, edge)
        self._said = self.parts.lagging(self._lag)
        self._windows = self._said.lagging(self._around)
        self._wanted = self._missing()
        self._total = max(1, int(self._wanted.sum()))
        self._done = 0
        self._reading = CarefulReading(asked.series, store, asked.keep_going)
        self._lock = threading.Lock()
        self._stop = threading.Event()

    def run(self) -> None:
        """Does it, on each device a band of rows of parts."""
        self._progress(0.0)
        bands = self._bands(len(self._stages))
        if len(bands) == 1:
            self._run_band(self._stages[0], *bands[0], self._progress)
            return
        with ThreadPoolExecutor(len(bands), thread_name_prefix="device") as threads:
            running = [
                threads.submit(self._run_band, stages, *band, self._check)
                for stages, band in zip(self._stages, bands, strict=False)
            ]
            try:
                while True:
                    ended, going_on = wait(running, timeout=0.2, return_when=FIRST_EXCEPTION)
                    for each in ended:
                        each.result()
                    if not going_on:
                        return
                    self._progress(self._done / self._total)
            finally:
                self._stop.set()

    def _check(self, fraction: float) -> None:
        if self._stop.is_set():
            raise _Stopped

    def _missing(self) -> Wanted:
        """Which windows are wanted and not finished."""
        rows, cols = self._windows.shape
        missing = np.zeros((rows, cols), bool)
        self._report.blocks = self._report.taken_over = 0
        for row in range(rows):
            for col in range(cols):
                window = self._windows.window(row, col)
                if self._asked.wanted is None or self._asked.wanted(window):
                    self._report.blocks += 1
                    missing[row, col] = not self._store.covers(window)
                    self._report.taken_over += self._store.covered_before(window)
        return missing

    @property
    def pixels(self) -> int:
        """Of the windows that are to be made."""
        windows = (self._windows.window(int(row), int(col)) for row, col in np.argwhere(self._wanted))
        return sum(window.height * window.width for window in windows)

    def _bands(self, count: int) -> list[tuple[int, int]]:
        """Rows of windows for each device, about equally many that are wanted."""
        per_row = np.cumsum(self._wanted.sum(axis=1))
        if not per_row[-1]:
            return [(0, 0)]
        ends = np.searchsorted(per_row, per_row[-1] * np.arange(1, count + 1) / count) + 1
        firsts = [0, *ends[:-1]]
        return [(int(first), int(end)) for first, end in zip(firsts, ends, strict=True) if end > first]

    def _run_band(self, stages: Stages, first: int, end: int, progress: Progress) -> None:
        """Some rows of windows, one after the other."""
        wanted = np.zeros_like(self._wanted)
        wanted[first:end] = self._wanted[first:end]
        said = needed_for(wanted, self._around)
        needed = needed_for(said, self._lag)
        device = stages.predictor.device
        count = partial(self._count, str(device), name_of(stages.predictor.precision))
        finisher = _Finisher(self._asked, self._store, self.parts, self._lag, self._around, wanted, count)
        around = Surroundings(self.parts, self._lag)
        places = [(int(row), int(col)) for row, col in np.argwhere(needed)]
        try:
            for (row, col), block in zip(places, self._read_ahead(places), strict=True):
                progress(self._done / self._total)
                images = around.add(row, col, stages.alone(block))
                finisher.add_series(row, col, block)
                if not said[row, col]:
                    continue
                seen = images[-1]
                inside = slice(self._lag, -self._lag or None)
                observed = seen[inside, inside].cpu()
                if bool(seen.any()):
                    share = _Within(progress, self._done, self._total)
                    probabilities = stages.around(images, share)
                else:
                    number = len(stages.predictor.bundle.classes)
                    probabilities = torch.zeros(*observed.shape[:2], number)
                finisher.add(row, col, probabilities, observed)
            finisher.end()
        except RuntimeError as error:  # what goes wrong on a device is often told by a later operation on it
            if not is_lost(error, device):
                raise
            raise DeviceFailed(device, f"{device} does not answer any more ({first_line(error)})") from error
        finally:
            finisher.close()

    def _count(self, device: str, precision: str) -> None:
        with self._lock:
            self._done += 1
        self._store.note_device(device, precision)

    def _read_ahead(self, places: Sequence[tuple[int, int]]) -> Iterator[Block]:
        """The parts, the next one being read while one is worked on."""
        with ThreadPoolExecutor(1, thread_name_prefix="next block") as ahead:
            coming = [ahead.submit(self._reading.read, self.parts.window(*place)) for place in places[:1]]
            for at in range(len(places)):
                block = coming.pop().result()
                if at + 1 < len(places):
                    coming.append(ahead.submit(self._reading.read, self.parts.window(*places[at + 1])))
                yield block
                del block


class _Stopped(Exception):  # noqa: N818
    """Another device's band has failed."""


class _Within:
    """Progress within a block."""

    def __init__(self, progress: Progress, done: int, total: int) -> None:
        self._progress, self._done, self._total = progress, done, total

    def __call__(self, fraction: float) -> None:
        self._progress(min(1.0, (self._done + 0.9 * fraction) / self._total))


def _first(at: int, every: int) -> int:
    """Of the raster's rows or columns, of which one in so many counts: the number of the first one from a place on."""
    return -(-at // every)


def _sparse(window: Window, block: Block, every: int) -> Block:
    """The rows and columns of a part that count; the raster's, wherever the part begins."""
    if every == 1:
        return block
    rows, cols = slice(-window.row % every, None, every), slice(-window.col % every, None, every)
    return Block(block.data[..., rows, cols].copy(), block.valid[:, rows, cols].copy())


class _Finisher:
    """Makes of probabilities what is kept, on a thread of its own, one window behind the network."""

    def __init__(
        self,
        asked: Asked,
        store: FinishedBlocks,
        parts: Parts,
        lag: int,
        around: int,
        wanted: Wanted,
        count: Callable[[], None],
    ) -> None:
        self._asked, self._store, self._wanted, self._count = asked, store, wanted, count
        self._parts = parts
        said = parts.lagging(lag)
        self._windows = said.lagging(around)
        self._probabilities = Surroundings(said, around)
        firsts = ([_first(at, asked.every) for at in edges] for edges in (parts.rows, parts.cols))
        self._sparse_parts = Parts(*(tuple(each) for each in firsts))
        self._sparse_lag = _first(lag + around, asked.every)
        self._series = Surroundings(self._sparse_parts, self._sparse_lag)
        self._block: tuple[int, int, Block] | None = None
        self._waiting: queue.Queue[Callable[[], None] | None] = queue.Queue(1)
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._work, name="finish", daemon=True)
        self._thread.start()

    def add_series(self, row: int, col: int, block: Block) -> None:
        """Takes what was read of a part; of series that are not all asked for no more than is needed is kept."""
        some = _sparse(self._parts.window(row, col), block, self._asked.every)
        part, around = self._sparse_parts.window(row, col), self._sparse_lag
        if around:
            images = [torch.from_numpy(each)[..., None] for each in (some.data, some.valid)]
            some = Block(*(each[..., 0].numpy() for each in self._series.add(row, col, images)))
        self._block = part.row - around * (1 + (row > 0)), part.col - around * (1 + (col > 0)), some

    def add(self, row: int, col: int, probabilities: Tensor, observed: Tensor) -> None:
        """Takes what the network said of the part's window.

        Raises:
            Exception: What making or keeping an earlier window raised.
        """
        self._raise()
        images = self._probabilities.add(row, col, [probabilities, observed])
        if not self._wanted[row, col] or self._block is None:
            return
        window, every = self._windows.window(row, col), self._asked.every
        top, left, block = self._block
        first_row, first_col = _first(window.row, every), _first(window.col, every)
        rows = slice(first_row - top, _first(window.row + window.height, every) - top)
        cols = slice(first_col - left, _first(window.col + window.width, every) - left)
        some = Block(block.data[..., rows, cols], block.valid[:, rows, cols])
        looked_at = (
            slice(first_row * every - window.row, window.height, every),
            slice(first_col * every - window.col, window.width, every),
        )
        seen = Seen(window, images[0].numpy(), images[1].numpy()[..., 0], looked_at, some)
        self._waiting.put(lambda: self._finish(seen))

    def end(self) -> None:
        """Waits until all is kept.

        Raises:
            Exception: What making or keeping a window raised.
        """
        self._waiting.put(None)
        self._thread.join()
        self._raise()

    def close(self) -> None:
        """Ends the thread after what it is at."""
        if self._thread.is_alive():
            self._waiting.put(None)
            self._thread.join()

    def _finish(self, seen: Seen) -> None:
        self._store.put(seen.window, self._asked.finish(seen))
        self._count()

    def _work(self) -> None:
        while (task := self._waiting.get()) is not None:
            if self._error is None:
                try:
                    task()
                except BaseException as error:
                    self._error = error
            del task

    def _raise(self) -> None:
        if self._error is not None:
            raise self._error
