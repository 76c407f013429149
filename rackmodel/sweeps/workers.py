"""Who runs the jobs of a sweep: this process, local processes, or a Dask cluster.

In:  how many, or the address of a scheduler.
Out: `Workers`, to which jobs are handed one at a time and which answer by futures.
Left out: what is run, and what becomes of the answers (run.py).

Local processes end when the process that started them does, also when that one is killed: orphans
would compute on for nobody. A lost Dask worker's jobs are run again by the scheduler.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import Connection, wait
from types import TracebackType
from typing import Any, TypeVar

from rackmodel.errors import CannotRun, InvalidInput
from rackmodel.extend import load_all

_T = TypeVar("_T")

CONNECT_S = 20  # to reach a Dask scheduler and find a worker there
# Threads inside a worker would take each other's cores, and their sums may round differently.
_ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")


class Workers:
    """An executor, with the number of jobs that it is worth handing over at once.

    blames_job : whether an error says that this one job kills its workers (and no other way to go
    on).
    """

    def __init__(
        self,
        start: Callable[[], Executor],
        stop: Callable[[], None],
        window: int,
        blames_job: Callable[[BaseException], bool] = lambda error: False,
    ) -> None:
        self._start, self._stop, self.window, self.blames_job = start, stop, window, blames_job
        self._executor = start()

    def submit(self, act: Callable[..., _T], *arguments: object) -> Future[_T]:
        """Hand over one call."""
        try:
            return self._executor.submit(act, *arguments)
        except BrokenProcessPool as error:  # a worker died between two jobs
            failed: Future[_T] = Future()
            failed.set_exception(error)
            return failed

    def renew(self) -> None:
        """Start again after a worker's death."""
        self._executor.shutdown(wait=False)
        self._executor = self._start()

    def __enter__(self) -> Workers:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is not None:
            self._stop()  # at once: nobody waits for what still runs
        self._executor.shutdown(wait=error is None)
        self._stop()


class _Here(Executor):
    """Runs each call at once in this process."""

    def submit(self, fn: Callable[..., _T], /, *args: Any, **kwargs: Any) -> Future[_T]:
        future: Future[_T] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:  # an Executor hands every error to whoever asks for the result
            future.set_exception(error)
        return future


def local_workers(count: int) -> Workers:
    """`count` processes; one means this process itself."""
    if count == 1:
        return Workers(_Here, lambda: None, window=1)
    methods = multiprocessing.get_all_start_methods()
    context = multiprocessing.get_context("forkserver" if "forkserver" in methods else "spawn")
    if "forkserver" in methods:
        context.set_forkserver_preload(["rackmodel.sweeps.api", "numpy", "pandas", "networkx"])
    alive, ours = context.Pipe(duplex=False)

    def start() -> Executor:
        for name in _ONE_THREAD:
            os.environ.setdefault(name, "1")
        return ProcessPoolExecutor(
            count, mp_context=context, initializer=_begin_worker, initargs=(alive,)
        )

    # Two a worker: the next job lies ready when one ends; more would be lost with a killed sweep.
    return Workers(start, ours.close, window=2 * count)


def _begin_worker(alive: Connection) -> None:
    """Leave Ctrl-C to the parent, end when the parent does; know what it has registered."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # First of all: many sweeps killed in a row leave many workers that still load.
    threading.Thread(target=_end_with_parent, args=(alive,), daemon=True).start()
    load_all()


def _end_with_parent(alive: Connection) -> None:
    parent = multiprocessing.parent_process()
    wait([alive] if parent is None else [alive, parent.sentinel])
    os._exit(1)


def dask_workers(address: str) -> Workers:
    """The workers of a running Dask cluster.

    Raises
    ------
    InvalidInput
        If `distributed` is not installed, or no scheduler with a worker answers at `address`.
    """
    try:
        import distributed
    except ImportError:
        raise InvalidInput(
            "--dask needs the package distributed; pip install 'rackmodel[cluster]'"
        ) from None
    try:
        # distributed is only partly typed
        client: Any = distributed.Client(  # type: ignore[no-untyped-call]
            address, timeout=CONNECT_S, set_as_default=False
        )
    except (OSError, ValueError, TimeoutError) as error:
        raise InvalidInput(
            f"no Dask scheduler answers at {address!r} ({type(error).__name__}); start one with "
            "'dask scheduler' and workers with 'dask worker ADDRESS'"
        ) from None
    try:
        client.wait_for_workers(1, timeout=CONNECT_S)
    except TimeoutError:
        client.close()
        raise InvalidInput(
            f"the Dask scheduler at {address} has no worker; start 'dask worker {address}'"
        ) from None
    threads = sum(client.nthreads().values())
    executor: Executor = client.get_executor()

    def blamed(error: BaseException) -> bool:
        if isinstance(error, distributed.KilledWorker):
            return True
        if type(error).__name__ in ("CancelledError", "FutureCancelledError", "CommClosedError"):
            raise CannotRun(f"the Dask scheduler at {address} is lost; --resume goes on") from error
        return False

    return Workers(lambda: executor, client.close, window=max(8, 4 * threads), blames_job=blamed)
