"""Shared parts of the classification methods: passes over a set, centroids, manifests, figures.

scores, embeddings = run_over(network, store, network)      # NumPy [N,K] and [N,D]
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from trocar.contract.bundle import write_atomic
from trocar.contract.manifest import Manifest
from trocar.contract.media.pictures import encode_picture
from trocar.train.data.classification.streams import PhotoStore
from trocar.train.methods.protocol import ModelSpec
from trocar.train.metrics.classification import classification_scores, unknown_threshold
from trocar.train.networks.class_prototypes import centroids_from, membership_of
from trocar.train.networks.embedding import SCALE, Embedder, EmbeddingConfig

BATCH = 32


def run_over(
    network: nn.Module,
    store: PhotoStore,
    forward: Callable[[Tensor], Any],
    *,
    positions: NDArray[np.int64] | None = None,
) -> list[NDArray[np.float32]]:
    """Outputs for the photographs of a store, in order, in evaluation mode.

    Args:
        network: Decides the device; its mode is restored afterwards.
        store: Photographs.
        forward: ``[B,3,h,w]`` to a tensor or a tuple of tensors.
        positions: Which photographs; default: all.

    Returns:
        One array an output.
    """
    device = next(network.parameters()).device
    training = network.training
    network.eval()
    wanted = np.arange(len(store)) if positions is None else positions
    parts: list[tuple[Tensor, ...]] = []
    try:
        for first in range(0, len(wanted), BATCH):
            with torch.no_grad():
                answer = forward(store.tensor(wanted[first : first + BATCH]).to(device))
            parts.append(answer if isinstance(answer, tuple) else (answer,))
    finally:
        network.train(training)
    return [torch.cat(column).float().cpu().numpy() for column in zip(*parts, strict=True)]


def update_centroids(network: Embedder, store: PhotoStore) -> None:
    """Computes the centroids from all photographs of a store, without augmentation."""
    (vectors,) = run_over(network, store, network.embed)
    owners = torch.from_numpy(store.photos.labels)
    centroids = centroids_from(
        torch.from_numpy(vectors), membership_of(owners, len(network.centroids))
    )
    network.centroids.copy_(centroids)


def evaluate_embedder(
    network: Embedder, train: PhotoStore, validation: PhotoStore, config: EmbeddingConfig
) -> dict[str, float]:
    """Updates centroids and threshold, and scores the deployable network on the validation set."""
    update_centroids(network, train)
    scores, _ = run_over(network, validation, network)
    truth = validation.photos.labels
    scale = SCALE if network.kind == "centroid" else None
    network.threshold.fill_(unknown_threshold(scores, truth, scale=scale))
    return classification_scores(
        truth,
        scores.argmax(1),
        table=train.photos.table,
        counts=train.photos.counts,
        many=config.many,
        few=config.few,
    )


def classifier_manifest(
    spec: ModelSpec, *, method: str, kind: str, scale: float | None, threshold: float,
    features: tuple[int, ...],
) -> Manifest:  # fmt: skip
    """A classifier's manifest, before export.

    Args:
        spec: Name, classes, input.
        method: Command name.
        kind: ``centroid``, ``local`` or ``head``.
        scale: Certainty is the best score over it; ``None`` for softmax.
        threshold: Certainty below which a photograph is unknown.
        features: Shape of one photograph's features.
    """
    about: dict[str, Any] = {
        "kind": kind,
        "scale": scale,
        "threshold": round(threshold, 6),
        "features": list(features),
    }
    return Manifest(
        name=spec.name,
        task="classification",
        method=method,
        classes=spec.classes,
        input=spec.input,
        extra={"classification": about},
    )


def embedder_manifest(network: Embedder, spec: ModelSpec, *, method: str) -> Manifest:
    """`classifier_manifest` of an `Embedder`."""
    return classifier_manifest(
        spec,
        method=method,
        kind=network.kind,
        scale=SCALE if network.kind == "centroid" else None,
        threshold=float(network.threshold),
        features=(int(network.centroids.shape[1]),),
    )


def draw_predictions(
    store: PhotoStore, predicted: NDArray[np.int64], path: Path, *, count: int = 24
) -> None:
    """Writes a PNG sheet of photographs with true and predicted class, spread over the set."""
    indices = np.unique(np.linspace(0, len(store) - 1, min(count, len(store))).round().astype(int))
    tiles = [_tile(store, int(index), int(predicted[index])) for index in indices]
    columns = min(6, len(tiles))
    blank = np.full_like(tiles[0], 255)
    tiles += [blank] * (-len(tiles) % columns)
    rows = [np.hstack(tiles[i : i + columns]) for i in range(0, len(tiles), columns)]
    write_atomic(path, encode_picture(np.vstack(rows), ".png"))


def _tile(store: PhotoStore, index: int, predicted: int, *, side: int = 168) -> NDArray[np.uint8]:
    table = store.photos.table
    truth = store.photos.items[index].label
    tile = np.full((side + 44, side + 12, 3), 255, np.uint8)
    shown = cv2.resize(store.pixels(index), (side, side), interpolation=cv2.INTER_CUBIC)
    tile[6 : 6 + side, 6 : 6 + side] = shown
    colour = (0, 110, 80) if predicted == truth else (190, 60, 0)
    lines = [(table[truth].name, (60, 60, 60)), (f"> {table[predicted].name}", colour)]
    for row, (text, text_colour) in enumerate(lines):
        short = text.encode("ascii", "replace").decode()
        short = short if len(short) <= 26 else short[:25] + "~"
        origin = (6, side + 20 + 16 * row)
        cv2.putText(
            tile, short, origin, cv2.FONT_HERSHEY_SIMPLEX, 0.38, text_colour, 1, cv2.LINE_AA
        )
    return tile
