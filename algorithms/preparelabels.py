"""Parcels or a crop inventory to labels."""

from __future__ import annotations

from contextlib import nullcontext

from qgis.core import (
    Qgis,
    QgsProcessingParameterNumber,
    QgsProcessingParameterString,
    QgsProcessingParameterVectorDestination,
)

from ..processing_provider import parameters, vocabulary
from ..processing_provider.algorithm import CropMapAlgorithm
from ..processing_provider.parameters import advanced, count, measure, only_if_asked, optional_raster, tr, with_help
from ..processing_provider.parcels import check_parcels, declared_parcels


class PrepareLabels(CropMapAlgorithm):
    """`cropmap:preparelabels`."""

    ID = "preparelabels"
    TITLE = "Prepare labels"
    GROUP = "train"
    HELP = (
        "Makes what a model learns from: a raster that says what grows in a pixel, on the grid of a time series. "
        "It is made of parcels with a crop code (farmers' declarations such as RPG or LPIS), or of a crop "
        "inventory (a raster such as CDL or ACI). A legend says which class a code means; codes that it does not "
        "know are listed and ignored, never taken for background. For codes without a legend a draft can be "
        "written, to be completed. Training zones can be proposed from a land cover raster."
    )
    TAGS = ("labels", "training", "legend", "RPG", "LPIS", "CDL", "WorldCover")

    def define(self):
        cropland = QgsProcessingParameterString("CROPLAND", tr("Cropland in the land cover"), "40")
        year = QgsProcessingParameterNumber("LABEL_YEAR", tr("Year of the labels"), optional=True)
        zones = QgsProcessingParameterVectorDestination(
            "OUTPUT_ZONES", tr("Training zones"), Qgis.ProcessingSourceType.VectorPolygon, optional=True
        )
        return [
            parameters.series(optional=True),
            parameters.parcels(optional=True),
            parameters.parcel_field("FIELD", tr("Field of the crop code"), tr("Numbers or texts, as in the legend.")),
            parameters.parcel_field(
                "NAME_FIELD", tr("Field of the crop's name"), tr("For lists, for drafts, and for the legend `names`.")
            ),
            with_help(
                QgsProcessingParameterString("LEGEND", tr("Legend"), optional=True),
                tr("A CSV file with the columns code,value,name (color,family,group), or one of {}.").format(
                    ", ".join(vocabulary.LEGENDS)
                ),
            ),
            measure("BUFFER", tr("Inward buffer in metres"), 10, tr("Pixels nearer to a border are not labelled.")),
            count("MIN_PIXELS", tr("Fewest pixels"), 4, tr("Parcels with fewer are left out.")),
            with_help(advanced(year), tr("A time series without a date in that year is refused.")),
            optional_raster("INVENTORY", tr("Crop inventory"), tr("A raster of crop codes, instead of parcels.")),
            optional_raster("CONFIDENCE", tr("Its confidence"), tr("None: the second band of the crop inventory.")),
            measure("MIN_CONFIDENCE", tr("Least confidence"), 0, tr("Pixels with less are not labelled.")),
            optional_raster("LAND_COVER", tr("Land cover"), tr("To propose zones from, such as ESA WorldCover.")),
            with_help(advanced(cropland), tr("Its values, separated by commas; 40 in ESA WorldCover.")),
            measure("ZONE_SIZE", tr("Edge of a zone in kilometres"), 10, tr("Zones are squares.")),
            count("ZONE_COUNT", tr("Number of zones"), 10, tr("They are chosen far from each other.")),
            count("MIN_CROPLAND", tr("Least cropland of a zone in percent"), 50, tr("Of its land cover."), 0, 100),
            parameters.raster_output("OUTPUT_LABELS", tr("Labels"), tr("Class values, 0 where unknown."), True),
            only_if_asked(
                parameters.raster_output("OUTPUT_PARCELS", tr("Parcel numbers"), tr("0 where no label is."), True)
            ),
            parameters.csv_output("OUTPUT_TABLE", tr("Parcel table"), tr("What became of each parcel.")),
            parameters.csv_output("OUTPUT_DRAFT", tr("Draft of a legend"), tr("All codes, known ones filled in.")),
            only_if_asked(with_help(zones, tr("A GeoPackage of squares with their share of cropland."))),
        ]

    def mistake(self, values):
        if values.has("PARCELS"):
            check_parcels(values)
            if not values.has("FIELD"):
                return "FIELD is empty: choose the field that holds the parcels' crop codes."
        if not all(value.strip().isdecimal() for value in values.text("CROPLAND").split(",")):
            return f'CROPLAND is "{values.text("CROPLAND")}": give whole numbers, separated by commas.'
        zones = values.chosen_target("OUTPUT_ZONES")
        if zones and not zones.lower().endswith(".gpkg"):
            return "OUTPUT_ZONES must be a GeoPackage: end its name in .gpkg."
        return ""

    def compute(self, values, feedback):
        copied = {"code": values.text("FIELD"), "name": values.text("NAME_FIELD")}
        copied = {name: field for name, field in copied.items() if field}
        has_labels = values.has("SERIES") or not values.is_temporary("OUTPUT_LABELS")
        written = {
            "OUTPUT_LABELS": values.target("OUTPUT_LABELS") if has_labels else None,
            "OUTPUT_PARCELS": values.target("OUTPUT_PARCELS"),
            **{name: values.file_target(name) for name in ("OUTPUT_TABLE", "OUTPUT_DRAFT", "OUTPUT_ZONES")},
        }
        with declared_parcels(values, copied, feedback) if values.has("PARCELS") else nullcontext() as parcels:
            job = {
                "series": values.raster("SERIES"),
                "parcels": parcels,
                "field": "code" if parcels else None,
                "name_field": "name" if parcels and "name" in copied else None,
                "inventory": values.raster("INVENTORY"),
                "confidence": values.raster("CONFIDENCE"),
                "min_confidence": values.decimal("MIN_CONFIDENCE"),
                "legend": values.word_or_path("LEGEND", vocabulary.LEGENDS),
                "buffer_m": values.decimal("BUFFER"),
                "min_pixels": values.number("MIN_PIXELS"),
                "label_year": values.number("LABEL_YEAR") if values.has("LABEL_YEAR") else None,
                "land_cover": values.raster("LAND_COVER"),
                "cropland_classes": [int(value) for value in values.text("CROPLAND").split(",")],
                "zone_size_km": values.decimal("ZONE_SIZE"),
                "zone_count": values.number("ZONE_COUNT"),
                "min_cropland_percent": values.number("MIN_CROPLAND"),
                **{name.lower(): path for name, path in written.items()},
            }
            self.run_job(self.ID, job, feedback, written.values())
        return {name: path for name, path in written.items() if path}
