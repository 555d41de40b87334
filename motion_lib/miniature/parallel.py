"""Runs one function over many argument tuples in a few processes, with a progress bar."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

from tqdm import tqdm


def _call(job: tuple) -> object:
    function, arguments = job
    return function(*arguments)


def parallel_map(function: Callable, jobs: Sequence[tuple], description: str, workers: int | None = None) -> list:
    """[function(*job) for job in jobs], in order. Worker processes are spawned, never forked from a
    process that may hold threads or a GPU; an exception in a worker is raised here."""
    workers = workers or min(4, os.cpu_count() or 1)
    progress = {"desc": description, "total": len(jobs), "mininterval": 2}
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        calls = pool.map(
            _call, [(function, job) for job in jobs], chunksize=max(1, min(64, len(jobs) // (4 * workers)))
        )
        return list(tqdm(calls, **progress))
