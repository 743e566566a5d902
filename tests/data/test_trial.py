"""A library that crashes, hangs or fills the memory does so in another process, and the file is refused in one line."""

import zipfile

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

from tlkeras.backbones.load import load
from tlkeras.data import trial
from tlkeras.data.reader_process import ReaderError
from tlkeras.data.trial import read_apart
from tlkeras.errors import DataError, WeightsMismatch
from tlkeras.modalities.sources import open_source


@pytest.fixture
def crashing(tmp_path, monkeypatch):
    """A reader that crashes at every file whose name contains `crash`."""
    source = trial.READER.path.read_text(encoding="utf-8")
    head, mark, rest = source.partition("    module, read = READERS[kind]")
    path = tmp_path / "reader.py"
    path.write_text(f"{head}    if b'crash' in content:\n        os.abort()\n{mark}{rest}", encoding="utf-8")
    trial.READER.close()
    monkeypatch.setattr(trial.READER, "path", path)
    yield
    trial.READER.close()


@pytest.fixture
def arrays(tmp_path):
    path = tmp_path / "good.weights.h5"
    with h5py.File(path, "w") as file:
        file["layers/dense/vars/0"] = np.ones((3, 4), "float32")
        file["scalar"], file["empty"], file["text"] = 1.0, h5py.Empty("f4"), "hello"
        file["none"] = np.zeros((0, 3))
        file["elsewhere"] = h5py.ExternalLink("missing.h5", "/")
    return path


def test_a_file_that_is_well_passes(arrays):
    assert read_apart("hdf5", arrays) is None


def test_what_a_library_raises_is_left_to_the_command(tmp_path):
    (tmp_path / "junk.h5").write_bytes(b"junk")
    assert read_apart("hdf5", tmp_path / "junk.h5") is None


def test_a_file_that_crashes_its_library_is_refused(crashing, arrays):
    with pytest.raises(ReaderError, match=r"its reader crashed \(exit code -6\)"):
        read_apart("hdf5", arrays.rename(arrays.with_name("crash.weights.h5")))


def test_an_array_without_end_is_refused_after_a_second(tmp_path):
    path = tmp_path / "endless.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("x", (2**31, 2**20), "float32", chunks=(1, 2**20), compression="gzip")
    with pytest.raises(ReaderError, match="took more processor time than a file of its size needs"):
        read_apart("hdf5", path)


def test_a_row_that_does_not_fit_into_the_memory_is_refused(tmp_path):
    path = tmp_path / "wide.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("x", (1, 2**34), "float32", chunks=(1, 2**20), compression="gzip")
    with pytest.raises(ReaderError, match="does not fit into the memory"):
        read_apart("hdf5", path)


def test_the_arrays_of_a_keras_file_are_read(tmp_path, arrays):
    with zipfile.ZipFile(tmp_path / "model.keras", "w") as archive:
        archive.write(arrays, "model.weights.h5")
    assert read_apart("hdf5", tmp_path / "model.keras", "model.weights.h5") is None


def test_weights_that_crash_their_library_are_refused_in_one_line(crashing, tmp_path):
    path = tmp_path / "crash.weights.h5"
    with h5py.File(path, "w") as file:
        file["layers/dense/vars/0"] = np.ones((3, 4), "float32")
    with pytest.raises(WeightsMismatch, match="cannot be read as a HDF5 file: its reader crashed"):
        load("cnn", weights=str(path))


def test_a_table_that_crashes_its_library_is_refused_in_one_line(crashing, tmp_path):
    path = tmp_path / "crash.parquet"
    pyarrow.parquet.write_table(pa.table({"text": ["a", "b"], "label": ["x", "y"]}), path)
    with pytest.raises(DataError, match="its reader crashed"):
        open_source(str(path))
