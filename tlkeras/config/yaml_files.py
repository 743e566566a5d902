"""Config files: flat keys as YAML."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from tlkeras.config.fields import keys
from tlkeras.config.run import RunConfig
from tlkeras.errors import ConfigError, reason, shown
from tlkeras.files import check_format, read_regular

FORMAT = 1  # of config files
STATED = re.compile(r"^# tlkeras config, format (\d{1,9})$", re.MULTILINE)  # a comment: files that people write have none, and need none
LARGEST = 64 * 1024  # bytes of a config file; all keys with their comments take a fifth
DEEPEST = 8  # lists in lists of a config file


def read_yaml(path: str | Path) -> dict[str, Any]:
    """Reads a config file: a YAML mapping of flat keys, without tags, anchors and repeated keys.

    Raises:
        ConfigError: when the file is missing, is not YAML, is not a mapping, or is of a later tlkeras.
    """
    import yaml

    name = shown(str(path), 200)
    try:
        text = read_regular(path, LARGEST).decode("utf-8")
        values = yaml.load(text, Loader=_loader())
    except FileNotFoundError:
        raise ConfigError(f"no config file {name}; `tlkeras config init` writes one") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{name} is not YAML: {reason(error)}") from error
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read the config file {name}: {getattr(error, 'strerror', None) or error}") from error
    except (ValueError, TypeError, AttributeError, KeyError, IndexError, RecursionError) as error:  # dates and numbers that are none
        raise ConfigError(f"{name} has a value that YAML cannot hold: {reason(error)}") from error
    if stated := STATED.search(text):
        check_format(path, {"format": int(stated[1])}, ConfigError, FORMAT)
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise ConfigError(f"{name} contains a {type(values).__name__}; expected `key: value` lines")
    return values


@cache
def _loader() -> type:
    """Returns a reader of YAML that makes plain values only, and as many of them as the file spells out."""
    import yaml

    class Loader(yaml.SafeLoader):
        depth = 0

        def compose_node(self, parent: Any, index: Any) -> Any:
            if self.check_event(yaml.AliasEvent):
                raise yaml.composer.ComposerError(
                    None, None, "anchors and aliases are not read; write the value out", self.peek_event().start_mark
                )
            self.depth += 1
            if self.depth > DEEPEST:
                raise yaml.composer.ComposerError(None, None, f"more than {DEEPEST} lists in each other", self.peek_event().start_mark)
            node = super().compose_node(parent, index)
            self.depth -= 1
            return node

        def construct_mapping(self, node: Any, deep: bool = False) -> Any:
            keys = [key.value for key, _ in node.value if isinstance(key.value, str)]
            if len(set(keys)) < len(keys):
                twice = Counter(keys).most_common(1)[0][0]
                raise yaml.constructor.ConstructorError(None, None, f"the key {shown(twice)} is set twice", node.start_mark)
            return super().construct_mapping(node, deep)

    return Loader


def to_yaml(values: Mapping[str, Any], *, comments: bool = False, config: type = RunConfig) -> str:
    """Writes flat keys as YAML, with the number of the format as a comment, and each key's help when asked.

    Args:
        values: key -> value.
        comments: whether each key's help stands above it.
        config: the config that has the keys.
    """
    helps = {item.key: item.help for item in keys(config)}
    lines = [f"# tlkeras config, format {FORMAT}"]
    for name, value in values.items():
        if comments:
            lines.append(f"# {helps[name]}")
        # One JSON value per line: YAML reads it as it is, and a list of rules stays on its line.
        lines.append(f"{name}: {json.dumps(value, ensure_ascii=False)}")
    return "\n".join(lines) + "\n"
