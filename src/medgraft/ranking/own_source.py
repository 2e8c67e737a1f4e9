"""Does a score simply put the model first that was trained on the target itself?"""

from __future__ import annotations

from typing import TYPE_CHECKING

from medgraft.errors import DataError

if TYPE_CHECKING:
    import pandas as pd


def own_source_ranks(scores: pd.DataFrame) -> pd.Series:
    """Tell where a score ranks the model that was pre-trained on the target itself, on every target that has one.

    Such a model has the best features for the target and needs not be the best start: what it was trained on is
    all it knows. A score that always puts it first measures features only.

    Args:
        scores: (sources, targets) with names of both; source and target of equal name are the same data. Higher is
            better, NaN where undefined.

    Returns: rank by target, 1 is first; equal scores share their mean rank. NaN where the own source has no score.
        Divided by (number of sources + 1) and averaged, one half is what chance would give.

    Raises:
        DataError: no source is named as a target.

    Source: "self-source bias", Juodelyte, PhD thesis, section 6.1.

    >>> import pandas as pd
    >>> scores = pd.DataFrame({"Blood": [0.9, 0.8, 0.1], "Path": [0.5, 0.6, 0.9]})
    >>> scores.index = ["Blood", "Path", "ImageNet"]
    >>> own_source_ranks(scores).to_dict()
    {'Blood': 1.0, 'Path': 2.0}
    """
    import pandas as pd

    own = [target for target in scores if target in scores.index]
    if not own:
        raise DataError(
            "Own-source ranks", "sources named as targets", "no target has a source of its name",
            "Name a source as the data set it was trained on.",
        )  # fmt: skip
    found = {target: scores[target].rank(ascending=False)[scores.index == target].iloc[0] for target in own}
    return pd.Series(found, dtype=float).rename_axis("target")
