"""Is what later epochs lose negligible beside what training gained? Tables 6 and 7, as far as they are a claim."""

import numpy as np
import pandas as pd

from motion_lib.bootstrap import FINE, bootstrap_difference
from motion_lib.claims import AGREES, CANNOT_TELL, DIFFERS
from motion_lib.methods import DESCRIPTION_KINDS
from motion_lib.records import ranks_of
from motion_lib.statistics import Interval
from motion_lib.tables import DATASET_LABEL, KIND_LABEL, select

NO_GAIN = "no gain to compare with"
NEGLIGIBLE_SHARE = 0.2  # of the gain: our reading of "negligible"; the paper gives no number


def _epoch_correct(records: list[dict], epoch: int) -> tuple[np.ndarray, np.ndarray]:
    """Correctness and class of every clip after an epoch, all seeds one after the other."""
    chosen = sorted(select(records, epoch=epoch), key=lambda record: record["seed"])
    correct = np.concatenate([ranks_of(record) == 0 for record in chosen])
    return correct, np.concatenate([np.array(r["labels"].split(), dtype=np.int64) for r in chosen])


def overfitting_verdict(gain: Interval, loss: Interval) -> str:
    """The loss is negligible if it is below a fifth of a gain that is itself above zero."""
    if gain.low <= 0:
        return NO_GAIN
    if loss.high < gain.estimate * NEGLIGIBLE_SHARE:
        return AGREES
    return DIFFERS if loss.low > gain.estimate * NEGLIGIBLE_SHARE else CANNOT_TELL


def overfitting_table(records: list[dict], datasets: tuple[str, ...], method: str = "motion") -> pd.DataFrame:
    """Loss from the best epoch to the last beside the gain over epoch 0, all seeds (Tables 6 and 7).

    The best epoch is chosen on the target itself, so its loss is biased upwards, against the claim.
    """
    rows = []
    for dataset in datasets:
        for kind in DESCRIPTION_KINDS:
            cells = select(records, method=method, dataset=dataset, descriptions=kind)
            epochs = sorted({r["epoch"] for r in cells if r["epoch"] is not None})
            if len(epochs) < 2:
                continue
            correct, classes = zip(*(_epoch_correct(cells, epoch) for epoch in epochs), strict=True)
            best = int(np.argmax([c.mean() for c in correct]))
            gain = bootstrap_difference(correct[-1], correct[0], classes[0], resamples=FINE)
            loss = bootstrap_difference(correct[best], correct[-1], classes[0], resamples=FINE)
            rows.append(
                {
                    "Target": DATASET_LABEL[dataset],
                    "Descriptions": KIND_LABEL[kind],
                    "Gain over epoch 0, points": gain.in_points(),
                    "Best epoch": epochs[best],
                    "Loss from best to last, points": loss.in_points(),
                    "Verdict": overfitting_verdict(gain, loss),
                }
            )
    return pd.DataFrame(rows)
