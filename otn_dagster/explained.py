"""Errors whose text is a sentence for people: what is wrong, and what to do.

Belongs here: the common kinds. Does not belong here: an error of one domain; it is derived from these where it arises.

Whoever talks to a person (the command line, a page, a run's failure) shows such an error as it stands; any other exception is our fault.
"""


class Explained(Exception):
    """An error that may be shown to a person as it is."""

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else ""  # KeyError would put quotation marks around it


class Unknown(Explained, KeyError):
    """A name or number that stands for nothing here."""


class Unusable(Explained, ValueError):
    """Something that was given and cannot be used."""
