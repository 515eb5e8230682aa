"""What learns, its optimizers, the losses of distillation, and one step of its learning."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.parallel import DistributedDataParallel

from facekeep.errors import InputError, RuntimeUnavailable
from facekeep.lab.datasets.source import Source
from facekeep.lab.nn import EdgeFace
from facekeep.lab.train.ema import Ema
from facekeep.lab.train.embedding import embed_faces, pick_first_of_each
from facekeep.lab.train.fake_quantization import FakeQuantizationMode, read_fake_quantization
from facekeep.lab.train.heads import Head, make_head
from facekeep.lab.train.parallel import Parallel
from facekeep.lab.train.pixels import normalize, resize_images
from facekeep.lab.train.recipe import Recipe
from facekeep.lab.train.teacher_targets import Targets

__all__ = [
    "TIMES",
    "Learner",
    "choose_precision",
    "cosine_loss",
    "distill_loss",
    "make_optimizers",
    "relational_loss",
]


def distill_loss(
    student: Tensor,
    teachers: Sequence[Tensor],
    *,
    parallel: Parallel | None = None,
) -> Tensor:
    """Measure how far a student is from its teachers, in float32 also under autocast.

    A teacher of the student's width counts by `cosine_loss`, one of another width, which lives in
    another space, by `relational_loss`.

    Args:
        student: ``(n, d)``, this process's part of the batch; n is the same in every process.
        teachers: What each teacher makes of the same faces, ``(n, its width)``.
        parallel: The processes that share the batch; None for a single one.

    Returns:
        The mean of the teachers' losses over the batch of all processes: the same number
        in every process. The mean of the processes' gradients (``DistributedDataParallel``) is
        that of one process with the whole batch.

    Raises:
        InputError: The shapes do not fit.
    """
    parallel = parallel or Parallel()
    _check_rows(student, teachers)
    with torch.autocast(student.device.type, enabled=False):
        everyone = parallel.gather(_real(student))
        losses = [_loss(everyone, parallel.gather(_real(rows))) for rows in teachers]
    return torch.stack(losses).sum() / len(losses)


def cosine_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """Return the mean of ``1 - cosine`` between the rows of two ``(n, d)``: 0 to 2."""
    cosines = (functional.normalize(student) * functional.normalize(teacher)).sum(1)
    return 1 - cosines.mean()


def relational_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """Compare two spaces by how alike each finds two faces (cf. Tung & Mori, arXiv 1907.09682).

    Args:
        student: ``(n, d)``, n at least 2.
        teacher: ``(n, e)``; e may differ from d.

    Returns:
        The mean over all pairs of different rows of the squared difference of their cosines.

    Raises:
        InputError: There is only one row.
    """
    count = len(student)
    if count < 2:
        raise InputError("a teacher of another width needs at least 2 faces a batch; raise it")
    difference = _cosines(student) - _cosines(teacher)
    return difference.square().sum() / (count * (count - 1))


def _loss(student: Tensor, teacher: Tensor) -> Tensor:
    if student.shape == teacher.shape:
        return cosine_loss(student, teacher)
    return relational_loss(student, teacher)


def _cosines(rows: Tensor) -> Tensor:
    directions = functional.normalize(rows)
    return directions @ directions.T


def _real(rows: Tensor) -> Tensor:
    return rows.to(torch.promote_types(rows.dtype, torch.float32))


def _check_rows(student: Tensor, teachers: Sequence[Tensor]) -> None:
    for rows in (student, *teachers):
        if rows.ndim != 2 or not len(rows) or len(rows) != len(student):
            shapes = ", ".join(str(tuple(each.shape)) for each in (student, *teachers))
            raise InputError(f"expected a row for each face from student and teachers: {shapes}")


TIMES: Final = "times"
"""Key of a group of parameters: what the learning rate is multiplied by for it."""

_MUON_TIMES: Final = 3.0  # it bears longer steps than AdamW


def make_optimizers(
    model: EdgeFace, kind: str, weight_decay: float
) -> tuple[torch.optim.Optimizer, ...]:
    """Make what turns a network's gradients into steps; see `TIMES`.

    Biases, norms and layer scales are spared the weight decay, which is for matrices and kernels.

    Args:
        model: The network.
        kind: ``adamw``; or ``muon`` (Jordan 2024; steps scaled as in arXiv 2502.16982) for the
            matrices of the layers between stem and head, and AdamW for all else.
        weight_decay: The decay.
    """
    matrices = _matrices(model) if kind == "muon" else []
    inside = {id(each) for each in matrices}
    rest = [each for each in model.parameters() if id(each) not in inside]
    groups: list[dict[str, Any]] = [
        {"params": [each for each in rest if each.ndim > 1], "weight_decay": weight_decay},
        {"params": [each for each in rest if each.ndim <= 1], "weight_decay": 0.0},
    ]
    adamw = torch.optim.AdamW(groups, lr=0.0)
    if not matrices:
        return (adamw,)
    # A decay is multiplied by the rate, which must not make it stronger here than elsewhere.
    muon = torch.optim.Muon(
        [{"params": matrices, TIMES: _MUON_TIMES}],
        lr=0.0,
        weight_decay=weight_decay / _MUON_TIMES,
        adjust_lr_fn="match_rms_adamw",
    )
    return adamw, muon


def _matrices(model: EdgeFace) -> list[Tensor]:
    last = {id(each) for each in model.head.parameters()}
    layers = (each for each in model.modules() if isinstance(each, nn.Linear))
    return [layer.weight for layer in layers if id(layer.weight) not in last]


_IMPRINTS: Final = 20_000  # faces to begin all classes with, at most, but one of each
_MOST_IMPRINTED: Final = 8  # of a class

_TYPES: Final = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


class Learner:
    """A network with its head, optimizers, averaged weights and teachers.

    Args:
        model: The network; moved to the device.
        recipe: How to train it.
        classes: Identities of the head; 0 for no head, which needs a teacher.
        parallel: The processes of the run.
        targets: What teachers say of the faces.

    Attributes:
        model: The network.
        parts: What `step` gives, as the columns of the log call it.
        precision: ``fp32``, ``bf16`` or ``fp16``.

    Raises:
        InputError: There is nothing to learn from, the head cannot be made so, or numbers cannot be
            rounded as the recipe says.
        RuntimeUnavailable: The device lacks the precision.
    """

    def __init__(
        self,
        model: EdgeFace,
        recipe: Recipe,
        *,
        classes: int,
        parallel: Parallel,
        targets: Sequence[Targets] = (),
    ) -> None:
        classes = 0 if recipe.head == "none" else classes
        if not classes and not targets:
            why = "there is no head" if recipe.head == "none" else "nobody says who is on the faces"
            raise InputError(
                f"{why}, so there is nothing to learn from; make a folder for each person, give a"
                " table of labels, or name a teacher",
                "labels teacher",
            )
        self.model = model.to(parallel.device).train()
        # Faster by a tenth: most of the network works on channels that lie side by side.
        self.model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._recipe, self._parallel, self._targets = recipe, parallel, tuple(targets)
        self.precision = choose_precision(recipe.precision, parallel.device)
        self.parts = ("loss", *_loss_names(classes, self._targets), "grad_norm")
        self._network = _distributed(self.model, parallel)
        self._quantizing = _fake_quantize(self.model, recipe, self.precision)
        self._head = _head(recipe, model.width, classes, parallel)
        decay = recipe.weight_decay
        self._own_optimizers = make_optimizers(model, recipe.optimizer, decay)
        self._head_optimizer = (
            None if self._head is None else self._head.optimizer(lr=0.0, weight_decay=decay)
        )
        scaled = self.precision == "fp16"
        self._scaler = torch.amp.GradScaler(parallel.device.type, enabled=scaled)
        self._ema = Ema(self.model, recipe.ema)

    @property
    def averaged(self) -> EdgeFace:
        """The network with averaged weights, in evaluation mode: what a run yields."""
        return self._ema.model

    @property
    def skips_overflows(self) -> bool:
        """Whether a step whose gradients overflow is left out instead of ruining the weights."""
        return bool(self._scaler.is_enabled())

    def step(self, images: Tensor, labels: Tensor, index: Tensor, lr: float) -> Tensor:
        """Learn from this process's part of a batch.

        Args:
            images: uint8 ``(n, 3, S, S)`` RGB on the CPU; the network sees them in its own size.
            labels: int64 ``(n,)``, -1 for people unknown.
            index: int64 ``(n,)``, where the images are in the source.
            lr: The learning rate.

        Returns:
            float32 on the device, as `parts` names the numbers; not waited for.
        """
        for optimizer in self._optimizers():
            for group in optimizer.param_groups:
                group["lr"] = lr * group.get(TIMES, 1.0)
            optimizer.zero_grad(set_to_none=True)
        losses = self._losses(images, labels, index)
        loss = torch.stack(losses).sum()
        self._scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        norm = self._clip()
        for optimizer in self._optimizers():
            self._scaler.step(optimizer)
        self._scaler.update()
        self._ema.update(self.model)
        return torch.stack([loss, *losses, norm]).detach()

    def imprint(self, source: Source) -> None:
        """Let each class begin as the mean direction of some of its faces (arXiv 1712.07136).

        For a network that knows faces already. Classes at random would first have to be moved to
        where their faces are, and the network would be spoiled meanwhile.

        Args:
            source: The faces, labeled as the head's classes are.
        """
        if self._head is None:
            return
        span, weight = self._head.span, self._head.weight
        faces = min(_MOST_IMPRINTED, max(1, _IMPRINTS // self._head.classes))
        places = pick_first_of_each(source.labels, faces)
        labels = source.labels[places]
        mine = places[(labels >= span.start) & (labels < span.stop)]
        size = self.model.input_size
        rows, kept = embed_faces(self.model, source, mine, size=size, device=weight.device)
        if not len(rows):
            return
        classes = torch.from_numpy(source.labels[kept.cpu()]).to(weight.device) - span.start
        sums = torch.zeros_like(weight).index_add_(0, classes, rows)
        lengths = sums.norm(dim=1, keepdim=True)
        with torch.no_grad():
            means = sums / lengths * weight.norm(dim=1, keepdim=True)
            weight.copy_(means.where(lengths > 0, weight))

    def full_state(self) -> dict[str, Any]:
        """Collect what an exact resume needs; all processes call it, the main one gets it all."""
        head = {}
        if self._head is not None and self._head_optimizer is not None:
            head = self._head.full_state(self._head_optimizer)
        return {
            "model": self.model.state_dict(),
            "optimizers": [each.state_dict() for each in self._own_optimizers],
            "scaler": self._scaler.state_dict(),
            "ema": self._ema.state_dict(),
            "head": head,
        }

    def load_full_state(self, state: dict[str, Any]) -> None:
        """Go on from what `full_state` gave in the main process."""
        self.model.load_state_dict(state["model"])
        for optimizer, its_state in zip(self._own_optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(its_state)
        self._scaler.load_state_dict(state["scaler"])
        self._ema.load_state_dict(state["ema"])
        if self._head is not None and self._head_optimizer is not None:
            self._head.load_full_state(state["head"], self._head_optimizer)

    def _losses(self, images: Tensor, labels: Tensor, index: Tensor) -> list[Tensor]:
        """Return the loss of the head and the weighted one of the teachers, if there are such."""
        device = self._parallel.device
        pixels = images.to(device, non_blocking=True, memory_format=torch.channels_last)
        kind = _TYPES[self.precision]
        autocast = torch.autocast(device.type, dtype=kind, enabled=self.precision != "fp32")
        with autocast, self._quantizing:
            rows = self._network(normalize(resize_images(pixels, self.model.input_size))).float()
        losses = [] if self._head is None else [self._head(rows, labels)]
        if self._targets:
            wanted = [target(pixels, index) for target in self._targets]
            loss = distill_loss(rows, wanted, parallel=self._parallel)
            losses.append(self._recipe.teacher_weight * loss)
        return losses

    def _clip(self) -> Tensor:
        for optimizer in self._own_optimizers:
            self._scaler.unscale_(optimizer)
        longest = self._recipe.clip or float("inf")
        return nn.utils.clip_grad_norm_(self.model.parameters(), longest)

    def _optimizers(self) -> Iterator[torch.optim.Optimizer]:
        yield from self._own_optimizers
        if self._head_optimizer is not None:
            yield self._head_optimizer


def choose_precision(wanted: str, device: torch.device) -> str:
    """Choose the arithmetic.

    Args:
        wanted: ``auto``, ``fp32``, ``bf16`` or ``fp16``.
        device: Where it is done; ``auto`` is ``bf16`` on a GPU that has it, ``fp16`` on an older
            one, and ``fp32`` on the CPU.

    Raises:
        RuntimeUnavailable: The GPU has no bf16.
    """
    has_bf16 = device.type != "cuda" or torch.cuda.is_bf16_supported(including_emulation=False)
    if wanted == "bf16" and not has_bf16:
        raise RuntimeUnavailable("this GPU has no bf16; use fp16 or fp32", "precision")
    if wanted != "auto":
        return wanted
    if device.type == "cpu":
        return "fp32"
    return "bf16" if has_bf16 else "fp16"


def _distributed(model: nn.Module, parallel: Parallel) -> nn.Module:
    if parallel.world == 1:
        return model
    gpus = [parallel.device.index] if parallel.device.type == "cuda" else None
    return DistributedDataParallel(model, device_ids=gpus, broadcast_buffers=False)


def _fake_quantize(
    model: EdgeFace, recipe: Recipe, precision: str
) -> AbstractContextManager[object, bool | None]:
    """Return the context of quantization-aware training, if it is asked for."""
    if recipe.rounding is None:
        return nullcontext()
    if precision != "fp32":
        raise InputError(
            f"rounding to 8 bits needs the precision fp32: {precision} rounds too", "precision"
        )
    return FakeQuantizationMode(model, read_fake_quantization(recipe.rounding))


def _head(recipe: Recipe, width: int, classes: int, parallel: Parallel) -> Head | None:
    if not classes:
        return None
    head = make_head(
        recipe.head,
        width=width,
        classes=classes,
        scale=recipe.scale,
        margin=recipe.margin,
        sample_rate=recipe.sample_rate,
        seed=recipe.seed,
        parallel=parallel,
    )
    return head.train()


def _loss_names(classes: int, targets: Sequence[Targets]) -> list[str]:
    return ["loss_head"] * bool(classes) + ["loss_teacher"] * bool(targets)
