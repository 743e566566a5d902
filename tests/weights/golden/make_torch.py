"""Writes the golden figures of foreign checkpoints: `python make_torch.py`, in an environment with torch and NumPy alone.

Each network is written out here with the names that torchvision, timm, lukemelas and facebookresearch give its modules, has random weights
that depend on their names alone, and runs on one random picture. Kept are the names and shapes of its entries and the mean features, so the
test needs neither torch nor the weights. The small checkpoints are what `torch.save` itself writes.
"""

import json
import sys
import zipfile
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

sys.path.insert(0, str(Path(__file__).parent))
from filling import SIZE, filled, picture

HERE = Path(__file__).parent
MEAN, STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])


def contract_torch(x):
    return (x / 255 - MEAN) / STD


def contract_lite(x):
    return (x - 127) / 128


def bn(width, eps=1e-5):
    return nn.BatchNorm2d(width, eps=eps)


class BasicBlock(nn.Module):
    grows = 1

    def __init__(self, given, width, stride):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(given, width, 3, stride, 1, bias=False), bn(width)
        self.conv2, self.bn2 = nn.Conv2d(width, width, 3, 1, 1, bias=False), bn(width)
        if stride > 1 or given != width:
            self.downsample = nn.Sequential(nn.Conv2d(given, width, 1, stride, bias=False), bn(width))

    def forward(self, x):
        y = F.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        return F.relu(y + (self.downsample(x) if hasattr(self, "downsample") else x))


class Bottleneck(nn.Module):
    grows = 4

    def __init__(self, given, width, stride):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(given, width, 1, bias=False), bn(width)
        self.conv2, self.bn2 = nn.Conv2d(width, width, 3, stride, 1, bias=False), bn(width)
        self.conv3, self.bn3 = nn.Conv2d(width, 4 * width, 1, bias=False), bn(4 * width)
        if stride > 1 or given != 4 * width:
            self.downsample = nn.Sequential(nn.Conv2d(given, 4 * width, 1, stride, bias=False), bn(4 * width))

    def forward(self, x):
        y = F.relu(self.bn1(self.conv1(x)))
        y = F.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        return F.relu(y + (self.downsample(x) if hasattr(self, "downsample") else x))


class ResNet(nn.Module):
    def __init__(self, block, counts):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False), bn(64)
        given = 64
        for group, count in enumerate(counts):
            width, blocks = 64 * 2**group, []
            for place in range(count):
                blocks.append(block(given, width, 2 if group and not place else 1))
                given = width * block.grows
            setattr(self, f"layer{group + 1}", nn.Sequential(*blocks))
        self.fc = nn.Linear(given, 10)

    def features_of(self, x):
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(x))), 3, 2, 1)
        return self.layer4(self.layer3(self.layer2(self.layer1(x))))


class VGG(nn.Module):
    def __init__(self, counts):
        super().__init__()
        parts, given = [], 3
        for count, width in zip(counts, (64, 128, 256, 512, 512), strict=True):
            for _ in range(count):
                parts += [nn.Conv2d(given, width, 3, padding=1), nn.ReLU()]
                given = width
            parts.append(nn.MaxPool2d(2, 2))
        self.features = nn.Sequential(*parts)

    def features_of(self, x):
        return self.features(x)


class DenseLayer(nn.Module):
    def __init__(self, given):
        super().__init__()
        self.norm1, self.conv1 = bn(given), nn.Conv2d(given, 128, 1, bias=False)
        self.norm2, self.conv2 = bn(128), nn.Conv2d(128, 32, 3, padding=1, bias=False)

    def forward(self, x):
        return torch.cat([x, self.conv2(F.relu(self.norm2(self.conv1(F.relu(self.norm1(x))))))], 1)


class DenseNet(nn.Module):
    def __init__(self, counts):
        super().__init__()
        self.features = nn.Sequential()
        self.features.add_module("conv0", nn.Conv2d(3, 64, 7, 2, 3, bias=False))
        self.features.add_module("norm0", bn(64))
        self.features.add_module("relu0", nn.ReLU())
        self.features.add_module("pool0", nn.MaxPool2d(3, 2, 1))
        width = 64
        for group, count in enumerate(counts, 1):
            block = nn.Sequential()
            for place in range(count):
                block.add_module(f"denselayer{place + 1}", DenseLayer(width + 32 * place))
            self.features.add_module(f"denseblock{group}", block)
            width += 32 * count
            if group < len(counts):
                step = nn.Sequential()
                step.add_module("norm", bn(width))
                step.add_module("relu", nn.ReLU())
                step.add_module("conv", nn.Conv2d(width, width // 2, 1, bias=False))
                step.add_module("pool", nn.AvgPool2d(2, 2))
                self.features.add_module(f"transition{group}", step)
                width //= 2
        self.features.add_module("norm5", bn(width))
        self.classifier = nn.Linear(width, 10)

    def features_of(self, x):
        return F.relu(self.features(x))


BLOCKS = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))


class Inverted(nn.Module):
    def __init__(self, given, made, stride, expansion):
        super().__init__()
        width, parts = given * expansion, []
        if expansion > 1:
            parts.append(nn.Sequential(nn.Conv2d(given, width, 1, bias=False), bn(width), nn.ReLU6()))
        parts.append(nn.Sequential(nn.Conv2d(width, width, 3, stride, 1, groups=width, bias=False), bn(width), nn.ReLU6()))
        self.conv = nn.Sequential(*parts, nn.Conv2d(width, made, 1, bias=False), bn(made))
        self.added = stride == 1 and given == made

    def forward(self, x):
        return x + self.conv(x) if self.added else self.conv(x)


class MobileNetV2(nn.Module):
    def __init__(self):
        super().__init__()
        parts, given = [nn.Sequential(nn.Conv2d(3, 32, 3, 2, 1, bias=False), bn(32), nn.ReLU6())], 32
        for expansion, made, repeats, stride in BLOCKS:
            for place in range(repeats):
                parts.append(Inverted(given, made, 1 if place else stride, expansion))
                given = made
        parts.append(nn.Sequential(nn.Conv2d(320, 1280, 1, bias=False), bn(1280), nn.ReLU6()))
        self.features = nn.Sequential(*parts)
        self.classifier = nn.Sequential(nn.Dropout(), nn.Linear(1280, 10))

    def features_of(self, x):
        return self.features(x)


def same(x, kernel, stride):
    """TensorFlow's padding: what is odd goes to the right and below."""
    need = [max((-(-side // stride) - 1) * stride + kernel - side, 0) for side in x.shape[-2:]]
    return F.pad(x, (need[1] // 2, need[1] - need[1] // 2, need[0] // 2, need[0] - need[0] // 2))


class TimmBlock(nn.Module):
    """timm's InvertedResidual, or its DepthwiseSeparableConv where nothing is expanded."""

    def __init__(self, given, made, kernel, stride, expansion, tf):
        super().__init__()
        width, eps = given * expansion, 1e-3 if tf else 1e-5
        self.kernel, self.stride, self.tf, self.expands, self.added = kernel, stride, tf, expansion > 1, stride == 1 and given == made
        depthwise = nn.Conv2d(width, width, kernel, stride, 0, groups=width, bias=False)
        if self.expands:
            self.conv_pw, self.bn1 = nn.Conv2d(given, width, 1, bias=False), bn(width, eps)
            self.conv_dw, self.bn2 = depthwise, bn(width, eps)
            self.conv_pwl, self.bn3 = nn.Conv2d(width, made, 1, bias=False), bn(made, eps)
        else:
            self.conv_dw, self.bn1 = depthwise, bn(width, eps)
            self.conv_pw, self.bn2 = nn.Conv2d(width, made, 1, bias=False), bn(made, eps)

    def pad(self, x):
        side = self.kernel // 2
        return same(x, self.kernel, self.stride) if self.tf else F.pad(x, (side, side, side, side))

    def forward(self, x):
        if self.expands:
            y = F.relu6(self.bn1(self.conv_pw(x)))
            y = self.bn3(self.conv_pwl(F.relu6(self.bn2(self.conv_dw(self.pad(y))))))
        else:
            y = self.bn2(self.conv_pw(F.relu6(self.bn1(self.conv_dw(self.pad(x))))))
        return x + y if self.added else y


class TimmNet(nn.Module):
    """mobilenetv2_100, or tf_efficientnet_lite0 with TensorFlow's padding and epsilon."""

    def __init__(self, blocks, tf):
        super().__init__()
        self.tf, eps = tf, 1e-3 if tf else 1e-5
        self.conv_stem, self.bn1 = nn.Conv2d(3, 32, 3, 2, 0, bias=False), bn(32, eps)
        groups, given = [], 32
        for expansion, made, repeats, stride, kernel in blocks:
            group = []
            for place in range(repeats):
                group.append(TimmBlock(given, made, kernel, 1 if place else stride, expansion, tf))
                given = made
            groups.append(nn.Sequential(*group))
        self.blocks = nn.Sequential(*groups)
        self.conv_head, self.bn2 = nn.Conv2d(given, 1280, 1, bias=False), bn(1280, eps)
        self.classifier = nn.Linear(1280, 10)

    def features_of(self, x):
        x = same(x, 3, 2) if self.tf else F.pad(x, (1, 1, 1, 1))
        x = self.blocks(F.relu6(self.bn1(self.conv_stem(x))))
        return F.relu6(self.bn2(self.conv_head(x)))


LITE = [(e, f, n, s, k) for (e, f, n, s), k in zip(
    ((1, 16, 1, 1), (6, 24, 2, 2), (6, 40, 2, 2), (6, 80, 3, 2), (6, 112, 3, 1), (6, 192, 4, 2), (6, 320, 1, 1)),
    (3, 3, 5, 3, 5, 5, 3), strict=True,
)]  # fmt: skip


class LayerNorm(nn.Module):
    """Over the channels of (batch, channels, height, width), or of the last axis."""

    def __init__(self, width, last=False):
        super().__init__()
        self.weight, self.bias, self.last = nn.Parameter(torch.ones(width)), nn.Parameter(torch.zeros(width)), last

    def forward(self, x):
        if self.last:
            return F.layer_norm(x, self.weight.shape, self.weight, self.bias, 1e-6)
        return F.layer_norm(x.permute(0, 2, 3, 1), self.weight.shape, self.weight, self.bias, 1e-6).permute(0, 3, 1, 2)


class NextBlock(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.dwconv = nn.Conv2d(width, width, 7, padding=3, groups=width)
        self.norm = LayerNorm(width, last=True)
        self.pwconv1, self.pwconv2 = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.gamma = nn.Parameter(torch.ones(width))

    def forward(self, x):
        y = self.norm(self.dwconv(x).permute(0, 2, 3, 1))
        return x + (self.gamma * self.pwconv2(F.gelu(self.pwconv1(y)))).permute(0, 3, 1, 2)


class ConvNeXt(nn.Module):
    def __init__(self, counts, widths):
        super().__init__()
        self.downsample_layers = nn.ModuleList([nn.Sequential(nn.Conv2d(3, widths[0], 4, 4), LayerNorm(widths[0]))])
        for a, b in zip(widths, widths[1:], strict=False):
            self.downsample_layers.append(nn.Sequential(LayerNorm(a), nn.Conv2d(a, b, 2, 2)))
        self.stages = nn.ModuleList(nn.Sequential(*(NextBlock(w) for _ in range(n))) for n, w in zip(counts, widths, strict=True))
        self.norm, self.head = LayerNorm(widths[-1]), nn.Linear(widths[-1], 10)

    def features_of(self, x):
        for down, stage in zip(self.downsample_layers, self.stages, strict=True):
            x = stage(down(x))
        return self.norm(x)  # of every place, as keras.applications does without the classifier


NETWORKS = {
    "resnet18_torch": (lambda: ResNet(BasicBlock, (2, 2, 2, 2)), contract_torch),
    "resnet50_torch": (lambda: ResNet(Bottleneck, (3, 4, 6, 3)), contract_torch),
    "vgg16_torch": (lambda: VGG((2, 2, 3, 3, 3)), contract_torch),
    "densenet121": (lambda: DenseNet((6, 12, 24, 16)), contract_torch),
    "mobilenet_v2_torch": (MobileNetV2, contract_torch),
    "mobilenet_v2_torch,timm": (lambda: TimmNet([(*one, 3) for one in BLOCKS], False), contract_torch),
    "efficientnet_lite0,timm": (lambda: TimmNet(LITE, True), contract_lite),
    "convnext_tiny": (lambda: ConvNeXt((3, 3, 9, 3), (96, 192, 384, 768)), contract_torch),
}


def figures():
    found = {}
    x = picture()
    for name, (make, contract) in NETWORKS.items():
        net = make().eval()
        shapes = {key: list(value.shape) for key, value in net.state_dict().items()}
        net.load_state_dict({key: torch.from_numpy(value) for key, value in filled(shapes).items()})
        with torch.no_grad():
            y = net.features_of(torch.from_numpy(contract(x).transpose(0, 3, 1, 2).astype("float32")))
        mean = y.mean(dim=(2, 3))[0].numpy()
        found[name] = {"size": SIZE, "entries": shapes, "features": [float(f"{one:.6g}") for one in mean[:64]]}
        print(name, len(shapes), y.shape, mean.std())
    lines = ",\n".join(f"{json.dumps(name)}: {json.dumps(one, separators=(',', ':'))}" for name, one in found.items())
    (HERE / "torch.json").write_text("{\n" + lines + "\n}\n")


def checkpoints():
    """What torch.save writes, of a network of two layers and of a training loop."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), bn(4))
    state = {**net.state_dict(), "turned": torch.arange(6.0).reshape(2, 3).t()}
    odd = {"half": torch.arange(3).half() / 3, "bfloat16": torch.arange(3).bfloat16() / 3, "parameter": nn.Parameter(torch.ones(2))}
    training = {"epoch": 3, "model": {f"module.{key}": value for key, value in state.items()}, "optimizer": {"momentum": torch.zeros(9)}}
    torch.save({**state, **odd}, HERE / "zip.pth")
    torch.save({**state, **odd}, HERE / "legacy.pth", _use_new_zipfile_serialization=False)
    torch.save(training, HERE / "training.pth")
    torch.save(training, HERE / "training_legacy.pth", _use_new_zipfile_serialization=False)
    torch.save(net, HERE / "module.pth")
    torch.jit.save(torch.jit.trace(net.eval(), torch.zeros(1, 3, 8, 8)), HERE / "script.pt")
    with zipfile.ZipFile(HERE / "script.pt") as archive:  # without the paths of the machine that wrote it
        kept = {info.filename: archive.read(info) for info in archive.infolist() if not info.filename.endswith(".debug_pkl")}
    with zipfile.ZipFile(HERE / "script.pt", "w") as archive:
        for name, content in kept.items():
            archive.writestr(zipfile.ZipInfo(name), content)
    numbers = {key: value.detach().float().numpy().tolist() for key, value in {**state, **odd}.items()}
    (HERE / "checkpoints.json").write_text(json.dumps(numbers) + "\n")


if __name__ == "__main__":
    figures()
    checkpoints()
