#!/usr/bin/env bash
# A Docker daemon of one's own for measurements, beside whatever the machine has; nothing of the system is upgraded.
#   scripts/lab/docker.sh install|up|down|env          (root)
# Debian's newest Docker packages are unpacked below $LAB; runc, iptables and iproute2 are the system's own, because newer
# ones want a newer libc. A suite's expired index is accepted: packages are still checked against its signature.
#   LAB=.cache/lab   SUITE=sid (or trixie)   STORE=graph (or containerd)   DATA=$LAB/data (a tmpfs is faster)
#   DOCKERD_OPTS     more words for dockerd
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
LAB=$(realpath -m "${LAB:-.cache/lab}")
SUITE=${SUITE:-sid}
STORE=${STORE:-graph}
DATA=$(realpath -m "${DATA:-$LAB/data}")
prefix=$LAB/docker-$SUITE
run=$LAB/run/docker-$SUITE-$STORE
socket=$run/docker.sock
read -ra more <<<"${DOCKERD_OPTS:-}"
case $STORE in
graph) storage=(--storage-driver=overlay2) ;;
containerd) storage=(--feature containerd-snapshotter=true --storage-driver=overlayfs) ;;
*) echo "docker.sh: STORE is graph or containerd" >&2 && exit 2 ;;
esac

fetch() { # the packages of another suite, from the mirror that the machine uses anyway, unpacked and not installed
  local lists=$LAB/apt-$SUITE mirror deb
  # shellcheck disable=SC2016 # apt's own placeholder
  mirror=$(apt-get indextargets --format '$(SITE)' 'Created-By: Packages' | grep -m 1 '/debian/\?$') || true
  mirror=${mirror:-http://deb.debian.org/debian}
  mkdir -p "$lists"/{lists/partial,cache/archives/partial} "$LAB/debs-$SUITE"
  echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror $SUITE main" >"$lists/sources.list"
  local options=(-oDir::Etc::sourcelist="$lists/sources.list" -oDir::Etc::sourceparts=/dev/null
    -oDir::State::Lists="$lists/lists" -oDir::Cache="$lists/cache" -oAPT::Sandbox::User=root
    -oAcquire::Languages=none -oAcquire::Check-Valid-Until=false)
  apt-get "${options[@]}" update -qq
  (cd "$LAB/debs-$SUITE" && apt-get "${options[@]}" download -qq \
    docker.io docker-cli docker-buildx containerd tini-static)
  rm -rf "$prefix.new"
  for deb in "$LAB/debs-$SUITE"/*.deb; do dpkg -x "$deb" "$prefix.new"; done
  mkdir -p "$prefix.new/config"
  echo "{\"cliPluginsExtraDirs\":[\"$prefix/usr/libexec/docker/cli-plugins\"]}" >"$prefix.new/config/config.json"
  rm -rf "$prefix"
  mv "$prefix.new" "$prefix"
}

answers() { DOCKER_HOST=unix://$socket "$prefix/usr/bin/docker" info >/dev/null 2>&1; }

case ${1:-} in
install)
  missing=()
  for pair in runc=runc iptables=iptables iproute2=ip; do
    command -v "${pair#*=}" >/dev/null || missing+=("${pair%%=*}")
  done
  if [ ${#missing[@]} -gt 0 ]; then
    echo "docker.sh: installing with apt: ${missing[*]}" >&2
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null </dev/null
  fi
  [ -x "$prefix/usr/sbin/dockerd" ] || fetch
  ;;
up)
  if [ -S "$socket" ] && answers; then exit 0; fi
  mkdir -p "$run"
  export PATH=$prefix/usr/sbin:$prefix/usr/bin:$PATH
  setsid nohup dockerd "${storage[@]}" --data-root "$DATA/docker-$SUITE-$STORE" --exec-root "$run/exec" \
    --pidfile "$run/docker.pid" -H "unix://$socket" "${more[@]}" >"$run/dockerd.log" 2>&1 </dev/null &
  for _ in $(seq 150); do
    if answers; then exit 0; fi
    sleep 0.2
  done
  tail -n 20 "$run/dockerd.log" >&2
  exit 1
  ;;
down)
  [ -f "$run/docker.pid" ] || exit 0
  kill "$(cat "$run/docker.pid")"
  while [ -e "$run/docker.pid" ]; do sleep 0.2; done
  ;;
env) # for: eval "$(scripts/lab/docker.sh env)"
  echo "export PATH='$prefix/usr/sbin:$prefix/usr/bin':\$PATH DOCKER_HOST='unix://$socket' DOCKER_CONFIG='$prefix/config'" \
    "DOCKERD_PIDFILE='$run/docker.pid'"
  ;;
*)
  sed -n '2,8p' "${BASH_SOURCE[0]}" >&2
  exit 2
  ;;
esac
