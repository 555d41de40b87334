"""The one table of methods: the systems of the paper's tables, what each is trained on and how it is drawn."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Method:
    """One row of a results table.

    Attributes:
        key: short name in records.
        label: as printed.
        architecture: name for `load_model`.
        head: "mean", "temporal" or X-CLIP's own "mit".
        training_texts: None (not trained), "names" or "descriptions".
        template: sentence around a class name; the official ones of Text4Vis and ViFi-CLIP.
        weights: what a table says of the weights that were run.
        paper_row: its row in Tables 2 and 3; None for a row that the paper lacks.
        colour: in every figure, a place in seaborn's colour-blind palette.
        marker: in every figure, so that it can be told apart in grey.
    """

    key: str
    label: str
    architecture: str
    head: str
    training_texts: str | None
    template: str = "{}"
    weights: str = "retrained here"
    paper_row: str | None = None
    colour: int = 0
    marker: str = "o"

    @property
    def trained(self) -> bool:
        """Whether it is fine-tuned on the source data set."""
        return self.training_texts is not None


_A_PERSON = "a video of a person {}."
_ROWS = (
    Method(
        "clip", "Vanilla CLIP", "clip", "mean", None,
        weights="the backbone as pretrained", paper_row="Vanilla CLIP", colour=7, marker="s",
    ),
    Method("xclip", "X-CLIP", "xclip", "mit", "names", paper_row="X-CLIP", colour=4, marker="v"),
    Method(
        "text4vis", "Text4Vis", "text4vis", "temporal", "names", _A_PERSON, paper_row="Text4Vis", colour=1, marker="^"
    ),
    Method(
        "vificlip", "ViFi-CLIP", "vificlip", "mean", "names", "a photo of a {}.",
        paper_row="ViFi-CLIP", colour=2, marker="D",
    ),
    Method("motion", "Our method", "motion", "mean", "descriptions", paper_row="Our method", colour=0, marker="o"),
    # Two rows that the paper's argument needs: our method with only the texts, or only the head, exchanged.
    Method("names", "Class names (control)", "motion", "mean", "names", _A_PERSON, colour=9, marker="P"),
    Method(
        "motion_temporal", "Our method + temporal transformer", "motion", "temporal", "descriptions",
        colour=3, marker="X",
    ),
)  # fmt: skip
METHODS: dict[str, Method] = {method.key: method for method in _ROWS}

TABLE_METHODS = ("clip", "xclip", "text4vis", "vificlip", "names", "motion")
TEMPORAL_METHODS = ("motion", "motion_temporal")
DESCRIPTION_KINDS = ("object", "masked")


def get_method(key: str) -> Method:
    """The method of this key.

    Raises:
        ValueError: for an unknown one, naming the known.
    """
    if key not in METHODS:
        raise ValueError(f"method {key!r}: expected one of {', '.join(METHODS)}.")
    return METHODS[key]
