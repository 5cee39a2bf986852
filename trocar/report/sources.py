"""Reads the files of `trocar train`, `evaluate` and `run` for the report.

run = read_run(Path("runs/first"))
print(run.history[-1]["step"])
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trocar.contract.errors import DataError
from trocar.contract.media.pictures import read_image
from trocar.contract.text.outside_json import load_json
from trocar.evaluation.output import EVALUATION


@dataclass(frozen=True, kw_only=True)
class Run:
    """A finished or running training run.

    Attributes:
        name: The folder's name.
        metrics: ``metrics.json``; empty while the run is not finished.
        history: Lines of ``history.jsonl``.
        command: The command line that made it.
    """

    name: str
    metrics: Mapping[str, Any]
    history: tuple[Mapping[str, Any], ...]
    command: str

    def losses(self) -> dict[str, list[tuple[float, float]]]:
        """Curves of every loss term and of their sum, by name."""
        curves: dict[str, list[tuple[float, float]]] = {}
        for line in self.history:
            if "loss" in line:
                curves.setdefault("loss", []).append((line["step"], line["loss"]))
                for name, value in line.get("losses", {}).items():
                    curves.setdefault(name, []).append((line["step"], value))
        return curves

    def scores(self, names: tuple[str, ...]) -> dict[str, list[tuple[float, float]]]:
        """Curves of the named validation scores that the run has."""
        curves: dict[str, list[tuple[float, float]]] = {}
        for line in self.history:
            for name in names:
                value = line.get("scores", {}).get(name)
                if value is not None:
                    curves.setdefault(name, []).append((line["step"], value))
        return curves


@dataclass(frozen=True, kw_only=True)
class EvaluationFile:
    """An evaluation and its images.

    Attributes:
        folder: Its folder.
        data: ``evaluation.json``.
    """

    folder: Path
    data: Mapping[str, Any]

    @property
    def names(self) -> list[str]:
        """Class names in order of id."""
        return [row["name"] for row in self.data["classes"]]

    def images(self, kind: str) -> list[tuple[NDArray[np.uint8], str]]:
        """Images of the ``worst``, ``median`` or ``best`` frames, and the frame's name and score.

        Returns:
            ``[H, W, 3]`` uint8 RGB each; an image that is not in the folder is left out.

        Raises:
            DataError: An image cannot be decoded.
        """
        frames = {row["name"]: row["iou_mean"] for row in self.data.get("frames", [])}
        pictured = self.data.get("pictured", {})
        images = []
        for file in self.data.get("pictures", {}).get(kind, []):
            path = self.folder / Path(file).name
            if not path.is_file():
                continue
            name = pictured.get(file)
            score = frames.get(name)
            details = "" if score is None else f", {name}, iou_mean {score:.3f}"
            images.append((read_image(path), details))
        return images

    def alarms(self) -> list[tuple[NDArray[np.uint8], str]]:
        """Images of the negative control, and what each shows; raises as `images` does."""
        pictured = self.data.get("pictured", {})
        files = self.data.get("pictures", {}).get("negative", [])
        paths = [(self.folder / Path(file).name, str(pictured.get(file, ""))) for file in files]
        return [(read_image(path), shown) for path, shown in paths if path.is_file()]


def read_run(path: Path) -> Run:
    """Reads a run folder.

    Raises:
        DataError: It is no run folder, or a file in it cannot be read.
    """
    history = path / "history.jsonl"
    if not history.is_file():
        raise DataError(
            f"{path} is no run folder: there is no {history.name} in it",
            remedy="name a folder that `trocar train … --out` wrote",
        )
    lines = []
    for line in history.read_text(encoding="utf-8").splitlines():
        try:
            lines.append(load_json(line))
        except ValueError:
            # A run that was killed may have an incomplete last line.
            continue
    metrics = path / "metrics.json"
    command = path / "command.txt"
    return Run(
        name=path.name,
        metrics=read_json(metrics) if metrics.is_file() else {},
        history=tuple(lines),
        command=command.read_text(encoding="utf-8").strip() if command.is_file() else "",
    )


def read_evaluation(path: Path) -> EvaluationFile:
    """Reads the folder that `trocar evaluate --out` wrote.

    Raises:
        DataError: The folder has no ``evaluation.json``.
    """
    file = path / EVALUATION
    if not file.is_file():
        raise DataError(
            f"{path} holds no {EVALUATION}", remedy="name a folder of `trocar evaluate … --out`"
        )
    return EvaluationFile(folder=path, data=read_json(file))


def read_latency(path: Path) -> dict[str, dict[str, float]]:
    """Milliseconds per stage of the first stream that `trocar run --metrics` describes.

    Raises:
        DataError: The file has another content.
    """
    try:
        stages = load_json(path.read_text(encoding="utf-8"))[0]["stages_ms"]
        return {str(stage): dict(values) for stage, values in stages.items()}
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise DataError(
            f"{path} holds no latencies: {error}",
            remedy="name the JSON of `trocar run … --metrics`",
        ) from error


def read_json(path: Path) -> dict[str, Any]:
    """Reads a JSON object.

    Raises:
        DataError: It is missing or is no JSON object.
    """
    try:
        data = load_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(
            f"cannot read {path}: {error}", remedy="repeat the command that wrote it"
        ) from error
    if not isinstance(data, dict):
        raise DataError(f"{path} is no JSON object", remedy="repeat the command that wrote it")
    return data
