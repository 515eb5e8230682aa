"""Find faces and their five landmarks with YuNet (Wu, Peng, Yu 2023), at any size of image.

The network knows faces of about 20 to 256 pixels. So an image is shown to it as a pyramid: once at
the working size and, while larger faces could be left, again eight times smaller. A face that
fills the frame of a twelve-megapixel photo is found by the second look, which costs little.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from numbers import Integral, Real
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from facekeep._internal.closing import Closing
from facekeep._internal.workers import ALONE, Workers
from facekeep.errors import InputError, ModelError
from facekeep.models import ModelEntry, default_model, entry, open_model
from facekeep.pipeline.image import check_image
from facekeep.pipeline.orientation import Orienter, Seen, moved_back
from facekeep.pipeline.refine import BATCH, Crops, Refiner, chosen_entry
from facekeep.pipeline.warp import resize, shrink, warp
from facekeep.runtime import RuntimeOptions, usable_cores
from facekeep.types import Face

__all__ = ["SMALLEST_FACE", "Detector"]

# In pixels of what the network sees: of faces this wide it finds nearly all, of half the width
# none; above the largest its scores begin to fall (benchmarks/detect_sizes.py).
SMALLEST_FACE = 20
_LARGEST_FACE = 256
_PYRAMID_STEP = 8
# What they give is named and laid out alike; see nn.detector.HEADS.
_ARCHITECTURES = ("yunet", "facekeep-detector")
_STRIDES = (8, 16, 32)
# From these scores on, what is no sure face may be a turned one: beside an upright face, and where
# there is none; so many are looked at, at most.
_WEAK = 0.2
_WEAKEST = 0.1
_WEAK_MOST = 4
# Where nothing is known, turned faces are looked for in a copy of half the size, but not below this
# longest side, from this score on: small faces have low scores there.
_GLANCE = 160
_AFAR = 0.3
# Quarter turns, counterclockwise, that show other turns than the image itself.
_TURNED = (1, 2, 3)
# How upright a face must be that was found in the turned image.
_SHOWN = 0.25
# A tilted face is looked at again in the middle of a patch of this side, so many faces wide.
_PATCH = 192
_PATCH_FACES = 3.0
# The side where only the score counts.
_TRIED = 128
# As an orienter says it: upright, and turned by one to three quarters.
_QUARTERS = ((1.0, 0.0), (0.0, 1.0), (-1.0, 0.0), (0.0, -1.0))
# The side of the largest blocks of pixels that are averaged into one.
_LARGEST_BLOCK = 16
# The longest side of a working image that goes through the network in one piece.
_TILE = 2048
_TILE_OVERLAP = 2 * _PYRAMID_STEP * SMALLEST_FACE
# What comes nearer than this to the edge of a tile, in pixels, may be a part of a face.
_TILE_MARGIN = SMALLEST_FACE


class _Found(NamedTuple):
    """Detections of one network run, n of them.

    Attributes:
        points: ``(n, 7, 2)`` pixels of the network's input: the top left and the bottom right
            corner of the box, then the landmarks.
        scores: ``(n,)``.
        batch: ``(n,)``, the place of the image in the batch.
    """

    points: NDArray[np.float32]
    scores: NDArray[np.float32]
    batch: NDArray[np.intp]


class Detector(Closing):
    """A face detector, ready to run. Threads may share one.

    Without ``min_face`` an image's longer side is brought down to ``longest_side`` pixels, so the
    smallest face found is about 1/32 of the longer side (20 pixels of 640). With ``min_face`` the
    working size follows from it: smaller faces cost more time.

    Args:
        model: A name from the catalog, an entry, or None for the default detector.
        score: The lowest confidence reported, 0 to 1. Below 0.7 more dogs than people come up.
        min_face: The shorter side, in pixels of the image, of the smallest face wanted.
        max_faces: Report only this many, the largest ones.
        longest_side: The working size when ``min_face`` is not given.
        overlap: Of two boxes with more intersection over union, the lower score goes.
        refiner: What places landmarks better in `refine`: a name from the catalog, an entry,
            None for the default refiner, or ``none`` to leave them as they are.
        orienter: What tells turned faces in `find`: a name from the catalog, an entry, None for
            the default orienter, or ``none`` to take every face for upright.
        options: How the networks are run.

    Raises:
        InputError: An argument is out of range.
        ModelNotFound: There is no such model, or its files are not here.
        ModelCorrupt: Its files are not what the catalog says.
        ModelError: It is not a detector.
        RuntimeUnavailable: The runtime, device or precision does not work here.
    """

    def __init__(
        self,
        model: str | ModelEntry | None = None,
        *,
        score: float = 0.7,
        min_face: float | None = None,
        max_faces: int | None = None,
        longest_side: int = 640,
        overlap: float = 0.3,
        refiner: str | ModelEntry | None = None,
        orienter: str | ModelEntry | None = None,
        options: RuntimeOptions = RuntimeOptions(),  # noqa: B008 - frozen
    ) -> None:
        _check_range("score", score, 0, 1)
        _check_range("overlap", overlap, 0, 1)
        _check_range("longest_side", longest_side, 32, 16384)
        if min_face is not None:
            _check_range("min_face", min_face, SMALLEST_FACE / 2, 16384)
        if max_faces is not None:
            _check_range("max_faces", max_faces, 1, 1_000_000, Integral)
        chosen = model if isinstance(model, ModelEntry) else entry(model or default_model("detect"))
        if chosen.task != "detect":
            raise ModelError(f"{chosen.name} is a model to {chosen.verb}, not to detect, faces")
        if chosen.architecture not in _ARCHITECTURES:
            raise ModelError(
                f"{chosen.name} is of no known kind of detector; known: {', '.join(_ARCHITECTURES)}"
            )
        self.entry = chosen
        self.score = score
        self.min_face = min_face
        self.max_faces = max_faces
        self.longest_side = longest_side
        self.overlap = overlap
        self._session = open_model(chosen, options)
        self._workers = Workers(options.threads or usable_cores())
        second, third = chosen_entry(refiner, "refine"), chosen_entry(orienter, "orient")
        self._refiner = None if second is None else Refiner(second, options=options)
        self._orienter = None if third is None else Orienter(third, options=options)
        self._input = self._session.inputs[0].name
        self._outputs = {info.name: place for place, info in enumerate(self._session.outputs)}

    def detect(self, image: NDArray[np.uint8]) -> list[Face]:
        """Find the faces of one image, the largest first.

        Args:
            image: uint8 ``(H, W, 3)`` RGB.

        Returns:
            Faces in pixels of the image; an empty list when there is none.

        Raises:
            InputError: The image is not such an array, or the detector is closed.
        """
        image = check_image(image)
        return self._chosen(self._candidates(image.shape, self._pyramid(image), self.score))

    def find(self, image: NDArray[np.uint8]) -> list[Face]:
        """Find the faces of one image, whichever way each is turned, the largest first.

        Faces that the detector takes for upright though they are not are looked for again in the
        image turned by quarters. Where no upright face is seen so, the other quarters are tried,
        on a copy of half the size first. Landmarks are refined.

        Args:
            image: uint8 ``(H, W, 3)`` RGB.

        Returns:
            Faces in pixels of the image; their landmarks are right whichever way they are turned.

        Raises:
            InputError: The image is not such an array, or the detector is closed.
        """
        image = check_image(image)
        orienter = self._orienter
        if orienter is None:
            return self.refine(image, self.detect(image))
        levels = list(self._pyramid(image))
        candidates = self._candidates(image.shape, levels, min(self.score, _WEAKEST))
        sure = self._chosen([face for face in candidates if face.score >= self.score])
        weak = [face for face in candidates if face.score < self.score][:_WEAK_MOST]
        beside = [face for face in weak if face.score >= _WEAK]
        crops = self._shared_crops(orienter, image, sure + beside)
        seen = orienter.look(image, sure + beside, crops)
        seen, unsure = seen[: len(sure)], seen[len(sure) :]
        if not any(each.upright for each in seen):
            unsure += orienter.look(image, weak[len(beside) :])
        turns = self._choose_turns(image, seen, unsure)
        upright = any(each.upright for each in seen)
        if upright and not turns and not any(each.tilted for each in seen):
            return self._refined(image, sure, None if crops is None else crops.first(len(sure)))
        seen += self._in_turns(orienter, image, levels, turns, seen)
        faces = [
            self._righted(image, each) if each.tilted else each.face for each in self._best(seen)
        ]
        return self.refine(image, self._chosen(faces))

    def _shared_crops(
        self, orienter: Orienter, image: NDArray[np.uint8], faces: list[Face]
    ) -> Crops | None:
        """Cut out what both orienter and refiner look at, where that is the same and not much."""
        if self._refiner is None or len(faces) > BATCH:
            return None
        alike = orienter.entry.input_size == self._refiner.entry.input_size
        return self._refiner.crops(image, faces) if alike else None

    def _choose_turns(
        self, image: NDArray[np.uint8], seen: list[Seen], weak: list[Seen]
    ) -> list[int]:
        """Tell by how many quarters the image should be turned to find faces, 1 to 3 each.

        What the detector is not sure of can be a turned face, too.
        """
        turned = {each.quarters for each in seen if each.turned and not each.upright}
        clear = any(each.clear for each in seen)
        for each in seen:
            # Beside a clear face, one too small to be recognized is not worth the time.
            if not each.clear and not (clear and each.face.size < SMALLEST_FACE):
                turned |= self._tried(image, each)
        hints = [each for each in weak if each.turned]
        if any(each.upright for each in seen):
            hints = [each for each in hints if self._is_face(image, each)]
        turned |= {each.quarters for each in hints}
        # Upright faces beside turned ones: a collage, in which anything may be.
        return list(_TURNED) if clear and turned else sorted(turned)

    def _is_face(self, image: NDArray[np.uint8], seen: Seen) -> bool:
        """Tell whether the detector is sure of a face, looking at it upright as it was seen."""
        face = self._again(image, seen, _TRIED)
        return face is not None and face.score >= self.score

    def _in_turns(
        self,
        orienter: Orienter,
        image: NDArray[np.uint8],
        levels: list[NDArray[np.uint8]],
        turns: list[int],
        seen: list[Seen],
    ) -> list[Seen]:
        """Find faces in the image turned by these quarters, or by others where none is upright."""
        upright = any(each.upright for each in seen)
        shown = self._turned(orienter, image, levels, turns, unclear=not upright)
        if upright or any(each.clear for each in shown):
            return shown
        afar = [_afar(levels[0], self._workers), *levels[1:]]
        for quarters in _TURNED:
            if quarters not in turns and self._turned(
                orienter, image, afar, [quarters], _AFAR, unclear=True
            ):
                shown += self._turned(orienter, image, levels, [quarters], unclear=True)
        return shown

    def _turned(
        self,
        orienter: Orienter,
        image: NDArray[np.uint8],
        levels: Sequence[NDArray[np.uint8]],
        turns: Iterable[int],
        score: float | None = None,
        unclear: bool = False,
    ) -> list[Seen]:
        """Find faces that are upright where the image is turned by quarters.

        Args:
            orienter: Tells whether they are.
            image: The image.
            levels: The same as a pyramid, not turned.
            turns: By how many quarters, counterclockwise.
            score: The lowest score wanted; None for that of the detector.
            unclear: Also take faces of which the orienter is not sure.

        Returns:
            Faces where they lie in the image as it is.
        """
        shown: list[Seen] = []
        for quarters in turns:
            shape = image.shape if quarters == 2 else (image.shape[1], image.shape[0])
            there = [np.ascontiguousarray(np.rot90(level, quarters)) for level in levels]
            faces = self._candidates(shape, there, self.score if score is None else score)
            turned = np.ascontiguousarray(np.rot90(image, quarters)) if faces else image
            for each in orienter.look(turned, faces):
                if each.right >= _SHOWN or (unclear and not each.turned):
                    shown.append(each._replace(face=moved_back(each.face, quarters, image.shape)))
        return shown

    def _tried(self, image: NDArray[np.uint8], seen: Seen) -> set[int]:
        """Tell the quarter turn in which the detector is surest of a face, if it is any."""
        quarters = self._surest(image, seen).quarters
        return {quarters} - {0}

    def _surest(self, image: NDArray[np.uint8], seen: Seen) -> Seen:
        """Return a face turned as the detector is surest of it; as it is where never."""
        tries = [seen._replace(right=right, down=down) for right, down in _QUARTERS]
        looks = [(self._again(image, each, _TRIED), each) for each in tries]
        scored = [(face.score, each) for face, each in looks if face is not None]
        return max(scored, key=lambda pair: pair[0], default=(0.0, seen))[1]

    def _best(self, seen: list[Seen]) -> list[Seen]:
        """Of each face seen in several turns, keep it as it is upright and scores best."""
        boxes = np.array([each.face.bbox for each in seen], np.float32).reshape(-1, 4)
        ranks = np.array([each.rank for each in seen], np.float32)
        keep = _suppress(boxes, ranks, self.overlap)
        return [seen[place] for place in keep]

    def _again(self, image: NDArray[np.uint8], seen: Seen, side: int = _PATCH) -> Face | None:
        """Look at a face again, upright as it was seen to be; None where it is not found so."""
        matrix = seen.upright_matrix(side / _PATCH_FACES, side)
        found = self._run(warp(image, matrix, side)[None], _WEAK)
        away = np.abs(found.points[:, :2].mean(axis=1) - (side - 1) / 2).max(axis=1)
        near = np.flatnonzero(away < side / _PATCH_FACES / 2)
        if len(near) == 0:
            return None
        best = near[np.argmax(found.scores[near])]
        there = (found.points[best, 2:] - matrix[:, 2]) @ np.linalg.inv(matrix[:, :2]).T
        score = float(found.scores[best])
        return seen.face.replace(landmarks=there.astype(np.float32), score=score)

    def _righted(self, image: NDArray[np.uint8], seen: Seen) -> Face:
        """Return a tilted face with landmarks as they are."""
        face = self._again(image, seen) or seen.righted()
        return face.replace(score=max(face.score, seen.face.score))

    def _candidates(
        self, shape: tuple[int, ...], levels: Iterable[NDArray[np.uint8]], score: float
    ) -> list[Face]:
        """Return what may be faces, with at least this score, the highest first.

        Args:
            shape: Of the image.
            levels: The image as a pyramid.
            score: The lowest wanted.
        """
        parts = [self._detect_level(shape, level, score) for level in levels]
        points, scores = (np.concatenate(rows) for rows in zip(*parts, strict=True))
        return self._nms(points, scores)

    def _nms(self, points: NDArray[np.float32], scores: NDArray[np.float32]) -> list[Face]:
        """Make faces of what is no second look at one; see `_Found`."""
        boxes, landmarks = points[:, :2].reshape(-1, 4), points[:, 2:]
        keep = _suppress(boxes, scores, self.overlap)
        return [Face(boxes[i], landmarks[i], float(scores[i])) for i in keep]

    def _chosen(self, faces: list[Face]) -> list[Face]:
        """Return the faces that are wanted, the largest first."""
        wanted = [face for face in faces if face.size >= (self.min_face or 0)]
        return sorted(wanted, key=lambda face: -face.size)[: self.max_faces]

    def refine(self, image: NDArray[np.uint8], faces: Sequence[Face]) -> list[Face]:
        """Look at each face again, upright and near, and place its landmarks better.

        Boxes and scores stay; see ``Refiner.refine``.

        Args:
            image: The image that the faces were found in, uint8 ``(H, W, 3)`` RGB.
            faces: The faces.

        Returns:
            The same faces in the same order with better landmarks; as they are without a refiner.

        Raises:
            InputError: The image is not such an array, or the detector is closed.
        """
        return self._refined(image, faces, None)

    def describe(self, image: NDArray[np.uint8], faces: Sequence[Face]) -> list[Face]:
        """Refine landmarks as `refine` does, after setting those right that are turned.

        For faces of `detect`, which takes every face for upright.

        Args:
            image: The image that the faces were found in, uint8 ``(H, W, 3)`` RGB.
            faces: The faces.

        Returns:
            The same faces in the same order; their landmarks are right whichever way they are
            turned.

        Raises:
            InputError: The image is not such an array, or the detector is closed.
        """
        image, orienter = check_image(image), self._orienter
        if orienter is None:
            return self.refine(image, faces)
        crops = self._shared_crops(orienter, image, list(faces))
        seen = orienter.look(image, faces, crops)
        righted = [self._set_right(image, each) for each in seen]
        same = all(new is old for new, old in zip(righted, faces, strict=True))
        return self._refined(image, righted, crops if same else None)

    def _set_right(self, image: NDArray[np.uint8], seen: Seen) -> Face:
        """Return a face with its landmarks turned as it is, by quarters."""
        if seen.sure and not seen.upright:
            return seen.righted()
        best = seen if seen.clear else self._surest(image, seen)
        return seen.face if best.upright else best.righted()

    def _refined(
        self, image: NDArray[np.uint8], faces: Sequence[Face], crops: Crops | None
    ) -> list[Face]:
        if self._refiner is None:
            return list(faces)
        return self._refiner.refine(image, faces, crops)

    @property
    def refiner(self) -> str | None:
        """The name of what refines landmarks, if anything does."""
        return None if self._refiner is None else self._refiner.entry.name

    @property
    def models(self) -> list[ModelEntry]:
        """The models that decide where faces and their landmarks are found."""
        helpers = [each.entry for each in (self._refiner, self._orienter) if each is not None]
        return [self.entry, *helpers]

    def close(self) -> None:
        """Let go of the networks."""
        for part in (self._session, self._refiner, self._orienter, self._workers):
            if part is not None:
                part.close()

    def _pyramid(self, image: NDArray[np.uint8]) -> Iterable[NDArray[np.uint8]]:
        """Yield the image at the working size, then ever smaller until no face is too large."""
        height, width = image.shape[:2]
        if self.min_face is not None:
            scale = min(SMALLEST_FACE / self.min_face, 2.0)
        else:
            scale = min(self.longest_side / max(height, width), 1.0)
        while True:
            image = _resized(image, round(width * scale), round(height * scale), self._workers)
            yield image
            if max(height, width) * scale <= _LARGEST_FACE:
                return
            scale /= _PYRAMID_STEP

    def _detect_level(
        self, shape: tuple[int, ...], level: NDArray[np.uint8], score: float
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Detect at one level; points and scores as in ``_Found``, for an image of ``shape``."""
        factor = np.array([shape[1] / level.shape[1], shape[0] / level.shape[0]], np.float32)
        points, scores = [], []
        for x, y, tile in _tiles(level):
            found = self._run(tile[None], score)
            placed = found.points + np.array([x, y], np.float32)
            whole = _whole(placed[:, :2], (x, y), tile.shape, level.shape)
            points.append(placed[whole] * factor)
            scores.append(found.scores[whole])
        return np.concatenate(points), np.concatenate(scores)

    def _run(self, images: NDArray[np.uint8], score: float) -> _Found:
        """Run the network on images of one size, uint8 ``(n, h, w, 3)`` RGB."""
        tensor = self._tensor(images)
        outputs = self._session.run({self._input: tensor})
        picked = [self._pick(outputs, stride, tensor.shape[3], score) for stride in _STRIDES]
        products, shifts, points, cells, batch = map(np.concatenate, zip(*picked, strict=True))
        corner, stride = cells[:, None, :2], cells[:, None, 2:]
        center, half = shifts[:, None, :2], np.exp(shifts[:, None, 2:]) / 2
        shape = [center - half, center + half, points.reshape(-1, 5, 2)]
        placed = (np.concatenate(shape, axis=1) + corner) * stride
        return _Found(placed, np.sqrt(np.minimum(products, 1)), batch)

    def _pick(
        self, outputs: list[NDArray[np.float32]], stride: int, width: int, score: float
    ) -> tuple[NDArray[Any], ...]:
        """Pick the cells of one stride whose score is high enough.

        Returns:
            Squared scores, raw boxes ``(n, 4)`` and landmarks ``(n, 10)``, the column, row and
            stride of the cells ``(n, 3)``, and places in the batch.
        """
        certainty, objectness, shifts, points = (
            outputs[self._outputs[f"{kind}_{stride}"]] for kind in ("cls", "obj", "bbox", "kps")
        )
        product = certainty[..., 0] * objectness[..., 0]
        at = batch, cell = np.nonzero(product >= score * score)
        row, column = np.divmod(cell, width // stride)
        cells = np.stack([column, row, np.full_like(cell, stride)], axis=1)
        return product[at], shifts[at], points[at], cells.astype(np.float32), batch

    def _tensor(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Pad to whole strides with black and lay out as the network wants it: NCHW float32."""
        count, height, width = images.shape[:3]
        coarsest = _STRIDES[-1]
        padded = height + -height % coarsest, width + -width % coarsest
        tensor = np.empty((count, 3, *padded), np.float32)
        tensor[:, :, height:] = 0
        tensor[:, :, :, width:] = 0
        for channel, color in enumerate(self.entry.color):
            tensor[:, channel, :height, :width] = images[..., "rgb".index(color)]
        return tensor


def _check_range(
    name: str, value: float, low: float, high: float, kind: type[Real] | type[Integral] = Real
) -> None:
    if not isinstance(value, kind) or not low <= value <= high:
        noun = "whole number" if kind is Integral else "number"
        raise InputError(f"{name} must be a {noun} from {low:g} to {high:g}, not {value!r}")


def _resized(
    image: NDArray[np.uint8], width: int, height: int, workers: Workers = ALONE
) -> NDArray[np.uint8]:
    """Scale an image, without aliasing, to a size of at least one pixel."""
    width, height = max(width, 1), max(height, 1)
    # Averaging blocks of pixels is several times faster than one step of another ratio.
    block = 1
    while block < _LARGEST_BLOCK and all(
        side % (2 * block) == 0 and side >= 2 * block * wanted
        for side, wanted in zip(image.shape, (height, width), strict=False)
    ):
        block *= 2
    return resize(shrink(image, block, workers), width, height, workers)


def _afar(image: NDArray[np.uint8], workers: Workers) -> NDArray[np.uint8]:
    """Return an image at half its size, but no smaller than what a glance needs."""
    height, width = image.shape[:2]
    scale = min(max(0.5, _GLANCE / max(height, width)), 1.0)
    return _resized(image, round(width * scale), round(height * scale), workers)


def _tiles(image: NDArray[np.uint8]) -> Iterable[tuple[int, int, NDArray[np.uint8]]]:
    """Cut a large image into overlapping pieces with their corners, so that memory stays flat.

    A face that no piece holds clear of its cuts is large enough for the next level of the pyramid.
    """
    height, width = image.shape[:2]
    for y in _starts(height):
        for x in _starts(width):
            yield x, y, image[y : y + _TILE, x : x + _TILE]


def _starts(length: int) -> list[int]:
    if length <= _TILE:
        return [0]
    return list(range(0, length - _TILE_OVERLAP, _TILE - _TILE_OVERLAP))


def _whole(
    boxes: NDArray[np.float32],
    corner: tuple[int, int],
    tile: tuple[int, ...],
    level: tuple[int, ...],
) -> NDArray[np.bool_]:
    """Tell which boxes ``(n, 2, 2)`` keep clear of the edges where their tile was cut out."""
    whole = np.ones(len(boxes), np.bool_)
    for axis, start in enumerate(corner):
        end = start + tile[1 - axis]
        if start > 0:
            whole &= boxes[:, 0, axis] > start + _TILE_MARGIN
        if end < level[1 - axis]:
            whole &= boxes[:, 1, axis] < end - _TILE_MARGIN
    return whole


def _suppress(
    boxes: NDArray[np.float32], scores: NDArray[np.float32], overlap: float
) -> NDArray[np.intp]:
    """Non-maximum suppression: indices of the boxes that stay, best score first."""
    order = np.argsort(-scores, kind="stable")
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    keep = []
    while len(order):
        best, rest = order[0], order[1:]
        keep.append(best)
        corner1 = np.maximum(boxes[best, :2], boxes[rest, :2])
        corner2 = np.minimum(boxes[best, 2:], boxes[rest, 2:])
        shared = (corner2 - corner1).clip(min=0).prod(axis=1)
        order = rest[shared <= overlap * (areas[best] + areas[rest] - shared)]
    return np.array(keep, np.intp)
