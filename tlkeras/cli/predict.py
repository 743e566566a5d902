"""`tlkeras predict`: label and score of images, texts or sequences."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import typer

from tlkeras.cli import complete
from tlkeras.cli.echo import echo, echo_json

if TYPE_CHECKING:
    from tlkeras.evaluation.prediction import Prediction

HELP = """Print label and score of each image, text or sequence.

RUN_OR_ARTIFACT is the folder of a run, a .keras model, an artifact (SavedModel folder, .tflite, .onnx) or NAME[/VERSION] of the zoo.

For images, FILE_OR_TEXT is a file, a folder (every image in it) or a quoted pattern such as "photos/**/*.jpg". For texts, it is the text itself.

The argument - reads standard input: one text per line, one path per line, or the bytes of one image.

An input that cannot be read is reported on its own line and the rest continue. The exit code is then 1.
"""


def command(
    target: str = typer.Argument(
        help="Model to use: a run, a model, an artifact or an entry of the zoo.",
        metavar="RUN_OR_ARTIFACT",
        autocompletion=complete.run_folders,
    ),
    files: list[str] = typer.Argument(
        None, help="Files, folders, patterns or texts; - reads standard input.", metavar="FILE_OR_TEXT...", show_default=False
    ),
    file: list[str] = typer.Option(
        [],
        "--file",
        help="Texts to classify: the lines of a .txt, the text column of a .csv, .tsv, .jsonl or .parquet, or a folder of .txt files.",
        metavar="FILE",
        show_default=False,
    ),
    top_k: int | None = typer.Option(
        None, "--top-k", help="Number of labels to print, best first. [default: 1; with --json all]", min=1, show_default=False, metavar="N"
    ),
    runtime: str | None = typer.Option(
        None,
        "--runtime",
        help="keras, tensorflow, litert or onnxruntime, or a format such as tflite-int8. [default: that of RUN_OR_ARTIFACT]",
        show_default=False,
        metavar="NAME",
    ),
    json_out: bool = typer.Option(False, "--json", help="Print one JSON object per line: file, label, score, scores; or file, error."),
    root: str | None = typer.Option(
        None, "--zoo", help="Folder of the zoo. [default: $TLKERAS_ZOO, else zoo/models]", show_default=False, metavar="DIR"
    ),
    debug: bool = typer.Option(False, "--debug", help="Show tracebacks."),
) -> None:
    from pathlib import Path

    sources: list[Any] = [*(files or []), *(Path(path) for path in file)]
    _check(target, sources, bool(file), runtime, root, json_out)
    from tlkeras.cli.screen import start_tensorflow

    start_tensorflow()
    from tlkeras.errors import printable
    from tlkeras.jobs.opening import load

    model = load(target, runtime=runtime, zoo=root)
    _check_reads_texts(target, bool(file), model.inputs.modality)
    listed = _with_standard_input(sources, model.inputs)
    answers = model.predict_each(listed, top_k=top_k if json_out else top_k or 1, tell=lambda text: echo(printable(text), err=True))
    if not _print(answers, json_out):
        raise typer.Exit(1)


def _check(target: str, sources: list[Any], has_file: bool, runtime: str | None, root: str | None, json_out: bool) -> None:
    """Reports mistyped names before TensorFlow loads."""
    from tlkeras.errors import ConfigError
    from tlkeras.jobs.lookup import check_runtime, find
    from tlkeras.jobs.preflight import modality_of_target

    if not sources:
        raise ConfigError("nothing to predict; pass files, folders or texts, --file FILE with texts, or - to read standard input")
    if sources.count("-") > 1:
        raise ConfigError("- is given twice; standard input can be read only once")
    located = find(target, root)
    check_runtime(located, runtime)
    modality = modality_of_target(located)
    if modality is None:
        return
    _check_reads_texts(target, has_file, modality.name)
    if modality.strings_are_paths and _all_absent(sources, json_out):
        raise typer.Exit(1)


def _check_reads_texts(target: str, has_file: bool, modality: str) -> None:
    from tlkeras.errors import ConfigError
    from tlkeras.modalities.registry import MODALITIES

    row = MODALITIES.get(modality)
    if has_file and row.strings_are_paths:
        raise ConfigError(f"--file reads texts, and {target} takes {row.plural}; pass their paths, or - with one path per line")


def _print(answers: Iterable[Prediction], json_out: bool) -> bool:
    """Prints each answer; returns whether every input could be read."""
    from tlkeras.errors import printable

    failed = 0
    for answer in answers:
        if answer.error is not None:
            failed += 1
            echo(f"error: {printable(answer.error)}", err=True)
        if json_out:
            echo_json(answer.to_dict(), None)
        elif answer.error is None:
            echo("\t".join([_one_line(answer.file), *map(printable, answer.cells())]))
    return not failed


def _all_absent(sources: list[Any], json_out: bool) -> bool:
    """Whether no source names a file; says so of each."""
    from tlkeras.data.sources.listing import absent
    from tlkeras.errors import printable

    errors = {source: None if source == "-" else absent(source) for source in sources}
    if not all(errors.values()):
        return False
    for source, error in errors.items():
        echo(f"error: {printable(str(error))}", err=True)
        if json_out:
            echo_json({"file": source, "error": error}, None)
    return True


MOST_INPUT = 1024**3  # bytes of standard input, which are kept in memory


def _with_standard_input(sources: list[Any], inputs: Any) -> list[Any]:
    """Returns what to predict, with what standard input holds in the place of -."""
    import sys

    from tlkeras.errors import DataError
    from tlkeras.modalities.items import standard_input

    listed: list[Any] = []
    for source in sources:
        if source != "-":
            listed.append(source)
            continue
        content = sys.stdin.buffer.read(MOST_INPUT + 1)
        if len(content) > MOST_INPUT:
            raise DataError(f"standard input has more than {MOST_INPUT:,} bytes; pass files instead")
        listed += standard_input(content, inputs)
    return listed


def _one_line(text: str) -> str:
    """Returns a text without line breaks and tabs, which separate answers and their parts, and without what a terminal obeys."""
    from tlkeras.errors import printable

    return printable(" ".join(text.split()) if any(mark in text for mark in "\n\r\t") else text)
