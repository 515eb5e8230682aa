"""What networks cost, and how accurate they are, before and after."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np

from facekeep._internal.timing import in_turns
from facekeep.lab.compress.data import EvaluationData
from facekeep.lab.compress.workspace import StepResult, compute_digest, write_model
from facekeep.lab.datasets.test_sets import PairSet, Samples
from facekeep.lab.evaluate import (
    build_scores,
    measure_at_rates,
    measure_folds,
    score_all_pairs,
    score_pairs,
)
from facekeep.lab.evaluate.extract import Embeddings, extract
from facekeep.models import ModelEntry, locate, model_cost, open_model
from facekeep.models.files import keep
from facekeep.pipeline.embed import Embedder
from facekeep.runtime import RuntimeOptions

__all__ = ["FMR", "Accuracy", "Evaluator", "NetworkProfile", "Watch", "measure_latencies"]

FMR: Final = 1e-3
"""The false-match rate at which TAR is measured."""

_KNOWN: Final = "measured.json"

Watch = Callable[[str, int | None], AbstractContextManager[Callable[[int], None]]]
"""Shows progress: takes what is done and in how many steps, where that is known; gives a context
whose value is called with the number of steps done since the last call."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Accuracy:
    """How accurate a network is; shares are fractions, and None is what was not measured.

    Attributes:
        cosine: Mean cosine to the original's embeddings of the same faces.
        cosine_p01: The cosine that 99 of 100 faces exceed.
        faces: On how many faces both were measured.
        tar: TAR at ``FMR`` on the images of known people.
        lfw: Accuracy on LFW.
        lfw_tar: TAR at ``FMR`` on LFW.
    """

    cosine: float | None = None
    cosine_p01: float | None = None
    faces: int = 0
    tar: float | None = None
    lfw: float | None = None
    lfw_tar: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkProfile:
    """The cost and the accuracy of a network.

    Attributes:
        name: What it is called.
        parameters: Number of weights that training learns.
        macs: Multiply-accumulates of one face.
        bytes: The size of the file that is run.
        latency_ms: Median time of the bare network for one face, in turns with the others.
        accuracy: How accurate it is.
    """

    name: str
    parameters: int
    macs: int
    bytes: int
    latency_ms: float
    accuracy: Accuracy

    def to_dict(self) -> dict[str, Any]:
        """Return it for JSON, all on one level."""
        document = asdict(self)
        document.update(document.pop("accuracy"))
        return document


@dataclass(slots=True, eq=False)
class Evaluator:
    """Measures networks against one original, each once.

    Attributes:
        original: The network that all others are compared with.
        data: What they are measured on.
        watch: Shows progress.
        known: Accuracies found before, by the digest of the network's file; more are added.
    """

    original: ModelEntry
    data: EvaluationData
    watch: Watch = lambda what, steps: nullcontext(lambda done: None)
    known: dict[str, Accuracy] = field(default_factory=dict)
    _rows: Embeddings | None = None
    _tars: dict[str, float | None] = field(default_factory=dict)

    def profile(
        self, models: Sequence[ModelEntry], others: Sequence[ModelEntry] = ()
    ) -> list[NetworkProfile]:
        """Measure networks; their latencies in turns, so that a busy machine slows all equally.

        Args:
            models: The original, and networks that were made from it.
            others: Further networks, whose embeddings cannot be compared with the original's.

        Raises:
            FacekeepError: One cannot be opened or run.
        """
        accuracies = [self.accuracy(model) for model in models]
        accuracies += [self.accuracy(model, related=False) for model in others]
        every, data = [*models, *others], self.data
        times = measure_latencies(every, threads=data.threads or 1, repeats=data.repeats)
        return [
            _profile(model, time_ms, accuracy)
            for model, time_ms, accuracy in zip(every, times, accuracies, strict=True)
        ]

    def accuracy(self, model: ModelEntry, *, related: bool = True) -> Accuracy:
        """Measure how accurate a network is, unless that is known.

        Args:
            model: The network.
            related: It was made from the original, with which it is compared.
        """
        digest = model.files[0].sha256
        if digest not in self.known:
            self.known[digest] = self._measure(model, related=related)
        return self.known[digest]

    def tar(self, model: ModelEntry) -> float | None:
        """Measure only TAR; None where too few people are known."""
        people = self.data.people
        if people is None:
            return None
        digest = model.files[0].sha256
        if digest not in self._tars:
            found = self.embed(model, people.samples)
            self._tars[digest] = _read_tar(
                score_all_pairs(found.rows, people.person, fmr=FMR).scores
            )
        return self._tars[digest]

    def tar_loss(self, content: bytes, model: ModelEntry) -> float | None:
        """Return how many points of TAR a network loses; None where too few people are known.

        Args:
            content: Its ONNX file.
            model: What it was made from.
        """
        before = self.tar(model)
        if before is None:
            return None
        with tempfile.TemporaryDirectory() as folder:
            after = self.tar(write_model(StepResult(content, "a trial"), model, Path(folder)))
        return None if after is None else 100 * (before - after)

    def load_known(self, folder: Path) -> None:
        """Read the accuracies that were measured before on the same images."""
        try:
            found = json.loads((folder / _KNOWN).read_text())
            if found["trial"] == self._digest():
                accuracies = found["accuracies"].items()
                self.known.update({key: Accuracy(**value) for key, value in accuracies})
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return

    def save_known(self, folder: Path) -> None:
        """Keep the accuracies in a folder.

        Raises:
            ModelError: The folder cannot be written.
            StorageFull: There is no room.
        """
        known = {key: asdict(value) for key, value in self.known.items()}
        document = {"trial": self._digest(), "accuracies": known}
        keep(folder / _KNOWN, json.dumps(document, indent=1).encode())

    def _digest(self) -> str:
        """Return the digest of everything that accuracies depend on except the network."""
        sets = (self.data.faces, self.data.people, self.data.lfw)
        names = [
            None if each is None else [each.samples.names, each.samples.aligned] for each in sets
        ]
        return compute_digest(self.original.files[0].sha256, names)

    def _measure(self, model: ModelEntry, *, related: bool) -> Accuracy:
        lfw = self.data.lfw
        return Accuracy(
            **(self._compare(model) if related else {}),
            **({} if lfw is None else self._measure_lfw(model, lfw)),
            tar=self.tar(model),
        )

    def _compare(self, model: ModelEntry) -> dict[str, Any]:
        """Compare the embeddings with the original's."""
        faces = self.data.faces
        if faces is None:
            return {}
        if self._rows is None:
            self._rows = self.embed(self.original, faces.samples)
        original = self._rows
        same = model.files[0].sha256 == self.original.files[0].sha256
        found = original if same else self.embed(model, faces.samples)
        both = original.found & found.found
        cosines = np.einsum("ij,ij->i", original.rows[both], found.rows[both])
        if not len(cosines):
            return {}
        return {
            "cosine": min(1.0, float(cosines.mean())),
            "cosine_p01": min(1.0, float(np.percentile(cosines, 1))),
            "faces": len(cosines),
        }

    def _measure_lfw(self, model: ModelEntry, data: PairSet) -> dict[str, Any]:
        found = self.embed(model, data.samples)
        values = score_pairs(found.rows, data.left, data.right)
        scores = build_scores(
            values, data.mated, left=data.left, right=data.right, person=data.person
        )
        accuracy = (
            None if data.fold is None else measure_folds(values, data.mated, data.fold).accuracy
        )
        return {"lfw": accuracy, "lfw_tar": _read_tar(scores)}

    def embed(self, model: ModelEntry, samples: Samples) -> Embeddings:
        """Embed images; see `extract`."""
        done = 0
        with (
            Embedder(model, options=RuntimeOptions(threads=1)) as embedder,
            self.watch(f"Embedding with {model.name}", len(samples)) as advance,
        ):

            def show(now: int, _: int) -> None:
                nonlocal done
                advance(now - done)
                done = now

            return extract(
                samples,
                embedder,
                cache=self.data.cache,
                threads=self.data.threads,
                progress=show,
            )


def measure_latencies(
    models: Sequence[ModelEntry], *, threads: int = 1, repeats: int = 50
) -> list[float]:
    """Time the bare networks on one face, in turns.

    Returns:
        The median of each in milliseconds.

    Raises:
        FacekeepError: One cannot be opened or run.
    """
    random = np.random.default_rng(0)
    with ExitStack() as stack:
        runs = {}
        for place, model in enumerate(models):
            session = open_model(model, options=RuntimeOptions(threads=threads))
            stack.callback(session.close)
            source = session.inputs[0]
            shape = [1 if axis is None else axis for axis in source.shape]
            feeds = {source.name: random.standard_normal(shape, np.float32)}
            runs[place] = partial(session.run, feeds)
        times = in_turns(runs, repeats)
    return [float(np.median(times[place])) for place in runs]


def _profile(model: ModelEntry, latency_ms: float, accuracy: Accuracy) -> NetworkProfile:
    cost = model_cost(model)
    return NetworkProfile(
        name=model.name,
        parameters=cost.params,
        macs=cost.macs,
        bytes=locate(model).stat().st_size,
        latency_ms=latency_ms,
        accuracy=accuracy,
    )


def _read_tar(scores: Any) -> float | None:
    """Return TAR at ``FMR``; None where there are too few comparisons for that rate."""
    (point,) = measure_at_rates(scores, [FMR], resamples=0)
    return point.tar if point.supported else None
