"""A time series to crop classes."""

from __future__ import annotations

from ..processing_provider import map_care, map_computing, map_outputs, parameters
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
        "what the model learnt of their class are marked in an output of their own; the log says how many there are. "
        "A run that was ended goes on from its finished blocks, which are kept in a folder beside the classes "
        "(NAME.tif.unfinished) until the map is complete; a map of unchanged inputs is not computed again. Beside the "
        "classes stand the manifest of the run, with the command that makes them again, and the map as a STAC Item."
    )
    TAGS = ("classification", "deep learning", "prediction", "time series")

    def define(self):
        return [
            parameters.series(),
            parameters.model(),
            *map_care.parameters(),
            parameters.sure_from(),
            parameters.model_temperatures(),
            *map_computing.parameters(),
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
            **map_computing.in_a_job(values),
            **map_outputs.in_a_job(written),
            "replay": replay_command(values, {"SERIES": series, **map_care.named(values), **written}),
        }
        with map_care.in_a_job(values, feedback) as care:
            self.run_job(self.ID, {**job, **care}, feedback, written.values())
        return {name: path for name, path in written.items() if path}
