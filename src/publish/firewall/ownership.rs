//! Whose objects are where a target is to be loaded for the first time.
//!
//! An object is tagwall's when it carries the mark (a comment of the table, of the set, or of the first rule of a chain), or is
//! an ipset that a manifest names. Anything else that has content is somebody's, and is replaced with consent only.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use super::nft::{Chain, Script, Set, Table, current};
use super::{Firewall, FirewallError, Object, chains, command, ipset, iptables, nftables, objects};
use crate::render::{IptablesKernel, Kernel, MARK, NftablesKernel};
use crate::ruleset::Family;

/// Most lines of what would be lost that are shown.
const MAX_LINES: usize = 20;

/// The chains that only iptables-nft makes, in tables of these names.
const BUILT_IN: [&str; 5] = ["PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"];
const XTABLES: [&str; 5] = ["filter", "nat", "mangle", "raw", "security"];

/// An object of somebody else's where a target is to be loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Foreign {
    /// The object.
    pub object: String,
    /// Its content, bounded: what a load would remove.
    pub lost: Vec<String>,
}

impl Foreign {
    fn new<T: AsRef<str>>(object: &impl ToString, lines: impl IntoIterator<Item = T>) -> Self {
        let mut lost: Vec<String> = Vec::new();
        let mut more = 0;
        for line in lines {
            if lost.len() < MAX_LINES {
                lost.push(crate::os::printable::printable(line.as_ref(), 160));
            } else {
                more += 1;
            }
        }
        if more > 0 {
            lost.push(format!("… {more} more lines"));
        }
        Self { object: object.to_string(), lost }
    }
}

impl Firewall<'_> {
    /// The objects of others where this target is to be loaded, `known` ones left out: an earlier generation had them.
    /// An error where the place cannot be used at all.
    pub(in crate::publish) fn foreign(
        &self,
        folder: &Path,
        known: &BTreeSet<Object>,
        is_our_ipset: &dyn Fn(&str) -> bool,
    ) -> Result<Vec<Foreign>, FirewallError> {
        let unknown: BTreeSet<Object> =
            objects(self.kernel, folder).into_iter().filter(|one| !known.contains(one)).collect();
        if unknown.is_empty() {
            return Ok(Vec::new());
        }
        match self.kernel {
            Kernel::Nftables(table) => {
                let live = nftables::ruleset(self)?;
                in_nftables(table, &live, &unknown, known.is_empty())
            }
            Kernel::Iptables(rules) => self.in_iptables(rules, &unknown, is_our_ipset),
        }
    }

    fn in_iptables(
        &self,
        rules: &IptablesKernel,
        unknown: &BTreeSet<Object>,
        is_our_ipset: &dyn Fn(&str) -> bool,
    ) -> Result<Vec<Foreign>, FirewallError> {
        let mut foreign = Vec::new();
        for programs in iptables::programs(rules) {
            let named = unknown.iter().filter_map(|object| match object {
                Object::IptablesChain(program, chain) if *program == programs.single => {
                    Some((chain.as_str(), object))
                }
                _ => None,
            });
            let named: BTreeMap<&str, &Object> = named.collect();
            let wanted = named.keys().copied().collect();
            for (chain, rules) in chains::all(programs, &wanted, self.time_limit)? {
                if !rules.is_empty() && !begins_with_mark(&rules, chain) {
                    foreign.push(Foreign::new(named[chain], rules.lines()));
                }
            }
        }
        let sets = unknown.iter().filter_map(|object| match object {
            Object::Ipset(name) => Some((object, name.as_str())),
            _ => None,
        });
        let sets: Vec<(&Object, &str)> = sets.collect();
        if sets.is_empty() {
            return Ok(foreign);
        }
        let present = ipset::names(self)?;
        let names = sets.iter().map(|(_, name)| *name).filter(|name| present.contains(*name));
        let saved = ipset::save(self, names)?;
        let saved = ipset::outcome(&saved)
            .map_err(|reason| FirewallError::Answer { program: "ipset", reason })?;
        for (object, name) in sets {
            let Some(found) = saved.get(name) else { continue };
            let wanted = rules.sets.iter().find(|set| set.name == name);
            let family = match wanted.map(|set| set.family) {
                Some(Family::V6) => "inet6",
                _ => "inet",
            };
            if found.kind() != ("hash:net", family) {
                let declared = found.parameters.join(" ");
                return Err(FirewallError::Unsuitable {
                    object: object.to_string(),
                    reason: format!(
                        "it has another type than hash:net family {family} (`{declared}`), so that no set of the target can \
                         take its place; destroy it, or set another `prefix`"
                    ),
                });
            }
            if !found.elements.is_empty() && !is_our_ipset(name) {
                let lines = found.elements.iter().map(|element| format!("add {name} {element}"));
                foreign.push(Foreign::new(object, lines));
            }
        }
        Ok(foreign)
    }
}

fn in_nftables(
    table: &NftablesKernel,
    live: &Script,
    unknown: &BTreeSet<Object>,
    first: bool,
) -> Result<Vec<Foreign>, FirewallError> {
    let name = format!("table {} {}", table.family, table.table);
    let unsuitable = |object: &str, reason: &str| {
        Err(FirewallError::Unsuitable { object: object.to_owned(), reason: reason.to_owned() })
    };
    let Some(found) = live.find(&table.family, &table.table) else {
        if table.own || !first {
            return Ok(Vec::new());
        }
        return unsuitable(
            &name,
            "it does not exist, and an embedded target goes into a table of the host's: correct `table` and `family`, load the \
             host's rules first, or set mode = \"own\"",
        );
    };
    if is_of_iptables(found) {
        return unsuitable(
            &name,
            "iptables keeps it (iptables-nft), and would not understand it any more; use a target of the iptables dialect, or \
             another table",
        );
    }
    if found.properties.iter().any(|line| line.starts_with("flags") && line.contains("owner")) {
        return unsuitable(
            &name,
            "it has an owner (`nft list tables` shows `flags owner`), a running program that alone may change it; for firewalld \
             set NftablesTableOwner=no in firewalld.conf, or use a table of tagwall's own",
        );
    }
    if table.own {
        let empty = found.chains.is_empty() && found.sets.is_empty() && found.others.is_empty();
        if empty || is_marked(found) {
            return Ok(Vec::new());
        }
        return Ok(vec![Foreign::new(&name, table_lines(found))]);
    }
    let mut foreign = Vec::new();
    for object in unknown {
        match object {
            Object::NftChain(_, _, chain) => {
                let Some(chain) = found.chain(chain) else { continue };
                if chain.hook.is_some() {
                    return unsuitable(
                        &object.to_string(),
                        "it is a base chain, whose rules the target would replace; name a chain of its own in `chain`, and let \
                         the base chain jump to it",
                    );
                }
                if !chain.rules.is_empty() && !has_marked_rule(chain) {
                    foreign.push(Foreign::new(object, chain.rules.iter().map(|rule| &rule.text)));
                }
            }
            Object::NftSet(_, _, set) => {
                let Some(set) = found.set(set) else { continue };
                if !is_marked_set(set) {
                    foreign.push(Foreign::new(object, &set.declaration));
                }
            }
            _ => {}
        }
    }
    Ok(foreign)
}

/// Parts objects into those that are tagwall's (or empty, or gone), and those that have come to be somebody else's.
pub(super) fn ours(
    objects: &BTreeSet<Object>,
    time_limit: Duration,
) -> Result<(BTreeSet<Object>, BTreeSet<Object>), FirewallError> {
    let in_nft = |object: &Object| {
        matches!(object, Object::NftTable(..) | Object::NftChain(..) | Object::NftSet(..))
    };
    let live = if objects.iter().any(in_nft) {
        current(|| nftables::listed(command("nft", time_limit)?))?
    } else {
        Rc::default()
    };
    let mut sorted = (BTreeSet::new(), BTreeSet::new());
    for object in objects {
        let is_ours = match object {
            Object::NftTable(family, table) => live.find(family, table).is_none_or(|table| {
                let empty = table.chains.is_empty() && table.sets.is_empty();
                empty && table.others.is_empty() || is_marked(table)
            }),
            Object::NftChain(family, table, chain) => live
                .find(family, table)
                .and_then(|table| table.chain(chain))
                .is_none_or(|chain| chain.rules.is_empty() || has_marked_rule(chain)),
            Object::NftSet(family, table, set) => {
                live.find(family, table).and_then(|table| table.set(set)).is_none_or(is_marked_set)
            }
            Object::IptablesChain(program, chain) => is_our_chain(program, chain, time_limit)?,
            Object::IptablesJump(..) | Object::Ipset(_) => true,
        };
        let part = if is_ours { &mut sorted.0 } else { &mut sorted.1 };
        part.insert(object.clone());
    }
    Ok(sorted)
}

/// Whether a chain of iptables is empty, gone, or begins with the mark.
fn is_our_chain(
    program: &'static str,
    chain: &str,
    time_limit: Duration,
) -> Result<bool, FirewallError> {
    let Some(programs) = chains::named(program) else { return Ok(true) };
    match chains::one(programs, chain, time_limit) {
        // One that cannot be listed cannot be emptied either, and the program says why.
        Err(FirewallError::Command(_)) | Ok(None) => Ok(true),
        Ok(Some(rules)) => Ok(rules.is_empty() || begins_with_mark(&rules, chain)),
        Err(error) => Err(error),
    }
}

/// Whether the first rule of a chain of iptables is the mark.
fn begins_with_mark(rules: &str, chain: &str) -> bool {
    rules.lines().next() == Some(&format!("-A {chain} -m comment --comment \"{MARK}\""))
}

/// Whether a table is one of those that iptables-nft makes.
fn is_of_iptables(table: &Table) -> bool {
    matches!(table.family.as_str(), "ip" | "ip6")
        && XTABLES.contains(&table.name.as_str())
        && table.chains.iter().any(|chain| BUILT_IN.contains(&chain.name.as_str()))
}

/// Whether a table carries the mark: in its comment or, where it was there before tagwall, in the first rule of a chain.
fn is_marked(table: &Table) -> bool {
    table.properties.iter().any(|line| is_mark(line))
        || table.chains.iter().any(|chain| {
            has_marked_rule(chain) || chain.properties.iter().any(|line| is_mark(line))
        })
}

fn has_marked_rule(chain: &Chain) -> bool {
    chain.rules.first().is_some_and(|rule| rule.text.ends_with(&comment()))
}

fn is_marked_set(set: &Set) -> bool {
    set.declaration.iter().any(|line| is_mark(line))
}

fn is_mark(line: &str) -> bool {
    line.trim() == comment()
}

fn comment() -> String {
    format!("comment \"{MARK}\"")
}

fn table_lines(table: &Table) -> Vec<String> {
    let mut lines = Vec::new();
    for set in &table.sets {
        lines.push(format!("{} {} ({})", set.keyword, set.name, set.declared().join("; ")));
    }
    lines.extend(table.others.iter().cloned());
    for chain in &table.chains {
        let hook = chain.hook.iter().chain(&chain.properties).cloned().collect::<Vec<_>>();
        lines.push(format!("chain {} {}", chain.name, hook.join("; ")).trim_end().to_owned());
        lines.extend(chain.rules.iter().map(|rule| format!("  {}", rule.text)));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(own: bool) -> NftablesKernel {
        NftablesKernel {
            family: "inet".to_owned(),
            table: "filter".to_owned(),
            chains: if own { Vec::new() } else { vec!["azure".to_owned()] },
            own,
            file: String::new(),
            sets: Vec::new(),
        }
    }

    fn found(own: bool, listing: &str) -> Result<Vec<Foreign>, String> {
        let table = table(own);
        let (family, name) = (table.family.clone(), table.table.clone());
        let unknown = if own {
            BTreeSet::from([Object::NftTable(family, name)])
        } else {
            BTreeSet::from([
                Object::NftChain(family.clone(), name.clone(), "azure".to_owned()),
                Object::NftSet(family, name, "tw-a".to_owned()),
            ])
        };
        in_nftables(&table, &Script::listing(listing), &unknown, true)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn table_of_others_is_foreign_until_it_bears_the_mark() {
        let host = "table inet filter {\n\tchain input {\n\t\ttype filter hook input priority 0; policy drop;\n\t\ttcp dport 22 accept\n\t}\n}\n";
        let foreign = found(true, host).unwrap();
        assert_eq!(foreign[0].object, "table inet filter");
        assert!(foreign[0].lost.iter().any(|line| line.contains("tcp dport 22 accept")));
        assert_eq!(found(true, "table inet filter {\n}\n").unwrap(), []);
        assert_eq!(found(true, "table inet other {\n}\n").unwrap(), []);
        let marked =
            host.replace("dport 22 accept", "dport 22 accept comment \"managed by tagwall\"");
        assert_eq!(found(true, &marked).unwrap(), []);
        let marked = host.replace("filter {\n", "filter {\n\tcomment \"managed by tagwall\"\n");
        assert_eq!(found(true, &marked).unwrap(), []);
        // The words alone, elsewhere in a rule, are none.
        let logged = host.replace("accept", "log prefix \"managed by tagwall\" accept");
        assert_eq!(found(true, &logged).unwrap().len(), 1);
    }

    #[test]
    fn embedded_target_goes_into_an_unused_chain_of_a_table_that_exists() {
        let host =
            |chain: &str| format!("table inet filter {{\n\tchain azure {{\n{chain}\t}}\n}}\n");
        assert_eq!(found(false, &host("")).unwrap(), []);
        assert_eq!(found(false, "table inet filter {\n}\n").unwrap(), []);
        assert!(found(false, "").unwrap_err().contains("does not exist"));
        assert_eq!(
            found(false, &host("\t\ttcp dport 22 accept\n")).unwrap()[0].lost,
            ["tcp dport 22 accept"]
        );
        let base = host("\t\ttype filter hook forward priority 0; policy accept;\n");
        assert!(found(false, &base).unwrap_err().contains("base chain"));
        let owned = "table inet filter {\n\tflags owner\n}\n";
        assert!(found(false, owned).unwrap_err().contains("NftablesTableOwner=no"));
        let set = "table inet filter {\n\tset tw-a {\n\t\ttype inet_service\n\t}\n}\n";
        assert_eq!(found(false, set).unwrap()[0].object, "set tw-a of table inet filter");
    }

    #[test]
    fn table_of_iptables_is_no_place() {
        let listing = "table ip filter {\n\tchain FORWARD {\n\t\ttype filter hook forward priority filter; policy accept;\n\t}\n}\n";
        assert!(is_of_iptables(&Script::listing(listing).tables[0]));
        assert!(!is_of_iptables(
            &Script::listing(&listing.replace("FORWARD", "forward")).tables[0]
        ));
    }
}
