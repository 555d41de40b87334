"""Description sets: the authors' ten files, broken files, matching by class, counting."""

import csv
import hashlib
import re

import pytest

from motion_lib.paper import REPORTED_STATISTICS
from motion_lib.texts import descriptions as module
from motion_lib.texts.descriptions import (
    DescriptionSet,
    changed_by_masking,
    read_descriptions,
    squeeze_key,
    statistics,
    write_descriptions,
)

AUTHORS_FILES = {  # file -> (classes, label list)
    "kinetics400_motion_descriptions.csv": (400, "kinetics_400_labels.csv"),
    "Kinetics400_action_descrptions.csv": (400, "kinetics_400_labels.csv"),
    "uc101_motion.csv": (101, "ucf_labels.csv"),
    "ucf101_without_objectname.csv": (101, "ucf_labels.csv"),
    "ucf_descriptions.csv": (101, "ucf_labels.csv"),
    "ucf_motion_alternate_version.csv": (101, "ucf_labels.csv"),
    "hmdb51_motion_with_objectname.csv": (51, "hmdb51_labels.csv"),
    "HMDB51_without_objectname.csv": (51, "hmdb51_labels.csv"),
    "hmdb_descriptions.csv": (51, "hmdb51_labels.csv"),
    "hmdb51_motion_alternate_version.csv": (51, "hmdb51_labels.csv"),
}
TEXTS = {
    "Wave Hand": "raising one arm.",
    "jump": "bending, then springing up.",
    "sit-down": "lowering the body.",
}


@pytest.fixture
def three() -> DescriptionSet:
    return DescriptionSet("three", tuple(TEXTS), tuple(TEXTS.values()))


@pytest.fixture
def authors(shared_dir):
    folder = shared_dir / "data" / "descriptions"
    if not folder.is_dir():
        pytest.skip(f"{folder} is absent")
    return folder


def write(folder, content: bytes):
    path = folder / "some.csv"
    path.write_bytes(content)
    return path


# --- the authors' files ---


@pytest.mark.data
@pytest.mark.parametrize("file_name", AUTHORS_FILES)
def test_authors_file_matches_label_list_in_order(shared_dir, authors, file_name):
    count, label_list = AUTHORS_FILES[file_name]
    with (shared_dir / "data" / "lists" / label_list).open(encoding="utf-8", newline="") as file:
        labels = [row["name"] for row in csv.DictReader(file)]
    found = read_descriptions(authors / file_name)
    assert len(found) == count
    assert [squeeze_key(name) for name in found.class_names] == [squeeze_key(label) for label in labels]
    assert found.select(labels) is found


@pytest.mark.data
@pytest.mark.parametrize("file_name", AUTHORS_FILES)
def test_authors_file_is_clean_and_traceable(authors, file_name):
    found = read_descriptions(authors / file_name)
    for field in found.class_names + found.texts:
        assert field == " ".join(field.split())
        assert not field.startswith("\ufeff")
    assert all(text.endswith(".") for text in found.texts)
    assert found.source == file_name
    assert found.sha256 == hashlib.sha256((authors / file_name).read_bytes()).hexdigest()


@pytest.mark.data
@pytest.mark.parametrize("file_name", AUTHORS_FILES)
def test_authors_file_survives_writing(authors, tmp_path, file_name):
    found = read_descriptions(authors / file_name)
    write_descriptions(found, tmp_path / file_name)
    again = read_descriptions(tmp_path / file_name)
    assert (again.class_names, again.texts) == (found.class_names, found.texts)


@pytest.mark.data
def test_one_column_file_is_split_at_the_first_colon(authors):
    found = read_descriptions(authors / "Kinetics400_action_descrptions.csv")
    assert not any(":" in name for name in found.class_names)
    assert all(text.startswith("refers to ") for text in found.texts)
    assert sum(":" in text for text in found.texts) == 4


@pytest.mark.data
@pytest.mark.parametrize("file_name", ["ucf_motion_alternate_version.csv", "hmdb51_motion_alternate_version.csv"])
def test_lead_of_alternate_versions(authors, file_name):
    kept = read_descriptions(authors / file_name)
    stripped = read_descriptions(authors / file_name, strip_lead=True)
    for full, bare in zip(kept.texts, stripped.texts, strict=True):
        assert full.startswith("Characteristic motion of ")
        assert full.endswith(f" is: {bare}")
        assert "Characteristic" not in bare
    assert stripped.sha256 != kept.sha256


@pytest.mark.data
@pytest.mark.parametrize(
    ("named", "masked", "changed"),
    [
        ("uc101_motion.csv", "ucf101_without_objectname.csv", 54),
        ("hmdb51_motion_with_objectname.csv", "HMDB51_without_objectname.csv", 21),
    ],
)
def test_classes_changed_by_masking(authors, named, masked, changed):
    named, masked = read_descriptions(authors / named), read_descriptions(authors / masked)
    assert len(changed_by_masking(named, masked)) == changed
    assert changed_by_masking(named, masked.select(named.class_names[::-1])) == changed_by_masking(named, masked)


@pytest.mark.data
@pytest.mark.parametrize(
    ("file_name", "dataset", "words", "verbs"),
    [
        ("kinetics400_motion_descriptions.csv", "kinetics400", 19.61, 1395),
        ("uc101_motion.csv", "ucf101", 19.34, 295),
        ("hmdb51_motion_with_objectname.csv", "hmdb51", 17.27, 153),
    ],
)
def test_statistics_beside_the_published_ones(authors, file_name, dataset, words, verbs):
    found, reported = statistics(read_descriptions(authors / file_name)), REPORTED_STATISTICS[dataset]
    assert found.descriptions == reported.classes
    assert found.unique == reported.unique_descriptions
    assert found.words_per_description == pytest.approx(words, abs=0.006)  # printed with two decimals
    assert int(found.words_per_description) == reported.words_per_description
    assert found.verbs == verbs
    assert found.verbs == pytest.approx(reported.verbs, rel=0.10)  # another counting rule, see VERB_RULE


# --- reading ---


@pytest.mark.parametrize(
    "content",
    [
        b'jump,"up, then  down."\r\nrun , moving fast. \r\n',
        b'\xef\xbb\xbfjump,"up, then down."\nrun,moving fast.\n\n\n',
        b'"jump: up, then down."\n  run :moving fast.',
        b'jump,"up,\nthen down."\r\nrun,moving fast.\r\n',
        b"jump;up, then down.\nrun;moving fast.\n",
        b'"jump";"up, then down."\r\nrun;moving fast.\r\n;\r\n',
        b"jump\tup, then down.\nrun\tmoving fast.\n",
        b'jump, "up, then down."\nrun, "moving fast."\n,\n',
        b'jump,"up, then down."\rrun,moving fast.\r',
        "jump\tup, then down.\r\nrun\tmoving fast.\r\n".encode("utf-16"),
        b"\xfe\xff" + 'jump,"up, then down."\nrun,moving fast.\n'.encode("utf-16-be"),
    ],
    ids=[
        "crlf and blanks",
        "byte order mark, blank lines at the end",
        "one column",
        "line break in quotes",
        "semicolons",
        "semicolons and quotes, an empty row at the end",
        "tabs",
        "blanks before quotes",
        "line ends of old Macs",
        "a spreadsheet's Unicode text",
        "UTF-16, other way round",
    ],
)
def test_tolerated_layouts(tmp_path, content):
    found = read_descriptions(write(tmp_path, content))
    assert found.class_names == ("jump", "run")
    assert found.texts == ("up, then down.", "moving fast.")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no descriptions"),
        (b"\n\n", "no descriptions"),
        (b"jump,up.\nrun\n", "row 2: 1 columns, expected 2"),
        (b"jump,up.\nrun,fast, with long steps.\n", "row 2: 3 columns, expected 2"),
        (b"jump,up.\n\nrun,fast.\n", "row 2: 0 columns, expected 2"),
        (b"jump: up.\nrun fast.\n", "row 2: one column and no colon"),
        (b"jump|up.\n", "row 1: one column and no colon"),
        (
            b"jump;up.\nrun;fast;long.\n",
            "row 2: 3 columns, expected 2; write 'class;text' with a text that contains ';'",
        ),
        (b"jump\tup.\nrun\n", r"row 2: 1 columns, expected 2; write 'class\ttext'"),
        (b"jump,up.\nrun,  \n", "row 2: no text for class 'run'"),
        (b"jump:\n", "row 1: no text for class 'jump'"),
        (b",up.\n", "row 1: class name '' has no letter"),
        (b"Jump Up,up.\nrun,fast.\njump-up,again.\n", "row 3: class 'jump-up' repeats row 1"),
        (b"jump,up.\nrun,caf\xe9.\n", "row 2: not UTF-8"),
        ("jump,up.\n".encode("utf-16-le"), "row 1: not UTF-8"),
        ("jump,up.\n".encode("utf-16")[:-1], "row 1: not UTF-8"),
        (b"jump,up.\nrun,fa\0st.\n", "row 2: not UTF-8"),
        (b"class,text\n", "no descriptions"),
        (b"class,text\njump,up.\nrun,\n", "row 3: no text for class 'run'"),
        (b"class,text\njump,up.\nJump,down.\n", "row 3: class 'Jump' repeats row 2"),
        (b"jump,up.\nrun,fast <|endoftext|> more.\n", "row 2: '<|endoftext|>' for class 'run' ends a text for CLIP"),
        (b"jump,<|StartOfText|> up.\n", "row 1: '<|StartOfText|>' for class 'jump'"),
        (b"jump,up &amp;lt;|endoftext|&gt;.\n", "row 1: '<|endoftext|>' for class 'jump'"),
        (b'jump,up.\nrun,"fast.\nsit,down.\n', "row 2: broken CSV"),
        (b'jump,"up" or so.\n', "row 1: broken CSV"),
    ],
)
def test_broken_file_is_located(tmp_path, content, message):
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        read_descriptions(write(tmp_path, content))
    assert str(caught.value).startswith("some.csv")


@pytest.mark.parametrize(
    "header",
    ["class,text", "Class Name,Motion Description", "label,prompt", "action;gpt4_description", "class: caption"],
)
def test_a_header_is_left_out_and_the_source_says_so(tmp_path, header):
    by = next(mark for mark in ",;:" if mark in header)
    found = read_descriptions(write(tmp_path, f"{header}\njump{by}up.\nrun{by}fast.\n".encode()))
    assert (found.class_names, found.source) == (("jump", "run"), "some.csv, header left out")


def test_a_first_class_is_no_header(tmp_path):
    found = read_descriptions(write(tmp_path, b"action,moving fast.\nsigning a name,writing text by hand.\n"))
    assert (found.class_names, found.source) == (("action", "signing a name"), "some.csv")


def test_a_text_that_clip_does_not_read_whole_is_cut_and_told(tmp_path):
    long = "swinging both arms " * 40
    path = write(tmp_path, f"jump,up.\nrun,{long}\nsit,{'x-' * 500}\n".encode())
    with pytest.warns(UserWarning, match=r"some\.csv, rows 2, 3: the text is cut to the 77 tokens that CLIP reads\."):
        found = read_descriptions(path)
    assert found.texts[1] == " ".join(long.split()[:75])
    assert set(found.texts[2]) == {"x", "-"}
    assert found.source == "some.csv, 2 texts cut"
    assert found.sha256 != read_descriptions(path, cut=False).sha256
    assert read_descriptions(path, cut=False).texts[1] == long.strip()


def test_a_lead_that_goes_takes_no_room(tmp_path):
    path = write(tmp_path, f"jump,Characteristic motion of jumping is: {'arms ' * 75}\n".encode())
    assert read_descriptions(path, strip_lead=True).texts == (("arms " * 75).strip(),)


def test_equal_texts_are_told(tmp_path):
    path = write(
        tmp_path, b"class,text\njump,up.\nrun,fast.\nhop,Up.\n" + b"".join(b"c%d,fast.\n" % i for i in range(4))
    )
    told = r"some\.csv, rows 2, 3, 4, 5, 6 and 2 more: the text is equal to another class's, so that no video of either"
    with pytest.warns(UserWarning, match=told):
        assert len(read_descriptions(path)) == 7


def test_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such description file"):
        read_descriptions(tmp_path / "absent.csv")


def test_folder_is_no_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such description file"):
        read_descriptions(tmp_path)


def test_absent_lead_is_not_stripped_in_silence(tmp_path):
    path = write(tmp_path, b"jump,Characteristic motion of jumping is: going up: high.\nrun,moving fast.\n")
    with pytest.raises(ValueError, match=r"some\.csv, row 2: no lead"):
        read_descriptions(path, strip_lead=True)


def test_lead_ends_at_its_own_colon(tmp_path):
    path = write(tmp_path, b"jump,Characteristic motion of jumping is: going up: high.\n")
    assert read_descriptions(path, strip_lead=True).texts == ("going up: high.",)


# --- construction ---


@pytest.mark.parametrize(
    ("names", "texts", "message"),
    [
        (("jump",), ("up.", "down."), "1 class names but 2 texts"),
        ((), (), "no descriptions"),
        (("jump", " "), ("up.", "down."), "row 2: class name '' has no letter"),
        (("jump", "run"), ("up.", "\t"), "row 2: no text for class 'run'"),
        (("YoYo", "yo-yo"), ("up.", "down."), "row 2: class 'yo-yo' repeats row 1"),
        (("jump",), ("<|endoftext|>",), "row 1: '<|endoftext|>' for class 'jump' ends a text for CLIP"),
    ],
)
def test_invalid_sets_are_refused(names, texts, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        DescriptionSet("bad", names, texts)


def test_same_content_same_hash(three):
    same = DescriptionSet("other name", tuple(TEXTS), tuple(f" {text}  " for text in TEXTS.values()))
    assert same.sha256 == three.sha256
    assert three.select(["jump"]).sha256 != three.sha256


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("ApplyEyeMakeup", "Apply Eye Makeup"),
        ("Swimming breaststroke", "swimming breast stroke"),
        ("push-ups", "PushUps"),
        ("brush_hair", "brush hair"),
        ("caf\u00e9", "cafe\u0301"),
        ("\u30ac\u30c3\u30c4", "\u30ab\u3099\u30c3\u30c4"),
    ],
)
def test_key_joins_spellings(one, other):
    assert squeeze_key(one) == squeeze_key(other)


def test_key_keeps_classes_apart():
    assert squeeze_key("kick") != squeeze_key("kick ball")
    assert squeeze_key("rock 1") != squeeze_key("rock 2")
    for one, other in (("\u092a\u0940\u0928\u093e", "\u092a\u093e\u0928\u093e"), ("\u0e15\u0e35", "\u0e15\u0e32")):
        assert squeeze_key(one) != squeeze_key(other)  # vowel signs are no letters


# --- selecting and templates ---


def test_select_reorders_by_key(three):
    part = three.select(["SIT DOWN", "wavehand"])
    assert part.class_names == ("sit-down", "Wave Hand")
    assert part.texts == (TEXTS["sit-down"], TEXTS["Wave Hand"])
    assert part.source == "in memory, 2 of 3 classes"


def test_select_everything_changes_nothing(three):
    assert three.select([name.upper() for name in TEXTS]) is three


def test_select_names_missing_classes_and_near_matches(three):
    with pytest.raises(ValueError, match=r"1 requested classes .* 'jumps' \(nearest: 'jump'\); add") as caught:
        three.select(["jump", "jumps"])
    assert "more" not in str(caught.value)


def test_select_truncates_a_long_list_of_missing_classes(three):
    with pytest.raises(ValueError, match=r"8 requested classes .* and 3 more") as caught:
        three.select([f"{number}{number}" for number in range(8)])
    assert "'44'" in str(caught.value)
    assert "'55'" not in str(caught.value)


def test_select_refuses_a_class_twice(three):
    with pytest.raises(ValueError, match="'jump' repeats row 1"):
        three.select(["jump", "JUMP"])


def test_class_names_as_prompts():
    prompts = DescriptionSet.from_class_names(["brush hair", "run"], template="a video of a person {}.")
    assert prompts.class_names == ("brush hair", "run")
    assert prompts.texts == ("a video of a person brush hair.", "a video of a person run.")
    assert DescriptionSet.from_class_names(["run"]).texts == ("run",)


def test_template_makes_one_period(three):
    assert three.with_template("a person {}.").texts[0] == "a person raising one arm."
    assert three.with_template("a person {}").texts[0] == "a person raising one arm."
    assert three.with_template("{} in {braces}").texts[0] == "raising one arm. in {braces}"


@pytest.mark.parametrize("template", ["", "a video", "{} and {}"])
def test_template_needs_one_place(three, template):
    with pytest.raises(ValueError, match=r"write '\{\}' once"):
        three.with_template(template)


# --- writing ---


def test_written_file_reads_back_equal_with_the_same_hash(three, tmp_path):
    path = tmp_path / "three.csv"
    write_descriptions(three, path)
    assert b"\r" not in path.read_bytes()
    again = read_descriptions(path)
    assert (again.name, again.class_names, again.texts) == (three.name, three.class_names, three.texts)
    assert again.sha256 == three.sha256


def test_failed_write_leaves_the_old_file(three, tmp_path, monkeypatch):
    path = write(tmp_path, b"old,content.\n")

    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr(module.Path, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        write_descriptions(three, path)
    assert path.read_bytes() == b"old,content.\n"
    assert list(tmp_path.iterdir()) == [path]


# --- comparing and counting ---


def test_changed_by_masking_ignores_order_and_blanks(three):
    masked = DescriptionSet(
        "masked", ("jump", "SitDown", "wave hand"), ("bending an object.", *list(TEXTS.values())[::-2])
    )
    assert changed_by_masking(three, masked) == (1,)
    assert changed_by_masking(three, three) == ()


def test_changed_by_masking_needs_the_same_classes(three):
    with pytest.raises(ValueError, match="use a pair"):
        changed_by_masking(three, three.select(["jump"]))
    other = DescriptionSet("other", ("run", "jump", "sit down"), ("a.", "b.", "c."))
    with pytest.raises(ValueError, match="'Wave Hand'"):
        changed_by_masking(three, other)


def test_statistics_by_hand():
    texts = (
        "Raising, lowering; something during a swing.",
        "stirring/pouring with a string.",
        "bring wings.",
    )
    found = statistics(DescriptionSet("hand", ("a", "b", "c"), texts))
    assert found.descriptions == found.unique == 3
    assert found.words_per_description == pytest.approx((6 + 4 + 2) / 3)
    assert found.verbs == 4  # raising, lowering, stirring, pouring
    assert found.verbs_per_description == pytest.approx(4 / 3)


def test_statistics_see_repeated_texts():
    found = statistics(DescriptionSet("twice", ("a", "b"), ("moving.", "moving.")))
    assert (found.descriptions, found.unique, found.verbs) == (2, 1, 2)
