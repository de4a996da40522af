"""What people get from a board and its clips: the film, the page, the pictures and the manifest."""
