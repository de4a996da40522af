"""Models on this machine, from folders, by transformers' pipelines: the extra `torch`.

Folders hold safetensors; pickled weights are refused, and code in the folder is not run.
"""

from __future__ import annotations

import hashlib
import io
import threading
from functools import cached_property
from pathlib import Path
from typing import Any

from PIL import Image

from data_pipeline.annotate.model import ModelError, Question
from stage_jax.errors import InputError


class LocalModel:
    """A model that answers questions about pictures: a folder for transformers' pipeline `image-text-to-text`."""

    def __init__(self, folder: Path, tokens: int = 512) -> None:
        self.folder, self.tokens, self._lock = folder, tokens, threading.Lock()
        self._pipeline = pipeline("image-text-to-text", folder)

    @cached_property
    def name(self) -> str:
        return f"{self.folder.resolve().name} {folder_hash(self.folder)[:16]} {self.tokens}"

    def answer(self, question: Question) -> str:
        pictures = [{"type": "image", "image": Image.open(io.BytesIO(picture))} for picture in question.pictures]
        text = f"{question.words}\nAnswer with the JSON object alone."
        messages = [{"role": "user", "content": [*pictures, {"type": "text", "text": text}]}]
        try:
            with self._lock:
                answers = self._pipeline(
                    text=messages, return_full_text=False, generate_kwargs={"max_new_tokens": self.tokens, "do_sample": False}
                )
        except (RuntimeError, ValueError, IndexError) as error:  # out of memory, more pictures than it takes, ...
            raise ModelError(f"{type(error).__name__}: {' '.join(str(error).split())[:120]}", retry=False) from error
        return answers[0]["generated_text"]


def pipeline(task: str, folder: Path) -> Any:
    """transformers' pipeline over a folder. InputError if it is none that can be read so, or the extra is missing."""
    if not (folder / "config.json").is_file():
        raise InputError(f"{folder}: found no config.json, expected a folder of transformers for {task}")
    if not any(folder.glob("*.safetensors")):
        raise InputError(f"{folder}: found no *.safetensors, expected weights in that form; pickled ones are not read")
    try:
        import transformers

        return transformers.pipeline(task, model=str(folder), trust_remote_code=False, model_kwargs={"use_safetensors": True})
    except ImportError as error:
        raise InputError(f"{folder}: cannot be run ({error}): install stage_jax[torch]") from None
    except (OSError, ValueError, KeyError, RuntimeError, TypeError) as error:  # what transformers raises of other folders
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"{folder}: not a model for {task} ({reason})") from None


def folder_hash(folder: Path) -> str:
    """A hash over names and contents of the files directly in a folder."""
    lines = []
    for file in sorted(path for path in folder.iterdir() if path.is_file()):
        with open(file, "rb") as data:
            lines.append(f"{file.name} {hashlib.file_digest(data, 'sha256').hexdigest()}\n")
    return hashlib.sha256("".join(lines).encode()).hexdigest()
