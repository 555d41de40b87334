"""The one command line: help, examples, wrong words, and what each command prints."""

import re
import shlex
import shutil
import subprocess
import sys
import tomllib

import pytest
import tiny

from motion_lib.__main__ import COMMANDS, main, make_parser
from motion_lib.config import REPOSITORY, parse_overrides
from motion_lib.data import download
from motion_lib.models import weights
from motion_lib.models.released import RELEASES


@pytest.mark.parametrize("name", COMMANDS)
def test_help_fits_a_screen_and_has_an_example(name, capsys):
    with pytest.raises(SystemExit) as stopped:
        main([name, "--help"])
    shown = capsys.readouterr().out
    assert stopped.value.code == 0
    assert len(shown.splitlines()) <= 24
    assert f"motion {name}" in shown.partition("example:")[2]


@pytest.mark.parametrize("name", COMMANDS)
def test_the_examples_are_understood(name):
    for line in COMMANDS[name].example.splitlines():
        words = shlex.split(line.partition("motion_lib ")[2] or line.partition("motion ")[2])
        args = make_parser().parse_args(words)
        assert args.command == name
        parse_overrides(getattr(args, "parameters", []))


@pytest.mark.parametrize("module", ["motion_lib", "motion_lib.reproduce"])
def test_both_spellings_of_reproduce_list_the_notebooks(module):
    words = ["reproduce"] if module == "motion_lib" else []
    command = [sys.executable, "-m", module, *words, "--list"]
    listed = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout
    assert re.search(r"^02_fine_tuning +02 ", listed, re.MULTILINE)


def test_without_the_notebooks_it_says_where_they_are(tmp_path, capsys):
    """As after `pip install` of a wheel, which holds the package alone."""
    assert main(["reproduce", "--notebooks", str(tmp_path), "--list"]) == 0
    assert "They come with the repository, not with an installed package: clone it" in capsys.readouterr().out
    assert main(["reproduce", "--notebooks", str(tmp_path)]) == 2
    assert "clone it and run the command there" in capsys.readouterr().err


def test_an_installed_copy_has_its_profiles_and_works_outside_of_the_packages(tmp_path):
    installed = tmp_path / "site-packages" / "motion_lib"
    files = [*(REPOSITORY / "motion_lib").glob("*.py"), *(REPOSITORY / "motion_lib").glob("profiles/*.yaml")]
    for path in files:
        (target := installed / path.relative_to(REPOSITORY / "motion_lib")).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
    package_data = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]
    assert "profiles/*.yaml" in package_data["motion_lib"]
    code = "from motion_lib.config import RunConfig; print(RunConfig.load('miniature').data_root)"
    environment = {"PYTHONPATH": str(installed.parent), "HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.stdout.strip() == str(tmp_path / "motion_lib" / "data"), done.stderr


def test_papermills_road_to_a_profile_is_there():
    beside = REPOSITORY / "notebooks" / "profiles" / "paper.yaml"
    assert beside.read_bytes() == (REPOSITORY / "motion_lib" / "profiles" / "paper.yaml").read_bytes()


def test_the_list_of_commands_costs_no_library():
    code = "import sys; from motion_lib.__main__ import make_parser; make_parser().format_help(); "
    code += "print(*({'torch', 'papermill', 'pandas'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "\n"


def test_values_are_read_as_yaml():
    pairs = [["epochs", "3"], ["lr", "5e-5"], ["logit_scale", "null"], ["targets", "[a, b]"], ["source", ": ["]]
    expected = {"epochs": 3, "lr": 5e-5, "logit_scale": None, "targets": ["a", "b"], "source": ": ["}
    assert parse_overrides(pairs) == expected


@pytest.mark.parametrize("text", ["True", "False", "None", "8", "8.0", "1e-3", "007", "nan", "-inf", "text", "", "a b"])
def test_values_are_read_as_papermill_reads_them(text):
    from papermill.cli import _resolve_type

    (ours,) = parse_overrides([["epochs", text]]).values()
    assert repr(ours) == repr(_resolve_type(text))


# --- pack -----------------------------------------------------------------------------------------


def test_pack_works_below_motion_data(tmp_path, monkeypatch, capsys):
    root = tmp_path / "kinetics400"
    (root / "annotations").mkdir(parents=True)
    rows = ["label,youtube_id,time_start,time_end,split", "waving,aaaaaaaaaaa,0,10,train"]
    rows.append("waving,bbbbbbbbbbb,3,13,train")
    (root / "annotations" / "train.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    (root / "train").mkdir()
    tiny.write_numbered(root / "train" / "aaaaaaaaaaa_000000_000010.mp4", 40)
    (root / "train" / "bbbbbbbbbbb_000003_000013.mp4").write_bytes(b"")
    monkeypatch.setenv("MOTION_DATA", str(tmp_path))
    assert main(["pack", "kinetics400", "--workers", "0", "--short-side", "32", "--frames", "4"]) == 0
    printed = capsys.readouterr().out
    assert "1 videos, 16 frames" in printed
    assert "per 1,000 videos" in printed
    assert "bbbbbbbbbbb_000003_000013: not a readable video" in printed
    assert len(list((tmp_path / "frames").iterdir())) == 1


def test_pack_names_what_is_missing(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("MOTION_DATA", str(tmp_path))
    assert main(["pack", "kinetics400"]) == 1
    assert "motion pack: " in (said := capsys.readouterr().err)
    assert "the folder of the Kinetics lists is missing" in said


# --- data -----------------------------------------------------------------------------------------


def test_data_says_what_is_missing_and_where_it_comes_from(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("MOTION_DATA", str(tmp_path))
    monkeypatch.setattr(download, "download", lambda root, base: [f"{base}: the server answers 404"])
    assert main(["data", "--mirror", "http://localhost"]) == 1
    shown = capsys.readouterr()
    assert "k400_downloader.sh" in shown.out
    assert "inputs of profile 'paper' are missing" in shown.out
    assert shown.err == "Not fetched:\nhttp://localhost: the server answers 404\n"
    assert main(["data", "--check"]) == 0


# --- checkpoints ----------------------------------------------------------------------------------


def test_checkpoints_are_listed_and_fetched(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("MOTION_DATA", str(tmp_path))
    assert main(["checkpoints"]) == 0
    listed = capsys.readouterr().out
    assert all(release.file in listed for release in RELEASES.values())
    assert listed.count("missing; ") == len(RELEASES)
    assert main(["checkpoints", "vificlip"]) == 1
    assert re.search(r"motion checkpoints: \S+ is missing: open", capsys.readouterr().err)

    def no_network(url, path, sha256, progress):
        raise download.DownloadError("no route to host.")

    monkeypatch.setattr(weights, "fetch", no_network)
    assert main(["checkpoints", "text4vis"]) == 1
    place = RELEASES["text4vis"].path(tmp_path)
    assert f"no route to host. Or bring the file from elsewhere, and put it at {place}." in capsys.readouterr().err
    place.parent.mkdir()
    place.write_text("<html>")
    assert main(["checkpoints"]) == 0
    assert f"{place}: is a web page; download https://" in capsys.readouterr().out
    assert main(["checkpoints", "s3d"]) == 2
    assert "no checkpoint 's3d': expected text4vis" in capsys.readouterr().err


def test_it_is_installed_as_motion():
    program = shutil.which("motion", path=str(REPOSITORY / ".venv" / "bin")) or shutil.which("motion")
    if program is None:
        pytest.skip("motion_lib is not installed here")
    assert "reproduce" in subprocess.run([program, "--help"], capture_output=True, text=True, check=True).stdout
