"""Runs an algorithm in the QGIS desktop and saves pictures of its dialog and of its result; started by desktop_picture.

Environment: CROPMAP_RUN holds {"algorithm": id, "parameters": {...}, "dialog": path,
"result": path, "wait_ms": how long the dialog stands before its picture, "crs": [codes of the layers' CRS],
"background": raster, "size": [width, height] of the window, "styles": names of further styles of the result's polygons,
each of which is shown in a picture below the one before} as JSON.
"""

import itertools
import json
import os
import traceback

import processing
from qgis.core import (
    QgsApplication,
    QgsCoordinateReferenceSystem,
    QgsDatumTransform,
    QgsProject,
    QgsRasterLayer,
    QgsVectorLayer,
)
from qgis.PyQt.QtCore import QTimer
from qgis.PyQt.QtGui import QGuiApplication, QPainter, QPixmap
from qgis.PyQt.QtWidgets import QDockWidget
from qgis.utils import iface

RUN = json.loads(os.environ["CROPMAP_RUN"])
SIZE = RUN.get("size", [1400, 900])


def grab(path):
    """Saves what the screen shows."""
    QGuiApplication.processEvents()
    QGuiApplication.primaryScreen().grabWindow(0).save(path)


def save_below_each_other(path, pictures):
    """Saves pictures as one."""
    for picture in pictures:
        picture.setDevicePixelRatio(1)
    whole = QPixmap(max(picture.width() for picture in pictures), sum(picture.height() for picture in pictures))
    whole.fill()
    painter, top = QPainter(whole), 0
    for picture in pictures:
        painter.drawPixmap(0, top, picture)
        top += picture.height()
    painter.end()
    whole.save(path)


def leave(status):
    """Ends QGIS without questions."""
    QgsProject.instance().setDirty(False)
    QgsApplication.processEvents()
    os._exit(status)


def guarded(step):
    """Ends QGIS when a step fails, so that nothing waits for it."""

    def run():
        try:
            step()
        except Exception:
            traceback.print_exc()
            leave(1)

    return run


def answer_transformation_question():
    """QGIS asks which of several transformations between the layers' CRS to use; nobody is here to answer."""
    context = QgsProject.instance().transformContext()
    for source, target in itertools.permutations(map(QgsCoordinateReferenceSystem, RUN.get("crs", [])), 2):
        operations = [operation for operation in QgsDatumTransform.operations(source, target) if operation.isAvailable]
        context.addCoordinateOperation(source, target, operations[0].proj)
    QgsProject.instance().setTransformContext(context)


def show_dialog():
    """The algorithm's dialog, filled in."""
    answer_transformation_question()
    iface.mainWindow().resize(*SIZE)
    iface.mainWindow().move(0, 0)
    dialog = processing.createAlgorithmDialog(RUN["algorithm"], RUN["parameters"])
    dialog.resize(900, 780)
    dialog.move(250, 50)
    dialog.show()

    def finish():
        grab(RUN["dialog"])
        dialog.close()
        QTimer.singleShot(500, guarded(show_result))

    QTimer.singleShot(RUN.get("wait_ms", 3000), guarded(finish))


def show_result():
    """The result, loaded and styled by the algorithm itself."""
    background = RUN.get("background")
    if background:
        layer = QgsRasterLayer(background, "Sentinel-2, true colour")
        layer.loadDefaultStyle()
        QgsProject.instance().addMapLayer(layer)
    processing.runAndLoadResults(RUN["algorithm"], RUN["parameters"])

    shown, styles = [], list(RUN.get("styles", []))

    def finish():
        QGuiApplication.processEvents()
        shown.append(iface.mainWindow().grab())
        if not styles:
            save_below_each_other(RUN["result"], shown)
            leave(0)
        for layer in QgsProject.instance().mapLayers().values():
            if isinstance(layer, QgsVectorLayer) and styles[0] in layer.styleManager().styles():
                layer.styleManager().setCurrentStyle(styles[0])
        del styles[0]
        QTimer.singleShot(4000, guarded(finish))

    def zoom():
        layers = list(QgsProject.instance().mapLayers().values())
        print([(layer.name(), layer.isValid()) for layer in layers], flush=True)
        raster = next(layer for layer in layers if isinstance(layer, QgsRasterLayer))
        iface.setActiveLayer(raster)
        iface.zoomToActiveLayer()
        iface.mainWindow().findChild(QDockWidget, "Browser").hide()
        print([item.text() for item in iface.messageBar().items()], flush=True)
        QTimer.singleShot(4000, guarded(finish))

    QTimer.singleShot(1500, guarded(zoom))


QTimer.singleShot(4000, guarded(show_dialog))
