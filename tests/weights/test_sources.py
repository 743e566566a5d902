"""The sources of weights: which one a `--weights` value names, and what happens when a download fails."""

import socket

import pytest

from tlkeras.backbones.registry import BACKBONES
from tlkeras.errors import ConfigError, WeightsUnavailable
from tlkeras.weights import downloads, sources

WITH_WEIGHTS = [row for row in BACKBONES if row.weights]


@pytest.mark.parametrize("row", WITH_WEIGHTS, ids=lambda row: row.name)
def test_the_best_source_of_a_row_is_its_first_and_each_kind_is_found_by_its_name(row):
    assert all(sources.chosen_source(row, choice) == row.weights[0] for choice in sources.FIRST)
    assert [sources.chosen_source(row, source.kind) for source in row.weights] == list(row.weights)


@pytest.mark.parametrize("choice", ["none", "weights.h5", "zoo", "./wheel"])
def test_a_path_or_none_names_no_source(choice):
    assert sources.chosen_source(BACKBONES.get("efficientnet"), choice) is None
    assert sources.is_path(choice) == (choice != "none")


def test_a_failed_download_names_the_alternatives_and_leaves_the_time_limit_of_sockets_unchanged():
    before = socket.getdefaulttimeout()
    with pytest.raises(WeightsUnavailable, match=r"^the file cannot be downloaded \(no route to host\); take another$"):
        with downloads.with_alternatives("the file", "take another"):
            assert socket.getdefaulttimeout() == downloads.PATIENCE
            raise OSError("no route\n to host")
    assert socket.getdefaulttimeout() == before


def test_an_error_of_the_configuration_is_not_a_failed_download():
    with pytest.raises(ConfigError, match="as it was"), downloads.with_alternatives("the file", "take another"):
        raise ConfigError("as it was")
