"""CropMap's library and worker: Sentinel-2 scenes in, crop maps out. Never imports QGIS."""

__version__ = "0.1.0"
