"""Networks that tell living faces from pictures: their crops, and what becomes of their answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from liveness_kit import add_brightness, brightness_network, face_in

from facekeep.errors import InputError, ModelError
from facekeep.liveness.evidence import LivenessResult, combine_results, describe_evidence
from facekeep.liveness.passive import LivenessNetwork, PassiveLiveness, cut_crops, fuse_looks
from facekeep.models import import_liveness_network
from facekeep.pipeline.detect import Detector
from facekeep.pipeline.image import load_image


def gray(level: int, side: int = 240) -> Any:
    return np.full((side, side, 3), level, np.uint8)


class Fake:
    """A network that says what it is told."""

    def __init__(self, *answers: float) -> None:
        self.answers = list(answers)

    def score(self, image: Any, faces: Any) -> Any:
        return np.array([self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]])


def judge(*networks: Any, frames: int = 1, **options: Any) -> LivenessResult:
    check, image = PassiveLiveness(networks, **options), gray(120)
    for _ in range(frames):
        check.update(face_in(image), image)
    return check.result


def test_a_look_that_denies_is_not_outvoted() -> None:
    looks = np.array([[0.9, 0.8], [0.99, 0.05], [0.4, 0.6]])
    np.testing.assert_allclose(fuse_looks(looks), [0.85, 0.05, 0.5])


def test_a_network_that_denies_is_not_outvoted() -> None:
    assert judge(Fake(0.99), Fake(0.98)).verdict == "live"
    denied = judge(Fake(0.99), Fake(0.98), Fake(0.02))
    assert (denied.verdict, denied.reasons, denied.score) == ("not live", ("network_denies",), 0.02)
    doubted = judge(Fake(0.99), Fake(0.4))
    assert (doubted.verdict, doubted.reasons) == ("not live", ("below_threshold",))


def test_each_network_has_its_threshold() -> None:
    assert judge(Fake(0.7), Fake(0.3), thresholds=[0.6, 0.2]).live
    assert not judge(Fake(0.7), Fake(0.3), thresholds=[0.2, 0.6]).live


def test_a_track_counts_by_the_median_of_its_best_frames() -> None:
    assert judge(Fake(0.9, 0.9, 0.2, 0.9, 0.9), frames=5).score == pytest.approx(0.9)
    check, image = PassiveLiveness([Fake(0.2, 0.2, 0.9)], frames=1), gray(120)
    small = face_in(image)
    for factor in (1.0, 1.01, 1.5):  # the largest is the last
        marks = (small.landmarks - 120) * factor + 120
        check.update(small.replace(landmarks=marks.astype(np.float32)), image)
    assert check.result.score == pytest.approx(0.9)


@pytest.mark.parametrize(("level", "reason"), [(5, "too_dark"), (245, "too_bright")])
def test_frames_that_show_too_little_are_never_live(level: int, reason: str) -> None:
    check, image = PassiveLiveness([Fake(1.0)]), gray(level)
    check.update(face_in(image), image)
    check.update(None, image)
    assert check.result.verdict == "cannot tell"
    assert check.result.reasons[0] == reason
    assert check.result.score is None


def test_without_a_face_nobody_can_tell() -> None:
    assert PassiveLiveness([Fake(1.0)]).result.to_dict() == {
        "verdict": "cannot tell",
        "reasons": ["no_face"],
        "score": None,
    }


@pytest.mark.parametrize("options", [{"thresholds": [0.5, 0.5]}, {"frames": 0}])
def test_nonsense_is_refused(options: Any) -> None:
    with pytest.raises(InputError):
        PassiveLiveness([Fake(1.0)], **options)
    with pytest.raises(InputError):
        PassiveLiveness([])


def test_what_one_kind_denies_no_other_confirms() -> None:
    live, unsure = LivenessResult("live", score=0.9), LivenessResult("cannot tell", ("glare",))
    denied = LivenessResult("not live", ("flat",), 0.2)
    assert combine_results([live, denied, unsure]) == LivenessResult("not live", ("flat",), 0.2)
    assert combine_results([live, unsure]).verdict == "cannot tell"
    assert combine_results([live, live]).live


def test_a_face_beyond_the_border_shows_too_little() -> None:
    image = gray(120)
    face = face_in(image)
    half_out = face.replace(bbox=np.array([180, 50, 300, 170], np.float32))
    assert describe_evidence(image, half_out) == ("outside",)
    assert describe_evidence(image, face) == ()


def test_crops_are_moved_and_made_smaller_to_stay_inside() -> None:
    rows, columns = np.indices((120, 160))
    image = np.stack([columns, rows, rows * 0], axis=2).astype(np.uint8)
    (middle,) = cut_crops(image, np.array([60, 40, 100, 80]), (2.0,), 80)
    assert middle[40, 40, :2].tolist() == pytest.approx([80, 60], abs=1)
    assert middle[0, 0, :2].tolist() == pytest.approx([40, 20], abs=1)
    (corner,) = cut_crops(image, np.array([0, 0, 40, 40]), (2.0,), 80)
    assert corner[0, 0, :2].tolist() == [0, 0]
    assert corner[-1, -1, :2].tolist() == pytest.approx([80, 80], abs=1)
    (whole,) = cut_crops(image, np.array([20, 5, 140, 115]), (4.0,), 80)
    assert whole[-1, -1, 1] >= 118


@pytest.mark.parametrize("box", [[5, 5, 5, 9], [300, 5, 340, 40], [5, np.nan, 50, 50]])
def test_boxes_without_a_face_are_refused(box: Any) -> None:
    with pytest.raises(InputError, match="box"):
        cut_crops(gray(1), np.array(box), (2.0,), 80)


def test_a_network_of_the_catalog_looks_at_each_face(tmp_path: Path) -> None:
    add_brightness("bright", tmp_path)
    image = gray(60)
    image[:, 120:] = 230
    face = face_in(image)
    faces = [face.replace(bbox=np.array(box, np.float32)) for box in ([5, 5, 60, 60],)]
    faces += [face.replace(bbox=np.array([180, 5, 235, 60], np.float32))]
    with LivenessNetwork("bright") as network:
        dark, bright = network.score(image, faces)
        assert network.look(image, []).shape == (0, 1)
    assert dark < 0.05
    assert bright > 0.95


def test_a_model_for_something_else_is_refused() -> None:
    with pytest.raises(ModelError, match="not for liveness"):
        LivenessNetwork("facekeep-refiner")


@pytest.mark.slow
def test_a_network_of_the_users_is_imported(tmp_path: Path) -> None:
    source = brightness_network(tmp_path / "mine.onnx")
    made = import_liveness_network(source, "mine", crop_scales=[1.8])
    assert (made.task, made.input_size, made.crop_scales) == ("liveness", 80, (1.8,))
    with LivenessNetwork("mine") as network:
        assert network.score(gray(250), [face_in(gray(250))])[0] > 0.95
    with pytest.raises(ModelError, match=r"takes N? ?.*3 x 80 x 80, but"):
        import_liveness_network(source, "two", crop_scales=[1.8, 3.0])
    with pytest.raises(ModelError, match="scores of a class 1"):
        import_liveness_network(source, "classes", crop_scales=[1.8], live_class=1)


@pytest.mark.shared
@pytest.mark.slow
def test_the_published_pair_is_pulled_and_knows_a_print(
    shared: Path, collins_path: Path, hopper_path: Path
) -> None:
    from facekeep.lab.train.liveness.attacks import simulate
    from facekeep.models import entry, pull

    pull(entry("minifasnet"), source=shared / "weights" / "2.7_80x80_MiniFASNetV2.pth")
    assert entry("minifasnet").params == 868146
    rng = np.random.default_rng(0)
    with LivenessNetwork("minifasnet") as network, Detector(max_faces=1) as detector:
        for path in (collins_path, hopper_path):
            image = load_image(path)
            (face,) = detector.find(image)
            assert network.score(image, [face])[0] > 0.9
            frames = [simulate("print", image, face.bbox, gray(90), rng) for _ in range(8)]
            scores = [
                float(network.score(frame.image, [face.replace(bbox=frame.bbox)])[0])
                for frame in frames
            ]
            assert np.median(scores) < 0.2
