//! Tokens: who asks is proven once, and the proof is kept until shortly before it ends.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use reqwest::StatusCode;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderName, WWW_AUTHENTICATE};
use serde::Deserialize;
use url::Url;
use url::form_urlencoded::Serializer;

use super::{assertion, below};
use crate::config::{
    Config, Connection, Discovery, Guid, Identity, SecretFile, Tenant, WebUrl, shown,
};
use crate::feed::FeedError;
use crate::os::files;
use crate::os::secret::Secret;
use crate::web::{Answer, Client, Request};

/// How long before its end a token is renewed.
const RENEW_BEFORE: Duration = Duration::from_secs(5 * 60);
/// Largest answer with a token, in bytes.
const MAX_ANSWER: u64 = 256 << 10;
/// Largest challenge of Azure Arc read, in bytes.
const MAX_CHALLENGE: u64 = 4096;
/// The metadata service of virtual machines.
const MACHINE_ENDPOINT: &str = "http://169.254.169.254";
/// The agent of Azure Arc.
const ARC_ENDPOINT: &str = "http://localhost:40342";
/// The path of tokens at both.
const TOKEN_PATH: &str = "metadata/identity/oauth2/token";
/// The folder of Azure Arc's challenges.
const ARC_FOLDER: &str = "/var/opt/azcmagent/tokens";
/// The header without which a metadata service does not answer, so that no stray request gets a token.
const METADATA: HeaderName = HeaderName::from_static("metadata");

/// The token of one feed.
#[derive(Debug)]
pub(super) struct Tokens {
    /// For whom the token is meant.
    audience: String,
    proof: Proof,
    kept: Option<Token>,
}

struct Token {
    secret: Secret,
    renew: Instant,
}

/// How it is proven who asks.
#[derive(Debug)]
enum Proof {
    Secret { url: Url, client_id: Guid, file: SecretFile },
    Certificate { url: Url, client_id: Guid, certificate: PathBuf, key: SecretFile },
    Machine { endpoint: Url, client_id: Option<Guid> },
    Arc { endpoint: Url, folder: PathBuf },
}

impl Tokens {
    pub(super) fn new(
        discovery: &Discovery,
        resource_manager: &Url,
        login: &Url,
        config: &Config,
    ) -> Result<Self, FeedError> {
        let at = |tenant: &Tenant| below(login, &format!("{tenant}/oauth2/v2.0/token"));
        let endpoint = |given: &Option<WebUrl>, default: &str| {
            let base =
                given.as_ref().map_or_else(|| default.to_owned(), |url| url.url().to_string());
            let base = Url::parse(&base)
                .map_err(|error| FeedError::Unusable(format!("{base} is no URL: {error}")))?;
            below(&base, TOKEN_PATH)
        };
        let identities = discovery.identities();
        let proof = match identities.first() {
            Some(Identity::Secret(app)) => Proof::Secret {
                url: at(&app.tenant)?,
                client_id: app.client_id.clone(),
                file: app.secret_file.located(config),
            },
            Some(Identity::Certificate(app)) => Proof::Certificate {
                url: at(&app.tenant)?,
                client_id: app.client_id.clone(),
                certificate: config.beside(&app.certificate_file),
                key: app.key_file.located(config),
            },
            Some(Identity::Machine(machine)) => Proof::Machine {
                endpoint: endpoint(&machine.endpoint, MACHINE_ENDPOINT)?,
                client_id: machine.client_id.clone(),
            },
            Some(Identity::Arc(arc)) => Proof::Arc {
                endpoint: endpoint(&arc.endpoint, ARC_ENDPOINT)?,
                folder: arc
                    .token_folder
                    .as_ref()
                    .map_or_else(|| ARC_FOLDER.into(), |at| config.beside(at)),
            },
            None => {
                return Err(FeedError::Unusable(
                    "discovery has no way of proving who asks".to_owned(),
                ));
            }
        };
        let audience = resource_manager.as_str().trim_end_matches('/').to_owned();
        Ok(Self { audience, proof, kept: None })
    }

    /// The token that is not taken any more is not used again.
    pub(super) fn forget(&mut self) {
        self.kept = None;
    }

    /// A token that is good for a while yet.
    pub(super) async fn get(
        &mut self,
        client: &Client,
        connection: &Connection,
    ) -> Result<Secret, FeedError> {
        if let Some(token) = &self.kept
            && Instant::now() < token.renew
        {
            return Ok(token.secret.clone());
        }
        let (secret, lifetime) = self.fetch(client, connection).await?;
        let renew = Instant::now() + lifetime.saturating_sub(RENEW_BEFORE);
        self.kept = Some(Token { secret: secret.clone(), renew });
        Ok(secret)
    }

    async fn fetch(
        &self,
        client: &Client,
        connection: &Connection,
    ) -> Result<(Secret, Duration), FeedError> {
        match &self.proof {
            Proof::Secret { url, client_id, file } => {
                let secret = file.load()?;
                self.sign_in(client, url, client_id, &[("client_secret", secret.expose())]).await
            }
            Proof::Certificate { url, client_id, certificate, key } => {
                let now = Timestamp::now();
                let signed = assertion::sign(certificate, key, client_id, url.as_str(), now)?;
                let fields = [
                    (
                        "client_assertion_type",
                        "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
                    ),
                    ("client_assertion", signed.expose()),
                ];
                self.sign_in(client, url, client_id, &fields).await
            }
            Proof::Machine { endpoint, client_id } => {
                let mut url = endpoint.clone();
                url.query_pairs_mut()
                    .append_pair("api-version", "2018-02-01")
                    .append_pair("resource", &format!("{}/", self.audience));
                if let Some(client_id) = client_id {
                    url.query_pairs_mut().append_pair("client_id", client_id.as_str());
                }
                let request = Request::get(url, MAX_ANSWER).header(METADATA, "true");
                token_in(&Client::local(connection)?.ask(request).await?)
            }
            Proof::Arc { endpoint, folder } => self.ask_arc(connection, endpoint, folder).await,
        }
    }

    /// The client credentials flow of Entra ID.
    async fn sign_in(
        &self,
        client: &Client,
        url: &Url,
        client_id: &Guid,
        proof: &[(&str, &str)],
    ) -> Result<(Secret, Duration), FeedError> {
        let body = Serializer::new(String::new())
            .append_pair("grant_type", "client_credentials")
            .append_pair("client_id", client_id.as_str())
            .append_pair("scope", &format!("{}/.default", self.audience))
            .extend_pairs(proof)
            .finish();
        let request = Request::post(url.clone(), body.into_bytes(), MAX_ANSWER)
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded");
        token_in(&client.ask(request).await?)
    }

    /// Azure Arc first names a file that only its administrators can read, and wants to hear what is in it.
    async fn ask_arc(
        &self,
        connection: &Connection,
        endpoint: &Url,
        folder: &Path,
    ) -> Result<(Secret, Duration), FeedError> {
        let client = Client::local(connection)?;
        let mut url = endpoint.clone();
        url.query_pairs_mut()
            .append_pair("api-version", "2020-06-01")
            .append_pair("resource", &format!("{}/", self.audience));
        let request = || Request::get(url.clone(), MAX_ANSWER).header(METADATA, "true");
        let challenge = client.ask(request()).await?;
        if challenge.status != StatusCode::UNAUTHORIZED {
            return token_in(&challenge);
        }
        let refuse = |reason: String| FeedError::Challenge { url: shown(&url), reason };
        let realm = challenge
            .header(&WWW_AUTHENTICATE)
            .and_then(|value| value.trim().strip_prefix("Basic realm="))
            .ok_or_else(|| refuse("it names no file".to_owned()))?;
        let path = challenge_file(realm.trim_matches('"'), folder).map_err(refuse)?;
        let contents = files::read_bounded(&path, MAX_CHALLENGE).map_err(|error| {
            refuse(format!(
                "{error}; whoever asks must be root or in the group himds (the file is read as this process's user)"
            ))
        })?;
        let secret = Secret::new(
            String::from_utf8(contents)
                .map_err(|_| refuse(format!("{} is not text", path.display())))?,
        );
        let request =
            request().secret_header(AUTHORIZATION, &format!("Basic {}", secret.expose().trim()))?;
        token_in(&client.ask(request).await?)
    }
}

/// The file of a challenge. Whoever answers at the endpoint must not make us read, and send, any other.
fn challenge_file(named: &str, folder: &Path) -> Result<PathBuf, String> {
    let path = Path::new(named);
    let shown = crate::os::printable::printable(named, 200);
    let plain = path.is_absolute()
        && path.parent() == Some(folder)
        && path.extension().is_some_and(|extension| extension == "key")
        && !named.split('/').any(|part| matches!(part, "." | ".."));
    if !plain {
        return Err(format!("it names {shown}, which is no `.key` file in {}", folder.display()));
    }
    let link = path.symlink_metadata().is_ok_and(|metadata| metadata.is_symlink());
    if link { Err(format!("it names {shown}, which is a link")) } else { Ok(path.to_owned()) }
}

/// A number, also when it is written as text: metadata services do so.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Number {
    Number(u64),
    Text(String),
}

#[derive(Deserialize)]
struct Granted {
    access_token: String,
    expires_in: Option<Number>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Denied {
    error: String,
    error_codes: Vec<u64>,
    error_description: String,
}

/// The token of an answer, and how long it is good.
fn token_in(answer: &Answer) -> Result<(Secret, Duration), FeedError> {
    if !answer.status.is_success() {
        return Err(denied(answer));
    }
    let granted: Granted = serde_json::from_slice(&answer.body).map_err(|_| FeedError::Token {
        // The parser's words are not shown: they quote the answer.
        url: shown(&answer.url),
        reason: "the answer holds none".to_owned(),
        transient: true,
        pause: None,
    })?;
    let seconds = match granted.expires_in {
        Some(Number::Number(seconds)) => seconds,
        Some(Number::Text(text)) => text.parse().unwrap_or(0),
        None => 0,
    };
    // A day at most: what is renewed daily is found broken on the day it breaks.
    Ok((Secret::new(granted.access_token), Duration::from_secs(seconds.min(24 * 3600))))
}

/// Words a refusal: Azure's own code, what it means, and nothing else of the answer.
fn denied(answer: &Answer) -> FeedError {
    let denied: Denied = serde_json::from_slice(&answer.body).unwrap_or_default();
    let code = denied.error_codes.first().copied().or_else(|| code_in(&denied.error_description));
    let plain = |c: char| c.is_ascii_lowercase() || c == '_';
    let kind = Some(denied.error)
        .filter(|error| (1..=64).contains(&error.len()) && error.chars().all(plain));
    let mut reason = format!("status {}", answer.status.as_u16());
    if let Some(kind) = &kind {
        reason.push_str(&format!(", {kind}"));
    }
    if let Some(code) = code {
        reason.push_str(&format!(", AADSTS{code}{}", meaning(code)));
    }
    let refusal = answer.refusal(Timestamp::now());
    let transient = refusal.is_transient() || kind.as_deref() == Some("temporarily_unavailable");
    let (url, pause) = (shown(&answer.url), refusal.retry_after());
    FeedError::Token { url, reason, transient, pause }
}

/// The code in `AADSTS7000215: Invalid client secret provided.`
fn code_in(description: &str) -> Option<u64> {
    let digits = description.strip_prefix("AADSTS")?;
    let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
    digits[..end].parse().ok()
}

/// What the usual codes mean for whoever set up the feed.
fn meaning(code: u64) -> &'static str {
    match code {
        7_000_215 => ": the client secret is wrong (its value is needed, not its identifier)",
        7_000_222 => ": the client secret is over; make a new one and put it into `secret-file`",
        700_016 => ": the tenant has no such application; check `tenant` and `client-id`",
        700_027 => {
            ": the certificate is not registered with the application, or does not fit its key"
        }
        90_002 | 900_023 => ": there is no such tenant",
        7_000_112 => ": the application is disabled",
        50_053 | 53_003 => ": a policy of the tenant keeps it out",
        _ => "",
    }
}

impl std::fmt::Debug for Token {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Token")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_challenge_names_a_key_in_its_folder_or_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let inside = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
        assert!(challenge_file(&inside("a.key"), folder.path()).is_ok());
        std::os::unix::fs::symlink("/etc/shadow", inside("link.key")).unwrap();
        for bad in [
            "/etc/shadow".to_owned(),
            "/etc/ssl/private/server.key".to_owned(),
            inside("a.txt"),
            inside("../x.key"),
            inside("deeper/a.key"),
            inside("link.key"),
            "a.key".to_owned(),
            String::new(),
        ] {
            assert!(challenge_file(&bad, folder.path()).is_err(), "{bad}");
        }
    }
}
