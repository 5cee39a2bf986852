"""Whether recipes may be compared: what two of them have in common must be equal.

    check_fair(entries, allowed=("w_dice",))

A method that trains with another rate, decoder or augmentation than its baseline is compared for
these as well. So every setting that two recipes share must be equal, unless the user allows it to
differ. Settings of a method's own term are free where the methods differ.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trocar.contract.config import fields_of, to_mapping, unknown
from trocar.contract.errors import ConfigError
from trocar.train.data.config import DataConfig
from trocar.train.methods import find_method
from trocar.train.run import convert_settings, data_settings
from trocar.train.state.settings import RunConfig

SAME_AS: Mapping[str, str] = {"w_label": "w_ce"}
"""Settings that are the same thing under another name."""

OF_A_METHOD = frozenset(
    {
        "alternate_losses", "attention_gradient", "comparison", "fusion", "k", "margin", "p",
        "rampup_fraction", "sampling", "smoothing", "texture_distance", "texture_from",
        "texture_mode", "w_consistency", "w_texture", "w_triplet",
    }
)  # fmt: skip
"""Settings of a method's own term; they may differ between methods, not within one."""

FOLLOWS: Mapping[str, tuple[str, ...]] = {"encoder_weights": ("batch_norm", "decoder_norm")}
"""Settings that follow from another one: where that may differ, so may these, unless stated."""

NOT_OF_THE_RESULT = frozenset(
    {"seed", "device", "devices", "nodes", "workers", "save_every", "log_every", "cache_mb"}
)
"""Settings that do not change what is trained, and the seed, which the comparison sets."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One recipe of a comparison.

    Attributes:
        name: The file's stem.
        path: The file.
        method: The method that it is for.
        settings: Its settings by name.
    """

    name: str
    path: Path
    method: str
    settings: Mapping[str, Any]


def check_fair(entries: Sequence[Entry], *, allowed: Iterable[str] = ()) -> None:
    """Refuses recipes that differ in a setting that they share.

    Args:
        entries: The recipes.
        allowed: Settings that may differ.

    Raises:
        ConfigError: A setting differs; all of them are named with their values. Or a recipe has a
            wrong setting, or ``allowed`` names what is none.
    """
    complete = {entry.name: _complete(entry) for entry in entries}
    known = set().union(*complete.values()) - NOT_OF_THE_RESULT
    permitted = {name.strip().replace("-", "_") for name in allowed}
    wrong = [unknown(name, sorted(known)) for name in sorted(permitted - known)]
    if wrong:
        raise ConfigError(
            "--allow-different: setting " + "; ".join(wrong), remedy="name a setting of the recipes"
        )
    stated = set().union(*(entry.settings for entry in entries))
    permitted |= {name for one in permitted for name in FOLLOWS.get(one, ()) if name not in stated}
    faults = []
    for name in sorted(known - permitted):
        holders = [entry for entry in entries if name in complete[entry.name]]
        one_method = len({entry.method for entry in holders}) == 1
        if name in OF_A_METHOD and not one_method:
            continue
        values = {entry.name: complete[entry.name][name] for entry in holders}
        if len(set(map(str, values.values()))) > 1:
            faults.append((name, ", ".join(f"{who} {value}" for who, value in values.items())))
    if faults:
        names = [name for name, _ in faults]
        raise ConfigError(
            "the recipes differ in "
            + "; ".join(f"{name} ({values})" for name, values in faults)
            + ": the comparison would be one of these settings too",
            remedy="give all the same, e.g. with "
            + " ".join(f"--set {name}=VALUE" for name in names)
            + ", or allow it with "
            + " ".join(f"--allow-different {name}" for name in names),
        )


def _complete(entry: Entry) -> dict[str, Any]:
    """All settings of a recipe, defaults included, as far as its method uses them."""
    method = find_method(entry.method)
    kinds = (method.Config, DataConfig, RunConfig)
    configs = convert_settings(kinds, entry.settings, method=entry.method, source=str(entry.path))
    used = set(data_settings(method))
    unused = {spec.name for spec in fields_of(DataConfig)} - used
    values = {name: value for one in configs for name, value in to_mapping(one).items()}
    epochs = values.pop("epochs")
    if epochs:  # they decide
        values["steps"] = f"{epochs} epochs"
    return {SAME_AS.get(name, name): value for name, value in values.items() if name not in unused}
