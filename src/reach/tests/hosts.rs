//! Hosts of others, as nft 1.0.6 and iptables 1.8.9 list them.

use super::super::Fate;
use super::*;

#[track_caller]
fn assert_dropped(walk: &Walk, words: &str) {
    match &walk.fate {
        Fate::Dropped { by } => assert!(by.contains(words), "{by}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn dedicated_table_alone_is_reached_in_both_families() {
    let host = host(DEDICATED);
    for flow in [v4(), v6()] {
        let walk = walk(&host, &table(), &flow);
        assert_reached(&walk);
        assert_eq!(walk.fate, Fate::Passes);
    }
    // What the rules refuse is no flow that they let through.
    let other = walk(&host, &table(), &flow("10.20.0.1", "198.51.100.1"));
    assert_not(&other, "no rule of table inet tagwall accepts the connection; dropped by", false);
    assert!(other.reach.reason().unwrap().contains("reject"), "{other:?}");
}

#[test]
fn interface_that_no_rule_uses_is_found() {
    let flow = Flow { output: Some("dmz0".to_owned()), ..v4() };
    let walk = walk(&host(DEDICATED), &table(), &flow);
    assert_not(&walk, "no rule of table inet tagwall accepts the connection; passed over:", false);
    assert!(walk.reach.reason().unwrap().contains("oifname \"wan0\""), "{walk:?}");
}

#[test]
fn interface_that_does_not_exist_is_unknown() {
    let flow = Flow { output: Some("wan9".to_owned()), ..v4() };
    assert_unknown(&walk(&host(DEDICATED), &table(), &flow), "interface wan9 does not exist");
}

#[test]
fn ipv6_off_is_not_applicable() {
    let host = host(DEDICATED).with_ipv6(false);
    let walk_v6 = walk(&host, &table(), &v6());
    assert_eq!(walk_v6.reach.to_string(), "not applicable: the host has no IPv6", "{walk_v6:?}");
    assert_reached(&walk(&host, &table(), &v4()));
}

#[test]
fn later_reject_overrules_accept() {
    let host = host(OVERRULED);
    let overruled = walk(&host, &table(), &v4());
    assert_reached(&overruled);
    let by = overruled.overruled().unwrap();
    assert!(by.starts_with("table inet other, chain late: ip daddr 13.107.6.0/24"), "{by}");
    assert_eq!(walk(&host, &table(), &v6()).overruled(), None);
}

#[test]
fn earlier_drop_keeps_packets_away() {
    let host = host(DENIED_BEFORE);
    let from_lan = walk(&host, &table(), &v4().from_input("lan0"));
    assert_not(&from_lan, "the policy of table inet other, chain early", true);
    assert_reached(&walk(&host, &table(), &v4().from_input("dmz0")));
    // Without an input interface both are possible.
    let any = walk(&host, &table(), &v4());
    assert_unknown(&any, "depends on the input interface: with dmz0 reached");
    assert!(any.reach.reason().unwrap().contains("with docker0 not reached"), "{any:?}");
    let established = host.walk(&table(), &v4().in_state(State::Established), &SILENT).fate;
    assert_eq!(established, Fate::Passes);
}

#[test]
fn dormant_table_is_not_reached_whatever_its_flags_look_like() {
    // nft 1.0.6 writes other words of its memory as flags.
    let unclear = host(DORMANT);
    assert!(unclear.needs_text());
    assert_unknown(&walk(&unclear, &table(), &v4()), "flags of the table are not readable");
    let clear = unclear.with_text(DORMANT_TEXT);
    assert!(!clear.needs_text());
    assert_not(&walk(&clear, &table(), &v4()), "table inet tagwall is dormant", false);
    for flags in [r#""dormant""#, r#"["dormant"]"#, r#"["owner","dormant"]"#] {
        let listing = DEDICATED.replacen(
            r#""name": "tagwall", "handle""#,
            &format!(r#""name": "tagwall", "flags": {flags}, "handle""#),
            1,
        );
        assert_ne!(listing, DEDICATED);
        assert_not(&walk(&host(&listing), &table(), &v4()), "dormant", false);
    }
    assert!(!host(DEDICATED).with_text("").needs_text());
}

#[test]
fn firewalld_like_zones_overrule_by_input_interface() {
    let host = host(FIREWALLD_LIKE);
    let from_lan = walk(&host, &table(), &v4().from_input("lan0"));
    assert_reached(&from_lan);
    assert_eq!(from_lan.fate, Fate::Passes);
    let from_dmz = walk(&host, &table(), &v4().from_input("dmz0"));
    assert_reached(&from_dmz);
    assert_dropped(&from_dmz, "table inet firewalld, chain filter_FORWARD: reject");
    let spoofed = Flow { output: Some("lan0".to_owned()), ..v4().from_input("wan0") };
    assert_not(
        &walk(&host, &table(), &spoofed),
        "table inet firewalld, chain raw_wan: ip saddr 10.0.0.0/8 drop",
        true,
    );
    // The reverse path of IPv6 is not known.
    assert_unknown(&walk(&host, &table(), &v6().from_input("lan0")), "fib");
}

#[test]
fn embedded_chain_is_reached_through_maps_and_jumps() {
    let host = host(EMBEDDED);
    let ours = chain("inet", "filter", "azure");
    let from_lan = v4().from_input("lan0");
    // The elements of the host's set may accept the packet before.
    assert_unknown(&walk(&host, &ours, &from_lan), "the elements of set friends");
    assert_reached(&host.walk(&ours, &from_lan, &ABSENT));
    assert_not(
        &host.walk(&ours, &from_lan, &Known { others: Lookup::Present }),
        "accepted before chain azure by table inet filter, chain forward: ip saddr @friends",
        false,
    );
    let from_dmz = host.walk(&ours, &v4().from_input("dmz0"), &ABSENT);
    assert_not(&from_dmz, "no rule leads the connection to chain azure", false);
    let from_docker = host.walk(&ours, &v4().from_input("docker0"), &ABSENT);
    assert_not(&from_docker, "no jump to chain azure matches the connection", false);
    let other_side = Flow { output: Some("dmz0".to_owned()), ..from_lan };
    assert_not(&host.walk(&ours, &other_side, &ABSENT), "oifname \"wan0\" jump azure", false);
    // IPv6 from the same interface comes to the chain first.
    assert_reached(&host.walk(&ours, &v6().from_input("lan0"), &ABSENT));
}

#[test]
fn chain_without_jump_is_the_rule_graph() {
    let host = host(EMBEDDED);
    let orphan = walk(&host, &chain("inet", "filter", "orphan"), &v4());
    assert_not(&orphan, "no base chain leads to chain orphan of table inet filter", true);
    let input = walk(&host, &chain("inet", "filter", "only-input"), &v4());
    assert_not(&input, "only those at input", true);
    let absent = walk(&host, &chain("inet", "filter", "gone"), &v4());
    assert_not(&absent, "chain gone of table inet filter is absent", false);
    let table = walk(&host, &chain("inet", "gone", "azure"), &v4());
    assert_not(&table, "table inet gone is absent", false);
    let family = walk(&host, &chain("inet", "filter", "azure"), &v6());
    assert!(!family.reach.is_by_rule_graph(), "{family:?}");
}

#[test]
fn docker_rules_need_the_save_command() {
    let ours = chain("ip", "filter", "TAGWALL");
    let bare = host(DOCKER);
    assert!(bare.needs_save(Family::V4) && !bare.needs_save(Family::V6));
    assert_unknown(&walk(&bare, &ours, &v4().from_input("lan0")), "xt multiport");
    let host = bare.with_save(Family::V4, DOCKER_SAVE);
    let from_lan = walk(&host, &ours, &v4().from_input("lan0"));
    assert_reached(&from_lan);
    assert_eq!(from_lan.fate, Fate::Passes);
    // A published port may take the packet away before, where its address is the host's.
    let published = Flow { port: Some(8080), ..v4() };
    assert_unknown(&walk(&host, &ours, &published.from_input("lan0")), "DNAT");
    let refused = Flow { port: Some(80), ..v4() };
    assert_not(&walk(&host, &ours, &refused), "-j REJECT --reject-with tcp-reset", false);
}

#[test]
fn saved_tables_alone_show_the_rule_graph() {
    let host = Ruleset::default()
        .with_ipv6(true)
        .with_tables_of_save(Family::V4, DOCKER_SAVE)
        .with_doubt(Family::V4, "tables of others");
    let ours = chain("ip", "filter", "TAGWALL");
    assert_unknown(&walk(&host, &ours, &v4().from_input("lan0")), "tables of others");
    let cut = DOCKER_SAVE.replace("-A DOCKER-USER -j TAGWALL\n", "");
    let host = Ruleset::default().with_tables_of_save(Family::V4, &cut);
    assert_not(&walk(&host, &ours, &v4()), "no base chain leads to chain TAGWALL", true);
}

#[test]
fn docker_rules_of_another_moment_are_not_mixed() {
    let host =
        host(DOCKER).with_save(Family::V4, &DOCKER_SAVE.replace("-A DOCKER-USER -j RETURN\n", ""));
    let ours = chain("ip", "filter", "TAGWALL");
    assert_unknown(&walk(&host, &ours, &v4().from_input("lan0")), "xt multiport");
}

#[test]
fn kube_like_maps_decide_by_their_elements() {
    let host = host(KUBE_LIKE);
    assert_reached(&host.walk(&table(), &v4(), &ABSENT));
    assert_unknown(&walk(&host, &table(), &v4()), "the elements of map service-ips");
    let established = v4().in_state(State::Established);
    assert_eq!(host.walk(&table(), &established, &SILENT).fate, Fate::Passes);
    // An element that leads to a rewriting changes what the target's rules see.
    let rewritten = |set: SetId<'_>, key: &[Key]| match set.name {
        "service-ips" => {
            assert_eq!(key[1..], [Key::Protocol("tcp".to_owned()), Key::Number(443)]);
            Lookup::from_get_element(
                "table ip kube-proxy {\n\tmap service-ips {\n\t\ttype ipv4_addr . inet_proto . \
                 inet_service : verdict\n\t\telements = { 13.107.6.1 . tcp . 443 : goto service-a }\n\
                 \t}\n}\n",
            )
        }
        _ => ABSENT.look_up(set, key),
    };
    assert_unknown(&host.walk(&table(), &v4(), &rewritten), "dnat in table ip kube-proxy");
}

#[test]
fn legacy_rules_are_walked() {
    let host = empty().with_legacy(Family::V4, LEGACY_SAVE);
    let ours = Ours::legacy(Family::V4, "TAGWALL".to_owned());
    assert_reached(&walk(&host, &ours, &v4()));
    let udp = Flow { protocol: Flow::UDP, ..v4() };
    assert_not(&walk(&host, &ours, &udp), "no jump to chain TAGWALL matches", false);
    let other = Ours::legacy(Family::V6, "TAGWALL".to_owned());
    assert_not(&walk(&host, &other, &v6()), "is absent", false);
}

#[test]
fn legacy_rules_beside_nft_have_no_known_order() {
    let deny = "*filter\n:FORWARD DROP [0:0]\nCOMMIT\n";
    let host = host(DEDICATED).with_legacy(Family::V4, deny);
    let both = walk(&host, &table(), &v4());
    assert_unknown(&both, "the order of base chains of the same priority");
    assert_dropped(&both, "the policy of table legacy ip filter, chain FORWARD");
    assert_reached(&walk(&host, &table(), &v6()));
    let early = "*mangle\n:FORWARD ACCEPT [0:0]\n-A FORWARD -d 13.0.0.0/8 -j DROP\nCOMMIT\n";
    let host = super::host(DEDICATED).with_legacy(Family::V4, early);
    assert_not(&walk(&host, &table(), &v4()), "-A FORWARD -d 13.0.0.0/8 -j DROP", true);
}

#[test]
fn doubt_about_a_family_leaves_nothing_reached() {
    let host = host(DEDICATED).with_doubt(Family::V4, "rules of iptables-legacy");
    let v4 = walk(&host, &table(), &v4());
    assert_unknown(&v4, "rules of iptables-legacy");
    assert!(matches!(v4.fate, Fate::Unknown { .. }), "{v4:?}");
    assert_reached(&walk(&host, &table(), &v6()));
}

#[test]
fn inbound_connections_are_followed_by_each_output() {
    let inbound =
        Flow { input: Some("wan0".to_owned()), output: None, ..flow("13.107.6.1", "10.20.0.1") };
    let through = |extra: &str| {
        let rules = format!(
            r#"{{"nftables": [
            {{"chain":{{"family":"inet","table":"tagwall","name":"f","type":"filter",
                "hook":"forward","prio":0,"policy":"accept"}}}},
            {extra}
            {{"rule":{{"family":"inet","table":"tagwall","chain":"f","expr":[{{"accept":null}}]}}}}
            ]}}"#
        );
        walk(&host(&rules), &table(), &inbound)
    };
    assert_reached(&through(""));
    let deny = r#"{"chain":{"family":"ip","table":"z","name":"c","type":"filter","hook":"forward",
        "prio":-5}},{"rule":{"family":"ip","table":"z","chain":"c","expr":[{"match":{"op":"==",
        "left":{"meta":{"key":"oifname"}},"right":"dmz0"}},{"drop":null}]}},"#;
    assert_unknown(&through(deny), "depends on the output interface: with dmz0 not reached");
}

#[test]
fn replies_are_followed_the_other_way() {
    let reply = v4().reply();
    assert_eq!((reply.input.as_deref(), reply.port), (Some("wan0"), None));
    assert_eq!(host(DEDICATED).walk(&table(), &reply, &SILENT).fate, Fate::Passes);
    let early = host(DENIED_BEFORE).walk(&table(), &reply, &SILENT).fate;
    assert_eq!(early, Fate::Passes);
    let closed = empty().with_legacy(Family::V4, "*filter\n:FORWARD DROP [0:0]\nCOMMIT\n");
    assert_dropped(&walk(&closed, &table(), &reply), "the policy of table legacy ip filter");
}
