"""The one protocol, and `adapt`, which hands a method only what it declared."""

from __future__ import annotations

import copy
import dataclasses
import time
from collections.abc import Iterable
from typing import ClassVar, NamedTuple, Protocol, runtime_checkable

from pydantic import BaseModel, ConfigDict

from medgraft.data.cohort import Cohort
from medgraft.data.leakage import refuse_leaks
from medgraft.data.task import Task
from medgraft.engine.distributed import launch
from medgraft.engine.randomness import seeded
from medgraft.engine.run import Run
from medgraft.engine.select import choose_rule
from medgraft.errors import NeedError
from medgraft.models.model import Model
from medgraft.types import FIELDS, Field, Kind


class Needs(NamedTuple):
    """The fields a method receives; every other field is removed before it is called."""

    source: frozenset[Field] = frozenset()
    target: frozenset[Field] = frozenset()
    optional_source: frozenset[Field] = frozenset()
    optional_target: frozenset[Field] = frozenset()

    @classmethod
    def of(
        cls,
        source: Iterable[Field] = (),
        target: Iterable[Field] = (),
        optional_source: Iterable[Field] = (),
        optional_target: Iterable[Field] = (),
    ) -> Needs:
        """Build needs from plain tuples.

        >>> sorted(Needs.of(target=("images", "truth")).target)
        ['images', 'truth']
        """
        return cls(
            frozenset(source), frozenset(target), frozenset(optional_source), frozenset(optional_target)
        )


@runtime_checkable
class Method(Protocol):
    """A frozen settings object that turns a model and a task into an adapted model."""

    name: ClassVar[str]
    kinds: ClassVar[frozenset[Kind]]

    @property
    def needs(self) -> Needs:
        """What it must and may see; may depend on the settings."""
        ...

    def adapt(self, model: Model, task: Task, run: Run) -> Model:
        """Return an adapted model and leave the one it was given as it is."""
        ...


def learns_from_images_alone(method: Method) -> bool:
    """Whether a method pre-trains: it sees source images, neither labels nor a target, and returns an encoder.

    >>> from medgraft.pretraining import BarlowTwins
    >>> learns_from_images_alone(BarlowTwins())
    True
    """
    needs = method.needs
    seen = needs.source | needs.optional_source
    return "encode" in method.kinds and seen == {"images"} and not needs.target | needs.optional_target


class MethodSettings(BaseModel):
    """Base of the built-in methods: frozen, validated settings; learning lives in the model."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: ClassVar[str]
    kinds: ClassVar[frozenset[Kind]]


class Adapted(NamedTuple):
    """An adapted model, and what is to be said about how it came about.

    selection: rule by which the last training chose its epoch; "none" where nothing was trained.
    """

    model: Model
    selection: str
    warnings: tuple[str, ...]
    seconds: float


def adapt(model: Model, task: Task, method: Method, run: Run | None = None) -> Model:
    """Adapt a model to a target with a method, giving the method only what it declared.

    Args:
        model: the source model; it is never changed.
        task: source and target cohorts; rows of the split `test` are dropped, `validation` rows serve selection only.
        method: any object with `kinds`, `needs` and `adapt`.
        run: folder, seed, device; None runs in memory with seed 0.

    Returns: a new model.

    Raises:
        NeedError: the task does not offer what the method needs, or is of another kind.
        LeakError: the same patient or pixels stand on both sides of a split.
        SettingsError: the selection rule is not one that the task and method allow.
    """
    return adapt_verbosely(model, task, method, run).model


def adapt_verbosely(model: Model, task: Task, method: Method, run: Run | None = None) -> Adapted:
    """As `adapt`, and also tell the selection rule, warnings and seconds; for evidence."""
    return launch(run or Run(), _adapt, model, task, method)


def _adapt(model: Model, task: Task, method: Method, run: Run) -> Adapted:
    started = time.monotonic()
    check_needs(task, method)
    warnings = check_leaks(task, allow=run.allow_leak)
    needs = method.needs
    with_rule = _with_selector(task, needs, run)
    given = withhold(task, needs)
    run.shared.rule = run.shared.optimizer_history = run.shared.pretraining_heads = None
    run.shared.warnings = []
    with seeded(run.seed, run.path, "adapt"):
        adapted = method.adapt(copy.deepcopy(model), given, with_rule)
    adapted.to("cpu").eval()
    # never those of the source: these are other weights
    adapted.optimizer_history = run.shared.optimizer_history
    adapted.pretraining_heads = run.shared.pretraining_heads
    selection = run.shared.rule or "none"
    if selection == "oracle":
        warnings += (
            "The epoch was chosen by the rule 'oracle', which sees target labels that the method may not.",
        )
    warnings += tuple(run.shared.warnings)
    return Adapted(adapted, selection, warnings, time.monotonic() - started)


def _with_selector(task: Task, needs: Needs, run: Run) -> Run:
    selector = choose_rule(
        run.select,
        sees_target_truth="truth" in needs.target,
        target=_validation(task.target),
        source=_validation(task.source),
        open_loader=run.loader,
    )
    return dataclasses.replace(run, selector=selector)


def _validation(cohort: Cohort | None) -> Cohort | None:
    if cohort is None or not cohort.has_splits:
        return None
    rows = cohort.split("validation")
    return rows if len(rows) and "truth" in rows.fields else None


def check_needs(task: Task, method: Method) -> None:
    """Raise `NeedError` unless the task is of a kind the method handles and offers every field it needs."""
    who = type(method).__name__
    if task.kind not in method.kinds:
        raise NeedError(
            who, f"a task that is one of: {', '.join(sorted(method.kinds))}", f"this one's kind is '{task.kind}'",
            _other_kind(task.kind, method),
        )  # fmt: skip
    for side, cohort, fields in (
        ("source", task.source, method.needs.source),
        ("target", task.target, method.needs.target),
    ):
        if not fields:
            continue
        missing = [
            name for name in FIELDS if name in fields and (cohort is None or name not in cohort.fields)
        ]
        if missing:
            offered = (
                "no such cohort" if cohort is None else ", ".join(f for f in FIELDS if f in cohort.fields)
            )
            raise NeedError(
                who, " and ".join(f"{side}.{name}" for name in missing), f"the task's {side} offers {offered}",
                (f"Name its rows (Task({side}=...), on the command line --source-at SITE)" if cohort is None
                 else "Add the column to the manifest")
                + ", or choose a method that needs less: `medgraft methods --have ...` lists those.",
            )  # fmt: skip
        if cohort is not None and not len(cohort.training_rows):
            raise NeedError(
                who, f"training rows in the {side}", f"none of its {len(cohort)} rows has the split 'train'",
                "Mark rows as 'train' in the manifest's column 'split'.",
            )  # fmt: skip


def _other_kind(kind: Kind, method: Method) -> str:
    """What to do about a task of a kind that a method does not handle."""
    if learns_from_images_alone(method):
        return 'Read its images alone, mg.read_manifest(..., kind="encode"), or use `medgraft pretrain`.'
    another = "hoose another method; `medgraft methods --have ...` lists those that fit."
    if kind != "encode":
        return f"C{another}"
    return f"Images without any annotation have to be told what is sought in them (--kind segment), or c{another}"


def check_leaks(task: Task, *, allow: bool) -> tuple[str, ...]:
    """Refuse patients or pixels that stand on both sides: training rows against validation and test rows."""
    cohorts = [cohort for cohort in (task.source, task.target) if cohort is not None]
    warnings: list[str] = []
    for trained in cohorts:
        for other in cohorts:
            if other.has_splits:
                held_out = other.split("validation", "test")
                warnings += refuse_leaks(trained.training_rows, held_out, allow=allow)
            if trained is other and other.has_splits:
                warnings += refuse_leaks(other.split("validation"), other.split("test"), allow=allow)
    return tuple(dict.fromkeys(warnings))


def withhold(task: Task, needs: Needs) -> Task:
    """The task as a method sees it: training rows only, and only the fields it declared."""
    return Task(
        source=_restrict(task.source, needs.source | needs.optional_source),
        target=_restrict(task.target, needs.target | needs.optional_target),
    )


def _restrict(cohort: Cohort | None, fields: frozenset[Field]) -> Cohort | None:
    if cohort is None or not fields:
        return None
    return cohort.training_rows.only(fields & cohort.fields)
