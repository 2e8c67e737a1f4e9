"""Read evidence back, from a folder of evidence or from a run's folder."""

from __future__ import annotations

from pathlib import Path

from medgraft.api.recipe import FILE, read_recipe
from medgraft.engine.records import read_records
from medgraft.evidence import Evidence

TABLES_PER_SEED = (
    *("history", "updates", "policy", "policy_by_epoch", "watched", "watched_planes"),
    *("clusters", "alignment", "batch_statistics"),
)


def load_evidence(path: str | Path, subject: str = "model") -> Evidence:
    """Read what `evaluate` or `Evidence.save` left in a folder, or what a run recorded in its own.

    Args:
        path: a folder of evidence, or a run's folder.
        subject: what the run's model is called in tables and reports; evidence has its own names.

    Raises:
        DataError, RunError: it is neither.
    """
    path = Path(path)
    if not (path / FILE).is_file():
        return Evidence.load(path)
    recipe = read_recipe(path)
    run, target = recipe["run"], recipe["task"]["target"] or recipe["task"]["source"]
    records = read_records(path)
    tables = {}
    for name, table in records.tables.items():
        *children, kind = name.split("/")
        about = [subject, str(run["seed"])] if kind in TABLES_PER_SEED else [subject]
        tables["/".join([kind, *about, *children])] = table
    entry = {
        "what": "adapt",
        "subject": subject,
        "cohort": target["name"],
        "seed": run["seed"],
        "source": recipe["source"],
        "method": recipe["method"]["method"],
        "settings": recipe["method"]["settings"],
        "data": {side: told and {key: told[key] for key in ("name", "rows", "fingerprint")}
                 for side, told in recipe["task"].items()},
        "allow_leak": run["allow_leak"],
        "run": run,
        **{key: recipe.get(key) for key in ("selection", "seconds", "threads", "versions", "command")},
    }  # fmt: skip
    images = {f"{name}/{subject}/{run['seed']}": image for name, image in records.images.items()}
    return Evidence(
        provenance=(entry,), tables=tables, images=images, warnings=tuple(recipe.get("warnings", ()))
    )
