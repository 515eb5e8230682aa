"""The report of a trial of detectors."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Final

from facekeep._internal.files import printable
from facekeep.lab.evaluate.detection.figures import DetectionResult
from facekeep.lab.evaluate.detection.pictures import draw_pictures
from facekeep.lab.evaluate.detection.words import summary, tables
from facekeep.lab.evaluate.page import figures_html, html_page, picture_html, write_page

__all__ = ["write_report"]

_METHOD: Final = (
    "Annotated faces are cut out of their photos with what surrounds them, scaled down to each size"
    " and set side by side on canvases. A box is a face from an intersection over union of 0.5 on;"
    " each face can be found once. AP is the area under precision over recall, every point of it"
    " counted. The 95 % intervals come from drawing the people anew; with fewer than ten there are"
    " none. A face in the background that nobody annotated counts as a false box."
)


def write_report(folder: Path, results: Sequence[DetectionResult], command: str) -> Path:
    """Draw the pictures of one or several detectors on the same canvases, and write the report.

    Args:
        folder: Where to; it is made where it is missing.
        results: One for each detector.
        command: The command line that made it.

    Returns:
        The HTML file. The pictures inside it also stand beside it as files.

    Raises:
        InputError: The folder cannot be written.
        RuntimeUnavailable: matplotlib is not installed.
        StorageFull: There is no room.
    """
    pictures = list(draw_pictures(results))
    models = ", ".join(result.model for result in results)
    page = html_page(
        f"Detection: {models}",
        [
            "<h1>Detection</h1>",
            f'<p class="sub">{escape(models)}</p>',
            f"<p>{escape(printable(summary(results[0])))}.</p>",
            "<h2>Figures</h2>",
            figures_html(tables(results)),
            f"<p>{escape(_METHOD)}</p>",
            "<h2>Pictures</h2>",
            *map(picture_html, pictures),
            "<h2>How this was made</h2>",
            f"<p><code>{escape(printable(command))}</code></p>",
        ],
    )
    return write_page(folder, page, pictures)
