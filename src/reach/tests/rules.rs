//! Single rules: what is decided, and what is not.

use super::*;

/// A host whose base chain at forward has these expressions in front of a jump to chain azure.
fn before(expressions: &[&str]) -> Ruleset {
    let rule = |text: &str| {
        format!(r#"{{"rule":{{"family":"inet","table":"t","chain":"f","expr":[{text}]}}}}"#)
    };
    let rules: Vec<String> = expressions.iter().map(|text| rule(text)).collect();
    let more = if rules.is_empty() { String::new() } else { format!("{},", rules.join(",")) };
    host(&format!(
        r#"{{"nftables":[{{"table":{{"family":"inet","name":"t"}}}},
        {{"set":{{"family":"inet","table":"t","name":"dyn","type":"ipv4_addr",
            "flags":["dynamic"]}}}},
        {{"set":{{"family":"inet","table":"t","name":"old","type":"ipv4_addr","timeout":60}}}},
        {{"set":{{"family":"inet","table":"t","name":"s","type":"ipv4_addr"}}}},
        {{"chain":{{"family":"inet","table":"t","name":"f","type":"filter",
            "hook":"forward","prio":0,"policy":"accept"}}}},
        {{"chain":{{"family":"inet","table":"t","name":"empty"}}}},
        {{"chain":{{"family":"inet","table":"t","name":"azure"}}}},
        {more}
        {{"rule":{{"family":"inet","table":"t","chain":"f",
            "expr":[{{"jump":{{"target":"azure"}}}}]}}}},
        {{"rule":{{"family":"inet","table":"t","chain":"azure","expr":[{{"accept":null}}]}}}}]}}"#
    ))
}

/// Whether a drop under this condition is taken: yes, no, or not known.
fn taken(condition: &str, flow: &Flow) -> Option<bool> {
    let host = before(&[&format!(r#"{condition},{{"drop":null}}"#)]);
    match host.walk(&chain("inet", "t", "azure"), flow, &ABSENT).reach {
        Reach::NotReached { by, by_rule_graph } => {
            assert!(by.starts_with("dropped before chain azure"), "{by}");
            assert!(by_rule_graph);
            Some(true)
        }
        Reach::Reached => Some(false),
        Reach::Unknown { .. } => None,
        Reach::NotApplicable { because } => panic!("{because}"),
    }
}

/// `{"match": …}` of a field with a value.
fn matches(left: &str, operator: &str, right: &str) -> String {
    format!(r#"{{"match":{{"op":"{operator}","left":{left},"right":{right}}}}}"#)
}

fn meta(key: &str) -> String {
    format!(r#"{{"meta":{{"key":"{key}"}}}}"#)
}

fn payload(protocol: &str, field: &str) -> String {
    format!(r#"{{"payload":{{"protocol":"{protocol}","field":"{field}"}}}}"#)
}

fn ct(key: &str) -> String {
    format!(r#"{{"ct":{{"key":"{key}"}}}}"#)
}

#[test]
fn fields_of_the_packet_are_decided() {
    let from_lan = v4().from_input("lan0");
    let decided = |left: String, operator: &str, right: &str| {
        taken(&matches(&left, operator, right), &from_lan)
    };
    for (left, operator, right, expected) in [
        (meta("iifname"), "==", r#""lan0""#, true),
        (meta("iifname"), "==", r#""lan*""#, true),
        (meta("iifname"), "==", r#""la\\*""#, false),
        (meta("iifname"), "!=", r#""lan0""#, false),
        (meta("oif"), "==", r#"{"set":["lo","wan0"]}"#, true),
        (meta("oifname"), "!=", r#"{"set":["lan0","dmz0"]}"#, true),
        (payload("ip", "saddr"), "==", r#""10.20.0.1""#, true),
        (payload("ip", "saddr"), "==", r#"{"prefix":{"addr":"10.20.0.0","len":16}}"#, true),
        (payload("ip", "saddr"), "!=", r#"{"range":["10.20.0.0","10.20.0.9"]}"#, false),
        (
            payload("ip", "daddr"),
            "==",
            r#"{"set":["1.1.1.1",{"range":["13.0.0.0","14.0.0.0"]}]}"#,
            true,
        ),
        (payload("ip6", "saddr"), "!=", r#""::1""#, false),
        (payload("ip6", "hoplimit"), "==", "3", false),
        (payload("ip", "protocol"), "==", r#""tcp""#, true),
        (payload("ip", "protocol"), "==", r#"{"set":["icmp","esp"]}"#, false),
        (payload("ip6", "nexthdr"), "==", r#""tcp""#, false),
        (meta("l4proto"), "==", "6", true),
        (meta("l4proto"), "!=", r#""udp""#, true),
        (meta("nfproto"), "==", r#""ipv4""#, true),
        (meta("nfproto"), "==", "10", false),
        (meta("protocol"), "==", r#"{"set":["ip","ip6"]}"#, true),
        (payload("tcp", "dport"), "==", r#"{"set":[80,{"range":[400,500]}]}"#, true),
        (payload("tcp", "dport"), ">", "442", true),
        (payload("tcp", "dport"), "<=", "442", false),
        (payload("th", "dport"), "==", "443", true),
        (payload("udp", "dport"), "!=", "53", false),
        (payload("icmp", "type"), "==", r#""echo-request""#, false),
        (payload("tcp", "sport"), "==", r#"{"range":[0,65535]}"#, true),
        (payload("tcp", "flags"), "in", r#""syn""#, true),
        (ct("state"), "in", r#"["established","related"]"#, false),
        (ct("state"), "in", r#"["established","new"]"#, true),
        (ct("state"), "!=", r#""new""#, false),
        (ct("state"), "==", r#"{"set":["new","untracked"]}"#, true),
        (ct("state"), "!", r#"["established","related"]"#, true),
        (ct("status"), "in", r#""dnat""#, false),
        (ct("direction"), "==", r#""original""#, true),
        (
            format!(r#"{{"concat":[{},{}]}}"#, payload("ip", "saddr"), payload("tcp", "dport")),
            "==",
            r#"{"set":[{"concat":[{"prefix":{"addr":"10.0.0.0","len":8}},{"range":[400,500]}]}]}"#,
            true,
        ),
        (
            format!(r#"{{"&":[{},["fin","syn","rst","ack"]]}}"#, payload("tcp", "flags")),
            "==",
            r#""syn""#,
            true,
        ),
        (payload("ip", "saddr"), "==", r#""@s""#, false),
    ] {
        assert_eq!(
            decided(left.clone(), operator, right),
            Some(expected),
            "{left} {operator} {right}"
        );
    }
}

#[test]
fn what_the_packet_does_not_say_is_unknown() {
    for condition in [
        r#"{"limit":{"rate":5,"per":"second"}}"#.to_owned(),
        r#"{"quota":{"val":5,"val_unit":"mbytes"}}"#.to_owned(),
        r#"{"ct count":{"val":5,"inv":true}}"#.to_owned(),
        r#"{"xt":null}"#.to_owned(),
        r#"{"xt":{"type":"match","name":"addrtype"}}"#.to_owned(),
        r#"{"set":{"op":"add","elem":{"payload":{"protocol":"ip","field":"saddr"}},"set":"@dyn"}}"#
            .to_owned(),
        r#"{"statement of tomorrow":{}}"#.to_owned(),
        r#"{"queue":{"num":3}}"#.to_owned(),
        r#"{"tproxy":{"port":50}}"#.to_owned(),
        r#"{"synproxy":null}"#.to_owned(),
        matches(&meta("mark"), "==", "5"),
        matches(&meta("iifname"), "==", r#""lan0""#),
        matches(&payload("tcp", "sport"), "==", "1024"),
        matches(&payload("ip", "ttl"), "<", "5"),
        matches(&payload("ip", "saddr"), "==", r#""@dyn""#),
        matches(&payload("ip", "saddr"), "==", r#""@old""#),
        matches(&ct("mark"), "==", "5"),
        matches(r#"{"ct":{"key":"ip saddr","dir":"original"}}"#, "==", r#""10.0.0.1""#),
        matches(r#"{"fib":{"result":"oif","flags":["saddr","iif"]}}"#, "==", "false"),
        matches(r#"{"numgen":{"mode":"random","mod":2}}"#, "==", "0"),
        matches(r#"{"socket":{"key":"transparent"}}"#, "==", "1"),
        matches(&payload("ip", "saddr"), "~", r#""10.0.0.1""#),
        matches(&payload("ip", "saddr"), "==", r#"{"thing":1}"#),
    ] {
        // By any input interface, of which only one is named.
        assert_eq!(taken(&condition, &v4()), None, "{condition}");
    }
}

#[test]
fn unknown_conditions_without_verdict_do_not_matter() {
    let ours = chain("inet", "t", "azure");
    for statements in [
        r#"{"limit":{"rate":5,"per":"second"}},{"log":{"prefix":"x"}}"#,
        r#"{"xt":{"type":"match","name":"addrtype"}},{"counter":{"packets":0,"bytes":0}}"#,
        r#"{"xt":{"type":"match","name":"addrtype"}},{"jump":{"target":"empty"}}"#,
        r#"{"limit":{"rate":5,"per":"second"}},{"continue":null}"#,
        r#"{"mangle":{"key":{"meta":{"key":"mark"}},"value":5}}"#,
        r#"{"xt":{"type":"target","name":"LOG"}}"#,
        r#"{"notrack":null}"#,
    ] {
        assert_reached(&before(&[statements]).walk(&ours, &v4(), &SILENT));
    }
}

#[test]
fn rewriting_makes_addresses_unknown() {
    let ours = chain("inet", "t", "azure");
    let mangle = format!(r#"{{"mangle":{{"key":{},"value":"10.0.0.2"}}}}"#, payload("ip", "saddr"));
    let drop =
        format!(r#"{},{{"drop":null}}"#, matches(&payload("ip", "saddr"), "==", r#""10.99.0.1""#));
    assert_reached(&before(&[&drop]).walk(&ours, &v4(), &SILENT));
    let walk = before(&[&mangle, &drop]).walk(&ours, &v4(), &SILENT);
    assert_unknown(&walk, "set of an address or port");
    let untracked = format!(r#"{},{{"drop":null}}"#, matches(&ct("state"), "in", r#""untracked""#));
    let walk = before(&[r#"{"notrack":null}"#, &untracked]).walk(&ours, &v4(), &SILENT);
    assert_unknown(&walk, "notrack");
}

#[test]
fn verdicts_end_what_they_end() {
    let ours = chain("inet", "t", "azure");
    let accept = before(&[r#"{"accept":null}"#]).walk(&ours, &v4(), &SILENT);
    assert_not(&accept, "accepted before chain azure by table inet t, chain f: accept", false);
    let goto = before(&[r#"{"goto":{"target":"empty"}}"#]).walk(&ours, &v4(), &SILENT);
    assert_not(&goto, "no rule leads the connection to chain azure", false);
    let back = before(&[r#"{"return":null}"#]).walk(&ours, &v4(), &SILENT);
    assert_not(&back, "no rule leads the connection to chain azure", false);
    // Both spellings of reject.
    for reject in [r#"{"reject":null}"#, r#"{"reject":{"type":"tcp reset"}}"#] {
        assert_not(&before(&[reject]).walk(&ours, &v4(), &SILENT), "dropped before", true);
    }
    let listed = r#"{"vmap":{"key":{"ct":{"key":"state"}},"data":{"set":[["invalid",{"drop":null}],
        ["new",{"goto":{"target":"empty"}}]]}}}"#;
    assert_not(&before(&[listed]).walk(&ours, &v4(), &SILENT), "no rule leads", false);
    let named = r#"{"vmap":{"key":{"meta":{"key":"oifname"}},"data":"@m"}}"#;
    assert_unknown(&before(&[named]).walk(&ours, &v4(), &SILENT), "the elements of map m");
    assert_reached(&before(&[named]).walk(&ours, &v4(), &ABSENT));
}

#[test]
fn priorities_order_base_chains() {
    let other = |priority: i64| {
        DEDICATED.replacen(
            "\n]}",
            &format!(
                r#",{{"chain":{{"family":"ip","table":"z","name":"c","type":"filter",
                "hook":"forward","prio":{priority},"policy":"drop"}}}}]}}"#
            ),
            1,
        )
    };
    assert_not(&walk(&host(&other(-1)), &table(), &v4()), "the policy of table ip z", true);
    assert_unknown(&walk(&host(&other(0)), &table(), &v4()), "the order of base chains");
    let later = walk(&host(&other(1)), &table(), &v4());
    assert_reached(&later);
    assert_eq!(later.overruled(), Some("the policy of table ip z, chain c"));
    assert_reached(&walk(&host(&other(-1)), &table(), &v6()));
}

#[test]
fn ingress_chain_of_another_device_is_passed_by() {
    let ingress = DEDICATED.replacen(
        "\n]}",
        r#",{"chain":{"family":"netdev","table":"z","name":"c","type":"filter",
        "hook":"ingress","prio":0,"dev":"lan0","policy":"drop"}}]}"#,
        1,
    );
    let host = host(&ingress);
    assert_not(&walk(&host, &table(), &v4().from_input("lan0")), "table netdev z", true);
    assert_reached(&walk(&host, &table(), &v4().from_input("dmz0")));
}

#[test]
fn quoted_words_of_a_saved_rule_hide_nothing() {
    let deny = |rule: &str| {
        let text = format!(
            "*filter\n:FORWARD ACCEPT [0:0]\n:TAGWALL - [0:0]\n{rule}\n\
             -A FORWARD -j TAGWALL\n-A TAGWALL -j ACCEPT\nCOMMIT\n"
        );
        let host = empty().with_legacy(Family::V4, &text);
        walk(&host, &Ours::legacy(Family::V4, "TAGWALL".to_owned()), &v4()).reach
    };
    for (rule, expected) in [
        (r#"-A FORWARD -m comment --comment "-j ACCEPT \" -j" -j DROP"#, "not reached"),
        ("-A FORWARD -m comment --comment -j -j DROP", "not reached"),
        ("[5:300] -A FORWARD -j DROP", "not reached"),
        ("-A FORWARD ! -d 13.0.0.0/8 -j DROP", "reached"),
        ("-A FORWARD -d 13.107.6.0/255.255.255.0 -j DROP", "not reached"),
        ("-A FORWARD -d 13.0.6.0/255.0.255.0 -j DROP", "unknown"),
        ("-A FORWARD -o wan+ -j DROP", "not reached"),
        ("-A FORWARD -o + -j DROP", "not reached"),
        ("-A FORWARD -p 6 -m multiport --dports 1:442,444 -j DROP", "reached"),
        ("-A FORWARD -p tcp -m tcp ! --dport 443 -j DROP", "reached"),
        ("-A FORWARD -p tcp -m tcp --dport 443: -j DROP", "not reached"),
        ("-A FORWARD -m conntrack ! --ctstate NEW,INVALID -j DROP", "reached"),
        ("-A FORWARD -m addrtype ! --dst-type LOCAL -j DROP", "unknown"),
        ("-A FORWARD -m socket -j DROP", "unknown"),
        ("-A FORWARD -m set --match-set theirs dst -j DROP", "unknown"),
        ("-A FORWARD -p tcp -m tcp --tcp-flags FIN,SYN,RST,ACK SYN -j DROP", "not reached"),
        ("-A FORWARD -p tcp -m tcp ! --syn -j DROP", "reached"),
        ("-A FORWARD -j NFQUEUE --queue-num 1", "unknown"),
        ("-A FORWARD -j MARK --set-xmark 0x1/0xffffffff", "reached"),
        ("-A FORWARD -g ELSEWHERE", "unknown"),
    ] {
        let reach = deny(rule).to_string();
        assert_eq!(reach.split(':').next(), Some(expected), "{rule}: {reach}");
    }
}
