from __future__ import annotations

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest

from facekeep.types import Face


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
        face.replace(colour="red")


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
