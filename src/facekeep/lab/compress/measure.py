"""What networks cost and what they can do, before and after."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any, Final

import numpy as np

from facekeep._internal.timing import in_turns
from facekeep.lab.compress.faces import Faces
from facekeep.lab.evaluate import all_pairs, at_rates, folds, listed, pair_scores
from facekeep.lab.evaluate.crop_cache import CropCache
from facekeep.lab.evaluate.data import PairSet, PersonSet, Samples
from facekeep.lab.evaluate.extract import Extracted, extract
from facekeep.models import ModelEntry, locate, model_cost, open_model
from facekeep.pipeline.embed import Embedder
from facekeep.runtime import RuntimeOptions

__all__ = ["FMR", "Accuracy", "Facts", "Measuring", "Trial", "latencies"]

FMR: Final = 1e-3
"""The false-match rate at which TAR is told."""

Watch = Callable[[str, int | None], AbstractContextManager[Callable[[int], None]]]
"""Shows progress: told what is done and in how many steps, where that is known; gives what is told
of steps done."""


def unwatched(what: str, steps: int | None) -> AbstractContextManager[Callable[[int], None]]:
    """Show no progress."""
    return nullcontext(lambda done: None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """What networks are measured on.

    Attributes:
        faces: Images whose embeddings are compared with the original's; None for none.
        people: Images of known people, for TAR; None for none.
        lfw: The pairs of LFW; None for none.
        cache: Remembers crops of faces that had to be looked for.
        threads: CPU threads; 0 for as many as there are cores, but one where latency is measured.
        repeats: How many runs of each network are timed.
    """

    faces: Faces | None = None
    people: PersonSet | None = None
    lfw: PairSet | None = None
    cache: CropCache | None = None
    threads: int = 0
    repeats: int = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Accuracy:
    """What a network can do; shares are fractions, and None is what was not measured.

    Attributes:
        cosine: Mean cosine to the original's embeddings of the same faces.
        cosine_p01: The cosine that 99 of 100 faces exceed.
        faces: How many faces stand behind both.
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
class Facts:
    """A network before or after.

    Attributes:
        name: What it is called.
        parameters: Numbers that training learnt.
        macs: Multiply-accumulates of one face.
        bytes: The size of the file that is run.
        latency_ms: Median time of the bare network for one face, in turns with the others.
        accuracy: What it can do.
    """

    name: str
    parameters: int
    macs: int
    bytes: int
    latency_ms: float
    accuracy: Accuracy

    def document(self) -> dict[str, Any]:
        """Return the facts as JSON has them, all on one level."""
        facts = asdict(self)
        return {**{key: facts[key] for key in facts if key != "accuracy"}, **facts["accuracy"]}


@dataclass(slots=True, eq=False)
class Measuring:
    """Measures networks against one original, each once.

    Attributes:
        original: The network that all others are compared with.
        trial: What they are measured on.
        watch: Shows progress.
        known: Accuracies found before, by the digest of the network's file; more are added.
    """

    original: ModelEntry
    trial: Trial
    watch: Watch = unwatched
    known: dict[str, Accuracy] = field(default_factory=dict)
    _rows: Extracted | None = None
    _tars: dict[str, float | None] = field(default_factory=dict)

    def facts(self, models: Sequence[ModelEntry], others: Sequence[ModelEntry] = ()) -> list[Facts]:
        """Measure networks; their latencies in turns, so that a busy machine slows all alike.

        Args:
            models: The original, and networks that were made of it.
            others: Further networks, whose embeddings cannot be compared with the original's.

        Raises:
            FacekeepError: One cannot be opened or run.
        """
        accuracies = [self.accuracy(model) for model in models]
        accuracies += [self.accuracy(model, related=False) for model in others]
        every, trial = [*models, *others], self.trial
        times = latencies(every, threads=trial.threads or 1, repeats=trial.repeats)
        return [
            _facts(model, time_ms, accuracy)
            for model, time_ms, accuracy in zip(every, times, accuracies, strict=True)
        ]

    def accuracy(self, model: ModelEntry, *, related: bool = True) -> Accuracy:
        """Measure what a network can do, unless it is known.

        Args:
            model: The network.
            related: It was made of the original, with which it is compared.
        """
        digest = model.files[0].sha256
        if digest not in self.known:
            self.known[digest] = self._accuracy(model, related=related)
        return self.known[digest]

    def tar(self, model: ModelEntry) -> float | None:
        """Measure TAR alone; None where too few people are known."""
        people = self.trial.people
        if people is None:
            return None
        digest = model.files[0].sha256
        if digest not in self._tars:
            found = self.embedded(model, people.samples)
            self._tars[digest] = _tar(all_pairs(found.rows, people.person, fmr=FMR).scores)
        return self._tars[digest]

    def _accuracy(self, model: ModelEntry, *, related: bool) -> Accuracy:
        lfw = self.trial.lfw
        return Accuracy(
            **(self._agreement(model) if related else {}),
            **({} if lfw is None else self._on_lfw(model, lfw)),
            tar=self.tar(model),
        )

    def _agreement(self, model: ModelEntry) -> dict[str, Any]:
        """Compare the embeddings with the original's."""
        faces = self.trial.faces
        if faces is None:
            return {}
        if self._rows is None:
            self._rows = self.embedded(self.original, faces.samples)
        original = self._rows
        same = model.files[0].sha256 == self.original.files[0].sha256
        found = original if same else self.embedded(model, faces.samples)
        both = original.found & found.found
        cosines = np.einsum("ij,ij->i", original.rows[both], found.rows[both])
        if not len(cosines):
            return {}
        return {
            "cosine": min(1.0, float(cosines.mean())),
            "cosine_p01": min(1.0, float(np.percentile(cosines, 1))),
            "faces": len(cosines),
        }

    def _on_lfw(self, model: ModelEntry, data: PairSet) -> dict[str, Any]:
        found = self.embedded(model, data.samples)
        values = pair_scores(found.rows, data.left, data.right)
        scores = listed(values, data.mated, left=data.left, right=data.right, person=data.person)
        accuracy = None if data.fold is None else folds(values, data.mated, data.fold).accuracy
        return {"lfw": accuracy, "lfw_tar": _tar(scores)}

    def embedded(self, model: ModelEntry, samples: Samples) -> Extracted:
        """Embed images; see ``extract``."""
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
                cache=self.trial.cache,
                threads=self.trial.threads,
                progress=show,
            )


def latencies(models: Sequence[ModelEntry], *, threads: int = 1, repeats: int = 50) -> list[float]:
    """Time the bare networks on one face, turn by turn.

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


def _facts(model: ModelEntry, latency_ms: float, accuracy: Accuracy) -> Facts:
    cost = model_cost(model)
    return Facts(
        name=model.name,
        parameters=cost.params,
        macs=cost.macs,
        bytes=locate(model).stat().st_size,
        latency_ms=latency_ms,
        accuracy=accuracy,
    )


def _tar(scores: Any) -> float | None:
    """Return TAR at ``FMR``; None where there are too few comparisons for that rate."""
    (point,) = at_rates(scores, [FMR], resamples=0)
    return point.tar if point.supported else None
