"""Level `full` of the toy world: camera moves, more of everything, and cuts that are kept or broken."""
