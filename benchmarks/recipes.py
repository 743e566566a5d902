"""The recipes of tlkeras side by side with other ways to fine-tune the same network: accuracy against seconds.

    python benchmarks/recipes.py [splits] [few] [folds] --data FOLDER --record recipes.jsonl --out recipes

    splits  each data set on its own split, or on one drawn by the seed
    few     5, 10 and 50 labelled examples of each class, drawn by the seed; the test split is that of `splits`
    folds   rt_polarity, each of ten parts once as the test

Methods are the rows of tlkeras' recipe registry, those of `methods.py`, and those of `opponents/` where their Python is named. Each job runs
in a process of its own, with caches that hold the converted weights and no examples; it may take `--seconds`. Jobs go in rounds of seeds, so
that methods alternate and a run that is cut off leaves whole rounds. Each result is appended to `--record` as it arrives; jobs whose
results are there already are skipped. `--out` names the table (.md), figures (.json) and plot (.png), which are also made from a record
alone, without jobs: `python benchmarks/recipes.py --only-report --record recipes.jsonl`.

FOLDER holds clothing/, hymenoptera/, rt_polarity/, goemotions/, emobank/; see `tables.py`. `seconds` are those of the whole process,
`training` those of its training (features included), `processor` those of all its cores. They are comparable only with `--jobs 1` on an
idle machine. `--plan` orders many such jobs by their worth: `plans/gpu.json` for ten minutes of a GPU, `plans/cpu.json` for an hour of two cores.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import report
import tables
from opponents.protocol import MARK, STARTED, Job

HERE = Path(__file__).resolve().parent
SUITES = ("splits", "few", "folds")
FEW, FEW_SETS, FOLDS_SET = (5, 10, 50), ("clothing", "hymenoptera", "rt_polarity"), "rt_polarity"
FEW_RECIPES = ("auto", "few-shot", "linear-probe", "full")  # the recipes of `few` and `folds`, of those that exist
FOLD_RECIPES = ("auto", "linear-probe", "full")
PLAIN = ("keras-frozen", "keras-full", "sklearn", "sklearn-all")
SCRIPTS = {"fastai": ("fastai_images.py", "image"), "trainer": ("trainer_texts.py", "text"), "setfit": ("setfit_texts.py", "text")}
SLOWEST = ("setfit", "keras-full", "soup", "gradual", "auto", "full")  # started first in a round, so that no processor waits at its end


# === Which jobs ===


def methods_for(suite: str, source: tables.Source, options: argparse.Namespace) -> list[str]:
    """Returns the methods that a suite compares on a data set: of those asked for, those that apply; the slowest first."""
    from tlkeras.training.recipes.registry import RECIPES

    recipes = [name for name in RECIPES.names() if suite == "splits" or name in (FEW_RECIPES if suite == "few" else FOLD_RECIPES)]
    plain = [name for name in PLAIN if suite != "few" or name in ("keras-full", "sklearn")]
    others = [name for name, (_, modality) in SCRIPTS.items() if modality == source.modality and options.opponents]
    if suite == "splits" and "setfit" in others:
        others.remove("setfit")  # its pairs grow with the square of the examples
    if source.targets != ("label",):
        plain, others = [name for name in plain if name != "sklearn-all"], []
    usual = [*recipes, *plain, *others]
    asked = [name for each in options.methods or usual for name in (recipes if each == "recipes" else [each])]
    known = {*usual, *RECIPES.names()}
    chosen = [name for name in dict.fromkeys(asked) if re.split("[@+]", name)[0] in known]
    return sorted(chosen, key=lambda name: SLOWEST.index(name) if name in SLOWEST else len(SLOWEST))


def stages(options: argparse.Namespace) -> list[argparse.Namespace]:
    """Returns the options of each stage of a plan; without a plan, of each suite."""
    if options.plan is None:
        return [argparse.Namespace(**{**vars(options), "suite": suite}) for suite in options.suites]
    plan = json.loads(options.plan.read_text(encoding="utf-8"))
    unknown = sorted(
        {key for stage in plan for key in stage} - {"suite", "datasets", "methods", "seeds", "few", "folds", "limit", "together"}
    )
    if unknown:
        raise SystemExit(f"{options.plan} has the keys {unknown}; expected suite, datasets, methods, seeds, few, folds, limit, together")
    return [argparse.Namespace(**{**vars(options), **stage}) for stage in plan]


def jobs_of(stage: argparse.Namespace, work: Path) -> list[Job]:
    """Returns the jobs of a stage in the order in which they start, their tables written."""
    suite = stage.suite
    names = {"splits": list(tables.SOURCES), "few": FEW_SETS, "folds": [FOLDS_SET]}[suite]
    names = [name for name in stage.datasets or names if name in names]
    found: list[Job] = []
    for number in range(stage.folds if suite == "folds" else stage.seeds):
        for few in stage.few if suite == "few" else (None,):
            for name in names:
                source = tables.SOURCES[name]
                fold = number if suite == "folds" else None
                draw = {"seed": number, "limit": stage.limit, "few": few, "fold": fold, "folds": stage.folds}
                folder = tables.write(name, stage.data, work / "tables", **draw)
                about = {"suite": suite, "dataset": name, "modality": source.modality, "targets": list(source.targets)}
                about |= {"metric": source.metric, **draw, "folder": str(folder)}
                found += [{**about, "method": method} for method in methods_for(suite, source, stage)]
    return found


def processes(options: argparse.Namespace, work: Path) -> list[list[Job]]:
    """Returns the jobs whose results are not in the record, by process, in the order in which they start.

    Up to `--together` jobs of a stage share a process, where suite, data set, method and number of examples are the same.
    """
    known = {identity(result["job"]) for result in report.read(options.record)}
    batches: list[list[Job]] = []
    for stage in stages(options):
        open_batches: dict[tuple, list[Job]] = {}
        for job in jobs_of(stage, work):
            if identity(job) in known:
                continue
            known.add(identity(job))
            key = tuple(job[name] for name in ("suite", "dataset", "method", "few"))
            if key not in open_batches or len(open_batches[key]) >= stage.together:
                open_batches[key] = []
                batches.append(open_batches[key])
            open_batches[key].append(job)
    return batches


def identity(job: Job) -> str:
    """Returns what tells a job from all others in a record."""
    return json.dumps([job.get(key) for key in ("suite", "dataset", "method", "seed", "few", "fold", "folds", "limit")])


# === Running them ===


@dataclass
class Runner:
    """Runs batches of jobs in processes of their own and records each result as it arrives."""

    options: argparse.Namespace
    work: Path
    ends: float | None  # when no job may still run, in seconds of time.monotonic()

    def __post_init__(self) -> None:
        self.lock, self.running, self.stopped = threading.Lock(), set(), False

    def run(self, batch: list[Job]) -> None:
        """Runs one process to its end, or until its time is up."""
        seconds = self.options.seconds * len(batch)
        if self.ends is not None:
            seconds = min(seconds, self.ends - time.monotonic())
        if self.stopped or seconds < 10:
            return
        folder = Path(tempfile.mkdtemp(dir=self.work, prefix="job-"))
        try:
            (folder / "jobs.json").write_text(json.dumps(batch), encoding="utf-8")
            shutil.copytree(self.work / "cache", folder / "cache", copy_function=os.link)
            self._watch(batch, folder, seconds)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _watch(self, batch: list[Job], folder: Path, seconds: float) -> None:
        errors = folder / "errors.txt"
        with open(errors, "w") as log:
            process = subprocess.Popen(
                [*self._program(batch[0]["method"]), str(folder / "jobs.json")],
                stdout=subprocess.PIPE, stderr=log, text=True, start_new_session=True, env=self._environment(folder),
            )  # fmt: skip
        self.running.add(process)
        timer = threading.Timer(seconds, _end, [process])
        timer.start()
        done = 0
        try:
            for line in process.stdout:
                if line.startswith(MARK):
                    self._record({**json.loads(line.removeprefix(MARK)), "limit_seconds": round(seconds)})
                    done += 1
        finally:
            process.wait()
            timer.cancel()
            self.running.discard(process)
        if done < len(batch) and not self.stopped:
            last = (errors.read_text(errors="replace").strip().splitlines() or ["no message"])[-1][:300]
            reason = f"not done after {seconds:.0f} s" if process.returncode < 0 else f"exit {process.returncode}: {last}"
            print(f"{report.name_of(batch[done])}: {reason}", flush=True)

    def _program(self, method: str) -> list[str]:
        if method in SCRIPTS:
            return [self.options.opponents, str(HERE / "opponents" / SCRIPTS[method][0])]
        return [sys.executable, str(HERE / "methods.py")]

    def _environment(self, folder: Path) -> dict[str, str]:
        threads = {} if self.options.jobs == 1 else dict.fromkeys(THREADS, str(max(2, (os.cpu_count() or 1) // self.options.jobs)))
        quiet = {"TF_CPP_MIN_LOG_LEVEL": "2", "TF_FORCE_GPU_ALLOW_GROWTH": "true", "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
        return {**os.environ, **threads, **quiet, "TLKERAS_CACHE": str(folder / "cache"), STARTED: str(time.time())}

    def _record(self, result: dict) -> None:
        with self.lock:
            with open(self.options.record, "a", encoding="utf-8") as file:
                file.write(json.dumps(result) + "\n")
            print(report.line(result), flush=True)

    def stop(self) -> None:
        """Ends all processes."""
        self.stopped = True
        for process in list(self.running):
            _end(process)


THREADS = ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")


def _end(process: subprocess.Popen) -> None:
    """Ends a process and those that it started."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


def warm(work: Path, modalities: set[str]) -> None:
    """Fills the cache that each job starts with: the converted weights of the backbones, and nothing of the examples."""
    code = "import sys\nfrom tlkeras.startup import load_tensorflow\nload_tensorflow()\nfrom methods import BACKBONES\nfrom tlkeras import models\n"
    code += "for modality in sys.argv[1:]: models.build(BACKBONES[modality], 2)"
    (work / "cache").mkdir()
    environment = {**os.environ, "TLKERAS_CACHE": str(work / "cache"), "TF_CPP_MIN_LOG_LEVEL": "2"}
    subprocess.run([sys.executable, "-c", code, *sorted(modalities)], check=True, cwd=HERE, env=environment)


def run(options: argparse.Namespace) -> None:
    """Runs the jobs whose results are not in the record."""
    ends = time.monotonic() + 60 * options.minutes if options.minutes else None
    with tempfile.TemporaryDirectory(dir=options.work) as folder:
        work = Path(folder)
        batches = processes(options, work)
        jobs = [job for batch in batches for job in batch]
        print(f"{len(jobs)} jobs in {len(batches)} processes, {options.jobs} at a time", flush=True)
        if options.dry_run:
            print("\n".join(report.name_of(job) for job in jobs))
            return
        if not jobs:
            return
        warm(work, {job["modality"] for job in jobs})
        runner = Runner(options, work, ends)
        pool = ThreadPoolExecutor(options.jobs)
        try:
            list(pool.map(runner.run, batches))
        finally:
            runner.stop()
            pool.shutdown(cancel_futures=True)


# === The program ===


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("suites", nargs="*", choices=SUITES, metavar="SUITE", default="splits", help=", ".join(SUITES))
    parser.add_argument("--data", type=Path, help="folder with the data sets; digits need none")
    parser.add_argument("--datasets", nargs="+", choices=tables.SOURCES, help="some of the data sets")
    methods = (
        "some of the recipes and other methods; `recipes`: all recipes; NAME@MINUTES: with --max-minutes, NAME+KEY=VALUE: with any setting"
    )
    parser.add_argument("--recipes", "--methods", dest="methods", nargs="+", metavar="NAME", help=methods)
    parser.add_argument(
        "--plan", type=Path, help="JSON file with a list of stages instead of suites, each with options of its own; see plans/"
    )
    parser.add_argument(
        "--opponents", metavar="PYTHON", help="Python in which the requirements of opponents/ are installed; see opponents/setup.sh"
    )
    parser.add_argument("--seeds", type=int, default=3, help="rounds of `splits` and `few` (3)")
    parser.add_argument("--few", type=int, nargs="+", default=FEW, metavar="N", help="labelled examples of each class (5 10 50)")
    parser.add_argument("--folds", type=int, default=10, help="parts for `folds` (10)")
    parser.add_argument("--limit", type=int, help="maximum number of examples of each data set")
    parser.add_argument("--jobs", type=int, default=1, help="processes at a time (1)")
    parser.add_argument(
        "--together", type=int, default=1, help="jobs of one method that share a process; seconds count for its first job only (1)"
    )
    parser.add_argument("--seconds", type=float, default=3600, help="limit of one job (3600)")
    parser.add_argument("--minutes", type=float, help="limit of all jobs; those that then run are ended")
    parser.add_argument("--record", type=Path, default=Path("recipes.jsonl"), help="results, one line of JSON each; appended to")
    parser.add_argument("--out", type=Path, default=Path("recipes"), help="table, figures and plot, without ending")
    parser.add_argument("--work", type=Path, help="folder for temporary files")
    parser.add_argument("--dry-run", action="store_true", help="list the jobs")
    parser.add_argument("--only-report", action="store_true", help="make table, figures and plot from the record")
    options = parser.parse_args()
    options.suites = [options.suites] if isinstance(options.suites, str) else options.suites
    return options


def main() -> None:
    options = arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("terminated"))  # ends the processes that were started
    if not options.only_report:
        run(options)
    if not options.dry_run:
        report.write(report.read(options.record), options.out)


if __name__ == "__main__":
    main()
