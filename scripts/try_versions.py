"""Run a short selection of tests with the newest pre-releases, and write docs/versions.md: `python scripts/try_versions.py`.

Not part of CI: a pre-release may break at any time, and the page says what to expect of the next release. Keras publishes its pre-releases
as keras-nightly. Other packages can be named: `python scripts/try_versions.py tf-nightly keras-nightly`. Takes about 10 minutes on 2 idle cores.
"""

from __future__ import annotations

import argparse
import configparser
import datetime
import json
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "versions.md"
NOTES = "## Notes"  # from this heading on, the page is written by hand, and kept
PRERELEASES = ("tensorflow", "keras-nightly")
REPLACES = {
    "keras-nightly": "keras",
    "tf-nightly": "tensorflow",
    "tensorflow-text-nightly": "tensorflow-text",
}  # packages with the same modules as another
SHORT = 160  # characters of a reason: what follows is a name of a symbol, or a traceback
LEFT_OUT = ("mediapipe", "openvino", "ruff", "mypy", "types-PyYAML")  # of the test requirements: the selection does not need them
SHOWN = (
    "tensorflow",
    "tf-nightly",
    "keras",
    "keras-nightly",
    "keras-hub",
    "tensorflow-text",
    "tf2onnx",
    "onnx",
    "ai-edge-litert",
    "numpy",
)

# Patches of other libraries; every builder of keras.applications and of our own; files of weights; each converter; a whole run.
SELECTION = (
    "tests/test_patches.py",
    "tests/weights",
    "tests/backbones/test_backbones.py::test_a_row_is_true",
    "tests/backbones/test_backbones.py::test_a_network_of_keras_hub_is_saved_and_loads_equal_without_a_warning",
    "tests/export/test_export.py::test_T6_exact_gelu_and_grouped_convolutions_run_everywhere",
    "tests/export/test_export.py::test_roll_is_slices_in_tflite",
    "tests/distribution/test_multiworker.py::test_fit_evaluate_and_predict_work_in_two_processes_and_agree",
    "tests/test_end_to_end.py",
)


def requirements() -> list[str]:
    """Returns what setup.cfg requires for the selection."""
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    wanted = config["options"]["install_requires"].split("\n") + config["options.extras_require"]["test"].split("\n")
    return [line for line in (one.strip() for one in wanted) if line and not line.startswith(("#", *LEFT_OUT))]


def install(python: Path, packages: Sequence[str]) -> None:
    """Installs what tlkeras requires, then the pre-releases over it, whatever other packages say of them, and tlkeras itself."""

    def pip(*arguments: str) -> None:
        subprocess.run([python, "-m", "pip", *arguments, "--quiet", "--disable-pip-version-check"], check=True, cwd=ROOT)

    pip("install", *requirements())
    replaced = [REPLACES[name] for name in packages if name in REPLACES]
    if replaced:
        pip("uninstall", "--yes", *replaced)
    pip("install", "--upgrade", "--pre", "--no-deps", *packages)
    pip("install", "--no-deps", "--editable", ".")


def versions(python: Path) -> dict[str, str]:
    """Returns package -> version, of the packages that the page shows."""
    listed = subprocess.run([python, "-m", "pip", "list", "--format=json"], capture_output=True, text=True, check=True).stdout
    known = {row["name"].lower().replace("_", "-"): row["version"] for row in json.loads(listed)}
    return {name: known[name] for name in SHOWN if name in known}


def run_tests(python: Path, tests: Sequence[str], report: Path) -> str:
    """Runs the tests into a JUnit file; returns the last line of pytest."""
    command = [python, "-m", "pytest", "-n", "0", "-q", "-p", "no:cacheprovider", f"--junitxml={report}", *tests]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    print(done.stdout[-4000:], done.stderr[-2000:], sep="\n")
    return (done.stdout.strip().splitlines() or ["pytest printed nothing"])[-1].strip("= ")


def failures(report: Path, environment: Path) -> dict[str, list[str]]:
    """Returns reason on one line -> the tests that failed for it.

    Args:
        report: a JUnit file of pytest.
        environment: where the packages are, which is left out of the reasons.
    """
    if not report.exists():
        return {"pytest did not start": []}
    broken: dict[str, list[str]] = {}
    for case in ElementTree.parse(report).iter("testcase"):
        for problem in [*case.findall("failure"), *case.findall("error")]:
            reason = " ".join((problem.get("message") or "no message").split()).replace(str(environment), "")
            reason = reason.removeprefix('failed on setup with "').partition(" (/")[0]
            test = f"{case.get('classname', '').replace('.', '/')}.py::{case.get('name')}"
            broken.setdefault(reason[:SHORT], []).append(test)
    return broken


def page(packages: Sequence[str], released: dict[str, str], tried: dict[str, str], summary: str, broken: dict[str, list[str]]) -> str:
    """Returns the text of docs/versions.md."""
    newer = [name for name in packages if tried.get(name) not in (None, released.get(name))]
    lines = [
        "# Newer versions of Keras and TensorFlow",
        "",
        "tlkeras pins TensorFlow and Keras to one minor version each (`setup.cfg`). This page says what breaks with the newest pre-releases.",
        f"It was written by `python scripts/try_versions.py {' '.join(packages)}`, which is not part of CI.",
        "",
        f"- Date: {datetime.date.today():%Y-%m-%d}, Python {sys.version.split()[0]}, {sys.platform}",
        f"- Tried: {', '.join(f'{name} {version}' for name, version in tried.items())}",
        f"- Released versions at the time: {', '.join(f'{name} {version}' for name, version in released.items())}",
        f"- Result: {summary}",
    ]
    if not newer:
        lines.append("- The package index had no newer version of any of them.")
    lines += ["", "## What broke", ""]
    if not broken:
        lines += ["Nothing in the selection.", ""]
    for reason, tests in broken.items():
        lines += [f"`{reason}`", "", *(f"- `{test}`" for test in tests), ""]
    return "\n".join([*lines, ""])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("packages", nargs="*", default=list(PRERELEASES), help="pre-releases to install")
    packages = parser.parse_args().packages
    with tempfile.TemporaryDirectory(prefix="tlkeras-versions-") as folder:
        subprocess.run([sys.executable, "-m", "venv", f"{folder}/venv"], check=True)
        python = Path(folder) / "venv" / "bin" / "python"
        install(python, packages)
        tried = versions(python)
        report = Path(folder) / "report.xml"
        summary = run_tests(python, SELECTION, report)
        broken = failures(report, Path(folder) / "venv")
        _, heading, notes = PAGE.read_text(encoding="utf-8").partition(NOTES) if PAGE.exists() else ("", "", "")
        PAGE.write_text(page(packages, versions(Path(sys.executable)), tried, summary, broken) + heading + notes, encoding="utf-8")
    print(f"wrote {PAGE.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
