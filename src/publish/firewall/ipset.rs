//! ipset: sets files taken apart, and sets that change without a packet lost or let through.
//!
//! ipset and iptables know no transaction over both, and a set that rules use can only be swapped,
//! by itself. So rules never meet a set that changes while they do: they go over to sets of other
//! names, and back. A set that is absent is created under its own name, and one that holds already
//! what it should is left alone.
//!
//! Everything is derived from the sets file, whatever template wrote it, and from what the kernel
//! has of the sets that it names.

use std::collections::{BTreeMap, BTreeSet};

use ipnet::IpNet;

use super::{Firewall, FirewallError, Staged};
use crate::prefix::PrefixSet;
use crate::prefix::parse::parse_net_or_address;

/// The ends of the names under which sets are filled. Three, since rules may still use one of a
/// load that was stopped half-way, a second is for the rules of this one, and a third for the swap.
/// As long as the one that templates use, for which names leave room.
const SUFFIXES: [&str; 3] = [".new", ".tmp", ".alt"];
/// How many elements a set may have where nothing else is said.
const MAX_ELEMENTS: &str = "65536";

/// A set as a sets file leaves it, or as the kernel has it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Set<'t> {
    /// The type and its parameters, word by word.
    pub(super) parameters: Vec<&'t str>,
    /// The elements, each with its options.
    pub(super) elements: BTreeSet<&'t str>,
}

impl Set<'_> {
    /// The type and the family, as a listing shows them.
    pub(super) fn kind(&self) -> (&str, &str) {
        (self.parameters.first().copied().unwrap_or_default(), self.value("family", "inet"))
    }

    fn value<'v>(&'v self, key: &str, default: &'v str) -> &'v str {
        let at = self.parameters.iter().position(|word| *word == key);
        at.and_then(|at| self.parameters.get(at + 1)).copied().unwrap_or(default)
    }

    /// What a set was created with, but for what the kernel chooses or may change by itself.
    fn created_with(&self) -> BTreeMap<&str, &str> {
        let mut found = BTreeMap::from([("family", "inet"), ("maxelem", MAX_ELEMENTS)]);
        let mut words = self.parameters.iter().copied();
        while let Some(word) = words.next() {
            match word {
                "hashsize" | "bucketsize" | "initval" => _ = words.next(),
                "family" | "maxelem" | "timeout" | "netmask" | "markmask" | "range" | "size" => {
                    found.insert(word, words.next().unwrap_or_default());
                }
                _ => _ = found.insert(word, ""),
            }
        }
        found
    }

    /// The addresses of the elements, whatever is counted or noted of each; none where one of them
    /// is something else, or excepted.
    pub(super) fn addresses(&self) -> Option<PrefixSet> {
        let address = |element: &&str| {
            let mut words = element.split_whitespace();
            let address = parse_net_or_address(words.next()?).ok()?;
            words.all(|option| option != "nomatch").then_some(address)
        };
        let nets: Option<Vec<IpNet>> = self.elements.iter().map(address).collect();
        Some(nets?.into_iter().collect())
    }

    /// Whether the kernel's set need not be touched.
    fn is_like(&self, wanted: &Self) -> bool {
        let size = |set: &Self| set.value("hashsize", "0").parse().unwrap_or(0_u32);
        self.created_with() == wanted.created_with()
            && size(self) >= size(wanted)
            && (self.elements == wanted.elements
                || self.addresses().is_some() && self.addresses() == wanted.addresses())
    }

    /// Why the kernel would refuse the elements; none where it takes them, or where only it can
    /// tell.
    fn refusal(&self, name: &str) -> Option<String> {
        let (kind, family) = self.kind();
        let max = self.value("maxelem", MAX_ELEMENTS).parse().unwrap_or(usize::MAX);
        if kind == "hash:net" && self.elements.len() > max {
            let count = self.elements.len();
            return Some(format!("set {name}: {count} elements, more than its maxelem {max}"));
        }
        let wanted = |net: &IpNet| matches!(net, IpNet::V6(_)) == (family == "inet6");
        let other = self
            .elements
            .iter()
            .find(|element| parse_net_or_address(element).is_ok_and(|net| !wanted(&net)))?;
        Some(format!("set {name}: {other} is not of family {family}"))
    }

    /// Whether only the kernel can tell whether it takes the elements.
    fn is_unusual(&self) -> bool {
        self.kind().0 != "hash:net"
            || self.elements.iter().any(|element| parse_net_or_address(element).is_err())
    }

    /// The text that creates and fills a set.
    pub(super) fn restore_text(&self, name: &str) -> String {
        let mut text = self.create_text(name);
        for element in &self.elements {
            text.push_str(&format!("add {name} {element}\n"));
        }
        text
    }

    fn create_text(&self, name: &str) -> String {
        format!("create {name} {}\n", self.parameters.join(" "))
    }

    /// The text that exchanges the content of a set which is there, through another name.
    pub(super) fn swap_text(&self, name: &str, through: &str) -> String {
        format!("{}swap {through} {name}\ndestroy {through}\n", self.restore_text(through))
    }
}

/// Sets by name.
pub(super) type Sets<'t> = BTreeMap<&'t str, Set<'t>>;

/// The sets that exist at the end of a sets file, whatever template wrote it: the file is followed
/// line by line. What `ipset save` prints is read alike.
pub(super) fn outcome(text: &str) -> Result<Sets<'_>, String> {
    let mut sets: Sets<'_> = BTreeMap::new();
    for (number, line) in text.lines().enumerate() {
        follow(&mut sets, line.trim())
            .ok_or_else(|| format!("line {} is not understood: {line:?}", number + 1))?;
    }
    Ok(sets)
}

fn follow<'t>(sets: &mut Sets<'t>, line: &'t str) -> Option<()> {
    let line = line.trim_end_matches(" -exist").trim_start_matches("-! ");
    // The rest of an element is its options.
    if let Some(rest) = line.strip_prefix("add ").or_else(|| line.strip_prefix("-A ")) {
        let (name, element) = rest.trim_start().split_once(' ')?;
        sets.get_mut(name)?.elements.insert(element.trim());
        return Some(());
    }
    let words: Vec<&str> =
        line.split_whitespace().filter(|word| !matches!(*word, "-exist" | "-!")).collect();
    match words.as_slice() {
        [] | ["COMMIT"] => {}
        [comment, ..] if comment.starts_with('#') => {}
        ["create" | "-N", name, parameters @ ..] if !parameters.is_empty() => {
            let set = || Set { parameters: parameters.to_vec(), ..Set::default() };
            sets.entry(name).or_insert_with(set);
        }
        ["del" | "-D", name, ..] => {
            let element = line.split_once(name)?.1.trim();
            sets.get_mut(name)?.elements.remove(element);
        }
        ["flush" | "-F", name] => sets.get_mut(name)?.elements.clear(),
        ["destroy" | "-X", name] => _ = sets.remove(name)?,
        ["swap" | "-W", one, other] => {
            let (of_one, of_other) = (sets.remove(one)?, sets.remove(other)?);
            sets.insert(one, of_other);
            sets.insert(other, of_one);
        }
        ["rename" | "-E", from, to] => {
            let set = sets.remove(from)?;
            sets.insert(to, set);
        }
        _ => return None,
    }
    Some(())
}

/// How the sets of a target become what its sets file says.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Plan {
    /// Makes and fills what no rule uses yet.
    pub(super) first: String,
    /// By set, the name that rules use meanwhile; empty where rules may go over at once.
    pub(super) passing: BTreeMap<String, String>,
    /// Exchanges the sets that no rule uses now.
    pub(super) second: String,
    /// The sets that `first` makes.
    pub(super) made: Vec<String>,
    /// Sets under passing names that an earlier load has left.
    left: Vec<String>,
    /// The same sets without content, but for what only the kernel can judge.
    trial: String,
}

impl Plan {
    /// The plan from what the kernel has to what a sets file leaves.
    fn new(wanted: &Sets<'_>, live: &Sets<'_>) -> Self {
        let mut plan = Self::default();
        for (name, set) in wanted {
            let trial = |name| {
                if set.is_unusual() { set.restore_text(name) } else { set.create_text(name) }
            };
            let Some(had) = live.get(name) else {
                plan.first.push_str(&set.restore_text(name));
                plan.trial.push_str(&trial(name));
                plan.made.push((*name).to_owned());
                continue;
            };
            if had.is_like(set) {
                continue;
            }
            let mut unused = SUFFIXES
                .iter()
                .map(|suffix| format!("{name}{suffix}"))
                .filter(|name| !live.contains_key(name.as_str()));
            let (Some(passing), Some(through)) = (unused.next(), unused.next()) else { continue };
            plan.first.push_str(&set.restore_text(&passing));
            plan.trial.push_str(&trial(&passing));
            plan.made.push(passing.clone());
            // A set of another type cannot be swapped.
            if had.kind() == set.kind() {
                plan.second.push_str(&set.swap_text(name, &through));
            } else {
                plan.second.push_str(&format!("destroy {name}\n{}", set.restore_text(name)));
            }
            plan.passing.insert((*name).to_owned(), passing);
        }
        plan
    }

    /// The sets that no rule uses once the load is over.
    pub(super) fn passed_by(&self) -> Vec<String> {
        self.passing.values().chain(&self.left).cloned().collect()
    }

    /// What is staged before the rules come.
    pub(super) fn staged(&self) -> Vec<Staged> {
        self.made.iter().map(|set| Staged::ipset(set)).collect()
    }
}

/// Says what is to be done about the sets of a target.
pub(super) fn plan(firewall: &Firewall<'_>, text: &[u8]) -> Result<Plan, FirewallError> {
    let text = String::from_utf8_lossy(text);
    let wanted = understood(&text)?;
    let present = names(firewall)?;
    let own = wanted.keys().copied().filter(|name| present.contains(*name));
    let left = leftovers(wanted.keys().copied(), &present);
    let saved = save(firewall, own.chain(left.iter().map(String::as_str)))?;
    let live =
        outcome(&saved).map_err(|reason| FirewallError::Answer { program: "ipset", reason })?;
    Ok(Plan { left, ..Plan::new(&wanted, &live) })
}

/// Tries a plan without changing anything: elements are judged here, declarations by the kernel, in
/// sets that are taken away again after `then`.
pub(super) fn verify(
    firewall: &Firewall<'_>,
    text: &[u8],
    plan: &Plan,
    then: impl FnOnce(&Plan) -> Result<(), FirewallError>,
) -> Result<(), FirewallError> {
    let text = String::from_utf8_lossy(text);
    let refusal = understood(&text)?.iter().find_map(|(name, set)| set.refusal(name));
    if let Some(reason) = refusal {
        return Err(FirewallError::Answer { program: SETS_FILE, reason });
    }
    let tried = restore(firewall, &plan.trial).and_then(|()| then(plan));
    // Of the names in the plan alone, whatever else came up meanwhile.
    let cleaned = remove(firewall, &plan.made);
    tried.and(cleaned)
}

/// What a sets file is called in messages.
const SETS_FILE: &str = "the sets file";

fn understood(text: &str) -> Result<Sets<'_>, FirewallError> {
    outcome(text).map_err(|reason| FirewallError::Answer { program: SETS_FILE, reason })
}

/// The sets under whose names those of a target are filled, as far as there are any.
fn leftovers<'n>(sets: impl Iterator<Item = &'n str>, present: &BTreeSet<String>) -> Vec<String> {
    let passing =
        sets.flat_map(|name| SUFFIXES.iter().map(move |suffix| format!("{name}{suffix}")));
    passing.filter(|name| present.contains(name)).collect()
}

/// Removes what loads have left under passing names, as far as no rule uses it.
pub(super) fn clean(firewall: &Firewall<'_>, sets: &[String]) -> Result<(), FirewallError> {
    remove(firewall, &leftovers(sets.iter().map(String::as_str), &names(firewall)?))
}

/// Removes sets of ours: all at once, or one by one where one of them is gone or in use, which
/// stops no other.
pub(super) fn remove(firewall: &Firewall<'_>, sets: &[String]) -> Result<(), FirewallError> {
    if destroy(firewall, sets.iter().map(String::as_str)).is_ok() {
        return Ok(());
    }
    for set in sets {
        match destroy(firewall, std::iter::once(set.as_str())) {
            Err(error) if !error.is_refusal() => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

/// Removes sets, in one process.
fn destroy<'n>(
    firewall: &Firewall<'_>,
    sets: impl Iterator<Item = &'n str>,
) -> Result<(), FirewallError> {
    restore(firewall, &commands("destroy", sets))
}

/// Runs commands of ipset, in one process.
pub(super) fn restore(firewall: &Firewall<'_>, text: &str) -> Result<(), FirewallError> {
    if !text.is_empty() {
        firewall.command("ipset")?.arg("restore").stdin(text.as_bytes().to_vec()).run()?;
    }
    Ok(())
}

/// What `ipset save` prints of some sets that are there, in one process.
pub(super) fn save<'n>(
    firewall: &Firewall<'_>,
    names: impl Iterator<Item = &'n str>,
) -> Result<String, FirewallError> {
    let text = commands("save", names);
    if text.is_empty() {
        return Ok(text);
    }
    let saved = firewall.command("ipset")?.arg("restore").stdin(text.into_bytes()).run()?;
    Ok(String::from_utf8_lossy(&saved.stdout).into_owned())
}

/// A command of ipset for each of some sets.
fn commands<'n>(command: &str, names: impl Iterator<Item = &'n str>) -> String {
    names.flat_map(|name| [command, " ", name, "\n"]).collect()
}

/// The names of all sets of the host. A failure is never taken for "there are none": what is there
/// would then look as if it had been made by us, and be taken away.
pub(super) fn names(firewall: &Firewall<'_>) -> Result<BTreeSet<String>, FirewallError> {
    let listed = firewall.command("ipset")?.args(["list", "-n"]).run()?;
    Ok(String::from_utf8_lossy(&listed.stdout).lines().map(str::to_owned).collect())
}

/// The content of the sets named, by name; one that is gone is left out.
pub(super) fn contents<'n>(
    firewall: &Firewall<'_>,
    wanted: impl Iterator<Item = &'n str>,
) -> Result<BTreeMap<String, PrefixSet>, FirewallError> {
    let present = names(firewall)?;
    let saved = save(firewall, wanted.filter(|name| present.contains(*name)))?;
    let answer = |reason| FirewallError::Answer { program: "ipset", reason };
    let sets = outcome(&saved).map_err(answer)?;
    let addresses = |(name, set): (&str, Set<'_>)| {
        let unknown = || answer(format!("set {name} holds something else than addresses"));
        Ok((name.to_owned(), set.addresses().ok_or_else(unknown)?))
    };
    sets.into_iter().map(addresses).collect()
}

/// A file of rules that uses other sets.
pub(super) fn with_other_sets(text: &str, passing: &BTreeMap<String, String>) -> String {
    if passing.is_empty() {
        return text.to_owned();
    }
    let mut changed = String::with_capacity(text.len());
    for line in text.split_inclusive('\n') {
        let mut quoted = false;
        let mut names_a_set = false;
        for word in line.split_inclusive([' ', '\n']) {
            let bare = word.trim_end();
            match passing.get(bare).filter(|_| names_a_set && !quoted) {
                Some(other) => {
                    changed.push_str(other);
                    changed.push_str(&word[bare.len()..]);
                }
                None => changed.push_str(word),
            }
            names_a_set =
                !quoted && matches!(bare, "--match-set" | "--add-set" | "--del-set" | "--map-set");
            quoted ^= bare.matches('"').count() % 2 == 1;
        }
    }
    changed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_file_leaves_what_was_swapped_in() {
        let text = "# a comment\n\ncreate a hash:net family inet6 maxelem 10 -exist\n\
            create a.new hash:net family inet6 maxelem 10 -exist\nflush a.new\n\
            add a.new 2001:db8::/32\n\
            add a.new 2001:db9::/32\ndel a.new 2001:db9::/32\nswap a.new a\ndestroy a.new\n\
            create b hash:ip timeout 5\nadd b 192.0.2.1 timeout 7\nrename b c\n";
        let sets = outcome(text).unwrap();
        assert_eq!(sets.keys().copied().collect::<Vec<_>>(), ["a", "c"]);
        assert_eq!(
            sets["a"].restore_text("a"),
            "create a hash:net family inet6 maxelem 10\nadd a 2001:db8::/32\n"
        );
        assert_eq!(
            sets["c"].restore_text("c"),
            "create c hash:ip timeout 5\nadd c 192.0.2.1 timeout 7\n"
        );
        assert_eq!(
            (sets["a"].kind(), sets["c"].kind()),
            (("hash:net", "inet6"), ("hash:ip", "inet"))
        );
    }

    #[test]
    fn sets_file_with_unknown_line_is_refused() {
        for text in ["add a 192.0.2.1\n", "create a\n", "swap a b\n", "quit\n", "flush a\n"] {
            let error = outcome(text).unwrap_err();
            assert!(error.starts_with("line 1 is not understood"), "{text}: {error}");
        }
    }

    fn plan(wanted: &str, live: &str) -> Plan {
        Plan::new(&outcome(wanted).unwrap(), &outcome(live).unwrap())
    }

    #[test]
    fn absent_set_is_created_and_a_like_one_left_alone() {
        let wanted = "create a hash:net hashsize 64 maxelem 9\nadd a 192.0.2.0/25\n\
            add a 192.0.2.128/32\n";
        let created = plan(wanted, "");
        assert_eq!((created.first.as_str(), created.second.as_str()), (wanted, ""));
        assert_eq!(created.trial, "create a hash:net hashsize 64 maxelem 9\n");
        assert!(created.passing.is_empty());
        let saved = "create a hash:net family inet hashsize 128 maxelem 9 bucketsize 12 \
            initval 0x1\nadd a 192.0.2.128\nadd a 192.0.2.0/25\n";
        assert_eq!(plan(wanted, saved), Plan::default());
        // What the kernel counts is no difference.
        let counted = |text: &str| text.replace("maxelem 9", "maxelem 9 counters");
        let with_counters = counted(saved).replace("192.0.2.128", "192.0.2.128 packets 3 bytes 9");
        assert_eq!(plan(&counted(wanted), &with_counters), Plan::default());
        let excepted = counted(saved).replace("192.0.2.128", "192.0.2.128 nomatch");
        assert_ne!(plan(&counted(wanted), &excepted), Plan::default());
        // Smaller than wanted, another limit, another option: not alike.
        for other in [
            saved.replace("hashsize 128", "hashsize 32"),
            saved.replace("maxelem 9", "maxelem 8"),
            saved.replace("maxelem 9", "maxelem 9 counters"),
            saved.replace("192.0.2.128", "192.0.2.129"),
        ] {
            assert_eq!(plan(wanted, &other).passing["a"], "a.new", "{other}");
        }
    }

    #[test]
    fn changed_set_is_passed_by_and_exchanged() {
        let wanted = "create a hash:net\nadd a 192.0.2.0/25\n";
        let changed = plan(wanted, "create a hash:net\n");
        assert_eq!(changed.first, "create a.new hash:net\nadd a.new 192.0.2.0/25\n");
        assert_eq!(
            changed.second,
            "create a.tmp hash:net\nadd a.tmp 192.0.2.0/25\nswap a.tmp a\ndestroy a.tmp\n"
        );
        // Rules may still use one name of a load that was stopped half-way.
        let left = plan(wanted, "create a hash:net\ncreate a.new hash:net\n");
        assert_eq!(left.passing["a"], "a.tmp");
        assert!(left.second.contains("swap a.alt a\n"));
        let other_type = plan(wanted, "create a hash:ip\n");
        assert_eq!(other_type.second, "destroy a\ncreate a hash:net\nadd a 192.0.2.0/25\n");
    }

    #[test]
    fn elements_are_judged_before_the_kernel_is_asked() {
        let refused = |text: &str| {
            let sets = outcome(text).unwrap();
            let (name, set) = sets.iter().next().unwrap();
            set.refusal(name).unwrap_or_default()
        };
        let two = "create a hash:net maxelem 1\nadd a 192.0.2.0/25\nadd a 198.51.100.0/24\n";
        assert_eq!(refused(two), "set a: 2 elements, more than its maxelem 1");
        let other = "create a hash:net family inet6\nadd a 192.0.2.0/25\n";
        assert_eq!(refused(other), "set a: 192.0.2.0/25 is not of family inet6");
        assert_eq!(refused("create a hash:net\nadd a 192.0.2.0/25\n"), "");
        let unusual = "create a hash:ip,port\nadd a 192.0.2.1,tcp:53\n";
        assert!(outcome(unusual).unwrap()["a"].is_unusual());
        assert_eq!(plan(unusual, "").trial, unusual);
    }

    #[test]
    fn rules_name_other_sets() {
        let passing = BTreeMap::from([("a".to_owned(), "a.new".to_owned())]);
        let rule = |set: &str| {
            format!(
                "-A T -m comment --comment \"--match-set a x\" -m set --match-set {set} dst -j a\n"
            )
        };
        assert_eq!(with_other_sets(&rule("a"), &passing), rule("a.new"));
        assert_eq!(with_other_sets(&rule("b"), &passing), rule("b"));
        let last = "-A T -m set ! --match-set a\n";
        assert_eq!(with_other_sets(last, &passing), "-A T -m set ! --match-set a.new\n");
    }
}
