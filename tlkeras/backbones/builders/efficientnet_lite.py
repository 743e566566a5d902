"""EfficientNet-Lite by the architecture of KerasCV: the only module that uses keras-cv.

The last release of keras-cv is 0.9.0, of 2024, so that it may stop working with a future Keras. To replace it, build the seven groups of
blocks below with Keras layers under the same names (stem_conv, stem_bn, block3b_expand_conv, block3b_expand_bn, block3b_dwconv, block3b_bn,
block3b_project_conv, block3b_project_bn, top_conv, top_bn), as `builders.torchvision.mobilenet_v2` does for a network of the same kind.
The tests of the rows and the golden features of `tests/weights/test_foreign.py` then show whether the network is the same, and
`tlkeras.weights.torch_modules` needs no change. Afterwards remove keras-cv from setup.cfg, `tlkeras check-install` and the packages that a
run records.
"""

from __future__ import annotations

import keras

from tlkeras.backbones.row import Backbone


def build(row: Backbone, size: int) -> keras.Model:
    """Builds an EfficientNet-Lite by KerasCV's architecture (figures: keras_cv, efficientnet_lite_backbone.py)."""
    # The class that KerasCV names ...B0Backbone asks a model hub for these same figures.
    from keras_cv.models import EfficientNetLiteBackbone

    built = EfficientNetLiteBackbone(
        include_rescaling=False,
        width_coefficient=row.scale[0],
        depth_coefficient=row.scale[1],
        stackwise_kernel_sizes=[3, 3, 5, 3, 5, 5, 3],
        stackwise_num_repeats=[1, 2, 2, 3, 3, 4, 1],
        stackwise_input_filters=[32, 16, 24, 40, 80, 112, 192],
        stackwise_output_filters=[16, 24, 40, 80, 112, 192, 320],
        stackwise_expansion_ratios=[1, 6, 6, 6, 6, 6, 6],
        stackwise_strides=[1, 2, 2, 2, 1, 2, 1],
        input_shape=(size, size, 3),
    )
    return keras.Model(built.input, built.output)
