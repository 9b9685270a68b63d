"""A time series to crop classes."""

from __future__ import annotations

from ..processing_provider import map_care, map_outputs, parameters
from ..processing_provider.algorithm import CropMapAlgorithm
from ..processing_provider.replay import replay_command


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
            *map_care.parameters(),
            parameters.sure_from(),
            parameters.model_temperatures(),
            parameters.device(),
            *map_outputs.parameters(),
        ]

    def mistake(self, values):
        map_care.check(values)
        return ""

    def compute(self, values, feedback):
        series, written = values.raster("SERIES"), map_outputs.targets(values)
        job = {
            "series": series,
            "model": values.model(),
            **values.model_use(),
            **map_outputs.in_a_job(written),
            "replay": replay_command(values, {"SERIES": series, **map_care.named(values), **written}),
        }
        with map_care.in_a_job(values, feedback) as care:
            self.run_job(self.ID, {**job, **care}, feedback, written.values())
        return {name: path for name, path in written.items() if path}
