"""Decoders that crash, hang or fill the memory cost one image, and the images behind it are read."""

import io
import os
import signal
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.hostile import images
from tlkeras.data.row_cache import RowCache
from tlkeras.errors import DataError
from tlkeras.modalities.images import isolated
from tlkeras.modalities.images.decode import decode_and_resize
from tlkeras.modalities.images.decoded_rows import decoded_rows
from tlkeras.modalities.images.formats import decodable
from tlkeras.modalities.images.reading import materialise
from tlkeras.modalities.sources import open_source


def tiff(size=(9, 9), mark=b""):
    buffer = io.BytesIO()
    Image.new("RGB", size, (10, 20, 30)).save(buffer, "TIFF", compression="tiff_deflate")
    return buffer.getvalue() + mark


@pytest.fixture
def decoders(tmp_path, monkeypatch):
    """Processes whose decoder crashes, hangs or fills the memory at images with a mark."""
    isolated.DECODER.close()
    source = isolated.DECODER.path.read_text(encoding="utf-8")
    head, _, rest = source.partition("    with Image.open(")
    broken = "    if data.endswith(b'CRASH'):\n        import os, signal\n        os.kill(os.getpid(), signal.SIGSEGV)\n"
    broken += "    while data.endswith(b'LOOP'):\n        pass\n"
    broken += "    if data.endswith(b'WAIT'):\n        import time\n        time.sleep(600)\n"
    broken += "    if data.endswith(b'FILL'):\n        bytes(2 * BYTES)\n"
    path = tmp_path / "worker.py"
    path.write_text(f"{head}{broken}    with Image.open({rest}", encoding="utf-8")
    monkeypatch.setattr(isolated.DECODER, "path", path)
    yield
    isolated.DECODER.close()


def pixel(data):
    return np.asarray(Image.open(io.BytesIO(data)))[0, 0].tolist()


def test_a_crash_of_a_decoder_ends_one_image(decoders):
    assert pixel(decodable(tiff())) == [10, 20, 30]
    with pytest.raises(DataError, match=r"TIFF image cannot be read: its decoder crashed \(exit code -11\)"):
        decodable(tiff(mark=b"CRASH"))
    assert pixel(decodable(tiff())) == [10, 20, 30]


@pytest.fixture
def profiled():
    """A process in which a profiler ran: it leaves its signal ignored, and blocked."""
    handler, mask = signal.signal(signal.SIGPROF, signal.SIG_IGN), signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGPROF})
    yield
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    signal.signal(signal.SIGPROF, handler or signal.SIG_DFL)


def test_a_decoder_that_does_not_end_is_ended_after_a_second_of_processor_time(profiled, decoders, monkeypatch):
    monkeypatch.setattr(isolated.DECODER, "seconds", 20.0)
    with pytest.raises(DataError, match="its decoder took more processor time than a file of its size needs"):
        decodable(tiff(mark=b"LOOP"))
    assert pixel(decodable(tiff())) == [10, 20, 30]


def test_a_decoder_that_waits_for_ever_is_ended(decoders, monkeypatch):
    monkeypatch.setattr(isolated.DECODER, "seconds", 0.5)
    with pytest.raises(DataError, match="its decoder did not end within 0.5 s"):
        decodable(tiff(mark=b"WAIT"))


@pytest.mark.skipif(not Path("/proc/self/statm").is_file(), reason="the limit goes by what the system tells of a process")
def test_a_decoder_gets_a_gigabyte_more_than_its_pixels_need(decoders):
    with pytest.raises(DataError, match="does not fit into the memory that a file of its size needs"):
        decodable(tiff(mark=b"FILL"))
    assert pixel(decodable(tiff())) == [10, 20, 30]


def test_a_decoder_that_needs_too_much_memory_is_refused_it(monkeypatch):
    isolated.DECODER.close()
    monkeypatch.setattr(isolated.DECODER, "memory", 400 * 1024**2)
    with pytest.raises(DataError, match="does not fit into the memory|cannot be read"):
        decodable(tiff((9000, 9000)))
    isolated.DECODER.close()


def test_large_images_may_take_what_they_need():
    isolated.DECODER.close()
    for size in ((9000, 9000), (9, 9)):
        assert pixel(decodable(tiff(size))) == [10, 20, 30]


def encoded(kind, size=(40, 30)):
    buffer = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 255, (3, 4, 3)).astype("uint8")
    Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC).save(buffer, kind, **({"lossless": True} if kind == "WEBP" else {}))
    return buffer.getvalue()


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "WEBP"])
def test_images_of_every_format_are_decoded_in_processes_where_that_is_wanted(decoders, kind, monkeypatch):
    plain = np.asarray(decode_and_resize(decodable(encoded(kind)), 24))
    monkeypatch.setenv("TLKERAS_ISOLATE", "1")
    alone = np.asarray(decode_and_resize(decodable(encoded(kind)), 24))
    assert np.abs(alone.astype(int) - plain).max() <= 1
    with pytest.raises(DataError, match=f"the {kind} image cannot be read: its decoder crashed"):
        decodable(encoded(kind) + b"CRASH")


def test_images_of_processes_are_not_those_that_the_cache_holds_of_others(tmp_path, monkeypatch):
    folders = set()
    for value in ("0", "1"):
        monkeypatch.setenv("TLKERAS_ISOLATE", value)
        folders.add(decoded_rows(RowCache(folder=tmp_path), 24, "stretch", 3).collection.folder)
    assert len(folders) == 2


def test_a_process_that_was_ended_while_it_waited_is_replaced(decoders):
    decodable(tiff())
    worker = isolated.DECODER.idle.get_nowait()
    os.kill(worker._process.pid, signal.SIGKILL)
    worker._process.wait()
    isolated.DECODER.idle.put_nowait(worker)
    assert pixel(decodable(tiff())) == [10, 20, 30]


def test_one_process_serves_many_images():
    isolated.DECODER.close()
    decodable(tiff())
    (worker,) = list(isolated.DECODER.idle.queue)
    process = worker._process.pid
    for _ in range(50):
        decodable(tiff())
    assert list(isolated.DECODER.idle.queue) == [worker] and worker._process.pid == process


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
