"""Files from strangers: whatever the bytes, the outcome is a signal or one of the package's own errors, soon and within
a bound of memory. The long runs are ``make fuzz`` and ``fuzz/mutants.py``; here is a slice of them, and findings.
"""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import io
import json
import os
import re
import subprocess
import sys
import tracemalloc
import warnings
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from PIL.TiffImagePlugin import ImageFileDirectory_v2
from scipy.io import netcdf_file

import inrcodec
import inrcodec.pillow
from inrcodec.codecs import prior_store
from inrcodec.codecs.base import CodedEntry, DecodeRequest
from inrcodec.codecs.bitswap.codec import BitSwapCodec
from inrcodec.codecs.bitswap.prior import BitSwapPrior
from inrcodec.codecs.bitswap.samples import CRC_BYTES, STORED
from inrcodec.codecs.bitswap.samples import GRAY as GRAY_BIT
from inrcodec.codecs.coinpp.prior import CoinPPPrior
from inrcodec.codecs.combiner.codec import CombinerCodec
from inrcodec.codecs.combiner.prior import CombinerPrior
from inrcodec.codecs.hierarchical.config import HierarchicalConfig, LevelConfig
from inrcodec.codecs.hierarchical.prior import HierarchicalPrior
from inrcodec.codecs.prior_file import MAX_PRIOR_BYTES
from inrcodec.codecs.registry import codec_ids
from inrcodec.coding.bits import write_varint
from inrcodec.container.framing import NO_PRIOR, seal, write_preamble
from inrcodec.container.inr import EXTRA, Container, Section, pack
from inrcodec.container.inrs import ArchiveReader
from inrcodec.container.signal_header import write_header
from inrcodec.decoding import coded_entry
from inrcodec.errors import DataError, FormatError, LimitError, UnsupportedError
from inrcodec.limits import DEFAULT_LIMITS, Limits
from inrcodec.nn.exact import ExactConv
from inrcodec.signals.files import read_signal, signal_from_bytes, write_signal
from inrcodec.signals.header import SignalHeader
from inrcodec.signals.metadata import SignalMeta
from inrcodec.signals.signal import Signal

FUZZ = Path(__file__).resolve().parent.parent / "fuzz"
PRIORS = FUZZ / "corpus" / "priors"
FIELD = SignalHeader("field", "field", "float32", (2, 4), 1)
GRAY = SignalHeader("image", "gray", "u8", (8, 8), 1)


@pytest.fixture(autouse=True)
def _overflow_is_an_error() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        yield


def child(*arguments: str, text: str = "") -> subprocess.CompletedProcess[str]:
    """Python in a process of its own, in the folder of the fuzz targets."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, "-W", "ignore::UserWarning", *arguments],
        cwd=FUZZ,
        input=text,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )


# --- a slice of the long runs -----------------------------------------------------------------------------------------


def test_mutants_are_refused_or_decoded(tmp_path: Path) -> None:
    """Run mutants of every target, truncations of all golden files and all values of some of their bytes.

    Memory is bounded by RLIMIT_AS, time by an alarm (``fuzz/running.py``).
    """
    ended = child(
        "mutants.py",
        "all",
        "exhaustive",
        "--count",
        "60",
        "--seed",
        "11",
        "--files",
        "20",
        "--step",
        "131",
        "--findings",
        str(tmp_path),
    )
    lines = [json.loads(line) for line in ended.stdout.splitlines()]
    assert [line["findings"] for line in lines] == [[]] * 16, ended.stdout
    assert ended.returncode == 0, ended.stderr[-2000:]
    by_target = {line["target"]: line for line in lines}
    assert by_target["exhaustive"]["accepted"] == 0 < by_target["exhaustive"]["runs"]
    assert min(line["accepted"] for name, line in by_target.items() if name != "exhaustive") > 0


WATCHED = """
import sys, time
import numpy as np
import running
running.SECONDS = 0.3
running.watch()
runner = running.Runner("planted", lambda data: {b"crash": crash, b"hang": hang, b"memory": memory}[data]())
def crash(): return 1 // 0
def hang():
    while True: time.sleep(0.01)
def memory(): return bool(np.ones(1 << 28).sum())
running.bound_memory()
for data in (b"crash", b"hang", b"memory"): runner(data)
print(*sorted(f.kind for f in runner.findings.values()))
"""


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is bounded where /proc tells what is used")
def test_the_harness_sees_crashes_hangs_and_memory() -> None:
    ended = child("-", text=WATCHED)
    assert ended.stdout.split() == ["Hang", "MemoryError", "ZeroDivisionError"] or ended.stdout.split() == [
        "Hang",
        "_ArrayMemoryError",
        "ZeroDivisionError",
    ], ended.stderr[-2000:]


def test_seeds_are_what_their_script_makes() -> None:
    """The corpus opens under its priors, and every codec has files in it."""
    held = {prior_store.load(path).id for path in PRIORS.glob("*.safetensors")}
    codecs = set()
    for path in (FUZZ / "corpus" / "files").iterdir():
        with inrcodec.open(path) as opened:
            container = opened.container(0)
            assert container.prior_id in held or container.prior_id == NO_PRIOR
            codecs.add(container.codec_id)
    assert codecs == set(codec_ids().values())


# --- metadata ---------------------------------------------------------------------------------------------------------


def extra_of(**fields: Any) -> bytes:
    return b"\x01" + zlib.compress(json.dumps(fields).encode())


def even(count: int, start: float = 0.0, step: float = 1.0, kind: str = "<f8") -> dict[str, Any]:
    return {"type": kind, "shape": [count], "start": start, "step": step}


def test_arrays_of_metadata_share_one_limit() -> None:
    """A hundred bytes of text stand for as many arrays of 16 MB as there are names."""
    million = even(1_000_000)
    for fields in (
        {"dims": list("abc"), "coordinates": dict.fromkeys("abc", million)},
        {"attributes": dict.fromkeys("abc", million)},
        {"coordinate_attributes": {"x": dict.fromkeys("abc", million)}},
    ):
        tracemalloc.start()
        with pytest.raises(LimitError, match="arrays of the extra metadata exceed"):
            SignalMeta.from_extra(extra_of(**fields), 8)
        assert tracemalloc.get_traced_memory()[1] < 40e6
        tracemalloc.stop()
    small = dataclasses.replace(DEFAULT_LIMITS, max_metadata_bytes=1000)
    with pytest.raises(LimitError):
        SignalMeta.from_extra(extra_of(attributes={"a": even(200)}), 8, small)


@pytest.mark.parametrize(
    "fields",
    [
        {"attributes": {"a": even(3, 1e308, 1e308)}},
        {"attributes": {"a": even(3, 1e39, 1.0, "<f4")}},
        {"attributes": {"a": even(3, 0.0, 1e300, "<i4")}},
        {"attributes": {"a": even(2, 2.0**63, 0.0, "<i8")}},
        {"attributes": {"a": {"type": "<f8", "shape": [float("inf")], "data": ""}}},
        {"attributes": {"a": {"type": "<f8", "shape": [-1], "data": ""}}},
        {"attributes": {"a": None}},
        {"attributes": {"a": [1, 2]}},
        {"orientation": 0},
        {"orientation": 1 << 40},
        {"orientation": float("inf")},
        {"orientation": "6"},
        {"dpi": [72.0, -1.0]},
        {"dpi": [float("inf"), 72.0]},
        {"dpi": [72.0]},
        {"affine": [float("nan"), 1.0]},
        {"affine": [10**400, 1.0]},
    ],
)
def test_metadata_that_cannot_be(fields: dict[str, Any]) -> None:
    with pytest.raises(FormatError, match="corrupt extra metadata"):
        SignalMeta.from_extra(extra_of(**fields), 8)


@pytest.mark.parametrize(
    "fields",
    [
        {"dims": ["x"]},
        {"dims": ["x", "x"]},
        {"dims": ["a", "b", "c"]},
        {"coordinates": {"x": even(4)}},
        {"dims": ["y", "x"], "coordinates": {"x": even(5)}},
        {"dims": ["y", "x"], "coordinates": {"z": even(4)}},
        {"dims": ["y", "x"], "coordinates": {"x": {"type": "|u1", "shape": [4, 1], "data": "AAAAAA=="}}},
    ],
)
def test_metadata_that_do_not_fit_the_signal(fields: dict[str, Any]) -> None:
    values = np.zeros((2, 4, 1), np.float32)
    for size in ((2, 4, 1), (3, 5, 1)):
        with pytest.raises(FormatError, match="does not fit"):
            Signal.from_parts(FIELD, extra_of(**fields), np.resize(values, size))
    with pytest.raises(DataError, match="does not fit"):
        Signal(values, FIELD, SignalMeta.from_extra(extra_of(**fields), 8))


def test_metadata_are_refused_before_anything_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("inrcodec.codecs.coin.codec.CoinCodec.decode", lambda *given, **named: pytest.fail("decoded"))
    source = Signal(np.full((8, 8, 1), 0.5, np.float32), GRAY)
    good = inrcodec.compress(source, codec="coin", effort="fast", target_bpp=9.0)
    container = inrcodec.open(good).container()
    bad = dataclasses.replace(container, sections=(Section(EXTRA, b"\x01nothing"),))
    with pytest.raises(FormatError, match="extra metadata"):
        inrcodec.decompress(pack(bad))
    with pytest.raises(OSError, match="cannot identify"), Image.open(io.BytesIO(pack(bad)), formats=["INR"]):
        pass


@pytest.mark.parametrize("kind", ["S1", "?", "f2"])
def test_arrays_that_could_not_be_read_back_are_not_written(kind: str) -> None:
    with pytest.raises(DataError, match="cannot be kept"):
        SignalMeta(attributes={"a": np.zeros(3, kind)}).extra_to_bytes()


@pytest.mark.parametrize("kind", ["float16", "float32", "int64", "uint64", "int8"])
def test_values_out_of_the_range_of_their_type_are_cut(kind: str) -> None:
    meta = SignalMeta(offset=1e300, scale=1e308)
    values = np.array([[-3e5], [0.0], [3e5]], np.float32)
    found = Signal(values, SignalHeader("field", "field", kind, (3,), 1), meta).to_native()
    bounds: Any = np.iinfo(kind) if "int" in kind else np.finfo(kind)
    assert found.dtype == kind and found[0] == bounds.min and float(found[2]) <= float(bounds.max)
    assert float(found[2]) >= 0.999 * float(bounds.max)


# --- writing what a stranger has named --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "meta",
    [
        SignalMeta(attributes={"data": "x"}),
        SignalMeta(attributes={"dimensions": "x"}),
        SignalMeta(attributes={"n": 10**30}),
        SignalMeta(variable="\u4e2d"),
        SignalMeta(dims=("\u4e2d", "x")),
    ],
)
def test_netcdf_does_not_keep_every_name(tmp_path: Path, meta: SignalMeta) -> None:
    signal = Signal(np.zeros((2, 4, 1), np.float32), FIELD, meta)
    with pytest.raises(UnsupportedError, match="NetCDF"):
        write_signal(signal, tmp_path / "a.nc")
    write_signal(signal, tmp_path / "a.npy")
    assert [path.name for path in tmp_path.iterdir()] == ["a.npy"]


def test_images_and_audio_clips_that_a_format_does_not_keep(tmp_path: Path) -> None:
    wide = Signal(np.zeros((1, 17_000, 1), np.float32), SignalHeader("image", "gray", "u8", (1, 17_000), 1))
    fast = Signal(np.zeros((3, 1), np.float32), SignalHeader("audio", "mono", "pcm_16", (3,), 1, 2**31 - 1))
    for signal, name in ((wide, "a.webp"), (fast, "a.flac")):
        with pytest.raises(DataError):
            write_signal(signal, tmp_path / name)
    fine = Signal(np.zeros((8, 8, 1), np.float32), GRAY, SignalMeta(dpi=(1e9, 1e9)))
    for suffix in ("png", "jpg", "tif", "bmp"):
        write_signal(fine, tmp_path / f"b.{suffix}")
        assert read_signal(tmp_path / f"b.{suffix}").header.shape == (8, 8)


# --- reading what is to be compressed ---------------------------------------------------------------------------------


def npy(head: str, body: bytes = b"") -> bytes:
    text = head.encode().ljust(118) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + body


def test_arrays_that_are_not_what_they_say() -> None:
    promise = "{'descr': '<f8', 'fortran_order': False, 'shape': (200000000,), }"
    tracemalloc.start()
    with pytest.raises(DataError, match="too short"):
        signal_from_bytes(npy(promise), "x")
    assert tracemalloc.get_traced_memory()[1] < 1e6
    tracemalloc.stop()
    for head in (promise + " (", "(" * 110, promise.replace("200000000", "9" * 60), "{'descr': ["):
        with pytest.raises(DataError, match=r"^x: "):
            signal_from_bytes(npy(head), "x")
    signalling = np.array([0x7FA00000], "<u4").tobytes()
    with pytest.raises(DataError, match="not finite"):
        signal_from_bytes(npy("{'descr': '<f4', 'fortran_order': False, 'shape': (1,), }", signalling), "x")


def test_a_profile_that_is_a_number_takes_no_memory() -> None:
    """Tag 34675 of a TIFF as a 32-bit number: bytes(number) would be so many zeros."""
    buffer, tags = io.BytesIO(), ImageFileDirectory_v2()
    tags.tagtype[34675] = 4
    tags[34675] = 0x30000000
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(buffer, "TIFF", tiffinfo=tags)
    assert Image.open(io.BytesIO(buffer.getvalue())).info["icc_profile"] == 0x30000000
    tracemalloc.start()
    assert signal_from_bytes(buffer.getvalue(), "x").meta.icc_profile == b""
    assert tracemalloc.get_traced_memory()[1] < 4e6
    tracemalloc.stop()


def test_postscript_is_not_run() -> None:
    text = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 4 4\n%%EndComments\nshowpage\n%%EOF\n"
    with pytest.raises(UnsupportedError, match="programs"):
        signal_from_bytes(text, "x")


def test_coordinates_that_are_not_finite(tmp_path: Path) -> None:
    with netcdf_file(tmp_path / "a.nc", "w") as out:
        for name, values in (("lat", np.arange(2.0)), ("lon", np.array([0.0, np.inf, np.nan, 1e308]))):
            out.createDimension(name, len(values))
            out.createVariable(name, "f8", (name,))[:] = values
        out.createVariable("t", "f4", ("lat", "lon"))[:] = np.arange(8.0).reshape(2, 4)
    assert read_signal(tmp_path / "a.nc").header.periodic == (False, False)


# --- priors -----------------------------------------------------------------------------------------------------------


def changed(name: str, **changes: Any) -> bytes:
    """A tiny prior with other fields in its configuration."""
    data = (PRIORS / f"{name}.safetensors").read_bytes()
    end = 8 + int.from_bytes(data[:8], "little")
    description = json.loads(data[8:end])
    head = json.loads(description["__metadata__"]["inrcodec"])
    (head["config"] if "format" not in changes else head).update(changes)
    description["__metadata__"]["inrcodec"] = changes.get("text") or json.dumps(head)
    text = json.dumps(description).encode()
    return len(text).to_bytes(8, "little") + text + data[end:]


READERS = {
    "combiner-image": CombinerPrior,
    "hierarchical-image": HierarchicalPrior,
    "coinpp-image": CoinPPPrior,
    "lossless-gray": BitSwapPrior,
}


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("combiner-image", {"text": "[" * 5000}),
        ("combiner-image", {"features": 10.0}),
        ("combiner-image", {"hidden": True}),
        ("combiner-image", {"channels": float("inf")}),
        ("combiner-image", {"patch_shape": [float("inf"), 8]}),
        ("combiner-image", {"patch_shape": [1024, 1024], "features": 1024}),
        ("hierarchical-image", {"harmonics": 1.0}),
        ("hierarchical-image", {"feature_width": 4.0}),
        ("hierarchical-image", {"channels": 4096}),
        ("hierarchical-image", {"spread": 10**400}),
        ("hierarchical-image", {"levels": [{"stride": float("inf")}]}),
        ("coinpp-image", {"channels": 3.0}),
        ("coinpp-image", {"spread": 10**30}),
        ("coinpp-image", {"channels": 4096}),
        ("coinpp-image", {"widths": [1] * 10_000}),
        ("lossless-gray", {"width": 4.0}),
        ("lossless-gray", {"phases": 1}),
        ("lossless-gray", {"latents": [10**30]}),
    ],
)
def test_configurations_that_cannot_be(name: str, changes: dict[str, Any]) -> None:
    reader: Any = READERS[name]
    assert reader.from_bytes(changed(name)).name == name
    with pytest.raises(FormatError):
        reader.from_bytes(changed(name, **changes))


def test_a_few_bytes_of_prior_cannot_ask_for_much_memory() -> None:
    """A known answer is computed on two cells of the coarsest grid; these would have 8,192 x 8,192 points."""
    levels = tuple(LevelConfig(stride, 1, (1,), 0, 0) for stride in (4096, 512, 64, 8, 1))
    with pytest.raises(FormatError, match="out of range"):
        HierarchicalConfig(channels=1, axes=2, levels=levels, feature_stride=1, feature_width=1)
    with pytest.raises(FormatError, match="out of range"):
        HierarchicalConfig(1, 2, (LevelConfig(1, 4096, (1,), 0, 0),), 1, 1)
    with pytest.raises(FormatError, match="out of range"):
        HierarchicalConfig(1, 2, (LevelConfig(64, 1, (1,), 0, 0),), 64, 1, harmonics=4096)
    shipped = HierarchicalConfig(1, 1, (LevelConfig(256, 192, (192,), 0, 0),), 256, 32)
    assert shipped.numbers_per_point == 1.5


def test_a_file_that_is_too_large_for_a_prior_is_not_read_whole(tmp_path: Path) -> None:
    path = tmp_path / "large.safetensors"
    with path.open("wb") as file:
        file.truncate(MAX_PRIOR_BYTES + 1)
    tracemalloc.start()
    with pytest.raises(FormatError, match="larger than the limit"):
        prior_store.find(path)
    assert tracemalloc.get_traced_memory()[1] < 4e6
    tracemalloc.stop()


def test_the_smallest_integer_of_all_is_not_small() -> None:
    """Its magnitude in int64 is negative."""
    weight = torch.full((1, 1, 1, 1), -(2**63), dtype=torch.int64)
    with pytest.raises(FormatError, match="out of range"):
        ExactConv.make(weight, torch.zeros(1, dtype=torch.int64))


# --- limits before memory ---------------------------------------------------------------------------------------------


def test_latents_count_as_points(monkeypatch: pytest.MonkeyPatch) -> None:
    combiner = CombinerCodec(CombinerPrior.from_bytes((PRIORS / "combiner-image.safetensors").read_bytes()))
    header = SignalHeader("image", "rgb", "u8", (8, 4096), 3)
    tight = dataclasses.replace(DEFAULT_LIMITS, max_points=8 * 4096)
    monkeypatch.setattr(type(combiner.prior.config), "dims", property(lambda config: 1000))
    with pytest.raises(LimitError, match="points or latents"):
        combiner.decode(CodedEntry(header, bytes([0, 8, 16]), b""), DecodeRequest(limits=tight))
    lossless = BitSwapCodec(BitSwapPrior.from_bytes((PRIORS / "lossless-gray.safetensors").read_bytes()))
    monkeypatch.setattr("inrcodec.codecs.bitswap.codec.LATENTS_PER_POINT", 0)
    with pytest.raises(LimitError, match="latents"):
        lossless.decode(CodedEntry(GRAY, b"", bytes(9)), DecodeRequest())


def test_patches_are_evaluated_alike_however_many_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    combiner = CombinerCodec(CombinerPrior.from_bytes((PRIORS / "combiner-image.safetensors").read_bytes()))
    container = inrcodec.open(FUZZ / "corpus" / "files" / "combiner-rgba.inr").container()
    entry = coded_entry(container, combiner)
    whole = combiner.decode(entry, DecodeRequest())
    monkeypatch.setattr("inrcodec.codecs.combiner.codec.WEIGHTS_AT_ONCE", 1)
    parts = combiner.decode(entry, DecodeRequest())
    np.testing.assert_allclose(parts, whole, atol=1e-6)


@pytest.mark.parametrize("shape", [(1 << 14, 1 << 14), (1, 1 << 28), (1 << 28, 1), (1 << 11, 1 << 10)], ids=str)
@pytest.mark.parametrize("name", ["combiner-rgb", "hierarchical-rgb", "coinpp-rgb", "coin-rgb", "bitswap-colour"])
def test_the_limits_of_security_md_are_held_before_memory(
    name: str, shape: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("INRCODEC_PRIORS", str(PRIORS))
    page = (FUZZ.parent / "SECURITY.md").read_text("utf-8")
    stated = re.search(r"^careful = inrcodec\.Limits\((.*?)^\)$", page, re.MULTILINE | re.DOTALL)
    assert stated is not None
    careful = Limits(**{key.strip(): eval(value) for key, value in (part.split("=") for part in stated[1].split(","))})
    container = inrcodec.open(FUZZ / "corpus" / "files" / f"{name}.inr").container()
    assert inrcodec.decompress(pack(container), limits=careful).header == container.header
    asking = pack(dataclasses.replace(container, header=dataclasses.replace(container.header, shape=shape)))
    tracemalloc.start()
    with pytest.raises(LimitError):
        inrcodec.decompress(asking, limits=careful)
    assert tracemalloc.get_traced_memory()[1] < 1e6
    tracemalloc.stop()


def test_gray_data_under_a_prior_for_colour() -> None:
    """The bit that says gray, set in a file that is not."""
    codec = BitSwapCodec(BitSwapPrior.from_bytes((PRIORS / "lossless-colour.safetensors").read_bytes()))
    header = SignalHeader("image", "rgb", "u8", (4, 5), 3)
    with pytest.raises(FormatError, match="is for colour"):
        codec.decode(CodedEntry(header, b"", bytes([GRAY_BIT]) + bytes(CRC_BYTES) + b"\x01"), DecodeRequest())
    chain = write_varint(2) + bytes([GRAY_BIT]) + bytes(CRC_BYTES) + b"\x01\x01"
    with pytest.raises(FormatError, match="is for colour"):
        codec.decode(CodedEntry(header, b"", b"", chain), DecodeRequest())


def test_a_stored_image_is_a_png_of_the_right_size() -> None:
    codec = BitSwapCodec(BitSwapPrior.from_bytes((PRIORS / "lossless-gray.safetensors").read_bytes()))

    def stored(form: str, side: int) -> bytes:
        buffer = io.BytesIO()
        Image.fromarray(np.zeros((side, side), np.uint8)).save(buffer, form)
        crc = zlib.crc32(bytes(2 * side * side)).to_bytes(CRC_BYTES, "little")
        return bytes([STORED]) + crc + buffer.getvalue()

    assert codec.decode(CodedEntry(GRAY, b"", stored("PNG", 8)), DecodeRequest()).shape == (8, 8, 1)
    for body in (stored("BMP", 8), stored("PNG", 3000)):
        with pytest.raises(FormatError, match="stored image"):
            codec.decode(CodedEntry(GRAY, b"", body), DecodeRequest())


def test_numbered_names_are_bounded_all_together() -> None:
    """Three million names of a thousand bytes are three million bytes of file."""
    tight = dataclasses.replace(DEFAULT_LIMITS, max_metadata_bytes=1 << 12)
    count, prefix = 100, "/".join(["x" * 200] * 5)
    body = write_preamble("inrs", 4, NO_PRIOR, False) + write_varint(count) + write_varint(1) + write_header(GRAY)
    body += b"\x02" + write_varint(len(prefix)) + prefix.encode() + b"\x00\x01" + b"\x00" + bytes(count)
    with pytest.raises(LimitError, match="names of the archive take"):
        ArchiveReader(seal(body), tight)
    short = body.replace(write_varint(len(prefix)) + prefix.encode(), b"\x01x")
    assert len(ArchiveReader(seal(short), tight)) == count


def test_ids_of_the_corpus_are_those_of_its_priors() -> None:
    """A prior's id is the start of the hash of its file; what names another is not decoded with this one."""
    path = PRIORS / "coinpp-image.safetensors"
    assert prior_store.file_id(path) == hashlib.sha256(path.read_bytes()).digest()[:8]
    container = inrcodec.open(FUZZ / "corpus" / "files" / "coinpp-rgb.inr").container()
    other = Container(3, base64.b16decode("00" * 7 + "01"), container.header, container.payload)
    with pytest.raises(FormatError, match="needs prior"):
        inrcodec.decompress(pack(other), prior=str(path))
