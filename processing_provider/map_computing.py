"""How a map is computed: on what, how fast, and what becomes of damaged input; and that part of a job."""

from __future__ import annotations

from qgis.core import QgsProcessingParameterDefinition

from . import vocabulary
from .parameters import advanced, device, switch, tr, whole_number, with_help, words
from .values import Values


def parameters() -> list[QgsProcessingParameterDefinition]:
    """DEVICE, PRECISION, STRIDE and SKIP_DAMAGED."""
    return [
        device(tr("auto takes all of CUDA's graphics cards, else Apple's, else the processor.")),
        with_help(
            advanced(words("PRECISION", tr("Precision"), vocabulary.PRECISIONS, "auto")),
            tr(
                "bfloat16 computes in half the bits; auto: where the device is made for it and the model was measured "
                "to map the same, else float32."
            ),
        ),
        whole_number(
            "STRIDE",
            tr("Stride in pixels"),
            None,
            1,
            tr(
                "Only for models that give patches a class (convlstm, resnet, densenet, efficientnet, lrcn, cnn3d); "
                "others refuse it: the edge of the cells that get one class each, at most that of a patch. Small cells "
                "follow fields better and take longer; none: that of the model."
            ),
        ),
        advanced(
            switch(
                "SKIP_DAMAGED",
                tr("Map on where the input is damaged"),
                False,
                tr(
                    "Parts of the input that cannot be read are named in the log and count as never observed; if not "
                    "chosen, the first one ends the run."
                ),
            )
        ),
    ]


def in_a_job(values: Values) -> dict:
    """PRECISION, STRIDE and SKIP_DAMAGED as a job's parameters."""
    return {
        "precision": values.choice("PRECISION"),
        "stride": values.optional_number("STRIDE"),
        "skip_damaged": values.flag("SKIP_DAMAGED"),
    }
