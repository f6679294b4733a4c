//! The doors to this host's firewall: its own parser, loading, reading back.
//!
//! Every command has an absolute path, an argument vector, a time limit and no shell. What is loaded is the very text that was
//! verified and is archived: a target's files or, where nothing but the content of sets differs, an [`Update`].

mod chains;
mod conntrack;
mod drift;
mod ipset;
mod iptables;
mod nft;
mod nftables;
mod ownership;
mod sets;
mod stale;
mod update;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use thiserror::Error;

use crate::os::command::{BoundedCommand, CommandError, find_program};
use crate::os::files::FileError;
use crate::prefix::PrefixSet;
use crate::render::{Kernel, KernelSet};
use crate::ruleset::{Family, RuleSet};

pub(super) use conntrack::{expire, is_installed as conntrack_is_installed};
pub use drift::Drift;
pub(super) use drift::unified;
pub(super) use nft::{KeptListing, Netfilter, Staged};
pub use ownership::Foreign;
pub(super) use sets::{CreatedSets, create as create_sets};
pub(super) use stale::{Object, exists, objects, remove};
pub(super) use update::Update;

/// Most output that is read back, in bytes: 90,000 elements take 8 MB of JSON.
const OUTPUT_LIMIT: usize = 256 << 20;

/// Why the firewall could not be asked or did not do as it was told.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum FirewallError {
    /// A program is not installed.
    #[error(
        "{0} is not installed; install it, name its path in [programs], or set apply = \"off\""
    )]
    NoProgram(&'static str),
    /// The program that connections are deleted with is not installed.
    #[error(
        "conntrack is not installed; install it (package conntrack), or set conntrack = \"keep\""
    )]
    NoConntrack,
    /// A command failed.
    #[error(transparent)]
    Command(CommandError),
    /// A program crashed.
    #[error("{error}; {}", likely_cause(.name))]
    Crashed {
        /// Its name in `[programs]`.
        name: String,
        /// How it ended.
        error: CommandError,
    },
    /// A file of the generation cannot be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// Objects of somebody else's are where the target is to be loaded.
    #[error(
        "{} not tagwall's, and would be lost; choose another name or, to replace {}, pass --take-over or set take-over = true \
         for the target{}",
        Objects(.0), if .0.len() == 1 { "it" } else { "them" }, Lost(.0)
    )]
    NotOurs(Vec<Foreign>),
    /// No packet gets to the rules.
    #[error(
        "no packet gets to these rules: {0}; lead packets there (a jump in the host's own rules) or, to load them all the same, \
         pass --allow-unreached or set allow-unreached = true for the target"
    )]
    NotReached(String),
    /// A place that cannot be used, with consent neither.
    #[error("{object} cannot be used: {reason}")]
    Unsuitable {
        /// The object.
        object: String,
        /// Why, and the way out.
        reason: String,
    },
    /// Another instance of tagwall has an object of the same name here.
    #[error(
        "{object} belongs to the active generation of another state directory, {dir}: give one of the two another name",
        dir = .dir.display()
    )]
    OtherInstance {
        /// The object.
        object: String,
        /// The other's state directory.
        dir: PathBuf,
    },
    /// The kernel has no IPv6, and the target has rules for it.
    #[error(
        "{program}: this kernel has no IPv6 ({source}); set families = \"ipv4\" for the target, or give the kernel IPv6"
    )]
    NoIpv6 {
        /// The program.
        program: &'static str,
        /// Its failure.
        source: CommandError,
    },
    /// The kernel does not answer over netlink.
    #[error("nf_tables does not answer: {0}")]
    Netlink(std::io::Error),
    /// Its answer is not of the known form.
    #[error("{program} answered in a form that is not known: {reason}")]
    Answer {
        /// The program.
        program: &'static str,
        /// What was wrong.
        reason: String,
    },
    /// What the kernel has is not what was meant.
    #[error("the kernel does not have what was loaded: {0}")]
    Difference(Drift),
    /// Somebody else changed what is in force, and the target is to be left alone then.
    #[error(
        "somebody else changed what is in force, and on-drift is \"hold\": {}; take it back, or overwrite it with `tagwall restore --overwrite`",
        .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
    )]
    Held(Vec<Drift>),
    /// What was published cannot be read, so nothing can be compared with it.
    #[error(transparent)]
    State(Box<super::PublishError>),
    /// What is to be put back is not known any more.
    #[error(
        "what the kernel had before cannot be put back, for the generation before is damaged: it is left as it is now; \
         `tagwall rollback` to a generation that is whole brings that in force"
    )]
    Damaged,
    /// A command of the user's has no program, or not with an absolute path.
    #[error("the command {0:?} needs a program with an absolute path")]
    BadCommand(Vec<String>),
}

/// Names objects, with the verb.
struct Objects<'f>(&'f [Foreign]);

impl fmt::Display for Objects<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.0.iter().map(|foreign| foreign.object.as_str()).collect();
        let verb = if names.len() == 1 { "exists, is" } else { "exist, are" };
        write!(formatter, "{} {verb}", names.join(", "))
    }
}

/// Shows what objects hold.
struct Lost<'f>(&'f [Foreign]);

impl fmt::Display for Lost<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for foreign in self.0 {
            write!(formatter, "\n  {}:", foreign.object)?;
            for line in &foreign.lost {
                write!(formatter, "\n    {line}")?;
            }
        }
        Ok(())
    }
}

/// The signals by which a faulty program ends: SIGILL, SIGABRT, SIGBUS, SIGFPE, SIGSEGV.
const CRASHES: [i32; 5] = [4, 6, 7, 8, 11];

impl From<CommandError> for FirewallError {
    fn from(error: CommandError) -> Self {
        match &error {
            CommandError::Signalled { program, signal, .. } if CRASHES.contains(signal) => {
                let file = program.file_name().unwrap_or_default().to_string_lossy();
                // A configured file may be called `nft-1.1.3`.
                let name = if file.starts_with("nft") { "nft".into() } else { file };
                Self::Crashed { name: name.into_owned(), error }
            }
            _ => Self::Command(error),
        }
    }
}

/// The likely cause of a crash, and the way out. Measured: nft 0.9.8 and 1.0.6 end by SIGSEGV on sets and maps that nft from
/// 1.1.2 on declared, as kube-proxy's and Calico's images do.
fn likely_cause(name: &str) -> String {
    let cause = if name == "nft" {
        "nft before 1.1.2 crashes on sets and maps that a newer nft, often in a container, declared on this host"
    } else {
        "the program is faulty, or older than the one that loaded rules of this host"
    };
    format!(
        "likely cause: {cause}; name a newer program: `[programs] {name} = \"/path/of/a/newer/{name}\"`"
    )
}

impl FirewallError {
    /// Whether a person's consent is all that is missing.
    pub fn needs_consent(&self) -> bool {
        matches!(self, Self::NotOurs(_) | Self::NotReached(_))
    }

    /// Whether the program did not run, or ended by itself and said no: a transaction was not made then.
    pub(super) fn is_refusal(&self) -> bool {
        match self {
            Self::NoProgram(_) => true,
            Self::Command(error) => matches!(
                error,
                CommandError::NotAbsolute { .. }
                    | CommandError::NotFound { .. }
                    | CommandError::Spawn { .. }
                    | CommandError::Failed { .. }
            ),
            _ => false,
        }
    }
}

/// What was read back from the kernel.
#[derive(Debug)]
pub(super) struct Reading {
    /// See [`Firewall::rules`].
    pub(super) rules: String,
    /// Everything in which the kernel differs from what is meant.
    pub(super) differences: Vec<Drift>,
}

/// The firewall of one target.
#[derive(Debug)]
pub(super) struct Firewall<'k> {
    kernel: &'k Kernel,
    time_limit: Duration,
}

/// A command that is found in the system's folders.
fn command(name: &'static str, time_limit: Duration) -> Result<BoundedCommand, FirewallError> {
    let program = find_program(name).ok_or(FirewallError::NoProgram(name))?;
    Ok(BoundedCommand::new(program).time_limit(time_limit).output_limit(OUTPUT_LIMIT))
}

impl<'k> Firewall<'k> {
    pub(super) fn new(kernel: &'k Kernel, time_limit: Duration) -> Self {
        Self { kernel, time_limit }
    }

    fn command(&self, name: &'static str) -> Result<BoundedCommand, FirewallError> {
        command(name, self.time_limit)
    }

    /// Asks the firewall's own parser about the files.
    pub(super) fn verify(&self, folder: &Path) -> Result<(), FirewallError> {
        match self.kernel {
            Kernel::Nftables(table) => nftables::verify(self, table, folder),
            Kernel::Iptables(rules) => iptables::verify(self, rules, folder),
        }
    }

    /// Asks the firewall's own parser whether the files load alone, where loading them in parts would not tell.
    pub(super) fn verify_alone(&self, folder: &Path) -> Result<(), FirewallError> {
        match self.kernel {
            Kernel::Nftables(table) => nftables::verify_alone(self, table, folder),
            Kernel::Iptables(_) => Ok(()),
        }
    }

    /// Asks the firewall's own parser about an update; refused too where the kernel lacks what is to be updated.
    pub(super) fn verify_update(&self, update: &Update) -> Result<(), FirewallError> {
        match self.kernel {
            Kernel::Nftables(_) => nftables::verify_update(self, update),
            Kernel::Iptables(_) => iptables::verify_update(self, update),
        }
    }

    /// Loads the files; what packets meet meanwhile is what was there before, or what is there
    /// afterwards.
    pub(super) fn apply(&self, folder: &Path) -> Result<(), FirewallError> {
        match self.kernel {
            Kernel::Nftables(table) => nftables::apply(self, table, folder),
            Kernel::Iptables(rules) => iptables::apply(self, rules, folder),
        }
    }

    /// Loads an update: rules, counters and references stay as they are.
    pub(super) fn apply_update(&self, update: &Update) -> Result<(), FirewallError> {
        match self.kernel {
            Kernel::Nftables(_) => nftables::apply_update(self, update),
            Kernel::Iptables(_) => iptables::apply_update(self, update),
        }
    }

    /// What a load of the files makes before the rules that use it.
    pub(super) fn staged(&self, folder: &Path) -> Result<Vec<Staged>, FirewallError> {
        match self.kernel {
            Kernel::Nftables(table) => nftables::staged(self, table, folder),
            Kernel::Iptables(rules) => iptables::staged(self, rules, folder),
        }
    }

    /// Why a load of the files may lose packets: their structure is not understood, so that they
    /// cannot be loaded in parts. None where it is.
    pub(super) fn not_understood(&self, folder: &Path) -> Result<Option<String>, FirewallError> {
        match self.kernel {
            Kernel::Nftables(table) => nftables::not_understood(table, folder),
            Kernel::Iptables(_) => Ok(None),
        }
    }

    /// Removes what was made for rules that did not come.
    pub(super) fn remove_staged(&self, staged: &[Staged]) {
        match self.kernel {
            Kernel::Nftables(_) => nftables::remove_staged(self, staged),
            Kernel::Iptables(_) => {
                let sets = staged.iter().filter_map(Staged::as_ipset).map(str::to_owned);
                let _ = ipset::remove(self, &sets.collect::<Vec<_>>());
            }
        }
    }

    /// The state of the kernel's objects that a first load would touch, as text that restores them; none when there are none.
    pub(super) fn save(&self, folder: &Path) -> Result<Option<Vec<u8>>, FirewallError> {
        match self.kernel {
            Kernel::Nftables(table) => nftables::save(self, table),
            Kernel::Iptables(rules) => iptables::save(self, rules, folder),
        }
    }

    /// The kernel's number for the table, or for the first chain of an embedded target: another one tells of another load. None
    /// where there is none.
    pub(super) fn handle(&self) -> Option<u64> {
        let Kernel::Nftables(table) = self.kernel else { return None };
        let live = nftables::ruleset(self).ok()?;
        let found = live.find(&table.family, &table.table)?;
        match table.chains.first() {
            Some(chain) => found.chain(chain)?.handle,
            None => found.handle,
        }
    }

    /// The chain that is to jump to the rules, where a family does not have it.
    pub(super) fn absent_jump(&self) -> Option<(Family, &'k str)> {
        let Kernel::Iptables(rules) = self.kernel else { return None };
        let chain = rules.jump.as_ref()?.chain.as_str();
        let absent = iptables::programs(rules)
            .find(|programs| matches!(chains::one(*programs, chain, self.time_limit), Ok(None)))?;
        Some((absent.family, chain))
    }

    /// Loads what was saved before the first load.
    pub(super) fn put_back(&self, saved: &[u8]) -> Result<(), FirewallError> {
        for (command, text) in sections(&String::from_utf8_lossy(saved)) {
            let Some((program, args)) = command.split_first() else { continue };
            let Some(name) = RESTORERS.iter().find(|name| *name == program) else { continue };
            self.command(name)?.args(args.iter().copied()).stdin(text.into_bytes()).run()?;
        }
        Ok(())
    }

    /// Whether [`Firewall::undo`] puts back what was saved; else it only lets packets pass by.
    pub(super) fn restores(&self) -> bool {
        matches!(self.kernel, Kernel::Nftables(table) if table.own)
    }

    /// Takes out of the kernel what a first load put there, and puts back what was saved before it.
    pub(super) fn undo(&self, saved: Option<Vec<u8>>) -> Result<(), FirewallError> {
        match self.kernel {
            Kernel::Nftables(table) => nftables::undo(self, table, saved),
            Kernel::Iptables(rules) => iptables::undo(self, rules),
        }
    }

    /// The target's rules as the kernel has them, without addresses of sets and without counters: what a later difference
    /// is told from. An error when there are none.
    pub(super) fn rules(&self, folder: &Path) -> Result<String, FirewallError> {
        match self.kernel {
            Kernel::Nftables(table) => nftables::rules(self, table),
            Kernel::Iptables(rules) => iptables::rules(self, rules, folder),
        }
    }

    /// Reads the kernel back and compares it with what is meant: its sets (all, or only those named), and its rules, when it
    /// is known how they were.
    pub(super) fn read(
        &self,
        folder: &Path,
        rule_set: &RuleSet,
        only: Option<&[String]>,
        before: Option<&str>,
    ) -> Result<Reading, FirewallError> {
        let rules = match self.rules(folder) {
            Ok(rules) => rules,
            Err(FirewallError::Difference(missing)) => {
                return Ok(Reading { rules: String::new(), differences: vec![missing] });
            }
            Err(error) => return Err(error),
        };
        let wanted: Vec<&KernelSet> = self
            .sets()
            .iter()
            .filter(|set| only.is_none_or(|only| only.contains(&set.name)))
            .collect();
        let found = match self.kernel {
            _ if wanted.is_empty() => BTreeMap::new(),
            Kernel::Nftables(table) => {
                nftables::sets(table, wanted.iter().map(|set| set.name.as_str()))?
            }
            Kernel::Iptables(_) => {
                ipset::contents(self, wanted.iter().map(|set| set.name.as_str()))?
            }
        };
        let mut differences: Vec<Drift> =
            wanted.into_iter().filter_map(|set| difference(set, rule_set, &found)).collect();
        if let Some(before) = before
            && before != rules
        {
            let diff = unified(before, &rules);
            differences.push(Drift::Rules { name: self.name(), diff });
        }
        Ok(Reading { rules, differences })
    }

    fn sets(&self) -> &'k [KernelSet] {
        match self.kernel {
            Kernel::Nftables(table) => &table.sets,
            Kernel::Iptables(rules) => &rules.sets,
        }
    }

    fn name(&self) -> String {
        match self.kernel {
            Kernel::Nftables(table) => format!("table {} {}", table.family, table.table),
            Kernel::Iptables(rules) => format!("chain {}", rules.chain),
        }
    }
}

/// The programs that load what was saved.
const RESTORERS: [&str; 4] = ["nft", "ipset", "iptables-restore", "ip6tables-restore"];

/// The parts of what was saved, each with the command line that loads it.
fn sections(saved: &str) -> Vec<(Vec<&str>, String)> {
    let mut found: Vec<(Vec<&str>, String)> = Vec::new();
    for line in saved.lines() {
        let head = line.strip_prefix("# ").map(|command| command.split(' ').collect::<Vec<_>>());
        match head.filter(|words| RESTORERS.contains(&words[0])) {
            Some(command) => found.push((command, String::new())),
            None => {
                if let Some((_, text)) = found.last_mut() {
                    text.push_str(line);
                    text.push('\n');
                }
            }
        }
    }
    found
}

/// How a set differs from what is meant.
fn difference(
    set: &KernelSet,
    rule_set: &RuleSet,
    found: &BTreeMap<String, PrefixSet>,
) -> Option<Drift> {
    let Some(has) = found.get(&set.name) else {
        return Some(Drift::Missing(format!("set {}", set.name)));
    };
    let meant = set.meant(rule_set);
    (*has != meant).then(|| Drift::Set {
        set: set.name.clone(),
        lacks: meant.difference(has),
        extra: has.difference(&meant),
    })
}

/// Runs a command of the user's; `{path}` stands for the folder.
pub(super) fn run_user_command(
    command: &[String],
    folder: &Path,
    time_limit: Duration,
) -> Result<(), FirewallError> {
    let Some((program, args)) =
        command.split_first().filter(|(program, _)| program.starts_with('/'))
    else {
        return Err(FirewallError::BadCommand(command.to_vec()));
    };
    let path = folder.to_string_lossy();
    let args = args.iter().map(|arg| arg.replace("{path}", &path));
    BoundedCommand::new(PathBuf::from(program)).args(args).time_limit(time_limit).run()?;
    Ok(())
}
