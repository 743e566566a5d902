"""Groups of examples, and which of them are worse."""

import json
import math

import numpy as np
import pytest
from PIL import Image

from tests.tasks.test_measures import CLASSES, measures_of, scores
from tlkeras.data.examples import Example
from tlkeras.evaluation import intervals, slices
from tlkeras.evaluation.slice_columns import COLUMNS, columns_of
from tlkeras.modalities.registry import MODALITIES
from tlkeras.registry import load_function
from tlkeras.tasks.registry import TARGET, take


def computed(name, examples, inputs=None):
    return load_function(COLUMNS.get(name).compute)(examples, inputs)


def test_numbers_are_cut_at_quartiles_and_every_example_is_in_one_slice():
    found = slices.cut("age", [*range(100), None, *[math.nan] * 11])
    assert [len(index) for index in found.values()] == [25, 25, 25, 25, 12]
    assert list(found) == ["age up to 24.75", "age above 24.75 to 49.5", "age above 49.5 to 74.25", "age above 74.25", "age missing"]
    assert sorted(np.concatenate(list(found.values()))) == list(range(112))


def test_large_numbers_are_written_without_an_exponent_and_slices_of_equal_p_stand_in_the_order_of_their_numbers():
    found = evaluated(np.zeros(240, bool), {"size": [60_000 + 100 * number for number in range(240)]})
    assert [row["slice"] for row in found["slices"]] == [
        "size up to 65,975",
        "size above 65,975 to 71,950",
        "size above 71,950 to 77,925",
        "size above 77,925",
    ]


@pytest.mark.parametrize("values", [[3, 1, 2] * 20, ["3", "1", "2"] * 20, ["a", "b", "c"] * 20])
def test_few_distinct_values_are_slices_of_their_own(values):
    assert {len(index) for index in slices.cut("site", values).values()} == {20} and len(slices.cut("site", values)) == 3


def test_slices_of_few_examples_or_of_all_are_left_out():
    assert list(slices.cut("site", ["a"] * 9 + ["b"] * 30)) == ["site = b"] and not slices.cut("site", ["a"] * 30)


def evaluated(bad, columns, n=240):
    """Returns the slices of a model that is wrong on some examples."""
    p = scores(n)
    y = np.where(bad, (p.argmax(axis=1) + 1) % p.shape[1], p.argmax(axis=1))
    return slices.evaluate(columns, lambda index: measures_of("classification", *(take({TARGET: y}, index), p[index], CLASSES)), n)


def test_a_slice_that_is_worse_is_marked_and_stands_first():
    site = np.array(["north", "south", "east"] * 80)
    bad = (site == "south") & (np.arange(240) % 2 == 0)
    found = evaluated(bad, {"site": site.tolist(), "other": list(range(240))})
    assert [row["slice"] for row in found["slices"] if row["worse"]] == ["site = south"]
    first = found["slices"][0]
    assert first["n"] == 80 and first["value"] == pytest.approx(0.5) and first["rest"] == 1.0 and first["low"] < 0.5 < first["high"]
    assert len(found["slices"]) == 7 and found["value"] == pytest.approx(1 - bad.mean())
    json.dumps(found, allow_nan=False)


def test_where_mistakes_fall_by_chance_slices_are_rarely_marked_however_many_there_are():
    rng, marked = np.random.default_rng(0), 0
    for _ in range(10):
        found = evaluated(rng.random(240) < 0.3, {f"noise{at}": rng.normal(size=240).tolist() for at in range(3)})
        assert len(found["slices"]) == 12
        marked += any(row["worse"] for row in found["slices"])
    assert marked <= 2  # each of the 10 has a chance of 0.05


def test_the_section_and_the_lines_mark_what_is_worse():
    site = np.array(["a", "b"] * 120)
    content = {"label": evaluated(site == "a", {"site": site.tolist()})}
    title, page = slices.section(content)
    assert "site = a" in page and ">worse<" in page and "style=" not in page
    assert [line.split()[0] for line in slices.lines(content)[1:3]] == ["worse", "site"]
    empty = {"label": evaluated(site == "a", {})}
    assert "No slice" in slices.section(empty)[1] and any("no slice" in line for line in slices.lines(empty))


def test_a_slice_of_copies_in_groups_is_tested_by_its_groups():
    p, groups = scores(30), np.repeat(np.arange(30), 10)
    site = np.array(["a", "b"] * 15)
    y = np.where((site == "a") & (np.arange(30) % 3 == 0), (p.argmax(axis=1) + 1) % p.shape[1], p.argmax(axis=1))[groups]

    def measured(index):
        part = {"label": measures_of("classification", *(take({TARGET: y}, index), p[groups][index], CLASSES))}
        return intervals.grouped(part, groups[index])["label"]

    content = {"label": slices.evaluate({"site": site[groups].tolist()}, measured, 300)}
    rows = {row["slice"]: row for row in content["label"]["slices"]}
    assert content["label"]["groups"] == 30 and 0.001 < rows["site = a"]["p"] < 0.1
    assert rows["site = a"]["high"] - rows["site = a"]["low"] > 0.3 and "whole groups" in slices.lines(content)[-1]


# === Computed columns ===


def test_every_modality_has_computed_columns_and_every_column_a_modality():
    assert all(columns_of(name) for name in MODALITIES.names())
    assert {name for row in COLUMNS for name in row.modalities} <= set(MODALITIES.names())


def test_bright_images_are_brighter_and_smooth_images_more_blurred():
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 100, (1, 16, 16, 3))
    images = np.concatenate([noise, noise + 150, np.full((1, 16, 16, 3), 60)]).astype("uint8")
    bright, blur = (computed(name, [], images) for name in ("brightness", "blur"))
    assert bright[0] + 150 == pytest.approx(bright[1]) and bright[2] == 60
    assert blur[0] == pytest.approx(blur[1]) and blur[0] < 0.1 and blur[2] == 1.0


def test_size_and_aspect_are_those_of_the_file_as_people_see_it(tmp_path):
    image = Image.new("RGB", (40, 20))
    exif = image.getexif()
    exif[0x0112] = 6
    image.save(tmp_path / "plain.jpg")
    image.save(tmp_path / "turned.jpg", exif=exif)
    examples = [Example(id=name, label="a", path=tmp_path / name) for name in ("plain.jpg", "turned.jpg")]
    examples += [
        Example(id="array", label="a", array=np.zeros((10, 30), "uint8")),
        Example(id="content", label="a", content=(tmp_path / "plain.jpg").read_bytes()),
    ]
    assert computed("size", examples) == [800.0, 800.0, 300.0, 800.0]
    assert computed("aspect", examples) == [2.0, 0.5, 3.0, 2.0]


def test_texts_have_a_length_and_a_script_and_sequences_a_length():
    texts = ["a short text", "ещё один", "你好,世界", "1 2 3", "", "ab 世界你"]
    examples = [Example(id=str(at), label="a", text=text) for at, text in enumerate(texts)]
    assert computed("length", examples) == [3, 2, 1, 3, 0, 2]
    assert computed("script", examples) == ["latin", "cyrillic", "cjk", "none", "none", "cjk"]
    assert computed("length", [Example(id="0", label="a", array=np.zeros((7, 2), "float32"))]) == [7]
