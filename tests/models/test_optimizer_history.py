"""An optimiser given its memory back goes on as if it had never stopped."""

from __future__ import annotations

import pytest
import torch

from medgraft.errors import ModelError
from medgraft.models.backbones import Classifier
from medgraft.models.optimizer_history import record_history, restore_history
from medgraft.models.regraft import regraft
from medgraft.models.spec import ModelSpec


def make() -> Classifier:
    torch.manual_seed(0)
    return Classifier(ModelSpec(classes=("a", "b")), architecture="test_resnet").eval()


def step(model: Classifier, optimizer: torch.optim.Optimizer, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    optimizer.zero_grad()
    model(torch.randn(2, 3, 32, 32, generator=generator)).square().mean().backward()
    optimizer.step()


@pytest.mark.parametrize("kind", [torch.optim.AdamW, torch.optim.SGD])
def test_going_on_equals_not_stopping(kind: type[torch.optim.Optimizer]) -> None:
    options = {"lr": 0.01} | ({"momentum": 0.9} if kind is torch.optim.SGD else {})
    straight = make()
    optimizer = kind(straight.parameters(), **options)
    step(straight, optimizer, 1)
    halfway, history = (
        {n: t.clone() for n, t in straight.state_dict().items()},
        record_history(optimizer, straight),
    )
    step(straight, optimizer, 2)

    resumed = make()
    resumed.load_state_dict(halfway)
    fresh = kind(resumed.parameters(), **options)
    assert restore_history(history, fresh, resumed) == ()
    step(resumed, fresh, 2)
    forgetful = make()
    forgetful.load_state_dict(halfway)
    step(forgetful, kind(forgetful.parameters(), **options), 2)
    for name, tensor in straight.state_dict().items():
        assert torch.equal(tensor, resumed.state_dict()[name])
    assert not torch.equal(straight.net.fc.weight, forgetful.net.fc.weight)


def test_the_memory_of_a_replaced_head_is_left_out_by_name() -> None:
    model = make()
    optimizer = torch.optim.AdamW(model.parameters())
    step(model, optimizer, 1)
    history = record_history(optimizer, model)
    grafted, _ = regraft(model, ("x", "y", "z"))
    assert restore_history(history, torch.optim.AdamW(grafted.parameters()), grafted) == (
        "net.fc.weight",
        "net.fc.bias",
    )


def test_recording_copies() -> None:
    model = make()
    optimizer = torch.optim.AdamW(model.parameters())
    step(model, optimizer, 1)
    history = record_history(optimizer, model)
    before = torch.as_tensor(history.state["net.fc.weight"]["exp_avg"]).clone()
    step(model, optimizer, 2)
    assert torch.equal(torch.as_tensor(history.state["net.fc.weight"]["exp_avg"]), before)


def test_another_kind_of_optimiser_is_refused() -> None:
    model = make()
    history = record_history(torch.optim.AdamW(model.parameters()), model)
    with pytest.raises(ModelError, match="class AdamW, but got SGD"):
        restore_history(history, torch.optim.SGD(model.parameters(), lr=1.0), model)
