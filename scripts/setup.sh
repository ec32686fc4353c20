#!/usr/bin/env bash
# Install what a target of the Makefile needs, and say what: Debian packages (as root or through sudo) and .venv.
#   scripts/setup.sh demo|lint|test|bench
# Safe to run twice: what is there is left alone. PYTHON names another interpreter, VENV another folder.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
target=${1:?usage: scripts/setup.sh demo|lint|test|bench}
venv=${VENV:-.venv}
test_user=wardian-test

# package=program that shows it is there
engine=(bubblewrap=bwrap mmdebstrap=mmdebstrap uidmap=newuidmap util-linux=unshare)
oracles=(skopeo=skopeo umoci=umoci podman=podman runc=runc docker-registry=docker-registry apache2-utils=htpasswd git=git
  curl=curl busybox-static=busybox openssl=openssl shellcheck=shellcheck default-jre-headless=java gcc=gcc
  libc6-dev=gcc)
networks=(netavark=/usr/lib/podman/netavark aardvark-dns=/usr/lib/podman/aardvark-dns slirp4netns=slirp4netns
  fuse-overlayfs=fuse-overlayfs catatonit=catatonit iptables=iptables iproute2=ip) # what engines' containers need
needed=()
wanted=()
groups=()
case $target in
demo) needed=("${engine[@]}") ;;
lint) groups=(test lint) ;; # mypy reads the tests too
test) wanted=("${engine[@]}" "${oracles[@]}" "${networks[@]}") groups=(test lint) ;;
bench) needed=("${engine[@]}") wanted=(docker-registry=docker-registry podman=podman runc=runc "${networks[@]}") ;;
*)
  echo "setup: there is no target '$target'; it is one of demo, lint, test, bench" >&2
  exit 2
  ;;
esac

say() { echo "setup: $*" >&2; }

# Some programs (newuidmap, mmdebstrap) want a HOME, and some environments have none.
if [ -z "${HOME:-}" ]; then
  HOME=$(getent passwd "$(id -u)" | cut -d: -f6)
  export HOME=${HOME:-/}
fi
export PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin # a plain user's PATH may lack them

as_root=()
may_install() {
  command -v apt-get >/dev/null || return 1
  if [ "$(id -u)" = 0 ]; then return 0; fi
  command -v sudo >/dev/null || return 1
  if sudo -n true 2>/dev/null || [ -t 0 ]; then as_root=(sudo); else return 1; fi
}

absent() { # the packages whose program is not there
  local pair
  for pair in "$@"; do command -v "${pair#*=}" >/dev/null || echo "${pair%%=*}"; done
}

apt_install() {
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
    -o DPkg::Lock::Timeout=300 "$@" >/dev/null </dev/null
}

install_packages() { # install_packages PACKAGE…: what apt could not install, it has said
  say "installing with apt: $*"
  "${as_root[@]}" apt-get update -qq || say "apt-get update failed; going on with what it knows"
  apt_install "$@" && return
  local package
  for package in "$@"; do # another release may lack one of them: that is no reason to go without the others
    apt_install "$package" || say "apt could not install $package"
  done
}

find_python() { # the first interpreter that is new enough
  local name
  for name in ${PYTHON:+"$PYTHON"} python3 python3.13 python3.12 python3.11 /usr/bin/python3; do
    if "$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
      command -v "$name"
      return
    fi
  done
  return 1
}

# --- Debian packages ---------------------------------------------------------------------------------------------
mapfile -t missing < <(absent "${needed[@]}" "${wanted[@]}")
python=$(find_python) || missing+=(python3)
if [ ! -x "$venv/bin/python" ] && ! { [ -n "$python" ] && "$python" -c 'import ensurepip' 2>/dev/null; }; then
  missing+=(python3-venv)
fi
if [ ${#missing[@]} -gt 0 ]; then
  if may_install; then
    install_packages "${missing[@]}"
  else
    say "missing, and only root can install them: ${missing[*]}"
    say "type: sudo apt-get install --no-install-recommends ${missing[*]}"
  fi
  mapfile -t vital < <(absent "${needed[@]}")
  python=$(find_python) || vital+=("python3 (3.11 or newer)")
  if [ ! -x "$venv/bin/python" ] && [ -n "$python" ] && ! "$python" -c 'import ensurepip' 2>/dev/null; then
    vital+=(python3-venv)
  fi
  if [ ${#vital[@]} -gt 0 ]; then
    say "'make $target' cannot do without: ${vital[*]}"
    exit 1
  fi
  mapfile -t lacking < <(absent "${wanted[@]}")
  [ ${#lacking[@]} -eq 0 ] || say "going on without ${lacking[*]}; the tests that need them will say so"
fi
python=$(find_python) || {
  say "no Python 3.11 or newer; PYTHON=/path/to/python make $target names one"
  exit 1
}

# --- the user that the tests become to leave root --------------------------------------------------------------
if [ "$target" = test ] && [ "$(id -u)" = 0 ]; then
  if ! getent passwd $test_user >/dev/null; then
    say "making the user $test_user, whom the tests become where they must not be root"
    useradd --create-home --shell /bin/bash $test_user
  fi
  if ! grep -q "^$test_user:" /etc/subuid; then
    usermod --add-subuids 1000000-1065535 --add-subgids 1000000-1065535 $test_user
  fi
fi

# --- the engines of the tests ----------------------------------------------------------------------------------
unpacking=
if [ "$target" = test ]; then
  if [ "$(id -u)" != 0 ]; then
    say "a Docker daemon for the tests needs root; the tests that want one will say so"
  elif command -v apt-get >/dev/null; then
    scripts/lab/podman.sh install || say "going on without Podman; the tests that need it will say so"
    scripts/lab/docker.sh install & # packages are fetched while .venv is made
    unpacking=$!
  fi
fi

# --- .venv -------------------------------------------------------------------------------------------------------
stamp=$venv/.wardian-setup # what was installed from where; "in" where the environment lies; the groups
if [ -d "$venv" ] && grep -q '^in ' "$stamp" 2>/dev/null && ! grep -qxF "in $(cd "$venv" && pwd)" "$stamp"; then
  say "$venv was moved here, and its programs start from where it was"
  rm -rf "$venv"
fi
"$venv/bin/python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || {
  say "making $venv with $("$python" -V)"
  if [ -f "$venv/pyvenv.cfg" ]; then
    rm -rf "$venv" # an environment whose interpreter is gone
  elif [ -e "$venv" ]; then
    say "$venv is there and is no virtual environment; VENV=… names another folder"
    exit 1
  fi
  "$python" -m venv "$venv"
}
installed="$(sha256sum <pyproject.toml) of $PWD"
{ [ -f "$stamp" ] && [ "$(head -n 1 "$stamp")" = "$installed" ]; } || {
  say "installing wardian and its dependencies into $venv"
  "$venv/bin/python" -m pip install -q --disable-pip-version-check --upgrade 'pip>=25.1' # the first that knows --group
  "$venv/bin/python" -m pip install -q --disable-pip-version-check --editable .
  printf '%s\n' "$installed" "in $(cd "$venv" && pwd)" >"$stamp"
}
for group in "${groups[@]}"; do
  grep -qx "$group" "$stamp" || {
    say "installing the dependency group '$group' into $venv"
    "$venv/bin/python" -m pip install -q --disable-pip-version-check --group "$group"
    echo "$group" >>"$stamp"
  }
done
[ -z "$unpacking" ] || wait "$unpacking" || say "going on without Docker; the tests that need it will say so"
