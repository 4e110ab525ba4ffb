"""The PyTorch mirrors have the official sizes, names and behaviour (reference: the official repository at 042e0d4)."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the mirrors of the official networks need PyTorch")

# After the skip above, because these import torch.
from benchmarks.torch_reference.convdecoder import conv_decoder, deepinv_reconstruct  # noqa: E402
from benchmarks.torch_reference.dcgan import dcgan  # noqa: E402
from benchmarks.torch_reference.deepdecoder import deep_decoder  # noqa: E402
from benchmarks.torch_reference.downsampler import Downsampler, downsampling_kernel  # noqa: E402
from benchmarks.torch_reference.resnet import resnet  # noqa: E402
from benchmarks.torch_reference.skip import skip  # noqa: E402
from benchmarks.torch_reference.texture_nets import texture_nets  # noqa: E402
from benchmarks.torch_reference.train import make_input, train, uniform_gamma_  # noqa: E402
from benchmarks.torch_reference.unet import UNet  # noqa: E402

NARROW = {"channels_down": (6, 6, 6), "channels_up": (6, 6, 6), "channels_skip": (2, 2, 2)}
WIDE = (128, 128, 128, 128, 128)
TAPERED = (16, 32, 64, 128, 128, 128)


def hourglass(in_channels, down, skips, **options):
    """The skip net with as many channels up as down."""
    return skip(in_channels, 3, channels_down=down, channels_up=down, channels_skip=skips, **options)


def library(num_levels):
    """The skip net of the library inpainting, Fig. 8 of the paper."""
    options = {"filter_size_down": 5, "need1x1_up": False, "upsample_mode": "nearest"}
    return hourglass(1, TAPERED[:num_levels], (0,) * num_levels, **options)


def inversion(in_channels):
    """The skip net of feature inversion."""
    sizes = (7, 7, 5, 5, 3, 3)
    options = {"filter_size_down": sizes, "filter_size_up": sizes, "downsample_mode": "avg", "pad": "zero"}
    return hourglass(in_channels, TAPERED, (4,) * 6, upsample_mode="nearest", **options)


def activation_maximisation():
    """The skip net of activation maximisation."""
    sizes = {"filter_size_down": (5, 3, 5, 5, 3, 5), "filter_size_up": (5, 3, 5, 3, 5, 3)}
    return hourglass(32, TAPERED, (0, 4, 4, 4, 4, 4), downsample_mode="avg", **sizes)


PARAMETER_COUNTS = {
    "default": (skip, 2_217_831),
    "default gray": (lambda: skip(32, 1), 2_217_573),
    "flash": (lambda: skip(3, 3), 2_184_307),
    "snail": (lambda: hourglass(3, (8, 16, 32, 64, 128), (0, 0, 0, 4, 4)), 572_827),
    "vase": (lambda: hourglass(2, WIDE, (0,) * 5, upsample_mode="nearest"), 2_157_955),
    "kate text": (lambda: hourglass(32, WIDE, WIDE, upsample_mode="nearest"), 3_002_627),
    "library skip 2": (lambda: library(2), 59_635),
    "library skip 4": (lambda: library(4), 1_060_339),
    "library skip 6": (lambda: library(6), 2_996_467),
    "library UNet": (lambda: UNet(1, 3, feature_scale=8, more_layers=1), 1_616_315),
    "library ResNet": (lambda: resnet(1, 3, 8, 32), 158_979),
    "kate 98 % missing": (lambda: hourglass(32, TAPERED[:5], (0,) * 5, downsample_mode="avg"), 1_027_379),
    "feature inversion": (lambda: inversion(32), 2_606_763),
    "feature inversion, depth 2": (lambda: inversion(2), 2_583_123),
    "activation maximisation": (activation_maximisation, 2_948_567),
    "get_net UNet": (lambda: UNet(32, 3, norm=torch.nn.BatchNorm2d, upsample_mode="bilinear"), 2_164_899),
    "get_net ResNet": (lambda: resnet(32, 3, 10, 16), 54_131),
    "texture nets": (lambda: texture_nets(32), 129_443),
    "texture nets, depth 3": (texture_nets, 116_915),
    "DCGAN": (dcgan, 18_624),
    "DCGAN by upsampling": (lambda: dcgan(need_convT=False), 10_784),
    "Deep Decoder": (deep_decoder, 100_224),  # not in the table of the official nets: 6 k^2 + 12 k + 3 k, k = 128
}

# One row per network: how it is made, the shape of its input and of its picture.
NETWORKS = {
    "skip": (lambda: skip(2, 3, **NARROW), (2, 37, 50), (3, 37, 50)),
    "skip, zero pad": (lambda: skip(2, 1, pad="zero", act_fun="Swish", **NARROW), (2, 23, 31), (1, 23, 31)),
    "skip, lanczos2": (
        lambda: skip(2, 3, downsample_mode="lanczos2", act_fun="ELU", **NARROW),
        (2, 32, 48),
        (3, 32, 48),
    ),
    "skip, lanczos3": (
        lambda: skip(2, 3, downsample_mode="lanczos3", act_fun="none", **NARROW),
        (2, 32, 48),
        (3, 32, 48),
    ),
    "skip, per level": (
        lambda: skip(2, 3, downsample_mode=("max", "avg", "stride"), upsample_mode=("nearest",) * 3, **NARROW),
        (2, 32, 48),
        (3, 32, 48),
    ),
    "skip, aligned, plain": (
        lambda: skip(2, 3, align_corners=True, need_bias=False, need_sigmoid=False, act_fun=torch.nn.Tanh, **NARROW),
        (2, 33, 35),
        (3, 33, 35),
    ),
    "UNet": (lambda: UNet(2, 3, feature_scale=16, more_layers=2), (2, 128, 192), (3, 128, 192)),
    "UNet, input at every scale": (
        lambda: UNet(2, 3, feature_scale=16, more_layers=1, concat_x=True, upsample_mode="nearest"),
        (2, 64, 96),
        (3, 64, 96),
    ),
    "ResNet": (lambda: resnet(2, 3, 2, 8), (2, 19, 22), (3, 19, 22)),
    "ResNet without sums": (lambda: resnet(2, 3, 2, 8, need_residual=False), (2, 19, 22), (3, 19, 22)),
    "texture nets": (lambda: texture_nets(2, fill_noise=True, need_sigmoid=True), (2, 64, 64), (3, 64, 64)),
    "DCGAN": (dcgan, (2, 6, 7), (3, 32, 36)),
    "ConvDecoder": (lambda: conv_decoder((3, 40, 33), num_channels=8), (8, 4, 4), (3, 40, 33)),
    "Deep Decoder": (lambda: deep_decoder(num_channels=8), (8, 2, 3), (3, 64, 96)),
}

LEVEL_1, LEVEL_4 = "1.1.7.", "1.1.7." * 4  # prefixes of the deeper levels inside level 0
DEFAULT_SHAPES = {
    "1.0.1.1.weight": (4, 32, 1, 1),
    "1.0.1.1.bias": (4,),
    "1.0.2.running_var": (4,),
    "1.1.1.1.weight": (128, 32, 3, 3),
    "1.1.2.weight": (128,),
    "1.1.4.1.weight": (128, 128, 3, 3),
    "1.1.5.bias": (128,),
    LEVEL_1 + "1.0.1.1.weight": (4, 128, 1, 1),
    LEVEL_1 + "1.1.1.1.weight": (128, 128, 3, 3),
    LEVEL_1 + "2.weight": (132,),
    LEVEL_1 + "3.1.weight": (128, 132, 3, 3),
    LEVEL_4 + "1.1.4.1.weight": (128, 128, 3, 3),
    LEVEL_4 + "6.1.bias": (128,),
    "2.running_mean": (132,),
    "3.1.weight": (128, 132, 3, 3),
    "4.weight": (128,),
    "6.1.weight": (128, 128, 1, 1),
    "7.bias": (128,),
    "9.1.weight": (3, 128, 1, 1),
    "9.1.bias": (3,),
}


@pytest.mark.parametrize("name", PARAMETER_COUNTS)
def test_parity_the_number_of_parameters_is_the_official_one(name):
    build, expected = PARAMETER_COUNTS[name]
    with torch.device("meta"):  # shapes only
        net = build()
    assert sum(parameter.numel() for parameter in net.parameters()) == expected


@pytest.mark.parametrize("name", NETWORKS)
def test_parity_the_picture_has_the_expected_shape_and_the_gradient_is_finite(name):
    build, z_shape, expected = NETWORKS[name]
    torch.manual_seed(0)
    net = build()
    picture = net(torch.rand(1, *z_shape))
    assert picture.shape == (1, *expected)
    (picture - 0.3).square().mean().backward()
    gradients = [parameter.grad for parameter in net.parameters()]
    assert all(gradient is not None and torch.isfinite(gradient).all() for gradient in gradients)
    assert any(gradient.abs().max() > 0 for gradient in gradients)


@pytest.mark.parametrize(("height", "width"), [(33, 33), (47, 70), (64, 41)])
def test_parity_the_default_levels_keep_any_size(height, width):
    net = hourglass(4, (6,) * 5, (2,) * 5)
    assert net(torch.rand(1, 4, height, width)).shape == (1, 3, height, width)


def test_parity_the_default_net_has_the_official_names_and_shapes():
    with torch.device("meta"):
        state = skip().state_dict()
    assert {name: tuple(state[name].shape) for name in DEFAULT_SHAPES} == DEFAULT_SHAPES
    # Per level 5 convolutions (2 tensors each) and 6 batch norms (5 each); one last convolution.
    assert len(state) == 5 * (5 * 2 + 6 * 5) + 2


def test_parity_zero_padding_and_missing_skips_shift_the_names_as_officially():
    with torch.device("meta"):
        zero, bare = skip(pad="zero").state_dict(), library(2).state_dict()
    assert zero["1.1.1.0.weight"].shape == (128, 32, 3, 3)
    assert zero["9.0.weight"].shape == (3, 128, 1, 1)
    assert bare["1.1.1.weight"].shape == (16, 1, 5, 5)
    assert bare["1.7.1.1.1.weight"].shape == (32, 16, 5, 5)
    assert bare["6.1.weight"].shape == (3, 16, 1, 1)


def test_parity_the_lanczos_kernel_has_the_documented_values():
    kernel = downsampling_kernel("lanczos2", 4, phase=0.5)
    half = [-0.00107, -0.00975, -0.02038, -0.01488, 0.02459, 0.09866, 0.18312, 0.23971]
    assert kernel.shape == (16, 16)
    np.testing.assert_allclose(kernel.sum(axis=0), [*half, *half[::-1]], atol=6e-6)


@pytest.mark.parametrize(
    ("kernel_type", "phase", "width"),
    [("lanczos2", 0, 9), ("lanczos3", 0.5, 12), ("gauss12", 0, 7), ("gauss1sq2", 0, 9), ("box", 0.5, 2)],
)
def test_parity_a_constant_survives_every_downsampler_at_half_the_size(kernel_type, phase, width):
    down = Downsampler(3, 2, kernel_type, phase=phase, preserve_size=True)
    assert down.downsampler_.weight.shape == (3, 3, width, width)
    picture = torch.tensor([0.2, 0.5, 0.9]).reshape(1, 3, 1, 1).expand(1, 3, 18, 22)
    small = down(picture).detach()
    assert small.shape == (1, 3, 9, 11)
    torch.testing.assert_close(small, picture[:, :, :9, :11])


def test_parity_supplied_noise_fixes_the_run_and_the_average_starts_at_the_first_output():
    z, measurement = make_input(2, (16, 20), "meshgrid"), torch.rand(1, 3, 16, 20)
    noises = np.random.default_rng(0).standard_normal((4, *z.shape))
    options = {"num_iter": 4, "lr": 0.01, "reg_noise_std": 0.03, "noises": noises}

    def run():
        torch.manual_seed(0)
        seen = []
        net = uniform_gamma_(skip(2, 3, **NARROW))
        return train(net, z, lambda x: x, measurement, **options, callback=lambda *record: seen.append(record)), seen

    (output, average, losses), seen = run()
    (again, _, losses_again), _ = run()
    assert losses == losses_again
    torch.testing.assert_close(output, again)
    expected = seen[0][2]
    for _, _, step_output, _ in seen[1:]:
        expected = 0.99 * expected + 0.01 * step_output
    torch.testing.assert_close(average, expected)


def test_parity_the_official_loop_and_that_of_deepinv_reduce_the_loss():
    torch.manual_seed(0)
    measurement = make_input(2, 16, "meshgrid")
    z = make_input(8, 16)
    _, _, losses = train(skip(8, 2, **NARROW), z, lambda x: x, measurement, num_iter=60)
    net = conv_decoder((2, 16, 16), num_channels=8, num_layers=3)
    _, losses_deepinv = deepinv_reconstruct(net, (8, 4, 4), lambda x: x, measurement, num_iter=60)
    for curve in (losses, losses_deepinv):
        assert np.mean(curve[-5:]) < 0.5 * curve[0]
