#!/bin/sh
# Install the servers that the tests of cameras and events start (Debian or Ubuntu, as root): an MQTT
# broker, and what serves RTSP and MJPEG. Without them those tests are skipped, each with its reason.
set -eu
packages="mosquitto ffmpeg gir1.2-gst-rtsp-server-1.0 python3-gi gstreamer1.0-plugins-good
    gstreamer1.0-plugins-bad gstreamer1.0-plugins-ugly"
dpkg -s $packages > /dev/null 2>&1 && exit
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
apt-get install -y -qq --no-install-recommends $packages > /dev/null
