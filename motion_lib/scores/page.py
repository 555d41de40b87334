"""The card of a model as a page with everything inside, and as a picture for a paper or an issue."""

import base64
from html import escape
from pathlib import Path
from string import Template

from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from motion_lib.methods import DESCRIPTION_KINDS
from motion_lib.report.plots import CHANCE_LINE, FULL_INCHES, few_colours, paper_style
from motion_lib.report.tables import KIND_LABEL
from motion_lib.storage import atomic_path, write_text

_INK = {"object": "#0072b2", "masked": "#d55e00"}


def write_page(card: dict, folder: Path) -> Path:
    """Write `card.png` and `card.html` beside `card.json`; returns the page."""
    with paper_style(), atomic_path(folder / "card.png") as temporary:
        figure = card_figure(card)
        figure.savefig(temporary, format="png", metadata={"Software": None})
        few_colours(temporary)
        plt.close(figure)
    picture = base64.b64encode((folder / "card.png").read_bytes()).decode()
    parts = [f'<p><img alt="Top-1, objects named and masked" src="data:image/png;base64,{picture}"></p>', _about(card)]
    parts += [_target(target) for target in card["targets"]]
    if card["not_run"]:
        parts.append("<h2>Not run</h2>" + _table((), card["not_run"].items()))
    template = Template((Path(__file__).parent / "card.html").read_text(encoding="utf-8"))
    page = template.substitute(title=escape(card["model"]), body="\n".join(parts))
    return write_text(folder / "card.html", page)


def card_figure(card: dict) -> Figure:
    """Top-1 of each target with objects named and masked, with 95 % intervals and chance."""
    with paper_style():
        figure, axes = plt.subplots(
            len(card["targets"]), 1, figsize=(FULL_INCHES, 0.5 + 0.9 * len(card["targets"])), sharex=True, squeeze=False
        )
        for ax, target in zip(axes[:, 0], card["targets"], strict=True):
            kinds = [kind for kind in DESCRIPTION_KINDS if kind in target["results"]]
            for place, kind in enumerate(kinds):
                cell = target["results"][kind]
                value, low, high = cell["top1"]
                ax.plot([low, high], [place, place], color=_INK[kind])
                ax.plot(value, place, "o", color=_INK[kind])
                ax.annotate(
                    f"{value:.1f}", (value, place), (0, 5), textcoords="offset points", ha="center", fontsize=7.5
                )
                ax.axvline(cell["chance"], **CHANCE_LINE)
            ax.set(ylim=(len(kinds) - 0.4, -0.7), yticks=range(len(kinds)), yticklabels=[KIND_LABEL[k] for k in kinds])
            ax.set_title(f"{target['label']}, {len(target['labels'])} videos", loc="left")
            ax.grid(axis="x")
        axes[-1, 0].set(xlabel="Top-1 (%); dotted: chance", xlim=(0, None))
        figure.suptitle(card["model"], fontsize=9)
        return figure


# ------------------------------------------------------------------ the page's parts
def _table(head: tuple[str, ...], rows: object) -> str:
    """Rows of texts and numbers; a number stands on the right."""
    lines = ["<table>"] + (["<tr>" + "".join(f"<th>{escape(name)}</th>" for name in head) + "</tr>"] if head else [])
    for row in rows:
        cells = (f'<td class="n">{v:.1f}</td>' if isinstance(v, float) else f"<td>{escape(str(v))}</td>" for v in row)
        lines.append("<tr>" + "".join(cells) + "</tr>")
    return "\n".join([*lines, "</table>"])


def _about(card: dict) -> str:
    seen, made = card["preprocess"], card["environment"]
    shape = "both sides" if seen["square"] else "short side"
    rows = {
        "frames": f"{seen['num_frames']}, {seen['sampling']}",
        "pictures": f"{shape} {seen['short_side']}, crop {seen['crop_size']}, {seen['interpolation']}",
        "mean, std": f"{_few(seen['mean'])}; {_few(seen['std'])}",
        "tokens read of a text": card["text_tokens"] or "not known",
        **card["facts"],
        "measured on": f"{made['device']}, {made['dtype']}, {made['threads']} threads, {made['peak_mem_gib']} GiB",
        "with": f"commit {made['commit']}, " + ", ".join(f"{name} {v}" for name, v in made["packages"].items()),
        "profile": card["profile"],
    }
    texts = ((name, f"{value:.4g}" if isinstance(value, float) else str(value)) for name, value in rows.items())
    return "<h2>What was run</h2>" + _table((), texts)


def _few(values: list[float]) -> str:
    return " ".join(f"{value:.3g}" for value in values)


def _target(target: dict) -> str:
    parts = [f"<h2>{escape(target['label'])}</h2>"]
    rows = []
    for kind, cell in target["results"].items():
        value, low, high = cell["top1"]
        interval = f"{low:.1f} to {high:.1f}"
        rows.append(
            (KIND_LABEL[kind], value, interval, cell["top5"], cell["mean_per_class"], cell["chance"], cell["texts_cut"])
        )
    head = ("Descriptions", "Top-1, %", "95 % over groups", "Top-5", "Mean per class", "Chance", "Texts cut")
    parts.append(_table(head, rows))
    unread = f"{len(target['labels'])} videos, {len(target['unreadable'])} unreadable, {target['missing']} not on disk"
    parts.append(f'<p class="note">{unread}; {target["clips_per_sec"]:.1f} clips/s.</p>')
    if cut := [text for cell in target["results"].values() for text in cell["cut"]]:
        parts.append(f'<p class="note">Cut where the model stops reading, such as: {escape("; ".join(cut[:3]))}</p>')
    parts.append("<p>" + escape(_said_of_nouns(target["noun_reliance"])) + "</p>")
    if "protocols" in target:
        parts += ["<h3>Protocols</h3>", _protocols(target["protocols"])]
    if "texts" in target:
        parts += ["<h3>Which wording it retrieves best</h3>", _wordings(target["texts"])]
    for name, title, head in (
        ("frames", "Other orders of the frames", ("Frames", "Top-1, %", "Other first answer, %")),
        ("rivals", "The right description among five others", ("Others", "Top-1, %")),
    ):
        if name in target:
            parts += [f"<h3>{title}</h3>", _table(head, _rows(target[name]))]
    if "by_class" in target:
        rows = [(which, name, share) for which, pairs in target["by_class"].items() for name, share in pairs]
        parts += ["<h3>Classes</h3>", _table(("", "Class", "Top-1, %"), rows)]
    if "clips" in target:
        rule = "Of six classes: two clips told most surely, two mistaken most surely, two least sure."
        parts += ["<h3>Six clips</h3>", f'<p class="note">{rule}</p>', *map(_clip, target["clips"])]
    return "\n".join(parts)


def _said_of_nouns(reliance: dict) -> str:
    if "why" in reliance:
        return f"Noun reliance: {reliance['why']}."
    value, low, high = reliance["points"]
    counted = f"of {reliance['videos']} videos of classes that masking changes"
    return f"Noun reliance, named less masked: {value:+.1f} points [{low:+.1f}, {high:+.1f}] over classes, {counted}."


def _protocols(protocols: dict) -> str:
    """A row a protocol: top-1 of each kind of descriptions, and what it counts."""
    if "why" in protocols:
        return f'<p class="note">{escape(protocols["why"])}.</p>'
    kinds = list(next(iter(protocols.values())))
    rows = []
    for name, scored in protocols.items():
        counted = next((cell for cell in scored.values() if "acc1" in cell), {})
        cells = [100 * cell["acc1"] if "acc1" in cell else cell["why"] for cell in scored.values()]
        rows.append((name, *cells, str(counted.get("videos", "")), str(counted.get("classes", ""))))
    return _table(("Protocol", *(f"{KIND_LABEL[kind]}, %" for kind in kinds), "Videos", "Candidates"), rows)


def _wordings(texts: dict) -> str:
    """The best first; what was not run comes last and says why."""
    ran = {name: cell for name, cell in texts.items() if isinstance(cell, dict)}
    rows = []
    for name, cell in sorted(ran.items(), key=lambda pair: -pair[1]["top1"][0]):
        value, low, high = cell["top1"]
        of_class, own = cell.get("sentences", 1), str(cell.get("own_texts", ""))
        rows.append((name, value, f"{low:.1f} to {high:.1f}", f"{of_class:.3g}", own))
    rows += [(name, cell) for name, cell in texts.items() if name not in ran]
    head = ("Text", "Top-1, %", "95 % over classes", "Sentences a class", "Classes with a text of their own")
    return _table(head, rows)


def _rows(part: dict) -> list[tuple]:
    """Rows of a part: a cell that was not run says why."""
    return [(name, *cell.values()) if isinstance(cell, dict) else (name, cell) for name, cell in part.items()]


def _clip(clip: dict) -> str:
    frames = f'<img alt="frames of {escape(clip["video"])}" src="{clip["frames"]}">'
    lines = "".join(
        f'<li class="{"right" if name == clip["right"] else ""}">{100 * share:.0f} % {escape(text)}</li>'
        for name, text, share in clip["best"]
    )
    about = escape(f"{clip['right']} ({clip['chosen']}; {clip['video']})")
    return f'<div class="clip"><p>{about}</p>{frames}<ol>{lines}</ol></div>'
