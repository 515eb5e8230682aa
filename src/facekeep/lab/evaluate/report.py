"""The report of an evaluation of models: figures, pictures, and what they mean."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from html import escape
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from facekeep._internal.files import printable
from facekeep.draw import contact_sheet
from facekeep.lab.evaluate import plots
from facekeep.lab.evaluate.conditions import TITLES
from facekeep.lab.evaluate.page import (
    Picture,
    format_figures,
    format_picture,
    format_table,
    write_report,
)
from facekeep.lab.evaluate.result import Evaluation, Evidence, Pair, Result, format_rate
from facekeep.lab.evaluate.summary import (
    METHOD,
    PROTOCOLS,
    describe_counts,
    describe_failures,
    format_bin,
    list_remarks,
    list_tables,
)

__all__ = ["draw_pair_sheet", "draw_pictures", "write_evaluation_report"]

_VALUES: Final[dict[object, str]] = {True: "yes", False: "no", None: "none"}
_LISTED: Final = 200  # failures, before the rest are only counted
_SHEET_COLUMNS = 3
_TILE = 112
_GAP = 24  # on the right of a pair: further from the next one than its own faces are apart
_WHITE = 255
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

Crop = NDArray[np.uint8]


def write_evaluation_report(folder: Path, evaluations: Sequence[Evaluation], command: str) -> Path:
    """Draw the pictures of one or several models under one protocol, and write the report.

    Args:
        folder: Where to; it is made where it is missing.
        evaluations: One for each model.
        command: The command line that made it.

    Returns:
        The HTML file. The pictures inside it also stand beside it as files.

    Raises:
        InputError: The folder cannot be written.
        RuntimeUnavailable: matplotlib is not installed.
        StorageFull: There is no room.
    """
    pictures = draw_pictures(evaluations)
    results = [evaluation.result for evaluation in evaluations]
    first = results[0]
    title, meaning = PROTOCOLS[first.protocol]
    models = ", ".join(result.model for result in results)
    sections = [
        f"<h1>{escape(title)}</h1>",
        f'<p class="sub">{escape(models)} on {escape(printable(first.data))}</p>',
        f"<p>{escape(meaning)}</p>",
        _format_settings(results),
        "<h2>Figures</h2>",
        format_figures(list_tables(results)),
        *(f"<p>{escape(remark)}.</p>" for result in results for remark in list_remarks(result)),
        f"<p>{escape(METHOD)}</p>",
        "<h2>Pictures</h2>",
        *map(format_picture, pictures),
        "<h2>Images that gave no face</h2>",
        _format_failures(first),
    ]
    return write_report(folder, f"{title}: {models}", sections, pictures, command)


def _format_settings(results: Sequence[Result]) -> str:
    first = results[0]
    rows = [
        ("compared", describe_counts(first)),
        ("no face taken", describe_failures(first)),
        *((key, _VALUES.get(value, str(value))) for key, value in first.settings.items()),
    ]
    cells = "".join(f"<tr><th>{escape(k)}</th><td>{escape(v)}</td></tr>" for k, v in rows)
    return f'<div class="wide"><table>{cells}</table></div>'


def _format_failures(result: Result) -> str:
    if not result.failures:
        return "<p>None.</p>"
    rows = [[each.name, each.reason] for each in result.failures[:_LISTED]]
    more = len(result.failures) - len(rows)
    rest = f"<p>And {more:,} more.</p>" if more > 0 else ""
    return format_table(["image", "why"], rows) + rest


def draw_pictures(evaluations: Sequence[Evaluation]) -> list[Picture]:
    """Draw the pictures of one or several models under one protocol.

    Raises:
        RuntimeUnavailable: matplotlib is not installed.
    """
    lines = [evaluation.evidence.curve for evaluation in evaluations]
    pictures = []
    if evaluations[0].result.identified:
        det = plots.draw_det(lines, wrong="FPIR", missed="FNIR")
        pictures.append(Picture("det.png", "Trade-off of errors (DET)", _DET, det))
        found = [(o.result.model, o.result.identified) for o in evaluations]
        cmc = plots.draw_cmc([(model, np.array(each.cmc)) for model, each in found if each])
        pictures.append(Picture("cmc.png", "Rank of the right person (CMC)", _CMC, cmc))
    else:
        det = plots.draw_det(lines)
        pictures.append(Picture("det.png", "Trade-off of errors (DET)", _DET, det))
        pictures.append(Picture("roc.png", "Acceptance (ROC)", _ROC, plots.draw_roc(lines)))
    pictures += _draw_conditions([evaluation.result for evaluation in evaluations])
    for evaluation in evaluations:
        pictures += _draw_model(evaluation)
    return pictures


def _draw_conditions(results: Sequence[Result]) -> Iterator[Picture]:
    measured = [(result.model, result.conditions) for result in results if result.conditions]
    if not measured:
        return
    first = measured[0][1].occupied  # the samples, and so the bins, are the same for all models
    rows = [f"{TITLES[point.condition]}: {format_bin(point)}" for point in first]
    tar = [
        (model, [(p.tar, p.tar_low, p.tar_high) for p in each.occupied]) for model, each in measured
    ]
    fmr = [
        (model, [(p.fmr, p.fmr_low, p.fmr_high) for p in each.occupied]) for model, each in measured
    ]
    drawn = plots.draw_bars(rows, [("TAR", tar), ("FMR", fmr)])
    yield Picture("conditions.png", "By conditions of the image", _CONDITIONS, drawn)


def _draw_model(evaluation: Evaluation) -> Iterator[Picture]:
    result, evidence = evaluation.result, evaluation.evidence
    name = result.model
    histogram = plots.draw_scores(evidence.histogram, _list_thresholds(result))
    yield Picture(f"scores-{name}.png", f"Scores, {name}", _SCORES, histogram)
    sheets = (
        ("false-matches", "Worst false matches", _MATCHES, evidence.false_matches),
        ("left-out", "Names taken for one person", _LEFT_OUT, evidence.left_out),
        ("false-non-matches", "Worst false non-matches", _NON_MATCHES, evidence.false_non_matches),
    )
    for file, title, caption, pairs in sheets:
        if pairs:
            sheet = _encode_sheet(pairs, evidence)
            rows = tuple(_pair_row(place, pair, evidence) for place, pair in enumerate(pairs, 1))
            yield Picture(f"{file}-{name}.jpg", f"{title}, {name}", caption, sheet, rows)


def _list_thresholds(result: Result) -> list[tuple[str, float]]:
    points = [("FMR", p.fmr, p.threshold) for p in result.tar if p.supported]
    searches = result.identified.points if result.identified else ()
    points += [("FPIR", p.fpir, p.threshold) for p in searches if p.supported]
    return [(f"{kind} {format_rate(rate)}", limit) for kind, rate, limit in points]


def _encode_sheet(pairs: Sequence[Pair], evidence: Evidence) -> bytes:
    from PIL import Image

    encoded = io.BytesIO()
    Image.fromarray(draw_pair_sheet(pairs, evidence.crop)).save(encoded, "JPEG", quality=90)
    return encoded.getvalue()


def _pair_row(place: int, pair: Pair, evidence: Evidence) -> tuple[str, str, str, str]:
    names = evidence.names
    return str(place), f"{pair.cosine:.3f}", names[pair.left], names[pair.right]


def draw_pair_sheet(pairs: Sequence[Pair], crop: Callable[[int], Crop]) -> Crop:
    """Draw comparisons, row by row, each with its place in the sequence and its cosine.

    Args:
        pairs: The comparisons.
        crop: Gives the aligned face of an image by its place, uint8 ``(s, s, 3)`` RGB.

    Returns:
        uint8 ``(H, W, 3)`` RGB.
    """
    cells = [
        (f"{number}.  cosine {pair.cosine:.3f}", [crop(pair.left), crop(pair.right)])
        for number, pair in enumerate(pairs, 1)
    ]
    columns = [
        contact_sheet(cells[start::_SHEET_COLUMNS], tile=_TILE, columns=2)
        for start in range(min(_SHEET_COLUMNS, max(len(cells), 1)))
    ]
    height = max(len(column) for column in columns)
    return np.hstack([_pad(column, height) for column in columns])


def _pad(column: Crop, height: int) -> Crop:
    missing = ((0, height - len(column)), (0, _GAP), (0, 0))
    return np.pad(column, missing, constant_values=_WHITE)
