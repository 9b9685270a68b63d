"""Zipped SAFE folders, read in place.

An archive is not believed: before anything of it is read, the names and sizes in its directory must be those of
products.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from cropmap_core.errors import SceneError
from cropmap_core.scenes.packagings.found import Found, suffixed
from cropmap_core.scenes.packagings.images import scenes_of_product
from cropmap_core.scenes.packagings.safe_folders import L1C, L1C_XML, MASKS, NO_IMAGES
from cropmap_core.scenes.safe import PRODUCT_XML, parse_product

_MEMBERS = 20_000
_ARCHIVE_BYTES = 16 * 2**30  # a product has about 1 GiB; some archives hold several
_XML_BYTES = 16 * 2**20
_RATIO, _RATIO_FROM_BYTES = 100, 2**20  # images of a product do not shrink, its XML by about 20


def find(candidates: Iterable[Path]) -> Found:
    """Reads the zip archives among the candidates."""
    found = Found()
    for path in suffixed(candidates, ".zip"):
        found.claimed.add(path)
        try:
            with zipfile.ZipFile(path) as archive:
                _find_products(archive, path, found)
        except (zipfile.BadZipFile, OSError, EOFError, ValueError, zlib.error) as error:
            found.skip(path, f"a zip archive that is empty or damaged ({error}): get it again")
    return found


def _find_products(archive: zipfile.ZipFile, path: Path, found: Found) -> None:
    members = archive.infolist()
    mistrust = _mistrust(members, path.stat().st_size)
    if mistrust:
        found.skip(path, mistrust)
        return
    products = 0
    for member in members:
        inside = PurePosixPath(member.filename)
        if inside.name == L1C_XML:
            found.skip(path / inside.parent, L1C)
            products += 1
        elif inside.name == PRODUCT_XML:
            _read_product(archive, member, path, found)
            products += 1
    if not products:
        found.skip(path, "a zip archive without a Sentinel-2 L2A product in it")


def _read_product(archive: zipfile.ZipFile, xml: zipfile.ZipInfo, path: Path, found: Found) -> None:
    root = PurePosixPath(xml.filename).parent
    if xml.file_size > _XML_BYTES:
        raise SceneError(
            f"{path / xml.filename} has {xml.file_size} bytes.", "No product has such an XML: get it again."
        )
    product = parse_product(archive.read(xml), path / xml.filename, path / root)
    images = [
        (f"/vsizip/{{{path.resolve().as_posix()}}}/{name}", path)
        for name in sorted(archive.namelist())
        if (root / "GRANULE") in PurePosixPath(name).parents and MASKS not in PurePosixPath(name).parts
    ]
    scenes = scenes_of_product(product, images)
    if not scenes:
        found.skip(path / root, NO_IMAGES)
    found.scenes += scenes


def _mistrust(members: list[zipfile.ZipInfo], archive_bytes: int) -> str | None:
    """Why an archive must not be read, from its directory alone."""
    for member in members:
        name = member.orig_filename
        if name.startswith(("/", "\\")) or ":" in name or "\\" in name or ".." in PurePosixPath(name).parts:
            return f"a zip archive with a path that climbs out of it ({name!r})"
        if member.flag_bits & 1:
            return "a zip archive with a password: unpack it first"
        if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            return "a zip archive that is packed in a way that cannot be read in place: unpack it first"
        if member.file_size > max(_RATIO_FROM_BYTES, _RATIO * member.compress_size):
            return f"a zip archive that unpacks to far more than a product ({name!r}: {member.file_size} bytes)"
    total = sum(member.file_size for member in members)
    packed = sum(member.compress_size for member in members)
    if len(members) > _MEMBERS or total > _ARCHIVE_BYTES or packed > archive_bytes:
        return f"a zip archive that unpacks to far more than a product ({len(members)} files, {total} bytes)"
    return None
