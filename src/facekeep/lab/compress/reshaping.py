"""A model of the catalogue pruned, thinned or resized, and healed."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final, cast

import torch
from torch import Tensor

from facekeep.lab.compress.axes import Kind
from facekeep.lab.compress.faces import Faces, crops_of
from facekeep.lab.compress.folding import load
from facekeep.lab.compress.healing import aligned_data, exported, healed
from facekeep.lab.compress.lowrank import low_rank
from facekeep.lab.compress.made import Made
from facekeep.lab.compress.measure import Measuring, latencies
from facekeep.lab.compress.options import LowRank, Prune, Resize
from facekeep.lab.compress.prune import By, Goal, Measure, prune
from facekeep.lab.compress.resize import resize
from facekeep.lab.compress.sparsify import Pattern, sparsify
from facekeep.lab.compress.staging import staged
from facekeep.lab.nn import EdgeFace, read_network
from facekeep.models import ModelEntry, locate
from facekeep.models.pack import Numbers, pack
from facekeep.models.sparse import thin
from facekeep.pipeline.embed import Embedder
from facekeep.runtime import RuntimeOptions

__all__ = ["reshaped"]

Reshape = Prune | LowRank | Resize
_Progress = Callable[[int], object]

_UNHEALED: Final = "not healed: --heal 1000 trains it for 1000 steps to be like the original again"
_NO_FASTER: Final = "the file is smaller, and no faster: runtimes compute with zeros as with others"


def reshaped(
    model: ModelEntry, step: Reshape, faces: Faces | None, measuring: Measuring, folder: Path
) -> Made:
    """Change the shape of a model's network.

    Args:
        model: It; an EdgeFace that ``read_network`` reads.
        step: How.
        faces: What decides what matters, and what it is healed on; None where there are none.
        measuring: Knows the original that is learnt from, and shows progress.
        folder: Keeps healing that is under way.

    Raises:
        InputError: The step asks for what cannot be done.
        ModelError: The model is no EdgeFace that facekeep can change.
        KeyboardInterrupt: Healing was stopped; the same call goes on with it.
    """
    job = _Job(model, step, faces, measuring, folder)
    if isinstance(step, Prune):
        return job.sparsify(step.zeros) if step.zeros else job.prune(step)
    if isinstance(step, LowRank):
        return job.thin(step)
    network = resize(job.network, step.size)
    return job.made(job.heal(network), f"{job.network.input_size} to {step.size} pixels", {})


class _Job:
    """One network to change, and what that needs."""

    def __init__(
        self,
        model: ModelEntry,
        step: Reshape,
        faces: Faces | None,
        measuring: Measuring,
        folder: Path,
    ) -> None:
        self._data = aligned_data(faces) if step.heal else None
        self.network = read_network(model)
        self._model, self._step, self._faces = model, step, faces
        self._measuring, self._folder = measuring, folder

    def prune(self, step: Prune) -> Made:
        goals: tuple[tuple[float | None, Goal | Measure, str], ...] = (
            (step.macs, "macs", "multiply-accumulates"),
            (step.params, "parameters", "parameters"),
            (step.latency, self._milliseconds, "time for a face"),
        )
        keep, of, words = next((share, goal, text) for share, goal, text in goals if share)
        crops = self._crops()
        by = step.by or ("magnitude" if crops is None else "taylor")
        with self._measuring.watch("Finding what matters least", None) as advance:
            done = prune(
                self.network,
                keep,
                of=of,
                crops=crops,
                by=cast(By, by),
                kinds=cast("tuple[Kind, ...]", step.kinds),
                multiple=step.multiple,
                rounds=step.rounds,
                heal=self.heal if step.heal else None,
                progress=advance,
            )
        told = f"{100 * keep:.0f} % of the {words} left, by {by}"
        return self.made(done.model, told, {"cuts": [asdict(each) for each in done.cuts]})

    def thin(self, step: LowRank) -> Made:
        crops = self._crops()
        with self._measuring.watch("Finding what matters least", None) as advance:
            done = low_rank(
                self.network,
                gamma=step.gamma,
                energy=step.energy,
                layers=step.layers,
                crops=crops,
                multiple=step.multiple,
                progress=advance,
            )
        share = f"gamma {step.gamma:g}" if step.gamma else f"energy {step.energy:g}"
        details = {"layers": [asdict(each) for each in done.layers]}
        return self.made(self.heal(done.model), f"low rank, {share}", details)

    def sparsify(self, zeros: str) -> Made:
        share: float | Pattern = "2:4" if zeros == "2:4" else float(zeros)
        crops = self._crops()
        with self._measuring.watch("Finding what matters least", None) as advance:
            done = sparsify(self.network, share, crops=crops, progress=advance)
        content = pack(exported(done.model), _numbers(self._model))
        told = f"{100 * done.zeros:.0f} % of the weights nought"
        return Made(thin(content), told, (_NO_FASTER,), {"zeros": done.zeros})

    def made(self, network: EdgeFace, told: str, details: dict[str, Any]) -> Made:
        """Store a network as the model was stored."""
        how = f", healed for {self._step.heal} steps" if self._step.heal else ""
        return Made(
            pack(exported(network), _numbers(self._model)),
            told + how,
            () if how else (_UNHEALED,),
            details,
            params=sum(weight.numel() for weight in network.parameters()),
            input_size=network.input_size,
        )

    def heal(self, network: EdgeFace, part: int = 1) -> EdgeFace:
        """Train a changed network, where that is asked for, to be like the original."""
        step, measuring = self._step, self._measuring
        if self._data is None:
            return network
        rounds = step.rounds if isinstance(step, Prune) else 1
        return healed(
            network,
            read_network(measuring.original),
            self._folder / f"healing-{part}",
            self._data,
            step,
            measuring,
            steps=max(1, step.heal // rounds),
        )

    def _crops(self) -> Tensor | None:
        """Return faces as the network takes them."""
        if self._faces is None:
            return None
        with Embedder(self._model, options=RuntimeOptions(threads=1)) as embedder:
            crops = crops_of(self._faces, embedder.size, cache=self._measuring.trial.cache)
            return torch.from_numpy(embedder.tensor(crops))

    def _milliseconds(self, network: EdgeFace) -> float:
        """Time a network."""
        made = Made(exported(network), "a trial", input_size=network.input_size)
        with tempfile.TemporaryDirectory() as folder:
            trial = staged(made, self._model, Path(folder))
            (median,) = latencies([trial], threads=self._measuring.trial.threads or 1)
        return median


def _numbers(model: ModelEntry) -> Numbers:
    """Return what the large constants of a model's file are stored in."""
    from onnx import TensorProto

    kinds = {item.data_type for item in load(locate(model).read_bytes()).graph.initializer}
    if TensorProto.INT8 in kinds:
        return "int8"
    return "float16" if TensorProto.FLOAT16 in kinds else "float32"
