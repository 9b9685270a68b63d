"""Model bundles: a folder with a trained network, what it takes, what it knows and how well (docs/models.md)."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

import models
from cropmap_core.classes import CropClass
from cropmap_core.errors import ModelBundleError, OutputError
from cropmap_core.inference.bundle_types import (
    CARD,
    ITEM,
    REACH,
    RESTORE,
    SIGNATURES,
    WEIGHTS,
    Bundle,
    build_network,
)
from cropmap_core.inference.fit import check_accepts
from cropmap_core.inference.stac_item import bundle_from_item, item_of_bundle
from cropmap_core.io.outputs import write_text
from models.network import Network

__all__ = [
    "BUNDLED",
    "Bundle",
    "CropClass",
    "bundled_ids",
    "check_free",
    "list_bundles",
    "load_bundle",
    "save_bundle",
]

BUNDLED = Path(models.__path__[0]) / "bundled"
"""Folder of the bundles that come with CropMap."""


def list_bundles() -> tuple[Bundle, ...]:
    """The bundles that come with CropMap, by id.

    Raises:
        ModelBundleError: One of them is damaged.
    """
    return tuple(load_bundle(name) for name in bundled_ids())


def bundled_ids() -> tuple[str, ...]:
    """Ids of the bundles that come with CropMap."""
    return tuple(sorted(path.parent.name for path in BUNDLED.glob(f"*/{ITEM}")))


def load_bundle(id_or_folder: str | Path) -> Bundle:
    """Reads a bundle and checks all of it but the values of its weights.

    Args:
        id_or_folder: Id of a bundle that comes with CropMap, or the folder of any bundle.

    Raises:
        ModelBundleError: There is no such bundle, or it is incomplete or contradicts itself.
    """
    folder = BUNDLED / id_or_folder if str(id_or_folder) in bundled_ids() else Path(id_or_folder)
    if not folder.is_dir():
        raise ModelBundleError(
            f"There is no model '{id_or_folder}'.",
            f"Give the folder of a model bundle, or one of these ids: {', '.join(bundled_ids()) or 'none is bundled'}.",
        )
    missing = [name for name in (ITEM, WEIGHTS, SIGNATURES, CARD) if not (folder / name).is_file()]
    if ITEM in missing:
        raise ModelBundleError(
            f"{folder} is not a model bundle: it has no {ITEM}.",
            f"Give the folder of a model bundle, or one of these ids: {', '.join(bundled_ids()) or 'none is bundled'}.",
        )
    if missing:
        raise ModelBundleError(f"The model bundle {folder} lacks {', '.join(missing)}.", RESTORE)
    bundle = bundle_from_item(read_json(folder / ITEM), folder)
    wrong = check_accepts(bundle)
    if wrong:
        raise ModelBundleError(f"{folder / ITEM} is not a usable model description: {wrong}.", RESTORE)
    read_json(folder / SIGNATURES)
    _check_network(bundle)
    return bundle


def save_bundle(
    bundle: Bundle,
    network: Network,
    signatures: Mapping[str, Any],
    card: str,
    write_more: Callable[[Path], None] = lambda folder: None,
) -> Bundle:
    """Writes a bundle whole, in place of what stood in its folder.

    Args:
        bundle: Its description; `folder` is where it goes.
        network: The trained network.
        signatures: What `cropmap_core.learning.signatures` made of the training pixels.
        card: The model card, Markdown.
        write_more: Writes further files into the folder that it is given.

    Returns:
        The bundle as it reads from its folder.

    Raises:
        ModelBundleError: The parts do not fit each other.
        OutputError: The folder cannot be written, or holds something else than a bundle.
    """
    check_free(bundle.folder)
    try:
        bundle.folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".", dir=bundle.folder.parent) as scratch:
            part = Path(scratch) / "new"
            part.mkdir()
            weights = {name: tensor.cpu().contiguous() for name, tensor in network.state_dict().items()}
            save_file(weights, part / WEIGHTS)
            (part / WEIGHTS).chmod(0o644)  # it is made for its owner only
            parameters = sum(tensor.numel() for tensor in network.parameters())
            _write_json(part / ITEM, item_of_bundle(bundle, parameters))
            _write_json(part / SIGNATURES, signatures)
            write_text(part / CARD, card)
            write_more(part)
            loaded = load_bundle(part)
            if bundle.folder.exists():
                bundle.folder.rename(Path(scratch) / "old")
            part.rename(bundle.folder)
    except (OSError, SafetensorError) as error:
        raise OutputError(
            f"The model bundle {bundle.folder} cannot be written: {error}.", "Choose another folder, or make room."
        ) from error
    return replace(loaded, folder=bundle.folder)


def check_free(folder: Path) -> None:
    """Refuses a folder for a bundle that holds something else, which would be lost.

    Raises:
        OutputError: It does, or it is a file.
    """
    if folder.is_dir() and ((folder / ITEM).is_file() or not any(folder.iterdir())):
        return
    if folder.exists():
        raise OutputError(
            f"{folder} is there already and is no model bundle.", "Give a new folder, or that of a model to replace."
        )


def read_json(path: Path) -> dict[str, Any]:
    """Reads a JSON object of a bundle.

    Raises:
        ModelBundleError: The file is unreadable or no JSON object.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ModelBundleError(f"{path} cannot be read: {error}.", RESTORE) from error
    if not isinstance(document, dict):
        raise ModelBundleError(f"{path} holds no JSON object.", RESTORE)
    return document


def _check_network(bundle: Bundle) -> None:
    path = bundle.folder / WEIGHTS
    with torch.device("meta"):  # shapes only
        network = build_network(bundle)
    for what, here, there in (
        ("channels", len(bundle.channels), network.channels),
        ("classes", len(bundle.classes), network.classes),
    ):
        if here != there:
            raise ModelBundleError(f"{bundle.folder / ITEM} lists {here} {what}; its network has {there}.", RESTORE)
    if bundle.reach_pixels is not None and bundle.reach_pixels > network.halo:
        raise ModelBundleError(
            f"{bundle.folder / ITEM} says that {REACH} is {bundle.reach_pixels}; its network looks no farther than "
            f"{network.halo} pixels.",
            RESTORE,
        )
    expected = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    try:
        with safe_open(path, framework="pt") as weights:
            found = {name: tuple(weights.get_slice(name).get_shape()) for name in weights.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise ModelBundleError(f"{path} cannot be read: {error}.", RESTORE) from error
    wrong = sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name))
    if wrong:
        name = wrong[0]
        raise ModelBundleError(
            f"{path} does not fit {bundle.architecture}: {len(wrong)} tensors differ, for instance {name}, "
            f"{found.get(name, 'not there')} instead of {expected.get(name, 'none')}.",
            RESTORE,
        )


def _write_json(path: Path, document: Mapping[str, Any]) -> None:
    write_text(path, json.dumps(document, indent=2, ensure_ascii=False) + "\n")
