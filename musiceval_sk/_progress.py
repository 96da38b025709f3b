"""How far a long task has come, on stderr: a bar on a terminal and in a notebook, a line every ten seconds elsewhere."""

import contextlib
import sys
import threading
import time
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any, ClassVar

SECONDS = 10.0  # between lines
_everywhere: ContextVar[bool] = ContextVar("everywhere", default=False)


@contextlib.contextmanager
def shown_everywhere() -> Iterator[None]:
    """Show progress also where stderr is no terminal, unless a call asks for none."""
    before = _everywhere.set(True)
    try:
        yield
    finally:
        _everywhere.reset(before)


def is_wanted() -> bool:
    """Say whether progress is shown to who asks for nothing."""
    return _everywhere.get() or _on_terminal()


def progress(total: int, title: str, unit: str, show: bool | None = None, *, begun: int = 0) -> Any:
    """Make a context manager that tells how far a task has come.

    Parameters
    ----------
    total : int
        Units that there are to do.
    title : str
        What is done.
    unit : str
        One of what is counted, such as ``"clip"``.
    show : bool, default=None
        Whether to tell; None on a terminal, and where `shown_everywhere` says so.
    begun : int, default=0
        Units that were done before.

    Returns
    -------
    context manager
        With ``update(n=1)``, to count, and ``set_postfix_str(words, refresh=False)``, for words behind the count.
    """
    if not (is_wanted() if show is None else show):
        # No hidden bar of tqdm: it makes a lock between processes, which a killed worker leaves behind.
        return _Hidden()
    if not _on_terminal() and "ipykernel" not in sys.modules:
        return _Lines(total, title, unit, begun)
    import tqdm

    return tqdm.tqdm(total=total, desc=title, unit=unit, initial=begun, leave=None)


def _on_terminal() -> bool:
    return sys.stderr is not None and sys.stderr.isatty()


class _Hidden:
    def __enter__(self) -> "_Hidden":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def update(self, n: int = 1) -> None:
        pass

    def set_postfix_str(self, words: str, refresh: bool = False) -> None:
        pass


class _Lines(_Hidden):
    """Lines of the outermost task, each with those within it: the first after `SECONDS`, and one at the end if there was any."""

    _open: ClassVar[list["_Lines"]] = []

    def __init__(self, total: int, title: str, unit: str, begun: int):
        self._total, self._title, self._unit, self._begun = total, title, unit, begun
        self._done, self._words, self._is_told = begun, "", False
        self._first: tuple[float, int] | None = None
        self._over = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> "_Lines":
        self._start = time.monotonic()
        self._open.append(self)
        if len(self._open) == 1:
            self._thread = threading.Thread(target=self._tell_now_and_then, daemon=True)
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._open.remove(self)
        if self._thread is not None:
            self._over.set()
            self._thread.join()
            if self._is_told:
                self._tell([self])

    def update(self, n: int = 1) -> None:
        self._done += n
        self._first = self._first or (time.monotonic(), self._done)

    def set_postfix_str(self, words: str, refresh: bool = False) -> None:
        self._words = f" ({words})"

    def _tell_now_and_then(self) -> None:
        while not self._over.wait(SECONDS):
            self._is_told = True
            self._tell([*self._open])

    def _tell(self, tasks: list["_Lines"]) -> None:
        with contextlib.suppress(OSError, ValueError):  # of a stream that is closed
            print("; ".join(map(str, tasks)), file=sys.stderr, flush=True)

    def __str__(self) -> str:
        now, left = time.monotonic(), self._total - self._done
        line = f"{self._title}: {self._done} of {self._total} {self._unit}s{self._words}, {_clock(now - self._start)}"
        # The first unit loads what all need; the speed is that of the others, once they are a twentieth.
        when, first = self._first or (now, self._done)
        if left > 0 and self._done - first >= max((self._total - self._begun) / 20, 1):
            line += f", about {_clock((now - when) / (self._done - first) * left)} left"
        return line


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
