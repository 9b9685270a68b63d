"""Catalogues of Sentinel-2 L2A scenes that speak the STAC API, and searching them.

References:
    STAC API 1.0: Item Search, Query and Filter extensions; https://github.com/stac-utils/pystac-client.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any
from urllib.parse import urlsplit

import pystac
import shapely
from pystac_client import Client
from pystac_client.conformance import ConformanceClasses
from pystac_client.errors import ClientTypeError
from pystac_client.exceptions import APIError, ParametersError
from pystac_client.stac_api_io import StacApiIO
from requests import PreparedRequest
from requests.auth import AuthBase, HTTPBasicAuth
from urllib3.util import Retry

from cropmap_core.errors import CatalogueError, JobError
from cropmap_core.scenes.area import Area
from cropmap_core.scenes.packagings.stac import Item
from cropmap_core.scenes.remote import without_query, without_tokens

CREDENTIALS = "CROPMAP_HTTP_USERPWD"
"""Environment variable with `user:password` for the host of the catalogue, and no other."""
_PAGE = 100
_OF_ODD_JSON = (ValueError, KeyError, TypeError, AttributeError, IndexError)
"""What pystac raises where JSON is not of the form that it expects."""
_MOST_ITEMS = 10_000
_CONNECT_S, _ANSWER_S = 15, 90
_RETRIES = Retry(
    total=4,
    backoff_factor=0.5,
    backoff_jitter=0.5,
    status_forcelist=(429, 500, 502, 503, 504),
    allowed_methods=None,  # searching by POST changes nothing either
    retry_after_max=60,
)


@dataclass(frozen=True)
class Catalogue:
    """A STAC API, and the collection of Sentinel-2 L2A in it."""

    url: str
    collection: str

    @property
    def name(self) -> str:
        """The address without what may be a token behind it, for messages and tags."""
        return without_query(self.url)

    def credentials_for(self, url: str) -> str | None:
        """The `user:password` that the environment holds for this catalogue, if the URL is of its host."""
        given = os.environ.get(CREDENTIALS)
        return given if given and _origin(url) == _origin(self.url) else None


PRESETS: Mapping[str, Catalogue] = {
    "earth-search": Catalogue("https://earth-search.aws.element84.com/v1", "sentinel-2-l2a"),
    "earth-search-c1": Catalogue("https://earth-search.aws.element84.com/v1", "sentinel-2-c1-l2a"),
    "planetary-computer": Catalogue("https://planetarycomputer.microsoft.com/api/stac/v1", "sentinel-2-l2a"),
    "cdse": Catalogue("https://stac.dataspace.copernicus.eu/v1", "sentinel-2-l2a"),
}


def choose_catalogue(preset: str, url: str | None, collection: str | None) -> Catalogue:
    """The catalogue that is meant.

    Args:
        preset: One of `PRESETS`.
        url: Another STAC API, used instead.
        collection: Another collection.

    Raises:
        JobError: The preset is unknown, or the URL is none of http or https, or holds a password.
    """
    if preset not in PRESETS:
        raise JobError(f"CATALOGUE is '{preset}'.", f"Choose one of {', '.join(PRESETS)}, or give URL.")
    chosen = PRESETS[preset]
    if url:
        if "@" in url.partition("?")[0]:  # before anything repeats the address
            raise JobError("URL holds a user or password.", f"Give them as AUTH, or in {CREDENTIALS} or ~/.netrc.")
        if not _is_address(url):
            raise JobError(f"URL is '{without_query(url)}'.", "Give the https address of a STAC API.")
    return Catalogue(url.rstrip("/") if url else chosen.url, collection or chosen.collection)


def _is_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:  # brackets that do not close, or a port that is none
        return False


def search(
    catalogue: Catalogue,
    area: Area,
    start: date | None,
    end: date | None,
    max_cloud_percent: int,
    progress: Callable[[], None],
) -> list[Item]:
    """Asks a catalogue for Items.

    Args:
        catalogue: Where.
        area: Items whose footprint meets its convex hull.
        start: First day, inclusive.
        end: Last day, inclusive.
        max_cloud_percent: Of the whole tile as the catalogue states it; servers that cannot filter give all.
        progress: Called with every page; may raise to stop.

    Raises:
        CatalogueError: The catalogue cannot be reached, refuses, or speaks otherwise.
        JobError: There are too many Items.
    """
    items: list[Item] = []
    try:
        client = Client.open(catalogue.url, stac_io=_Requests(catalogue))
        found = client.search(
            collections=[catalogue.collection],
            intersects=shapely.geometry.mapping(area.on_globe.convex_hull),
            datetime=_span(start, end),
            limit=_PAGE,
            **_cloud_filter(client, max_cloud_percent),
        )
        for page in found.pages_as_dicts():
            items += page["features"]
            progress()
            if len(items) > _MOST_ITEMS:
                raise JobError(
                    f"{catalogue.name} has more than {_MOST_ITEMS} scenes for this search.",
                    "Choose a smaller AREA, START_DATE and END_DATE, or less MAX_CLOUD.",
                )
    except APIError as error:
        raise _refused(catalogue, error) from error
    except (pystac.STACError, ClientTypeError, ParametersError, NotImplementedError, *_OF_ODD_JSON) as error:
        raise CatalogueError(
            f"{catalogue.name} does not answer as a STAC API with item search does: {without_tokens(str(error))}.",
            "Check CATALOGUE or URL: the address is that of the API's landing page.",
        ) from error
    return items


class _HostAuth(AuthBase):
    """Basic authentication at the catalogue's own host only."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue

    def __call__(self, request: PreparedRequest) -> PreparedRequest:
        given = self._catalogue.credentials_for(str(request.url))
        if given:
            user, _, password = given.partition(":")
            return HTTPBasicAuth(user, password)(request)
        return request


class _Requests(StacApiIO):  # type: ignore[misc, unused-ignore]
    """What pystac-client asks, over the network only."""

    def __init__(self, catalogue: Catalogue) -> None:
        super().__init__(timeout=(_CONNECT_S, _ANSWER_S), max_retries=_RETRIES)
        if os.environ.get(CREDENTIALS):
            self.session.auth = _HostAuth(catalogue)

    def read_text(self, source: Any, *args: Any, **kwargs: Any) -> str:
        href = source.get_href() if isinstance(source, pystac.Link) else str(source)
        if urlsplit(str(href)).scheme not in ("http", "https"):
            raise ValueError(f"it leads to {href}")
        text: str = super().read_text(source, *args, **kwargs)
        return text


def _origin(url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port


def _span(start: date | None, end: date | None) -> str | None:
    if start is None and end is None:
        return None
    first = f"{start}T00:00:00Z" if start else ".."
    return f"{first}/{f'{end}T23:59:59.999Z' if end else '..'}"


def _cloud_filter(client: Client, max_cloud_percent: int) -> dict[str, Any]:
    if max_cloud_percent == 100:
        return {}
    if client.conforms_to(ConformanceClasses.QUERY):
        return {"query": {"eo:cloud_cover": {"lte": max_cloud_percent}}}
    if client.conforms_to(ConformanceClasses.FILTER):
        cloud = {"op": "<=", "args": [{"property": "eo:cloud_cover"}, max_cloud_percent]}
        return {"filter": cloud, "filter_lang": "cql2-json"}
    return {}


def _refused(catalogue: Catalogue, error: APIError) -> CatalogueError:
    status = getattr(error, "status_code", None)
    if status in (401, 403):
        return CatalogueError(
            f"{catalogue.name} wants credentials (status {status}).",
            f"Give them as AUTH in QGIS, in the environment variable {CREDENTIALS} (user:password), or in ~/.netrc.",
        )
    if status == 404:
        return CatalogueError(
            f"{catalogue.name} does not know what was asked for (status 404).",
            "Check CATALOGUE or URL, and COLLECTION.",
        )
    said = f"status {status}" if status else without_tokens(str(error))
    return CatalogueError(
        f"{catalogue.name} cannot be searched: {said}.", "Check the network and the proxy, and run it again later."
    )
