"""The command that trains models."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from contextlib import closing, nullcontext
from pathlib import Path

from cropmap_core.commands.writing import Result
from cropmap_core.errors import JobError
from cropmap_core.inference.bundles import Bundle, check_free, load_bundle
from cropmap_core.inference.devices import choose_device
from cropmap_core.jobs import Job
from cropmap_core.learning.bundling import period_of, write_bundle
from cropmap_core.learning.checkpoints import CHECKPOINT
from cropmap_core.learning.fitting import Entry, Watch
from cropmap_core.learning.journal import Journal
from cropmap_core.learning.made import CrossValidation, Made
from cropmap_core.learning.making import Maker, members_of
from cropmap_core.learning.recipes import LAST, Recipe, check_architecture, read_settings
from cropmap_core.learning.variation import NO_VARIATION, Variation, read_variation
from cropmap_core.samples.building import working_folder
from cropmap_core.samples.files import SampleFile
from cropmap_core.timeseries.temperatures import read_temperatures

AT_CHECKPOINT = ("resume", "restart", "finish")
_READING, _WRITING = 0.02, 0.98


def trainmodel(
    job: Job,
    *,
    samples: Path,
    output: Path,
    architecture: tuple[str, ...] = ("tempcnn",),
    members: int = 1,
    combine: str = "mean",
    hyper_parameters: tuple[str, ...] = (),
    channels: tuple[str, ...] = (),
    from_model: str | None = None,
    epochs: int = 30,
    batch_size: int = 0,
    learning_rate: float = 0.002,
    weight_decay: float = 0.01,
    loss: str = "cross_entropy",
    label_smoothing: float = 0.05,
    balance: str = "none",
    level_weights: tuple[float, ...] = (),
    augmentation: tuple[str, ...] = (),
    patience: int = 10,
    keep: str = "best",
    details: str = "",
    averaging: float = 0.99,
    precision: str = "auto",
    temperatures: Path | None = None,
    cross_validate: bool = False,
    at_checkpoint: str = "resume",
    tensorboard: Path | None = None,
    title: str = "",
    seed: int = 0,
    device: str = "auto",
) -> Result:
    """Trains a model on a training set and writes it as a bundle.

    Args:
        samples: Training set, .h5.
        output: Folder of the bundle; its name becomes the model's id.
        architecture: A network of models/, xgboost or random_forest; of several the model is the ensemble.
        members: How often each is trained, with other seeds, for an ensemble.
        combine: Of an ensemble: mean, or stacked, which learns from the validation samples whom to believe.
        hyper_parameters: Those of the architecture, like hidden=64.
        channels: Bands and indices that the model takes; all bands of the training set if not given.
        from_model: Id or folder of a model to go on from, with its architecture, channels and scaling.
        epochs: Passes over the training samples, at most.
        batch_size: Samples per step; 0 for up to 256 pixels or 8 patches.
        learning_rate: At its highest.
        weight_decay: Of AdamW.
        loss: cross_entropy or focal.
        label_smoothing: Share of the target that is spread over all classes.
        balance: none, weights or sampling: against classes of unequal size.
        level_weights: Of the levels of the classes' hierarchy in the loss, coarsest first (groups, families, crops),
            with a head for each; one head, of the crops, if not given.
        augmentation: Strengths from 0 to 1, like dates=0.2, or none; those not named keep their defaults.
        patience: Epochs without a better validation macro F1 before training ends; 0 for never.
        keep: The best epoch for the validation samples, or the last, which they then had no part in choosing.
        details: Column of the training set with labels finer than the classes, which a second head learns beside them.
        averaging: Decay of the moving average of the weights; 0 for none.
        precision: auto, float32 or bfloat16.
        temperatures: Daily mean air temperatures, CSV, to count thermal days in place of days of the calendar.
        cross_validate: Whether the recipe is also judged on every fold, by models that have not seen it.
        at_checkpoint: Of a training that was stopped: resume, restart, or finish with its best epoch.
        tensorboard: Folder for curves in TensorBoard's format.
        title: Of the model, as users see it.
        seed: Decides weights, order and augmentation.
        device: auto, cpu or cuda.
    """
    if at_checkpoint not in AT_CHECKPOINT:
        raise JobError(f"AT_CHECKPOINT is '{at_checkpoint}'.", f"Choose one of {', '.join(AT_CHECKPOINT)}.")
    settings = read_settings(hyper_parameters)
    base = None if from_model is None else load_bundle(from_model)
    if not architecture or members < 1 or (len(architecture) > 1 and settings):
        raise JobError(
            f"ARCHITECTURE is {', '.join(architecture) or 'empty'}, with {members} MEMBERS.",
            "Name one or more, MEMBERS of 1 or more, and HYPER_PARAMETERS only for a single one.",
        )
    if base is None:
        for name in architecture:
            settings = check_architecture(name, settings)
    recipe = Recipe(
        architecture[0] if base is None else base.architecture,
        settings,
        epochs,
        batch_size,
        learning_rate,
        weight_decay=weight_decay,
        loss=loss,
        label_smoothing=label_smoothing,
        balance=balance,
        level_weights=level_weights,
        variation=_variation(augmentation),
        patience=patience,
        keep=keep,
        details=details,
        averaging=averaging,
        precision=precision,
        seed=seed,
    )
    recipes = members_of(recipe, architecture if base is None else (base.architecture,), members)
    told = {name: value for name, value in locals().items() if name in _DECIDING}
    check_free(output)
    for path in (samples, *([] if temperatures is None else [temperatures])):
        if output.resolve() in path.resolve().parents:
            raise JobError(f"{path} lies in OUTPUT, which is replaced.", "Write the model into a folder of its own.")
    place = choose_device(device)
    with SampleFile(samples) as file:
        period_of(file)
        warmth = None if temperatures is None else read_temperatures(temperatures)
        maker = Maker(file, recipes, channels, place, base, warmth, combine)
        folder = working_folder(output, _inputs(samples, base, temperatures), told)
        finish = at_checkpoint == "finish"
        if at_checkpoint == "restart":
            shutil.rmtree(folder)
        elif any(folder.rglob(CHECKPOINT)):
            job.log(f"Going on from the checkpoint in {folder}.")
        try:
            judged = None
            share = 0.0
            if cross_validate and finish:
                job.warning("Cross-validation is left out: the training is to be finished.")
            elif cross_validate:
                judged, share = _cross_validate(job, maker, file, folder), 0.8
            roles = file.indices("train"), file.indices("validation")
            with nullcontext() if tensorboard is None else closing(Journal(tensorboard)) as journal:
                watch = _watch(job, share + _READING, _WRITING, journal.write if journal else None, finish)
                job.progress(
                    share + _READING, f"Training {' + '.join(each.architecture for each in recipes)} on {place}"
                )
                made = maker.make(*roles, folder, watch)
            job.progress(_WRITING, "Writing the model")
            bundle = write_bundle(file, made, judged, output, title)
        except BaseException:
            if any(folder.rglob(CHECKPOINT)):
                job.log(
                    f"A checkpoint is kept in {folder}: the same command goes on from there, with AT_CHECKPOINT=finish "
                    "it makes the model of the best epoch so far."
                )
            else:
                shutil.rmtree(folder, ignore_errors=True)
            raise
        shutil.rmtree(folder, ignore_errors=True)
    return _tell(job, made, judged, output, bundle.id)


def _inputs(samples: Path, base: Bundle | None, temperatures: Path | None) -> list[Path]:
    return [samples, *([] if base is None else [base.folder]), *([] if temperatures is None else [temperatures])]


_DECIDING = ("recipes", "channels", "from_model", "device")


def _variation(texts: tuple[str, ...]) -> Variation:
    if [text.strip() for text in texts] == ["none"]:
        return NO_VARIATION
    return read_variation(read_settings(texts))


def _watch(
    job: Job, start: float, end: float, write: Callable[[Entry], None] | None, finish: bool = False, name: str = ""
) -> Watch:
    def progress(fraction: float, text: str) -> None:
        done = start + (end - start) * fraction
        if text:
            job.progress(done, f"{name}{text}")
        else:
            job.progress(done)

    return Watch(progress, write or (lambda entry: None), job.warning, finish)


def _cross_validate(job: Job, maker: Maker, file: SampleFile, folder: Path) -> CrossValidation:
    def watch_of(position: int, count: int) -> Watch:
        span = 0.8 / count
        return _watch(
            job, _READING + position * span, _READING + (position + 1) * span, None, name=f"Fold {position}: "
        )

    judged = maker.cross_validate(folder, watch_of)
    for fold, scores in zip(judged.folds, judged.by_fold, strict=True):
        job.log(f"Fold {fold}, not seen: macro F1 {scores.macro_f1:.3f}, OA {scores.overall_accuracy:.3f}.")
    job.log(
        f"Cross-validation over {len(judged.folds)} folds of {file.path.name}: macro F1 {judged.pooled.macro_f1:.3f}, "
        f"OA {judged.pooled.overall_accuracy:.3f}."
    )
    return judged


def _part_of_validation(made: Made) -> str:
    return "" if all(each.recipe.keep == LAST for each in made.members) else ", which chose it"


def _tell(job: Job, made: Made, judged: CrossValidation | None, output: Path, model_id: str) -> Result:
    scores = made.validation
    for each in made.members:
        job.log(
            f"{each.recipe.architecture}: {each.ended}; best epoch {each.best_epoch} of {len(each.history)}. The "
            f"network waited for samples {each.loader_share:.0%} of the time."
        )
    job.log(
        f"On the validation samples{_part_of_validation(made)}{_crossed(made)}: macro F1 {scores.macro_f1:.3f}, OA "
        f"{scores.overall_accuracy:.3f}. Temperature {made.temperature:.2f}."
    )
    if (made.counts < 3).any():
        few = [each.name for each, count in zip(made.classes, made.counts, strict=True) if count < 3]
        job.warning(f"Fewer than three training pixels: {', '.join(few)}.")
    if made.stacking is not None:
        found = made.stacking
        how = "the mean is kept" if found.ridge is None else f"ridge {found.ridge:g}"
        job.log(f"Stacked: log-loss {found.surprise:.3f} against {found.surprise_of_mean:.3f} of the mean; {how}.")
    return {
        "output": str(output),
        "model": model_id,
        "classes": [each.name for each in made.classes],
        "epochs": len(made.members[0].history),
        "best_epoch": made.members[0].best_epoch,
        "validation_macro_f1": round(scores.macro_f1, 4),
        "validation_oa": round(scores.overall_accuracy, 4),
        "temperature": round(made.temperature, 4),
        "cross_validation": None if judged is None else judged.as_json(),
        "loader_share": round(made.members[0].loader_share, 4),
    }


def _crossed(made: Made) -> str:
    return ", each by members' weights that were fitted on others" if made.stacking is not None else ""
