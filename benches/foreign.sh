#!/bin/bash
# What an update and a check cost on a host with many elements of others, and a load of 1,000 ipsets.
#
# usage: foreign.sh BINARY     (as root; TURNS sets how many turns there are, 7 without it)
#
# Everything happens in network namespaces that the script makes. Three sizes:
#   update  an own table gets another prefix alongside a host's table of 20 sets with 10,000 prefixes each;
#           beside it nft doing the least: the set's block refilled, the set and the rules read back
#   check   `status --verify` of an embedded chain in a host's table of that size; beside it nft reading the
#           rules of the host, and tagwall's sets one by one
#   ipset   a first load of 1,000 groups; beside it `ipset restore` and both `iptables-restore` of the same files
# Prints medians of the elapsed time and of the peak resident memory of the largest process, tagwall's
# children included, and the ratio of the times pair by pair. Needs nft, ipset, iptables and GNU time.
set -euo pipefail
binary=$(realpath "$1") turns=${TURNS:-7}
PATH=$PATH:/usr/sbin:/sbin
work=$(mktemp -d) space=tagwall-foreign-$$
clean_up() { ip netns del "$space" 2>/dev/null || true; rm -rf "$work"; }
trap clean_up EXIT
fresh() { ip netns del "$space" 2>/dev/null || true; ip netns add "$space"; }
inside() { ip netns exec "$space" "$@"; }

# measure NAME COMMAND...: appends milliseconds and KiB of the largest process to the file NAME.
measure() {
    local name=$1 begun ended
    shift
    begun=$(date +%s%N)
    inside /usr/bin/time -o "$work/peak" -f %M "$@" > "$work/stdout" 2> "$work/stderr" || {
        echo "$name failed:"; cat "$work/stderr"; exit 1
    }
    ended=$(date +%s%N)
    echo "$(( (ended - begun) / 10000 )) $(tail -n 1 "$work/peak")" >> "$work/$name"
}
median() { sort -n | awk '{ all[NR] = $1 } END { print all[int((NR + 1) / 2)] }'; }
report() {
    local what=$1
    for name in "$what.tagwall" "$what.bare"; do
        awk -v name="$name" -v ms="$(cut -d' ' -f1 "$work/$name" | median)" -v kib="$(cut -d' ' -f2 "$work/$name" | median)" \
            'BEGIN { printf "%-15s %8.1f ms  %6.1f MiB\n", name, ms / 100, kib / 1024 }'
    done
    paste -d' ' "$work/$what.tagwall" "$work/$what.bare" | awk '{ printf "%.3f\n", $1 / $3 }' | sort -n |
        awk -v what="$what" '{ all[NR] = $1 } END { printf "%-15s %8.2f times (%.2f-%.2f)\n", what, all[int((NR + 1) / 2)], all[1], all[NR] }'
}

# Prefixes: every second /28 from 10.N.0.0 on.
nets() { awk -v first="$1" -v count="$2" 'BEGIN { for (n = 0; n < count; n++) { a = first * 65536 + 32 * n; printf "%s10.%d.%d.%d/28", n ? ",\n" : "", a / 65536 % 256, a / 256 % 256, a % 256 } }'; }
host_sets() {
    for ((set = 0; set < 20; set++)); do
        echo "set theirs$set { type ipv4_addr; flags interval; elements = {"
        nets $((10 + 10 * set)) 10000
        echo '} }'
    done
}
quoted() { sed 's/\(.*[0-9]\)\(,*\)$/"\1"\2/'; }
config() { # NAME PREFIXES TARGET
    {
        printf '[groups.a]\nprefixes = [\n%s\n]\n' "$2"
        printf '[rules.a]\nsource = ["172.16.0.0/24"]\ndestination = "a"\nservices = ["tcp/443"]\n'
        printf '[targets.edge]\napply = "automatic"\n[targets.edge.nftables]\negress = ["wan0"]\n%s\n' "$3"
    } > "$work/$1.toml"
}
block() { # TABLE PREFIXES: the set refilled in block form.
    printf 'flush set inet %s tw-a-v4\ntable inet %s { set tw-a-v4 { type ipv4_addr; flags interval; elements = {\n%s\n} }\n}\n' "$1" "$1" "$2"
}
reading() { # TABLE: what is left to do after the least load.
    echo "nft -j -t list ruleset > /dev/null && nft -j list set inet $1 tw-a-v4 > /dev/null"
}

echo "update of one prefix alongside 200,000 elements of others"
fresh
{ echo 'table inet theirs {'; host_sets; echo '}'; } | inside nft -f -
few=$(nets 230 999) more=$(nets 230 1000)
config few "$(quoted <<< "$few")" ""
config more "$(quoted <<< "$more")" ""
inside "$binary" --config "$work/few.toml" --state-dir "$work/state" render > "$work/stdout"
for ((turn = 0; turn < turns; turn++)); do
    if ((turn % 2)); then this=few elements=$few; else this=more elements=$more; fi
    measure update.tagwall "$binary" --config "$work/$this.toml" --state-dir "$work/state" render
    block tagwall "$elements" > "$work/block.nft"
    measure update.bare sh -c "nft -f '$work/block.nft' && $(reading tagwall)"
done
report update

echo "check of an embedded chain in a host's table of 200,000 elements"
fresh
rm -rf "$work/state"
{
    echo 'table inet filter {'
    host_sets
    echo 'chain azure { }'
    echo 'chain forward { type filter hook forward priority 0; policy accept; jump azure; }'
    echo '}'
} | inside nft -f -
config embed "$(quoted <<< "$few")" 'mode = "embed"'
inside "$binary" --config "$work/embed.toml" --state-dir "$work/state" render > "$work/stdout"
for ((turn = 0; turn < turns; turn++)); do
    measure check.tagwall "$binary" --config "$work/embed.toml" --state-dir "$work/state" status --verify
    measure check.bare sh -c "$(reading filter)"
done
report check

echo "first load of 1,000 groups by ipset"
{
    for ((group = 0; group < 1000; group++)); do
        printf '[groups.g%d]\nprefixes = ["10.%d.%d.0/26", "10.%d.%d.128/26"]\n' "$group" $((group / 250)) $((group % 250)) $((group / 250)) $((group % 250))
        printf '[rules.g%d]\nsource = ["172.16.0.0/24"]\ndestination = "g%d"\nservices = ["tcp/443"]\n' "$group" "$group"
    done
    printf '[targets.edge]\napply = "automatic"\n[targets.edge.iptables]\negress = ["wan0"]\n'
} > "$work/ipset.toml"
"$binary" --config "$work/ipset.toml" --state-dir "$work/none" render --out "$work/out" > "$work/stdout"
for ((turn = 0; turn < turns; turn++)); do
    fresh
    rm -rf "$work/state"
    measure ipset.tagwall "$binary" --config "$work/ipset.toml" --state-dir "$work/state" render
    fresh
    measure ipset.bare sh -c "ipset restore < '$work/out/edge/sets.ipset' && iptables-restore -n -w 5 < '$work/out/edge/rules.iptables' && ip6tables-restore -n -w 5 < '$work/out/edge/rules.ip6tables'"
done
report ipset
