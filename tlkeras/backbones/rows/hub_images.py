"""Image backbones over KerasHub: one row each. Reading this table imports no Keras.

Architectures are those of the presets; the figures are from the converters of keras-hub 0.32 (`utils/timm/convert_*.py`,
`utils/transformers/convert_*.py`, `models/*/*_presets.py`) and the papers. Parameters are those of the network that is built, which
for most families are the published ones; `ResNetBackbone` and `CSPNetBackbone` presets count their classifier, these do not.

Contracts hold where a preset says nothing itself: what its `image_converter.json` (or a timm or Hugging Face configuration) says comes
first. They are the means and standard deviations of the originals: 0.5 for ViT (google/vit-*), ImageNet's for DeiT, DINOv2, DINOv3
and Swin (facebook/*, microsoft/swin-*), for SegFormer's encoders (nvidia/segformer-*) and for timm's (`IMAGENET_DEFAULT_MEAN`); 0 to
1 for `mobilenetv3_large_100.miil_in21k`; DINOv3 on satellite images has its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from tlkeras.backbones.row import Backbone, Sections
from tlkeras.weights.sources import HubPreset

BUILDER = "tlkeras.backbones.builders.hub_images:build"
APACHE = "Apache-2.0"

# name, preset, pixels, features, parameters, figures of the constructor
Size = tuple[str, str, int, int, int, Mapping[str, Any]]


def _family(
    family: str,
    app: str,
    sizes: Iterable[Size],
    *,
    sections: Sections,
    contract: str = "torch",
    pooling: str = "average",
    min_size: int = 32,
    license: str = APACHE,
    source: str,
    shared: Mapping[str, Any] | None = None,
) -> list[Backbone]:
    """Returns the rows of convolutional networks that differ in their figures only."""
    return [
        Backbone(
            name=name,
            family=family,
            builder=BUILDER,
            app=app,
            contract=contract,
            input_size=pixels,
            min_size=min_size,
            features=features,
            pooling=pooling,
            sections=sections,
            params=params,
            top1=None,
            figures={**(shared or {}), **figures},
            weights=(HubPreset(preset=preset),),
            license=license,
            source=source,
        )
        for name, preset, pixels, features, params, figures in sizes
    ]


# name, preset, pixels, patch, layers, width, heads, parameters, further figures of the constructor
Transformer = tuple[str, str, int, int, int, int, int, int, Mapping[str, Any]]


def _transformers(
    family: str,
    app: str,
    sizes: Iterable[Transformer],
    *,
    contract: str = "torch",
    mlp: str = "intermediate_dim",
    one_size: bool = False,
    block: str = "block_{}",
    license: str = APACHE,
    source: str,
) -> list[Backbone]:
    """Returns the rows of plain vision transformers; their features are those of the class token."""
    return [
        Backbone(
            name=name,
            family=family,
            builder=BUILDER,
            app=app,
            contract=contract,
            input_size=pixels,
            min_size=2 * patch,
            step=patch,
            one_size=one_size,
            features=width,
            pooling="first",
            sections=(("embeddings", "*embedding*"), *((f"block{i}", block.format(i)) for i in range(layers))),
            params=params,
            top1=None,
            figures={"patch_size": patch, "hidden_dim": width, "num_heads": heads, mlp: 4 * width, **more},
            options={"num_layers": layers},
            weights=(HubPreset(preset=preset),),
            license=license,
            source=source,
        )
        for name, preset, pixels, patch, layers, width, heads, params, more in sizes
    ]


# === Vision transformers ===

_VIT = _transformers(
    "vit",
    "ViT",
    [
        ("vit_base", "vit_base_patch16_224_imagenet", 224, 16, 12, 768, 12, 85_798_656, {}),
        ("vit_base_384", "vit_base_patch16_384_imagenet", 384, 16, 12, 768, 12, 86_090_496, {}),
        ("vit_base_p32_384", "vit_base_patch32_384_imagenet", 384, 32, 12, 768, 12, 87_528_192, {}),
        ("vit_base_in21k", "vit_base_patch16_224_imagenet21k", 224, 16, 12, 768, 12, 85_798_656, {}),
        ("vit_base_p32_in21k", "vit_base_patch32_224_imagenet21k", 224, 32, 12, 768, 12, 87_455_232, {}),
        ("vit_large", "vit_large_patch16_224_imagenet", 224, 16, 24, 1024, 16, 303_301_632, {}),
        ("vit_large_384", "vit_large_patch16_384_imagenet", 384, 16, 24, 1024, 16, 303_690_752, {}),
        ("vit_large_in21k", "vit_large_patch16_224_imagenet21k", 224, 16, 24, 1024, 16, 303_301_632, {}),
    ],
    contract="minus_one_one",
    mlp="mlp_dim",
    one_size=True,
    source="https://arxiv.org/abs/2010.11929",
)

_DEIT = _transformers(
    "deit",
    "DeiT",
    [
        ("deit_tiny", "deit_tiny_distilled_patch16_224_imagenet", 224, 16, 12, 192, 3, 5_524_800, {}),
        ("deit_small", "deit_small_distilled_patch16_224_imagenet", 224, 16, 12, 384, 6, 21_666_432, {}),
        ("deit_base", "deit_base_distilled_patch16_224_imagenet", 224, 16, 12, 768, 12, 85_800_192, {}),
        ("deit_base_384", "deit_base_distilled_patch16_384_imagenet", 384, 16, 12, 768, 12, 86_092_032, {}),
    ],
    one_size=True,
    block="block_{}_*",
    source="https://arxiv.org/abs/2012.12877",
)

# With registers, KerasHub interpolates with antialiasing: utils/transformers/convert_dinov2.py.
_REGISTERS = {"num_register_tokens": 4, "antialias_in_interpolation": True}
_DINOV2 = _transformers(
    "dinov2",
    "DINOV2",
    [
        ("dinov2_small", "dinov2_small", 518, 14, 12, 384, 6, 22_582_656, {}),
        ("dinov2_base", "dinov2_base", 518, 14, 12, 768, 12, 87_632_640, {}),
        ("dinov2_large", "dinov2_large", 518, 14, 24, 1024, 16, 305_771_520, {}),
        ("dinov2_small_reg", "dinov2_with_registers_small", 518, 14, 12, 384, 6, 22_584_192, _REGISTERS),
        ("dinov2_base_reg", "dinov2_with_registers_base", 518, 14, 12, 768, 12, 87_635_712, _REGISTERS),
        ("dinov2_large_reg", "dinov2_with_registers_large", 518, 14, 24, 1024, 16, 305_775_616, _REGISTERS),
    ],
    source="https://arxiv.org/abs/2304.07193",
)

_ROPE = {"use_key_bias": False}
_GATED = {"use_key_bias": False, "use_gated_mlp": True, "hidden_activation": "silu"}
_DINOV3 = [
    *_transformers(
        "dinov3",
        "DINOV3",
        [
            ("dinov3_small", "dinov3_vit_small_lvd1689m", 224, 16, 12, 384, 6, 21_596_544, _ROPE),
            ("dinov3_small_plus", "dinov3_vit_small_plus_lvd1689m", 224, 16, 12, 384, 6, 28_692_864, _GATED),
            ("dinov3_base", "dinov3_vit_base_lvd1689m", 224, 16, 12, 768, 12, 85_660_416, _ROPE),
            ("dinov3_large", "dinov3_vit_large_lvd1689m", 224, 16, 24, 1024, 16, 303_129_600, _ROPE),
        ],
        license="DINOv3",
        source="https://arxiv.org/abs/2508.10104",
    ),
    *_transformers(
        "dinov3",
        "DINOV3",
        [("dinov3_large_sat", "dinov3_vit_large_sat493m", 224, 16, 24, 1024, 16, 303_129_600, _ROPE)],
        contract="satellite",
        license="DINOv3",
        source="https://arxiv.org/abs/2508.10104",
    ),
]


def _swin(window: int, sizes: Iterable[tuple[str, str, int, int, tuple[int, ...], tuple[int, ...], int]]) -> list[Backbone]:
    """Windows fill the image at every stage: sides are multiples of 32 windows."""
    return [
        Backbone(
            name=name,
            family="swin",
            builder=BUILDER,
            app="SwinTransformer",
            contract="torch",
            input_size=pixels,
            min_size=32 * window,
            step=32 * window,
            features=8 * width,
            pooling="average_tokens",
            sections=(("stem", "pos_drop"), *((f"stage{i}", f"stage_{i}_*") for i in range(4))),
            params=params,
            top1=None,
            figures={"embed_dim": width, "depths": depths, "num_heads": heads, "window_size": window},
            weights=(HubPreset(preset=preset),),
            license="MIT",
            source="https://arxiv.org/abs/2103.14030",
        )
        for name, preset, pixels, width, depths, heads, params in sizes
    ]


_SWIN = [
    *_swin(
        7,
        [
            ("swin_tiny", "swin_tiny_patch4_window7_224", 224, 96, (2, 2, 6, 2), (3, 6, 12, 24), 27_519_354),
            ("swin_small", "swin_small_patch4_window7_224", 224, 96, (2, 2, 18, 2), (3, 6, 12, 24), 48_837_258),
            ("swin_base", "swin_base_patch4_window7_224", 224, 128, (2, 2, 18, 2), (4, 8, 16, 32), 86_743_224),
            ("swin_large", "swin_large_patch4_window7_224", 224, 192, (2, 2, 18, 2), (6, 12, 24, 48), 194_995_476),
        ],
    ),
    *_swin(
        12,
        [
            ("swin_base_384", "swin_base_patch4_window12_384", 384, 128, (2, 2, 18, 2), (4, 8, 16, 32), 86_878_584),
            ("swin_large_384", "swin_large_patch4_window12_384", 384, 192, (2, 2, 18, 2), (6, 12, 24, 48), 195_198_516),
        ],
    ),
]

_MIT = [
    Backbone(
        name=f"mit_b{number}",
        family="mit",
        builder=BUILDER,
        app="MiT",
        contract="torch",
        input_size=pixels,
        min_size=64,
        step=32,
        features=widths[-1],
        sections=tuple((f"level{i}", f"output_level_{i}") for i in range(4)),
        params=params,
        top1=None,
        figures={
            "hidden_dims": widths,
            "layerwise_depths": depths,
            "num_layers": 4,
            "layerwise_num_heads": [1, 2, 5, 8],
            "layerwise_sr_ratios": [8, 4, 2, 1],
            "layerwise_patch_sizes": [7, 3, 3, 3],
            "layerwise_strides": [4, 2, 2, 2],
            "max_drop_path_rate": 0.1,
        },
        weights=(HubPreset(preset=f"mit_b{number}_ade20k_{pixels}"),),
        license="NVIDIA SegFormer (research only)",
        source="https://arxiv.org/abs/2105.15203",
    )
    for number, pixels, widths, depths, params in [
        (0, 512, [32, 64, 160, 256], [2, 2, 2, 2], 3_319_392),
        (1, 512, [64, 128, 320, 512], [2, 2, 2, 2], 13_151_424),
        (2, 512, [64, 128, 320, 512], [3, 4, 6, 3], 24_196_288),
        (3, 512, [64, 128, 320, 512], [3, 4, 18, 3], 44_072_128),
        (4, 512, [64, 128, 320, 512], [3, 8, 27, 3], 60_842_688),
        (5, 640, [64, 128, 320, 512], [3, 6, 40, 3], 81_443_008),
    ]
]

# === Convolutional networks ===


def _resnet(block: str, depths: list[int], *, vd: bool = False, v2: bool = False) -> dict[str, Any]:
    return {
        "input_conv_filters": [32, 32, 64] if vd else [64],
        "input_conv_kernel_sizes": [3, 3, 3] if vd else [7],
        "stackwise_num_filters": [64, 128, 256, 512],
        "stackwise_num_blocks": depths,
        "stackwise_num_strides": [1, 2, 2, 2],
        "block_type": f"{block}_vd" if vd else block,
        "use_pre_activation": v2,
    }


_BASIC, _BOTTLENECK = "basic_block", "bottleneck_block"
_D18, _D34, _D50 = [2, 2, 2, 2], [3, 4, 6, 3], [3, 4, 6, 3]
_D101, _D152, _D200 = [3, 4, 23, 3], [3, 8, 36, 3], [3, 12, 48, 3]
_STACKS = (("stem", "pool1_*"), *((f"stack{i}", f"stack{i}_*") for i in range(4)))

_RESNET_A1 = _family(
    "resnet_timm",
    "ResNet",
    [
        ("resnet18", "resnet_18_imagenet", 224, 512, 11_186_112, _resnet(_BASIC, _D18)),
        ("resnet50_a1", "resnet_50_imagenet", 224, 2048, 23_561_152, _resnet(_BOTTLENECK, _D50)),
        ("resnet101_a1", "resnet_101_imagenet", 224, 2048, 42_605_504, _resnet(_BOTTLENECK, _D101)),
        ("resnet152_a1", "resnet_152_imagenet", 224, 2048, 58_295_232, _resnet(_BOTTLENECK, _D152)),
    ],
    sections=_STACKS,
    source="https://arxiv.org/abs/2110.00476",
)
_RESNET_A1H = _family(
    "resnet_v2_timm",
    "ResNet",
    [
        ("resnet50_v2_a1h", "resnet_v2_50_imagenet", 224, 2048, 23_545_792, _resnet(_BOTTLENECK, _D50, v2=True)),
        ("resnet101_v2_a1h", "resnet_v2_101_imagenet", 224, 2048, 42_590_144, _resnet(_BOTTLENECK, _D101, v2=True)),
    ],
    sections=_STACKS,
    contract="minus_one_one",
    source="https://arxiv.org/abs/2110.00476",
)
_RESNET_VD = _family(
    "resnet_vd",
    "ResNet",
    [
        ("resnet_vd_18", "resnet_vd_18_imagenet", 224, 512, 11_209_824, _resnet(_BASIC, _D18, vd=True)),
        ("resnet_vd_34", "resnet_vd_34_imagenet", 224, 512, 21_325_408, _resnet(_BASIC, _D34, vd=True)),
        ("resnet_vd_50", "resnet_vd_50_imagenet", 224, 2048, 23_580_512, _resnet(_BOTTLENECK, _D50, vd=True)),
        ("resnet_vd_50_ssld", "resnet_vd_50_ssld_v2_fix_imagenet", 224, 2048, 23_580_512, _resnet(_BOTTLENECK, _D50, vd=True)),
        ("resnet_vd_101", "resnet_vd_101_imagenet", 224, 2048, 42_624_864, _resnet(_BOTTLENECK, _D101, vd=True)),
        ("resnet_vd_101_ssld", "resnet_vd_101_ssld_imagenet", 224, 2048, 42_624_864, _resnet(_BOTTLENECK, _D101, vd=True)),
        ("resnet_vd_152", "resnet_vd_152_imagenet", 224, 2048, 58_314_592, _resnet(_BOTTLENECK, _D152, vd=True)),
        ("resnet_vd_200", "resnet_vd_200_imagenet", 224, 2048, 72_884_064, _resnet(_BOTTLENECK, _D200, vd=True)),
    ],
    sections=_STACKS,
    source="https://arxiv.org/abs/1812.01187",
)

_DARK = {
    "stem_filters": 32,
    "stem_kernel_size": 3,
    "stem_strides": 1,
    "stem_padding": "same",
    "stackwise_depth": [1, 2, 8, 8, 4],
    "stackwise_strides": [2, 2, 2, 2, 2],
    "stackwise_num_filters": [64, 128, 256, 512, 1024],
    "block_type": "dark_block",
}
_CSP = {
    "stem_filters": 64,
    "stem_kernel_size": 7,
    "stem_strides": 4,
    "stem_padding": "valid",
    "stem_pooling": "max",
    "stackwise_depth": [3, 3, 5, 2],
    "stackwise_strides": [1, 2, 2, 2],
    "block_type": "bottleneck_block",
    "stage_type": "csp",
    "cross_linear": True,
}
_RESNETS = {
    "csp_resnet_50": {"stackwise_num_filters": [128, 256, 512, 1024], "bottle_ratio": [0.5], "block_ratio": [1.0], "expand_ratio": [2.0]},
    "csp_resnext_50": {
        "stackwise_num_filters": [256, 512, 1024, 2048],
        "groups": 32,
        "bottle_ratio": [1.0],
        "block_ratio": [0.5],
        "expand_ratio": [1.0],
    },
}
_CSP_SPLIT = {
    "stage_type": "csp",
    "down_growth": True,
    "bottle_ratio": [0.5, 1.0],
    "block_ratio": [1.0, 0.5],
    "expand_ratio": [2.0, 1.0],
}
_PLAIN = {"stage_type": "dark", "bottle_ratio": [0.5], "block_ratio": [1.0], "expand_ratio": [1.0]}


def _csp_sections(count: int) -> Sections:
    return (("stem", "csp_stem_*"), *((f"stage{i}", f"stage_{i}_*") for i in range(count)))


_CSPNET = [
    *_family(
        "cspnet",
        "CSPNet",
        [
            ("csp_resnet_50", "csp_resnet_50_ra_imagenet", 256, 1024, 20_631_488, _RESNETS["csp_resnet_50"]),
            ("csp_resnext_50", "csp_resnext_50_ra_imagenet", 256, 2048, 18_578_368, _RESNETS["csp_resnext_50"]),
        ],
        sections=_csp_sections(4),
        shared=_CSP,
        source="https://arxiv.org/abs/1911.11929",
    ),
    *_family(
        "cspnet",
        "CSPNet",
        [
            ("csp_darknet_53", "csp_darknet_53_ra_imagenet", 256, 1024, 26_652_512, _CSP_SPLIT),
            ("darknet_53", "darknet_53_imagenet", 256, 1024, 40_620_640, _PLAIN),
        ],
        sections=_csp_sections(5),
        shared=_DARK,
        source="https://arxiv.org/abs/1911.11929",
    ),
]

_SMALL = {
    "stackwise_num_blocks": [2, 3, 2, 3],
    "stackwise_kernel_size": [[3, 3], [5, 5, 5], [5, 5], [5, 5, 5]],
    "stackwise_num_strides": [[2, 1], [2, 1, 1], [1, 1], [2, 1, 1]],
    "stackwise_se_ratio": [[None, None], [0.25] * 3, [0.25] * 2, [0.25] * 3],
    "stackwise_activation": [["relu"] * 2, ["hard_swish"] * 3, ["hard_swish"] * 2, ["hard_swish"] * 3],
    "stackwise_padding": [[1, 1], [2, 2, 2], [2, 2], [2, 2, 2]],
    "depthwise_stride": 2,
    "depthwise_residual": False,
    "squeeze_and_excite": 0.5,
}
_SMALL_050 = {
    **_SMALL,
    "stackwise_expansion": [[40, 56], [64, 144, 144], [72, 72], [144, 288, 288]],
    "stackwise_num_filters": [[16, 16], [24, 24, 24], [24, 24], [48, 48, 48]],
    "depthwise_filters": 8,
    "last_layer_filter": 288,
}
_SMALL_100 = {
    **_SMALL,
    "stackwise_expansion": [[72, 88], [96, 240, 240], [120, 144], [288, 576, 576]],
    "stackwise_num_filters": [[24, 24], [40, 40, 40], [48, 48], [96, 96, 96]],
    "depthwise_filters": 16,
    "last_layer_filter": 576,
}
_LARGE_100 = {
    "stackwise_num_blocks": [2, 3, 4, 2, 3],
    "stackwise_expansion": [[64, 72], [72, 120, 120], [240, 200, 184, 184], [480, 672], [672, 960, 960]],
    "stackwise_num_filters": [[24, 24], [40, 40, 40], [80, 80, 80, 80], [112, 112], [160, 160, 160]],
    "stackwise_kernel_size": [[3, 3], [5, 5, 5], [3, 3, 3, 3], [3, 3], [5, 5, 5]],
    "stackwise_num_strides": [[2, 1], [2, 1, 1], [2, 1, 1, 1], [1, 1], [2, 1, 1]],
    "stackwise_se_ratio": [[None] * 2, [0.25] * 3, [None] * 4, [0.25] * 2, [0.25] * 3],
    "stackwise_activation": [["relu"] * 2, ["relu"] * 3, ["hard_swish"] * 4, ["hard_swish"] * 2, ["hard_swish"] * 3],
    "stackwise_padding": [[1, 1], [2, 2, 2], [1, 1, 1, 1], [1, 1], [2, 2, 2]],
    "depthwise_filters": 16,
    "depthwise_stride": 1,
    "depthwise_residual": True,
    "squeeze_and_excite": None,
    "last_layer_filter": 960,
}
_MOBILE = {"output_num_filters": 1024, "input_num_filters": 16, "input_activation": "hard_swish", "output_activation": "hard_swish"}


def _mobilenet(blocks: int, sizes: Iterable[Size], contract: str = "torch") -> list[Backbone]:
    ends = tuple((f"block{i}", f"block_{i}_*") for i in range(1, blocks + 2))
    return _family(
        "mobilenet_v3_timm",
        "MobileNet",
        sizes,
        sections=(("stem", "input_batch_norm"), ("block0", "block_0_0"), *ends),
        contract=contract,
        shared=_MOBILE,
        source="https://arxiv.org/abs/1905.02244",
    )


_MOBILENET = [
    *_mobilenet(
        4,
        [
            ("mobilenet_v3_small_050", "mobilenet_v3_small_050_imagenet", 224, 288, 278_784, _SMALL_050),
            ("mobilenet_v3_small_timm", "mobilenet_v3_small_100_imagenet", 224, 576, 939_120, _SMALL_100),
        ],
    ),
    *_mobilenet(5, [("mobilenet_v3_large_timm", "mobilenet_v3_large_100_imagenet", 224, 960, 2_996_352, _LARGE_100)]),
    *_mobilenet(
        5, [("mobilenet_v3_large_in21k", "mobilenet_v3_large_100_imagenet_21k", 224, 960, 2_996_352, _LARGE_100)], contract="zero_one"
    ),
]

_BLOCK: Mapping[str, Any] = {
    "block_types": "uir",
    "num_filters": 0,
    "strides": 1,
    "act_layers": "gelu",
    "exp_ratios": 0.0,
    "se_ratios": 0.0,
    "dw_kernel_sizes": 0,
    "dw_start_kernel_sizes": 0,
    "dw_end_kernel_sizes": 0,
    "exp_kernel_sizes": 0,
    "pw_kernel_sizes": 0,
    "num_heads": 0,
    "key_dims": 0,
    "value_dims": 0,
    "kv_strides": 0,
    "use_cpe": False,
}


def _edge(filters: int, stride: int = 1) -> dict[str, Any]:
    """Edge residual: the expansion is a full convolution."""
    return {"block_types": "er", "num_filters": filters, "strides": stride, "exp_ratios": 4.0, "exp_kernel_sizes": 3, "pw_kernel_sizes": 1}


def _inverted(filters: int, start: int = 0, *, middle: int = 0, stride: int = 1, ratio: float = 4.0) -> dict[str, Any]:
    """Universal inverted residual: a depthwise convolution before the expansion, in it, both, or neither."""
    sizes = {"dw_start_kernel_sizes": start, "dw_kernel_sizes": middle}
    return {"num_filters": filters, "strides": stride, "exp_ratios": ratio, **sizes}


def _attending(filters: int, heads: int, width: int, stride: int, count: int) -> list[dict[str, Any]]:
    """Multi-query attention, each with a block without convolutions behind it."""
    sizes = {"num_heads": heads, "key_dims": width, "value_dims": width, "kv_strides": stride}
    return [{"block_types": "mqa", "num_filters": filters, **sizes}, _inverted(filters, ratio=2.0)] * count


def _mobilenet_v5(sections: Iterable[list[dict[str, Any]]]) -> dict[str, Any]:
    blocks = [[{**_BLOCK, **block} for block in section] for section in sections]
    return {
        **{f"stackwise_{name}": [[block[name] for block in section] for section in blocks] for name in _BLOCK},
        "stackwise_num_blocks": [len(section) for section in blocks],
        "stem_size": 64,
        "num_features": 2048,
        "norm_layer": "rms_norm",
        "act_layer": "gelu",
        "use_msfa": True,
        "layer_scale_init_value": 1e-5,
    }


_MOBILENET_V5 = [
    Backbone(
        name="mobilenet_v5_300m",
        family="mobilenet_v5",
        builder=BUILDER,
        app="MobileNetV5",
        contract="minus_one_one",  # timm/models/mobilenetv5.py
        input_size=768,
        min_size=64,
        step=32,
        features=2048,
        sections=(("stem", "conv_stem"), *((f"stage{i}", f"stage_{i}_*") for i in range(4)), ("fusion", "msfa")),
        params=294_284_096,
        top1=None,
        figures=_mobilenet_v5(
            [
                [_edge(128, 2), _edge(128), _edge(128)],
                [_inverted(256, 3, middle=5, stride=2, ratio=6.0), *(_inverted(256, kernel) for kernel in (5, 3, 5, 3))],
                [
                    _inverted(640, 5, middle=5, stride=2, ratio=6.0),
                    *[_inverted(640, 5)] * 7,
                    _inverted(640, ratio=1.0),
                    *_attending(640, 12, 64, 2, 14),
                ],
                [_inverted(1280, 5, middle=5, stride=2, ratio=6.0), *_attending(1280, 16, 96, 1, 19)],
            ]
        ),
        weights=(HubPreset(preset="mobilenetv5_300m_enc_gemma3n"),),
        license="Gemma",
        source="https://ai.google.dev/gemma/docs/gemma-3n",
    )
]

# Stem channels, and for each stage: channels in, inside and out, blocks, layers, kernel.
_HG = {
    "hgnetv2_b4": ([3, 32, 48], [[48, 48, 128, 1, 6, 3], [128, 96, 512, 1, 6, 3], [512, 192, 1024, 3, 6, 5], [1024, 384, 2048, 1, 6, 5]]),
    "hgnetv2_b5": ([3, 32, 64], [[64, 64, 128, 1, 6, 3], [128, 128, 512, 2, 6, 3], [512, 256, 1024, 5, 6, 5], [1024, 512, 2048, 2, 6, 5]]),
    "hgnetv2_b6": ([3, 48, 96], [[96, 96, 192, 2, 6, 3], [192, 192, 512, 3, 6, 3], [512, 384, 1024, 6, 6, 5], [1024, 768, 2048, 3, 6, 5]]),
}


def _hgnet(name: str) -> dict[str, Any]:
    stem, sections = _HG[name]
    return {
        "stem_channels": stem,
        "embedding_size": stem[-1],
        "hidden_sizes": [one[2] for one in sections],
        "depths": [one[3] for one in sections],
        "stackwise_stage_filters": sections,
        "apply_downsample": [False, True, True, True],
        "use_lightweight_conv_block": [False, False, True, True],
        "hidden_act": "relu",
        "use_learnable_affine_block": False,
    }


_HGNETV2 = _family(
    "hgnetv2",
    "HGNetV2",
    [
        ("hgnetv2_b4", "hgnetv2_b4_ssld_stage2_ft_in1k", 224, 2048, 13_599_072, _hgnet("hgnetv2_b4")),
        ("hgnetv2_b5", "hgnetv2_b5_ssld_stage2_ft_in1k", 224, 2048, 33_419_680, _hgnet("hgnetv2_b5")),
        ("hgnetv2_b5_in22k", "hgnetv2_b5_ssld_stage1_in22k_in1k", 224, 2048, 33_419_680, _hgnet("hgnetv2_b5")),
        ("hgnetv2_b6", "hgnetv2_b6_ssld_stage2_ft_in1k", 224, 2048, 69_179_888, _hgnet("hgnetv2_b6")),
        ("hgnetv2_b6_in22k", "hgnetv2_b6_ssld_stage1_in22k_in1k", 224, 2048, 69_179_888, _hgnet("hgnetv2_b6")),
    ],
    sections=(("stem", "embedder"), *((f"stage{i}", f"stage_{i}") for i in range(4))),
    source="https://arxiv.org/abs/2304.08069",
)

_VGG = _family(
    "vgg_torch",
    "VGG",
    [
        ("vgg11", "vgg_11_imagenet", 224, 512, 9_220_480, {"stackwise_num_repeats": [1, 1, 2, 2, 2]}),
        ("vgg13", "vgg_13_imagenet", 224, 512, 9_404_992, {"stackwise_num_repeats": [2, 2, 2, 2, 2]}),
    ],
    sections=tuple((f"block{i}", f"block{i}_*") for i in range(1, 6)),
    shared={"stackwise_num_filters": [64, 128, 256, 512, 512]},
    license="BSD-3-Clause",
    source="https://arxiv.org/abs/1409.1556",
)

ROWS = [
    *_MOBILENET,
    *_MOBILENET_V5,
    *_RESNET_A1,
    *_RESNET_A1H,
    *_RESNET_VD,
    *_VGG,
    *_CSPNET,
    *_HGNETV2,
    *_VIT,
    *_DEIT,
    *_DINOV2,
    *_DINOV3,
    *_SWIN,
    *_MIT,
]

ALIASES = {
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
}
