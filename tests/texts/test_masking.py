"""Masking of objects: the rule, and overrides by hand."""

import pytest

from motion_lib.texts.descriptions import DescriptionSet
from motion_lib.texts.language_model import NoAnswer
from motion_lib.texts.masking import mask, mask_by_rule

NAMED = DescriptionSet(
    "three",
    ("Tennis", "Bowing", "Rowing"),
    ("swinging a tennis racket at the ball.", "bending forward from the hips.", "pulling the oars back."),
)


@pytest.mark.parametrize(
    ("named", "masked"),
    [
        ("swinging a tennis racket.", "swinging a object."),
        ("swinging the Rackets, then the ball.", "swinging the object, then the object."),
        ("holding a rope or a stick.", "holding a object."),
        ("brushes or applicators on the skin", "object on the skin"),
        ("bending the arms and knees.", "bending the arms and knees."),
        ("springing upwards", "springing upwards"),  # holds "spring"
    ],
)
def test_the_rule_replaces_things_and_nothing_else(named, masked):
    assert mask_by_rule(named) == masked


def test_masking_twice_changes_nothing_more():
    once = mask_by_rule(NAMED.texts[0])
    assert mask_by_rule(once) == once


def test_a_person_wins_over_every_masker():
    by_hand = DescriptionSet("hand", ("tennis",), ("swinging a thing.",))
    found = mask(NAMED, overrides=by_hand)
    assert found.descriptions.texts == (
        "swinging a thing.",
        "bending forward from the hips.",
        "pulling the object back.",
    )
    assert found.origin == {"Tennis": "person", "Bowing": "rule", "Rowing": "rule"}
    assert found.descriptions.class_names == NAMED.class_names


def test_an_override_for_an_unknown_class_is_an_error():
    with pytest.raises(ValueError, match="overrides for classes that are not there: golf"):
        mask(NAMED, overrides=DescriptionSet("hand", ("golf",), ("swinging.",)))


def test_a_masker_that_fails_falls_back_and_says_so():
    def masker(text, name):
        if name == "Rowing":
            raise NoAnswer("refused: no")
        return text.upper()

    found = mask(NAMED, masker, origin="model m")
    assert found.descriptions.texts[2] == "pulling the object back."
    assert found.origin["Rowing"] == "rule, since model m failed: refused: no"
    assert found.origin["Bowing"] == "model m"
