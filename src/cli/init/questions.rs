//! The questions of `tagwall init` on a terminal.

use std::io::{BufRead, Write};
use std::str::FromStr;

use clap::ValueEnum as _;

use super::{DialectName, UsageError, Wishes, feature, network_mode};
use crate::config::{Name, NetworkMode};
use crate::snapshot::Cloud;

/// Asks until every answer is valid; the end of input ends it.
pub(super) fn ask(input: &mut impl BufRead, output: &mut impl Write) -> anyhow::Result<Wishes> {
    writeln!(
        output,
        "A first configuration in nine questions; an empty answer takes the default."
    )?;
    let mut asker = Asker { input, output };
    let apim: Name = asker.one("Name of the API Management profile", "prod", parse)?;
    let cloud: Cloud = asker.one("Cloud (public, government, china, example)", "public", parse)?;
    let regions = asker.some("Regions, the primary one first", "westeurope", parse)?;
    let subnets = asker.some("Prefixes of its subnets", "", parse)?;
    let egress = asker.some("This firewall's interfaces towards the internet", "", parse)?;
    let network = asker.one("Network mode (external, internal)", "external", network_mode)?;
    let features =
        asker.many("Features in use (entra, event-hubs, connectors, kms, …)", feature)?;
    let clients = match network {
        NetworkMode::External => asker.many("Client prefixes on the internet", parse)?,
        NetworkMode::Internal => Vec::new(),
    };
    let dialect = |text: &str| DialectName::from_str(text, true);
    let dialects = asker.some(
        "Dialects (nftables, iptables, list, json, panos, fortios, azure)",
        "nftables",
        dialect,
    )?;
    let apim = Some(apim);
    let tags = Vec::new();
    Ok(Wishes { cloud, apim, regions, subnets, egress, network, features, clients, tags, dialects })
}

fn parse<T: FromStr<Err = String>>(text: &str) -> Result<T, String> {
    text.parse()
}

struct Asker<'t, I, O> {
    input: &'t mut I,
    output: &'t mut O,
}

impl<I: BufRead, O: Write> Asker<'_, I, O> {
    /// One value; asked again until it is valid.
    fn one<T>(
        &mut self,
        question: &str,
        default: &str,
        read: impl Fn(&str) -> Result<T, String>,
    ) -> anyhow::Result<T> {
        loop {
            let answer = self.line(question, default)?;
            match read(&answer) {
                Ok(value) => return Ok(value),
                Err(reason) => writeln!(self.output, "  {reason}")?,
            }
        }
    }

    /// At least one value, separated by spaces or commas.
    fn some<T>(
        &mut self,
        question: &str,
        default: &str,
        read: impl Fn(&str) -> Result<T, String>,
    ) -> anyhow::Result<Vec<T>> {
        self.one(question, default, |answer| match values(answer, &read)?.len() {
            0 => Err("at least one is needed".to_owned()),
            _ => values(answer, &read),
        })
    }

    /// Any number of values.
    fn many<T>(
        &mut self,
        question: &str,
        read: impl Fn(&str) -> Result<T, String>,
    ) -> anyhow::Result<Vec<T>> {
        self.one(question, "", |answer| values(answer, &read))
    }

    fn line(&mut self, question: &str, default: &str) -> anyhow::Result<String> {
        let shown = if default.is_empty() { String::new() } else { format!(" [{default}]") };
        write!(self.output, "{question}{shown}: ")?;
        self.output.flush()?;
        let mut line = String::new();
        if self.input.read_line(&mut line)? == 0 {
            return Err(
                UsageError("the answers ended early; nothing was written".to_owned()).into()
            );
        }
        let answer = line.trim();
        Ok(if answer.is_empty() { default.to_owned() } else { answer.to_owned() })
    }
}

fn values<T>(answer: &str, read: impl Fn(&str) -> Result<T, String>) -> Result<Vec<T>, String> {
    answer
        .split([',', ' ', '\t'])
        .filter(|word| !word.is_empty())
        .map(|word| read(word).map_err(|reason| format!("{word}: {reason}")))
        .collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::text::configuration;
    use super::*;
    use crate::config::Config;

    #[test]
    fn answers_make_a_sound_configuration_and_wrong_ones_are_asked_again() {
        let answers = "edge.1\nshop\nexample\nwesteurope, northeurope\n\n10.20.0.1/24\n10.20.0.0/24\nwan0\n\n\
                       entra kmz\nentra kms\n203.0.113.10/32\nnftables list\n";
        let mut said = Vec::new();
        let wishes = ask(&mut answers.as_bytes(), &mut said).unwrap();
        let said = String::from_utf8(said).unwrap();
        let text = configuration(&wishes);
        let config = Config::parse(Path::new("x.toml"), text).unwrap();
        assert_eq!(config.targets.len(), 2);
        assert_eq!(config.apim.keys().map(Name::as_str).collect::<Vec<_>>(), ["shop"]);
        assert!(said.contains("at least one is needed"), "{said}");
        assert!(said.contains("kmz: unknown variant"), "{said}");
        assert_eq!(said.matches("Name of the API Management profile").count(), 2, "{said}");
    }

    #[test]
    fn the_end_of_the_answers_ends_the_questions() {
        assert!(ask(&mut "prod\n".as_bytes(), &mut Vec::new()).is_err());
    }
}
