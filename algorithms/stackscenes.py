"""Scenes to a time series file."""

from __future__ import annotations

from ..processing_provider import parameters, place, vocabulary
from ..processing_provider.algorithm import CropMapAlgorithm
from ..processing_provider.parameters import tr


class StackScenes(CropMapAlgorithm):
    """`cropmap:stackscenes`."""

    ID = "stackscenes"
    TITLE = "Stack scenes"
    GROUP = "prepare"
    HELP = (
        "Stacks Sentinel-2 L2A scenes into one time series file. All scenes are brought to one grid and one "
        "radiometric offset, several MGRS tiles too; give an area or an extent to cover no more than that. The scene "
        "classification (SCL) travels along, so that clouds can be masked in the next step, "
        '"Composite time series". The file is a tiled GeoTIFF of reflectance x 10000, date by date.'
    )
    TAGS = ("stack", "time series", "SAFE")

    def define(self):
        return [
            parameters.scenes(),
            parameters.with_help(
                parameters.words("BANDS", tr("Bands"), vocabulary.BANDS, vocabulary.DEFAULT_BANDS, several=True),
                tr("Bands to stack; each must be there on every date."),
            ),
            *parameters.dates(),
            *place.parameters(),
            parameters.with_help(
                parameters.words("RESOLUTION", tr("Resolution in metres"), vocabulary.RESOLUTIONS_M, "10"),
                tr("Pixel size of the time series; bands of another resolution are resampled to it."),
            ),
            *parameters.selection(),
            parameters.offset(),
            parameters.raster_output("OUTPUT", tr("Time series"), tr("The time series file, a GeoTIFF.")),
        ]

    def mistake(self, values):
        place.check(values)
        return ""

    def compute(self, values, feedback):
        output = values.target("OUTPUT")
        with place.in_a_job(values, feedback) as grid:
            job = {
                "scenes": values.paths("SCENES"),
                **values.scene_selection(),
                "bands": values.choices("BANDS"),
                "max_cloud_percent": values.number("MAX_CLOUD"),
                "resolution": int(values.choice("RESOLUTION")),
                **grid,
                "output": output,
            }
            self.run_job(self.ID, job, feedback, [output])
        return {"OUTPUT": output}
