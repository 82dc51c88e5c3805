"""What the public functions take: paths, bytes, file objects, arrays, tensors, images, DataArrays and lists of them."""

from __future__ import annotations

import io
import mmap
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import inrcodec
from inrcodec.errors import DataError, LimitError, UnsupportedError, UsageError
from inrcodec.limits import Limits
from inrcodec.signals.signal import Signal

FAST: dict[str, Any] = {"effort": "fast"}


@pytest.fixture(scope="module")
def levels() -> np.ndarray:
    """Return a smooth image of 24 rows and 32 columns, uint8."""
    y, x = np.mgrid[:24, :32]
    return np.stack([8 * x, 10 * y, 4 * x + 5 * y], axis=-1).astype(np.uint8)


@pytest.fixture(scope="module")
def png(levels: np.ndarray) -> bytes:
    """Return the image as the bytes of a PNG file."""
    buffer = io.BytesIO()
    Image.fromarray(levels).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture(scope="module")
def expected(levels: np.ndarray) -> bytes:
    """Return the image as an .inr file."""
    return inrcodec.compress(Signal.from_array(levels), **FAST)


def test_every_form_of_an_image_gives_the_same_file(
    levels: np.ndarray, png: bytes, expected: bytes, tmp_path: Path
) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(png)
    channels_first = torch.from_numpy(np.moveaxis(levels, -1, 0).copy())
    for source in (
        path,
        str(path),
        png,
        bytearray(png),
        memoryview(png),
        io.BytesIO(png),
        levels,
        torch.from_numpy(levels),
        levels / 255,
        Image.fromarray(levels),
        Image.open(path),
    ):
        assert inrcodec.compress(source, **FAST) == expected, type(source)
    assert inrcodec.compress(channels_first, layout="CHW", **FAST) == expected
    assert inrcodec.encode(levels, inrcodec.Settings(effort="fast"), kind="image").data == expected
    with open(path, "rb") as file:
        assert inrcodec.compress(file, **FAST) == expected
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        assert inrcodec.compress(mapped, **FAST) == expected
    for source in (path, png, bytearray(png), memoryview(png), io.BytesIO(png)):
        np.testing.assert_array_equal(inrcodec.read_signal(source).to_numpy(), levels)


def test_every_form_of_a_file_decodes(expected: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.inr"
    path.write_bytes(expected)
    whole = inrcodec.decompress(expected).values
    for source in (path, str(path), bytearray(expected), memoryview(expected), io.BytesIO(expected)):
        np.testing.assert_array_equal(inrcodec.decompress(source).values, whole)
    with open(path, "rb") as file, inrcodec.open(file) as opened:
        assert opened.data == expected


def test_file_objects_are_read_from_their_position(expected: bytes) -> None:
    stream = io.BytesIO(b"header" + expected)
    stream.seek(6)
    assert inrcodec.open(stream).data == expected


def test_archives_mix_all_of_them(levels: np.ndarray, png: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(png)
    with open(path, "rb") as file:
        sources = [path, levels, io.BytesIO(png), file, Image.fromarray(levels), torch.from_numpy(levels)]
        archive = inrcodec.compress(sources, **FAST)
    with inrcodec.open(io.BytesIO(archive)) as opened:
        assert len(opened) == 6
        assert opened.names == ["a.png", "00001", "00002", "00003", "00004", "00005"]
    generator = (row for row in [levels, levels])
    assert len(inrcodec.open(inrcodec.compress(generator, **FAST))) == 2
    batch = torch.from_numpy(np.stack([levels, levels])).permute(0, 3, 1, 2)
    assert len(inrcodec.open(inrcodec.compress(list(batch), layout="CHW", **FAST))) == 2
    with pytest.raises(UsageError, match="entry 1: cannot compress None: expected a path"):
        inrcodec.compress([levels, None], **FAST)


def test_audio_and_fields_in_arrays() -> None:
    wave = 0.3 * np.sin(np.arange(2000) / 9)
    coded = inrcodec.compress(wave, sample_rate=16000, **FAST)
    header = inrcodec.decompress(coded).header
    assert (header.kind, header.sample_rate, header.shape) == ("audio", 16000, (2000,))
    field = np.add.outer(np.arange(24.0), np.arange(32.0))
    assert inrcodec.decompress(inrcodec.compress(field, kind="field", **FAST)).to_numpy().dtype == np.float64


def test_data_arrays_are_fields() -> None:
    xarray = pytest.importorskip("xarray")
    data = xarray.DataArray(np.add.outer(np.arange(24.0), np.arange(32.0)), dims=("y", "x"), name="t")
    for source in (data, data.to_dataset()):
        back = inrcodec.decompress(inrcodec.compress(source, **FAST)).to_xarray()
        assert back.dims == ("y", "x") and back.name == "t"
        assert float(np.abs(back - data).max()) < 5


@pytest.mark.parametrize("source", [None, 5, 2.5, object(), {"a": 1}, {"a": "b.png"}])
def test_other_types_are_told_what_is_accepted(source: Any) -> None:
    with pytest.raises(UsageError, match=r"expected a path, the bytes of a file, .* a Signal, or a list of these"):
        inrcodec.compress(source)
    with pytest.raises(UsageError, match=r"expected a path, the bytes of a file or a binary file object"):
        inrcodec.read_signal(source)
    for function in (inrcodec.decompress, inrcodec.open):
        with pytest.raises(UsageError, match=r"expected the bytes of an \.inr or \.inrs file"):
            function(source)


def test_lists_of_numbers_are_told_what_is_accepted() -> None:
    with pytest.raises(UsageError, match="entry 0: cannot compress a float: expected"):
        inrcodec.compress([0.5, 0.25])
    with pytest.raises(UsageError, match="the list is empty"):
        inrcodec.compress([])


def test_arguments_of_arrays_do_not_change_files(levels: np.ndarray, png: bytes) -> None:
    assert inrcodec.compress(png, kind="image", **FAST)
    with pytest.raises(UsageError, match="expected a signal of kind 'audio', got image"):
        inrcodec.compress(png, kind="audio")
    with pytest.raises(UsageError, match="sample_rate is for arrays"):
        inrcodec.compress(png, sample_rate=8000)
    with pytest.raises(UsageError, match="entry 0: layout is for arrays"):
        inrcodec.compress([Signal.from_array(levels)], layout="HWC")


def test_file_objects_that_cannot_be_read_are_named(png: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("text")
    closed = io.BytesIO(png)
    closed.close()
    with open(tmp_path / "a.txt") as text, open(tmp_path / "b.bin", "wb") as written:
        for source, message in (
            (text, "a.txt: a file object in text mode, expected one opened in mode 'rb'"),
            (io.StringIO("text"), "StringIO: a file object in text mode"),
            (written, "b.bin: a file object that cannot be read"),
            (closed, "BytesIO: cannot be read"),
            (io.BytesIO(), "BytesIO: the file is empty"),
            (b"", "bytes: the file is empty"),
            (b"no signal", "bytes: not an image, audio or field"),
        ):
            with pytest.raises(DataError, match=message) as caught:
                inrcodec.compress(source)
            assert "\n" not in str(caught.value)
    with pytest.raises(LimitError, match="exceeds the limit of 10 bytes"):
        inrcodec.read_signal(io.BytesIO(png), limits=Limits(max_file_bytes=10))


def test_sparse_matrices_and_frames() -> None:
    from scipy import sparse

    with pytest.raises((UsageError, UnsupportedError)) as caught:
        inrcodec.compress(sparse.csr_matrix(np.eye(4)))
    assert "\n" not in str(caught.value)


def test_lossless_arrays_are_kept_or_refused(levels: np.ndarray) -> None:
    for array in (levels, levels[..., 0], levels / 255, levels.astype(np.uint16) * 200):
        back = inrcodec.decompress(inrcodec.compress(array, lossless=True))
        np.testing.assert_allclose(
            back.to_numpy(array.dtype), array, rtol=0, atol=0 if array.dtype.kind == "u" else 1e-6
        )
    between = np.random.default_rng(0).random((16, 16, 3))
    with pytest.raises(UsageError, match="entry 1: lossless coding keeps images of 8 or 16 bits"):
        inrcodec.compress([levels, between], codec="bitswap")


def test_paths_with_null_characters_are_refused() -> None:
    with pytest.raises(DataError, match="null character"):
        inrcodec.compress("a\0b")
