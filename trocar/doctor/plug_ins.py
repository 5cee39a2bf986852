"""The check of plug-ins: each is imported and looked at.

check_plug_ins()[0].state      # "ok"
"""

from __future__ import annotations

from trocar.contract.errors import ConfigError
from trocar.contract.plug_ins import KINDS, load, plug_ins
from trocar.doctor.finding import Finding


def check_plug_ins() -> list[Finding]:
    """Every plug-in of every kind: its package, or why it does not work."""
    findings = []
    for kind in KINDS:
        for name, plug_in in plug_ins(kind).items():
            try:
                load(plug_in)
            except ConfigError as error:
                state, detail, remedy = "fail", error.message, error.remedy
            else:
                state, remedy = "ok", ""
                detail = f"{name} of {plug_in.package} {plug_in.version}"
            findings.append(
                Finding(
                    check=f"plug-in, {kind}",
                    state="ok" if state == "ok" else "fail",
                    detail=detail,
                    remedy=remedy,
                )
            )
    if findings:
        return findings
    return [Finding(check="plug-ins", state="absent", detail="no package adds any")]
