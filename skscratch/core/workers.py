"""Split work over a few threads, without changing a bit of the result.

A batch is cut into shards by a rule that depends on sizes only, never on the number of threads.
Each shard is computed with single-threaded BLAS. Splitting rows beats threads inside BLAS, because
the element-wise work runs in parallel too: NumPy releases the interpreter lock in both.
"""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Self

from skscratch.core.blas import single_threaded_blas
from skscratch.core.functions import Array
from skscratch.core.network import PREDICT_ROWS, Stack, Workspace
from skscratch.core.rows import Rows, is_sparse

SHARD_ROWS = 128
MAX_SHARDS = 8
# A matrix product with fewer rows takes hardly less time, and each shard's gradient has to be
# written and added.
MIN_SHARD_ROWS = 24
# Handing a shard to a thread and back costs some 50 µs: below this many multiplications (rows
# times parameters) the calling thread is faster alone.
SMALL_WORK = 1 << 22

Job = Callable[[], None]


def shards(rows: int, n_params: int, work: float | None = None) -> list[slice]:
    """Cut a batch into shards, for any number of threads alike.

    `work` is the number of multiplications, by default rows times parameters. Sparse rows need
    fewer, and each shard must be worth a gradient.
    """
    work = rows * n_params if work is None else work
    if work < SMALL_WORK:
        return [slice(0, rows)]
    most = int(work // (MIN_SHARD_ROWS * n_params))
    n = max(1, min(MAX_SHARDS, max(2, rows // SHARD_ROWS), most, rows))
    return [slice(k * rows // n, (k + 1) * rows // n) for k in range(n)]


class Workers:
    """A few threads, including the calling one, as a context manager.

    The others start when they are first needed.

    >>> with Workers(2) as workers:
    ...     done = [0, 0, 0]
    ...     workers.run([lambda k=k: done.__setitem__(k, k + 1) for k in range(3)])
    >>> done
    [1, 2, 3]
    """

    def __init__(self, n_threads: int) -> None:
        self.n_threads = max(1, n_threads)
        self._jobs: Sequence[Job] | None = ()
        self._errors: list[BaseException] = []
        # Bare locks hand over in a quarter of the time of events and queues.
        self._go = [_held_lock() for _ in range(self.n_threads - 1)]
        self._done = [_held_lock() for _ in range(self.n_threads - 1)]
        self._threads: list[threading.Thread] = []
        self._ahead = False

    def __enter__(self) -> Self:
        single_threaded_blas.__enter__()
        return self

    def _start_threads(self) -> None:
        for k in range(self.n_threads - 1):
            # The copied context includes NumPy's error state.
            target = contextvars.copy_context().run
            thread = threading.Thread(target=target, args=(self._serve, k), daemon=True)
            self._threads.append(thread)
            thread.start()

    def __exit__(self, *exception: Any) -> None:
        self._wait_for_ahead()
        self._jobs = None
        for go in self._go:
            go.release()
        for thread in self._threads:
            if thread.ident is not None:
                thread.join()
        single_threaded_blas.__exit__()

    def _serve(self, k: int) -> None:
        while True:
            self._go[k].acquire()
            if self._jobs is None:
                return
            try:
                self._run_share(k + 1, self._jobs)
            except BaseException as error:  # noqa: BLE001  the caller raises it
                self._errors.append(error)
            self._done[k].release()

    def _run_share(self, first: int, jobs: Sequence[Job]) -> None:
        for job in jobs[first :: self.n_threads]:
            job()

    def run(self, jobs: Sequence[Job]) -> None:
        """Run all jobs and wait for them; job k always goes to thread k modulo their number."""
        self._wait_for_ahead()
        self._raise_errors()
        if self.n_threads == 1 or len(jobs) <= 1:
            for job in jobs:
                job()
            return
        if not self._threads:
            self._start_threads()
        helpers = min(self.n_threads, len(jobs)) - 1
        self._jobs = jobs
        for go in self._go[:helpers]:
            go.release()
        try:
            self._run_share(0, jobs)
        finally:
            for done in self._done[:helpers]:
                done.acquire()
        self._raise_errors()

    def run_ahead(self, job: Job) -> None:
        """Let another thread run a job; the next call of `run` waits for it."""
        self._wait_for_ahead()
        if not self._threads:
            self._start_threads()
        self._jobs, self._ahead = (job,) * 2, True
        self._go[0].release()

    def _wait_for_ahead(self) -> None:
        if self._ahead:
            self._done[0].acquire()
            self._ahead = False

    def _raise_errors(self) -> None:
        if self._errors:
            error, self._errors = self._errors[0], []
            raise error


def _held_lock() -> threading.Lock:
    lock = threading.Lock()
    lock.acquire()
    return lock


def predict(
    stack: Stack,
    rows: Rows,
    write: Callable[[slice, Array], None],
    n_threads: int = 1,
    block_rows: int = PREDICT_ROWS,
) -> None:
    """Pass rows through a network, block by block, on several threads.

    `write` receives the outputs of a slice of the rows. Memory is bounded by the blocks, which
    depend only on the number of rows.
    """
    n_rows = rows.shape[0]
    blocks = [
        slice(start, min(start + block_rows, n_rows)) for start in range(0, n_rows, block_rows)
    ]
    n_threads = min(n_threads, len(blocks))

    def job(share: Sequence[slice]) -> None:
        ws = Workspace(stack, min(block_rows, n_rows), sparse_rows=is_sparse(rows))
        for block in share:
            x = ws.take(rows, block, block.stop - block.start)
            write(block, stack.forward(x, ws))

    with Workers(n_threads) as workers:
        workers.run([partial(job, blocks[k::n_threads]) for k in range(n_threads)])
