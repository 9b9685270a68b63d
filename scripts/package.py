"""Packs the plugin as QGIS installs it: dist/cropmap-VERSION.zip. The same files give the same bytes."""

import configparser
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PLUGIN = "cropmap"
FILES = ("metadata.txt", "LICENSE", "README.md", "CHANGELOG.md", "__init__.py", "plugin.py")
FOLDERS = ("processing_provider", "algorithms", "cropmap_core", "models")
LARGEST_MB = 25
"""What the QGIS plugin site takes."""
_WHEN = (2000, 1, 1, 0, 0, 0)  # a fixed time, so that packing twice gives the same bytes
_LEFT_OUT = (".pyc", ".in", ".part", ".aux.xml")


def plugin_files() -> list[Path]:
    """The plugin's files, relative to the repository, in a fixed order.

    Raises:
        FileNotFoundError: One that every plugin needs is missing.
    """
    paths = [Path(name) for name in FILES]
    for path in paths:
        if not (ROOT / path).is_file():
            raise FileNotFoundError(f"{path} is missing, and the plugin cannot do without it.")
    for folder in FOLDERS:
        for path in (ROOT / folder).rglob("*"):
            inside = path.relative_to(ROOT)
            hidden = any(part.startswith(".") or part == "__pycache__" for part in inside.parts)
            if path.is_file() and not hidden and not path.name.endswith(_LEFT_OUT):
                paths.append(inside)
    return sorted(paths, key=lambda path: path.as_posix())


def version() -> str:
    """The version in metadata.txt."""
    metadata = configparser.ConfigParser(interpolation=None)
    metadata.read(ROOT / "metadata.txt", encoding="utf-8")
    return metadata["general"]["version"]


def pack(target: Path) -> None:
    """Writes the zip."""
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{target.name}.part")
    with zipfile.ZipFile(part, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for path in plugin_files():
            entry = zipfile.ZipInfo(f"{PLUGIN}/{path.as_posix()}", _WHEN)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.create_system = 3  # Unix, wherever it is packed
            entry.external_attr = 0o100644 << 16
            archive.writestr(entry, (ROOT / path).read_bytes())
    part.replace(target)


def main() -> int:
    """Packs, and fails when the result is too large for the plugin site."""
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "dist" / f"{PLUGIN}-{version()}.zip"
    pack(target)
    size_mb = target.stat().st_size / 1e6
    if size_mb > LARGEST_MB:
        print(f"{target} has {size_mb:.1f} MB; the plugin site takes {LARGEST_MB} MB.", file=sys.stderr)
        return 1
    print(f"{target} ({size_mb:.2f} MB)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
