"""A real training run on real faces: loss falls, TAR rises, and the result recognizes somebody."""

from __future__ import annotations

import csv
import io
import json
import tarfile
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from facekeep import Embedder, save_image
from facekeep.lab.datasets.source import Source, decode_crop, hold_out_people
from facekeep.lab.datasets.training_set import open_source
from facekeep.lab.train.log import read_log
from facekeep.models import entry

pytestmark = pytest.mark.slow

PEOPLE_OUT = 40
FACES_EACH = 24


@pytest.fixture(scope="session")
def chosen(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tar with some faces of each person who has twenty or more."""
    with (shared / "faces/index.tsv").open(newline="") as stream:
        rows = [row for row in csv.DictReader(stream, delimiter="\t") if row["identity"]]
    keys: dict[str, list[str]] = defaultdict(list)
    for row in rows:
        keys[row["identity"]].append(row["key"])
    wanted = {key for each in keys.values() if len(each) >= 20 for key in each[:FACES_EACH]}
    path = tmp_path_factory.mktemp("faces") / "chosen.tar"
    with tarfile.open(path, "w") as out:
        for tar in sorted((shared / "faces").glob("faces-*.tar")):
            with tarfile.open(tar) as source:
                for member in source:
                    if Path(member.name).stem in wanted:
                        out.addfile(member, source.extractfile(member))
    return path


@pytest.fixture(scope="session")
def kept_out(chosen: Path, shared: Path) -> Source:
    """The people whom the run keeps out of training."""
    source = open_source(chosen, labels=shared / "faces/index.tsv")
    return hold_out_people(source, people=PEOPLE_OUT, seed=0)[1]


def likeliest(source: Source, model: str) -> tuple[int, int]:
    """Return the two faces of one person that the model finds most alike, but no copies."""
    crops = np.stack([decode_crop(source.read(index), 64) for index in range(len(source))])
    with Embedder(model) as embedder:
        rows = embedder.embed(crops)
    cosines = rows @ rows.T
    cosines[source.labels[:, None] != source.labels] = -1
    small = crops.astype(np.float32).reshape(len(crops), -1)
    for place in np.argsort(cosines, axis=None)[::-1]:
        one, other = divmod(int(place), len(crops))
        if np.abs(small[one] - small[other]).mean() > 12:
            return one, other
    raise AssertionError("all pairs are copies")


def photo(source: Source, index: int, path: Path) -> Path:
    """Save a face as a photo that is large enough to be looked for faces."""
    with io.BytesIO(source.read(index)) as stream:
        crop: NDArray[np.uint8] = decode_crop(stream.read(), 280)
    picture = np.full((420, 420, 3), 127, np.uint8)
    picture[70:350, 70:350] = crop
    save_image(path, picture)
    return path


@pytest.mark.shared
@pytest.mark.timeout(900)
def test_training_on_faces_makes_a_model_that_identifies(
    cli, tmp_path: Path, shared: Path, chosen: Path, kept_out: Source, ready_models: None
):
    run = tmp_path / "run"
    outcome = cli(
        *("train", "--data", chosen, "--labels", shared / "faces/index.tsv", "--out", run),
        *("--input-size", "64", "--batch", "32", "--steps", "400", "--lr", "5e-4"),
        *("--scale", "32", "--margin", "0.1", "--layer-scale", "1", "--holdout", PEOPLE_OUT),
        *("--eval-every", "100", "--workers", "0", "--device", "cpu", "--name", "ours", "--json"),
    )
    assert outcome.status == 0, outcome.err
    log = read_log(run / "log.csv")
    loss = [value for value in log["loss"] if value is not None]
    tar = [value for value in log["tar_fmr_1e-2"] if value is not None]
    assert loss[-1] < 0.8 * loss[0]
    assert tar[-1] > 1.3 * tar[0]
    summary = json.loads((run / "summary.json").read_text())
    assert summary["tar"]["1e-2"]["tar"] == pytest.approx(tar[-1], rel=1e-6)
    assert summary.keys() | {"finished", "out", "model"} == outcome.json.keys()
    made = entry("ours")
    assert [(each["fmr"], each["cosine"]) for each in outcome.json["model"]["thresholds"]] == list(
        made.thresholds
    )
    assert [fmr for fmr, _ in made.thresholds][:3] == [1e-2, 1e-3, 1e-4]

    enrolled, probe = likeliest(kept_out, "ours")
    person = kept_out.names[kept_out.labels[probe]].replace("/", " ")
    words = ("--gallery", tmp_path / "people.db", "--embedder", "ours", "--fmr", "1e-2")
    first = photo(kept_out, enrolled, tmp_path / "first.png")
    assert cli("enroll", person, first, *words, "--review", "off").status == 0
    second = photo(kept_out, probe, tmp_path / "second.png")
    found = cli("identify", second, *words, "--json")
    assert found.status == 0, found.err
    assert found.json["faces"][0]["match"]["name"] == person
