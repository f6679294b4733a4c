//! What a device lets through is what the json target says.

use super::*;

/// The prefixes and hostnames that a name stands for, groups opened.
fn opened(device: &Device, name: &str, six: bool, found: &mut BTreeSet<String>) {
    let (addresses, groups) = if six {
        ("firewall address6", "firewall addrgrp6")
    } else {
        ("firewall address", "firewall addrgrp")
    };
    if let Some(group) = device.tables.get(groups).and_then(|groups| groups.get(name)) {
        for member in &group["member"] {
            opened(device, member, six, found);
        }
        return;
    }
    let address = &device.tables[addresses][name];
    let text = if let Some(host) = address.get("fqdn") {
        host[0].clone()
    } else if six {
        address["ip6"][0].clone()
    } else {
        let [network, mask] = address["subnet"].as_slice() else { panic!("{address:?}") };
        ipnet::Ipv4Net::with_netmask(network.parse().unwrap(), mask.parse().unwrap())
            .unwrap()
            .to_string()
    };
    found.insert(text);
}

/// One line a rule, family, protocol: direction, own, remote, ports.
fn meaning_of_device(device: &Device) -> BTreeSet<String> {
    let mut lines = BTreeSet::new();
    for (id, policy) in device.table("firewall policy") {
        if id == "900" {
            continue;
        }
        assert_eq!(policy["action"], ["accept"]);
        let six = policy.contains_key("srcaddr6");
        let open = |attribute: &str| {
            let attribute = if six { format!("{attribute}6") } else { attribute.to_owned() };
            let mut found = BTreeSet::new();
            for name in &policy[&attribute] {
                opened(device, name, six, &mut found);
            }
            found
        };
        let outbound = policy["srcintf"] == ["port2"] && policy["dstintf"] == ["port1"];
        assert!(outbound || policy["srcintf"] == ["port1"] && policy["dstintf"] == ["port2"]);
        let (own, remote) = if outbound {
            (open("srcaddr"), open("dstaddr"))
        } else {
            (open("dstaddr"), open("srcaddr"))
        };
        let mut ports = std::collections::BTreeMap::<&str, Vec<String>>::new();
        for service in &policy["service"] {
            let service = &device.tables["firewall service custom"][service];
            for (protocol, attribute) in [("tcp", "tcp-portrange"), ("udp", "udp-portrange")] {
                ports
                    .entry(protocol)
                    .or_default()
                    .extend(service.get(attribute).into_iter().flatten().cloned());
            }
        }
        for (protocol, ports) in ports.into_iter().filter(|(_, ports)| !ports.is_empty()) {
            lines.insert(format!("{outbound} {own:?} {remote:?} {protocol} {ports:?}"));
        }
    }
    lines
}

/// The same from the document that the json target writes.
fn meaning_of_document(plan: &Plan) -> BTreeSet<String> {
    let rule_set = ruleset::read_document(file(plan, "ruleset.json").as_bytes()).unwrap();
    let flows = rule_set.flows(tagwall::config::Families::Both);
    let lines = flows.iter().map(|flow| {
        let texts = |nets: Vec<ipnet::IpNet>| {
            nets.iter().map(ToString::to_string).collect::<BTreeSet<String>>()
        };
        let outbound = flow.rule.direction == tagwall::config::Direction::Outbound;
        let mut remote = texts(flow.family.of(&flow.group.prefixes).iter().collect());
        remote.extend(flow.group.hosts.iter().map(ToString::to_string));
        let ports: Vec<String> = flow.ports.iter().map(ToString::to_string).collect();
        format!("{outbound} {:?} {remote:?} {} {ports:?}", texts(flow.own.clone()), flow.protocol)
    });
    lines.collect()
}

#[test]
fn the_meaning_is_that_of_the_json_target() {
    let text = format!(
        "[groups.g]\ntags = [\"Storage\"]\nhosts = [\"*.a.example.com\", \"b.example.com\"]\n[groups.h]\ntags = \
         [\"EventHub\"]\n[rules.in]\ndirection = \"inbound\"\nsource = \"g\"\ndestination = [\"10.1.0.0/24\", \
         \"2001:db8:1::/64\"]\nservices = [\"tcp/443\"]\n[rules.out]\ndirection = \"outbound\"\nsource = \
         [\"10.2.0.0/24\", \"10.4.0.0/24\"]\ndestination = \"h\"\nservices = [\"tcp/443\", \"tcp/8000-8010\", \
         \"udp/53\"]\n[targets.j.json]\n[targets.f.fortios]\nformat = \"cli\"\nmember-limit = 3\naddress-limit = \
         50000\n{COMMON}"
    );
    let mut cases = vec![(format!("cloud = \"example\"\n{text}"), None)];
    // A model device takes 300 members and no more, so small chunks prove the nesting.
    let real = || format!("cloud = \"public\"\n{text}").replace("limit = 3\n", "limit = 30\n");
    cases.extend(feeds::real(feeds::NEWEST).map(|path| (real(), Some(path))));
    for (text, path) in cases {
        let plan = plan(&config(&text), path.as_deref(), None).unwrap();
        let device = fresh(Kind::Plain, file(&plan, "rules.conf"));
        let expected = meaning_of_document(&plan);
        assert!(expected.len() >= 4);
        assert_eq!(meaning_of_device(&device), expected);
    }
}
