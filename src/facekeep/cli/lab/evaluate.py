"""``facekeep evaluate``: how well models tell people apart, by the published protocols."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from facekeep.cli.command import Run, command, group
from facekeep.cli.lab.evaluate_detect import detect
from facekeep.cli.lab.evaluate_live import live
from facekeep.cli.lab.evaluate_liveness import EXAMPLES, liveness
from facekeep.cli.lab.evaluate_protocol import (
    Experiment,
    aligned_option,
    conditions_option,
    protocol,
)
from facekeep.cli.options import ENGINE, GALLERY, PATH, argument

if TYPE_CHECKING:
    from collections.abc import Sequence

    from facekeep.lab.evaluate.result import Evaluation

app = group(
    "evaluate",
    "Measure how well a model distinguishes people, by the published protocols.",
    examples=[
        "facekeep evaluate lfw --images lfw/ --pairs pairs.txt --model sface --json",
        "facekeep evaluate folder people/ --report report/",
    ],
)

people_argument = argument(
    "people",
    type=PATH,
    metavar="DIR",
    help="A folder that holds a folder for each person; or train.rec, or tars.",
)
labels_option = click.option(
    "--labels",
    type=PATH,
    metavar="FILE",
    help="A table with the columns key and identity, if the images do not name people.",
)


@protocol(
    app,
    "lfw",
    examples=[
        "facekeep evaluate lfw --images lfw/ --pairs pairs.txt --model sface --json",
        "facekeep evaluate lfw --images lfw/ --pairs pairs.txt --report report/ --cache crops/",
        "facekeep evaluate lfw --images lfw/ --pairs pairsDevTrain.txt --test pairsDevTest.txt",
    ],
)
@click.option(
    "--images",
    required=True,
    type=PATH,
    metavar="DIR",
    help="The folder that holds a folder for each person.",
)
@click.option(
    "--pairs",
    required=True,
    type=PATH,
    metavar="FILE",
    help="pairs.txt; or a list of View 1, which has no folds.",
)
@click.option(
    "--test",
    type=PATH,
    metavar="FILE",
    help="View 1: judge these pairs, at the most accurate threshold of --pairs.",
)
@aligned_option
@conditions_option
def lfw(
    run: Run, images: Path, pairs: Path, test: Path | None, aligned: bool, conditions: bool
) -> Experiment:
    """Verify the pairs of Labeled Faces in the Wild."""
    from facekeep.lab import datasets
    from facekeep.lab.evaluate.protocols import run_pairs

    if test is None:
        data = datasets.read_lfw(images, pairs, aligned=aligned)
    else:
        data = datasets.read_lfw_view_1(images, pairs, test, aligned=aligned)
    return Experiment(data, partial(run_pairs, data), conditions=conditions)


@protocol(
    app,
    "folder",
    examples=[
        "facekeep evaluate folder people/ --model sface --json",
        "facekeep evaluate folder people/ --model sface --model edgeface-xs-q --report report/",
    ],
)
@people_argument
@labels_option
@aligned_option
@conditions_option
def folder(
    run: Run, people: Path, labels: Path | None, aligned: bool, conditions: bool
) -> Experiment:
    """Compare all photos of your own people with each other.

    DIR holds a folder for each person, with pictures in it.
    """
    from facekeep.lab import datasets
    from facekeep.lab.evaluate.protocols import run_people

    data = datasets.read_people(people, labels=labels, aligned=aligned)
    return Experiment(data, partial(run_people, data), conditions=conditions)


@protocol(
    app,
    "identify",
    examples=["facekeep evaluate identify people/ --templates 3 --fmr 1e-2 --json"],
)
@people_argument
@labels_option
@aligned_option
@click.option(
    "--templates",
    type=click.IntRange(1),
    default=1,
    metavar="N",
    help="Number of photos to enroll a person with.",
)
@click.option(
    "--strangers",
    type=click.FloatRange(0, 1),
    default=0.5,
    metavar="SHARE",
    help="Share of the people with more photos than that who are not enrolled.",
)
@click.option(
    "--seed",
    type=click.IntRange(0),
    default=0,
    metavar="N",
    help="Seed of the choice of the strangers.",
)
def identify(
    run: Run,
    people: Path,
    labels: Path | None,
    aligned: bool,
    templates: int,
    strangers: float,
    seed: int,
) -> Experiment:
    """Enroll some of your own people, search for everybody.

    DIR holds a folder for each person, with pictures in it. People with too few of them are
    strangers, as is a share of the others; --fmr sets the rates that FPIR is to keep to.
    """
    from facekeep.lab import datasets
    from facekeep.lab.evaluate.protocols import run_identification

    data = datasets.read_people(people, labels=labels, aligned=aligned)
    judge = partial(run_identification, data, templates=templates, strangers=strangers, seed=seed)
    return Experiment(data, judge)


@protocol(
    app,
    "pairs",
    examples=["facekeep evaluate pairs mine.csv --images photos/ --model sface"],
)
@argument(
    "file",
    type=PATH,
    metavar="FILE",
    help="A table (CSV, TSV) with the columns left, right, mated, fold.",
)
@click.option(
    "--images",
    type=PATH,
    metavar="DIR",
    help="Folder that its paths start from. [default: its own folder]",
)
@aligned_option
def pairs(run: Run, file: Path, images: Path | None, aligned: bool) -> Experiment:
    """Verify the pairs of a table of your own.

    Its first line names the columns left and right (paths), mated (1 or 0) and, if the pairs are
    divided for the accuracy, fold (a number).
    """
    from facekeep.lab import datasets
    from facekeep.lab.evaluate.protocols import run_pairs

    data = datasets.read_pairs_table(file, images, aligned=aligned)
    return Experiment(data, partial(run_pairs, data))


@protocol(
    app, "cfp", examples=["facekeep evaluate cfp cfp-dataset/ --protocol fp --model sface --json"]
)
@argument("root", type=PATH, metavar="ROOT", help="The folder with Protocol and Data of CFP.")
@click.option(
    "kind",
    "--protocol",
    type=click.Choice(["fp", "ff"]),
    default="fp",
    metavar="fp|ff",
    help="Frontal to profile, or frontal to frontal.",
)
@aligned_option
@conditions_option
def cfp(run: Run, root: Path, kind: str, aligned: bool, conditions: bool) -> Experiment:
    """Verify the pairs of Celebrities in Frontal-Profile."""
    from facekeep.lab import datasets
    from facekeep.lab.evaluate.protocols import run_pairs

    data = datasets.read_cfp(root, kind.upper(), aligned=aligned)
    return Experiment(data, partial(run_pairs, data), conditions=conditions)


@protocol(app, "bin", examples=["facekeep evaluate bin agedb_30.bin --model sface --flip"])
@argument("file", type=PATH, metavar="FILE", help="A pack of aligned pairs, as of InsightFace.")
def bin_(run: Run, file: Path) -> Experiment:
    """Verify the pairs of a .bin pack; published results use --flip."""
    from facekeep.lab import datasets
    from facekeep.lab.evaluate.protocols import run_pairs

    data = datasets.read_bin_pack(file)
    return Experiment(data, partial(run_pairs, data))


@protocol(app, "ijb", examples=["facekeep evaluate ijb IJBC/ --set c --model sface --flip --json"])
@argument("root", type=PATH, metavar="ROOT", help="The folder with meta and loose_crop.")
@click.option(
    "version",
    "--set",
    type=click.Choice(["b", "c"]),
    default="c",
    metavar="b|c",
    help="IJB-B or IJB-C.",
)
def ijb(run: Run, root: Path, version: str) -> Experiment:
    """Verify the templates of IJB-B or IJB-C.

    TAR is measured strictly at or below each FMR, and as is common. Faces are aligned by the
    landmarks published with the lists, and weighed by their confidence; published results use
    --flip.
    """
    from facekeep.lab import datasets
    from facekeep.lab.evaluate.protocols import run_templates

    data = datasets.read_ijb(root, version.upper())
    return Experiment(data, partial(run_templates, data), norms=True)


@protocol(
    app,
    "calibrate",
    examples=[
        "facekeep evaluate calibrate people/ --model mine",
        "facekeep evaluate calibrate people/ --model sface --no-write --report report/",
    ],
)
@people_argument
@labels_option
@aligned_option
@conditions_option
@click.option(
    "--same-person",
    type=float,
    metavar="COSINE",
    help="Do not compare two names with photos more alike than this; 2 compares all."
    " [default: what three in ten mated comparisons exceed]",
)
@click.option(
    "--check-crops/--no-check-crops",
    default=True,
    help="With --aligned: leave out crops in which no face is found in its place.",
)
@click.option(
    "--write/--no-write", default=True, help="Record the thresholds in the model's entry."
)
def calibrate(
    run: Run,
    people: Path,
    labels: Path | None,
    aligned: bool,
    conditions: bool,
    same_person: float | None,
    check_crops: bool,
    write: bool,
) -> Experiment:
    """Calibrate a model: its cosine at each false-match rate.

    DIR holds a folder for each of many people who are in no test; never use LFW here. The rates
    1e-2 to 1e-6 are calibrated as far as 3 comparisons per 1/rate carry, and recorded in the
    entry of your own model. Names whose photos are suspiciously alike are not compared, since
    they are probably one person; look at them in the --report.
    """
    from facekeep.lab import datasets
    from facekeep.lab.evaluate.protocols import run_calibration

    data = datasets.read_people(people, labels=labels, aligned=aligned)
    judge = partial(run_calibration, data, same_person=same_person)
    if not write:
        return Experiment(data, judge, check_crops=check_crops, conditions=conditions)
    return Experiment(
        data,
        judge,
        check_crops=check_crops,
        conditions=conditions,
        check=_require_own_model,
        finish=_record_thresholds,
    )


command(
    app,
    "detect",
    uses=("detector", "refiner", "runtime", "device", "precision"),
    examples=[
        "facekeep evaluate detect faces68.tar --sizes 20,40,80 --json",
        "facekeep evaluate detect photos/ --model yunet --model mine --hard --scenes scenes.tar",
    ],
)(detect)

command(
    app,
    "live",
    uses=(*GALLERY, "fmr", "fpir", *ENGINE),
    examples=[
        "facekeep evaluate live door.mp4 door.csv --gallery people.db --json",
        "facekeep evaluate live door.mp4 door.csv --boxes door.boxes.csv",
    ],
)(live)


command(
    app,
    "liveness",
    uses=("detector", "refiner", "orienter", "threads", "runtime", "device", "precision"),
    examples=EXAMPLES,
)(liveness)


def _require_own_model(models: Sequence[str]) -> None:
    from facekeep.errors import InputError
    from facekeep.models import entry
    from facekeep.models.catalog import is_builtin

    for name in filter(is_builtin, models):
        if entry(name).offered:
            raise InputError(f"model {name!r} is not here yet; run: facekeep models pull {name}")
        raise InputError(
            f"model {name!r} is built in, so its thresholds cannot be changed;"
            " --no-write measures them all the same"
        )


def _record_thresholds(evaluation: Evaluation, line: str) -> None:
    from facekeep.models import set_thresholds

    result = evaluation.result
    people = f" of {result.people:,} people" if result.people else ""
    set_thresholds(
        result.model,
        [(point.fmr, point.threshold) for point in result.tar],
        comparisons=result.scores.non_mated,
        calibrated_on=f"{result.data}: {result.images:,} images{people}",
        command=line,
    )
