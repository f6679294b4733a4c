//! What a load loses: packets and connections, for every kind of change and mode.
//!
//! ```text
//! cargo bench --bench loss -- [--mode NAME]... [--change NAME]... [--loads N] [--rate N]
//!                             [--elements N] [--binary FILE] [--json | --markdown]
//! ```
//!
//! For each cell a client sends allowed and forbidden UDP packets (10,000 of each a second) and
//! opens TCP connections through a firewall in network namespaces, while `tagwall render` loads two
//! configurations in turn: 10 loads, or 100 with `TAGWALL_LONG=1`. Every packet is counted where it
//! enters the firewall and where it leaves it. A run without loads must lose nothing, or the bed
//! itself loses packets; a control that loads carelessly must lose something, or the bed would not
//! see a loss. Ends with 1 where a cell is not as it is to be.
//!
//! Needs root, `ip`, `nft`, `unshare`, and what the modes name (`iptables`, `ipset`).

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a benchmark prints its figures, and what it has measured so far"
)]

mod bed;
mod cell;
mod cells;
mod report;
mod traffic;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use cell::{Settings, measure};
use cells::{Kind, Mode};
use report::{Row, document, heading, markdown};

/// The command line.
struct Options {
    settings: Settings,
    modes: Vec<Mode>,
    kinds: Vec<Kind>,
    form: Form,
}

/// How the result is printed.
#[derive(PartialEq)]
enum Form {
    /// A line for each cell, as soon as it is measured.
    Text,
    Json,
    Markdown,
}

fn main() -> ExitCode {
    let options = match options(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(error) => {
            println!("error: {error}");
            return ExitCode::from(2);
        }
    };
    if let Some(reason) = obstacle(&options.modes) {
        println!("skipped: {reason}");
        return ExitCode::SUCCESS;
    }
    if options.form == Form::Text {
        println!("{}", heading());
    }
    let mut rows = Vec::new();
    for mode in &options.modes {
        for kind in &options.kinds {
            let row =
                Row { mode: *mode, kind: *kind, cell: measure(*mode, *kind, &options.settings) };
            match options.form {
                Form::Text => println!("{}", row.text()),
                Form::Json | Form::Markdown => eprintln!("{}", row.text()),
            }
            rows.push(row);
        }
    }
    match options.form {
        Form::Text => {}
        Form::Json => println!("{:#}", document(&rows, &options.settings)),
        Form::Markdown => println!("{}", markdown(&rows, &options.modes, &options.kinds)),
    }
    ExitCode::from(u8::from(!rows.iter().all(Row::is_good)))
}

fn options(mut arguments: impl Iterator<Item = String>) -> Result<Options, String> {
    let long = std::env::var_os("TAGWALL_LONG").is_some();
    let mut options = Options {
        settings: Settings {
            binary: PathBuf::from(env!("CARGO_BIN_EXE_tagwall")),
            loads: if long { 100 } else { 10 },
            rate: 10_000,
            elements: 3_000,
            quiet: Duration::from_secs(if long { 20 } else { 3 }),
        },
        modes: Vec::new(),
        kinds: Vec::new(),
        form: Form::Text,
    };
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or_else(|| format!("{argument} needs a value"));
        let number = |text: String| text.parse().map_err(|error| format!("{text}: {error}"));
        match argument.as_str() {
            // Given by cargo.
            "--bench" => {}
            "--json" => options.form = Form::Json,
            "--markdown" => options.form = Form::Markdown,
            "--loads" => options.settings.loads = number(value()?)?,
            "--rate" => options.settings.rate = number(value()?)?,
            "--elements" => options.settings.elements = number(value()?)? as usize,
            "--binary" => options.settings.binary = PathBuf::from(value()?),
            "--mode" => {
                let name = value()?;
                let mode = Mode::ALL.into_iter().find(|mode| mode.name() == name);
                options.modes.push(mode.ok_or_else(|| format!("no mode {name}"))?);
            }
            "--change" => {
                let name = value()?;
                let kind = Kind::ALL.into_iter().find(|kind| kind.name() == name);
                options.kinds.push(kind.ok_or_else(|| format!("no kind of change {name}"))?);
            }
            other => return Err(format!("unknown argument {other}")),
        }
    }
    if options.modes.is_empty() {
        options.modes.extend(Mode::ALL);
    }
    if options.kinds.is_empty() {
        options.kinds.extend(Kind::ALL);
    }
    Ok(options)
}

/// The reason why nothing can be measured here.
fn obstacle(modes: &[Mode]) -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        return Some("packets need root".to_owned());
    }
    let mut needed = vec!["ip", "nft"];
    if modes.iter().any(|mode| !mode.is_nftables()) {
        needed.extend(["iptables", "ip6tables"]);
    }
    if modes.iter().any(|mode| mode.is_ipset()) {
        needed.push("ipset");
    }
    if modes.iter().any(|mode| mode.is_legacy()) {
        needed.push("unshare");
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders: Vec<PathBuf> =
        std::env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]).collect();
    needed
        .into_iter()
        .find(|program| !folders.iter().any(|folder| folder.join(program).is_file()))
        .map(|program| format!("{program} is not installed"))
}
