"""Ctrl-C during training: noted at once, obeyed between two steps.

Python raises KeyboardInterrupt between any two instructions, even in the middle of an update, when
only half of the parameters are new. While an `Interrupts` is open, the first Ctrl-C only sets a
flag, which training reads before each step; the second one raises as usual.
"""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any, Self


class Interrupts:
    """A context that records whether Ctrl-C was pressed.

    Nothing is deferred outside the main thread, which alone receives Ctrl-C, or if the user has
    installed a handler, which is left in place: KeyboardInterrupt may then be raised anywhere.

    Attributes
    ----------
    requested : bool
        Ctrl-C was pressed.
    obeyed : bool
        Set by the caller that has acted on it; otherwise the request is raised at the end.
    may_raise : bool
        Whether a first Ctrl-C can raise KeyboardInterrupt instead of setting `requested`.
    """

    def __init__(self) -> None:
        self.requested = self.obeyed = self.may_raise = False
        self._before: Any = None

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            handler = signal.getsignal(signal.SIGINT)
            outer = isinstance(getattr(handler, "__self__", None), Interrupts)
            if handler is signal.default_int_handler or outer:
                self._before = handler
                signal.signal(signal.SIGINT, self._note)
            else:
                # If the signal is ignored or ends the process, there is no handler to raise.
                self.may_raise = callable(handler)
        return self

    def __exit__(self, *exception: Any) -> None:
        before, self._before = self._before, None
        if before is None:
            return
        signal.signal(signal.SIGINT, before)
        if self.requested and not self.obeyed and exception[0] is None:
            before(signal.SIGINT, None)

    def _note(self, signal_number: int, frame: FrameType | None) -> None:
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True
