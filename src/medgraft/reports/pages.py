"""Templates of pages: names are escaped, and what a template lacks is an error."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from medgraft.reports.wording import describe_score, percent

if TYPE_CHECKING:
    import jinja2


def open_template(name: str) -> jinja2.Template:
    """A template of the folder `templates`, which may call `percent` and `label`."""
    import jinja2

    loader = jinja2.FileSystemLoader(Path(__file__).parent / "templates")
    environment = jinja2.Environment(
        loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.globals.update(percent=percent, label=describe_score)
    return environment.get_template(name)
