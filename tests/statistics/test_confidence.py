"""A confidence of 95 instead of 0.95 is answered in the same words everywhere."""

import numpy as np
import pandas as pd
import pytest

from musiceval_sk import (
    compare_predictors,
    fisher_interval,
    human_ceiling,
    intraclass_correlation,
    krippendorff_alpha,
    pairwise_accuracy,
    spearman_interval,
    split_half,
)

RATINGS = pd.DataFrame(
    {"rater": list("AB") * 6, "clip_id": list("uuvvwwxxyyzz"), "impression": [1, 2, 3, 3, 5, 4] * 2}
)
TRUTH = np.arange(12.0)


@pytest.mark.parametrize(
    "call",
    [
        lambda: compare_predictors(TRUTH, {"a": TRUTH, "b": -TRUTH}, n_resamples=10, confidence=95),
        lambda: fisher_interval(0.5, 20, confidence=95),
        lambda: human_ceiling(RATINGS, confidence=95),
        lambda: intraclass_correlation(RATINGS, confidence=95),
        lambda: krippendorff_alpha(RATINGS, confidence=95),
        lambda: pairwise_accuracy(TRUTH, TRUTH, confidence=95),
        lambda: spearman_interval(0.5, 20, confidence=95),
        lambda: split_half(RATINGS, confidence=95),
    ],
)
def test_confidence_in_per_cent_is_refused(call):
    with pytest.raises(ValueError, match=r"confidence must lie between 0 and 1, such as 0\.95; got 95"):
        call()


def test_a_mean_of_no_ratings_has_no_reliability():
    with pytest.raises(ValueError, match="k must be a number of ratings above 0"):
        intraclass_correlation(RATINGS, k=0)
