"""Networks for crop mapping, one architecture per file. They know torch and MONAI, and nothing of rasters or files."""

from models.registry import ARCHITECTURES, build, describe

__all__ = ["ARCHITECTURES", "build", "describe"]
