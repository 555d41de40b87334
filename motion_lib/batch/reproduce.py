"""Run the notebooks in order: `python -m motion_lib reproduce --profile miniature --seeds 0 1 2`.

The executed copies and a page of HTML each go to `results/<profile>/notebooks`; of other seeds than the profile's,
which go first, records alone are kept. The sources are never written to. The first failure stops the batch. What has
not changed since it ran is left out, unless it is asked for by its number or with --again.
"""

import re
import time
from functools import partial
from pathlib import Path

import nbformat

from motion_lib.batch.execution import NotebookError, execute, make_way
from motion_lib.batch.finished import Finished
from motion_lib.batch.page import write_page
from motion_lib.batch.publishing import LineLog, ProgressLog, Scrubber, shrink_pictures
from motion_lib.batch.step import LAST_SHARED_STAGE, REPORT_STAGE, Step, stage_of
from motion_lib.config import REPOSITORY, RunConfig
from motion_lib.storage import write_text

NOTEBOOKS_DIR = REPOSITORY / "notebooks"
_say = partial(print, flush=True)


def find_notebooks(folder: Path) -> list[Path]:
    """Notebooks named NN_title.ipynb, in order.

    Raises:
        FileNotFoundError: if there is none.
    """
    found = sorted(folder.resolve().glob("[0-9][0-9]_*.ipynb"))
    if not found:
        raise FileNotFoundError(
            f"{folder}: no notebook named NN_title.ipynb. They come with the repository, not with an installed "
            "package: clone it and run the command there."
        )
    return found


def select(notebooks: list[Path], start: str | None, only: list[str] | None) -> list[Path]:
    """The notebooks from `start` on, or those of `only`; numbers may be followed by the rest of the name.

    Raises:
        ValueError: for a number that no notebook has.
    """
    known, asked = [stage_of(path) for path in notebooks], []
    for text in [start] if start else only or []:
        match = re.match(r"(\d{1,2})(?!\d)", text)
        if not match or int(match[1]) not in known:
            raise ValueError(f"no notebook {text!r}: expected one of {', '.join(f'{n:02}' for n in known)}.")
        asked.append(int(match[1]))
    if start:
        return [path for path in notebooks if stage_of(path) >= asked[0]]
    return [path for path in notebooks if not only or stage_of(path) in asked]


def titles(notebooks: list[Path]) -> list[str]:
    """One line a notebook: its name and its title."""
    lines = []
    for path in notebooks:
        text = "\n".join(cell.source for cell in nbformat.read(path, as_version=4).cells)
        title = re.search(r"^# +(.+)$", text, re.MULTILINE)
        lines.append(f"{path.stem:<28} {title[1] if title else ''}".rstrip())
    return lines


def check_sources(notebooks: list[Path]) -> None:
    """Refuse executed copies, and notebooks that were saved by hand.

    Raises:
        ValueError: for a notebook that holds outputs, or a section to fold that has no heading.
    """
    for path in notebooks:
        cells = nbformat.read(path, as_version=4).cells
        injected = any("injected-parameters" in cell.metadata.get("tags", []) for cell in cells)
        if injected or any(cell.get("outputs") for cell in cells):
            raise ValueError(f"{path.name} holds outputs, like an executed copy: strip it with nbstripout.")
        for cell in cells:
            if "fold" in cell.metadata.get("tags", []) and not re.match("#+ ", cell.source):
                raise ValueError(f"{path.name}: {cell.source[:40]!r} is tagged fold, but starts with no heading.")


def plan(notebooks: list[Path], profile: str, overrides: dict[str, object], seeds: list[int] | None) -> list[Step]:
    """All steps in the order in which they run: shared stages, the others once per seed, the report.

    Args:
        seeds: None runs the profile's own.

    Raises:
        ValueError: for an unknown profile or parameter, a wrong type, or a seed given twice.
    """
    base = RunConfig.load(profile, **overrides)
    if seeds and ("seed" in overrides or len(set(seeds)) < len(seeds)):
        raise ValueError("give each seed once, by --seeds or by -p seed.")
    own_seed = RunConfig.load(profile).seed
    # The profile's own goes last: published copies see the records of all, and figures of one seed are its.
    ordered = sorted(seeds or [base.seed], key=lambda seed: seed == own_seed)
    configs = [RunConfig.load(profile, **overrides | {"seed": seed}) for seed in ordered]

    def once(paths: list[Path]) -> list[Step]:
        return [Step(path, configs[-1], published=True) for path in paths]

    report = [path for path in notebooks if stage_of(path) >= REPORT_STAGE]
    shared = [path for path in notebooks if stage_of(path) <= LAST_SHARED_STAGE]
    rest = [path for path in notebooks if LAST_SHARED_STAGE < stage_of(path) < REPORT_STAGE]
    each = [Step(path, config, published=config.seed == own_seed) for config in configs for path in rest]
    return [*once(shared), *each, *once(report)]


def run(steps: list[Step], again: bool = False) -> int:
    """Run the steps until one fails; prints progress and every stage's time.

    Args:
        again: run also what has not changed since it ran.

    Returns:
        The exit code: 0 done, 1 failed, 130 interrupted.
    """
    scrubber, times, code = Scrubber(), [], 0
    _announce(steps)
    finished = Finished(steps[0].config)
    for step in steps:
        if not again and finished.holds(step):
            _say(f"[reproduce] {step.name}: nothing has changed since it ran")
            times.append((step, 0.0))
            continue
        if load := make_way():
            _say(f"[reproduce] the machine is busy: other jobs take {load:.0f} % of it, and this will take longer")
        started = time.monotonic()
        _say(f"[reproduce] {step.name} ...")
        finished.begins(step)
        try:
            run_step(step, scrubber)
        except KeyboardInterrupt:
            _say(f"[reproduce] {step.name}: interrupted. The notebooks finished before it stay in place.")
            code = 130
        except NotebookError as error:
            report_failure(step, error, scrubber)
            code = 1
        finished.ends(step, succeeded=not code)
        times.append((step, time.monotonic() - started))
        if code:
            break
        _say(f"[reproduce] {step.name}: done in {times[-1][1]:.1f} s")
    _summarise(times, steps, code)
    return code


def run_step(step: Step, scrubber: Scrubber) -> None:
    """Execute one notebook and publish it if it is to be; nothing unscrubbed reaches the disk."""
    log, progress = (kind(scrubber.text, partial(_say, "    |")) for kind in (LineLog, ProgressLog))
    copy = scrubber.notebook(execute(step.source, step.parameters, log, progress))
    if step.published:
        shrink_pictures(copy)
        write_text(step.output(".ipynb"), nbformat.writes(copy) + "\n")
        write_page(copy, step.output(".html"), step.source.parent)
    step.output(".failed.ipynb").unlink(missing_ok=True)


def report_failure(step: Step, error: NotebookError, scrubber: Scrubber) -> None:
    """Keep what had been executed, and say which cell failed and with what message."""
    path = write_text(step.output(".failed.ipynb"), nbformat.writes(scrubber.notebook(error.notebook)) + "\n")
    _say(f"[reproduce] FAILED: {step.name}")
    _say(f"  cell:    {error.heading} > {error.code}")
    _say(f"  message: {scrubber.text(str(error))}")
    _say(f"  copy:    {_shown(path)}")


def _announce(steps: list[Step]) -> None:
    config = steps[0].config
    seeds = ", ".join(str(seed) for seed in dict.fromkeys(step.config.seed for step in steps))
    stages = ", ".join(dict.fromkeys(step.source.stem for step in steps))
    _say(f"[reproduce] profile {config.profile}, seed(s) {seeds}: {len(steps)} runs of {stages}")
    _say(f"[reproduce] executed copies go to {_shown(config.results_dir / 'notebooks')}")
    if rest := dict.fromkeys(str(step.config.seed) for step in steps if not step.published):
        _say(f"[reproduce] seed(s) {', '.join(rest)}, not the profile's own: records are kept, copies are not")


def _summarise(times: list[tuple[Step, float]], steps: list[Step], code: int) -> None:
    config, rows = steps[0].config, [(step.source.stem, step.config.seed, seconds) for step, seconds in times]
    _say(f"\n{'stage':<28}  seed  seconds")
    for name, seed, seconds in [*rows, ("total", "", sum(seconds for _, seconds in times))]:
        _say(f"{name:<28}  {seed:>4}  {seconds:7.1f}")
    if code:
        _say(f"\n{len(times) - 1} of {len(steps)} runs finished.")
    _say(f"Notebooks and pages: {_shown(config.results_dir / 'notebooks')}")
    _say(f"Records and tables:  {_shown(config.results_dir)};  figures: {_shown(config.figures_dir)}")


def _shown(path: Path) -> str:
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)
