"""Trocar: from labelled surgical frames to instruments found in live video.

from trocar.runtime import Session
result = Session.open("model.trocar").run(frame)
"""

__version__ = "0.1.0"
