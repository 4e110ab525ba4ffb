"""Parameters go to PyTorch and back unchanged, under the official names, and what does not fit is refused."""

import os
from pathlib import Path

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dipjax import interop
from dipjax.generators import blocks
from dipjax.generators.plain import Plain
from dipjax.generators.resnet import ResNet
from dipjax.generators.skip import Skip
from dipjax.generators.unet import UNet
from tests.flags import sixty_four_bits

DEPTH = 2  # channels of z
ONE_LEVEL = Skip(down=(4,), up=(5,), skip=(3,))
# The official state dict of that network; the buffers of the normalisations are read over.
OFFICIAL = {
    "1.0.1.1.weight": (3, 2, 1, 1), "1.0.1.1.bias": (3,), "1.0.2.weight": (3,), "1.0.2.bias": (3,), "1.0.2.running_mean": (3,),
    "1.1.1.1.weight": (4, 2, 3, 3), "1.1.1.1.bias": (4,), "1.1.2.weight": (4,), "1.1.2.bias": (4,), "1.1.2.num_batches_tracked": (),
    "1.1.4.1.weight": (4, 4, 3, 3), "1.1.4.1.bias": (4,), "1.1.5.weight": (4,), "1.1.5.bias": (4,), "1.1.5.running_var": (4,),
    "2.weight": (7,), "2.bias": (7,),
    "3.1.weight": (5, 7, 3, 3), "3.1.bias": (5,), "4.weight": (5,), "4.bias": (5,),
    "6.1.weight": (5, 5, 1, 1), "6.1.bias": (5,), "7.weight": (5,), "7.bias": (5,),
    "9.1.weight": (3, 5, 1, 1), "9.1.bias": (3,),
}  # fmt: skip

TWO = {"down": (4, 6), "up": (5, 8), "skip": (2, 3)}
GENERATORS = {
    "skip": Skip(**TWO),
    "skip, zero padding, no bias": Skip(1, **TWO, padding="zero", use_bias=False),
    "skip, no 1x1, kernels per level": Skip(**TWO, use_1x1=False, kernel_down=(5, 3), kernel_up=(3, 5), kernel_skip=3),
    "skip without skips": Skip(**TWO | {"skip": (0, 3)}, upsample=blocks.nearest, output=blocks.identity),
    "skip, Lanczos pooling": Skip(**TWO, pool=(blocks.lanczos2_pool, blocks.lanczos3_pool)),
    "skip, Lanczos pooling, zero padding": Skip(**TWO, pool=blocks.lanczos3_pool, padding="zero"),
    "UNet": UNet(feature_scale=16),
    "UNet, batch norm, reflection": UNet(feature_scale=16, more_layers=0, affine=True, padding="reflect", use_bias=False),
    "UNet, nearest, no norm": UNet(feature_scale=16, more_layers=2, upsample=blocks.nearest, use_norm=False, output=blocks.identity),
    "UNet, z at every scale": UNet(feature_scale=16, concat_z=True, affine=True),
    "ResNet": ResNet(num_blocks=2, width=4),
    "ResNet, zero padding": ResNet(1, num_blocks=1, width=3, padding="zero", use_residual=False),
}


@pytest.fixture
def torch():
    return pytest.importorskip("torch", reason="files and tensors of PyTorch need PyTorch")


def random_params(generator, depth=DEPTH):
    """Normal numbers, different for every array: what is mixed up shows."""
    z = jax.ShapeDtypeStruct((64, 64, depth), jnp.float32)
    shapes, rng = jax.eval_shape(generator.init, jax.random.key(0), z), np.random.default_rng(0)
    return jax.tree.map(lambda leaf: jnp.asarray(rng.standard_normal(leaf.shape), jnp.float32), shapes)


def official_state(*without):
    rng = np.random.default_rng(0)
    return {name: rng.standard_normal(shape) for name, shape in OFFICIAL.items() if name not in without}


def test_arrays_under_official_names_become_the_parameters():
    state = official_state()
    params = interop.from_torch(ONE_LEVEL, state, depth=DEPTH)
    chex.assert_trees_all_equal_shapes_and_dtypes(params, random_params(ONE_LEVEL))
    found = params["params"]
    # The second output of the kernel at row 2, column 1, for the first input.
    assert found["down0a"]["conv"]["kernel"][2, 1, 0, 1] == np.float32(state["1.1.1.1.weight"][1, 0, 2, 1])
    np.testing.assert_array_equal(found["up0"]["join_scale"], np.float32(state["2.weight"]))
    np.testing.assert_array_equal(found["head"]["bias"], np.float32(state["9.1.bias"]))


def test_missing_names_are_listed():
    with pytest.raises(ValueError, match=r"found 2 tensors missing: 2\.bias, 9\.1\.weight;"):
        interop.from_torch(ONE_LEVEL, official_state("9.1.weight", "2.bias"), depth=DEPTH)


def test_unexpected_names_are_listed():
    with pytest.raises(ValueError, match="found 2 tensors unexpected: epoch, module.weight;"):
        interop.from_torch(ONE_LEVEL, official_state() | {"epoch": 3, "module.weight": np.zeros(2)}, depth=DEPTH)


def test_wrong_shapes_are_listed_with_the_expected_ones():
    with pytest.raises(ValueError, match=r"3\.1\.weight has shape \(5, 6, 3, 3\) instead of \(5, 7, 3, 3\)"):
        interop.from_torch(ONE_LEVEL, official_state() | {"3.1.weight": np.zeros((5, 6, 3, 3))}, depth=DEPTH)
    with pytest.raises(ValueError, match=r"1\.1\.1\.1\.weight has shape \(4, 2, 3, 3\) instead of \(4, 32, 3, 3\)"):
        interop.from_torch(ONE_LEVEL, official_state())


def test_no_more_names_are_listed_than_one_can_read():
    with pytest.raises(ValueError, match=r"found 112 tensors missing: .* and 92 more;"):
        interop.from_torch(Skip(), {})


def test_a_generator_without_official_names_is_refused():
    with pytest.raises(ValueError, match="found Plain, expected one of Skip, UNet, ResNet"):
        interop.from_torch(Plain(), {})


@pytest.mark.parametrize("name", GENERATORS)
def test_a_round_trip_changes_nothing(name, torch):
    generator = GENERATORS[name]
    params = random_params(generator)
    state = interop.to_torch(generator, params)
    assert all(isinstance(value, torch.Tensor) for value in state.values())
    chex.assert_trees_all_equal(interop.from_torch(generator, state, depth=DEPTH), params)


def test_the_official_default_net_loads_the_state_strictly(torch):
    from benchmarks.torch_reference.skip import skip

    with torch.device("meta"):
        net = skip()
    net.load_state_dict(interop.to_torch(Skip(), random_params(Skip(), 32)), strict=True, assign=True)
    assert not any(value.is_meta for value in net.state_dict().values())


LITERAL = {
    ("skip", "1.1.1.1.weight"): (4, 2, 3, 3),
    ("skip", "1.0.1.1.bias"): (2,),
    ("skip", "1.1.7.1.1.4.1.weight"): (6, 6, 3, 3),
    ("skip", "1.1.7.2.running_var"): (9,),
    ("skip", "7.num_batches_tracked"): (),
    ("skip", "9.1.weight"): (3, 5, 1, 1),
    ("skip, zero padding, no bias", "1.1.1.0.weight"): (4, 2, 3, 3),
    ("skip, no 1x1, kernels per level", "6.1.weight"): (3, 5, 1, 1),
    ("skip without skips", "1.1.1.weight"): (4, 2, 3, 3),
    ("skip without skips", "1.7.1.1.4.1.weight"): (6, 6, 3, 3),
    ("skip, Lanczos pooling", "1.1.1.2.downsampler_.weight"): (4, 4, 8, 8),
    ("skip, Lanczos pooling, zero padding", "1.1.7.1.1.1.1.downsampler_.weight"): (6, 6, 12, 12),
    ("UNet", "start.conv1.0.0.weight"): (4, 2, 3, 3),
    ("UNet", "down1.conv.conv2.0.0.weight"): (8, 8, 3, 3),
    ("UNet", "more_downs.0.conv.conv1.0.0.weight"): (64, 64, 3, 3),
    ("UNet", "more_ups.0.up.weight"): (64, 64, 4, 4),
    ("UNet", "up4.up.weight"): (64, 32, 4, 4),
    ("UNet", "up1.conv.conv1.0.0.bias"): (4,),
    ("UNet", "final.0.0.weight"): (3, 4, 1, 1),
    ("UNet, batch norm, reflection", "down4.conv.conv1.1.running_mean"): (64,),
    ("UNet, nearest, no norm", "up2.up.1.0.weight"): (8, 16, 3, 3),
    ("UNet, nearest, no norm", "final.0.weight"): (3, 4, 1, 1),
    ("ResNet", "model.0.1.weight"): (4, 2, 3, 3),
    ("ResNet", "model.2.0.weight"): (4, 4, 3, 3),
    ("ResNet", "model.3.4.bias"): (4,),
    ("ResNet", "model.4.weight"): (4, 4, 3, 3),
    ("ResNet", "model.5.running_var"): (4,),
    ("ResNet", "model.6.1.weight"): (3, 4, 3, 3),
    ("ResNet, zero padding", "model.0.0.weight"): (3, 2, 3, 3),
}


@pytest.mark.parametrize(("name", "official"), LITERAL)
@pytest.mark.usefixtures("torch")
def test_the_names_and_shapes_are_the_official_ones(name, official):
    state = interop.to_torch(GENERATORS[name], random_params(GENERATORS[name]))
    assert tuple(state[official].shape) == LITERAL[name, official]


@pytest.mark.usefixtures("torch")
def test_params_of_another_generator_are_refused():
    with pytest.raises(ValueError, match="missing in params: block1a/conv/kernel"):
        interop.to_torch(ResNet(num_blocks=2, width=4), random_params(ResNet(num_blocks=1, width=4)))
    with pytest.raises(ValueError, match=r"down0b/conv/kernel has shape \(3, 3, 4, 4\) instead of \(3, 3, 6, 6\)"):
        interop.to_torch(Skip(down=(6,), up=(5,), skip=(3,)), random_params(ONE_LEVEL))
    stacked = jax.tree.map(lambda leaf: jnp.stack([leaf, leaf]), random_params(ONE_LEVEL))
    with pytest.raises(ValueError, match="of the wrong shape in params"):
        interop.to_torch(ONE_LEVEL, stacked)


def test_trained_lanczos_kernels_are_refused(torch):
    generator = GENERATORS["skip, Lanczos pooling"]
    state = interop.to_torch(generator, random_params(generator))
    state["1.1.1.2.downsampler_.weight"] = state["1.1.1.2.downsampler_.weight"] + 0.01 * torch.eye(4)[:, :, None, None]
    with pytest.raises(ValueError, match=r"trained Lanczos kernels, which are fixed in dipjax: 1\.1\.1\.2\.downsampler_\.weight"):
        interop.from_torch(generator, state, depth=DEPTH)


def test_a_file_comes_back_and_pytorch_reads_it(tmp_path, torch):
    params, path = random_params(ONE_LEVEL), tmp_path / "net.pt"
    interop.save(path, ONE_LEVEL, params)
    chex.assert_trees_all_equal(interop.load(path, ONE_LEVEL, depth=DEPTH), params)
    assert set(torch.load(path)) >= set(OFFICIAL)
    assert os.listdir(tmp_path) == ["net.pt"]


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
def test_other_precisions_become_float32_without_64_bits(dtype, torch):
    state = {name: value.to(getattr(torch, dtype)) for name, value in interop.to_torch(ONE_LEVEL, random_params(ONE_LEVEL)).items()}
    params = interop.from_torch(ONE_LEVEL, state, depth=DEPTH)
    chex.assert_trees_all_equal_dtypes(params, random_params(ONE_LEVEL))
    chex.assert_trees_all_close(params, random_params(ONE_LEVEL), atol=0.02)


@pytest.mark.parametrize("name", ["skip", "skip, Lanczos pooling"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_with_64_bits_double_precision_stays_double_and_single_stays_single(name, dtype, torch):
    generator = GENERATORS[name]
    with sixty_four_bits():
        params = jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype) / 3, random_params(generator))
        state = interop.to_torch(generator, params)
        assert {value.dtype for value in state.values() if value.is_floating_point()} == {getattr(torch, dtype)}
        again = interop.from_torch(generator, state, depth=DEPTH)
        chex.assert_trees_all_equal(again, params)
        chex.assert_trees_all_equal_dtypes(again, params)


def test_parameters_in_half_precision_are_written_in_single(torch):
    params = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), random_params(ONE_LEVEL))
    state = interop.to_torch(ONE_LEVEL, params)
    assert state["9.1.bias"].dtype == torch.float32
    chex.assert_trees_all_equal(interop.from_torch(ONE_LEVEL, state, depth=DEPTH), jax.tree.map(jnp.float32, params))


class Attack:
    """Makes a file as soon as it is unpickled without care."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("wrap", [lambda attack: attack, lambda attack: {"2.weight": attack}])
def test_a_file_with_code_is_refused_and_the_code_does_not_run(wrap, zipped, tmp_path, torch):
    path, harm = tmp_path / "net.pt", tmp_path / "harm"
    torch.save(wrap(Attack(harm)), path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(ValueError, match="found no plain tensors"):
        interop.load(path, ONE_LEVEL)
    assert not harm.exists()
    torch.load(path, weights_only=False)
    assert harm.exists()  # so the file was dangerous


def test_a_file_with_a_whole_module_is_refused(tmp_path, torch):
    path = tmp_path / "net.pt"
    torch.save(torch.nn.Conv2d(2, 3, 3), path)
    with pytest.raises(ValueError, match="found no plain tensors"):
        interop.load(path, ONE_LEVEL)


def test_a_file_with_other_things_than_tensors_is_refused(tmp_path, torch):
    path = tmp_path / "net.pt"
    for content in ({"state_dict": {"2.weight": torch.zeros(7)}, "epoch": 3}, [torch.zeros(2)], torch.zeros(2)):
        torch.save(content, path)
        with pytest.raises(ValueError, match="expected a state dict"):
            interop.load(path, ONE_LEVEL)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_truncated_file_is_refused_wherever_it_ends(zipped, tmp_path, torch):
    path = tmp_path / "net.pt"
    torch.save(interop.to_torch(ONE_LEVEL, random_params(ONE_LEVEL)), path, _use_new_zipfile_serialization=zipped)
    whole = path.read_bytes()
    for size in range(0, len(whole) - 1, len(whole) // 40):
        path.write_bytes(whole[:size])
        with pytest.raises(ValueError, match="found no plain tensors"):
            interop.load(path, ONE_LEVEL, depth=DEPTH)


@pytest.mark.parametrize("content", [b"", b"hello world", bytes(100), b"PK\x03\x04", b"\x89PNG\r\n\x1a\n"])
@pytest.mark.usefixtures("torch")
def test_a_file_of_another_kind_is_refused(content, tmp_path):
    path = tmp_path / "net.pt"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="found no plain tensors"):
        interop.load(path, ONE_LEVEL)


@pytest.mark.usefixtures("torch")
def test_a_file_that_is_not_there_is_an_error_of_the_system(tmp_path):
    with pytest.raises(FileNotFoundError):
        interop.load(tmp_path / "net.pt", ONE_LEVEL)
    with pytest.raises(FileNotFoundError):
        interop.save(tmp_path / "nowhere" / "net.pt", ONE_LEVEL, random_params(ONE_LEVEL))


def test_a_failed_save_leaves_the_old_file_and_nothing_else(tmp_path, torch, monkeypatch):
    path = tmp_path / "net.pt"
    path.write_text("old")

    def fail(state, file):
        del state
        file.write(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(torch, "save", fail)
    with pytest.raises(OSError, match="disk full"):
        interop.save(path, ONE_LEVEL, random_params(ONE_LEVEL))
    monkeypatch.undo()
    with pytest.raises(ValueError, match="missing in params"):
        interop.save(path, Skip(**TWO), random_params(ONE_LEVEL))
    assert os.listdir(tmp_path) == ["net.pt"]
    assert path.read_text() == "old"


@pytest.mark.usefixtures("torch")
def test_a_save_writes_to_no_name_that_could_be_guessed_and_follows_no_link(tmp_path):
    path, victim = tmp_path / "net.pt", tmp_path / "victim"
    victim.write_text("precious")
    (tmp_path / "net.pt.part").symlink_to(victim)
    interop.save(path, ONE_LEVEL, random_params(ONE_LEVEL))
    path.unlink()
    path.symlink_to(victim)
    interop.save(path, ONE_LEVEL, random_params(ONE_LEVEL))
    assert victim.read_text() == "precious"
    assert not path.is_symlink()
    assert (tmp_path / "net.pt.part").is_symlink()
    assert sorted(os.listdir(tmp_path)) == ["net.pt", "net.pt.part", "victim"]


@pytest.mark.usefixtures("torch")
def test_a_save_over_a_private_file_keeps_it_private(tmp_path):
    path = tmp_path / "net.pt"
    path.touch(mode=0o600)
    interop.save(path, ONE_LEVEL, random_params(ONE_LEVEL))
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.stat().st_size > 0


@pytest.mark.usefixtures("torch")
def test_a_save_onto_a_folder_leaves_nothing(tmp_path):
    (tmp_path / "net.pt").mkdir()
    with pytest.raises(OSError, match=r"net\.pt"):
        interop.save(tmp_path / "net.pt", ONE_LEVEL, random_params(ONE_LEVEL))
    assert os.listdir(tmp_path) == ["net.pt"]
