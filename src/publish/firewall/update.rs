//! Updates: texts that refill only the sets that differ, derived from two artifacts.
//!
//! A full artifact replaces rules, counters and references; most weeks only addresses change. So where two artifacts are the
//! same but for the content of known sets, the changed sets are emptied and refilled in one transaction (nftables), or filled
//! beside and swapped (ipset). Whether they are the same is decided on the artifacts' own text, whatever template wrote it:
//! anything that is not understood means no update, and the full artifact is loaded. Element deltas are never written.

use std::collections::BTreeSet;
use std::path::Path;

use super::ipset::{Set, Sets, outcome};
use super::nft::{Script, refill, same_rules};
use crate::os::files;
use crate::prefix::PrefixSet;
use crate::render::{IptablesKernel, Kernel, NftablesKernel};

/// Largest artifact that is read, in bytes.
const MAX_BYTES: u64 = 256 << 20;

/// A text that refills sets, and leaves everything else as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::publish) struct Update {
    /// What is verified, loaded and archived: texts that are loaded one after the other.
    pub(in crate::publish) steps: Vec<String>,
    /// The sets that it refills.
    pub(in crate::publish) sets: Vec<String>,
    /// The end of its name in the archive: `nft` or `ipset`.
    pub(in crate::publish) kind: &'static str,
}

impl Update {
    /// All of it as one text.
    pub(in crate::publish) fn text(&self) -> Vec<u8> {
        self.steps.concat().into_bytes()
    }

    /// The update from the files of one generation to those of another; none where more than the content of sets differs.
    pub(in crate::publish) fn between(kernel: &Kernel, old: &Path, new: &Path) -> Option<Self> {
        let read = |folder: &Path, file: &str| {
            let bytes = files::read_bounded(&folder.join(file), MAX_BYTES).ok()?;
            String::from_utf8(bytes).ok()
        };
        match kernel {
            Kernel::Nftables(table) => {
                nftables(table, &read(old, &table.file)?, &read(new, &table.file)?)
            }
            Kernel::Iptables(rules) => {
                for file in ["rules.iptables", "rules.ip6tables"] {
                    let (old, new) = (read(old, file)?, read(new, file)?);
                    if !meaningful(&old).eq(meaningful(&new)) {
                        return None;
                    }
                }
                let file = rules.sets_file.as_ref()?;
                ipset(rules, &read(old, file)?, &read(new, file)?)
            }
        }
    }

    /// The update that refills some sets from the files of one generation, whatever they hold; none
    /// where these are not understood, or name other sets.
    pub(in crate::publish) fn refilling(
        kernel: &Kernel,
        folder: &Path,
        sets: Vec<String>,
    ) -> Option<Self> {
        let file = match kernel {
            Kernel::Nftables(table) => &table.file,
            Kernel::Iptables(rules) => rules.sets_file.as_ref()?,
        };
        let text = files::read_bounded(&folder.join(file), MAX_BYTES).ok()?;
        let text = String::from_utf8(text).ok()?;
        let names = kernel_sets(kernel);
        if sets.is_empty() || !sets.iter().all(|set| names.contains(set.as_str())) {
            return None;
        }
        match kernel {
            Kernel::Nftables(table) => {
                let script = Script::parse(&text).ok()?;
                let wanted = script.find(&table.family, &table.table)?;
                let steps = vec![refill(&script.defines, wanted, &sets)];
                Some(Self { steps, sets, kind: "nft" })
            }
            Kernel::Iptables(_) => {
                let all = outcome(&text).ok()?;
                let mut text = String::from("# The sets that drifted, and nothing else.\n");
                for name in &sets {
                    text.push_str(&swap_text(all.get(name.as_str())?, name));
                }
                Some(Self { steps: vec![text], sets, kind: "ipset" })
            }
        }
    }
}

/// The names of the sets that a target has in the kernel.
fn kernel_sets(kernel: &Kernel) -> BTreeSet<&str> {
    let sets = match kernel {
        Kernel::Nftables(table) => &table.sets,
        Kernel::Iptables(rules) => &rules.sets,
    };
    sets.iter().map(|set| set.name.as_str()).collect()
}

/// The lines that are neither empty nor comments.
fn meaningful(text: &str) -> impl Iterator<Item = &str> {
    text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'))
}

fn nftables(table: &NftablesKernel, old: &str, new: &str) -> Option<Update> {
    let names: BTreeSet<&str> = table.sets.iter().map(|set| set.name.as_str()).collect();
    let (old, new) = (Script::parse(old).ok()?, Script::parse(new).ok()?);
    if old.defines != new.defines || old.tables.len() != 1 || new.tables.len() != 1 {
        return None;
    }
    let had = old.find(&table.family, &table.table)?;
    let wanted = new.find(&table.family, &table.table)?;
    if !same_rules(had, wanted) {
        return None;
    }
    let mut sets = Vec::new();
    let mut changes = Vec::new();
    let mut both = wanted.clone();
    for (set, joined) in wanted.sets.iter().zip(&mut both.sets) {
        let had = had.set(&set.name)?;
        if had.elements == set.elements {
            continue;
        }
        // A set of the user's may hold anything, and is not read back.
        sets.push(names.get(set.name.as_str())?.to_string());
        let (before, after) = (had.addresses()?, set.addresses()?);
        joined.elements = before.union(&after).iter().map(|net| net.to_string()).collect();
        changes.push((before, after));
    }
    if sets.is_empty() {
        return None;
    }
    let mut steps = vec![refill(&new.defines, wanted, &sets)];
    if is_move(&changes) {
        // A packet that is at work looks into one set before the transaction and into another one
        // after it: what moves is in both meanwhile, never in none.
        steps.insert(0, format!("{MOVES}{}", refill(&new.defines, &both, &sets)));
    }
    Some(Update { steps, sets, kind: "nft" })
}

/// Stands above what is loaded first where an address moves.
const MOVES: &str =
    "# First with what leaves them, since something moves from one set to another.\n";

fn ipset(rules: &IptablesKernel, old: &str, new: &str) -> Option<Update> {
    let (before, after) = (outcome(old).ok()?, outcome(new).ok()?);
    let declared = |sets: &Sets<'_>| -> Vec<(String, String)> {
        sets.iter().map(|(name, set)| ((*name).to_owned(), set.parameters.join(" "))).collect()
    };
    if declared(&before) != declared(&after) {
        return None;
    }
    let (mut changes, mut spaces) = (Vec::new(), Vec::new());
    for (name, set) in &after {
        let had = before.get(name)?;
        if had.elements != set.elements {
            // A set of the user's may hold anything, and is not read back.
            rules.sets.iter().find(|known| known.name == *name)?;
            changes.push((*name, had, set));
            spaces.push((had.addresses()?, set.addresses()?));
        }
    }
    if changes.is_empty() {
        return None;
    }
    let mut text =
        String::from("# The sets that differ from the generation before, and nothing else.\n");
    if is_move(&spaces) {
        // Sets are exchanged one after the other.
        text.push_str(MOVES);
        for (name, had, set) in &changes {
            let mut both = (*set).clone();
            both.elements.extend(&had.elements);
            text.push_str(&swap_text(&both, name));
        }
    }
    for (name, _, set) in &changes {
        text.push_str(&swap_text(set, name));
    }
    let sets = changes.into_iter().map(|(name, ..)| name.to_owned()).collect();
    Some(Update { steps: vec![text], sets, kind: "ipset" })
}

fn swap_text(set: &Set<'_>, name: &str) -> String {
    set.swap_text(name, &format!("{name}.new"))
}

/// Whether an address leaves one set and comes into another, of sets before and after.
fn is_move(changes: &[(PrefixSet, PrefixSet)]) -> bool {
    let differences: Vec<(PrefixSet, PrefixSet)> =
        changes.iter().map(|(had, has)| (had.difference(has), has.difference(had))).collect();
    let comes = |leaves: &PrefixSet| {
        differences.iter().any(|(_, comes)| !leaves.intersection(comes).is_empty())
    };
    differences.iter().any(|(leaves, _)| comes(leaves))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::KernelSet;
    use crate::ruleset::Family;

    fn sets() -> Vec<KernelSet> {
        let set = |name: &str| KernelSet {
            name: name.to_owned(),
            group: "a".parse().unwrap(),
            family: Family::V4,
        };
        vec![set("tw-a-v4"), set("tw-b-v4")]
    }

    fn table() -> NftablesKernel {
        NftablesKernel {
            family: "inet".to_owned(),
            table: "tagwall".to_owned(),
            chains: Vec::new(),
            own: true,
            file: "rules.nft".to_owned(),
            sets: sets(),
        }
    }

    fn iptables() -> IptablesKernel {
        IptablesKernel {
            chain: "TAGWALL".to_owned(),
            families: crate::config::Families::Both,
            jump: None,
            sets_file: Some("sets.ipset".to_owned()),
            sets: sets(),
        }
    }

    fn own(a: &str, b: &str, rule: &str) -> String {
        let elements = |list: &str| match list {
            "" => String::new(),
            list => {
                format!("\t\telements = {{\n\t\t\t{}\n\t\t}}\n", list.replace(' ', ",\n\t\t\t"))
            }
        };
        format!(
            "# digest {a}{b}\ntable inet tagwall {{\n\tset tw-a-v4 {{\n\t\ttype ipv4_addr\n\t\tflags interval\n{}\t}}\n\
             \tset tw-b-v4 {{\n\t\ttype ipv4_addr\n{}\t}}\n\tchain forward {{\n\t\t{rule}\n\t}}\n}}\n",
            elements(a),
            elements(b)
        )
    }

    #[test]
    fn only_the_sets_that_differ_are_refilled() {
        let old = own("192.0.2.0/26 198.51.100.7", "203.0.113.0/24", "accept");
        let new = own("192.0.2.0/25", "203.0.113.0/24", "accept");
        let update = nftables(&table(), &old, &new).unwrap();
        assert_eq!(update.sets, ["tw-a-v4"]);
        let text = update.steps.concat();
        assert_eq!(
            text,
            "#!/usr/sbin/nft -f\nflush set inet tagwall tw-a-v4\ntable inet tagwall {\n\tset tw-a-v4 {\n\
             \t\ttype ipv4_addr\n\t\tflags interval\n\t\telements = {\n\t\t\t192.0.2.0/25\n\t\t}\n\t}\n}\n"
        );
        // An emptied set has no elements: nft takes no empty list.
        let update = nftables(&table(), &old, &own("", "203.0.113.0/24", "accept")).unwrap();
        assert!(update.steps[0].ends_with("flush set inet tagwall tw-a-v4\n"));
        // Nothing differs, or more than sets.
        assert_eq!(nftables(&table(), &old, &old), None);
        assert_eq!(nftables(&table(), &old, &own("192.0.2.0/25", "", "drop")), None);
    }

    #[test]
    fn sets_of_one_artifact_are_refilled() {
        let folder = tempfile::tempdir().unwrap();
        let write = |file: &str, text: &str| {
            files::replace(&folder.path().join(file), text.as_bytes()).unwrap();
        };
        write("rules.nft", &own("192.0.2.0/25", "203.0.113.0/24", "accept"));
        let kernel = Kernel::Nftables(table());
        let refilling =
            |kernel: &Kernel, set: &str| Update::refilling(kernel, folder.path(), vec![set.into()]);
        let text = refilling(&kernel, "tw-b-v4").unwrap().steps.concat();
        assert!(text.starts_with("#!/usr/sbin/nft -f\nflush set inet tagwall tw-b-v4\n"), "{text}");
        assert!(text.contains("203.0.113.0/24") && !text.contains("tw-a-v4"), "{text}");
        assert_eq!(refilling(&kernel, "other"), None);
        write("rules.nft", "add element inet tagwall tw-b-v4 { 192.0.2.1 }\n");
        assert_eq!(refilling(&kernel, "tw-b-v4"), None);

        let kernel = Kernel::Iptables(iptables());
        let sets = "create tw-b-v4 hash:net\ncreate tw-a-v4 hash:net\nadd tw-a-v4 192.0.2.0/24\n";
        write("sets.ipset", sets);
        let text = refilling(&kernel, "tw-a-v4").unwrap().steps.concat();
        assert!(
            text.ends_with(
                "\ncreate tw-a-v4.new hash:net\nadd tw-a-v4.new 192.0.2.0/24\n\
                 swap tw-a-v4.new tw-a-v4\ndestroy tw-a-v4.new\n"
            ),
            "{text}"
        );
        write("sets.ipset", "test tw-a-v4 192.0.2.0/24\n");
        assert_eq!(refilling(&kernel, "tw-a-v4"), None);
    }

    #[test]
    fn addresses_outside_the_known_sets_are_rules() {
        let rule = |own: &str| format!("ip saddr {{\n{own},\n10.21.0.0/24\n}} accept");
        let old = own("192.0.2.0/26", "", &rule("10.20.0.0/24"));
        let new = own("192.0.2.0/25", "", &rule("10.99.0.0/24"));
        assert_eq!(nftables(&table(), &old, &new), None);
        assert!(
            nftables(&table(), &old, &own("192.0.2.0/25", "", &rule("10.20.0.0/24"))).is_some()
        );
        // A set that is not known, and an element that is not an address.
        let foreign = |from: &str| own(from, "", "accept").replace("tw-a-v4", "other");
        assert_eq!(nftables(&table(), &foreign("192.0.2.0/26"), &foreign("192.0.2.0/25")), None);
        let broken =
            own("192.0.2.0/25", "", "accept").replace("192.0.2.0/25", "192.0.2.0-192.0.2.9");
        assert_eq!(nftables(&table(), &old, &broken), None);
    }

    #[test]
    fn embedded_sets_are_refilled_alike() {
        let text = |a: &str| {
            format!(
                "table inet tagwall {{\n\tset tw-a-v4 {{\n\t\ttype ipv4_addr\n\t}}\n}}\nflush set inet tagwall tw-a-v4\n{a}"
            )
        };
        let add = |a: &str| format!("add element inet tagwall tw-a-v4 {{\n\t{a}\n}}\n");
        let update = nftables(&table(), &text(&add("192.0.2.0/26")), &text("")).unwrap();
        assert!(update.steps[0].ends_with("flush set inet tagwall tw-a-v4\n"));
        let update = nftables(&table(), &text(""), &text(&add("192.0.2.0/26"))).unwrap();
        let text = update.steps.concat();
        assert!(text.contains("elements = {\n\t192.0.2.0/26\n\t\t}"), "{text}");
    }

    #[test]
    fn what_moves_is_in_both_sets_for_a_moment() {
        let old = own("192.0.2.0/25", "203.0.113.0/24", "accept");
        let new = own("203.0.113.0/25", "192.0.2.0/24", "accept");
        let update = nftables(&table(), &old, &new).unwrap();
        assert_eq!(update.steps.len(), 2);
        let (first, second) = (&update.steps[0], &update.steps[1]);
        let elements = |text: &str| -> Vec<String> {
            let lines = text.lines().map(|line| line.trim_end_matches(',').trim());
            lines
                .filter(|line| line.contains('/') && !line.starts_with('#'))
                .map(str::to_owned)
                .collect()
        };
        assert_eq!(
            elements(first),
            ["192.0.2.0/25", "203.0.113.0/25", "192.0.2.0/24", "203.0.113.0/24"]
        );
        assert_eq!(elements(second), ["203.0.113.0/25", "192.0.2.0/24"]);
        // What leaves one set and is new in none does not move.
        let new = own("192.0.2.0/26", "203.0.113.0/25", "accept");
        assert_eq!(nftables(&table(), &old, &new).unwrap().steps.len(), 1);
    }

    #[test]
    fn ipsets_that_differ_are_swapped() {
        let kernel = iptables();
        let text = |a: &str, b: &str, max: u32| {
            let mut text = String::new();
            for (set, net) in [("tw-a-v4", a), ("tw-b-v4", b)] {
                text += &format!(
                    "create {set} hash:net maxelem {max} -exist\n\
                     create {set}.new hash:net maxelem {max} -exist\n\
                     flush {set}.new\nadd {set}.new {net}\n"
                );
            }
            text + "swap tw-a-v4.new tw-a-v4\ndestroy tw-a-v4.new\n\
                    swap tw-b-v4.new tw-b-v4\ndestroy tw-b-v4.new\n"
        };
        let update = |old: &str, new: &str| {
            let update = ipset(&kernel, old, new)?;
            let text = update.steps.concat();
            Some(text.lines().filter(|line| !line.starts_with('#')).collect::<Vec<_>>().join("\n"))
        };
        let before = text("192.0.2.0/26", "203.0.113.0/24", 9);
        let swapped = "create tw-a-v4.new hash:net maxelem 9\nadd tw-a-v4.new 192.0.2.0/25\n\
            swap tw-a-v4.new tw-a-v4\ndestroy tw-a-v4.new";
        let after = text("192.0.2.0/25", "203.0.113.0/24", 9);
        assert_eq!(update(&before, &after).unwrap(), swapped);
        assert_eq!(update(&before, &before), None);
        assert_eq!(update(&before, &text("192.0.2.0/25", "203.0.113.0/24", 8)), None);

        // What moves from one set to the other is in both, before it is in one of them.
        let moved = update(&before, &text("203.0.113.0/25", "192.0.2.0/25", 9)).unwrap();
        let filled: Vec<&str> =
            moved.lines().filter_map(|line| line.strip_prefix("add tw-")).collect();
        assert_eq!(
            filled,
            [
                "a-v4.new 192.0.2.0/26",
                "a-v4.new 203.0.113.0/25",
                "b-v4.new 192.0.2.0/25",
                "b-v4.new 203.0.113.0/24",
                "a-v4.new 203.0.113.0/25",
                "b-v4.new 192.0.2.0/25",
            ]
        );
    }
}
