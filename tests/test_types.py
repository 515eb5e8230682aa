from __future__ import annotations

import dataclasses
import json
from types import SimpleNamespace

import numpy as np
import pytest

from facekeep.types import (
    Candidate,
    Decision,
    Face,
    Quality,
    Threshold,
    Verification,
    reading_order,
)

ADA = Candidate("Ada", 0.71234567, 0.4, "person", "template")
BEA = Candidate("Bea", 0.41, 0.4, "other", "template 2", elsewhere=True)
LIMIT = Threshold(0.4, 1e-4, 1_000_000)


def a_face(**changes):
    box = np.array([10, 20, 40, 70], np.float32)
    return Face(box, np.zeros((5, 2), np.float32), 0.9).replace(**changes)


def decision(match, *candidates):
    return SimpleNamespace(match=match, candidates=candidates)


def test_a_fresh_face_knows_nobody():
    face = a_face()
    assert (face.quality, face.embedding, face.decision) == (None, None, None)
    assert face.name is None
    assert face.similarity is None


@pytest.mark.parametrize(
    ("box", "size"), [([10, 20, 40, 70], 30), ([0, 0, 50, 20], 20), ([-5, -5, 5, 5], 10)]
)
def test_size_is_the_shorter_side(box, size):
    face = a_face(bbox=np.array(box, np.float32))
    assert face.size == size
    assert type(face.size) is float


@pytest.mark.parametrize("attribute", ["bbox", "score", "decision", "anything"])
def test_a_face_is_frozen(attribute):
    with pytest.raises((dataclasses.FrozenInstanceError, TypeError, AttributeError)):
        setattr(a_face(), attribute, 1)


def test_replace_changes_a_copy_only():
    face = a_face()
    other = face.replace(score=0.1)
    assert (face.score, other.score) == (0.9, 0.1)
    assert other.bbox is face.bbox
    with pytest.raises(TypeError):
        face.replace(color="red")


def test_faces_compare_and_hash_by_identity_not_by_their_arrays():
    face = a_face()
    assert face == face  # noqa: PLR0124 - the point: no elementwise comparison of arrays
    assert face != a_face()
    assert len({face, a_face()}) == 2


def test_a_match_gives_name_and_similarity():
    best = SimpleNamespace(name="Ada", similarity=0.7)
    face = a_face(decision=decision(best, best, SimpleNamespace(name="Bea", similarity=0.2)))
    assert (face.name, face.similarity) == ("Ada", 0.7)


def test_an_unknown_person_has_the_similarity_of_the_best_candidate_but_no_name():
    face = a_face(decision=decision(None, SimpleNamespace(name="Ada", similarity=0.3)))
    assert face.name is None
    assert face.similarity == 0.3


def test_an_empty_gallery_gives_neither():
    face = a_face(decision=decision(None))
    assert face.name is None
    assert face.similarity is None


def test_a_face_is_shown_on_one_line():
    face = a_face(bbox=np.array([10.4, 20.6, 40, 70], np.float32), score=0.91234)
    assert repr(face) == "<Face [10 21 40 70], score 0.91, size 30, usable>"
    known = face.replace(decision=Decision(ADA, (ADA,), LIMIT, 3))
    assert repr(known) == "<Face [10 21 40 70], score 0.91, size 30, Ada, usable>"
    poor = face.replace(decision=Decision(None, (), LIMIT, 3), reasons=("too_small", "blurred"))
    assert repr(poor).endswith("unknown, unusable: too_small blurred>")
    crop = np.zeros((112, 112, 3), np.uint8)
    assert repr(face.replace(crop=crop, embedding=np.ones(512, np.float32))) == repr(face)


def test_a_face_becomes_json_without_its_biometric_data():
    quality = Quality(*[0.123456] * 15)
    face = a_face(
        score=np.float32(0.9),
        quality=quality,
        embedding=np.ones(4, np.float32),
        crop=np.zeros((112, 112, 3), np.uint8),
        reasons=("too_small",),
    )
    assert json.loads(json.dumps(face.to_dict())) == {
        "bbox": [10, 20, 40, 70],
        "landmarks": [[0, 0]] * 5,
        "score": 0.9,
        "quality": quality.to_dict(),
        "usable": False,
        "reasons": ["too_small"],
    }
    assert a_face().to_dict()["quality"] is None


def test_a_decision_becomes_json_beside_the_face():
    decided = Decision(ADA, (ADA, BEA), LIMIT, 10)
    written = json.loads(json.dumps(decided.to_dict(), allow_nan=False))
    assert written == {
        "match": {"name": "Ada", "similarity": 0.7123457},
        "candidates": [
            {
                "name": "Ada",
                "similarity": 0.7123457,
                "threshold": 0.4,
                "refused": False,
                "elsewhere": False,
            },
            {
                "name": "Bea",
                "similarity": 0.41,
                "threshold": 0.4,
                "refused": False,
                "elsewhere": True,
            },
        ],
        "threshold": 0.4,
        "fmr": 1e-4,
        "expected_fpir": pytest.approx(0.00099955),
    }
    face = a_face(decision=decided).to_dict()
    assert {key: face[key] for key in written} == written
    assert "bbox" in face
    assert Decision(None, (), LIMIT, 0).to_dict()["match"] is None


def test_a_verification_numbers_faces_as_people_read():
    left, right = (a_face(bbox=np.array([x, 0, x + 30, 30], np.float32)) for x in (0, 100))
    result = Verification(True, 0.5, LIMIT, ((right, left), (left,)), (0, 0))
    assert json.loads(json.dumps(result.to_dict())) == {
        "match": True,
        "similarity": 0.5,
        "threshold": 0.4,
        "fmr": 1e-4,
        "reasons": [],
        "images": [
            {
                "faces": 2,
                "face": 2,
                "bbox": [100, 0, 130, 30],
                "boxes": [[0, 0, 30, 30], [100, 0, 130, 30]],
            },
            {"faces": 1, "face": 1, "bbox": [0, 0, 30, 30], "boxes": [[0, 0, 30, 30]]},
        ],
    }
    nobody = Verification(False, None, LIMIT).to_dict()
    assert (nobody["similarity"], nobody["images"][0]["face"]) == (None, None)


def test_what_json_cannot_hold_becomes_null():
    assert Decision(None, (), Threshold(float("nan"), 1e-4, 1), 1).to_dict()["threshold"] is None


def test_faces_are_numbered_in_reading_order() -> None:
    """Two rows that are not quite level, given in another order."""
    boxes = [
        (200, 130, 260, 200),
        (10, 20, 70, 90),
        (100, 40, 150, 100),
        (20, 115, 90, 195),
        (180, 10, 250, 95),
    ]
    faces = [a_face(bbox=np.array(box, np.float32)) for box in boxes]
    assert reading_order(faces) == [5, 1, 2, 4, 3]
    assert reading_order([]) == []
    beside = [
        a_face(bbox=np.array(box, np.float32)) for box in ((580, 58, 664, 162), (144, 93, 283, 264))
    ]
    assert reading_order(beside) == [2, 1], "heads of two heights are one row"
