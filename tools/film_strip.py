"""Shows a film's shots as strips of frames, and how near each clip comes to the pair it was to fill in.

    stage film stage_jax/assets/demo.fountain --out out/demo && python tools/film_strip.py out/demo --out docs/demo.png

Prints a table: PSNR of a clip's first and last frame to the start and end frame in OUT/frames, and beside it what the VAE alone
makes of these as stills. The clips are read as they lie there, compressed, and brought to the size that the model makes.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from stage_jax.errors import InputError
from stage_jax.evaluation.psnr import psnr
from stage_jax.evaluation.sheets import frame_rows
from stage_jax.evaluation.vae import still_reconstructions
from stage_jax.film.png import write_png
from stage_jax.film.video import read_video
from stage_jax.generate.models import read_codec
from stage_jax.story.pictures import fit_picture
from stage_jax.weights.folder import part_sampling

SHOWN = 7  # frames of a shot
TINY = Path(__file__).resolve().parents[1] / "stage_jax" / "assets" / "tiny"


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("film", metavar="DIR", type=Path, help="a folder that `stage film` wrote")
    parser.add_argument("--model", metavar="DIR", type=Path, default=TINY, help="whose VAE (the shipped one)")
    parser.add_argument("--out", metavar="FILE", type=Path, required=True, help="a PNG")
    args = parser.parse_args(argv)
    try:
        clips = sorted((args.film / "clips").glob("*.mp4"))
        if not clips:
            raise InputError(f"{args.film / 'clips'}: no clips in it, expected a film's folder")
        codec, size, rows = read_codec(args.model), tuple(part_sampling(args.model, "dit")["size"]), []
        print("| shot | frames | first | last | VAE, start | VAE, end |\n| --- | --- | --- | --- | --- | --- |")
        for path in clips:
            clip = np.stack([fit_picture(frame, size) for frame in read_video(path)])
            files = (args.film / "frames" / f"{path.stem}_{end}.png" for end in ("start", "end"))
            pair = np.stack([_frame(file, size) for file in files])
            ends, stills = psnr(clip[[0, -1]], pair), psnr(still_reconstructions(codec, pair), pair)
            print(f"| {path.stem} | {len(clip)} | " + " | ".join(f"{value:.1f}" for value in (*ends, *stills)) + " |")
            chosen = np.linspace(0, len(clip) - 1, SHOWN).round().astype(int)
            rows.append((path.stem, clip[chosen]))
        write_png(args.out, frame_rows(rows))
    except (InputError, OSError) as error:
        print(f"film_strip: {error}", file=sys.stderr)
        return 2
    return 0


def _frame(path: Path, size: tuple[int, int]) -> np.ndarray:
    with Image.open(path) as picture:
        return fit_picture(np.asarray(picture.convert("RGB")), size)


if __name__ == "__main__":
    sys.exit(main())
