//! Errors of the configuration, shown with the source line, a caret and a way out.

use std::fmt;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};
use serde::Serialize;
use thiserror::Error;

use super::Source;
use crate::os::files::FileError;

/// Why a configuration is not taken.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration {path}: {source}", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: Box<FileError>,
    },
    /// The file is not UTF-8.
    #[error("the configuration {path} is not UTF-8 text (first bad byte at offset {place})", path = path.display())]
    NotText {
        /// The file.
        path: PathBuf,
        /// Offset of the first bad byte.
        place: usize,
    },
    /// Something in it is wrong.
    #[error("{0}")]
    Invalid(Invalid),
}

/// What is wrong in a configuration: at least one diagnostic.
#[derive(Debug)]
pub struct Invalid {
    source: Arc<Source>,
    diagnostics: Vec<Diagnostic>,
}

impl ConfigError {
    pub(super) fn invalid(source: &Arc<Source>, diagnostics: Vec<Diagnostic>) -> Self {
        Self::Invalid(Invalid { source: Arc::clone(source), diagnostics })
    }

    /// The error as text for people, coloured or not.
    pub fn render(&self, colour: bool) -> String {
        match self {
            Self::Invalid(invalid) => invalid.render(colour),
            other => format!("error: {other}"),
        }
    }

    /// What is wrong, one by one, with line and column; one without a place when the file could not be read.
    pub fn problems(&self) -> Vec<Problem> {
        let Self::Invalid(invalid) = self else {
            let message = self.to_string();
            return vec![Problem { line: None, column: None, message, label: None, help: None }];
        };
        let problem = |diagnostic: &Diagnostic| {
            let place = diagnostic.span.as_ref().map(|span| invalid.place(span.start));
            Problem {
                line: place.map(|(line, _)| line),
                column: place.map(|(_, column)| column),
                message: diagnostic.title.clone(),
                label: diagnostic.label.clone(),
                help: diagnostic.help.clone(),
            }
        };
        invalid.diagnostics.iter().map(problem).collect()
    }
}

impl Invalid {
    fn render(&self, colour: bool) -> String {
        let renderer = if colour { Renderer::styled() } else { Renderer::plain() };
        let path = self.source.path.display().to_string();
        let mut text = String::new();
        for diagnostic in &self.diagnostics {
            let mut report = Vec::new();
            let title = Level::ERROR.primary_title(diagnostic.title.as_str());
            let group = match &diagnostic.span {
                Some(span) => {
                    let mut annotation = AnnotationKind::Primary.span(self.clamp(span));
                    if let Some(label) = &diagnostic.label {
                        annotation = annotation.label(label.as_str());
                    }
                    title.element(
                        Snippet::source(self.source.text.as_str())
                            .path(path.as_str())
                            .annotation(annotation),
                    )
                }
                None => Group::with_title(title),
            };
            report.push(group);
            if let Some(help) = &diagnostic.help {
                report.push(Group::with_title(Level::HELP.secondary_title(help.as_str())));
            }
            if !text.is_empty() {
                text.push_str("\n\n");
            }
            text.push_str(&renderer.render(&report));
        }
        text
    }

    /// Keeps a span inside the text and on character boundaries.
    fn clamp(&self, span: &Range<usize>) -> Range<usize> {
        let text = &self.source.text;
        let floor = |mut place: usize| {
            place = place.min(text.len());
            while !text.is_char_boundary(place) {
                place -= 1;
            }
            place
        };
        let start = floor(span.start);
        // A table's span can cover many lines: its first line says enough.
        let line_end = text[start..].find('\n').map_or(text.len(), |length| start + length);
        start..floor(span.end.min(line_end)).max(start)
    }
}

impl fmt::Display for Invalid {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, diagnostic) in self.diagnostics.iter().enumerate() {
            if index > 0 {
                formatter.write_str("; ")?;
            }
            let path = self.source.path.display();
            match &diagnostic.span {
                Some(span) => {
                    let (line, column) = self.place(span.start);
                    write!(formatter, "{path}:{line}:{column}: {}", diagnostic.title)?;
                }
                None => write!(formatter, "{path}: {}", diagnostic.title)?,
            }
        }
        Ok(())
    }
}

impl Invalid {
    fn place(&self, offset: usize) -> (usize, usize) {
        let before = &self.source.text[..self.clamp(&(offset..offset)).start];
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
    }
}

/// One thing that is wrong, for programs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// The line, from 1.
    pub line: Option<usize>,
    /// The column in characters, from 1.
    pub column: Option<usize>,
    /// What is wrong.
    pub message: String,
    /// What about the place.
    pub label: Option<String>,
    /// What to do.
    pub help: Option<String>,
}

/// One thing that is wrong.
#[derive(Debug, Clone)]
pub struct Diagnostic {
    title: String,
    pub(super) span: Option<Range<usize>>,
    label: Option<String>,
    help: Option<String>,
}

impl Diagnostic {
    /// Says what is wrong.
    pub fn new(title: impl Into<String>) -> Self {
        Self { title: title.into(), span: None, label: None, help: None }
    }

    /// Says where, in bytes of the source.
    #[must_use]
    pub fn at(mut self, span: Range<usize>) -> Self {
        self.span = Some(span);
        self
    }

    /// Says what about the place.
    #[must_use]
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.label = Some(label.into());
        self
    }

    /// Says what to do.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// What is wrong, without the place.
    pub fn title(&self) -> &str {
        &self.title
    }
}

/// Turns an error of the TOML reader into a diagnostic; adds the nearest name when a key or value is unknown.
pub(super) fn of_toml(error: &toml::de::Error) -> Diagnostic {
    let message = error.message();
    let mut diagnostic = Diagnostic::new(message.lines().next().unwrap_or("invalid TOML"));
    if let Some(span) = error.span() {
        diagnostic = diagnostic.at(span);
    }
    // serde words it: unknown field `a`, expected one of `b`, `c`
    let mut quoted = message.split('`').skip(1).step_by(2);
    if (message.starts_with("unknown field") || message.starts_with("unknown variant"))
        && let Some(unknown) = quoted.next()
    {
        let allowed: Vec<&str> = quoted.collect();
        let what = if message.starts_with("unknown field") { "key" } else { "value" };
        diagnostic.title = format!("unknown {what} `{unknown}`");
        diagnostic.label = nearest(unknown, allowed.iter().copied())
            .first()
            .map(|name| format!("did you mean `{name}`?"));
        if !allowed.is_empty() {
            diagnostic.help = Some(format!("allowed here: {}", allowed.join(", ")));
        }
    }
    diagnostic
}

/// The names nearest to what was written, the best first; at most three, none when nothing is near.
pub fn nearest<'n>(written: &str, names: impl IntoIterator<Item = &'n str>) -> Vec<&'n str> {
    let written = written.to_ascii_lowercase();
    let mut scored: Vec<(f64, &str)> = names
        .into_iter()
        .map(|name| (strsim::jaro_winkler(&written, &name.to_ascii_lowercase()), name))
        .filter(|(score, _)| *score > 0.82)
        .collect();
    scored.sort_by(|left, right| right.0.total_cmp(&left.0).then(left.1.cmp(right.1)));
    scored.truncate(3);
    scored.into_iter().map(|(_, name)| name).collect()
}
