"""`make train-bundles`: trains all bundled models, judges them, writes their cards and puts them in their places.

Each plan is a module of `scripts.bundle_plans` that is run as `python -m scripts.bundle_plans.MODULE DATA WORK --bundle
WORK/ID/bundle/ID`, goes on where it was stopped, and leaves in `WORK/ID` the training set (`samples.h5`), the bundles
of its fold models and of the yardstick's (`folds/ID`, `folds/ID-xgboost`), and what it has told besides (`scores.json`,
`costs.jsonl`). From these the card is made here. A bundle takes the place of one that is better only if FORCE says so.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cropmap_core.errors import CropMapError
from cropmap_core.inference.bundles import BUNDLED, read_json
from scripts.bundle_plans.cards import Evidence, finish
from scripts.bundle_plans.compare import compare
from scripts.bundle_plans.costs import read_costs
from scripts.bundle_plans.cross_validation import XGBOOST
from scripts.bundle_plans.fold_bundles import FOLDS
from scripts.bundle_plans.publishing import publish
from scripts.bundle_plans.stories import STORIES

ROOT = Path(__file__).resolve().parent.parent
WORK = ROOT / "build" / "bundles"
"""Where it works unless CROPMAP_WORK names another folder; git ignores it."""


@dataclass(frozen=True)
class Step:
    """A bundle to be trained."""

    id: str
    module: str
    """Of `scripts.bundle_plans`."""
    data: str
    """Folder of the shared data that it takes."""


STEPS = (
    Step("us-2021-pixel", "us_2021", "pixels/us_2021"),
    Step("canada-2017-pixel", "canada_2017", "pixels/canada_2017"),
    Step("europe-pixel", "europe", "."),
    Step("us-2021-hybrid-cnn", "us_2021_spatial", "."),
    Step("canada-2017-convlstm", "canada_2017_spatial", "."),
    Step("europe-hybrid-cnn", "europe_spatial", "."),
    Step("flanders-2018-hybrid-cnn", "flanders_2018", "flanders_2018"),
    Step("flanders-2018-convlstm", "flanders_2018", "flanders_2018"),
)


def make(step: Step, data: Path, work: Path) -> Path:
    """Trains, judges and describes a bundle; gives its folder.

    Raises:
        CalledProcessError: A part of it failed, and has said why.
    """
    folder = work / step.id
    bundle = folder / "bundle" / step.id
    _run("scripts.bundle_plans." + step.module, data / step.data, work, "--bundle", bundle)
    describe(step, folder, bundle)
    return bundle


def describe(step: Step, folder: Path, bundle: Path) -> None:
    """Writes the card of a bundle, of what its plan has left; judges its fold models first, where there are any."""
    if step.id not in STORIES:
        return  # it has a card of its own
    scores = folder / "scores.json"
    told = read_json(scores) if scores.is_file() else None
    models = [path for path in (folder / FOLDS / step.id, folder / FOLDS / f"{step.id}-{XGBOOST}") if path.is_dir()]
    if not models:
        command = f"python -m scripts.bundle_plans.{step.module} DATA WORK"
        finish(bundle, STORIES[step.id], Evidence((command,), scores=told, costs=read_costs(folder)))
        return
    samples, page, altered = folder / "samples.h5", folder / "evaluation.html", folder / "robustness.json"
    numbers = page.with_suffix(".json")
    judging = ["--models", *models, "--samples", samples, "--set", "all", "--output-html", page]
    altering = [samples, altered, *models]
    if _older(numbers, models):
        _run("cropmap_core", "evaluatemodel", *judging)
    if _older(altered, models):
        _run("scripts.bundle_plans.robustness", *altering)
    commands = (
        _command(folder.parent, "cropmap_core", "evaluatemodel", *judging),
        _command(folder.parent, "scripts.bundle_plans.robustness", *altering),
    )
    evidence = Evidence(commands, read_json(numbers), told, read_json(altered), read_costs(folder))
    finish(bundle, STORIES[step.id], evidence)


def _older(made: Path, models: Sequence[Path]) -> bool:
    """Whether something is not there, or older than the models that it is made of."""
    if not made.is_file():
        return True
    return any(path.stat().st_mtime > made.stat().st_mtime for folder in models for path in folder.glob("*/item.json"))


def _run(module: str, *arguments: str | Path) -> None:
    subprocess.run([sys.executable, "-m", module, *map(str, arguments)], cwd=ROOT, check=True)


def _command(work: Path, module: str, *arguments: str | Path) -> str:
    """A command as it stands in a card: the work folder goes by its name."""
    said = [f"WORK/{each.relative_to(work)}" if isinstance(each, Path) else each for each in arguments]
    return " ".join(["python", "-m", module, *said])


def main() -> int:
    """Works through the steps."""
    options = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    shared = os.environ.get("CROPMAP_DATA", str(ROOT.parent / "shared" / "data"))
    options.add_argument("--data", type=Path, default=Path(shared), help="folder of the shared data")
    options.add_argument("--work", type=Path, default=Path(os.environ.get("CROPMAP_WORK", str(WORK))))
    options.add_argument("--output", type=Path, default=BUNDLED, help="where the bundles' folders go")
    options.add_argument("--only", choices=[step.id for step in STEPS], help="one bundle instead of all")
    options.add_argument(
        "--force",
        action="store_true",
        default=bool(os.environ.get("FORCE")),
        help="put a bundle in its place even if a better one stands there (also FORCE=1)",
    )
    chosen = options.parse_args()
    kept = 0
    try:
        for step in STEPS:
            if chosen.only in (None, step.id):
                bundle = make(step, chosen.data.resolve(), chosen.work.resolve())
                kept += not put(bundle, chosen.output, chosen.force)
    except (CropMapError, OSError, ValueError, subprocess.CalledProcessError) as error:
        print(f"train_bundles: {error}", file=sys.stderr)
        return 1
    print(f"\n{compare(chosen.output)}")
    return 1 if kept else 0


def put(bundle: Path, output: Path, force: bool) -> bool:
    """Puts a bundle in its place, and says so, or why not."""
    reason = publish(bundle, output / bundle.name, force)
    if reason:
        print(f"{reason} It stays; the new one is in {bundle}. FORCE=1 takes it all the same.", file=sys.stderr)
    else:
        print(f"{output / bundle.name} is in its place.", flush=True)
    return not reason


if __name__ == "__main__":
    sys.exit(main())
