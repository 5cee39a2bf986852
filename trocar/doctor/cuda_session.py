"""Whether ONNX Runtime computes on the GPU: opens a CUDA session of one node and runs it.

check_cuda_session().state     # "ok" where CUDA and cuDNN work
"""

from __future__ import annotations

import json

from trocar.doctor.finding import Finding
from trocar.doctor.machine import check_driver
from trocar.doctor.probe import last_line, run_python

NAME = "ONNX Runtime on CUDA"

# An ONNX file (opset 20) of one node: Conv of x and w, both float32 [1,1,1,1], to y. A convolution,
# because it needs cuDNN as well.
ONE_NODE = (
    "CAk6awoPCgF4CgF3EgF5IgRDb252EgFnWhsKAXgSFgoUCAESEAoCCAEKAggBCgIIAQoCCAFaGwoBdxIWChQIARIQ"
    "CgIIAQoCCAEKAggBCgIIAWIbCgF5EhYKFAgBEhAKAggBCgIIAQoCCAEKAggBQgQKABAU"
)

# The errors of the runtime name what is missing; whatever else goes wrong is told as it is.
_CODE = """
import base64, json, pathlib
import numpy as np
from trocar.contract.errors import TrocarError
from trocar.runtime.backends import open_backend
try:
    model = base64.b64decode({model!r})
    backend = open_backend("onnxruntime", pathlib.Path("one_node.onnx"), device="cuda", data=model)
    one = np.ones((1, 1, 1, 1), np.float32)
    backend.session.run(None, {{"x": one, "w": one}})
    answer = {{"device": backend.device}}
except TrocarError as error:
    answer = {{"error": error.message, "remedy": error.remedy}}
print(json.dumps(answer))
"""


def check_cuda_session() -> Finding:
    """A CUDA session of ONNX Runtime, opened and run in a process of its own."""
    driver = check_driver()
    if driver.state in ("absent", "fail"):
        return Finding(check=NAME, state="absent", detail="not tried: no NVIDIA GPU that works")
    done = run_python(_CODE.format(model=ONE_NODE))
    if done.returncode:
        return Finding(
            check=NAME,
            state="fail",
            detail=f"the session fails while it runs: {last_line(done.stderr)}",
            remedy="pip install 'onnxruntime-gpu[cuda,cudnn]>=1.28', and check nvidia-smi",
        )
    answer = json.loads(done.stdout.splitlines()[-1])
    if "error" in answer:
        return Finding(check=NAME, state="fail", detail=answer["error"], remedy=answer["remedy"])
    return Finding(check=NAME, state="ok", detail=f"a session runs on {answer['device']}")
