//! Log lines: for people on a terminal, with fields for journald, as JSON otherwise.

use std::io::IsTerminal as _;

use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::{Layer, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Registry, fmt};

use crate::config::LogFormat;

/// Sets up where log lines go, for the life of the process. Says nothing when it was set up before.
pub fn start(format: LogFormat, level: LevelFilter) {
    // Other crates speak up only when something is wrong with them.
    let levels = Targets::new()
        .with_default(level.min(LevelFilter::WARN))
        .with_target(env!("CARGO_PKG_NAME"), level);
    let layer: Box<dyn Layer<Registry> + Send + Sync> = match chosen(format) {
        LogFormat::Journald => match tracing_journald::layer() {
            Ok(layer) => layer.with_filter(levels).boxed(),
            Err(_) => text().with_filter(levels).boxed(),
        },
        LogFormat::Json => fmt::layer()
            .json()
            .flatten_event(true)
            .with_writer(std::io::stderr)
            .with_filter(levels)
            .boxed(),
        LogFormat::Text | LogFormat::Auto => text().with_filter(levels).boxed(),
    };
    _ = tracing_subscriber::registry().with(layer).try_init();
}

fn text<S>()
-> fmt::Layer<S, fmt::format::DefaultFields, fmt::format::Format, fn() -> std::io::Stderr>
where
    S: tracing::Subscriber + for<'a> tracing_subscriber::registry::LookupSpan<'a>,
{
    fmt::layer()
        .with_target(false)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
}

fn chosen(format: LogFormat) -> LogFormat {
    match format {
        LogFormat::Auto if std::io::stderr().is_terminal() => LogFormat::Text,
        LogFormat::Auto if is_journal() => LogFormat::Journald,
        LogFormat::Auto => LogFormat::Json,
        chosen => chosen,
    }
}

/// Whether standard error leads to journald: then systemd has told its device and inode.
fn is_journal() -> bool {
    let Ok(told) = std::env::var("JOURNAL_STREAM") else { return false };
    let Ok(stat) = rustix::fs::fstat(std::io::stderr()) else { return false };
    told == format!("{}:{}", stat.st_dev, stat.st_ino)
}
