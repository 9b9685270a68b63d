"""The plugin: adds CropMap's algorithms to Processing, and its page to QGIS's options."""

from __future__ import annotations

from qgis.core import QgsApplication
from qgis.utils import iface

from .processing_provider.provider import CropMapProvider


class CropMapPlugin:
    """What QGIS loads and unloads."""

    def __init__(self):
        self.provider = None
        self.options = None

    def initProcessing(self):  # noqa: N802
        """Add the algorithms; all that ``qgis_process`` needs."""
        provider = CropMapProvider()
        if not QgsApplication.processingRegistry().addProvider(provider):
            raise RuntimeError("Another copy of CropMap is loaded: disable one of them in the plugin manager.")
        self.provider = provider

    def initGui(self):  # noqa: N802
        """Add the algorithms, and the page in the options."""
        from .processing_provider.options import CropMapOptionsFactory

        self.initProcessing()
        self.options = CropMapOptionsFactory()
        iface.registerOptionsWidgetFactory(self.options)

    def unload(self):
        """Take back what was added."""
        if self.options is not None:
            iface.unregisterOptionsWidgetFactory(self.options)
            self.options = None
        if self.provider is not None:
            provider, self.provider = self.provider, None
            if not QgsApplication.processingRegistry().removeProvider(provider):
                raise RuntimeError("CropMap's algorithms had been removed before.")
