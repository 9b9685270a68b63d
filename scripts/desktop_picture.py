"""Runs an algorithm in the QGIS desktop and saves pictures of its dialog and of its result; started by desktop_picture.

Environment: CROPMAP_RUN holds {"algorithm": id, "parameters": {...}, "dialog": path,
"result": path, "crs": [codes of the layers' CRS], "background": raster} as JSON.
"""

import json
import os
import traceback

import processing
from qgis.core import QgsApplication, QgsCoordinateReferenceSystem, QgsProject, QgsRasterLayer
from qgis.PyQt.QtCore import QTimer
from qgis.PyQt.QtGui import QGuiApplication
from qgis.PyQt.QtWidgets import QDockWidget
from qgis.utils import iface

RUN = json.loads(os.environ["CROPMAP_RUN"])


def grab(path):
    QGuiApplication.processEvents()
    QGuiApplication.primaryScreen().grabWindow(0).save(path)


def leave(status):
    QgsProject.instance().setDirty(False)
    QgsApplication.processEvents()
    os._exit(status)


def guarded(step):
    def run():
        try:
            step()
        except Exception:
            traceback.print_exc()
            leave(1)

    return run


def answer_transformation_question():
    """QGIS asks which of several transformations to use for the parcels' CRS; nobody is here to answer."""
    for code in RUN.get("crs", []):
        for other in RUN["crs"]:
            pair = (QgsCoordinateReferenceSystem(code), QgsCoordinateReferenceSystem(other))
            context = QgsProject.instance().transformContext()
            context.addCoordinateOperation(*pair, "")
            QgsProject.instance().setTransformContext(context)


def show_dialog():
    answer_transformation_question()
    iface.mainWindow().resize(1400, 900)
    iface.mainWindow().move(0, 0)
    dialog = processing.createAlgorithmDialog(RUN["algorithm"], RUN["parameters"])
    dialog.resize(900, 780)
    dialog.move(250, 50)
    dialog.show()

    def finish():
        grab(RUN["dialog"])
        dialog.close()
        QTimer.singleShot(500, guarded(show_result))

    QTimer.singleShot(3000, guarded(finish))


def show_result():
    background = RUN.get("background")
    if background:
        layer = QgsRasterLayer(background, "Sentinel-2, true colour")
        layer.loadDefaultStyle()
        QgsProject.instance().addMapLayer(layer)
    processing.runAndLoadResults(RUN["algorithm"], RUN["parameters"])

    def finish():
        grab(RUN["result"])
        leave(0)

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
