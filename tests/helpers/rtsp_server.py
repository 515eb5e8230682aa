"""An RTSP server for tests; run by the system's Python, which has GStreamer's bindings.

    /usr/bin/python3 rtsp_server.py PORT PATH=PIPELINE... [--user NAME --password WORD]

Prints the port once it listens. A pipeline ends in a payloader named pay0.
"""

import argparse

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer  # noqa: E402

parser = argparse.ArgumentParser()
parser.add_argument("port")
parser.add_argument("streams", nargs="+")
parser.add_argument("--user")
parser.add_argument("--password")
asked = parser.parse_args()
Gst.init(None)
server = GstRtspServer.RTSPServer(address="127.0.0.1", service=asked.port)
if asked.user:
    auth = GstRtspServer.RTSPAuth()
    token = GstRtspServer.RTSPToken()
    token.set_string("media.factory.role", "viewer")
    basic = GstRtspServer.RTSPAuth.make_basic(asked.user, asked.password)
    auth.add_basic(basic, token)
    server.set_auth(auth)
for stream in asked.streams:
    path, pipeline = stream.split("=", 1)
    factory = GstRtspServer.RTSPMediaFactory(launch=pipeline, shared=True)
    if asked.user:
        rights = Gst.Structure.new_from_string(
            "viewer, media.factory.access=true, media.factory.construct=true"
        )
        permissions = GstRtspServer.RTSPPermissions()
        permissions.add_role_from_structure(rights)
        factory.set_permissions(permissions)
    server.get_mount_points().add_factory(path, factory)
server.attach(None)
print(server.get_bound_port(), flush=True)  # noqa: T201 - whoever started it reads this
GLib.MainLoop().run()
