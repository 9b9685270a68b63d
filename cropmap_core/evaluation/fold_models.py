"""Fold models: the models of one recipe, each trained without one fold, that are judged as if they were one.

A model that is trained on all samples there are can be judged by none of them. What is said of it is then what its fold
models do, each on the fold that it has not seen. They stand as bundles in one folder, whose name they begin with:
`maize/maize-fold0`, `maize/maize-fold1`, ...
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from glob import escape
from pathlib import Path

from cropmap_core.errors import ModelBundleError
from cropmap_core.inference.bundle_types import ITEM
from cropmap_core.inference.bundles import Bundle, bundled_ids, load_bundle

_ALIKE = ("channels", "classes", "first_days", "period", "positions", "accepts")


@dataclass(frozen=True)
class FoldModels:
    """What is judged under one name."""

    bundle: Bundle
    """What all of them are like, under their common name."""
    folds: tuple[Bundle, ...]
    """The models; a single one for a model that is judged by itself."""


def fold_folders(folder: Path) -> list[Path]:
    """The folders of the fold models that a folder holds, by name; none if it holds a bundle or something else."""
    if (folder / ITEM).is_file():
        return []
    return sorted(path.parent for path in folder.glob(f"{escape(folder.name)}-fold*/{ITEM}"))


def load_models(id_or_folder: str | Path) -> FoldModels:
    """Reads a model, or the fold models of a folder.

    Args:
        id_or_folder: Id of a bundled model, the folder of a bundle, or one that holds the bundles of fold models.

    Raises:
        ModelBundleError: There is no such bundle, one is damaged, or fold models differ in what they take or know.
    """
    folder = Path(id_or_folder).resolve()
    folders = [] if str(id_or_folder) in bundled_ids() else fold_folders(folder)
    if not folders:
        bundle = load_bundle(id_or_folder)
        return FoldModels(bundle, (bundle,))
    first, *others = folds = tuple(load_bundle(each) for each in folders)
    for other in others:
        unlike = [name for name in _ALIKE if getattr(other, name) != getattr(first, name)]
        if unlike:
            raise ModelBundleError(
                f"{first.folder} and {other.folder} are no fold models of one recipe: their {', '.join(unlike)} "
                "differ.",
                "Keep the fold models of each recipe in a folder of their own.",
            )
    return FoldModels(replace(first, id=folder.name, folder=folder), folds)


def as_models(model: Bundle | FoldModels) -> FoldModels:
    """A single model as those of one recipe, which it is alone."""
    return model if isinstance(model, FoldModels) else FoldModels(model, (model,))
