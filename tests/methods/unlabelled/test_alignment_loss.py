"""The alignment loss, against tests/golden/aiva.npz and against a loop."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from medgraft.methods.unlabelled.alignment_loss import Reduction, alignment_loss

GOLDEN = np.load(Path(__file__).parents[2] / "golden" / "aiva.npz")


def golden_tensors() -> list[torch.Tensor]:
    names = ("feat_target", "labels_target", "nu_source", "match_target_to_source")
    return [torch.from_numpy(GOLDEN[name]) for name in names]


@pytest.mark.parametrize(
    ("reduction", "name"), [("sum", "align_eq2"), ("weighted_mean", "align_code_weighted_mse")]
)
def test_both_forms_are_those_of_paper_and_code(reduction: Reduction, name: str) -> None:
    assert alignment_loss(*golden_tensors(), reduction).item() == pytest.approx(float(GOLDEN[name]), abs=1e-9)


@pytest.mark.parametrize("reduction", ["sum", "weighted_mean"])
def test_its_gradient_is_that_of_finite_differences(reduction: Reduction) -> None:
    features, *rest = golden_tensors()
    features.requires_grad_()
    assert torch.autograd.gradcheck(lambda given: alignment_loss(given, *rest, reduction), features)


def test_clusters_without_a_match_count_nothing() -> None:
    features, clusters, centres, matches = golden_tensors()
    alone = matches.clone()
    alone[4] = -1
    kept = clusters != 4
    for reduction in ("sum", "weighted_mean"):
        found = alignment_loss(features, clusters, centres, alone, reduction)
        assert found == alignment_loss(features[kept], clusters[kept], centres, matches, reduction)
    assert alignment_loss(features, clusters, centres, torch.full_like(matches, -1)) == 0


def test_the_weighted_mean_does_not_depend_on_how_often_features_are_repeated() -> None:
    features, clusters, centres, matches = golden_tensors()
    once = alignment_loss(features, clusters, centres, matches)
    wide = alignment_loss(features.repeat(2, 3), clusters.repeat(2), centres.repeat(1, 3), matches)
    assert wide.item() == pytest.approx(once.item(), rel=1e-12)


def test_half_precision_is_summed_in_single() -> None:
    features, clusters, centres, matches = golden_tensors()
    found = alignment_loss(features.bfloat16(), clusters, centres.float(), matches)
    assert found.dtype == torch.float32
