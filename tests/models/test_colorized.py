"""A backbone behind a colorization module: blocks, regrafting, files of the whole and of the module alone."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from medgraft.errors import ModelError
from medgraft.models.backbones import Classifier
from medgraft.models.colorization import DECONV, ColorModule, ColorU
from medgraft.models.colorized import Colorized, load_colorization, save_colorization
from medgraft.models.model import Model
from medgraft.models.regraft import regraft, reinitialise
from medgraft.models.spec import ModelSpec
from medgraft.models.storage import load_model
from medgraft.models.unet import UNet
from medgraft.reports.cards.model_files import read_saved_model
from medgraft.types import Preparation

IMAGES = torch.rand(3, 1, 40, 36, generator=torch.Generator().manual_seed(1))
PREPARATION = Preparation(intensity="percentiles", mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.4))


def classifier(classes: tuple[str, ...] = ("cat", "dog")) -> Classifier:
    torch.manual_seed(0)
    spec = ModelSpec(classes=classes, preparation=PREPARATION, provenance={"source": "a test"})
    return Classifier(spec, architecture="test_resnet").eval()


def module() -> ColorModule:
    torch.manual_seed(1)
    made = DECONV(width=4, blocks=1)
    torch.nn.init.normal_(made.colours.weight)
    return made.eval()


def colorized() -> Colorized:
    return Colorized.around(classifier(), module()).eval()


def test_it_is_the_backbone_on_coloured_images() -> None:
    model, backbone, colours = colorized(), classifier(), module().in_front_of(PREPARATION)
    assert torch.equal(model(IMAGES), backbone(colours(IMAGES)))
    assert torch.equal(model.features(IMAGES), backbone.features(colours(IMAGES)))
    torch.testing.assert_close(model.head_outputs(model.features(IMAGES)), model(IMAGES))
    spec = model.spec
    assert (spec.kind, spec.classes, spec.channels) == ("classify", ("cat", "dog"), 1)
    assert spec.preparation == Preparation(channels=1, intensity="percentiles")


def test_blocks_begin_with_the_module_and_hold_every_parameter_once() -> None:
    model = colorized()
    blocks = model.blocks()
    assert list(blocks) == ["colorization", *classifier().blocks()]
    named = [name for names in blocks.values() for name in names]
    assert sorted(named) == sorted(name for name, _ in model.named_parameters())
    _, maps = model.activations(IMAGES, ["colorization", "stem"])
    assert maps["colorization"].shape == (3, 3, 40, 36)


def test_regrafting_changes_the_backbone_and_keeps_the_module() -> None:
    model = colorized()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    grafted, plan = regraft(model, ("a", "b", "c"))
    assert isinstance(grafted, Colorized)
    head = ("backbone.net.fc.weight", "backbone.net.fc.bias")
    assert plan.names("new") == head and plan.names("dropped") == head
    after = grafted.state_dict()
    assert set(plan.names("loaded")) == set(after) - set(head)
    assert all(torch.equal(after[name], before[name]) for name in plan.names("loaded"))
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    shared = {p.data_ptr() for p in grafted.parameters()} & {p.data_ptr() for p in model.parameters()}
    assert not shared and grafted.training and grafted.colorization.training
    assert grafted.spec.classes == grafted.backbone.spec.classes == ("a", "b", "c")
    assert torch.equal(grafted.eval().features(IMAGES), model.features(IMAGES))
    assert grafted.spec.provenance["history"][-1].startswith("regrafted: ")


def test_regrafting_may_keep_the_sources_head() -> None:
    model = colorized()
    grafted, _ = regraft(model, ("a", "b", "c"), keep_source_head=True)
    own, kept = grafted.eval().outputs_of_both_heads(IMAGES)
    assert own.shape == (3, 3)
    torch.testing.assert_close(kept, model(IMAGES))
    with pytest.raises(ModelError, match="did not keep one"):
        model.outputs_of_both_heads(IMAGES)


def test_it_takes_one_channel_only() -> None:
    with pytest.raises(ModelError, match="one channel, which it colours, but the spec has 3"):
        regraft(colorized(), ("a", "b"), channels=3)
    with pytest.raises(ModelError, match="three channels, but got Classifier for 1 channels"):
        Colorized.around(regraft(classifier(), ("a", "b"), channels=1)[0], module())
    with pytest.raises(ModelError, match="got Colorized for 1 channels"):
        Colorized.around(colorized(), module())


def test_a_u_net_works_too() -> None:
    unet = UNet(ModelSpec(kind="segment", classes=("rest", "disc")), width=4, depth=2).eval()
    model = Colorized.around(unet, ColorU(width=4, depth=1)).eval()
    assert torch.equal(model(IMAGES), unet(IMAGES.repeat(1, 3, 1, 1)))


def test_the_bare_backbone_prepares_as_the_whole_does() -> None:
    model = colorized()
    other = model.spec.preparation.model_copy(update={"intensity": "zscore"})
    model.spec = model.spec.changed(preparation=other)
    bare = model.bare_backbone()
    assert bare.spec.preparation == PREPARATION.model_copy(update={"intensity": "zscore"})
    assert bare is not model.backbone
    colours = torch.rand(1, 3, 32, 32)
    assert torch.equal(bare(colours), model.backbone(colours))


def test_reinitialising_forgets_module_and_backbone() -> None:
    model = colorized()
    fresh = reinitialise(model)
    assert isinstance(fresh, Colorized) and fresh.blocks() == model.blocks()
    assert torch.equal(fresh.colorization.colours.weight, torch.zeros(3, 4, 1, 1))  # type: ignore[union-attr]
    assert not torch.equal(fresh(IMAGES), model(IMAGES))


# files


def test_the_whole_is_saved_with_its_parts(tmp_path: Path) -> None:
    model = colorized()
    model.save(tmp_path / "model")
    loaded = load_model(tmp_path / "model").eval()
    assert isinstance(loaded, Colorized) and loaded.spec == model.spec
    assert torch.equal(loaded(IMAGES), model(IMAGES))


def test_a_model_card_names_both_parts(tmp_path: Path) -> None:
    colorized().save(tmp_path / "model")
    assert read_saved_model(tmp_path / "model").architecture == "Colorized (DECONV, Classifier (test_resnet))"


@pytest.mark.parametrize("what", ["the module", "the model"])
def test_the_module_is_saved_alone(tmp_path: Path, what: str) -> None:
    model = colorized()
    folder = save_colorization(model.colorization if what == "the module" else model, tmp_path / "module")
    loaded = load_colorization(folder).eval()
    assert type(loaded) is DECONV and loaded.spec == model.colorization.spec
    assert torch.equal(loaded(IMAGES), model.colorization(IMAGES))
    assert not any("backbone" in name for name in loaded.state_dict())


def test_the_module_of_a_saved_model_is_found(tmp_path: Path) -> None:
    model = colorized()
    model.save(tmp_path / "model")
    assert torch.equal(load_colorization(tmp_path / "model").eval()(IMAGES), model.colorization(IMAGES))


def test_folders_and_models_without_a_module_are_refused(tmp_path: Path) -> None:
    other: Model = classifier()
    other.save(tmp_path / "other")
    with pytest.raises(
        ModelError, match="a colorization module, or a model that has one, but got a Classifier"
    ):
        load_colorization(tmp_path / "other")
    with pytest.raises(ModelError, match="save_colorization needs a colorization module"):
        save_colorization(other, tmp_path / "module")
    assert not (tmp_path / "module").exists()
    with pytest.raises(ModelError, match=r"a folder with model\.json"):
        load_colorization(tmp_path / "nowhere")


def test_a_damaged_module_is_refused(tmp_path: Path) -> None:
    folder = save_colorization(module(), tmp_path / "module")
    weights = folder / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(ModelError, match="whole files"):
        load_colorization(folder)
