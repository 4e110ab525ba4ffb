"""Data that end early are refused instead of filled in, and a small file cannot make reading expensive."""

import contextlib
import io
import re
import struct
import tracemalloc
import zlib

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image

from dipjax import files
from dipjax.files import ImageError
from tests.files.samples import EXACT, LOSSY, RGB8, RGB16, RNG, assert_picture, pillow, png_chunk, tiff, write


def idat(data):
    return png_chunk(b"IDAT", data)


def png_of(body, shape=(200, 300), depth=8, colour=2, interlaced=0):
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", *shape[::-1], depth, colour, 0, 0, interlaced))
    return b"\x89PNG\r\n\x1a\n" + header + body + png_chunk(b"IEND", b"")


@pytest.mark.parametrize(("depth", "colour", "channels"), [(8, 0, 1), (8, 2, 3), (8, 6, 4), (16, 0, 1), (16, 2, 3), (1, 0, 1 / 8)])
@pytest.mark.parametrize("finished", [True, False])
def test_png_data_that_end_early_are_refused_although_their_checksums_are_right(depth, colour, channels, finished, tmp_path):
    row = 1 + -(-int(300 * channels * depth) // 8) if depth > 1 else 1 + 38
    rows = bytes(row * 200)
    pack = zlib.compressobj()
    short = pack.compress(rows[: row * 150 + 7]) + (pack.flush() if finished else pack.flush(zlib.Z_SYNC_FLUSH))
    for body in (idat(short), idat(short[: len(short) // 2]) + idat(short[len(short) // 2 :]), b"", idat(b"")):
        with pytest.raises(ImageError, match="of [0-9,]* bytes of image data"):
            files.load(write(tmp_path / "a.png", png_of(body, depth=depth, colour=colour)))
    whole = files.load(write(tmp_path / "a.png", png_of(idat(zlib.compress(rows)), depth=depth, colour=colour)))
    assert whole.pixels.shape[:2] == (200, 300) and not whole.pixels.any()


@pytest.mark.parametrize("kind", ["png rgb 8", "png rgb 16", "png palette", "png gray alpha 16"])
def test_every_flipped_bit_in_the_data_of_a_png_is_noticed(kind, tmp_path):
    data = EXACT[kind][0]
    for place in range(8, len(data), 7):
        flipped = data[:place] + bytes([data[place] ^ 16]) + data[place + 1 :]
        with pytest.raises(ImageError):
            files.load(write(tmp_path / "a.png", flipped))


def test_an_interlaced_png_is_read(tmp_path):
    passes = [RGB8[top::down, left::right] for left, top, right, down in [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4)]]
    passes += [RGB8[::2][1::2, ::2], RGB8[::2, 1::2], RGB8[1::2]]
    passes[4] = RGB8[2::4, ::2]
    rows = b"".join(b"\0" + bytes(row) for part in passes for row in part)
    picture = files.load(write(tmp_path / "a.png", png_of(idat(zlib.compress(rows)), shape=(12, 17), interlaced=1)))
    assert_picture(picture, RGB8)


SMOOTH = np.asarray(Image.fromarray(RGB8).resize((300, 200)))


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"quality": 95, "subsampling": 0}, {"restart_marker_rows": 1}])
@pytest.mark.parametrize("tail", [b"", b"\xff\xd9", bytes(9000), bytes(9000) + b"\xff\xd9"])
def test_a_jpeg_that_ends_early_is_refused_even_with_an_end_put_behind_it(options, tail, tmp_path):
    data = pillow(SMOOTH, "JPEG", **options)
    assert files.load(write(tmp_path / "a.jpg", data)).pixels.shape == (200, 300, 3)
    assert files.load(write(tmp_path / "a.jpg", data + b"what cameras put behind")).pixels.shape == (200, 300, 3)
    if tail.startswith(b"\0") and tail.endswith(b"\xd9"):
        return  # zeros are coded data like any other, and a JPEG has no checksum
    for part in (0.3, 0.6, 0.9, 0.99):
        with pytest.raises(ImageError, match="truncated, damaged or"):
            files.load(write(tmp_path / "a.jpg", data[: int(part * len(data))] + tail))


RLE = b"BM" + struct.pack("<IHHIIiiHHIIiiII", 0, 0, 0, 54 + 1024, 40, 20, 20, 1, 8, 1, 0, 0, 0, 256, 0) + bytes(range(256)) * 4


@pytest.mark.parametrize("body", [b"\x14\x07\x00\x00" * 9, b"\x14\x07" * 9 + b"\x00", b""])
def test_a_bmp_of_runs_that_ends_early_is_refused(body, tmp_path):
    assert files.load(write(tmp_path / "a.bmp", RLE + b"\x14\x07\x00\x00" * 20 + b"\0\1")).pixels.shape == (20, 20, 3)
    with pytest.raises(ImageError):
        files.load(write(tmp_path / "a.bmp", RLE + body))


@pytest.mark.parametrize("compression", [None, "zlib", "lzw", "packbits", "zstd", "jpeg"])
@pytest.mark.parametrize("tile", [None, (16, 16)])
def test_a_tiff_that_lacks_a_strip_or_tile_is_refused(compression, tile, tmp_path):
    options = {"tile": tile} if tile else {"rowsperstrip": 16}
    samples = SMOOTH if compression == "jpeg" else RGB16
    samples = np.kron(samples[:12, :17], np.ones((4, 4, 1), samples.dtype))
    data = tiff(samples, photometric="rgb", compression=compression, **options)
    assert files.load(write(tmp_path / "a.tif", data)).pixels.shape == (48, 68, 3)
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        offsets, counts = (file.pages[0].tags[name] for name in (("TileOffsets", "TileByteCounts") if tile else (273, 279)))
        changes = [(offsets, 0), (counts, 0), (offsets, len(data) + 9), (counts, len(data))]
        places = [(tag.valueoffset + (4 if tag.dtype == 4 else 2), {3: "<H", 4: "<I"}[tag.dtype], value) for tag, value in changes]
    for place, form, value in places:
        changed = bytearray(data)
        struct.pack_into(form, changed, place, min(value, 65535 if form == "<H" else value))
        with pytest.raises(ImageError):
            files.load(write(tmp_path / "a.tif", changed))


def test_more_pixels_can_be_asked_for_than_pillow_allows(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 110)
    for kind in ("png rgb 8", "bmp rgb", "webp rgb", "tiff palette", "tiff cmyk"):
        assert files.load(write(tmp_path / "a", EXACT[kind][0])).pixels.shape == (12, 17, 3)
    assert files.load(write(tmp_path / "a", LOSSY["jpeg rgb"][0])).pixels.shape == (12, 17, 3)


def sparse(path, head, length=3 * 2**30):
    with path.open("wb") as file:
        file.write(head)
        file.truncate(length)
    return path


@pytest.mark.parametrize("kind", [*EXACT, *LOSSY])
def test_a_file_of_many_empty_bytes_is_not_read_to_its_end(kind, tmp_path):
    data = (EXACT | LOSSY)[kind][0]
    tracemalloc.start()
    for head in (data, data[: len(data) // 2]):
        with contextlib.suppress(ImageError):
            files.load(sparse(tmp_path / "a", head))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 200 * 2**20


def tiff_of_one_jpeg(data):
    tags = [(256, 300), (257, 200), (258, 8), (259, 7), (262, 6), (273, 200), (277, 3), (278, 200), (279, len(data)), (530, 0x20002)]
    directory = b"".join(struct.pack("<HHII", tag, 3 if tag == 530 else 4, 1 + (tag == 530), value) for tag, value in tags)
    return (b"II*\0" + struct.pack("<IH", 8, len(tags)) + directory + bytes(4)).ljust(200, b"\0") + data


@pytest.mark.parametrize("kind", ["jpeg", "tiff"])
def test_a_jpeg_of_many_scans_is_refused(kind, tmp_path):
    data = pillow(SMOOTH, "JPEG", progressive=True)
    scan = re.search(rb"\xff\xda..\x01.{2}\x01.\x02.*?(?=\xff\xc4)", data, re.DOTALL)  # of coefficients 1 to 5: it can be repeated
    for number, expected in ((20, True), (40, False)):
        more = data[: scan.end()] + scan[0] * number + data[scan.end() :]
        path = write(tmp_path / "a.jpg", more if kind == "jpeg" else tiff_of_one_jpeg(more))
        if expected:
            assert files.load(path).pixels.shape == (200, 300, 3)
        else:
            with pytest.raises(ImageError, match="it has more than 32 scans"):
                files.load(path)


@pytest.mark.parametrize(
    "chunk",
    [
        png_chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(2**27))),
        png_chunk(b"iTXt", b"Comment\0\1\0\0\0" + zlib.compress(bytes(2**27))),
        png_chunk(b"iCCP", b"profile\0\0" + zlib.compress(bytes(2**27))),
        png_chunk(b"iCCP", b"profile\0\0" + b"no deflate"),
        png_chunk(b"tEXt", b"Comment\0" + bytes(2**22)),
    ],
    ids=["zTXt", "iTXt", "iCCP", "iCCP broken", "tEXt"],
)
@pytest.mark.parametrize("kind", ["png rgb 8", "png rgb 16"])
def test_what_unpacks_to_much_besides_the_picture_is_left_out(kind, chunk, tmp_path):
    data, samples, _, _ = EXACT[kind]
    tracemalloc.start()
    picture = files.load(write(tmp_path / "a.png", data[:33] + chunk + data[33:]))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert_picture(picture, samples)
    assert picture.notes == (("its colour profile is damaged and was left out",) if b"iCCP" in chunk else ())
    assert peak < 40 * 2**20


def test_a_large_profile_is_kept(tmp_path):
    profile = RNG.integers(0, 256, 3_000_000, dtype=np.uint8).tobytes()
    data = EXACT["png rgb 8"][0]
    chunk = png_chunk(b"iCCP", b"profile\0\0" + zlib.compress(profile))
    assert files.load(write(tmp_path / "a.png", data[:33] + chunk + data[33:])).icc_profile == profile


@pytest.mark.parametrize("kind", ["png", "tiff"])
def test_reading_takes_at_most_32_bytes_a_pixel(kind, tmp_path):
    samples = np.zeros((2000, 2000, 4), np.uint16)
    data = imagecodecs.png_encode(samples) if kind == "png" else tiff(samples, photometric="rgb", extrasamples=[2], compression="zlib")
    path = write(tmp_path / "a", data)
    tracemalloc.start()
    files.load(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 32 * 2000 * 2000


def test_a_tiff_that_announces_many_numbers_is_refused_before_they_are_read(tmp_path):
    data = bytearray(tiff(RGB8, photometric="rgb"))
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        place = file.pages[0].tags["BitsPerSample"].offset
    struct.pack_into("<I", data, place + 4, 2**30)
    with pytest.raises(ImageError, match="it announces 1,073,741,824 numbers in its tag 258"):
        files.load(sparse(tmp_path / "a.tif", bytes(data), 2**32))


def test_a_tiff_whose_pages_are_a_ring_is_read(tmp_path):
    data = bytearray(tiff(RGB8, photometric="rgb"))
    (first,) = struct.unpack_from("<I", data, 4)
    (number,) = struct.unpack_from("<H", data, first)
    struct.pack_into("<I", data, first + 2 + 12 * number, first)
    assert_picture(files.load(write(tmp_path / "a.tif", data)), RGB8)


def test_a_long_bmp_of_runs_is_refused(tmp_path):
    with pytest.raises(ImageError, match="6,001,078 bytes of run lengths, expected at most 4,194,304; save it anew as PNG"):
        files.load(write(tmp_path / "a.bmp", RLE.replace(struct.pack("<ii", 20, 20), struct.pack("<ii", 3000, 2000)) + b"\1\7" * 3_000_000))


def test_a_jpeg_of_many_markers_is_refused(tmp_path):
    data = pillow(SMOOTH, "JPEG")
    assert files.load(write(tmp_path / "a.jpg", data[:2] + b"\xff\xfe\0\2" * 9000 + data[2:])).pixels.shape == (200, 300, 3)
    with pytest.raises(ImageError, match="it has more than 10,000 markers"):
        files.load(write(tmp_path / "a.jpg", data[:2] + b"\xff\xfe\0\2" * 1_000_000 + data[2:]))
