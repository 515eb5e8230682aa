"""Enroll many people: a folder that holds a folder of photos for each person.

python examples/enroll_folder.py people.db people/
"""

import sys
from pathlib import Path

from facekeep import FaceEngine, list_images

if len(sys.argv) != 3:
    sys.exit(__doc__)
gallery, people = sys.argv[1:]

with FaceEngine(gallery) as engine:
    for folder in sorted(each for each in Path(people).iterdir() if each.is_dir()):
        result = engine.enroll(folder.name, list_images(folder))
        print(f"{result.name}: {result.enrolled} photos enrolled")
        for rejection in result.rejected:
            print(f"  not used: {rejection.image}: {rejection.reason}")
