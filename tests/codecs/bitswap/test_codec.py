"""The lossless codecs: every image comes back bit for bit, on every machine, or there is an error."""

from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

import inrcodec
from inrcodec.cli import main
from inrcodec.codecs import prior_store
from inrcodec.codecs.base import CodedEntry, DecodeRequest
from inrcodec.codecs.bitswap import codec as lossless
from inrcodec.codecs.bitswap import messages as picture_messages
from inrcodec.codecs.bitswap import messages as tiling
from inrcodec.codecs.bitswap.prior import BitSwapPrior
from inrcodec.codecs.bitswap.samples import STORED
from inrcodec.encoding import encode_signals
from inrcodec.errors import FormatError, InrcodecError, LimitError, UnsupportedError, UsageError
from inrcodec.limits import Limits
from inrcodec.settings import Settings
from inrcodec.signals.header import SignalHeader
from inrcodec.signals.metadata import SignalMeta
from inrcodec.signals.signal import Signal
from tests.support.tiny_bitswap import BINARY, COLOUR, GRAY, LAYERED, tiny_bitswap

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module", autouse=True)
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder of tiny models under the names of the shipped ones."""
    place = tmp_path_factory.mktemp("priors")
    for config, name in ((COLOUR, "bitswap-colour"), (GRAY, "bitswap-gray"), (LAYERED, "layered"), (BINARY, "binary")):
        (place / f"{name}.safetensors").write_bytes(tiny_bitswap(config).to_bytes())
    before = os.environ.get(prior_store.ENVIRONMENT)
    os.environ[prior_store.ENVIRONMENT] = str(place)
    yield place
    if before is None:
        del os.environ[prior_store.ENVIRONMENT]
    else:
        os.environ[prior_store.ENVIRONMENT] = before


def levels_of(height: int, width: int, channels: int, depth: int = 8, seed: int = 0) -> np.ndarray:
    """Waves and noise, which PNG does not shrink below a message of the tiny models."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:height, :width]
    waves = np.sin(rows / 9.0 + columns / 7.0)[..., None] * rng.uniform(0.2, 0.4, channels)
    values = 0.5 + waves + rng.normal(0, 0.06, (height, width, channels))
    top = 2**depth - 1
    result: np.ndarray = np.rint(values.clip(0, 1) * top).astype(np.uint16 if depth == 16 else np.uint8)
    return result


def signal_of(levels: np.ndarray, **meta: object) -> Signal:
    channels, deep = levels.shape[2], levels.dtype == np.uint16
    layout = {1: "gray", 2: "gray+alpha", 3: "rgb", 4: "rgba"}[channels]
    header = SignalHeader("image", layout, "u16" if deep else "u8", levels.shape[:2], channels)
    values = (levels / np.float32(65535 if deep else 255)).astype(np.float32)
    return Signal(values, header, SignalMeta(16 if deep else 8, **meta))  # type: ignore[arg-type]


def is_stored(data: bytes) -> bool:
    return b"IDAT" in data


@pytest.mark.parametrize("scheme", ["bitswap", "bbans"])
@pytest.mark.parametrize("size", [(1, 1), (1, 7), (3, 2), (20, 31)])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_layouts_and_sizes_come_back(scheme: str, size: tuple[int, int], channels: int) -> None:
    levels = levels_of(*size, channels)
    data = inrcodec.compress(signal_of(levels), codec=scheme)
    assert np.array_equal(inrcodec.decompress(data).to_native(), levels)
    assert inrcodec.open(data).info["codec"] == scheme


def test_values_are_those_of_the_original_bit_for_bit() -> None:
    signal = signal_of(levels_of(24, 24, 3))
    back = inrcodec.decompress(inrcodec.compress(signal, lossless=True))
    assert np.array_equal(back.values.view(np.uint32), signal.values.view(np.uint32))


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_sixteen_bits_come_back(channels: int) -> None:
    levels = levels_of(30, 22, channels, depth=16)
    data = inrcodec.compress(signal_of(levels), lossless=True)
    assert np.array_equal(inrcodec.decompress(data).to_native(), levels)


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.integers(1, 12), st.integers(1, 12), st.sampled_from([1, 3, 4]), st.integers(0, 2**32))
def test_noise_of_any_size_comes_back(height: int, width: int, channels: int, seed: int) -> None:
    levels = np.random.default_rng(seed).integers(0, 256, (height, width, channels)).astype(np.uint8)
    assert np.array_equal(inrcodec.decompress(inrcodec.compress(signal_of(levels), lossless=True)).to_native(), levels)


def test_flat_images_and_palettes_are_stored_when_that_is_smaller() -> None:
    levels = np.zeros((64, 64, 3), np.uint8)
    levels[8:20, 10:50] = (200, 30, 20)
    data = inrcodec.compress(signal_of(levels), lossless=True)
    assert is_stored(data) and len(data) < 200
    assert np.array_equal(inrcodec.decompress(data).to_native(), levels)
    assert not is_stored(inrcodec.compress(signal_of(levels_of(20, 24, 3)), lossless=True))


def test_gray_in_colour_is_coded_once() -> None:
    gray = levels_of(40, 40, 1)
    one = inrcodec.compress(signal_of(gray), lossless=True)
    three = inrcodec.compress(signal_of(np.repeat(gray, 3, axis=2)), lossless=True)
    assert len(three) <= len(one) + 2
    assert np.array_equal(inrcodec.decompress(three).to_native(), np.repeat(gray, 3, axis=2))


def test_profiles_orientation_and_resolution_are_kept() -> None:
    signal = signal_of(levels_of(16, 16, 3), icc_profile=b"a profile", exif_orientation=6, dpi=(72.0, 72.0))
    meta = inrcodec.decompress(inrcodec.compress(signal, lossless=True)).meta
    assert (meta.icc_profile, meta.exif_orientation, meta.dpi) == (b"a profile", 6, (72.0, 72.0))


def test_images_larger_than_a_tile_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiling, "MAX_SIDE", 16)
    levels = levels_of(35, 50, 3)
    assert len(list(tiling.tiles(35, 50))) == 12
    assert np.array_equal(inrcodec.decompress(inrcodec.compress(signal_of(levels), lossless=True)).to_native(), levels)


def test_best_effort_tries_orientations_and_they_come_back() -> None:
    levels = levels_of(26, 17, 3)
    one, best = (inrcodec.compress(signal_of(levels), lossless=True, effort=e) for e in ("default", "best"))
    assert len(best) <= len(one)
    assert np.array_equal(inrcodec.decompress(best).to_native(), levels)


@pytest.mark.parametrize("orientation", range(tiling.ORIENTATIONS))
def test_orientations_are_undone(orientation: int) -> None:
    planes = np.arange(24, dtype=np.uint16).reshape(2, 3, 4)
    turned = tiling.turned(planes, orientation)
    assert np.array_equal(tiling.turned_back(turned.astype(np.uint8), orientation), planes)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_set_goes_into_one_message_and_every_image_comes_back(channels: int) -> None:
    photographs = [np.repeat(levels_of(12, 10, 1, seed=seed), channels, axis=2) for seed in range(9)]
    signals, names = [signal_of(p) for p in photographs], [f"{i}.png" for i in range(9)]
    data = encode_signals(signals, Settings(codec="bitswap", prior="layered"), names).data
    alone = [len(encode_signals([s], Settings(codec="bitswap", prior="layered")).data) for s in signals]
    assert len(data) < sum(alone) - 8 * 24
    with inrcodec.open(data) as opened:
        for number in (8, 0, 4):
            assert np.array_equal(opened.render(entry=number).to_native(), photographs[number])


def test_sets_of_unlike_images_are_coded_one_by_one() -> None:
    photographs = [levels_of(6 + seed, 9, 1, seed=seed) for seed in range(4)]
    data = encode_signals(
        [signal_of(p) for p in photographs], Settings(codec="bitswap", prior="layered"), list("abcd")
    ).data
    with inrcodec.open(data) as opened:
        assert all(np.array_equal(opened.render(entry=i).to_native(), p) for i, p in enumerate(photographs))


def test_groups_of_a_chain_grow_up_to_what_memory_allows() -> None:
    starts = [start for start, _ in tiling.groups(20, 100, 4)]
    assert starts == [0, 1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 15, 18]
    assert list(tiling.groups(3, 10 * tiling.GROUP_POINTS, 1)) == [(0, 1), (1, 2), (2, 3)]


def test_black_and_white_images_have_a_model_of_their_own() -> None:
    levels = (levels_of(20, 20, 1) > 128).astype(np.uint8) * 255
    data = inrcodec.compress(signal_of(levels), codec="bitswap", prior="binary")
    assert np.array_equal(inrcodec.decompress(data).to_native(), levels)
    with pytest.raises(InrcodecError, match="2 levels"):
        inrcodec.compress(signal_of(levels_of(20, 20, 1)), codec="bitswap", prior="binary")


def test_equal_input_gives_equal_bytes_and_they_are_frozen() -> None:
    found = [
        inrcodec.compress(signal_of(levels_of(20, 24, 3)), codec=codec) for codec in ("bitswap", "bitswap", "bbans")
    ]
    assert found[0] == found[1] and not is_stored(found[0])
    digests = [hashlib.sha256(data).hexdigest()[:16] for data in found[1:]]
    assert digests == ["487cd822e974f3cc", "75881c464f55bdf8"]


# Damage.


def test_every_single_byte_change_is_an_error() -> None:
    for channels in (1, 3, 4):
        data = inrcodec.compress(signal_of(levels_of(5, 6, channels)), lossless=True)
        for place in range(len(data)):
            for change in range(1, 256):
                damaged = bytearray(data)
                damaged[place] ^= change
                with pytest.raises(InrcodecError):
                    inrcodec.decompress(bytes(damaged))


def resealed(data: bytes, place: int, change: int) -> bytes:
    damaged = bytearray(data)
    damaged[place] ^= change
    return bytes(damaged[:-4]) + zlib.crc32(bytes(damaged[:-4])).to_bytes(4, "little")


@pytest.mark.parametrize("channels", [1, 3])
def test_a_change_behind_a_new_checksum_never_gives_other_pixels(channels: int) -> None:
    levels = levels_of(6, 5, channels)
    data = inrcodec.compress(signal_of(levels), lossless=True)
    wrong = 0
    for place in range(6, len(data) - 4):
        try:
            back = inrcodec.decompress(resealed(data, place, 37), limits=Limits(max_points=1 << 16)).to_native()
        except InrcodecError:
            continue
        # What the header says beside the levels may differ, the levels may not.
        wrong += not np.array_equal(back.reshape(-1), levels.reshape(-1))
    assert wrong == 0


def test_truncated_messages_are_refused() -> None:
    data = inrcodec.compress(signal_of(levels_of(9, 9, 3)), lossless=True)
    for length in range(len(data)):
        with pytest.raises(InrcodecError):
            inrcodec.decompress(data[:length])


def test_a_stored_image_of_another_size_is_refused() -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (7, 7)).save(buffer, "PNG")
    codec = lossless.BitSwapCodec(tiny_bitswap())
    body = bytes([STORED]) + bytes(4) + buffer.getvalue()
    with pytest.raises(FormatError, match="stored image"):
        codec.decode(CodedEntry(SignalHeader("image", "rgb", "u8", (8, 8), 3), b"", body), DecodeRequest())


def test_a_file_that_asks_for_too_much_is_refused_before_work() -> None:
    data = inrcodec.compress(signal_of(levels_of(30, 30, 3)), lossless=True)
    with pytest.raises(LimitError):
        inrcodec.decompress(data, limits=Limits(max_points=1000))
    with pytest.raises(LimitError, match="multiply-adds"):
        inrcodec.decompress(data, limits=Limits(max_multiply_adds=1000))


def test_what_it_cannot_do_is_said() -> None:
    signal = signal_of(levels_of(8, 8, 3))
    recording = Signal(np.zeros((100, 1), np.float32), SignalHeader("audio", "mono", "pcm_16", (100,), 1, 16000))
    with pytest.raises(UsageError, match="lossless"):
        inrcodec.compress(signal, lossless=True, target_bpp=1.0)
    with pytest.raises(UsageError, match="lossless"):
        inrcodec.compress(signal, lossless=True, target_psnr=40.0)
    with pytest.raises(UsageError, match="not lossless"):
        inrcodec.compress(signal, lossless=True, codec="coin")
    with pytest.raises(UnsupportedError, match="images"):
        inrcodec.compress(recording, lossless=True)
    with pytest.raises(UnsupportedError, match="gray"):
        inrcodec.compress(signal_of(levels_of(8, 8, 1)), lossless=True, prior="bitswap-colour")
    with pytest.raises(UnsupportedError, match="own size"):
        inrcodec.decompress(inrcodec.compress(signal, lossless=True), scale=2.0)


def test_priors_are_checked_when_they_are_read() -> None:
    data = tiny_bitswap().to_bytes()
    assert BitSwapPrior.from_bytes(data).to_bytes() == data
    text = data.replace(tiny_bitswap().known_answer[:8].encode(), b"00000000")
    with pytest.raises(InrcodecError, match="computes the integer networks"):
        BitSwapPrior.from_bytes(text)
    with pytest.raises(FormatError):
        BitSwapPrior.from_bytes(data.replace(b'\\"width\\": 8', b'\\"width\\": 9'))


# Machines and doors.

DECODER = """
import sys, hashlib, torch
torch.set_num_threads(int(sys.argv[2]))
import inrcodec
print(hashlib.sha256(inrcodec.decompress(sys.argv[1]).to_native().tobytes()).hexdigest())
"""
MACHINES: tuple[tuple[dict[str, str], str], ...] = (
    ({"ATEN_CPU_CAPABILITY": "default", "ONEDNN_MAX_CPU_ISA": "SSE41", "MKL_CBWR": "COMPATIBLE"}, "1"),
    ({"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2", "MKL_CBWR": "AVX2"}, "2"),
    ({}, "2"),
)


@pytest.mark.parametrize(("machine", "threads"), MACHINES)
def test_other_instruction_sets_and_threads_give_the_same_pixels(
    machine: dict[str, str], threads: str, tmp_path: Path
) -> None:
    levels = levels_of(70, 90, 3)
    (tmp_path / "a.inr").write_bytes(inrcodec.compress(signal_of(levels), lossless=True))
    done = subprocess.run(
        [sys.executable, "-c", DECODER, str(tmp_path / "a.inr"), threads],
        cwd=ROOT,
        check=True,
        text=True,
        capture_output=True,
        env={**os.environ, **machine},
    )
    assert done.stdout.strip() == hashlib.sha256(levels.tobytes()).hexdigest()


def test_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Image.fromarray(levels_of(33, 20, 3)).save(tmp_path / "scan.png")
    assert main(["compress", str(tmp_path / "scan.png"), "--lossless", "--json"]) == 0
    assert '"codec": "bitswap"' in capsys.readouterr().out
    assert main(["verify", str(tmp_path / "scan.inr"), str(tmp_path / "scan.png"), "--json"]) == 0
    assert '"psnr": null' in capsys.readouterr().out
    assert main(["decompress", str(tmp_path / "scan.inr"), "-o", str(tmp_path / "back.png"), "-q"]) == 0
    assert np.array_equal(np.asarray(Image.open(tmp_path / "back.png")), levels_of(33, 20, 3))
    assert main(["compress", str(tmp_path / "scan.png"), "--lossless", "--codec", "coin", "-f"]) == 2


@pytest.mark.parametrize("channels", [1, 3])
def test_images_side_by_side_are_coded_as_each_alone(channels: int, monkeypatch: pytest.MonkeyPatch) -> None:
    photographs = [levels_of(20, 27, channels, seed=seed) for seed in range(5)]
    signals = [signal_of(p) for p in photographs]
    monkeypatch.setattr(picture_messages, "CHUNK", 2 * 1 << 10)
    prior = tiny_bitswap(COLOUR if channels == 3 else GRAY)
    assert 2 <= lossless.BitSwapCodec(prior).messages.at_once(signals[0].values.shape) < 20
    data = inrcodec.compress(signals, lossless=True)
    with inrcodec.open(data) as opened:
        for number in (0, 2, 4):
            alone = inrcodec.open(inrcodec.compress(signals[number], lossless=True)).container(0)
            assert opened.container(number).payload == alone.payload
            assert np.array_equal(opened.render(entry=number).to_native(), photographs[number])


def test_an_archive_of_gray_and_colour() -> None:
    photographs = [levels_of(9, 9, 1), levels_of(9, 9, 3), np.repeat(levels_of(9, 9, 1), 3, axis=2)]
    for some in (photographs, photographs[1:]):
        with inrcodec.open(inrcodec.compress([signal_of(p) for p in some], lossless=True)) as opened:
            assert all(np.array_equal(opened.render(entry=i).to_native(), p) for i, p in enumerate(some))


def test_command_line_reports_a_share_of_the_chain(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "in").mkdir()
    for seed in range(4):
        Image.fromarray(levels_of(12, 12, 1, seed=seed)[..., 0]).save(tmp_path / "in" / f"{seed}.png")
    options = ["--lossless", "--prior", "layered", "-o", str(tmp_path / "set.inrs"), "--json"]
    assert main(["compress", str(tmp_path / "in"), *options]) == 0
    *each, total = map(json.loads, capsys.readouterr().out.splitlines())
    whole = (tmp_path / "set.inrs").stat().st_size
    assert total["bytes"] == whole and 0 < whole - sum(entry["bytes"] for entry in each) < 60
    assert main(["decompress", str(tmp_path / "set.inrs"), "-o", str(tmp_path / "out"), "-q"]) == 0
    for seed in range(4):
        assert np.array_equal(
            np.asarray(Image.open(tmp_path / "out" / f"{seed}.png")), levels_of(12, 12, 1, seed=seed)[..., 0]
        )


# Shipped models.


def shipped(pattern: str) -> list[Path]:
    return sorted((ROOT / "priors").glob(pattern))


@pytest.mark.parametrize("path", shipped("bitswap-*.safetensors"), ids=lambda path: path.stem)
def test_shipped_models_bring_images_back(path: Path, photograph: np.ndarray) -> None:
    prior = prior_store.load(path)
    assert isinstance(prior, BitSwapPrior) and prior.name == path.stem
    levels = photograph[100:128, 200:228, : prior.channels]
    if prior.config.levels == 2:
        levels = (levels > 128).astype(np.uint8) * 255
    data = inrcodec.compress(signal_of(levels), codec="bitswap", prior=str(path))
    assert np.array_equal(inrcodec.decompress(data, prior=str(path)).to_native(), levels)


@pytest.mark.parametrize("name", ["bitswap-colour", "bitswap-gray"])
def test_shipped_models_are_smaller_than_webp_on_a_photograph(name: str, photograph: np.ndarray) -> None:
    levels = np.ascontiguousarray(photograph[64:192, 128:288])
    if name == "bitswap-gray":
        levels = np.ascontiguousarray(levels[..., 1:2])
    data = inrcodec.compress(signal_of(levels), codec="bitswap", prior=str(ROOT / "priors" / f"{name}.safetensors"))
    webp = io.BytesIO()
    image = Image.fromarray(levels if levels.shape[2] == 3 else levels[..., 0])
    image.convert("RGB").save(webp, "WEBP", lossless=True, quality=100, method=6)
    assert not is_stored(data) and len(data) < len(webp.getvalue())
