"""The fields of a parcel record."""

from __future__ import annotations

import re
import unicodedata
from typing import NamedTuple

_LONGEST_NAME = 50


class Field(NamedTuple):
    """A column of the record."""

    name: str
    kind: str
    """integer, number, text, flag or date."""
    short: str
    """At most ten characters, for formats that take no more."""
    digits: int = 4
    """Decimals of a number."""


FIELDS = (
    Field("pred_code", "integer", "pred_code"),
    Field("pred_crop", "text", "pred_crop"),
    Field("pred_prob", "number", "pred_prob"),
    Field("pred2_code", "integer", "pred2_code"),
    Field("pred2_crop", "text", "pred2_crop"),
    Field("pred2_prob", "number", "pred2_prob"),
    Field("margin", "number", "margin"),
    Field("entropy", "number", "entropy"),
    Field("purity", "number", "purity"),
    Field("n_pixels", "number", "n_pixels"),
    Field("inner_pixels", "number", "inner_px"),
    Field("area_ha", "number", "area_ha", 9),
    Field("perimeter_m", "number", "perim_m", 3),
    Field("compactness", "number", "compact"),
    Field("clear_dates_min", "integer", "clear_min"),
    Field("clear_dates_mean", "number", "clear_mean", 2),
    Field("filled_share", "number", "filled"),
    Field("longest_gap_days", "integer", "gap_days"),
    Field("ood", "number", "ood"),
)
CROPS = {"pred_crop": "pred_code", "pred2_crop": "pred2_code"}
"""Whose names fields hold."""
OF_NDVI = (Field("ndvi_fall", "number", "ndvi_fall"), Field("ndvi_fall_date", "date", "fall_date"))
OF_DECLARED = (Field("declared_agrees", "flag", "decl_agree"), Field("declared_prob", "number", "decl_prob"))
OF_DOUBT = (Field("doubt", "flag", "doubt"), Field("doubt_reason", "text", "doubt_why"))


def slug(name: str) -> str:
    """A class's name as part of a field's: lower case, ASCII, without blanks."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    return re.sub(r"[^a-z0-9]+", "_", plain.lower()).strip("_")[:_LONGEST_NAME] or "class"
