use super::*;

fn script(text: &str) -> Script {
    Script::parse(text).unwrap()
}

/// The plan where sets have the same elements in both texts.
fn plan(artifact: &str, live: Option<&str>, extent: Extent<'_>) -> Plan {
    let artifact = script(artifact);
    let live = live.map(script);
    let live = live.as_ref().map(|live| &live.tables[0]);
    let same = |set: &&Set| {
        live.and_then(|live| live.set(&set.name)).is_some_and(|had| had.elements == set.elements)
    };
    let unchanged = artifact.tables[0].sets.iter().filter(same).map(|set| set.name.clone());
    Plan::new(&artifact, &artifact.tables[0], live, extent, &unchanged.collect())
}

const OWN: &str = "table inet t {\n\tcomment \"managed by tagwall\"\n\tset a {\n\t\ttype ipv4_addr\n\t\tflags interval\n\
    \t\telements = {\n\t\t\t192.0.2.0/24\n\t\t}\n\t}\n\tchain forward {\n\t\ttype filter hook forward priority 0; policy accept;\n\
    \t\tip daddr @a accept\n\t}\n}\n";

#[test]
fn empty_kernel_gets_sets_before_rules() {
    let plan = plan(OWN, None, Extent::Table);
    assert_eq!(plan.steps.len(), 2);
    assert!(plan.steps[0].contains("comment \"managed by tagwall\""), "{}", plan.steps[0]);
    assert!(plan.steps[0].contains("192.0.2.0/24"));
    assert!(!plan.steps[0].contains("chain"));
    assert!(plan.steps[1].contains("ip daddr @a accept"));
    // Declared again, for old versions of nft, and not filled again.
    assert!(plan.steps[1].contains("set a {") && !plan.steps[1].contains("elements"));
    assert_eq!(plan.staged.len(), 1);
    assert_eq!(plan.staged[0].removal(), "delete table inet t\n");
}

#[test]
fn new_set_is_filled_before_the_rules_and_one_that_stays_is_left_alone() {
    let live = OWN.replace("set a", "set old").replace("@a", "@old");
    let both = plan(
        &OWN.replace("set a", "set b {\n\t\ttype ipv4_addr\n\t}\n\tset a"),
        Some(OWN),
        Extent::Table,
    );
    assert_eq!(both.steps.len(), 2);
    assert!(both.steps[0].contains("set b") && !both.steps[0].contains("set a"));
    assert_eq!(both.staged[0].removal(), "delete set inet t b\n");
    let second = &both.steps[1];
    assert!(second.contains("flush chain inet t forward"), "{second}");
    assert!(!second.contains("elements") && !second.contains("delete"), "{second}");
    let gone = plan(OWN, Some(&live), Extent::Table);
    assert!(gone.steps[1].ends_with("delete set inet t old\n"), "{}", gone.steps[1]);
    // Nobody's set is removed from a host's table.
    let kept = plan(OWN, Some(&live), Extent::Chains(&["forward".to_owned()]));
    assert!(!kept.steps[1].contains("delete"), "{}", kept.steps[1]);
}

#[test]
fn set_that_changes_with_the_rules_goes_by_way_of_another_name() {
    let live = OWN.replace("192.0.2.0/24", "198.51.100.0/24").replace("@a accept", "@a drop");
    for extent in [Extent::Table, Extent::Chains(&["forward".to_owned()])] {
        let plan = plan(OWN, Some(&live), extent);
        assert_eq!(plan.steps.len(), 4);
        assert!(plan.steps[0].contains("set a.new {"), "{}", plan.steps[0]);
        assert!(plan.steps[1].contains("@a.new accept"), "{}", plan.steps[1]);
        assert!(plan.steps[1].ends_with("delete set inet t a\n"), "{}", plan.steps[1]);
        assert!(plan.steps[2].contains("set a {"), "{}", plan.steps[2]);
        assert!(plan.steps[3].contains("@a accept"), "{}", plan.steps[3]);
        assert!(plan.steps[3].ends_with("delete set inet t a.new\n"), "{}", plan.steps[3]);
    }
    // A name that a stopped run left is not used again.
    let left = live.replace("set a {", "set a.new {\n\t\ttype ipv4_addr\n\t}\n\tset a {");
    let plan = plan(OWN, Some(&left), Extent::Table);
    assert!(plan.steps[0].contains("set a.new2 {"), "{}", plan.steps[0]);
    assert!(plan.steps[1].contains("delete set inet t a.new\n"), "{}", plan.steps[1]);
}

#[test]
fn base_chain_that_moves_is_made_again_and_no_other() {
    let filter = OWN.replace("priority 0", "priority filter");
    assert!(!plan(OWN, Some(&filter), Extent::Table).steps[0].contains("delete chain"));
    let moved = plan(&OWN.replace("priority 0", "priority 10"), Some(OWN), Extent::Table);
    assert!(moved.steps[0].contains("delete chain inet t forward"), "{}", moved.steps[0]);
}

#[test]
fn set_of_another_declaration_goes_by_way_of_another_name() {
    let sized = OWN.replace("flags interval", "flags interval\n\t\tsize 9");
    let plan = plan(&sized, Some(OWN), Extent::Table);
    assert_eq!(plan.steps.len(), 4);
    assert!(plan.steps[0].contains("set a.new"));
    assert!(
        plan.steps[1].contains("@a.new accept") && plan.steps[1].ends_with("delete set inet t a\n")
    );
    assert!(plan.steps[2].contains("set a {"));
    assert!(plan.steps[3].contains("@a accept"), "{}", plan.steps[3]);
    assert!(plan.steps[3].ends_with("delete set inet t a.new\n"));
    assert_eq!(plan.checked(), plan.steps[..2].concat());
}

#[test]
fn only_sets_of_a_rule_are_renamed() {
    let sets = BTreeSet::from(["a"]);
    assert_eq!(
        with_other_sets("ip daddr @a ip saddr @a-b log prefix \"@a\" accept", &sets, ".new"),
        "ip daddr @a.new ip saddr @a-b log prefix \"@a\" accept"
    );
}

#[test]
fn refill_empties_and_fills_in_block_form() {
    let table = script(OWN).tables.remove(0);
    assert_eq!(
        refill(&[], &table, &["a".to_owned()]),
        "#!/usr/sbin/nft -f\nflush set inet t a\ntable inet t {\n\tset a {\n\t\ttype ipv4_addr\n\t\tflags interval\n\
         \t\telements = {\n\t\t\t192.0.2.0/24\n\t\t}\n\t}\n}\n"
    );
    let mut empty = table;
    empty.sets[0].elements.clear();
    assert_eq!(refill(&[], &empty, &["a".to_owned()]), "#!/usr/sbin/nft -f\nflush set inet t a\n");
}

#[test]
fn tables_that_differ_in_elements_have_the_same_rules() {
    let table = |text: &str| script(text).tables.remove(0);
    assert!(same_rules(&table(OWN), &table(&OWN.replace("192.0.2.0", "198.51.100.0"))));
    assert!(!same_rules(&table(OWN), &table(&OWN.replace("@a accept", "@a drop"))));
    assert!(!same_rules(&table(OWN), &table(&OWN.replace("flags interval", ""))));
}
