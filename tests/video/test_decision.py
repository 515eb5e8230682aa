"""Evidence of a track: which faces are embedded, when it is decided, and that no name flips."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from live_kit import square_engine

from facekeep import Candidate, Decision, Face, Quality, Threshold
from facekeep.video.decision import TrackEvidence, share_names

LIMIT = Threshold(0.5, 1e-4, 1_000_000)
GOOD = Quality(80, 30, 0.3, 0.5, 0.2, 0, 0, 0, 0.9, 0, 0, 0, 0, 1, 0.5)


def face(overall: float = 0.5, vector: int = 0, *, reasons: tuple[str, ...] = ()) -> Face:
    embedding = np.zeros(64, np.float32)
    embedding[vector] = 1
    box = np.array([0, 0, 80, 80], np.float32)
    quality = replace(GOOD, overall=overall)
    return Face(box, np.zeros((5, 2), np.float32), 0.9, quality, embedding, None, reasons)


def decision(name: str | None, similarity: float = 0.8, *, other: str = "Zoe") -> Decision:
    who = Candidate(name or other, similarity, 0.5, f"id {name or other}", "template")
    return Decision(who if name else None, (who,), LIMIT, 10)


def gathered(count: int, overall: float = 0.5) -> TrackEvidence:
    evidence = TrackEvidence(0.0)
    for number in range(count):
        evidence.add(face(overall), number * 0.1)
    return evidence


def decided(evidence: TrackEvidence, position: float, name: str | None) -> Decision | None:
    evidence.rows_to_compare(position)
    evidence.decide(decision(name))
    return evidence.decision


def test_the_best_by_quality_are_kept_whatever_they_resemble() -> None:
    evidence = TrackEvidence(0.0)
    for number, overall in enumerate([0.2, 0.5, 0.3, 0.6, 0.1, 0.4]):
        evidence.add(face(overall, number), number * 0.1)
    assert [each.quality.overall for each in evidence.faces if each.quality] == [
        0.6,
        0.5,
        0.4,
        0.3,
        0.2,
    ]


def test_faces_of_one_moment_count_once_unless_one_is_clearly_better() -> None:
    evidence = TrackEvidence(0.0)
    evidence.add(face(0.5), 0.0)
    assert not evidence.wants_embedding(face(0.5), 0.04, doubtful=False)
    assert evidence.wants_embedding(face(0.7), 0.04, doubtful=False)
    assert evidence.wants_embedding(face(0.4), 0.08, doubtful=False)
    evidence.add(face(0.5), 0.04)
    assert len(evidence.faces) == 1


def test_unusable_faces_are_not_embedded() -> None:
    evidence = TrackEvidence(0.0)
    assert not evidence.wants_embedding(face(reasons=("too_dark",)), 0.0, doubtful=True)
    assert evidence.reasons == ("too_dark",)


def test_three_faces_are_decided_at_once_and_fewer_after_a_second() -> None:
    assert not gathered(2).due(0.2)
    assert gathered(3).due(0.2)
    assert gathered(1).due(1.0)
    assert not TrackEvidence(0.0).due(1.9)
    assert TrackEvidence(0.0).due(2.0)


def test_a_named_track_is_not_decided_again_by_more_evidence() -> None:
    evidence = gathered(3)
    decided(evidence, 0.3, "Ada")
    for number in range(10):
        evidence.add(face(0.9), 1.0 + number)
    assert not evidence.due(12.0)
    assert evidence.settled(0.3)


def test_an_unknown_track_is_decided_again_only_on_clearly_better_evidence_and_three_times() -> (
    None
):
    evidence = gathered(3)
    decided(evidence, 0.3, None)
    assert not evidence.due(0.4)
    evidence.add(face(0.5), 0.4)
    assert not evidence.due(0.4), "a third more is not clearly better"
    evidence.add(face(0.5), 0.5)
    assert evidence.due(0.5)
    decided(evidence, 0.5, None)
    for number in range(5):
        evidence.add(face(0.9), 1.0 + number)
    assert evidence.due(6.0)
    decided(evidence, 6.0, None)
    for number in range(5):
        evidence.add(face(1.0 + number), 10.0 + number)
    assert not evidence.due(20.0)
    assert evidence.decisions == 3


def test_the_gallery_is_asked_again_with_the_same_faces_only() -> None:
    evidence = gathered(3)
    first = evidence.rows_to_compare(0.3)
    evidence.decide(decision(None))
    evidence.add(face(0.5, 5), 0.6)
    assert not evidence.refreshes(1.2)
    assert evidence.refreshes(1.3)
    assert evidence.rows_to_compare(1.3) is first
    assert evidence.decisions == 1


def test_a_name_never_becomes_another_but_may_be_withdrawn() -> None:
    evidence = gathered(3)
    decided(evidence, 0.3, "Ada")
    evidence.decide(decision("Ben"))
    assert evidence.name is None
    evidence.decide(decision("Ada"))
    assert evidence.name == "Ada"
    evidence.decide(decision(None))
    assert evidence.name is None


def test_of_two_tracks_only_the_better_match_gets_the_name_and_it_does_not_come_back() -> None:
    worse, better, other = gathered(3), gathered(3), gathered(3)
    worse.decide(decision("Ada", 0.6))
    share_names([worse, other])
    assert worse.name == "Ada"
    better.decide(decision("Ada", 0.7))
    other.decide(decision("Ben", 0.6))
    share_names([worse, better, other])
    assert (worse.name, better.name, other.name) == (None, "Ada", "Ben")
    assert worse.decision is not None
    assert worse.decision.candidates[0].elsewhere
    worse.decide(decision("Ada", 0.9))
    assert worse.name is None


def test_unknown_is_settled_only_when_better_faces_had_time_to_come() -> None:
    evidence = gathered(3)
    decided(evidence, 0.3, None)
    assert not evidence.settled(0.3)
    assert evidence.settled(1.0)
    full = gathered(5)
    decided(full, 0.5, None)
    assert full.settled(0.5)


def test_two_mistakes_in_a_row_end_a_track_and_one_does_not() -> None:
    evidence = gathered(3)
    assert not evidence.mistake()
    evidence.add(face(), 0.5)
    assert not evidence.mistake()
    assert evidence.mistake()


def test_similarity_is_that_of_the_pools() -> None:
    evidence = TrackEvidence(0.0)
    evidence.add(face(vector=0), 0.0)
    evidence.add(face(vector=1), 0.1)
    assert evidence.similarity([face(vector=0)]) == pytest.approx(0.5**0.5)
    assert evidence.similarity([face(vector=0), face(vector=1)]) == pytest.approx(1.0)


def test_looks_become_rare_when_all_is_decided() -> None:
    evidence = gathered(3)
    decided(evidence, 0.3, "Ada")
    evidence.wants_embedding(face(), 0.3, doubtful=False)
    assert not evidence.wants_look(2.0, doubtful=False, crossed=False)
    assert evidence.wants_look(2.3, doubtful=False, crossed=False)
    assert evidence.wants_look(0.8, doubtful=False, crossed=True)
    assert evidence.wants_look(0.4, doubtful=True, crossed=False)


def test_pooled_faces_are_compared_by_a_higher_threshold() -> None:
    engine = square_engine()
    bounds = [engine.threshold(faces=count).cosine for count in (1, 3, 5, 9)]
    assert bounds[0] < bounds[1] < bounds[2] == bounds[3]
    several = [engine.threshold(templates=3, faces=count).cosine for count in (1, 3)]
    single = [engine.threshold(faces=count).cosine for count in (1, 3)]
    assert several[1] - several[0] == pytest.approx(2 * (single[1] - single[0]))
