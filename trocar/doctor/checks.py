"""The list of checks, and the function that runs them.

for finding in examine(): print(finding.check, finding.state)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor

from trocar.contract.text.words import first_line
from trocar.doctor.cuda_session import check_cuda_session
from trocar.doctor.finding import Finding
from trocar.doctor.machine import check_cameras, check_disk, check_driver, check_python
from trocar.doctor.packages import (
    check_codecs,
    check_onnxruntime,
    check_openvino,
    check_tensorrt,
    check_versions,
    check_webrtc,
    check_wheels,
)
from trocar.doctor.plug_ins import check_plug_ins
from trocar.doctor.torch_packages import check_torch

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
    check_webrtc,
    check_cameras,
    check_disk,
    check_plug_ins,
)


def examine(
    checks: Iterable[Callable[[], Finding | list[Finding]]] = CHECKS, *, load: bool = False
) -> list[Finding]:
    """Runs the checks, several at a time; the findings are in the order of the checks.

    A check that raises becomes a ``fail`` finding. ``load`` imports packages that take seconds.
    """

    def result_of(check: Callable[..., Finding | list[Finding]]) -> list[Finding]:
        options = {"load": True} if load and check is check_torch else {}
        return _result_of(check, **options)

    # Most checks wait for a process of their own.
    with ThreadPoolExecutor(max_workers=4) as pool:
        results = list(pool.map(result_of, checks))
    return [finding for result in results for finding in result]


def _result_of(check: Callable[..., Finding | list[Finding]], **options: bool) -> list[Finding]:
    try:
        result = check(**options)
    except Exception as error:
        result = Finding(
            check=check.__name__.removeprefix("check_"),
            state="fail",
            detail=f"the check raised: {first_line(error)}",
            remedy="report this fault with the output of `trocar doctor --json`",
        )
    return result if isinstance(result, list) else [result]
