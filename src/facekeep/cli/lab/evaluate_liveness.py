"""``facekeep evaluate liveness``: how well networks tell living faces from attacks."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import click

from facekeep.cli.command import Run
from facekeep.cli.completion import model_names
from facekeep.cli.lab.evaluate_protocol import check_report_targets, write_figures
from facekeep.cli.options import PATH, argument, out_option
from facekeep.factory import make_runtime_options

if TYPE_CHECKING:
    from facekeep.lab.evaluate.liveness import LivenessEvaluation

__all__ = ["EXAMPLES", "liveness"]

EXAMPLES = [
    "facekeep evaluate liveness faces/ --json",
    "facekeep evaluate liveness faces/ --model minifasnet --bpcer 0.01",
    "facekeep evaluate liveness faces/ --threshold 0.5",
]


@argument(
    "paths",
    type=PATH,
    nargs=-1,
    required=True,
    metavar="PATH",
    help="A folder with live/ and attack/<species>/ in it; or videos that lie in such folders.",
)
@click.option(
    "models",
    "--model",
    multiple=True,
    metavar="NAME",
    help="Liveness network to evaluate; if repeated, all must agree. [default: facekeep-liveness]",
    shell_complete=model_names("liveness"),
)
@click.option(
    "--bpcer",
    type=click.FloatRange(0, 0.99),
    default=0.05,
    metavar="SHARE",
    help="Share of living faces that may be refused; it sets the threshold.",
)
@click.option(
    "--threshold",
    type=click.FloatRange(0, 1),
    metavar="SCORE",
    help="Use this threshold instead, chosen on other data.",
)
@out_option
def liveness(
    run: Run,
    paths: tuple[Path, ...],
    *,
    models: tuple[str, ...],
    bpcer: float,
    threshold: float | None,
    out: Path | None,
) -> None:
    """Measure APCER, BPCER and ACER of liveness networks, by the terms of ISO/IEC 30107-3.

    live/ holds pictures of living people, and attack/ a folder for each species of attack, such as
    attack/print/. A picture, a video, or a folder of pictures is one presentation. The rates
    are given over all frames, and over tracks where there are videos or folders. Unless you give a
    --threshold, it is chosen on the same data, which flatters the rates. Figures on attacks that
    a script made say little about real ones, and are no certification.
    """
    from facekeep.lab.evaluate.liveness import (
        evaluate_liveness,
        find_presentations,
        measure_presentations,
    )
    from facekeep.liveness.passive import LivenessNetwork
    from facekeep.models import default_model
    from facekeep.pipeline.detect import Detector

    check_report_targets(None, out)
    presentations = find_presentations(paths)
    names = list(dict.fromkeys(models)) or [default_model("liveness")]
    options = make_runtime_options(run.settings, run.settings.threads)
    with ExitStack() as stack:
        networks = [stack.enter_context(LivenessNetwork(name, options=options)) for name in names]
        detector = stack.enter_context(
            Detector(
                run.settings.detector,
                refiner=run.settings.refiner,
                orienter=run.settings.orienter,
                options=options,
            )
        )
        with run.progress("Looking", len(presentations), unit="presentations") as advance:
            measured = measure_presentations(presentations, networks, detector, advance=advance)
    levels = {
        name: evaluate_liveness(measured, tracks=tracks, bpcer=bpcer, threshold=threshold)
        for name, tracks in (("frames", False), ("tracks", True))
    }
    frames, tracks = (level and level.to_dict() for level in levels.values())
    document = {"models": names, "target_bpcer": bpcer, **(frames or {}), "tracks": tracks}
    if out is not None:
        write_figures(out, document)
    if run.json:
        run.emit(document)
    for name, level in levels.items():
        if level is not None:
            _print(run, name, level)


def _print(run: Run, name: str, level: LivenessEvaluation) -> None:
    from facekeep.lab.evaluate.liveness import LIVE

    rows = [(f"attack: {species}", rate, species) for species, rate in level.apcer.items()]
    rows.append(("live", level.bpcer, LIVE))
    run.say(f"over {name}: threshold {level.threshold:.3f}, ACER {100 * level.acer:.2f} %")
    run.table(
        ("presentations", "count", "no response", "wrong", "95 % interval"),
        [
            (
                shown,
                f"{level.counts[species]:,}",
                f"{level.silent[species]:,}",
                f"{100 * rate.value:.2f} %",
                f"{100 * rate.low:.2f} to {100 * rate.high:.2f} %",
            )
            for shown, rate, species in rows
        ],
    )
