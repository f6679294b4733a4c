//! From a request to its answer.
//!
//! A path is looked up in tables that we made; it never becomes the name of a file.

use std::net::IpAddr;
use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use hyper::header::{
    ACCEPT_RANGES, ALLOW, CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_ENCODING, CONTENT_LENGTH,
    CONTENT_RANGE, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, HeaderMap, HeaderName, HeaderValue,
    LAST_MODIFIED, REFERRER_POLICY, RETRY_AFTER, USER_AGENT, VARY, WWW_AUTHENTICATE,
    X_CONTENT_TYPE_OPTIONS,
};
use hyper::{Method, Request, Response, StatusCode};
use jiff::Timestamp;

use super::access::Verdict;
use super::clients::Who;
use super::conditional::{self, Validators, Wanted};
use super::content::Content;
use super::counters;
use super::metrics;
use super::payload::Payload;
use super::server::{Active, Shared};
use super::view::{Document, List, View};
use crate::config::Area;
use crate::report::Status;
use crate::snapshot::Cloud;

const TEXT: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";
/// When a client should come again after an answer of 503, in seconds.
const COME_AGAIN: &str = "30";
/// Characters of a path that are looked at: no path of ours is longer.
const LONGEST_PATH: usize = 512;

/// The other side of a connection.
#[derive(Debug, Clone, Default)]
pub(super) struct Peer {
    /// None for the Unix socket.
    pub(super) address: Option<IpAddr>,
    /// Whose certificate it showed.
    pub(super) certificate: Option<String>,
}

/// What a path stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Route<'p> {
    List(&'p str),
    Publication(Cloud),
    Believed(Cloud),
    Page,
    Status,
    Metrics,
    Healthz,
    Readyz,
    Nothing,
}

impl<'p> Route<'p> {
    fn of(path: &'p str) -> Self {
        if path.len() > LONGEST_PATH {
            return Self::Nothing;
        }
        let cloud = |name: &str| {
            let name = name.strip_suffix(".json")?;
            Cloud::ALL.into_iter().find(|cloud| cloud.name() == name)
        };
        match path {
            "/" => Self::Page,
            "/status.json" => Self::Status,
            "/metrics" => Self::Metrics,
            "/healthz" => Self::Healthz,
            "/readyz" => Self::Readyz,
            _ => {
                if let Some(list) = path.strip_prefix("/lists/") {
                    Self::List(list)
                } else if let Some(cloud) = path.strip_prefix("/publications/").and_then(cloud) {
                    Self::Publication(cloud)
                } else if let Some(cloud) = path.strip_prefix("/believed/").and_then(cloud) {
                    Self::Believed(cloud)
                } else {
                    Self::Nothing
                }
            }
        }
    }

    fn area(self) -> Area {
        match self {
            Self::List(_) => Area::Lists,
            Self::Publication(_) | Self::Believed(_) => Area::Documents,
            Self::Healthz | Self::Readyz => Area::Health,
            Self::Metrics => Area::Metrics,
            Self::Page | Self::Status | Self::Nothing => Area::Page,
        }
    }
}

/// Answers a request, whatever it is.
pub(super) async fn answer<B>(
    shared: &Shared,
    peer: &Peer,
    request: Request<B>,
) -> Response<Payload> {
    let begun = Instant::now();
    let active = shared.active();
    let (head, _) = request.into_parts();
    let route = Route::of(head.uri.path());
    let is_head = head.method == Method::HEAD;
    let mut response = if is_head || head.method == Method::GET {
        respond(shared, &active, peer, route, &head.headers, is_head).await
    } else {
        let mut response = text(
            StatusCode::METHOD_NOT_ALLOWED,
            "only GET and HEAD: nothing can be changed here\n",
        );
        set(&mut response, ALLOW, "GET, HEAD");
        response
    };
    set(&mut response, X_CONTENT_TYPE_OPTIONS, "nosniff");
    set(&mut response, REFERRER_POLICY, "no-referrer");
    let length = response.body().length();
    if is_head {
        // What a GET would be sent, without it.
        if response.status() != StatusCode::NOT_MODIFIED {
            response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(length));
        }
        *response.body_mut() = Payload::empty();
    } else {
        shared.counters.bytes.inc_by(length);
    }
    let code = response.status().as_u16();
    let labels = counters::Request { area: route.area().name(), code };
    shared.counters.requests.get_or_create(&labels).inc();
    shared.counters.seconds.observe(begun.elapsed().as_secs_f64());
    response
}

async fn respond(
    shared: &Shared,
    active: &Active,
    peer: &Peer,
    route: Route<'_>,
    headers: &HeaderMap,
    is_head: bool,
) -> Response<Payload> {
    let verdict = shared
        .gate
        .judge(
            &active.settings,
            &active.credentials,
            route.area(),
            headers,
            peer.certificate.as_deref(),
        )
        .await;
    let user = match verdict {
        Verdict::Welcome(user) => user,
        Verdict::Unknown | Verdict::Wrong => return unauthorized(),
        Verdict::NeedsCertificate => {
            return text(StatusCode::FORBIDDEN, "this needs a client certificate\n");
        }
        Verdict::CannotTell(why) => return unavailable(why),
    };
    let view = shared.view();
    let now = Timestamp::now();
    match route {
        Route::List(path) => {
            let Some(lists) = &view.lists else { return no_generation() };
            let Some(list) = lists.get(path) else { return not_found() };
            let response = list_response(list, headers, now).await;
            let has_it = matches!(response.status(), StatusCode::OK | StatusCode::NOT_MODIFIED);
            if has_it && !is_head {
                let agent = headers.get(USER_AGENT).map_or(&b""[..], HeaderValue::as_bytes);
                let agent = String::from_utf8_lossy(agent);
                let who = Who { address: peer.address, user: user.as_deref(), agent: &agent };
                shared.clients.note(who, list, lists.generation, now);
            }
            response
        }
        Route::Publication(cloud) => document(view.publications.get(&cloud), headers, now).await,
        Route::Believed(cloud) => document(view.believed.get(&cloud), headers, now).await,
        Route::Page => page(shared, &view, now),
        Route::Status => status(shared, &view, now),
        Route::Metrics => {
            let mut response = text(StatusCode::OK, metrics::write(shared, &view, now));
            set(&mut response, CONTENT_TYPE, metrics::KIND);
            response
        }
        Route::Healthz => text(StatusCode::OK, "alive\n"),
        Route::Readyz => ready(active, &view, now),
        Route::Nothing => not_found(),
    }
}

async fn list_response(list: &List, headers: &HeaderMap, now: Timestamp) -> Response<Payload> {
    let bytes = Bytes { content: &list.content, kind: TEXT, modified: list.modified.told(now) };
    bytes.respond(headers).await
}

async fn document(
    document: Option<&Arc<Document>>,
    headers: &HeaderMap,
    now: Timestamp,
) -> Response<Payload> {
    let Some(document) = document else { return not_found() };
    let modified = document.modified.told(now);
    let bytes = Bytes { content: &document.content, kind: JSON, modified };
    let mut response = bytes.respond(headers).await;
    // Publications are ordered by the date in their name.
    put(&mut response, CONTENT_DISPOSITION, &format!("inline; filename=\"{}\"", document.name));
    response
}

/// Content as an answer says it.
struct Bytes<'b> {
    content: &'b Arc<Content>,
    kind: &'static str,
    modified: Option<&'b HeaderValue>,
}

impl Bytes<'_> {
    async fn respond(&self, headers: &HeaderMap) -> Response<Payload> {
        let [plain, packed] = self.content.tags();
        let length = self.content.length();
        // Whoever has either form has the content.
        let packs = conditional::takes_gzip(headers) && !conditional::asks_for_part(headers);
        let prefer_plain = conditional::has(headers, plain);
        let compressed = if packs && !prefer_plain { self.compressed().await } else { None };
        let etag = if compressed.is_some() { packed } else { plain };
        let total = compressed.as_ref().map_or(length, |bytes| bytes.len() as u64);
        let wanted =
            conditional::weigh(headers, Validators { etag, modified: self.modified }, total);
        let source = |range: Range<u64>| match &compressed {
            Some(bytes) => Payload::memory(bytes.clone()),
            None => Payload::part(self.content.source(), range),
        };
        let mut response = match wanted {
            Wanted::Whole => answer_with(StatusCode::OK, source(0..total)),
            Wanted::Part(range) => {
                let place = format!("bytes {}-{}/{total}", range.start, range.end - 1);
                let mut response = answer_with(StatusCode::PARTIAL_CONTENT, source(range));
                put(&mut response, CONTENT_RANGE, &place);
                response
            }
            Wanted::NotModified => answer_with(StatusCode::NOT_MODIFIED, Payload::empty()),
            Wanted::Failed => text(StatusCode::PRECONDITION_FAILED, "it is another one\n"),
            Wanted::OutOfRange => {
                let mut response = text(StatusCode::RANGE_NOT_SATISFIABLE, "it is not as long\n");
                put(&mut response, CONTENT_RANGE, &format!("bytes */{total}"));
                return response;
            }
        };
        if response.status().is_success() {
            set(&mut response, CONTENT_TYPE, self.kind);
            if compressed.is_some() {
                set(&mut response, CONTENT_ENCODING, "gzip");
            }
            set(&mut response, ACCEPT_RANGES, "bytes");
        }
        response.headers_mut().insert(ETAG, etag.clone());
        set(&mut response, VARY, "accept-encoding");
        set(&mut response, CACHE_CONTROL, "no-cache");
        if let Some(modified) = self.modified {
            response.headers_mut().insert(LAST_MODIFIED, modified.clone());
        }
        response
    }

    /// The compressed form. It is made outside the threads that answer.
    async fn compressed(&self) -> Option<hyper::body::Bytes> {
        if self.content.is_compressed() {
            return self.content.compressed();
        }
        let content = Arc::clone(self.content);
        tokio::task::spawn_blocking(move || content.compressed()).await.ok().flatten()
    }
}

fn page(shared: &Shared, view: &View, now: Timestamp) -> Response<Payload> {
    match shared.page.render(view, &shared.status(view, now), now) {
        Ok(page) => {
            let mut response = text(StatusCode::OK, page);
            set(&mut response, CONTENT_TYPE, "text/html; charset=utf-8");
            put(&mut response, CONTENT_SECURITY_POLICY, &shared.page.policy);
            response
        }
        Err(error) => {
            tracing::error!("the page cannot be made: {error}");
            unavailable("the page cannot be made")
        }
    }
}

/// The status as `tagwall status --json` prints it.
fn status(shared: &Shared, view: &View, now: Timestamp) -> Response<Payload> {
    let Some(status) = &view.status else { return unavailable("the agent has not looked yet") };
    let mut status = Status::clone(status);
    status.serve = Some(shared.status(view, now));
    match serde_json::to_vec_pretty(&status) {
        Ok(mut bytes) => {
            bytes.push(b'\n');
            let mut response = text(StatusCode::OK, bytes);
            set(&mut response, CONTENT_TYPE, JSON);
            response
        }
        Err(error) => {
            tracing::error!("the status cannot be written: {error}");
            unavailable("the status cannot be written")
        }
    }
}

/// Whether lists are there and devices can come for them.
fn ready(active: &Active, view: &View, now: Timestamp) -> Response<Payload> {
    let mut reasons = active.credentials.faults();
    reasons.extend(view.faults.iter().cloned());
    if view.lists.is_none() {
        reasons.push("there is no generation yet".to_owned());
    }
    if active.settings.tls.is_some() && active.credentials.keyring(now).is_none() {
        reasons.push("there is no certificate that clients would accept".to_owned());
    }
    if reasons.is_empty() {
        return text(StatusCode::OK, "ready\n");
    }
    let mut response = text(StatusCode::SERVICE_UNAVAILABLE, reasons.join("\n") + "\n");
    set(&mut response, RETRY_AFTER, COME_AGAIN);
    response
}

fn unauthorized() -> Response<Payload> {
    let mut response = text(StatusCode::UNAUTHORIZED, "name and password are needed\n");
    set(&mut response, WWW_AUTHENTICATE, "Basic realm=\"tagwall\", charset=\"UTF-8\"");
    response
}

fn no_generation() -> Response<Payload> {
    unavailable("there is no generation yet")
}

fn unavailable(why: &str) -> Response<Payload> {
    let mut response = text(StatusCode::SERVICE_UNAVAILABLE, format!("{why}; come again\n"));
    set(&mut response, RETRY_AFTER, COME_AGAIN);
    response
}

fn not_found() -> Response<Payload> {
    text(StatusCode::NOT_FOUND, "there is nothing here\n")
}

fn text(status: StatusCode, words: impl Into<hyper::body::Bytes>) -> Response<Payload> {
    let mut response = answer_with(status, Payload::memory(words));
    set(&mut response, CONTENT_TYPE, TEXT);
    set(&mut response, CACHE_CONTROL, "no-store");
    response
}

fn answer_with(status: StatusCode, payload: Payload) -> Response<Payload> {
    let mut response = Response::new(payload);
    *response.status_mut() = status;
    response
}

/// Sets a header to words of ours.
fn set(response: &mut Response<Payload>, name: HeaderName, value: &'static str) {
    response.headers_mut().insert(name, HeaderValue::from_static(value));
}

/// Sets a header to what is known only now. Values are ours and printable; one that is not is left out.
fn put(response: &mut Response<Payload>, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_one_of_ours_or_nothing() {
        assert_eq!(Route::of("/lists/fw/a.txt"), Route::List("fw/a.txt"));
        assert_eq!(Route::of("/publications/public.json"), Route::Publication(Cloud::Public));
        assert_eq!(Route::of("/believed/china.json"), Route::Believed(Cloud::China));
        for nothing in [
            "",
            "*",
            "//lists/fw/a.txt",
            "/publications/../memory.json",
            "/publications/public.json/",
            "/publications/public",
            "/publications/Public.json",
            "/believed/%70ublic.json",
            "/healthz/",
            &format!("/lists/{}", "a".repeat(LONGEST_PATH)),
        ] {
            assert_eq!(Route::of(nothing), Route::Nothing, "{nothing}");
        }
    }
}
