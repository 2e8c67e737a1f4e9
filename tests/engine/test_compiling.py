"""Compiled blocks: the same numbers but for rounding, nothing of it afterwards, and a sentence where it cannot be."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from medgraft.api.adaptation import adapt
from medgraft.data.task import Task
from medgraft.engine import compiling
from medgraft.engine.compiling import compiled
from medgraft.engine.run import Limit, Run
from medgraft.errors import SettingsError
from medgraft.methods import FineTune
from medgraft.models.storage import load_model
from medgraft.testing import make_cohort, make_model

CPU = torch.device("cpu")


@pytest.mark.parametrize("kind", ["classify", "segment"])
def test_every_block_is_compiled_for_a_time_and_names_stay(kind, monkeypatch) -> None:
    monkeypatch.setattr(compiling, "_refuse_without_compiler", lambda device: None)
    model = make_model(kind)
    names = list(model.state_dict())
    with compiled(model, CPU):
        assert all(block._compiled_call_impl is not None for block in model.block_modules())
        assert list(model.state_dict()) == names
    assert all(module._compiled_call_impl is None for module in model.modules())


def test_a_machine_without_a_compiler_is_told_in_one_sentence(monkeypatch) -> None:
    def broken(*_args: object, **_options: object) -> None:
        raise RuntimeError("No working C++\ncompiler found")

    monkeypatch.setattr(torch, "compile", broken)
    with pytest.raises(
        SettingsError, match=r"it gave RuntimeError: No working C\+\+ compiler found. Leave out"
    ):
        adapt(make_model("classify"), Task(target=make_cohort("classify")), FineTune(), Run(compile=True))


@pytest.mark.slow
def test_a_compiled_training_gives_the_same_but_for_rounding(tmp_path: Path) -> None:
    source, found = make_model("classify"), []
    for compile in (False, True):
        run = Run(tmp_path / str(compile), device="cpu", progress=False, limit=Limit(1, 2), compile=compile)
        model = adapt(source, Task(target=make_cohort("classify")), FineTune(), run)
        found.append(model.state_dict())
    for name, value in found[0].items():
        torch.testing.assert_close(found[1][name], value, rtol=1e-3, atol=1e-5)
    again = load_model(tmp_path / "True" / "model").state_dict()
    assert all(torch.equal(again[name], value) for name, value in found[1].items())
