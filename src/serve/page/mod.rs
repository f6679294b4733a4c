//! `/`: one page that shows what is in force, how old it is, what changed and who has it.
//!
//! It is made here, whole, from values; there is no script in it, nothing is loaded from elsewhere, and a policy in its head
//! keeps it so whatever a text in it says.

mod history;
mod notices;
mod table;
mod tables;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use jiff::Timestamp;
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use tera::{Context, Tera};

use self::history::{Generation, generations};
use self::notices::{Notice, notices};
use self::table::Table;
use super::view::View;
use crate::report::text::{grouped, relative};
use crate::report::{ServeStatus, Status};

const TEMPLATE: &str = "page.html";
const HTML: &str = include_str!("../../../templates/serve/page.html");
const CSS: &str = include_str!("../../../templates/serve/page.css");

/// The page's template.
#[derive(Debug)]
pub(super) struct Page {
    tera: Tera,
    /// What a browser may do with the page.
    pub(super) policy: String,
}

impl Page {
    /// Compiles the template.
    pub(super) fn new() -> Result<Self, tera::Error> {
        let mut tera = Tera::new();
        tera.add_raw_template(TEMPLATE, HTML)?;
        let style = BASE64.encode(Sha256::digest(CSS));
        let policy = format!(
            "default-src 'none'; style-src 'sha256-{style}'; img-src data:; base-uri 'none'; form-action 'none'; \
             frame-ancestors 'none'"
        );
        Ok(Self { tera, policy })
    }

    /// Writes the page.
    pub(super) fn render(
        &self,
        view: &View,
        serve: &ServeStatus,
        now: Timestamp,
    ) -> Result<String, tera::Error> {
        let mut context = Context::new();
        context.insert("css", CSS);
        context.insert("page", &Content::of(view, serve, now));
        self.tera.render(TEMPLATE, &context)
    }
}

/// Everything on the page, in words.
#[derive(Debug, Serialize)]
struct Content {
    title: String,
    version: &'static str,
    headline: String,
    subline: String,
    at: String,
    notices: Vec<Notice>,
    tables: Vec<Table>,
    history: Vec<Generation>,
}

impl Content {
    fn of(view: &View, serve: &ServeStatus, now: Timestamp) -> Self {
        let status = view.status.as_deref();
        let history = view.history.as_deref();
        let (headline, subline) = headline(status, now);
        Self {
            title: format!("tagwall: {headline}"),
            version: env!("CARGO_PKG_VERSION"),
            headline,
            subline,
            at: minute(now),
            notices: notices(status, history, serve, now),
            tables: tables::all(status, history, serve, now),
            history: history.map(|history| generations(history, now)).unwrap_or_default(),
        }
    }
}

/// A time to the minute, for people.
fn minute(time: Timestamp) -> String {
    time.strftime("%Y-%m-%d %H:%M UTC").to_string()
}

fn headline(status: Option<&Status>, now: Timestamp) -> (String, String) {
    let Some(status) = status else {
        return ("Starting".to_owned(), "The agent has not said yet what is in force.".to_owned());
    };
    let (Some(generation), Some(created)) = (status.generation, status.created) else {
        return (
            "Nothing is in force yet".to_owned(),
            "There is no generation: no publication was taken so far.".to_owned(),
        );
    };
    let reason = status.reason.as_deref().unwrap_or_default();
    (
        format!("Generation {} is in force", grouped(generation)),
        format!("Made {}, on {} ({reason}).", relative(created, now), minute(created)),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_template_renders_what_there_is_and_what_there_is_not() {
        let page = Page::new().unwrap();
        let now = "2026-11-24T06:00:00Z".parse().unwrap();
        let text = page.render(&View::default(), &ServeStatus::default(), now).unwrap();
        assert!(text.contains("<h1>Starting</h1>") && !text.contains("<table>"), "{text}");
        let serve = ServeStatus {
            faults: vec!["<script>alert(1)</script>".to_owned()],
            ..ServeStatus::default()
        };
        let text = page.render(&View::default(), &serve, now).unwrap();
        assert!(text.contains("&lt;script&gt;alert(1)") && !text.contains("<script"), "{text}");
    }
}
