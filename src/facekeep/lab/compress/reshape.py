"""The steps that change the shape of a catalog model: prune, low rank, resize, and fine-tuning."""

from __future__ import annotations

import copy
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final, cast

import torch
from torch import Tensor

from facekeep.lab.compress.data import FaceSet, crop_faces
from facekeep.lab.compress.dimensions import CutKind
from facekeep.lab.compress.fine_tune import export_bytes, fine_tune, require_aligned_data
from facekeep.lab.compress.lowrank import factorize_layers
from facekeep.lab.compress.measure import Evaluator, measure_latencies
from facekeep.lab.compress.onnx_layers import load_onnx
from facekeep.lab.compress.options import FineTune, LowRank, Prune, Resize
from facekeep.lab.compress.prune import CostFunction, Goal, Pattern, prune, sparsify
from facekeep.lab.compress.workspace import StepResult, write_model
from facekeep.lab.nn import EdgeFace, read_network
from facekeep.models import ModelEntry, locate
from facekeep.models.sparse import drop_zeros
from facekeep.models.weight_packing import Numbers, pack_weights
from facekeep.pipeline.embed import Embedder
from facekeep.runtime import RuntimeOptions

__all__ = ["reshape_model"]

_NOT_FINE_TUNED: Final = (
    "not fine-tuned: --fine-tune 1000 trains it for 1000 steps to embed like the original again"
)
_NO_FASTER: Final = "the file is smaller, but no faster: runtimes compute with zeros as with others"


def reshape_model(
    model: ModelEntry,
    step: Prune | LowRank | Resize,
    faces: FaceSet | None,
    evaluator: Evaluator,
    folder: Path,
) -> StepResult:
    """Change the shape of a model's network.

    Args:
        model: The model; an EdgeFace that ``read_network`` reads.
        step: How.
        faces: For importance, statistics and fine-tuning; None where there are none.
        evaluator: Knows the original that fine-tuning learns from, and shows progress.
        folder: Keeps fine-tuning that is under way.

    Raises:
        InputError: The step asks for what cannot be done.
        ModelError: The model is not an EdgeFace network that facekeep can change.
        KeyboardInterrupt: Fine-tuning was stopped; the same call goes on with it.
    """
    job = _Job(model, step, faces, evaluator, folder)
    if isinstance(step, Prune):
        return job.sparsify(step.zeros) if step.zeros else job.prune(step)
    if isinstance(step, LowRank):
        return job.factorize(step)
    return job.resize(step.size)


class _Job:
    """One network to change, and what that needs."""

    def __init__(
        self,
        model: ModelEntry,
        step: Prune | LowRank | Resize,
        faces: FaceSet | None,
        evaluator: Evaluator,
        folder: Path,
    ) -> None:
        self._data = require_aligned_data(faces) if step.fine_tune else None
        self._network = read_network(model)
        self._model, self._step, self._faces = model, step, faces
        self._evaluator, self._folder = evaluator, folder

    def prune(self, step: Prune) -> StepResult:
        goals: tuple[tuple[float | None, Goal | CostFunction, str], ...] = (
            (step.macs, "macs", "multiply-accumulates"),
            (step.params, "parameters", "parameters"),
            (step.latency, self._measure_latency, "time for a face"),
        )
        keep, of, name = next((share, goal, text) for share, goal, text in goals if share)
        crops = self._crop_faces()
        by = step.by or ("magnitude" if crops is None else "taylor")
        with self._evaluator.watch("Finding what is least important", None) as advance:
            pruned = prune(
                self._network,
                keep,
                of=of,
                crops=crops,
                by=by,
                kinds=cast("tuple[CutKind, ...]", step.kinds),
                multiple=step.multiple,
                rounds=step.rounds,
                fine_tune=self._fine_tune if step.fine_tune else None,
                progress=advance,
            )
        summary = f"{100 * keep:.0f} % of the {name} left, by {by}"
        return self._store(pruned.model, summary, {"cuts": [asdict(each) for each in pruned.cuts]})

    def factorize(self, step: LowRank) -> StepResult:
        crops = self._crop_faces()
        with self._evaluator.watch("Finding what is least important", None) as advance:
            thinner = factorize_layers(
                self._network,
                gamma=step.gamma,
                energy=step.energy,
                layers=step.layers,
                crops=crops,
                multiple=step.multiple,
                progress=advance,
            )
        share = f"gamma {step.gamma:g}" if step.gamma else f"energy {step.energy:g}"
        details = {"layers": [asdict(each) for each in thinner.layers]}
        return self._store(self._fine_tune(thinner.model), f"low rank, {share}", details)

    def resize(self, size: int) -> StepResult:
        network = copy.deepcopy(self._network)
        network.resize(size)  # the position encodings are computed anew for the size of the maps
        summary = f"{self._network.input_size} to {size} pixels"
        return self._store(self._fine_tune(network), summary, {})

    def sparsify(self, zeros: str) -> StepResult:
        share: float | Pattern = "2:4" if zeros == "2:4" else float(zeros)
        crops = self._crop_faces()
        with self._evaluator.watch("Finding what is least important", None) as advance:
            sparse = sparsify(self._network, share, crops=crops, progress=advance)
        content = pack_weights(export_bytes(sparse.model), _find_numbers(self._model))
        summary = f"{100 * sparse.zeros:.0f} % of the weights zero"
        return StepResult(drop_zeros(content), summary, (_NO_FASTER,), {"zeros": sparse.zeros})

    def _store(self, network: EdgeFace, summary: str, details: dict[str, Any]) -> StepResult:
        """Store a network in the number format of the model."""
        steps = self._step.fine_tune
        return StepResult(
            pack_weights(export_bytes(network), _find_numbers(self._model)),
            f"{summary}, fine-tuned for {steps} steps" if steps else summary,
            () if steps else (_NOT_FINE_TUNED,),
            details,
            params=sum(weight.numel() for weight in network.parameters()),
            input_size=network.input_size,
        )

    def _fine_tune(self, network: EdgeFace, part: int = 1) -> EdgeFace:
        """Train a changed network, where that is asked for, to embed like the original."""
        step, evaluator = self._step, self._evaluator
        if self._data is None:
            return network
        rounds = step.rounds if isinstance(step, Prune) else 1
        return fine_tune(
            network,
            read_network(evaluator.original),
            self._folder / f"fine-tuning-{part}",
            self._data,
            FineTune(fine_tune=max(1, step.fine_tune // rounds), batch=step.batch, lr=step.lr),
            threads=evaluator.data.threads,
            watch=evaluator.watch,
        )

    def _crop_faces(self) -> Tensor | None:
        """Return faces as the network takes them."""
        if self._faces is None:
            return None
        with Embedder(self._model, options=RuntimeOptions(threads=1)) as embedder:
            crops = crop_faces(self._faces, embedder.size, cache=self._evaluator.data.cache)
            return torch.from_numpy(embedder.tensor(crops))

    def _measure_latency(self, network: EdgeFace) -> float:
        """Return the time of a network for one face in milliseconds."""
        result = StepResult(export_bytes(network), "a trial", input_size=network.input_size)
        with tempfile.TemporaryDirectory() as folder:
            trial = write_model(result, self._model, Path(folder))
            (median,) = measure_latencies([trial], threads=self._evaluator.data.threads or 1)
        return median


def _find_numbers(model: ModelEntry) -> Numbers:
    """Return the number format of the large constants in a model's file."""
    from onnx import TensorProto

    kinds = {item.data_type for item in load_onnx(locate(model).read_bytes()).graph.initializer}
    if TensorProto.INT8 in kinds:
        return "int8"
    return "float16" if TensorProto.FLOAT16 in kinds else "float32"
