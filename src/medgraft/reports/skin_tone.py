"""A page about the tones of skin in a data set: a histogram, agreement with people, where it was measured."""

from __future__ import annotations

from pathlib import Path

from medgraft.errors import DataError
from medgraft.evidence import Evidence
from medgraft.reports.charts import Chart, colour_of, make_figure, to_svg
from medgraft.reports.files import write_whole
from medgraft.reports.pages import open_template
from medgraft.reports.pictures import data_uri
from medgraft.reports.wording import counted, number, percent

TABLE, AGREEMENT, PICTURES = "skin_tones", "skin_tone_agreement", "skin_tone/"
TYPES = range(1, 7)
UNKNOWN = 0
BORDER = "border"
"""What evidence was measured by that does not tell."""


def skin_tone_page(
    evidence: Evidence | str | Path, path: str | Path, *, title: str = "Tones of skin", images: bool = True
) -> Path:
    """Write a page about what `medgraft.api.skin_tone.measure_skin_tone` found.

    Args:
        evidence: what it returned, or the folder this was saved in.
        path: the HTML file to write; one that is there is replaced.
        title: heading of the page.
        images: False leaves pictures out.

    Raises:
        DataError: nobody measured tones in this evidence, or `path` is a folder.
    """
    if not isinstance(evidence, Evidence):
        evidence = Evidence.load(evidence)
    counts = tone_counts(evidence)
    found = evidence.tables.get(AGREEMENT)
    page = open_template("skin_tone.html").render(
        title=title,
        sentence=_sentence(evidence),
        chart=_histogram(counts),
        people=len(counts[0]) > 2,
        agreement=[
            (line.get("labeller", BORDER), line["how"], line["thresholds"],
             *(percent(line[name]) for name in ("exact", "within_one", "unknown")), line["n"])
            for line in ([] if found is None else found.to_dict("records"))
        ],
        labeller=_labeller(evidence),
        pictures=_pictures(evidence) if images else [],
    )  # fmt: skip
    return write_whole(Path(path), page, "an HTML file")


def tone_counts(evidence: Evidence) -> list[tuple[str, *tuple[int, ...]]]:
    """Images of every type, and of types that people gave where they are known: ("type 1", 3, 4), ...

    Raises:
        DataError: nobody measured tones in this evidence.
    """
    if TABLE not in evidence.tables:
        raise DataError(
            "A page about tones of skin", "evidence with measured tones", "this evidence has none",
            "Make it with `medgraft skin-tone`.",
        )  # fmt: skip
    table = evidence.tables[TABLE]
    columns = ["fitzpatrick", *(["human"] if "human" in table else [])]
    return [
        (f"type {kind}" if kind else "unknown", *(int((table[column] == kind).sum()) for column in columns))
        for kind in (*TYPES, UNKNOWN)
    ]


def _labeller(evidence: Evidence) -> str:
    told = (entry for entry in evidence.provenance if entry.get("what") == "skin tone")
    return str(next(told, {}).get("labeller", BORDER))


def _sentence(evidence: Evidence) -> str:
    table = evidence.tables[TABLE]
    known = table[table["fitzpatrick"] != UNKNOWN]
    light, dark = (int(known["fitzpatrick"].isin(kinds).sum()) for kinds in ((1, 2), (5, 6)))
    shares = [percent(each / max(len(known), 1)) for each in (light, dark)]
    middle = (
        f", the median angle is {number(float(known['angle'].median()), 1)} degrees" if len(known) else ""
    )
    return (
        f"Of {counted(len(table), 'image')}, {len(known):,} tell a tone: {shares[0]} of these are of types 1 and 2, "
        f"{shares[1]} of types 5 and 6{middle}."
    )


def _histogram(counts: list[tuple[str, *tuple[int, ...]]]) -> Chart:
    from matplotlib.ticker import MaxNLocator

    figure, (axis,) = make_figure(1, height=2.4)
    several = len(counts[0]) - 1
    for place in range(several):
        width = 0.8 / several
        heights = [line[1 + place] for line in counts]
        left = [at - 0.4 + width * (place + 0.5) for at in range(len(counts))]
        axis.bar(left, heights, width=width * 0.92, color=colour_of(place))
    names = ["?" if name == "unknown" else name.removeprefix("type ") for name, *_ in counts]
    axis.set_xticks(range(len(counts)), names)
    axis.grid(False, axis="x")
    axis.yaxis.set_major_locator(MaxNLocator(4, integer=True))
    axis.set_xlabel("Fitzpatrick type (?: unknown)")
    axis.set_ylabel("images")
    told = ", ".join(f"{name}: {', '.join(map(str, numbers))}" for name, *numbers in counts)
    return Chart("Images by type", to_svg(figure, "tones", told), f"Images by Fitzpatrick type: {told}.")


def _pictures(evidence: Evidence) -> list[tuple[str, str, str]]:
    """Row, what was said and the picture, from light to dark, unknown ones last."""
    lines = {int(line["row"]): line for line in evidence.tables[TABLE].to_dict("records")}
    rows = [int(name.removeprefix(PICTURES)) for name in evidence.images if name.startswith(PICTURES)]
    rows.sort(key=lambda row: (lines[row]["fitzpatrick"] or len(TYPES) + 1, row))
    shown = []
    for row in rows:
        line = lines[row]
        kind = line["fitzpatrick"]
        said = f"type {kind}, {number(line['angle'], 1)}°" if kind else "unknown"
        if line.get("human"):
            said += f"; people: {line['human']}"
        shown.append((str(row), said, data_uri(evidence.images[f"{PICTURES}{row}"])))
    return shown
