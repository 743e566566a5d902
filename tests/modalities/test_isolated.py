"""Decoders that crash, hang or fill the memory cost one image, and the images behind it are read."""

import io
import os
import signal

import numpy as np
import pytest
from PIL import Image

from tests.hostile import images
from tlkeras.errors import DataError
from tlkeras.modalities.images import isolated
from tlkeras.modalities.images.formats import decodable
from tlkeras.modalities.images.reading import materialise
from tlkeras.modalities.sources import open_source


def tiff(size=(9, 9), mark=b""):
    buffer = io.BytesIO()
    Image.new("RGB", size, (10, 20, 30)).save(buffer, "TIFF", compression="tiff_deflate")
    return buffer.getvalue() + mark


@pytest.fixture
def decoders(tmp_path, monkeypatch):
    """Processes whose decoder crashes or hangs at images with a mark."""
    isolated.close()
    source = isolated.WORKER.read_text(encoding="utf-8")
    head, _, rest = source.partition("    with Image.open(")
    broken = "    if data.endswith(b'CRASH'):\n        import os, signal\n        os.kill(os.getpid(), signal.SIGSEGV)\n"
    broken += "    while data.endswith(b'HANG'):\n        pass\n"
    path = tmp_path / "worker.py"
    path.write_text(f"{head}{broken}    with Image.open({rest}", encoding="utf-8")
    monkeypatch.setattr(isolated, "WORKER", path)
    yield
    isolated.close()


def pixel(data):
    return np.asarray(Image.open(io.BytesIO(data)))[0, 0].tolist()


def test_a_crash_of_a_decoder_ends_one_image(decoders):
    assert pixel(decodable(tiff())) == [10, 20, 30]
    with pytest.raises(DataError, match=r"TIFF image cannot be read: its decoder crashed \(exit code -11\)"):
        decodable(tiff(mark=b"CRASH"))
    assert pixel(decodable(tiff())) == [10, 20, 30]


def test_a_decoder_that_does_not_end_is_ended(decoders, monkeypatch):
    monkeypatch.setattr(isolated, "SECONDS", 0.5)
    with pytest.raises(DataError, match="its decoder did not end within 0.5 s"):
        decodable(tiff(mark=b"HANG"))


def test_a_decoder_that_needs_too_much_memory_is_refused_it(monkeypatch):
    isolated.close()
    monkeypatch.setattr(isolated, "MEMORY", 400 * 1024**2)
    with pytest.raises(DataError, match="does not fit into memory|cannot be read"):
        decodable(tiff((9000, 9000)))
    isolated.close()


def test_a_process_that_was_ended_while_it_waited_is_replaced(decoders):
    decodable(tiff())
    worker = isolated._idle.get_nowait()
    os.kill(worker._process.pid, signal.SIGKILL)
    worker._process.wait()
    isolated._idle.put_nowait(worker)
    assert pixel(decodable(tiff())) == [10, 20, 30]


def test_one_process_serves_many_images():
    isolated.close()
    decodable(tiff())
    (worker,) = list(isolated._idle.queue)
    process = worker._process.pid
    for _ in range(50):
        decodable(tiff())
    assert list(isolated._idle.queue) == [worker] and worker._process.pid == process


def test_a_damaged_avif_costs_one_file_of_a_data_set(tmp_path, decoders):
    for label in ("cat", "dog"):
        (tmp_path / label).mkdir()
        (tmp_path / label / "good.avif").write_bytes(images.image("avif"))
        (tmp_path / label / "good.tif").write_bytes(tiff())
    whole = images.image("avif")
    (tmp_path / "cat" / "cut.avif").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "dog" / "crash.tif").write_bytes(tiff(mark=b"CRASH"))
    store = materialise(open_source(str(tmp_path)), size=8)
    assert [example.id for example in store.examples] == ["cat/good.avif", "cat/good.tif", "dog/good.avif", "dog/good.tif"]
    assert [issue.path for issue in store.skipped] == ["cat/cut.avif", "dog/crash.tif"]
