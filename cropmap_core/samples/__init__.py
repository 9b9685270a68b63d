"""Training data: labels from parcels and rasters, legends, and where to train."""
