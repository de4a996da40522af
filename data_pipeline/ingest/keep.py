"""Which shots are kept, which of their frames are taken, and why others are not."""

from __future__ import annotations

from data_pipeline.ingest.analyse import FoundShot
from data_pipeline.ingest.duplicates import Seen
from data_pipeline.ingest.shots import INTERIOR, Bars, ShotRecord
from data_pipeline.ingest.stories import Stories

GUARD = 2  # frames between a cut and what is taken, so that a blended frame at the cut is not
SHORTEST = 1.0  # seconds of a shot that is kept; in less there is hardly a way from a start to an end
FEWEST = 2 * GUARD + 2 + INTERIOR  # frames of one
BLACK = 20.0  # grey levels of 255: a shot whose lightest picture has less in the mean is nearly black


class Keep:
    """Makes the records of one film, shot after shot."""

    def __init__(self, film: str) -> None:
        self._film, self._count = film, 0
        self._seen, self._stories = Seen(), Stories()

    def record(self, shot: FoundShot) -> ShotRecord:
        reason, measures = self._reason(shot), shot.measures
        name = self._stories.name(shot, not reason)
        start, end = shot.clear_first + GUARD, shot.clear_last - GUARD
        inside = tuple(start + round((end - start) * (k + 1) / (INTERIOR + 1)) for k in range(INTERIOR))
        self._count += 1
        return ShotRecord(
            film=self._film,
            index=self._count - 1,
            story=self._stories.story,
            name=name,
            first_frame=shot.first,
            last_frame=shot.last,
            seconds=round(_seconds(shot), 4),
            start_frame=None if reason else start,
            end_frame=None if reason else end,
            interior_frames=() if reason else inside,
            transition=shot.transition,
            camera=None if reason else measures.camera(),
            bars=measures.bars or Bars(),
            brightness=round(measures.brightest, 2),
            sharpness=round(measures.sharpness / max(measures.samples, 1), 2),
            motion=round(measures.motion / measures.seconds, 4) if measures.seconds else 0.0,
            kept=not reason,
            reason=reason,
        )

    def _reason(self, shot: FoundShot) -> str:
        """Why a shot is not kept; "" if it is."""
        frames = shot.clear_last + 1 - shot.clear_first
        if shot.seconds < SHORTEST - 1e-6 or frames < FEWEST or not shot.measures.samples:
            return f"shorter than {SHORTEST:g} s, or than {FEWEST} frames"
        if shot.measures.brightest < BLACK:
            return "nearly black"
        same = self._seen.same(self._count, shot.measures.signatures())
        return "" if same is None else f"the same as shot {same}"


def _seconds(shot: FoundShot) -> float:
    """How long a shot is shown: by the times of its clear frames, and those that are mixed at the same rate."""
    frames, clear = shot.last + 1 - shot.first, shot.clear_last + 1 - shot.clear_first
    return frames * shot.seconds / clear if clear > 0 else frames / shot.rate
