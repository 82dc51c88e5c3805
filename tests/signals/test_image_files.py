"""Test how image files are seen: orientation, transparency, bit depth, frames; and that their metadata comes back."""

from __future__ import annotations

import io
import struct
import sys
import warnings
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageCms, ImageOps
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from inrcodec.errors import DataError, LossWarning, UnsupportedError, UsageError
from inrcodec.signals.files import image_metadata, read_signal, signal_from_bytes, write_signal
from inrcodec.signals.files.images import turned
from inrcodec.signals.metadata import SignalMeta
from inrcodec.signals.signal import Signal

RNG = np.random.default_rng(0)
RGB = RNG.integers(0, 256, (6, 9, 3), dtype=np.uint8)
DEEP = RNG.integers(0, 65536, (6, 9, 4), dtype=np.uint16)
XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF tiff:Orientation="6"/></x:xmpmeta>'


def saved(image: Image.Image, form: str, **options: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, form, **options)
    return out.getvalue()


def exif_of(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[271], exif[0x0112] = "A maker", orientation
    exif[34665] = {36867: "2020:01:02 03:04:05"}
    return exif


def with_chunks(png: bytes, **chunks: bytes) -> bytes:
    body = b"".join(
        struct.pack(">I", len(c)) + n.encode() + c + struct.pack(">I", zlib.crc32(n.encode() + c))
        for n, c in chunks.items()
    )
    return png[:33] + body + png[33:]


def chunks_of(png: bytes) -> dict[str, bytes]:
    place, chunks = 8, {}
    while place < len(png):
        (n,) = struct.unpack_from(">I", png, place)
        chunks[png[place + 4 : place + 8].decode()] = png[place + 8 : place + 8 + n]
        place += 12 + n
    return chunks


def back(signal: Signal, path: Path) -> Image.Image:
    """Return what a viewer shows of a signal that went through a file's metadata section and was written."""
    meta = SignalMeta.from_extra(signal.meta.extra_to_bytes(), signal.meta.bit_depth)
    write_signal(Signal(signal.values, signal.header, meta), path)
    return Image.open(path)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("form", ["TIFF", "JPEG", "PNG", "WEBP"])
def test_orientation_is_applied_once_in_every_output(tmp_path: Path, form: str, orientation: int) -> None:
    image = Image.fromarray(np.kron(RGB, np.ones((8, 8, 1), np.uint8)))
    data = saved(image, form, exif=exif_of(orientation).tobytes(), **({"lossless": True} if form == "WEBP" else {}))
    expected = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    signal = signal_from_bytes(data, "x")
    for suffix in (".png", ".tif", ".webp", ".bmp", ".ppm"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", LossWarning)
            seen = ImageOps.exif_transpose(back(signal, tmp_path / f"{orientation}{suffix}"))
        assert seen.size == expected.size and np.array_equal(np.asarray(seen), np.asarray(expected)), suffix


def test_the_orientation_in_xmp_follows_that_of_the_pixels(tmp_path: Path) -> None:
    tags = ImageFileDirectory_v2()
    tags[0x0112], tags[700] = 6, XMP
    signal = signal_from_bytes(saved(Image.fromarray(RGB), "TIFF", tiffinfo=tags), "x")
    assert signal.header.shape == (9, 6) and signal.meta.exif_orientation == 1
    assert b'tiff:Orientation="6"' not in signal.meta.xmp and b"xmpmeta" in signal.meta.xmp
    assert back(signal, tmp_path / "a.png").getexif().get(0x0112, 1) == 1


def test_transparency_in_every_form() -> None:
    gray = np.arange(16, dtype=np.uint8).reshape(4, 4) * 17
    alpha = {
        "colour": saved(Image.fromarray(RGB), "PNG", transparency=tuple(int(n) for n in RGB[0, 0])),
        "gray": saved(Image.fromarray(gray), "PNG", transparency=34),
        "palette": saved(Image.fromarray(RGB).quantize(8), "PNG", transparency=bytes([0, 128])),
        "bilevel": saved(Image.fromarray(gray > 99), "PNG", transparency=0),
        "GIF": saved(Image.fromarray(RGB).quantize(8), "GIF", transparency=3),
        "LA": saved(Image.fromarray(np.stack([gray, gray], axis=2)), "PNG"),
    }
    for what, data in alpha.items():
        signal = signal_from_bytes(data, "x")
        expected = np.asarray(Image.open(io.BytesIO(data)).convert("RGBA"))[..., 3] / np.float32(255)
        assert signal.header.layout in ("rgba", "gray+alpha"), what
        assert np.array_equal(signal.values[..., -1], expected), what


def test_a_transparent_gray_has_the_bit_depth_of_the_file() -> None:
    """Sample 15 of 4 bits is white: 255 after scaling."""
    rows = b"\0\x0f\xf0" * 2
    head = struct.pack(">IIBBBBB", 4, 2, 4, 0, 0, 0, 0)
    png = with_chunks(b"\x89PNG\r\n\x1a\n" + bytes(25), IHDR=head, tRNS=b"\0\x0f", IDAT=zlib.compress(rows), IEND=b"")
    signal = signal_from_bytes(png[:8] + png[33:], "x")
    assert np.array_equal(signal.values[0], np.array([[0, 1], [1, 0], [1, 0], [0, 1]], np.float32))


def white_is_zero(levels: NDArray[Any]) -> bytes:
    """Return gray samples as a TIFF with the tag that says that 0 is white."""
    (height, width), size = levels.shape, levels.itemsize
    entries = [(256, width), (257, height), (258, 8 * size), (259, 1), (262, 0), (273, 134), (277, 1), (278, height)]
    entries += [(279, levels.nbytes), (339, 1)]
    tags = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in entries)
    return b"II*\0\x08\0\0\0" + struct.pack("<H", len(entries)) + tags + bytes(4) + levels.tobytes()


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_white_may_be_zero_in_a_tiff(dtype: type) -> None:
    levels = np.array([[0, 1, 7], [200, 254, 255]], dtype) * dtype(1 if dtype is np.uint8 else 257)
    signal = signal_from_bytes(white_is_zero(levels), "x")
    assert np.array_equal(signal.to_native()[..., 0], np.iinfo(dtype).max - levels)


def test_the_transparent_value_of_a_deep_gray_image() -> None:
    deep = DEEP[..., 0].copy()
    deep[0, 0] = 500
    signal = signal_from_bytes(with_chunks(saved(Image.fromarray(deep), "PNG"), tRNS=struct.pack(">H", 500)), "x")
    assert signal.header.layout == "gray+alpha" and signal.meta.bit_depth == 16
    assert signal.values[0, 0, 1] == 0 and signal.values[1:, :, 1].all()


def test_premultiplied_tiff() -> None:
    tifffile = pytest.importorskip("tifffile")
    levels = np.full((4, 5, 4), 60, np.uint8)
    levels[..., 3] = 120
    for array in (levels, levels.astype(np.uint16) * 257):
        out = io.BytesIO()
        tifffile.imwrite(out, array, photometric="rgb", extrasamples=["assocalpha"])
        signal = signal_from_bytes(out.getvalue(), "x")
        assert np.allclose(signal.values[..., :3], 0.5, atol=0.003)
        assert np.allclose(signal.values[..., 3], 120 / 255)


@pytest.mark.parametrize("channels", [2, 3, 4])
@pytest.mark.parametrize("suffix", [".png", ".tif", ".ppm"])
def test_deep_colour_round_trip(tmp_path: Path, suffix: str, channels: int) -> None:
    pytest.importorskip("imagecodecs")
    pytest.importorskip("tifffile")
    values = (DEEP[..., :channels] / np.float32(65535)).astype(np.float32)
    layout = {2: "gray+alpha", 3: "rgb", 4: "rgba"}[channels]
    base = signal_from_bytes(saved(Image.fromarray(DEEP[..., 0]), "PNG"), "x")
    header = type(base.header)("image", layout, "u16", (6, 9), channels)
    meta = SignalMeta(16, b"a profile", 6, (300.0, 150.0), xmp=XMP)
    signal = Signal(values, header, meta)
    if (suffix == ".ppm" and channels != 3) or (suffix == ".tif" and channels == 2):
        with pytest.raises(UnsupportedError, match=r"does not support mode .* use \.png"):
            write_signal(signal, tmp_path / f"a{suffix}")
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LossWarning)
        write_signal(signal, tmp_path / f"a{suffix}")
    again = read_signal(tmp_path / f"a{suffix}")
    expected = turned(signal.to_native(), 6) if suffix == ".ppm" else signal.to_native()
    assert np.array_equal(again.to_native(), expected) and again.meta.bit_depth == 16
    if suffix != ".ppm":
        assert (again.meta.icc_profile, again.meta.exif_orientation, again.meta.xmp) == (b"a profile", 6, XMP)
        assert again.meta.dpi == pytest.approx((300, 150), rel=1e-3)


def test_plain_and_scaled_netpbm() -> None:
    plain = signal_from_bytes(b"P3 # a comment\n2 1\n1023\n0 1023 512  1 2 3\n", "x")
    assert np.allclose(plain.values.ravel(), np.array([0, 1023, 512, 1, 2, 3]) / 1023)
    binary = signal_from_bytes(b"P5 2 1 1000\n" + struct.pack(">2H", 1000, 10), "x")
    assert np.allclose(binary.values.ravel(), [1, 0.01]) and binary.meta.bit_depth == 16
    for data in (b"P6 2 1 1000\n" + bytes(11), b"P5 2 1 1000\n" + struct.pack(">2H", 1001, 0), b"P3 1 1 999\n1 2\n"):
        with pytest.raises(DataError, match=r"^x: "):
            signal_from_bytes(data, "x")


@pytest.mark.parametrize(("encoder", "bits"), [("jpeg2k_encode", 16), ("jpeg2k_encode", 12), ("avif_encode", 10)])
def test_deep_jpeg_2000_and_avif_keep_their_depth(encoder: str, bits: int) -> None:
    imagecodecs = pytest.importorskip("imagecodecs")
    levels = (DEEP[..., :3] >> (16 - bits)).astype(np.uint16)
    levels = np.kron(levels, np.ones((8, 8, 1), np.uint16))
    names = {"jpeg2k_encode": {"level": 0, "bitspersample": bits}, "avif_encode": {"level": 100, "bitspersample": bits}}
    try:
        data = getattr(imagecodecs, encoder)(levels, **names[encoder])
    except Exception as error:
        pytest.skip(f"this build of imagecodecs cannot write the file: {error}")
    signal = signal_from_bytes(bytes(data), "x")
    assert signal.header.sample_type == "u16"
    assert np.abs(signal.values - levels / np.float32(2**bits - 1)).max() < (1e-4 if bits != 10 else 0.1)


@pytest.mark.parametrize("module", ["imagecodecs", "tifffile"])
def test_a_missing_library_is_named(tmp_path: Path, module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    library = pytest.importorskip(module)
    if module == "imagecodecs":
        data = bytes(library.png_encode(DEEP))
    else:
        library.imwrite(out := io.BytesIO(), DEEP, photometric="rgb", extrasamples=["unassalpha"])
        data = out.getvalue()
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(UnsupportedError, match=r"pip install inrcodec\[formats\]"):
        signal_from_bytes(data, "x")


def test_frames(tmp_path: Path) -> None:
    images = [Image.fromarray(RGB), Image.fromarray(255 - RGB)]
    animations = {
        "GIF": saved(images[0], "GIF", save_all=True, append_images=images[1:]),
        "PNG": saved(images[0], "PNG", save_all=True, append_images=images[1:]),
        "WEBP": saved(images[0], "WEBP", save_all=True, append_images=images[1:], lossless=True),
        "TIFF": saved(images[0], "TIFF", save_all=True, append_images=images[1:]),
    }
    for form, data in animations.items():
        with pytest.raises(UnsupportedError, match=r"x: an? (animation|document) of 2 (frames|pages).*--frame"):
            signal_from_bytes(data, "x")
        with pytest.raises(UsageError, match="no frame 2: choose one of 0 to 1"):
            signal_from_bytes(data, "x", frame=2)
        if form != "GIF":
            for number, image in enumerate(images):
                levels = signal_from_bytes(data, "x", frame=number).to_native()[..., :3]
                assert np.array_equal(levels, np.asarray(image)), form
    with pytest.raises(UsageError, match="no frame 1: the file has frame 0 only"):
        signal_from_bytes(saved(images[0], "PNG"), "x", frame=1)
    wrong: Any = "1"
    with pytest.raises(UsageError, match="frame must be an integer, got '1'"):
        signal_from_bytes(animations["WEBP"], "x", frame=wrong)
    with pytest.warns(LossWarning, match="1 further image of"):
        mpo = signal_from_bytes(saved(images[0], "MPO", save_all=True, append_images=images[1:]), "x")
    assert np.array_equal(mpo.to_native(), np.asarray(Image.open(io.BytesIO(saved(images[0], "JPEG")))))


def test_overviews_are_no_pages_and_raw_files_are_refused() -> None:
    tifffile = pytest.importorskip("tifffile")
    out = io.BytesIO()
    with tifffile.TiffWriter(out) as writer:
        writer.write(RGB[::2, ::2], photometric="rgb", subfiletype=1)
        writer.write(RGB, photometric="rgb")
        writer.write(RGB[::3, ::3], photometric="rgb", subfiletype=1)
    assert np.array_equal(signal_from_bytes(out.getvalue(), "x").to_native(), RGB)
    raw = io.BytesIO()
    with tifffile.TiffWriter(raw) as writer:
        writer.write(RGB[::2, ::2], photometric="rgb", subfiletype=1, subifds=1)
        writer.write(RGB, photometric="rgb")
    sensor = saved(Image.fromarray(RGB[..., 0]), "TIFF", tiffinfo={50706: b"\1\4\0\0"})
    starts = (
        b"FUJIFILMCCD-RAW 0201",
        b"II*\0\x10\0\0\0CR\2\0",
        b"IIU\0\x08\0\0\0",
        b"\0\0\0\x18ftypcrx \0\0\0\1crx isom",
    )
    for data in (raw.getvalue(), sensor, *(start + bytes(500) for start in starts)):
        with pytest.raises(UnsupportedError, match="x: a camera raw file"):
            signal_from_bytes(data, "x")


def test_cmyk_is_converted_on_request_only() -> None:
    cmyk = Image.fromarray(np.full((4, 4, 4), (0, 255, 255, 0), np.uint8), "CMYK")
    data = saved(cmyk, "TIFF")
    with pytest.raises(UnsupportedError, match=r"x: a CMYK image.*--convert"):
        signal_from_bytes(data, "x")
    with warnings.catch_warnings():
        warnings.simplefilter("error", LossWarning)
        signal = signal_from_bytes(data, "x", convert=True)
    assert signal.header.layout == "rgb" and signal.to_native()[0, 0].tolist() == [255, 0, 0]
    lab = ImageCms.profileToProfile(
        Image.fromarray(RGB), ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), outputMode="LAB"
    )
    assert lab is not None
    converted = signal_from_bytes(saved(lab, "TIFF"), "x", convert=True)
    assert converted.header.layout == "rgb" and converted.meta.icc_profile == b""
    assert np.abs(converted.to_native().astype(int) - RGB).mean() < 12


def test_heic_and_jpeg_xl_name_their_plug_in(monkeypatch: pytest.MonkeyPatch) -> None:
    heic = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(100)
    for data, module, package in (
        (heic, "pillow_heif", "pillow-heif"),
        (b"\xff\x0a" + bytes(100), "pillow_jxl", "pillow-jxl-plugin"),
        (b"\0\0\0\x0cJXL \r\n\x87\n" + bytes(100), "pillow_jxl", "pillow-jxl-plugin"),
    ):
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, module, None)
            with pytest.raises(UnsupportedError, match=f"pip install {package}"):
                signal_from_bytes(data, "x")


def test_heic_with_its_plug_in() -> None:
    heif = pytest.importorskip("pillow_heif")
    image = Image.fromarray(np.kron(RGB, np.ones((16, 16, 1), np.uint8)))
    out = io.BytesIO()
    heif.from_pillow(image).save(out, quality=95)
    signal = signal_from_bytes(out.getvalue(), "x")
    assert signal.header.shape == (96, 144) and np.abs(signal.to_native().astype(int) - np.asarray(image)).mean() < 20


def test_the_metadata_of_a_png_comes_back(tmp_path: Path) -> None:
    chunks = {
        "cICP": b"\x09\x10\x00\x01",
        "gAMA": struct.pack(">I", 100000),
        "cHRM": struct.pack(">8I", 31270, 32900, 70800, 29200, 17000, 79700, 13100, 4600),
        "pHYs": struct.pack(">IIB", 2, 1, 0),
        "tIME": struct.pack(">HBBBBB", 2020, 1, 2, 3, 4, 5),
        "tEXt": b"Title\0A title",
        "iTXt": b"Author\0\0\0\0\0" + "Štěpán".encode(),
        "eXIf": exif_of(1).tobytes()[6:],
    }
    source = with_chunks(saved(Image.fromarray(RGB), "PNG"), **chunks)
    signal = signal_from_bytes(source, "x")
    image = back(signal, tmp_path / "a.png")
    image.load()
    kept = chunks_of((tmp_path / "a.png").read_bytes())
    assert {name: kept.get(name) for name in chunks} == chunks
    assert image.text == {"Title": "A title", "Author": "Štěpán"}  # type: ignore[attr-defined]
    with pytest.warns(LossWarning, match=r"a\.ppm: PPM cannot hold: EXIF, text \(Title, Author\), cICP, gAMA, cHRM"):
        write_signal(signal, tmp_path / "a.ppm")


def test_the_metadata_of_jpeg_and_tiff_comes_back(tmp_path: Path) -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    options = {"icc_profile": profile, "exif": exif_of(6), "xmp": XMP, "dpi": (300, 300), "comment": b"a comment"}
    signal = signal_from_bytes(saved(Image.fromarray(RGB), "JPEG", **options), "x")
    assert signal.meta.text == {"Comment": "a comment"}
    for suffix in (".png", ".jpg", ".tif", ".webp"):
        with warnings.catch_warnings():
            warnings.simplefilter("error" if suffix in (".png", ".jpg") else "ignore", LossWarning)
            back(signal, tmp_path / f"a{suffix}")
        again = read_signal(tmp_path / f"a{suffix}")
        image = Image.open(tmp_path / f"a{suffix}")
        exif = image.getexif()
        assert exif[271] == "A maker" and exif.get_ifd(34665)[36867] == "2020:01:02 03:04:05", suffix
        assert again.meta.icc_profile == profile, suffix
        # Pillow turns the pixels of a TIFF and removes the orientation.
        expected = XMP.replace(b'tiff:Orientation="6"', b"") if suffix == ".tif" else XMP
        assert again.meta.xmp.rstrip(b"\0") == expected, suffix
    geo = ImageFileDirectory_v2()
    geo[33550], geo[270] = (0.5, 0.5, 0.0), "a description"
    tiff = signal_from_bytes(saved(Image.fromarray(RGB), "TIFF", tiffinfo=geo), "x")
    tags: Any = back(tiff, tmp_path / "g.tif")
    assert tags.tag_v2[33550] == (0.5, 0.5, 0.0) and tags.tag_v2[270] == "a description"


def test_metadata_beyond_the_limit_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_metadata, "MAX_BYTES", 1000)
    data = saved(Image.fromarray(RGB), "JPEG", icc_profile=bytes(2000), comment=b"short")
    with pytest.warns(LossWarning, match="x: not kept: colour profile"):
        signal = signal_from_bytes(data, "x")
    assert signal.meta.icc_profile == b"" and signal.meta.text == {"Comment": "short"}


def test_further_channels_of_a_tiff_are_named() -> None:
    tifffile = pytest.importorskip("tifffile")
    out = io.BytesIO()
    tifffile.imwrite(out, np.dstack([RGB, RGB[..., :2]]), photometric="rgb")
    with pytest.warns(LossWarning, match="x: not kept: 2 further channels"):
        signal = signal_from_bytes(out.getvalue(), "x")
    assert np.array_equal(signal.to_native(), RGB)


def test_hostile_metadata_is_written_or_refused(tmp_path: Path) -> None:
    values = np.zeros((2, 2, 3), np.float32)
    header = signal_from_bytes(saved(Image.fromarray(RGB[:2, :2]), "PNG"), "x").header
    metas = [
        SignalMeta(exif=b"II*\0" + bytes(3), exif_orientation=6),
        SignalMeta(exif=b"MM\0*\xff\xff\xff\xff"),
        SignalMeta(chunks={"cHRM": b"", "gAMA": b"1", "IEND": b"", "x": b"", "sBIT": b"\1"}),
        SignalMeta(text={"": "x", "a\0b": "c\0d", "k" * 200: "v" * 5000}, xmp=b"\0\xff"),
        SignalMeta(icc_profile=b"x" * 100_000, exif=exif_of(1).tobytes()[6:] + bytes(70_000)),
    ]
    for number, meta in enumerate(metas):
        for suffix in (".png", ".jpg", ".tif", ".webp", ".bmp", ".ppm"):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", LossWarning)
                write_signal(Signal(values, header, meta), tmp_path / f"{number}{suffix}")
                assert read_signal(tmp_path / f"{number}{suffix}").header.shape == (2, 2)


def test_truncated_files_are_named_by_their_start() -> None:
    avif = saved(Image.fromarray(np.kron(RGB, np.ones((8, 8, 1), np.uint8))), "AVIF")
    with pytest.raises(DataError, match="cannot be read"):
        signal_from_bytes(avif[: len(avif) // 2], "x")
    with pytest.raises(DataError, match="starts like PNG"):
        signal_from_bytes(saved(Image.fromarray(RGB), "PNG")[:6], "x")
    png = bytearray(saved(Image.fromarray(RGB), "PNG"))
    png[60] ^= 1
    with pytest.raises(DataError, match="checksum of its pixels"):
        signal_from_bytes(bytes(png), "x")
    lab = struct.pack("<2sHI H HHII HHII HHII 4x", b"II", 42, 8, 3, 256, 3, 1, 2, 257, 3, 1, 2, 258, 3, 1, 5)
    with pytest.raises(UnsupportedError, match="a TIFF whose samples"):
        signal_from_bytes(lab + bytes(100), "x")
    with pytest.raises(UnsupportedError, match="signed samples"):
        signal_from_bytes(saved(Image.fromarray(np.full((3, 3), -5, np.int32)), "TIFF"), "x")
    tifffile = pytest.importorskip("tifffile")
    out = io.BytesIO()
    tifffile.imwrite(out, np.full((3, 3), 2**32 - 5, np.uint32))
    with pytest.raises(UnsupportedError, match="32-bit samples"):
        signal_from_bytes(out.getvalue(), "x")
