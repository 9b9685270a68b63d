"""Doubts: pixels whose label or profile is suspicious, and the samples and parcels that hold them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import geopandas
import numpy as np
import pandas
import pyproj
import shapely
from numpy.typing import NDArray

from cropmap_core.classes import CropClass
from cropmap_core.errors import ParcelError
from cropmap_core.samples.declarations import number_parcels, read_layer
from cropmap_core.samples.files import NO_PARCEL, PIXEL, SampleFile
from cropmap_core.samples.pixel_series import PixelSeries
from cropmap_core.samples.suspicion import find_label_errors, find_outliers

LABEL_ERROR, OUTLIER = "label", "outlier"
SUSPICIOUS_SHARE = 0.25
"""A parcel is suspicious where at least this share of its pixels is."""
_DECIMALS = 3


def doubt_pixels(
    file: SampleFile,
    series: PixelSeries,
    fold: NDArray[np.int8],
    profiles: NDArray[np.float32],
    probability: NDArray[np.float64] | None,
    values: NDArray[np.int16],
) -> pandas.DataFrame:
    """What speaks against each pixel, the most suspicious first.

    Args:
        file: The training set.
        series: Pixels drawn of it.
        fold: Of each, shape (N,).
        profiles: One value per date, shape (N, T).
        probability: Out of fold, shape (N, classes); None where labels cannot be judged.
        values: Class values, the columns of `probability`.

    Returns:
        A row per pixel: where, what its label is, what it looks like, how sure, and why it is suspicious (`reason`,
        empty where it is not).
    """
    named: Mapping[int, CropClass] = {each.value: each for each in file.classes}
    outlier = find_outliers(profiles, series.label)
    if probability is None:
        probability = np.full((len(series), len(values)), np.nan)
    errors = find_label_errors(probability, series.label, values)
    far = np.nan_to_num(outlier) > 1
    doubt = np.where(errors.suspicious, errors.suggested_probability - errors.own_probability, -1.0)
    reason = np.where(errors.suspicious, LABEL_ERROR, "")
    both = np.where(errors.suspicious & far, " and ", "")
    reason = np.char.add(np.char.add(reason, both), np.where(far, OUTLIER, ""))
    names = {value: crop.name for value, crop in named.items()}
    found = pandas.DataFrame(
        {
            **{name: file.column(name)[series.sample] for name in ("sample_id", "lon", "lat")},
            "parcel": series.parcel,
            "fold": fold.astype(int),
            "label": series.label.astype(int),
            "label_name": [names.get(int(value), "") for value in series.label],
            "looks_like": errors.suggested.astype(int),
            "looks_name": [names.get(int(value), "") for value in errors.suggested],
            "p_label": errors.own_probability.round(_DECIMALS),
            "p_looks": errors.suggested_probability.round(_DECIMALS),
            "outlier": outlier.round(2),
            "reason": reason,
        }
    )
    return found.iloc[np.lexsort((-np.nan_to_num(outlier), -doubt))].reset_index(drop=True)


def suspicious_samples(doubts: pandas.DataFrame) -> pandas.DataFrame:
    """The samples that hold suspicious pixels, with what speaks against the most suspicious one of each."""
    suspicious = doubts[doubts["reason"] != ""]
    return suspicious.drop_duplicates("sample_id").reset_index(drop=True)


def suspicious_parcels(doubts: pandas.DataFrame) -> pandas.DataFrame:
    """The parcels of whose pixels at least `SUSPICIOUS_SHARE` are suspicious.

    Returns:
        A row per parcel, those with the largest share first: its number, pixels that were looked at, how many of them
        are suspicious, their share, and what most of these are labelled as, look like, and are suspicious for.
    """
    of_parcels = doubts[doubts["parcel"] != NO_PARCEL]
    suspicious = of_parcels[of_parcels["reason"] != ""].groupby("parcel")
    most = ["label", "label_name", "looks_like", "looks_name", "reason"]
    found = suspicious[most].agg(lambda values: values.mode().iloc[0])
    found.insert(0, "pixels", of_parcels.groupby("parcel").size().reindex(found.index))
    found.insert(1, "suspicious", suspicious.size())
    found.insert(2, "share", (found["suspicious"] / found["pixels"]).round(_DECIMALS))
    found = found[found["share"] >= SUSPICIOUS_SHARE].sort_values(["share", "pixels"], ascending=False, kind="stable")
    return found.reset_index()


def read_polygons(path: Path) -> geopandas.GeoDataFrame:
    """Parcels as they are in a file, numbered in `parcel`: by an integer field of that name, else by their order.

    Raises:
        ParcelError: The file cannot be read, has no parcels or no CRS.
    """
    layer = read_layer(path)
    return layer.assign(parcel=number_parcels(layer))


def in_polygons(doubts: pandas.DataFrame, polygons: geopandas.GeoDataFrame, kind: str, where: Path) -> pandas.DataFrame:
    """The same with the parcels of a layer.

    Args:
        doubts: Of `doubt_pixels`.
        polygons: Of `read_polygons`.
        kind: Of the samples. Pixels belong to the parcel that they lie in, those of patches to that of their number.
        where: The layer's file.

    Raises:
        ParcelError: No pixel is in any of them.
    """
    if kind == PIXEL:
        to_layer = pyproj.Transformer.from_crs(4326, polygons.crs, always_xy=True)
        x, y = to_layer.transform(doubts["lon"].to_numpy(), doubts["lat"].to_numpy())
        tree = shapely.STRtree(shapely.make_valid(polygons.geometry.to_numpy()))
        pixel, polygon = tree.query(shapely.points(x, y), predicate="within")
        parcel = np.full(len(doubts), NO_PARCEL, np.int64)
        parcel[pixel[::-1]] = polygons["parcel"].to_numpy()[polygon[::-1]]  # of several the first
    else:
        own = doubts["parcel"].to_numpy()
        parcel = np.where(np.isin(own, polygons["parcel"]), own, NO_PARCEL)
    if (parcel == NO_PARCEL).all():
        raise ParcelError(
            f"No sample is in a parcel of {where}.", "Give the parcels that the training set was made of."
        )
    return doubts.assign(parcel=parcel)
