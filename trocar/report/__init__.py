"""`trocar report`: one self-contained HTML file about runs, their evaluation, proof and latency.

trocar report runs/a runs/b --evaluation eval/ --bundle a.trocar --out report.html
"""

from trocar.commands.report import report

__all__ = ["report"]
