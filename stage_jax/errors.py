"""What goes wrong because of what somebody gave us."""


class InputError(Exception):
    """One line for a person: the file, the place in it, what was found, what was expected."""
