"""Ids of hubs, presets and files where the name of a backbone is expected."""

import pytest

from tlkeras.backbones.registry import BACKBONES, find
from tlkeras.config import RunConfig
from tlkeras.errors import UnknownName
from tlkeras.jobs import plan
from tlkeras.weights.sources import HubPreset


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("hf://google/efficientnet-b0", ["hub", "--backbone efficientnet_b0 ", "--weights FOLDER"]),
        ("google/efficientnet-b4", ["hub", "--backbone efficientnet_b4 ", "--weights FOLDER"]),
        ("kaggle://keras/resnetv1/keras/resnet_50_imagenet", ["KerasHub preset", "--backbone resnet50_a1,"]),
        ("microsoft/resnet-50", ["--backbone resnet50 ", "--weights FOLDER"]),
        ("google-bert/bert-base-uncased", ["--backbone bert_base "]),
        ("bert-base-uncased", ["--backbone bert_base "]),
        ("google/vit-base-patch16-224", ["--backbone vit_base "]),
        ("https://tfhub.dev/google/imagenet/mobilenet_v2_100_224/feature_vector/5", ["--backbone mobilenet_v2 "]),
        ("nobody/knows-this", ["--list-backbones", "--weights FOLDER"]),
        ("best.keras", ["is a file", "--weights best.keras"]),
        ("weights/net.pth", ["is a file", "--weights weights/net.pth"]),
    ],
)
def test_an_id_of_a_hub_or_a_file_leads_to_weights_and_to_the_backbone(name, expected):
    with pytest.raises(UnknownName) as error:
        find(name)
    assert all(part in str(error.value) for part in expected), str(error.value)


def test_every_preset_of_the_registry_leads_to_its_own_row():
    presets = {source.preset: row for row in BACKBONES for source in row.weights if isinstance(source, HubPreset)}
    assert len(presets) > 50
    for preset in presets:
        if preset not in BACKBONES:
            with pytest.raises(UnknownName, match="is a KerasHub preset") as error:
                find(preset)
            row = presets[preset]
            assert f"--backbone {row.name}" in str(error.value)


def test_a_folder_leads_to_weights(tmp_path):
    with pytest.raises(UnknownName, match=f"is a folder.*--weights {tmp_path}"):
        find(str(tmp_path))


@pytest.mark.parametrize("name", ["resnet5O", "resnet-50", "efficientnet-b9", "efficientnet_lit0"])
def test_a_mistyped_name_lists_near_names(name):
    with pytest.raises(UnknownName, match="did you mean"):
        find(name)


def test_a_run_says_so_before_anything_is_loaded():
    with pytest.raises(UnknownName, match="--backbone efficientnet_b0"):
        plan.effective(RunConfig.from_dict({"backbone": "hf://google/efficientnet-b0"}))
