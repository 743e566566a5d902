"""From a run to an entry of the zoo: its artifacts, the files that TensorFlow Serving needs, and its card."""

from __future__ import annotations

import csv
import tempfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from tlkeras import files
from tlkeras.backbones.row import Backbone
from tlkeras.data import sheets
from tlkeras.data.sources.registry import PASSED, is_passed, kind_of
from tlkeras.errors import DataError, ZooError, reason
from tlkeras.export import clients, verification
from tlkeras.export.checksum import measure
from tlkeras.export.manifest import interface_of
from tlkeras.export.parity import Samples
from tlkeras.jobs import backbone_record, finetune, run_folder
from tlkeras.jobs.lookup import to_publish
from tlkeras.jobs.run_folder import Run
from tlkeras.progress import AUTO, Reporter, resolve
from tlkeras.registry import load_function
from tlkeras.tasks.registry import task_named
from tlkeras.weights.sources import NAMED
from tlkeras.zoo import contents, network, serving
from tlkeras.zoo.card import card, encoded_input
from tlkeras.zoo.entry_recipes import EntryRecipe
from tlkeras.zoo.store import CARD, Entry, Zoo

UNKNOWN = "not stated"


def publish(
    target: str | Path,
    name: str,
    zoo: Zoo,
    *,
    data_licence: str | None = None,
    data_source: str | None = None,
    sign: Callable[[bytes, str], bytes] | None = None,
    reporter: Reporter | str | None = AUTO,
) -> Entry:
    """Publishes a run as the next version of an entry.

    Args:
        target: folder of a run with a SavedModel among its artifacts.
        name: name of the entry.
        zoo: zoo to publish to.
        data_licence: licence of the examples, for the card; that of the run's own source, if known, when None.
        data_source: origin of the examples, for the card; the run's own source when None.
        sign: from `tlkeras.zoo.signing.signer`, to sign it; None for no signature.
        reporter: receives warnings; None for silence.

    Returns:
        The entry; `models.config` and `compose.yaml` of the zoo are renewed.

    Raises:
        DataError: when it is not a finished run.
        ZooError: when its artifacts cannot form an entry.
    """
    run, exported = to_publish(target)
    if not (data_licence and data_source) and is_passed(run_folder.read_config(run).data.source or ""):
        resolve(reporter).warn(
            "this run was trained on arrays, so the source and the licence of the data are not known; "
            "pass --data-source and --data-licence (data_source= and data_licence=)"
        )
    _check_model(run)
    content = _content(run, exported, data_licence, data_source)
    entry = zoo.publish(name, partial(_fill, run=run, exported=exported, name=name, content=content), sign)
    renew(zoo)
    return entry


def _check_model(run: Run) -> None:
    """Refuses a model that is not the one whose artifacts were verified; runs of before its hash was recorded pass."""
    recorded = run_folder.read_json(run.metrics).get("model", {}).get("sha256")
    if recorded and measure(run.model)[1] != recorded:
        raise ZooError(f"{str(run.model)!r} has changed since the run wrote it, and its artifacts are of the model before; fine-tune again")


def promote(zoo: Zoo, entry: Entry) -> Entry:
    """Makes an entry the stable version of its name, and renews the files for TensorFlow Serving."""
    entry = zoo.promote(entry.name, entry.version)
    renew(zoo)
    return entry


def renew(zoo: Zoo) -> None:
    """Writes `models.config` and `compose.yaml` of a zoo, for TensorFlow Serving."""
    if zoo.root.is_dir():
        with files.locked(zoo.root):  # two publishers: the second one lists what the first one published
            files.write(zoo.root / serving.CONFIG, serving.models_config(zoo, resolve(AUTO).warn))
            files.write(zoo.root / serving.COMPOSE, serving.compose_file())


def _fill(folder: Path, *, run: Run, exported: Mapping[str, Any], name: str, content: dict[str, Any]) -> dict[str, Any]:
    """Copies what was exported, the SavedModel's files into the folder itself, and adds warm-up and card."""
    contents.copy_artifacts(run.exports, folder, exported)
    contents.copy_file(run.model, folder / run.model.name)
    stored = verification.read(run.exports, interface_of(exported))
    serving.write_warmup(folder, warmup_requests(stored.samples, encoded_input(content)))
    files.write(folder / CARD, card(name, content))
    return content


def warmup_requests(samples: Samples, encoded: str | None) -> list[serving.Request]:
    """Returns requests made from real examples: one and several, encoded and as tensors.

    Args:
        samples: the examples.
        encoded: name of encoded examples in the signatures; None if they accept tensors only.
    """
    tensors = ["predict_tensor"] if encoded else ["predict_tensor", "serving_default"]
    parts = [{name: array[:n] for name, array in samples.inputs.items()} for n in (1, 3)]
    requests: list[serving.Request] = [(signature, part) for signature in tensors for part in parts]
    for count in sorted({1, len(samples.encoded)} - {0}) if encoded and samples.encoded else ():
        requests += [(signature, {encoded: list(samples.encoded[:count])}) for signature in ("serving_default", "embed")]
    return requests


def build(recipe: EntryRecipe, zoo: Zoo, *, reporter: Reporter | str | None = AUTO) -> Entry | None:
    """Fine-tunes and publishes the entry of a recipe, as its new stable version.

    Args:
        recipe: how.
        zoo: where.
        reporter: receives progress; None for silence.

    Returns:
        The entry, or None if the examples are not on this computer.
    """
    if not recipe.available:
        return None
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / recipe.name
        finetune.finetune(recipe.config.updated(out=str(out)), reporter=reporter)
        entry = publish(out, recipe.name, zoo, data_licence=recipe.data_licence, data_source=recipe.data_source)
    return promote(zoo, entry)


# === Content of the manifest and the card ===


def _content(run: Run, exported: Mapping[str, Any], data_licence: str | None, data_source: str | None) -> dict[str, Any]:
    config = run_folder.read_config(run)
    task = task_named(config.model.task)
    summary, environment = run_folder.read_json(run.metrics), run_folder.read_json(run.environment)
    target = run_folder.read_target(run)
    try:
        held_out = "test" if summary["test"]["n"] else "val"
        rows = [prediction for prediction in sheets.read_rows(run.predictions) if prediction["split"] == held_out]
        results = load_function(task.publish)(summary, rows, target)
    except (OSError, KeyError, TypeError, ValueError, AttributeError, csv.Error) as error:
        raise DataError(
            f"metrics.json and predictions.csv of {str(run.root)!r} do not belong together ({reason(error)}); they were changed after the run"
        ) from error
    row = backbone_record.read(run)
    source, licence = _source_and_licence(config.data.source)
    return {
        **{key: exported[key] for key in ("tlkeras", "labels", "inputs", "outputs", "metadata")},
        "task": f"{row.modality} {task.name}",
        network.RECORD: network.record(row),
        "clients": sorted(path.name for path in (run.exports / clients.FOLDER).glob("*") if path.is_file()),
        "artifacts": {name: contents.record(artifact) for name, artifact in exported["artifacts"].items()},
        "metrics": results.pop("metrics"),
        "held_out": held_out,
        **results,
        "data": {**summary["data"], "source": source},
        "examples": len(verification.read(run.exports, interface_of(exported)).samples.inputs[exported["inputs"][0]["name"]]),
        "licences": {
            "backbone weights": weights_record(row, config.model.weights),
            "data": {"licence": data_licence or licence, "source": data_source or source},
        },
        "config": config.to_dict(),
        "environment": environment,
        "timing": summary["timing"],
    }


def weights_record(row: Backbone, weights: str) -> dict[str, str]:
    """Returns the card's record of the weights that a backbone started from.

    Args:
        row: the backbone; its licence and source are those of its published weights.
        weights: as in the config: the name of a source, a file, or a folder.
    """
    if weights == "none":
        return {"licence": "none needed", "source": "random weights: trained from scratch"}
    if weights in NAMED:
        return {"licence": row.license, "source": row.source}
    return {"licence": UNKNOWN, "source": f"{UNKNOWN} (from {Path(weights.partition('#')[0]).name!r})"}


def _source_and_licence(recorded: str | None) -> tuple[str, str]:
    """Returns the card's record of the data of a run, as far as that is known."""
    if recorded is None:
        return UNKNOWN, UNKNOWN
    if is_passed(recorded):
        return f"{UNKNOWN} (arrays passed from Python, called {recorded.removeprefix(PASSED)!r})", UNKNOWN
    return recorded, licence_of(recorded) or UNKNOWN


def licence_of(source: str | None) -> str | None:
    """Returns the licence of a source's examples, where all sources of its kind have the same."""
    kind = kind_of(source) if source else None
    return kind.licence if kind else None
