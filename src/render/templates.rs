//! The templates: built in, and overridden file by file from the user's folder.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use tera::{Context, Tera};

use super::RenderError;
use super::filters;
use crate::config::{Config, Dialect, nearest};

/// The built-in templates of every dialect: name and text.
const BY_DIALECT: &[&[(&str, &str)]] = &[
    super::nftables::TEMPLATES,
    super::iptables::TEMPLATES,
    super::list::TEMPLATES,
    super::panos::TEMPLATES,
    super::fortios::TEMPLATES,
    super::azure::TEMPLATES,
];

/// Every built-in template: its name and its text.
pub fn built_in() -> impl Iterator<Item = (&'static str, &'static str)> {
    BY_DIALECT.iter().copied().flatten().copied()
}

/// The built-in templates of a dialect.
fn templates_of(dialect: Dialect<'_>) -> &'static [(&'static str, &'static str)] {
    match dialect {
        Dialect::Nftables(_) => super::nftables::TEMPLATES,
        Dialect::Iptables(_) => super::iptables::TEMPLATES,
        Dialect::List(_) => super::list::TEMPLATES,
        Dialect::Panos(_) => super::panos::TEMPLATES,
        Dialect::Fortios(_) => super::fortios::TEMPLATES,
        Dialect::Azure(_) => super::azure::TEMPLATES,
        Dialect::Json(_) | Dialect::Custom(_) => &[],
    }
}

/// Compiled templates.
#[derive(Debug)]
pub struct Templates {
    tera: Tera,
    /// Which are the user's, for errors.
    overridden: BTreeMap<String, PathBuf>,
}

impl Templates {
    /// Compiles the templates of the dialects in use, and every one of the user's. Compiling all built-in ones would take
    /// longer than rendering a small rule set.
    pub fn load(config: &Config) -> Result<Self, RenderError> {
        let mut overridden = match config.templates_dir() {
            Some(folder) => user_files(&folder)?,
            None => BTreeMap::new(),
        };
        let mut sources: Vec<(String, String)> = Vec::new();
        let in_use: BTreeSet<&str> = config
            .targets
            .values()
            .flat_map(|target| target.get_ref().dialects())
            .flat_map(templates_of)
            .map(|(name, _)| *name)
            .collect();
        for (name, text) in built_in() {
            if !in_use.contains(name) && !overridden.contains_key(name) {
                continue;
            }
            let text = match overridden.get(name) {
                Some(path) => read(path)?,
                None => text.to_owned(),
            };
            sources.push((name.to_owned(), text));
        }
        for (target, settings) in &config.targets {
            let Some(custom) = &settings.get_ref().custom else { continue };
            let name = super::custom::template_name(target);
            let path = config.beside(&custom.template);
            sources.push((name.clone(), read(&path)?));
            overridden.insert(name, path);
        }
        let mut tera = Tera::new();
        // Firewall syntax is not HTML; each dialect escapes by its own rules.
        tera.autoescape_on(Vec::<&str>::new());
        filters::register(&mut tera);
        tera.add_raw_templates(sources).map_err(|error| {
            let message = error.to_string();
            let named = overridden
                .iter()
                .filter(|(name, _)| message.contains(name.as_str()))
                .max_by_key(|(name, _)| name.len());
            RenderError::Template {
                name: named.map_or_else(|| "(built in)".to_owned(), |(name, _)| name.clone()),
                from: named.map(|(_, path)| path.clone()),
                message,
            }
        })?;
        Ok(Self { tera, overridden })
    }

    /// Whether the user's template takes the place of the built-in one.
    pub(super) fn overrides(&self, name: &str) -> bool {
        self.overridden.contains_key(name)
    }

    /// Renders one template in memory.
    pub(super) fn render(&self, name: &str, context: &Context) -> Result<String, RenderError> {
        self.render_large(name, context, 1 << 10)
    }

    /// The same for a text that will have about so many bytes: one that grows from nothing to a megabyte is copied again and
    /// again, into memory that the kernel has yet to give.
    pub(super) fn render_large(
        &self,
        name: &str,
        context: &Context,
        bytes: usize,
    ) -> Result<String, RenderError> {
        let failed = |message: String| RenderError::Template {
            name: name.to_owned(),
            from: self.overridden.get(name).cloned(),
            message,
        };
        let mut text = Vec::with_capacity(bytes);
        self.tera.render_to(name, context, &mut text).map_err(|error| failed(error.to_string()))?;
        let mut text = String::from_utf8(text).map_err(|error| failed(error.to_string()))?;
        // Whatever a template does about white space, a text file ends with one newline.
        text.truncate(text.trim_end_matches('\n').len());
        text.push('\n');
        Ok(text)
    }
}

/// The files of the user's folder by template name. A file that takes the place of nothing is an error: it is most
/// likely misspelt, and the built-in template would be used without a word.
fn user_files(folder: &Path) -> Result<BTreeMap<String, PathBuf>, RenderError> {
    let unreadable = |path: &Path| {
        let path = path.to_owned();
        move |source| RenderError::TemplatesDir { path, source }
    };
    let mut files = BTreeMap::new();
    for dialect in std::fs::read_dir(folder).map_err(unreadable(folder))? {
        let dialect = dialect.map_err(unreadable(folder))?;
        let dialect_path = dialect.path();
        if hidden(&dialect_path) {
            continue;
        }
        if !dialect_path.is_dir() {
            return Err(unknown(dialect_path.clone(), &dialect.file_name().to_string_lossy()));
        }
        for file in std::fs::read_dir(&dialect_path).map_err(unreadable(&dialect_path))? {
            let path = file.map_err(unreadable(&dialect_path))?.path();
            if hidden(&path) {
                continue;
            }
            let part = |path: &Path| {
                path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
            };
            let name = format!("{}/{}", part(&dialect_path), part(&path));
            if !built_in().any(|(built_in, _)| built_in == name) {
                return Err(unknown(path, &name));
            }
            files.insert(name, path);
        }
    }
    Ok(files)
}

/// Editors and version control leave hidden files and backups behind.
fn hidden(path: &Path) -> bool {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    name.starts_with('.') || name.ends_with('~')
}

fn unknown(path: PathBuf, name: &str) -> RenderError {
    let near =
        nearest(name, built_in().map(|(name, _)| name)).first().map(|near| (*near).to_owned());
    RenderError::UnknownTemplate { path, near }
}

fn read(path: &Path) -> Result<String, RenderError> {
    let failed = |source| RenderError::TemplatesDir { path: path.to_owned(), source };
    let bytes = crate::os::files::read_bounded(path, 1 << 20)
        .map_err(|error| failed(std::io::Error::other(error.to_string())))?;
    String::from_utf8(bytes).map_err(|error| failed(std::io::Error::other(error)))
}
