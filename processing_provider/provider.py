"""The Processing provider: CropMap's algorithms, in the order in which a map is made."""

from __future__ import annotations

from qgis.core import QgsProcessingProvider
from qgis.PyQt.QtGui import QIcon

from ..algorithms.buildtrainingset import BuildTrainingSet
from ..algorithms.classify import Classify
from ..algorithms.classifysamples import ClassifySamples
from ..algorithms.combinepredictions import CombinePredictions
from ..algorithms.compositetimeseries import CompositeTimeSeries
from ..algorithms.computeindices import ComputeIndices
from ..algorithms.evaluatemodel import EvaluateModel
from ..algorithms.fillgaps import FillGaps
from ..algorithms.installruntime import InstallRuntime
from ..algorithms.mapcrops import MapCrops
from ..algorithms.parcelattributes import ParcelAttributes
from ..algorithms.preparelabels import PrepareLabels
from ..algorithms.runtimeinfo import RuntimeInfo
from ..algorithms.searchscenes import SearchScenes
from ..algorithms.stackscenes import StackScenes
from ..algorithms.summarizesamples import SummarizeSamples
from ..algorithms.trainmodel import TrainModel
from .algorithm import ICON

ALGORITHMS = (
    SearchScenes,
    StackScenes,
    CompositeTimeSeries,
    FillGaps,
    ComputeIndices,
    Classify,
    ClassifySamples,
    ParcelAttributes,
    MapCrops,
    CombinePredictions,
    PrepareLabels,
    BuildTrainingSet,
    SummarizeSamples,
    TrainModel,
    EvaluateModel,
    RuntimeInfo,
    InstallRuntime,
)


class CropMapProvider(QgsProcessingProvider):
    """Algorithms under the id `cropmap`."""

    def id(self) -> str:
        return "cropmap"

    def name(self) -> str:
        return "CropMap"

    def longName(self) -> str:  # noqa: N802
        return self.tr("CropMap: crop maps from Sentinel-2")

    def icon(self) -> QIcon:
        return QIcon(ICON)

    def svgIconPath(self) -> str:  # noqa: N802
        return ICON

    def helpId(self) -> str:  # noqa: N802
        return "cropmap"

    def supportedOutputRasterLayerExtensions(self) -> list[str]:  # noqa: N802
        return ["tif", "tiff"]

    def defaultRasterFileExtension(self) -> str:  # noqa: N802
        return "tif"

    def loadAlgorithms(self) -> None:  # noqa: N802
        for algorithm in ALGORITHMS:
            self.addAlgorithm(algorithm())
