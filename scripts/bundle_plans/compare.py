"""The bundles side by side, as the table of docs/models.md: all that it says stands in their item.json.

Run as `python -m scripts.bundle_plans.compare [FOLDER]`; without FOLDER it tells of those that come with CropMap.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cropmap_core.inference.bundle_types import ITEM, WEIGHTS, Bundle
from cropmap_core.inference.bundles import BUNDLED, load_bundle
from models import describe
from scripts.bundle_plans.card_tables import DASH, table
from scripts.bundle_plans.cross_validation import XGBOOST

_HEAD = ("bundle", "network", "maps", "composites", "size", "macro F1 / OA out of fold", "XGBoost", "judged on")


def compare(folder: Path) -> str:
    """The table of the bundles in a folder, Markdown."""
    return table(_HEAD, [_row(load_bundle(path.parent)) for path in sorted(folder.glob(f"*/{ITEM}"))])


def _row(bundle: Bundle) -> list[str]:
    told: Mapping[str, Any] = (bundle.properties or {}).get("cropmap:accuracy", {})
    beside = told.get("beside", {})
    return [
        f"[`{bundle.id}`](../models/bundled/{bundle.id}/README.md)",
        _network(bundle),
        _maps(bundle),
        f"{len(bundle.first_days)} x {bundle.period}",
        f"{(bundle.folder / WEIGHTS).stat().st_size / 1e6:.1f} MB",
        _scores(told),
        next((_scores(scores) for name, scores in beside.items() if name.endswith(XGBOOST)), DASH),
        str(told.get("task") or told.get("method") or DASH),
    ]


def _maps(bundle: Bundle) -> str:
    if describe(bundle.architecture, **bundle.hyper_parameters).kind == "dense":
        return "every pixel"
    edge = bundle.stride_pixels
    return "every pixel, from the patch around it" if edge == 1 else f"cells of {edge} x {edge} pixels"


def _network(bundle: Bundle) -> str:
    members = [each["architecture"] for each in bundle.hyper_parameters.get("members", ())]
    if not members:
        return f"`{bundle.architecture}`"
    return ", ".join(f"{members.count(name)} x `{name}`" for name in dict.fromkeys(members))


def _scores(told: Mapping[str, Any]) -> str:
    if "macro_f1" in told:
        return f"{told['macro_f1']:.3f} / {told['overall_accuracy']:.3f}"
    return f"{told['parcels_right']} of {told['parcels']} parcels right" if told.get("parcels") else DASH


def main() -> None:
    """Prints the table."""
    print(compare(Path(sys.argv[1]) if len(sys.argv) > 1 else BUNDLED))


if __name__ == "__main__":
    main()
