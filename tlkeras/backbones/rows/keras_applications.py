"""Networks of keras.applications: one row each. Reading this table imports no Keras.

Top-1: keras.io/api/applications, and the docstrings of keras.applications.mobilenet_v3.
"""

from __future__ import annotations

from collections.abc import Iterable

from tlkeras.backbones.row import LAST, Backbone, Sections, block_sections, named_sections
from tlkeras.weights.sources import KerasDownload

Figures = tuple[str, str, int, int, int, float]  # name, class in keras.applications, pixels, features, parameters, top-1


def _family(
    family: str,
    figures: Iterable[Figures],
    *,
    contract: str,
    sections: Sections,
    license: str,
    source: str,
    min_size: int = 32,
    classifier: tuple[str, ...] = (LAST,),
    layouts: tuple[str, ...] = (),
    file: str = "{app}_weights_tf_dim_ordering_tf_kernels_notop.h5",
) -> list[Backbone]:
    """Returns rows of keras.applications; `file` is how its downloads are called."""
    return [
        Backbone(
            name=name,
            family=family,
            app=app,
            contract=contract,
            input_size=size,
            min_size=min_size,
            features=features,
            sections=sections,
            params=params,
            top1=top1,
            classifier=classifier,
            layouts=layouts,
            weights=(KerasDownload(file=file.format(name=name, app=app.lower(), variant=name.rpartition("_")[2])),),
            license=license,
            source=source,
        )
        for name, app, size, features, params, top1 in figures
    ]


_XCEPTION = _family(
    "xception",
    [("xception", "Xception", 299, 2048, 20_861_480, 0.790)],
    contract="minus_one_one",
    min_size=71,
    # Residual shortcuts are not named by Keras: blocks 2 to 13 end at their Add.
    sections=named_sections(
        {"block1": "block1_*", **{f"block{i + 2}": "add" if i == 0 else f"add_{i}" for i in range(12)}, "block14": "block14_*"}
    ),
    license="MIT",
    source="https://arxiv.org/abs/1610.02357",
)

_VGG = _family(
    "vgg",
    [("vgg16", "VGG16", 224, 512, 14_714_688, 0.713), ("vgg19", "VGG19", 224, 512, 20_024_384, 0.713)],
    contract="caffe",
    sections=named_sections([f"block{i}" for i in range(1, 6)]),
    classifier=("fc1", "fc2", LAST),
    license="CC-BY-4.0",
    source="https://arxiv.org/abs/1409.1556",
)

_RESNET = _family(
    "resnet",
    [
        ("resnet50", "ResNet50", 224, 2048, 23_587_712, 0.749),
        ("resnet101", "ResNet101", 224, 2048, 42_658_176, 0.764),
        ("resnet152", "ResNet152", 224, 2048, 58_370_944, 0.766),
    ],
    contract="caffe",
    sections=named_sections({"stem": "pool1_*", **{f"conv{i}": f"conv{i}_*" for i in range(2, 6)}}),
    license="MIT",
    source="https://arxiv.org/abs/1512.03385",
)

_RESNET_V2 = _family(
    "resnet_v2",
    [
        ("resnet50_v2", "ResNet50V2", 224, 2048, 23_564_800, 0.760),
        ("resnet101_v2", "ResNet101V2", 224, 2048, 42_626_560, 0.772),
        ("resnet152_v2", "ResNet152V2", 224, 2048, 58_331_648, 0.780),
    ],
    contract="minus_one_one",
    sections=named_sections({"stem": "pool1_*", **{f"conv{i}": f"conv{i}_*" for i in range(2, 6)}}),
    license="Apache-2.0",
    source="https://arxiv.org/abs/1603.05027",
)

_INCEPTION_V3 = _family(
    "inception_v3",
    [("inception_v3", "InceptionV3", 299, 2048, 21_802_784, 0.779)],
    contract="minus_one_one",
    min_size=75,
    file="inception_v3_weights_tf_dim_ordering_tf_kernels_notop.h5",
    sections=named_sections({"stem": "max_pooling2d_1", **{f"mixed{i}": f"mixed{i}" for i in range(11)}}),
    license="Apache-2.0",
    source="https://arxiv.org/abs/1512.00567",
)

_INCEPTION_RESNET_V2 = _family(
    "inception_resnet_v2",
    [("inception_resnet_v2", "InceptionResNetV2", 299, 1536, 54_336_736, 0.803)],
    contract="minus_one_one",
    min_size=75,
    file="inception_resnet_v2_weights_tf_dim_ordering_tf_kernels_notop.h5",
    sections=named_sections(
        {
            "stem": "max_pooling2d_1",
            "mixed_5b": "mixed_5b",
            "block35": "block35_*",
            "mixed_6a": "mixed_6a",
            "block17": "block17_*",
            "mixed_7a": "mixed_7a",
            "block8": "block8_*",
            "top": "conv_7b*",
        }
    ),
    license="Apache-2.0",
    source="https://arxiv.org/abs/1602.07261",
)

_MOBILENET = _family(
    "mobilenet",
    [("mobilenet", "MobileNet", 224, 1024, 3_228_864, 0.704)],
    contract="minus_one_one",
    classifier=("conv_preds",),
    file="mobilenet_1_0_224_tf_no_top.h5",
    sections=named_sections({"stem": "conv1_*", **{f"block{i}": f"conv_pw_{i}_relu" for i in range(1, 14)}}),
    license="Apache-2.0",
    source="https://arxiv.org/abs/1704.04861",
)

_MOBILENET_V2 = _family(
    "mobilenet_v2",
    [("mobilenet_v2", "MobileNetV2", 224, 1280, 2_257_984, 0.713)],
    contract="minus_one_one",
    file="mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224_no_top.h5",
    sections=named_sections(
        {"stem": "Conv1_relu", "block0": "expanded_conv_*", **{f"block{i}": f"block_{i}_*" for i in range(1, 17)}, "top": "out_relu"}
    ),
    license="Apache-2.0",
    source="https://arxiv.org/abs/1801.04381",
)


def _mobilenet_v3(figures: Figures, blocks: int) -> list[Backbone]:
    ends = {f"block{i}": f"expanded_conv_{i}_*" for i in range(1, blocks)}
    return _family(
        "mobilenet_v3",
        [figures],
        contract="identity",
        classifier=("conv_2", LAST),
        file="weights_{name}_224_1.0_float_no_top_v2.h5",
        sections=named_sections({"stem": "conv_bn", "block0": "expanded_conv_project_bn", **ends, "top": "conv_1_bn"}),
        license="Apache-2.0",
        source="https://arxiv.org/abs/1905.02244",
    )


_MOBILENET_V3 = [
    *_mobilenet_v3(("mobilenet_v3_small", "MobileNetV3Small", 224, 576, 939_120, 0.681), 11),
    *_mobilenet_v3(("mobilenet_v3_large", "MobileNetV3Large", 224, 960, 2_996_352, 0.756), 15),
]

_DENSENET = _family(
    "densenet",
    [
        ("densenet121", "DenseNet121", 224, 1024, 7_037_504, 0.750),
        ("densenet169", "DenseNet169", 224, 1664, 12_642_880, 0.762),
        ("densenet201", "DenseNet201", 224, 1920, 18_321_984, 0.773),
    ],
    contract="torch",
    layouts=("torchvision_densenet",),
    sections=named_sections({"stem": "pool1", "conv2": "pool2_pool", "conv3": "pool3_pool", "conv4": "pool4_pool", "conv5": "relu"}),
    license="BSD-3-Clause",
    source="https://arxiv.org/abs/1608.06993",
)


def _nasnet(figures: Figures, cells: int) -> list[Backbone]:
    """Three groups of `cells` normal cells; a reduction cell opens the second and the third."""
    return _family(
        "nasnet",
        [figures],
        contract="minus_one_one",
        file="{name}_no_top.h5",
        sections=named_sections(
            {
                "stem": "reduction_concat_stem_2",
                "cells1": f"normal_concat_{cells - 1}",
                "cells2": f"normal_concat_{2 * cells}",
                "cells3": f"normal_concat_{3 * cells}",
            }
        ),
        license="Apache-2.0",
        source="https://arxiv.org/abs/1707.07012",
    )


_NASNET = [
    *_nasnet(("nasnet_mobile", "NASNetMobile", 224, 1056, 4_269_716, 0.744), 4),
    *_nasnet(("nasnet_large", "NASNetLarge", 331, 4032, 84_916_818, 0.825), 6),
]

_EFFICIENTNET = [
    Backbone(
        name=f"efficientnet_b{i}",
        family="efficientnet_v1",
        app=f"EfficientNetB{i}",
        contract="identity",
        input_size=size,
        features=features,
        sections=block_sections(7),
        params=params,
        top1=top1,
        weights=(KerasDownload(file=f"efficientnetb{i}_notop.h5"),),
        rescale=(0.229, 0.224, 0.225),  # keras/src/applications/efficientnet.py, IMAGENET_STDDEV_RGB
        license="Apache-2.0",
        source="https://arxiv.org/abs/1905.11946",
    )
    for i, (size, features, params, top1) in enumerate(
        [
            (224, 1280, 4_049_571, 0.771),
            (240, 1280, 6_575_239, 0.791),
            (260, 1408, 7_768_569, 0.801),
            (300, 1536, 10_783_535, 0.816),
            (380, 1792, 17_673_823, 0.829),
            (456, 2048, 28_513_527, 0.836),
            (528, 2304, 40_960_143, 0.840),
            (600, 2560, 64_097_687, 0.843),
        ]
    )
]


def _efficientnet_v2(figures: Iterable[Figures], blocks: int) -> list[Backbone]:
    return _family(
        "efficientnet_v2",
        figures,
        contract="identity",
        file="efficientnetv2-{variant}_notop.h5",
        sections=block_sections(blocks),
        license="Apache-2.0",
        source="https://arxiv.org/abs/2104.00298",
    )


_EFFICIENTNET_V2 = [
    *_efficientnet_v2(
        [
            ("efficientnet_v2_b0", "EfficientNetV2B0", 224, 1280, 5_919_312, 0.787),
            ("efficientnet_v2_b1", "EfficientNetV2B1", 240, 1280, 6_931_124, 0.798),
            ("efficientnet_v2_b2", "EfficientNetV2B2", 260, 1408, 8_769_374, 0.805),
            ("efficientnet_v2_b3", "EfficientNetV2B3", 300, 1536, 12_930_622, 0.820),
            ("efficientnet_v2_s", "EfficientNetV2S", 384, 1280, 20_331_360, 0.839),
        ],
        6,
    ),
    *_efficientnet_v2(
        [
            ("efficientnet_v2_m", "EfficientNetV2M", 480, 1280, 53_150_388, 0.853),
            ("efficientnet_v2_l", "EfficientNetV2L", 480, 1280, 117_746_848, 0.857),
        ],
        7,
    ),
]

_CONVNEXT = _family(
    "convnext",
    [
        ("convnext_tiny", "ConvNeXtTiny", 224, 768, 27_820_128, 0.813),
        ("convnext_small", "ConvNeXtSmall", 224, 768, 49_454_688, 0.823),
        ("convnext_base", "ConvNeXtBase", 224, 1024, 87_566_464, 0.853),
        ("convnext_large", "ConvNeXtLarge", 224, 1536, 196_230_336, 0.863),
        ("convnext_xlarge", "ConvNeXtXLarge", 224, 2048, 348_147_968, 0.867),
    ],
    contract="identity",
    classifier=(".*_head_dense",),
    file="{name}_notop.h5",
    layouts=("facebook_convnext",),
    sections=named_sections({"stem": "*_stem", **{f"stage{i}": f"*_stage_{i}_*" for i in range(4)}}),
    license="MIT",
    source="https://arxiv.org/abs/2201.03545",
)

ROWS = [
    *_EFFICIENTNET,
    *_EFFICIENTNET_V2,
    *_MOBILENET,
    *_MOBILENET_V2,
    *_MOBILENET_V3,
    *_RESNET,
    *_RESNET_V2,
    *_VGG,
    *_INCEPTION_V3,
    *_INCEPTION_RESNET_V2,
    *_XCEPTION,
    *_DENSENET,
    *_NASNET,
    *_CONVNEXT,
]

ALIASES = {
    "efficientnet_v2": "efficientnet_v2_b0",
    "mobilenet_v3": "mobilenet_v3_large",
    "resnet": "resnet50",
    "resnet_v2": "resnet50_v2",
    "vgg": "vgg16",
    "inception": "inception_v3",
    "densenet": "densenet121",
    "nasnet": "nasnet_mobile",
    "convnext": "convnext_tiny",
}
