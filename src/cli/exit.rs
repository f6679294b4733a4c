//! The exit codes of every command: one list, also in the manual.

use std::process::ExitCode;

use crate::operate::Kind;

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Done. With `--exit-code`: nothing would change.
    Ok = 0,
    /// With `--exit-code` or `diff`: something differs.
    Differs = 1,
    /// The command line is wrong.
    Usage = 2,
    /// The configuration or a template is wrong, or asks for something that is not published.
    Config = 3,
    /// A publication is refused: malformed, of the wrong cloud, older than the one in use.
    Refused = 4,
    /// A limit of a firewall is exceeded: nothing was written.
    Limit = 5,
    /// A file cannot be read or written.
    System = 6,
    /// A firewall refused what was rendered, or did not do as it was told.
    Firewall = 7,
    /// Another process works on the state folder.
    Locked = 8,
    /// Something is held: what is plausible is in force, and the rest waits for somebody to decide.
    Held = 9,
    /// Consent is needed: what is not tagwall's would be replaced.
    Consent = 10,
}

impl Exit {
    /// Every code with its meaning, for `--help` and the manual.
    pub const ALL: [(Self, &'static str); 11] = [
        (Self::Ok, "done; with --exit-code: nothing would change"),
        (Self::Differs, "with --exit-code, and for diff: something differs; for probe: dropped"),
        (Self::Usage, "the command line is wrong"),
        (Self::Config, "the configuration or a template is wrong, or names what is not published"),
        (Self::Refused, "a publication is refused; nothing was changed"),
        (Self::Limit, "a firewall's limit is exceeded; nothing was changed"),
        (Self::System, "a file cannot be read or written"),
        (
            Self::Firewall,
            "a firewall refused or failed; the generation before is in force; for probe: unknown",
        ),
        (Self::Locked, "another process works on the state folder"),
        (Self::Held, "something is held and waits for a decision: `tagwall review`"),
        (Self::Consent, "consent needed: the message names the option; nothing was changed"),
    ];
}

impl From<Kind> for Exit {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Usage => Self::Usage,
            Kind::Config => Self::Config,
            Kind::Refused => Self::Refused,
            Kind::Limit => Self::Limit,
            Kind::System => Self::System,
            Kind::Firewall => Self::Firewall,
            Kind::Locked => Self::Locked,
            Kind::Held => Self::Held,
            Kind::Consent => Self::Consent,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documentation_has_every_code_with_its_meaning() {
        let text = include_str!("../../docs/exit-codes.md");
        let rows: Vec<&str> = text.lines().filter(|line| line.starts_with("| `")).collect();
        let expected: Vec<String> = Exit::ALL
            .iter()
            .map(|&(exit, meaning)| format!("| `{}` | {meaning} |", exit as u8))
            .collect();
        assert_eq!(rows, expected, "docs/exit-codes.md and Exit::ALL differ");
    }

    #[test]
    fn the_codes_are_numbered_in_order() {
        let codes: Vec<u8> = Exit::ALL.iter().map(|&(exit, _)| exit as u8).collect();
        assert_eq!(codes, (0..11).collect::<Vec<u8>>());
    }
}
