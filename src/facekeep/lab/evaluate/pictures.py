"""The pictures of a report: which are drawn, and what each means in a sentence."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from facekeep.lab.evaluate import plots
from facekeep.lab.evaluate.conditions import TITLES
from facekeep.lab.evaluate.result import Evidence, Outcome, Result, rate_text
from facekeep.lab.evaluate.sheet import Pair, pair_sheet
from facekeep.lab.evaluate.words import bin_text

__all__ = ["Picture", "draw_pictures"]

_DET: Final = (
    "Every point of a line is one threshold: across, how often it errs by accepting; upwards, how"
    " often by refusing. Nearer to the lower left corner is better. Dots: rows of the table that"
    " the data support."
)
_ROC: Final = (
    "The share of mated comparisons accepted at each false match rate. Nearer to the upper left"
    " corner is better. Dots: rows of the table that the data support."
)
_SCORES: Final = (
    "How alike the model finds two images of one person, and of two. The less the two hills"
    " overlap, the better it tells people apart. Dashed: thresholds that the data support."
)
_CMC: Final = (
    "How often the right person is among the first one, two, three, ... candidates, whatever the"
    " threshold."
)
_CONDITIONS: Final = (
    "How often the comparisons of one person are accepted (left), and those of two (right), by the"
    " worse of the two faces; all at one threshold. A bar spans the 95 % interval. Small or turned"
    " faces may be missed more often; where strangers are accepted more often, the threshold keeps"
    " less than it promises."
)
_MATCHES: Final = (
    "The comparisons of different people that score highest. Look for wrong labels first: one"
    " person under two names is a fault of the data, not of the model."
)
_LEFT_OUT: Final = (
    "The most alike photos of names that were not compared with each other. If these are different"
    " people, calibrate again with a higher --same-person."
)
_NON_MATCHES: Final = (
    "The comparisons of one person that score lowest. Look for wrong labels, for another face"
    " taken from the photo, and for covered or turned faces."
)


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture of a report.

    Attributes:
        file: Its file name.
        title: A few words.
        caption: What it means.
        data: The encoded picture.
        pairs: The comparisons it shows: place, cosine and names of the two images.
    """

    file: str
    title: str
    caption: str
    data: bytes
    pairs: tuple[tuple[str, str, str, str], ...] = ()

    @property
    def media_type(self) -> str:
        """What kind of file it is."""
        return "image/jpeg" if self.file.endswith(".jpg") else "image/png"


def draw_pictures(outcomes: Sequence[Outcome]) -> list[Picture]:
    """Draw the pictures of one or several models under one protocol.

    Raises:
        RuntimeUnavailable: matplotlib is not installed.
    """
    lines = [outcome.evidence.curve for outcome in outcomes]
    pictures = []
    if outcomes[0].result.identified:
        det = plots.det(lines, wrong="FPIR", missed="FNIR")
        pictures.append(Picture("det.png", "Trade-off of errors (DET)", _DET, det))
        found = [(o.result.model, o.result.identified) for o in outcomes]
        cmc = plots.cmc([(model, np.array(each.cmc)) for model, each in found if each])
        pictures.append(Picture("cmc.png", "Rank of the right person (CMC)", _CMC, cmc))
    else:
        det = plots.det(lines)
        pictures.append(Picture("det.png", "Trade-off of errors (DET)", _DET, det))
        pictures.append(Picture("roc.png", "Acceptance (ROC)", _ROC, plots.roc(lines)))
    pictures += _by_condition([outcome.result for outcome in outcomes])
    for outcome in outcomes:
        pictures += _of_model(outcome)
    return pictures


def _by_condition(results: Sequence[Result]) -> Iterator[Picture]:
    told = [(result.model, result.conditions) for result in results if result.conditions]
    if not told:
        return
    first = told[0][1].told  # the samples, and so the bins, are the same for all models
    rows = [f"{TITLES[point.condition]}: {bin_text(point)}" for point in first]
    tar = [(model, [(p.tar, p.tar_low, p.tar_high) for p in each.told]) for model, each in told]
    fmr = [(model, [(p.fmr, p.fmr_low, p.fmr_high) for p in each.told]) for model, each in told]
    drawn = plots.bars(rows, [("TAR", tar), ("FMR", fmr)])
    yield Picture("conditions.png", "By conditions of the image", _CONDITIONS, drawn)


def _of_model(outcome: Outcome) -> Iterator[Picture]:
    result, evidence = outcome.result, outcome.evidence
    name = result.model
    histogram = plots.scores(evidence.histogram, _limits(result))
    yield Picture(f"scores-{name}.png", f"Scores, {name}", _SCORES, histogram)
    sheets = (
        ("false-matches", "Worst false matches", _MATCHES, evidence.false_matches),
        ("left-out", "Names taken for one person", _LEFT_OUT, evidence.left_out),
        ("false-non-matches", "Worst false non-matches", _NON_MATCHES, evidence.false_non_matches),
    )
    for file, title, caption, pairs in sheets:
        if pairs:
            sheet = _sheet(pairs, evidence)
            rows = tuple(_pair_row(place, pair, evidence) for place, pair in enumerate(pairs, 1))
            yield Picture(f"{file}-{name}.jpg", f"{title}, {name}", caption, sheet, rows)


def _limits(result: Result) -> list[tuple[str, float]]:
    points = [("FMR", p.fmr, p.threshold) for p in result.tar if p.supported]
    searches = result.identified.points if result.identified else ()
    points += [("FPIR", p.fpir, p.threshold) for p in searches if p.supported]
    return [(f"{kind} {rate_text(rate)}", limit) for kind, rate, limit in points]


def _sheet(pairs: Sequence[Pair], evidence: Evidence) -> bytes:
    from PIL import Image

    encoded = io.BytesIO()
    Image.fromarray(pair_sheet(pairs, evidence.crop)).save(encoded, "JPEG", quality=90)
    return encoded.getvalue()


def _pair_row(place: int, pair: Pair, evidence: Evidence) -> tuple[str, str, str, str]:
    names = evidence.names
    return str(place), f"{pair.cosine:.3f}", names[pair.left], names[pair.right]
