"""Recipes: flat TOML files, one experiment each.

recipe_path("supervised")
"""

from pathlib import Path

from trocar.contract.config import unknown
from trocar.contract.errors import ConfigError


def recipe_names() -> list[str]:
    """Names of the recipes that come with Trocar."""
    return sorted(path.stem for path in Path(__file__).parent.glob("*.toml"))


def recipe_path(name: str | Path) -> Path:
    """A recipe's file: a path as it is, or the name of one that comes with Trocar.

    Raises:
        ConfigError: There is neither such a file nor such a recipe.
    """
    if Path(name).is_file():
        return Path(name)
    built_in = Path(__file__).parent / f"{name}.toml"
    if built_in.is_file():
        return built_in
    raise ConfigError(
        f"recipe {unknown(str(name), recipe_names())}",
        remedy="name a TOML file, or one of " + ", ".join(recipe_names()),
    )
