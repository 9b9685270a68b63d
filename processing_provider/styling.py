"""The style of outputs: rasters carry theirs with them (the worker writes QML beside), parcels get theirs here."""

from __future__ import annotations

from collections.abc import Iterable

from qgis.core import (
    QgsCategorizedSymbolRenderer,
    QgsFillSymbol,
    QgsLayerTreeLayer,
    QgsLayerTreeNode,
    QgsLinePatternFillSymbolLayer,
    QgsMapLayer,
    QgsMapLayerStyle,
    QgsProcessingContext,
    QgsProcessingLayerPostProcessorInterface,
    QgsProperty,
    QgsRendererCategory,
    QgsSymbolLayer,
    QgsVectorLayer,
)
from qgis.PyQt import sip
from qgis.PyQt.QtGui import QColor

from .kept_files import style_file
from .parameters import tr

FILL_OPACITY = 0.6
OUTLINE = "40,40,40,200"
UNCLASSIFIED = "#bdbdbd"
AGREES, DISAGREES = "#1a9641", "#d7191c"
LIGHT_STYLE = "Declared crops"


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
    """Draws parcels by their crop; a second style of the layer shows declared crops, where there are such."""

    def __init__(self, beneath: Iterable[str], style: ParcelStyle) -> None:
        super().__init__(beneath)
        self._style = style

    def style(self, layer: QgsMapLayer) -> None:
        self._style.apply(layer)


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


class ParcelStyle:
    """How parcels are drawn: in the colour of their crop, hatched where their record is doubted.

    Args:
        classes: ``value``, ``name`` and ``color`` (``#rrggbb``) of each class.
        names: The names that fields of the record have in the layer.
    """

    def __init__(self, classes: list[dict], names: dict[str, str]) -> None:
        self._classes = classes
        self._names = names

    def crops(self) -> QgsCategorizedSymbolRenderer:
        """Fills parcels with the colour of their crop, and grey where there is none."""
        shown = [(item["name"], item["color"], item["name"]) for item in self._classes]
        # The empty value stands for all others, NULL among them.
        return self._renderer("pred_crop", [*shown, ("", UNCLASSIFIED, tr("not classified"))])

    def declared(self) -> QgsCategorizedSymbolRenderer | None:
        """A traffic light: green where the declared crop is confirmed, red where not; None where none was declared."""
        if "declared_agrees" not in self._names:
            return None
        light = [
            (True, AGREES, tr("as declared")),
            (False, DISAGREES, tr("not as declared")),
            ("", UNCLASSIFIED, tr("not compared")),
        ]
        return self._renderer("declared_agrees", light)

    def apply(self, layer: QgsVectorLayer) -> None:
        """Style a layer; what it shows at first are the crops."""
        light = self.declared()
        if light is not None:
            layer.setRenderer(light)
            style = QgsMapLayerStyle()
            style.readFromLayer(layer)
            layer.styleManager().removeStyle(tr(LIGHT_STYLE))
            layer.styleManager().addStyle(tr(LIGHT_STYLE), style)
        layer.setRenderer(self.crops())

    def _renderer(self, field: str, shown: list[tuple]) -> QgsCategorizedSymbolRenderer:
        categories = [QgsRendererCategory(value, self._symbol(color), label) for value, color, label in shown]
        return QgsCategorizedSymbolRenderer(self._names.get(field, field), categories)

    def _symbol(self, color: str) -> QgsFillSymbol:
        fill = QColor(color)
        fill.setAlphaF(FILL_OPACITY)
        symbol = QgsFillSymbol.createSimple(
            {
                "color": ",".join(str(part) for part in fill.getRgb()),
                "outline_color": OUTLINE,
                "outline_width": "0.3",
            }
        )
        if "doubt" in self._names:
            hatch = QgsLinePatternFillSymbolLayer.create({"angle": "45", "distance": "2", "line_width": "0.3"})
            hatch.setColor(QColor(0, 0, 0, 0))  # in the legend; each parcel's lines are coloured by its doubt
            doubted = QgsProperty.fromExpression(f"if(\"{self._names['doubt']}\", '{OUTLINE}', '0,0,0,0')")
            line = hatch.subSymbol().symbolLayer(0)
            line.setDataDefinedProperty(QgsSymbolLayer.Property.StrokeColor, doubted)
            symbol.appendSymbolLayer(hatch)
        return symbol


def style_parcels(
    destination: str,
    written: str,
    context: QgsProcessingContext,
    style: ParcelStyle,
    beneath: Iterable[str],
    style_is_free: bool,
) -> None:
    """Style a parcel output wherever it goes: in memory, with its file, and when the project loads it.

    Args:
        destination: Where the output is in the end.
        written: Where it is now: what the sink returned, or a file beside the destination.
        context: The run's context.
        style: What it is to look like.
        beneath: The files of the outputs that are to lie beneath it.
        style_is_free: Whether the QML beside the file may be written: a raster of the same name may own it.
    """
    in_memory = context.temporaryLayerStore().mapLayer(destination)
    if in_memory is not None:
        style.apply(in_memory)
    else:
        _save_with_file(written, style, style_is_free)
    _load_with(ParcelStyler(beneath, style), destination, context)


def _save_with_file(written: str, style: ParcelStyle, style_is_free: bool) -> None:
    """Save the style beside a file, or inside a GeoPackage when the file beside is not free."""
    layer = QgsVectorLayer(written, "parcels", "ogr")
    if not layer.isValid():
        return  # a database: its layer is styled when the project loads it
    path = written.partition("|")[0]
    layer.setRenderer(style.crops())
    if style_is_free and path == written:
        layer.saveNamedStyle(style_file(path), QgsMapLayer.StyleCategory.Symbology)
    elif path.lower().endswith(".gpkg"):
        layer.saveStyleToDatabase("CropMap", tr("Crop of each parcel"), True, "")
