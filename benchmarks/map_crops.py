"""The whole path on a made season: the streamed pass against the five steps with files, and its peak memory."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.paired import compare
from tests.factories import write_season

SIZE = 512
MODEL = "flanders-2018-hybrid-cnn"
DATES = ["--start-date", "2018-01-01", "--end-date", "2018-12-31"]
_PEAK = "import resource; print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024)"


def main() -> None:
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        scenes = write_season(folder / "scenes", seed=1, width=SIZE, height=SIZE)

        def run(command: str, *options: str | Path) -> None:
            arguments = [sys.executable, "-m", "cropmap_core", command, *map(str, options)]
            subprocess.run(arguments, check=True, capture_output=True)

        def streamed() -> None:
            run("mapcrops", "--scenes", scenes, "--model", MODEL, *DATES, "--output-classes", folder / "streamed.tif")

        def steps() -> None:
            stack, composite, filled = (folder / f"{name}.tif" for name in ("stack", "month", "filled"))
            run("stackscenes", "--scenes", scenes, *DATES, "--output", stack)
            run("compositetimeseries", "--series", stack, "--output", composite)
            run("fillgaps", "--series", composite, "--output", filled)
            run("classify", "--series", filled, "--model", MODEL, "--output-classes", folder / "steps.tif")

        compare(
            f"Map {SIZE} x {SIZE} pixels, 24 scenes, {MODEL} (whole processes)",
            {"mapcrops, streamed": streamed, "steps with files": steps},
            SIZE * SIZE / 1e3,
            "kpx",
            rounds=2,
        )
        command = [sys.executable, "-m", "cropmap_core", "mapcrops", "--scenes", str(scenes), "--model", MODEL, *DATES]
        command += ["--output-classes", str(folder / "memory.tif")]
        peak = subprocess.run(
            [
                sys.executable,
                "-c",
                f"import subprocess; subprocess.run({command!r}, check=True, capture_output=True); {_PEAK}",
            ],
            check=True,
            capture_output=True,
            text=True,
        )
        print(f"  peak resident memory of mapcrops: {peak.stdout.strip()} MiB")


if __name__ == "__main__":
    main()
