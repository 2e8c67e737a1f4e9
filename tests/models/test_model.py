"""What every model promises: one-pass activations, predictions that leave no trace, a registry of names."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from medgraft.errors import ModelError
from medgraft.models.model import Model, evaluation_mode, model_class, register
from medgraft.models.spec import ModelSpec
from medgraft.types import JSON, Preparation

GREY = Preparation(channels=1)


class Tiny(Model):
    """Two convolutions around an in-place ReLU; counts its forward passes."""

    kinds = frozenset(("classify", "multilabel", "segment", "encode"))

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__(spec)
        self.stem = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4))
        self.act = nn.ReLU(inplace=True)
        self.unused = nn.Linear(2, 2)
        self.head = nn.Conv2d(4, max(1, len(spec.classes)), 1)
        self.passes = 0

    def config(self) -> JSON:
        return {}

    def forward(self, images: Tensor) -> Tensor:
        self.passes += 1
        outputs: Tensor = self.head(self.act(self.stem(images)))
        return outputs if self.spec.kind == "segment" else outputs.mean((2, 3))


def tiny(kind: str = "classify", classes: tuple[str, ...] = ("a", "b", "c")) -> Tiny:
    torch.manual_seed(0)
    return Tiny(
        ModelSpec.model_validate({"kind": kind, "classes": classes, "channels": 1, "preparation": GREY})
    )


def test_activations_come_from_one_pass_and_equal_the_parts_run_by_hand() -> None:
    model, images = tiny().eval(), torch.randn(2, 1, 5, 6)
    outputs, inner = model.activations(images, ["stem.0", "stem", "act", "head"])
    assert model.passes == 1
    torch.testing.assert_close(inner["stem.0"], model.stem[0](images))
    # the in-place ReLU behind it must not have changed what was kept
    assert (inner["stem"] < 0).any()
    torch.testing.assert_close(inner["stem"], model.stem(images))
    torch.testing.assert_close(inner["act"], model.stem(images).relu())
    torch.testing.assert_close(outputs, inner["head"].mean((2, 3)))


def test_activations_lie_on_the_path_of_the_gradient() -> None:
    model, images = tiny().eval(), torch.randn(1, 1, 4, 4)
    outputs, inner = model.activations(images, ["act"])
    (gradient,) = torch.autograd.grad(outputs[0, 1], inner["act"])
    expected = model.head.weight[1, :, 0, 0] / 16
    torch.testing.assert_close(gradient[0, :, 2, 3], expected)


def test_activations_leave_no_hooks_even_after_a_failure() -> None:
    model = tiny()
    with pytest.raises(RuntimeError):
        model.activations(torch.zeros(1, 2, 4, 4), ["stem"])
    assert not model.stem._forward_hooks


def test_an_unknown_part_is_answered_with_the_nearest_names() -> None:
    with pytest.raises(ModelError, match=r"no part 'stme'.*Nearest names: stem"):
        tiny().activations(torch.zeros(1, 1, 4, 4), ["stme"])


def test_a_part_that_does_not_run_is_named() -> None:
    with pytest.raises(ModelError, match="unused did not"):
        tiny().activations(torch.zeros(1, 1, 4, 4), ["unused"])


def test_classes_are_predicted_by_softmax() -> None:
    model, images = tiny(), torch.randn(3, 1, 4, 4)
    predicted = model.predict(images)
    by_hand = predicted.outputs.exp() / predicted.outputs.exp().sum(1, keepdim=True)
    torch.testing.assert_close(predicted.probabilities, by_hand)
    assert predicted.labels.tolist() == [row.index(max(row)) for row in predicted.outputs.tolist()]
    assert not predicted.outputs.requires_grad


def test_labels_are_predicted_by_sigmoid() -> None:
    predicted = tiny("multilabel").predict(torch.randn(50, 1, 4, 4) * 5)
    torch.testing.assert_close(predicted.probabilities, 1 / (1 + (-predicted.outputs).exp()))
    assert torch.equal(predicted.labels, (predicted.outputs > 0).long())
    assert 0 < predicted.labels.float().mean() < 1


def test_pixels_are_predicted_over_the_class_axis() -> None:
    predicted = tiny("segment").predict(torch.randn(2, 1, 5, 7))
    assert predicted.labels.shape == (2, 5, 7)
    torch.testing.assert_close(predicted.probabilities.sum(1), torch.ones(2, 5, 7))
    assert torch.equal(predicted.labels, predicted.probabilities.argmax(1))


def test_an_encoder_predicts_nothing() -> None:
    with pytest.raises(ModelError, match="'encode'"):
        tiny("encode", ()).predict(torch.zeros(1, 1, 4, 4))


def test_predicting_restores_every_mode_and_statistic() -> None:
    model = tiny()
    model.train()
    model.stem[1].eval()
    before = model.stem[1].running_mean.clone()
    model.predict(torch.randn(4, 1, 4, 4))
    assert model.training and model.stem.training and not model.stem[1].training
    assert torch.equal(model.stem[1].running_mean, before)


def test_modes_are_restored_after_an_error() -> None:
    model = tiny().train()
    with pytest.raises(ValueError, match="stop"), evaluation_mode(model):
        assert not model.act.training
        raise ValueError("stop")
    assert all(part.training for part in model.modules())


def test_predicting_a_batch_of_one_equals_its_row_in_a_larger_batch() -> None:
    model, images = tiny(), torch.randn(5, 1, 4, 4)
    torch.testing.assert_close(model.predict(images).outputs[2:3], model.predict(images[2:3]).outputs)


def test_a_kind_that_the_class_cannot_serve_is_refused() -> None:
    with pytest.raises(ModelError, match="'detect'"):
        tiny("detect", ("a",))


def test_built_in_classes_are_found_by_name() -> None:
    assert model_class("UNet").__name__ == "UNet"
    assert model_class("Classifier").__name__ == "Classifier"
    with pytest.raises(ModelError, match=r"Classifier.*SimpleClassifier.*UNet.*'Nobody'"):
        model_class("Nobody")


def test_two_classes_of_one_name_are_refused_naming_both_owners() -> None:
    model_class("UNet")
    impostor = type("UNet", (Model,), {"__module__": "elsewhere.nets"})
    with pytest.raises(ModelError, match=r"medgraft\.models\.unet and elsewhere\.nets"):
        register(impostor)
