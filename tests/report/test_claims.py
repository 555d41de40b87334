"""Paired comparisons and verdicts, from hand-made records."""

import itertools

import numpy as np
import pytest
from scipy import stats

from motion_lib.evaluation.intervals import Interval
from motion_lib.experiment.records import read_records
from motion_lib.report.claims import (
    AGREES,
    CANNOT_TELL,
    COMPARISONS,
    DIFFERS,
    DIRECTIONS,
    MARGIN,
    NO_DIFFERENCE,
    NO_GAIN,
    NOT_CLAIMED,
    Comparison,
    Curve,
    Side,
    claims_table,
    compare,
    curves,
    findings,
    findings_table,
    gap_table,
    holm,
    mcnemar_exact,
    mcnemar_in_every_seed,
    overfitting_table,
    verdict,
    verdict_counts,
)
from motion_lib.report.tables import NOT_RUN, Points
from tests.evaluation.test_answers import answers
from tests.made_records import CLASSES, CLIPS, HMDB, UCF, put, put_everything


@pytest.mark.parametrize(
    ("low", "high", "no_better", "expected"),
    [
        (0.01, 0.2, False, AGREES),
        (-0.2, -0.01, False, DIFFERS),
        (-0.01, 0.2, False, CANNOT_TELL),
        (0.0, 0.0, False, NO_DIFFERENCE),
        (-MARGIN * 0.9, MARGIN * 0.9, False, NO_DIFFERENCE),
        (-MARGIN * 1.1, MARGIN * 0.9, False, CANNOT_TELL),
        (0.001, MARGIN * 0.9, False, AGREES),
        (0.01, 0.02, True, DIFFERS),
        (-0.3, MARGIN / 2, True, AGREES),
        (-0.3, -0.1, True, AGREES),
        (-0.01, MARGIN * 2, True, CANNOT_TELL),
    ],
)
def test_a_verdict_reads_the_whole_interval(low, high, no_better, expected):
    assert verdict(Interval((low + high) / 2, low, high), no_better) == expected


OURS_ABOVE = Comparison("above_vanilla_clip", Side("motion", "object"), Side("clip", "object"))
NO_BETTER = Comparison("x", Side("motion_temporal", "object"), Side("motion", "object"), no_better=True)


def test_a_planted_difference_is_found_whichever_way_it_goes(cfg):
    put(cfg, "motion", sixths=5)
    put(cfg, "clip", sixths=2)
    found = compare(read_records(cfg), UCF, OURS_ABOVE)
    assert (found.gap.estimate, found.verdict, found.seeds) == (0.5, AGREES, 1)
    put(cfg, "motion", sixths=1)
    found = compare(read_records(cfg), UCF, OURS_ABOVE)
    assert (found.gap.estimate, found.verdict) == (pytest.approx(-1 / 6), DIFFERS)


def test_between_identical_methods_there_is_no_difference(cfg):
    put(cfg, "motion")
    put(cfg, "clip")
    put(cfg, "motion_temporal")
    found = compare(read_records(cfg), UCF, OURS_ABOVE)
    assert (found.gap, found.verdict) == (Interval(0, 0, 0), NO_DIFFERENCE)
    assert np.isnan(found.visible)
    row = findings_table([found]).loc[0]
    assert {row["Smallest visible gap, classes"], row["Smallest visible gap, recordings"]} == {"not known"}
    assert compare(read_records(cfg), UCF, NO_BETTER).verdict == AGREES


def test_a_gain_in_half_of_the_classes_cannot_be_told(cfg):
    """Classes are what is resampled: many clips of few classes do not make a gap certain."""
    put(cfg, "motion", sixths=[6, 0] * (CLASSES // 2))
    put(cfg, "clip", sixths=[0, 5] * (CLASSES // 2))
    found = compare(read_records(cfg), UCF, OURS_ABOVE)
    assert (found.gap.estimate, found.verdict) == (pytest.approx(1 / 12), CANNOT_TELL)
    assert found.visible > 0.2
    # Other recordings of the same classes ask for less: there, whatever differs between classes stays.
    assert found.over_recordings.low > found.gap.low
    assert found.visible_in_recordings < found.visible / 3


def test_a_seed_that_only_one_side_has_is_not_compared(cfg):
    put(cfg, "motion", sixths=5)
    put(cfg, "clip", sixths=2, seed=1)
    found = compare(read_records(cfg), UCF, OURS_ABOVE)
    assert (found.verdict, found.gap, found.seeds) == (NOT_RUN, None, 0)
    put(cfg, "clip", sixths=3)
    assert compare(read_records(cfg), UCF, OURS_ABOVE).seeds == 1


def test_methods_that_saw_other_videos_are_not_paired(cfg):
    put(cfg, "motion")
    put(cfg, "clip", video_ids=tuple(f"other {n}" for n in range(CLASSES * CLIPS)))
    with pytest.raises(ValueError, match=r"miniature UCF-like, Our method above .*seeds \[0\]: .*other videos"):
        compare(read_records(cfg), UCF, OURS_ABOVE)


def test_every_claim_of_the_paper_is_asked_on_both_targets(cfg):
    found = findings(put_everything(cfg), (UCF, HMDB))
    assert len(found) == len(findings_table(found)) == 2 * len(COMPARISONS)
    assert NOT_RUN not in {finding.verdict for finding in found}
    assert {finding.comparison.claim for finding in found} == set(DIRECTIONS)
    counts = verdict_counts(found)
    assert counts.drop(columns=["Direction tested", "Where"]).to_numpy().sum() == len(found)
    assert list(zip(counts["Direction tested"], counts["Where"], strict=True)) == list(DIRECTIONS.values())
    chosen = claims_table(read_records(cfg), (UCF,), ("noun_bias",))
    assert set(chosen["Direction tested"]) == {DIRECTIONS["noun_bias"][0]}


def test_claims_without_records_are_not_run():
    found = findings([], (UCF,))
    assert {finding.verdict for finding in found} == {NOT_RUN}
    assert verdict_counts(found)[NOT_RUN].sum() == len(COMPARISONS)
    assert set(findings_table(found)["Gap, points [95 % over classes]"]) == {NOT_RUN}


@pytest.mark.parametrize(
    ("curve", "best", "gain", "loss", "expected"),
    [
        ((1, 4, 5, 5), 2, 4 / 6, 0, AGREES),
        ((1, 6, 5, 3), 1, 2 / 6, 3 / 6, DIFFERS),
        ((3, 2, 2, 1), 0, -2 / 6, 2 / 6, NO_GAIN),
    ],
)
def test_overfitting_is_weighed_against_the_gain(cfg, curve, best, gain, loss, expected):
    for epoch, sixths in enumerate(curve):
        put(cfg, sixths=sixths, epoch=epoch)
    put(cfg, sixths=6)  # the final record is no point of the curve
    (found,) = curves(read_records(cfg), (UCF, HMDB))
    assert (found.best, found.verdict) == (best, expected)
    assert (found.gain.estimate, found.loss.estimate) == (pytest.approx(gain), pytest.approx(loss))
    (row,) = overfitting_table(read_records(cfg), (UCF, HMDB)).to_dict("records")
    assert row["Gain over epoch 0, points"] == Points(*found.gain)
    assert (row["Best epoch"], row["Verdict"]) == (best, expected)


@pytest.mark.parametrize(
    ("gain", "loss", "expected"),
    [
        (Interval(0.10, 0.05, 0.15), Interval(0.00, 0.00, 0.01), AGREES),
        (Interval(0.10, 0.05, 0.15), Interval(0.01, 0.00, 0.04), CANNOT_TELL),
        (Interval(0.10, 0.05, 0.15), Interval(0.06, 0.03, 0.09), DIFFERS),
        (Interval(0.02, -0.01, 0.05), Interval(0.00, 0.00, 0.00), NO_GAIN),
    ],
)
def test_the_verdict_on_overfitting_reads_the_intervals(gain, loss, expected):
    assert Curve(UCF, "object", gain, 1, loss).verdict == expected


def test_one_epoch_is_no_curve(cfg):
    put(cfg, epoch=0)
    assert overfitting_table(read_records(cfg), (UCF,)).empty


# --- McNemar ---


def test_claims_correct_mcnemar_over_their_rows(cfg):
    put(cfg, "motion", sixths=5)
    put(cfg, "clip", sixths=1)
    put(cfg, "names", sixths=4)
    table = claims_table(read_records(cfg), (UCF,), ("above_vanilla_clip", "above_class_name_control"))
    shown = dict(zip(table["Comparison"], table["McNemar p, Holm"].map(str), strict=True))
    assert shown["Our method above Vanilla CLIP (object named)"] == "< 0.001"
    alone = mcnemar_exact(np.repeat([True, False], [5, 1]).repeat(CLASSES), np.repeat([True, False], [4, 2]).repeat(12))
    assert float(alone) < 0.001  # 12 clips of 72 differ, all one way
    assert list(table["McNemar p, Holm"]).count(NOT_RUN) == 2  # the masked rows were not run


@pytest.mark.parametrize(("ours", "shown"), [((6, 3), "1.000"), ((6, 0), "1.000"), ((6, 6), "< 0.001")])
def test_a_gap_counts_if_every_seed_has_it_in_one_direction(cfg, ours, shown):
    """Nothing in one of the seeds, or the opposite: no gap, however small each seed's own p-value."""
    for seed, sixths in enumerate(ours):
        put(cfg, "motion", sixths=sixths, seed=seed)
        put(cfg, "clip", sixths=3, seed=seed)
    table = claims_table(read_records(cfg), (UCF,), ("above_vanilla_clip",))
    assert str(table.loc[0, "McNemar p, Holm"]) == shown


def test_a_claim_of_no_gap_is_no_test_for_one(cfg):
    """It has no p-value, and Holm does not count it."""
    for method, sixths in (("motion", 5), ("motion_temporal", 5), ("names", 4)):
        put(cfg, method, sixths=sixths)
    tests = ("temporal_transformer_no_better", "above_class_name_control")
    both, one = (claims_table(read_records(cfg), (UCF,), chosen) for chosen in (tests, tests[1:]))
    named = both["Comparison"].str.endswith("(object named)")
    assert both[named]["McNemar p, Holm"].tolist() == [one.loc[0, "McNemar p, Holm"], "claims no gap"]


# --- the paper's own gaps ---


def test_what_the_paper_has_the_other_way_round_is_not_claimed(cfg):
    """Table 3, objects masked: 28.41 for ours, 28.9 for ViFi-CLIP. Everything else that is compared, it claims."""
    found = findings(put_everything(cfg), (UCF, HMDB))
    (unclaimed,) = (finding for finding in found if finding.verdict == NOT_CLAIMED)
    assert (unclaimed.dataset, str(unclaimed.comparison)) == (HMDB, "Our method above ViFi-CLIP (object masked)")
    assert (unclaimed.comparison.reported(HMDB), unclaimed.p_value) == (pytest.approx(-0.0049), None)
    assert unclaimed.gap is not None  # measured all the same
    assert findings_table([unclaimed]).loc[0, "McNemar p, Holm"] == "claims no gap"
    assert verdict_counts(found)[NOT_CLAIMED].sum() == 1
    assert found[0].comparison.reported(UCF) == pytest.approx(0.5846 - 0.2592)
    assert str(findings_table(found).loc[0, "Reported gap, points"]) == "+32.5"


def test_the_gaps_are_those_of_the_claims(cfg):
    found = findings(put_everything(cfg), (UCF, HMDB))
    gaps = gap_table(found).set_index("Our method less")
    assert list(gaps.index) == ["Vanilla CLIP", "Class names (control)", "X-CLIP", "Text4Vis", "ViFi-CLIP"]
    named = {(f.dataset, str(f.comparison)): f.gap for f in found}
    gap = named[HMDB, "Our method above X-CLIP (object named)"]
    assert gaps.loc["X-CLIP", "miniature HMDB-like, object named"] == Points(*gap)
    assert set(gap_table(findings([], (UCF,))).iloc[:, 1]) == {NOT_RUN}


def test_holm_by_hand():
    """Sorted 0.01, 0.02, 0.03, 0.04 times 4, 3, 2, 1; the running maximum lifts the last one."""
    assert holm([0.04, 0.01, 0.03, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert holm([0.5, 0.9, 0.001]) == pytest.approx([1.0, 1.0, 0.003])


def test_holm_ties_and_permutations():
    values = (0.02, 0.02, 0.3, 0.004)
    expected = dict(zip(values, holm(values), strict=True))
    for order in itertools.permutations(values):
        assert holm(order) == pytest.approx([expected[p] for p in order])


def test_holm_lies_between_raw_and_bonferroni():
    p = np.random.default_rng(0).random(20) / 10
    assert (holm(p) >= p).all()
    assert (holm(p) <= np.minimum(20 * p, 1)).all()
    assert not np.allclose(holm(p), stats.false_discovery_control(p))  # that one is no Holm


def test_holm_of_none_and_one():
    assert holm([]).shape == (0,)
    assert holm([0.2]) == pytest.approx([0.2])


@pytest.mark.parametrize("bad", [[0.1, 1.1], [-0.1], [float("nan")], [[0.1, 0.2]]])
def test_holm_refuses(bad):
    with pytest.raises(ValueError, match="p_values"):
        holm(bad)


def test_mcnemar_wants_the_gap_in_every_seed():
    better = answers([1] * 6 + [1] * 6, (0, 1))
    worse = answers([0] * 9 + [1] * 3, (0, 1))
    weakest = mcnemar_exact(np.ones(6), np.array([0, 0, 0, 1, 1, 1]), "greater")
    assert mcnemar_in_every_seed(better, worse) == pytest.approx(2 * weakest)
    turned = answers([0] * 6 + [1] * 6, (0, 1))
    assert mcnemar_in_every_seed(answers([1] * 6 + [0] * 6, (0, 1)), turned) == 1.0


# --- McNemar's test ---


def outcomes(both: int, only_a: int, only_b: int, neither: int) -> tuple[np.ndarray, np.ndarray]:
    a = np.repeat([True, True, False, False], [both, only_a, only_b, neither])
    b = np.repeat([True, False, True, False], [both, only_a, only_b, neither])
    return a, b


@pytest.mark.parametrize(
    ("only_a", "only_b", "p"),
    [
        (0, 0, 1.0),
        (3, 3, 1.0),
        (5, 0, 2 / 32),
        (1, 7, 2 * (1 + 8) / 256),
        (10, 2, 2 * (1 + 12 + 66) / 4096),
    ],
)
def test_mcnemar_by_hand(only_a, only_b, p):
    a, b = outcomes(20, only_a, only_b, 9)
    assert mcnemar_exact(a, b) == pytest.approx(p)
    assert mcnemar_exact(b, a) == pytest.approx(p)
    order = np.random.default_rng(0).permutation(len(a))
    assert mcnemar_exact(a[order], b[order]) == pytest.approx(p)


def test_mcnemar_one_sided_by_hand():
    """8 against 2 of ten clips: the binomial tail of 8 and more, and of 8 and fewer."""
    a, b = outcomes(3, 8, 2, 3)
    assert mcnemar_exact(a, b, "greater") == pytest.approx(56 / 1024)
    assert mcnemar_exact(a, b, "less") == mcnemar_exact(b, a, "greater") == pytest.approx(1013 / 1024)


def test_mcnemar_ignores_clips_on_which_both_agree():
    assert mcnemar_exact(*outcomes(0, 8, 1, 0)) == mcnemar_exact(*outcomes(500, 8, 1, 300))
