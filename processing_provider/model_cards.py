"""What QGIS reads of the model bundles: their cards, as JSON."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass

from .errors import JobFailed
from .worker_client import PLUGIN_FOLDER

BUNDLED_FOLDER = os.path.join(PLUGIN_FOLDER, "models", "bundled")
CARD = "item.json"


@dataclass(frozen=True)
class ModelCard:
    """The part of a bundle's item.json that a chooser shows."""

    id: str
    title: str
    description: str
    accuracy: str = ""


def bundled_models() -> list[ModelCard]:
    """The models that come with the plugin, by id."""
    if not os.path.isdir(BUNDLED_FOLDER):
        return []
    names = sorted(os.listdir(BUNDLED_FOLDER))
    return [
        _read(os.path.join(BUNDLED_FOLDER, name)) for name in names if is_bundle(os.path.join(BUNDLED_FOLDER, name))
    ]


def is_bundle(folder: str) -> bool:
    """Tell whether a folder holds a model card."""
    return os.path.isfile(os.path.join(folder, CARD))


def is_fold_models(folder: str) -> bool:
    """Tell whether a folder holds the bundles of fold models, which go by its name."""
    begin = os.path.basename(folder) + "-fold"
    names = os.listdir(folder) if os.path.isdir(folder) else []
    return any(name.startswith(begin) and is_bundle(os.path.join(folder, name)) for name in names)


def resolve(model: str, fold_models: bool = False) -> str:
    """What a job takes for the model that a user named.

    Args:
        model: A bundled model's id, or the folder of a bundle, absolute or relative to the working folder.
        fold_models: Whether a folder of fold models will do.

    Returns:
        The id, or the absolute folder.

    Raises:
        JobFailed: It is neither (ModelBundleError); the message lists the bundled ids.
    """
    ids = os.listdir(BUNDLED_FOLDER) if os.path.isdir(BUNDLED_FOLDER) else []
    if model in ids and is_bundle(os.path.join(BUNDLED_FOLDER, model)):
        return model
    folder = os.path.abspath(os.path.expanduser(model))
    if os.path.basename(folder) == CARD:
        folder = os.path.dirname(folder)
    if is_bundle(folder) or (fold_models and is_fold_models(folder)):
        return folder
    known = ", ".join(card.id for card in bundled_models()) or "none in this edition"
    raise JobFailed(
        "ModelBundleError",
        f'"{model}" is neither a bundled model nor a folder with a model card ({CARD}).',
        f"Choose one of {known}, or give the folder of a model bundle.",
    )


def _read(folder: str) -> ModelCard:
    path = os.path.join(folder, CARD)
    name = os.path.basename(folder)
    try:
        with open(path, encoding="utf-8") as file:
            item = json.load(file)
        properties = item["properties"]
        return ModelCard(
            name,
            properties.get("title", name),
            properties.get("description", ""),
            _accuracy(properties.get("cropmap:accuracy", {})),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        return ModelCard(name, name, f"Its model card {path} cannot be read: {error}")


def _accuracy(measured: dict) -> str:
    """How well the model did on parcels that it had not seen, in a few words."""
    if not measured.get("parcels"):
        return ""
    return f"{measured['parcels_right']} of {measured['parcels']} parcels right ({measured['method']})"
