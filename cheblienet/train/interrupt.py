"""Stopping between two steps when a signal asks for it."""

import signal
import threading
from types import FrameType
from typing import Any

import ignite.distributed as idist


class StopRequest:
    """While entered, the first SIGINT (Ctrl-C) or SIGTERM is noted; a second one acts as usual.

    Attributes:
        signal: the number of the noted signal, or 0.
    """

    def __init__(self) -> None:
        self.signal = 0
        self._former: dict[int, Any] = {}

    def __enter__(self) -> "StopRequest":
        if threading.current_thread() is threading.main_thread():  # elsewhere Python takes no handlers
            for number in (signal.SIGINT, signal.SIGTERM):
                self._former[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        self._restore()

    def agreed(self) -> int:
        """The number of the signal noted by any process, or 0; all processes call it."""
        if idist.get_world_size() > 1:
            self.signal = int(idist.all_reduce(self.signal, op="MAX"))
        return self.signal

    def _note(self, number: int, _: FrameType | None) -> None:
        self.signal = number
        self._restore()

    def _restore(self) -> None:
        while self._former:
            signal.signal(*self._former.popitem())
