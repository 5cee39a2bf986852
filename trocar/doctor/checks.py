"""The list of checks, and the function that runs them.

for finding in examine(): print(finding.check, finding.state)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from trocar.contract.text.words import first_line
from trocar.doctor.cuda_session import check_cuda_session
from trocar.doctor.finding import Finding
from trocar.doctor.machine import check_cameras, check_disk, check_driver, check_python
from trocar.doctor.packages import (
    check_codecs,
    check_onnxruntime,
    check_openvino,
    check_tensorrt,
    check_torch,
    check_versions,
    check_wheels,
)
from trocar.doctor.plug_ins import check_plug_ins

CHECKS: tuple[Callable[[], Finding | list[Finding]], ...] = (
    check_python,
    check_wheels,
    check_versions,
    check_torch,
    check_driver,
    check_onnxruntime,
    check_cuda_session,
    check_tensorrt,
    check_openvino,
    check_codecs,
    check_cameras,
    check_disk,
    check_plug_ins,
)


def examine(checks: Iterable[Callable[[], Finding | list[Finding]]] = CHECKS) -> list[Finding]:
    """Runs the checks in order; a check that raises becomes a ``fail`` finding."""
    findings: list[Finding] = []
    for check in checks:
        try:
            result = check()
        except Exception as error:
            result = Finding(
                check=check.__name__.removeprefix("check_"),
                state="fail",
                detail=f"the check raised: {first_line(error)}",
                remedy="report this fault with the output of `trocar doctor --json`",
            )
        findings += result if isinstance(result, list) else [result]
    return findings
