"""A small world of stories whose pictures are drawn exactly, so that what a model makes of them can be read back."""
