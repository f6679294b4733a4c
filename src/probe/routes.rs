//! Questions to the kernel's routing.

use std::net::IpAddr;

use serde::Deserialize;

use super::tools::{self, Tools};
use super::{Budget, ProbeError};
use crate::os::command::CommandError;

/// An answer of the kernel's routing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// The packet leaves through this interface.
    Out(String),
    /// The packet is for the host itself.
    Local,
    /// The packet goes nowhere, in the kernel's words.
    None(String),
}

impl Way {
    /// The interface that the packet leaves by.
    pub(super) fn out(&self) -> Option<&str> {
        match self {
            Self::Out(name) => Some(name),
            _ => None,
        }
    }
}

#[derive(Deserialize)]
struct Answer {
    #[serde(rename = "type")]
    kind: Option<String>,
    dev: Option<String>,
}

/// Asks for the way to an address: of a packet that the host sends or, with an interface, of one
/// from `source` that comes in there.
pub(super) fn way(
    tools: &Tools,
    to: IpAddr,
    source: Option<IpAddr>,
    input: Option<&str>,
    budget: &Budget,
) -> Result<Way, ProbeError> {
    let (to, source) = (to.to_string(), source.map(|source| source.to_string()));
    let mut args = vec!["-j", "route", "get", &to];
    if let Some(source) = &source {
        args.extend(["from", source]);
    }
    if let Some(input) = input {
        args.extend(["iif", input]);
    }
    let text = match tools.ip(&args, "", budget) {
        Ok(output) => tools::text("ip", output)?,
        Err(ProbeError::Command(CommandError::Failed { status: 2, stderr, .. })) => {
            let words = crate::os::command::last_lines(&stderr);
            let words = words.strip_prefix("RTNETLINK answers: ").unwrap_or(&words);
            return Ok(Way::None(words.to_owned()));
        }
        Err(error) => return Err(error),
    };
    let unknown =
        |reason: String| ProbeError::Answer { program: "ip", reason: format!("{reason}: {text}") };
    let answers: Vec<Answer> =
        serde_json::from_str(&text).map_err(|error| unknown(error.to_string()))?;
    let answer = answers.into_iter().next().ok_or_else(|| unknown("no route".to_owned()))?;
    Ok(match (answer.kind.as_deref(), answer.dev) {
        (Some("local"), _) => Way::Local,
        (None | Some("unicast"), Some(dev)) => Way::Out(dev),
        (kind, _) => Way::None(kind.unwrap_or("no interface").to_owned()),
    })
}

/// The line of a batch that leads one address through an interface, before all other routes.
pub(super) fn host_route(verb: &str, to: IpAddr, device: &str) -> String {
    let length = if to.is_ipv4() { 32 } else { 128 };
    // Metric 0 is the kernel's default for IPv4; IPv6 has none below 1.
    let metric = if to.is_ipv4() { "" } else { " metric 1" };
    format!("route {verb} {to}/{length} dev {device}{metric}\n")
}
