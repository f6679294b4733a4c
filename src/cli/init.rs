//! `tagwall init`: a first configuration from flags or a few answers.
//!
//! Promises: what it writes passes `tagwall check`, and no file is overwritten unless asked.

mod questions;
mod text;

use std::io::{BufReader, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::{Args, ValueEnum};

use super::printer::Printer;
use super::{Cli, Exit, UsageError};
use crate::config::{Config, Feature, Interface, Name, Network, NetworkMode, Region, TagSelector};
use crate::os::files;
use crate::render;
use crate::snapshot::Cloud;

/// Options of `init`.
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub struct InitArgs {
    /// public, government, china, or example for the embedded publication. Default: public
    #[arg(long, value_name = "CLOUD")]
    cloud: Option<Cloud>,
    /// An API Management profile of this name
    #[arg(long, value_name = "NAME")]
    apim: Option<Name>,
    /// A region of the profile; the first is the primary one
    #[arg(long, value_name = "REGION", value_delimiter = ',')]
    region: Vec<Region>,
    /// A subnet that connects through this firewall
    #[arg(long, value_name = "PREFIX", value_delimiter = ',')]
    subnet: Vec<Network>,
    /// An interface of this firewall towards the internet
    #[arg(long, value_name = "INTERFACE", value_delimiter = ',')]
    egress: Vec<Interface>,
    /// external (clients on the internet) or internal. Default: external
    #[arg(long, value_name = "MODE", value_parser = network_mode)]
    network: Option<NetworkMode>,
    /// An optional dependency in use: entra, event-hubs, connectors, kms, …
    #[arg(long, value_name = "FEATURE", value_delimiter = ',', value_parser = feature)]
    feature: Vec<Feature>,
    /// A client of an external service: its answers need a route to the internet
    #[arg(long, value_name = "PREFIX", value_delimiter = ',')]
    client: Vec<Network>,
    /// A service tag to let the subnets reach over HTTPS, with or without a profile
    #[arg(long, value_name = "TAG", value_delimiter = ',')]
    tag: Vec<TagSelector>,
    /// What is rendered. Default: nftables
    #[arg(long, value_name = "DIALECT", value_delimiter = ',')]
    dialect: Vec<DialectName>,
    /// Where to write; `-` prints. Default: the file of --config
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Take the place of a file that is there
    #[arg(long)]
    force: bool,
}

/// The dialects that need no settings to begin with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum DialectName {
    Nftables,
    Iptables,
    List,
    Json,
    Panos,
    Fortios,
    Azure,
}

impl DialectName {
    fn key(self) -> &'static str {
        match self {
            Self::Nftables => "nftables",
            Self::Iptables => "iptables",
            Self::List => "list",
            Self::Json => "json",
            Self::Panos => "panos",
            Self::Fortios => "fortios",
            Self::Azure => "azure",
        }
    }
}

const HELP: &str = "\
Examples:
  tagwall init                                    asks, on a terminal
  tagwall init --apim prod --region westeurope --region northeurope --subnet 10.20.0.0/24 \\
      --egress wan0 --feature entra --feature event-hubs --client 203.0.113.10/32
  tagwall init --tag AzureDevOps --subnet 10.20.0.0/24 --dialect list --dialect json --output -
  tagwall init --cloud example --apim demo --region westeurope --subnet 10.20.0.0/24 \\
      --egress wan0 --network internal --output demo.toml

What is written passes `tagwall check`. A file that is there is not touched without --force.
Exit codes: 0 written, 2 command line (also: the file is there already), 3 the answers contradict
each other, 6 system.";

/// What a first configuration is made of.
#[derive(Debug)]
struct Wishes {
    cloud: Cloud,
    apim: Option<Name>,
    regions: Vec<Region>,
    subnets: Vec<Network>,
    egress: Vec<Interface>,
    network: NetworkMode,
    features: Vec<Feature>,
    clients: Vec<Network>,
    tags: Vec<TagSelector>,
    dialects: Vec<DialectName>,
}

pub(super) fn run(cli: &Cli, args: &InitArgs, printer: &Printer) -> anyhow::Result<Exit> {
    let output = args.output.as_deref().unwrap_or(&cli.config);
    let print = output == Path::new("-");
    // Asked before the questions: nobody answers nine of them for nothing.
    if !print && !args.force && output.symlink_metadata().is_ok() {
        return Err(exists(output).into());
    }
    let wishes = if args.has_flags() {
        args.wishes()?
    } else if std::io::stdin().is_terminal() {
        questions::ask(&mut BufReader::new(std::io::stdin()), &mut std::io::stderr())?
    } else {
        return Err(UsageError(
            "say what is let through: --apim NAME or --tag TAG, with --subnet; on a terminal, `tagwall init` alone \
             asks"
                .to_owned(),
        )
        .into());
    };
    let text = text::configuration(&wishes);
    let config = Config::parse(output, text.clone())
        .context("the answers do not fit together; this is what they would make")?;
    render::check(&config)?;
    if print {
        printer.out(&text)?;
        return Ok(Exit::Ok);
    }
    if args.force {
        files::replace(output, text.as_bytes())?;
    } else {
        write_new(output, &text)?;
    }
    let shown = output.display();
    printer.out(&format!(
        "{shown}: written\nnext: tagwall check --config {shown}\n      tagwall render --config {shown} --dry-run{}\n",
        if wishes.cloud == Cloud::Example { "" } else { " --feed FILE.json" }
    ))?;
    Ok(Exit::Ok)
}

fn exists(path: &Path) -> UsageError {
    UsageError(format!(
        "{} is there already and was not touched; give another --output, or --force to take its place",
        path.display()
    ))
}

/// Writes a file that is not there, whole or not at all, without ever taking the place of another.
fn write_new(path: &Path, text: &str) -> anyhow::Result<()> {
    let cannot = || format!("cannot write {}", path.display());
    let folder = match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    };
    let mut builder = tempfile::Builder::new();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(files::DEFAULT_MODE);
    let mut file = builder.permissions(mode).tempfile_in(folder).with_context(cannot)?;
    file.write_all(text.as_bytes()).with_context(cannot)?;
    file.as_file().sync_all().with_context(cannot)?;
    match file.persist_noclobber(path) {
        Ok(_) => Ok(()),
        Err(error) if error.error.kind() == std::io::ErrorKind::AlreadyExists => {
            Err(exists(path).into())
        }
        Err(error) => Err(error.error).with_context(cannot),
    }
}

impl InitArgs {
    /// Whether anything about the content is said: then nothing is asked.
    fn has_flags(&self) -> bool {
        self.cloud.is_some()
            || self.apim.is_some()
            || self.network.is_some()
            || !(self.region.is_empty()
                && self.subnet.is_empty()
                && self.egress.is_empty()
                && self.feature.is_empty()
                && self.client.is_empty()
                && self.tag.is_empty()
                && self.dialect.is_empty())
    }

    fn wishes(&self) -> Result<Wishes, UsageError> {
        let missing = |what: &str| Err(UsageError(what.to_owned()));
        let dialects = if self.dialect.is_empty() {
            vec![DialectName::Nftables]
        } else {
            self.dialect.clone()
        };
        if self.apim.is_none() && self.tag.is_empty() {
            return missing("say what is let through: --apim NAME, --tag TAG or both");
        }
        if self.subnet.is_empty() {
            return missing("--subnet is missing: the prefixes that connect through this firewall");
        }
        if self.apim.is_some() && self.region.is_empty() {
            return missing("--region is missing: the profile's regions, the primary one first");
        }
        if self.egress.is_empty() && dialects.contains(&DialectName::Nftables) {
            return missing(
                "--egress is missing: without the interface towards the internet, traffic to on-premises hosts \
                 would be cut too",
            );
        }
        if self.apim.is_none()
            && (self.network.is_some()
                || !(self.region.is_empty() && self.feature.is_empty() && self.client.is_empty()))
        {
            return missing(
                "--region, --network, --feature and --client belong to a profile: --apim NAME",
            );
        }
        Ok(Wishes {
            cloud: self.cloud.unwrap_or(Cloud::Public),
            apim: self.apim.clone(),
            regions: self.region.clone(),
            subnets: self.subnet.clone(),
            egress: self.egress.clone(),
            network: self.network.unwrap_or(NetworkMode::External),
            features: self.feature.clone(),
            clients: self.client.clone(),
            tags: self.tag.clone(),
            dialects,
        })
    }
}

/// Reads a word the way the configuration would, so that the error names what is allowed.
fn word<'de, T: serde::Deserialize<'de>>(text: &'de str) -> Result<T, String> {
    let deserializer = serde::de::value::StrDeserializer::<serde::de::value::Error>::new(text);
    T::deserialize(deserializer).map_err(|error| error.to_string())
}

fn feature(text: &str) -> Result<Feature, String> {
    word(text)
}

fn network_mode(text: &str) -> Result<NetworkMode, String> {
    word(text)
}
