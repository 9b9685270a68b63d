"""What maps say about parcels, with exact shares of the pixels that their borders cut."""

from cropmap_core.parcels.describing import describe_parcels
from cropmap_core.parcels.doubts import Thresholds
from cropmap_core.parcels.maps import Maps, grid_of_file, legend_of, legend_of_file
from cropmap_core.parcels.placing import PARCEL_FIELD, PlacedParcels, place_parcels
from cropmap_core.parcels.record import METHODS, RecordOptions, Records
from cropmap_core.parcels.tables import write_records, write_summary

__all__ = [
    "METHODS",
    "PARCEL_FIELD",
    "Maps",
    "PlacedParcels",
    "RecordOptions",
    "Records",
    "Thresholds",
    "describe_parcels",
    "grid_of_file",
    "legend_of",
    "legend_of_file",
    "place_parcels",
    "write_records",
    "write_summary",
]
