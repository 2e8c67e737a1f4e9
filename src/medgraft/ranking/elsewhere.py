"""A score that never looks at the target: how well the source did on the others."""

from __future__ import annotations

from typing import TYPE_CHECKING

from medgraft.errors import DataError

if TYPE_CHECKING:
    import pandas as pd


def performance_elsewhere(performance: pd.DataFrame) -> pd.DataFrame:
    """Score every source by how well it did on the other targets: what any score that looks at the target must
    beat.

    Args:
        performance: (sources, targets) with names of both; higher is better, NaN where unknown.

    Returns: (sources, targets): mean over the other targets of performance minus the mean of all sources there;
        higher is better. NaN where a source was never measured elsewhere.

    Raises:
        DataError: fewer than two targets.

    >>> import pandas as pd
    >>> truth = pd.DataFrame({"t": [0.75, 0.25], "u": [1.0, 0.5]}, index=["a", "b"])
    >>> performance_elsewhere(truth)["t"].to_dict()
    {'a': 0.25, 'b': -0.25}
    """
    import pandas as pd

    if performance.shape[1] < 2:
        raise DataError(
            "Performance elsewhere", "two or more targets", f"got {performance.shape[1]}", "Add a target."
        )
    # Against the target's mean, so that a source not measured on a hard target has no advantage from that.
    above = performance - performance.mean()
    return pd.DataFrame({target: above.drop(columns=[target]).mean(axis=1) for target in performance})
