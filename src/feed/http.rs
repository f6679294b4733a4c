//! A document at a fixed URL: a mirror, an artifact store, another tagwall.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use reqwest::StatusCode;
use reqwest::header::{
    ACCEPT, AUTHORIZATION, CONTENT_DISPOSITION, ETAG, IF_MODIFIED_SINCE, IF_NONE_MATCH,
    LAST_MODIFIED,
};
use url::Url;

use super::FeedError;
use super::source::{Found, Step, Terms};
use crate::config::{Config, Connection, Http, SecretFile, UserName, shown};
use crate::snapshot::{Digest, Seen, Validators, date_in_name};
use crate::web::{Answer, Client, Hosts, Request};

/// A feed of one URL.
#[derive(Debug)]
pub(super) struct Fixed {
    url: Url,
    proof: Proof,
    connection: Connection,
}

/// How a request proves who asks.
#[derive(Debug)]
enum Proof {
    None,
    Basic(UserName, SecretFile),
    Bearer(SecretFile),
}

impl Fixed {
    pub(super) fn new(http: &Http, connection: Connection, config: &Config) -> Self {
        let proof = match (&http.user, &http.password_file, &http.token_file) {
            (Some(user), Some(file), _) => Proof::Basic(user.clone(), file.located(config)),
            (_, _, Some(file)) => Proof::Bearer(file.located(config)),
            _ => Proof::None,
        };
        Self { url: http.url.url().clone(), proof, connection }
    }

    pub(super) async fn look(
        &mut self,
        terms: &Terms,
        seen: Option<&Seen>,
    ) -> Result<Step, FeedError> {
        let client =
            Client::new(&self.connection, Hosts::and(self.connection.hosts.iter().cloned()))?;
        let request = self.proof.on(Request::get(self.url.clone(), terms.policy.max_bytes))?;
        document(&client, request, terms, seen, Validators::default()).await
    }
}

impl Proof {
    fn on(&self, request: Request) -> Result<Request, FeedError> {
        Ok(match self {
            Self::None => request,
            Self::Basic(user, file) => {
                let password = file.load()?;
                let pair = STANDARD.encode(format!("{user}:{}", password.expose()));
                request.secret_header(AUTHORIZATION, &format!("Basic {pair}"))?
            }
            Self::Bearer(file) => {
                let token = file.load()?;
                request.secret_header(AUTHORIZATION, &format!("Bearer {}", token.expose()))?
            }
        })
    }
}

/// Asks for a document that may have been seen before. `page` is what is known of the page that led here.
pub(super) async fn document(
    client: &Client,
    request: Request,
    terms: &Terms,
    seen: Option<&Seen>,
    page: Validators,
) -> Result<Step, FeedError> {
    let url = Digest::of(request.url.as_str().as_bytes());
    // What is known of another URL says nothing of this one.
    let known = seen.filter(|seen| seen.url == Some(url));
    let request = conditional(request, known.map(|seen| &seen.file))
        .header(ACCEPT, "application/json, */*;q=0.5");
    let answer = client.ask(request).await?;
    if answer.status == StatusCode::NOT_MODIFIED
        && let Some(known) = known
    {
        return Ok(Step::Same(Some(Seen { page, ..known.clone() })));
    }
    if !answer.status.is_success() {
        return Err(answer.refusal(Timestamp::now()).into());
    }
    let now_seen =
        Seen { bytes: Digest::of(&answer.body), url: Some(url), file: validators(&answer), page };
    if seen.is_some_and(|seen| seen.bytes == now_seen.bytes) {
        return Ok(Step::Same(Some(now_seen)));
    }
    let named = answer.header(&CONTENT_DISPOSITION).and_then(file_name);
    let date = named.and_then(date_in_name);
    let (mut publication, bytes) = terms.read(answer.body, shown(&answer.url)).await?;
    publication.date = publication.date.or(date);
    Ok(Step::New(Box::new(Found { publication, bytes, seen: now_seen })))
}

/// Makes a request conditional on what is known.
pub(super) fn conditional(request: Request, known: Option<&Validators>) -> Request {
    let Some(known) = known else { return request };
    // Servers that are given both look at the entity tag alone.
    match (&known.etag, &known.last_modified) {
        (Some(etag), _) => request.header(IF_NONE_MATCH, etag),
        (None, Some(modified)) => request.header(IF_MODIFIED_SINCE, modified),
        (None, None) => request,
    }
}

/// What the server gave us to ask again with.
pub(super) fn validators(answer: &Answer) -> Validators {
    let text = |name| answer.header(name).map(str::to_owned);
    Validators { etag: text(&ETAG), last_modified: text(&LAST_MODIFIED) }
}

/// The name in `attachment; filename="ServiceTags_Public_20250908.json"`: another tagwall hands on the date in it.
fn file_name(disposition: &str) -> Option<&str> {
    disposition.split(';').find_map(|part| {
        let (key, value) = part.split_once('=')?;
        key.trim().eq_ignore_ascii_case("filename").then(|| value.trim().trim_matches('"'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_an_attachment_is_read() {
        assert_eq!(
            file_name("attachment; filename=\"ServiceTags_Public_20250908.json\""),
            Some("ServiceTags_Public_20250908.json")
        );
        assert_eq!(file_name("inline; FileName=a.json"), Some("a.json"));
        assert_eq!(file_name("inline"), None);
    }
}
