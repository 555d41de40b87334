"""Collects what the notebooks wrote: tables over all seeds, figures, verdicts. Measures nothing."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd
from IPython.display import Image, Markdown, display
from PIL import Image as Picture

from motion_lib.config import RunConfig
from motion_lib.data.catalogue import DATASETS
from motion_lib.experiment.inputs import missing_inputs, stop_without
from motion_lib.experiment.records import read_records, records_dir
from motion_lib.methods import DESCRIPTION_KINDS, METHODS, TABLE_METHODS
from motion_lib.people.ratings import NOT_COLLECTED, StudyResult
from motion_lib.report import tables as paper_tables
from motion_lib.report.breakdowns import protocol_table, write_numbers
from motion_lib.report.claims import AGREES, curves, curves_table, findings, findings_table
from motion_lib.report.items import item_verdicts, numbers_table, paper_numbers, people_asked
from motion_lib.report.tables import KIND_LABEL, NOT_RUN, Percent, Points, mean_acc, select, shown, write_table


def collect_records(cfg: RunConfig) -> list[dict]:
    """The records of all seeds.

    Raises:
        MissingInputs: where there is none yet, with one list of what making them takes.
    """
    records = read_records(cfg)
    if not records:
        wanted = f"records of these parameters, expected in {records_dir(cfg)}: notebooks 02 to 05 write them"
        stop_without(cfg, [wanted, *missing_inputs(cfg)])
    return records


def human_cells(cfg: RunConfig, target: str) -> dict[str, StudyResult | str]:
    """{kind: what people got right of a target in the retrieval study, or "not collected"}."""
    studies = people_asked(cfg).studies
    return {kind: studies.get((target, kind), NOT_COLLECTED) for kind in DESCRIPTION_KINDS}


class Report:
    """What follows from the records of all seeds: findings, curves, the paper's numbers, tables and sentences."""

    def __init__(self, records: list[dict], cfg: RunConfig):
        self.records, self.cfg, self.people = records, cfg, people_asked(cfg)
        self.findings = findings(records, cfg.targets)
        self.curves = curves(records, cfg.targets)
        self.numbers = paper_numbers(records, cfg, self.people)

    def write_tables(self) -> dict[str, pd.DataFrame]:
        """Write Tables 2 to 7, what stands beside them and the long file of all numbers; the tables by name."""
        records, cfg = self.records, self.cfg
        tables = {}
        for offset, target in enumerate(cfg.targets):
            human = human_cells(cfg, target)
            tables[f"table{2 + offset}"] = paper_tables.retrieval_table(records, target, TABLE_METHODS, human)
            tables[f"table{4 + offset}"] = paper_tables.temporal_table(records, target)
            tables[f"table{6 + offset}"] = paper_tables.epoch_table(records, "motion", target)
        tables["items"] = item_verdicts(self.findings, self.curves, self.numbers, cfg, self.people)
        tables["claims"] = findings_table(self.findings)
        tables["overfitting"] = curves_table(self.curves)
        tables["protocols"] = protocol_table(records, cfg.targets, TABLE_METHODS)
        tables["reported"] = numbers_table(self.numbers)
        for name, table in tables.items():
            write_table(table, cfg, name)
        write_numbers(records, cfg)
        return tables

    # --- one sentence that reads a result, true whatever the numbers are ---

    def read_retrieval(self, target: str) -> str:
        """Who has the highest mean, and what masking costs."""
        final, label = select(self.records, dataset=target, epoch=None), DATASETS[target].label
        means = {k: [mean_acc(final, method=m, descriptions=k) for m in TABLE_METHODS] for k in KIND_LABEL}
        frame = pd.DataFrame(means, index=TABLE_METHODS).dropna()
        if frame.empty:
            return f"{label}: {NOT_RUN}."
        first = (
            f"{KIND_LABEL[kind]}, {METHODS[means.idxmax()].label} has the highest mean ({means.max():.1f} %)"
            for kind, means in frame.items()
        )
        cost = frame["object"] - frame["masked"]
        return f"{label}: {'; '.join(first)}; masking costs from {cost.min():+.1f} to {cost.max():+.1f} points."

    def read_claims(self, *claims: str) -> str:
        """How many comparisons of some claims have a gap whose interval over classes leaves out zero."""
        chosen = [f for f in self.findings if f.comparison.claim in claims]
        gaps = [f.gap for f in chosen if f.gap]
        if not gaps:
            return f"None of {len(chosen)} comparisons was run."
        low, high = (Points(extreme(gap.estimate for gap in gaps)) for extreme in (min, max))
        above, below = sum(gap.low > 0 for gap in gaps), sum(gap.high < 0 for gap in gaps)
        return (
            f"The gaps of {len(gaps)} comparisons lie from {low} to {high} points; by the intervals over classes "
            f"{above} are above zero, {below} below, and {len(gaps) - above - below} may be either."
        )

    def read_curves(self) -> str:
        """Where the best epochs lie, and what is lost after them."""
        if not self.curves:
            return "No epochs were run."
        largest = Percent(max(curve.loss.estimate for curve in self.curves))
        best = ", ".join(str(curve.best) for curve in self.curves)
        return f"Of {len(self.curves)} curves the best epochs are {best}; at most {largest} points are lost after them."

    def read_numbers(self) -> str:
        """How many of the paper's percentages were measured on its data, and how many can be a share of split 1."""
        verdicts, models = [n.verdict for n in self.numbers], [n for n in self.numbers if not n.people]
        ran, whole = len(verdicts) - verdicts.count(NOT_RUN), sum("split 1: no" not in n.share_of() for n in models)
        return (
            f"{ran} of {len(verdicts)} reported percentages were measured on the paper's data and "
            f"{verdicts.count(AGREES)} agree; {whole} of the models' {len(models)} can be a share of split 1's clips."
        )


# ------------------------------------------------------------------ showing
def show_tables(tables: Mapping[str, pd.DataFrame], *names: str) -> None:
    """Show tables under their names, all without `names`; one of which no row was run is said to be so."""
    for name in names or tables:
        table = tables[name]
        if table.empty or ("Verdict" in table and set(table["Verdict"]) == {NOT_RUN}):
            reasons = "; ".join(dict.fromkeys(table["Reason"])) if "Reason" in table else ""
            display(Markdown(f"**{name}**: {NOT_RUN}{': ' if reasons else ''}{reasons}. The file lists its rows."))
        else:
            display(Markdown(f"**{name}**"), shown(table))


def say(*sentences: str) -> None:
    """Show sentences below a result, one a line."""
    display(Markdown("  \n".join(sentences)))


def read_table(cfg: RunConfig, name: str) -> pd.DataFrame:
    """A table that an earlier notebook wrote, as text."""
    path = cfg.results_dir / "tables" / f"{name}.csv"
    if not path.is_file():
        raise FileNotFoundError(f"table {name!r} is not there: run the notebooks before 07_report.")
    return pd.read_csv(path, keep_default_na=False, dtype=str)


def show_figures(cfg: RunConfig, names: Sequence[str], width: int = 760) -> None:
    """Show figures that earlier notebooks wrote, `width` pixels wide; an absent one is said to be absent."""
    for name in names:
        path = cfg.figures_dir / f"{name}.png"
        display(Markdown(f"**{name}**" if path.is_file() else f"**{name}**: not run"))
        if path.is_file():
            display(Image(_preview(path), width=width))


def _preview(path: Path, width: int = 912) -> bytes:
    """The picture as a page of many can hold it: PNG of 64 colours, or JPEG where that is smaller, as of video."""
    with Picture.open(path) as picture:
        small = picture.convert("RGB").resize((width, round(width * picture.height / picture.width)))
    png, jpeg = io.BytesIO(), io.BytesIO()
    small.quantize(64, Picture.Quantize.MAXCOVERAGE).save(png, "png", optimize=True)
    small.save(jpeg, "jpeg", quality=75, optimize=True)
    return min(png.getvalue(), jpeg.getvalue(), key=len)
