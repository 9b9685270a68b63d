"""Choosers of our own in the desktop's dialogs: for MODEL and for SCENES.

What `createWidget` returns gets a second Python half on its way through C++. So a chooser is a plain widget, all that
it does is done by its wrapper, and its first half is kept: C++ would still call it.
"""

from __future__ import annotations

from qgis.core import QgsMapLayer, QgsProcessingContext, QgsProject
from qgis.gui import (
    QgsAbstractProcessingParameterWidgetWrapper,
    QgsGui,
    QgsProcessingGui,
    QgsProcessingMultipleSelectionDialog,
)
from qgis.PyQt.QtCore import Qt
from qgis.PyQt.QtWidgets import (
    QBoxLayout,
    QComboBox,
    QFileDialog,
    QHBoxLayout,
    QLineEdit,
    QMenu,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from .errors import JobFailed
from .given import in_the_form_of_qgis
from .layer_files import raster_files
from .model_cards import bundled_models
from .parameters import tr
from .scenes_preview import ScenesPreview
from .values import Values

SEPARATOR = ";"
SELECTING = ("START_DATE", "END_DATE", "MONTHS", "OFFSET")


class ModelWidgetWrapper(QgsAbstractProcessingParameterWidgetWrapper):
    """An editable list of the bundled models, and a button to browse for the folder of another."""

    combo: QComboBox

    def createWidget(self) -> QWidget:  # noqa: N802
        self.combo = QComboBox(editable=True, insertPolicy=QComboBox.InsertPolicy.NoInsert)
        for card in bundled_models():
            self.combo.addItem(f"{card.title} [{card.id}]", card.id)
            tip = "<br>".join(text for text in (f"<b>{card.title}</b>", card.description, card.accuracy) if text)
            self.combo.setItemData(self.combo.count() - 1, tip, Qt.ItemDataRole.ToolTipRole)
        self.combo.currentTextChanged.connect(self._text_changed)
        self._show_tip()
        return _row(self.combo, _button(tr("Choose the folder of a model bundle"), self._browse))

    def widgetValue(self) -> str:  # noqa: N802
        index = self.combo.findText(self.combo.currentText())
        return self.combo.itemData(index) if index >= 0 else self.combo.currentText().strip()

    def setWidgetValue(self, value, context) -> None:  # noqa: N802
        index = self.combo.findData(value)
        if index >= 0:
            self.combo.setCurrentIndex(index)
        elif value:
            self.combo.setEditText(str(value))

    def _browse(self) -> None:
        folder = QFileDialog.getExistingDirectory(self.combo, tr("Folder of a model bundle"))
        if folder:
            self.combo.setEditText(folder)

    def _text_changed(self) -> None:
        self._show_tip()
        self.widgetValueHasChanged.emit(self)

    def _show_tip(self) -> None:
        index = self.combo.findText(self.combo.currentText())
        self.combo.setToolTip(self.combo.itemData(index, Qt.ItemDataRole.ToolTipRole) if index >= 0 else "")


class ScenesWidgetWrapper(QgsAbstractProcessingParameterWidgetWrapper):
    """A line of folders and files, a button to browse for a folder, and beneath what is found there.

    QGIS's own chooser takes a folder apart into all its files, and is empty when a folder is filled in again.
    """

    line: QLineEdit
    preview: ScenesPreview | None = None
    others: tuple[QgsAbstractProcessingParameterWidgetWrapper, ...] = ()

    def createWidget(self) -> QWidget:  # noqa: N802
        self.line = QLineEdit(placeholderText=tr("A folder of scenes; several are separated by {}").format(SEPARATOR))
        self.line.textChanged.connect(lambda: self.widgetValueHasChanged.emit(self))
        button = _button(tr("Add a folder of scenes"), self._browse)
        button.setPopupMode(QToolButton.ToolButtonPopupMode.MenuButtonPopup)
        button.setMenu(QMenu(button))
        button.menu().addAction(tr("Add a folder…"), self._browse)
        button.menu().addAction(tr("Add files…"), self._browse_files)
        button.menu().addAction(tr("Add raster layers of the project…"), self._choose_layers)
        row = _row(self.line, button)
        if self.type() == QgsProcessingGui.WidgetType.Batch:
            return row
        self.preview = ScenesPreview()
        return _kept(QVBoxLayout(), row, self.preview)

    def postInitialize(self, wrappers) -> None:  # noqa: N802
        super().postInitialize(wrappers)
        if self.preview is None:
            return
        self.others = tuple(other for other in wrappers if other.parameterDefinition().name() in SELECTING)
        for wrapper in (self, *self.others):
            wrapper.widgetValueHasChanged.connect(self._ask)
        self._ask()

    def widgetValue(self) -> list[str]:  # noqa: N802
        return [path.strip() for path in self.line.text().split(SEPARATOR) if path.strip()]

    def setWidgetValue(self, value, context) -> None:  # noqa: N802
        paths = value if isinstance(value, (list, tuple)) else [value] if value else []
        texts = [path.id() if isinstance(path, QgsMapLayer) else str(path) for path in paths]
        self.line.setText(f"{SEPARATOR} ".join(texts))

    def _browse(self) -> None:
        folder = QFileDialog.getExistingDirectory(self.line, tr("Folder of scenes"), self._last())
        self._add([folder] if folder else [])

    def _browse_files(self) -> None:
        files, _ = QFileDialog.getOpenFileNames(self.line, tr("Files of scenes"), self._last())
        self._add(files)

    def _choose_layers(self) -> None:
        files = raster_files(QgsProject.instance())
        dialog = QgsProcessingMultipleSelectionDialog(files, self.widgetValue(), self.line.window())
        dialog.setWindowTitle(tr("Raster layers of the project"))
        if dialog.exec():
            self._add([file for file in dialog.selectedOptions() if file in files])

    def _last(self) -> str:
        chosen = self.widgetValue()
        return chosen[-1] if chosen else ""

    def _add(self, paths: list[str]) -> None:
        if paths:
            self.setWidgetValue(list(dict.fromkeys([*self.widgetValue(), *paths])), None)

    def _ask(self) -> None:
        """Have the preview look at what the dialog selects now."""
        try:
            job = self._job()
        except JobFailed as error:
            self.preview.tell(str(error))
            return
        if job["scenes"]:
            self.preview.ask(job)
        else:
            self.preview.tell("")

    def _job(self) -> dict:
        algorithm, context = self.parameterDefinition().algorithm(), QgsProcessingContext()
        context.setProject(QgsProject.instance())
        given = {each.parameterDefinition().name(): each.parameterValue() for each in (self, *self.others)}
        values = Values(algorithm, in_the_form_of_qgis(algorithm.parameterDefinitions(), given), context)
        return {"scenes": values.files("SCENES"), **values.scene_selection()}


def _row(field: QWidget, button: QToolButton) -> QWidget:
    layout = QHBoxLayout()
    row = _kept(layout, field, button)
    layout.setStretchFactor(field, 1)
    return row


def _kept(layout: QBoxLayout, *widgets: QWidget) -> QWidget:
    """A widget whose first Python half lives until C++ deletes it."""
    whole = QWidget()
    whole.destroyed.connect(lambda: whole)  # the connection keeps it
    layout.setContentsMargins(0, 0, 0, 0)
    for widget in widgets:
        layout.addWidget(widget)
    whole.setLayout(layout)
    return whole


def _button(tip: str, pressed) -> QToolButton:
    button = QToolButton(text="…", toolTip=tip)
    button.clicked.connect(pressed)
    return button


class _Maker:
    """What Processing calls for a parameter: makes our chooser, or in the Model Designer QGIS's choice of sources."""

    wrapper: type[QgsAbstractProcessingParameterWidgetWrapper]

    def __new__(cls, parameter, dialog, row: int = 0, col: int = 0):
        kind = type(dialog).__name__
        if kind == "ModelerParametersDialog":
            return QgsGui.processingGuiRegistry().createModelerParameterWidget(
                dialog.model, dialog.childId, parameter, dialog.context
            )
        is_batch = kind == "BatchAlgorithmDialog"
        return cls.wrapper(
            parameter, QgsProcessingGui.WidgetType.Batch if is_batch else QgsProcessingGui.WidgetType.Standard
        )


class ModelWidget(_Maker):
    """The chooser for MODEL."""

    wrapper = ModelWidgetWrapper


class ScenesWidget(_Maker):
    """The chooser for SCENES."""

    wrapper = ScenesWidgetWrapper
