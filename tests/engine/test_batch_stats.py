from __future__ import annotations

import numpy as np
import pytest
import torch

from medgraft.data.cohort import Cohort
from medgraft.engine.batch_stats import batch_norms, estimate_batch_stats
from medgraft.engine.loading import Loader
from medgraft.engine.patches import Patches
from medgraft.engine.supervised import draw_batches
from medgraft.models.spec import ModelSpec
from medgraft.models.unet import UNet
from medgraft.testing import make_cohort, make_model
from medgraft.types import Preparation


def test_first_layer_statistics_are_the_mean_over_equal_batches() -> None:
    cohort, model = make_cohort("classify", "B", patients=8), make_model("classify", norm="batch")
    first, seen = batch_norms(model)[0], []
    first.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].detach().clone()))
    momentum = first.momentum
    model.train()
    estimate_batch_stats(model, Loader(cohort, model.spec.preparation), torch.Generator(), batch_size=4)
    assert len(seen) == 4 and model.training and first.momentum == momentum
    mean = torch.stack([batch.mean(dim=(0, 2, 3)) for batch in seen]).mean(dim=0)
    variance = torch.stack([batch.var(dim=(0, 2, 3), unbiased=True) for batch in seen]).mean(dim=0)
    assert torch.allclose(first.running_mean, mean, atol=1e-6)  # type: ignore[arg-type]
    assert torch.allclose(first.running_var, variance, atol=1e-6)  # type: ignore[arg-type]


def test_statistics_of_volumes_are_those_of_the_patches_that_training_draws() -> None:
    rng = np.random.default_rng(0)
    masks = np.zeros((4, 6, 20, 16), np.uint8)
    masks[:, 2, 5:9, 5:9] = 1
    cohort = Cohort.from_arrays(
        rng.normal(size=(4, 6, 20, 16, 1)).astype(np.float32),
        masks,
        kind="segment",
        classes=("rest", "lesion"),
        patients=list("aabb"),
    )
    preparation = Preparation(dimensions=3, channels=1, intensity="zscore", patch=(4, 8, 8))
    spec = ModelSpec(kind="segment", classes=cohort.classes, channels=1, preparation=preparation)
    torch.manual_seed(0)
    model, patches = UNet(spec, width=4, depth=2, flat_levels=1), Patches(cohort, preparation)
    first, weights = batch_norms(model)[0], model.get_parameter("encoder1.first.weight").detach()
    estimate_batch_stats(model, patches, torch.Generator().manual_seed(3), batch_size=8)
    generator, means, variances = torch.Generator().manual_seed(3), [], []
    for rows in draw_batches(len(patches), 8, generator, weights=patches.weights):
        inner = torch.conv3d(patches(rows, generator).images, weights, padding=(0, 1, 1))
        means.append(inner.mean(dim=(0, 2, 3, 4)))
        variances.append(inner.var(dim=(0, 2, 3, 4)))
    assert len(means) == -(-len(patches) // 8) > 1
    torch.testing.assert_close(first.running_mean, torch.stack(means).mean(dim=0), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(first.running_var, torch.stack(variances).mean(dim=0), atol=1e-5, rtol=1e-4)


def test_weights_and_networks_without_batch_norm_stay_as_they_are() -> None:
    cohort = make_cohort("segment", "B", patients=4)
    for norm, changed in (("batch", True), ("instance", False)):
        model = make_model("segment", norm=norm)  # type: ignore[arg-type]
        weights = {name: value.clone() for name, value in model.named_parameters()}
        buffers = {name: value.clone() for name, value in model.named_buffers()}
        estimate_batch_stats(model, Loader(cohort, model.spec.preparation), torch.Generator())
        assert all(torch.equal(value, weights[name]) for name, value in model.named_parameters())
        assert changed == any(not torch.equal(value, buffers[name]) for name, value in model.named_buffers())


def test_the_model_is_put_back_when_a_pass_fails() -> None:
    cohort, model = make_cohort("classify", "B", patients=4), make_model("classify", norm="batch")
    momenta = [norm.momentum for norm in batch_norms(model)]
    model.register_forward_pre_hook(lambda *_: (_ for _ in ()).throw(RuntimeError("stop")))
    with pytest.raises(RuntimeError, match="stop"):
        estimate_batch_stats(model, Loader(cohort, model.spec.preparation), torch.Generator())
    assert [norm.momentum for norm in batch_norms(model)] == momenta
