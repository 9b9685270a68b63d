"""The course of a training in TensorBoard's format, to be looked at while it runs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from cropmap_core.errors import OutputError

_CURVES = {
    "train_loss": "loss/train",
    "validation_loss": "loss/validation",
    "validation_macro_f1": "validation/macro_f1",
    "validation_oa": "validation/overall_accuracy",
    "learning_rate": "learning_rate",
}


class Journal:
    """Curves of one training.

    Args:
        folder: Where TensorBoard looks for them.

    Raises:
        OutputError: It cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        from tensorboardX import SummaryWriter  # it takes protobuf along, and few trainings need it

        try:
            self._writer = SummaryWriter(str(folder))
        except OSError as error:
            raise OutputError(f"{folder} cannot be written: {error}.", "Choose another folder.") from error

    def write(self, entry: Mapping[str, float]) -> None:
        """Adds what was measured in an epoch."""
        for name, curve in _CURVES.items():
            if entry[name] == entry[name]:  # a number
                self._writer.add_scalar(curve, entry[name], int(entry["epoch"]))
        self._writer.flush()

    def close(self) -> None:
        """Ends it."""
        self._writer.close()
