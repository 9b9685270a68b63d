"""Synthetic Sentinel-2 seasons of a farmed landscape, whose truth is known."""

from cropmap_core.learning.synthetic.season import Season, make_season, year_of

__all__ = ["Season", "make_season", "year_of"]
