"""Fine-tunes the tiny models on all shots of a film but the last, predicts the last one's pair, and says how near that comes.

    python tools/finetune_film.py tests/data/big_buck_bunny_160x90.mp4 --out runs/film

Ingest, records of many views of the shots that may be seen, VAE, STEP2 with new words, filler, figures: each part is found done
or goes on where it was stopped when the command is given again. `--out` then holds the model folder filler/model, figures.md,
figures.json, next_shot.png and clips.png. The last shot is read for the figures alone.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from data_pipeline.ingest.film import file_identity, ingest_film
from data_pipeline.ingest.shots import ShotRecord
from data_pipeline.views import draw_views, read_views, write_views
from stage_jax import files
from stage_jax.cli.config_file import load_config
from stage_jax.errors import InputError
from stage_jax.evaluation.figures import as_json
from stage_jax.evaluation.next_shot import Artist, FilmShots
from stage_jax.evaluation.next_shot_report import report_next_shot
from stage_jax.film.png import write_png
from stage_jax.generate.models import load_models
from stage_jax.progress import Progress
from stage_jax.story.readers import read_story
from stage_jax.story.types import Story
from stage_jax.training.train import train
from stage_jax.weights.folder import part_hashes, part_sampling
from stage_jax.weights.shards import file_sha256

ROOT = Path(__file__).resolve().parents[1]
ASSETS = ROOT / "stage_jax" / "assets"
MINUTES = {"shots": 0.2, "records": 0.2, "vae": 7.4, "step2": 5.6, "filler": 3.8, "figures": 2.2}  # of one processor, about
BEGUN = "begun.json"


@dataclasses.dataclass(frozen=True)
class Sizes:
    """views: of the shots, in the records. draws: pairs of the last shot. arg: of the configs."""

    views: int = 48
    draws: int = 16
    arg: str = ""


@dataclasses.dataclass(frozen=True)
class Job:
    film: Path
    out: Path
    story: Story
    model: Path
    sizes: Sizes
    size: tuple[int, int]
    frames: int

    @property
    def tuned(self) -> Path:
        return self.out / "filler" / "model"

    def shots(self) -> tuple[ShotRecord, ...]:
        """The shots of the film. InputError if they are not those of the story."""
        with Progress() as progress:
            found = ingest_film(self.film, self.out / "shots", progress.step).kept
        names = [self.story.shot_name(*shot) for shot in self.story.shots()]
        if (have := [shot.name for shot in found]) != names:
            raise InputError(f"{self.film}: found the shots {', '.join(have)}, expected {', '.join(names)}")
        return found

    def seen(self) -> Story:
        """The story without its last shot."""
        *scenes, last = self.story.scenes
        rest = (dataclasses.replace(last, shots=last.shots[:-1]),) if len(last.shots) > 1 else ()
        return dataclasses.replace(self.story, scenes=(*scenes, *rest))

    def records(self) -> None:
        out, shots = self.out / "records", self.shots()[:-1]
        if not out.exists():
            write_views(self.film, self.seen(), shots, out, count=self.sizes.views, frames=self.frames, size=self.size)

    def train(self, part: str, **paths: Path) -> bool:
        """Trains a part, or what is left of it; whether it is done."""
        paths = {"init": self.model, "data.dir": self.out / "records", **paths}
        config = ROOT / "configs" / f"film_{part}.py"
        changes = [f"--config.{name}={path}" for name, path in paths.items()]
        loaded = load_config(f"{config}:{self.sizes.arg}", changes)
        return int(train(loaded, self.out / part).step) == loaded.steps

    def parts(self) -> dict[str, Callable[[], Any]]:
        return {
            "shots": self.shots,
            "records": self.records,
            "vae": functools.partial(self.train, "vae"),
            "step2": functools.partial(self.train, "step2", vae=self.out / "vae" / "model"),
            "filler": functools.partial(self.train, "filler", step2=self.out / "step2" / "model"),
            "figures": functools.partial(write_figures, self),
        }


def check_begun(job: Job, story: Path) -> None:
    """InputError if `out` was begun with another film, story or model, or holds something else."""
    about = {
        "film": file_identity(job.film), "story": file_sha256(story), "model": part_hashes(job.model),
        "size": dataclasses.asdict(job.sizes),
    }  # fmt: skip
    path = job.out / BEGUN
    if path.exists():
        before = json.loads(path.read_text(encoding="utf-8"))
        if differ := [name for name in about if before.get(name) != about[name]]:
            raise InputError(f"{job.out}: was begun with another {differ[0]}, expected the same one or a new folder")
    elif job.out.exists() and (not job.out.is_dir() or any(job.out.iterdir())):
        raise InputError(f"{job.out}: found something there already, expected a new or empty folder, or an earlier run's")
    else:
        job.out.mkdir(parents=True, exist_ok=True)
        files.write_text(path, json.dumps(about, indent=1) + "\n")


def write_figures(job: Job) -> None:
    """The last shot is read here, and nowhere before."""
    shots = job.shots()
    clips = read_views(job.film, shots, draw_views(len(shots), 1, 0), job.frames, job.size)[0]
    tuned, shipped = (Artist(load_models(folder)) for folder in (job.tuned, job.model))
    found = report_next_shot(tuned, shipped, FilmShots(job.story, clips), [shot.name for shot in shots], job.sizes.draws)
    content = {
        "film": file_identity(job.film),
        "weights": {"shipped": part_hashes(job.model), "tuned": part_hashes(job.tuned)},
        "sizes": dataclasses.asdict(job.sizes),
        "figures": [figure for figures in found.tables.values() for figure in as_json(figures)],
    }
    files.write_text(job.out / "figures.json", json.dumps(content, indent=1, ensure_ascii=False) + "\n")
    files.write_text(job.out / "figures.md", found.markdown())
    write_png(job.out / "next_shot.png", found.pairs)
    write_png(job.out / "clips.png", found.clips)
    print(found.markdown(), end="")


def run(job: Job, say: Callable[[str], None] = print) -> None:
    """All parts in turn; returns early where a training was stopped by SIGTERM."""
    parts, began = job.parts(), time.monotonic()
    for number, (name, part) in enumerate(parts.items(), 1):
        passed, left = (time.monotonic() - began) / 60, sum(MINUTES[later] for later in list(parts)[number - 1 :])
        say(f"part {number} of {len(parts)}, {name}: {passed:.0f} min passed, about {left:.0f} left on an idle processor")
        if part() is False:
            return
    say(f"figures: {job.out / 'figures.md'}, {job.out / 'next_shot.png'}, {job.out / 'clips.png'}")
    say(f"model:   {job.tuned}, for stage film --model")


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("film", metavar="FILM", type=Path, help="thirty seconds of Big Buck Bunny, or the film of --story")
    parser.add_argument("--out", metavar="DIR", type=Path, required=True, help="a new folder, or that of an earlier run")
    parser.add_argument(
        "--story", metavar="FILE", type=Path, default=ASSETS / "bunny.json",
        help="a caption for every shot that ingest keeps, the last of which is predicted (that of Big Buck Bunny)",
    )  # fmt: skip
    parser.add_argument("--model", metavar="DIR", type=Path, default=ASSETS / "tiny", help="to start from (the shipped one)")
    parser.add_argument("--smoke", action="store_true", help="a few steps of everything: whether it runs")
    args = parser.parse_args(argv)
    try:
        sampling = part_sampling(args.model, "dit")
        sizes = Sizes(2, 2, "smoke") if args.smoke else Sizes()
        story = read_story(args.story)
        if len(list(story.shots())) < 2:
            raise InputError(f"{args.story}: found 1 shot, expected 2 or more: the last one is predicted from those before it")
        job = Job(args.film, args.out, story, args.model, sizes, tuple(sampling["size"]), sampling["frames"])
        check_begun(job, args.story)
        run(job)
    except (InputError, OSError) as error:
        print(f"finetune_film: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
