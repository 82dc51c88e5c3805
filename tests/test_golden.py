"""Files of every codec, layout and version decode for ever to what they decoded to when they were made."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

import inrcodec
from inrcodec.codecs import prior_store
from inrcodec.codecs.registry import codec_ids
from inrcodec.container.framing import VERSION
from inrcodec.container.inr import pack, unpack
from inrcodec.errors import FormatError
from inrcodec.signals.header import LAYOUTS
from tests.support.golden_files import FOLDER, PRIORS, decode, expected, listed, watching
from tests.support.make_golden import CASES

FILES = listed()
LOSSLESS = ("bitswap", "bbans")


@pytest.fixture(autouse=True)
def _priors(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv(prior_store.ENVIRONMENT, str(PRIORS))
    yield


@pytest.mark.parametrize("name", FILES)
def test_a_golden_file_decodes_as_ever(name: str) -> None:
    """Numbers that were coded are equal; samples too where there was no loss, else as near as the list says."""
    told = FILES[name]
    found = decode(name, tuple(told["region"]) if told["region"] else None)
    # Later versions may report more, but nothing else.
    assert {key: found.info.get(key) for key in told["info"]} == told["info"]
    assert found.heads == told["signals"]
    assert found.numbers == told["numbers"]
    samples = expected(name)
    assert len(samples) == len(found.signals)
    for signal, wanted in zip(found.signals, samples, strict=True):
        native = signal.to_native()
        assert native.dtype == wanted.dtype and native.shape == wanted.shape
        assert np.abs(native.astype(np.float64) - wanted).max() <= told["tolerance"]
    if found.info["codec"] in LOSSLESS:
        assert told["tolerance"] == 0


def test_the_list_the_folder_and_the_maker_agree() -> None:
    """Nothing golden is lost, nothing lies there unread, nothing waits to be made."""
    assert {p.name for p in (FOLDER / "files").iterdir()} == set(FILES) == set(CASES)
    assert {p.name for p in (FOLDER / "expected").iterdir()} == {f"{name}.npz" for name in FILES}
    sizes = [p.stat().st_size for p in FOLDER.rglob("*") if p.is_file()]
    assert sum(sizes) < 1_500_000


def test_golden_priors_are_those_of_the_files() -> None:
    needed = {told["info"]["prior"] for told in FILES.values()} - {bytes(8).hex()}
    assert {hashlib.sha256(p.read_bytes()).digest()[:8].hex() for p in PRIORS.iterdir()} == needed


def test_every_codec_every_form_and_every_version_is_golden() -> None:
    """A codec, a layout or a version that is new to the package fails here until it has files in the folder."""
    infos = [told["info"] for told in FILES.values()]
    codecs = {(info["codec"], info["format"]) for info in infos}
    assert codecs == set(itertools.product(codec_ids(), ("inr", "inrs")))
    heads = [signal["header"] for told in FILES.values() for signal in told["signals"]]
    layouts = {(head["kind"], head["layout"]) for head in heads}
    assert layouts == {(kind, layout) for kind, some in LAYOUTS.items() for layout in some}
    types = {(head["kind"], head["sample_type"]) for head in heads}
    assert {("image", "u8"), ("image", "u16"), ("image", "u1"), ("audio", "pcm_24"), ("field", "int16")} <= types
    versions = {(FOLDER / "files" / name).read_bytes()[4] & 15 for name in FILES}
    assert versions == set(range(1, VERSION + 1))


def test_ids_of_codecs_are_what_the_files_say() -> None:
    """The number in the sixth byte, against the table: an id that was given to another codec would show."""
    for name, told in FILES.items():
        assert (FOLDER / "files" / name).read_bytes()[5] == codec_ids()[told["info"]["codec"]]


def test_a_decode_that_differs_is_seen() -> None:
    """The comparisons above can fail: other bytes behind a right checksum give other numbers."""
    data = (FOLDER / "files" / "coinpp-gray-16bit.inr").read_bytes()
    container = unpack(data)
    changed = pack(replace(container, payload=bytes([*container.payload[:-1], container.payload[-1] ^ 1])))
    with watching() as (before, _):
        inrcodec.decompress(data)
    with watching() as (after, _), contextlib.suppress(FormatError):
        inrcodec.decompress(changed)
    assert before and not all(map(np.array_equal, before, after))
