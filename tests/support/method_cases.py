"""What each training method declares to the conformance suite; a new method needs one entry here.

    case = CASES["mean-teacher"]; case.terms[0].trains

A module's path is that of ``network.get_submodule``, where the network is what `Method.build` made.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from teacher_files import colour_teacher

from trocar.contract.plug_ins import load, plug_ins
from trocar.train.methods import own_methods
from trocar.train.methods.protocol import Progress

LATE = Progress(90, 100, 9, 10)
"""Late enough for every ramp to be up and for every term to be there."""


@dataclass(frozen=True, kw_only=True)
class Term:
    """One named loss.

    Attributes:
        name: Its key in what `Method.losses` returns.
        weight: Field of the configuration that it is proportional to; empty where it has none.
        trains: Modules that must get a finite gradient other than zero.
        spares: Modules that must get no gradient, even when their parameters require one.
        images: Streams of which every image must change the value; other streams must not.
        first: Only so many images of them, the first, must and may change it; 0 for all.
        labels: Streams of which every label map must change the value.
    """

    name: str
    weight: str = ""
    trains: tuple[str, ...]
    spares: tuple[str, ...] = ()
    images: tuple[str, ...]
    first: int = 0
    labels: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Case:
    """One method at a size that a CPU trains in seconds.

    Attributes:
        config: Settings, small; terms that are off by default are on.
        terms: All losses that the method has with these settings at `LATE`.
        deployed: The module that leaves training.
        frozen: Modules that the optimiser must not train.
        independent: Settings by which no image changes what the network makes of another.
        world: Processes that share one batch; 1 where each draws its own.
        shared: Settings with which a batch can be divided among them.
        exported_after: Training steps until it predicts more than background.
    """

    config: Mapping[str, Any]
    terms: tuple[Term, ...]
    deployed: str = ""
    frozen: tuple[str, ...] = ()
    independent: Mapping[str, Any] = field(default_factory=dict)
    world: int = 2
    shared: Mapping[str, Any] = field(default_factory=dict)
    exported_after: int = 10


SEGMENTER = {"size": (64, 80), "encoder": "tu-lcnet_050", "decoder_channels": 16}
EMBEDDER = {"size": (32, 32), "backbone": "test_resnet", "embedding_size": 16}
STILL = {"batch_norm": "frozen", "decoder_norm": "frozen", "dropout": 0.0}
TEACHER = str(colour_teacher((64, 80)))
"""A weak teacher, so that the labels decide and every loss can fall."""
PERTURBED = 7
"""Auxiliary decoders that cross-consistency has by default."""


def parts(network: str) -> tuple[str, ...]:
    """The trained parts of a segmentation network."""
    prefix = f"{network}." if network else ""
    return tuple(f"{prefix}{part}" for part in ("encoder", "aspp", "decoder"))


def supervised_terms(
    stream: str, network: str, *, spares: tuple[str, ...] = (), images: tuple[str, ...] = ()
) -> tuple[Term, ...]:
    """The terms that learn from labels: cross-entropy, Dice and texture."""
    return tuple(
        Term(
            name=name,
            weight=f"w_{name}",
            trains=parts(network),
            spares=spares,
            images=(stream, *images),
            labels=(stream,),
        )
        for name in ("ce", "dice", "texture")
    )


AUXILIARY = tuple(f"auxiliary.{index}" for index in range(PERTURBED))

OWN_CASES: Mapping[str, Case] = {
    "supervised": Case(
        config={**SEGMENTER, "w_texture": 0.1},
        terms=supervised_terms("labelled", ""),
        independent=STILL,
    ),
    "texture-entropy": Case(
        config=SEGMENTER,
        terms=(
            Term(
                name="texture",
                weight="w_texture",
                trains=parts(""),
                images=("labelled",),
                labels=("labelled",),
            ),
            Term(
                name="label",
                weight="w_label",
                trains=parts(""),
                images=("labelled",),
                labels=("labelled",),
            ),
            Term(
                name="dice",
                weight="w_dice",
                trains=parts(""),
                images=("labelled",),
                labels=("labelled",),
            ),
        ),
        independent=STILL,
    ),
    "mean-teacher": Case(
        config={**SEGMENTER, "w_texture": 0.1},
        terms=(
            # The source takes the target's colours.
            *supervised_terms("source", "student", spares=("teacher",), images=("target",)),
            Term(
                name="consistency",
                weight="w_consistency",
                trains=parts("student"),
                spares=("teacher",),
                images=("target",),
            ),
        ),
        deployed="teacher",
        frozen=("teacher",),
        independent=STILL,
    ),
    "cross-consistency": Case(
        config={**SEGMENTER, "w_texture": 0.1, "w_consistency": 7.5},
        terms=(
            *supervised_terms("labelled", "main", spares=("auxiliary",)),
            Term(
                name="consistency",
                weight="w_consistency",
                trains=("main.encoder", "main.aspp", *AUXILIARY),
                spares=("main.decoder",),
                images=("labelled", "unlabelled"),
            ),
        ),
        deployed="main",
        independent=STILL,
    ),
    "center-offset": Case(
        config={**SEGMENTER, "w_texture": 0.1, "max_instances": 3, "min_score": 0.01},
        terms=(
            *supervised_terms("labelled", "main", spares=("center_decoder",)),
            *(
                Term(
                    name=name,
                    weight=f"w_{name}",
                    trains=("main.encoder", "main.aspp", "center_decoder"),
                    spares=("main.decoder",),
                    images=("labelled",),
                    labels=("labelled",),
                )
                for name in ("center", "offset")
            ),
        ),
        independent=STILL,
        exported_after=40,
    ),
    "distillation": Case(
        config={**SEGMENTER, "w_texture": 0.1, "w_soft": 0.3, "teacher": TEACHER},
        terms=(
            *supervised_terms("labelled", ""),
            Term(
                name="soft",
                weight="w_soft",
                trains=parts(""),
                images=("labelled", "unlabelled"),
            ),
        ),
        independent=STILL,
    ),
    "classifier": Case(
        config=EMBEDDER,
        terms=(
            Term(
                name="ce",
                trains=("backbone", "project", "head"),
                images=("labelled",),
                labels=("labelled",),
            ),
        ),
    ),
    "head-triplet": Case(
        config={
            **EMBEDDER, "p": 3, "k": 2, "head_rule": "number", "head_number": 2, "many": 6,
            "few": 3, "margin": 1.0,
        },
        terms=(
            Term(
                name="head",
                trains=("backbone", "project", "head"),
                images=("head",),
                labels=("head",),
            ),
            Term(
                name="triplet",
                weight="w_triplet",
                trains=("backbone", "project"),
                spares=("head",),
                images=("total",),
                labels=("total",),
            ),
        ),
        shared={"p": 2},
    ),
    "few-shot": Case(
        config={
            "size": (48, 48), "channels": (8, 12, 16, 24), "ways": 3, "shots": 3, "queries": 2,
            "held_out": 0.0, "episodes": 8, "supports": 4, "augment": "none",
        },
        terms=(
            Term(name="query", trains=("extractor", "log_tau"), images=("episode",)),
            Term(
                name="support",
                weight="w_support",
                trains=("extractor", "log_tau"),
                images=("episode",),
                first=9,
            ),
        ),
        world=1,
    ),
}  # fmt: skip


def case_from(values: Mapping[str, Any]) -> Case:
    """The case that a plug-in's method states as plain values, see docs/plug-ins.md."""
    terms = [
        Term(**{n: tuple(v) if isinstance(v, list) else v for n, v in term.items()})
        for term in values["terms"]
    ]
    return Case(**{**values, "terms": tuple(terms)})


def plug_in_cases() -> dict[str, Case]:
    """Cases of the plug-ins that state one."""
    found = {n: load(one) for n, one in plug_ins("methods", own=own_methods()).items()}
    return {
        name: case_from(method.conformance)
        for name, method in found.items()
        if hasattr(method, "conformance")
    }


CASES: Mapping[str, Case] = {**OWN_CASES, **plug_in_cases()}
"""Every case, by command name of the method."""
