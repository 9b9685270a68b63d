"""The style of outputs: rasters carry theirs with them (the worker writes QML beside), parcels get theirs here."""

from __future__ import annotations

from collections.abc import Iterable

from qgis.core import (
    QgsCategorizedSymbolRenderer,
    QgsFillSymbol,
    QgsLayerTreeLayer,
    QgsLayerTreeNode,
    QgsMapLayer,
    QgsProcessingContext,
    QgsProcessingLayerPostProcessorInterface,
    QgsRendererCategory,
    QgsVectorLayer,
)
from qgis.PyQt import sip
from qgis.PyQt.QtGui import QColor

from .kept_files import style_file
from .parameters import tr

FILL_OPACITY = 0.6
OUTLINE = "40,40,40,200"
UNCLASSIFIED = "#bdbdbd"


class _Styler(QgsProcessingLayerPostProcessorInterface):
    """Styles an output when the project has loaded it, and puts it above others of the same run.

    Args:
        beneath: The files of the outputs that are to lie beneath it.
    """

    def __init__(self, beneath: Iterable[str]) -> None:
        super().__init__()
        self._beneath = set(beneath)

    def style(self, layer: QgsMapLayer) -> None:
        """Style the layer."""
        raise NotImplementedError(f"{type(self).__name__} must define style()")

    def postProcessLayer(self, layer, context, feedback) -> None:  # noqa: N802
        self.style(layer)
        layer.triggerRepaint()
        node = context.project().layerTreeRoot().findLayer(layer.id()) if context.project() else None
        if node is not None:
            self._lift(node)

    def _lift(self, node: QgsLayerTreeLayer) -> None:
        """Move a layer above the others; Processing's own order depends on which layer is selected."""
        siblings = node.parent().children()
        others = [at for at, sibling in enumerate(siblings) if self._is_beneath(sibling)]
        if others and others[0] < siblings.index(node):
            node.parent().insertChildNode(others[0], node.clone())
            node.parent().removeChildNode(node)

    def _is_beneath(self, node: QgsLayerTreeNode) -> bool:
        return (
            isinstance(node, QgsLayerTreeLayer) and node.layer() is not None and node.layer().source() in self._beneath
        )


class RasterStyler(_Styler):
    """Loads the style beside a raster, which Processing leaves out."""

    def style(self, layer: QgsMapLayer) -> None:
        layer.loadDefaultStyle()


class ParcelStyler(_Styler):
    """Draws parcels by their crop."""

    def __init__(self, beneath: Iterable[str], classes: list[dict], field: str) -> None:
        super().__init__(beneath)
        self._classes = classes
        self._field = field

    def style(self, layer: QgsMapLayer) -> None:
        layer.setRenderer(parcel_renderer(self._classes, self._field))


# The context owns a post-processor and deletes it in the end, but keeps no reference to its Python half until then.
_stylers: list[_Styler] = []


def _load_with(styler: _Styler, destination: str, context: QgsProcessingContext) -> None:
    if context.willLoadLayerOnCompletion(destination):
        _stylers[:] = [*(other for other in _stylers if not sip.isdeleted(other)), styler]
        context.layerToLoadOnCompletionDetails(destination).setPostProcessor(styler)


def style_raster(destination: str, context: QgsProcessingContext, beneath: Iterable[str]) -> None:
    """Have a raster output styled when the project loads it.

    Args:
        destination: The output's path as the parameter evaluates to.
        context: The run's context.
        beneath: The files of the outputs that are to lie beneath it.
    """
    _load_with(RasterStyler(beneath), destination, context)


def parcel_renderer(classes: list[dict], field: str) -> QgsCategorizedSymbolRenderer:
    """Fills parcels with the colour of their crop, and grey where there is none.

    Args:
        classes: ``value``, ``name`` and ``color`` (``#rrggbb``) of each class.
        field: The attribute that holds the crop's name.
    """
    categories = [QgsRendererCategory(item["name"], _symbol(item["color"]), item["name"]) for item in classes]
    # The empty value stands for all others, NULL among them.
    categories.append(QgsRendererCategory("", _symbol(UNCLASSIFIED), tr("not classified")))
    return QgsCategorizedSymbolRenderer(field, categories)


def style_parcels(
    destination: str,
    written: str,
    context: QgsProcessingContext,
    classes: list[dict],
    field: str,
    beneath: Iterable[str],
    style_is_free: bool,
) -> None:
    """Style a parcel output wherever it goes: in memory, with its file, and when the project loads it.

    Args:
        destination: Where the output is in the end.
        written: Where it is now: what the sink returned, or a file beside the destination.
        context: The run's context.
        classes: The legend.
        field: The attribute that holds the crop's name.
        beneath: The files of the outputs that are to lie beneath it.
        style_is_free: Whether the QML beside the file may be written: a raster of the same name may own it.
    """
    in_memory = context.temporaryLayerStore().mapLayer(destination)
    if in_memory is not None:
        in_memory.setRenderer(parcel_renderer(classes, field))
    else:
        _save_with_file(written, classes, field, style_is_free)
    _load_with(ParcelStyler(beneath, classes, field), destination, context)


def _save_with_file(written: str, classes: list[dict], field: str, style_is_free: bool) -> None:
    """Save the style beside a file, or inside a GeoPackage when the file beside is not free."""
    layer = QgsVectorLayer(written, "parcels", "ogr")
    if not layer.isValid():
        return  # a database: its layer is styled when the project loads it
    path = written.partition("|")[0]
    layer.setRenderer(parcel_renderer(classes, field))
    if style_is_free and path == written:
        layer.saveNamedStyle(style_file(path), QgsMapLayer.StyleCategory.Symbology)
    elif path.lower().endswith(".gpkg"):
        layer.saveStyleToDatabase("CropMap", tr("Crop of each parcel"), True, "")


def _symbol(color: str) -> QgsFillSymbol:
    fill = QColor(color)
    fill.setAlphaF(FILL_OPACITY)
    return QgsFillSymbol.createSimple(
        {
            "color": ",".join(str(part) for part in fill.getRgb()),
            "outline_color": OUTLINE,
            "outline_width": "0.3",
        }
    )
