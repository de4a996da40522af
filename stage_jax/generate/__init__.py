"""From a story to its board and its clips."""
