"""scikit-learn's own tests of its searches, with the fused ones in their place."""

import importlib.util
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

globals().update({name: value for name, value in vars(ours).items() if name.startswith("test_")})
