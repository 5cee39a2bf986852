"""The checks of `trocar doctor`.

from trocar.doctor.checks import examine
findings = examine()
"""
