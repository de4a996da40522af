"""From stories and films to records that the trainer reads."""
