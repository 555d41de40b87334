"""Description sets: one text per class, read from CSV, checked, reordered, compared and counted.

Files and data sets spell classes differently ("Apply Eye Makeup", "ApplyEyeMakeup"): they are matched by
`squeeze_key`, never by position or exact spelling.
"""

import csv
import hashlib
import html
import io
import re
import unicodedata
import warnings
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from pathlib import Path

from motion_lib.storage import atomic_path

VERB_RULE = "words in -ing, less those whose -ing belongs to the stem"

# "string" or "during" are no -ing forms of a verb. Nouns made from verbs ("railing") do count.
_ING_IN_STEM = frozenset({
    "anything", "bowstring", "bring", "ceiling", "cling", "drawstring", "during", "earring", "evening",
    "everything", "fling", "hamstring", "king", "morning", "nothing", "ring", "sing", "sling", "something",
    "spring", "sting", "string", "swing", "thing", "wing", "wring",
})  # fmt: skip
_WORD = re.compile(r"[a-z]+")
_MARK = re.compile(r"<\|(start|end)oftext\|>", re.IGNORECASE)  # of CLIP's own
_LEAD = re.compile(r"Characteristic motion of [^:]+ is: ")
# What stands first in a file: a name, in quotes or not, and what divides it from its text.
_FIRST_NAME = re.compile(r'\s*(?:"(?:[^"]|"")*"|[^",;:\t\r\n]*) *([,;\t])')
_HEADER = re.compile(r"\w*(class|label|name|action|category)s?,\w{0,12}(text|description|prompt|caption|sentence)s?")


@dataclass(frozen=True)
class DescriptionSet:
    """One text per class, in file order; immutable and checked on construction.

    Attributes:
        name: short name for tables and records.
        class_names: K names, as the source spells them. Runs of blanks become one, here and in `texts`.
        texts: K texts, the one at index k describing class k.
        source: file name (no folder: records must not depend on the machine) and what was done to it since.
        sha256: of the file's bytes; left empty, as for a set made or changed in memory, it is computed of the
            file that `write_descriptions` makes of it.

    Raises:
        ValueError: on unequal lengths, no class, an empty name or text, or two names with one key.
    """

    name: str
    class_names: tuple[str, ...]
    texts: tuple[str, ...]
    source: str = "in memory"
    sha256: str = ""

    def __post_init__(self):
        object.__setattr__(self, "class_names", tuple(_collapse(name) for name in self.class_names))
        object.__setattr__(self, "texts", tuple(_collapse(text) for text in self.texts))
        _check_rows(self.source, self.class_names, self.texts)
        if not self.sha256:
            digest = hashlib.sha256(_csv_bytes(self.class_names, self.texts)).hexdigest()
            object.__setattr__(self, "sha256", digest)

    def __len__(self) -> int:
        return len(self.class_names)

    @classmethod
    def from_class_names(cls, names: Iterable[str], template: str = "{}") -> "DescriptionSet":
        """Make a set whose texts are prompts built from the names, e.g. "a video of a person {}."."""
        names = tuple(names)
        texts = tuple(fill(template, _collapse(name)) for name in names)
        return cls("class names", names, texts, source=f"class names, template '{template}'")

    def with_template(self, template: str) -> "DescriptionSet":
        """Put every text into `template` at its one "{}"; a final period goes where the template continues with one."""
        texts = tuple(fill(template, text) for text in self.texts)
        return DescriptionSet(self.name, self.class_names, texts, f"{self.source}, template '{template}'")

    def select(self, class_names: Sequence[str]) -> "DescriptionSet":
        """The given classes in the given order, in this set's own spelling; this very set where nothing changes.

        Raises:
            ValueError: naming classes that are not here.
        """
        row_of = {squeeze_key(name): row for row, name in enumerate(self.class_names)}
        missing = [name for name in class_names if squeeze_key(name) not in row_of]
        if missing:
            raise ValueError(_missing_message(self, missing))
        rows = [row_of[squeeze_key(name)] for name in class_names]
        if rows == list(range(len(self))):
            return self
        names, texts = ([column[row] for row in rows] for column in (self.class_names, self.texts))
        return DescriptionSet(self.name, names, texts, f"{self.source}, {len(rows)} of {len(self)} classes")


@dataclass(frozen=True)
class DescriptionStatistics:
    """Counts over one set, to stand beside `motion_lib.paper.REPORTED_STATISTICS`.

    Words are whitespace tokens. Verbs are occurrences by `verb_rule`, which needs no tagger. The authors do not name
    theirs: they report 1371 / 325 / 164 verbs for Kinetics / UCF / HMDB, ours counts 1395 / 295 / 153 in their files.
    """

    descriptions: int
    unique: int
    words_per_description: float
    verbs: int
    verbs_per_description: float
    verb_rule: str = VERB_RULE


def squeeze_key(name: str) -> str:
    """The key by which class names are compared: lower case, letters (with their marks) and digits only."""
    composed = unicodedata.normalize("NFKC", name).casefold()
    return "".join(letter for letter in composed if unicodedata.category(letter)[0] in "LMN")


def read_descriptions(path: str | Path, *, strip_lead: bool = False, cut: bool = True) -> DescriptionSet:
    """Read a description CSV: columns class and text, or one column "class: text".

    Accepts what the authors' ten files need (byte order mark, CRLF, stray blanks, colons beyond the first) and what
    spreadsheets write: a header, UTF-16, columns divided by semicolons or tabs. Warns of equal texts.

    Args:
        strip_lead: remove "Characteristic motion of ... is: ", with which the alternate versions begin.
        cut: end each text, with a warning, where CLIP stops reading; False for a model that reads on.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: naming file and row (from 1) if the file is not Unicode, is no CSV of either layout, has no lead
            to strip, or fails the checks of `DescriptionSet`.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such description file; check the path.")
    content = path.read_bytes()
    pairs, first, source = _pairs(content, path.name), 1, path.name
    if pairs and _HEADER.fullmatch(",".join(map(squeeze_key, pairs[0]))):
        pairs, first, source = pairs[1:], 2, f"{path.name}, header left out"
    names, texts = ([_collapse(pair[column]) for pair in pairs] for column in (0, 1))
    _check_rows(path.name, names, texts, first)
    if strip_lead:
        texts, source = _without_lead(texts, path.name, first), f"{source}, lead removed"
    whole, texts = texts, [cut_for_clip(text) if cut else text for text in texts]
    if long := [row for row, pair in enumerate(zip(whole, texts, strict=True), first) if pair[0] != pair[1]]:
        from motion_lib.models.clip import CONTEXT_LENGTH

        source += f", {len(long)} texts cut"
        _warn(path.name, long, f"cut to the {CONTEXT_LENGTH} tokens that CLIP reads")
    counts = Counter(map(str.lower, texts))  # CLIP knows no capitals
    if equal := [row for row, text in enumerate(texts, first) if counts[text.lower()] > 1]:
        _warn(path.name, equal, "equal to another class's, so that no video of either counts as found")
    sha256 = "" if strip_lead or long else hashlib.sha256(content).hexdigest()
    return DescriptionSet(path.stem, names, texts, source, sha256)


@cache
def cut_for_clip(text: str) -> str:
    """A text to the end of the last word that CLIP reads."""
    from motion_lib.models.clip import tokenize  # here: it brings torch, for which whoever draws a world need not wait

    while True:
        try:
            tokenize([text])
        except ValueError:
            text = text[:2000].rpartition(" ")[0] or text[:-1]
        else:
            return text


def write_descriptions(descriptions: DescriptionSet, path: str | Path) -> None:
    """Write two columns, UTF-8, LF; the file appears whole or not at all."""
    with atomic_path(Path(path)) as temporary:
        temporary.write_bytes(_csv_bytes(descriptions.class_names, descriptions.texts))


def changed_by_masking(named: DescriptionSet, masked: DescriptionSet) -> tuple[int, ...]:
    """Indices in `named` of the classes whose text differs in `masked`, matched by class.

    Raises:
        ValueError: if the two sets do not cover the same classes.
    """
    if len(named) != len(masked):
        raise ValueError(f"{named.source}: {len(named)} classes, {masked.source}: {len(masked)}; use a pair.")
    pairs = zip(named.texts, masked.select(named.class_names).texts, strict=True)
    return tuple(index for index, (text, other) in enumerate(pairs) if text != other)


def statistics(descriptions: DescriptionSet) -> DescriptionStatistics:
    """Count descriptions, words and verbs (paper, appendix D.2)."""
    count, texts = len(descriptions), descriptions.texts
    tokens = sum(len(text.split()) for text in texts)
    words = (word for text in texts for word in _WORD.findall(text.lower()))
    verbs = sum(word.endswith("ing") and word not in _ING_IN_STEM for word in words)
    return DescriptionStatistics(count, len(set(texts)), tokens / count, verbs, verbs / count)


def _collapse(text: str) -> str:
    return " ".join(text.split())


def fill(template: str, text: str) -> str:
    """A text in the one place that a template has for it."""
    if template.count("{}") != 1:
        raise ValueError(f"template '{template}': write '{{}}' once, not {template.count('{}')} times.")
    before, after = template.split("{}")  # not str.format: braces elsewhere are text
    if after.startswith("."):
        text = text.removesuffix(".")  # otherwise a full sentence would end in two periods
    return before + text + after


def _check_rows(where: str, names: Sequence[str], texts: Sequence[str], first: int = 1) -> None:
    if len(names) != len(texts):
        raise ValueError(f"{where}: {len(names)} class names but {len(texts)} texts; give one per class.")
    if not names:
        raise ValueError(f"{where}: no descriptions, expected rows 'class,text'; restore the file.")
    first_row: dict[str, int] = {}
    for row, (name, text) in enumerate(zip(names, texts, strict=True), start=first):
        key = squeeze_key(name)
        if not key:
            raise ValueError(f"{where}, row {row}: class name '{name}' has no letter or digit; add one.")
        if not text:
            raise ValueError(f"{where}, row {row}: no text for class '{name}'; add its description.")
        if mark := _MARK.search(html.unescape(html.unescape(text))):  # as often as CLIP does
            raise ValueError(f"{where}, row {row}: '{mark[0]}' for class '{name}' ends a text for CLIP; take it out.")
        if key in first_row:
            raise ValueError(f"{where}, row {row}: class '{name}' repeats row {first_row[key]}; keep one.")
        first_row[key] = row


def _missing_message(descriptions: DescriptionSet, missing: Sequence[str], shown: int = 5) -> str:
    spelling = {squeeze_key(name): name for name in descriptions.class_names}
    items = []
    for name in missing[:shown]:
        near = get_close_matches(squeeze_key(name), spelling, n=1)
        items.append(f"'{name}'" + (f" (nearest: '{spelling[near[0]]}')" if near else ""))
    more = f" and {len(missing) - shown} more" if len(missing) > shown else ""
    return (
        f"{descriptions.source}: {len(missing)} requested classes are not among its {len(descriptions)}: "
        f"{', '.join(items)}{more}; add them or request other classes."
    )


def _csv_bytes(class_names: Sequence[str], texts: Sequence[str]) -> bytes:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerows(zip(class_names, texts, strict=True))
    return buffer.getvalue().encode("utf-8")


def _pairs(content: bytes, where: str) -> list[tuple[str, str]]:
    try:
        utf16 = content.startswith((b"\xff\xfe", b"\xfe\xff"))
        text = content.decode("utf-16" if utf16 else "utf-8").removeprefix("\ufeff")
        if "\0" in text:
            raise UnicodeDecodeError("utf-8", content, content.index(0), len(content), "UTF-16 without its mark")
    except UnicodeDecodeError as error:
        row = content[: error.start].count(b"\n") + 1
        raise ValueError(f"{where}, row {row}: not UTF-8; save the file as UTF-8.") from error
    found, rows = _FIRST_NAME.match(text), []
    by = found[1] if found else ","
    try:
        for row in csv.reader(io.StringIO(text, newline=""), delimiter=by, skipinitialspace=True, strict=True):
            rows.append(row)  # one by one: their count locates a fault
    except csv.Error as error:
        raise ValueError(f"{where}, row {len(rows) + 1}: broken CSV ({error}); repair its quotes.") from error
    while rows and not "".join(rows[-1]).strip():
        rows.pop()  # blank lines at the end hold nothing; elsewhere they would shift the row numbers
    columns = 1 if all(len(row) == 1 for row in rows) else 2
    for number, row in enumerate(rows, start=1):
        if len(row) != columns:
            hint = f"write {f'class{by}text'!r} with a text that contains {by!r} in double quotes"
            raise ValueError(f"{where}, row {number}: {len(row)} columns, expected {columns}; {hint}.")
        if columns == 1 and ":" not in row[0]:
            raise ValueError(f"{where}, row {number}: one column and no colon; write 'class,text'.")
    return [tuple(row) if columns == 2 else tuple(row[0].split(":", maxsplit=1)) for row in rows]


def _without_lead(texts: Sequence[str], where: str, first: int) -> list[str]:
    for row, text in enumerate(texts, start=first):
        if not _LEAD.match(text):
            raise ValueError(f"{where}, row {row}: no lead to strip; read it with strip_lead=False.")
    return [_LEAD.sub("", text, count=1) for text in texts]


def _warn(where: str, rows: Sequence[int], what: str) -> None:
    more = f" and {len(rows) - 5} more" if len(rows) > 5 else ""
    warnings.warn(f"{where}, rows {', '.join(map(str, rows[:5]))}{more}: the text is {what}.", stacklevel=3)
