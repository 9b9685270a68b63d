"""A time series to crop classes."""

from __future__ import annotations

from ..processing_provider import parameters
from ..processing_provider.algorithm import CropMapAlgorithm
from ..processing_provider.parameters import tr


class Classify(CropMapAlgorithm):
    """`cropmap:classify`."""

    ID = "classify"
    TITLE = "Classify"
    GROUP = "map"
    HELP = (
        "Classifies a filled time series with a crop model. The series must hold the bands, indices and "
        "periods that the model was made for; if not, the difference is reported. Pixels that were never "
        "observed stay nodata. The confidence is the model's own probability of the class it chose, in "
        "percent: it ranks pixels, it does not promise that they are right. Pixels whose series are unlike "
        "what the model learnt of their class are marked in an output of their own; the log says how many there are."
    )
    TAGS = ("classification", "deep learning", "prediction", "time series")

    def define(self):
        return [
            parameters.series(),
            parameters.model(),
            parameters.sure_from(),
            parameters.model_temperatures(),
            parameters.device(),
            parameters.raster_output(
                "OUTPUT_CLASSES", tr("Crop classes"), tr("One class value per pixel, 0 where unknown.")
            ),
            parameters.raster_output(
                "OUTPUT_CONFIDENCE", tr("Confidence"), tr("Percent, 255 where unknown."), optional=True
            ),
            parameters.ood_output(),
        ]

    def compute(self, values, feedback):
        ood = values.target("OUTPUT_OOD")
        confidence = values.target("OUTPUT_CONFIDENCE", beneath=ood)
        classes = values.target("OUTPUT_CLASSES", beneath=confidence or ood)
        job = {
            "series": values.raster("SERIES"),
            "model": values.model(),
            **values.model_use(),
            "output_classes": classes,
            "output_confidence": confidence,
            "output_ood": ood,
        }
        written = {"OUTPUT_CLASSES": classes, "OUTPUT_CONFIDENCE": confidence, "OUTPUT_OOD": ood}
        self.run_job(self.ID, job, feedback, written.values())
        return {name: path for name, path in written.items() if path}
