#!/bin/bash
# From a dropped file to the kernel's rules: how long the agent takes beyond its quiet period.
#
# usage: dropped.sh BINARY PUBLICATION OTHER-PUBLICATION     (as root; the second is the newer one)
#
# The agent follows a folder with packaging/examples/nftables.toml (7 tags) in a network namespace. It waits for no quiet (0) and for a
# file to stand still for 50 ms only, so what is measured is what it takes beyond both. Each turn begins with a fresh state that has the
# older publication in force; then the newer one is renamed into the folder, and two times are taken: until the kernel has the rules (where
# one nftables target is loaded, `current` is switched right after the loading), and until the generation is recorded, which is after the
# kernel was read back. Prints for each turn both, and the processor time of the agent and the firewall's commands, then the medians. The
# publications must differ in these tags. TURNS sets how many turns there are.
set -euo pipefail
binary=$(realpath "$1") older=$(realpath "$2") newer=$(realpath "$3")
here=$(cd "$(dirname "$0")/.." && pwd)
space=tagwall-bench-$$
work=$(mktemp -d)
agent=
clean_up() { [ -z "$agent" ] || kill "$agent" 2>/dev/null || true; ip netns del "$space" 2>/dev/null || true; rm -rf "$work"; }
trap clean_up EXIT
sed 's/^\[targets.edge.nftables\]$/[targets.edge]\napply = "automatic"\n[targets.edge.nftables]/' "$here/packaging/examples/nftables.toml" > "$work/tagwall.toml"
printf '\n[agent]\nquiet-period = "0s"\n[feeds.drop.directory]\npath = "%s/drop"\nsettle = "50ms"\n' "$work" >> "$work/tagwall.toml"
ip netns add "$space"
generation() { readlink "$work/state/current" 2>/dev/null | grep -o '[0-9]*$' || true; }
now() { date +%s%N; }
loaded=() times=() used=()
# Processor time of the agent and of the commands that it waited for, in milliseconds.
processor() { awk -v hz="$(getconf CLK_TCK)" '{ sub(/.*\) /, ""); print ($12 + $13 + $14 + $15) * 1000 / hz }' "/proc/$agent/stat"; }
median() { printf '%s\n' "$@" | sort -n | sed -n "$(( ($# + 1) / 2 ))p"; }
for turn in $(seq "${TURNS:-11}"); do
    rm -rf "$work/state" "$work/drop"; mkdir "$work/drop"
    ip netns exec "$space" nft flush ruleset
    cp "$older" "$work/drop/"
    ip netns exec "$space" "$binary" --config "$work/tagwall.toml" --state-dir "$work/state" run 2> "$work/log" & agent=$!
    until grep -q '"ready"' "$work/log"; do sleep 0.1; done
    until [ -n "$(generation)" ] && [ ! -e "$work/state/journal.json" ]; do sleep 0.1; done
    sleep 1
    cp "$newer" "$work/drop/.part"
    before=$(realpath "$work/state/current") in_kernel=
    spent=$(processor) begun=$(now)
    mv "$work/drop/.part" "$work/drop/$(basename "$newer")"
    until [ -e "$work/state/current/outcome.json" ] && [ -n "$in_kernel" ]; do
        if [ -z "$in_kernel" ] && ! [ "$work/state/current" -ef "$before" ]; then
            in_kernel=$(( ($(now) - begun) / 1000000 ))
        fi
        sleep 0.002
        [ $(( ($(now) - begun) / 1000000000 )) -lt 60 ] || { echo "no new generation within a minute:"; tail -3 "$work/log"; exit 1; }
    done
    taken=$(( ($(now) - begun) / 1000000 ))
    sleep 0.2
    spent=$(( $(processor) - spent ))
    echo "turn $turn: in the kernel after $in_kernel ms, recorded after $taken ms, $spent ms of processor"
    loaded+=("$in_kernel") times+=("$taken") used+=("$spent")
    kill "$agent"; wait "$agent" || true; agent=
done
echo "median: in the kernel after $(median "${loaded[@]}") ms, recorded after $(median "${times[@]}") ms, $(median "${used[@]}") ms of processor"
