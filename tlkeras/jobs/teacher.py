"""The teacher of a distillation: a finished run, whose model scores the examples of another one."""

from __future__ import annotations

from functools import partial

import numpy as np

from tlkeras.config import RunConfig
from tlkeras.data.examples import Dataset
from tlkeras.data.split import Splits
from tlkeras.data.store import Store
from tlkeras.data.target import Target
from tlkeras.errors import ConfigError, DataError
from tlkeras.jobs import run_folder
from tlkeras.jobs.run_folder import Run
from tlkeras.progress import Reporter


def check(config: RunConfig, target: Target) -> None:
    """Checks that the teacher, where there is one, is a run that predicts the same.

    Raises:
        ConfigError: naming what differs.
    """
    if config.train.teacher is not None:
        _run(config.train.teacher, target)


def _run(teacher: str, target: Target) -> Run:
    run = run_folder.run_of(teacher)
    if run is None or not run.model.is_file():
        raise ConfigError(f"teacher is {teacher!r}, which is not the folder of a finished run; train one with `tlkeras finetune` first")
    own = run_folder.read_target(run)
    if own.kind != target.kind or set(own.labels) != set(target.labels):
        labels, others = (", ".join(each.labels[:5]) + ", …" * (len(each.labels) > 5) for each in (own, target))
        raise ConfigError(
            f"the teacher {teacher!r} predicts {own.described} ({labels}), and the data have {target.described} ({others}); "
            "expected a run on the same labels"
        )
    return run


def scores(teacher: str, dataset: Dataset, store: Store, splits: Splits, reporter: Reporter) -> np.ndarray:
    """Returns the teacher's scores of the examples of a run, float32 (n, labels) in the order of the run's label map.

    Those that are held out for the test are 0: nothing is learned from them.

    Args:
        teacher: folder of a run.
        dataset: the examples, which the teacher reads in its own way.
        store, splits: the same as the run reads and splits them.
        reporter: receives progress.

    Raises:
        ConfigError: see `check`.
        DataError: when it reads other examples than the run.
    """
    from tlkeras.jobs.opening import load

    model = load(_run(teacher, store.target).root, runtime="keras")
    own = model.inputs.materialise(dataset, progress=partial(reporter.progress, "decode for the teacher"))
    if own.sha256 != store.sha256:
        raise DataError(f"the teacher {teacher!r} reads {len(own)} of the examples, the run {len(store)}; leave out what only one can read")
    index = np.concatenate([splits.train, splits.val])
    order = [model.labels.index(label) for label in store.target.labels]
    values = np.zeros((len(own), len(order)), "float32")
    values[index] = model.scores(own.inputs[index], progress=partial(reporter.progress, "score by the teacher"))[:, order]
    return values
