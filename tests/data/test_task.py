"""Tasks."""

from __future__ import annotations

import numpy as np
import pytest

from medgraft.data.cohort import Cohort
from medgraft.data.task import Task
from medgraft.errors import DataError


def test_a_task_is_about_its_target_or_else_its_source() -> None:
    source = Cohort.from_arrays(np.zeros((1, 2, 2, 1)), np.array([0]), kind="classify", classes=("a", "b"))
    target = Cohort.from_arrays(
        np.zeros((1, 2, 2, 1)), np.zeros((1, 3)), kind="multilabel", classes=("x", "y", "z")
    )
    assert Task(source=source).classes == ("a", "b") and Task(source=source).main is source
    assert Task(source, target).kind == "multilabel" and Task(source, target).classes == ("x", "y", "z")
    with pytest.raises(DataError, match="a source or a target"):
        Task()
