"""The table that `trocar doctor` prints.

print_findings(examine())
"""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from trocar.doctor.finding import Finding

_STYLES = {"ok": "green", "warn": "yellow", "fail": "bold red", "absent": "dim"}


def print_findings(findings: Sequence[Finding]) -> None:
    """Prints one row a finding: state, check, detail, and the remedy below the detail."""
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column()
    for finding in findings:
        detail = Text(finding.detail)
        if finding.remedy:
            detail.append(f"\n→ {finding.remedy}", style="dim" if finding.state == "absent" else "")
        state = Text(finding.state, style=_STYLES[finding.state])
        table.add_row(state, Text(finding.check, style="bold"), detail)
    Console().print(table)
