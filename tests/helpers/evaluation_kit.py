"""Embeddings with known answers, and what surrounds them in an evaluation."""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from facekeep.lab.datasets.test_sets import PersonSet, Samples
from facekeep.lab.evaluate.extract import Embeddings, Failure
from facekeep.lab.evaluate.protocols import System, run_people
from facekeep.lab.evaluate.result import Evaluation
from facekeep.models import entry


def crop_of(place: int) -> NDArray[np.uint8]:
    """A crop whose color tells its place."""
    return np.full((112, 112, 3), 40 + place % 200, np.uint8)


def samples(count: int) -> Samples:
    return Samples(tuple(f"image{i:03d}.png" for i in range(count)), crop_of, aligned=True)


def known_people(
    people: int = 30, images: int = 4, *, noise: float = 1.0, failed: tuple[int, ...] = ()
) -> tuple[PersonSet, Embeddings]:
    """People with images scattered about a direction of their own."""
    rng = np.random.default_rng(7)
    person = np.repeat(np.arange(people), images)
    centers = rng.normal(size=(people, 64))
    rows = (centers[person] + noise * rng.normal(size=(len(person), 64))).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    found = np.ones(len(person), np.bool_)
    found[list(failed)] = False
    rows[~found] = 0
    names = samples(len(person)).names
    reasons = tuple(Failure(names[place], "no face was found") for place in failed)
    data = PersonSet(
        "made", samples(len(person)), person, tuple(f"person{i:02d}" for i in range(people))
    )
    return data, Embeddings(rows, found, None, reasons)


def system(protocol: str = "folder", **changes: object) -> System:
    whole = System(protocol=protocol, model=entry("sface"), crop=crop_of, settings={"flip": False})
    return dataclasses.replace(whole, **changes)


def evaluation(**changes: object) -> Evaluation:
    """Of all pairs of some people, one image of whom gave no face."""
    return run_people(*known_people(failed=(5,)), system(**changes))
