"""One source a file, found by file name: ``smp.py`` is ``trocar export --from smp``."""
