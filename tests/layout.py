"""What a reader would trip over in a figure: texts that are too small, cut off, or on top of each other."""

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text


def shown_texts(figure: Figure) -> list[tuple[Text, object]]:
    figure.set_dpi(300)  # as it is saved: letters are wider there than on the screen
    figure.canvas.draw()
    hidden = {id(label) for ax in figure.axes for label in labels_out_of_view(ax)}
    texts = [t for t in figure.findobj(Text) if t.get_visible() and t.get_text().strip() and id(t) not in hidden]
    return [(t, t.get_window_extent()) for t in texts]


def labels_out_of_view(ax: Axes) -> list[Text]:
    """Tick labels that matplotlib makes but does not draw."""
    unseen = []
    for axis, (low, high) in ((ax.xaxis, ax.get_xlim()), (ax.yaxis, ax.get_ylim())):
        for tick in axis.get_major_ticks():
            if not (ax.axison and low - 1e-9 <= tick.get_loc() <= high + 1e-9):
                unseen += [tick.label1, tick.label2]
    return unseen


def layout_faults(figure: Figure) -> list[str]:
    """Texts that are too small, run off the page, or run into another text."""
    page, texts = figure.bbox, shown_texts(figure)
    faults = [f"small: {t.get_text()!r}" for t, _ in texts if t.get_fontsize() < 7]
    faults += [
        f"off the page: {t.get_text()!r}"
        for t, box in texts
        if box.x0 < -3 or box.y0 < -3 or box.x1 > page.x1 + 3 or box.y1 > page.y1 + 3
    ]
    for index, (one, box) in enumerate(texts):
        for other, its_box in texts[index + 1 :]:
            wide = min(box.x1, its_box.x1) - max(box.x0, its_box.x0)
            high = min(box.y1, its_box.y1) - max(box.y0, its_box.y0)
            if wide > 3 and high > 4:
                faults.append(f"{one.get_text()!r} runs into {other.get_text()!r}")
    return faults
