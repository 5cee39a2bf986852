"""Trocar: from labelled surgical frames to instruments found in live video.

from trocar.runtime import Session
result = Session.open("model.trocar").run(frame)
"""

import os as _os

__version__ = "0.1.0"

# The wheels of ONNX Runtime 1.31 and later send usage statistics, and leave an identifier of the
# machine on its disk, unless this is set before they are imported.
_os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
