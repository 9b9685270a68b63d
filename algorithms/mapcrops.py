"""Scenes and parcels to a crop map, in one pass."""

from __future__ import annotations

from qgis.core import Qgis, QgsProcessingParameterFeatureSink

from ..processing_provider import map_care, map_computing, map_outputs, parameters, place
from ..processing_provider.algorithm import CropMapAlgorithm
from ..processing_provider.kept_files import keep_rasters
from ..processing_provider.parameters import tr, with_help
from ..processing_provider.parcels import ParcelExchange, check_parcels
from ..processing_provider.replay import replay_command


class MapCrops(CropMapAlgorithm):
    """`cropmap:mapcrops`."""

    ID = "mapcrops"
    TITLE = "Map crops"
    GROUP = "map"
    HELP = (
        "Maps crops from Sentinel-2 L2A scenes in one pass. It stacks the scenes, masks clouds, takes the median of "
        "each period of the model, fills gaps, computes the indices that the model wants and classifies every pixel; "
        "the result is the same as that of the single steps, without their files. Give field parcels to have each with "
        "its crop, probability and number of pixels: the crop of the highest mean probability, or with SURE_FROM the "
        "class that covers most. Choose the first and last day so that they span the season that "
        "the model was made for. A run that was ended goes on from its finished blocks, which "
        "are kept in a folder beside the classes (NAME.tif.unfinished) until the map is complete; a map of unchanged "
        "inputs is not computed again, unless parcels are to be described. Beside the classes stand the manifest of "
        "the run, with the command that makes them again, and the map as a STAC Item."
    )
    TAGS = ("crop map", "classification", "deep learning", "parcels", "fields")

    def define(self):
        return [
            parameters.scenes(),
            parameters.parcels(optional=True),
            *parameters.dates(),
            *place.parameters(),
            parameters.model(),
            parameters.keep_classes(),
            *parameters.selection(),
            parameters.offset(),
            *map_care.parameters(),
            parameters.sure_from(),
            parameters.model_temperatures(),
            *map_computing.parameters(),
            *map_outputs.parameters(),
            with_help(
                QgsProcessingParameterFeatureSink(
                    "OUTPUT_PARCELS", tr("Parcels"), Qgis.ProcessingSourceType.VectorPolygon, optional=True
                ),
                tr("The parcels with all their attributes, and their records: crop, probability, area, doubts."),
            ),
        ]

    def mistake(self, values):
        place.check(values)
        map_care.check(values)
        if values.has("PARCELS"):
            check_parcels(values)
        elif values.has("OUTPUT_PARCELS") and not values.is_temporary("OUTPUT_PARCELS"):
            return (
                'The output "Parcels" (OUTPUT_PARCELS) needs "Field parcels" (PARCELS): give them, or skip that output.'
            )
        return ""

    def compute(self, values, feedback):
        scenes, targets = values.paths("SCENES"), map_outputs.targets(values)
        job = {
            "scenes": scenes,
            **values.scene_selection(),
            "max_cloud_percent": values.number("MAX_CLOUD"),
            "model": values.model(),
            "keep_classes": values.choices("KEEP_CLASSES"),
            **values.model_use(),
            **map_computing.in_a_job(values),
            **map_outputs.in_a_job(targets),
            "replay": replay_command(values, {"SCENES": scenes, **map_care.named(values), **targets}),
        }
        written = {name: path for name, path in targets.items() if path}
        with place.in_a_job(values, feedback) as grid, map_care.in_a_job(values, feedback) as care:
            job.update(grid, **care)
            if not (values.has("PARCELS") and values.has("OUTPUT_PARCELS")):
                self.run_job(self.ID, job, feedback, written.values())
                return written
            return self._with_parcels(values, job, written, feedback)

    def _with_parcels(self, values, job, written, feedback):
        with ParcelExchange(values, "OUTPUT_PARCELS", feedback) as exchange, keep_rasters(written.values()) as rasters:
            job.update(parcels=exchange.parcels, output_parcels=exchange.records)
            result = self.run_job(self.ID, job, feedback, [*written.values(), exchange.records], span=(0, 95))
            rasters.step_back()
            parcels = exchange.write(result, written.values(), rasters.come_forward)
            return {**written, "OUTPUT_PARCELS": parcels}
