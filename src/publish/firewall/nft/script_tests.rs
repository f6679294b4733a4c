use proptest::prelude::*;

use super::*;

const LISTING: &str = r#"table ip filter { # handle 1
	chain FORWARD { # handle 1
		type filter hook forward priority filter; policy accept;
		counter accept # handle 2
	}
}
table inet tagwall { # handle 2
	comment "managed by tagwall"
	set ss { # handle 3
		type ipv4_addr
		flags interval
		comment "}"
	}

	counter hits { # handle 9
		packets 0 bytes 0
	}

	chain forward { # handle 1
		comment "managed by tagwall"
		type filter hook forward priority filter + 10; policy accept;
		oifname { "b", "wan0" } goto o comment "a # handle 4 { by
 hand" # handle 6
	}

	chain o { # handle 2
		limit rate 5/second burst 5 packets log prefix "x " # handle 8
	}
}
"#;

#[test]
fn listing_gives_objects_with_handles() {
    let script = Script::parse(LISTING).unwrap();
    assert_eq!(script.tables.len(), 2);
    let table = script.find("inet", "tagwall").unwrap();
    assert_eq!(table.handle, Some(2));
    assert_eq!(table.properties, ["comment \"managed by tagwall\""]);
    assert_eq!(table.set("ss").unwrap().handle, Some(3));
    assert_eq!(
        table.set("ss").unwrap().declared(),
        ["comment \"}\"", "flags interval", "type ipv4_addr"]
    );
    assert_eq!(table.others, ["counter hits"]);
    let forward = table.chain("forward").unwrap();
    assert_eq!(forward.hooked().unwrap(), "type filter hook forward priority 10");
    assert_eq!(forward.properties, ["comment \"managed by tagwall\"", "policy accept"]);
    assert_eq!(forward.rules.len(), 1);
    assert_eq!(forward.rules[0].handle, Some(6));
    assert!(forward.rules[0].text.ends_with("by\n hand\""), "{:?}", forward.rules[0].text);
    assert_eq!(table.chain("o").unwrap().rules[0].handle, Some(8));
    assert_eq!(
        normal(&table.chain("o").unwrap().rules[0].text),
        "limit rate 5/second log prefix \"x \""
    );
}

#[test]
fn artifact_with_separate_elements_is_one_table() {
    let text = "#!/usr/sbin/nft -f\n# words\ndefine lan = 10.0.0.0/8\ntable inet filter {\n\tset s {\n\t\ttype ipv4_addr; flags interval\n\t}\n\tchain azure {\n\t}\n}\n\
        flush chain inet filter azure\nflush set inet filter s\nadd element inet filter s {\n\t192.0.2.0/24,\n\t198.51.100.1\n}\n\
        table inet filter {\n\tchain azure {\n\t\tip saddr $lan accept; drop\n\t}\n}\n";
    let script = Script::parse(text).unwrap();
    assert_eq!(script.defines, ["define lan = 10.0.0.0/8"]);
    let table = script.find("inet", "filter").unwrap();
    assert_eq!(table.set("s").unwrap().elements, ["\t192.0.2.0/24,\n\t198.51.100.1"]);
    let rules: Vec<&str> =
        table.chain("azure").unwrap().rules.iter().map(|rule| rule.text.as_str()).collect();
    assert_eq!(rules, ["ip saddr $lan accept", "drop"]);
}

#[test]
fn other_structure_is_an_error_with_its_line() {
    let error = Script::parse("# a\n\ninclude \"other.nft\"\n").unwrap_err();
    assert_eq!(error, ScriptError { line: 3, text: "include \"other.nft\"".to_owned() });
    assert!(Script::parse("add element inet a missing { 192.0.2.1 }\n").is_err());
    assert!(Script::parse("add rule inet a b accept\n").is_err());
}

#[test]
fn versions_print_one_rule_in_one_form() {
    assert_eq!(
        normal("oifname {\"wan0\", \"b\"}   ip saddr 10.20.0.0/24 accept"),
        normal("oifname { \"b\", \"wan0\" } ip saddr 10.20.0.0/24 accept")
    );
    assert_ne!(normal("limit rate 5/second burst 9 packets"), normal("limit rate 5/second"));
    assert_ne!(normal("log prefix \"a  b\""), normal("log prefix \"a b\""));
}

#[test]
fn priorities_are_numbers() {
    for (text, number) in
        [("0", 0), ("filter", 0), ("filter + 10", 10), ("mangle - 5", -155), ("-1", -1)]
    {
        assert_eq!(priority_of(text), Some(number), "{text}");
    }
    assert_eq!(priority_of("$p"), None);
}

proptest! {
    #[test]
    fn any_text_is_read_without_panic(text in "[ -~é\n\t{}\";#]{0,200}") {
        let _ = Script::parse(&text);
        let _ = normal(&text);
    }
}
