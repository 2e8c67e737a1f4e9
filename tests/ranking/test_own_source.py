"""Where a score ranks the model that was trained on the target itself."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from medgraft.errors import DataError
from medgraft.ranking.own_source import own_source_ranks


def test_ranks_are_those_of_a_count_and_ties_share_theirs() -> None:
    scores = pd.DataFrame(
        {"Blood": [3.0, 2.0, 1.0], "Path": [2.0, 1.0, 2.0], "Lung": [1.0, 2.0, 3.0]},
        index=["Path", "Blood", "ImageNet"],
    )
    ranks = own_source_ranks(scores)
    assert ranks.to_dict() == {"Blood": 2.0, "Path": 1.5}  # no source is named Lung
    for target in ranks.index:
        own, column = scores.loc[target, target], scores[target]
        assert ranks[target] == 1 + (column > own).sum() + ((column == own).sum() - 1) / 2


def test_an_own_source_without_a_score_has_no_rank() -> None:
    scores = pd.DataFrame({"a": [np.nan, 1.0], "b": [1.0, 2.0]}, index=["a", "b"])
    ranks = own_source_ranks(scores)
    assert np.isnan(ranks["a"]) and ranks["b"] == 1.0


def test_sources_that_are_no_targets_are_refused() -> None:
    with pytest.raises(DataError, match="no target has a source of its name"):
        own_source_ranks(pd.DataFrame({"t": [1.0, 2.0]}, index=["a", "b"]))
