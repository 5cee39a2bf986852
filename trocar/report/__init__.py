"""One self-contained HTML page about runs, evaluations, bundles and latency.

from trocar.report.write import ReportSources, write_report
write_report(Path("report.html"), ReportSources(runs=(Path("runs/first"),)), title="First run")
"""
