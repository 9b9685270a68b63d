"""Series and labels to a training set."""

from __future__ import annotations

from qgis.core import (
    Qgis,
    QgsProcessingParameterFeatureSource,
    QgsProcessingParameterField,
    QgsProcessingParameterFile,
    QgsProcessingParameterFileDestination,
    QgsProcessingParameterNumber,
    QgsProcessingParameterRasterLayer,
    QgsProcessingParameterString,
)

from ..processing_provider import parameters, vocabulary
from ..processing_provider.algorithm import CropMapAlgorithm
from ..processing_provider.errors import JobFailed
from ..processing_provider.parameters import advanced, tr, with_help, words


class BuildTrainingSet(CropMapAlgorithm):
    """`cropmap:buildtrainingset`."""

    ID = "buildtrainingset"
    TITLE = "Build training set"
    GROUP = "train"
    HELP = (
        "Takes labelled samples from a time series, from scenes, or from a table of point time series, and writes them "
        "to one file, split into what a model learns from, is steered by, and is judged on. Samples that belong "
        "together (a block, a zone, a parcel, ...) stay together, so that the accuracy that is measured holds elsewhere "
        "too; how near the sets come to each other is told. What has no label is left out, and is no class of its own."
    )
    TAGS = ("training", "samples", "labels", "split", "folds", "cross-validation")

    def define(self):
        whole = Qgis.ProcessingNumberParameterType.Integer
        real = Qgis.ProcessingNumberParameterType.Double
        polygons = [Qgis.ProcessingSourceType.VectorPolygon]
        files = {
            "TABLE": (tr("Table"), tr("Parquet or CSV with sample_id, date, B02, ..., label, x and y.")),
            "MAPPING": (
                tr("Class mapping"),
                tr("CSV with code, value and name of a table's labels; none: a class each."),
            ),
        }
        rasters = {
            "SERIES": (tr("Time series"), tr("A time series file of composites, filled or not.")),
            "LABELS": (
                tr("Labels"),
                tr("Class values on the grid of the series, 0 unlabelled; with scenes, the grid."),
            ),
            "PARCELS_RASTER": (tr("Parcel numbers"), tr("A raster on the same grid, 0 none.")),
        }
        file = {
            name: with_help(QgsProcessingParameterFile(name, title, optional=True), text)
            for name, (title, text) in files.items()
        }
        raster = {
            name: with_help(QgsProcessingParameterRasterLayer(name, title, optional=True), text)
            for name, (title, text) in rasters.items()
        }
        scenes = parameters.scenes()
        scenes.setFlags(scenes.flags() | Qgis.ProcessingParameterFlag.Optional)

        def number(name, title, default, text, kind=whole, least=0, optional=False):
            given = QgsProcessingParameterNumber(name, title, kind, default, optional, least)
            return with_help(advanced(given), text)

        def text(name, title, default, help_text, optional=False):
            return with_help(advanced(QgsProcessingParameterString(name, title, default, False, optional)), help_text)

        return [
            file["TABLE"],
            raster["SERIES"],
            scenes,
            raster["LABELS"],
            raster["PARCELS_RASTER"],
            *parameters.dates(),
            text(
                "PERIOD", tr("Period"), "auto", tr("auto: month, or what a table's dates show; as_is: its own dates.")
            ),
            with_help(
                advanced(words("BANDS", tr("Bands"), vocabulary.BANDS, None, several=True, optional=True)),
                tr("None chosen: all that are there, of scenes those of 10 and 20 m."),
            ),
            advanced(words("REFLECTANCE", tr("Reflectance of the table"), vocabulary.REFLECTANCES, "scaled")),
            advanced(file["MAPPING"]),
            number("LABEL_YEAR", tr("Year of the labels"), None, tr("Checked against the series."), optional=True),
            words("KIND", tr("Samples are"), vocabulary.SAMPLE_KINDS, "pixel"),
            number("PATCH_SIZE", tr("Patch size in pixels"), 32, tr("Edge of a patch."), least=2),
            number("PIXELS_PER_PARCEL", tr("Most pixels of a parcel"), 20, tr("Drawn at random; 0: all.")),
            number("PIXELS_PER_CLASS", tr("Most pixels of a class"), 0, tr("Drawn at random; 0: all.")),
            advanced(parameters.switch("FILL", tr("Fill gaps"), False, tr("Of composites made of scenes."))),
            *parameters.selection(),
            parameters.keep_classes(),
            parameters.offset(),
            with_help(
                words("SPLIT", tr("Split by"), vocabulary.SPLITS, "blocks"), tr("What stays together in one fold.")
            ),
            number("FOLDS", tr("Folds"), 5, tr("Number of folds."), least=2),
            text("VALIDATION_FOLDS", tr("Validation folds"), "1", tr("What early stopping looks at.")),
            text("TEST_FOLDS", tr("Test folds"), "0", tr("What the final evaluation looks at.")),
            number("BLOCK_SIZE_KM", tr("Block size in km"), 5.0, tr("Edge of a spatial block."), real, 0.001),
            number("BUFFER_M", tr("Buffer in metres"), 0, tr("Samples closer than this to another fold are not used.")),
            with_help(
                advanced(QgsProcessingParameterFeatureSource("ZONES", tr("Zones"), polygons, optional=True)),
                tr("Polygons; zones named train, validation and test are these sets."),
            ),
            advanced(QgsProcessingParameterField("ZONE_FIELD", tr("Name of zones"), None, "ZONES", optional=True)),
            text("SPLIT_COLUMN", tr("Split column"), None, tr("Of the table: groups, folds, or sets."), optional=True),
            advanced(
                parameters.switch(
                    "CONFIRM_RANDOM", tr("A random split is wanted"), False, tr("It measures too much; reports say so.")
                )
            ),
            number("SEED", tr("Seed"), 0, tr("Of what is drawn at random.")),
            with_help(
                QgsProcessingParameterFileDestination("OUTPUT", tr("Training set"), "HDF5 (*.h5)"),
                tr("The training set file."),
            ),
        ]

    def mistake(self, values):
        given = [name for name in ("TABLE", "SERIES", "SCENES") if values.has(name)]
        if len(given) != 1:
            return "Give one of TABLE, SERIES and SCENES" + (f", not {' and '.join(given)}." if given else ".")
        if given != ["TABLE"] and not values.has("LABELS"):
            return f"{given[0]} needs LABELS: the raster of class values to learn."
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
            "mapping": values.path("MAPPING") or None,
            "label_year": values.number("LABEL_YEAR") if values.has("LABEL_YEAR") else None,
            "months": [int(month) for month in values.choices("MONTHS")],
            "max_cloud_percent": values.number("MAX_CLOUD"),
            "keep_classes": values.choices("KEEP_CLASSES"),
            "validation_folds": values.numbers("VALIDATION_FOLDS"),
            "test_folds": values.numbers("TEST_FOLDS"),
            "block_m": round(1000 * self.parameterAsDouble(values.parameters, "BLOCK_SIZE_KM", values.context)),
            "zones": self._zones(values, feedback),
            "zone_field": values.text("ZONE_FIELD") or None,
            "split_column": values.text("SPLIT_COLUMN") or None,
            "output": output,
            **{name.lower(): values.choice(name) for name in ("REFLECTANCE", "KIND", "OFFSET", "SPLIT")},
            **{name.lower(): values.flag(name) for name in ("FILL", "CONFIRM_RANDOM")},
            **{name.lower(): values.number(name) for name in NUMBERS},
        }
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


NUMBERS = ("PATCH_SIZE", "PIXELS_PER_PARCEL", "PIXELS_PER_CLASS", "FOLDS", "BUFFER_M", "SEED")
