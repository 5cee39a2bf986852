"""JSON of other programs: as lenient as `json`, but without errors that no caller expects.

load_json(b'{"images": []}')      # {'images': []}
"""

from __future__ import annotations

import json
from typing import Any


def load_json(text: str | bytes) -> Any:
    """Parses JSON as `json.loads` does; NaN and infinities are taken.

    Raises:
        ValueError: It is no JSON, or is nested more deeply than Python can read.
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
