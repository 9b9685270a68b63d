"""A network at work on parts of a raster: first each pixel by itself, then with what lies around it.

Where memory does not suffice fewer pixels are worked on at a time, in the one stage or the other; results do not depend
on it. Where the least is too much, or the device does not answer any more, `DeviceFailed` says so.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cropmap_core.errors import OutOfMemoryError
from cropmap_core.inference.devices import forget, is_lost, is_out_of_memory
from cropmap_core.inference.predictor import Predictor, Progress
from cropmap_core.timeseries.series import Block

LEAST_PIXELS = 64
"""Edge of the smallest window that is worked on by itself, in pixels, before a device is given up."""


class DeviceFailed(Exception):  # noqa: N818  (it is caught by the engine, and nobody else's error)
    """A device has too little memory for the least that can be asked of it, or is lost."""

    def __init__(self, device: torch.device, reason: str) -> None:
        super().__init__(reason)
        self.device, self.reason = device, reason


class Stages:
    """A predictor, stage by stage.

    Args:
        predictor: The network on its device.
        days: Days since the season's start, shape (T,).
        there: The channels that are there, as `check_fits` gives them; None for all.
        tell: Is told of each step down.
    """

    def __init__(
        self,
        predictor: Predictor,
        days: Any,
        there: Sequence[str] | None = None,
        tell: Callable[[str], None] = lambda text: None,
    ) -> None:
        self.predictor = predictor
        self._days, self._there, self._tell = days, there, tell
        self._rows: int | None = None
        self._edge: int | None = None

    @property
    def lag(self) -> int:
        """Pixels around a window that its second stage needs, in whole steps."""
        return -(-self.predictor.halo // self.predictor.step) * self.predictor.step

    def alone(self, block: Block) -> list[Tensor]:
        """The first stage of a part.

        Args:
            block: Its channels, as `Predictor.of_window` takes them.

        Returns:
            Images of shape (..., H, W, F), the last one telling what was ever observed, bool, F = 1.
        """
        observed = torch.from_numpy(np.ascontiguousarray(block.valid.any(axis=0)))[..., None]
        height = block.valid.shape[1]
        rows = min(self._rows or height, height)
        while True:
            try:
                if rows == height:
                    images = self.predictor.first_stage(block.data, block.valid, self._days, self._there)
                    return [*images, observed.to(images[0].device)]
                parts = []
                for top in range(0, height, rows):
                    some = slice(top, top + rows)
                    found = self.predictor.first_stage(
                        block.data[:, :, some], block.valid[:, some], self._days, self._there
                    )
                    parts.append([each.clone() for each in found])  # a network may use its memory again
                images = [torch.cat(each, dim=-3) for each in zip(*parts, strict=True)]
                return [*images, observed.to(images[0].device)]
            except (RuntimeError, MemoryError) as error:
                rows = self._rows = self._fewer(error, rows, 1, "{0} rows at a time")

    def around(self, images: Sequence[Tensor], progress: Progress = lambda fraction: None) -> Tensor:
        """The second stage of a window.

        Args:
            images: Those of the first stage, of the window and `lag` pixels around it.
            progress: Called with the share that is done; may raise to stop.

        Returns:
            Class probabilities, float32 on the processor, shape (H, W, K); of no meaning where nothing was observed.
        """
        lag, step = self.lag, self.predictor.step
        height, width = (edge - 2 * lag for edge in images[-1].shape[-3:-1])
        edge = min(self._edge or max(height, width), max(height, width))
        while True:
            try:
                found = torch.empty(height, width, len(self.predictor.bundle.classes))
                corners = [(row, col) for row in range(0, height, edge) for col in range(0, width, edge)]
                for done, (row, col) in enumerate(corners):
                    share = _Share(progress, done, len(corners))
                    share(0.0)
                    rows, cols = slice(row, row + edge + 2 * lag), slice(col, col + edge + 2 * lag)
                    some = [each[..., rows, cols, :] for each in images]
                    inside = slice(row, row + edge), slice(col, col + edge)
                    found[inside] = self.predictor.second_stage(some, self._days, lag, share)
                return found
            except (RuntimeError, MemoryError) as error:
                least = -(-LEAST_PIXELS // step) * step
                fewer = self._fewer(error, edge, least, "windows of {0} x {0} pixels")
                edge = self._edge = max(least, fewer // step * step)

    def _fewer(self, error: BaseException, count: int, least: int, what: str) -> int:
        """Half of what was too much.

        Raises:
            DeviceFailed: It was the least already, or the device is lost.
            OutOfMemoryError: The same of the processor.
        """
        device = self.predictor.device
        if is_lost(error, device):
            raise DeviceFailed(device, f"{device} does not answer any more ({first_line(error)})") from error
        if not is_out_of_memory(error):
            raise error
        forget(device)
        if count <= least:
            if device.type == "cpu":
                raise OutOfMemoryError(
                    f"The machine has too little memory for {self.predictor.bundle.id}: {first_line(error)}.",
                    "Close other programs, or choose a smaller model.",
                ) from error
            raise DeviceFailed(device, f"{device} has too little memory even for {what.format(count)}") from error
        fewer = max(least, count // 2)
        self._tell(f"{device} has too little memory: on with {what.format(fewer)}.")
        return fewer


class _Share:
    """Progress within one of several equal parts."""

    def __init__(self, progress: Progress, done: int, count: int) -> None:
        self._progress, self._done, self._count = progress, done, count

    def __call__(self, fraction: float) -> None:
        self._progress((self._done + fraction) / self._count)


def first_line(error: BaseException) -> str:
    """What an error says first, without a full stop."""
    return (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
