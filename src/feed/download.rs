//! Microsoft's download page: finds the newest publication behind it.
//!
//! The host of the files and the pattern of their names are the only stable part of the page: the link stands in an attribute,
//! in a script's JSON, or both, several times. So every word of the page that names a publication is taken as a link, and the
//! newest date counts.

use std::collections::BTreeSet;

use jiff::Timestamp;
use jiff::civil::Date;
use reqwest::StatusCode;
use reqwest::header::ACCEPT;
use url::Url;

use super::FeedError;
use super::http::{conditional, document, validators};
use super::source::{Step, Terms};
use crate::config::{Connection, Download, FileUrl, WebHost, shown};
use crate::snapshot::{Cloud, Seen, date_in_name};
use crate::web::{Client, Hosts, Request};

/// The host of Microsoft's files.
pub(super) const FILE_HOST: &str = "download.microsoft.com";
/// Largest page read, in bytes (the largest seen has 400 KB).
const MAX_PAGE_BYTES: u64 = 8 << 20;
/// What every name of a publication starts with.
const NAME_START: &str = "ServiceTags_";
/// Longest link looked at, in bytes.
const MAX_LINK: usize = 2048;
/// Most links of one page that are looked at.
const MOST_LINKS: usize = 1000;
/// How many foreign hosts an error names.
const NAMED_HOSTS: usize = 3;

/// A feed of the download page.
#[derive(Debug)]
pub(super) struct Page {
    url: Url,
    file: Option<FileUrl>,
    hosts: Vec<WebHost>,
    connection: Connection,
    /// The link that the page held last; known again after the first look.
    link: Option<Url>,
}

impl Page {
    pub(super) fn new(
        download: &Download,
        connection: Connection,
        terms: &Terms,
    ) -> Result<Self, FeedError> {
        let url = match &download.page {
            Some(page) => page.url().clone(),
            None => microsofts(terms.cloud).ok_or_else(|| {
                FeedError::Unusable(format!("Microsoft publishes no cloud {}", terms.cloud))
            })?,
        };
        let mut hosts = connection.hosts.clone();
        hosts.extend(FILE_HOST.parse());
        if let Some(host) = download.file.as_ref().and_then(|file| file.of("x.json")) {
            hosts.extend(host.host_str().and_then(|host| host.parse().ok()));
        }
        Ok(Self { url, file: download.file.clone(), hosts, connection, link: None })
    }

    pub(super) async fn look(
        &mut self,
        terms: &Terms,
        seen: Option<&Seen>,
    ) -> Result<Step, FeedError> {
        let hosts = Hosts::and(self.hosts.iter().cloned());
        let client = Client::new(&self.connection, hosts.clone())?;
        let request = Request::get(self.url.clone(), MAX_PAGE_BYTES)
            .header(ACCEPT, "text/html,application/xhtml+xml;q=0.9,*/*;q=0.5");
        // An unchanged page leads to the same file, which is asked itself: the link is only known from the page.
        let known = self.link.as_ref().and(seen).map(|seen| &seen.page);
        let answer = client.ask(conditional(request, known)).await?;
        let (link, page) = match (&self.link, seen) {
            (Some(link), Some(seen)) if answer.status == StatusCode::NOT_MODIFIED => {
                (link.clone(), seen.page.clone())
            }
            _ if answer.status.is_success() => {
                let text = String::from_utf8_lossy(&answer.body);
                let link = newest(&text, &answer.url, terms.cloud, &hosts, self.file.as_ref())?;
                (link, validators(&answer))
            }
            _ => return Err(answer.refusal(Timestamp::now()).into()),
        };
        self.link = Some(link.clone());
        let request = Request::get(link, terms.policy.max_bytes);
        document(&client, request, terms, seen, page).await
    }
}

/// Microsoft's page of a cloud.
pub(super) fn microsofts(cloud: Cloud) -> Option<Url> {
    let id = match cloud {
        Cloud::Public => 56519,
        Cloud::Government => 57063,
        Cloud::China => 57062,
        Cloud::Germany => 57064,
        Cloud::Example => return None,
    };
    Url::parse(&format!("https://www.microsoft.com/en-us/download/details.aspx?id={id}")).ok()
}

/// The newest publication of a cloud that a page links to.
pub(super) fn newest(
    text: &str,
    page: &Url,
    cloud: Cloud,
    hosts: &Hosts,
    file: Option<&FileUrl>,
) -> Result<Url, FeedError> {
    let plain = unescape(text);
    let mut best: Option<(Date, Url)> = None;
    let mut foreign = BTreeSet::new();
    let mut other_clouds = 0_usize;
    for word in words(&plain).take(MOST_LINKS) {
        let Some((link, name)) = link_of(word, page) else { continue };
        let Some(date) = date_of(&name, cloud) else {
            other_clouds += usize::from(date_in_name(&name).is_some());
            continue;
        };
        let link = match file {
            Some(file) => match file.of(&name) {
                Some(link) => link,
                None => continue,
            },
            None => link,
        };
        // A plain page may lead to plain files; an encrypted one leads to encrypted ones.
        let encrypted =
            link.scheme() == "https" || (link.scheme() == "http" && page.scheme() == "http");
        if file.is_none() && !(encrypted && hosts.allow(page, &link)) {
            foreign.insert(shown(&link));
        } else if best.as_ref().is_none_or(|(newest, _)| *newest < date) {
            best = Some((date, link));
        }
    }
    let detail = || {
        if !foreign.is_empty() {
            let named: Vec<&str> = foreign.iter().take(NAMED_HOSTS).map(String::as_str).collect();
            format!(
                ": it links to {}, which is not allowed; name that host under `connection.hosts` if it is right",
                named.join(", ")
            )
        } else if other_clouds > 0 {
            ": those it links to are of other clouds; set `cloud`, or another `page`".to_owned()
        } else {
            ": it may be an error page, or have a new form; set `page`, or use an `http` feed"
                .to_owned()
        }
    };
    best.map(|(_, link)| link).ok_or_else(|| FeedError::NoLink {
        page: shown(page),
        cloud,
        detail: detail(),
    })
}

/// The date in a publication's name, when it is one of this cloud.
fn date_of(name: &str, cloud: Cloud) -> Option<Date> {
    let rest = name.strip_prefix(NAME_START)?.strip_prefix(cloud.document_name())?;
    // `_20250908.json`: nothing else may stand between cloud and date.
    (rest.len() == "_YYYYMMDD.json".len()).then(|| date_in_name(name))?
}

/// A page's text with the escapes of scripts and of HTML that links are written with taken away.
fn unescape(text: &str) -> String {
    let mut plain = text.replace("\\/", "/");
    for (escaped, meant) in [
        ("\\u002F", "/"),
        ("\\u002f", "/"),
        ("\\u003A", ":"),
        ("\\u003a", ":"),
        ("&#x2F;", "/"),
        ("&#x2f;", "/"),
        ("&#47;", "/"),
        ("&#x3A;", ":"),
        ("&#x3a;", ":"),
        ("&#58;", ":"),
        ("&#95;", "_"),
        ("&quot;", "\""),
        ("&#34;", "\""),
        ("&amp;", "&"),
    ] {
        if plain.contains(escaped) {
            plain = plain.replace(escaped, meant);
        }
    }
    plain
}

/// The words of a page that name a publication, each whole between its delimiters.
fn words(text: &str) -> impl Iterator<Item = &str> {
    let delimiter = |c: char| {
        c.is_ascii_whitespace()
            || matches!(c, '"' | '\'' | '<' | '>' | '(' | ')' | '\\' | '`' | ',' | '=')
    };
    text.split(delimiter).filter(|word| word.len() <= MAX_LINK && word.contains(NAME_START))
}

/// A word as a link of the page, with the name of the file it leads to.
fn link_of(word: &str, page: &Url) -> Option<(Url, String)> {
    let mut link = page.join(word).ok()?;
    link.set_fragment(None);
    let name = link.path_segments()?.next_back()?.to_owned();
    let harmless = name.starts_with(NAME_START)
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-'));
    (harmless && link.username().is_empty() && link.password().is_none()).then_some((link, name))
}

#[cfg(test)]
mod tests;
