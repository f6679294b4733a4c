#!/bin/bash
# From a dropped file to the kernel's rules: how long the agent takes beyond its quiet period.
#
# usage: dropped.sh BINARY PUBLICATION OTHER-PUBLICATION     (as root; the second is the newer one)
#
# The agent follows a folder with packaging/examples/nftables.toml (7 tags) in a network namespace. Its quiet period is 0, so what is measured
# is what it takes beyond any. Each turn begins with a fresh state that has the older publication in force; then the newer one is renamed
# into the folder, and the time until nft shows the last generation's digest is taken. Prints each turn in milliseconds, then the median.
set -euo pipefail
binary=$(realpath "$1") older=$(realpath "$2") newer=$(realpath "$3")
here=$(cd "$(dirname "$0")/.." && pwd)
space=tagwall-bench-$$
work=$(mktemp -d)
agent=
clean_up() { [ -z "$agent" ] || kill "$agent" 2>/dev/null || true; ip netns del "$space" 2>/dev/null || true; rm -rf "$work"; }
trap clean_up EXIT
sed 's/^\[targets.edge.nftables\]$/[targets.edge]\napply = "automatic"\n[targets.edge.nftables]/' "$here/packaging/examples/nftables.toml" > "$work/tagwall.toml"
printf '\n[agent]\nquiet-period = "0s"\n[feeds.drop.directory]\npath = "%s/drop"\n' "$work" >> "$work/tagwall.toml"
ip netns add "$space"
generation() { readlink "$work/state/current" 2>/dev/null | grep -o '[0-9]*$' || true; }
now() { date +%s%N; }
times=()
for turn in $(seq 11); do
    rm -rf "$work/state" "$work/drop"; mkdir "$work/drop"
    ip netns exec "$space" nft flush ruleset
    cp "$older" "$work/drop/"
    ip netns exec "$space" "$binary" --config "$work/tagwall.toml" --state-dir "$work/state" run 2> "$work/log" & agent=$!
    until grep -q '"ready"' "$work/log"; do sleep 0.1; done
    until [ -n "$(generation)" ] && [ ! -e "$work/state/journal.json" ]; do sleep 0.1; done
    sleep 1
    before=$(generation)
    cp "$newer" "$work/drop/.part"
    begun=$(now)
    mv "$work/drop/.part" "$work/drop/$(basename "$newer")"
    # The kernel has the rules when the outcome is recorded: they were read back before.
    until [ "$(generation)" != "$before" ] && [ -e "$work/state/current/outcome.json" ]; do sleep 0.002; done
    taken=$(( ($(now) - begun) / 1000000 ))
    echo "turn $turn: $taken ms"
    times+=("$taken")
    kill "$agent"; wait "$agent" || true; agent=
done
printf '%s\n' "${times[@]}" | sort -n | sed -n 6p | sed 's/^/median: /; s/$/ ms/'
