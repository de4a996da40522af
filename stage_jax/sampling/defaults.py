"""How Wan's released models are sampled, by their names in the zoo: the settings of Wan's own generate.py."""

from __future__ import annotations

from dataclasses import dataclass

SMALL_AREA = 480 * 832


@dataclass(frozen=True)
class SamplingDefaults:
    """guidance: (low, high), of the expert for low and for high noise; one number twice where there is one model. boundary:
    the noise level from which the expert for high noise serves. fps, frames: of a clip. small_shift: at 480p, where it is
    another than `shift`."""

    steps: int
    shift: float
    guidance: tuple[float, float]
    fps: int = 16
    frames: int = 81
    boundary: float | None = None
    small_shift: float | None = None
    solver: str = "unipc"

    def shift_at(self, height: int, width: int) -> float:
        """The shift for pictures of this size in pixels."""
        small = self.small_shift is not None and height * width <= SMALL_AREA
        return self.small_shift if small else self.shift


DEFAULTS: dict[str, SamplingDefaults] = {
    # Wan's README advises guidance 6 and a shift of 8 to 12 for the 1.3B; its program does not set them.
    "wan2.1-t2v-1.3b": SamplingDefaults(steps=50, shift=5.0, guidance=(5.0, 5.0)),
    "wan2.1-t2v-14b": SamplingDefaults(steps=50, shift=5.0, guidance=(5.0, 5.0)),
    "wan2.1-i2v-14b": SamplingDefaults(steps=40, shift=5.0, small_shift=3.0, guidance=(5.0, 5.0)),
    "wan2.1-flf2v-14b": SamplingDefaults(steps=50, shift=16.0, guidance=(5.0, 5.0)),
    "wan2.2-t2v-a14b": SamplingDefaults(steps=40, shift=12.0, guidance=(3.0, 4.0), boundary=0.875),
    "wan2.2-i2v-a14b": SamplingDefaults(steps=40, shift=5.0, guidance=(3.5, 3.5), boundary=0.900),
    "wan2.2-ti2v-5b": SamplingDefaults(steps=50, shift=5.0, guidance=(5.0, 5.0), fps=24, frames=121),
}
