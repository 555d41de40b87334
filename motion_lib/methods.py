"""The systems of the paper's tables, as data: what each is trained on and how."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Method:
    """One row of a results table.

    Attributes:
        key: short name in records.   label: as printed.   paper_row: its row in Tables 2 and 3.
        architecture: name for `load_model`.
        head: "mean", "temporal" or X-CLIP's own "mit".
        training_texts: None (not trained), "names" or "descriptions".
        template: sentence around a class name; the official ones of Text4Vis and ViFi-CLIP.
        weights: what a table says of the weights that were run.
    """

    key: str
    label: str
    paper_row: str | None
    architecture: str
    head: str = "mean"
    training_texts: str | None = None
    template: str = "{}"
    weights: str = ""

    @property
    def trained(self) -> bool:
        """Whether it is fine-tuned on the source data set."""
        return self.training_texts is not None


_RETRAINED = "retrained here"
METHODS: dict[str, Method] = {
    m.key: m
    for m in (
        Method("clip", "Vanilla CLIP", "Vanilla CLIP", "clip", weights="the backbone as pretrained"),
        Method("xclip", "X-CLIP", "X-CLIP", "xclip", "mit", "names", weights=_RETRAINED),
        Method(
            "text4vis", "Text4Vis", "Text4Vis", "text4vis", "temporal", "names", "a video of a person {}.", _RETRAINED
        ),
        Method("vificlip", "ViFi-CLIP", "ViFi-CLIP", "vificlip", "mean", "names", "a photo of a {}.", _RETRAINED),
        Method("motion", "Our method", "Our method", "motion", "mean", "descriptions", weights=_RETRAINED),
        # Two rows that the paper's argument needs: our method with only the texts, or only the head, exchanged.
        Method(
            "names", "Class names (control)", None, "motion", "mean", "names", "a video of a person {}.", _RETRAINED
        ),
        Method(
            "motion_temporal", "Our method + temporal transformer", None, "motion", "temporal", "descriptions",
            weights=_RETRAINED,
        ),
    )
}  # fmt: skip

TABLE_METHODS = ("clip", "xclip", "text4vis", "vificlip", "names", "motion")
TEMPORAL_METHODS = ("motion", "motion_temporal")
DESCRIPTION_KINDS = ("object", "masked")


def get_method(key: str) -> Method:
    """The method of this key; ValueError names the known ones."""
    if key not in METHODS:
        raise ValueError(f"method {key!r}: expected one of {', '.join(METHODS)}.")
    return METHODS[key]
