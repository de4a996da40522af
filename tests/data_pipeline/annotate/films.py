"""A small ingested film without a film: its shots and their pictures."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from data_pipeline.ingest.shots import Bars, Camera, FilmShots, ShotRecord, picture_names, write_shots


def write_film(folder: Path, shots: int = 3, story_of: tuple[int, ...] = (1, 1, 2), interior: int = 1) -> FilmShots:
    """Shots of 2 s at 24 frames a second; shot k is grey 40 k + 20, and the last one is not kept if there are 4."""
    folder.mkdir(parents=True, exist_ok=True)
    records, number = [], {}
    for k in range(shots):
        story = story_of[min(k, len(story_of) - 1)]
        number[story] = number.get(story, 0) + 10
        kept = k < 3
        records.append(
            ShotRecord(
                film="bunny.mp4", index=k, story=story, name=f"SC{story:02d}_SH{number[story]:03d}", first_frame=48 * k,
                last_frame=48 * k + 47, seconds=2.0, start_frame=48 * k + 2 if kept else None,
                end_frame=48 * k + 45 if kept else None, interior_frames=(48 * k + 20,) * interior if kept else (),
                transition="cut" if k else "", camera=Camera("pan", "left", 0.1) if k == 1 else None, bars=Bars(),
                brightness=90.0, sharpness=9.0, motion=0.1, kept=kept,
                reason="" if kept else "shorter than 1 s",
            )
        )  # fmt: skip
        for name in picture_names(interior) if kept else ():
            Image.new("RGB", (32, 18), (40 * k + 20,) * 3).save(folder / f"{records[-1].name}_{name}.png")
    write_shots(folder, records)
    return FilmShots(folder, tuple(records))
