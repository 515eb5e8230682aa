"""Test sets of a few images, laid out as the published ones are."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image


def picture(shade: int, size: int = 16, style: str = "PNG") -> bytes:
    """A plain gray picture file: what it shows is known by its shade."""
    stream = io.BytesIO()
    Image.fromarray(np.full((size, size, 3), shade, np.uint8)).save(stream, style)
    return stream.getvalue()


def put(path: Path, content: bytes | str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


LFW_PAIRS = """2\t1
Ada\t1\t2
Ada\t1\tBob\t1
Bob\t2\t1
Cy\t1\tAda\t2
"""


def lfw_tree(folder: Path) -> Path:
    """Images of Ada, Bob and Cy, one of them a PNG; the shade is 10 for the person and 1 each."""
    for shade, name in enumerate(("Ada", "Bob", "Cy"), 1):
        for i in (1, 2, 3):
            suffix = "png" if (name, i) == ("Bob", 2) else "jpg"
            put(folder / name / f"{name}_{i:04d}.{suffix}", picture(10 * shade + i))
    return folder


def cfp_tree(root: Path) -> Path:
    """Two people with two frontal and two profile images each, and two folds."""
    lists: dict[str, list[str]] = {"frontal": [], "profile": []}
    for person in (1, 2):
        for kind, paths in lists.items():
            for i in (1, 2):
                place = f"Data/Images/{person:03d}/{kind}/{i:02d}.jpg"
                put(root / place, picture(100 * (kind == "profile") + 10 * person + i))
                paths.append(f"../{place}")
    for kind, paths in lists.items():
        text = "".join(f"{i} {path}\n" for i, path in enumerate(paths, 1))
        put(root / "Protocol" / f"Pair_list_{kind[0].upper()}.txt", text)
    splits = {"01": ("1,2\n", "1,3\n1,4"), "02": ("3,4\n\n", "2,3\n2,4\n")}
    for kind in ("FF", "FP"):
        for fold, (same, diff) in splits.items():
            put(root / "Protocol" / "Split" / kind / fold / "same.txt", same)
            put(root / "Protocol" / "Split" / kind / fold / "diff.txt", diff)
    return root


def ijb_tree(root: Path) -> Path:
    """IJB-C with four images: template 7 has two of media 5 and one of 6, template 9 one of 8."""
    meta = root / "meta"
    put(
        meta / "ijbc_face_tid_mid.txt",
        "1.jpg 7 5\n2.jpg 7 5\n3.jpg 7 6\n4.jpg 9 8\n",
    )
    points = " ".join(f"{value}.5" for value in range(10))
    scores = "".join(f"{i}.jpg {points} 0.{i}\n" for i in (1, 2, 3, 4))
    put(meta / "ijbc_name_5pts_score.txt", scores)
    put(meta / "ijbc_template_pair_label.txt", "7 9 0\n7 7 1\n9 7 0\n")
    for i in (1, 2, 3, 4):
        put(root / "loose_crop" / f"{i}.jpg", picture(i))
    return root
