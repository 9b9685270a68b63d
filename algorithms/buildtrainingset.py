"""Series and labels to a training set."""

from __future__ import annotations

from contextlib import nullcontext

from qgis.core import QgsProcessingParameterFileDestination

from ..processing_provider import place, training_parameters, vocabulary
from ..processing_provider.algorithm import CropMapAlgorithm
from ..processing_provider.errors import JobFailed
from ..processing_provider.parameters import tr, with_help
from ..processing_provider.parcels import check_parcels, declared_parcels

NUMBERS = ("PATCH_SIZE", "PIXELS_PER_PARCEL", "PIXELS_PER_CLASS", "FOLDS", "BUFFER_M", "SEED", "MIN_PIXELS")


class BuildTrainingSet(CropMapAlgorithm):
    """`cropmap:buildtrainingset`."""

    ID = "buildtrainingset"
    TITLE = "Build training set"
    GROUP = "train"
    HELP = (
        "Takes labelled samples from a time series, from scenes, or from a table of point time series, and writes them "
        "to one file, split into what a model learns from, is steered by, and is judged on. Samples that belong "
        "together (a block, a zone, a parcel, ...) stay together, so that the accuracy that is measured holds "
        "elsewhere too; how near the sets come to each other is told. What has no label is left out, and is no class "
        "of its own."
    )
    TAGS = ("training", "samples", "labels", "split", "folds", "cross-validation")

    def define(self):
        return [
            *training_parameters.sources(),
            *training_parameters.sampling(),
            *training_parameters.splitting(),
            with_help(
                QgsProcessingParameterFileDestination("OUTPUT", tr("Training set"), "HDF5 (*.h5)"),
                tr("The training set file."),
            ),
        ]

    def mistake(self, values):
        given = [name for name in ("TABLE", "SERIES", "SCENES") if values.has(name)]
        if len(given) != 1:
            return "Give one of TABLE, SERIES and SCENES" + (f", not {' and '.join(given)}." if given else ".")
        if given != ["TABLE"] and values.has("LABELS") == values.has("PARCELS"):
            return f"{given[0]} needs either LABELS, the raster of class values to learn, or PARCELS."
        if values.has("PARCELS"):
            check_parcels(values)
            if not values.has("FIELD"):
                return "PARCELS need FIELD, their crop codes."
        place.check(values)
        if (values.has("AREA") or values.has("EXTENT")) and (given != ["SCENES"] or values.has("LABELS")):
            return "AREA and EXTENT are of SCENES with PARCELS: anything else has its grid already."
        if values.choice("SPLIT") == "random" and not values.flag("CONFIRM_RANDOM"):
            return "SPLIT=random puts neighbours into training and test: choose another, or set CONFIRM_RANDOM."
        if values.has("ZONES") != values.has("ZONE_FIELD"):
            return "Zones need both ZONES and ZONE_FIELD."
        values.numbers("VALIDATION_FOLDS")
        values.numbers("TEST_FOLDS")
        return ""

    def compute(self, values, feedback):
        output = values.file_target("OUTPUT")
        job = {
            "table": values.path("TABLE") or None,
            "series": values.raster("SERIES"),
            "scenes": values.paths("SCENES") if values.has("SCENES") else [],
            "labels": values.raster("LABELS"),
            "parcels_raster": values.raster("PARCELS_RASTER"),
            **values.dates(),
            "period": values.text("PERIOD") or "auto",
            "bands": values.choices("BANDS"),
            "legend": values.word_or_path("LEGEND", vocabulary.LEGENDS),
            "parcel_buffer_m": values.decimal("BUFFER"),
            "label_year": values.number("LABEL_YEAR") if values.has("LABEL_YEAR") else None,
            "months": [int(month) for month in values.choices("MONTHS")],
            "max_cloud_percent": values.number("MAX_CLOUD"),
            "keep_classes": values.choices("KEEP_CLASSES"),
            "validation_folds": values.numbers("VALIDATION_FOLDS"),
            "test_folds": values.numbers("TEST_FOLDS"),
            "block_m": round(1000 * values.decimal("BLOCK_SIZE_KM")),
            "zones": self._zones(values, feedback),
            "zone_field": values.text("ZONE_FIELD") or None,
            "split_column": values.text("SPLIT_COLUMN") or None,
            "output": output,
            **{name.lower(): values.choice(name) for name in ("REFLECTANCE", "KIND", "OFFSET", "SPLIT", "MISSING_SCL")},
            **{name.lower(): values.flag(name) for name in ("FILL", "CONFIRM_RANDOM")},
            **{name.lower(): values.number(name) for name in NUMBERS},
        }
        fields = {"code": values.text("FIELD"), "name": values.text("NAME_FIELD")}
        copied = {name: field for name, field in fields.items() if field}
        declared = declared_parcels(values, copied, feedback) if values.has("PARCELS") else nullcontext()
        with declared as parcels, place.area_file(values, feedback) as area:
            job.update(area=area, extent=place.extent(values))
            if parcels:
                job.update(parcels=parcels, field="code", name_field="name" if "name" in copied else None)
            self.run_job(self.ID, job, feedback, [output])
        return {"OUTPUT": output}

    def _zones(self, values, feedback):
        """A file of the zones alone, whatever kind of layer they come from."""
        if not values.has("ZONES"):
            return None
        path = self.parameterAsCompatibleSourceLayerPath(
            values.parameters, "ZONES", values.context, [], "gpkg", feedback
        )
        if not path:
            raise JobFailed("SamplesError", "ZONES cannot be read.", "Give a polygon layer or its file.")
        return path
