"""From films to shots: their frames, what is measured of them, and the stories that neighbouring shots make."""
