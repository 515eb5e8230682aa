"""Divide people of a collection of aligned faces: two thirds to calibrate on, a third kept out.

    python scripts/split_people.py faces/index.tsv --sets celeba cs389 --faces 3000
    facekeep evaluate calibrate faces/ --labels calibrated.tsv --aligned --no-check-crops --model M --no-write
    facekeep evaluate folder faces/ --labels kept-out.tsv --aligned --model M

The index has the columns key, set and identity. The first faces with an identity are used, in the
order of their keys. A person is kept out if the first byte of the SHA-256 of the identity is a
multiple of three.
"""  # noqa: E501 - commands are not broken

from __future__ import annotations

import argparse
import csv
import hashlib
from pathlib import Path


def main() -> None:
    """Write the two tables into this folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("index", type=Path)
    parser.add_argument("--sets", nargs="+", required=True)
    parser.add_argument("--faces", type=int, required=True)
    given = parser.parse_args()
    with given.index.open(encoding="utf-8", newline="") as stream:
        rows = [
            each
            for each in csv.DictReader(stream, delimiter="\t")
            if each["set"] in given.sets and each["identity"]
        ]
    tables: dict[str, list[str]] = {"calibrated.tsv": [], "kept-out.tsv": []}
    for each in sorted(rows, key=lambda row: row["key"])[: given.faces]:
        kept = hashlib.sha256(each["identity"].encode()).digest()[0] % 3 == 0
        name = "kept-out.tsv" if kept else "calibrated.tsv"
        tables[name].append(f"{each['key']}\t{each['identity']}")
    for name, lines in tables.items():
        Path(name).write_text("\n".join(["key\tidentity", *lines]) + "\n", "utf-8")


if __name__ == "__main__":
    main()
