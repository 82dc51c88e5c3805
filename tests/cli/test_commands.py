"""The command line: reports, names of outputs, and one clear line for everything that is wrong."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from PIL import Image

from examples.demo import sung_vowel
from inrcodec.cli import main


@pytest.fixture
def folder(tmp_path: Path, photograph: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with a small photograph, a thumbnail and an audio clip."""
    Image.fromarray(photograph[40:104, 170:250]).save(tmp_path / "photo.png")
    Image.fromarray(photograph[40:72, 170:202]).save(tmp_path / "thumb.png")
    soundfile.write(tmp_path / "voice.wav", sung_vowel(0.5, 16000), 16000, "PCM_16")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = main(list(arguments))
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def reports(out: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in out.splitlines()]


COMPRESS_KEYS = {
    "input",
    "output",
    "codec",
    "prior",
    "bytes",
    "payload_bytes",
    "bpp",
    "psnr",
    "encode_seconds",
    "pixels",
}


def test_compress_decompress_verify_agree(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, "compress", "photo.png", "--effort", "fast", "--target-bpp", "0.8", "--json")
    (made,) = reports(out)
    assert (code, err) == (0, "") and set(made) == COMPRESS_KEYS
    assert made["bytes"] == (folder / "photo.inr").stat().st_size and made["pixels"] == 64 * 80
    assert made["bpp"] == pytest.approx(8 * int(made["bytes"]) / 5120, abs=1e-5) and made["bpp"] <= 0.8
    code, out, _ = run(capsys, "decompress", "photo.inr", "-o", "back.png", "--json")
    assert code == 0 and reports(out)[0]["decode_seconds"] > 0
    code, out, _ = run(capsys, "verify", "photo.inr", "photo.png", "--json")
    (checked,) = reports(out)
    assert checked["psnr"] == made["psnr"] and "decode_seconds" in checked
    error = np.asarray(Image.open("back.png"), float) - np.asarray(Image.open("photo.png"), float)
    assert checked["psnr"] == pytest.approx(10 * np.log10(255**2 / np.mean(error**2)), abs=2e-3)


def test_audio_clips_report_kbps_and_snr(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "compress", "voice.wav", "--effort", "fast", "--target-kbps", "20", "--json")
    (made,) = reports(out)
    assert code == 0 and {"kbps", "snr", "samples"} <= set(made) and made["samples"] == 8000
    assert 19 < made["kbps"] <= 20
    assert run(capsys, "decompress", "voice.inr", "-o", "back.wav")[0] == 0
    assert soundfile.info("back.wav").samplerate == 16000


def test_several_files_end_with_a_summary(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "compress", "photo.png", "thumb.png", "--effort", "fast", "--json")
    *single, last = reports(out)
    assert code == 0 and len(single) == 2 and last["summary"] is True and last["files"] == 2
    assert last["psnr"] == pytest.approx(np.mean([r["psnr"] for r in single]), abs=1e-3)
    (folder / "into").mkdir()
    assert run(capsys, "compress", "photo.png", "thumb.png", "-o", "into", "--effort", "fast", "-q") == (0, "", "")
    assert sorted(p.name for p in (folder / "into").iterdir()) == ["photo.inr", "thumb.inr"]


def test_archive_round_trip(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "set").mkdir()
    for name in ("photo.png", "thumb.png"):
        (folder / name).rename(folder / "set" / name)
    code, out, _ = run(capsys, "compress", "set", "-o", "set.inrs", "--effort", "fast", "--target-bpp", "1", "--json")
    *single, last = reports(out)
    assert code == 0 and len(single) == 2 and last["bytes"] == (folder / "set.inrs").stat().st_size
    assert 0.95 < last["bpp"] <= 1.0
    assert run(capsys, "decompress", "set.inrs", "-o", "out")[0] == 0
    assert sorted(p.name for p in (folder / "out").iterdir()) == ["photo.png", "thumb.png"]
    code, out, _ = run(capsys, "verify", "set.inrs", "set", "--json")
    assert code == 0 and reports(out)[-1]["psnr"] == pytest.approx(last["psnr"], abs=1e-3)
    code, out, _ = run(capsys, "info", "set.inrs", "--json")
    assert [entry["name"] for entry in reports(out)[0]["entries"]] == ["photo.png", "thumb.png"]
    assert run(capsys, "decompress", "set.inrs", "-o", "one.png", "--entry", "thumb.png")[0] == 0
    assert Image.open("one.png").size == (32, 32)


def test_sizes(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "compress", "thumb.png", "--effort", "fast", "-q")[0] == 0
    assert run(capsys, "decompress", "thumb.inr", "-o", "a.png", "--scale", "2.5")[0] == 0
    assert run(capsys, "decompress", "thumb.inr", "-o", "b.png", "--size", "50x20")[0] == 0
    assert Image.open("a.png").size == (80, 80) and Image.open("b.png").size == (50, 20)


def test_info_and_priors_list(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "compress", "thumb.png", "--effort", "fast", "-q")[0] == 0
    code, out, _ = run(capsys, "info", "thumb.inr")
    assert code == 0 and "prior_name:     images32" in out and "shape:          32x32" in out
    code, out, _ = run(capsys, "priors", "list", "--json")
    assert {"images32", "photographs", "combiner-images32", "combiner-photographs", "combiner-speech16k"} <= {
        r["name"] for r in reports(out)
    }
    assert run(capsys, "priors", "verify")[0] == 0


def bad_inputs(folder: Path) -> None:
    photo = (folder / "photo.png").read_bytes()
    (folder / "text.png").write_text("not an image")
    (folder / "empty.png").write_bytes(b"")
    (folder / "cut.png").write_bytes(photo[: len(photo) // 2])
    values = sung_vowel(0.1, 16000)
    values[50] = np.nan
    soundfile.write(folder / "nan.wav", values, 16000, "FLOAT")
    np.save(folder / "nan.npy", np.array([[1.0, np.nan], [0.0, 1.0]]))
    np.save(folder / "text.npy", np.array(["a", "b"]))
    header = b"IHDR" + (1 << 30).to_bytes(4, "big") * 2 + photo[24:29]
    (folder / "absurd.png").write_bytes(photo[:12] + header + zlib.crc32(header).to_bytes(4, "big") + photo[33:])
    (folder / "folder.png").mkdir()
    (folder / "nothing").mkdir()


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["compress", "missing.png"], 1, "cannot be read"),
        (["compress", "text.png"], 1, "not an image"),
        (["compress", "empty.png"], 1, "empty"),
        (["compress", "cut.png"], 1, "cannot be read"),
        (["compress", "nan.wav"], 1, "not finite"),
        (["compress", "nan.npy"], 1, "not finite"),
        (["compress", "text.npy"], 1, "cannot be read|unsupported array type"),
        (["compress", "absurd.png"], 1, "limit|cannot be read"),
        (["compress", "folder.png"], 1, "no files"),
        (["compress", "nothing", "-o", "x.inrs"], 1, "no files"),
        (["compress", "photo.png", "-o", "no/such/place.inr"], 1, "no folder"),
        (["compress", "photo.png", "-o", "/proc/photo.inr", "--effort", "fast"], 1, "cannot be written"),
        (["compress", "photo.png", "thumb.png", "-o", "one.inr"], 2, "folder .* or an archive"),
        (["compress", "photo.png", "--target-bpp", "-1"], 2, "positive"),
        (["compress", "photo.png", "--target-bpp", "1", "--beta", "1"], 2, "only one"),
        (["compress", "photo.png", "--target-kbps", "1"], 2, "audio"),
        (["compress", "photo.png", "--target-bpp", "0.001"], 2, "raise it"),
        (["compress", "photo.png", "--effort", "most"], 2, "fast, default, best"),
        (["compress", "photo.png", "--codec", "jpeg"], 2, "combiner"),
        (["compress", "photo.png", "--prior", "none"], 1, "no prior"),
        (["compress", "photo.png", "--prior", "combiner-speech16k"], 1, "is for audio"),
        (["compress", "photo.png", "--odd"], 2, "No such option"),
        (["compress"], 2, "Missing argument"),
        (["decompress", "photo.png"], 1, "not an .inr file"),
        (["decompress", "missing.inr"], 1, "cannot be read"),
        (["info", "empty.png"], 1, "inr"),
        (["verify", "missing.inr", "photo.png"], 1, "cannot be read"),
        (["priors", "verify", "unheard-of"], 1, "no prior"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(
    folder: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, words: str
) -> None:
    import re

    bad_inputs(folder)
    before = sorted(p.name for p in folder.rglob("*"))
    found, out, err = run(capsys, *arguments)
    assert found == code, err
    assert out == "" and err.count("\n") == 1 and err.startswith("inrcodec: ")
    assert re.search(words, err), err
    assert sorted(p.name for p in folder.rglob("*")) == before


def test_damaged_files_are_one_line_and_write_nothing(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "compress", "thumb.png", "--effort", "fast", "-q")[0] == 0
    good = (folder / "thumb.inr").read_bytes()
    for name, data in {
        "flipped": good[:40] + bytes([good[40] ^ 1]) + good[41:],
        "cut": good[:-9],
        "longer": good + b"x",
        "version": good[:4] + b"\x2f" + good[5:],
    }.items():
        (folder / f"{name}.inr").write_bytes(data)
        code, out, err = run(capsys, "decompress", f"{name}.inr", "-o", f"{name}.png")
        assert code == 1 and out == "" and err.count("\n") == 1
        assert not (folder / f"{name}.png").exists()


def test_nothing_is_overwritten_without_force(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "thumb.inr").write_text("mine")
    code, _, err = run(capsys, "compress", "thumb.png", "--effort", "fast")
    assert code == 1 and "--force" in err and (folder / "thumb.inr").read_text() == "mine"
    assert run(capsys, "compress", "thumb.png", "--effort", "fast", "--force", "-q")[0] == 0
    code, _, err = run(capsys, "decompress", "thumb.inr")
    assert code == 1 and "--force" in err


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_unwritable_output(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "locked").mkdir(mode=0o500)
    code, _, err = run(capsys, "compress", "thumb.png", "-o", "locked/x.inr")
    assert code == 1 and err.count("\n") == 1 and not list((folder / "locked").iterdir())


def test_threads_spin_for_a_bounded_time_unless_told_otherwise() -> None:
    """Set before torch is loaded, whose library reads it then."""
    script = "import os, sys, inrcodec.__main__; print('torch' in sys.modules, os.environ['GOMP_SPINCOUNT'])"
    plain = {name: value for name, value in os.environ.items() if name != "GOMP_SPINCOUNT"}
    for environment, wanted in ((plain, "False 4000"), (plain | {"GOMP_SPINCOUNT": "7"}, "False 7")):
        done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, check=True)
        assert done.stdout.decode().strip() == wanted


def test_help_has_examples(capsys: pytest.CaptureFixture[str]) -> None:
    for command in (
        ["compress"],
        ["decompress"],
        ["info"],
        ["verify"],
        ["priors", "train"],
        ["priors", "list"],
        ["priors", "show"],
    ):
        code, out, _ = run(capsys, *command, "--help")
        assert code == 0 and "Example" in out and "inrcodec" in out


@pytest.mark.parametrize("codec", ["hierarchical", "combiner"])
def test_train_a_prior_of_ones_own(
    codec: str,
    folder: Path,
    capsys: pytest.CaptureFixture[str],
    photograph: np.ndarray,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("inrcodec.codecs.hierarchical.job.EVALUATED_CROPS", 2)
    monkeypatch.setattr("inrcodec.codecs.combiner.job.EVALUATED_PATCHES", 2)
    (folder / "data").mkdir()
    for i in range(3):
        Image.fromarray(photograph[i * 150 : i * 150 + 140, 100:400]).save(folder / "data" / f"{i}.png")
    # COMBINER's proposal network alone takes some seconds where the machine is busy.
    minutes = "0.2" if codec == "combiner" else "0.08"
    base = [
        "priors",
        "train",
        "data",
        "-o",
        "mine.safetensors",
        "--resume",
        "ckpt",
        "--minutes",
        minutes,
        "-q",
        "--threads",
        "1",
        "--codec",
        codec,
    ]
    base += ["--latent-dims", "32", "--patches", "96"] if codec == "combiner" else []
    code, _, err = run(capsys, *base, "--piece-minutes", "0.02")
    assert code == 0 and "resumes" in err and not (folder / "mine.safetensors").exists()
    assert run(capsys, *base)[0] == 0
    code, out, _ = run(capsys, "compress", "photo.png", "--prior", "mine.safetensors", "--effort", "fast", "--json")
    assert code == 0 and reports(out)[0]["psnr"] > (10 if codec == "combiner" else 3)
    code, _, err = run(capsys, "decompress", "photo.inr", "-o", "x.png")
    assert code == 1 and "needs prior" in err
    assert run(capsys, "decompress", "photo.inr", "-o", "x.png", "--prior", "mine.safetensors")[0] == 0
    if codec == "hierarchical":  # half a second more of training must not unlearn what the shipped prior knows
        more = ["priors", "train", "data", "-o", "more.safetensors", "--minutes", "0.01", "-q", "--threads", "1"]
        assert run(capsys, *more, "--start-from", "photographs")[0] == 0
        code, out, _ = run(
            capsys, "compress", "photo.png", "--prior", "more.safetensors", "--effort", "fast", "--json", "-f"
        )
        assert code == 0 and reports(out)[0]["psnr"] > 25
        code, _, err = run(capsys, *more, "-f", "--start-from", "speech16k")
        assert code == 2 and "no smaller" in err


def test_frames_conversion_and_losses_on_the_command_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    frames = [Image.new("RGB", (8, 8), colour) for colour in ((200, 0, 0), (0, 200, 0))]
    frames[0].save("a.webp", save_all=True, append_images=frames[1:], lossless=True)
    code, _, err = run(capsys, "compress", "a.webp", "--lossless", "--effort", "fast")
    assert code == 1 and err.count("\n") == 1 and "--frame" in err
    assert run(capsys, "compress", "a.webp", "--frame", "1", "--lossless", "--effort", "fast", "-q")[0] == 0
    code, _, err = run(capsys, "decompress", "a.inr", "-o", "a.ppm", "-q")
    assert code == 0 and err == "" and Image.open("a.ppm").getpixel((0, 0)) == (0, 200, 0)
    Image.new("CMYK", (8, 8), (0, 255, 255, 0)).save("c.tif", dpi=(300, 300))
    code, _, err = run(capsys, "compress", "c.tif", "--lossless", "--effort", "fast")
    assert code == 1 and "--convert" in err
    assert run(capsys, "compress", "c.tif", "--convert", "--lossless", "--effort", "fast", "-q")[0] == 0
    code, _, err = run(capsys, "decompress", "c.inr", "-o", "c.ppm", "-q")
    assert code == 0 and err == "inrcodec: warning: c.ppm: PPM cannot hold: resolution\n"
