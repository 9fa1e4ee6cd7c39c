"""Two MobileFaceNets that others trained and published, as one would write them to load those weights.

| factory | whose weights | 112x112 RGB crops as |
| --- | --- | --- |
| `foamliu` | github.com/foamliu/MobileFaceNet, Apache-2.0 | (x / 255 - mean) / std, those of ImageNet |
| `insightface_y1` | InsightFace's model-y1, converted; non-commercial research | (x - 127.5) / 128 |

Both map (N, 3, 112, 112) to (N, 128) and do not normalise. A file like this is all that pocketface needs of a
foreign network: it imports torch and nothing else, and its modules bear the names that the weights bear.
"""

from collections import OrderedDict

from torch import Tensor, nn

# Expansion, channels, repeats, first stride. Source: arXiv 1804.07573, table 1.
BOTTLENECKS = ((2, 64, 5, 2), (4, 128, 1, 2), (2, 128, 6, 1), (4, 128, 1, 2), (2, 128, 2, 1))


def foamliu() -> nn.Module:
    """The network with ReLU6: 999,936 parameters."""
    return Foamliu()


def insightface_y1() -> nn.Module:
    """The network with PReLU: 1,003,136 parameters."""
    return InsightFaceY1()


def conv(entering: int, leaving: int, kernel: int, stride: int = 1, groups: int = 1, padding: int = -1) -> nn.Conv2d:
    padding = kernel // 2 if padding < 0 else padding
    return nn.Conv2d(entering, leaving, kernel, stride, padding, groups=groups, bias=False)


def plan() -> list[tuple[int, int, int, int]]:
    """(entering, expanded, leaving, stride) of each of the fifteen bottlenecks."""
    rows, entering = [], 64
    for expansion, leaving, repeats, first_stride in BOTTLENECKS:
        for i in range(repeats):
            rows.append((entering, expansion * entering, leaving, first_stride if i == 0 else 1))
            entering = leaving
    return rows


class Residual(nn.Module):
    """Adds its input to what `conv` makes of it, where stride and widths let it."""

    def __init__(self, conv: nn.Sequential, adds: bool) -> None:
        super().__init__()
        self.conv = conv
        self.adds = adds

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(x)
        return x + y if self.adds else y


# ---- foamliu: ReLU6 ----


class Foamliu(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1 = conv_bn_relu6(3, 64, 3, stride=2)
        self.dw_conv = Separable(64)
        self.features = nn.Sequential(*[foamliu_block(*row) for row in plan()])
        self.conv2 = conv_bn_relu6(128, 512, 1)
        self.gdconv = GlobalDepthwise(512)
        self.conv3 = nn.Conv2d(512, 128, 1)
        self.bn = nn.BatchNorm2d(128)

    def forward(self, faces: Tensor) -> Tensor:
        x: Tensor = self.dw_conv(self.conv1(faces))  # (N, 64, 56, 56)
        x = self.conv2(self.features(x))  # (N, 512, 7, 7)
        x = self.bn(self.conv3(self.gdconv(x)))  # (N, 128, 1, 1)
        return x.flatten(1)


class Separable(nn.Module):
    """Depthwise 3x3 and pointwise 1x1, each with a batch norm and a ReLU."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.depthwise = conv(channels, channels, 3, groups=channels)
        self.bn1 = nn.BatchNorm2d(channels)
        self.pointwise = conv(channels, channels, 1)
        self.bn2 = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        x = self.bn1(self.depthwise(x)).relu()
        x = self.bn2(self.pointwise(x)).relu()
        return x


class GlobalDepthwise(nn.Module):
    """One 7x7 filter for each channel of a 7x7 map."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.depthwise = conv(channels, channels, 7, groups=channels, padding=0)
        self.bn = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        x = self.bn(self.depthwise(x))
        return x


def conv_bn_relu6(entering: int, leaving: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
    return nn.Sequential(conv(entering, leaving, kernel, stride, groups), nn.BatchNorm2d(leaving), nn.ReLU6())


def foamliu_block(entering: int, expanded: int, leaving: int, stride: int) -> Residual:
    layers = nn.Sequential(
        conv_bn_relu6(entering, expanded, 1),
        conv_bn_relu6(expanded, expanded, 3, stride, groups=expanded),
        conv(expanded, leaving, 1),
        nn.BatchNorm2d(leaving),
    )
    return Residual(layers, adds=stride == 1 and entering == leaving)


# ---- InsightFace model-y1: PReLU ----


class InsightFaceY1(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1 = named(conv(3, 64, 3, stride=2), prelu=True)
        self.dw_conv1 = named(conv(64, 64, 3, groups=64), prelu=True)
        self.blocks = nn.Sequential(*[insightface_block(*row) for row in plan()])
        self.conv2 = named(conv(128, 512, 1), prelu=True)
        self.linear7 = named(conv(512, 512, 7, groups=512, padding=0))
        self.linear1 = named(conv(512, 128, 1))

    def forward(self, faces: Tensor) -> Tensor:
        x: Tensor = self.dw_conv1(self.conv1(faces))  # (N, 64, 56, 56)
        x = self.conv2(self.blocks(x))  # (N, 512, 7, 7)
        x = self.linear1(self.linear7(x))  # (N, 128, 1, 1)
        return x.flatten(1)


def named(convolution: nn.Conv2d, prelu: bool = False) -> nn.Sequential:
    width = convolution.out_channels
    layers = OrderedDict[str, nn.Module](conv=convolution, bn=nn.BatchNorm2d(width))
    if prelu:
        layers["prelu"] = nn.PReLU(width)
    return nn.Sequential(layers)


def insightface_block(entering: int, expanded: int, leaving: int, stride: int) -> Residual:
    layers = nn.Sequential(
        conv(entering, expanded, 1),
        nn.BatchNorm2d(expanded),
        nn.PReLU(expanded),
        conv(expanded, expanded, 3, stride, groups=expanded),
        nn.BatchNorm2d(expanded),
        nn.PReLU(expanded),
        conv(expanded, leaving, 1),
        nn.BatchNorm2d(leaving),
    )
    return Residual(layers, adds=stride == 1 and entering == leaving)
