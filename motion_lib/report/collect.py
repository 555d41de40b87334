"""Collects what the notebooks wrote: tables over all seeds, figures, verdicts. Measures nothing."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd
from IPython.display import Image, Markdown, display
from PIL import Image as Picture

from motion_lib.config import RunConfig
from motion_lib.experiment.inputs import missing_inputs, stop_without
from motion_lib.experiment.records import frame_of, read_records, records_dir
from motion_lib.methods import DESCRIPTION_KINDS, TABLE_METHODS
from motion_lib.people.ratings import judged_target, ratings_dir, read_likert, read_study, study_cell
from motion_lib.report.breakdowns import (
    confusion_table,
    group_intervals,
    human_table,
    metrics_table,
    protocol_table,
    seeds_table,
)
from motion_lib.report.claims import claims_table, gap_table, overfitting_table, verdict_counts
from motion_lib.report.items import People, item_verdicts, number_verdicts
from motion_lib.report.tables import epoch_table, retrieval_table, temporal_table, write_table


def collect_records(cfg: RunConfig) -> list[dict]:
    """The records of all seeds.

    Raises: MissingInputs where there is none yet, with one list of what making them takes.
    """
    records = read_records(cfg)
    if not records:
        wanted = f"records of these parameters, expected in {records_dir(cfg)}: notebooks 02 to 05 write them"
        stop_without(cfg, [wanted, *missing_inputs(cfg)])
    return records


# What the comparisons test is a direction; the sizes that the paper states are of its own data.
DIRECTIONS = {
    "above_vanilla_clip": ("our method above vanilla CLIP", "Tables 2 and 3"),
    "above_class_name_control": ("our method above the same with class names", "control, not in the paper"),
    "above_class_name_training": ("our method above X-CLIP, Text4Vis and ViFi-CLIP", "Tables 2 and 3"),
    "noun_bias": ("objects named above objects masked, every method of the paper", "Tables 2 and 3"),
    "noun_bias_of_control": ("the same for our method with class names", "control, not in the paper"),
    "temporal_transformer_no_better": ("temporal transformer not above mean pooling by 5 points", "Tables 4 and 5"),
}


def inventory(records: list[dict]) -> pd.DataFrame:
    """How many records there are of each method, by seed: the first thing to check."""
    frame = frame_of([record for record in records if record["epoch"] is None])
    return frame.pivot_table(index="method", columns="seed", values="acc1", aggfunc="count", fill_value=0)


def claims_with_sentences(counts: pd.DataFrame) -> pd.DataFrame:
    """Verdict counts with the direction that was tested and its place in the paper."""
    rows = []
    for _, row in counts.iterrows():
        tested, where = DIRECTIONS[row["Claim"]]
        rows.append({"Direction tested": tested, "Where": where, **row.drop("Claim")})
    return pd.DataFrame(rows)


def human_cells(cfg: RunConfig, target: str) -> dict[str, str]:
    """{kind: what people got right of a target in the retrieval study, or "not collected"}."""
    return {kind: study_cell(ratings_dir(cfg, f"retrieval-{target}-{kind}")) for kind in DESCRIPTION_KINDS}


def people_asked(cfg: RunConfig) -> People:
    """What people answered here: ratings of the descriptions that Table 1 is of, and the retrieval studies."""
    rated = len(read_likert(ratings_dir(cfg, f"likert-{judged_target(cfg)}")))
    asked = {
        (target, kind): read_study(ratings_dir(cfg, f"retrieval-{target}-{kind}"))
        for target in cfg.targets
        for kind in DESCRIPTION_KINDS
    }
    return People(rated, {cell: result for cell, result in asked.items() if result})


def write_all_tables(records: list[dict], cfg: RunConfig) -> dict[str, pd.DataFrame]:
    """Tables 2 to 7, metrics, protocols, claims and verdicts over all seeds, written and returned by name."""
    tables: dict[str, pd.DataFrame] = {}
    for offset, target in enumerate(cfg.targets):
        tables[f"table{2 + offset}"] = retrieval_table(records, target, TABLE_METHODS, human_cells(cfg, target))
        tables[f"table{4 + offset}"] = temporal_table(records, target)
        tables[f"table{6 + offset}"] = epoch_table(records, "motion", target)
        for kind in DESCRIPTION_KINDS:
            short = f"{target.rpartition('-')[2]}_{kind}"
            tables[f"protocols_{short}"] = protocol_table(records, target, TABLE_METHODS, kind)
            tables[f"intervals_{short}"] = group_intervals(records, target, TABLE_METHODS, kind)
    tables["metrics"] = metrics_table(records, cfg.targets, TABLE_METHODS, DESCRIPTION_KINDS)
    tables["seeds"] = seeds_table(records, cfg.targets, TABLE_METHODS, DESCRIPTION_KINDS)
    tables["confusions"] = confusion_table(records, cfg.targets)
    tables["human"] = human_table()
    tables["claims"] = claims_table(records, cfg.targets)
    tables["gaps"] = gap_table(tables["claims"], cfg.targets)
    tables["verdicts"] = claims_with_sentences(verdict_counts(tables["claims"]))
    tables["overfitting"] = overfitting_table(records, cfg.targets)
    tables["numbers"] = number_verdicts(records, cfg)
    tables["items"] = item_verdicts(tables, cfg, people_asked(cfg))
    for name, table in tables.items():
        write_table(table, cfg, name)
    return tables


def show_tables(tables: Mapping[str, pd.DataFrame], opening: str) -> None:
    """Show every table whose name starts so, each under its name."""
    for name, table in tables.items():
        if name.startswith(opening):
            display(Markdown(f"**{name}**"), table)


def read_table(cfg: RunConfig, name: str) -> pd.DataFrame:
    """A table that an earlier notebook wrote.

    Raises: FileNotFoundError that says to run the notebooks.
    """
    path = cfg.results_dir / "tables" / f"{name}.csv"
    if not path.is_file():
        raise FileNotFoundError(f"table {name!r} is not there: run the notebooks before 07_report.")
    return pd.read_csv(path, keep_default_na=False)


def show_figures(cfg: RunConfig, names: Sequence[str]) -> None:
    """Show figures that earlier notebooks wrote, each under its name; an absent one is said to be absent."""
    for name in names:
        path = cfg.figures_dir / f"{name}.png"
        display(Markdown(f"**{name}**" if path.is_file() else f"**{name}**: not run"))
        if path.is_file():
            display(Image(_preview(path), width=760))


def _preview(path: Path, width: int = 900) -> bytes:
    """The picture small enough that a report of many figures stays below 2 MB: PNG, or JPEG where that is smaller,
    as it is of video."""
    with Picture.open(path) as picture:
        small = picture.convert("RGB").resize((width, round(width * picture.height / picture.width)))
    png, jpeg = io.BytesIO(), io.BytesIO()
    small.quantize(256).save(png, "png", optimize=True)
    small.save(jpeg, "jpeg", quality=75, optimize=True)
    return min(png.getvalue(), jpeg.getvalue(), key=len)
