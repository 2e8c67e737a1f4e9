from __future__ import annotations

import pytest
import torch

from medgraft.engine.batch_stats import batch_norms, estimate_batch_stats
from medgraft.engine.loading import Loader
from medgraft.testing import make_cohort, make_model


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
