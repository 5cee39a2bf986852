"""Trains the small model of phantom instruments that the package ships, and packs it.

scripts/train_demo_model.py WORK            # frames and run in WORK, about 15 minutes on two cores
scripts/train_demo_model.py WORK --pack     # only packs a run that is there
"""

from __future__ import annotations

import json
import shlex
from dataclasses import replace
from pathlib import Path

import click

from trocar.cli import cli
from trocar.contract.bundle import sha256_of, write_atomic
from trocar.demo.model import RECORD, SHIPPED
from trocar.train.state.checkpoint import BEST, read_checkpoint, save_checkpoint

FRAMES = (
    "data phantom frames --count 1000 --size 320x256 --difficulty 0.3 --masks parts "
    "--clip-length 2 --val-test-fractions 0.1 0 --seed 1"
)
TRAINING = (
    "train supervised frames --out run --name phantom --steps 3200 --batch-size 4 --size 192x160 "
    "--augmentation light --encoder tu-mobilenetv4_conv_small_050 --channels-last "
    "--decoder-channels 64 --lr 0.004 --evaluate-every 800 --seed 0"
)
LARGEST = 3_000_000
"""Bytes that the packed model may have."""


@click.command()
@click.argument("work", type=click.Path(path_type=Path, file_okay=False))
@click.option("--pack", is_flag=True, help="Pack WORK/run; make and train nothing.")
def main(work: Path, pack: bool) -> None:
    """Write trocar/demo/phantom.ckpt and phantom.json."""
    if not pack:
        for command in (FRAMES, TRAINING):
            _execute(command, work)
    checkpoint = read_checkpoint(work / "run" / BEST)
    # The frames are made anew from a seed: their folder and fingerprints say nothing to a user.
    plain = replace(
        checkpoint,
        optimizer={},
        source={"command": f"trocar {TRAINING}", "data": {"data": f"trocar {FRAMES}"}},
    )
    save_checkpoint(SHIPPED, plain)
    if SHIPPED.stat().st_size > LARGEST:
        raise click.ClickException(f"{SHIPPED} has {SHIPPED.stat().st_size} bytes, not {LARGEST}")
    record = {
        "commands": [f"trocar {FRAMES}", f"trocar {TRAINING}"],
        "step": checkpoint.step,
        "validation": checkpoint.state["best"]["scores"],
        "sha256": sha256_of(SHIPPED),
    }
    write_atomic(RECORD, json.dumps(record, indent=1).encode() + b"\n")
    click.echo(f"wrote {SHIPPED} ({SHIPPED.stat().st_size} bytes) and {RECORD}")


def _execute(command: str, work: Path) -> None:
    words = shlex.split(command)
    place = {"frames": work / "frames", "run": work / "run"}
    cli.main([str(place.get(word, word)) for word in words], standalone_mode=False)


if __name__ == "__main__":
    main()
