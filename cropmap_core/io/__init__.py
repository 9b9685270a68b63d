"""Rasters on disk: grids, reading windows, writing whole or not at all."""
