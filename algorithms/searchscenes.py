"""Scenes of a catalogue: their list, what an area needs of them, or the time series itself."""

from __future__ import annotations

from qgis.core import QgsProcessingParameterFolderDestination, QgsProcessingParameterVectorDestination

from ..processing_provider import parameters, place, search_inputs, vocabulary
from ..processing_provider.algorithm import CropMapAlgorithm
from ..processing_provider.parameters import tr, with_help, words


class SearchScenes(CropMapAlgorithm):
    """`cropmap:searchscenes`."""

    ID = "searchscenes"
    TITLE = "Search scenes"
    GROUP = "prepare"
    HELP = (
        "Searches a STAC catalogue (Earth Search, Planetary Computer, Copernicus Data Space, or one of your own) for "
        "Sentinel-2 L2A scenes of an area, and writes their list, which opens as footprints; or fetches what the area "
        "needs of them, into a folder that other algorithms take as SCENES, or into a time series file at once. Only "
        "the parts of the images that the area needs are read. A run that was interrupted continues when it is run "
        "again with the same outputs."
    )
    TAGS = ("STAC", "catalogue", "download", "Earth Search", "Planetary Computer", "CDSE", "time series")

    def define(self):
        bands = words("BANDS", tr("Bands"), vocabulary.BANDS, vocabulary.DEFAULT_BANDS, several=True)
        resolution = words("RESOLUTION", tr("Resolution in metres"), vocabulary.RESOLUTIONS_M, "10")
        folder = QgsProcessingParameterFolderDestination(
            "OUTPUT_SCENES", tr("Folder of scenes"), optional=True, createByDefault=False
        )
        series = parameters.raster_output("OUTPUT", tr("Time series"), tr("The time series file, a GeoTIFF."), True)
        series.setCreateByDefault(False)
        return [
            *search_inputs.where(),
            with_help(bands, tr("Bands to fetch; the scene classification (SCL) comes along.")),
            with_help(resolution, tr("Pixel size of the time series; of each band the copy that suits it is fetched.")),
            parameters.offset(),
            *search_inputs.instead_and_credentials(),
            with_help(
                QgsProcessingParameterVectorDestination("OUTPUT_ITEMS", tr("Scenes found"), optional=True),
                tr("The list of the scenes, GeoJSON: their footprints, with what the catalogue says of them."),
            ),
            with_help(folder, tr("A folder to fetch into, which other algorithms take as SCENES.")),
            series,
        ]

    def mistake(self, values):
        return search_inputs.mistake(values)

    def compute(self, values, feedback):
        written = {
            "OUTPUT_ITEMS": search_inputs.item_list(values),
            "OUTPUT_SCENES": search_inputs.scenes_folder(values),
            "OUTPUT": values.target("OUTPUT"),
        }
        written = {name: path for name, path in written.items() if path}
        job = {
            "catalogue": values.choice("CATALOGUE"),
            "url": values.text("URL") or None,
            "collection": values.text("COLLECTION") or None,
            "extent": place.extent(values),
            **values.dates(),
            "max_cloud_percent": values.number("MAX_CLOUD"),
            "bands": values.choices("BANDS"),
            "resolution": int(values.choice("RESOLUTION")),
            "offset": values.choice("OFFSET"),
            "items": values.path("ITEMS") or None,
            **{name.lower(): path for name, path in written.items()},
        }
        with place.area_file(values, feedback) as area:
            environment = search_inputs.surroundings(values)
            self.run_job(self.ID, {**job, "area": area}, feedback, written.values(), environment=environment)
        return written
