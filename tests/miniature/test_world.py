"""The rendered world: its rules, its files in the official layouts, and what a CLIP knows of it.

Rules, not values: motions, looks and sizes may change without a change here.
"""

import re
import subprocess
import sys
from collections import Counter
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import torch

from motion_lib.data.datasets import VideoDataset, open_dataset
from motion_lib.data.video import VideoReadError, read_frames, write_video
from motion_lib.evaluation.features import VideoFeatures
from motion_lib.miniature import build, drawing, motions, sentences, world
from motion_lib.miniature.knowledge import zero_shot_knowledge
from motion_lib.miniature.parallel import parallel_map
from motion_lib.miniature.world import DatasetSpec, World, draw_clip, make_world, render_clip
from motion_lib.models.clip import tokenize
from motion_lib.texts.descriptions import changed_by_masking, read_descriptions, squeeze_key

SEEDS = range(5)
SETS = ("source", "ucf", "hmdb")


@pytest.fixture(params=SEEDS)
def any_world(request) -> World:
    return make_world(request.param)


def specs(built: World) -> list[DatasetSpec]:
    return [built.source, built.ucf, built.hmdb]


def targets(built: World) -> tuple:
    return built.ucf.classes + built.hmdb.classes


# --- the rules that make it a zero-shot world -----------------------------------------------------


def test_source_and_target_share_no_pair_and_no_name(any_world):
    source = any_world.source.classes
    assert not {(c.arm, c.body) for c in source} & {(c.arm, c.body) for c in targets(any_world)}
    assert not {squeeze_key(c.name) for c in source} & {squeeze_key(c.name) for c in targets(any_world)}


@pytest.mark.parametrize("part", ["arm", "body", "item", "scene"])
def test_every_single_part_of_a_target_occurs_in_the_source(any_world, part):
    wanted = {getattr(c, part) for c in targets(any_world)}
    assert wanted <= {getattr(c, part) for c in any_world.source.classes}


@pytest.mark.parametrize("key", SETS)
def test_classes_of_a_data_set_can_be_told_apart(any_world, key):
    classes = getattr(any_world, key).classes
    for part in ("masked", "description"):
        assert len({getattr(c, part) for c in classes}) == len(classes)
    assert len({squeeze_key(c.name) for c in classes}) == len(classes)
    assert [c.index for c in classes] == list(range(len(classes)))


def test_masking_replaces_the_noun_and_nothing_else(any_world):
    for spec in specs(any_world):
        for c in spec.classes:
            assert re.sub(rf"\b{c.item}\b", "object", c.description) == c.masked != c.description
            assert not re.search("|".join(rf"\b{noun}" for noun in drawing.OBJECTS), c.masked)


def test_texts_fit_clip_and_have_the_right_articles(any_world):
    classes = [c for spec in specs(any_world) for c in spec.classes]
    texts = [text for c in classes for text in (c.name, c.description, c.masked, sentences.class_caption(c))]
    assert tokenize(texts).shape == (len(texts), 77)
    assert article_faults(texts) == []


def article_faults(texts: list[str]) -> list[str]:
    return [text for text in texts if re.search(r"\b(a [aeiou]|an [^aeiou])", text)]


def test_the_article_check_finds_faults():
    assert article_faults(["a umbrella", "an ball", "an umbrella and a ball"]) == ["a umbrella", "an ball"]


def test_a_description_tells_arm_body_and_tempo(any_world):
    for c in targets(any_world):
        texts = (sentences.ARM_PHRASES[c.arm], sentences.BODY_PHRASES[c.body], sentences.TEMPO_WORDS[c.tempo])
        for phrases in texts:
            assert any(phrase.format(item=c.item) in c.description for phrase in phrases)


def test_the_same_arguments_give_the_same_world():
    assert make_world(3) == make_world(3)
    assert make_world(3) != make_world(4)


def test_more_targets_than_pairs_are_refused():
    with pytest.raises(ValueError, match=r"\d+ target pairs are left, 1000 classes asked for"):
        make_world(0, ucf_classes=1000)
    with pytest.raises(ValueError, match="source_classes: expected 16 or more"):
        make_world(0, source_classes=1)


# --- clips ----------------------------------------------------------------------------------------


def test_a_clip_depends_on_its_seed_alone():
    spec = make_world(0).ucf

    def pixels(seed: int) -> bytes:
        return render_clip(draw_clip(spec, spec.classes[0], 1, seed)).tobytes()

    assert pixels(0) == pixels(0)
    assert pixels(0) != pixels(1)


def test_clips_of_one_group_share_place_person_and_camera():
    spec = make_world(0).hmdb
    looks = [draw_clip(spec, spec.classes[2], clip, 0).look for clip in range(6)]
    assert looks[0::2] == looks[1::2]
    assert len({looks[0], looks[2], looks[4]}) == 3


def shares(spec: DatasetSpec, part: str) -> float:
    """How often the clips of a data set show their class's own object or scene."""
    clips = [(c, draw_clip(spec, c, clip, seed)) for seed in range(6) for c in spec.classes for clip in range(12)]
    return np.mean([getattr(c, part) == getattr(clip, part) for c, clip in clips])


@pytest.mark.parametrize("part", ["item", "scene"])
def test_object_and_scene_go_with_the_class_as_each_data_set_says(part):
    built = make_world(0)
    assert shares(built.ucf, part) == 1
    values = len(drawing.OBJECTS if part == "item" else drawing.SCENES)
    for spec in (built.source, built.hmdb):
        own = getattr(spec, f"{part}_reliability")
        assert shares(spec, part) == pytest.approx(own + (1 - own) / values, abs=0.06)
    assert shares(built.hmdb, part) < 0.95  # "they do so less"


def test_a_clip_of_the_class_moves_as_the_class_does(any_world):
    for spec in specs(any_world):
        for c in spec.classes:
            clip = draw_clip(spec, c, 0, 0)
            low, high = world.TEMPO_CYCLES[c.tempo]
            assert (clip.arm, clip.body) == (c.arm, c.body)
            assert low <= clip.cycles <= high


PHASES = np.linspace(0, 4 * np.pi, 96)


def test_hands_feet_and_head_stay_in_the_picture():
    rng, inside = np.random.default_rng(0), []
    for arm in motions.ARM_MOTIONS:
        for body in motions.BODY_MOTIONS:
            figure = motions.skeleton(arm, body, PHASES, PHASES + rng.uniform(0, 6))
            joints = np.concatenate([figure.hands, figure.feet, figure.head[:, None]], axis=1)
            for _ in range(5):
                x, y, _ = np.moveaxis(drawing._project(joints, drawing.random_look(rng), 64, 64), -1, 0)
                inside.append((x >= 0) & (x < 64) & (y >= 0) & (y < 64))
    assert np.mean(inside) >= 0.97


@pytest.mark.parametrize("body", motions.BODY_MOTIONS)
def test_the_figure_stands_on_the_ground_unless_it_jumps(body):
    height = motions.skeleton("wave", body, PHASES, PHASES).feet[..., 1].min(axis=1)
    if any(re.search("jump|hop", phrase) for phrase in sentences.BODY_PHRASES[body]):
        assert height.min() > -1e-9
        assert height.max() > 0.1
    else:
        np.testing.assert_allclose(height, 0, atol=1e-9)


@pytest.mark.parametrize("arm", motions.ARM_MOTIONS)
def test_limbs_keep_their_length(arm):
    figure = motions.skeleton(arm, "spin", PHASES, PHASES)
    for a, b, length in (
        (figure.shoulders, figure.elbows, motions.UPPER_ARM),
        (figure.elbows, figure.hands, motions.FOREARM),
        (figure.hips, figure.knees, motions.THIGH),
        (figure.knees, figure.feet, motions.SHIN),
    ):
        np.testing.assert_allclose(np.linalg.norm(a - b, axis=-1), length, atol=1e-9)


@pytest.mark.parametrize("kinds", [motions.ARM_MOTIONS, motions.BODY_MOTIONS], ids=["arms", "bodies"])
def test_no_two_motions_look_alike(kinds):
    arms = kinds is motions.ARM_MOTIONS
    paths = {}
    for name in kinds:
        figure = motions.skeleton(*((name, "stand") if arms else ("wave", name)), PHASES, PHASES)
        paths[name] = np.concatenate([figure.hands, figure.feet, figure.head[:, None]], axis=1)
    for one, other in combinations(paths, 2):
        assert np.abs(paths[one] - paths[other]).max() > 0.1, (one, other)


@pytest.mark.parametrize("key", SETS)
def test_a_clip_is_h264_and_reads_back_as_it_was_drawn(tmp_path, key):
    spec, path = getattr(make_world(0), key), tmp_path / "clip.mp4"
    world.write_clip(str(path), spec, spec.classes[1], 3, 0)
    drawn = render_clip(draw_clip(spec, spec.classes[1], 3, 0))
    assert b"avc1" in path.read_bytes()
    read = read_frames(path, np.arange(len(drawn)))
    with pytest.raises(VideoReadError, match=f"has {len(drawn)} frames"):
        read_frames(path, [len(drawn)])
    assert np.abs(read.astype(float) - drawn).mean() < 10


@pytest.mark.parametrize("key", SETS)
def test_clips_are_encoded_to_the_same_bytes_every_time(tmp_path, key):
    """The other way to lose this is quiet: an encoder that reads memory it did not write, so that gets another past."""
    spec, rng = getattr(make_world(0), key), np.random.default_rng(0)
    for which in spec.classes[::9]:
        drawn, files = render_clip(draw_clip(spec, which, 3, 0)), set()
        for _ in range(8):
            scratch = [np.full(size, rng.integers(256), dtype=np.uint8) for size in rng.integers(100, 200_000, 30)]
            del scratch
            write_video(tmp_path / "clip.mp4", drawn, fps=12)
            files.add((tmp_path / "clip.mp4").read_bytes())
        assert len(files) == 1, which.name


def test_every_object_and_scene_is_drawn():
    figure = motions.skeleton("wave", "stand", PHASES[:1], PHASES[:1])
    look = drawing.random_look(np.random.default_rng(0))

    def picture(item: str, scene: str) -> bytes:
        return drawing.render(figure, item, scene, look, 64, 64, 0).tobytes()

    assert len({picture(item, "gym") for item in drawing.OBJECTS}) == len(drawing.OBJECTS)
    assert len({picture("ball", scene) for scene in drawing.SCENES}) == len(drawing.SCENES)
    assert sentences.SCENE_WORDS.keys() == drawing.SCENES.keys()
    assert sentences.ARM_PHRASES.keys() == motions.ARM_MOTIONS.keys()
    assert sentences.BODY_PHRASES.keys() == motions.BODY_MOTIONS.keys()


# --- files ----------------------------------------------------------------------------------------


@pytest.fixture
def made(monkeypatch) -> Counter:
    """Writes empty videos in place of real ones, and counts them."""
    made = Counter()

    def touch(function, jobs, description):
        for path, *_ in jobs:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            Path(path).touch()
        made["clips"] += len(jobs)

    monkeypatch.setattr(build, "parallel_map", touch)
    return made


def ids(dataset: VideoDataset) -> set[str]:
    assert dataset.missing == ()
    return {item.video_id for item in dataset.items}


@pytest.mark.parametrize("key", SETS)
def test_official_layouts_hold_every_clip_and_class(made, tmp_path, key):
    spec = getattr(make_world(1), key)
    dataset = open_dataset(f"miniature-{key}", build.build(tmp_path, 1).root, 1, "all")
    assert len(dataset) == len(ids(dataset)) == len(spec.classes) * spec.clips_per_class
    assert set(Counter(dataset.labels).values()) == {spec.clips_per_class}
    assert {squeeze_key(name) for name in dataset.class_names} == {squeeze_key(c.name) for c in spec.classes}


@pytest.mark.parametrize("key", SETS)
def test_descriptions_cover_the_classes_of_the_lists(made, tmp_path, key):
    paths = build.build(tmp_path, 1)
    names = open_dataset(f"miniature-{key}", paths.root, 1, "all").class_names
    named, masked = (read_descriptions(paths.descriptions(key, kind)).select(names) for kind in ("object", "masked"))
    assert len(changed_by_masking(named, masked)) == len(names)
    text = {squeeze_key(c.name): c.description for c in getattr(make_world(1), key).classes}
    assert list(named.texts) == [text[squeeze_key(name)] for name in names]


def test_source_is_split_into_training_and_held_out_clips(made, tmp_path):
    root = build.build(tmp_path, 1).root
    train, val, everything = (ids(open_dataset("miniature-source", root, 1, s)) for s in ("train", "val", "all"))
    assert train | val == everything
    assert not train & val
    assert len(val) == round(build.VAL_SHARE * len(everything))


@pytest.mark.parametrize("clips", [2, 3, 4, 5, 7, 10, 15])
def test_held_out_source_clips_share_no_group_with_training(clips):
    spec = make_world(0, source_clips=clips).source
    parts = [build.video_path(spec, spec.classes[0], clip)[0].parts[1] for clip in range(clips)]
    assert set(parts) == {"train", "val"}
    assert parts == sorted(parts)
    if clips > 2:
        assert parts.count("train") % 2 == 0


@pytest.mark.parametrize("key", ["ucf", "hmdb"])
def test_target_splits_are_disjoint_and_covering(made, tmp_path, key):
    root, tested = build.build(tmp_path, 1).root, set()
    for split in (1, 2, 3):
        train, test, everything = (open_dataset(f"miniature-{key}", root, split, s) for s in ("train", "test", "all"))
        assert ids(train) | ids(test) == ids(everything)
        assert not ids(train) & ids(test)
        assert not set(train.groups) & set(test.groups)  # no place is on both sides
        assert not ids(test) & tested
        assert set(test.labels) == set(range(len(test.class_names)))
        tested |= ids(test)


@pytest.mark.parametrize("key", ["ucf", "hmdb"])
def test_clips_2k_and_2k_plus_1_are_one_group(made, tmp_path, key):
    dataset = open_dataset(f"miniature-{key}", build.build(tmp_path, 1).root, 1, "all")
    assert set(Counter(dataset.groups).values()) == {2}
    for item in dataset.items:
        place = re.search(r"_g(\d+)_c|^film(\d+)_", item.video_id)
        assert item.group.endswith(place[0].strip("_c").strip("_"))


def test_building_again_costs_nothing_and_a_change_rebuilds_what_it_touches(made, tmp_path):
    def rendered(seed=0, **sizes):
        before = made["clips"]
        assert build.build(tmp_path, seed, **sizes).root.is_dir()
        return made["clips"] > before

    assert rendered()
    assert not rendered()
    assert rendered(target_clips=2)
    assert rendered(seed=1)
    assert not rendered(target_clips=2)


def test_an_interrupted_build_is_taken_up(made, tmp_path, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr(build, "_write_hmdb_lists", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            build.build(tmp_path)
    root = build.build(tmp_path).root
    assert len(open_dataset("miniature-hmdb", root, 1, "all"))


@pytest.mark.parametrize("name", ["world", "minimal_pairs", "stills"])
def test_whoever_draws_starts_without_torch(name):
    code = f"import motion_lib.miniature.{name}, sys; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_parallel_map_keeps_order_and_raises_what_a_worker_raises():
    assert parallel_map(divmod, [(n, 3) for n in range(7)], "dividing", 2) == [divmod(n, 3) for n in range(7)]
    with pytest.raises(ZeroDivisionError):
        parallel_map(divmod, [(1, 0)], "dividing", 1)


# --- what it knows --------------------------------------------------------------------------------


class Oracle:
    """Answers prompts about clips from what the class lists say, found by class name and order."""

    device = torch.device("cpu")
    things = map(sentences.with_article, drawing.OBJECTS)
    vocabulary = (*sentences.SCENE_WORDS.values(), *things, *sentences.VERBS.values())

    def __init__(self, dataset: VideoDataset, spec: DatasetSpec, seed: int):
        classes, seen = {squeeze_key(c.name): c for c in spec.classes}, Counter()
        self.words = []
        for label in dataset.labels:
            c = classes[squeeze_key(dataset.class_names[label])]
            clip = draw_clip(spec, c, seen[label], seed)
            seen[label] += 1
            aspects = (sentences.SCENE_WORDS[clip.scene], sentences.with_article(clip.item))
            self.words.append([*aspects, sentences.VERBS[clip.arm], sentences.VERBS[clip.body]])

    def encode_text(self, prompts):
        return torch.tensor([[float(text.endswith(f" {word}")) for word in self.vocabulary] for text in prompts])

    def similarity(self, features, texts):
        shown = torch.tensor([[float(word in words) for word in self.vocabulary] for words in self.words])
        return shown @ texts.T


@pytest.fixture
def hmdb_videos(made, tmp_path) -> VideoFeatures:
    dataset = open_dataset("miniature-hmdb", build.build(tmp_path, 1).root, 1, "all")
    return VideoFeatures(torch.zeros(len(dataset), 1), dataset, {}, 1.0)


def test_knowledge_is_compared_with_what_each_clip_shows(hmdb_videos):
    spec = make_world(1).hmdb
    assert [c.name for c in spec.classes] != sorted(c.name for c in spec.classes)  # the lists sort them
    table = zero_shot_knowledge(Oracle(hmdb_videos.dataset, spec, 1), hmdb_videos, spec, 1)
    assert list(table["Aspect"]) == ["scene", "object", "arm motion", "body motion"]
    assert (table["Zero-shot top-1, %"] == 100).all()
    sizes = [len(kinds) for kinds in (drawing.SCENES, drawing.OBJECTS, motions.ARM_MOTIONS, motions.BODY_MOTIONS)]
    assert list(table["Chance, %"]) == [round(100 / size, 1) for size in sizes]


def test_an_oracle_of_another_world_knows_little(hmdb_videos):
    spec = make_world(1).hmdb
    oracle = Oracle(hmdb_videos.dataset, spec, 1)
    oracle.words = oracle.words[7:] + oracle.words[:7]
    table = zero_shot_knowledge(oracle, hmdb_videos, spec, 1)
    assert (table["Zero-shot top-1, %"] < 60).all()


def test_videos_of_another_world_are_refused(hmdb_videos):
    spec = make_world(2).hmdb
    with pytest.raises(ValueError, match=r"miniature-hmdb: \d+ of \d+ videos, e.g. .*, are not of this world"):
        zero_shot_knowledge(None, hmdb_videos, spec, 2)
