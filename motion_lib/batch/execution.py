"""One notebook executed through papermill, in this very interpreter, and kept in memory."""

import logging
import os
import re
from pathlib import Path

import papermill
import psutil
import zmq
from ipykernel.kernelspec import get_kernel_dict
from jupyter_client import AsyncKernelManager
from jupyter_client.kernelspec import KernelSpec, KernelSpecManager
from nbclient.exceptions import CellControlSignal
from nbformat import NotebookNode
from papermill.engines import NBClientEngine, papermill_engines
from papermill.exceptions import PapermillExecutionError
from traitlets import default

from motion_lib.batch.publishing import LineLog, ProgressLog

_BUSY = 20  # percent of all cores that other jobs take


class NotebookError(Exception):
    """A notebook stopped at an error: its message, the cell, and what had been executed."""

    def __init__(self, message: str, notebook: NotebookNode):
        super().__init__(message.strip())
        self.notebook = notebook
        self.heading, self.code = _failing_cell(notebook)


def execute(source: Path, parameters: dict[str, object], log: LineLog, progress: ProgressLog) -> NotebookNode:
    """Run a notebook in its own folder; prints go to `log` and progress bars to `progress` at once.

    Returns:
        The executed copy, which is written nowhere: it still holds whatever the notebook printed.

    Raises:
        NotebookError: if a cell fails, or the kernel dies.
    """
    logging.getLogger("papermill").setLevel(logging.ERROR)  # it warns of parameters that RunConfig reads
    _Engine.manager = None
    try:
        return papermill.execute_notebook(
            source, None, parameters, stdout_file=log, stderr_file=progress, cwd=source.parent,
            engine_name=_Engine.name, kernel_name="python3", language="python", progress_bar=False,
        )  # fmt: skip
    except PapermillExecutionError as error:
        raise NotebookError(f"{error.ename}: {error.evalue}", _Engine.manager.nb) from None
    except (CellControlSignal, RuntimeError) as error:  # the kernel died, or its output did not arrive
        if _Engine.manager is None:
            raise
        raise NotebookError(f"{type(error).__name__}: {error}", _Engine.manager.nb) from error
    finally:
        log.close()


def make_way(seconds: float = 0.5) -> float | None:
    """Let the threads of kernels that start from now on sleep while they wait for each other, if the machine is busy.

    OpenMP's threads spin, which is a little faster on a machine of one's own (511 against 453 images/s in the
    miniature's pretraining) and many times slower beside other jobs (203 s of work took 1,297 s).

    Returns:
        What share of all cores, in percent, other jobs took in these seconds; None if they take little, or if the
        `OMP_WAIT_POLICY` is set, by the user or by an earlier call.
    """
    if "OMP_WAIT_POLICY" in os.environ or (load := psutil.cpu_percent(interval=seconds)) < _BUSY:
        return None
    os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
    return load


def _failing_cell(notebook: NotebookNode) -> tuple[str, str]:
    """Heading above the cell that failed, or was the last to start, and its first line of code."""
    states = [cell.metadata.get("papermill", {}) for cell in notebook.cells]  # papermill's own notes have none
    started = [i for i, state in enumerate(states) if state.get("start_time")]
    failed = [i for i in started if states[i].get("exception")]
    index = (failed or started or [0])[-1]
    text = "\n".join(cell.source for cell in notebook.cells[:index] if cell.cell_type == "markdown")
    headings = re.findall(r"^#+ +(.+)$", text, re.MULTILINE) or ["(no heading)"]
    return headings[-1], (notebook.cells[index].source.strip().splitlines() or ["(empty cell)"])[0]


class _ThisInterpreter(KernelSpecManager):
    """Offers this very Python as every kernel: an installed "python3" may be another environment's."""

    def get_kernel_spec(self, kernel_name: str) -> KernelSpec:
        # A user's MPLBACKEND would take the figures out of the notebooks. Widgets are for people who sit before one.
        env = {"MPLBACKEND": "module://matplotlib_inline.backend_inline", "MOTION_BATCH": "1"}
        return KernelSpec(name=kernel_name, env=env, **get_kernel_dict())


class _KernelManager(AsyncKernelManager):
    @default("kernel_spec_manager")
    def _kernel_spec_manager_default(self) -> KernelSpecManager:
        return _ThisInterpreter()

    @default("transport_encryption")
    def _transport_encryption_default(self) -> str:
        return "auto" if zmq.has("curve") else "disabled"  # other users of the machine could read along


class _Engine(NBClientEngine):
    """Papermill's own engine on this interpreter; remembers its notebook, which a failure would lose."""

    name = "motion_lib"
    manager = None

    @classmethod
    def execute_managed_notebook(cls, nb_man, kernel_name, **kwargs):
        cls.manager = nb_man
        ours = {"kernel_manager_class": _KernelManager, "coalesce_streams": True}
        return super().execute_managed_notebook(nb_man, kernel_name, **kwargs | ours)


papermill_engines.register(_Engine.name, _Engine)
