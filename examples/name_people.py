"""Name the people in a photo.

python examples/name_people.py people.db party.jpg marked.jpg
"""

import sys

from facekeep import FaceEngine, annotate, load_image, save_image

if len(sys.argv) != 4:
    sys.exit(__doc__)
gallery, photo, marked = sys.argv[1:]

with FaceEngine(gallery, read_only=True) as engine:
    image = load_image(photo)
    faces = engine.identify(image)
    for face in faces:
        x1, y1, x2, y2 = face.bbox.round().astype(int)
        print(f"{face.name or 'unknown'} at {x1},{y1} to {x2},{y2}")
    save_image(marked, annotate(image, faces))
