//! The programs that a probe runs.

use std::path::{Path, PathBuf};

use super::{Budget, ProbeError};
use crate::os::command::{BoundedCommand, CommandError, Output, find_program};

/// Most output that is kept of a program, in bytes: 200,000 elements take 8 MB of text.
const OUTPUT_LIMIT: usize = 256 << 20;

/// The pairs of programs that save and load iptables rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Iptables {
    Nft4,
    Nft6,
    Legacy4,
    Legacy6,
}

impl Iptables {
    pub(super) const ALL: [Self; 4] = [Self::Nft4, Self::Nft6, Self::Legacy4, Self::Legacy6];

    pub(super) fn save(self) -> &'static str {
        match self {
            Self::Nft4 => "iptables-nft-save",
            Self::Nft6 => "ip6tables-nft-save",
            Self::Legacy4 => "iptables-legacy-save",
            Self::Legacy6 => "ip6tables-legacy-save",
        }
    }

    pub(super) fn restore(self) -> &'static str {
        match self {
            Self::Nft4 => "iptables-nft-restore",
            Self::Nft6 => "ip6tables-nft-restore",
            Self::Legacy4 => "iptables-legacy-restore",
            Self::Legacy6 => "ip6tables-legacy-restore",
        }
    }

    pub(super) fn is_legacy(self) -> bool {
        matches!(self, Self::Legacy4 | Self::Legacy6)
    }

    /// The family as nft names it.
    pub(super) fn family(self) -> &'static str {
        match self {
            Self::Nft4 | Self::Legacy4 => "ip",
            Self::Nft6 | Self::Legacy6 => "ip6",
        }
    }

    /// The kernel's list of tables that its legacy programs made.
    pub(super) fn names(self) -> &'static str {
        match self {
            Self::Nft4 | Self::Legacy4 => "/proc/thread-self/net/ip_tables_names",
            Self::Nft6 | Self::Legacy6 => "/proc/thread-self/net/ip6_tables_names",
        }
    }
}

/// Paths of the programs that every probe needs.
#[derive(Clone, Debug)]
pub(super) struct Tools {
    nft: PathBuf,
    ip: PathBuf,
    pub(super) unshare: PathBuf,
    pub(super) cat: PathBuf,
}

impl Tools {
    pub(super) fn find() -> Result<Self, ProbeError> {
        let find = |name| find_program(name).ok_or(ProbeError::NoProgram(name));
        Ok(Self {
            nft: find("nft")?,
            ip: find("ip")?,
            unshare: find("unshare")?,
            cat: find("cat")?,
        })
    }

    pub(super) fn nft(&self, args: &[&str], input: &str, budget: &Budget) -> Run {
        run(&self.nft, args, input, budget)
    }

    pub(super) fn ip(&self, args: &[&str], input: &str, budget: &Budget) -> Run {
        run(&self.ip, args, input, budget)
    }
}

pub(super) type Run = Result<Output, ProbeError>;

/// Runs a program in the namespace that the calling thread is in.
pub(super) fn run(program: &Path, args: &[&str], input: &str, budget: &Budget) -> Run {
    let output = BoundedCommand::new(program)
        .args(args.iter().copied())
        .stdin(input.as_bytes().to_vec())
        .time_limit(budget.left()?)
        .output_limit(OUTPUT_LIMIT)
        .run()?;
    Ok(output)
}

/// Runs a program that may not be installed.
pub(super) fn run_named(name: &'static str, args: &[&str], input: &str, budget: &Budget) -> Run {
    let program = find_program(name).ok_or(ProbeError::NoProgram(name))?;
    run(&program, args, input, budget)
}

/// The text that a program wrote; an error where it was cut or is no UTF-8.
pub(super) fn text(program: &'static str, output: Output) -> Result<String, ProbeError> {
    let answer = |reason: &str| ProbeError::Answer { program, reason: reason.to_owned() };
    if output.stdout_cut {
        return Err(answer("it is longer than 256 MiB"));
    }
    String::from_utf8(output.stdout).map_err(|_| answer("it is no UTF-8"))
}

/// An error of a program that reads or loads rules, as the reason for an unknown verdict; other
/// errors stay as they are.
pub(super) fn uncloned(what: &str, error: ProbeError) -> ProbeError {
    match error {
        ProbeError::Command(
            ref cause @ (CommandError::Failed { .. } | CommandError::Signalled { .. }),
        ) => {
            let hint = match cause {
                CommandError::Signalled { signal: 11, .. } => {
                    "; a program older than the one that made the rules may crash on them"
                }
                _ => "",
            };
            ProbeError::Uncloned(format!("{what}: {cause}{hint}"))
        }
        ProbeError::NoProgram(name) => ProbeError::Uncloned(format!("{what}: no program {name}")),
        other => other,
    }
}
