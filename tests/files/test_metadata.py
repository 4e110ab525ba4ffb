"""What a file says of its picture is in the result, where the format can hold it: upright, and for smaller pixels where there are more."""

import io
import re
import struct
import zlib

import numpy as np
import pytest
import tifffile
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from dipjax import files
from dipjax.files import metadata
from dipjax.files.metadata import Metadata

RGB = np.random.default_rng(0).integers(0, 256, (10, 12, 3), dtype=np.uint8)
XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="6" dc:title="a"/></x:xmpmeta>'
OME = '<?xml version="1.0"?><OME><Image><Pixels SizeX="12" SizeY="10" PhysicalSizeX="0.5" PhysicalSizeY="0.25" Type="uint8"/></Image></OME>'


def exif(orientation=6):
    tags = Image.Exif()
    tags[271], tags[272], tags[274], tags[306] = "Maker", "Model", orientation, "2020:01:02 03:04:05"
    fields = tags.get_ifd(34665)
    fields[33434], fields[40962], fields[40963], fields[37386] = 0.01, 12, 10, 50.0
    tags.get_ifd(34853)[1] = "N"
    tags.get_ifd(34853)[2] = (48.0, 8.0, 30.0)
    return tags


def result(path, out, factor=1, **more):
    picture = files.load(path)
    pixels = np.repeat(np.repeat(picture.pixels, factor, 0), factor, 1)
    files.save(out, pixels, picture, force=True, **more)
    return files.load(out)


@pytest.mark.parametrize("source", [".jpg", ".webp", ".png"])
@pytest.mark.parametrize("target", [".jpg", ".webp", ".png"])
def test_exif_and_gps_are_kept_with_the_picture_upright(tmp_path, source, target):
    start, end = tmp_path / f"a{source}", tmp_path / f"b{target}"
    Image.fromarray(RGB).save(start, exif=exif())
    result(start, end)
    with Image.open(end) as image:
        tags = image.getexif()
        assert image.size == (10, 12)  # turned
        assert tags[274] == 1 and tags[271] == "Maker"
        assert tags.get_ifd(34853)[2] == (48.0, 8.0, 30.0)
        assert tags.get_ifd(34665)[33434] == pytest.approx(0.01)
        assert (tags.get_ifd(34665)[40962], tags.get_ifd(34665)[40963]) == (10, 12)


@pytest.mark.parametrize("target", [".jpg", ".png", ".bmp", ".tif"])
@pytest.mark.parametrize("factor", [1, 2])
def test_the_resolution_follows_the_pixels(tmp_path, target, factor):
    start, end = tmp_path / "a.png", tmp_path / f"b{target}"
    Image.fromarray(RGB).save(start, dpi=(300, 150))
    result(start, end, factor)
    with Image.open(end) as image:
        assert image.info["dpi"] == pytest.approx((300 * factor, 150 * factor), abs=0.6)


def test_texts_and_xmp_of_a_png_are_kept(tmp_path):
    info = PngInfo()
    info.add_text("Title", "a picture")
    info.add_text("Author", "Jürgen", zip=True)
    info.add_itxt("Comment", "héllo ✓", zip=True)
    info.add_itxt("XML:com.adobe.xmp", XMP.decode())
    Image.fromarray(RGB).save(tmp_path / "a.png", pnginfo=info)
    result(tmp_path / "a.png", tmp_path / "b.png")
    with Image.open(tmp_path / "b.png") as image:
        image.load()
        assert (image.text["Title"], image.text["Author"], image.text["Comment"]) == ("a picture", "Jürgen", "héllo ✓")
        assert 'tiff:Orientation="1"' in image.text["XML:com.adobe.xmp"] and 'dc:title="a"' in image.text["XML:com.adobe.xmp"]


@pytest.mark.parametrize("target", [".jpg", ".webp", ".png", ".tif"])
def test_xmp_and_comments_are_kept_in_every_format_that_has_them(tmp_path, target):
    Image.fromarray(RGB).save(tmp_path / "a.jpg", xmp=XMP, comment=b"from the attic", exif=exif(1))
    found = result(tmp_path / "a.jpg", tmp_path / f"b{target}").metadata
    assert b'dc:title="a"' in found.xmp
    assert target in (".webp", ".tif") or dict(found.texts)["Comment"] == "from the attic"


def test_pixel_sizes_of_microscopes_are_those_of_the_result(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", RGB[..., 0], description=OME, metadata=None)
    result(tmp_path / "a.tif", tmp_path / "b.tif", 2)
    with tifffile.TiffFile(tmp_path / "b.tif") as tiff:
        text = tiff.pages[0].description
    assert 'PhysicalSizeX="0.25"' in text and 'PhysicalSizeY="0.125"' in text and 'SizeX="24"' in text and 'SizeY="20"' in text
    tifffile.imwrite(tmp_path / "j.tif", RGB[..., 0], imagej=True, resolution=(5.0, 5.0), metadata={"unit": "um"})
    result(tmp_path / "j.tif", tmp_path / "k.tif", 2)
    with tifffile.TiffFile(tmp_path / "k.tif") as tiff:
        assert "unit=um" in tiff.pages[0].description and "images=" not in tiff.pages[0].description
        across, per = tiff.pages[0].tags.valueof(282)
        assert across / per == pytest.approx(10)


def test_the_place_on_earth_is_that_of_the_result(tmp_path):
    tags = [
        (33550, "d", 3, (0.5, 0.5, 0.0), True), (33922, "d", 6, (2.0, 4.0, 0.0, 500.0, 600.0, 0.0), True),
        (34735, "H", 4, (1, 1, 0, 0), True), (34737, "s", 0, "WGS 84|", True),
    ]  # fmt: skip
    tifffile.imwrite(tmp_path / "a.tif", RGB, photometric="rgb", extratags=tags, metadata=None)
    result(tmp_path / "a.tif", tmp_path / "b.tif", 2)
    with tifffile.TiffFile(tmp_path / "b.tif") as tiff:
        found = tiff.pages[0].tags
        assert found.valueof(33550) == (0.25, 0.25, 0.0)
        assert found.valueof(33922) == (4.0, 8.0, 0.0, 500.0, 600.0, 0.0)
        assert found.valueof(34735) == (1, 1, 0, 0) and found.valueof(34737) == "WGS 84|"


def test_the_description_of_a_stack_is_not_that_of_its_first_page(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", np.stack([RGB[..., 0]] * 3), photometric="minisblack")  # tifffile describes the array
    assert result(tmp_path / "a.tif", tmp_path / "b.tif").metadata.description == ""


@pytest.mark.parametrize("target", [".jpg", ".webp", ".png", ".tif"])
def test_nothing_is_kept_where_that_is_wished(tmp_path, target):
    Image.fromarray(RGB).save(tmp_path / "a.jpg", xmp=XMP, comment=b"secret", exif=exif(1), dpi=(300, 300))
    found = result(tmp_path / "a.jpg", tmp_path / f"b{target}", keep_metadata=False).metadata
    assert (found.exif, found.xmp, found.texts, found.description, found.places) == (b"", b"", (), "", ())
    assert b"secret" not in (tmp_path / f"b{target}").read_bytes() and b"Maker" not in (tmp_path / f"b{target}").read_bytes()


@pytest.mark.parametrize(("target", "names"), [
    ("b.png", ["the place on Earth"]), ("b.jpg", ["the place on Earth"]), ("b.tif", ["EXIF"]),
    ("b.webp", ["the resolution", "the place on Earth"]),
    ("b.bmp", ["EXIF", "XMP", "the description", "the place on Earth"]),
])  # fmt: skip
def test_what_a_format_cannot_hold_is_named(target, names):
    full = Metadata(exif().tobytes()[6:], XMP, (), (300.0, 300.0), 2, "text", ((33550, 12, 3, (1.0, 1.0, 0.0)),))
    assert metadata.lost(full, files.opening.SUFFIXES[f".{target[2:]}"]) == names


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp"])
def test_damaged_exif_costs_no_picture(tmp_path, suffix):
    random = np.random.default_rng(0)
    good = exif().tobytes()
    for _ in range(30):
        bad = bytearray(good)
        for place in random.integers(8, len(bad), 6):
            bad[place] = random.integers(256)
        buffer = io.BytesIO()
        Image.fromarray(RGB).save(buffer, {".jpg": "JPEG", ".png": "PNG", ".webp": "WEBP"}[suffix], exif=bytes(bad))
        (tmp_path / f"a{suffix}").write_bytes(buffer.getvalue())
        try:
            picture = files.load(tmp_path / f"a{suffix}")
        except files.ImageError:  # an orientation that Pillow cannot read
            continue
        files.save(tmp_path / f"b{suffix}", picture.pixels, picture, force=True)
        assert files.load(tmp_path / f"b{suffix}").pixels.shape == picture.pixels.shape


def test_a_text_that_unpacks_to_much_is_left_out(tmp_path):
    Image.fromarray(RGB).save(tmp_path / "a.png")
    data = (tmp_path / "a.png").read_bytes()
    body = b"zTXt" + b"Bomb\0\0" + zlib.compress(bytes(2**26))
    part = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
    (tmp_path / "a.png").write_bytes(data[:33] + part + data[33:])
    assert files.load(tmp_path / "a.png").metadata.texts == ()


@pytest.mark.slow
def test_the_command_line_names_what_is_lost_and_strips_on_demand(tmp_path, monkeypatch):
    from tests.app.processes import TINY, dipjax

    monkeypatch.chdir(tmp_path)
    Image.fromarray(RGB).save("a.jpg", exif=exif(1), dpi=(300, 300))
    with dipjax("denoise", "a.jpg", "-o", "b.tif", *TINY, "--steps", "2") as child:
        out, err = child.communicate()
    assert child.returncode == 0, err
    assert re.search(r"b\.tif: EXIF cannot be kept", err)
    with dipjax("denoise", "a.jpg", "-o", "c.jpg", *TINY, "--steps", "2", "--strip-metadata") as child:
        out, err = child.communicate()
    with Image.open("c.jpg") as image:
        assert not dict(image.getexif()) and "dpi" not in image.info


@pytest.mark.parametrize("target", [".jpg", ".tif", ".png", ".webp"])
def test_letters_beyond_ascii_are_kept(tmp_path, target):
    tags = Image.Exif()
    tags[315], tags[33432] = "Jürgen".encode(), "© 2020 雪".encode()
    Image.fromarray(RGB).save(tmp_path / "a.jpg", exif=tags, comment="Zürich".encode("latin-1"))
    result(tmp_path / "a.jpg", tmp_path / f"b{target}")
    data = (tmp_path / f"b{target}").read_bytes()
    assert target == ".tif" or "Jürgen".encode() in data and "© 2020 雪".encode() in data
    tifffile.imwrite(tmp_path / "c.tif", RGB, photometric="rgb", metadata=None, software="Zürich ®".encode(), extratags=[
        (315, "s", 0, "Jürgen".encode() + b"\0", True), (42112, 2, 0, "<GDALMetadata>Höhe</GDALMetadata>\0".encode(), True),
    ])  # fmt: skip
    result(tmp_path / "c.tif", tmp_path / f"d{target}")
    assert "Jürgen".encode() in (tmp_path / f"d{target}").read_bytes()


def test_no_directory_is_invented(tmp_path):
    tags = Image.Exif()
    tags[271] = "Maker"
    Image.fromarray(RGB).save(tmp_path / "a.jpg", exif=tags)
    result(tmp_path / "a.jpg", tmp_path / "b.jpg")
    with Image.open(tmp_path / "b.jpg") as image:
        assert set(image.getexif()) == {271}


def test_what_is_too_long_for_a_jpeg_is_left_out_and_named(tmp_path):
    tags = Image.Exif()
    tags[271] = "M"
    tags.get_ifd(34665)[37500] = b"x" * 100_000
    Image.fromarray(RGB).save(tmp_path / "a.webp", exif=tags, xmp=b"<x>" + b"a" * 70_000 + b"</x>")
    result(tmp_path / "a.webp", tmp_path / "b.jpg")
    assert files.left_out(tmp_path / "b.jpg", files.load(tmp_path / "a.webp")) == ["EXIF", "XMP"]
    info = PngInfo()
    info.add_itxt("Comment", "é" * 40_000)
    Image.fromarray(RGB).save(tmp_path / "c.png", pnginfo=info)
    result(tmp_path / "c.png", tmp_path / "d.jpg")
    assert files.left_out(tmp_path / "d.jpg", files.load(tmp_path / "c.png")) == ["texts"]


def test_a_rotated_picture_has_its_resolutions_turned(tmp_path):
    tags = Image.Exif()
    tags[274], tags[282], tags[283], tags[296], tags[256], tags[257] = 6, 300.0, 150.0, 2, 12, 10
    Image.fromarray(RGB).save(tmp_path / "a.jpg", exif=tags, dpi=(300, 150))
    result(tmp_path / "a.jpg", tmp_path / "b.jpg", 2)
    with Image.open(tmp_path / "b.jpg") as image:
        found = image.getexif()
        assert image.info["dpi"] == pytest.approx((300, 600), abs=1)
        assert (found[282], found[283], found[256], found[257]) == (300, 600, 20, 24)


@pytest.mark.parametrize("value", [(12, 1, (1.0,)), (2, 0, "abc"), (3, 3, (1, 1, 0))])
@pytest.mark.parametrize("number", [33550, 33922, 34264])
def test_odd_tags_of_places_cost_no_picture(tmp_path, number, value):
    kind, count, content = value
    tags = [(number, kind, count, content, True)]
    tifffile.imwrite(tmp_path / "a.tif", RGB, photometric="rgb", metadata=None, extratags=tags)
    result(tmp_path / "a.tif", tmp_path / "b.tif", 2)


def test_a_point_of_geotiff_stays_where_it_is(tmp_path):
    keys = (1, 1, 0, 1, 1025, 0, 1, 2)
    tags = [(33922, "d", 6, (0.0, 0.0, 0.0, 5.0, 6.0, 0.0), True), (34735, "H", 8, keys, True)]
    tifffile.imwrite(tmp_path / "a.tif", RGB, photometric="rgb", metadata=None, extratags=tags)
    result(tmp_path / "a.tif", tmp_path / "b.tif", 2)
    with tifffile.TiffFile(tmp_path / "b.tif") as tiff:
        assert tiff.pages[0].tags.valueof(33922)[:2] == (0.5, 0.5)


def test_resolutions_that_a_format_cannot_hold_are_named(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", RGB, photometric="rgb", metadata=None, resolution=(100_000, 100_000), resolutionunit=3)
    assert files.left_out(tmp_path / "b.jpg", files.load(tmp_path / "a.tif")) == ["the resolution"]
    result(tmp_path / "a.tif", tmp_path / "b.jpg", 2)
    with Image.open(tmp_path / "b.jpg") as image:
        assert image.info.get("dpi", (1, 1))[0] < 100
    tifffile.imwrite(tmp_path / "c.tif", RGB, photometric="rgb", metadata=None, resolution=(10, 10), resolutionunit=4)
    assert files.load(tmp_path / "c.tif").metadata.resolution == pytest.approx((100, 100))


def test_many_texts_share_one_bound(tmp_path):
    Image.fromarray(RGB).save(tmp_path / "a.png")
    data = (tmp_path / "a.png").read_bytes()
    body = b"zTXt" + b"Bomb\0\0" + zlib.compress(bytes(2**19))
    part = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
    (tmp_path / "a.png").write_bytes(data[:33] + 50 * part + data[33:])
    assert sum(len(text) for _, text in files.load(tmp_path / "a.png").metadata.texts) <= 2**20


@pytest.mark.parametrize("target", [".tif", ".jpg", ".webp"])
def test_texts_that_have_no_place_are_named(tmp_path, target):
    info = PngInfo()
    info.add_text("Title", "a"), info.add_text("Software", "b")
    Image.fromarray(RGB).save(tmp_path / "a.png", pnginfo=info)
    assert files.left_out(tmp_path / f"b{target}", files.load(tmp_path / "a.png")) == ["texts"]


@pytest.mark.parametrize("form", ['tiff:{}="{}"', "<tiff:{0}>{1}</tiff:{0}>"])
def test_sizes_and_resolution_in_xmp_are_those_of_the_result(tmp_path, form):
    said = {"Orientation": 6, "ImageWidth": 12, "ImageLength": 10, "XResolution": "3000000/10000", "YResolution": 150}
    words = " ".join(form.format(*pair) for pair in said.items()) + ' exif:PixelXDimension="12" exif:PixelYDimension="10" dc:title="a"'
    tags = Image.Exif()
    tags[274] = 6
    Image.fromarray(RGB).save(tmp_path / "a.jpg", xmp=f"<x {words}/>".encode(), exif=tags)
    expected = {"Orientation": 1, "ImageWidth": 20, "ImageLength": 24, "XResolution": "300000/1000", "YResolution": "6000000000/10000000"}
    found = result(tmp_path / "a.jpg", tmp_path / "b.jpg", 2).metadata.xmp.decode()
    for name, value in expected.items():
        assert form.format(name, value) in found, found
    assert 'exif:PixelXDimension="20" exif:PixelYDimension="24" dc:title="a"' in found
    assert 'XResolution="150"' in result(tmp_path / "a.jpg", tmp_path / "c.jpg").metadata.xmp.decode() or "<" in form


def test_pixel_sizes_of_a_stack_are_kept_and_the_rest_of_its_description_is_named(tmp_path):
    sizes = {"PhysicalSizeX": 0.5, "PhysicalSizeXUnit": "µm", "PhysicalSizeY": 250.0, "PhysicalSizeYUnit": "nm"}
    tifffile.imwrite(tmp_path / "a.tif", np.stack([RGB[..., 0]] * 2), ome=True, metadata={"axes": "ZYX"} | sizes)
    for page, lost in enumerate((["the OME description of the stack"], [])):
        picture = files.load(tmp_path / "a.tif", page=page)
        assert picture.metadata.resolution == pytest.approx((20_000, 40_000)) and picture.metadata.unit == 3
        assert files.left_out(tmp_path / "b.tif", picture) == lost
        files.save(tmp_path / f"b{page}.tif", np.repeat(np.repeat(picture.pixels, 2, 0), 2, 1), picture)
        with tifffile.TiffFile(tmp_path / f"b{page}.tif") as tiff:
            across, per = tiff.pages[0].tags.valueof(282)
            assert across / per == pytest.approx(40_000) and tiff.pages[0].tags.valueof(296) == 3
