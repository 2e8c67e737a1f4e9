"""The score that never looks at the target."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from medgraft.errors import DataError
from medgraft.ranking.agreement import measure_agreement
from medgraft.ranking.elsewhere import performance_elsewhere
from medgraft.ranking.published_tables import published


def test_it_is_the_mean_above_the_others_on_other_targets() -> None:
    auc = published().sources.auc
    found = performance_elsewhere(auc)
    for target in auc:
        for source in auc.index:
            above = []
            for other in auc:
                if other != target and other != source:
                    column = [auc.loc[name, other] for name in auc.index if name != other]
                    above.append(auc.loc[source, other] - np.mean(column))
            assert found.loc[source, target] == pytest.approx(np.mean(above), abs=1e-12)


def test_the_target_itself_changes_nothing() -> None:
    auc = published().sources.auc
    other = auc.copy()
    other["OCT"] = other["OCT"].to_numpy()[::-1]
    assert performance_elsewhere(other)["OCT"].equals(performance_elsewhere(auc)["OCT"])
    assert not performance_elsewhere(other)["Path"].equals(performance_elsewhere(auc)["Path"])


@pytest.mark.parametrize("name", ["sources", "architectures"])
def test_no_published_score_agrees_better_with_the_published_truth(name: str) -> None:
    scenario = getattr(published(), name)
    found = measure_agreement({"elsewhere": performance_elsewhere(scenario.auc)}, scenario.auc, baseline=None)
    assert found.tau["elsewhere"].mean() > scenario.tau.mean().max()


def test_one_target_has_no_elsewhere() -> None:
    with pytest.raises(DataError, match="got 1"):
        performance_elsewhere(pd.DataFrame({"t": [0.5, 0.6]}))
