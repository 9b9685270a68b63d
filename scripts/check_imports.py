"""Checks which part may import which: import-linter's contracts, which stand in pyproject.toml.

QGIS imports the checkout as the package `cropmap`, whatever its folder is called; so does this check, through a link.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def main() -> int:
    """Runs import-linter and returns its exit status."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "cropmap").symlink_to(ROOT, target_is_directory=True)
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([folder, str(ROOT)])}
        command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]
        return subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
