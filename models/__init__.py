"""Networks for crop mapping, one architecture per file. They know torch and nothing of rasters or files."""

from models.registry import ARCHITECTURES, build

__all__ = ["ARCHITECTURES", "build"]
