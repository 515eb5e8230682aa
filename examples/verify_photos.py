"""Do two photos show the same person? At most 1 pair of strangers in 100,000 gets a yes.

python examples/verify_photos.py id-card.jpg selfie.jpg
"""

import sys

from facekeep import FaceEngine

if len(sys.argv) != 3:
    sys.exit(__doc__)
with FaceEngine(fmr=1e-5) as engine:
    result = engine.verify(sys.argv[1], sys.argv[2])

if result.similarity is None:
    print("no: there is no face, or it cannot be used:", ", ".join(result.reasons))
else:
    print("yes" if result.match else "no", f"{result.similarity:.3f}")
    print(f"needed: {result.threshold.cosine:.3f}")
