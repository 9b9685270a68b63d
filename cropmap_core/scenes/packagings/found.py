"""What a packaging finds, and what the packagings share."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from cropmap_core.errors import SceneError
from cropmap_core.scenes.scene import BandSource, Scene, Skipped


@dataclass
class Found:
    """Scenes, and what was skipped."""

    scenes: list[Scene] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)
    claimed: set[Path] = field(default_factory=set)
    """Candidates that no other packaging need look at."""

    def skip(self, path: Path, reason: str) -> None:
        """Lists a candidate as skipped."""
        self.skipped.append(Skipped(path, reason))
        self.claimed.add(path)

    def add(self, other: Found) -> None:
        """Takes over what another packaging found."""
        self.scenes += other.scenes
        self.skipped += other.skipped
        self.claimed |= other.claimed


Bands = dict[tuple[str, int], BandSource]


def add_band(bands: Bands, band: str, source: BandSource) -> None:
    """Adds a band's source to those of its scene.

    Raises:
        SceneError: Another file is there for the same band and resolution.
    """
    known = bands.setdefault((band, source.resolution_m), source)
    if known.path != source.path and Path(known.path).resolve() != Path(source.path).resolve():
        raise SceneError(
            f"{known.file} and {source.file} are the same band of the same scene.", "Remove one of them from SCENES."
        )


def time_in_name(text: str, form: str, path: Path) -> datetime:
    """A time that stands in a name.

    Raises:
        SceneError: There is no such date or time.
    """
    try:
        return datetime.strptime(text, form)
    except ValueError:
        raise SceneError(f"{path} has no real date and time in its name.", "Correct the name.") from None


def suffixed(candidates: Iterable[Path], *suffixes: str) -> list[Path]:
    """The candidates whose names end so."""
    return [path for path in candidates if path.suffix.lower() in suffixes and not path.is_dir()]
