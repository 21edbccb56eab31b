"""Keeping BLAS on the calling thread, so that threads never change a bit of a product."""

from __future__ import annotations

import os
import threading
from typing import Any, Self

from threadpoolctl import ThreadpoolController

from skscratch.core.interrupts import Interrupts


class SingleThreadedBLAS:
    """While entered, anywhere and any number of times, BLAS computes on the calling thread.

    The limit belongs to the whole process. It is counted, so that the first of several fits that
    overlap cannot lift it while another still runs.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._depth = 0
        self._limit: Any = None
        self._found: ThreadpoolController | None = None

    def survive_forks(self) -> None:
        """Have every child that is forked from now on start without a limit and without entries.

        The child has none of the threads that entered, and a lock that one of them held would
        never be released: the fork waits for the lock instead.
        """
        # Windows has no forks.
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(
                before=self._lock.acquire,
                after_in_parent=self._lock.release,
                after_in_child=self._start_in_child,
            )

    def _start_in_child(self) -> None:
        if self._depth > 0:
            self._depth = 0
            self._lift()
        self._lock.release()

    def _controller(self) -> ThreadpoolController:
        # Looking through all loaded libraries takes milliseconds: once is enough.
        if self._found is None:
            # threadpoolctl before 3.7 looks in a callback from C, where KeyboardInterrupt is lost.
            with Interrupts():
                self._found = ThreadpoolController().select(user_api="blas")
        return self._found

    def _take_control(self) -> None:
        """Let the calling thread set limits, then release threadpoolctl's claim.

        From threadpoolctl 3.8 on they belong to the first thread that has set them. Our count spans
        threads: who comes last need not be who came first.
        """
        for library in self._controller().lib_controllers:
            if hasattr(library, "clear_controlling_thread"):
                library.clear_controlling_thread(force=True)

    def _lift(self) -> None:
        self._take_control()
        self._limit.restore_original_limits()
        self._take_control()

    def threads_allowed(self) -> int:
        """Return how many threads BLAS may use at this moment."""
        with self._lock:
            libraries = self._controller().lib_controllers
            return min((int(lib.num_threads) for lib in libraries), default=1)

    def __enter__(self) -> Self:
        with self._lock:
            if self._depth == 0:
                self._take_control()
                self._limit = self._controller().limit(limits=1)
            self._depth += 1
        return self

    def __exit__(self, *exception: Any) -> None:
        with self._lock:
            # 0: entered before a fork, and left in the child.
            if self._depth > 0:
                self._depth -= 1
                if self._depth == 0:
                    self._lift()


single_threaded_blas = SingleThreadedBLAS()
single_threaded_blas.survive_forks()
