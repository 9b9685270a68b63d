"""PostgreSQL clusters on loopback that are thrown away; of the standard library alone, for both halves of the tests."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ACCOUNT = "postgres"  # PostgreSQL refuses to run as root


def programs() -> Path | None:
    """Where PostgreSQL's own programs are, with PostGIS for them."""
    for initdb in sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), reverse=True):
        version = initdb.parent.parent.name
        if Path(f"/usr/share/postgresql/{version}/extension/postgis.control").exists():
            return initdb.parent
    return None


def free_port() -> int:
    """A port of loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def database(folder: Path, name: str, setting_up: str = "") -> Iterator[dict[str, str]]:
    """A database in a cluster of its own, which ends with the block; its address as the environment has it.

    Args:
        folder: Gets the cluster; others than its owner must be able to enter it.
        name: Of the database.
        setting_up: SQL that is run in it at first.
    """
    where = programs()
    assert where is not None
    data, port = folder / "data", free_port()
    account: dict[str, Any] = {}
    folder.chmod(0o755)
    data.mkdir()
    if os.geteuid() == 0:
        account = {"user": ACCOUNT, "group": ACCOUNT, "extra_groups": []}
        shutil.chown(data, ACCOUNT, ACCOUNT)

    def run(program: str, *arguments: object) -> None:
        with (folder / "log.txt").open("ab") as log:
            subprocess.run(
                [where / program, *map(str, arguments)], check=True, cwd=data, stdout=log, stderr=log, **account
            )

    run("initdb", "-D", data, "-A", "trust", "-U", ACCOUNT, "--no-sync", "-E", "UTF8", "--locale=C.UTF-8")
    options = f"-c listen_addresses=127.0.0.1 -p {port} -k {data} -c fsync=off"
    run("pg_ctl", "-D", data, "-w", "-l", data / "server.log", "-o", options, "start")
    try:
        run("createdb", "-h", "127.0.0.1", "-p", port, "-U", ACCOUNT, name)
        if setting_up:
            run(
                "psql",
                "-h",
                "127.0.0.1",
                "-p",
                port,
                "-U",
                ACCOUNT,
                "-d",
                name,
                "-v",
                "ON_ERROR_STOP=1",
                "-c",
                setting_up,
            )
        yield {
            "PGHOST": "127.0.0.1", "PGPORT": str(port), "PGUSER": ACCOUNT, "PGPASSWORD": "none", "PGDATABASE": name,
        }  # fmt: skip
    finally:
        run("pg_ctl", "-D", data, "-w", "-m", "immediate", "stop")
