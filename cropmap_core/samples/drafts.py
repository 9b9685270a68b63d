"""Drafts of legends for codes that nobody has mapped yet: what the names suggest is filled in, the rest is left."""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path

from cropmap_core.errors import OutputError
from cropmap_core.samples.declarations import Declarations
from cropmap_core.samples.legend import NAMES, load_legend

COLUMNS = ("code", "declared", "parcels", "value", "name", "color", "family", "group", "note")
"""Of a draft; a legend is read from it as it is, and takes no notice of `declared`, `parcels` and `note`."""


def write_draft(declarations: Declarations, path: Path) -> tuple[int, int]:
    """Writes a legend to be completed: one row a code, the value filled in where its name means one crop.

    Args:
        declarations: Parcels with codes, and what they mean.
        path: CSV to write.

    Returns:
        Number of codes, and of those that have a value.

    Raises:
        OutputError: The file cannot be written.
    """
    legend = load_legend(NAMES)
    parcels = Counter(code for code in declarations.codes if code)
    declared: dict[str, str] = {}
    for code, name in zip(declarations.codes, declarations.names, strict=True):
        declared[code] = declared.get(code) or name
    filled = 0
    try:
        with path.open("w", encoding="utf-8", newline="") as stream:
            writer = csv.writer(stream)
            writer.writerow(COLUMNS)
            for code, count in parcels.most_common():
                candidates = legend.candidates(declared[code])
                row: list[object] = [code, declared[code], count]
                if len(candidates) == 1:
                    (crop,) = candidates
                    filled += 1
                    writer.writerow([*row, crop.value, crop.name, crop.color, *crop.parents, ""])
                else:
                    note = "could be: " + ", ".join(each.name for each in candidates) if candidates else "not known"
                    writer.writerow([*row, "", "", "", "", "", note])
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error}.", "Make room on its disk.") from error
    return len(parcels), filled
