"""nnU-Net v2: the folder of a trained 2D configuration, with plans.json and dataset.json.

found = read(SourceRequest(origin="nnunet", path=Path("nnUNetTrainer__nnUNetPlans__2d")))

The network takes whole frames, at the scale it was trained on; nnU-Net itself averages overlapping
patches and their mirror images. Deep supervision is off.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from trocar.contract.errors import ArgumentError, CheckpointError, DataError
from trocar.export.graph.imported.checkpoint import load_state, read_checkpoint, state_of
from trocar.export.sources.files import library, read_object, sides
from trocar.export.sources.normalisation import Affine, MinMax, Steps, ZScore
from trocar.export.sources.types import Found, SourceRequest

TAKES = ("weights",)

_NETWORKS = ("PlainConvUNet", "ResidualEncoderUNet")
_PACKAGE = "dynamic_network_architectures.architectures.unet"
_CHECKPOINT = "checkpoint_final.pth"
_LAYER_KEYS = ("conv_op", "norm_op", "dropout_op", "nonlin")


def read(request: SourceRequest) -> Found:
    """Finds network, weights, size, normalisation and class names.

    Raises:
        TrocarError: See `trocar.export.sources.open.open_source`.
    """
    folder = request.path
    plans = read_object(folder / "plans.json")
    dataset = read_object(folder / "dataset.json")
    weights = request.weights or _checkpoint(folder)
    content = read_checkpoint(weights)
    if not isinstance(content, Mapping) or "network_weights" not in content:
        raise CheckpointError(
            f"{weights} is no checkpoint of nnU-Net v2: it has no network_weights",
            remedy=f"name a {_CHECKPOINT} of nnU-Net v2 with --weights",
        )
    stated = content.get("init_args")
    name = str(stated.get("configuration") or "2d") if isinstance(stated, Mapping) else "2d"
    plan = _configuration(plans, name, folder)
    names = _names(dataset, folder)
    kind, arguments = _architecture(plan, name, folder)
    _check_input(plans, plan, dataset, folder)
    prepare, size = _normalisation(plans, plan, folder), _size(plan, arguments)
    architectures = library(_PACKAGE, "dynamic-network-architectures")

    def load(classes: int) -> nn.Module:
        if classes != len(names):
            raise DataError(
                f"the class table has {classes} classes; {folder}/dataset.json has {len(names)}",
                remedy="leave --classes out, or pass a table of the same classes in that order",
            )
        try:
            network: nn.Module = getattr(architectures, kind)(
                **arguments, input_channels=3, num_classes=classes, deep_supervision=False
            )
        except (TypeError, ValueError, AssertionError, RuntimeError) as error:
            raise ArgumentError(
                f"{kind} cannot be made from {folder}/plans.json: {error}",
                remedy="install the version of dynamic-network-architectures that trained it",
            ) from error
        load_state(network, state_of(content, weights), weights)
        return network.eval()

    return Found(
        task="segmentation",
        load=load,
        architecture=f"nnU-Net {kind}",
        weights=weights,
        size=size,
        prepare=prepare,
        names=names,
        notes=(
            "nnU-Net averages overlapping patches and mirrored predictions, and cuts black borders "
            "off first; the bundle runs the network once on the whole frame",
        ),
        provenance={
            "configuration": name,
            "plans": str(plans.get("plans_name", "")),
            "dataset": str(plans.get("dataset_name", "")),
            "trainer": str(content.get("trainer_name", "")),
            "normalisation": list(plan.get("normalization_schemes", ())),
        },
    )


def _checkpoint(folder: Path) -> Path:
    """The only final checkpoint of the folder."""
    found = sorted(folder.glob(f"fold_*/{_CHECKPOINT}"))
    if len(found) == 1:
        return found[0]
    listed = ", ".join(str(path.relative_to(folder)) for path in found) or "none"
    raise DataError(
        f"{folder} has {len(found)} final checkpoints ({listed}), expected one: a bundle holds one "
        "network",
        remedy=f"name one of them, e.g. --weights {folder}/fold_0/{_CHECKPOINT}",
    )


def _configuration(plans: Mapping[str, Any], name: str, folder: Path) -> dict[str, Any]:
    """One configuration of the plans, with what it inherits."""
    every = plans.get("configurations")
    chain: list[dict[str, Any]] = []
    parent: object = name
    while parent and isinstance(every, Mapping) and len(chain) <= len(every):
        if not isinstance(every.get(parent), dict):
            break
        chain.append(every[parent])
        parent = every[parent].get("inherits_from")
    if not chain:
        raise DataError(
            f"{folder}/plans.json has no configuration {name!r}",
            remedy="name the folder that nnUNetv2_train wrote, with its own plans.json",
        )
    plan = {key: value for part in reversed(chain) for key, value in part.items()}
    patch = plan.get("patch_size")
    if not isinstance(patch, list) or len(patch) != 2:
        raise ArgumentError(
            f"{folder} is the configuration {name}: it takes volumes "
            f"({len(patch) if isinstance(patch, list) else '?'}D patches), not frames",
            remedy="train the configuration 2d: nnUNetv2_train DATASET 2d FOLD",
        )
    if plan.get("previous_stage"):
        raise ArgumentError(
            f"{folder} is the configuration {name}, a cascade that needs the result of "
            f"{plan['previous_stage']}",
            remedy="train the configuration 2d: nnUNetv2_train DATASET 2d FOLD",
        )
    return plan


def _names(dataset: Mapping[str, Any], folder: Path) -> tuple[str, ...]:
    """Names of the labels in order of their values; the ignore label is no class."""
    labels = dataset.get("labels")
    values: dict[int, str] = {}
    for name, value in labels.items() if isinstance(labels, Mapping) else ():
        single = value[0] if isinstance(value, list) and len(value) == 1 else value
        if isinstance(single, list):
            raise ArgumentError(
                f"{folder}/dataset.json has regions (label {name!r} is {value}), which overlap; a "
                "label map has one class at a pixel",
                remedy="train with labels instead of regions",
            )
        if name != "ignore":
            values[int(single)] = str(name)
    if sorted(values) != list(range(len(values))) or not values:
        raise DataError(
            f"{folder}/dataset.json has the labels {sorted(values)}, expected 0, 1, 2, …",
            remedy="copy dataset.json from the folder that nnUNetv2_train wrote",
        )
    return tuple(values[i] for i in sorted(values))


def _architecture(plan: Mapping[str, Any], name: str, folder: Path) -> tuple[str, dict[str, Any]]:
    """Class name and arguments of the network; only layers of PyTorch are looked up by name."""
    described = plan.get("architecture") or _older(plan)
    kind = str(described.get("network_class_name", "")).rpartition(".")[2]
    if kind not in _NETWORKS:
        raise ArgumentError(
            f"{folder}: configuration {name} has the network "
            f"{described.get('network_class_name')!r}, expected {' or '.join(_NETWORKS)}",
            remedy="write a function that makes the network and pass --module PACKAGE:FUNCTION",
        )
    arguments = dict(described.get("arch_kwargs") or {})
    for key in {*_LAYER_KEYS, *(described.get("_kw_requires_import") or ())} & set(arguments):
        arguments[key] = _layer(arguments[key], key, folder)
    arguments.pop("deep_supervision", None)
    return kind, arguments


def _layer(name: object, key: str, folder: Path) -> type[nn.Module] | None:
    if name is None:
        return None
    package, _, last = str(name).rpartition(".")
    layer = getattr(nn, last, None) if package.startswith("torch.nn") else None
    if not (isinstance(layer, type) and issubclass(layer, nn.Module)):
        raise ArgumentError(
            f"{folder}/plans.json names {key} = {name!r}, expected a layer of torch.nn",
            remedy="write a function that makes the network and pass --module PACKAGE:FUNCTION",
        )
    return layer


def _older(plan: Mapping[str, Any]) -> dict[str, Any]:
    """The network of plans from before they described it (nnU-Net 2.0 to 2.2)."""
    try:
        stages = len(plan["n_conv_per_stage_encoder"])
        kind = plan["UNet_class_name"]
        widths = [
            min(plan["UNet_base_num_features"] * 2**i, plan["unet_max_num_features"])
            for i in range(stages)
        ]
        blocks = "n_conv_per_stage" if kind == "PlainConvUNet" else "n_blocks_per_stage"
        arguments = {
            "n_stages": stages,
            "features_per_stage": widths,
            "conv_op": "torch.nn.Conv2d",
            "kernel_sizes": plan["conv_kernel_sizes"],
            "strides": plan["pool_op_kernel_sizes"],
            blocks: plan["n_conv_per_stage_encoder"],
            "n_conv_per_stage_decoder": plan["n_conv_per_stage_decoder"],
            "conv_bias": True,
            "norm_op": "torch.nn.InstanceNorm2d",
            "norm_op_kwargs": {"eps": 1e-5, "affine": True},
            "nonlin": "torch.nn.LeakyReLU",
            "nonlin_kwargs": {"inplace": True},
        }
    except (KeyError, TypeError) as error:
        return {"network_class_name": f"unknown: {error}"}
    return {"network_class_name": kind, "arch_kwargs": arguments}


def _check_input(
    plans: Mapping[str, Any], plan: Mapping[str, Any], dataset: Mapping[str, Any], folder: Path
) -> None:
    """Refuses inputs that are no frames as they come from a video."""
    channels = dataset.get("channel_names") or dataset.get("modality") or {}
    reader = str(plans.get("image_reader_writer") or "NaturalImage2DIO")
    spacing = plan.get("spacing") or [1.0, 1.0]
    order = plans.get("transpose_forward") or [0, 1, 2]
    faults = []
    if len(channels) != 3:
        faults.append(f"it takes {len(channels)} channels ({', '.join(map(str, channels))}), not 3")
    if reader != "NaturalImage2DIO":
        faults.append(f"its images were read by {reader}, not as pictures")
    if [float(v) for v in spacing] != [1.0, 1.0]:
        faults.append(f"it resamples pixels to the spacing {spacing}")
    if list(order) != [0, 1, 2]:
        faults.append(f"it exchanges axes ({order})")
    if faults:
        raise ArgumentError(
            f"{folder} was not trained on colour pictures: {'; '.join(faults)}",
            remedy="train on PNG files with the channels red, green and blue",
        )


def _size(plan: Mapping[str, Any], arguments: Mapping[str, Any]) -> tuple[int, int] | None:
    """The median size of the training images, rounded up to what the network divides."""
    median = plan.get("median_image_size_in_voxels") or plan.get("patch_size") or ()
    if len(median) != 2:
        return None
    strides = arguments.get("strides") or []
    sizes = []
    for axis, side in enumerate(median):
        steps = [s[axis] if isinstance(s, list) else s for s in strides]
        unit = math.prod(int(step) for step in steps)
        sizes.append(math.ceil(float(side) / unit) * unit)
    return sides(sizes)


def _normalisation(plans: Mapping[str, Any], plan: Mapping[str, Any], folder: Path) -> nn.Module:
    """The normalisation of the plans; the same for the three channels."""
    schemes = plan.get("normalization_schemes") or []
    masks = plan.get("use_mask_for_norm") or [False] * 3
    if len(schemes) != 3 or len(set(schemes)) != 1:
        raise ArgumentError(
            f"{folder}/plans.json normalises the channels by {schemes}, expected one scheme for "
            "the three of them",
            remedy="pass --mean and --std, or train with one scheme",
        )
    if schemes[0] == "ZScoreNormalization":
        return Steps([ZScore(nonzero=any(masks))])
    if schemes[0] == "RGBTo01Normalization":
        return Steps([Affine(scale=1 / 255)])
    if schemes[0] == "RescaleTo01Normalization":
        return Steps([MinMax(channel_wise=True)])
    if schemes[0] == "NoNormalization":
        return Steps([])
    if schemes[0] == "CTNormalization":
        return Steps([_clipped(plans, folder)])
    raise ArgumentError(
        f"{folder}/plans.json names the normalisation {schemes[0]!r}, which nnU-Net lacks",
        remedy="write a module that normalises inside and pass --module PACKAGE:FUNCTION",
    )


def _clipped(plans: Mapping[str, Any], folder: Path) -> nn.Module:
    every = plans.get("foreground_intensity_properties_per_channel") or {}
    try:
        rows = [every[str(i)] for i in range(3)]
        low, high, mean, std = (
            [float(row[key]) for row in rows]
            for key in ("percentile_00_5", "percentile_99_5", "mean", "std")
        )
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"{folder}/plans.json lacks the intensities of its channels: {error}",
            remedy="copy plans.json from the folder that nnUNetv2_train wrote",
        ) from error
    scale = [1 / max(value, 1e-8) for value in std]
    offset = [-m * s for m, s in zip(mean, scale, strict=True)]
    return Affine(scale=scale, offset=offset, before=(low, high))
