"""A STAC API on loopback as catalogues run it: stac-fastapi on pgstac, in a PostgreSQL cluster that is thrown away.

The server's packages are in an environment of their own, `.venv-stac` (scripts/setup dev), PostgreSQL is the system's.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.core.seam import REPOSITORY
from tests.postgres import database, free_port, programs

PYTHON = REPOSITORY / ".venv-stac" / "bin" / "python"
COLLECTION = "sentinel-2-l2a"
_START_S = 60


def is_there() -> bool:
    """Whether a server can be started."""
    return PYTHON.exists() and programs() is not None


def skip_without_server() -> None:
    """Skips a test where the server stack is not there."""
    if not PYTHON.exists():
        pytest.skip("no STAC API server: run scripts/setup dev, which makes .venv-stac")
    if programs() is None:
        pytest.skip("no PostgreSQL with PostGIS: run scripts/setup dev, which installs it")


@contextmanager
def stac_api(items: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """The address of a STAC API that holds the Items."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="cropmap-stac-", dir="/tmp")))
        settings = stack.enter_context(database(folder, "stac"))
        _load(folder, settings, items)
        yield stack.enter_context(_server(folder, settings))


def _load(folder: Path, settings: Mapping[str, str], items: Sequence[Mapping[str, Any]]) -> None:
    collection = {
        "type": "Collection",
        "stac_version": "1.0.0",
        "id": COLLECTION,
        "description": "Sentinel-2 L2A",
        "license": "proprietary",
        "links": [],
        "extent": {
            "spatial": {"bbox": [[-180, -90, 180, 90]]},
            "temporal": {"interval": [["2015-01-01T00:00:00Z", None]]},
        },
    }
    (folder / "collections.json").write_text(json.dumps(collection))
    (folder / "items.json").write_text("\n".join(map(json.dumps, items)))
    loading = (["migrate"], ["load", "collections", "collections.json"], ["load", "items", "items.json"])
    for arguments in loading:
        subprocess.run(
            [PYTHON.with_name("pypgstac"), *arguments],
            check=True,
            capture_output=True,
            cwd=folder,
            env={**os.environ, **settings},
        )


@contextmanager
def _server(folder: Path, settings: Mapping[str, str]) -> Iterator[str]:
    port = free_port()
    command = [PYTHON, "-m", "uvicorn", "stac_fastapi.pgstac.app:create_app", "--factory"]
    with (folder / "server.log").open("wb") as log:
        server = subprocess.Popen(
            [*map(str, command), "--host", "127.0.0.1", "--port", str(port)],
            cwd=folder,
            stdout=log,
            stderr=log,
            env={**os.environ, **settings},
        )
    url = f"http://127.0.0.1:{port}"
    try:
        _wait_for(url, server, folder / "server.log")
        yield url
    finally:
        server.terminate()
        server.wait()


def _wait_for(url: str, server: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(_START_S * 10):
        try:
            requests.get(f"{url}/_mgmt/ping", timeout=5).raise_for_status()
        except requests.RequestException:
            if server.poll() is not None:
                break
            time.sleep(0.1)
        else:
            return
    raise AssertionError(f"the STAC API did not start: {log.read_text()[-2000:]}")
