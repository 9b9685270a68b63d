"""How large the parts are in which a series is classified: as large as the memory at hand allows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from cropmap_core.inference.devices import free_memory
from cropmap_core.inference.stages import Stages
from cropmap_core.timeseries.blocks import bytes_per_pixel
from cropmap_core.timeseries.series import Block, Series

LARGEST = 2048
"""Edge of the largest parts, in pixels: what a block of JPEG 2000 of 20 m spans."""
LEAST = 64
MEMORY = 7 * 2**28
"""Bytes that all parts in the making may take on the machine, where it has several times as much."""
LEAST_MEMORY = 2**28
"""Bytes that they may take even where less seems to be free: parts of almost nothing would take ages, and those that do
not fit are halved."""
_SHARE, _SHARE_OF_DEVICE = 0.4, 0.7  # of the memory that is free
_SMALL = 256  # pixels along an edge: a raster so small is one part
_TRIED = (48, 96)  # pixels along an edge
_UNFINISHED = 3  # windows: with what lies around one, one that waits and one that is looked at
_FEWEST_BLOCKS = 4  # along the longer edge, so that reading, computing and writing overlap
_LEAST_FOR_OVERLAP = 512
_CPU = torch.device("cpu")


def edge_of_parts(series: Series, stages: Stages, lag: int, all_series: bool = False) -> int:
    """The edge of the parts of a series, in pixels: a multiple of the network's step and at least twice the lag.

    Args:
        series: The channels.
        stages: The network.
        lag: Pixels around a window that are needed in all.
        all_series: The series of all pixels are kept until their windows are finished.
    """
    step, device = stages.predictor.step, stages.predictor.device
    edge = step
    while 2 * edge <= LARGEST:
        edge *= 2
    least = max(LEAST, 2 * lag, step)
    while edge < least:
        edge *= 2
    if max(series.grid.height, series.grid.width) <= _SMALL:
        return edge
    classes, channels = len(stages.predictor.bundle.classes), len(series.bands)
    of_reading = bytes_per_pixel(series, len(series.dates), 1)
    if all_series:
        of_reading += _UNFINISHED * len(series.dates) * (channels * series.dtype.itemsize + 1)
    of_results = 4 * 4 * classes
    of_network, always = (0.0, 0.0)
    if not stages.predictor.by_trees:  # which are asked some thousand pixels at a time
        of_network, always = bytes_of_network(stages, len(series.dates), channels)
        always += 2 * lag * series.grid.width * bytes_of_images(stages, len(series.dates), channels)
    own = device if device.type != "cpu" else None
    longest = max(series.grid.height, series.grid.width)
    while edge // 2 >= max(least, _LEAST_FOR_OVERLAP) and edge // 2 % step == 0 and edge * _FEWEST_BLOCKS > longest:
        edge //= 2
    while edge // 2 >= least and edge // 2 % step == 0:
        pixels, beyond = edge**2, (edge + 2 * lag) ** 2
        network = always + beyond * of_network
        machine = pixels * (of_reading + of_results) + (0 if own else network)
        if machine <= max(LEAST_MEMORY, min(MEMORY, _SHARE * free_memory(_CPU))) and (
            own is None or network <= _SHARE_OF_DEVICE * free_memory(own)
        ):
            break
        edge //= 2
    return edge


def bytes_of_network(stages: Stages, times: int, channels: int) -> tuple[float, float]:
    """What a network takes besides its weights and the block it is given: bytes for each pixel, and always.

    It is asked for two small blocks, and what is alive at once is counted.
    """
    random, found = np.random.default_rng(0), []
    lag = stages.lag
    for tried in _TRIED:
        edge = tried + 2 * lag
        values = random.uniform(0, 0.5, (times, channels, edge, edge)).astype(np.float32)
        block = Block(values, np.ones((times, edge, edge), bool))

        def work(block: Block = block) -> None:
            stages.around(stages.alone(block))

        found.append((edge**2, peak_of(work)))
    (few, little), (more, much) = found
    slope = max(0.0, (much - little) / (more - few))
    return slope, max(0.0, little - slope * few)


def bytes_of_images(stages: Stages, times: int, channels: int) -> int:
    """Of what the first stage gives of a pixel, as it is kept along the rows of parts."""
    edge = stages.predictor.step
    block = Block(np.zeros((times, channels, edge, edge), np.float32), np.ones((times, edge, edge), bool))
    return sum(each.numel() * each.element_size() for each in stages.alone(block)) // edge**2


def peak_of(work: Callable[[], object]) -> int:
    """Bytes of the tensors that are alive at once while something is computed, as torch's operations make them."""
    alive = _Alive()
    with torch.inference_mode(), alive:
        work()
    return alive.most


class _Alive(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the memory of all tensors that operations give, until they are gone."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._held: dict[int, tuple[StorageWeakRef, int]] = {}
        self.most: int = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        self._held = {key: held for key, held in self._held.items() if not held[0].expired()}  # type: ignore[no-untyped-call]
        for each in tree_leaves(result):
            if isinstance(each, torch.Tensor):
                storage = each.untyped_storage()
                alive = StorageWeakRef(storage)  # type: ignore[no-untyped-call]
                self._held[storage.data_ptr()] = alive, storage.nbytes()
        self.most = max(self.most, sum(size for _, size in self._held.values()))
        return result
