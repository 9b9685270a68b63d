"""Rasters on servers: windows of them, whatever the network does meanwhile.

References:
    GDAL virtual file systems /vsicurl/ and /vsis3/.
"""

from __future__ import annotations

import configparser
import logging
import os
import random
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar
from urllib.parse import unquote, urlsplit

import rasterio
from numpy.typing import NDArray
from rasterio.errors import RasterioError
from rasterio.io import DatasetReader

from cropmap_core.errors import Cancelled, CatalogueError
from cropmap_core.io.grid import Window
from cropmap_core.scenes.packagings.stac import IMAGE_SUFFIXES, UnusableItem

_DRIVERS = {".tif": "GTiff", ".tiff": "GTiff", ".jp2": "JP2OpenJPEG"}
_CDSE_BUCKET, _CDSE_ENDPOINT = "eodata", "eodata.dataspace.copernicus.eu"
_STATUS = re.compile(r"HTTP (?:response|error) code ?:? ?(\d{3})")
_NO_ACCESS = re.compile(
    r"AccessDenied|Access Denied|InvalidAccessKeyId|SignatureDoesNotMatch|InvalidCredentials|"
    r"No valid AWS credentials|AWS_SECRET_ACCESS_KEY|AuthorizationHeaderMalformed",
    re.IGNORECASE,
)
_BAD_CERTIFICATE = re.compile(r"SSL certificate|certificate verif", re.IGNORECASE)
_NOT_THERE = re.compile(r"NoSuchKey|NoSuchBucket|ObjectNotFound|BucketNotFound", re.IGNORECASE)
_FORBIDDEN, _MISSING = (401, 403), (404, 410)

_Result = TypeVar("_Result")

# What GDAL says may hold a token, and without a handler Python prints it; the errors here say it without.
logging.getLogger("rasterio").addHandler(logging.NullHandler())


@dataclass(frozen=True)
class Patience:
    """How long a server is waited for."""

    tries: int = 6
    first_wait_s: float = 1.0
    """Doubled with every try, and varied by half so that many clients do not come back at once."""
    longest_wait_s: float = 60.0
    connect_s: int = 15
    stall_s: int = 20
    """After so long without a byte a request is given up."""
    request_s: int = 600


@dataclass(frozen=True)
class Access:
    """How files are reached besides by their address."""

    credentials_for: Callable[[str], str | None]
    """`user:password` for an address."""
    patience: Patience = field(default_factory=Patience)
    stopped: threading.Event = field(default_factory=threading.Event)
    """Set when nothing shall be tried any more."""


def check_href(href: Any, key: str) -> str:
    """An address that may be followed.

    Raises:
        UnusableItem: It is neither of http, https nor s3, or not of an image.
    """
    try:
        parts = urlsplit(href if isinstance(href, str) else "")
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise UnusableItem(f"asset {key} has no address that is one") from None
    if parts.scheme not in ("http", "https", "s3") or not host or parts.username or re.search(r"[\s\x00-\x1f\\]", href):
        raise UnusableItem(f"asset {key} is at '{without_query(str(href))[:200]}', neither http, https nor s3")
    if PurePosixPath(parts.path).suffix.lower() not in IMAGE_SUFFIXES:
        raise UnusableItem(f"asset {key} is no GeoTIFF or JPEG 2000 file")
    return str(href)


def without_query(href: str) -> str:
    """An address without its token."""
    return href.partition("?")[0].partition("#")[0]


def without_tokens(text: str) -> str:
    """A message in which no address has a token."""
    return re.sub(r"\?[^\s'\"]*", "", text)


class RemoteRaster:
    """One raster on a server; to be used by one thread.

    Args:
        href: As `check_href` lets it pass.
        access: How it is reached.
        sign: Makes the address valid for a while, with a token behind it; called anew whenever it is opened.
    """

    def __init__(self, href: str, access: Access, sign: Callable[[str], str] = str) -> None:
        self.href = href
        self._access = access
        self._sign = sign
        self._dataset: DatasetReader | None = None

    def __enter__(self) -> RemoteRaster:
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def look(self, of: Callable[[DatasetReader], _Result]) -> _Result:
        """Asks the open raster for something.

        Raises:
            CatalogueError: It cannot be reached, or its server refuses.
            Cancelled: It was stopped.
        """
        patience, reason = self._access.patience, ""
        for attempt in range(patience.tries):
            if attempt:
                wait_s = min(patience.first_wait_s * 2 ** (attempt - 1), patience.longest_wait_s)
                self._access.stopped.wait(wait_s * random.uniform(0.5, 1.5))  # noqa: S311  (no secret)
            if self._access.stopped.is_set():
                raise Cancelled
            try:
                with rasterio.Env(**self._options()):
                    return of(self._opened())
            except (RasterioError, OSError) as error:  # requests' errors, of signing, are OSErrors
                self._close()
                reason = _said(error)
                self._refuse_lasting(reason)
        raise CatalogueError(
            f"{without_query(self.href)} could not be read in {patience.tries} tries: {reason}.",
            "Check the network and the proxy, or wait until the server is well again.",
        )

    def read(self, window: Window) -> NDArray[Any]:
        """Reads a window of the only band, shape (window.height, window.width).

        Raises:
            CatalogueError: See `look`.
            Cancelled: It was stopped.
        """
        return self.look(lambda dataset: dataset.read(1, window=window.bounds_rc))

    def _opened(self) -> DatasetReader:
        if self._dataset is None:
            suffix = PurePosixPath(urlsplit(self.href).path).suffix.lower()
            self._dataset = rasterio.open(self._gdal_path(), driver=_DRIVERS[suffix])
        return self._dataset

    def _close(self) -> None:
        if self._dataset is not None:
            with rasterio.Env(**self._options()):
                self._dataset.close()
            self._dataset = None

    def _gdal_path(self) -> str:
        parts = urlsplit(self.href)
        if parts.scheme == "s3":
            return f"/vsis3/{parts.netloc}{unquote(parts.path)}"
        return f"/vsicurl/{self._sign(self.href)}"

    def _options(self) -> dict[str, str]:
        patience = self._access.patience
        options = {
            "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",  # looks for no files beside it
            "GDAL_HTTP_CONNECTTIMEOUT": str(patience.connect_s),
            "GDAL_HTTP_LOW_SPEED_TIME": str(patience.stall_s),
            "GDAL_HTTP_LOW_SPEED_LIMIT": "1",
            "GDAL_HTTP_TIMEOUT": str(patience.request_s),
            "GDAL_HTTP_MAX_RETRY": "0",
            "CPL_VSIL_CURL_NON_CACHED": "/vsicurl/:/vsis3/",  # a broken answer must not be served again
            **_certificate_options(),
            **_s3_options(self.href),
        }
        credentials = self._access.credentials_for(self.href)
        return {**options, "GDAL_HTTP_AUTH": "BASIC", "GDAL_HTTP_USERPWD": credentials} if credentials else options

    def _refuse_lasting(self, reason: str) -> None:
        """Gives up where trying again is no use.

        Raises:
            CatalogueError: The server says that the file is not there, or not for us.
        """
        status = int(match[1]) if (match := _STATUS.search(reason)) else 0
        name = without_query(self.href)
        if _BAD_CERTIFICATE.search(reason):
            raise CatalogueError(
                f"{name} is at a server whose certificate is not accepted: {reason}.",
                "Where it is of your own authority, name the file with that authority's certificate in CURL_CA_BUNDLE.",
            )
        if status in _FORBIDDEN or _NO_ACCESS.search(reason):
            raise CatalogueError(f"{name} is not given to us ({reason}).", self._credentials_wanted())
        if status in _MISSING or _NOT_THERE.search(reason):
            raise CatalogueError(
                f"{name} is not there ({reason}).",
                "The catalogue leads to a file that is gone: take the Item out of the list and give that as ITEMS.",
            )

    def _credentials_wanted(self) -> str:
        parts = urlsplit(self.href)
        if parts.scheme == "s3":
            where = " of the Copernicus Data Space (eodata-s3keysmanager)" if parts.netloc == _CDSE_BUCKET else ""
            return (
                f"Give the S3 keys{where} as AUTH in QGIS (method AWS S3), or in the environment variables "
                "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY."
            )
        if str(parts.hostname).endswith(".blob.core.windows.net"):
            return "Its signature was not accepted: check the computer's clock, and search Planetary Computer again."
        return (
            "Give user and password as AUTH in QGIS (method Basic; for the catalogue's own host only), or those of "
            f"{parts.hostname} in ~/.netrc."
        )


def _certificate_options() -> dict[str, str]:
    """The authorities that the environment names; rasterio's own take precedence over them otherwise."""
    named = (os.environ.get(name) for name in ("CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"))
    return next(({"GDAL_CURL_CA_BUNDLE": path} for path in named if path), {})


def _s3_options(href: str) -> dict[str, str]:
    """Where a bucket is, by GDAL's own settings where they say so."""
    parts = urlsplit(href)
    if parts.scheme != "s3":
        return {}
    options = {}
    if parts.netloc == _CDSE_BUCKET and "AWS_S3_ENDPOINT" not in os.environ:
        options = {"AWS_S3_ENDPOINT": _CDSE_ENDPOINT, "AWS_VIRTUAL_HOSTING": "FALSE"}
    if parts.netloc != _CDSE_BUCKET and not _has_aws_credentials():
        options["AWS_NO_SIGN_REQUEST"] = "YES"
    return options


def _has_aws_credentials() -> bool:
    if {"AWS_ACCESS_KEY_ID", "AWS_ROLE_ARN", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"} & os.environ.keys():
        return True
    file = Path(os.environ.get("AWS_SHARED_CREDENTIALS_FILE", Path.home() / ".aws" / "credentials"))
    shared = configparser.ConfigParser()
    try:
        shared.read(file, encoding="utf-8")
    except (configparser.Error, UnicodeDecodeError):
        return False
    return shared.has_section(os.environ.get("AWS_PROFILE", "default"))


def _said(error: Exception) -> str:
    """What GDAL or the network said, without tokens."""
    texts = [str(error)] if error.__cause__ is None else [str(error.__cause__), str(error)]
    text = next((text for text in texts if _STATUS.search(text)), texts[0])
    return without_tokens(text).rstrip(".")
