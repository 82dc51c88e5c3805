"""Signals to files and back with the shipped priors: rates met, metadata kept, damage refused, any size."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import inrcodec
from examples.demo import sung_vowel
from inrcodec.codecs.base import Codec, Progress
from inrcodec.codecs.hierarchical.effort import HierarchicalEffort
from inrcodec.container.alpha import decode_alpha, encode_alpha
from inrcodec.encoding import Batch, encode_each, encode_signals
from inrcodec.errors import DataError, FormatError, LimitError, PriorError, UnsupportedError, UsageError
from inrcodec.limits import DEFAULT_LIMITS
from inrcodec.settings import Encoded, Settings
from inrcodec.signals.header import SignalHeader
from inrcodec.signals.metadata import SignalMeta
from inrcodec.signals.metrics import audio_psnr, image_psnr, signal_psnr, snr
from inrcodec.signals.signal import Signal


def image(pixels: NDArray[np.uint8], **meta: object) -> Signal:
    layout = {1: "gray", 2: "gray+alpha", 3: "rgb", 4: "rgba"}[pixels.shape[2]]
    header = SignalHeader("image", layout, "u8", pixels.shape[:2], pixels.shape[2])
    return Signal(pixels.astype(np.float32) / np.float32(255), header, SignalMeta(**meta))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def crop() -> Signal:
    from skimage import data

    return image(data.astronaut()[40:136, 170:266])


@pytest.fixture(scope="module")
def coded(crop: Signal) -> bytes:
    return inrcodec.compress(crop, target_bpp=0.6, effort="fast")


def test_a_photograph_comes_back(crop: Signal, coded: bytes) -> None:
    decoded = inrcodec.decompress(coded)
    assert decoded.header == crop.header
    assert signal_psnr(crop, decoded) > 25.0


@pytest.mark.parametrize("bpp", [0.25, 0.6, 1.5])
def test_target_bpp_is_met_and_never_passed(crop: Signal, bpp: float) -> None:
    size = len(inrcodec.compress(crop, target_bpp=bpp, effort="fast"))
    wanted = bpp * 96 * 96 / 8
    assert wanted - 8 - 0.02 * wanted <= size <= wanted


def test_larger_beta_is_a_smaller_file_of_less_quality(crop: Signal) -> None:
    files = [inrcodec.compress(crop, beta=beta, effort="fast") for beta in (1e-2, 2e-3, 4e-4)]
    quality = [signal_psnr(crop, inrcodec.decompress(data)) for data in files]
    assert len(files[0]) < len(files[1]) < len(files[2])
    assert quality[0] < quality[1] < quality[2]


@pytest.mark.parametrize("wanted", [{"beta": 2e-3}, {"target_bpp": 0.6}, {}])
def test_best_keeps_the_better_file_of_two_codecs(
    crop: Signal, wanted: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from inrcodec import encoding as operations
    from inrcodec.codecs.grids.effort import GRID_STEPS
    from inrcodec.codecs.hierarchical.effort import HIERARCHICAL_EFFORTS

    monkeypatch.setitem(GRID_STEPS, "best", 8)
    monkeypatch.setitem(HIERARCHICAL_EFFORTS, "best", HierarchicalEffort("best", 6))
    told: list[int] = []
    best = encode_signals([crop], Settings(effort="best", **wanted), plan=told.append)
    # After so few steps that is the default codec's.
    alone = encode_signals([crop], Settings(effort="best", codec="hierarchical", **wanted))
    assert (best.codec, best.data) == ("hierarchical", alone.data)
    if not wanted:
        assert encode_each([crop], Settings(effort="best"))[0].data == best.data
    # Six trial steps, six annealing steps for each of two blocks, eight steps of grids.
    assert told == [6 + 2 * 6 + 8]
    usual = operations._encode

    def spoiled(batch: Batch, settings: Settings, codec: Codec, progress: Progress) -> Encoded:
        if codec.name == "hierarchical":
            settings = replace(settings, beta=1e-5, target_bpp=None)
        return usual(batch, settings, codec, progress)

    monkeypatch.setattr(operations, "_encode", spoiled)
    monkeypatch.setitem(GRID_STEPS, "best", 60)
    other = encode_signals([crop], Settings(effort="best", **wanted))
    assert other.codec == "grids"
    assert signal_psnr(crop, inrcodec.decompress(other.data)) > 20.0


@pytest.mark.parametrize(
    "asked", [{"prior": "photographs"}, {"codec": "hierarchical"}, {"coder": "round"}, {"target_psnr": 25.0}]
)
def test_best_is_one_codec_where_more_is_asked_for(crop: Signal, asked: dict[str, object]) -> None:
    from inrcodec.encoding import candidates

    best = Settings(effort="best", **asked)  # type: ignore[arg-type]
    assert [each.codec for each in candidates(crop, Settings(effort="best"))] == ["auto", "grids"]
    assert candidates(crop, best) == [best]
    assert len(candidates(image(np.zeros((96, 96, 1), np.uint8)), Settings(effort="best"))) == 1


@pytest.mark.parametrize("wanted", [{}, {"beta": 1e-3}, {"target_bpp": 1.0}, {"target_psnr": 30.0}])
def test_small_images_take_the_better_of_two_priors(crop: Signal, wanted: dict[str, float]) -> None:
    piece = image(crop.to_native()[:40, :40])
    thumbnail = image(crop.to_native()[::3, ::3])
    settings = Settings(effort="fast", **wanted)  # type: ignore[arg-type]
    together = encode_each([piece, thumbnail], settings)
    for signal, encoded in zip((piece, thumbnail), together, strict=True):
        assert encode_signals([signal], settings).data == encoded.data
        files = [encode_signals([signal], replace(settings, prior=name)) for name in ("images32", "photographs")]
        if "target_psnr" in wanted:
            assert len(encoded.data) == min(len(file.data) for file in files)
        if "beta" in wanted:
            costs = [
                8 * len(each.data) / signal.header.n_points
                + 10 ** (-0.1 * signal_psnr(signal, inrcodec.decompress(each.data))) / 1e-3
                for each in (encoded, *files)
            ]
            assert costs[0] == min(costs[1:])
    assert together[0].prior == "photographs"


def test_target_psnr_is_met(crop: Signal) -> None:
    data = inrcodec.compress(crop, target_psnr=27.5, effort="fast")
    assert signal_psnr(crop, inrcodec.decompress(data)) == pytest.approx(27.5, abs=0.1)


@pytest.mark.parametrize("wanted", [{"beta": 1e-5}, {"target_bpp": 5.4}, {"target_psnr": 42.4}])
def test_the_next_prior_goes_on_where_the_rates_of_the_first_end(crop: Signal, wanted: dict[str, float]) -> None:
    settings = Settings(effort="fast", **wanted)  # type: ignore[arg-type]
    encoded = encode_signals([crop], settings)
    assert encoded.prior == "photographs-high"
    assert [each.data for each in encode_each([crop], settings)] == [encoded.data]
    psnr = signal_psnr(crop, inrcodec.decompress(encoded.data))
    if "target_psnr" in wanted:
        assert psnr == pytest.approx(42.4, abs=0.1)
    if "target_bpp" in wanted:
        assert 0.97 * 5.4 < 8 * len(encoded.data) / crop.header.n_points <= 5.4
    named = encode_signals([crop], Settings(effort="fast", prior="photographs", beta=1e-5))
    assert named.prior == "photographs" and signal_psnr(crop, inrcodec.decompress(named.data)) < psnr


def test_same_input_same_bytes(crop: Signal, coded: bytes) -> None:
    assert inrcodec.compress(crop, target_bpp=0.6, effort="fast") == coded


def test_overhead_beside_the_payload_is_at_most_24_bytes(coded: bytes) -> None:
    with inrcodec.open(coded) as file:
        assert len(coded) - file.info["payload_bytes"] <= 24


def test_every_size_shows_the_same_image(crop: Signal, coded: bytes) -> None:
    native = inrcodec.decompress(coded)
    assert np.array_equal(inrcodec.decompress(coded, scale=1.0).values, native.values)
    double = inrcodec.decompress(coded, scale=2.0)
    assert double.header.shape == (192, 192)
    back = double.values.reshape(96, 2, 96, 2, 3).mean(axis=(1, 3))
    assert image_psnr(back, native.values) > 32.0
    half = inrcodec.decompress(coded, size=(48, 48))
    assert image_psnr(half.values, native.values.reshape(48, 2, 48, 2, 3).mean(axis=(1, 3))) > 32.0
    assert inrcodec.decompress(coded, size=(31, 77)).header.shape == (31, 77)
    requests: list[dict[str, Any]] = [
        {"scale": 0.0},
        {"scale": 17.0},
        {"size": (3,)},
        {"size": (0, 4)},
        {"scale": 2.0, "size": (4, 4)},
    ]
    for wrong in requests:
        with pytest.raises(UsageError):
            inrcodec.decompress(coded, **wrong)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("shape", [(1, 1), (5, 40), (33, 17)])
def test_every_layout_and_odd_size(channels: int, shape: tuple[int, int]) -> None:
    pixels = np.random.default_rng(0).integers(60, 200, (*shape, channels), np.uint8)
    pixels[..., : min(channels, 3)] = 128 + 30 * (np.arange(shape[1]) % 8 > 3)[:, None]
    signal = image(pixels)
    decoded = inrcodec.decompress(inrcodec.compress(signal, effort="fast"))
    assert decoded.header == signal.header
    assert np.isfinite(decoded.values).all()
    if channels in (2, 4):
        assert np.array_equal(decoded.to_native()[..., -1], pixels[..., -1])  # alpha is exact


def test_16_bit_gray() -> None:
    ramp = np.linspace(0.2, 0.7, 40 * 40, dtype=np.float32).reshape(40, 40, 1)
    signal = Signal(ramp, SignalHeader("image", "gray", "u16", (40, 40), 1), SignalMeta(bit_depth=16))
    decoded = inrcodec.decompress(inrcodec.compress(signal, effort="fast"))
    assert decoded.to_native().dtype == np.uint16 and decoded.meta.bit_depth == 16
    assert image_psnr(signal.values, decoded.values, 16) > 25


def test_metadata_comes_back(crop: Signal) -> None:
    signal = replace(crop, meta=SignalMeta(icc_profile=bytes(range(200)), exif_orientation=6, dpi=(300.0, 300.0)))
    decoded = inrcodec.decompress(inrcodec.compress(signal, effort="fast"))
    assert decoded.meta == signal.meta


@pytest.mark.parametrize(("channels", "samples", "rate"), [(1, 16000, 16000), (2, 5001, 44100), (1, 1, 8000)])
def test_audio_clips(channels: int, samples: int, rate: int) -> None:
    voice = sung_vowel(max(samples / rate, 0.01), rate)[:samples]
    values = np.stack([voice * (1 - 0.5 * c) for c in range(channels)], axis=1)
    header = SignalHeader("audio", {1: "mono", 2: "stereo"}[channels], "pcm_16", (samples,), channels, rate)
    signal = Signal(values, header)
    data = inrcodec.compress(signal, effort="fast")
    decoded = inrcodec.decompress(data)
    assert decoded.header == header
    if samples > 1000:
        assert snr(signal.values, decoded.values) > 3.0
        assert inrcodec.decompress(data, scale=2.0).header.sample_rate == 2 * rate
    assert audio_psnr(signal.values, decoded.values) > 25.0


def test_target_kbps() -> None:
    signal = Signal(sung_vowel(1.0, 16000)[:, None], SignalHeader("audio", "mono", "pcm_16", (16000,), 1, 16000))
    size = len(inrcodec.compress(signal, target_kbps=16, effort="fast"))
    assert 0.97 * 2000 <= size <= 2000
    with pytest.raises(UsageError):
        inrcodec.compress(signal, target_kbps=0.1, effort="fast")


def test_loud_and_soft_audio_clips_are_coded_alike() -> None:
    """The same voice 20 dB louder or 30 dB softer keeps its SNR at equal bytes."""
    header = SignalHeader("audio", "mono", "pcm_16", (8000,), 1, 16000)
    voice = sung_vowel(0.5, 16000)[:, None]
    found = []
    for gain in (0.03, 0.3, 3.0):
        signal = Signal(voice * np.float32(gain), header)
        decoded = inrcodec.decompress(inrcodec.compress(signal, target_kbps=24, effort="fast"))
        found.append(snr(signal.values, decoded.values))
    assert min(found) > 8.0 and max(found) - min(found) < 4.0, found


@pytest.mark.parametrize("shape", [(300,), (40, 50), (3, 33, 35)])
def test_fields_of_one_two_and_three_axes(shape: tuple[int, ...]) -> None:
    grid = np.indices(shape).astype(np.float64)
    values = (0.5 + 0.4 * np.sin(grid.sum(axis=0) / 9.0)).astype(np.float32)[..., None]
    header = SignalHeader("field", "field", "float64", shape, 1)
    meta = SignalMeta(offset=250.0, scale=40.0, variable="t2m", attributes={"units": "K"}, source_format="npy")
    beta = 1e-3 if len(shape) > 1 else 2e-5  # the prior of curves is that of speech, whose values are small
    decoded = inrcodec.decompress(inrcodec.compress(Signal(values, header, meta), beta=beta, effort="fast"))
    assert decoded.header == header and decoded.meta == meta
    error = decoded.to_native() - (250.0 + 40.0 * values[..., 0])
    assert decoded.to_native().dtype == np.float64
    assert np.sqrt(np.mean(error**2)) < 4.0  # kelvin, of a range of 40


def test_archives_decode_entry_by_entry(crop: Signal) -> None:
    signals = [image(np.rint(crop.values * 255).astype(np.uint8)[i : i + 32, i : i + 32]) for i in range(0, 60, 10)]
    data = inrcodec.compress(signals, target_bpp=1.5, effort="fast")
    with inrcodec.open(data) as file:
        assert file.is_archive and len(file) == 6
        assert file.names[2] == "00002"
        for i, signal in enumerate(signals):
            assert signal_psnr(signal, file.render(entry=i)) > 20.0
        overhead = len(data) - file.payload_bytes
        assert overhead <= 50 + 2 * len(signals)
    assert np.array_equal(inrcodec.decompress(data, entry="00003").values, inrcodec.decompress(data, entry=3).values)
    with pytest.raises(UsageError):
        inrcodec.decompress(data, entry="other")


def test_damage_is_refused_and_never_an_image(coded: bytes) -> None:
    for position in range(0, len(coded), 11):
        changed = bytearray(coded)
        changed[position] ^= 0x20
        with pytest.raises((FormatError, LimitError)):
            inrcodec.decompress(bytes(changed))
    for cut in range(0, len(coded), 37):
        with pytest.raises(FormatError):
            inrcodec.decompress(coded[:cut])


def test_resealed_damage_gives_a_named_error_or_some_image(coded: bytes) -> None:
    """With a right checksum anything may be in the payload: no crash, no foreign exception."""
    import zlib

    rng = np.random.default_rng(0)
    for _ in range(60):
        changed = bytearray(coded[:-4])
        for position in rng.integers(6, min(60, len(changed)), 2):
            changed[position] = rng.integers(256)
        sealed = bytes(changed) + zlib.crc32(bytes(changed)).to_bytes(4, "little")
        try:
            assert np.isfinite(
                inrcodec.decompress(sealed, limits=replace(DEFAULT_LIMITS, max_points=1 << 20)).values
            ).all()
        except DataError:
            continue


def test_a_wrong_prior_is_named(coded: bytes) -> None:
    with inrcodec.open(coded) as file:
        identity = file.info["prior"]
    with pytest.raises(FormatError, match=identity):
        inrcodec.decompress(coded, prior="combiner-images32")
    changed = bytearray(coded[:-4])
    changed[6] ^= 1
    import zlib

    unknown = bytes(changed) + zlib.crc32(bytes(changed)).to_bytes(4, "little")
    with pytest.raises(PriorError, match=bytes(changed[6:14]).hex()):
        inrcodec.decompress(unknown)


def test_limits_hold_before_work_begins(crop: Signal, coded: bytes) -> None:
    blocks = inrcodec.compress(crop, codec="combiner", beta=1e-2, effort="fast")
    with pytest.raises(LimitError):
        inrcodec.decompress(coded, limits=replace(DEFAULT_LIMITS, max_points=96 * 95))
    with pytest.raises(LimitError):
        inrcodec.decompress(blocks, limits=replace(DEFAULT_LIMITS, max_blocks=3))
    with pytest.raises(LimitError):
        inrcodec.decompress(coded, limits=replace(DEFAULT_LIMITS, max_multiply_adds=1000))
    with pytest.raises(LimitError):
        inrcodec.decompress(coded, size=(1 << 16, 1 << 16))


def test_options_that_cannot_be_are_refused(crop: Signal) -> None:
    for wrong in (
        {"target_bpp": 0.5, "beta": 1e-3},
        {"target_bpp": -1.0},
        {"beta": float("nan")},
        {"codec": "jpeg"},
        {"effort": "none"},
        {"target_kbps": 10.0},
    ):
        with pytest.raises(UsageError):
            inrcodec.compress(crop, **wrong)
    with pytest.raises(UsageError):
        inrcodec.compress([])
    with pytest.raises(PriorError):
        inrcodec.compress(crop, prior="nothing")
    with pytest.raises(UnsupportedError):
        inrcodec.compress(crop, prior="combiner-speech16k")
    assert Settings().effort == "default"


def test_alpha_is_exact_and_bounded() -> None:
    levels = np.random.default_rng(1).integers(0, 256, (7, 9)).astype(np.float32) / np.float32(255)
    data = encode_alpha(levels, 8)
    assert np.array_equal(np.rint(decode_alpha(data, (7, 9), 8) * 255), np.rint(levels * 255))
    for wrong in (data[:-3], data + b"x", b"", encode_alpha(np.ones((99, 99), np.float32), 8)):
        with pytest.raises(FormatError):
            decode_alpha(wrong, (7, 9), 8)


@pytest.mark.parametrize("settings", [Settings(effort="fast"), Settings(beta=0.01), Settings(target_bpp=8.0)])
def test_signals_of_any_kind_side_by_side_are_what_they_are_alone(settings: Settings) -> None:
    """Shapes that are padded to one, colour and gray, with alpha, audio clips of two loudnesses, a field."""
    from skimage import data

    pixels = data.astronaut()
    photographs = [pixels[:16, :14], pixels[40:56, 90:104], pixels[:14, :16], pixels[30:46, :16, :1], pixels[:16, :16]]
    with_alpha = np.concatenate([pixels[:16, :16], pixels[60:76, :16, :1]], axis=2)
    tone = np.sin(np.arange(1024, dtype=np.float32) / 9)[:, None]
    recording = SignalHeader("audio", "mono", "pcm_16", (1024,), 1, 16000)
    signals = [image(photograph) for photograph in (*photographs, with_alpha)]
    signals += [Signal(np.float32(loud) * tone, recording) for loud in (0.5, 0.02, 0.5)]
    wave = np.add.outer(np.sin(np.arange(24) / 5), np.cos(np.arange(20) / 7)).astype(np.float32)[..., None]
    signals.append(Signal(wave, SignalHeader("field", "field", "float32", (24, 20), 1)))
    if settings.has_target:
        signals = signals[:5]
    together = encode_each(signals, settings)
    for signal, found in zip(signals, together, strict=True):
        assert found == encode_signals([signal], settings)
