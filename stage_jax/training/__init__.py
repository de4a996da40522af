"""The train loop, its state and checkpoints, and one file per task."""
