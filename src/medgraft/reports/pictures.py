"""Example images as small data URIs."""

from __future__ import annotations

import base64
import io
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from medgraft.evidence import Evidence
from medgraft.reports.panels import Panel
from medgraft.reports.wording import percent

LONGEST_SIDE = 320
PNG_LIMIT = 30_000
SHOWN = 12
MATCHED_CLUSTERS = "examples_of_matched_clusters"
"""Pictures that stand beside the clusters, not among those recorded on the way."""
STAIN_GALLERY = "stain_gallery"
"""Table of tiles under every normaliser, with their pictures."""


class Example(NamedTuple):
    """One example: its picture and what was said about it; of a volume, `row` also tells the slice.

    scores: of one whose masks are drawn as outlines; empty for others.
    """

    picture: str
    row: str
    truth: str
    predicted: str
    confidence: str
    wrong: bool
    scores: str

    @property
    def caption(self) -> list[str]:
        """What was true and what was said, or the scores."""
        if self.scores:
            return self.scores.split(", ")
        confidence = f" ({self.confidence})" if self.confidence else ""
        return [f"true: {self.truth}", f"said: {self.predicted}{confidence}"]


class Gallery(NamedTuple):
    """Examples of one subject, worst cases first, and how many more the evidence holds."""

    subject: str
    examples: list[Example]
    left_out: int

    @property
    def outlined(self) -> bool:
        """True if masks are drawn on the pictures, which are then shown larger."""
        return any(example.scores for example in self.examples)


def galleries(evidence: Evidence, panel: Panel) -> list[Gallery]:
    """Examples of every subject on this panel's cohort."""
    table = evidence.tables.get("examples")
    if table is None or not {"image", "subject", "row"} <= set(table.columns):
        return []
    if "cohort" in table:
        table = table[table["cohort"] == panel.cohort]
    found = []
    for subject in panel.subjects:
        rows = table[(table["subject"] == subject) & table["image"].isin(list(evidence.images))]
        if "worst" in rows:
            rows = rows.sort_values("worst", ascending=False, kind="stable", key=lambda worst: worst.eq(True))
        rows = rows.drop_duplicates("row")  # the same image may be an example for several seeds
        if len(rows):
            shown = _balanced(rows)
            examples = [
                _example(evidence, line, bool(panel.predictions)) for line in shown.to_dict("records")
            ]
            found.append(Gallery(subject, examples, len(rows) - len(shown)))
    return found


def recorded_pictures(evidence: Evidence) -> list[tuple[str, str]]:
    """Pictures that a run recorded and that are no examples, by name."""
    examples = evidence.tables.get("examples")
    known = set(examples["image"]) if examples is not None and "image" in examples else set()
    patients = evidence.tables.get("patient_pictures")
    known |= set(patients["image"]) if patients is not None and "why" in patients else set()
    stains = evidence.tables.get(STAIN_GALLERY)
    known |= set(stains["image"]) if stains is not None and "image" in stains else set()
    return [
        (name, data_uri(image))
        for name, image in evidence.images.items()
        if name not in known and not name.startswith(f"{MATCHED_CLUSTERS}/")
    ]


def data_uri(image: NDArray[np.uint8], longest_side: int = LONGEST_SIDE) -> str:
    """An image inside the page: PNG, or JPEG where that would be large; no side longer than so many pixels."""
    from PIL import Image

    picture = Image.fromarray(image)
    picture.thumbnail((longest_side, longest_side), Image.Resampling.LANCZOS)
    file = io.BytesIO()
    picture.save(file, format="PNG")
    kind = "png"
    if file.tell() > PNG_LIMIT:
        file, kind = io.BytesIO(), "jpeg"
        picture.save(file, format="JPEG", quality=88, subsampling=0)
    return f"data:image/{kind};base64,{base64.b64encode(file.getvalue()).decode()}"


def _balanced(rows: pd.DataFrame) -> pd.DataFrame:
    """At most 12 rows, worst first, a third kept for those that went well."""
    if len(rows) <= SHOWN or "worst" not in rows:
        return rows.head(SHOWN)
    wrong, right = rows[rows["worst"].eq(True)], rows[~rows["worst"].eq(True)]
    kept = max(SHOWN - len(right), min(len(wrong), SHOWN * 2 // 3))
    return pd.concat([wrong.head(kept), right.head(SHOWN - min(kept, len(wrong)))])


def _example(evidence: Evidence, line: dict[object, object], has_confidence: bool) -> Example:
    def text(name: str) -> str:
        value = line.get(name)
        return "" if value is None or value != value else str(value)

    confidence = line.get("confidence")
    tells = has_confidence and isinstance(confidence, (int, float)) and confidence == confidence
    return Example(
        picture=data_uri(evidence.images[str(line["image"])]),
        row=text("row") + (f", slice {text('slice')}" if text("slice") else ""),
        truth=text("truth"),
        predicted=text("predicted"),
        confidence=percent(float(confidence)) if tells else "",  # type: ignore[arg-type]
        wrong=bool(line.get("worst") is True or line.get("worst") == 1),
        scores=text("scores"),
    )
