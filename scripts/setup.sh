#!/bin/sh
# Make .venv and install facekeep into it with one extra: scripts/setup.sh demo|dev|docs
set -eu
extra=$1
python=${PYTHON:-python3}

fail() {
    echo "setup: $1" >&2
    exit 1
}

command -v "$python" >/dev/null || fail "there is no $python; on Debian or Ubuntu: sudo apt install python3 python3-venv"
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
    fail "$("$python" --version) is too old: facekeep needs Python 3.11; name a newer one: make PYTHON=python3.12 ..."

if ! "$python" -c 'import ensurepip' 2>/dev/null; then
    # Debian and Ubuntu ship Python without what makes virtual environments.
    [ "$(id -u)" = 0 ] || fail "Python's venv is missing; run: sudo apt install python3-venv"
    apt-get update -qq && apt-get install -y -qq python3-venv ||
        fail "Python's venv is missing and could not be installed: apt install python3-venv"
fi

case $extra in
    demo) size="about 0.6 GB" ;;
    dev) size="about 2.2 GB, most of it PyTorch" ;;
    *) size="about 0.5 GB" ;;
esac
echo "setup: installing facekeep[$extra] into .venv ($size); this takes some minutes" >&2
[ -x .venv/bin/python ] || "$python" -m venv .venv
.venv/bin/python -m pip install --disable-pip-version-check --editable ".[$extra]" >&2
touch ".venv/.$extra"
