"""However a program stores a mask, the pixels that a person marked are filled in."""

import imagecodecs
import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from dipjax.files import ImageError, load_mask, masks
from tests.files.samples import exif, pillow, tiff, with_alpha, write

SHAPE = (40, 50)
Y, X = np.mgrid[:40, :50]
DISC = (Y - 15) ** 2 + (X - 20) ** 2 <= 60
SOFT = np.clip(8.5 - np.hypot(Y - 15, X - 20), 0, 1)  # a disc with a rim of one pixel
TWO = DISC.astype(np.uint8)
WHITE = np.repeat(TWO[..., None] * np.uint8(255), 3, axis=-1)


def layer(colour, alpha, under=(0, 0, 0)):
    """A stroke (H, W) of one colour on a transparent layer, under which any colour may be."""
    colours = np.where(alpha[..., None] > 0, np.uint8(colour), np.uint8(under))
    return with_alpha(colours, np.rint(alpha * 255).astype(np.uint8))


def png_palette(colours, **options):
    image = Image.fromarray(TWO)
    image.putpalette(bytes(np.ravel(colours).tolist()))
    return pillow(image, "PNG", **options)


ON_BLACK = np.where(DISC[..., None], np.uint8([255, 0, 0]), np.uint8(0))
SAYS = "the two values of the mask are {} and {}: {} is filled in".format
BY_ALPHA = "the mask was read by its transparency: what is opaque is filled in"
MASKS = {
    "white on black": (pillow(TWO * np.uint8(255), "PNG"), None),
    "bilevel": (pillow(DISC, "PNG"), None),
    "white on black, 16 bits": (pillow(TWO * np.uint16(65535), "PNG"), None),
    "white on black in colours": (pillow(WHITE, "PNG"), None),
    "1 on 0": (pillow(TWO, "PNG"), SAYS("0", "1", "1")),
    "1 on 0, 16 bits": (pillow(TWO.astype(np.uint16), "PNG"), SAYS("0", "1", "1")),
    "1 on 0, floats": (tiff(TWO.astype(np.float32), photometric="minisblack"), SAYS("0", "1", "1")),
    "1 on 0, int32": (tiff(TWO.astype(np.int32), photometric="minisblack"), SAYS("0", "1", "1")),
    "255 on 0, floats": (tiff(TWO * np.float32(255), photometric="minisblack"), SAYS("0", "255", "255")),
    "128 on 0": (pillow(TWO * np.uint8(128), "PNG"), SAYS("0", "128", "128")),
    "7 on 3": (pillow(TWO * np.uint8(4) + np.uint8(3), "PNG"), SAYS("3", "7", "7")),
    "white on gray": (pillow(TWO * np.uint8(55) + np.uint8(200), "PNG"), SAYS("200", "255", "255")),
    "red on black": (pillow(ON_BLACK, "PNG"), SAYS("0", "(255, 0, 0)", "(255, 0, 0)")),
    "blue on black, 16 bits": (imagecodecs.png_encode(ON_BLACK[..., ::-1] * np.uint16(257)), SAYS("0", "(0, 0, 65535)", "(0, 0, 65535)")),
    "dark red of a palette": (png_palette([[0, 0, 0], [128, 0, 0]]), SAYS("0", "(128, 0, 0)", "(128, 0, 0)")),
    "yellow on violet": (png_palette([[68, 1, 84], [253, 231, 37]]), SAYS("(68, 1, 84)", "(253, 231, 37)", "(253, 231, 37)")),
    "palette with a transparent ground": (png_palette([[9, 9, 9], [9, 9, 9]], transparency=0), BY_ALPHA),
    "white on transparent": (pillow(layer([255, 255, 255], DISC), "PNG"), BY_ALPHA),
    "white on transparent white": (pillow(layer([255, 255, 255], DISC, [255, 255, 255]), "PNG"), BY_ALPHA),
    "black on transparent": (pillow(layer([0, 0, 0], DISC), "PNG"), BY_ALPHA),
    "black on transparent white": (pillow(layer([0, 0, 0], DISC, [255, 255, 255]), "PNG"), BY_ALPHA),
    "red on transparent": (pillow(layer([255, 0, 0], DISC * 0.4), "WEBP", lossless=True), BY_ALPHA),
    "gray and alpha": (pillow(with_alpha(np.full((*SHAPE, 1), 77, np.uint8), TWO * np.uint8(255)), "PNG"), BY_ALPHA),
    "white on black, all opaque": (pillow(with_alpha(WHITE, np.full(SHAPE, 255, np.uint8)), "PNG"), None),
    "white on black, all half transparent": (pillow(with_alpha(WHITE, np.full(SHAPE, 128, np.uint8)), "PNG"), None),
}


@pytest.mark.parametrize("kind", MASKS)
@pytest.mark.parametrize("known", [False, True])
def test_what_is_marked_is_filled_in_however_it_is_stored(kind, known, tmp_path):
    data, note = MASKS[kind]
    mask, notes = load_mask(write(tmp_path / "mask", data), SHAPE, known=known)
    np.testing.assert_array_equal(mask, ~DISC if known else DISC, strict=True)
    expected = [note] if note else []
    if known:
        expected = [text.replace("is filled in", "is kept") for text in expected]
        expected.append(f"the mask fills in {(~DISC).mean():.0%} of the picture; if that is the wrong way round, leave out --mask-known")
    assert notes == tuple(expected)


def test_all_classes_of_a_segmentation_are_marked(tmp_path):
    classes = np.where(DISC, 1 + X % 5, 0).astype(np.uint8)
    image = Image.fromarray(classes)
    image.putpalette([0, 0, 0, 128, 0, 0, 0, 128, 0, 128, 128, 0, 0, 0, 128, 64, 0, 0])
    for data in (pillow(classes, "PNG"), pillow(image, "PNG"), pillow(classes.astype(np.uint16), "PNG")):
        mask, notes = load_mask(write(tmp_path / "mask", data), SHAPE)
        np.testing.assert_array_equal(mask, DISC)
        assert "the mask has more than two values: what is not 0 is filled in" in notes


def test_strokes_of_several_colours_on_a_transparent_layer_are_all_marked(tmp_path):
    colours = np.where((X > 20)[..., None], np.uint8([255, 0, 0]), np.uint8([0, 0, 200]))
    data = pillow(with_alpha(np.where(DISC[..., None], colours, np.uint8(255)), TWO * np.uint8(255)), "PNG")
    np.testing.assert_array_equal(load_mask(write(tmp_path / "mask", data), SHAPE)[0], DISC)


def test_black_beside_white_on_a_transparent_layer_is_kept(tmp_path):
    painted = Y < 30
    data = pillow(with_alpha(WHITE, painted * np.uint8(255)), "PNG")
    np.testing.assert_array_equal(load_mask(write(tmp_path / "mask", data), SHAPE)[0], DISC)


@pytest.mark.parametrize("known", [False, True])
@pytest.mark.parametrize("kind", ["gray", "16 bits", "red on black", "transparent", "transparent white"])
def test_the_soft_rim_of_a_mask_is_filled_in(kind, known, tmp_path):
    soft = 1 - SOFT if known else SOFT
    data = {
        "gray": lambda: pillow(np.rint(soft * 255).astype(np.uint8), "PNG"),
        "16 bits": lambda: pillow(np.rint(soft * 65535).astype(np.uint16), "PNG"),
        "red on black": lambda: pillow(np.rint(soft[..., None] * [255, 0, 0]).astype(np.uint8), "PNG"),
        "transparent": lambda: pillow(layer([0, 0, 0], soft), "PNG"),
        "transparent white": lambda: pillow(layer([255, 255, 255], soft), "PNG"),
    }[kind]()
    mask, notes = load_mask(write(tmp_path / "mask", data), SHAPE, known=known)
    np.testing.assert_array_equal(mask, np.rint(SOFT * 255) > 0)
    assert any("pixels of the mask are neither ground nor quite marked: they were taken for" in note for note in notes)


@pytest.mark.parametrize(("file_format", "quality", "reach"), [("JPEG", 75, 3), ("JPEG", 30, 8), ("WEBP", 60, 3)])
@pytest.mark.parametrize("colours", [TWO * np.uint8(255), ON_BLACK])
def test_lossy_compression_does_not_smear_a_mask(file_format, quality, reach, colours, tmp_path):
    mask, notes = load_mask(write(tmp_path / "mask", pillow(colours, file_format, quality=quality)), SHAPE)
    assert not mask[~ndimage.binary_dilation(DISC, iterations=reach)].any()
    assert mask[DISC].mean() > 0.98
    assert any("neither ground nor quite marked" in note for note in notes)


def test_a_mask_on_an_uneven_ground_is_what_is_lighter_than_half(tmp_path):
    scan = np.clip(DISC * 200 + 20 + np.random.default_rng(0).normal(0, 6, SHAPE), 0, 255).astype(np.uint8)
    mask, notes = load_mask(write(tmp_path / "mask", pillow(scan, "PNG")), SHAPE)
    np.testing.assert_array_equal(mask, DISC)
    assert "those above half were taken for marked" in notes[1]


def test_a_mask_grows_by_whole_pixels_on_all_sides(tmp_path):
    path = write(tmp_path / "mask", pillow(TWO * np.uint8(255), "PNG"))
    for grow in (1, 2.5, 4):
        distance = ndimage.distance_transform_edt(~DISC)
        np.testing.assert_array_equal(load_mask(path, SHAPE, grow=grow)[0], distance <= grow)
        kept = ndimage.distance_transform_edt(DISC)
        np.testing.assert_array_equal(load_mask(path, SHAPE, known=True, grow=grow)[0], kept <= grow)
    with pytest.raises(ImageError, match="marks every pixel once it is widened by 60; choose a smaller grow"):
        load_mask(path, SHAPE, grow=60)
    for grow in (-1, np.nan, True, "2", None, np.inf):
        with pytest.raises(ValueError, match="^grow: found .*, expected a number of pixels"):
            load_mask(path, SHAPE, grow=grow)


@pytest.mark.parametrize("known", [False, True])
@pytest.mark.parametrize("value", [0, 1, 128, 255])
def test_a_mask_of_one_value_is_refused_with_that_value(value, known, tmp_path):
    for array in (np.full(SHAPE, value, np.uint8), np.full((*SHAPE, 4), value, np.uint8)):
        with pytest.raises(ImageError, match=f"the mask '.*' has the value {value} everywhere, so it marks nothing; paint what is"):
            load_mask(write(tmp_path / "mask", pillow(array, "PNG")), SHAPE, known=known)


def test_a_picture_with_transparent_parts_is_no_mask(tmp_path):
    photograph = np.random.default_rng(0).integers(0, 256, (*SHAPE, 3), dtype=np.uint8)
    data = pillow(with_alpha(photograph, (1 - TWO) * np.uint8(255)), "PNG")
    with pytest.raises(ImageError, match="has many colours and transparent parts, as a picture has"):
        load_mask(write(tmp_path / "mask", data), SHAPE)


def test_a_mask_is_turned_like_any_picture(tmp_path):
    path = write(tmp_path / "mask.png", pillow(DISC, "PNG", exif=exif(6)))
    mask, notes = load_mask(path, (50, 40))
    np.testing.assert_array_equal(mask, np.rot90(DISC, -1))
    assert notes == ("rotated as its EXIF tag says",)


def test_a_mask_of_another_size_is_refused(tmp_path):
    path = write(tmp_path / "mask.png", pillow(DISC, "PNG"))
    with pytest.raises(ImageError, match="the mask '.*' is 50 x 40 pixels but the picture is 40 x 50 pixels"):
        load_mask(path, (50, 40))


def test_a_mask_may_be_as_large_as_its_picture(tmp_path, monkeypatch):
    monkeypatch.setattr(masks, "MAX_PIXELS", 100)
    assert load_mask(write(tmp_path / "mask.png", pillow(DISC, "PNG")), SHAPE)[0].shape == SHAPE
    with pytest.raises(ImageError, match="more than the limit of 100"):
        load_mask(tmp_path / "mask.png", (5, 5))
