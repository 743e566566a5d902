"""Config files: flat keys as YAML."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tlkeras.config.fields import keys
from tlkeras.config.run import RunConfig
from tlkeras.errors import ConfigError


def read_yaml(path: str | Path) -> dict[str, Any]:
    """Reads a config file: a YAML mapping of flat keys.

    Raises:
        ConfigError: when the file is missing, is not YAML, or is not a mapping.
    """
    import yaml

    try:
        values = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"no config file {str(path)!r}; `tlkeras config init` writes one") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read the config file {str(path)!r}: {error}") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{str(path)!r} is not YAML: {' '.join(str(error).split())}") from error
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise ConfigError(f"{str(path)!r} contains a {type(values).__name__}; expected `key: value` lines")
    return values


def to_yaml(values: Mapping[str, Any], *, comments: bool = False, config: type = RunConfig) -> str:
    """Writes flat keys as YAML, with each key's help as a comment when asked.

    Args:
        values: key -> value.
        comments: whether each key's help stands above it.
        config: the config that has the keys.
    """
    helps = {item.key: item.help for item in keys(config)}
    lines = []
    for name, value in values.items():
        if comments:
            lines.append(f"# {helps[name]}")
        # One JSON value per line: YAML reads it as it is, and a list of rules stays on its line.
        lines.append(f"{name}: {json.dumps(value, ensure_ascii=False)}")
    return "\n".join(lines) + "\n"
