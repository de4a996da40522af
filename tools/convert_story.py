"""Writes a story in another format: ours, StoryMem's or ViStoryBench's.

    python tools/convert_story.py story.fountain story.json
    python tools/convert_story.py ViStory/07/story.json ours.json
    python tools/convert_story.py ours.json theirs.json --format vistorybench

Reads whatever `stage film` reads. Pictures are not copied: their paths stay relative to the story's folder.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from stage_jax.errors import InputError
from stage_jax.files import write_text
from stage_jax.story.readers import read_story
from stage_jax.story.storymem import to_storymem
from stage_jax.story.types import story_to_json
from stage_jax.story.vistorybench import to_vistorybench

FORMATS = {"story": story_to_json, "storymem": to_storymem, "vistorybench": to_vistorybench}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path)
    parser.add_argument("destination", type=Path)
    parser.add_argument("--format", choices=FORMATS, default="story")
    args = parser.parse_args()
    try:
        value = FORMATS[args.format](read_story(args.source))
    except InputError as error:
        print(f"convert_story: {error}", file=sys.stderr)
        return 2
    write_text(args.destination, json.dumps(value, indent=2, ensure_ascii=False) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
