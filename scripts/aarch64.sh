#!/usr/bin/env bash
# Run the core of the tests, the benchmark and an equality check as a 64-bit ARM board would.
#
#   scripts/aarch64.sh [FOLDER]      default: a folder in the cache of the user
#
# Debian for arm64 is made in FOLDER/root by debootstrap and run by qemu's user-mode emulation of the
# processor of a Raspberry Pi 4; the wheels for aarch64 come from where pip finds packages here. The
# embeddings of two real faces are computed on this machine and under emulation, and must agree
# within 1e-3. Takes 2 GB and, the first time, half an hour and more; times measured under emulation
# say nothing about a board. OpenVINO is left out: its plug-in for ARM crashes under emulation.
#
# Needs root, and Debian's packages debootstrap and qemu-user-static.
#   MIRROR   where Debian's packages come from   [deb.debian.org]
#   PYTHON   the interpreter of this machine, with facekeep's development extras   [python3]
set -euo pipefail
cd "$(dirname "$0")/.."
repository=$PWD
folder=$(realpath -m "${1:-${XDG_CACHE_HOME:-$HOME/.cache}/facekeep/aarch64}")
mirror=${MIRROR:-http://deb.debian.org/debian}
python=${PYTHON:-python3}
root=$folder/root
site=$root/opt/site
suite=bookworm version=3.11

fail() { echo "aarch64.sh: $*" >&2; exit 1; }

prepare() {
    [ "$(id -u)" = 0 ] || fail "must be run as root: it makes a root file system"
    for program in debootstrap qemu-aarch64-static; do
        command -v "$program" >/dev/null ||
            fail "$program is missing; run: apt-get install debootstrap qemu-user-static"
    done
}

# Tell the kernel to run programs for aarch64 with qemu, if it does not yet.
register() {
    local table=/proc/sys/fs/binfmt_misc
    [ -e $table/register ] || mount -t binfmt_misc binfmt_misc $table ||
        fail "the kernel has no binfmt_misc"
    [ -e $table/qemu-aarch64 ] || cat /usr/lib/binfmt.d/qemu-aarch64.conf >$table/register
}

system() {
    [ ! -e "$root/.complete" ] || return 0
    rm -rf "$root"
    debootstrap --arch=arm64 --variant=minbase --include=python3 "$suite" "$root" "$mirror"
    touch "$root/.complete"
}

# Put the wheels for aarch64 into the system; nothing of them runs while they are installed.
packages() {
    local platforms=() tag
    for tag in manylinux2014 manylinux_2_17 manylinux_2_24 manylinux_2_27 manylinux_2_28 \
        manylinux_2_31 manylinux_2_34 manylinux_2_35; do
        platforms+=(--platform "${tag}_aarch64")
    done
    rm -rf "$site"
    "$python" -m pip install --quiet --target "$site" --only-binary=:all: \
        --python-version "$version" --implementation cp "${platforms[@]}" \
        ai-edge-litert click cryptography hypothesis matplotlib ncnn numpy onnx onnxruntime \
        opencv-python-headless pillow platformdirs psutil pytest pytest-timeout \
        rich scikit-image
    "$python" -m pip install --quiet --target "$site" --no-deps --upgrade "$repository"
    rm -rf "$root/srv/facekeep" && mkdir -p "$root/srv/facekeep"
    cp -r pyproject.toml tests scripts benchmarks "$root/srv/facekeep/"
}

emulated() {
    chroot "$root" /usr/bin/env -i PATH=/usr/bin:/bin HOME=/root LANG=C.UTF-8 CI=true \
        PYTHONPATH=/opt/site PYTHONDONTWRITEBYTECODE=1 \
        OMP_NUM_THREADS=1 QEMU_CPU=cortex-a72 /bin/sh -c "cd /srv/facekeep && $*"
}

prepare
register
system
packages
mountpoint -q "$root/proc" || mount -t proc proc "$root/proc"
trap 'umount "$root/proc"' EXIT

emulated python3 -c "'import platform; print(platform.machine(), platform.python_version())'"
"$python" scripts/embeddings.py "$root/srv/facekeep/expected.npz"
emulated python3 scripts/embeddings.py found.npz --expected expected.npz
emulated python3 -m pytest -q -p no:cacheprovider -o timeout=3600 \
    tests/test_types.py tests/pipeline/test_align.py tests/pipeline/test_decide.py \
    tests/runtime/test_runtime.py tests/runtime/test_sessions.py tests/runtime/test_ncnn.py \
    tests/runtime/test_litert.py
emulated python3 -m facekeep bench detect align embed --threads 1 --repeats 3
