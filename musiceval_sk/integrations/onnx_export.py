"""A fitted `MOSRegressor` as an ONNX file, which runs without Python: from embeddings to scores."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.validation import check_is_fitted

from musiceval_sk._files import atomic_write
from musiceval_sk._optional import import_optional
from musiceval_sk._version import __version__
from musiceval_sk.estimators.domain import TrainingDomain
from musiceval_sk.estimators.prediction import centres_of
from musiceval_sk.estimators.regressor import MOSRegressor

_OPSET, _IR = 18, 8  # what runtimes read since 2022


def to_onnx(model: Any, path: str | Path) -> Path:
    """Write a fitted regressor to an ONNX file.

    Parameters
    ----------
    model : MOSRegressor or Pipeline
        Fitted; or a pipeline of `TrainingDomain` and scalers of columns that ends in one, such as ``model[1:]`` of what
        `fit_model` made, without its feature stage.
    path : str or Path
        The file, by custom ``.onnx``.

    Returns
    -------
    Path
        The file. Its input ``X`` is float32 [shape=(n, n_features)], its output ``scores`` float32 [shape=(n, n_targets)]:
        what `predict` gives, the mean of the ensemble within `clip`. `TrainingDomain` adds ``sound_distance`` and
        ``sound_far`` (or ``prompt_``, ``features_``) as in its `measure`, each of shape (n,). Metadata of the file are
        ``target_names`` and ``feature_names`` as JSON, and ``encoder_fingerprint``: to compare it with that of the embeddings is
        left to who runs the file.

    Raises
    ------
    TypeError
        If something in the model cannot be exported; the message says what can.
    NotFittedError
        If there is nothing to export.

    Examples
    --------
    >>> from tempfile import mkdtemp
    >>> from musiceval_sk import MOSRegressor
    >>> from musiceval_sk.integrations import to_onnx
    >>> X = np.random.default_rng(0).normal(size=(200, 5))
    >>> regressor = MOSRegressor((32, 16), random_state=0).fit(X, np.clip(3 + X[:, 0], 1, 5))
    >>> to_onnx(regressor, mkdtemp() + "/heads.onnx").name
    'heads.onnx'
    """
    onnx = import_optional("onnx", extra="onnx", purpose="Writing ONNX")
    *before, regressor = [step for _, step in model.steps] if isinstance(model, Pipeline) else [model]
    _require_exportable(before, regressor)
    check_is_fitted(regressor)
    first = [*before, regressor][0]
    graph = _Graph(onnx, first.n_features_in_)
    X = graph.cast("X", "DOUBLE")
    for step in before:
        if isinstance(step, TrainingDomain):
            _add_distances(graph, step, X)
        else:
            X = graph.add("Sub", X, step.mean_) if step.mean_ is not None else X
            X = graph.add("Div", X, step.scale_) if step.scale_ is not None else X
    graph.give("scores", _scores(graph, regressor, X), "FLOAT", ["n", len(regressor.target_names_)])
    about = {
        "target_names": json.dumps(regressor.target_names_),
        "feature_names": json.dumps(list(getattr(first, "feature_names_in_", []))),
        "encoder_fingerprint": regressor.encoder_fingerprint_ or "",
    }
    written = graph.model(about)
    path = Path(path)
    with atomic_write(path) as aside:
        aside.write_bytes(written.SerializeToString())
    return path


def _require_exportable(before: list[Any], regressor: Any) -> None:
    for step in before:
        if not isinstance(step, TrainingDomain | StandardScaler):
            raise TypeError(
                f"the step {type(step).__name__} cannot be exported to ONNX: the file takes embeddings, so leave the feature "
                "stage out, as model[1:] does; beside MOSRegressor only TrainingDomain and scalers such as StandardScaler can"
            )
    if not isinstance(regressor, MOSRegressor):
        raise TypeError(
            f"only MOSRegressor can be exported to ONNX, alone or at the end of a pipeline, not {type(regressor).__name__}; "
            "for estimators of scikit-learn there is the package skl2onnx"
        )


def _scores(graph: "_Graph", regressor: MOSRegressor, X: str) -> str:
    """Predict with all heads, as `predict_members` does; a layer of all members is one product."""
    scores, centres = [], centres_of(regressor)
    shares, slopes, levels = regressor.network_weights_, regressor.linear_coefs_, regressor.linear_intercepts_
    for head, columns in enumerate(regressor.head_columns_):
        hidden = seen = graph.add("Gather", X, columns.astype(np.int64), axis=1)
        layers = zip(regressor.coefs_[head], regressor.intercepts_[head], strict=True)
        for i, (weights, biases) in enumerate(layers):
            hidden = _activated(graph, hidden, regressor.activation) if i else hidden
            hidden = graph.add("Add", graph.add("MatMul", hidden, weights), biases[:, None])
        if centres is not None:
            hidden = graph.add("MatMul", graph.add("Softmax", hidden, axis=-1), centres[:, None])
        score = graph.add("ReduceMean", hidden, np.array([0]), keepdims=0)
        if shares is not None and slopes is not None and levels is not None:
            line = graph.add("MatMul", seen, slopes[head].mean(axis=0)[:, None])
            line = graph.add("Add", line, levels[head].mean(keepdims=True))
            score = graph.add("Add", graph.add("Mul", score, shares[head : head + 1]), line)
        scores.append(score)
    together = graph.add("Concat", *scores, axis=1)
    return (
        together if regressor.clip is None else graph.add("Clip", together, *map(np.float64, regressor.clip))
    )


def _activated(graph: "_Graph", hidden: str, activation: str) -> str:
    if activation == "relu":
        return graph.add("Relu", hidden)
    if activation == "identity":
        return hidden
    scaled = graph.add("Mul", hidden, np.array([0.5**0.5]))
    # Which runtimes have for float32 only.
    erf = graph.cast(graph.add("Erf", graph.cast(scaled, "FLOAT")), "DOUBLE")
    share = graph.add("Mul", graph.add("Add", erf, np.array([1.0])), np.array([0.5]))
    return graph.add("Mul", hidden, share)


def _add_distances(graph: "_Graph", domain: TrainingDomain, X: str) -> None:
    """Measure distances from the training clips, and what is far, as `TrainingDomain.measure` does."""
    for part, known in domain.reference_.items():
        seen = graph.add("Gather", X, known["columns"].astype(np.int64), axis=1)
        scaled = graph.add("Div", graph.add("Sub", seen, known["center"]), known["scale"])
        rows = known["rows"].astype(np.float64)
        squares = graph.add("ReduceSum", graph.add("Mul", scaled, scaled), np.array([1]))
        products = graph.add("MatMul", scaled, -2 * rows.T)
        squared = graph.add("Add", graph.add("Add", products, squares), (rows**2).sum(axis=1))
        apart = graph.add("Sqrt", graph.add("Relu", squared))
        nearest = graph.add("TopK", apart, np.array([max(1, known["n_neighbors"])]), axis=1, largest=0)
        distance = graph.add("ReduceMean", nearest, np.array([1]), keepdims=0)
        graph.give(f"{part}_distance", distance, "FLOAT", ["n"])
        n = len(known["distances"])
        # Far is what has a p-value, (1 + n - nearer) / (1 + n), of at most `level`.
        p_values = (1 + n - np.arange(n + 1)) / (1 + n)
        enough = np.flatnonzero(p_values <= domain.level)
        limit = known["distances"][enough[0] - 1] if len(enough) else np.inf
        graph.give(f"{part}_far", graph.add("Greater", distance, np.array([limit])), "BOOL", ["n"])


class _Graph:
    """Nodes and constants of a graph in the making; ``X`` is its input."""

    def __init__(self, onnx: Any, n_features: int):
        self.onnx, self.n_features = onnx, n_features
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self.outputs: list[Any] = []

    def add(self, kind: str, *inputs: Any, **attributes: Any) -> str:
        """Add a node of some kind on values by name and on constants, and name what it gives."""
        names = [given if isinstance(given, str) else self._constant(given) for given in inputs]
        output = f"{kind}_{len(self.nodes)}"
        outputs = [output, f"places_{len(self.nodes)}"] if kind == "TopK" else [output]
        self.nodes.append(self.onnx.helper.make_node(kind, names, outputs, **attributes))
        return output

    def cast(self, value: str, kind: str) -> str:
        """Change the type of a value."""
        return self.add("Cast", value, to=getattr(self.onnx.TensorProto, kind))

    def give(self, name: str, value: str, kind: str, shape: list[str | int]) -> None:
        """Make a value an output."""
        self.nodes.append(self.onnx.helper.make_node("Identity", [self.cast(value, kind)], [name]))
        self.outputs.append(self._typed(name, kind, shape))

    def model(self, about: dict[str, str]) -> Any:
        """Put it all together, and check it."""
        helper = self.onnx.helper
        X = self._typed("X", "FLOAT", ["n", self.n_features])
        graph = helper.make_graph(self.nodes, "MOSRegressor", [X], self.outputs, self.constants)
        made_by = {"producer_name": "musiceval_sk", "producer_version": __version__}
        opset = [helper.make_opsetid("", _OPSET)]
        model = helper.make_model(graph, opset_imports=opset, ir_version=_IR, **made_by)
        helper.set_model_props(model, about)
        self.onnx.checker.check_model(model, full_check=True)
        return model

    def _typed(self, name: str, kind: str, shape: list[str | int]) -> Any:
        return self.onnx.helper.make_tensor_value_info(name, getattr(self.onnx.TensorProto, kind), shape)

    def _constant(self, value: Any) -> str:
        name, array = f"constant_{len(self.constants)}", np.ascontiguousarray(value)
        self.constants.append(self.onnx.numpy_helper.from_array(array, name))
        return name
