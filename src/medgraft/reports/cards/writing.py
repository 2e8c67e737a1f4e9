"""A model card as one HTML file or as Markdown."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from medgraft.errors import DataError
from medgraft.evidence import Evidence
from medgraft.reports.cards.card import Card, make_card
from medgraft.reports.cards.model_files import read_saved_model
from medgraft.reports.files import write_whole
from medgraft.reports.pages import open_template

SPECIAL = re.compile(r"([\\`*_\[\]<>|#])")
FORMATS = (".html", ".md")


def model_card(model: str | Path, path: str | Path, evidence: Evidence | None = None) -> Path:
    """Write a card for a saved model: intended use, training data, results, subgroups, limits.

    Args:
        model: folder of a saved model or of a finished run; its weights are not read.
        path: the file to write, ending in .html (one self-contained page) or .md (Markdown).
        evidence: evaluations of this model; other subjects in it are left out. Without it the card says that
            nothing was measured.

    Returns: the path.

    Raises:
        ModelError: the folder holds no model.
        DataError: the evidence is about other models, or `path` ends otherwise.
    """
    path = Path(path)
    if path.suffix.lower() not in FORMATS:
        raise DataError(
            "A model card", f"a file that ends in {' or '.join(FORMATS)}", f"{path.name} does not",
            "Rename it, as in card.html.",
        )  # fmt: skip
    card = make_card(read_saved_model(model), evidence if evidence is not None else Evidence.empty())
    html = path.suffix.lower() == ".html"
    return write_whole(path, as_html(card) if html else as_markdown(card), "a card's file")


def as_html(card: Card) -> str:
    """The card as a page that loads nothing from anywhere."""
    return open_template("card.html").render(card=card)


def as_markdown(card: Card) -> str:
    """The card as Markdown, names in it taken literally.

    >>> from medgraft.reports.cards.card import Section
    >>> print(as_markdown(Card("Card", [Section("Use", ["Only *here*."], ["one"])])), end="")
    # Card
    <BLANKLINE>
    ## Use
    Only \\*here\\*.
    <BLANKLINE>
    - one
    """
    blocks = [f"# {_literal(card.title)}"]
    for section in card.sections:
        blocks.append(
            "\n\n".join([f"## {_literal(section.title)}\n" + " ".join(map(_literal, section.sentences))])
        )
        if section.points:
            blocks.append("\n".join(f"- {_literal(point)}" for point in section.points))
        if section.columns:
            blocks.append(_table(section.columns, section.rows))
    return "\n\n".join(block.rstrip() for block in blocks) + "\n"


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [list(columns), ["---"] * len(columns)]
    told = [f"| {' | '.join(line)} |" for line in lines]
    return "\n".join([*told, *(f"| {' | '.join(map(_literal, row))} |" for row in rows)])


def _literal(text: str) -> str:
    return SPECIAL.sub(r"\\\1", " ".join(text.split()))
