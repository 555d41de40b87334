"""The one command line: `python -m motion_lib COMMAND`, also installed as `motion`.

Each command is a pair of functions: what it asks for, and what it does. Libraries are imported when a command runs,
so that help costs nothing.
"""

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from motion_lib.config import RunConfig, parse_overrides
from motion_lib.methods import METHODS


class Command(NamedTuple):
    """One command: its line in the list of commands, one or two lines that a user would type, and its functions."""

    summary: str
    example: str
    ask: Callable[[argparse.ArgumentParser], None]  # adds the arguments
    run: Callable[[argparse.Namespace], int]  # returns the exit code


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command, by default the process's own; return 0 done, 1 failed, 2 wrong arguments, 130 interrupted."""
    args = make_parser().parse_args(argv)
    try:
        return COMMANDS[args.command].run(args)
    except KeyboardInterrupt:
        print(f"motion {args.command}: interrupted; the same command goes on.", file=sys.stderr)
        return 130
    except (ValueError, RuntimeError, OSError, ImportError) as error:
        print(f"motion {args.command}: {error}", file=sys.stderr)
        return 2 if isinstance(error, WrongArguments) else 1


class WrongArguments(ValueError):
    """Arguments that argparse accepts and the command cannot use."""


def make_parser() -> argparse.ArgumentParser:
    """The parser of all commands."""
    parser = argparse.ArgumentParser(prog="motion", description="Motion descriptions as classifiers of videos.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, command in COMMANDS.items():
        about = {"help": command.summary, "description": f"{command.summary[0].upper()}{command.summary[1:]}."}
        example, as_it_is = f"example:\n  {command.example}", argparse.RawDescriptionHelpFormatter
        command.ask(commands.add_parser(name, **about, epilog=example, formatter_class=as_it_is))
    return parser


def _ask_profile(parser: argparse._ActionsContainer) -> None:
    parser.add_argument("--profile", default="miniature", help="miniature (default) or paper")


def _ask_parameters(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-p", dest="parameters", nargs=2, action="append", default=[], metavar=("NAME", "VALUE"),
        help="override a parameter of the profile; repeatable",
    )  # fmt: skip


def _profile_of(args: argparse.Namespace) -> RunConfig:
    try:
        return RunConfig.load(args.profile, **parse_overrides(getattr(args, "parameters", [])))
    except ValueError as error:
        raise WrongArguments(error) from error


def _ask_reproduce(parser: argparse.ArgumentParser) -> None:
    _ask_profile(parser)
    some = parser.add_mutually_exclusive_group()
    some.add_argument("--from", dest="start", metavar="NN", help="first notebook to run, e.g. 03")
    some.add_argument("--only", nargs="+", metavar="NN", help="run these notebooks alone")
    seeds = "default: the profile's; others leave no copies"
    parser.add_argument("--seeds", nargs="+", type=int, metavar="SEED", help=seeds)
    _ask_parameters(parser)
    parser.add_argument("--again", action="store_true", help="run also what has not changed since it ran")
    parser.add_argument("--list", action="store_true", help="show the notebooks and stop")
    parser.add_argument("--notebooks", type=Path, help=argparse.SUPPRESS)


def _reproduce(args: argparse.Namespace) -> int:
    from motion_lib.batch import reproduce

    try:
        try:
            found = reproduce.find_notebooks(args.notebooks or reproduce.NOTEBOOKS_DIR)
        except FileNotFoundError as error:
            if not args.list:
                raise
            print(error)  # what there is to list, as `data --check` says what data there are
            return 0
        notebooks = reproduce.select(found, args.start, args.only)
        if args.list:
            print("\n".join(reproduce.titles(notebooks)))
            return 0
        reproduce.check_sources(notebooks)
        steps = reproduce.plan(notebooks, args.profile, parse_overrides(args.parameters), args.seeds)
    except (ValueError, FileNotFoundError) as error:
        raise WrongArguments(error) from error
    return reproduce.run(steps, again=bool(args.again or args.start or args.only))


def _ask_train(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("method", choices=[key for key, method in METHODS.items() if method.trained])
    where = parser.add_mutually_exclusive_group()
    _ask_profile(where)
    where.add_argument("--config", type=Path, help="YAML with every parameter, as a run writes it")
    _ask_parameters(parser)
    parser.add_argument("--largest", action="store_true", help="print how many clips fit one device at once, and stop")


def train_config(args: argparse.Namespace) -> RunConfig:
    """The parameters of `train`: the profile's or the file's, then `-p`."""
    import yaml

    overrides = parse_overrides(args.parameters)
    if args.config is None:
        return RunConfig.load(args.profile, **overrides)
    return RunConfig.load(**{**yaml.safe_load(args.config.read_text(encoding="utf-8")), **overrides})


def _train(args: argparse.Namespace) -> int:
    try:
        cfg = train_config(args)
    except (ValueError, OSError) as error:
        raise WrongArguments(error) from error
    from motion_lib.experiment.experiment import Experiment
    from motion_lib.experiment.launch import fabric_of

    if args.largest:
        print(Experiment(cfg).largest_at_once(args.method))
        return 0
    fabric = fabric_of(cfg)
    history = Experiment(cfg).train(args.method, fabric)
    if fabric is not None and not fabric.is_global_zero:
        return 0  # one of a group speaks
    for row in history.rows:
        print(f"epoch {row['epoch']}: loss {row['train_loss']:.3f}, top-1 {100 * row['train_acc1']:.1f} %")
    print(f"weights: {history.last_checkpoint.name}; unreadable videos: {len(history.failed)}")
    return 0


def _ask_rehearse(parser: argparse.ArgumentParser) -> None:
    _ask_profile(parser)
    _ask_parameters(parser)


def _rehearse(args: argparse.Namespace) -> int:
    cfg = _profile_of(args)
    from motion_lib.experiment.rehearsal import FAILS, rehearse

    return int((rehearse(cfg)["Verdict"] == FAILS).any())


def _ask_pack(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("dataset", help="kinetics400, ucf101, hmdb51")
    parser.add_argument("--subset", default="train", help="train (default), val or test, all")
    parser.add_argument("--split", type=int, default=1, help="official split of UCF-101 and HMDB-51")
    parser.add_argument("--frames", type=int, default=8, help="frames T that a model sees (8); 4 T are kept")
    parser.add_argument("--short-side", type=int, default=256, help="pixels (256)")
    parser.add_argument("--interpolation", default="bicubic", help="bicubic (default), bilinear, opencv")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="processes (one a core)")


def _pack(args: argparse.Namespace) -> int:
    from motion_lib.data.datasets import open_dataset
    from motion_lib.data.pack import pack
    from motion_lib.data.packed import CANDIDATES_PER_FRAME, Packing

    root = RunConfig.load("paper").data_root
    packing = Packing(args.short_side, args.interpolation, CANDIDATES_PER_FRAME * args.frames)
    dataset = open_dataset(args.dataset, root, args.split, args.subset)
    report = pack(dataset, packing, root / "frames", args.workers)
    print(report.describe())
    for video_id, reason in report.unreadable.items():
        print(f"  {video_id}: {reason}")
    return 0


def _ask_data(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--check", action="store_true", help="fetch nothing, only say what is there")
    parser.add_argument("--mirror", help="server in place of GitHub's")


def _data(args: argparse.Namespace) -> int:
    from motion_lib.data.download import GITHUB, download
    from motion_lib.experiment.inputs import data_status

    cfg = RunConfig.load("paper")
    problems = [] if args.check else download(cfg.data_root, args.mirror or GITHUB)
    print("\n".join(data_status(cfg)))
    if problems:
        print("\n".join(["Not fetched:", *problems]), file=sys.stderr)
    return bool(problems)


def _ask_checkpoints(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("keys", nargs="*", metavar="KEY", help="text4vis, vificlip, xclip, xclip_transformers")


def _checkpoints(args: argparse.Namespace) -> int:
    from motion_lib.models.released import RELEASES, fetch_release
    from motion_lib.models.weights import fault_of

    root = RunConfig.load("paper").data_root
    if unknown := [key for key in args.keys if key not in RELEASES]:
        raise WrongArguments(f"no checkpoint {unknown[0]!r}: expected {', '.join(RELEASES)}.")
    for key in args.keys:
        print(f"{key}: {fetch_release(key, root)}")
    for key, release in () if args.keys else RELEASES.items():
        fault = fault_of(release.path(root))
        there = f"{fault}; {release.how_to_get}" if fault else "here"
        print(f"{key}: {release.source}, {release.size}; {release.path(root)}: {there}")
    return 0


def _ask_score(parser: argparse.ArgumentParser) -> None:
    names = "clip:ViT-B/16, open_clip:ARCH/TAG, transformers:ID, text4vis, vificlip, xclip, motion:RUN,"
    parser.add_argument("name", metavar="NAME", help=f"{names} python:MODULE:FACTORY")
    _ask_profile(parser)
    parser.add_argument("--data", nargs="+", default=[], metavar="SET", help="ucf101, hmdb51 (both), kinetics400")
    parser.add_argument("--videos", type=Path, metavar="DIR", help="a folder of class folders instead")
    parser.add_argument("--descriptions", type=Path, metavar="CSV", help="of its classes: class, description")
    parser.add_argument("--masked", type=Path, metavar="CSV", help="the same with objects masked")
    parser.add_argument("--quick", action="store_true", help="the cells of Tables 2 and 3 alone")
    _ask_parameters(parser)


def _score(args: argparse.Namespace) -> int:
    cfg = _profile_of(args)
    if bool(args.videos) != bool(args.descriptions) or (args.videos and args.data) or (args.masked and not args.videos):
        raise WrongArguments("--videos goes with --descriptions, perhaps --masked, and without --data.")
    from motion_lib.experiment.data import data_of
    from motion_lib.scores import card, names, page
    from motion_lib.scores.targets import own_target, slug, targets_of

    named = names.named_model(args.name, cfg)
    own = args.videos and own_target(args.videos, args.descriptions, args.masked)
    targets = [own] if own else targets_of(data_of(cfg), args.data)
    folder = cfg.results_dir / "scores" / "-".join(map(slug, (named.name, *([own.name] if own else args.data))))
    written = card.make_card(named, cfg, targets, folder, args.quick)
    for target in written["targets"]:
        for kind, cell in target["results"].items():
            print(f"{target['label']}, {kind}: top-1 {{:.1f}} [{{:.1f}}, {{:.1f}}] %".format(*cell["top1"]))
    print(page.write_page(written, folder))
    return 0


def _ask_board(parser: argparse.ArgumentParser) -> None:
    _ask_profile(parser)
    parser.add_argument("folder", nargs="?", type=Path, help="of cards; default: results/PROFILE/scores")


def _board(args: argparse.Namespace) -> int:
    cfg = _profile_of(args)
    from motion_lib.scores import board

    folder = args.folder or cfg.results_dir / "scores"
    cards = board.read_cards(folder)
    boards = board.boards_of(cards, cfg) if cards or not args.folder else []
    if not boards:
        raise FileNotFoundError(f"no card.json in {folder}: make one by motion score NAME.")
    for path in board.write_boards(boards, folder):
        print(path)
    return 0


# fmt: off
COMMANDS: dict[str, Command] = {
    "reproduce": Command(
        "run the notebooks in order",
        "motion reproduce --seeds 0 1 2\n  motion reproduce --profile paper --from 03", _ask_reproduce, _reproduce,
    ),
    "rehearse": Command(
        "try a little of everything on this machine, in five minutes, before hours depend on it",
        "motion rehearse --profile paper -p devices 4", _ask_rehearse, _rehearse,
    ),
    "train": Command(
        "fine-tune one method outside a notebook, or go on where it was cut off",
        "motion train motion --profile paper -p batch_size 256\n"
        "  torchrun --nproc-per-node 4 -m motion_lib train motion --profile paper", _ask_train, _train,
    ),
    "pack": Command(
        "pack the frames of a data set below MOTION_DATA; start it as often as you like",
        "motion pack kinetics400 --workers 16", _ask_pack, _pack,
    ),
    "data": Command(
        "fetch the authors' texts and the official lists, and say which data are missing",
        "motion data --check", _ask_data, _data,
    ),
    "score": Command(
        "measure any video-text model by its name, and write its card",
        "motion score transformers:openai/clip-vit-base-patch32 --profile paper",
        _ask_score, _score,
    ),
    "board": Command(
        "join the cards of a folder into one table and one figure for each data set",
        "motion board", _ask_board, _board,
    ),
    "checkpoints": Command(
        "list the baselines' released checkpoints, or download those that are named",
        "motion checkpoints text4vis xclip", _ask_checkpoints, _checkpoints,
    ),
}
# fmt: on

if __name__ == "__main__":
    sys.exit(main())
