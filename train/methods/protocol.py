"""The protocol of a training method, and what the loop gives to a method.

    class Supervised: ...          # satisfies `Method`
    METHOD = Supervised

A method defines its batches, makes its network, and turns batches into named losses. Optimiser,
device, logging and saving belong to the loop. Each method is one file in this folder.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol, runtime_checkable

from torch import Tensor, nn

from trocar.contract.classes import ClassTable
from trocar.contract.manifest import InputSpec, Manifest

Batch = Mapping[str, Any]
"""One stream's batch: ``image`` float32 [B,3,h,w] RGB 0..255, not normalised; ``mask`` int64
[B,h,w] (segmentation and instances), also ``instances`` uint8 [B,h,w] (instances), or ``label``
int64 [B] (classification); ``name`` list[str]; ``index`` int64 [B]."""


@dataclass(frozen=True)
class Progress:
    """Where training stands.

    Attributes:
        step: Optimiser step, from 0.
        total_steps: Steps of the whole run.
        epoch: Passes over the first stream so far, from 0.
        epochs: Passes that the whole run makes.
    """

    step: int
    total_steps: int
    epoch: int = 0
    epochs: int = 1

    @property
    def fraction(self) -> float:
        """Share of training that is done, 0..1."""
        return self.step / max(self.total_steps, 1)


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """The trained model as its users see it.

    Attributes:
        name: Model name for people.
        classes: The class table.
        input: Network size and normalisation.
    """

    name: str
    classes: ClassTable
    input: InputSpec


@dataclass(frozen=True, kw_only=True)
class TrainData:
    """The data sets of one run.

    The sets are those of the method's task: `trocar.train.data.sample.FrameSet` for frames.

    Attributes:
        labelled: Training split of the labelled set.
        validation: Labelled set for the scores; not trained on.
        unlabelled: Images without labels of the same domain, where the method takes them.
        target: Images of the target domain, where the method takes them.
        batch_size: Images of one step and stream, over all processes.
        seed: Seed of the run; random numbers depend on it, the step and the sample.
        rank: Index of this process; its streams give its slice of the global batch.
        world: Number of processes.
        cache_mb: Memory for decoded frames, in MB.
        augmentation: ``full``, ``light`` or ``none``, see `trocar.train.data.transforms`.
        border: Probability of a pasted border; ``None`` for that of the augmentation.
        empty: Indices of labelled frames without instruments, of which every batch gets some.
        repeats: How often each labelled frame is drawn in an epoch; empty for once each.
        pre_augment: Change of a labelled training frame before augmentation, e.g. compositing;
            called with the sample and its seed.
    """

    labelled: Any
    validation: Any
    unlabelled: Any = None
    target: Any = None
    batch_size: int
    seed: int
    rank: int = 0
    world: int = 1
    cache_mb: int = 0
    augmentation: str = "full"
    border: float | None = None
    empty: tuple[int, ...] = ()
    repeats: tuple[float, ...] = ()
    pre_augment: Callable[[Any, int], Any] | None = None


class BatchSource(Protocol):
    """An endless stream whose batches depend on their step alone, so that runs resume exactly.

    `trocar.train.data.loader.batch_stream.Stream` is one. A source runs in forked worker processes.
    """

    def __len__(self) -> int:
        """Steps of one pass over the set, at least 1."""
        ...

    def batch(self, step: int) -> Any:
        """This process's slice of a step's global batch; see `Batch`.

        Depends on the step and the arguments of the source alone.
        """
        ...


class Method(Protocol):
    """A training method.

    Class attributes:
        name: Command name, the file's name with dashes.
        task: ``segmentation``, ``classification`` or ``instances``.
        Config: Frozen dataclass; its ``Attributes:`` section becomes ``--help``.
        required_data: Extra data sets that it cannot train without: ``unlabelled``, ``target``.
        optional_data: Extra data sets that it can use but does not need.
        monitor: The score of `evaluate` that decides which checkpoint is the best: the highest.
    """

    name: ClassVar[str]
    task: ClassVar[str]
    Config: ClassVar[type]
    required_data: ClassVar[tuple[str, ...]]
    optional_data: ClassVar[tuple[str, ...]]
    monitor: ClassVar[str]

    config: Any
    logged: Mapping[str, Tensor | float]
    """Further values of the last `losses` to log; nothing is trained on them."""
    notes: list[str]
    """Remarks on the data for the user; complete after `streams`."""

    def __init__(self, config: Any) -> None:
        """Stores the configuration; makes nothing and touches no disk."""
        ...

    def streams(self, data: TrainData) -> Mapping[str, BatchSource]:
        """Named streams; `losses` gets one batch of each."""
        ...

    def build(self, spec: ModelSpec) -> nn.Module:
        """Makes the module whose ``state_dict`` holds all that is trained or averaged.

        The method keeps a reference to it. Parameters that the optimiser must not train (those of a
        teacher) have ``requires_grad=False``. Nothing is downloaded when ``config`` names no
        pretrained weights.
        """
        ...

    def losses(self, batch: Mapping[str, Batch], progress: Progress) -> dict[str, Tensor]:
        """Named scalar losses, already weighted; the loop sums them and does nothing else.

        Random numbers must come from torch's default generator, which the loop seeds at each step.
        """
        ...

    def after_step(self, progress: Progress) -> None:
        """Runs after each optimiser step, without gradients; updates a teacher, for example."""
        ...

    def evaluate(self, data: TrainData) -> dict[str, float]:
        """Scores of the deployable network on ``data.validation``, by name."""
        ...

    def save_predictions(self, data: TrainData, path: Path) -> None:
        """Writes a PNG sheet of predictions on ``data.validation``."""
        ...

    def deployable(self) -> tuple[nn.Module, Manifest]:
        """The network to export, and its manifest.

        Segmentation: float32 [B,3,h,w] RGB 0..255, already resized, to logits float32 [B,K,h,w].
        The network normalises; the exporter adds the arg-max. Instances: to tensors of a form that
        the manifest names, see `trocar.export.graph.instances`.
        """
        ...


@runtime_checkable
class LearnsFromTeacher(Protocol):
    """A method that also learns from another trained model."""

    def teacher_origin(self) -> Mapping[str, Any]:
        """What checkpoints and bundles keep of that model; ``trained_on`` records its frames.

        Opens the model; called before the data are read, so that its faults are found first.
        """
        ...


def accepted_data(method: Method | type[Method]) -> tuple[str, ...]:
    """Extra data sets that a method can use, required ones first."""
    return (*method.required_data, *method.optional_data)
