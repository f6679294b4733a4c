//! What this host's programs and its kernel say about rules, interfaces and families.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::os::command::{BoundedCommand, CommandError, find_program};
use crate::reach::{Key, Lookup, Ruleset, SetId};
use crate::ruleset::Family;

/// Longest time of one command.
const TIME_LIMIT: Duration = Duration::from_secs(20);
/// Most bytes of a listing.
const OUTPUT_LIMIT: usize = 64 << 20;
/// Most elements of others that are looked up.
const MAX_LOOKUPS: usize = 256;
/// Longest time of all lookups together: each reads a whole set in some versions of nft.
const LOOKUP_TIME: Duration = Duration::from_secs(5);

/// Absent where the kernel has no IPv6. `/proc/sys` would say it too, but a unit with
/// `ProcSubset=pid` does not see that.
const IF_INET6: &str = "/proc/self/net/if_inet6";
/// The interfaces, as links.
const INTERFACES: &str = "/sys/class/net";

/// The save commands of a family: of iptables-nft, of iptables-legacy, and the kernel's list of
/// tables of the latter.
struct Programs {
    family: Family,
    nft: [&'static str; 2],
    legacy: &'static str,
    names: &'static str,
    /// Modules that hold such tables.
    module: &'static str,
}

const PROGRAMS: [Programs; 2] = [
    Programs {
        family: Family::V4,
        nft: ["iptables-nft-save", "iptables-save"],
        legacy: "iptables-legacy-save",
        names: "/proc/self/net/ip_tables_names",
        module: "iptable",
    },
    Programs {
        family: Family::V6,
        nft: ["ip6tables-nft-save", "ip6tables-save"],
        legacy: "ip6tables-legacy-save",
        names: "/proc/self/net/ip6_tables_names",
        module: "ip6table",
    },
];

/// The rules of this host, read once.
#[derive(Debug)]
pub(super) struct Host {
    ruleset: Result<Ruleset, String>,
    lookups: Mutex<Lookups>,
}

/// Elements that were looked up, and how long that took.
#[derive(Debug, Default)]
struct Lookups {
    known: BTreeMap<String, Lookup>,
    took: Duration,
}

impl Host {
    /// Reads the rules of all tables, without the elements of sets.
    pub(super) fn read() -> Self {
        Self { ruleset: read(), lookups: Mutex::default() }
    }

    /// The rules, or why they are not known.
    pub(super) fn ruleset(&self) -> Result<&Ruleset, &str> {
        self.ruleset.as_ref().map_err(String::as_str)
    }

    /// Whether a set of others has an element; asked once each.
    pub(super) fn look_up(&self, set: SetId<'_>, key: &[Key]) -> Lookup {
        let words: Vec<String> = key.iter().map(ToString::to_string).collect();
        let element = words.join(" . ");
        let id = format!("{} {} {} {element}", set.family, set.table, set.name);
        let mut lookups = self.lookups.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = lookups.known.get(&id) {
            return known.clone();
        }
        if lookups.known.len() >= MAX_LOOKUPS || lookups.took >= LOOKUP_TIME {
            return Lookup::Unknown;
        }
        let began = Instant::now();
        let found = if set.family == "ipset" {
            in_ipset(set.name, &element)
        } else {
            in_nft(set, &element)
        };
        lookups.took += began.elapsed();
        lookups.known.insert(id, found.clone());
        found
    }
}

fn read() -> Result<Ruleset, String> {
    let installed = find_program("nft").is_some();
    let mut ruleset = if installed {
        let listing = run("nft", &["-j", "-t", "list", "ruleset"])?;
        Ruleset::from_json(&listing).map_err(|error| error.to_string())?
    } else {
        // Tables of iptables-nft are known all the same, those of others are not.
        let why = "nft is not installed, so that tables of others are not known";
        Ruleset::default().with_doubt(Family::V4, why).with_doubt(Family::V6, why)
    };
    if ruleset.needs_text() {
        ruleset = ruleset.with_text(&run("nft", &["-t", "list", "ruleset"])?);
    }
    for programs in &PROGRAMS {
        let family = programs.family;
        if !installed || ruleset.needs_save(family) {
            let [nft, any] = programs.nft;
            let of_nft = find_program(nft).is_some() || !installed;
            let save = if of_nft { nft } else { any };
            ruleset = match run(save, &[]) {
                Ok(text) if installed => ruleset.with_save(family, &text),
                Ok(text) => ruleset.with_tables_of_save(family, &text),
                // What they match stays unknown, and is named where it matters.
                Err(_) => ruleset,
            };
        }
        ruleset = match legacy_tables(programs) {
            Ok(false) => ruleset,
            Ok(true) => match run(programs.legacy, &[]) {
                Ok(text) => ruleset.with_legacy(family, &text),
                Err(error) => {
                    ruleset.with_doubt(family, &format!("rules of iptables-legacy: {error}"))
                }
            },
            Err(why) => ruleset.with_doubt(family, &why),
        };
    }
    let ruleset = ruleset.with_ipv6(Path::new(IF_INET6).exists());
    Ok(match interfaces() {
        Ok(names) => ruleset.with_interfaces(names),
        Err(error) => {
            let why = format!("the interfaces cannot be listed: {error}");
            ruleset.with_doubt(Family::V4, &why).with_doubt(Family::V6, &why)
        }
    })
}

/// Whether iptables-legacy has tables in this network namespace.
fn legacy_tables(programs: &Programs) -> Result<bool, String> {
    match fs::read_to_string(programs.names) {
        Ok(names) => Ok(!names.trim().is_empty()),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        // Only root may read it. Without a module of a table there is none.
        Err(error) => {
            let loaded = ["raw", "mangle", "nat", "filter", "security"].iter().any(|table| {
                Path::new("/sys/module").join(format!("{}_{table}", programs.module)).exists()
            });
            if loaded { Err(format!("rules of iptables-legacy: {error}")) } else { Ok(false) }
        }
    }
}

fn interfaces() -> std::io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(INTERFACES)? {
        let entry = entry?;
        // Other entries are files, such as bonding_masters.
        if entry.file_type()?.is_symlink() {
            names.extend(entry.file_name().into_string());
        }
    }
    Ok(names)
}

/// The output of a program; its own words where it fails.
fn run(name: &str, args: &[&str]) -> Result<String, String> {
    let program = find_program(name).ok_or_else(|| format!("{name} is not installed"))?;
    let command = BoundedCommand::new(program)
        .args(args.iter().copied())
        .time_limit(TIME_LIMIT)
        .output_limit(OUTPUT_LIMIT);
    let output = command.run().map_err(|error| error.to_string())?;
    if output.stdout_cut {
        return Err(format!("{name} lists more than {OUTPUT_LIMIT} bytes"));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn in_nft(set: SetId<'_>, element: &str) -> Lookup {
    let Some(program) = find_program("nft") else { return Lookup::Unknown };
    let braced = format!("{{ {element} }}");
    let command = BoundedCommand::new(program)
        .args(["get", "element", set.family, set.table, set.name, braced.as_str()])
        .time_limit(TIME_LIMIT);
    match command.run() {
        Ok(output) => Lookup::from_get_element(&String::from_utf8_lossy(&output.stdout)),
        Err(CommandError::Failed { stderr, .. }) => {
            // The kernel's word about the element; that of nft about a missing set differs.
            let text = String::from_utf8_lossy(&stderr);
            let absent = text.contains("Could not process rule: No such file or directory");
            if absent { Lookup::Absent } else { Lookup::Unknown }
        }
        Err(_) => Lookup::Unknown,
    }
}

fn in_ipset(set: &str, element: &str) -> Lookup {
    let Some(program) = find_program("ipset") else { return Lookup::Unknown };
    let command = BoundedCommand::new(program).args(["test", set, element]).time_limit(TIME_LIMIT);
    match command.run() {
        Ok(_) => Lookup::Present,
        Err(CommandError::Failed { stderr, .. }) => {
            let text = String::from_utf8_lossy(&stderr);
            if text.contains(" is NOT in set ") { Lookup::Absent } else { Lookup::Unknown }
        }
        Err(_) => Lookup::Unknown,
    }
}
