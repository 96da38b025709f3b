"""The command line; here its start, before anything is imported that takes time, and its end by a signal."""

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from typing import Any

STOPPED = {signal.SIGINT: "interrupted", signal.SIGTERM: "terminated"}


def main() -> None:
    """Run the command line; the console script ``musiceval`` calls it."""
    _handle(dict.fromkeys(STOPPED, _leave))
    from musiceval_sk.cli.app import main as run

    run()


@contextlib.contextmanager
def stopped_by_signals() -> Iterator[None]:
    """Let a signal raise KeyboardInterrupt with its number; a second one ends the process at once."""
    if threading.current_thread() is not threading.main_thread():  # which alone may say what signals do
        yield
        return
    before = _handle(dict.fromkeys(STOPPED, _stop))
    try:
        yield
    finally:
        _handle(before)


def _handle(handlers: dict[Any, Any]) -> dict[Any, Any]:
    """Set handlers of signals, but for those that the process was started to ignore; give those before."""
    heeded = [number for number in handlers if signal.getsignal(number) is not signal.SIG_IGN]
    return {number: signal.signal(number, handlers[number]) for number in heeded}


def _stop(number: int, _: Any) -> None:
    _handle(dict.fromkeys(STOPPED, _leave))
    raise KeyboardInterrupt(signal.Signals(number))


def _leave(number: int, _: Any) -> None:
    """Leave where nothing is left to do, with the status of a shell: 128 and the number of the signal."""
    os.write(2, f"{STOPPED[signal.Signals(number)]}\n".encode())
    os._exit(128 + number)
