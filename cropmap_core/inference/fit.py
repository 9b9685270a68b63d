"""Whether a model can be given a time series: its bands, its composites, its season."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from cropmap_core.errors import IncompatibleModelError
from cropmap_core.inference.bundle_types import Bundle
from cropmap_core.inference.seasons import in_words, last_day, nearest_season, same_season, season_of
from cropmap_core.timeseries.formulas import INDICES
from cropmap_core.timeseries.periods import FIRST_DAYS_OF_MONTH, make_periods

_COMMON_YEAR = 2017


@dataclass(frozen=True)
class Composites:
    """What a time series, or a set of samples, is made of."""

    bands: tuple[str, ...]
    """Bands and indices, also those that can be computed; more than needed do no harm."""
    period: str | None
    """Name of the compositing period; None for single acquisitions."""
    dates: tuple[date, ...]
    """First days of the composites, in order."""
    whose: str = "the time series has"
    """For messages."""


def check_fits(bundle: Bundle, given: Composites) -> tuple[str, ...]:
    """Refuses what a model was not made for.

    Args:
        bundle: The model.
        given: What it is to be given.

    Returns:
        Its channels that are there; the others are of those that it can do without.

    Raises:
        IncompatibleModelError: Names what is missing or too much.
    """
    there = present_channels(bundle, given.bands)
    periods = (bundle.period, *bundle.accepts.periods)
    if given.period not in periods:
        raise IncompatibleModelError(
            f"The model {bundle.id} takes one composite per {' or '.join(periods)}; {given.whose} "
            f"{f'one per {given.period}' if given.period else 'single acquisitions'}.",
            f"Make composites with PERIOD={bundle.period} first.",
        )
    if not given.dates:
        raise IncompatibleModelError(
            f"The model {bundle.id} takes one composite per {bundle.period}; the time series has no date.",
            f"Make composites with PERIOD={bundle.period} first.",
        )
    if bundle.accepts.share < 1:
        _check_part(bundle, given)
    else:
        _check_whole(bundle, given)
    return there


def present_channels(
    bundle: Bundle, bands: Sequence[str], computable: Sequence[str] = (), holder: str = "the time series"
) -> tuple[str, ...]:
    """A model's channels that are there, in its order.

    Args:
        bundle: The model.
        bands: Bands and indices that are there.
        computable: Indices that can be computed from them.
        holder: Who has them, for the message.

    Raises:
        IncompatibleModelError: Others are missing than it can do without.
    """
    missing = [name for name in bundle.channels if name not in (*bands, *computable)]
    if missing and set(missing) not in [set(some) for some in bundle.accepts.optional]:
        made = [name for name in missing if name in INDICES]
        remedy = f"Add the index {', '.join(made)} (computeindices). " if made else ""
        read = [name for name in missing if name not in INDICES]
        remedy += f"Stack the scenes with {', '.join(read)}." if read else ""
        without = " or ".join(", ".join(some) for some in bundle.accepts.optional)
        raise IncompatibleModelError(
            f"The model {bundle.id} needs {', '.join(missing)}; {holder} holds {', '.join(bands)}."
            + (f" It can do without {without}." if without else ""),
            remedy.strip(),
        )
    return tuple(name for name in bundle.channels if name not in missing)


def _check_whole(bundle: Bundle, given: Composites) -> None:
    """Refuses another season than the model's, or a part of it."""
    dates, period = given.dates, given.period or ""
    season = nearest_season(bundle.first_days, dates)
    last = last_day(bundle.period, season)
    expected = season if period == bundle.period else make_periods(period, season[0], last).first_days
    if same_season(period, expected, dates):
        return
    if not set(dates) & set(expected):
        raise IncompatibleModelError(
            f"The model {bundle.id} takes one composite per {period}; the time series has the dates "
            f"{', '.join(day.isoformat() for day in dates[:4])}{', ...' if len(dates) > 4 else ''}.",
            f"Make composites with PERIOD={period}, START_DATE={expected[0]} and END_DATE={last} first.",
        )
    differences = [
        f"{verb} {in_words(period, days)}"
        for verb, days in (
            ("lacks", [day for day in expected if day not in dates]),
            ("has besides", [day for day in dates if day not in expected]),
        )
        if days
    ] or ["is not in order"]
    first_and_last = " to ".join(in_words(period, [day]) for day in (expected[0], expected[-1]))
    raise IncompatibleModelError(
        f"The model {bundle.id} takes {len(expected)} composites (PERIOD={period}), {first_and_last}; "
        f"the time series {' and '.join(differences)}.",
        f"Make the composites with PERIOD={period}, START_DATE={expected[0]} and END_DATE={last}.",
    )


def _check_part(bundle: Bundle, given: Composites) -> None:
    """Refuses what reaches beyond the model's season, is too little of it, or is not in order."""
    period, dates = given.period or "", given.dates
    season = bundle.season_of(dates)
    last = last_day(bundle.period, season)
    fewest = fewest_dates(bundle, period)
    outside = [day for day in dates if not season[0] <= day <= last]
    in_order = all(earlier < later for earlier, later in itertools.pairwise(dates))
    if not outside and in_order and len(dates) >= fewest:
        return
    problem = f"{given.whose} {len(dates)} of them" if in_order else "the dates are not in order"
    if outside:
        problem = f"{given.whose} composites outside of it, {in_words(period, outside)}"
    raise IncompatibleModelError(
        f"The model {bundle.id} takes {fewest} composites or more (PERIOD={period}) between {season[0]} and {last}; "
        f"{problem}.",
        f"Make composites with START_DATE={season[0]} and END_DATE={last}, or of a part of that season.",
    )


def fewest_dates(bundle: Bundle, period: str) -> int:
    """Composites of a period that suffice of a model's season."""
    season = season_of(bundle.first_days, _COMMON_YEAR)
    dates = season
    if period != bundle.period:
        dates = make_periods(period, season[0], last_day(bundle.period, season)).first_days
    return max(1, math.ceil(bundle.accepts.share * len(dates)))


def check_accepts(bundle: Bundle) -> str:
    """What is wrong with what a bundle says it accepts; nothing if all is well."""
    accepts = bundle.accepts
    for period in accepts.periods:
        if period not in FIRST_DAYS_OF_MONTH and not re.fullmatch("days:[1-9][0-9]?", period):
            return f"it accepts the period '{period}', which this CropMap does not know"
    strange = sorted({name for some in accepts.optional for name in some if name not in bundle.channels})
    if strange:
        return f"it can do without {', '.join(strange)}, which are none of its bands"
    if any(set(some) >= set(bundle.channels) for some in accepts.optional):
        return "it can do without all of its bands"
    return ""
