from __future__ import annotations

from typing import ClassVar

import numpy as np
import pytest

from medgraft.data.cohort import Cohort
from medgraft.data.task import Task
from medgraft.engine.method import MethodSettings, Needs, adapt, adapt_verbosely, withhold
from medgraft.engine.run import Run
from medgraft.errors import LeakError, NeedError, SettingsError
from medgraft.models.model import Model
from medgraft.testing import make_cohort, make_model
from medgraft.types import Kind

QUIET = {"device": "cpu", "progress": False}


class Looks(MethodSettings):
    """Returns the model and remembers what it was given."""

    name: ClassVar[str] = "looks"
    kinds: ClassVar[frozenset[Kind]] = frozenset({"classify", "segment"})
    seen: ClassVar[list[tuple[Task, Run]]] = []
    sees_truth: bool = False

    @property
    def needs(self) -> Needs:
        return Needs.of(
            source=("images", "truth"), target=("images", "truth") if self.sees_truth else ("images",)
        )

    def adapt(self, model: Model, task: Task, run: Run) -> Model:
        self.seen.append((task, run))
        return model


def task(kind: Kind = "classify") -> Task:
    return Task(source=make_cohort(kind, "A"), target=make_cohort(kind, "B"))


def look(given: Task, run: Run | None = None, sees_truth: bool = False) -> tuple[Task, Run]:
    Looks.seen.clear()
    adapt(make_model(given.kind), given, Looks(sees_truth=sees_truth), run or Run(**QUIET))  # type: ignore[arg-type]
    return Looks.seen[0]


@pytest.mark.parametrize("kind", ["classify", "segment"])
def test_withheld_fields_are_really_absent(kind: Kind) -> None:
    seen, _ = look(task(kind))
    target = seen.target
    assert target is not None and target.fields == {"images"}
    assert not {"label", "labels", "mask", "patient", "site"} & set(target.table.columns)
    with pytest.raises(Exception, match=r"truth|label|mask"):
        _ = target.labels if kind == "classify" else target.mask(0)
    assert target.load([0, 1], _AsIs()).truth is None
    assert seen.source is not None and seen.source.fields == {"images", "truth"}


class _AsIs:
    def image(self, array: np.ndarray, spacing: object = None) -> object:
        import torch

        return torch.from_numpy(array.copy()).permute(2, 0, 1).float()

    def mask(self, array: np.ndarray, spacing: object = None) -> object:
        import torch

        return torch.from_numpy(array.copy()).long()


def test_methods_see_training_rows_only() -> None:
    whole = task()
    seen, _ = look(whole)
    assert seen.target is not None and whole.target is not None
    assert len(seen.target) == len(whole.target.split("train")) < len(whole.target)


def test_a_side_that_is_not_needed_is_not_given() -> None:
    given = withhold(task(), Needs.of(target=("images",)))
    assert given.source is None and given.target is not None


def test_classes_are_those_of_the_whole_manifest_even_without_labels() -> None:
    whole = task()
    assert whole.target is not None
    one_class = whole.target.take(np.flatnonzero(whole.target.labels == 0))
    assert withhold(Task(target=one_class), Needs.of(target=("images",))).classes == whole.target.classes


@pytest.mark.parametrize(
    ("sees_truth", "asked", "rule"),
    [
        (True, None, "target_validation"),
        (False, None, "source_validation"),
        (False, "oracle", "oracle"),
        (True, "last", "last"),
    ],
)
def test_the_selection_rule_uses_only_what_the_method_may_see(
    sees_truth: bool, asked: str | None, rule: str
) -> None:
    _, run = look(task(), Run(select=asked, device="cpu", progress=False), sees_truth)
    assert run.selector is not None and run.selector.rule == rule


def test_validation_rows_that_nobody_annotated_choose_no_epoch() -> None:
    known = make_cohort("classify", "B")
    table = known.table.astype({"label": object})
    table.loc[table["split"] == "validation", "label"] = ""
    partly = Cohort(
        table,
        kind=known.kind,
        classes=known.classes,
        root=known.root,
        name="partly",
        arrays=(np.stack([known.picture(row).array for row in range(len(known))]), None),
    )
    site = make_cohort("classify", "A")
    rules = [look(Task(site, cohort), sees_truth=True)[1].selector for cohort in (known, partly)]
    assert [selector and selector.rule for selector in rules] == ["target_validation", "last"]


def test_target_validation_is_refused_to_a_method_without_target_truth() -> None:
    with pytest.raises(SettingsError, match=r"last, source_validation, oracle.*'target_validation'"):
        look(task(), Run(select="target_validation", device="cpu", progress=False))


def test_the_caller_is_told_what_is_missing_and_what_to_do() -> None:
    whole = task()
    with pytest.raises(
        NeedError, match=r"Looks needs source.images and source.truth, but the task's source offers no such"
    ):
        look(Task(target=whole.target))
    with pytest.raises(NeedError, match="kind is 'multilabel'"):
        look(task("multilabel"))


def test_a_patient_in_two_splits_is_refused_unless_allowed() -> None:
    images = np.random.default_rng(0).integers(0, 255, (8, 16, 16, 1), dtype=np.uint8)
    leaky = Cohort.from_arrays(
        images,
        np.arange(8) % 2,
        kind="classify",
        classes=("a", "b"),
        patients=["P1", "P2", "P3", "P4", "P1", "P5", "P6", "P7"],
        split=["train"] * 4 + ["test"] * 4,
    )
    method = Looks(sees_truth=True)
    given = Task(source=make_cohort("classify", "A"), target=leaky)
    with pytest.raises(LeakError) as error:
        adapt(make_model("classify"), given, method, Run(device="cpu", progress=False))
    assert "P1" not in str(error.value)
    allowed = adapt_verbosely(
        make_model("classify"), given, method, Run(device="cpu", progress=False, allow_leak=True)
    )
    assert any("patient" in warning for warning in allowed.warnings)


def test_no_training_rows_is_an_error() -> None:
    whole = task()
    assert whole.target is not None
    with pytest.raises(NeedError, match="training rows in the target"):
        look(Task(source=whole.source, target=whole.target.split("test")))
