"""What Wan's text side does to a prompt before it is cut into tokens."""

from __future__ import annotations

import html
import re

import ftfy

_SPACES = re.compile(r"\s+")


def clean_prompt(text: str) -> str:
    """Broken encodings mended (ftfy), HTML entities resolved twice over, runs of white space as one space, none at the ends.
    The same for Wan's own code and diffusers' (`prompt_clean`)."""
    return _SPACES.sub(" ", html.unescape(html.unescape(ftfy.fix_text(text)))).strip()
