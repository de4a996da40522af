"""The parts of an annotation, from what a person asks for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from data_pipeline.annotate.asking import Asker
from data_pipeline.annotate.captioner import Captioner
from data_pipeline.annotate.detectors import Faces, Watermark
from data_pipeline.annotate.endpoint import Endpoint, Format, read_key
from data_pipeline.annotate.local_model import LocalModel
from data_pipeline.annotate.rewrite import Referential
from data_pipeline.annotate.roles import Roles, read_roles
from data_pipeline.annotate.scores import Filtered, Scored, Scorer
from data_pipeline.annotate.side_table import SideTable, read_side_table
from data_pipeline.annotate.side_texts import Subtitles, Texts
from data_pipeline.annotate.told import Annotator
from stage_jax.errors import InputError
from stage_jax.story.schema import near

TABLES = (".csv", ".json", ".jsonl")


@dataclass(frozen=True)
class Asked:
    """What a person asks for; a value that can be sent to other machines, on which the paths are then to be found.

    captions: tables, .srt files, folders of .txt files. dialogue: .srt files or folders of them. endpoint, vlm: where captions
    that are missing come from. key_env: the environment variable with the endpoint's key. roles: files of who appears where.
    aesthetic: a head for the model folder `clip`; watermark, faces: folders of transformers. least, most: scores, by their
    names, that a shot must have to stay in the story."""

    captions: tuple[Path, ...] = ()
    dialogue: tuple[Path, ...] = ()
    endpoint: str = ""
    model: str = ""
    key_env: str = ""
    answers: Format = "json_schema"
    seconds: float = 120.0
    attempts: int = 5
    workers: int = 8
    vlm: Path | None = None
    referential: bool = False
    roles: tuple[Path, ...] = ()
    aesthetic: Path | None = None
    clip: Path | None = None
    watermark: Path | None = None
    faces: Path | None = None
    least: tuple[tuple[str, float], ...] = ()
    most: tuple[tuple[str, float], ...] = ()


def open_parts(asked: Asked, kept: Path) -> list[Annotator]:
    """The parts in the order in which they speak: people, then models. kept: the folder of models' answers. Raises InputError
    for what cannot be read or does not go together."""
    parts: list[Annotator] = [_captions(path) for path in asked.captions]
    parts += [Subtitles(path, "dialogue") for path in asked.dialogue]
    parts += [read_roles(path) for path in asked.roles]
    asker = _asker(asked, kept)
    if asker is not None:
        parts.append(Captioner(asker, asked.workers))
    if asked.referential:
        if asker is None:
            raise InputError("referential captions: found no model to write them, expected an endpoint or a folder of one")
        parts.append(Referential(asker, asked.workers))
    scorers = _scorers(asked)
    parts += [Scored(scorer) for scorer in scorers]
    names = [scorer.name for scorer in scorers]
    for name, _ in (*asked.least, *asked.most):
        if name not in names:
            raise InputError(
                f"limit of {name!r}: found no such score, expected {near(name, names) if names else 'scores first'}"
            )
    return [*parts, Filtered(dict(asked.least), dict(asked.most))] if asked.least or asked.most else parts


def tables(parts: Sequence[Annotator]) -> list[SideTable]:
    return [part for part in parts if isinstance(part, SideTable)]


def rows_of(parts: Sequence[Annotator]) -> Iterator[tuple[str, Mapping[PurePosixPath, str]]]:
    """Of every side file with a row a shot: the file, and the rows' words for their shots by what they name."""
    for part in parts:
        if isinstance(part, SideTable):
            yield str(part.path), {name: place.path for name, (place, _) in part.rows.items()}
        elif isinstance(part, Roles):
            yield part.file, {PurePosixPath(entry.shot): entry.shot for entry in part.shots}


def _captions(path: Path) -> Annotator:
    if path.suffix in TABLES:
        return read_side_table(path)
    return Subtitles(path, "description") if path.suffix == ".srt" else Texts(path)


def _scorers(asked: Asked) -> list[Scorer]:
    scorers: list[Scorer] = []
    if asked.aesthetic is not None:
        if asked.clip is None:
            raise InputError(f"{asked.aesthetic}: found no model folder, expected that of the CLIP that it belongs to")
        try:
            from data_pipeline.annotate.aesthetic import Aesthetic  # the only part that needs JAX
        except ModuleNotFoundError as error:  # in Beam's environment
            raise InputError(f"{asked.aesthetic}: cannot be run ({error}), expected an environment with JAX") from None
        scorers.append(Aesthetic(asked.aesthetic, asked.clip))
    if asked.watermark is not None:
        scorers.append(Watermark(asked.watermark))
    return scorers if asked.faces is None else [*scorers, Faces(asked.faces)]


def _asker(asked: Asked, kept: Path) -> Asker | None:
    if asked.endpoint and asked.vlm:
        raise InputError(f"{asked.endpoint}: found a local model too, expected one of the two")
    if asked.endpoint:
        if not asked.model:
            raise InputError(f"{asked.endpoint}: found no model's name, expected the name that the endpoint knows it by")
        key = read_key(asked.key_env) if asked.key_env else ""
        model = Endpoint(asked.endpoint, asked.model, key, asked.seconds, answers=asked.answers)
        return Asker(model, kept, asked.attempts)
    return None if asked.vlm is None else Asker(LocalModel(asked.vlm), kept, asked.attempts)
