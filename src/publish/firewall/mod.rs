//! The doors to this host's firewall: its own parser, loading, reading back.
//!
//! Every command has an absolute path, an argument vector, a time limit and no shell. What is loaded is the very text that was
//! verified and is archived: a target's files or, where nothing but the content of sets differs, an [`Update`].

mod conntrack;
mod drift;
mod iptables;
mod nftables;
mod stale;
mod update;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use thiserror::Error;

use crate::os::command::{BoundedCommand, CommandError, find_program};
use crate::os::files::FileError;
use crate::prefix::PrefixSet;
use crate::render::{Kernel, KernelSet};
use crate::ruleset::RuleSet;

pub(super) use conntrack::{expire, is_installed as conntrack_is_installed};
pub use drift::Drift;
pub(super) use drift::unified;
pub(super) use stale::{Object, objects, remove};
pub(super) use update::Update;

/// Most output that is read back, in bytes: 90,000 elements take 8 MB of JSON.
const OUTPUT_LIMIT: usize = 256 << 20;

/// Why the firewall could not be asked or did not do as it was told.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum FirewallError {
    /// A program is not installed.
    #[error("{0} is not installed; install it, or set apply = \"off\"")]
    NoProgram(&'static str),
    /// The program that connections are deleted with is not installed.
    #[error(
        "conntrack is not installed; install it (package conntrack), or set conntrack = \"keep\""
    )]
    NoConntrack,
    /// A command failed.
    #[error(transparent)]
    Command(#[from] CommandError),
    /// A file of the generation cannot be read.
    #[error(transparent)]
    File(#[from] FileError),
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

impl FirewallError {
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

    /// Asks the firewall's own parser about an update; refused too where the kernel lacks what is to be updated.
    pub(super) fn verify_update(&self, update: &Update) -> Result<(), FirewallError> {
        match self.kernel {
            Kernel::Nftables(_) => nftables::verify_update(self, update),
            Kernel::Iptables(_) => iptables::verify_update(self, update),
        }
    }

    /// Loads the files: one transaction in the kernel for nftables; for iptables, one a set and one a family's rules.
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

    /// The state of the kernel's objects that a first load would touch, as text that restores them; none when there are none.
    pub(super) fn save(&self) -> Result<Option<Vec<u8>>, FirewallError> {
        match self.kernel {
            Kernel::Nftables(table) => nftables::save(self, table),
            Kernel::Iptables(rules) => iptables::save(self, rules),
        }
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
            Kernel::Nftables(table) => nftables::sets(self, table, only)?,
            Kernel::Iptables(_) => iptables::sets(self, only)?,
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
