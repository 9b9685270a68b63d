"""Which scenes are of one acquisition."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Protocol, TypeVar

_ONE_PASS = timedelta(seconds=60)
"""A satellite passes over an MGRS tile in some 15 seconds and is back after an orbit at the earliest, while processings
of one pass may state times that differ by milliseconds or seconds."""


class Acquired(Protocol):
    """A scene, as far as it matters here."""

    @property
    def acquired(self) -> datetime:
        """Sensing time, UTC."""
        ...

    @property
    def mgrs_tile(self) -> str:
        """Empty where it is unknown."""
        ...


_Scene = TypeVar("_Scene", bound=Acquired)


def by_acquisition(scenes: Iterable[_Scene]) -> list[list[_Scene]]:
    """Groups the scenes of one MGRS tile that were acquired in one pass; without a tile, those of the same second."""
    groups: list[list[_Scene]] = []
    for scene in sorted(scenes, key=lambda scene: (scene.mgrs_tile, scene.acquired)):
        last = groups[-1][-1] if groups else None
        apart = _ONE_PASS if scene.mgrs_tile else timedelta(0)
        if last is not None and last.mgrs_tile == scene.mgrs_tile and scene.acquired - last.acquired <= apart:
            groups[-1].append(scene)
        else:
            groups.append([scene])
    return groups
