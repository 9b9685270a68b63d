"""The pages of reports: HTML that needs nothing but itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from cropmap_core import __version__

_FOLDER = Path(__file__).parent


def render_page(template: Path, **told: Any) -> str:
    """A page from its template, which extends `page.html`.

    Args:
        template: The template.
        told: What it tells; `version` is CropMap's.
    """
    environment = Environment(
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        loader=FileSystemLoader([template.parent, _FOLDER]),
    )
    return environment.get_template(template.name).render(version=__version__, **told)
