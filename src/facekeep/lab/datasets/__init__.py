"""Readers of published test sets and of your own lists: one module a format.

Each returns a set of ``lab.evaluate.data`` and reads no pixels. A list that is damaged, or an
image that it names and that is not there, is an error before any work begins: what were left out
would make another figure than the protocol's. Training sets, which may hold damaged images,
are read by ``training_set.open_source``.
"""

from facekeep.lab.datasets.cfp import cfp
from facekeep.lab.datasets.csv import csv_pairs
from facekeep.lab.datasets.folder import person_folder
from facekeep.lab.datasets.ijb import ijb
from facekeep.lab.datasets.lfw import lfw, lfw_people, lfw_view_1
from facekeep.lab.datasets.pack import bin_pack
from facekeep.lab.datasets.people import known_people

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
