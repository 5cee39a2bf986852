"""One file a command, found by file name; the function has the file's name.

find_command("import-onnx")     # trocar.cli; the function import_onnx of import_onnx.py
"""

HELP_SECTIONS = {
    "Start": ("demo", "doctor", "config", "wheelhouse"),
    "Data": ("data", "prelabel"),
    "Train and evaluate": ("train", "compare", "tune", "evaluate", "report"),
    "Export": ("export", "import-onnx", "engines", "inspect", "card", "sign", "verify"),
    "Run": ("run", "benchmark", "enroll"),
}
"""Order of `trocar --help`. A command that is not named here is listed in the section "Other"."""
