"""Readers of published test sets and of your own lists: one module a format.

Each returns a set of ``facekeep.evaluate.data`` and reads no pixels. A list that is damaged, or an
image that it names and that is not there, is an error before any work begins: what were left out
would make another figure than the protocol's.
"""

from facekeep.evaluate.readers._cfp import cfp
from facekeep.evaluate.readers._csv import csv_pairs
from facekeep.evaluate.readers._folder import person_folder
from facekeep.evaluate.readers._ijb import ijb
from facekeep.evaluate.readers._lfw import lfw, lfw_people, lfw_view_1
from facekeep.evaluate.readers._pack import bin_pack
from facekeep.evaluate.readers._people import known_people

__all__ = [
    "bin_pack",
    "cfp",
    "csv_pairs",
    "ijb",
    "known_people",
    "lfw",
    "lfw_people",
    "lfw_view_1",
    "person_folder",
]
