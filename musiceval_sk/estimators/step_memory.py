"""A memory for pipelines that fits equal steps on equal data once, kept in RAM for the length of one search."""

import warnings
from collections import OrderedDict
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

from musiceval_sk.estimators.search_sameness import same


@dataclass
class _Kept:
    asked: tuple
    transformed: Any
    transformer: Any
    warned: list[warnings.WarningMessage]
    size: int


class StepMemory:
    """What `sklearn.pipeline.Pipeline` takes as ``memory``: recalls a step fitted before on the same data.

    Data are compared exactly and handed out as copies, for a later step may write into them. The fitted transformer
    is shared. Warnings of the first fit are given again at every recall.

    Parameters
    ----------
    room : float
        Most bytes to keep; what was not used for longest goes first.
    """

    def __init__(self, room: float):
        self.room = room
        self._kept: OrderedDict[int, _Kept] = OrderedDict()
        self._count = 0

    def __deepcopy__(self, memo: Any) -> "StepMemory":
        return self  # clones of a pipeline share it

    def cache(
        self, function: Callable[..., tuple[Any, Any]], ignore: Sequence[str] = ()
    ) -> Callable[..., tuple[Any, Any]]:
        """Wrap the pipeline's function that fits one step and transforms; ``ignore`` names what does not matter."""
        ignored = {*ignore, "message_clsname", "message"}

        def recall(transformer: Any, X: Any, y: Any, *rest: Any, **options: Any) -> tuple[Any, Any]:
            said = {name: value for name, value in options.items() if name not in ignored}
            asked = (transformer, rest, said, y, X)
            for key, kept in self._kept.items():
                if same(kept.asked, asked):
                    self._kept.move_to_end(key)
                    _warn_again(kept.warned)
                    return deepcopy(kept.transformed), kept.transformer
            before = deepcopy(X)  # the step may write into X
            with warnings.catch_warnings(record=True) as warned:
                warnings.simplefilter("always")
                transformed, fitted = function(transformer, X, y, *rest, **options)
            asked = (fitted, rest, said, y, before)
            self._keep(_Kept(asked, deepcopy(transformed), fitted, warned, _size(X) + _size(transformed)))
            _warn_again(warned)
            return transformed, fitted

        return recall

    def _keep(self, kept: _Kept) -> None:
        self._count += 1
        self._kept[self._count] = kept
        while self._kept and sum(entry.size for entry in self._kept.values()) > self.room:
            self._kept.popitem(last=False)


def _warn_again(warned: list[warnings.WarningMessage]) -> None:
    for one in warned:
        warnings.warn_explicit(one.message, one.category, one.filename, one.lineno)


def _size(data: Any) -> int:
    if hasattr(data, "memory_usage"):
        usage = data.memory_usage(index=True)
        return int(usage if isinstance(usage, int) else usage.sum())
    if hasattr(data, "nbytes"):
        return int(data.nbytes)
    parts = [getattr(data, name) for name in ("data", "indices", "indptr") if hasattr(data, name)]
    return sum(part.nbytes for part in parts if hasattr(part, "nbytes"))
