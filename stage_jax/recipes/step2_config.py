"""How STEP2 sees a shot: layout of the pair, memory, text. A trained model keeps its own in `model.json` (sampling.recipe)."""

from __future__ import annotations

import dataclasses
from typing import Literal

Layout = Literal["temporal", "stacked"]
Packing = Literal["paper", "release", "off"]
Ranking = Literal["story", "clip_text", "clip_image", "latent", "recency"]
CLIP_RANKINGS = ("clip_text", "clip_image")


@dataclasses.dataclass(frozen=True)
class STEP2Config:
    """The defaults are those of the tiny model. Who chose what: the paper (STAGE, section 3), its release (the authors' code
    for inference), or we.

    layout: "temporal" (ours, for a video model): start and end are two time steps, memory is earlier. "stacked" (release):
        one virtual picture, the start frame above the end frame, memory in frames of its own behind it.
    joint: both frames in one sequence (paper: dual encoding). False is the paper's ablation: each is denoised alone.
    packing: "paper": the j-th ranked frame gets 1/2^j of a frame's area (equation 1). "release": two frames in full, then
        1/2^(k-1) per side. "off": no memory (the paper's ablation).
    previous: the end frame of the shot before is always there in full (release: its first control picture; the paper shows
        it to its text model). In "release" it is the first of the two in full.
    ranking: by what frames are ranked. "clip_text": CLIP similarity to the description, "clip_image": to the previous end
        frame (the paper says CLIP similarity, not to what). "latent": the same with latents (ours). "story": characters and
        place that the script names (ours, the tiny default). "recency": the newest first (ours).
    anchors: the first appearance of each named character stands before all others (ours; toy stories need it).
    ends: only end frames are remembered (release; the paper has both).
    slots: at most so many frames (ours); None: as many as the packing has.
    hints: input channels that tell whom of the named a memory frame shows, and whether its place (ours).
    memory_noise: in training, memory is noised up to this level, which the model hears (ours, against drift; 0: never).
    attributes: size, angle and movement are added to the text (paper: C_i).
    timing: seconds and number of frames are added (release).
    previous_text: the description of the shot before is added (release, of its training).
    image_tokens: CLIP tokens of the previous end frame enter by Wan's image branch (ours: the paper's text model looks at
        that frame, which umT5 cannot).
    """

    layout: Layout = "temporal"
    joint: bool = True
    packing: Packing = "paper"
    previous: bool = True
    ranking: Ranking = "story"
    anchors: bool = True
    ends: bool = False
    slots: int | None = None
    hints: bool = True
    memory_noise: float = 0.0
    attributes: bool = False
    timing: bool = False
    previous_text: bool = False
    image_tokens: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.memory_noise < 1:
            raise ValueError(f"memory_noise: found {self.memory_noise}, expected a level from 0 to below 1")


TINY = STEP2Config()
