//! The configuration as tables and settings, read from the sources.
#![allow(clippy::needless_for_each, reason = "reads as it is written")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use syn::punctuated::Punctuated;
use syn::{Attribute, Expr, Fields, GenericArgument, Item, Lit, Meta, PathArguments, Token, Type};

/// Everything that may stand in a configuration.
pub(crate) struct Reference {
    /// The tables, each before those in it.
    pub(crate) tables: Vec<Table>,
    /// The kinds of text that values are of, with what is said about them.
    pub(crate) texts: BTreeMap<String, String>,
}

/// A table.
pub(crate) struct Table {
    /// How it is written: `targets.NAME.nftables`; empty for the top of the file.
    pub(crate) path: String,
    /// What it is.
    pub(crate) about: String,
    /// Its keys that are no tables.
    pub(crate) settings: Vec<Setting>,
}

/// A key with a value.
pub(crate) struct Setting {
    /// The key.
    pub(crate) key: String,
    /// What its value is, in words.
    pub(crate) value: String,
    /// Whether it must be there.
    pub(crate) required: bool,
    /// What it is for.
    pub(crate) about: String,
    /// The values that it can have, with what each is.
    pub(crate) choices: Vec<(String, String)>,
}

impl Reference {
    /// Reads the sources in these files and folders.
    pub(crate) fn read(places: &[&PathBuf]) -> Self {
        let mut items = BTreeMap::new();
        for place in places {
            collect(place, &mut items);
        }
        let mut reader =
            Reader { items, tables: Vec::new(), texts: BTreeMap::new(), seen: BTreeSet::new() };
        reader.table("", "Config", "");
        Self { tables: reader.tables, texts: reader.texts }
    }
}

fn collect(place: &Path, items: &mut BTreeMap<String, Item>) {
    if place.is_dir() {
        let mut inside: Vec<PathBuf> =
            fs::read_dir(place).unwrap().map(|entry| entry.unwrap().path()).collect();
        inside.sort();
        inside.iter().for_each(|place| collect(place, items));
        return;
    }
    let file = syn::parse_file(&fs::read_to_string(place).unwrap()).unwrap();
    for item in file.items {
        let name = match &item {
            Item::Struct(item) => item.ident.to_string(),
            Item::Enum(item) => item.ident.to_string(),
            _ => continue,
        };
        assert!(items.insert(name.clone(), item).is_none(), "two types are called {name}");
    }
}

struct Reader {
    items: BTreeMap<String, Item>,
    tables: Vec<Table>,
    texts: BTreeMap<String, String>,
    seen: BTreeSet<(String, String)>,
}

/// What a type in the sources means for the writer of a configuration.
enum Value {
    /// A value, in words, and its choices.
    Plain(String, Vec<(String, String)>),
    /// A table of its own, and whether each entry has a name that the user chooses.
    Table { of: String, named: bool, many: bool },
}

impl Reader {
    fn table(&mut self, path: &str, name: &str, field_about: &str) {
        if !self.seen.insert((path.to_owned(), name.to_owned())) {
            return;
        }
        let Some(Item::Struct(item)) = self.items.get(name).cloned() else {
            panic!("{name} is no structure of the configuration")
        };
        let style = Style::of(&item.attrs);
        let Fields::Named(fields) = &item.fields else { panic!("{name} has no named fields") };
        let (mut settings, mut inside) = (Vec::new(), Vec::new());
        for field in &fields.named {
            let own = Style::of(&field.attrs);
            if own.skip {
                continue;
            }
            let ident = field.ident.as_ref().unwrap().to_string();
            let key = own.rename.clone().unwrap_or_else(|| style.cased(&ident));
            let about = about(&field.attrs);
            let (value, optional) = self.value(&field.ty);
            match value {
                Value::Plain(value, choices) => settings.push(Setting {
                    key,
                    value,
                    required: !(optional || own.default || style.default),
                    about,
                    choices,
                }),
                Value::Table { of, named, many } => {
                    let mut below = if path.is_empty() { key } else { format!("{path}.{key}") };
                    if named {
                        below.push_str(".NAME");
                    }
                    if many {
                        below = format!("[{below}]");
                    }
                    inside.push((below, of, about));
                }
            }
        }
        let described = about_type(&item.attrs, field_about);
        self.tables.push(Table { path: path.to_owned(), about: described, settings });
        for (path, of, about) in inside {
            self.table(&path, &of, &about);
        }
    }

    /// What a type means, and whether it may be left out.
    fn value(&mut self, kind: &Type) -> (Value, bool) {
        let Type::Path(kind) = kind else { panic!("a field of a type that has no path") };
        let last = kind.path.segments.last().unwrap();
        let arguments: Vec<&Type> = match &last.arguments {
            PathArguments::AngleBracketed(inside) => inside
                .args
                .iter()
                .filter_map(|argument| match argument {
                    GenericArgument::Type(kind) => Some(kind),
                    _ => None,
                })
                .collect(),
            _ => Vec::new(),
        };
        let name = last.ident.to_string();
        match (name.as_str(), arguments.as_slice()) {
            ("Option", [inner]) => (self.value(inner).0, true),
            ("Spanned" | "Box" | "Arc", [inner]) => self.value(inner),
            ("Vec" | "BTreeSet", [inner]) => match self.value(inner).0 {
                Value::Plain(of, choices) => (Value::Plain(format!("list: {of}"), choices), false),
                Value::Table { of, named, .. } => (Value::Table { of, named, many: true }, false),
            },
            ("BTreeMap", [key, inner]) => {
                let named = self.label(key);
                match self.value(inner).0 {
                    Value::Plain(of, choices) => {
                        (Value::Plain(format!("table: {named} = {of}"), choices), false)
                    }
                    Value::Table { of, many, .. } => {
                        (Value::Table { of, named: true, many }, false)
                    }
                }
            }
            _ => (self.named(&name), false),
        }
    }

    fn label(&mut self, kind: &Type) -> String {
        match self.value(kind).0 {
            Value::Plain(label, _) => label,
            Value::Table { of, .. } => of,
        }
    }

    fn named(&mut self, name: &str) -> Value {
        let plain = |text: &str| Value::Plain(text.to_owned(), Vec::new());
        match name {
            "bool" => return plain("true or false"),
            "u8" | "u16" | "u32" | "u64" | "usize" | "i16" | "i32" | "i64" | "NonZeroU16"
            | "NonZeroU32" | "NonZeroUsize" => return plain("number"),
            "f32" | "f64" => return plain("number with a fraction"),
            "String" | "str" => return plain("text"),
            "PathBuf" => return plain("path"),
            "SocketAddr" => return plain("address:port"),
            "IpAddr" => return plain("address"),
            "Url" => return plain("URL"),
            _ => {}
        }
        match self.items.get(name).cloned() {
            Some(Item::Struct(item))
                if matches!(item.fields, Fields::Named(_)) && !Style::of(&item.attrs).text =>
            {
                Value::Table { of: name.to_owned(), named: false, many: false }
            }
            Some(Item::Enum(item)) if !Style::of(&item.attrs).text => {
                let style = Style::of(&item.attrs);
                let units =
                    item.variants.iter().all(|variant| matches!(variant.fields, Fields::Unit));
                if !units {
                    return self.text(name, &item.attrs);
                }
                let choices = item
                    .variants
                    .iter()
                    .map(|variant| {
                        let own = Style::of(&variant.attrs);
                        let written = own
                            .rename
                            .unwrap_or_else(|| style.cased_variant(&variant.ident.to_string()));
                        (written, about(&variant.attrs))
                    })
                    .collect();
                Value::Plain("one of".to_owned(), choices)
            }
            Some(Item::Struct(item)) => self.text(name, &item.attrs),
            Some(Item::Enum(item)) => self.text(name, &item.attrs),
            // A type of another room or crate, written as text.
            _ => plain(&words(name)),
        }
    }

    /// A kind of text, which is described once for all.
    fn text(&mut self, name: &str, attributes: &[Attribute]) -> Value {
        let label = words(name);
        self.texts.insert(label.clone(), about(attributes));
        Value::Plain(label, Vec::new())
    }
}

/// `TagSelector` in words: tag selector.
fn words(name: &str) -> String {
    kebab(name).replace('-', " ")
}

fn kebab(name: &str) -> String {
    let mut text = String::new();
    for (index, letter) in name.char_indices() {
        if letter.is_ascii_uppercase() && index > 0 {
            text.push('-');
        }
        text.push(letter.to_ascii_lowercase());
    }
    text.replace('_', "-")
}

/// What serde is told about a type or field.
#[derive(Default)]
struct Style {
    rename: Option<String>,
    rename_all: Option<String>,
    default: bool,
    skip: bool,
    text: bool,
}

impl Style {
    fn of(attributes: &[Attribute]) -> Self {
        let mut style = Self::default();
        for attribute in attributes.iter().filter(|attribute| attribute.path().is_ident("serde")) {
            let parser = Punctuated::<Meta, Token![,]>::parse_terminated;
            for meta in attribute.parse_args_with(parser).unwrap() {
                let key = meta.path().get_ident().map(ToString::to_string).unwrap_or_default();
                match key.as_str() {
                    "rename" => style.rename = value_of(&meta),
                    "rename_all" => style.rename_all = value_of(&meta),
                    "default" => style.default = true,
                    "skip" => style.skip = true,
                    "try_from" => style.text = true,
                    _ => {}
                }
            }
        }
        style
    }

    fn cased(&self, field: &str) -> String {
        if self.rename_all.as_deref() == Some("kebab-case") {
            field.replace('_', "-")
        } else {
            field.to_owned()
        }
    }

    fn cased_variant(&self, variant: &str) -> String {
        match self.rename_all.as_deref() {
            Some("kebab-case") => kebab(variant),
            Some("lowercase") => variant.to_lowercase(),
            _ => variant.to_owned(),
        }
    }
}

fn value_of(meta: &Meta) -> Option<String> {
    let Meta::NameValue(pair) = meta else { return None };
    text_of(&pair.value)
}

fn text_of(value: &Expr) -> Option<String> {
    match value {
        Expr::Lit(literal) => match &literal.lit {
            Lit::Str(text) => Some(text.value()),
            _ => None,
        },
        _ => None,
    }
}

/// The doc comment, its paragraphs as one line each.
fn about(attributes: &[Attribute]) -> String {
    let lines = attributes.iter().filter(|attribute| attribute.path().is_ident("doc")).filter_map(
        |attribute| match &attribute.meta {
            Meta::NameValue(pair) => text_of(&pair.value),
            _ => None,
        },
    );
    let mut text = String::new();
    for line in lines {
        match line.trim() {
            "" => text.push('\n'),
            line => {
                if !text.is_empty() && !text.ends_with('\n') {
                    text.push(' ');
                }
                text.push_str(line);
            }
        }
    }
    // Links between items of the code lead nowhere here.
    text.replace("[`", "`").replace("`]", "`")
}

/// What is said about a table: by its type, or by the field if the type says only what it is called.
fn about_type(attributes: &[Attribute], field: &str) -> String {
    let own = about(attributes);
    // "`[serve.tls]`: the certificate" repeats the headline.
    let own = match own.split_once("`: ") {
        Some((head, rest)) if head.starts_with("`[") => rest.to_owned(),
        _ => own,
    };
    if own.starts_with("`[") || own.is_empty() { field.to_owned() } else { own }
}
