"""Measured ratios against a peer: both contenders on this machine, in turns, in one run."""
