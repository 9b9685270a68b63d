"""What training costs: time and computing, written down while it happens, and the energy that it comes to."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

COSTS = "costs.jsonl"
FINAL = "all folds"
"""What the last part of a cost says of trainings of the final model."""
WATTS_PER_CORE = 10.0
"""Assumed of a server's core at full load, with its share of memory, fans and power supply; it is not measured."""


@dataclass(frozen=True)
class Cost:
    """What one training took."""

    what: str
    """Such as `tempcnn, seed 0, fold 3`; those of the final model end in `all folds`."""
    seconds: float
    """By the clock."""
    core_seconds: float
    """That cores were busy for it, over all threads."""

    @property
    def watt_hours(self) -> float:
        """By `WATTS_PER_CORE`."""
        return self.core_seconds * WATTS_PER_CORE / 3600


@contextmanager
def measured(folder: Path, what: str) -> Iterator[None]:
    """Writes down what the block took, in a folder's `costs.jsonl`."""
    started, busy = time.perf_counter(), time.process_time()
    yield
    found = Cost(what, round(time.perf_counter() - started, 3), round(time.process_time() - busy, 3))
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / COSTS).open("a", encoding="utf-8") as stream:
        stream.write(json.dumps(asdict(found)) + "\n")


def read_costs(folder: Path) -> list[Cost]:
    """What was written down in a folder; of what was trained twice, the last."""
    path = folder / COSTS
    if not path.is_file():
        return []
    lines = path.read_text(encoding="utf-8").splitlines()
    found = [Cost(**json.loads(line)) for line in lines if line.strip()]
    return list({each.what: each for each in found}.values())
