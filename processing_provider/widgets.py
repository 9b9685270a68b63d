"""Choosers of our own in the desktop's dialogs: for MODEL, SCENES and PERIOD.

What `createWidget` returns gets a second Python half on its way through C++. So a chooser is a plain widget, all that
it does is done by its wrapper, and its first half is kept: C++ would still call it.
"""

from __future__ import annotations

from qgis.gui import QgsAbstractProcessingParameterWidgetWrapper, QgsGui, QgsProcessingGui
from qgis.PyQt.QtCore import Qt
from qgis.PyQt.QtWidgets import QComboBox, QFileDialog, QHBoxLayout, QLineEdit, QToolButton, QWidget

from . import vocabulary
from .model_cards import bundled_models
from .parameters import tr

SEPARATOR = ";"


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
    """A line of folders and files, and a button to browse for a folder.

    QGIS's own chooser takes a folder apart into all its files, and is empty when a folder is filled in again.
    """

    line: QLineEdit

    def createWidget(self) -> QWidget:  # noqa: N802
        self.line = QLineEdit(placeholderText=tr("A folder of scenes; several are separated by {}").format(SEPARATOR))
        self.line.textChanged.connect(lambda: self.widgetValueHasChanged.emit(self))
        return _row(self.line, _button(tr("Add a folder of scenes"), self._browse))

    def widgetValue(self) -> list[str]:  # noqa: N802
        return [path.strip() for path in self.line.text().split(SEPARATOR) if path.strip()]

    def setWidgetValue(self, value, context) -> None:  # noqa: N802
        paths = value if isinstance(value, (list, tuple)) else [value] if value else []
        self.line.setText(f"{SEPARATOR} ".join(str(path) for path in paths))

    def _browse(self) -> None:
        chosen = self.widgetValue()
        folder = QFileDialog.getExistingDirectory(self.line, tr("Folder of scenes"), chosen[-1] if chosen else "")
        if folder:
            self.setWidgetValue([*chosen, folder], None)


class PeriodWidgetWrapper(QgsAbstractProcessingParameterWidgetWrapper):
    """An editable list of periods."""

    combo: QComboBox

    def createWidget(self) -> QWidget:  # noqa: N802
        self.combo = QComboBox(editable=True, insertPolicy=QComboBox.InsertPolicy.NoInsert)
        self.combo.addItems(vocabulary.PERIODS)
        self.combo.currentTextChanged.connect(lambda: self.widgetValueHasChanged.emit(self))
        return _row(self.combo)

    def widgetValue(self) -> str:  # noqa: N802
        return self.combo.currentText().strip()

    def setWidgetValue(self, value, context) -> None:  # noqa: N802
        self.combo.setEditText(str(value or ""))


def _row(*fields: QWidget) -> QWidget:
    row = QWidget()
    row.destroyed.connect(lambda: row)  # the connection keeps the first Python half until C++ deletes the widget
    layout = QHBoxLayout(row)
    layout.setContentsMargins(0, 0, 0, 0)
    for at, field in enumerate(fields):
        layout.addWidget(field, stretch=0 if at else 1)
    return row


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


class PeriodWidget(_Maker):
    """The chooser for PERIOD."""

    wrapper = PeriodWidgetWrapper
