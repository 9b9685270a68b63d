"""Putting a bundle in its place, unless what stands there is better."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cropmap_core.errors import OutputError
from cropmap_core.inference.bundle_types import ITEM
from cropmap_core.inference.bundles import check_free, load_bundle, read_json


@dataclass(frozen=True)
class Standing:
    """How well a bundle does on what it has not seen."""

    metric: str
    value: float
    task: tuple[str, str]
    """How it was judged, and on what."""


def standing(folder: Path) -> Standing | None:
    """What a bundle's item.json says of it; None if it says nothing that can be compared."""
    told: dict[str, Any] = read_json(folder / ITEM)["properties"].get("cropmap:accuracy", {})
    task = str(told.get("method", "")), str(told.get("task", ""))
    if "macro_f1" in told:
        return Standing("macro F1", float(told["macro_f1"]), task)
    if told.get("parcels"):
        return Standing("share of parcels right", told["parcels_right"] / told["parcels"], task)
    return None


def objection(new: Path, there: Path) -> str:
    """Why a bundle should not take the place of another; empty if it may."""
    if not (there / ITEM).is_file():
        return ""
    ours, theirs = standing(new), standing(there)
    if ours is None or theirs is None or (ours.metric, ours.task) != (theirs.metric, theirs.task):
        return (
            f"{there} was judged otherwise ({_in_words(theirs)}) than the new bundle ({_in_words(ours)}): nobody can "
            "tell which is better."
        )
    if ours.value < theirs.value:
        return (
            f"{there} is better: {theirs.metric} {theirs.value:.4f} out of fold, the new bundle {ours.value:.4f} "
            f"({ours.task[1] or ours.task[0]})."
        )
    return ""


def publish(new: Path, there: Path, force: bool = False) -> str:
    """Puts a copy of a bundle in its place, whole.

    Args:
        new: The bundle.
        there: Its place, whose last part is its id.
        force: Whether to put it there even if what stands there is better, or cannot be compared.

    Returns:
        Why it was not put there; empty if it was.

    Raises:
        ModelBundleError: A bundle is damaged.
        OutputError: The place cannot be written, or holds something else.
    """
    load_bundle(new)
    check_free(there)
    reason = "" if force else objection(new, there)
    if reason:
        return reason
    try:
        there.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".", dir=there.parent) as scratch:
            shutil.copytree(new, Path(scratch) / "new")
            if there.exists():
                there.rename(Path(scratch) / "old")
            (Path(scratch) / "new").rename(there)
    except OSError as error:
        raise OutputError(f"{there} cannot be written: {error}.", "Choose another folder, or make room.") from error
    return ""


def _in_words(found: Standing | None) -> str:
    return "not at all" if found is None else ", ".join(filter(None, (found.metric, *found.task)))
