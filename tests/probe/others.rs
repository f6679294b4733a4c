//! Rule sets of others, ten kinds, as their programs and their owners write them.

/// A host's rules.
pub(crate) struct Rules {
    pub(crate) name: &'static str,
    pub(crate) nft: &'static str,
    /// In the form of iptables-save, loaded by iptables-nft.
    pub(crate) iptables: &'static str,
    /// In the form of iptables-save, loaded by iptables-legacy.
    pub(crate) legacy: &'static str,
    pub(crate) ipset: &'static str,
}

const NONE: Rules = Rules { name: "", nft: "", iptables: "", legacy: "", ipset: "" };

const TAGWALL: &str = "
table inet tagwall {
    set tw-a-v4 { type ipv4_addr; flags interval; elements = { 203.0.113.0/25, 192.0.2.64/26 }; }
    set tw-a-v6 { type ipv6_addr; flags interval; elements = { 2001:db8:1::/48 }; }
    chain out {
        ct state established,related accept
        ip saddr 10.20.0.0/24 ip daddr @tw-a-v4 tcp dport { 443, 8000-8080 } accept
        ip6 saddr fd00:20::/64 ip6 daddr @tw-a-v6 tcp dport 443 accept
        reject with icmpx admin-prohibited
    }
    chain forward {
        type filter hook forward priority 0; policy accept;
        ip saddr 10.20.0.0/24 oifname wan0 goto out
        ip6 saddr fd00:20::/64 oifname wan0 goto out
    }
}
";

pub(crate) const ALL: [Rules; 10] = [
    Rules { name: "tagwall alone", nft: TAGWALL, ..NONE },
    Rules {
        name: "firewalld",
        nft: "
table inet firewalld {
    set office { type ipv4_addr; flags interval; elements = { 10.20.0.0/25 }; }
    chain raw_PREROUTING {
        type filter hook prerouting priority raw + 10; policy accept;
        icmpv6 type { nd-router-advert, nd-neighbor-solicit } accept
        meta nfproto ipv6 fib saddr . mark . iif oif missing drop
    }
    chain filter_FORWARD {
        type filter hook forward priority filter + 10; policy accept;
        ct state { established, related } accept
        ct status dnat accept
        iifname \"lo\" accept
        ct state invalid drop
        ip6 daddr { ::/96, 2002::/16 } reject with icmpv6 addr-unreachable
        jump filter_FORWARD_ZONES
        reject with icmpx admin-prohibited
    }
    chain filter_FORWARD_ZONES {
        iifname \"lan0\" goto filter_FWD_internal
        iifname \"dmz0\" goto filter_FWD_dmz
        goto filter_FWD_public
    }
    chain filter_FWD_internal {
        jump filter_FWD_internal_deny
        oifname \"wan0\" ip saddr @office accept
        oifname \"wan0\" tcp dport { 80, 443 } accept
    }
    chain filter_FWD_internal_deny {
        ip daddr 192.0.2.0/24 udp dport 53 drop
    }
    chain filter_FWD_dmz {
        oifname \"wan0\" meta l4proto tcp accept
    }
    chain filter_FWD_public {
        ip6 nexthdr tcp accept
    }
}
table inet tagwall {
    set tw-a-v4 { type ipv4_addr; flags interval; elements = { 203.0.113.0/25, 192.0.2.64/26 }; }
    chain forward {
        type filter hook forward priority 0; policy accept;
        iifname lan0 ip daddr 192.0.2.0/24 ip daddr != @tw-a-v4 drop
    }
}
",
        ..NONE
    },
    Rules {
        name: "docker by iptables-nft",
        nft: TAGWALL,
        iptables: "*nat
:PREROUTING ACCEPT [0:0]
:INPUT ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
:DOCKER - [0:0]
-A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
-A POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE
-A DOCKER -i docker0 -j RETURN
-A DOCKER ! -i docker0 -p tcp -m tcp --dport 8080 -j DNAT --to-destination 172.17.0.2:80
COMMIT
*filter
:INPUT ACCEPT [0:0]
:FORWARD DROP [0:0]
:OUTPUT ACCEPT [0:0]
:DOCKER - [0:0]
:DOCKER-ISOLATION-STAGE-1 - [0:0]
:DOCKER-ISOLATION-STAGE-2 - [0:0]
:DOCKER-USER - [0:0]
-A FORWARD -j DOCKER-USER
-A FORWARD -j DOCKER-ISOLATION-STAGE-1
-A FORWARD -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A FORWARD -o docker0 -j DOCKER
-A FORWARD -i docker0 ! -o docker0 -j ACCEPT
-A FORWARD -i docker0 -o docker0 -j ACCEPT
-A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A DOCKER -d 172.17.0.2/32 ! -i docker0 -o docker0 -p tcp -m tcp --dport 80 -j ACCEPT
-A DOCKER-ISOLATION-STAGE-1 -i docker0 ! -o docker0 -j DOCKER-ISOLATION-STAGE-2
-A DOCKER-ISOLATION-STAGE-1 -j RETURN
-A DOCKER-ISOLATION-STAGE-2 -o docker0 -j DROP
-A DOCKER-ISOLATION-STAGE-2 -j RETURN
-A DOCKER-USER -s 10.20.0.0/24 -o wan0 -p tcp -m multiport --dports 443,8080 -j ACCEPT
-A DOCKER-USER -i dmz0 -d 203.0.113.0/24 -j ACCEPT
-A DOCKER-USER -j RETURN
COMMIT
",
        ..NONE
    },
    Rules {
        name: "kube-proxy by nftables",
        nft: "
table ip kube-proxy {
    map service-ips {
        type ipv4_addr . inet_proto . inet_service : verdict
        elements = { 203.0.113.10 . tcp . 443 : goto service-a, 203.0.113.11 . udp . 53 : goto service-b }
    }
    map no-endpoint {
        type ipv4_addr . inet_proto . inet_service : verdict
        elements = { 203.0.113.12 . tcp . 80 : goto reject-chain, 203.0.113.13 . tcp . 443 : drop }
    }
    chain service-a { numgen random mod 2 vmap { 0 : goto endpoint-1, 1 : goto endpoint-2 }; }
    chain service-b { numgen random mod 1 vmap { 0 : goto endpoint-3 }; }
    chain endpoint-1 { meta l4proto tcp dnat to 172.17.0.5:6443; }
    chain endpoint-2 { meta l4proto tcp dnat to 172.17.0.6:6443; }
    chain endpoint-3 { meta l4proto udp dnat to 172.17.0.7:5353; }
    chain reject-chain { reject; }
    chain services { ip daddr . meta l4proto . th dport vmap @service-ips; }
    chain filter-forward {
        type filter hook forward priority filter - 5; policy accept;
        ct state new ip daddr . meta l4proto . th dport vmap @no-endpoint
    }
    chain nat-prerouting {
        type nat hook prerouting priority dstnat; policy accept;
        jump services
    }
}
table inet host {
    chain forward {
        type filter hook forward priority filter; policy drop;
        ct state vmap { established : accept, related : accept, invalid : drop }
        iifname . oifname { \"lan0\" . \"wan0\", \"dmz0\" . \"docker0\" } accept
        oifname \"docker0\" tcp dport 6443 accept
    }
}
",
        ..NONE
    },
    Rules {
        name: "iptables-legacy with ipset",
        ipset: "create allowed hash:net family inet
add allowed 203.0.113.0/25
create ports bitmap:port range 0-65535
add ports 443
add ports 22
create pairs hash:ip,port family inet
add pairs 192.0.2.7,udp:53
create all list:set
add all allowed
",
        legacy: "*raw
:PREROUTING ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
-A PREROUTING -i lan0 -d 198.51.100.128/25 -j DROP
COMMIT
*filter
:INPUT ACCEPT [0:0]
:FORWARD DROP [0:0]
:OUTPUT ACCEPT [0:0]
:tagwall - [0:0]
-A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A FORWARD -i lan0 -j tagwall
-A FORWARD -i dmz0 -p udp -j REJECT --reject-with icmp-port-unreachable
-A tagwall -p tcp -m set --match-set all dst -m set --match-set ports dst -j ACCEPT
-A tagwall -m set --match-set pairs dst,dst -j ACCEPT
-A tagwall -s 10.20.0.128/25 -p tcp -m tcp --dport 8000:8080 -j ACCEPT
-A tagwall -j RETURN
COMMIT
",
        ..NONE
    },
    Rules {
        name: "ufw by iptables-nft",
        iptables: "*filter
:INPUT DROP [0:0]
:FORWARD DROP [0:0]
:OUTPUT ACCEPT [0:0]
:ufw-before-forward - [0:0]
:ufw-after-forward - [0:0]
:ufw-reject-forward - [0:0]
:ufw-user-forward - [0:0]
:ufw-skip-to-policy-forward - [0:0]
:ufw-user-limit - [0:0]
:ufw-user-limit-accept - [0:0]
-A FORWARD -j ufw-before-forward
-A FORWARD -j ufw-after-forward
-A FORWARD -j ufw-reject-forward
-A ufw-before-forward -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A ufw-before-forward -p icmp -m icmp --icmp-type 8 -j ACCEPT
-A ufw-before-forward -j ufw-user-forward
-A ufw-after-forward -i dmz0 -p udp -m udp --dport 53 -j ufw-skip-to-policy-forward
-A ufw-reject-forward -i dmz0 -j REJECT --reject-with icmp-port-unreachable
-A ufw-user-forward -d 203.0.113.0/24 -i lan0 -o wan0 -p tcp -m tcp --dport 443 -j ACCEPT
-A ufw-user-forward -p tcp -m tcp --dport 22 -m conntrack --ctstate NEW -m recent --set --name DEFAULT --mask 255.255.255.255 --rsource
-A ufw-user-forward -p tcp -m tcp --dport 22 -m conntrack --ctstate NEW -m recent --update --seconds 30 --hitcount 6 --name DEFAULT --mask 255.255.255.255 --rsource -j ufw-user-limit
-A ufw-user-forward -p tcp -m tcp --dport 22 -j ufw-user-limit-accept
-A ufw-user-limit -j REJECT --reject-with icmp-port-unreachable
-A ufw-user-limit-accept -j ACCEPT
-A ufw-skip-to-policy-forward -j DROP
COMMIT
",
        ..NONE
    },
    Rules {
        name: "libvirt alongside a file of the host",
        iptables: "*filter
:FORWARD ACCEPT [0:0]
:LIBVIRT_FWI - [0:0]
:LIBVIRT_FWO - [0:0]
:LIBVIRT_FWX - [0:0]
-A FORWARD -j LIBVIRT_FWX
-A FORWARD -j LIBVIRT_FWI
-A FORWARD -j LIBVIRT_FWO
-A LIBVIRT_FWI -d 172.17.0.0/16 -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A LIBVIRT_FWI -o docker0 -j REJECT --reject-with icmp-port-unreachable
-A LIBVIRT_FWO -s 172.17.0.0/16 -i docker0 -j ACCEPT
-A LIBVIRT_FWO -i docker0 -j REJECT --reject-with icmp-port-unreachable
-A LIBVIRT_FWX -i docker0 -o docker0 -j ACCEPT
COMMIT
",
        nft: "
table inet filter {
    set denied { type ipv4_addr . inet_service; flags interval; elements = { 203.0.113.0/24 . 0-1023, 192.0.2.7 . 8080 }; }
    chain azure {
        ip daddr 203.0.113.0-203.0.113.63 tcp dport 443 accept
        ip6 daddr 2001:db8:1::-2001:db8:2:: tcp dport 1-1023 accept
    }
    chain forward {
        type filter hook forward priority filter; policy accept;
        ct state established,related accept
        jump azure
        ip daddr . tcp dport @denied drop
        iifname != \"lan0\" udp dport != 53 reject
        ip6 saddr fd00:20::/72 ip6 daddr & ffff:ffff:ffff:: == 2001:db8:3:: drop
    }
}
",
        ..NONE
    },
    Rules {
        name: "marks, goto and priorities",
        nft: "
table ip early {
    chain pre {
        type filter hook prerouting priority raw; policy accept;
        iifname \"lan0\" tcp dport 22 ip daddr 192.0.2.0/24 drop
    }
    chain marks {
        type filter hook prerouting priority mangle; policy accept;
        ip saddr 10.21.0.0/24 meta mark set 0x7
    }
}
table inet mid {
    chain one { tcp dport 443 return; udp dport 53 accept; drop; }
    chain two { ip daddr 198.51.100.0/24 goto three; tcp dport 80 jump one; }
    chain three { tcp dport 8000-8999 drop; }
    chain forward {
        type filter hook forward priority filter - 1; policy accept;
        ct state != new accept
        iifname \"docker0\" goto one
        jump two
        ip protocol tcp ip daddr 203.0.113.128/25 goto one
    }
}
table inet late {
    chain forward {
        type filter hook forward priority filter + 1; policy accept;
        ct state established accept
        meta mark 0x7 tcp dport 22 drop
        th dport 8080 meta l4proto { tcp, udp } ip ttl > 1 drop
    }
    chain post {
        type filter hook postrouting priority srcnat - 1; policy accept;
        oifname \"wan0\" ip daddr 192.0.2.0/26 drop
    }
}
table inet asleep {
    flags dormant
    chain forward { type filter hook forward priority filter; policy drop; }
}
",
        ..NONE
    },
    Rules {
        name: "limits and sets that packets fill",
        nft: "
table inet guard {
    set seen { type ipv4_addr; size 1024; flags dynamic,timeout; timeout 1h; }
    set noisy { type ipv4_addr . inet_service; size 1024; flags dynamic; elements = { 203.0.113.7 . 443 }; }
    counter refused { }
    quota plenty { over 100 mbytes }
    chain forward {
        type filter hook forward priority filter; policy drop;
        ct state established,related accept
        quota name \"plenty\" drop
        ip daddr . tcp dport @noisy counter name refused drop
        ip saddr 10.21.0.0/24 update @seen { ip daddr timeout 10m }
        ip daddr @seen tcp dport 443 accept
        tcp dport 22 limit rate over 1/hour burst 100 packets drop
        tcp dport { 22, 80 } accept
        udp dport 53 ct mark set 0x1 accept
        iifname \"lan0\" tcp dport 443 log prefix \"new \" accept
    }
    chain nat {
        type nat hook postrouting priority srcnat; policy accept;
        oifname \"wan0\" masquerade
    }
}
",
        ..NONE
    },
    Rules {
        name: "two families",
        nft: "
table ip6 filter6 {
    set allowed { type ipv6_addr; flags interval; elements = { 2001:db8:1::/48, 2001:db8:3::/64 }; }
    chain FORWARD {
        type filter hook forward priority filter; policy drop;
        ct state established,related accept
        icmpv6 type echo-request accept
        ip6 daddr @allowed meta l4proto . th dport { tcp . 443, udp . 53, tcp . 80 } accept
        ip6 saddr fd00:21::/64 tcp dport vmap { 22 : accept, 8080 : jump extra, 443 : drop }
    }
    chain extra { ip6 daddr 2001:db8:2::/48 accept; }
}
table ip filter4 {
    chain FORWARD {
        type filter hook forward priority filter; policy accept;
        ct state established,related accept
        ip saddr 10.20.0.0/24 ip daddr { 203.0.113.0/24, 192.0.2.0/25 } tcp dport != { 22, 443 } reject with tcp reset
        meta l4proto udp ip daddr 198.51.100.0/24 reject
        iifname \"d*\" oifname \"wan0\" drop
    }
}
",
        ..NONE
    },
];
