"""A model card as sections of text and tables, from the files of a model and evidence about it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import PurePath
from typing import Any, NamedTuple

import pandas as pd

from medgraft.errors import DataError
from medgraft.evidence import Evidence
from medgraft.reports.cards.model_files import SavedModel
from medgraft.reports.caveats import caveats
from medgraft.reports.subgroups import rows_of_groups
from medgraft.reports.wording import (
    counted,
    describe_score,
    duration,
    in_order,
    listed,
    number,
    percent,
    span,
)

TASKS = {
    "classify": "tells which one of {classes} an image shows",
    "multilabel": "tells for each of {classes} whether an image shows it",
    "segment": "outlines {classes} in an image",
    "detect": "finds {classes} in an image",
    "encode": "turns an image into features; it makes no statement about it",
}
RESEARCH = (
    "It is a research tool and no medical device. Nobody has approved it for diagnosis, and no decision about a "
    "patient may rest on it."
)
NOT_TOLD = "The files of the model do not tell."


class Section(NamedTuple):
    """A heading with sentences, then bullet points, then a table (no columns: none)."""

    title: str
    sentences: Sequence[str] = ()
    points: Sequence[str] = ()
    columns: Sequence[str] = ()
    rows: Sequence[Sequence[str]] = ()


class Card(NamedTuple):
    """A model card."""

    title: str
    sections: list[Section]


def make_card(model: SavedModel, evidence: Evidence) -> Card:
    """Write down what a user must know before a model is used.

    Args:
        model: as its files describe it.
        evidence: empty, or evaluations of this very model; other subjects in it are left out.

    Raises:
        DataError: the evidence is about other models only.
    """
    facts = _own_facts(model, evidence)
    sections = [_intended_use(model), _training(model), _results(facts)]
    sections += [section for section in (_by_class(facts),) if section is not None]
    return Card(
        f"Model card: {model.name}",
        [*sections, _subgroups(evidence, facts), _limits(model, evidence, facts), _files(model)],
    )


def _intended_use(model: SavedModel) -> Section:
    spec = model.spec
    classes = [str(name) for name in spec.get("classes", [])]
    shown = classes[1:] if spec.get("kind") == "segment" else classes
    task = TASKS.get(str(spec.get("kind")), "does what its files do not tell").format(classes=listed(shown))
    return Section("Intended use", [f"This model {task}. {RESEARCH}"], [*_input(spec), *_origin(model)])


def _input(spec: Mapping[str, Any]) -> list[str]:
    prepared = spec.get("preparation") or {}
    what = "volumes" if prepared.get("dimensions") == 3 else "images, and volumes slice by slice"
    told = [f"Input: {what}, {counted(int(spec.get('channels', 0)), 'channel')}"]
    if prepared.get("size"):
        told.append(f"resized to {_times(prepared['size'])} pixels")
    if prepared.get("spacing"):
        told.append(f"resampled to {_times(prepared['spacing'])} mm; files must tell their spacing")
    if prepared.get("slices", 1) > 1:
        told.append(f"{prepared['slices']} neighbouring slices at a time")
    if prepared.get("intensity"):
        told.append(f"intensities scaled by the rule '{prepared['intensity']}'")
    return [f"{'; '.join(told)}. This preparation is part of the model and is repeated at prediction."]


def _origin(model: SavedModel) -> list[str]:
    provenance = model.spec.get("provenance") or {}
    source = _short(str(provenance.get("source", "unknown")))
    told = [f"Architecture: {model.architecture}."]
    trained = f", trained on {provenance['trained_on']}" if provenance.get("trained_on") else ""
    licence = f"; licence of its weights: {provenance['licence']}" if provenance.get("licence") else ""
    told.append(f"It began as {source}{trained}{licence}.")
    return told


def _training(model: SavedModel) -> Section:
    steps = (model.spec.get("provenance") or {}).get("adapted") or []
    points = []
    for place, step in enumerate(steps, 1):
        name = _short(str((step.get("source") or {}).get("name") or "a model in memory"))
        points.append(
            f"Step {place}: {name} was adapted by {step.get('method')}, seed {step.get('seed')}, epoch chosen by the "
            f"rule '{step.get('selection')}'."
        )
    rows = [
        [side, str(told.get("name", "")), f"{told.get('rows', 0):,}", ", ".join(told.get("classes", []))]
        for side, told in (model.run.get("task") or {}).items()
        if isinstance(told, dict)
    ]
    sentences = [] if points or rows else [NOT_TOLD]
    if points and not rows:
        sentences.append(
            "How many images it learnt from stands in the run.json of its run, which is not here."
        )
    if rows and isinstance(model.run.get("seconds"), int | float):
        sentences.append(f"Its last training took {duration(model.run['seconds'])}.")
    columns = ["side", "data", "images (all splits)", "classes"] if rows else []
    return Section("Training data", sentences, points, columns, rows)


def _own_facts(model: SavedModel, evidence: Evidence) -> pd.DataFrame:
    """Facts about this model: those whose evaluation saw a model of the same provenance."""
    facts = evidence.facts
    if facts.empty:
        return facts
    provenance = model.spec.get("provenance") or {}
    own = {
        (entry.get("subject"), entry.get("seed"), entry.get("cohort"))
        for entry in evidence.provenance
        if entry.get("what") == "evaluate" and (entry.get("model") or {}).get("provenance") == provenance
    }
    keys = zip(facts["subject"], facts["seed"], facts["cohort"], strict=True)
    chosen = facts[[key in own for key in keys]]
    if chosen.empty:
        raise DataError(
            "A model card", f"evidence about {model.name}",
            f"this evidence is about {listed(sorted(set(facts['subject']))[:4])}, whose weights have another history",
            "Evaluate this model (`medgraft evaluate`) and give that folder.",
        )  # fmt: skip
    return chosen[chosen["selection"] != "oracle"]


def _results(facts: pd.DataFrame) -> Section:
    whole = facts[facts["part"] == ""]
    if whole.empty:
        return Section("Results", ["This model was not evaluated, or its evidence was not given."])
    level = percent(float(whole["level"].iloc[0]))
    rows = _rows(whole)
    columns = ["data", "score", f"value and {level} interval", "over"]
    meanings = [describe_score(name) for name in in_order(set(whole["metric"]))]
    points = [f"{score.label}: {score.meaning}" for score in meanings if score.meaning]
    return Section("Results", [], points, columns, rows)


def _rows(facts: pd.DataFrame) -> list[list[str]]:
    order = in_order(set(facts["metric"]))
    rows = []
    for (cohort, split), own in facts.groupby(["cohort", "split"], sort=False):
        for line in sorted(own.to_dict("records"), key=lambda line: order.index(line["metric"])):
            score = describe_score(str(line["metric"]))
            rows.append(
                [
                    f"{cohort}, {split}",
                    score.label,
                    _with_interval(line),
                    f"{line['n']} {line['unit']}" if line["n"] and line["unit"] else "not told",
                ]
            )
    return rows


def _with_interval(line: Mapping[Any, Any]) -> str:
    digits = 2 if describe_score(str(line["metric"])).is_distance else 3
    interval = span(line["low"], line["high"], digits)
    return f"{number(line['value'], digits)} ({interval or 'no interval'})"


def _by_class(facts: pd.DataFrame) -> Section | None:
    parts = facts[facts["part"] != ""]
    if parts.empty:
        return None
    order = in_order(set(parts["metric"]))
    rows = [
        [f"{line['cohort']}, {line['split']}", str(line["part"]), describe_score(str(line["metric"])).label,
         _with_interval(line)]
        for line in sorted(parts.to_dict("records"), key=lambda line: order.index(line["metric"]))
    ]  # fmt: skip
    return Section("Results by class", [], [], ["data", "class", "score", "value and interval"], rows)


def _subgroups(evidence: Evidence, facts: pd.DataFrame) -> Section:
    """The main score by group of patients, where it was measured, and by set of data, where there are several."""
    whole = facts[facts["part"] == ""]
    if whole.empty:
        return Section("Subgroups", ["There are no results by subgroup."])
    main = in_order(set(whole["metric"]))[0]
    rows = list(_group_rows(evidence, whole, main))
    measured = list(dict.fromkeys(row[1].split(":")[0] for row in rows))
    if whole["cohort"].nunique() > 1:
        rows += [[row[0], "all", *row[1:]] for row in _rows(whole[whole["metric"] == main])]
    told = (
        f"Measured by {listed(measured)}."
        if measured
        else "It was not measured by sex, age, scanner or any other attribute of patients."
    )
    if not rows:
        return Section(
            "Subgroups", [f"There are no results by subgroup: one set of data was measured. {told}"]
        )
    return Section("Subgroups", [told], [], ["data", "group", "score", "value and interval", "over"], rows)


def _group_rows(evidence: Evidence, whole: pd.DataFrame, main: str) -> Iterator[list[str]]:
    for (subject, cohort, split), _ in whole.groupby(["subject", "cohort", "split"], sort=False):
        table = rows_of_groups(evidence, str(cohort), str(split))
        if table.empty:
            continue
        own = table[(table["subject"] == subject) & (table["metric"] == main)]
        own = own[own["seed"].isin(whole.loc[whole["subject"] == subject, "seed"])]
        for line in own.to_dict("records"):
            over = f"{line['n']} {line['unit']}"
            group = f"{line['attribute']}: {line['group']}"
            yield [f"{cohort}, {split}", group, describe_score(main).label, _with_interval(line), over]


def _limits(model: SavedModel, evidence: Evidence, facts: pd.DataFrame) -> Section:
    told = [str(warning) for warning in model.run.get("warnings") or []]
    told += caveats(replace(evidence, facts=facts)) if len(facts) else []
    seen = listed(list(dict.fromkeys(facts["cohort"]))) if len(facts) else ""
    if seen:
        told.append(
            f"How good it is was measured on {seen} and nowhere else; other scanners, sites and patients may differ."
        )
    else:
        told.append("Nothing is known about how good it is.")
    classes = [str(name) for name in model.spec.get("classes", [])]
    if classes:
        told.append(f"It knows {listed(classes)} and calls anything else one of these.")
    told.append(RESEARCH)
    return Section("Limits", [], list(dict.fromkeys(told)))


def _files(model: SavedModel) -> Section:
    versions = model.run.get("versions") or {"medgraft": model.medgraft}
    told = ", ".join(f"{name} {version}" for name, version in versions.items())
    return Section("Files", [], [f"SHA-256 of the weights: {model.weights_sha256}", f"Made with {told}."])


def _times(numbers: Sequence[float]) -> str:
    return " × ".join(f"{value:g}" for value in numbers)


def _short(name: str) -> str:
    """A name, or of an absolute path its last two folders.

    >>> _short("/home/anna/models/chexpert"), _short("timm/resnet50")
    ('models/chexpert', 'timm/resnet50')
    """
    path = PurePath(name)
    return "/".join(path.parts[-2:]) if path.is_absolute() else name
