"""Regrafting: what is kept is bit-equal, what is adapted is what the formula says, and the plan tells all."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from timm.models._manipulate import adapt_input_conv
from torch.nn import functional

from medgraft.errors import ModelError
from medgraft.models.backbones import Classifier
from medgraft.models.model import Model, register
from medgraft.models.regraft import Plan, adapt_channels, regraft, reinitialise, transfer
from medgraft.models.spec import ModelSpec
from medgraft.models.storage import load_model, save_model
from medgraft.models.unet import UNet
from medgraft.types import JSON, Kind, Preparation


def source(architecture: str = "test_resnet", size: tuple[int, int] | None = None) -> Classifier:
    torch.manual_seed(0)
    preparation = Preparation(size=size, mean=(0.1, 0.2, 0.3), std=(0.5, 0.5, 0.5))
    spec = ModelSpec(classes=("cat", "dog"), preparation=preparation, provenance={"source": "a test"})
    model = Classifier(spec, architecture=architecture)
    for buffer in model.buffers():
        if buffer.dtype.is_floating_point:
            buffer.uniform_(0.5, 1.5)
    return model


def unet(kind: Kind = "segment", classes: tuple[str, ...] = ("rest", "nucleus")) -> UNet:
    torch.manual_seed(0)
    return UNet(ModelSpec(kind=kind, classes=classes), width=4, depth=2, residual=True)


def untouched(model: Model) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def test_new_classes_get_a_new_head_on_the_same_body() -> None:
    model = source()
    before = untouched(model)
    grafted, plan = regraft(model, ["a", "b", "c"])
    assert same(before, untouched(model)) and model.spec.classes == ("cat", "dog")
    after = grafted.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in plan.names("loaded"))
    assert len(plan.names("loaded")) == len(before) - 2
    assert plan.names("new") == plan.names("dropped") == ("net.fc.weight", "net.fc.bias")
    assert grafted(torch.zeros(1, 3, 64, 64)).shape == (1, 3)
    assert plan.has_new_head
    shared = {p.data_ptr() for p in grafted.parameters()} & {p.data_ptr() for p in model.parameters()}
    assert not shared


def test_the_same_classes_keep_their_head_bit_for_bit() -> None:
    model = source()
    grafted, plan = regraft(model, ("cat", "dog"))
    assert same(untouched(model), untouched(grafted))
    assert not plan.has_new_head and not plan.names("adapted") and not plan.names("dropped")


@pytest.mark.parametrize("classes", [("dog", "cat"), ("cat", "cow")])
def test_as_many_classes_of_other_names_or_order_still_get_a_new_head(classes: tuple[str, ...]) -> None:
    grafted, plan = regraft(source(), classes)
    assert plan.names("new") == ("net.fc.weight", "net.fc.bias")
    assert not torch.equal(grafted.state_dict()["net.fc.weight"], source().state_dict()["net.fc.weight"])


def test_the_new_head_follows_the_global_seed() -> None:
    model = source()
    heads = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        heads.append(regraft(model, ("a", "b"))[0].state_dict()["net.fc.weight"])
    assert torch.equal(heads[0], heads[1]) and not torch.equal(heads[0], heads[2])


@pytest.mark.parametrize("channels", [1, 2, 4, 7])
def test_channels_are_adapted_as_timm_adapts_three(channels: int) -> None:
    weight = torch.randn(5, 3, 3, 3)
    torch.testing.assert_close(adapt_channels(weight, channels), adapt_input_conv(channels, weight.clone()))


def test_one_channel_replicated_answers_as_before() -> None:
    weight = torch.randn(5, 1, 3, 3)
    grey = torch.randn(2, 1, 8, 8)
    torch.testing.assert_close(
        torch.conv2d(grey.expand(-1, 3, -1, -1), adapt_channels(weight, 3)), torch.conv2d(grey, weight)
    )


def test_a_grey_model_answers_grey_images_as_the_colour_model_answers_their_copies() -> None:
    model = source().eval()
    grafted, plan = regraft(model, model.spec.classes, channels=1)
    assert plan.names("adapted") == ("net.conv1.0.weight",)
    assert {
        "tensor": "net.conv1.0.weight",
        "outcome": "adapted",
        "from": "16x3x3x3",
        "to": "16x1x3x3",
    } in plan.table()
    grey = torch.randn(2, 1, 64, 64)
    torch.testing.assert_close(grafted.eval()(grey), model(grey.expand(-1, 3, -1, -1)), rtol=1e-4, atol=1e-5)
    assert grafted.spec.channels == grafted.spec.preparation.channels == 1
    assert grafted.spec.preparation.mean == pytest.approx((0.2,))


def test_a_unets_shortcut_is_adapted_with_its_first_convolution() -> None:
    _, plan = regraft(unet(), ("rest", "nucleus"), channels=1)
    assert plan.names("adapted") == ("encoder1.first.weight", "encoder1.shortcut.weight")
    assert not plan.names("new")


def test_position_embeddings_are_interpolated_to_the_new_size() -> None:
    model = source("test_vit", size=(160, 160))
    grafted, plan = regraft(model, model.spec.classes, size=(96, 64))
    assert plan.names("adapted") == ("net.pos_embed",)
    assert not plan.names("new") and not plan.names("dropped")
    old = model.state_dict()["net.pos_embed"]
    grid = old[:, 1:].reshape(1, 10, 10, -1).permute(0, 3, 1, 2)
    new = functional.interpolate(grid, size=(6, 4), mode="bicubic", antialias=True)
    expected = torch.cat([old[:, :1], new.flatten(2).transpose(1, 2)], dim=1)
    torch.testing.assert_close(grafted.state_dict()["net.pos_embed"], expected)
    assert grafted(torch.zeros(1, 3, 96, 64)).shape == (1, 2)
    assert grafted.spec.preparation.size == (96, 64)


def test_relative_positions_of_swin_are_interpolated_and_going_back_builds_the_first_shapes() -> None:
    model = source("swin_tiny_patch4_window7_224")
    small, plan = regraft(model, model.spec.classes, size=(128, 128))
    assert plan.names("adapted")
    assert all(name.endswith("relative_position_bias_table") for name in plan.names("adapted"))
    assert not plan.names("new")
    for name in plan.names("adapted"):
        # the bias of a patch towards itself stands in the middle of the table and must stay there
        old, new = model.state_dict()[name], small.state_dict()[name]
        torch.testing.assert_close(new[len(new) // 2], old[len(old) // 2])
    back, _ = regraft(small, model.spec.classes, size=(224, 224))
    assert {n: t.shape for n, t in back.state_dict().items()} == {
        n: t.shape for n, t in model.state_dict().items()
    }


def test_size_of_a_convolutional_network_changes_the_preparation_alone() -> None:
    model = source()
    grafted, plan = regraft(model, model.spec.classes, size=(48, 40))
    assert same(untouched(model), untouched(grafted)) and not plan.names("adapted")
    assert grafted.spec.preparation.size == (48, 40)


def test_spacing_gives_way_to_size() -> None:
    model = source()
    model.spec = model.spec.changed(preparation=Preparation(spacing=(0.5, 0.5)))
    assert regraft(model, ("a", "b"), size=(8, 8))[0].spec.preparation.spacing is None
    assert regraft(model, ("a", "b"))[0].spec.preparation.spacing == (0.5, 0.5)


def test_the_source_head_is_kept_beside_the_new_one() -> None:
    model = source().eval()
    grafted, plan = regraft(model, ("a", "b", "c"), keep_source_head=True)
    assert isinstance(grafted, Classifier) and grafted.source_classes == ("cat", "dog")
    images = torch.randn(2, 3, 64, 64)
    features = grafted.eval().features(images)
    torch.testing.assert_close(grafted.source_outputs(features), model(images))
    assert list(grafted.blocks())[-2:] == ["source_head", "head"]
    assert "source_head.weight" in plan.names("loaded")
    listed = [name for names in grafted.blocks().values() for name in names]
    assert sorted(listed) == sorted(name for name, _ in grafted.named_parameters())


@pytest.mark.parametrize("make", [source, unet])
def test_both_heads_see_one_pass_through_the_body(make: Callable[[], Model]) -> None:
    model = make().eval()
    grafted, _ = regraft(model, ("a", "b", "c"), keep_source_head=True)
    grafted.eval()
    images, passes = torch.randn(2, 3, 50, 37), []
    grafted.get_submodule(next(iter(grafted.blocks()["stem" if make is source else "encoder1"])).rsplit(".", 1)[0]
        ).register_forward_hook(lambda *_: passes.append(1))  # fmt: skip
    own, kept = grafted.outputs_of_both_heads(images)
    assert len(passes) == 1
    torch.testing.assert_close(own, grafted(images))
    torch.testing.assert_close(kept, model(images))
    assert own.shape[1] == 3 and kept.shape[1] == 2
    with pytest.raises(ModelError, match="keep_source_head=True"):
        model.outputs_of_both_heads(images)


def test_a_segmenter_keeps_its_head_through_storage(tmp_path: Path) -> None:
    grafted, plan = regraft(unet(), ("a", "b", "c"), keep_source_head=True)
    assert list(grafted.blocks())[-2:] == ["source_head", "head"]
    assert {"source_head.weight", "source_head.bias"} <= set(plan.names("loaded"))
    loaded = load_model(save_model(grafted, tmp_path / "model"))
    assert isinstance(loaded, UNet) and loaded.source_classes == ("rest", "nucleus")
    assert same(untouched(grafted), untouched(loaded))


def test_a_kept_head_goes_with_the_next_regraft_unless_asked_for_again() -> None:
    kept, _ = regraft(source(), ("a", "b"), keep_source_head=True)
    bare, plan = regraft(kept, ("a", "b"))
    assert isinstance(bare, Classifier) and bare.source_head is None
    assert plan.names("dropped") == ("source_head.weight", "source_head.bias")
    with pytest.raises(ModelError, match="keep_source_head=True"):
        bare.source_outputs(torch.zeros(1, 96))


def test_kinds_change_where_the_network_can() -> None:
    encoder, plan = regraft(source(), (), kind="encode")
    assert encoder.spec.kind == "encode" and plan.names("dropped") == ("net.fc.weight", "net.fc.bias")
    assert regraft(encoder, ("a", "b"))[0].spec.kind == "classify"
    relabelled, plan = regraft(source(), ("cat", "dog"), kind="multilabel")
    assert relabelled.spec.kind == "multilabel" and plan.has_new_head
    assert regraft(unet("encode", ()), ("rest", "nucleus"))[0].spec.kind == "segment"
    with pytest.raises(ModelError, match=r"can segment, but Classifier.*random/unet"):
        regraft(source(), ("a", "b"), kind="segment")
    with pytest.raises(ModelError, match="can classify, but UNet"):
        regraft(unet(), ("a", "b"), kind="classify")


@pytest.mark.parametrize(
    ("classes", "options", "message"),
    [
        (("a", "a"), {}, "class names must differ; repeated: a"),
        (("a",), {}, "at least 2 classes"),
        ((), {"kind": "encode", "keep_source_head": True}, None),
    ],
)
def test_classes_that_make_no_sense_are_refused(
    classes: tuple[str, ...], options: JSON, message: str | None
) -> None:
    if message is None:
        assert isinstance(regraft(source(), classes, **options)[0], Classifier)
        return
    with pytest.raises(ModelError, match=message):
        regraft(source(), classes, **options)


def test_keeping_a_head_that_is_not_there_is_refused() -> None:
    for model in (regraft(source(), (), kind="encode")[0], regraft(unet(), (), kind="encode")[0]):
        with pytest.raises(ModelError, match="a classifier or a U-Net with a head to keep"):
            regraft(model, ("a", "b"), keep_source_head=True)


@register
class Wrapping(Model):
    """Wraps a model."""

    kinds = frozenset(("classify",))

    def __init__(self, spec: ModelSpec, inner: Model) -> None:
        super().__init__(spec)
        self.inner = inner

    def config(self) -> JSON:
        return {"inner": self.inner}


def test_wrappers_are_refused_by_name() -> None:
    inner = source()
    with pytest.raises(ModelError, match=r"Wrapping does. Regraft its inner model"):
        regraft(Wrapping(inner.spec, inner), ("a", "b"))


def test_the_plan_counts_every_tensor_of_both_once() -> None:
    model = source()
    grafted, plan = regraft(model, ("a", "b", "c"), channels=1)
    kept = [row for row in plan.rows if row.shape_to is not None]
    assert [row.tensor for row in kept] == list(grafted.state_dict())
    assert all(row.shape_to == grafted.state_dict()[row.tensor].shape for row in kept)
    assert {r.tensor for r in plan.rows if r.shape_from is not None} == set(model.state_dict())
    total = len(model.state_dict())
    assert plan.summary() == (
        f"{total - 3} loaded, 1 adapted (net.conv1.0.weight), 2 dropped (net.fc.weight, net.fc.bias), "
        "2 new (net.fc.weight, net.fc.bias)."
    )
    assert grafted.spec.provenance == {"source": "a test", "history": [f"regrafted: {plan.summary()}"]}
    assert Plan(()).table() == []


def test_reinitialising_forgets_everything_and_follows_the_seed() -> None:
    model = source()
    before = untouched(model)
    torch.manual_seed(5)
    first = reinitialise(model)
    torch.manual_seed(5)
    second = reinitialise(model)
    assert same(untouched(first), untouched(second)) and same(before, untouched(model))
    after = first.state_dict()
    kept = [name for name in before if before[name].ndim > 1 and torch.equal(before[name], after[name])]
    assert not kept
    for name, tensor in after.items():
        if name.endswith("running_mean"):
            assert not tensor.any()
        if name.endswith("running_var"):
            assert torch.equal(tensor, torch.ones_like(tensor))
    assert first.spec.provenance == {"source": "random", "architecture_of": "a test"}
    assert first.spec.classes == model.spec.classes and first.spec.preparation == model.spec.preparation


def volume_unet(flat_levels: int = 0, classes: tuple[str, ...] = ("rest", "nucleus")) -> UNet:
    torch.manual_seed(1)
    spec = ModelSpec(kind="segment", classes=classes, preparation=Preparation(dimensions=3))
    model = UNet(spec, width=4, depth=2, residual=True, flat_levels=flat_levels)
    for buffer in model.buffers():
        if buffer.dtype.is_floating_point:
            buffer.uniform_(0.5, 1.5)
    return model


def test_volume_networks_get_other_classes_and_channels_like_those_of_images() -> None:
    model = volume_unet(flat_levels=1)
    grafted, plan = regraft(model, ("rest", "lesion", "vessel"), channels=1)
    assert plan.names("new") == plan.names("dropped") == ("head.weight", "head.bias")
    assert plan.names("adapted") == ("encoder1.first.weight", "encoder1.shortcut.weight")
    same_head, _ = regraft(model, model.spec.classes, channels=1)
    grey = torch.randn(1, 1, 5, 9, 8)
    expected = model.eval()(grey.expand(-1, 3, -1, -1, -1))
    torch.testing.assert_close(same_head.eval()(grey), expected, rtol=1e-4, atol=1e-5)
    assert grafted.config() == model.config()
    assert grafted(grey).shape == (1, 3, 5, 9, 8)


def test_an_image_network_made_one_of_volumes_answers_alike_slices_as_it_answered_the_image() -> None:
    model = unet()
    for buffer in model.buffers():
        if buffer.dtype.is_floating_point:
            buffer.uniform_(0.5, 1.5)
    before = untouched(model)
    grafted, plan = regraft(model, model.spec.classes, dimensions=3)
    assert same(before, untouched(model)) and grafted.spec.preparation.dimensions == 3
    filters = [name for name, tensor in before.items() if tensor.ndim == 4]
    assert sorted(plan.names("adapted")) == sorted(filters)
    assert not plan.names("new") and not plan.names("dropped")
    row = {"tensor": "bottleneck.first.weight", "outcome": "adapted", "from": "16x8x3x3", "to": "16x8x3x3x3"}
    assert row in plan.table()
    image = torch.randn(2, 3, 13, 10)
    answers = grafted.eval()(image[:, :, None].expand(-1, -1, 7, -1, -1))
    for index in range(7):  # the outermost slices too, although zeros lie beyond them
        torch.testing.assert_close(answers[:, :, index], model.eval()(image), rtol=1e-4, atol=1e-5)


def test_filters_of_images_fit_a_volume_network_whose_levels_all_stay_within_slices() -> None:
    flat, deep = unet(), volume_unet(flat_levels=2)
    plan = transfer(flat.state_dict(), deep)
    assert not plan.names("new") and not plan.names("dropped")
    volume = torch.randn(1, 3, 4, 9, 12)
    answers = deep.eval()(volume)
    for index in range(4):
        expected = flat.eval()(volume[:, :, index])
        torch.testing.assert_close(answers[:, :, index], expected, rtol=1e-4, atol=1e-5)


def test_becoming_a_volume_network_drops_what_the_preparation_said_of_images() -> None:
    preparation = Preparation(size=(32, 32), intensity="zscore")
    spec = ModelSpec(kind="segment", classes=("rest", "nucleus"), preparation=preparation)
    grafted, _ = regraft(UNet(spec, width=4, depth=2), ("a", "b"), channels=1, dimensions=3)
    assert grafted.spec.preparation == Preparation(dimensions=3, channels=1, intensity="zscore")


def test_changes_of_dimensions_that_make_no_sense_get_one_sentence() -> None:
    with pytest.raises(ModelError, match="got a UNet of 3 dimensions"):
        regraft(volume_unet(), ("a", "b"), dimensions=2)
    with pytest.raises(ModelError, match="got a Classifier of 2 dimensions"):
        regraft(source(), ("a", "b"), dimensions=3)
    preparation = Preparation(channels=3, slices=3)
    spec = ModelSpec(kind="segment", classes=("rest", "nucleus"), preparation=preparation)
    with pytest.raises(ModelError, match="sees 3 as channels"):
        regraft(UNet(spec, width=4, depth=2), ("a", "b"), dimensions=3)
