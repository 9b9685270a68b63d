# Sourced by compat and clean_machine: Debian roots in a cache folder, and commands in them.
# shellcheck shell=bash

readonly PIP_CERTIFICATES=/opt/pip-certificates.pem
readonly CACHE="${CROPMAP_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/cropmap}"

say() { printf '%s: %s\n' "${0##*/}" "$*"; }
die() { printf '%s: %s\n' "${0##*/}" "$*" >&2; exit 1; }

# Settings of the network, pip and this project, as NAME=VALUE lines.
settings() { env | grep -E "^(PIP_[A-Z_]+|TORCH|TORCH_INDEX_URL|OMP_NUM_THREADS|[a-zA-Z]+_(proxy|PROXY)${1:+|$1})=" || true; }

become_root() { # arguments of the script
  local kept
  [ "$(id -u)" = 0 ] && return
  command -v sudo >/dev/null 2>&1 || die "run this as root: it makes a chroot."
  mapfile -t kept < <(settings 'CROPMAP_[A-Z]+')
  exec sudo env "${kept[@]}" CROPMAP_CACHE="$CACHE" "scripts/${0##*/}" "$@"
}

# The mirror is the one that apt already uses for Debian, so a local mirror keeps working.
mirror() {
  local uri
  uri=$(apt-get indextargets --format '$(REPO_URI) $(LABEL) $(COMPONENT)' 'Created-By: Packages' 2>/dev/null \
    | awk '$2 == "Debian" && $3 == "main" {print $1; exit}')
  [ -n "$uri" ] || die "apt lists no Debian mirror; this script needs Debian and the network."
  echo "$uri"
}

# make_root SUITE FOLDER [PACKAGE,...]: a minimal Debian, whole or not at all
make_root() {
  local suite=$1 folder=$2 packages=${3:-} uri
  [ -e "$folder/etc/debian_version" ] && return
  uri=$(mirror)
  if ! command -v debootstrap >/dev/null 2>&1; then
    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends debootstrap >/dev/null \
      || die "apt-get could not install debootstrap."
  fi
  say "making a minimal Debian ($suite) in $folder"
  rm -rf --one-file-system "$folder.part"
  mkdir -p "$folder.part"
  debootstrap --variant=minbase ${packages:+"--include=$packages"} "$suite" "$folder.part" "$uri" >"$folder.log" 2>&1 \
    || die "debootstrap failed; see $folder.log"
  mv "$folder.part" "$folder"
}

pip_settings() { /usr/bin/python3 -m pip config list 2>/dev/null || python3 -m pip config list 2>/dev/null || true; }

# What pip's configuration and environment name on this machine (an offline index, wheels) must be there in the root too, at
# the same paths. An index folder `.../simple` links to files beside it.
pip_paths() {
  local value
  pip_settings | sed -nE "s/^[^=]+='(.*)'\$/\1/p" | tr ' ' '\n' | sed -E 's,\\n,\n,g' | sed -E 's,^file://,,; s,/simple/?$,,' | while read -r value; do
    case "$value" in /*) [ -e "$value" ] && echo "$value" ;; esac
  done | sort -u
  for value in "${PIP_CONFIG_FILE:-}" /etc/pip.conf "$HOME/.config/pip/pip.conf" "$HOME/.pip/pip.conf"; do
    [ -f "$value" ] && echo "$value"
  done
  return 0
}

# lend SOURCE TARGET: a folder, read-only, or a copy of a file (packages may want to replace files)
lend() {
  if [ -d "$1" ]; then
    mkdir -p "$2"
    mount --bind "$1" "$2"
    mount -o remount,bind,ro "$2"
  else
    mkdir -p "$(dirname "$2")"
    cp -L "$1" "$2"
  fi
}

# Mounts what a command in a root needs. Call it inside `unshare --mount`: the mounts end with their namespace,
# however the script ends.
furnish() {
  local root=$1 path
  mount -t proc proc "$root/proc"
  mount --rbind /sys "$root/sys"
  mount --rbind /dev "$root/dev"
  mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
  [ -f /etc/resolv.conf ] && cp -L /etc/resolv.conf "$root/etc/resolv.conf"
  [ -f /etc/hosts ] && cp -L /etc/hosts "$root/etc/hosts"
  pip_paths | while read -r path; do lend "$path" "$root$path"; done
  # At a path of its own: the root's package of certificates rewrites the usual one.
  path=$(pip_settings | sed -nE "s/^[^=]*\.cert='(.*)'\$/\1/p" | head -n 1)
  [ -f "$path" ] && lend "$path" "$root$PIP_CERTIFICATES"
  return 0
}

# enter ROOT COMMAND...: with a clean environment but for the network's and pip's settings
enter() {
  local root=$1 kept
  shift
  mapfile -t kept < <(settings)
  [ -f "$root$PIP_CERTIFICATES" ] && kept+=("PIP_CERT=$PIP_CERTIFICATES")
  chroot "$root" /usr/bin/env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8 \
    TERM="${TERM:-dumb}" DEBIAN_FRONTEND=noninteractive "${kept[@]}" "$@"
}
