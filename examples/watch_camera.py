"""Say who comes and who leaves before a camera.

Reading cameras takes the extra video: pip install 'facekeep[video]'

python examples/watch_camera.py people.db rtsp://user:password@host/stream
python examples/watch_camera.py people.db film.mp4
"""

import sys

from facekeep import Camera, EventLog, FaceEngine, LiveSession, default_event_log_path

if len(sys.argv) < 3:
    sys.exit(__doc__)
gallery, source = sys.argv[1:3]
with (
    FaceEngine(gallery, read_only=True) as engine,
    EventLog.open(default_event_log_path(gallery)) as log,
    Camera(source, name="door") as camera,
    LiveSession(engine, [camera], log=log) as session,
):
    for event in session.events():
        if event.event != "camera":
            print(event.name or "somebody unknown", event.event, flush=True)
