"""A STAC API on loopback as catalogues run it: stac-fastapi on pgstac, in a PostgreSQL cluster that is thrown away.

The server's packages are in an environment of their own, `.venv-stac` (scripts/setup dev), PostgreSQL is the system's.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
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

PYTHON = REPOSITORY / ".venv-stac" / "bin" / "python"
COLLECTION = "sentinel-2-l2a"
_START_S = 60
_ACCOUNT = "postgres"  # PostgreSQL refuses to run as root


def is_there() -> bool:
    """Whether a server can be started."""
    return PYTHON.exists() and _programs() is not None


def skip_without_server() -> None:
    """Skips a test where the server stack is not there."""
    if not PYTHON.exists():
        pytest.skip("no STAC API server: run scripts/setup dev, which makes .venv-stac")
    if _programs() is None:
        pytest.skip("no PostgreSQL with PostGIS: run scripts/setup dev, which installs it")


@contextmanager
def stac_api(items: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """The address of a STAC API that holds the Items."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="cropmap-stac-", dir="/tmp")))
        settings = stack.enter_context(_database(folder))
        _load(folder, settings, items)
        yield stack.enter_context(_server(folder, settings))


def _programs() -> Path | None:
    """Where PostgreSQL's own programs are, with PostGIS for them."""
    for initdb in sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), reverse=True):
        version = initdb.parent.parent.name
        if Path(f"/usr/share/postgresql/{version}/extension/postgis.control").exists():
            return initdb.parent
    return None


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def _database(folder: Path) -> Iterator[dict[str, str]]:
    programs = _programs()
    assert programs is not None
    data, port = folder / "data", _free_port()
    account: dict[str, Any] = {}
    folder.chmod(0o755)
    data.mkdir()
    if os.geteuid() == 0:
        account = {"user": _ACCOUNT, "group": _ACCOUNT, "extra_groups": []}
        shutil.chown(data, _ACCOUNT, _ACCOUNT)

    def run(program: str, *arguments: object) -> None:
        with (folder / "log.txt").open("ab") as log:
            subprocess.run(
                [programs / program, *map(str, arguments)], check=True, cwd=data, stdout=log, stderr=log, **account
            )

    run("initdb", "-D", data, "-A", "trust", "-U", _ACCOUNT, "--no-sync", "-E", "UTF8", "--locale=C.UTF-8")
    options = f"-c listen_addresses=127.0.0.1 -p {port} -k {data} -c fsync=off"
    run("pg_ctl", "-D", data, "-w", "-l", data / "server.log", "-o", options, "start")
    try:
        run("createdb", "-h", "127.0.0.1", "-p", port, "-U", _ACCOUNT, "stac")
        yield {
            "PGHOST": "127.0.0.1", "PGPORT": str(port), "PGUSER": _ACCOUNT, "PGPASSWORD": "none", "PGDATABASE": "stac",
        }  # fmt: skip
    finally:
        run("pg_ctl", "-D", data, "-w", "-m", "immediate", "stop")


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
    port = _free_port()
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
