"""The choosers of MODEL and SCENES in the dialogs, and what the Model Designer shows instead."""

import gc

import pytest
from cropmap.processing_provider import model_cards
from qgis.core import (
    QgsProcessingContext,
    QgsProcessingModelAlgorithm,
    QgsProcessingModelChildParameterSource,
    QgsProject,
    QgsRasterLayer,
)
from qgis.gui import QgsProcessingModelerParameterWidget, QgsProcessingMultipleSelectionDialog
from qgis.PyQt.QtCore import QEvent
from qgis.PyQt.QtWidgets import QApplication, QFileDialog, QListView, QToolButton, QVBoxLayout, QWidget

MAIZE = model_cards.ModelCard("maize-2018", "Maize 2018", "Of Flanders.", "12 of 18 parcels right")


@pytest.fixture(params=["AlgorithmDialog", "BatchAlgorithmDialog"])
def chooser(request, algorithm, monkeypatch):
    """What Processing makes for a parameter of mapcrops in its dialogs."""
    from cropmap.processing_provider import widgets
    from processing.gui.wrappers import WidgetWrapperFactory

    monkeypatch.setattr(widgets, "bundled_models", lambda: [MAIZE])

    host = QWidget()
    layout = QVBoxLayout(host)
    made = []

    def make(parameter: str):
        dialog = type(request.param, (), {})()
        wrapper = WidgetWrapperFactory.create_wrapper(algorithm("mapcrops").parameterDefinition(parameter), dialog)
        layout.addWidget(wrapper.createWrappedWidget(QgsProcessingContext()))
        made.append(wrapper)
        return wrapper

    yield make
    host.deleteLater()


def fill(chooser, value) -> None:
    chooser.setParameterValue(value, QgsProcessingContext())


def test_a_model_is_shown_by_its_title_and_given_by_its_id(chooser):
    model = chooser("MODEL")
    heard = []
    model.widgetValueHasChanged.connect(lambda _: heard.append(model.parameterValue()))

    fill(model, "maize")
    fill(model, "maize-2018")

    assert model.combo.currentText() == "Maize 2018 [maize-2018]"
    assert model.parameterValue() == "maize-2018"
    assert heard == ["maize", "maize-2018"]
    assert "12 of 18 parcels right" in model.combo.toolTip()


def test_a_model_may_be_a_folder(chooser):
    model = chooser("MODEL")

    fill(model, "/models/mine")

    assert model.parameterValue() == "/models/mine"
    assert model.combo.toolTip() == ""


def test_browsing_for_a_model_fills_it_in(chooser, monkeypatch):
    monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *_: "/models/browsed")
    model = chooser("MODEL")

    model.wrappedWidget().findChild(QToolButton).click()

    assert model.parameterValue() == "/models/browsed"


@pytest.mark.parametrize("value", ["/scenes", ["/scenes"], ["/scenes/a b", "/scenes/c.SAFE"]])
def test_scenes_come_out_as_they_were_filled_in(chooser, value):
    scenes = chooser("SCENES")

    fill(scenes, value)

    assert scenes.parameterValue() == ([value] if isinstance(value, str) else value)


def test_a_layer_is_shown_by_its_id(chooser, class_raster):
    layer = QgsRasterLayer(str(class_raster), "classes")
    scenes = chooser("SCENES")

    fill(scenes, [layer, "/scenes"])

    assert scenes.parameterValue() == [layer.id(), "/scenes"]


def test_browsing_for_scenes_adds_a_folder(chooser, monkeypatch):
    monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *_: "/scenes/more")
    scenes = chooser("SCENES")
    fill(scenes, ["/scenes/some"])

    scenes.wrappedWidget().findChild(QToolButton).click()

    assert scenes.parameterValue() == ["/scenes/some", "/scenes/more"]


def test_browsing_for_files_of_scenes_adds_them_once(chooser, monkeypatch):
    monkeypatch.setattr(QFileDialog, "getOpenFileNames", lambda *_: (["/scenes/a.tif", "/scenes/b.tif"], ""))
    scenes = chooser("SCENES")
    fill(scenes, ["/scenes/a.tif"])

    action(scenes, "Add files…").trigger()

    assert scenes.parameterValue() == ["/scenes/a.tif", "/scenes/b.tif"]


def test_raster_layers_of_the_project_add_their_files(chooser, class_raster, monkeypatch):
    other = class_raster.with_name("other.asc")
    other.write_text(class_raster.read_text())
    QgsProject.instance().addMapLayers([QgsRasterLayer(str(path), path.stem) for path in (class_raster, other)])
    offered = []

    def choose(dialog):
        offered.extend(dialog.findChild(QListView).model().index(row, 0).data() for row in range(2))
        dialog.accept()
        return True

    monkeypatch.setattr(QgsProcessingMultipleSelectionDialog, "exec", choose)
    monkeypatch.setattr(QgsProcessingMultipleSelectionDialog, "selectedOptions", lambda _: [str(other)])
    scenes = chooser("SCENES")

    action(scenes, "Add raster layers of the project…").trigger()
    QgsProject.instance().clear()

    assert offered == [str(class_raster), str(other)]
    assert scenes.parameterValue() == [str(other)]


def action(chooser, text: str):
    actions = chooser.wrappedWidget().findChild(QToolButton).menu().actions()
    return next(action for action in actions if action.text() == text)


def test_no_scenes_are_no_value(chooser, algorithm):
    value = chooser("SCENES").parameterValue()

    assert value == []


@pytest.mark.parametrize(("parameter", "value"), [("MODEL", "/models/mine"), ("SCENES", ["/scenes"])])
def test_the_model_designer_offers_its_value_sources(algorithm, parameter, value):
    from processing.gui.wrappers import WidgetWrapperFactory

    dialog = type("ModelerParametersDialog", (), {})()
    dialog.model, dialog.childId, dialog.context = QgsProcessingModelAlgorithm(), "", QgsProcessingContext()

    widget = WidgetWrapperFactory.create_wrapper(algorithm("mapcrops").parameterDefinition(parameter), dialog)
    widget.setWidgetValue(QgsProcessingModelChildParameterSource.fromStaticValue(value))

    assert isinstance(widget, QgsProcessingModelerParameterWidget)


def test_dialogs_open_fill_in_and_close_without_leaving_a_trace(plugin, monkeypatch):
    from cropmap.processing_provider import widgets
    from processing.gui.AlgorithmDialog import AlgorithmDialog
    from processing.gui.BatchAlgorithmDialog import BatchAlgorithmDialog

    monkeypatch.setattr(widgets, "bundled_models", lambda: [MAIZE])
    for module in ("AlgorithmDialog", "BatchAlgorithmDialog", "BatchPanel", "ParametersPanel", "wrappers"):
        monkeypatch.setattr(f"processing.gui.{module}.iface", None, raising=False)
    given = {"MODEL": "maize-2018", "SCENES": ["/scenes"]}

    for _ in range(5):
        dialog = AlgorithmDialog(plugin.provider.algorithm("mapcrops").create(), False, None)
        dialog.setParameters(given)
        dialog.show()
        shown = dialog.createProcessingParameters()
        batch = BatchAlgorithmDialog(plugin.provider.algorithm("classify").create(), None)
        batch.show()
        for window in (dialog, batch):
            window.close()
            window.deleteLater()
        QApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete)
        del dialog, batch, window
        gc.collect()

    assert {name: shown[name] for name in given} == given
    assert shown["START_DATE"] is None
