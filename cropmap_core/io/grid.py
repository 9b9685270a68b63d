"""Where pixels are: a raster's grid, and windows into it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from affine import Affine
from pyproj import Transformer
from rasterio.io import DatasetReader


@dataclass(frozen=True)
class Window:
    """A rectangle of pixels; it may reach beyond the raster it is taken from."""

    row: int
    """First row."""
    col: int
    """First column."""
    height: int
    """Number of rows."""
    width: int
    """Number of columns."""

    def expanded(self, halo: int) -> Window:
        """The window with `halo` more pixels on every side."""
        return Window(self.row - halo, self.col - halo, self.height + 2 * halo, self.width + 2 * halo)

    def clipped(self, height: int, width: int) -> Window:
        """The part of the window inside a raster of this shape; empty where they do not meet."""
        row, col = min(max(self.row, 0), height), min(max(self.col, 0), width)
        end_row = max(row, min(self.row + self.height, height))
        end_col = max(col, min(self.col + self.width, width))
        return Window(row, col, end_row - row, end_col - col)

    def slices_within(self, outer: Window) -> tuple[slice, slice]:
        """Rows and columns of this window in an array that holds `outer`."""
        row, col = self.row - outer.row, self.col - outer.col
        return slice(row, row + self.height), slice(col, col + self.width)

    @property
    def bounds_rc(self) -> tuple[tuple[int, int], tuple[int, int]]:
        """((first row, end row), (first column, end column)), the form that rasterio takes."""
        return (self.row, self.row + self.height), (self.col, self.col + self.width)


@dataclass(frozen=True)
class Grid:
    """CRS, transform and shape of a north-up raster with square pixels."""

    crs: str
    """Coordinate reference system as WKT or AUTHORITY:CODE."""
    transform: Affine
    """From pixel corners (column, row) to map coordinates."""
    width: int
    """Number of columns."""
    height: int
    """Number of rows."""

    @classmethod
    def of(cls, dataset: DatasetReader) -> Grid:
        """The grid of an open raster."""
        crs = dataset.crs.to_string() if dataset.crs else ""
        return cls(crs, dataset.transform, dataset.width, dataset.height)

    @property
    def resolution_m(self) -> float:
        """Edge of a pixel in units of the CRS: metres for every projected CRS Sentinel-2 comes in."""
        return float(self.transform.a)

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """(left, bottom, right, top) in map coordinates."""
        left, top = self.transform.c, self.transform.f
        return (
            left,
            top + self.transform.e * self.height,
            left + self.transform.a * self.width,
            top,
        )

    @property
    def centre_degrees(self) -> tuple[float, float]:
        """Longitude and latitude of its middle."""
        left, bottom, right, top = self.bounds
        to_degrees = Transformer.from_crs(self.crs, 4326, always_xy=True)
        lon, lat = to_degrees.transform((left + right) / 2, (bottom + top) / 2)
        return lon, lat

    def cut(self, window: Window) -> Grid:
        """The grid of a window, which may reach beyond."""
        size, left, top = self.transform.a, self.transform.c, self.transform.f
        corner = left + window.col * size, top + window.row * self.transform.e
        return Grid(
            self.crs, Affine(size, 0.0, corner[0], 0.0, self.transform.e, corner[1]), window.width, window.height
        )

    def blocks(self, size: int) -> Iterator[Window]:
        """Windows of at most `size` x `size` pixels that cover the grid row by row."""
        for row in range(0, self.height, size):
            for col in range(0, self.width, size):
                yield Window(row, col, min(size, self.height - row), min(size, self.width - col))

    def window(self) -> Window:
        """The window of the whole grid."""
        return Window(0, 0, self.height, self.width)

    def describe(self) -> str:
        """CRS, origin, pixel size and shape in a line, for error messages."""
        return (
            f"{self.crs or 'no CRS'}, origin {self.transform.c:.1f} {self.transform.f:.1f}, "
            f"{self.resolution_m:g} m, {self.width} x {self.height} pixels"
        )
