"""The table and the contact sheets of `benchmarks/real_film.py`.

print(markdown([{"model": "good", "film": "Dataset1", **figures}]))
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from helpers.films.measure import Shown
from numpy.typing import NDArray

from trocar.contract.classes import ClassTable
from trocar.runtime.draw.overlay import OverlayOptions, Painter

ROWS = (
    ("frames (seconds)", "{frames} ({seconds})"),
    ("instruments a frame, true", "{true_count}"),
    ("instruments a frame, found", "{found_count}"),
    ("mean difference of the counts", "{count_difference}"),
    ("mean absolute difference", "{count_error}"),
    ("changes of the count a minute", "{count_changes_per_minute}"),
    ("missed a frame", "{missed_per_frame}"),
    ("added a frame", "{added_per_frame}"),
    ("right of those found", "{right_of_found}"),
    ("identities (instruments)", "{identities} ({instruments})"),
    ("identities an instrument, whole film", "{identities_per_instrument}"),
    ("new identities an instrument a minute", "{new_identities_per_instrument_minute}"),
    ("identity switches a minute", "{switches_per_minute}"),
    ("IDF1", "{IDF1}"),
    ("HOTA (DetA, AssA)", "{HOTA} ({DetA}, {AssA})"),
    ("tip distance, median, % of diagonal", "{tip_percent}"),
    ("tip distance, 95th percentile, %", "{tip_percent_p95}"),
    ("tips measured of true ones", "{tips_measured} of {tips_true}"),
    ("entry distance, median, % of diagonal", "{entry_percent}"),
    ("entries measured of true ones", "{entries_measured} of {entries_true}"),
    ("binary IoU", "{iou_binary}"),
    ("flicker, % of still pixels", "{flicker_percent}"),
    ("ms a frame after the network, median", "{after_network_ms}"),
    ("frames a second", "{frames_per_second}"),
)
"""Words and figures of the table's rows."""

WIDTH = 640
_COLOURS = ((255, 220, 60), (60, 220, 255), (255, 90, 200), (120, 255, 120))


def markdown(figures: list[dict[str, Any]]) -> str:
    """One column for each model and film."""
    names = [f"{one['model']}, {one['film']}" for one in figures]
    lines = ["| | " + " | ".join(names) + " |", "| --- |" + " ---: |" * len(names)]
    for words, form in ROWS:
        cells = [form.format(**one).replace("None", "–") for one in figures]
        lines.append(f"| {words} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def contact_sheet(shown: list[Shown], classes: ClassTable) -> NDArray[np.uint8]:
    """Overlay as `trocar run` draws it on the left, truth on the right; two frames a row."""
    painter = Painter(classes, OverlayOptions(reported_only=True))
    cells = []
    for one in shown:
        pair = np.hstack(
            [_small(painter.draw(one.image.copy(), one.result)), _small(_truth_picture(one))]
        )
        number = f"frame {one.result.frame_id}"
        cv2.putText(pair, number, (8, 20), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (255, 255, 255), 1)
        cells.append(np.pad(pair, ((3, 3), (3, 3), (0, 0)), constant_values=255))
    if len(cells) % 2:
        cells.append(np.full_like(cells[0], 255))
    return np.vstack([np.hstack(cells[i : i + 2]) for i in range(0, len(cells), 2)])


def _small(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    height = round(WIDTH * image.shape[0] / image.shape[1])
    return np.asarray(cv2.resize(image, (WIDTH, height), interpolation=cv2.INTER_AREA), np.uint8)


def _truth_picture(one: Shown) -> NDArray[np.uint8]:
    image = one.image.copy()
    size = image.shape[1], image.shape[0]
    for true in one.truth:
        colour = _COLOURS[(true.number - 1) % len(_COLOURS)]
        mask = cv2.resize(true.mask.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST_EXACT)
        image[mask > 0] = (0.55 * image[mask > 0] + 0.45 * np.array(colour)).astype(np.uint8)
        outline, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(image, outline, -1, colour, 2)
        for x, y in true.tips:
            cv2.drawMarker(image, (round(x), round(y)), (255, 255, 255), cv2.MARKER_CROSS, 22, 2)
        if true.entry is not None:
            x, y = true.entry
            cv2.circle(image, (round(x), round(y)), 9, (255, 255, 255), 2)
    return image
