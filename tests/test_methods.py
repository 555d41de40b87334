"""The table of methods: what the models and the paper know."""

import pytest

from motion_lib.methods import METHODS, TABLE_METHODS, TEMPORAL_METHODS, get_method
from motion_lib.models.loading import ARCHITECTURES
from motion_lib.paper import REPORTED_RETRIEVAL
from motion_lib.report import plots


def test_methods_are_what_the_models_and_the_paper_know():
    assert set(TABLE_METHODS) | set(TEMPORAL_METHODS) == set(METHODS)
    for key, method in METHODS.items():
        assert key == method.key
        assert method.architecture in ARCHITECTURES
        assert method.template.count("{}") == 1
        assert method.paper_row is None or all(method.paper_row in rows for rows in REPORTED_RETRIEVAL.values())
    rows = {METHODS[key].paper_row for key in TABLE_METHODS} - {None}
    assert rows | {"Human"} == set(REPORTED_RETRIEVAL["ucf101"])
    with pytest.raises(ValueError, match="method 'ours': expected one of clip, xclip"):
        get_method("ours")


def test_the_control_differs_from_ours_in_its_texts_alone():
    ours, control = METHODS["motion"], METHODS["names"]
    assert (ours.architecture, ours.head) == (control.architecture, control.head)
    assert (ours.training_texts, control.training_texts) == ("descriptions", "names")
    assert METHODS["motion_temporal"].training_texts == "descriptions"
    assert [key for key, method in METHODS.items() if not method.trained] == ["clip"]


def test_every_method_has_its_own_colour_and_marker():
    assert plots.METHOD_STYLE.keys() == METHODS.keys()
    for part in zip(*plots.METHOD_STYLE.values(), strict=True):
        assert len(set(part)) == len(METHODS)
