"""Find all photos of a folder that show the person in one photo.

python examples/search_folder.py ada.jpg photos/
"""

import sys

from facekeep import FaceEngine, PhotoCache, search_folder

if len(sys.argv) != 3:
    sys.exit(__doc__)
photo, folder = sys.argv[1:]

# The cache remembers the faces of each photo, so that the next search takes seconds.
with FaceEngine() as engine, PhotoCache() as cache:
    result = search_folder(engine, photo, folder, cache=cache)

for found in result.found:
    print(f"{found.similarity:.3f} {found.path}")
print(f"found in {len(result.found)} of {len(result.photos.photos)} photos")
