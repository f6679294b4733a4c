#!/bin/bash
# What following hostnames costs at rest: processor time and memory of the agent with many names of a short time to live.
#
# usage: names.sh BINARY [SECONDS [NAMES]]     (default: 300 seconds, 200 names with a time to live of 60 s)
#
# A real name server (nsd) on loopback answers A and AAAA. After the first answers and a minute of settling, the agent's processor
# time, threads and resident memory are taken at the beginning and at the end of the time. The share is of one core; the goal is
# less than 1 % for 200 names and less than 5 % for 5,000, with no growth of memory. Two programs are compared by running both at
# once: what else the machine does changes both alike.
set -euo pipefail
binary=$(realpath "$1") seconds=${2:-300} names=${3:-200}
work=$(mktemp -d) agent='' server='' port=$((20000 + RANDOM % 20000))
clean_up() { for pid in $agent $server; do kill "$pid" 2>/dev/null || true; done; wait; rm -rf "$work"; }
trap clean_up EXIT
{
    printf '%s\n' "\$ORIGIN example.com."
    echo '@ 60 SOA ns admin 1 3600 600 86400 60'
    echo '@ 60 NS ns'
    echo 'ns 60 A 127.0.0.1'
    for ((n = 0; n < names; n++)); do
        echo "n$n 60 A 198.51.100.$((n % 250 + 1))"
        echo "n$n 60 AAAA 2001:db8::$((n % 250 + 1))"
    done
} > "$work/example.com.zone"
cat > "$work/nsd.conf" <<END
server:
 ip-address: 127.0.0.1@$port
 username: ""
 chroot: ""
 zonesdir: "$work"
 pidfile: ""
 xfrdfile: ""
 database: ""
 zonelistfile: "$work/zone.list"
 xfrdir: "$work"
 server-count: 1
 rrl-ratelimit: 0
remote-control:
 control-enable: no
zone:
 name: example.com
 zonefile: example.com.zone
END
PATH=$PATH:/usr/sbin nsd -d -c "$work/nsd.conf" >"$work/nsd.log" 2>&1 & server=$!
{
    echo 'cloud = "example"'
    echo '[groups.web]'
    printf 'hosts = ['; for ((n = 0; n < names; n++)); do printf '"n%s.example.com", ' "$n"; done; echo ']'
    printf '[targets.lists.list]\n[dns]\nresolvers = ["127.0.0.1:%s"]\n' "$port"
    for ((n = 0; n < names; n++)); do
        printf '[dns.names."n%s.example.com"]\nallow-special = ["198.51.100.0/24", "2001:db8::/32"]\n' "$n"
    done
} > "$work/tagwall.toml"
"$binary" --config "$work/tagwall.toml" --state-dir "$work/state" run 2> "$work/log" & agent=$!
for ((waited = 0; ; waited++)); do
    [ "$(grep -c 'has new addresses' "$work/log")" -ge "$names" ] && break
    [ "$waited" -lt $((300 + names)) ] || { echo "not all names were answered in time:"; tail -n 3 "$work/log"; exit 1; }
    sleep 0.2
done
sleep 60
ticks() { awk '{ sub(/.*\) /, ""); print $12 + $13 + $14 + $15 }' "/proc/$agent/stat"; }
resident() { awk '$1 == "VmRSS:" { print $2 }' "/proc/$agent/status"; }
spent=$(ticks) memory=$(resident)
sleep "$seconds"
spent=$(($(ticks) - spent))
awk -v spent="$spent" -v hz="$(getconf CLK_TCK)" -v seconds="$seconds" -v names="$names" -v before="$memory" -v after="$(resident)" 'BEGIN {
    printf "%d names, %d s: %.2f %% of a core; resident memory %.1f MB at the beginning, %.1f MB at the end\n",
        names, seconds, 100 * spent / hz / seconds, before / 1000, after / 1000 }'
