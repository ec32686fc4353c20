#!/usr/bin/env bash
# A Docker daemon of one's own for tests and measurements, beside whatever the machine has; nothing is upgraded.
#   scripts/lab/docker.sh install|up|down|env          (root)
# Debian's newest Docker packages are unpacked below $LAB; runc, iptables and iproute2 are the system's own, because newer
# ones want a newer libc. A suite's expired index is accepted: packages are still checked against its signature.
# The daemon gets a bridge and addresses of its own and leaves iptables to this script: a daemon that manages them itself
# throws away the rules of every other one when it starts.
#   LAB=.cache/lab   SUITE=sid (or trixie)   STORE=graph (or containerd)
#   DATA=$LAB/data   where images go (a tmpfs is faster)   RUN=$LAB/run/docker-$SUITE-$STORE   its log and its number
#   WATCH=PID        end the daemon when this process is gone
#   DOCKERD_OPTS     more words for dockerd
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
LAB=$(realpath -m "${LAB:-.cache/lab}")
SUITE=${SUITE:-sid}
STORE=${STORE:-graph}
DATA=$(realpath -m "${DATA:-$LAB/data}")
prefix=$LAB/docker-$SUITE
run=$(realpath -m "${RUN:-$LAB/run/docker-$SUITE-$STORE}")
sockets=/run/wardian-lab.$(printf %s "$run" | cksum | cut -d ' ' -f 1) # containerd takes no more than 104 characters
socket=$sockets/docker.sock
export PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
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
  [ -n "$mirror" ] || { echo "docker.sh: apt knows no mirror of Debian; name one in its sources" >&2 && exit 1; }
  mkdir -p "$lists"/{lists/partial,cache/archives/partial} "$LAB/debs-$SUITE"
  echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror $SUITE main" >"$lists/sources.list"
  local options=(-oDir::Etc::sourcelist="$lists/sources.list" -oDir::Etc::sourceparts=/dev/null
    -oDir::State::Lists="$lists/lists" -oDir::Cache="$lists/cache" -oAPT::Sandbox::User=root
    -oAcquire::Languages=none -oAcquire::Check-Valid-Until=false)
  apt-get "${options[@]}" update -qq
  (cd "$LAB/debs-$SUITE" && apt-get "${options[@]}" download -qq \
    docker.io docker-cli docker-buildx docker-compose containerd tini-static)
  rm -rf "$prefix.new"
  for deb in "$LAB/debs-$SUITE"/*.deb; do dpkg -x "$deb" "$prefix.new"; done
  mkdir -p "$prefix.new/config"
  echo "{\"cliPluginsExtraDirs\":[\"$prefix/usr/libexec/docker/cli-plugins\"]}" >"$prefix.new/config/config.json"
  rm -rf "$prefix" "$LAB/debs-$SUITE"
  mv "$prefix.new" "$prefix"
}

alive() { [ -d "/proc/$1" ] && ! grep -q '^State:.Z' "/proc/$1/status" 2>/dev/null; } # one that nobody waits for is dead

answers() { DOCKER_HOST=unix://$socket "$prefix/usr/bin/docker" info >/dev/null 2>&1; }

# The alias of a bridge says whose it is. Its number is also that of its addresses, and making it is what claims them.
rules() { # rules -I|-D NUMBER: what lets its containers reach the world
  local range=10.213.$2.0/24 verb=$1
  iptables -w "$verb" FORWARD -s "$range" -j ACCEPT
  iptables -w "$verb" FORWARD -d "$range" -j ACCEPT
  iptables -w -t nat "$verb" POSTROUTING -s "$range" ! -d "$range" -j MASQUERADE
}

remove_bridge() { # remove_bridge NUMBER
  rules -D "$1" 2>/dev/null || true
  ip link delete "wardian$1" 2>/dev/null || true
}

remove_sockets() { # remove_sockets FOLDER
  local mounted
  for mounted in "$1"/exec/netns/*; do umount "$mounted" 2>/dev/null || true; done # a build in the host's network
  rm -rf "$1" 2>/dev/null || true
}

sweep() { # what daemons that were killed have left
  local number owner folder
  for folder in /run/wardian-lab.*; do
    [ -r "$folder/daemon" ] || continue
    alive "$(cat "$folder/daemon")" || remove_sockets "$folder"
  done
  for bridge in /sys/class/net/wardian*; do
    [ -r "$bridge/ifalias" ] || continue
    number=${bridge##*wardian}
    owner=$(cat "$bridge/ifalias")
    if [ -n "$owner" ] && ! alive "$owner"; then remove_bridge "$number"; fi
  done
}

claim_bridge() { # prints the number of a new bridge
  local number
  for number in $(seq 0 255); do
    if ip link add "wardian$number" type bridge 2>/dev/null; then
      ip link set "wardian$number" alias $$ up # until the daemon's number is known
      ip address add "10.213.$number.1/26" dev "wardian$number"
      rules -I "$number"
      echo "$number"
      return
    fi
  done
  echo "docker.sh: no network bridge could be made (ip link add wardian0 type bridge)" >&2
  return 1
}

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
  if ! { [ -x "$prefix/usr/sbin/dockerd" ] && [ -x "$prefix/usr/libexec/docker/cli-plugins/docker-compose" ]; }; then
    echo "docker.sh: unpacking Docker of Debian $SUITE below $prefix" >&2
    fetch
  fi
  ;;
up)
  if [ -S "$socket" ] && answers; then exit 0; fi
  mkdir -p "$run"
  # A daemon takes a dead one's number for that of a living one while nobody has waited for it.
  if [ -f "$run/docker.pid" ] && ! alive "$(cat "$run/docker.pid")"; then rm "$run/docker.pid"; fi
  exec 9>/run/lock/wardian-lab
  flock 9 # for each other's leavings
  sweep
  [ -d "$sockets" ] || mkdir -m 711 "$sockets"
  number=$(claim_bridge)
  echo "$number" >"$run/bridge"
  setsid nohup env PATH="$prefix/usr/sbin:$prefix/usr/bin:$PATH" dockerd "${storage[@]}" --iptables=false \
    --ip6tables=false --bridge "wardian$number" --fixed-cidr "10.213.$number.0/26" \
    --default-address-pool "base=10.213.$number.64/26,size=28" \
    --default-address-pool "base=10.213.$number.128/25,size=28" \
    --data-root "$DATA/docker-$SUITE-$STORE" --exec-root "$sockets/exec" \
    --pidfile "$run/docker.pid" -H "unix://$socket" "${more[@]}" >"$run/dockerd.log" 2>&1 </dev/null 9>&- &
  ip link set "wardian$number" alias $!
  echo $! >"$sockets/daemon"
  exec 9>&-
  for _ in $(seq 150); do
    if answers; then
      if [ -n "${WATCH:-}" ]; then
        # shellcheck disable=SC2016 # expanded by the shell that waits
        setsid nohup sh -c 'tail --pid="$1" -f /dev/null; exec "$0" down' "$PWD/scripts/lab/docker.sh" "$WATCH" \
          >/dev/null 2>&1 </dev/null &
      fi
      exit 0
    fi
    sleep 0.2
  done
  tail -n 20 "$run/dockerd.log" >&2
  "$PWD/scripts/lab/docker.sh" down
  exit 1
  ;;
down)
  if [ -f "$run/docker.pid" ]; then
    daemon=$(cat "$run/docker.pid")
    # one whose first program hears no signal would be waited for
    mapfile -t running < <(DOCKER_HOST=unix://$socket timeout 10 "$prefix/usr/bin/docker" ps -q 2>/dev/null)
    [ ${#running[@]} -eq 0 ] ||
      DOCKER_HOST=unix://$socket timeout 10 "$prefix/usr/bin/docker" kill "${running[@]}" >/dev/null 2>&1 || true
    kill "$daemon" 2>/dev/null || true
    while alive "$daemon"; do sleep 0.1; done
    rm -f "$run/docker.pid"
  fi
  remove_sockets "$sockets"
  if [ -f "$run/bridge" ]; then
    remove_bridge "$(cat "$run/bridge")"
    rm -f "$run/bridge"
  fi
  ;;
env) # for: eval "$(scripts/lab/docker.sh env)"
  echo "export PATH='$prefix/usr/sbin:$prefix/usr/bin':\$PATH DOCKER_HOST='unix://$socket' DOCKER_CONFIG='$prefix/config'" \
    "DOCKERD_PIDFILE='$run/docker.pid'"
  ;;
*)
  sed -n '2,12p' "${BASH_SOURCE[0]}" >&2
  exit 2
  ;;
esac
