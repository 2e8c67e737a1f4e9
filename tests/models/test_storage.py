"""Stored models come back bit for bit; damage, strangers and interruptions each get one sentence."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from torch import Tensor

from medgraft.errors import ModelError, RunError
from medgraft.models import storage
from medgraft.models.backbones import Classifier
from medgraft.models.model import Model, register
from medgraft.models.optimizer_history import record_history
from medgraft.models.regraft import regraft
from medgraft.models.spec import ModelSpec
from medgraft.models.storage import from_tree, load_model, load_optimizer_history, save_model, tree
from medgraft.models.unet import UNet
from medgraft.types import JSON, Preparation


def make(seed: int = 0) -> Classifier:
    torch.manual_seed(seed)
    spec = ModelSpec(
        classes=("a", "b"), preparation=Preparation(size=(64, 64)), provenance={"source": "a test", "n": 3}
    )
    return Classifier(spec, architecture="test_resnet")


def same(first: Model, second: Model) -> bool:
    one, two = first.state_dict(), second.state_dict()
    return list(one) == list(two) and all(torch.equal(one[name], two[name]) for name in one)


@register
class MeanOfTwo(Model):
    """Averages two models: a wrapper with inner trees, in a list."""

    kinds = frozenset(("classify",))

    def __init__(self, spec: ModelSpec, members: list[Model], label: str) -> None:
        super().__init__(spec)
        self.members, self.label = torch.nn.ModuleList(members), label

    def config(self) -> JSON:
        return {"members": list(self.members), "label": self.label}

    def forward(self, images: Tensor) -> Tensor:
        return torch.stack([member(images) for member in self.members]).mean(0)


def test_saved_equals_loaded(tmp_path: Path) -> None:
    model = make()
    assert save_model(model, tmp_path / "m") == tmp_path / "m"
    loaded = load_model(tmp_path / "m")
    assert same(model, loaded) and loaded.spec == model.spec
    images = torch.randn(2, 3, 64, 64)
    assert torch.equal(loaded.predict(images).outputs, model.predict(images).outputs)
    assert sorted(path.name for path in (tmp_path / "m").iterdir()) == ["model.json", "model.safetensors"]
    assert [path.name for path in tmp_path.iterdir()] == ["m"]


def test_the_same_model_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        save_model(make(), tmp_path / name)
    for file in ("model.json", "model.safetensors"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()


def test_every_class_and_option_comes_back(tmp_path: Path) -> None:
    kept, _ = regraft(make(), ("x", "y", "z"), channels=1, keep_source_head=True)
    spec = ModelSpec(kind="segment", classes=("rest", "nucleus"))
    net = UNet(spec, width=4, depth=1, residual=True, norm="group")
    for number, model in enumerate((kept, net)):
        loaded = load_model(save_model(model, tmp_path / str(number)))
        assert same(model, loaded) and loaded.config() == model.config() and loaded.spec == model.spec


def test_resized_transformers_come_back_at_their_size(tmp_path: Path) -> None:
    torch.manual_seed(0)
    spec = ModelSpec(classes=("a", "b"), preparation=Preparation(size=(96, 96)))
    model = Classifier(spec, architecture="test_vit")
    assert same(model, load_model(save_model(model, tmp_path / "m")))


def test_models_inside_models_come_back_from_one_file(tmp_path: Path) -> None:
    inner = MeanOfTwo(make().spec, [make(1), make(2)], "inner")
    outer = MeanOfTwo(make().spec, [inner, make(3)], "outer")
    loaded = load_model(save_model(outer, tmp_path / "m"))
    assert same(outer, loaded)
    assert isinstance(loaded, MeanOfTwo) and loaded.label == "outer"
    assert isinstance(loaded.members[0], MeanOfTwo) and loaded.members[0].label == "inner"
    images = torch.randn(1, 3, 64, 64)
    assert torch.equal(outer.predict(images).outputs, loaded.predict(images).outputs)
    assert len(list((tmp_path / "m").glob("*.safetensors"))) == 1


def test_the_tree_is_json_and_rebuilds_the_shape() -> None:
    model = MeanOfTwo(make().spec, [make(1), make(2)], "x")
    described = json.loads(json.dumps(tree(model)))
    rebuilt = from_tree(described)
    assert {n: t.shape for n, t in rebuilt.state_dict().items()} == {
        n: t.shape for n, t in model.state_dict().items()
    }


def test_channels_last_and_shared_tensors_are_stored_alike(tmp_path: Path) -> None:
    shared = make(1)
    model = MeanOfTwo(make().spec, [shared, shared], "tied").to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    assert same(model, load_model(save_model(model, tmp_path / "m")))


def test_an_existing_folder_is_kept_unless_told_otherwise(tmp_path: Path) -> None:
    save_model(make(1), tmp_path / "m")
    with pytest.raises(ModelError, match="overwrite=True"):
        save_model(make(2), tmp_path / "m")
    assert same(load_model(tmp_path / "m"), make(1))
    save_model(make(2), tmp_path / "m", overwrite=True)
    assert same(load_model(tmp_path / "m"), make(2))
    assert [path.name for path in tmp_path.iterdir()] == ["m"]


def test_a_folder_of_other_things_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "scans").mkdir()
    (tmp_path / "scans" / "note.txt").write_text("keep me")
    with pytest.raises(ModelError, match="holds no model"):
        save_model(make(), tmp_path / "scans", overwrite=True)
    assert (tmp_path / "scans" / "note.txt").read_text() == "keep me"


def test_a_failing_write_leaves_the_previous_model_and_no_debris(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_model(make(1), tmp_path / "m")

    def full(path: Path, content: bytes) -> None:
        path.write_bytes(content[: len(content) // 2])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(storage, "_write", full)
    with pytest.raises(RunError, match="No space"):
        save_model(make(2), tmp_path / "m", overwrite=True)
    assert same(load_model(tmp_path / "m"), make(1))
    assert [path.name for path in tmp_path.iterdir()] == ["m"]


def test_a_disk_that_returns_something_else_is_noticed_before_replacing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_model(make(1), tmp_path / "m")
    monkeypatch.setattr(storage, "_write", lambda path, content: path.write_bytes(content[:-1]))
    with pytest.raises(ModelError, match="nothing was replaced"):
        save_model(make(2), tmp_path / "m", overwrite=True)
    assert same(load_model(tmp_path / "m"), make(1))


def test_a_killed_replacement_is_explained(tmp_path: Path) -> None:
    save_model(make(1), tmp_path / "m")
    (tmp_path / "m").rename(tmp_path / ".m.previous")
    with pytest.raises(ModelError, match=r"Saving was interrupted: rename .*\.m\.previous to m"):
        load_model(tmp_path / "m")


def test_what_a_killed_save_left_is_cleared_by_the_next(tmp_path: Path) -> None:
    (tmp_path / ".m.partial").mkdir()
    (tmp_path / ".m.partial" / "model.safetensors").write_bytes(b"half")
    save_model(make(), tmp_path / "m")
    assert [path.name for path in tmp_path.iterdir()] == ["m"]
    assert same(load_model(tmp_path / "m"), make())


def damage(folder: Path, how: str) -> None:
    described, weights = folder / "model.json", folder / "model.safetensors"
    if how == "truncated weights":
        weights.write_bytes(weights.read_bytes()[:-100])
    elif how == "flipped bit":
        content = bytearray(weights.read_bytes())
        content[-5] ^= 1
        weights.write_bytes(bytes(content))
    elif how == "no weights":
        weights.unlink()
    elif how == "no description":
        described.unlink()
    elif how == "truncated description":
        described.write_text(described.read_text()[:80])
    else:
        read = json.loads(described.read_text())
        if how == "newer format":
            read["format"] = 99
        elif how == "unknown class":
            read["tree"]["class"] = "Nobody"
        elif how == "unknown setting":
            read["tree"]["config"]["colour"] = 1
        elif how == "bad spec":
            read["tree"]["spec"]["classes"] = ["a", "a"]
        elif how == "other architecture":
            read["tree"]["config"]["architecture"] = "test_convnext"
        elif how == "no hash":
            del read["weights"]
        described.write_text(json.dumps(read))


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("truncated weights", "does not have the hash"),
        ("flipped bit", "does not have the hash"),
        ("no weights", "cannot be read"),
        ("no description", "has none"),
        ("truncated description", "model.json cannot be read"),
        ("newer format", "it says 99"),
        ("unknown class", "'Nobody'"),
        ("unknown setting", "does not describe a model"),
        ("bad spec", "does not describe a model"),
        ("other architecture", "do not fit model.json"),
        ("no hash", "lacks its tree or its weights' hash"),
    ],
)
def test_damage_gets_one_sentence(tmp_path: Path, how: str, message: str) -> None:
    save_model(make(), tmp_path / "m")
    damage(tmp_path / "m", how)
    with pytest.raises(ModelError, match=message) as caught:
        load_model(tmp_path / "m")
    assert "\n" not in str(caught.value)


def test_unregistered_classes_cannot_be_saved(tmp_path: Path) -> None:
    class Private(MeanOfTwo):
        pass

    with pytest.raises(ModelError, match="'Private'"):
        save_model(Private(make().spec, [make()], "x"), tmp_path / "m")
    assert not list(tmp_path.iterdir())


def stepped(model: Model) -> torch.optim.Optimizer:
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    model(torch.randn(2, 3, 64, 64)).square().mean().backward()
    optimizer.step()
    return optimizer


def test_optimiser_history_is_stored_beside_its_weights(tmp_path: Path) -> None:
    model = make()
    history = model.optimizer_history = record_history(stepped(model), model)
    save_model(model, tmp_path / "m")
    loaded = load_model(tmp_path / "m").optimizer_history
    assert loaded is not None and loaded.optimizer == "AdamW"
    assert loaded.state.keys() == history.state.keys() == dict(model.named_parameters()).keys()
    for name, slots in history.state.items():
        assert slots.keys() == loaded.state[name].keys()
        for slot, value in slots.items():
            assert torch.equal(torch.as_tensor(value), torch.as_tensor(loaded.state[name][slot]))


def test_history_of_other_weights_is_refused(tmp_path: Path) -> None:
    model = make()
    model.optimizer_history = record_history(stepped(model), model)
    save_model(model, tmp_path / "m")
    save_model(make(9), tmp_path / "other")
    assert load_model(tmp_path / "other").optimizer_history is None
    for name in ("optimizer.json", "optimizer.safetensors"):
        shutil.copy(tmp_path / "m" / name, tmp_path / "other" / name)
    with pytest.raises(ModelError, match="belongs to others"):
        load_optimizer_history(tmp_path / "other")
