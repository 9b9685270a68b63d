"""The radiometric offset of L2A digital numbers, from the best evidence there is.

From processing baseline 04.00 on, digital numbers are 1000 higher than 10000 x reflectance, and the product XML states
BOA_ADD_OFFSET -1000. Repackaged files have lost the XML, and archives differ in whether they applied the offset, while
reprocessed old scenes carry it too: the sensing date decides nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from cropmap_core.errors import BaselineError, JobError
from cropmap_core.scenes.scene import Scene

OFFSETS = ("auto", "0", "-1000")
EVIDENCE_BANDS = ("B02", "B04")
NO_OFFSET_BELOW = 850
"""1st percentile of clear digital numbers: 1-778 in series without offset."""
OFFSET_ABOVE = 900
"""1st percentile of clear digital numbers: 948-1016 in series with offset."""
MINIMUM_PIXELS = 100
SAMPLED_SCENES = 24
MOSTLY_CLEAR = 0.5
"""Share of clear pixels from which on a scene's darkest ones are evidence. In Flanders 2018, without offset, the lower
of its two 1st percentiles is at most 601 in such scenes, and up to 3531 in cloudier ones."""
HAZY_SHARE = 0.2
"""Largest share of scenes without offset whose darkest pixels look otherwise: 3 or 4 of 73, hazy ones, in a year."""

ClearPixels = Callable[[Sequence[Scene], str], NDArray[np.uint16]]
"""Samples the clear digital numbers of a band from some scenes, shape (N,)."""
ClearShare = Callable[[Scene, str], float]
"""Share of a scene's observed pixels, 0-1, that are clear in a band."""


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
        sample = clear_pixels(_some(scenes), band)
        if sample.size < MINIMUM_PIXELS:
            raise BaselineError(
                f"The pixels cannot tell the offset: {sample.size} clear ones in {band} of {len(scenes)} scenes.",
                remedy,
            )
        percentiles[band] = float(np.percentile(sample, 1))
    shown = ", ".join(f"1st percentile of {band} {value:.0f}" for band, value in percentiles.items())
    if all(value < NO_OFFSET_BELOW for value in percentiles.values()):
        _refuse_mixture(_some(scenes), clear_pixels)
        return 0, f"{shown}, under {NO_OFFSET_BELOW}"
    if all(value > OFFSET_ABOVE for value in percentiles.values()):
        return -1000, f"{shown}, over {OFFSET_ABOVE}"
    raise BaselineError(f"The offset cannot be told from the pixels: {shown}.", remedy)


def _refuse_mixture(scenes: Sequence[Scene], clear_pixels: ClearPixels) -> None:
    """The darker part of a mixed series decides its percentiles: look whether another part looks otherwise.

    Raises:
        BaselineError: More than a few scenes look as if the offset were still in them.
    """
    without, with_offset = [], []
    for scene in scenes:
        darkest = [_darkest(scene, band, clear_pixels) for band in EVIDENCE_BANDS]
        if all(number is not None and number < NO_OFFSET_BELOW for number in darkest):
            without.append(scene.acquisition_date)
        elif all(number is not None and number > OFFSET_ABOVE for number in darkest):
            with_offset.append(scene.acquisition_date)
    if len(with_offset) > HAZY_SHARE * (len(without) + len(with_offset)):
        raise BaselineError(
            f"The series seems mixed: by their clear pixels {len(without)} scenes ({without[0]} to {without[-1]}) have "
            f"no offset and {len(with_offset)} ({with_offset[0]} to {with_offset[-1]}) still have it."
            if without
            else f"Each of {len(with_offset)} scenes looks as if the offset were in it, all of them together do not.",
            "Give the scenes with what states their offset (SAFE folders, STAC Items), or state it with the parameter "
            "OFFSET where it is the same for all.",
        )


def _darkest(scene: Scene, band: str, clear_pixels: ClearPixels) -> float | None:
    """1st percentile of a scene's clear pixels in a band; None where these are too few."""
    sample = clear_pixels([scene], band)
    return float(np.percentile(sample, 1)) if sample.size >= MINIMUM_PIXELS else None


def doubts(
    scenes: Sequence[Scene], values: Sequence[int], clear_pixels: ClearPixels, clear_share: ClearShare
) -> list[str]:
    """Warnings where the darkest clear pixels of a scene make no sense with its offset, whatever it was decided by.

    Catalogues are known to state offsets that their files do not have, for single scenes too
    (https://github.com/Element84/earth-search/issues/66 and 71).

    Args:
        scenes: The series.
        values: Their offsets.
        clear_pixels: Samples a scene.
        clear_share: Of a scene; between clouds SCL takes haze for clear, and haze has no dark pixels.
    """
    wrong: dict[int, list[str]] = {}
    for position in _some(range(len(scenes))):
        scene, value = scenes[position], values[position]
        darkest = []
        for band in EVIDENCE_BANDS:  # where the first band is as it should be, the second is not even decoded
            if clear_share(scene, band) < MOSTLY_CLEAR:
                break
            number = _darkest(scene, band, clear_pixels)
            if number is None or not (number < NO_OFFSET_BELOW if value else number > OFFSET_ABOVE):
                break
            darkest.append(f"{(number + value) / 10000:.3f} in {band}")
        else:
            wrong.setdefault(value, []).append(f"{scene.name} ({' and '.join(darkest)})")
    return [
        f"The offset {value} seems wrong for {len(found)} scenes: with it the darkest clear pixels have reflectance "
        f"{'below' if value else 'far above'} 0: {', '.join(found[:3])}. Check where the files come from, and OFFSET."
        for value, found in sorted(wrong.items())
    ]


_Item = TypeVar("_Item")


def _some(items: Sequence[_Item]) -> Sequence[_Item]:
    """At most twice `SAMPLED_SCENES` items, evenly spread."""
    return items[:: max(1, len(items) // SAMPLED_SCENES)]
