//! One cell of the table: a fresh bed, traffic, and loads of one kind of change in one mode.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use serde::Serialize;

use crate::bed::{Bed, Counters, Place, SOURCE};
use crate::cells::{Kind, Mode, Template, configuration, host};
use crate::traffic::{Connects, during};

/// Fewest loads of a control: what it loses is seen in most, but not in each.
const CONTROL_LOADS: u32 = 50;

/// What a run of the bench is given.
pub(crate) struct Settings {
    pub(crate) binary: PathBuf,
    pub(crate) loads: u32,
    pub(crate) rate: u32,
    pub(crate) elements: usize,
    /// How long traffic runs where nothing is loaded.
    pub(crate) quiet: Duration,
}

/// Packets and connections of one cell.
#[derive(Debug, Serialize)]
pub(crate) struct Measured {
    pub(crate) loads: u32,
    pub(crate) seconds: f64,
    /// Allowed packets that came to the firewall, and those of them that did not leave it.
    pub(crate) allowed: u64,
    pub(crate) lost: u64,
    /// Forbidden packets that came to the firewall, and those of them that left it.
    pub(crate) forbidden: u64,
    pub(crate) leaked: u64,
    /// TCP connects, by what became of them.
    pub(crate) established: u64,
    pub(crate) refused: u64,
    pub(crate) timed_out: u64,
    /// Times that the open connection was cut.
    pub(crate) cut: u64,
    /// ICMP errors that answered allowed packets, by who refused.
    pub(crate) refused_by: BTreeMap<&'static str, u64>,
}

impl Measured {
    /// Allowed packets per second that came to the firewall; as many forbidden ones came.
    #[allow(clippy::cast_precision_loss, reason = "a count of packets, far below 2^52")]
    pub(crate) fn rate(&self) -> f64 {
        self.allowed as f64 / self.seconds
    }

    /// Whether nothing was lost, refused or let through.
    pub(crate) fn is_clean(&self) -> bool {
        [self.lost, self.leaked, self.refused, self.timed_out, self.cut].iter().all(|n| *n == 0)
    }
}

/// The value of a cell.
#[derive(Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Cell {
    Measured(Measured),
    NotApplicable(String),
    Failed(String),
}

/// Measures a cell.
pub(crate) fn measure(mode: Mode, kind: Kind, settings: &Settings) -> Cell {
    if let Some(reason) = kind.inapplicable(mode) {
        return Cell::NotApplicable(reason.to_owned());
    }
    let mut bed = match Bed::new() {
        Ok(bed) => bed,
        Err(error) => return Cell::Failed(error),
    };
    if mode.is_legacy()
        && let Err(reason) = bed.use_legacy()
    {
        return Cell::NotApplicable(reason);
    }
    match run(&bed, mode, kind, settings) {
        Ok(measured) => Cell::Measured(measured),
        Err(error) => Cell::Failed(error),
    }
}

fn run(bed: &Bed, mode: Mode, kind: Kind, settings: &Settings) -> Result<Measured, String> {
    let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
    let site = Site { bed, mode, binary: &settings.binary, folder: folder.path() };
    site.write_configurations(kind, settings.elements)?;
    for (command, input) in host(mode) {
        bed.must(Place::Firewall, &command, &input)?;
    }
    site.tagwall("first", &["render"])?;
    let artifacts = if kind == Kind::Control {
        site.control_artifacts()?
    } else {
        [const { String::new() }; 2]
    };
    let before = bed.counters()?;
    let (connects, elapsed, loads) = during(bed, settings.rate, || match kind {
        Kind::Nothing => {
            thread::sleep(settings.quiet);
            Ok(0)
        }
        Kind::Control => {
            let loads = settings.loads.max(CONTROL_LOADS);
            for load in 1..=loads {
                site.load_carelessly(&artifacts[(load % 2) as usize])?;
            }
            Ok(loads)
        }
        Kind::Restore => {
            for _ in 0..settings.loads {
                site.change_out_of_band()?;
                site.tagwall("first", &["restore", "--overwrite"])?;
            }
            site.assert_restored()?;
            Ok(settings.loads)
        }
        _ => site.alternate(settings.loads),
    })?;
    if kind == Kind::Template {
        site.assert_declared()?;
    }
    Ok(measured(&before, &bed.counters()?, connects, elapsed, loads))
}

fn measured(
    before: &Counters,
    after: &Counters,
    connects: Connects,
    elapsed: Duration,
    loads: u32,
) -> Measured {
    let count = |name: &str| {
        let value = |counters: &Counters| counters.get(name).copied().unwrap_or(0);
        value(after) - value(before)
    };
    let (allowed, forbidden) = (count("allowed in"), count("forbidden in"));
    let refused_by = [("tagwall", "icmp code 3"), ("host", "icmp code 13")];
    Measured {
        loads,
        seconds: elapsed.as_secs_f64(),
        allowed,
        lost: allowed.saturating_sub(count("allowed out")),
        forbidden,
        leaked: count("forbidden out"),
        established: connects.established,
        refused: connects.refused,
        timed_out: connects.timed_out,
        cut: connects.cut,
        refused_by: refused_by.map(|(who, counter)| (who, count(counter))).into(),
    }
}

/// The firewall of a cell, with its two configurations.
struct Site<'s> {
    bed: &'s Bed,
    mode: Mode,
    binary: &'s Path,
    folder: &'s Path,
}

impl Site<'_> {
    fn write_configurations(&self, kind: Kind, elements: usize) -> Result<(), String> {
        let templates = self.folder.join("templates");
        if kind == Kind::Template
            && let Some(Template { name, declaration: [declaration, changed], .. }) =
                Template::new(self.mode)
        {
            let built_in = Path::new(env!("CARGO_MANIFEST_DIR")).join("templates").join(name);
            let text = std::fs::read_to_string(&built_in)
                .map_err(|error| format!("{}: {error}", built_in.display()))?;
            if !text.contains(declaration) {
                return Err(format!("{name} declares its sets in another way"));
            }
            write(&templates.join(name), &text.replace(declaration, changed))?;
        }
        for (name, second) in [("first", false), ("second", true)] {
            let text = configuration(self.mode, kind, second, elements, &templates);
            write(&self.config(name), &text)?;
        }
        Ok(())
    }

    fn config(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}.toml"))
    }

    fn tagwall(&self, config: &str, command: &[&str]) -> Result<String, String> {
        let config = self.config(config);
        let (binary, state) = (self.binary.to_string_lossy(), self.folder.join("state"));
        let (config, state) = (config.to_string_lossy(), state.to_string_lossy());
        let mut arguments = vec![&*binary, "--config", &*config, "--state-dir", &*state];
        arguments.extend(command);
        self.bed.must(Place::Firewall, &arguments, "")
    }

    /// Loads the second and the first configuration in turn; every load makes a generation.
    fn alternate(&self, loads: u32) -> Result<u32, String> {
        for load in 0..loads {
            let before = self.generation();
            self.tagwall(if load % 2 == 0 { "second" } else { "first" }, &["render"])?;
            if self.generation() == before {
                return Err(format!("load {load} made no generation"));
            }
        }
        Ok(loads)
    }

    /// Adds a rule behind tagwall's last one, where it decides nothing.
    fn change_out_of_band(&self) -> Result<(), String> {
        let command: &[&str] = match self.mode {
            Mode::NftablesOwn => {
                &["nft", "add", "rule", "inet", "tagwall", "tw-outbound", "counter comment drift"]
            }
            Mode::NftablesEmbed => {
                &["nft", "add", "rule", "inet", "filter", "azure", "counter comment drift"]
            }
            _ => &["iptables", "-w", "5", "-A", "TAGWALL", "-m", "comment", "--comment", "drift"],
        };
        self.bed.must(Place::Firewall, command, "").map(drop)
    }

    fn assert_restored(&self) -> Result<(), String> {
        let command: &[&str] = if self.mode.is_nftables() {
            &["nft", "list", "ruleset"]
        } else {
            &["iptables-save", "-t", "filter"]
        };
        let rules = self.bed.must(Place::Firewall, command, "")?;
        if rules.contains("drift") { Err("restore left the drift".to_owned()) } else { Ok(()) }
    }

    /// Fails where the kernel keeps the built-in declaration of a set.
    fn assert_declared(&self) -> Result<(), String> {
        let Some(Template { listed, .. }) = Template::new(self.mode) else { return Ok(()) };
        self.tagwall("second", &["render"])?;
        let command: &[&str] = if self.mode.is_nftables() {
            &["nft", "-t", "list", "sets"]
        } else {
            &["ipset", "list", "-t"]
        };
        let sets = self.bed.must(Place::Firewall, command, "")?;
        if sets.contains(listed) {
            return Ok(());
        }
        Err(format!("the sets are not declared as the template says (no {listed:?})"))
    }

    fn generation(&self) -> Option<PathBuf> {
        std::fs::read_link(self.folder.join("state/current")).ok()
    }

    /// Texts of both configurations that are loaded without tagwall: each replaces everything in
    /// one transaction, with new sets.
    fn control_artifacts(&self) -> Result<[String; 2], String> {
        if !self.mode.is_nftables() {
            return Ok([String::new(), String::new()]);
        }
        let mut texts = Vec::new();
        for (config, stale) in [("first", "cloud"), ("second", "azure")] {
            let out = self.folder.join(format!("out-{config}"));
            self.tagwall(config, &["render", "--out", &out.to_string_lossy()])?;
            let artifact = out.join("edge/rules.nft");
            let text = std::fs::read_to_string(&artifact)
                .map_err(|error| format!("{}: {error}", artifact.display()))?;
            texts.push(if self.mode == Mode::NftablesOwn {
                format!("table inet tagwall\ndelete table inet tagwall\n{text}")
            } else {
                let gone = |family| {
                    let set = format!("inet filter tw-{stale}-{family}");
                    let kind = if family == "v4" { "ipv4_addr" } else { "ipv6_addr" };
                    format!("add set {set} {{ type {kind}; flags interval; }}\ndelete set {set}\n")
                };
                format!("{text}\n{}{}", gone("v4"), gone("v6"))
            });
        }
        <[String; 2]>::try_from(texts).map_err(|_| "no two artifacts".to_owned())
    }

    /// Loads a control text, or gives the packets of the whole host away for a moment.
    fn load_carelessly(&self, text: &str) -> Result<(), String> {
        if self.mode.is_nftables() {
            return self.bed.must(Place::Firewall, &["nft", "-f", "-"], text).map(drop);
        }
        for arguments in [
            vec!["-F", "FORWARD"],
            vec!["-A", "FORWARD", "-j", "TAGWALL"],
            vec!["-A", "FORWARD", "-s", SOURCE, "-j", "REJECT"],
        ] {
            let command = [vec!["iptables", "-w", "5"], arguments].concat();
            self.bed.must(Place::Firewall, &command, "")?;
        }
        Ok(())
    }
}

fn write(path: &Path, text: &str) -> Result<(), String> {
    let failed = |error: std::io::Error| format!("{}: {error}", path.display());
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(failed)?;
    }
    File::create(path).and_then(|mut file| file.write_all(text.as_bytes())).map_err(failed)
}
