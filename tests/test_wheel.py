"""The built wheel, outside the repository: nothing that works here may be missing there."""

import os
import subprocess
import sys

import pytest

from tests.conftest import ROOT

pytestmark = pytest.mark.slow


def test_the_wheel_holds_every_package_and_works_elsewhere(tmp_path):
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "wheel", "--no-deps", "--no-build-isolation", "-w", str(tmp_path), str(ROOT)], check=True)
    (wheel,) = tmp_path.glob("tlkeras-*.whl")
    subprocess.run([*pip, "install", "--no-deps", "--target", str(tmp_path / "site"), str(wheel)], check=True)
    code = (
        "import sys, pathlib, tlkeras, tlkeras.export, tlkeras.zoo\n"
        "site = pathlib.Path(sys.argv[1])\n"
        "assert all(site in pathlib.Path(m.__file__).parents for m in (tlkeras, tlkeras.export, tlkeras.zoo))\n"
        "assert (site / 'tlkeras' / 'py.typed').exists()\n"
        "assert not any((site / name).exists() for name in ('export', 'zoo', 'tests', 'scripts'))\n"
        "r = tlkeras.finetune(tlkeras.RunConfig.from_dict(dict(backbone='mobilenet', weights='none', image_size=32, epochs=1, limit=60)))\n"
        "assert set(r.metrics['exports']) == {'saved_model', 'tflite', 'onnx'}\n"
        "print('works')"
    )
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "site")}
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "site")], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0 and "works" in done.stdout, done.stderr
