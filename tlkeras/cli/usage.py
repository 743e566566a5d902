"""Reports mistakes on the command line in one line: what was wrong, what was probably meant. Exit code 2."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from tlkeras.cli.echo import echo
from tlkeras.config.fields import CHARACTERS

# The class is Click's; newer releases of Typer bring their own copy of Click.
UsageError: Any = next(kind for kind in typer.BadParameter.__mro__ if kind.__name__ == "UsageError")

# What people type for a command: other tools' words -> ours.
COMMANDS: Mapping[str, str] = {
    **dict.fromkeys(("train", "fit", "tune", "fine-tune", "run", "learn"), "finetune"),
    **dict.fromkeys(("test", "eval", "score", "validate", "val", "metrics"), "evaluate"),
    **dict.fromkeys(("infer", "inference", "classify", "label", "ask"), "predict"),
    **dict.fromkeys(("convert", "quantize", "quantise", "save"), "export"),
    **dict.fromkeys(("serve", "deploy", "register"), "zoo publish"),
    **dict.fromkeys(("bench", "profile", "speed", "latency"), "benchmark"),
    **dict.fromkeys(("check", "doctor", "info", "env", "selftest"), "check-install"),
    **dict.fromkeys(("generate", "draw"), "sample"),
    **dict.fromkeys(("distribute", "distributed", "spawn", "mpirun"), "launch"),
    **dict.fromkeys(("download", "pull"), "weights fetch"),
    **dict.fromkeys(("models", "backbones", "list-backbones"), "finetune --list-backbones"),
    **dict.fromkeys(("choose", "select", "suggest", "advise"), "recommend"),
    "version": "--version",
    "help": "--help",
}

# What people type for an option: other tools' words -> ours, where a command has that option.
OPTIONS: Mapping[str, str] = {
    **dict.fromkeys(("--lr", "--rate", "--step-size"), "--learning-rate"),
    **dict.fromkeys(("--batch", "--bs", "--bsz"), "--batch-size"),
    **dict.fromkeys(("--model", "--arch", "--architecture", "--net"), "--backbone"),
    **dict.fromkeys(("--dataset", "--dir", "--folder", "--data-path", "--train", "--source", "--images"), "--data"),
    **dict.fromkeys(("--output", "--output-dir", "--outdir", "--save", "--save-dir", "--run", "-o"), "--out"),
    **dict.fromkeys(("--size", "--img-size", "--imgsz", "--resolution", "--input-size"), "--image-size"),
    **dict.fromkeys(("--format", "--formats", "--exports", "--to"), "--export"),
    **dict.fromkeys(("--export", "--format", "--to"), "--formats"),
    **dict.fromkeys(("--gpu", "--gpus", "--device", "--devices", "--strategy", "--distribute"), "--placement"),
    **dict.fromkeys(("--top", "--topk", "--k", "-k"), "--top-k"),
    **dict.fromkeys(("--max-examples", "--samples", "--n"), "--limit"),
    **dict.fromkeys(("--freeze", "--trainable"), "--unfreeze"),
    **dict.fromkeys(("--max-len", "--max-seq-length", "--seq-len", "--tokens"), "--max-length"),
    **dict.fromkeys(("--text-file", "--input", "--input-file", "--texts"), "--file"),
    **dict.fromkeys(("--checkpoint", "--pretrained", "--ckpt", "--init"), "--weights"),
    **dict.fromkeys(("--fp16", "--amp", "--half"), "--mixed-precision"),
    **dict.fromkeys(("--random-seed", "--random-state"), "--seed"),
    **dict.fromkeys(("--root", "--zoo-dir", "--models"), "--zoo"),
    **dict.fromkeys(("--verbose", "--traceback", "--trace"), "--debug"),
    **dict.fromkeys(("--silent", "-q"), "--quiet"),
    "-h": "--help",
}


class _OneLine:
    """Runs a command or a group; a mistake in its arguments is one line."""

    def main(self, *args: Any, standalone_mode: bool = True, **extra: Any) -> Any:
        if not standalone_mode:
            return super().main(*args, standalone_mode=False, **extra)  # type: ignore[misc]
        try:
            code = super().main(*args, standalone_mode=False, **extra)  # type: ignore[misc]
        except UsageError as error:
            code = error.exit_code
            if type(error).__name__ == "NoArgsIsHelpError":
                error.show()
            else:
                echo(f"error: {explained(error)}", err=True)
        except typer.Abort:
            echo("stopped", err=True)
            code = 1
        sys.exit(code if isinstance(code, int) else 0)


class Command(_OneLine, TyperCommand):
    """A command whose unexpected arguments say which option was probably meant."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if ctx.allow_extra_args or ctx.resilient_parsing:
            return super().parse_args(ctx, args)
        if ctx.allow_interspersed_args:
            self._check_dashes(ctx, args)
        ctx.allow_extra_args = True
        extra = super().parse_args(ctx, args)
        ctx.allow_extra_args = False
        if extra:
            raise UsageError(f"unexpected argument {extra[0]!r}; {self._meant(ctx, extra[0])}", ctx)
        self._check_empty(ctx)
        return extra

    def _check_empty(self, ctx: Any) -> None:
        """Refuses empty texts, which an unset variable of the shell leaves behind; as a path, they would be the current folder."""
        for parameter in self.params:
            value, is_option = ctx.params.get(parameter.name), parameter.param_type_name == "option"
            if (
                parameter.nargs == 1
                and value != parameter.default
                and any(
                    isinstance(text, str) and not (text if parameter.metavar == CHARACTERS else text.strip())
                    for text in (value if parameter.multiple else [value])
                )
            ):
                name = parameter.opts[0] if is_option else f"argument {parameter.metavar or parameter.name.upper()}"
                expected = f"; expected {parameter.metavar}, or leave it out" if is_option and parameter.metavar else ""
                raise UsageError(f"{name} is empty{expected}; see `{ctx.command_path} --help`", ctx)

    def _check_dashes(self, ctx: Any, args: list[str]) -> None:
        """Refuses `-epochs`, which would be read as the options -e, -p, -o, …"""
        flags = set(_flags(self))
        for arg in args[: args.index("--") if "--" in args else None]:
            name = arg.partition("=")[0]
            if len(name) > 2 and name[1] != "-" and f"-{name}" in flags:
                raise UsageError(f"no option {name!r} in `{ctx.command_path}`; did you mean `-{name}`?", ctx)

    def _meant(self, ctx: Any, value: str) -> str:
        flags = set(_flags(self))
        option = "--config" if re.search(r"\.ya?ml$", value) else "--data"
        if option == "--data" and "--backbone" in flags and _is_backbone(value):
            option = "--backbone"
        if option in flags:
            return f"did you mean {option} {value}?"
        return f"`{ctx.command_path} --help` shows what it accepts"


class Group(_OneLine, TyperGroup):
    """A group whose unknown commands name the near ones."""

    command_class = Command

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        name = args[0]
        if not name.startswith("-") and name not in self.commands and not ctx.resilient_parsing:
            raise UsageError(f"no command {name!r}; {self._meant(ctx, name)}", ctx)
        return super().resolve_command(ctx, args)

    def _meant(self, ctx: Any, name: str) -> str:
        """Returns the end of a message about an unknown command."""
        from tlkeras.errors import close_names

        visible = [key for key, command in self.commands.items() if not command.hidden]
        inner = {key: group for group in visible for key in getattr(self.commands[group], "commands", {})}
        word = name.lower().replace("_", "-")
        meant = [COMMANDS[word]] if COMMANDS.get(word, "-").split()[0] in (*visible, "--version", "--help") else []
        meant = meant or ([word] if word in visible else [f"{inner[word]} {word}"] if word in inner else [])
        words = {**{key: target for key, target in COMMANDS.items() if target.split()[0] in visible}, **{key: key for key in visible}}
        meant = meant or list(dict.fromkeys(words[key] for key in close_names(word, words)))
        if meant:
            return "did you mean " + " or ".join(f"`{ctx.command_path} {name}`" for name in meant) + "?"
        return f"the commands are {', '.join(visible)}"


def explained(error: Any) -> str:
    """Returns a usage error as one line."""
    name = getattr(error, "option_name", None)
    if name and type(error).__name__ == "NoSuchOption":
        return _unknown_option(name, error.ctx)
    text = " ".join(str(error.format_message()).split())
    path = f"; see `{error.ctx.command_path} --help`" if error.ctx is not None and ";" not in text else ""
    return f"{text[:1].lower()}{text[1:]}".removesuffix(".") + path


def _unknown_option(name: str, ctx: Any) -> str:
    from tlkeras.errors import close_names

    flags, path = list(_flags(ctx.command)), ctx.command_path
    word = name.lower().replace("_", "-")
    meant = [word] if word in flags else [OPTIONS[word]] if OPTIONS.get(word) in flags else close_names(word, flags)
    if meant:
        return f"no option {name!r} in `{path}`; did you mean {' or '.join(f'`{flag}`' for flag in meant)}?"
    group = ctx if hasattr(ctx.command, "commands") else ctx.parent
    others = [key for key, other in group.command.commands.items() if name in _flags(other)][:3] if group else []
    if others:  # typed before the command, or for a command of its own
        return f"no option {name!r} in `{path}`; it is an option of {' and '.join(f'`{group.command_path} {key}`' for key in others)}"
    if not name.startswith("--") and any(parameter.nargs == -1 for parameter in ctx.command.params):
        return f"no option {name!r} in `{path}`; write -- before values that begin with -"
    return f"no option {name!r} in `{path}`; `{path} --help` lists them"


def _flags(command: Any) -> Iterator[str]:
    for parameter in command.params:
        if parameter.param_type_name == "option":
            yield from (*parameter.opts, *parameter.secondary_opts)
    yield "--help"


def _is_backbone(value: str) -> bool:
    from tlkeras.backbones.registry import BACKBONES

    return value in BACKBONES
