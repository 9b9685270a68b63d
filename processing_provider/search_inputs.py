"""What searching for scenes takes from QGIS: an area, an item list to write, and credentials that stay secret."""

from __future__ import annotations

import os

from qgis.core import (
    Qgis,
    QgsApplication,
    QgsAuthMethodConfig,
    QgsProcessingParameterAuthConfig,
    QgsProcessingParameterDefinition,
    QgsProcessingParameterExtent,
    QgsProcessingParameterFeatureSource,
    QgsProcessingParameterFile,
    QgsProcessingParameterNumber,
    QgsProcessingParameterString,
    QgsProcessingUtils,
)

from . import parameters, place, polygons, vocabulary
from .errors import JobFailed
from .network import proxy_settings
from .parameters import advanced, tr, with_help, words
from .processes import clean_environment

ITEM_LISTS = (".geojson", ".json")


def where() -> list[QgsProcessingParameterDefinition]:
    """CATALOGUE, URL, COLLECTION, AREA, EXTENT, the dates and MAX_CLOUD: what is searched for."""
    kind = [Qgis.ProcessingSourceType.VectorPolygon]
    cloud = QgsProcessingParameterNumber(
        "MAX_CLOUD", tr("Most cloud in percent"), defaultValue=100, minValue=0, maxValue=100
    )
    return [
        with_help(words("CATALOGUE", tr("Catalogue"), vocabulary.CATALOGUES, "earth-search"), tr("Where to search.")),
        with_help(
            QgsProcessingParameterString("URL", tr("Another STAC API"), optional=True),
            tr("The address of a STAC API that is searched instead of the catalogue."),
        ),
        with_help(
            advanced(QgsProcessingParameterString("COLLECTION", tr("Collection"), optional=True)),
            tr("The collection to search; empty: the catalogue's Sentinel-2 L2A."),
        ),
        with_help(
            QgsProcessingParameterFeatureSource("AREA", tr("Area"), kind, optional=True),
            tr("Polygons in any coordinate system; what they need is fetched."),
        ),
        with_help(QgsProcessingParameterExtent("EXTENT", tr("Extent"), optional=True), tr("Instead of an area.")),
        *parameters.dates(),
        with_help(cloud, tr("Of the whole tile, as the catalogue states it; cloudier scenes are left out.")),
    ]


def instead_and_credentials() -> list[QgsProcessingParameterDefinition]:
    """ITEMS and AUTH."""
    items = QgsProcessingParameterFile("ITEMS", tr("Item list"), optional=True, fileFilter="GeoJSON (*.geojson *.json)")
    return [
        with_help(advanced(items), tr("A list that an earlier search wrote, used instead of searching.")),
        with_help(
            advanced(QgsProcessingParameterAuthConfig("AUTH", tr("Credentials"), optional=True)),
            tr("Of the method AWS S3 (Copernicus Data Space), or Basic (the catalogue's own host); kept nowhere else."),
        ),
    ]


def mistake(values) -> str:
    """What a search is refused for before it runs; empty if nothing."""
    if values.has("AREA") == values.has("EXTENT"):
        return "Give either an area (AREA) or an extent (EXTENT): it is all that is fetched."
    if not any(values.has(name) for name in ("OUTPUT_ITEMS", "OUTPUT_SCENES", "OUTPUT")):
        return "Choose at least one output: OUTPUT_ITEMS, OUTPUT_SCENES or OUTPUT."
    target = values.chosen_target("OUTPUT_ITEMS")
    if target and not target.lower().endswith(ITEM_LISTS) and not _is_temporary(target):
        return f"OUTPUT_ITEMS is GeoJSON, not {os.path.basename(target)}: end its name in .geojson."
    if values.has("AREA"):
        polygons.checked_source(values, "AREA", place.ERROR)
    place.extent(values)
    secrets(values)
    return ""


def item_list(values) -> str | None:
    """The file of OUTPUT_ITEMS, which the project loads where that was asked for; None where it is skipped.

    A list of STAC Items is GeoJSON. What QGIS and its models name for the while ends as GeoPackages do.
    """
    if not values.has("OUTPUT_ITEMS"):
        return None
    target = values.chosen_target("OUTPUT_ITEMS") or QgsProcessingUtils.generateTempFilename("OUTPUT_ITEMS.geojson")
    if not target.lower().endswith(ITEM_LISTS):
        target = f"{os.path.splitext(target)[0]}.geojson"
    values.load_when_done("OUTPUT_ITEMS", target)
    return target


def _is_temporary(path: str) -> bool:
    folder = os.path.abspath(QgsProcessingUtils.tempFolder())
    return os.path.commonpath([folder, path]) == folder


def scenes_folder(values) -> str | None:
    """The folder of OUTPUT_SCENES; None where it is skipped."""
    if not values.has("OUTPUT_SCENES"):
        return None
    return os.path.abspath(values.algorithm.parameterAsFileOutput(values.parameters, "OUTPUT_SCENES", values.context))


def surroundings(values) -> dict[str, str]:
    """What the worker's environment gets for the network: QGIS's proxy, and the credentials of AUTH."""
    return {**proxy_settings(clean_environment()), **secrets(values)}


def secrets(values) -> dict[str, str]:
    """The credentials of AUTH as environment variables; they go nowhere else.

    Raises:
        JobFailed: The configuration cannot be read, or is of another method (JobError).
    """
    name = values.text("AUTH")
    if not name:
        return {}
    config = QgsAuthMethodConfig()
    manager = QgsApplication.authManager()
    if not manager.loadAuthenticationConfig(name, config, True) or not config.method():
        raise JobFailed(
            "JobError", f"AUTH: the authentication configuration {name} cannot be read.",
            "Choose one of QGIS's authentication configurations, and give the master password.",
        )  # fmt: skip
    user, password = config.config("username"), config.config("password")
    if config.method() == "Basic":
        return {"CROPMAP_HTTP_USERPWD": f"{user}:{password}"}
    if config.method() == "AWSS3":
        region = config.config("region")
        keys = {"AWS_ACCESS_KEY_ID": user, "AWS_SECRET_ACCESS_KEY": password, "AWS_SESSION_TOKEN": ""}
        return {**keys, **({"AWS_REGION": region} if region else {})}
    raise JobFailed(
        "JobError", f"AUTH is of the method {config.method()}.", "Choose one of the method Basic or AWS S3."
    )
