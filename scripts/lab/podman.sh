#!/usr/bin/env bash
# Podman with storage and settings of one's own, as root and as a plain user; what the machine's Podman has is not touched.
#   scripts/lab/podman.sh install                      (root) the packages, and two devices opened for plain users
#   scripts/lab/podman.sh up|env|down [USER]           (root, or that user)
# Containers get the limits that this machine has: Podman asks for more than a machine without CAP_SYS_RESOURCE can give.
#   DATA=.cache/lab/data   where images and settings go
#   WATCH=PID              clear away when this process is gone
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
user=${2:-}
place=$(realpath -m "${DATA:-.cache/lab/data}")/podman${user:+-$user}
export PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin

settings() { # containers.conf
  local files processes most limits=() runtime=runc
  files=$(ulimit -H -n)
  processes=$(ulimit -H -u)
  most=$(cat /proc/sys/kernel/pid_max) # the kernel lets Podman's children ask for no more than this
  if [ "$processes" = unlimited ] || [ "$processes" -gt "$most" ]; then processes=$most; fi
  [ "$files" = unlimited ] || limits+=("\"nofile=$files:$files\"")
  limits+=("\"nproc=$processes:$processes\"") # both: for one that is not named Podman has a default
  # crun refuses cgroups of version 1 beside an empty version 2
  if command -v crun >/dev/null && ! [ -d /sys/fs/cgroup/unified ]; then runtime=crun; fi
  echo "[containers]"
  echo "default_ulimits = [$(IFS=, && echo "${limits[*]}")]"
  echo "[network]"
  echo 'network_backend = "netavark"'
  echo "network_config_dir = \"$place/networks\""
  echo "[engine]"
  echo "runtime = \"$runtime\""
  [ -d /run/systemd/system ] || echo 'cgroup_manager = "cgroupfs"'
  echo 'events_logger = "file"'
  echo "tmp_dir = \"$place/tmp\""
  echo 'lock_type = "file"' # the other kind is shared by all Podmans of a machine
}

network() { # podman.json: what a bridge, its addresses and its rules are called is shared by all Podmans of a machine
  local number=$(($$ % 10000))
  printf '{"name": "podman", "id": "%s", "driver": "bridge", "network_interface": "podman%s", "dns_enabled": false,
    "subnets": [{"subnet": "10.%s.%s.0/24", "gateway": "10.%s.%s.1"}], "ipam_options": {"driver": "host-local"}}\n' \
    "$(printf %s "$place" | sha256sum | cut -c 1-64)" "$number" \
    $((number / 250 + 214)) $((number % 250)) $((number / 250 + 214)) $((number % 250))
}

as_user() { # as_user WORD…: run it as USER, if that is another
  local home
  if [ -z "$user" ] || [ "$user" = "$(id -un)" ]; then
    "$@"
  else
    home=$(getent passwd "$user" | cut -d: -f6)
    setpriv --reuid="$user" --regid="$(id -g "$user")" --init-groups --inh-caps=-all \
      env HOME="$home" USER="$user" LOGNAME="$user" "$@"
  fi
}

environment() { # NAME=VALUE, a line each
  echo "CONTAINERS_CONF=$place/containers.conf"
  echo "CONTAINERS_STORAGE_CONF=$place/storage.conf"
  [ -z "$user" ] || echo "XDG_RUNTIME_DIR=$(cat "$place/runtime")"
}

case ${1:-} in
install)
  missing=()
  for package in podman runc netavark aardvark-dns slirp4netns uidmap fuse-overlayfs catatonit iptables; do
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q ' installed$' || missing+=("$package")
  done
  if [ ${#missing[@]} -gt 0 ]; then
    echo "podman.sh: installing with apt: ${missing[*]}" >&2
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
      -o DPkg::Lock::Timeout=300 "${missing[@]}" >/dev/null </dev/null
  fi
  for device in /dev/fuse /dev/net/tun; do
    if [ -c "$device" ] && [ $((0$(stat -c %a "$device") & 6)) != 6 ]; then
      echo "podman.sh: chmod 666 $device, which Podman needs as a plain user" >&2
      chmod 666 "$device"
    fi
  done
  ;;
up)
  if [ -f "$place/runtime" ]; then exit 0; fi
  install -d -m 700 "$place"
  runtime=$(mktemp -d /tmp/podman.XXXXXX) # Podman refuses a runroot of more than 50 characters
  settings >"$place/containers.conf"
  mkdir "$place/networks"
  network >"$place/networks/podman.json"
  printf '[storage]\ndriver = "overlay"\ngraphroot = "%s"\nrootless_storage_path = "%s"\nrunroot = "%s"\n' \
    "$place/root" "$place/root" "$runtime/containers" >"$place/storage.conf"
  echo "$runtime" >"$place/runtime"
  if [ -n "$user" ] && [ "$(id -u)" = 0 ]; then chown -R "$user:$(id -g "$user")" "$place" "$runtime"; fi
  if [ -n "${WATCH:-}" ]; then
    # shellcheck disable=SC2016 # expanded by the shell that waits
    setsid nohup sh -c 'tail --pid="$1" -f /dev/null; exec "$0" down $2' "$PWD/scripts/lab/podman.sh" "$WATCH" "$user" \
      >/dev/null 2>&1 </dev/null &
  fi
  ;;
env) # for: eval "$(scripts/lab/podman.sh env)"
  echo "export $(environment | sed "s/=\(.*\)/='\1'/" | paste -sd ' ')"
  ;;
down)
  [ -f "$place/runtime" ] || exit 0
  mapfile -t words < <(environment)
  as_user env "${words[@]}" podman rm --all --force --time 0 >/dev/null 2>&1 || true
  if [ -n "$user" ]; then
    # What is below belongs to the user's subordinate ids, and one process holds mounts and ids of their namespace.
    # shellcheck disable=SC2016 # expanded inside
    as_user env "${words[@]}" podman unshare sh -c 'umount "$1/overlay"; rm -rf "$1"' sh "$place/root" 2>/dev/null || true
    if [ -f "$place/tmp/pause.pid" ]; then kill "$(cat "$place/tmp/pause.pid")" 2>/dev/null || true; fi
  fi
  # lazily where a build was cut short that still holds it
  umount -R "$place/root/overlay" 2>/dev/null || umount -R -l "$place/root/overlay" 2>/dev/null || true
  rm -rf "$(cat "$place/runtime")"
  rm -rf "$place"
  ;;
*)
  sed -n '2,7p' "${BASH_SOURCE[0]}" >&2
  exit 2
  ;;
esac
