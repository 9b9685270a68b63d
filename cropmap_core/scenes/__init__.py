"""Sentinel-2 L2A scenes: found, understood, selected and stacked on one grid."""
