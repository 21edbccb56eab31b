"""Keep BLAS on the calling thread, so that products do not depend on the number of threads."""

from __future__ import annotations

import os
import threading
from typing import Any, Self

from threadpoolctl import ThreadpoolController

from skscratch.core.interrupts import Interrupts


class SingleThreadedBLAS:
    """A reentrant context in which BLAS computes on the calling thread only.

    The limit applies to the whole process. Entries are counted, so that the first of several
    overlapping fits to end cannot lift it while another still runs.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._depth = 0
        #: How many threads each library may use outside of the context.
        self._before: list[int] | None = None
        self._blas: list[Any] | None = None
        self._kinds: set[Any] = set()

    def survive_forks(self) -> None:
        """Make every child forked from now on start without a limit and without entries.

        None of the threads that entered exist in the child, and a lock that one of them held would
        never be released: forking therefore waits for the lock.
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

    def _libraries(self) -> list[Any]:
        # Searching all loaded libraries takes milliseconds: once is enough.
        if self._blas is None:
            # threadpoolctl before 3.7 searches in a callback from C, which loses KeyboardInterrupt.
            with Interrupts():
                self._blas = ThreadpoolController().select(user_api="blas").lib_controllers
            self._kinds = {type(library) for library in self._blas}
        return self._blas

    def _take_control(self) -> None:
        """Let the calling thread set limits, then release threadpoolctl's claim.

        From threadpoolctl 3.8 on, limits belong to the thread that set them first. Our count spans
        threads: the last thread to leave need not be the first that entered.
        """
        for kind in self._kinds:
            if hasattr(kind, "clear_controlling_thread"):
                kind.clear_controlling_thread(force=True)

    def _set(self, thread_counts: list[int]) -> None:
        self._take_control()
        for library, n in zip(self._libraries(), thread_counts, strict=True):
            library.set_num_threads(n)
        self._take_control()

    def _lift(self) -> None:
        if self._before is not None:
            self._set(self._before)
            self._before = None

    def threads_allowed(self) -> int:
        """Return how many threads BLAS may use at this moment."""
        with self._lock:
            return min(self._thread_counts(), default=1)

    def _thread_counts(self) -> list[int]:
        return [int(library.get_num_threads()) for library in self._libraries()]

    def __enter__(self) -> Self:
        with self._lock:
            if self._depth == 0:
                before = self._thread_counts()
                # Setting a limit that is there already would take as long as a small product.
                if max(before, default=1) > 1:
                    self._before = before
                    self._set([1] * len(before))
            self._depth += 1
        return self

    def __exit__(self, *exception: Any) -> None:
        with self._lock:
            # It is 0 if the context was entered before a fork and is left in the child.
            if self._depth > 0:
                self._depth -= 1
                if self._depth == 0:
                    self._lift()


single_threaded_blas = SingleThreadedBLAS()
single_threaded_blas.survive_forks()
