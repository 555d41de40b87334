"""Agreement of a masker with the authors' own masks, word by word."""

import pytest

from motion_lib.people.agreement import agreement, agreement_table, changed_tokens
from motion_lib.texts.descriptions import DescriptionSet, read_descriptions
from motion_lib.texts.masking import mask_by_rule
from tests.texts.test_masking import NAMED


@pytest.mark.parametrize(
    ("named", "masked", "words"),
    [
        ("hit the ball hard", "hit the object hard", {2}),
        ("hit the horse's gait", "hit gait", {1, 2}),
        ("one two", "one two", set()),
        ("Hit the ball, then", "hit the ball then", set()),
    ],
)
def test_changed_words_are_found(named, masked, words):
    assert changed_tokens(named, masked) == words


def test_agreement_by_hand():
    """Both mask "racket" and "tennis", the rule alone "ball", they alone "the"."""
    theirs = DescriptionSet("theirs", NAMED.class_names, ("swinging a object at ball.", *NAMED.texts[1:]))
    ours = {"Tennis": "swinging a object at the object.", "Bowing": NAMED.texts[1], "Rowing": "x"}
    (cell,) = agreement(NAMED, theirs, ours)  # classes that they leave alone do not count
    assert (cell.both, cell.ours, cell.theirs, cell.tokens) == (("tennis", "racket"), ("ball",), ("the",), 7)
    row = agreement_table({"set": [cell]}).iloc[0]
    assert (row["Recall, %"], row["Precision, %"]) == (66.7, 66.7)
    assert row["Same words"] == "0 of 1"
    assert row["Kappa"] == pytest.approx(0.42, abs=0.005)  # 5 of 7 agree, (3/7)^2 + (4/7)^2 = 25/49 by chance


@pytest.mark.data
def test_agreement_with_the_authors_masks(shared_dir):
    """Of their 75 changed pairs. The list of things was extended on UCF-101; HMDB-51 was left unseen."""
    folder, found = shared_dir / "data" / "descriptions", {}
    for name, pair in {
        "UCF-101": ("uc101_motion", "ucf101_without_objectname"),
        "HMDB-51": ("hmdb51_motion_with_objectname", "HMDB51_without_objectname"),
    }.items():
        named, masked = (read_descriptions(folder / f"{file}.csv") for file in pair)
        ours = {cls: mask_by_rule(text) for cls, text in zip(named.class_names, named.texts, strict=True)}
        found[name] = agreement(named, masked, ours)
    table = agreement_table(found).set_index("Descriptions")
    print(table.to_string())
    assert table["Changed pairs"].tolist() == [54, 21]
    assert table.loc["HMDB-51", "Kappa"] > 0.7
    assert (table["Precision, %"] > 80).all()
