//! A model of a PAN-OS candidate configuration: objects, references, and what the device refuses.
//!
//! It takes the commands of the configuration mode and `multi-config` documents, and keeps both in one form, so that what
//! they lead to can be compared. A command is refused on its own; a document is applied as a whole or not at all.

use std::collections::{BTreeMap, BTreeSet};

/// Attributes of one object: path and values.
pub(crate) type Attributes = BTreeMap<String, BTreeSet<String>>;

/// Kind and name: `address`, `address-group`, `service`, `tag`, `external-list`, `security`, `decryption`.
pub(crate) type Key = (String, String);

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Device {
    pub(crate) objects: BTreeMap<Key, Attributes>,
    /// The security rules from top to bottom.
    pub(crate) order: Vec<String>,
    /// What stands between `set` and the objects: ``, `vsys vsys2 `, `device-group edge `.
    pub(crate) scope: String,
    pub(crate) rulebase: String,
    pub(crate) xpath: String,
}

const PLAIN: [&str; 5] = ["address", "address-group", "service", "tag", "external-list"];
/// Attributes with several values; the others have one.
const LISTS: [&str; 9] =
    ["static", "tag", "from", "to", "source", "destination", "application", "service", "category"];
const SCALARS: [&str; 18] = [
    "comments",
    "ip-netmask",
    "fqdn",
    "dynamic filter",
    "protocol tcp port",
    "protocol udp port",
    "type ip url",
    "type ip recurring",
    "type ip certificate-profile",
    "type ip auth username",
    "action",
    "log-start",
    "log-end",
    "log-setting",
    "profile-setting group",
    "description",
    "type",
    "source-user",
];

impl Device {
    pub(crate) fn new() -> Self {
        Self {
            rulebase: "rulebase".to_owned(),
            xpath: "/config/devices/entry[@name='localhost.localdomain']/vsys/entry[@name='vsys1']"
                .to_owned(),
            ..Self::default()
        }
    }

    /// Runs a script line by line; the first refusal ends it.
    pub(crate) fn run(&mut self, script: &str) -> Result<(), String> {
        for line in script.lines() {
            self.command(line).map_err(|why| format!("`{line}`: {why}"))?;
        }
        Ok(())
    }

    fn command(&mut self, line: &str) -> Result<(), String> {
        let (verb, rest) = line.split_once(' ').ok_or("no command")?;
        let rest = rest.strip_prefix(self.scope.as_str()).ok_or("another scope")?;
        let words = words(rest)?;
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let (kind, words) = match words.as_slice() {
            [base, "security", "rules", rest @ ..] if *base == self.rulebase => ("security", rest),
            [base, "decryption", "rules", rest @ ..] if *base == self.rulebase => {
                ("decryption", rest)
            }
            [kind, rest @ ..] if PLAIN.contains(kind) => (*kind, rest),
            _ => return Err("unknown object".to_owned()),
        };
        let (name, words) = words.split_first().ok_or("no name")?;
        let key = (kind.to_owned(), (*name).to_owned());
        match verb {
            "set" => {
                let (path, values) = attribute(words)?;
                self.set(&key, &path, values)
            }
            "delete" if words.is_empty() => self.delete(&key),
            "delete" => {
                let (path, values) = attribute(words).or_else(|error| match words {
                    [path] if SCALARS.contains(path) => Ok(((*path).to_owned(), BTreeSet::new())),
                    _ => Err(error),
                })?;
                self.delete_values(&key, &path, &values)
            }
            "move" if kind == "security" => match words {
                [place @ ("top" | "bottom")] => self.relocate(name, place, None),
                [place @ ("before" | "after"), other] => self.relocate(name, place, Some(other)),
                _ => Err("unknown place".to_owned()),
            },
            _ => Err("unknown command".to_owned()),
        }
    }

    fn set(&mut self, key: &Key, path: &str, values: BTreeSet<String>) -> Result<(), String> {
        self.check_name(key)?;
        for value in &values {
            self.check_reference(key, path, value)?;
        }
        if key.0 == "security" && !self.objects.contains_key(key) {
            self.order.push(key.1.clone());
        }
        let attributes = self.objects.entry(key.clone()).or_default();
        if LISTS.contains(&path) {
            attributes.entry(path.to_owned()).or_default().extend(values);
        } else {
            attributes.insert(path.to_owned(), values);
        }
        Ok(())
    }

    fn check_name(&self, key: &Key) -> Result<(), String> {
        let limit = if key.0 == "tag" { 127 } else { 63 };
        let inside = |c: char| c.is_ascii_alphanumeric() || "_.- ".contains(c);
        if key.1.len() > limit
            || !key.1.starts_with(|c: char| c.is_ascii_alphanumeric())
            || !key.1.chars().all(inside)
        {
            return Err(format!("bad name {}", key.1));
        }
        let shared = ["address", "address-group", "external-list"];
        let taken = |kind: &&&str| {
            **kind != key.0 && self.objects.contains_key(&((**kind).to_owned(), key.1.clone()))
        };
        if shared.contains(&key.0.as_str()) && shared.iter().any(|kind| taken(&kind)) {
            return Err(format!("the name {} is taken", key.1));
        }
        Ok(())
    }

    fn has(&self, kind: &str, name: &str) -> bool {
        self.objects.contains_key(&(kind.to_owned(), name.to_owned()))
    }

    fn check_reference(&self, key: &Key, path: &str, value: &str) -> Result<(), String> {
        let rule = matches!(key.0.as_str(), "security" | "decryption");
        let there = match path {
            "tag" => self.has("tag", value),
            "static" => {
                value != key.1 && (self.has("address", value) || self.has("address-group", value))
            }
            "source" | "destination" if rule => {
                value == "any"
                    || ["address", "address-group", "external-list"]
                        .iter()
                        .any(|kind| self.has(kind, value))
            }
            "service" if rule => value == "any" || self.has("service", value),
            _ => true,
        };
        if there { Ok(()) } else { Err(format!("{path} {value} does not exist")) }
    }

    /// Who names this object.
    fn users(&self, key: &Key) -> Vec<&Key> {
        let paths: &[&str] = match key.0.as_str() {
            "address" | "address-group" | "external-list" => &["static", "source", "destination"],
            "service" => &["service"],
            "tag" => &["tag"],
            _ => &[],
        };
        self.objects
            .iter()
            .filter(|(_, attributes)| {
                paths
                    .iter()
                    .any(|path| attributes.get(*path).is_some_and(|values| values.contains(&key.1)))
            })
            .map(|(user, _)| user)
            .collect()
    }

    fn delete(&mut self, key: &Key) -> Result<(), String> {
        if !self.objects.contains_key(key) {
            return Err("it does not exist".to_owned());
        }
        if let Some(user) = self.users(key).first() {
            return Err(format!("it is in use by {user:?}"));
        }
        self.objects.remove(key);
        if key.0 == "security" {
            self.order.retain(|name| *name != key.1);
        }
        Ok(())
    }

    fn delete_values(
        &mut self,
        key: &Key,
        path: &str,
        values: &BTreeSet<String>,
    ) -> Result<(), String> {
        let attributes = self.objects.get_mut(key).ok_or("it does not exist")?;
        let held = attributes.get_mut(path).ok_or("it has no such attribute")?;
        if values.is_empty() {
            attributes.remove(path);
            return Ok(());
        }
        for value in values {
            if !held.remove(value) {
                return Err(format!("{path} has no {value}"));
            }
        }
        if held.is_empty() {
            return Err(format!("{path} would be empty"));
        }
        Ok(())
    }

    fn relocate(&mut self, name: &str, place: &str, other: Option<&str>) -> Result<(), String> {
        let from = self.order.iter().position(|rule| rule == name).ok_or("no such rule")?;
        if other == Some(name) {
            return Err("before or after itself".to_owned());
        }
        let rule = self.order.remove(from);
        let at = |order: &[String]| order.iter().position(|rule| Some(rule.as_str()) == other);
        let to = match place {
            "top" => Some(0),
            "bottom" => Some(self.order.len()),
            "before" => at(&self.order),
            _ => at(&self.order).map(|index| index + 1),
        };
        let Some(to) = to else {
            self.order.insert(from, rule);
            return Err(format!("no rule {other:?}"));
        };
        self.order.insert(to, rule);
        Ok(())
    }

    /// Applies a `multi-config` document: all of it or nothing.
    pub(crate) fn apply(&mut self, document: &str) -> Result<(), String> {
        let root = Element::parse(document)?;
        if root.name != "multi-config" || !root.attributes.contains_key("version") {
            return Err(format!("the root is {}", root.name));
        }
        let mut next = self.clone();
        for step in &root.children {
            let xpath = step.attributes.get("xpath").ok_or("a step without xpath")?;
            next.step(step, xpath).map_err(|why| format!("{} {xpath}: {why}", step.name))?;
        }
        *self = next;
        Ok(())
    }

    fn step(&mut self, step: &Element, xpath: &str) -> Result<(), String> {
        let rest = xpath.strip_prefix(&format!("{}/", self.xpath)).ok_or("another place")?;
        let rules = |kind: &str| format!("{}/{kind}/rules", self.rulebase);
        let kinds = PLAIN.iter().map(|kind| ((*kind).to_owned(), (*kind).to_owned()));
        let rule_kinds = ["security", "decryption"].map(|kind| (rules(kind), kind.to_owned()));
        let (container, kind) = kinds
            .chain(rule_kinds)
            .find(|(container, _)| {
                rest == container || rest.starts_with(&format!("{container}/entry["))
            })
            .ok_or("unknown place")?;
        let name = rest[container.len()..]
            .strip_prefix("/entry[@name='")
            .map(|name| {
                name.strip_suffix("']").ok_or("unknown path below an entry").map(str::to_owned)
            })
            .transpose()?;
        match (step.name.as_str(), name) {
            ("set", None) => {
                for entry in &step.children {
                    self.merge(&kind, entry)?;
                }
                Ok(())
            }
            ("edit", Some(name)) => {
                let [entry] = step.children.as_slice() else { return Err("one entry".to_owned()) };
                if entry.attributes.get("name") != Some(&name) {
                    return Err("the entry has another name".to_owned());
                }
                // The place in the rulebase stays.
                if let Some(attributes) = self.objects.get_mut(&(kind.clone(), name)) {
                    attributes.clear();
                }
                self.merge(&kind, entry)
            }
            ("delete", Some(name)) => self.delete(&(kind, name)),
            ("move", Some(name)) if kind == "security" => {
                let place = step.attributes.get("where").ok_or("no where")?;
                self.relocate(&name, place, step.attributes.get("dst").map(String::as_str))
            }
            (verb, _) => Err(format!("{verb} cannot be here")),
        }
    }

    fn merge(&mut self, kind: &str, entry: &Element) -> Result<(), String> {
        let name = entry.attributes.get("name").ok_or("an entry without name")?;
        let key = (kind.to_owned(), name.clone());
        let mut flat = Attributes::new();
        for child in &entry.children {
            child.flatten("", &mut flat);
        }
        for (path, values) in flat {
            if !LISTS.contains(&path.as_str()) && !SCALARS.contains(&path.as_str()) {
                return Err(format!("unknown attribute {path}"));
            }
            if values.is_empty() {
                return Err(format!("{path} is empty"));
            }
            self.set(&key, &path, values)?;
        }
        Ok(())
    }

    /// The objects whose name starts so, and their tag.
    pub(crate) fn ours(&self, prefix: &str, tag: &str) -> BTreeMap<Key, Attributes> {
        let ours =
            |key: &Key| key.1.starts_with(prefix) || *key == ("tag".to_owned(), tag.to_owned());
        self.objects
            .iter()
            .filter(|(key, _)| ours(key))
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect()
    }

    /// The addresses and hostnames that a source or destination stands for.
    pub(crate) fn expand(&self, name: &str) -> BTreeSet<String> {
        let get = |kind: &str| self.objects.get(&(kind.to_owned(), name.to_owned()));
        if let Some(address) = get("address") {
            return ["ip-netmask", "fqdn"]
                .iter()
                .filter_map(|path| address.get(*path))
                .flatten()
                .cloned()
                .collect();
        }
        let Some(group) = get("address-group") else {
            return BTreeSet::from([format!("list {name}")]);
        };
        if let Some(filter) = group.get("dynamic filter") {
            let tag = filter
                .iter()
                .next()
                .map(|filter| filter.trim_matches('\'').to_owned())
                .unwrap_or_default();
            return self
                .objects
                .iter()
                .filter(|(key, attributes)| {
                    key.0 == "address"
                        && attributes.get("tag").is_some_and(|tags| tags.contains(&tag))
                })
                .flat_map(|(key, _)| self.expand(&key.1))
                .collect();
        }
        group.get("static").into_iter().flatten().flat_map(|member| self.expand(member)).collect()
    }
}

/// The path of an attribute and its values.
fn attribute(words: &[&str]) -> Result<(String, BTreeSet<String>), String> {
    for length in (1..=words.len().min(4)).rev() {
        let path = words[..length].join(" ");
        let values = &words[length..];
        let list = LISTS.contains(&path.as_str());
        if values.is_empty() || !(list || SCALARS.contains(&path.as_str())) {
            continue;
        }
        let values: Vec<&str> = match values {
            ["[", inside @ .., "]"] if list && !inside.is_empty() => inside.to_vec(),
            [one] => vec![one],
            several if path == "type ip recurring" => {
                return Ok((path, BTreeSet::from([several.join(" ")])));
            }
            _ => return Err(format!("{path} cannot have these values")),
        };
        if values.iter().any(|value| ["[", "]"].contains(value)) {
            return Err("brackets".to_owned());
        }
        return Ok((path, values.into_iter().map(str::to_owned).collect()));
    }
    Err("unknown attribute".to_owned())
}

/// Words of a command; quotes hold spaces together.
fn words(text: &str) -> Result<Vec<String>, String> {
    let mut words = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let (word, after) = match rest.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"').ok_or("an open quote")?,
            None => rest.split_once(' ').unwrap_or((rest, "")),
        };
        words.push(word.to_owned());
        rest = after.trim_start();
    }
    Ok(words)
}

/// An element of a document.
#[derive(Debug, Default)]
struct Element {
    name: String,
    attributes: BTreeMap<String, String>,
    children: Vec<Element>,
    text: String,
}

impl Element {
    fn parse(text: &str) -> Result<Self, String> {
        let mut stack = vec![Self::default()];
        let mut rest = text;
        while let Some(open) = rest.find('<') {
            let end = open + rest[open..].find('>').ok_or("an open tag")?;
            let top = stack.last_mut().ok_or("too many ends")?;
            top.text.push_str(&unescaped(rest[..open].trim())?);
            let tag = &rest[open + 1..end];
            rest = &rest[end + 1..];
            if let Some(name) = tag.strip_prefix('/') {
                let done = stack.pop().ok_or("too many ends")?;
                if done.name != name {
                    return Err(format!("{} ends as {name}", done.name));
                }
                stack.last_mut().ok_or("too many ends")?.children.push(done);
                continue;
            }
            let (tag, empty) = tag.strip_suffix('/').map_or((tag, false), |tag| (tag, true));
            let (name, mut attributes) = tag.split_once(' ').unwrap_or((tag, ""));
            let mut element = Self { name: name.to_owned(), ..Self::default() };
            while let Some((key, after)) = attributes.trim_start().split_once("=\"") {
                let (value, after) = after.split_once('"').ok_or("an open quote")?;
                element.attributes.insert(key.to_owned(), unescaped(value)?);
                attributes = after;
            }
            if empty {
                stack.last_mut().ok_or("too many ends")?.children.push(element);
            } else {
                stack.push(element);
            }
        }
        match stack.as_mut_slice() {
            [root] if root.children.len() == 1 && rest.trim().is_empty() => {
                Ok(root.children.remove(0))
            }
            _ => Err("not one whole document".to_owned()),
        }
    }

    fn flatten(&self, above: &str, into: &mut Attributes) {
        let path =
            if above.is_empty() { self.name.clone() } else { format!("{above} {}", self.name) };
        if self.name == "member" {
            into.entry(above.to_owned()).or_default().insert(self.text.clone());
        } else if self.children.is_empty() && self.text.is_empty() && !above.is_empty() {
            into.entry(above.to_owned()).or_default().insert(self.name.clone());
        } else if self.children.is_empty() {
            into.entry(path).or_default().insert(self.text.clone());
        } else {
            for child in &self.children {
                child.flatten(&path, into);
            }
        }
    }
}

fn unescaped(text: &str) -> Result<String, String> {
    let plain = text.replace("&amp;", "\u{1}");
    if plain.contains('&') {
        return Err(format!("an entity in {text}"));
    }
    Ok(plain.replace('\u{1}', "&"))
}
