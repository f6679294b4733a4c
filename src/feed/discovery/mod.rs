//! The Service Tag Discovery API of Azure Resource Manager.
//!
//! Its answer comes in pages, which become one document: all of one change number, or none. It may lag the download by weeks
//! and carries less, so it is no good as the only feed of a firewall.

mod assertion;
mod token;

use std::collections::BTreeSet;

use jiff::Timestamp;
use reqwest::StatusCode;
use reqwest::header::{ACCEPT, AUTHORIZATION};
use serde::Deserialize;
use serde_json::value::RawValue;
use url::Url;

use super::FeedError;
use super::source::{Found, Step, Terms};
use crate::config::{Config, Connection, Discovery, shown};
use crate::snapshot::{Cloud, Digest, Seen};
use crate::web::{Answer, Client, Hosts, Request, WebError};
use token::Tokens;

/// The version of the API that is spoken.
const API_VERSION: &str = "2024-05-01";
/// Most pages of one answer.
const MOST_PAGES: usize = 200;

/// A feed of the API.
#[derive(Debug)]
pub(super) struct Api {
    url: Url,
    tokens: Tokens,
    connection: Connection,
}

/// Where a cloud is managed, and where it lets people in.
struct Endpoints {
    resource_manager: Url,
    login: Url,
}

impl Api {
    pub(super) fn new(
        discovery: &Discovery,
        connection: Connection,
        config: &Config,
        terms: &Terms,
    ) -> Result<Self, FeedError> {
        let endpoints = endpoints(discovery, terms.cloud)?;
        let path = format!(
            "subscriptions/{}/providers/Microsoft.Network/locations/{}/serviceTags",
            discovery.subscription, discovery.location
        );
        let mut url = below(&endpoints.resource_manager, &path)?;
        url.query_pairs_mut().append_pair("api-version", API_VERSION);
        let tokens = Tokens::new(discovery, &endpoints.resource_manager, &endpoints.login, config)?;
        Ok(Self { url, tokens, connection })
    }

    pub(super) async fn look(
        &mut self,
        terms: &Terms,
        seen: Option<&Seen>,
    ) -> Result<Step, FeedError> {
        // Never anywhere else than asked: the requests carry a token.
        let client = Client::new(&self.connection, Hosts::default())?;
        let document = self.document(&client, terms).await?;
        let now_seen = Seen::of(&document);
        if seen.is_some_and(|seen| seen.bytes == now_seen.bytes) {
            return Ok(Step::Same(None));
        }
        let (publication, bytes) = terms.read(document, shown(&self.url)).await?;
        Ok(Step::New(Box::new(Found { publication, bytes, seen: now_seen })))
    }

    /// All pages as one document.
    async fn document(&mut self, client: &Client, terms: &Terms) -> Result<Vec<u8>, FeedError> {
        let origin = shown(&self.url);
        let limit = terms.policy.max_bytes;
        let mut document = Joined::default();
        let mut next = Some(self.url.clone());
        let mut asked = BTreeSet::new();
        while let Some(url) = next.take() {
            let broken =
                |reason: &str| FeedError::Pages { url: origin.clone(), reason: reason.to_owned() };
            if asked.len() == MOST_PAGES || !asked.insert(Digest::of(url.as_str().as_bytes())) {
                return Err(broken("its pages do not end"));
            }
            let answer = self.ask(client, url, limit).await?;
            // Where, but not what: serde quotes the answer.
            let page: Page<'_> = serde_json::from_slice(&answer.body).map_err(|error| {
                let place = format!("line {}, column {}", error.line(), error.column());
                broken(&format!("it is not of the API's form ({place})"))
            })?;
            document.add(&page).map_err(broken)?;
            if document.values.len() as u64 > limit {
                return Err(WebError::TooLarge { url: origin, limit }.into());
            }
            if let Some(link) = page.next_link.filter(|link| !link.is_empty()) {
                let link =
                    Url::parse(&link).map_err(|_| broken("the link to its next page is no URL"))?;
                if link.origin() != self.url.origin() {
                    return Err(broken("the link to its next page leads to another server"));
                }
                next = Some(link);
            }
        }
        Ok(document.finish())
    }

    /// Asks with a token, and once more with a new one when it is not taken.
    async fn ask(&mut self, client: &Client, url: Url, limit: u64) -> Result<Answer, FeedError> {
        let mut renewed = false;
        loop {
            let token = self.tokens.get(client, &self.connection).await?;
            let request = Request::get(url.clone(), limit)
                .header(ACCEPT, "application/json")
                .secret_header(AUTHORIZATION, &format!("Bearer {}", token.expose()))?;
            let answer = client.ask(request).await?;
            if answer.status.is_success() {
                return Ok(answer);
            }
            if answer.status == StatusCode::UNAUTHORIZED && !renewed {
                self.tokens.forget();
                renewed = true;
                continue;
            }
            return Err(answer.refusal(Timestamp::now()).into());
        }
    }
}

fn endpoints(discovery: &Discovery, cloud: Cloud) -> Result<Endpoints, FeedError> {
    let known = match cloud {
        Cloud::Public => {
            Some(("https://management.azure.com/", "https://login.microsoftonline.com/"))
        }
        Cloud::Government => {
            Some(("https://management.usgovcloudapi.net/", "https://login.microsoftonline.us/"))
        }
        Cloud::China => {
            Some(("https://management.chinacloudapi.cn/", "https://login.chinacloudapi.cn/"))
        }
        Cloud::Germany | Cloud::Example => None,
    };
    let place = |given: &Option<crate::config::WebUrl>, known: Option<&str>| {
        let url = given.as_ref().map(|given| given.url().clone());
        url.or_else(|| known.and_then(|known| Url::parse(known).ok())).ok_or_else(|| {
            FeedError::Unusable(format!(
                "cloud {cloud} has no Discovery API; set `resource-manager` and `login`"
            ))
        })
    };
    Ok(Endpoints {
        resource_manager: place(&discovery.resource_manager, known.map(|known| known.0))?,
        login: place(&discovery.login, known.map(|known| known.1))?,
    })
}

/// A URL below another, whether that ends with a slash or not.
fn below(base: &Url, path: &str) -> Result<Url, FeedError> {
    let base = base.as_str().trim_end_matches('/');
    Url::parse(&format!("{base}/{path}"))
        .map_err(|error| FeedError::Unusable(format!("{base}/{path} is no URL: {error}")))
}

/// One page of the answer. What is not needed to join pages stays as it was written.
#[derive(Debug, Deserialize)]
struct Page<'p> {
    #[serde(borrow, rename = "changeNumber")]
    change_number: &'p RawValue,
    #[serde(borrow)]
    cloud: &'p RawValue,
    #[serde(borrow)]
    values: Vec<&'p RawValue>,
    #[serde(rename = "nextLink")]
    next_link: Option<String>,
}

/// The pages so far, as one document.
#[derive(Debug, Default)]
struct Joined {
    /// Change number and cloud, as they are written.
    head: Option<(String, String)>,
    values: String,
}

impl Joined {
    fn add(&mut self, page: &Page<'_>) -> Result<(), &'static str> {
        let (number, cloud) = (page.change_number.get(), page.cloud.get());
        match &self.head {
            None => self.head = Some((number.to_owned(), cloud.to_owned())),
            Some((known_number, known_cloud)) if known_number == number && known_cloud == cloud => {
            }
            Some(_) => return Err("it changed while its pages were read"),
        }
        for value in &page.values {
            self.values.push_str(if self.values.is_empty() { "\n" } else { ",\n" });
            self.values.push_str(value.get());
        }
        Ok(())
    }

    fn finish(self) -> Vec<u8> {
        let (number, cloud) = self.head.unwrap_or_default();
        format!(
            "{{\"changeNumber\": {number}, \"cloud\": {cloud}, \"values\": [{}\n]}}\n",
            self.values
        )
        .into_bytes()
    }
}
