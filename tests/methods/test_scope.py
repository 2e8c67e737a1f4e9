"""Which blocks methods train: by name against the weights that changed."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from medgraft.data.task import Task
from medgraft.engine.method import Method, adapt
from medgraft.engine.run import Limit, Run
from medgraft.engine.schedule import Schedule
from medgraft.errors import SettingsError
from medgraft.methods import L2SP, MMTL, OCTL, FineTune
from medgraft.methods.scope import trained_blocks
from medgraft.models.model import Model
from medgraft.models.optimizer_history import record_history
from medgraft.models.regraft import regraft
from medgraft.testing import make_cohort, make_model

SCHEDULE = Schedule(epochs=2, steps_per_epoch=1, batch_size=4, optimizer="adam", weight_decay=0.0, lr=1e-2)


def source_model() -> Model:
    model = make_model("segment")
    optimizer = torch.optim.Adam(model.parameters(), lr=0.0)
    model(torch.rand(2, model.spec.channels, 32, 32)).square().mean().backward()
    optimizer.step()
    model.optimizer_history = record_history(optimizer, model)
    return model


def changed_blocks(method: Method) -> set[str]:
    source = source_model()
    task = Task(source=make_cohort("segment", "A"), target=make_cohort("segment", "B"))
    adapted = adapt(source, task, method, Run(device="cpu", progress=False, limit=Limit(), select="last"))
    before = dict(source.named_parameters())
    return {
        block
        for block, names in adapted.blocks().items()
        if any(not torch.equal(adapted.get_parameter(name), before[name]) for name in names)
    }


@pytest.mark.parametrize("method", [FineTune, L2SP, MMTL, OCTL])
@pytest.mark.parametrize(
    ("settings", "trained"),
    [
        ({"scope": "first"}, {"encoder1"}),
        ({"scope": "last", "blocks": 2}, {"decoder2", "decoder1", "head"}),
        ({"scope": ("bottleneck",)}, {"bottleneck"}),
    ],
    ids=["first", "last", "named"],
)
def test_only_the_scope_is_trained(method: type[Method], settings: dict[str, Any], trained: set[str]) -> None:
    own = settings | {"augmentation": None, "schedule": SCHEDULE}
    own |= {"min_target": 2} if method is MMTL else {}
    found = changed_blocks(method(**own))
    assert found == {name for name in trained if name in source_model().blocks()}


def test_a_new_head_is_always_trained_at_its_own_rate() -> None:
    model, plan = regraft(make_model("segment"), ("background", "vessel"))
    assert trained_blocks(model, ("encoder1",), 1, plan, head_lr_factor=5.0) == {"encoder1": 1.0, "head": 5.0}
    kept, plan = regraft(make_model("segment"), ("background", "disc"))
    assert trained_blocks(kept, "first", 1, plan, head_lr_factor=5.0) == {"encoder1": 1.0}
    assert set(trained_blocks(kept, "all", 1, plan, head_lr_factor=5.0).values()) == {1.0}


def test_a_head_kept_from_the_source_is_no_last_block() -> None:
    model, plan = regraft(make_model("segment"), ("background", "vessel"), keep_source_head=True)
    assert "source_head" in model.blocks()
    assert list(trained_blocks(model, "last", 1, plan)) == ["decoder1", "head"]


def test_unknown_blocks_are_refused() -> None:
    model, plan = regraft(make_model("segment"), ("background", "disc"))
    with pytest.raises(SettingsError, match="it names 'encoder9'"):
        trained_blocks(model, ("encoder9",), 1, plan)
