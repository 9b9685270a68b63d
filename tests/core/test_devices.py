"""The memory at hand: the machine's, and within the limit of a container."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from cropmap_core.inference import devices, part_size
from cropmap_core.inference.part_size import edge_of_parts
from cropmap_core.inference.predictor import Predictor
from cropmap_core.inference.stages import Stages
from tests.core.engine_cases import CPU, season
from tests.core.tiny_models import CHANNELS, save_tiny_bundle

GB = 10**9
Told = dict[str, str]
MEMINFO: Told = {"proc/meminfo": "MemTotal: 16000000 kB\nMemAvailable: 8000000 kB\n"}
OF_TWO = {
    "sys/fs/cgroup/memory.max": f"{4 * GB}\n",
    "sys/fs/cgroup/memory.current": f"{3 * GB}\n",
    "sys/fs/cgroup/memory.stat": f"anon {GB}\ninactive_file {2 * GB}\nactive_file 0\n",
}
OF_ONE = {
    "sys/fs/cgroup/memory/memory.limit_in_bytes": f"{4 * GB}\n",
    "sys/fs/cgroup/memory/memory.usage_in_bytes": f"{3 * GB}\n",
    "sys/fs/cgroup/memory/memory.stat": f"inactive_file 7\ntotal_inactive_file {2 * GB}\n",
}


@pytest.fixture
def free(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Told], int]:
    """What is free on a Linux machine that tells this of itself."""
    monkeypatch.setattr(devices.os, "name", "posix")

    def of(told: Told) -> int:
        for name, text in told.items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(text, encoding="ascii")
        return devices._free_of_the_machine(tmp_path)

    return of


def test_without_a_container_it_is_what_is_available(free: Callable[[Told], int]) -> None:
    assert free(MEMINFO) == 8_000_000 * 1024


@pytest.mark.parametrize("group", [OF_TWO, OF_ONE], ids=["cgroup v2", "cgroup v1"])
def test_what_a_container_keeps_of_files_counts_as_free(group: Told, free: Callable[[Told], int]) -> None:
    assert free({**MEMINFO, **group}) == 3 * GB
    told = {name: "anon 1\n" if name.endswith("stat") else text for name, text in group.items()}
    assert free(told) == GB


@pytest.mark.parametrize(
    "group",
    [
        {**OF_TWO, "sys/fs/cgroup/memory.max": "max\n"},
        {**OF_ONE, "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n"},
    ],
    ids=["cgroup v2", "cgroup v1"],
)
def test_a_container_without_a_limit_has_all_of_the_machine(group: Told, free: Callable[[Told], int]) -> None:
    assert free({**MEMINFO, **group}) == 8_000_000 * 1024


def test_parts_do_not_shrink_to_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that says that it has no memory left may still have some."""
    bundle, series = save_tiny_bundle(tmp_path / "model", "tempcnn"), season(300, 700)
    stages = Stages(Predictor(bundle, CPU), bundle.season_days(series.dates), CHANNELS, str)
    monkeypatch.setattr(part_size, "free_memory", lambda device: 0)
    usual = edge_of_parts(series, stages, stages.lag)
    assert usual > part_size.LEAST
    monkeypatch.setattr(part_size, "LEAST_MEMORY", 0)
    assert edge_of_parts(series, stages, stages.lag) == part_size.LEAST
