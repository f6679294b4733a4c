//! The doors to this host's firewall: its own parser, loading, reading back.
//!
//! Every command has an absolute path, an argument vector, a time limit and no shell. What is loaded is the very file that was
//! verified and is archived.

mod iptables;
mod nftables;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use thiserror::Error;

use crate::os::command::{BoundedCommand, CommandError, find_program};
use crate::os::files::FileError;
use crate::prefix::PrefixSet;
use crate::render::{Kernel, KernelSet};
use crate::ruleset::RuleSet;
use crate::snapshot::Digest;

/// Most output that is read back, in bytes: 90,000 elements take 8 MB of JSON.
const OUTPUT_LIMIT: usize = 256 << 20;

/// Why the firewall could not be asked or did not do as it was told.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum FirewallError {
    /// A program is not installed.
    #[error("{0} is not installed; install it, or set apply = \"off\"")]
    NoProgram(&'static str),
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
    /// A command of the user's has no program, or not with an absolute path.
    #[error("the command {0:?} needs a program with an absolute path")]
    BadCommand(Vec<String>),
}

/// How the kernel differs from what was meant.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Drift {
    /// The table, or a set in it, is gone.
    #[error("{0} is missing")]
    Missing(String),
    /// A set has other content.
    #[error("set {set} lacks {lacks} and has {extra} prefixes too many")]
    Set {
        /// The set.
        set: String,
        /// Prefixes that are missing.
        lacks: usize,
        /// Prefixes that should not be there.
        extra: usize,
    },
    /// The rules are not those that were loaded.
    #[error("the rules of {0} were changed")]
    Rules(String),
}

/// The firewall of one target.
#[derive(Debug)]
pub(super) struct Firewall<'k> {
    kernel: &'k Kernel,
    time_limit: Duration,
}

impl<'k> Firewall<'k> {
    pub(super) fn new(kernel: &'k Kernel, time_limit: Duration) -> Self {
        Self { kernel, time_limit }
    }

    /// A command that is found in the system's folders.
    fn command(&self, name: &'static str) -> Result<BoundedCommand, FirewallError> {
        let program = find_program(name).ok_or(FirewallError::NoProgram(name))?;
        Ok(BoundedCommand::new(program).time_limit(self.time_limit).output_limit(OUTPUT_LIMIT))
    }

    /// Asks the firewall's own parser.
    pub(super) fn verify(&self, folder: &Path) -> Result<(), FirewallError> {
        match self.kernel {
            Kernel::Nftables(table) => nftables::verify(self, table, folder),
            Kernel::Iptables(rules) => iptables::verify(self, rules, folder),
        }
    }

    /// Loads the files: one transaction in the kernel for nftables; for iptables, one a set and one a family's rules.
    pub(super) fn apply(&self, folder: &Path) -> Result<(), FirewallError> {
        match self.kernel {
            Kernel::Nftables(table) => nftables::apply(self, table, folder),
            Kernel::Iptables(rules) => iptables::apply(self, rules, folder),
        }
    }

    /// The state of the kernel's objects that a first load would touch, as text that restores them; none when there are none.
    pub(super) fn save(&self) -> Result<Option<Vec<u8>>, FirewallError> {
        match self.kernel {
            Kernel::Nftables(table) => nftables::save(self, table),
            Kernel::Iptables(_) => iptables::save(self),
        }
    }

    /// Whether the kernel has objects of the target, whatever their content.
    pub(super) fn is_loaded(&self, folder: &Path) -> bool {
        let missing =
            |error: &FirewallError| matches!(error, FirewallError::Difference(Drift::Missing(_)));
        !self.read_back(folder, &RuleSet::default(), None).is_err_and(|error| missing(&error))
    }

    /// Takes out of the kernel what a first load put there, and puts back what was saved before it.
    pub(super) fn undo(&self, saved: Option<Vec<u8>>) -> Result<(), FirewallError> {
        match self.kernel {
            Kernel::Nftables(table) => nftables::undo(self, table, saved),
            Kernel::Iptables(rules) => iptables::undo(self, rules),
        }
    }

    /// Compares the kernel with what is meant; returns the fingerprint of its rules. With an earlier fingerprint, the rules
    /// are compared with that.
    pub(super) fn read_back(
        &self,
        folder: &Path,
        rule_set: &RuleSet,
        earlier: Option<Digest>,
    ) -> Result<Digest, FirewallError> {
        let (name, fingerprint) = match self.kernel {
            Kernel::Nftables(table) => nftables::read_back(self, table, rule_set)?,
            Kernel::Iptables(rules) => iptables::read_back(self, rules, folder, rule_set)?,
        };
        match earlier {
            Some(earlier) if earlier != fingerprint => {
                Err(FirewallError::Difference(Drift::Rules(name)))
            }
            _ => Ok(fingerprint),
        }
    }
}

/// Compares the sets that were found with what is meant.
fn compare(
    sets: &[KernelSet],
    rule_set: &RuleSet,
    found: &BTreeMap<String, PrefixSet>,
) -> Result<(), FirewallError> {
    for set in sets {
        let Some(has) = found.get(&set.name) else {
            return Err(FirewallError::Difference(Drift::Missing(format!("set {}", set.name))));
        };
        let meant = set.meant(rule_set);
        if *has != meant {
            return Err(FirewallError::Difference(Drift::Set {
                set: set.name.clone(),
                lacks: meant.difference(has).len(),
                extra: has.difference(&meant).len(),
            }));
        }
    }
    Ok(())
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
