#!/bin/bash
# How much memory the agent takes at rest.
#
# usage: rest.sh BINARY PUBLICATION OTHER-PUBLICATION [CONFIGURATION]
#
# The agent follows a folder with packaging/examples/apim.toml, or with another configuration; nothing is loaded into a kernel. Taken after
# the first publication, after the second, and after a restart, each time when it has been at rest for a while: what is its own (RssAnon),
# pages of files that it shares with the page cache, and that the kernel takes back when it needs them (RssFile), and both (VmRSS); as root
# on a host with a memory controller also what `systemctl status` would show: its own and the cache that was charged to it.
set -euo pipefail
binary=$(realpath "$1") older=$(realpath "$2") newer=$(realpath "$3")
here=$(cd "$(dirname "$0")/.." && pwd)
config=$(realpath "${4:-$here/packaging/examples/apim.toml}")
work=$(mktemp -d)
group=
for controller in /sys/fs/cgroup/memory /sys/fs/cgroup; do
    [ -e "$controller/cgroup.procs" ] || continue
    if mkdir "$controller/tagwall-rest-$$" 2>/dev/null; then group=$controller/tagwall-rest-$$; break; fi
done
agent=
clean_up() {
    [ -z "$agent" ] || { kill "$agent" && wait "$agent"; } 2>/dev/null || true
    [ -z "$group" ] || rmdir "$group" 2>/dev/null || true
    rm -rf "$work"
}
trap clean_up EXIT
mkdir "$work/drop"
{ cat "$config"; printf '\n[agent]\nquiet-period = "0s"\n[feeds.drop.directory]\npath = "%s/drop"\n' "$work"; } > "$work/tagwall.toml"
start() {
    : > "$work/log"
    (
        [ -z "$group" ] || echo "$BASHPID" > "$group/cgroup.procs" || true
        exec "$binary" --config "$work/tagwall.toml" --state-dir "$work/state" run 2> "$work/log"
    ) & agent=$!
    until grep -q '"ready"' "$work/log"; do sleep 0.1; kill -0 "$agent"; done
}
drop() { cp "$1" "$work/drop/.part"; mv "$work/drop/.part" "$work/drop/$(basename "$1")"; }
report() {
    sleep "${REST:-10}"
    awk -v what="$1" '/^(VmRSS|RssAnon|RssFile):/ { size[$1] = $2 / 1024 }
        END { printf "%s: own %.1f MiB, pages of files %.1f MiB, in all %.1f MiB", what, size["RssAnon:"], size["RssFile:"], size["VmRSS:"] }' \
        "/proc/$agent/status"
    for file in memory.usage_in_bytes memory.current; do
        [ ! -r "$group/$file" ] || awk '{ printf "; charged to its group %.1f MiB", $1 / 1048576 }' "$group/$file"
    done
    echo
}
cp "$older" "$work/drop/"
start
report "after the first publication"
drop "$newer"
until [ "$(grep -c '"judged"' "$work/log")" -ge 2 ]; do sleep 0.1; kill -0 "$agent"; done
report "after the second"
kill "$agent"; wait "$agent" || true
start
report "after a restart"
