"""Figures: legible, of the paper's width, never changing on their own."""

import base64
import io
import re

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from PIL import Image

from motion_lib.methods import TEMPORAL_METHODS
from motion_lib.report import diagrams, plots
from tests.layout import layout_faults

PAIRS = {"clip": (27.1, 26.0), "names": (44, 26.2), "vificlip": (43, 26.4), "text4vis": (41, 26.6), "motion": (46, 36)}
LONG = (
    "jumping off the ground with the legs tucked and sweeping the ball across the front of the body, "
    "leaning over each hip in turn, folding forward at the waist and bowing the head toward the knees, at rapid speed."
)
CLIP = np.random.default_rng(0).integers(0, 256, (8, 64, 64, 3), dtype=np.uint8)


def history_rows(shift: float) -> list[dict]:
    return [{"epoch": e, "train_loss": 3 / e + shift, "train_acc1": e / 10} for e in (1, 2, 3)]


def epoch_frame(half: float) -> pd.DataFrame:
    lines = ("object named", "object masked", "held-out source")
    rows = [(line, e, 20 + e, 20 + e - half, 20 + e + half) for line in lines for e in range(4)]
    return pd.DataFrame(rows, columns=["line", "epoch", "mean", "low", "high"])


def bar_frame() -> pd.DataFrame:
    cells = [(m, t, k) for m in TEMPORAL_METHODS for t in ("UCF-like", "HMDB-like") for k in ("named", "masked")]
    rows = [(*cell, 30 + n, 28, 40) for n, cell in enumerate(cells)]
    return pd.DataFrame(rows, columns=["method", "target", "kind", "percent", "low", "high"])


FIGURES = {
    "retrieval": lambda: plots.retrieval_figure({"a": PAIRS, "b": {}}, {"c": PAIRS, "d": PAIRS}),
    "history": lambda: plots.history_figure({key: history_rows(n) for n, key in enumerate(PAIRS)}),
    "one history": lambda: plots.history_figure({"motion": history_rows(0)}),
    "epochs": lambda: plots.epoch_figure({"a": epoch_frame(1.0), "b": epoch_frame(1.0)}),
    "epochs of one seed": lambda: plots.epoch_figure({"a": epoch_frame(np.nan)}),
    "bars": lambda: plots.bar_figure(bar_frame(), TEMPORAL_METHODS, "lowest and highest of 3 seeds"),
    "method": diagrams.method_diagram,
    "sheet": lambda: diagrams.contact_sheet([CLIP, CLIP[:, :32]], [f"name: {LONG}", f"a\n→ {LONG}\n→ {LONG}"]),
    "captions": lambda: diagrams.caption_table(("Class", "Said", "Motion"), [("waving a ball", LONG, LONG)], (1, 2, 3)),
}


@pytest.fixture(params=FIGURES)
def figure(request) -> Figure:
    return FIGURES[request.param]()


def test_figures_leave_the_global_style_alone():
    before = dict(mpl.rcParams)
    for name, draw in FIGURES.items():
        assert isinstance(draw(), Figure), name
        assert dict(mpl.rcParams) == before, name


def test_a_notebooks_backend_stays_interactive():
    """The inline backend turns interaction on as it draws its first figure; it must not be turned off again."""
    with mpl.rc_context():
        with plots.paper_style():
            mpl.interactive(True)
        assert mpl.is_interactive()


def test_texts_are_legible_and_apart(figure):
    assert layout_faults(figure) == []


def test_the_layout_check_finds_faults():
    figure = Figure(figsize=(2, 1))
    for x, size, text in ((0.1, 8, "one one one"), (0.2, 8, "over"), (0.95, 8, "outside"), (0.5, 5, "tiny")):
        figure.text(x, 0.1 if text == "tiny" else 0.5, text, fontsize=size)
    kinds = ["small: 'tiny'", "off the page: 'outside'", "'one one one' runs into 'over'"]
    assert layout_faults(figure) == kinds


def test_figures_have_the_papers_width(figure):
    assert figure.get_figwidth() in (plots.FULL_INCHES, plots.COLUMN_INCHES)


def test_markers_tell_reported_from_measured():
    figure = FIGURES["retrieval"]()
    filled = [{line.get_markerfacecolor() == line.get_color() for line in ax.lines} for ax in figure.axes]
    assert filled == [{True}, set(), {False}, {False}]
    titles = [ax.get_title() for ax in figure.axes]
    assert titles == [
        "a, measured here",
        "b, measured here",
        "c, reported by the paper",
        "d, reported by the paper",
    ]


@pytest.mark.parametrize("values", [[30, 30, 30, 30], [1, 2, 50, 51], [0, 0, 99, 99], [5], [], [40, 10, 20]])
def test_labels_keep_their_distance_and_order(values):
    placed = plots.spread(values, 6, 2, 98)
    assert len(placed) == len(values)
    assert all(2 <= y <= 98 for y in placed)
    assert (np.diff(np.sort(placed)) >= 6 - 1e-9).all()
    assert np.argsort(values, kind="stable").tolist() == np.argsort(placed, kind="stable").tolist()


def test_labels_that_are_apart_stay_where_they_are():
    assert plots.spread([40, 10, 20], 6, 0, 100) == [40, 10, 20]


def test_label_inks_are_dark_enough():
    for colour, _ in plots.METHOD_STYLE.values():
        linear = [(v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4) for v in to_rgb(plots._ink(colour))]
        luminance = np.dot(linear, (0.2126, 0.7152, 0.0722))
        assert 1.05 / (luminance + 0.05) > 3  # contrast with white


@pytest.mark.parametrize("name", FIGURES)
def test_a_saved_figure_never_changes_on_its_own(cfg, name):
    numbers = pd.DataFrame({"method": ["motion"], "percent": [1 / 3]})
    written = []
    for _ in range(2):
        path = plots.save_figure(FIGURES[name](), cfg, "figure", numbers)
        files = sorted(path.parent.glob("figure.*"))
        drawn = [".csv", ".pdf", ".png"] + [".svg"] * (name != "sheet")  # a sheet's SVG would hold its PDF's pixels
        assert [file.suffix for file in files] == drawn
        written.append([file.read_bytes() for file in files])
    assert written[0] == written[1]
    csv, pdf, _, *svg = written[0]
    assert b"Date" not in pdf
    assert all(b"<text" in text for text in svg)  # texts stay texts
    assert b"\r" not in csv
    with Image.open(path) as picture:
        assert (picture.width, picture.mode) == (round(300 * plots.FULL_INCHES), "P")
        assert set(picture.info) == {"dpi"}  # nothing else that could change


def test_frames_are_kept_at_their_own_resolution():
    drawn = io.StringIO()
    diagrams.contact_sheet([CLIP], ["a"]).savefig(drawn, format="svg")
    (embedded,) = re.findall(r"base64,([^\"]+)", drawn.getvalue())
    with Image.open(io.BytesIO(base64.b64decode(embedded))) as picture:
        assert picture.size == (8 * 64 + 7 * (64 // 24), 64)


def test_a_wide_figure_of_many_colours_is_saved_for_screens(cfg):
    colours = np.random.default_rng(0).integers(0, 256, (99, 999, 3), dtype=np.uint8)
    figure = Figure(figsize=(2 * plots.FULL_INCHES, 1))
    figure.add_subplot().imshow(colours)
    with Image.open(plots.save_figure(figure, cfg, "wide")) as picture:
        assert picture.width == pytest.approx(1600, abs=1)
