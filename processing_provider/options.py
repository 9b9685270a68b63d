"""The page of CropMap in QGIS's options: which Python the worker runs on."""

from __future__ import annotations

from qgis.core import QgsSettings
from qgis.gui import QgsFileWidget, QgsOptionsPageWidget, QgsOptionsWidgetFactory
from qgis.PyQt.QtGui import QIcon
from qgis.PyQt.QtWidgets import QFormLayout, QLabel

from .algorithm import ICON
from .parameters import tr
from .runtime.finder import SETTING


class CropMapOptionsPage(QgsOptionsPageWidget):
    """One setting: the interpreter, where it is not the managed one."""

    def __init__(self, parent) -> None:
        super().__init__(parent)
        self._python = QgsFileWidget()
        self._python.setFilePath(str(QgsSettings().value(SETTING, "")))
        note = QLabel(tr('Leave this empty to use the environment that "Install runtime" makes.'))
        note.setWordWrap(True)
        layout = QFormLayout(self)
        layout.addRow(tr("Python of the worker (CROPMAP_PYTHON)"), self._python)
        layout.addRow(note)

    def apply(self) -> None:
        QgsSettings().setValue(SETTING, self._python.filePath().strip())


class CropMapOptionsFactory(QgsOptionsWidgetFactory):
    """Makes the page."""

    def __init__(self) -> None:
        super().__init__("CropMap", QIcon(ICON), "cropmap")

    def createWidget(self, parent) -> CropMapOptionsPage:  # noqa: N802
        return CropMapOptionsPage(parent)
