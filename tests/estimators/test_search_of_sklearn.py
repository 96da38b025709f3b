"""scikit-learn's own tests of its searches, with the fused ones in their place."""

import importlib.util
import re
import sys

import pytest
import sklearn.model_selection

from musiceval_sk import FusedGridSearchCV, FusedRandomizedSearchCV

# scikit-learn lets its tests warn.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default")]

with pytest.MonkeyPatch.context() as patch:
    patch.setattr(sklearn.model_selection, "GridSearchCV", FusedGridSearchCV)
    patch.setattr(sklearn.model_selection, "RandomizedSearchCV", FusedRandomizedSearchCV)
    theirs = importlib.util.find_spec("sklearn.model_selection.tests.test_search").origin
    spec = importlib.util.spec_from_file_location("sklearn_test_search", theirs)
    ours = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = ours
    spec.loader.exec_module(ours)

# All that could tell a fused search from its parent: its `fit` with whatever is passed to it, its `_run_search`, and what scikit-learn
# asks of an estimator. Left out are tests of what the parent does with results once it has them, and of other functions.
ASKED = re.compile(
    "test_("
    "SearchCV_with_fit_params|X_as_list|y_as_list|pandas_input|search_with_2d_array|grid_search_sparse|"
    "unsupervised_grid_search|grid_search_with_multioutput_data|scalar_fit_param|score_rejects_params|"
    "multi_metric_search_forwards_metadata|search_cv_sample_weight|grid_search_groups|"
    "empty_cv_iterator|grid_search_cv_splits_consistency|random_search_bad_cv|custom_run_search|"
    "_custom_fit_no_run_search|search_callbacks|grid_search_error|grid_search_failing_classifier|"
    "grid_search_one_grid_point|trivial_cv_results_attr|grid_search_bad_param_grid|no_refit|"
    "search_cv_timing|search_cv_verbose_3|pickle|n_features_in|search_html_repr|search_estimator_param|"
    "search_with_estimators|search_cv_using_minimal_compatible_estimator|grid_search_pipeline_steps|"
    "random_search_cv_results"
    ")"
)
globals().update({name: test for name, test in vars(ours).items() if ASKED.match(name)})
