"""What the networks' runs have found so far: a JSON file for each finished piece, so that a killed run goes on."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cropmap_core.io.outputs import write_text
from cropmap_core.learning.scores import Scores

Found = dict[str, Any]


@dataclass(frozen=True)
class Results:
    """A folder of results."""

    folder: Path

    def path(self, part: str, row: str, piece: str) -> Path:
        """Where a piece's result is kept."""
        return self.folder / part / row / f"{piece}.json"

    def take(self, part: str, row: str, piece: str) -> Found | None:
        """What was found, None where nothing was yet."""
        path = self.path(part, row, piece)
        return dict(json.loads(path.read_text(encoding="utf-8"))) if path.exists() else None

    def find(self, part: str, row: str, piece: str, settings: Mapping[str, Any], work: Callable[[], Found]) -> Found:
        """What was found under the very same settings, now if not before."""
        known = self.take(part, row, piece)
        told = json.loads(json.dumps(settings))
        if known is not None and known["settings"] == told:
            return known
        found = {"settings": told, **work()}
        path = self.path(part, row, piece)
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_suffix(".part")
        write_text(unfinished, json.dumps(found, indent=1) + "\n")
        unfinished.replace(path)
        return found


def pooled(confusions: list[Any]) -> Scores:
    """The scores of several confusion matrices of the same classes."""
    return Scores(np.sum([np.asarray(each, np.int64) for each in confusions], axis=0))
