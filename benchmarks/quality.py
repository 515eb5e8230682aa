"""What stands behind the facts and limits of ``pipeline.quality``: docs/quality.md quotes it.

Four parts, each asked for by its name (the pose is in quality_pose.py):

``damage``  crops are blurred, shrunk, darkened, bleached; a crop counts as lost when it no longer
            matches another photo of its person at FMR 1e-3, though undamaged it did. Which measure
            of sharpness foretells that, and from which value of each fact on?
``cut``     faces of which the border of the image cuts off a share: what is left of the embedding?
``photos``  how many faces of real photos each policy refuses, and why. LFW is among them as a test
            only: no limit was chosen on it.
``speed``   how long it takes to measure a face.
"""

from __future__ import annotations

import argparse
import sys
import timeit
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import cv2
import numpy as np
from common import (
    arguments,
    embed_all,
    labeled_faces,
    landmark_frames,
    report,
    tar_members,
)
from numpy.typing import NDArray

from facekeep.lab.evaluate import measure_tar
from facekeep.lab.evaluate.crops import choose_central_face
from facekeep.pipeline.align import align, template
from facekeep.pipeline.detect import Detector
from facekeep.pipeline.image import load_image
from facekeep.pipeline.quality import POLICIES, assess, review
from facekeep.runtime import RuntimeOptions
from facekeep.types import Face, Quality

Image = NDArray[np.uint8]
Values = NDArray[np.float64]
Change = Callable[[Image], Image]

FMR = 1e-3
STEPS = {
    "sharpness": (0, 0.12, 0.14, 0.16, 0.18, 0.20, 0.22, 0.24, 0.26, 0.28, 0.30, 1),
    "brightness": (0, 0.02, 0.03, 0.04, 0.05, 0.06, 0.1, 0.2, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95, 1),
    "contrast": (0, 0.02, 0.03, 0.04, 0.05, 0.06, 0.08, 0.10, 0.15, 0.2, 1),
}


def clipped(pixels: NDArray[Any]) -> Image:
    """Round down to uint8 within 0 to 255."""
    return np.clip(pixels, 0, 255).astype(np.uint8)


def blurred(sigma: float) -> Change:
    """Out of focus: a Gaussian blur, in pixels of the crop."""
    return lambda crop: np.asarray(cv2.GaussianBlur(crop, (0, 0), sigma), np.uint8)


def shrunk(side: int) -> Change:
    """Too small: the crop made from so many pixels a side."""

    def change(crop: Image) -> Image:
        small = cv2.resize(crop, (side, side), interpolation=cv2.INTER_AREA)
        return np.asarray(cv2.resize(small, crop.shape[:2]), np.uint8)

    return change


def shaken(length: int, degrees: float) -> Change:
    """Moved: blurred along a line of so many pixels."""
    kernel = np.zeros((length, length), np.float32)
    kernel[length // 2] = 1
    turn = cv2.getRotationMatrix2D((length // 2, length // 2), degrees, 1)
    kernel = cv2.warpAffine(kernel, turn, (length, length))
    return lambda crop: np.asarray(cv2.filter2D(crop, -1, kernel / kernel.sum()), np.uint8)


def noisy(sigma: float) -> Change:
    """The camera's noise, in gray levels."""
    noise = np.random.default_rng(0).normal(0, sigma, (112, 112, 3))
    return lambda crop: clipped(crop + noise)


def lit(factor: float) -> Change:
    """Less light, or more until it clips."""
    return lambda crop: clipped(crop.astype(np.float32) * factor)


def flat(factor: float) -> Change:
    """Less contrast about the mean."""
    return lambda crop: clipped((crop - crop.mean()) * factor + crop.mean())


def both(first: Change, second: Change) -> Change:
    """One damage after the other."""
    return lambda crop: second(first(crop))


SOFT: dict[str, Change] = {
    **{f"blur {sigma}": blurred(sigma) for sigma in (1, 1.5, 2, 3, 4, 6)},
    **{f"shrunk to {side}": shrunk(side) for side in (56, 40, 28, 20, 14, 10)},
    **{f"shaken {n}, {a} deg": shaken(n, a) for n in (7, 13, 21) for a in (0, 50)},
    "blur 2, noise": both(blurred(2), noisy(6)),
    "blur 4, noise": both(blurred(4), noisy(6)),
    "noise": noisy(10),
}
EXPOSED: dict[str, Change] = {
    f"light x {k}": lit(k) for k in (0.3, 0.15, 0.08, 0.04, 0.02, 1.5, 2, 3, 5)
}
FLAT: dict[str, Change] = {f"contrast x {k}": flat(k) for k in (0.3, 0.15, 0.07, 0.04)}


def smooth(luma: NDArray[np.float32], sigma: float) -> NDArray[np.float32]:
    """Blur by a Gaussian."""
    return np.asarray(cv2.GaussianBlur(luma, (0, 0), sigma), np.float32)


def gradient(luma: NDArray[np.float32]) -> float:
    """Root mean square of the gradient by Sobel, as Tenengrad takes it."""
    across, down = cv2.Sobel(luma, cv2.CV_32F, 1, 0), cv2.Sobel(luma, cv2.CV_32F, 0, 1)
    return float(np.sqrt((across**2 + down**2).mean()))


def band(luma: NDArray[np.float32], low: float, high: float, wide: float, widest: float) -> float:
    """Energy of a fine band of frequencies as a share of that of a coarse one."""
    fine = (smooth(luma, low) - smooth(luma, high)).std()
    return float(fine / max((smooth(luma, wide) - smooth(luma, widest)).std(), 1))


def edges_lost(luma: NDArray[np.float32]) -> float:
    """Share of the differences of neighbors that a box blur takes away (Crete et al. 2007)."""
    shares = []
    for axis, kernel in ((1, (9, 1)), (0, (1, 9))):
        had = np.abs(np.diff(luma, axis=axis))
        left = np.abs(np.diff(cv2.blur(luma, kernel), axis=axis))
        shares.append(np.maximum(had - left, 0).sum() / max(had.sum(), 1e-6))
    return float(min(shares))


MEASURES: dict[str, Callable[[NDArray[np.float32]], float]] = {
    "variance of the Laplacian": lambda y: float(cv2.Laplacian(y, cv2.CV_32F).var()),
    "the same / variance": lambda y: float(cv2.Laplacian(y, cv2.CV_32F).var() / max(y.var(), 1)),
    "Tenengrad": gradient,
    "the same / deviation": lambda y: gradient(y) / max(float(y.std()), 1),
    "edges lost to a box blur": edges_lost,
    "band 1-2 / 4-12": lambda y: band(y, 1, 2, 4, 12),
    "band 1.5-3 / 4-12": lambda y: band(y, 1.5, 3, 4, 12),
}


def measured(crops: Iterable[Image]) -> list[Quality]:
    """Assess aligned crops as if they were images: their landmarks are the template's."""
    points = template().astype(np.float32)
    box = np.array([20, 8, 92, 108], np.float32)
    return [assess(crop, Face(box, points, 1.0), crop=crop) for crop in crops]


def fact(qualities: Iterable[Quality], name: str) -> Values:
    """One fact of many faces."""
    return np.array([getattr(quality, name) for quality in qualities])


def ranks(values: Values) -> Values:
    """The place of each value in their order."""
    return np.argsort(np.argsort(values, kind="stable"), kind="stable").astype(np.float64)


def rank_correlation(a: Values, b: Values) -> float:
    """Spearman's rho, without care for ties."""
    return float(np.corrcoef(ranks(a), ranks(b))[0, 1])


def area_under_curve(values: Values, lost: NDArray[np.bool_]) -> float:
    """The chance that a crop still good has the higher value than one that is lost."""
    good = int((~lost).sum())
    total = ranks(values)[~lost].sum() - good * (good - 1) / 2
    return float(total / good / max(len(lost) - good, 1))


def mates(args: argparse.Namespace) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Two crops of each of some people: ``(n, 112, 112, 3)`` twice."""
    crops, who = labeled_faces(args.shared, ("celeba", "glint"))
    places: dict[str, list[int]] = {}
    for place, name in enumerate(who):
        places.setdefault(name, []).append(place)
    people = [two[:2] for two in places.values() if len(two) > 1]
    chosen = np.random.default_rng(1).permutation(len(people))[: args.people]
    pairs = np.array([people[i] for i in chosen])
    return crops[pairs[:, 0]], crops[pairs[:, 1]]


def damage(args: argparse.Namespace) -> None:
    """Print what each damage does, and how well the facts foretell it."""
    crops, others = mates(args)
    clean, mate = (embed_all(args, "quality", each) for each in (crops, others))
    scores = clean @ mate.T
    same = np.eye(len(scores), dtype=bool)
    limit = measure_tar(scores[same], scores[~same], (FMR,))[0].threshold
    matched = scores[same] >= limit
    crops, clean, mate = crops[matched], clean[matched], mate[matched]
    changes = {"none": lambda crop: crop, **SOFT, **EXPOSED, **FLAT}
    damaged = {name: np.stack([f(crop) for crop in crops]) for name, f in changes.items()}
    rows = {name: embed_all(args, "quality", each) for name, each in damaged.items()}
    kept = {name: (each * clean).sum(axis=1) for name, each in rows.items()}
    lost = {name: (each * mate).sum(axis=1) < limit for name, each in rows.items()}
    facts = {name: measured(each) for name, each in damaged.items()}
    title = f"{len(crops)} crops that match another photo of the person at FMR {FMR:g}"
    report(args, title, [summary(name, kept[name], lost[name], facts[name]) for name in changes])
    report(args, "undamaged crops", [spread(name, fact(facts["none"], name)) for name in STEPS])
    compare_measures(args, damaged, kept, lost, facts)
    for name, group in (("sharpness", SOFT), ("brightness", EXPOSED), ("contrast", FLAT)):
        used = ["none", *group]
        values = np.concatenate([fact(facts[each], name) for each in used])
        steps(args, name, values, np.concatenate([lost[each] for each in used]))
    overall = np.concatenate([fact(facts[name], "overall") for name in changes])
    rho = rank_correlation(overall, np.concatenate(list(kept.values())))
    report(args, "the one number against the cosine to the undamaged crop", [{"rho": rho}])


def summary(name: str, kept: Values, lost: Values, facts: list[Quality]) -> dict[str, Any]:
    """One row: what a damage does to the embedding, the facts and the reviews."""
    medians = {each: float(np.median(fact(facts, each))) for each in STEPS}
    refused = {
        f"{policy} refuses": float(np.mean([bool(light(quality, policy)) for quality in facts]))
        for policy in ("standard", "strict")
    }
    return {
        "damage": name,
        "cosine to itself": float(kept.mean()),
        "lost": float(lost.mean()),
        **medians,
        **refused,
    }


def spread(name: str, values: Values) -> dict[str, Any]:
    """One row: how a fact is spread."""
    marks = (0, 1, 50, 99, 100)
    found = np.percentile(values, marks).tolist()
    return {"fact": name, **{f"{mark} %": each for mark, each in zip(marks, found, strict=True)}}


def light(quality: Quality, policy: str) -> set[str]:
    """The reasons that a crop alone can give: those of sharpness and light."""
    wanted = {"too_blurry", "too_dark", "too_bright", "low_contrast"}
    return wanted & set(review(quality, POLICIES[policy]))


def compare_measures(
    args: argparse.Namespace,
    damaged: dict[str, NDArray[np.uint8]],
    kept: dict[str, Values],
    lost: dict[str, NDArray[np.bool_]],
    facts: dict[str, list[Quality]],
) -> None:
    """Print how well each measure of sharpness foretells the loss."""
    used = ["none", *SOFT]
    lumas = [
        cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY)[28:108, 22:90].astype(np.float32)
        for name in used
        for crop in damaged[name]
    ]
    found = {name: np.array([f(luma) for luma in lumas]) for name, f in MEASURES.items()}
    found["facekeep's sharpness"] = np.concatenate(
        [fact(facts[name], "sharpness") for name in used]
    )
    cosine, gone = (np.concatenate([each[name] for name in used]) for each in (kept, lost))
    rows = [
        {
            "measure": name,
            "rho with the cosine": rank_correlation(values, cosine),
            "AUC of lost": area_under_curve(values, gone),
        }
        for name, values in found.items()
    ]
    report(args, "measures of sharpness, on crops made soft", rows)


def steps(args: argparse.Namespace, name: str, values: Values, lost: NDArray[np.bool_]) -> None:
    """Print the share of lost crops among those of like value."""
    rows = []
    for low, high in zip(STEPS[name], STEPS[name][1:], strict=False):
        inside = (values >= low) & (values < high)
        if inside.any():
            share = float(lost[inside].mean())
            rows.append({name: f"{low:g}-{high:g}", "crops": int(inside.sum()), "lost": share})
    report(args, f"lost crops by {name}", rows)


def cut_off(args: argparse.Namespace) -> None:
    """Print the cosine between whole faces and the same faces cut off by the image's border."""
    frames, points, _ = landmark_frames(args.shared)
    found = []
    with Detector(options=RuntimeOptions(threads=args.threads)) as detector:
        for frame, annotated in list(zip(frames, points, strict=True))[::35]:
            for face in detector.detect(frame)[:1]:
                near = choose_central_face([face], annotated.mean(axis=0))
                found.append((frame, detector.refine(frame, [near])[0]))
    whole = embed_all(args, "quality", np.stack([align(f, face.landmarks) for f, face in found]))
    rows = []
    for side in ("top", "bottom", "left"):
        for share in (0.1, 0.2, 0.3, 0.4):
            crops = np.stack(
                [align(cut(f, face, side, share), face.landmarks) for f, face in found]
            )
            cosine = (embed_all(args, "quality", crops) * whole).sum(axis=1)
            low = float(np.percentile(cosine, 10))
            rows.append(
                {"side": side, "outside": share, "cosine": float(cosine.mean()), "p10": low}
            )
    report(args, f"{len(found)} faces cut off", rows)


def cut(image: Image, face: Face, side: str, share: float) -> Image:
    """Blacken the image beyond a line that cuts off a share of the box."""
    x1, y1, x2, y2 = face.bbox.tolist()
    shown = np.zeros_like(image)
    top = round(y1 + share * (y2 - y1)) if side == "top" else 0
    bottom = round(y2 - share * (y2 - y1)) if side == "bottom" else image.shape[0]
    left = round(x1 + share * (x2 - x1)) if side == "left" else 0
    keep = slice(max(top, 0), bottom), slice(max(left, 0), None)
    shown[keep] = image[keep]
    return shown


def photo_sets(args: argparse.Namespace) -> Iterator[tuple[str, list[Image]]]:
    """Yield the sets of whole photos by their names."""
    scenes = tar_members(args.shared / "data" / "scenes" / "scenes.tar")
    yield "scenes", [load_image(content) for name, content in scenes if name.startswith("p")]
    yield "landmarks", landmark_frames(args.shared)[0][::8]
    portraits = sorted((args.shared / "data" / "lfw" / "images").glob("*/*.jpg"))[::10]
    yield "lfw (test)", [load_image(path) for path in portraits]


def photos(args: argparse.Namespace) -> None:
    """Print the share of each set's faces that a policy refuses, with the reasons."""
    rows = []
    with Detector(options=RuntimeOptions(threads=args.threads)) as detector:
        for name, images in photo_sets(args):
            facts = []
            for image in images:
                faces = detector.refine(image, detector.detect(image)[: args.faces])
                facts += [assess(image, face) for face in faces]
            for policy in ("standard", "strict"):
                given = [review(quality, POLICIES[policy]) for quality in facts]
                counts = Counter(reason.value for reasons in given for reason in reasons)
                reasons = ", ".join(f"{n} {why}" for why, n in counts.most_common()) or "none"
                refused = float(np.mean([bool(each) for each in given]))
                row = {"set": name, "faces": len(facts), "policy": policy, "refused": refused}
                rows.append({**row, "reasons": reasons})
    report(args, f"the largest {args.faces} of each photo", rows)


def speed(args: argparse.Namespace) -> None:
    """Print how long it takes to measure a face."""
    image = landmark_frames(args.shared)[0][0]
    with Detector(options=RuntimeOptions(threads=args.threads)) as detector:
        face = detector.detect(image)[0]
    crop = align(image, face.landmarks)
    rows = []
    for label, at_hand in (("at hand", crop), ("to be cut", None)):
        seconds = timeit.repeat(lambda given=at_hand: assess(image, face, crop=given), number=20)
        rows.append({"crop": label, "ms": 1000 * min(seconds) / 20})
    report(args, "measuring one face, best of five runs of 20", rows)


PARTS = {"damage": damage, "cut": cut_off, "photos": photos, "speed": speed}


def main() -> int:
    """Print the part asked for."""
    parser = arguments(__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("part", choices=PARTS, help="what to print")
    parser.add_argument("--people", type=int, default=200, help="damage: how many people")
    parser.add_argument("--faces", type=int, default=1, help="photos: faces of each photo")
    args = parser.parse_args()
    PARTS[args.part](args)
    return 0


if __name__ == "__main__":
    sys.exit(main())
