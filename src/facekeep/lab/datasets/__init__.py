"""Readers of published test sets and of your own lists: one module a format.

Each returns a set of ``test_sets`` and reads no pixels. A list that is damaged, or an
image that it names and that is not there, is an error before any work begins: what were left out
would make another figure than the protocol's. Training sets, which may hold damaged images,
are read by ``training_set.open_source``.
"""

from facekeep.lab.datasets.bin_pack import read_bin_pack
from facekeep.lab.datasets.cfp import read_cfp
from facekeep.lab.datasets.ijb import read_ijb
from facekeep.lab.datasets.lfw import read_lfw, read_lfw_view_1
from facekeep.lab.datasets.pairs_table import read_pairs_table
from facekeep.lab.datasets.people import read_people, read_person_folder

__all__ = [
    "read_bin_pack",
    "read_cfp",
    "read_ijb",
    "read_lfw",
    "read_lfw_view_1",
    "read_pairs_table",
    "read_people",
    "read_person_folder",
]
