"""What each day would have been without the intervention: the curve that a chart draws beside the measured one.

regression of the evaluation ─► fitted days without the effect (and with the control group's level) ─► expected
                             ─► scatter of its residuals ─► the band in which 95 of 100 such days would lie
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from techport_pilots.evaluation.interval import Fit

Floats = NDArray[np.float64]


def expected_days(days: pd.DataFrame, regression: Fit, control: pd.Series[float] | None) -> pd.DataFrame:
    """The measured days beside the expected ones.

    Parameters
    ----------
    days : pandas.DataFrame
        Those that were compared: index `day`, columns `level` (in the KPI's unit; with a control group its level is
        taken off) and `intervention`.
    regression : Fit
        Of `level`; its value is the effect.
    control : pandas.Series or None
        The control group's level by day, in the KPI's unit.

    Returns
    -------
    pandas.DataFrame
        Index `day`; columns `measured`, `expected`, `low`, `high` (KPI's unit), `intervention`, and `control` (NaN
        without a control group). Over the days of the intervention the mean of measured minus expected is the effect.
    """
    level = days["level"].to_numpy()
    intervention = days["intervention"].to_numpy()
    beside = np.zeros(len(days)) if control is None else control.reindex(days.index).to_numpy()
    expected = level - regression.residuals - regression.value * intervention + beside
    scatter = 1.96 * float(np.std(regression.residuals[~intervention], ddof=1)) if (~intervention).sum() > 1 else 0.0
    return pd.DataFrame(
        {
            "measured": level + beside,
            "expected": expected,
            "low": expected - scatter,
            "high": expected + scatter,
            "intervention": intervention,
            "control": beside if control is not None else np.full(len(days), np.nan),
        },
        index=days.index,
    )
