"""M4A, AAC, WebM and other containers by PyAV; and without it, a message that says what to install."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import inrcodec
from inrcodec.errors import DataError, LimitError, LossWarning, UnsupportedError
from inrcodec.limits import Limits
from inrcodec.signals.files import read_signal, signal_from_bytes
from inrcodec.signals.files.audio_containers import container_of
from tests.signals.test_audio_mutants import read_mutants

av = pytest.importorskip("av")
N, RATE = 12000, 48000
CHIRP = (0.3 * np.sin(np.cumsum(np.linspace(0.02, 0.4, N)))).astype(np.float32)


def encoded(container: str, codec: str, *, layout: str = "mono", gain: float = 1.0, **tags: str) -> bytes:
    out = io.BytesIO()
    with av.open(out, "w", format=container) as file:
        stream = file.add_stream(codec, rate=RATE, layout=layout)
        file.metadata.update(tags)
        samples = np.stack([gain * CHIRP] * stream.codec_context.layout.nb_channels)
        frame: Any = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples), format="fltp", layout=layout)
        frame.sample_rate = RATE
        convert = av.AudioResampler(format=stream.codec_context.format, layout=layout, rate=RATE)
        for part in [*convert.resample(frame), *convert.resample(None)]:
            for packet in stream.encode(part):
                file.mux(packet)
        for packet in stream.encode(None):
            file.mux(packet)
    return out.getvalue()


CONTAINERS = [
    ("ipod", "aac", "pcm_16"),
    ("mp4", "aac", "pcm_16"),
    ("mp4", "libopus", "pcm_16"),
    ("webm", "libopus", "pcm_16"),
    ("adts", "aac", "pcm_16"),
    ("mp4", "alac", "pcm_16"),
    ("mov", "pcm_s16le", "pcm_16"),
    ("mov", "pcm_f32le", "float32"),
    ("wv", "wavpack", "pcm_16"),
    ("tta", "tta", "pcm_16"),
]


@pytest.mark.parametrize(("container", "codec", "sample_type"), CONTAINERS)
def test_containers_are_read(container: str, codec: str, sample_type: str) -> None:
    signal = signal_from_bytes(encoded(container, codec), "x")
    header = signal.header
    assert header.layout == "mono" and header.sample_rate == RATE
    assert header.sample_type == sample_type or codec in ("alac", "wavpack", "tta")
    # Encoders of AAC put silence before the audio, and whole frames hold a little after it.
    assert 0 <= header.n_points - N <= 2048 and (codec == "aac" or header.n_points == N)
    if codec != "aac":
        assert np.abs(signal.values[200:-200, 0] - CHIRP[200:-200]).max() < 0.1


def test_tags_and_channels_are_kept(tmp_path: Path) -> None:
    data = encoded("ipod", "aac", layout="5.1", title="Tone", artist="Nobody", album_artist="Somebody")
    with pytest.warns(LossWarning, match="^x: not kept: tag album_artist$"):
        signal = signal_from_bytes(data, "x")
    assert signal.meta.tags == {"title": "Tone", "artist": "Nobody"} and signal.meta.channel_mask == 0x60F
    assert signal.header.channels == 6


def test_loud_audio_keeps_its_scale(tmp_path: Path) -> None:
    path = tmp_path / "loud.m4a"
    path.write_bytes(encoded("ipod", "aac", gain=5.0))
    signal = read_signal(path)
    assert signal.header.sample_type == "float32" and 1.3 < np.abs(signal.values).max() < 1.8
    assert np.abs(inrcodec.decompress(inrcodec.compress(path, effort="fast")).to_native()).max() > 1.2


def test_a_video_is_refused() -> None:
    out = io.BytesIO()
    with av.open(out, "w", format="mp4") as file:
        stream: Any = file.add_stream("mpeg4", rate=5)
        stream.width, stream.height, stream.pix_fmt = 32, 32, "yuv420p"
        for _ in range(3):
            frame = av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24")
            for packet in stream.encode(frame):
                file.mux(packet)
        for packet in stream.encode(None):
            file.mux(packet)
    with pytest.raises(UnsupportedError, match="x: expected audio, got a video"):
        signal_from_bytes(out.getvalue(), "x")


def test_images_in_the_same_container_are_none_of_its_business() -> None:
    assert container_of(b"\0\0\0\x18ftypM4A ") == ("mov", "MP4 or M4A")
    for brand in (b"heic", b"avif", b"mif1"):
        assert container_of(b"\0\0\0\x18ftyp" + brand) == ("", "")


def test_limits_hold() -> None:
    with pytest.raises(LimitError, match="exceeds the limits of 100 samples"):
        signal_from_bytes(encoded("ipod", "aac"), "x", limits=Limits(max_points=100))


@pytest.mark.parametrize(("container", "words"), [("ipod", "MP4 or M4A"), ("webm", "WebM"), ("adts", "AAC")])
def test_the_extra_is_named_where_it_is_missing(container: str, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    data = encoded(container, "libopus" if container == "webm" else "aac")
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(UnsupportedError, match=rf"x: {words}.* files are read by PyAV: install inrcodec\[formats\]"):
        signal_from_bytes(data, "x")


@pytest.mark.filterwarnings("ignore::inrcodec.errors.LossWarning")
@pytest.mark.parametrize(("container", "codec"), [(c, k) for c, k, _ in CONTAINERS])
def test_mutants_raise_errors_of_the_package(container: str, codec: str) -> None:
    read_mutants(encoded(container, codec), range(100), f"{container} {codec}")


def test_truncated_files_are_refused() -> None:
    with pytest.raises(DataError, match="x: the audio cannot be read"):
        signal_from_bytes(encoded("ipod", "aac")[:200], "x")
