"""The radiometric offset of L2A digital numbers, from the best evidence there is.

From processing baseline 04.00 on, digital numbers are 1000 higher than 10000 x reflectance, and the product XML states
BOA_ADD_OFFSET -1000. Repackaged files have lost the XML, and archives differ in whether they applied the offset, while
reprocessed old scenes carry it too: the sensing date decides nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cropmap_core.errors import BaselineError, JobError
from cropmap_core.scene import Scene

OFFSETS = ("auto", "0", "-1000")
EVIDENCE_BANDS = ("B02", "B04")
NO_OFFSET_BELOW = 850
"""1st percentile of clear digital numbers: 1-778 in series without offset."""
OFFSET_ABOVE = 900
"""1st percentile of clear digital numbers: 948-1016 in series with offset."""
MINIMUM_PIXELS = 100

ClearPixels = Callable[[Sequence[Scene], str], NDArray[np.uint16]]
"""Samples the clear digital numbers of a band from some scenes, shape (N,)."""


@dataclass(frozen=True)
class Offsets:
    """The decision, scene by scene, and what it rests on."""

    values: tuple[int, ...]
    """Added to the digital numbers of each scene: 0 or -1000."""
    evidence: str
    """A sentence for the log."""
    warnings: tuple[str, ...] = ()


def decide_offsets(scenes: Sequence[Scene], parameter: str, clear_pixels: ClearPixels) -> Offsets:
    """Decides the offset of each scene: what its packaging states, the parameter, or the pixels of the whole series.

    Args:
        scenes: The series.
        parameter: `auto`, `0` or `-1000`.
        clear_pixels: Called only when the pixels have to decide.

    Raises:
        BaselineError: The pixels are too few, ambiguous, or contradict each other.
    """
    if parameter not in OFFSETS:
        raise JobError(f"OFFSET is '{parameter}'.", f"Choose one of {', '.join(OFFSETS)}.")
    said, warnings = [], []
    stated: dict[str, list[int]] = {}
    for scene in scenes:
        if scene.stated_offset is not None:
            stated.setdefault(scene.stated_offset.evidence, []).append(scene.stated_offset.value)
    for evidence, offsets in stated.items():
        values = sorted(set(offsets))
        said.append(f"{len(offsets)} scenes by {evidence} ({', '.join(map(str, values))})")
        if parameter != "auto" and values != [int(parameter)]:
            warnings.append(f"OFFSET={parameter} is not used for scenes whose offset is stated by {evidence}.")
    silent = [scene for scene in scenes if scene.stated_offset is None]
    fallback = 0
    if silent and parameter != "auto":
        fallback = int(parameter)
        said.append(f"{len(silent)} scenes by the parameter OFFSET ({fallback})")
    elif silent:
        fallback, reason = _decide_by_pixels(silent, clear_pixels)
        said.append(f"{len(silent)} scenes by their clear pixels ({fallback}: {reason})")
    chosen = tuple(scene.stated_offset.value if scene.stated_offset else fallback for scene in scenes)
    return Offsets(chosen, f"Radiometric offset: {'; '.join(said)}.", tuple(warnings))


def _decide_by_pixels(scenes: Sequence[Scene], clear_pixels: ClearPixels) -> tuple[int, str]:
    remedy = "State it with the parameter OFFSET: 0, or -1000 for baseline 04.00 and later without offset applied."
    percentiles: dict[str, float] = {}
    for band in EVIDENCE_BANDS:
        sample = clear_pixels(scenes, band)
        if sample.size < MINIMUM_PIXELS:
            raise BaselineError(
                f"The pixels cannot tell the offset: {sample.size} clear ones in {band} of {len(scenes)} scenes.",
                remedy,
            )
        percentiles[band] = float(np.percentile(sample, 1))
    shown = ", ".join(f"1st percentile of {band} {value:.0f}" for band, value in percentiles.items())
    if all(value < NO_OFFSET_BELOW for value in percentiles.values()):
        return 0, f"{shown}, under {NO_OFFSET_BELOW}"
    if all(value > OFFSET_ABOVE for value in percentiles.values()):
        return -1000, f"{shown}, over {OFFSET_ABOVE}"
    raise BaselineError(f"The offset cannot be told from the pixels: {shown}.", remedy)
