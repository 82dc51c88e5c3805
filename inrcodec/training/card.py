"""The card of a prior: what it was made from, how, and what it reaches, in the prior's file and as a page beside it.

The card is a dictionary of plain values. It names folders by their last component alone, so that it says nothing about
the machine that the training ran on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from inrcodec.training.job import TrainingJob
from inrcodec.training.loop import RunState
from inrcodec.version import VERSION

UNKNOWN_LICENCE = "not stated"
"""Licence of training data where none is given."""
_HEADINGS = {
    "bits_per_point": "bits per point",
    "kl_bits_per_point": "KL, bits per point",
    "db": "PSNR, dB",
    "sample_db": "PSNR of a sample, dB",
    "mean_db": "PSNR of the mean, dB",
    "elbo": "negative ELBO, bits per dimension",
    "net": "net rate, bits per dimension",
}


_OPERATING_POINT = ("beta", "step")
"""What names an operating point, in the first column of a table."""


def make_card(
    job: TrainingJob, state: RunState, *, name: str, data: Sequence[Path], command: str, licence: str
) -> dict[str, Any]:
    """Return a card without results.

    Args:
        job: the training.
        state: where it has ended.
        name: name of the prior.
        data: folders and files of the training data.
        command: what started the training, without paths.
        licence: licence of the training data.
    """
    return {
        "name": name,
        "codec": job.codec,
        "kind": job.kind,
        "recipe": job.recipe,
        "data": job.data.words,
        "folders": [last_component(path) for path in data],
        "files": job.data.files,
        "training_signals": job.data.training,
        "held_out_signals": job.data.held_out,
        "licence": licence,
        "command": command,
        "training": job.settings,
        "seconds": round(state.seconds),
        "steps": state.steps,
        "device": job.trainer.device_name,
        "version": VERSION,
    }


def last_component(path: Path) -> str:
    """Return the last component of a path as it was given, or of where it leads to where it was given as dots."""
    return path.name if path.name not in ("", "..") else path.resolve().name


def plain_results(results: Sequence[Any]) -> list[dict[str, float]]:
    """Return measurements, dataclasses of numbers, as plain rounded values."""
    return [{key: round(value, 6) for key, value in asdict(result).items()} for result in results]


def card_page(card: Mapping[str, Any], *, name: str, codec: str, kind: str, prior_id: str, n_bytes: int) -> str:
    """Return a card as a page of Markdown.

    Args:
        card: the card, which may lack anything.
        name: name of the prior.
        codec: codec that the prior is for.
        kind: kind of signal.
        prior_id: the prior's id in hexadecimal.
        n_bytes: size of the prior's file.
    """
    lines = [f"# {name}", "", f"- Codec: {codec}. Signals: {kind}."]
    recipe, version = card.get("recipe"), card.get("version")
    if recipe:
        lines.append(f"- Recipe: {recipe}.")
    if card.get("data"):
        lines.append(f"- Training data: {card['data']}{_origin(card)}.")
    lines.append(f"- Licence of the training data: {card.get('licence', UNKNOWN_LICENCE)}.")
    if card.get("command"):
        lines.append(f"- Command: `{card['command']}`")
    if "seconds" in card:
        made_by = f", inrcodec {version}" if version else ""
        steps = f" ({card['steps']:,} steps)" if isinstance(card.get("steps"), int) else ""
        lines.append(
            f"- Training took {card['seconds']} s{steps} on {card.get('device', 'an unknown device')}{made_by}."
        )
    lines.append(f"- File: {n_bytes:,} bytes, id `{prior_id}`.")
    results = card.get("results")
    if isinstance(results, list) and results and all(isinstance(row, dict) for row in results):
        held_out = bool(card.get("held_out_signals"))
        lines += ["", "Held-out data:" if held_out else "Training data (nothing was held out):", ""]
        lines += _table(results)
    settings = card.get("training")
    if isinstance(settings, dict):
        given = [f"{key} {value}" for key, value in sorted(settings.items()) if value is not None]
        lines += ["", f"Settings: {', '.join(given)}."]
    return "\n".join(lines) + "\n"


def _origin(card: Mapping[str, Any]) -> str:
    folders, files = card.get("folders"), card.get("files")
    if not isinstance(folders, list) or not isinstance(files, int):
        return ""
    return f", from {files:,} {'file' if files == 1 else 'files'} of {', '.join(map(str, folders))}"


def _table(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    keys = sorted(rows[0], key=lambda key: (key not in _OPERATING_POINT, key))
    lines = ["| " + " | ".join(_HEADINGS.get(key, key) for key in keys) + " |", "|---" * len(keys) + "|"]
    for row in rows:
        cells = (row.get(key) for key in keys)
        lines.append("| " + " | ".join(f"{c:.4g}" if isinstance(c, float) else str(c) for c in cells) + " |")
    return lines
