"""One run of a grid: a source, a method, a budget and a seed; what decides its result decides its name."""

from __future__ import annotations

import hashlib
import json
import logging
import math
import shutil
import time
import traceback
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from medgraft.api.recipe import fingerprint
from medgraft.benchmarks.grid import BudgetBy, Data, Part, RunTable
from medgraft.benchmarks.rows import SOURCE, SUBJECT, TARGET, at_sites, open_data, within_budget
from medgraft.benchmarks.spent import Clock, forget_peak, peak_mib
from medgraft.benchmarks.store import EVIDENCE, FORMAT, Result, Store
from medgraft.engine.run import Interrupted, Limit, Run, Shared
from medgraft.errors import DataError, MedgraftError, RunError
from medgraft.types import JSON

if TYPE_CHECKING:
    from medgraft.data.cohort import Cohort
    from medgraft.data.task import Task
    from medgraft.engine.method import Method
    from medgraft.evidence import Evidence
    from medgraft.models.model import Model

logger = logging.getLogger(__name__)
Purpose = Literal["train a source", "adapt", "as it is", "score"]
Ended = Literal["done", "busy"]


class Cell(Part):
    """All that a process needs to compute one cell, as data.

    key: hash of `what`. what: everything that decides the result, for the record.
    needs: key of the cell that trains the source model; None opens `model` by its name.
    sites: source sites. target: the target's sites, none for all rows.
    settings: of the method, one entry per trial.
    budget: labelled patients or images; None is all.
    scores_source: also measure what was forgotten at the source sites.
    scores: names of transferability scores, where the source is to be scored.
    """

    key: str
    what: JSON
    purpose: Purpose
    data: Data
    sites: tuple[str, ...]
    target: tuple[str, ...]
    model: str
    architecture: str | None
    needs: str | None
    method: str
    settings: tuple[JSON, ...]
    budget: int | None
    budget_by: BudgetBy
    seed: int
    select: str | None
    oracle: bool
    scores_source: bool
    run: RunTable
    keep_model: bool
    scores: tuple[str, ...] = ()


class Stop:
    """A request to stop, which reaches the training under way."""

    def __init__(self) -> None:
        self.asked = False
        self._under_way: Shared | None = None

    def ask(self) -> None:
        """Stop after the current step."""
        self.asked = True
        if self._under_way is not None:
            self._under_way.stop = True

    def share(self) -> Shared:
        """For the next training."""
        self._under_way = Shared()
        self._under_way.stop = self.asked
        return self._under_way

    def raise_if_asked(self) -> None:
        """Raise `Interrupted` once a stop was asked for."""
        if self.asked:
            raise interrupted()


def interrupted() -> Interrupted:
    """What ends a benchmark that was asked to stop."""
    return Interrupted(
        "The benchmark", "to be continued", "it was asked to stop", "Repeat the same command to continue."
    )


def name_of(what: Mapping[str, Any]) -> str:
    """A cell's key: a hash of everything that decides its result.

    >>> name_of({"seed": 1}) == name_of({"seed": 1}), name_of({"seed": 1}) == name_of({"seed": 2})
    (True, False)
    """
    text = json.dumps({"format": FORMAT, **what}, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:20]


def run_cell(cell: Cell, store: Store, stop: Stop) -> Ended:
    """Compute a cell unless it is there; a failure is a result too.

    Returns: "busy" where another process computes it.

    Raises:
        Interrupted: a stop was asked for; the same call continues.
        RunError: the result cannot be written.
    """
    with store.claimed(cell.key) as mine:
        if not mine:
            return "busy"
        if store.result(cell.key) is not None:
            return "done"
        forget_peak()
        clock = Clock(store.scratch(cell.key))
        try:
            result = _with_threads(cell, store, stop)
        except Interrupted:
            raise
        except Exception as error:
            result = _failed(cell, store, error)
        spent = {"seconds": clock.seconds, "peak_mib": peak_mib(), "what": cell.what}
        if _on_gpu(cell):
            spent["gpu_seconds"] = clock.seconds
        store.finish(cell.key, result.model_copy(update=spent))
    return "done"


def _failed(cell: Cell, store: Store, error: Exception) -> Result:
    """One sentence for the evidence; of a defect also where it happened, in a file beside it."""
    if isinstance(error, MedgraftError):
        return Result(state="failed", error=str(error))
    logger.exception("cell %s failed", cell.key)
    (store.folder(cell.key) / "traceback.txt").write_text(traceback.format_exc(), encoding="utf-8")
    text = " ".join(str(error).split())
    return Result(state="failed", error=f"{type(error).__name__}: {text[:500]}")


def _with_threads(cell: Cell, store: Store, stop: Stop) -> Result:
    """As many threads in every runner, so that sums are added in the same order."""
    import torch
    from threadpoolctl import threadpool_limits

    threads = torch.get_num_threads()
    torch.set_num_threads(cell.run.threads)
    try:
        with threadpool_limits(cell.run.threads):
            return _compute(cell, store, stop)
    finally:
        torch.set_num_threads(threads)


class Chosen(NamedTuple):
    """The best of the settings tried: the model, its number, and the rule that chose its epoch."""

    model: Model
    number: int
    selection: str


def _compute(cell: Cell, store: Store, stop: Stop) -> Result:
    from medgraft.models.storage import save_model

    cohort = open_data(cell.data)
    _refuse_changed(cell, cohort)
    if cell.purpose == "as it is":
        model = _source_model(cell, store)
        evidence = _measure(cell, model, cohort, "none")
        evidence.save(store.folder(cell.key) / EVIDENCE)
        return Result(state="finished")
    if cell.purpose == "score":
        _score_source(cell, store, cohort).save(store.folder(cell.key) / EVIDENCE)
        return Result(state="finished", labelled_images=len(scored_rows(cell, cohort)))
    task = make_task(cell, cohort)
    chosen = _choose(cell, store, stop, task)
    seen = 0
    if cell.purpose == "train a source" or cell.keep_model:
        save_model(chosen.model, store.model(cell.key), overwrite=True)
    if cell.purpose == "adapt":
        stop.raise_if_asked()
        selection = "oracle" if cell.oracle else chosen.selection
        _measure(cell, chosen.model, cohort, selection).save(store.folder(cell.key) / EVIDENCE)
        seen = labelled_images(cell, task, chosen.selection)
    return Result(
        state="finished",
        selection="oracle" if cell.oracle else chosen.selection,
        labelled_images=seen,
        tried=len(cell.settings),
        settings=cell.settings[chosen.number],
    )


def make_task(cell: Cell, cohort: Cohort) -> Task:
    """The rows that the cell's method may be given: labels within the budget, source rows where it asks for them."""
    from medgraft.data.task import Task

    if cell.purpose == "train a source":
        return Task(target=at_sites(cohort, cell.sites, SOURCE))
    target = at_sites(cohort, cell.target, TARGET)
    budgeted = within_budget(target, cell.budget, cell.budget_by, cell.seed)
    if cell.oracle and cell.budget is not None:  # it sees all validation labels, and that is what it is for
        kept = set(budgeted.table.index) | set(target.split("validation").table.index)
        budgeted = target.take([place for place, row in enumerate(target.table.index) if row in kept])
    source = (
        at_sites(cohort, cell.sites, SOURCE)
        if wants_source(_method(cell), cell.select) and cell.sites
        else None
    )
    return Task(source=source, target=budgeted)


def scored_rows(cell: Cell, cohort: Cohort) -> Cohort:
    """The labelled training rows by which a source is scored: those that fine-tuning sees."""
    target = at_sites(cohort, cell.target, TARGET)
    return within_budget(target, cell.budget, cell.budget_by, cell.seed).split("train")


def data_of(cell: Cell, cohort: Cohort) -> JSON:
    """Hashes of all rows that the cell learns from, selects by or is scored on, images included."""
    found: JSON = {}
    if cell.purpose == "score":
        return {"data": {"target": fingerprint(scored_rows(cell, cohort))}}
    if cell.purpose != "as it is":
        task = make_task(cell, cohort)
        for side, rows in (("source", task.source), ("target", task.target)):
            found[side] = None if rows is None else fingerprint(rows.split("train", "validation"))
    if cell.purpose != "train a source":
        found["test"] = fingerprint(at_sites(cohort, cell.target, TARGET).split("test"))
        if cell.scores_source:
            found["source_test"] = fingerprint(at_sites(cohort, cell.sites, SOURCE).split("test"))
    return {"data": found}


def _refuse_changed(cell: Cell, cohort: Cohort) -> None:
    """A worker opens data later than they were hashed."""
    if data_of(cell, cohort)["data"] != cell.what["data"]:
        raise DataError(
            "A benchmark", "data that stay as they are", "a row or an image has changed since it began",
            "Repeat the same command: it computes what the change concerns.",
        )  # fmt: skip


def wants_source(method: Method, select: str | None) -> bool:
    """True where the method, or the rule that selects for it, looks at source rows."""
    needs = method.needs
    return (
        bool(needs.source or needs.optional_source)
        or select == "source_validation"
        or "truth" not in needs.target
    )


def labelled_images(cell: Cell, task: Task, selection: str) -> int:
    """Target images whose truth the cell saw: in training, and in validation where that chose epoch or settings."""
    from medgraft.engine.select import choose_rule

    assert task.target is not None
    needs = _method(cell).needs
    if "truth" not in needs.target | needs.optional_target:
        return 0
    validation = task.target.split("validation")
    if len(cell.settings) > 1 and len(validation):
        selection = choose_rule(cell.select, sees_target_truth=True, target=validation, source=None).rule
    return len(task.target.split("train")) + (len(validation) if selection == "target_validation" else 0)


def _method(cell: Cell, number: int = 0) -> Method:
    return _resolved(cell.method, json.dumps(cell.settings[number]))


@lru_cache(maxsize=256)
def _resolved(name: str, settings: str) -> Method:
    """Finding what is installed takes longer than many a cell's own step."""
    from medgraft.plugins import resolve_method

    return resolve_method({"method": name, "settings": json.loads(settings)})


def _source_model(cell: Cell, store: Store) -> Model:
    from medgraft.engine.randomness import seeded
    from medgraft.models.sources import open_source
    from medgraft.models.storage import load_model

    if cell.needs is not None:
        return load_model(store.model(cell.needs))
    with seeded(cell.seed, "source"):
        return open_source(cell.model, architecture=cell.architecture)


def _score_source(cell: Cell, store: Store, cohort: Cohort) -> Evidence:
    """What every score finds in one source, before it is compared with others: the table "terms"."""
    import pandas as pd

    from medgraft.api.ranking import find_scorers, open_candidate
    from medgraft.engine.distributed import choose_device
    from medgraft.evidence import Evidence
    from medgraft.models.storage import load_model
    from medgraft.ranking.material import gather_material
    from medgraft.ranking.rank import score_terms

    rows = scored_rows(cell, cohort)
    if cell.needs is not None:
        model = load_model(store.model(cell.needs))
    else:
        model = open_candidate(cell.model, rows, cell.seed, architecture=cell.architecture)
    material = gather_material(model, rows, device=choose_device(cell.run.device), seed=cell.seed)
    lines = []
    for scorer in find_scorers(cell.scores, rows.kind):
        started = time.perf_counter()
        terms, reason = score_terms(scorer, material)
        seconds = time.perf_counter() - started
        told = "" if terms is None else json.dumps(terms)
        lines.append({"score": scorer.name, "terms": told, "reason": reason, "seconds": seconds})
    return Evidence(tables={"terms": pd.DataFrame(lines)})


def _choose(cell: Cell, store: Store, stop: Stop, task: Task) -> Chosen:
    """Adapt with each of the settings in turn; validation chooses among them, as it chooses epochs."""
    best, best_score = None, -math.inf
    for number in range(len(cell.settings)):
        run = Run(
            store.scratch(cell.key) / str(number),
            seed=cell.seed,
            limit=Limit(cell.run.limit_epochs, cell.run.limit_steps),
            device=cell.run.device,
            precision=cell.run.precision,
            select=cell.select,
            allow_leak=cell.run.allow_leak,
            progress=False,
            workers=0,
            shared=stop.share(),
        )
        model = _adapted(cell, store, task, _method(cell, number), run)
        score = _score(cell, task, run, model) if len(cell.settings) > 1 else 0.0
        if best is None or score > best_score:  # a score that is undefined beats nothing
            best = Chosen(model, number, _selection_of(run))
            best_score = -math.inf if math.isnan(score) else score
    assert best is not None
    return best


def _adapted(cell: Cell, store: Store, task: Task, method: Method, run: Run) -> Model:
    from medgraft.api.adaptation import adapt

    named = cell.model if cell.needs is None else _source_model(cell, store)
    architecture = cell.architecture if cell.needs is None else None
    continued = Path(str(run.folder)).is_dir()
    try:
        return adapt(named, task, method, run, architecture=architecture)
    except RunError as error:
        if isinstance(error, Interrupted) or not continued:
            raise
        # what was begun cannot be continued here, for instance because the data have moved: begin anew
        logger.warning("%s", error)
        shutil.rmtree(str(run.folder))
        return adapt(named, task, method, run, architecture=architecture)


def _selection_of(run: Run) -> str:
    from medgraft.api.recipe import read_recipe

    return str(read_recipe(str(run.folder))["selection"])


def _score(cell: Cell, task: Task, run: Run, model: Model) -> float:
    """What the selection rule says of an adapted model."""
    from medgraft.engine.select import choose_rule

    def validation(cohort: Cohort | None) -> Cohort | None:
        rows = cohort.split("validation") if cohort is not None else None
        return rows if rows is not None and len(rows) and "truth" in rows.fields else None

    selector = choose_rule(
        cell.select,
        sees_target_truth="truth" in _method(cell).needs.target,
        target=validation(task.target),
        source=validation(task.source),
        open_loader=run.loader,
    )
    score = selector.score(model.to(run.fabric.device))
    model.to("cpu")
    return score


def _measure(cell: Cell, model: Model, cohort: Cohort, selection: str) -> Evidence:
    """Scores on the target's test rows, and on those of the source sites where the source was trained there."""
    from medgraft.api.evaluation import evaluate

    views = {"test": at_sites(cohort, cell.target, TARGET)}
    if cell.scores_source and not cell.oracle:
        views["source"] = at_sites(cohort, cell.sites, SOURCE)
    whole = None
    for view in views.values():
        measured = evaluate(
            model,
            view.split("test"),
            subject=SUBJECT,
            seed=cell.seed,
            selection=selection,
            repeats=cell.run.repeats,
            device=cell.run.device,
            examples=0,
            tolerance_mm=cell.run.tolerance_mm,
        )
        whole = measured if whole is None else whole + measured
    assert whole is not None
    return whole


def _on_gpu(cell: Cell) -> bool:
    from medgraft.engine.distributed import choose_device

    try:
        return choose_device(cell.run.device) == "cuda"
    except MedgraftError:
        return False
