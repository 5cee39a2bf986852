"""Reads TOML with an error that names the file, on every Python that Trocar supports.

settings = read_toml(Path("recipe.toml"))
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from trocar.contract.errors import DataError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


def read_toml(path: str | Path) -> dict[str, Any]:
    """Reads one TOML file.

    Raises:
        DataError: The file is missing, unreadable, or not TOML (with line and column).
    """
    try:
        data: dict[str, Any] = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read {path}: {error}", remedy="check the path") from error
    except RecursionError as error:
        raise DataError(
            f"{path} is not TOML: it is nested too deeply", remedy="write flat tables"
        ) from error
    except ValueError as error:  # TOMLDecodeError, and numbers of thousands of digits.
        raise DataError(f"{path} is not TOML: {error}", remedy="mend the named line") from error
    return data
