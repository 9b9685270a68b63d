"""CropMap's half inside QGIS: the provider, the runtime, the worker client and the styling."""
