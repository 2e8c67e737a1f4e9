"""The method `simsiam`: its loss, the rate of its predictor, and that a missing predictor would collapse."""

from __future__ import annotations

import pytest
import torch

from medgraft.engine.run import Run
from medgraft.engine.schedule import Schedule
from medgraft.pretraining import SimSiam
from medgraft.pretraining.simsiam import Prediction
from medgraft.testing import make_cohort, make_model
from medgraft.types import Progress

GREY = make_cohort("encode")
NOW = Progress(0, 1)


def run(**options: object) -> Run:
    return Run(device="cpu", progress=False, workers=0, **options)  # type: ignore[arg-type]


def small(epochs: int = 4, batch: int = 8, lr: float = 0.05, **schedule: object) -> SimSiam:
    told = Schedule(epochs=epochs, batch_size=batch, optimizer="sgd", lr=lr, **schedule)  # type: ignore[arg-type]
    return SimSiam(dimension=16, bottleneck=16, schedule=told)


def objective(method: SimSiam) -> Prediction:
    torch.manual_seed(0)
    model = make_model("encode")
    features = model.features(torch.zeros(2, 1, 32, 32)).shape[1]
    rows = run().loader(GREY, model.spec.preparation)
    return method.objective(model, rows, method.heads(model, features))


def test_the_published_training_is_the_default() -> None:
    schedule = SimSiam().schedule
    assert (schedule.optimizer, schedule.lr, schedule.momentum) == ("sgd", 0.05, 0.9)
    assert (schedule.batch_size, schedule.weight_decay, schedule.epochs) == (256, 1e-4, 100)
    assert SimSiam().bottleneck * 4 == SimSiam().dimension


def test_its_predictor_is_the_published_one() -> None:
    """`Linear(dim, pred_dim, bias=False), BatchNorm1d, ReLU, Linear(pred_dim, dim)` of the published code."""
    layers = SimSiam(dimension=16, bottleneck=4).heads(make_model("encode"), 8)["predictor"].layers
    assert isinstance(layers, torch.nn.Sequential)
    assert [type(layer).__name__ for layer in layers] == ["Linear", "BatchNorm1d", "ReLU", "Linear"]
    shapes = [tuple(tensor.shape) for tensor in layers.parameters()]
    assert shapes == [(4, 16), (4,), (4,), (16, 4), (16,)]


def test_its_loss_is_the_mean_of_both_directions_with_gradients_to_the_predicting_one() -> None:
    learning = objective(small()).train()
    step = next(iter(learning.batches(NOW, run())))
    loss = learning.loss(step, "main", NOW).total
    gradient = torch.autograd.grad(loss, learning.projector.parameters())

    z1, z2 = (learning.projector(learning.model.features(step.tensors[view])) for view in ("first", "second"))
    p1, p2 = learning.predictor(z1), learning.predictor(z2)

    def likeness(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
        return (
            ((one / one.norm(dim=1, keepdim=True)) * (other / other.norm(dim=1, keepdim=True))).sum(1).mean()
        )

    expected = -likeness(p1, z2.detach()) / 2 - likeness(p2, z1.detach()) / 2
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    for one, other in zip(gradient, torch.autograd.grad(expected, learning.projector.parameters())):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("warmup", [0, 2])
def test_the_predictor_keeps_its_rate_while_the_rest_slows_down(warmup: int) -> None:
    method = small(epochs=4, warmup_epochs=warmup)
    learning = objective(method)
    for epoch in range(4):
        learning.batches(Progress(epoch, 4), run())
        rest, predictor = learning.groups("main")
        now = method.schedule.learning_rate(epoch)
        assert now * rest.lr_factor == pytest.approx(now)
        assert now * predictor.lr_factor == pytest.approx(0.05)
    assert set(predictor.parameters) == set(learning.predictor.parameters())
    assert set(rest.parameters) == {*learning.model.parameters(), *learning.projector.parameters()}


def test_its_embeddings_are_standardised_and_its_predictions_are_not() -> None:
    learning = objective(small()).train()
    embedded = learning.projector(torch.randn(8, learning.projector.layers[0].in_features))  # type: ignore[arg-type]
    torch.testing.assert_close(embedded.mean(0), torch.zeros(16), atol=1e-5, rtol=0)
    assert not isinstance(list(learning.predictor.modules())[-1], torch.nn.BatchNorm1d)
