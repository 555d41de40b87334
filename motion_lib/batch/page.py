"""An executed notebook as one page to read: code behind a button, contents, sections that fold, aligned tables."""

import html
import re
from collections import Counter
from pathlib import Path

from bs4 import BeautifulSoup, Tag
from nbconvert import HTMLExporter
from nbformat import NotebookNode

from motion_lib.storage import write_text

_HERE = Path(__file__).parent
_HEADINGS = ("h1", "h2", "h3", "h4", "h5", "h6")
# "9.6 [5.7, 14.1]", "+7.9", "16.5 ± 3.6 (n=3)", "1,200", "32 of 32": starts as a number, and no longer word follows.
_NUMBER = re.compile(r"[<>=\[(+\-−±\s]*\d(?!.*[^\W\d_]{3})", re.DOTALL)  # noqa: RUF001
_BAR = re.compile(r"\d+%\|.*\|")  # as tqdm draws it
_SHORT = 30  # characters of a text that stays on one line of a table


def write_page(notebook: NotebookNode, path: Path, source_dir: Path) -> Path:
    """Write one page that needs no other file and no network; links to pictures are relative to `source_dir`."""
    # "basic" is the cells alone; the other templates add 280 kB of JupyterLab's style and scripts from the network.
    without = {f"exclude_{name}": True for name in ("input_prompt", "output_prompt", "anchor_links")}
    exporter = HTMLExporter(template_name="basic", embed_images=True, **without)
    cells, _ = exporter.from_notebook_node(notebook, resources={"metadata": {"path": str(source_dir)}})
    soup = BeautifulSoup(cells, "html.parser")
    for output in soup.select(".output_stderr"):
        if all(_BAR.search(line) for line in output.get_text().split("\n") if line.strip()):
            output.decompose()  # finished progress bars; the notebook keeps them
    for table in soup("table"):
        _align(table)
    title, contents = soup.find("h1"), _contents(soup)
    for cell in soup.select(".celltag_fold"):
        _fold(cell, soup)
    title = html.escape(title.get_text() if title else path.stem)
    frame, css, js = ((_HERE / f"page.{kind}").read_text(encoding="utf-8") for kind in ("html", "css", "js"))
    return write_text(path, frame.format(title=title, css=css, contents=contents, main=soup, js=js))


def _contents(soup: BeautifulSoup) -> str:
    """A list of links to all h2 and h3, which get an id each."""
    used, links = Counter(), []
    for heading in soup(["h2", "h3"]):
        slug = "-".join(re.findall(r"\w+", heading.get_text().lower()))
        used[slug] += 1
        heading["id"] = slug if used[slug] == 1 else f"{slug}-{used[slug]}"
        text = html.escape(heading.get_text())
        links.append(f'<li class="{heading.name}"><a href="#{heading["id"]}">{text}</a></li>')
    return "\n".join(["<ul>", *links, "</ul>"])


def _fold(cell: Tag, soup: BeautifulSoup) -> None:
    """Close a section: its heading is the summary, its cells go on until a heading of the same or higher level."""
    heading = cell.find(_HEADINGS)
    ends = _HEADINGS[: _HEADINGS.index(heading.name) + 1]
    details, summary = soup.new_tag("details"), soup.new_tag("summary")
    following = cell.find_next_siblings(class_="cell")
    cell.replace_with(details)
    summary.append(heading.extract())
    details.extend([summary, cell])
    for other in following:
        if other.find(ends):
            break
        details.append(other.extract())


def _align(table: Tag) -> None:
    """Mark columns of numbers and short texts for page.css; drop pandas' own style and a row number before each row."""
    if style := table.find_previous_sibling("style"):
        style.decompose()
    table.attrs.pop("border", None)
    heads, labels = table.select("thead tr"), table.select("tbody th")
    numbered = [label.get_text() for label in labels] == [*map(str, range(len(labels)))]
    if labels and numbered and len(heads) == 1:
        for label in [heads[0].find("th"), *labels]:
            label.decompose()
    rows = [row("td") for row in table.select("tbody tr")]
    for index in range(1, 1 + max(map(len, rows), default=0)):  # from the right: the left holds the index
        column = [cells[-index] for cells in rows if len(cells) >= index]
        filled = [text for cell in column if (text := cell.get_text().strip())]
        if 2 * sum(bool(_NUMBER.match(text)) for text in filled) > len(filled):
            for cell in column + [row("th")[-index] for row in heads if len(row("th")) >= index]:
                cell["class"] = ["number"]
    for cell in table.select("tbody :is(td, th)"):
        if len(cell.get_text()) <= _SHORT:
            cell["class"] = [*cell.get("class", []), "short"]
