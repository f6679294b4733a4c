//! The jump to the chain of an iptables target, which tagwall keeps.

use crate::common::host::{GROUPS, Host};

fn config(settings: &str) -> String {
    format!("{GROUPS}[targets.edge]\napply = \"automatic\"\n[targets.edge.iptables]\n{settings}")
}

const JUMP: &str = "-A FORWARD -m comment --comment \"managed by tagwall\" -j TAGWALL\n";

#[test]
fn jump_is_kept_and_removed_with_the_target() {
    let Some(host) = Host::new(&["iptables", "ipset"], &config("")) else { return };
    let forward = |program: &str| host.namespace.run(&[program, "-S", "FORWARD"], b"");
    for program in ["iptables", "ip6tables"] {
        host.namespace.run(&[program, "-A", "FORWARD", "-j", "ACCEPT"], b"");
    }
    host.expect(0, &["render"]);
    for program in ["iptables", "ip6tables"] {
        let expected = format!("-P FORWARD ACCEPT\n{JUMP}-A FORWARD -j ACCEPT\n");
        assert_eq!(forward(program), expected);
        // Removed by somebody, it is drift, and put back.
        host.namespace.run(&[program, "-F", "FORWARD"], b"");
        let (status, _) = host.expect(1, &["status", "--verify"]);
        assert!(status.contains("jump from chain FORWARD to TAGWALL"), "{status}");
        host.expect(0, &["restore"]);
        assert_eq!(forward(program), format!("-P FORWARD ACCEPT\n{JUMP}"));
        host.expect(0, &["status", "--verify"]);
    }
    // Loaded again, it is not doubled.
    host.configure(&config("rest = \"drop\"\n"));
    host.expect(0, &["render"]);
    assert_eq!(forward("iptables"), format!("-P FORWARD ACCEPT\n{JUMP}"));
    host.configure(&format!("{GROUPS}[targets.lists.list]\n"));
    host.expect(0, &["render"]);
    for program in ["iptables", "ip6tables"] {
        let rules = host.namespace.run(&[program, "-S"], b"");
        assert!(!rules.contains("TAGWALL"), "{rules}");
    }
}

#[test]
fn jump_is_put_where_the_configuration_says() {
    let place = "[targets.edge.iptables.jump]\nchain = \"DOCKER-USER\"\nposition = \"last\"\n";
    let Some(host) = Host::new(&["iptables", "ipset"], &config(place)) else { return };
    // The chain does not exist yet: it is not made, and the rest is loaded.
    host.expect(0, &["render"]);
    let rules = host.namespace.run(&["iptables", "-S"], b"");
    assert!(!rules.contains("DOCKER-USER") && rules.contains("-N TAGWALL"), "{rules}");
    for program in ["iptables", "ip6tables"] {
        host.namespace.run(&[program, "-N", "DOCKER-USER"], b"");
        host.namespace.run(
            &[program, "-A", "DOCKER-USER", "-s", "192.0.2.1", "-j", "DROP"]
                [..if program == "iptables" { 7 } else { 3 }],
            b"",
        );
    }
    host.expect(1, &["status", "--verify"]);
    host.expect(0, &["restore"]);
    let rules = host.namespace.run(&["iptables", "-S", "DOCKER-USER"], b"");
    let jump = JUMP.replace("FORWARD", "DOCKER-USER");
    assert!(rules.ends_with(&format!("-A DOCKER-USER -s 192.0.2.1/32 -j DROP\n{jump}")), "{rules}");
}

#[test]
fn jump_of_the_host_counts_and_none_is_kept_unasked() {
    let Some(host) = Host::new(&["iptables", "ipset"], &config("")) else { return };
    let forward = || host.namespace.run(&["iptables", "-S", "FORWARD"], b"");
    host.namespace.run(&["iptables", "-N", "TAGWALL"], b"");
    host.namespace.run(&["iptables", "-A", "FORWARD", "-j", "TAGWALL"], b"");
    host.expect(0, &["render"]);
    assert_eq!(forward(), "-P FORWARD ACCEPT\n-A FORWARD -j TAGWALL\n");
    host.configure(&config("[targets.edge.iptables.jump]\nkeep = false\n"));
    host.namespace.run(&["iptables", "-F", "FORWARD"], b"");
    host.expect(0, &["render"]);
    assert_eq!(forward(), "-P FORWARD ACCEPT\n");
}
