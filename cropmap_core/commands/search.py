"""The command that finds scenes at a catalogue and fetches what an area needs of them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from pathlib import Path

from cropmap_core.commands.writing import Result, job_outputs, write_series
from cropmap_core.errors import JobError, NoValidObservationError
from cropmap_core.io.locks import alone_in
from cropmap_core.io.outputs import Outputs, write_text
from cropmap_core.jobs import Job
from cropmap_core.scenes.area import Area, area_of_extent, area_of_file, check_searchable
from cropmap_core.scenes.catalogue import Catalogue, choose_catalogue, search
from cropmap_core.scenes.cut_outs import remove_cut_outs
from cropmap_core.scenes.fetching import Fetched, Fetcher
from cropmap_core.scenes.intake import Asked, origin_of, stack_asked
from cropmap_core.scenes.item_list import Listing, choose_scenes, item_list, read_item_list
from cropmap_core.scenes.remote import Access
from cropmap_core.scenes.scene import DEFAULT_BANDS, RESOLUTIONS_M
from cropmap_core.scenes.selection import check_cloud_limit, check_dates
from cropmap_core.scenes.target import GridAsked

_SEARCHED, _FETCHED = 0.05, 0.8
"""Shares of the job's progress at the end of its parts."""
_SHOWN = 20


def searchscenes(
    job: Job,
    *,
    catalogue: str = "earth-search",
    url: str | None = None,
    collection: str | None = None,
    area: Path | None = None,
    extent: str | None = None,
    start_date: date | None = None,
    end_date: date | None = None,
    max_cloud_percent: int = 100,
    items: Path | None = None,
    bands: tuple[str, ...] = DEFAULT_BANDS,
    resolution: int = 10,
    offset: str = "auto",
    output_items: Path | None = None,
    output_scenes: Path | None = None,
    output: Path | None = None,
) -> Result:
    """Searches a STAC API for Sentinel-2 L2A scenes, and fetches what an area needs of them.

    Args:
        catalogue: earth-search, earth-search-c1, planetary-computer or cdse.
        url: Another STAC API, used instead of catalogue.
        collection: Another collection than the catalogue's own.
        area: Vector file of polygons in any CRS.
        extent: xmin,xmax,ymin,ymax [EPSG:4326], instead of area.
        start_date: First acquisition date, inclusive.
        end_date: Last acquisition date, inclusive.
        max_cloud_percent: Scenes whose whole tile has more cloud, as the catalogue states it, are left out.
        items: Item list that an earlier search wrote, used instead of searching.
        bands: Reflectance bands; SCL is added.
        resolution: Pixel size in metres: 10, 20 or 60.
        offset: Radiometric offset: auto, 0 or -1000.
        output_items: Item list to write, GeoJSON.
        output_scenes: Folder to fetch into: a folder per scene with its STAC Item.
        output: Time series file to write, GeoTIFF.
    """
    if not (output_items or output_scenes or output):
        raise JobError("There is nothing to write.", "Give OUTPUT_ITEMS, OUTPUT_SCENES or OUTPUT.")
    if resolution not in RESOLUTIONS_M:
        raise JobError(f"RESOLUTION is {resolution}.", "Choose 10, 20 or 60 metres.")
    check_cloud_limit(max_cloud_percent)
    check_dates(start_date, end_date)
    chosen, sought = choose_catalogue(catalogue, url, collection), _area(area, extent)
    _probe(job, output_items, output, [path for path in (items, area) if path is not None])
    job.progress(0.0, "Searching")
    if items is not None:
        found = read_item_list(items)
    else:
        found = search(chosen, sought, start_date, end_date, max_cloud_percent, lambda: job.progress(0.0))
    listing = choose_scenes(found, sought, start_date, end_date, max_cloud_percent)
    _tell(job, listing, len(found), str(items) if items is not None else f"{chosen.name}, {chosen.collection}")
    result: dict[str, object] = {"scenes": len(listing.scenes)}
    folder = output_scenes or (output.with_name(f".{output.stem}.scenes") if output else None)
    if folder is not None:
        with alone_in(folder):
            fetched = _fetch(job, listing, sought, bands, resolution, folder, chosen)
            result["scenes"] = len(fetched.folders)
            if output is not None:
                asked = Asked(start_date, end_date, (), 100, GridAsked(resolution, sought))
                stack, files = stack_asked(job, tuple(fetched.folders), bands, asked, offset)
                origin = {"command": "searchscenes", "catalogue": chosen.name, "collection": chosen.collection}
                written = write_series(job, stack, output, {**origin, **origin_of(stack)}, files)
                result |= {**written, "offset": sorted(set(stack.offsets.values))}
            if output_scenes is None:
                remove_cut_outs(folder)
    if output_items is not None:
        with job_outputs(job) as outputs:
            write_text(outputs.stage(output_items), item_list(listing.scenes))
            outputs.commit()
    paths = {"output_items": output_items, "output_scenes": output_scenes, "output": output}
    return {**result, **{name: str(path) if path else None for name, path in paths.items()}}


def _area(area: Path | None, extent: str | None) -> Area:
    if (area is None) == (extent is None):
        raise JobError("There must be either an AREA or an EXTENT.", "Give one of them: it is all that is fetched.")
    sought = area_of_file(area) if area is not None else area_of_extent(str(extent))
    check_searchable(sought)
    return sought


def _probe(job: Job, output_items: Path | None, output: Path | None, inputs: Sequence[Path]) -> None:
    """Looks whether the outputs can be written, before anything is fetched."""
    with Outputs(job.id) as outputs:
        outputs.protect(inputs)
        if output_items is not None:
            outputs.stage(output_items)
        if output is not None:
            outputs.stage_raster(output)


def _tell(job: Job, listing: Listing, found: int, where: str) -> None:
    """Logs what the search came to.

    Raises:
        NoValidObservationError: No scene is left.
    """
    for name, reason in listing.skipped[:_SHOWN]:
        job.log(f"Skipped {name}: {reason}.")
    if len(listing.skipped) > _SHOWN:
        job.log(f"Skipped {len(listing.skipped) - _SHOWN} more.")
    if not listing.scenes:
        shown = "; ".join(f"{name}: {reason}" for name, reason in listing.skipped[:3])
        raise NoValidObservationError(
            f"No scene of {where} fits." + (f" Skipped {found}, for instance {shown}." if shown else ""),
            "Check AREA or EXTENT, START_DATE, END_DATE and MAX_CLOUD.",
        )
    dates = [scene.acquired.date() for scene in listing.scenes]
    tiles = sorted({scene.mgrs_tile for scene in listing.scenes if scene.mgrs_tile})
    job.log(f"{len(dates)} scenes of MGRS tiles {', '.join(tiles) or 'unknown'}, {dates[0]} to {dates[-1]}: {where}.")


def _fetch(
    job: Job,
    listing: Listing,
    area: Area,
    bands: tuple[str, ...],
    resolution_m: int,
    folder: Path,
    catalogue: Catalogue,
) -> Fetched:
    fetcher = Fetcher(job.id, Access(catalogue.credentials_for))
    job.undo_with(fetcher.discard)
    job.progress(_SEARCHED, f"Fetching {len(listing.scenes)} scenes into {folder}")
    progress = job.part(_SEARCHED, _FETCHED)
    fetched = fetcher.fetch(listing.scenes, area, bands, resolution_m, folder, progress)
    for name, reason in fetched.skipped:
        job.warning(f"Skipped {name}: {reason}.")
    if fetched.kept_files:
        job.log(f"{fetched.kept_files} files were there from an earlier run.")
    return fetched
