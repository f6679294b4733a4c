//! A model of a FortiOS device, as strict as the real one is known to be: it takes scripts line by line and refuses
//! unknown members, objects in use, mixed families, names that are too long or hold forbidden characters.

use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Attribute to values.
pub type Object = BTreeMap<String, Vec<String>>;
type Tables = BTreeMap<String, BTreeMap<String, Object>>;

/// What takes a script.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Kind {
    /// A device without VDOMs.
    #[default]
    Plain,
    /// A device with VDOMs, of which this one is looked at.
    Vdoms(&'static str),
    /// FortiManager, which has no `execute` and no `append`.
    Manager,
}

/// Where a script has got to on a device with VDOMs.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Scope {
    Outside,
    AmongVdoms,
    Vdom,
    Global,
}

impl Scope {
    /// Where a line between tables leads that enters or leaves a scope; none for any other line.
    fn after(self, line: &[&str], kind: Kind) -> Option<Result<Self, &'static str>> {
        let vdom = match kind {
            Kind::Vdoms(vdom) => Some(vdom),
            Kind::Plain | Kind::Manager => None,
        };
        Some(match (self, line) {
            (_, ["config", "vdom" | "global"]) if vdom.is_none() => Err("there are no VDOMs"),
            (Self::Outside, ["config", "vdom"]) => Ok(Self::AmongVdoms),
            (Self::Outside, ["config", "global"]) => Ok(Self::Global),
            // A device would make a new VDOM of a name that it does not know.
            (Self::AmongVdoms, ["edit", name]) if Some(*name) == vdom => Ok(Self::Vdom),
            (Self::AmongVdoms, ["edit", _]) => Err("another VDOM"),
            (Self::Vdom | Self::Global, ["end"]) => Ok(Self::Outside),
            (Self::AmongVdoms, _) => Err("no VDOM is entered"),
            (Self::Outside, ["config" | "execute", ..]) if vdom.is_some() => {
                Err("neither in a VDOM nor global")
            }
            _ => return None,
        })
    }
}

/// The configuration of one VDOM, with the global one that it shares.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Device {
    kind: Kind,
    pub tables: Tables,
    /// Policies in the order in which they match.
    pub order: Vec<String>,
    /// Every attribute that a script used: table, attribute, first value.
    pub used: BTreeSet<(String, String, String)>,
    /// How often an object is referred to, by the table it is looked up in.
    references: HashMap<(&'static str, String), i64>,
}

impl Device {
    /// A device with objects of others: a final deny, and an address in a group.
    pub fn with_foreign_objects(kind: Kind) -> Self {
        let mut device = Self::default();
        device
            .apply(
                "config firewall address\nedit \"tw\"\nset subnet 203.0.113.1 255.255.255.255\nnext\nedit \"all\"\n\
                 set subnet 0.0.0.0 0.0.0.0\nnext\nend\nconfig firewall addrgrp\nedit \"theirs\"\nset member \"tw\"\nnext\n\
                 end\nconfig firewall service custom\nedit \"ALL\"\nset tcp-portrange 1-65535\nnext\nend\n\
                 config firewall policy\nedit 900\nset name \"deny\"\nset srcintf \"any\"\nset dstintf \"any\"\n\
                 set srcaddr \"theirs\"\nset dstaddr \"all\"\nset service \"ALL\"\nset schedule \"always\"\n\
                 set action deny\nnext\nend\n",
            )
            .unwrap();
        device.used.clear();
        Self { kind, ..device }
    }

    pub fn table(&self, name: &str) -> BTreeMap<String, Object> {
        self.tables.get(name).cloned().unwrap_or_default()
    }

    /// Takes a script, or says which line is refused. A refusal inside a transaction leaves everything as it was.
    #[allow(clippy::too_many_lines, reason = "one arm a command")]
    pub fn apply(&mut self, script: &str) -> Result<(), String> {
        let mut draft = self.clone();
        let mut table: Option<String> = None;
        let mut object: Option<(String, Object)> = None;
        let mut transaction = false;
        let mut scope = Scope::Outside;
        for (number, line) in script.lines().enumerate() {
            let words = words(line)?;
            let refuse = |why: &str| Err(format!("line {}: {why}: {line}", number + 1));
            let texts: Vec<&str> = words.iter().map(String::as_str).collect();
            if texts.first().is_none_or(|word| word.starts_with('#')) {
                continue;
            }
            if table.is_none()
                && let Some(after) = scope.after(&texts, self.kind)
            {
                match after {
                    Err(why) => return refuse(why),
                    Ok(_) if transaction => return refuse("inside a transaction"),
                    Ok(after) => scope = after,
                }
                continue;
            }
            match texts.as_slice() {
                ["execute" | "append", ..] if self.kind == Kind::Manager => {
                    return refuse("unknown to FortiManager");
                }
                ["execute", "config-transaction", "start"] if table.is_none() && !transaction => {
                    transaction = true;
                }
                ["execute", "config-transaction", "commit"] if table.is_none() && transaction => {
                    transaction = false;
                }
                ["config", path @ ..] if table.is_none() => {
                    let path = path.join(" ");
                    let known = [
                        "firewall address",
                        "firewall address6",
                        "firewall addrgrp",
                        "firewall addrgrp6",
                        "firewall service custom",
                        "firewall policy",
                        "system external-resource",
                    ];
                    if !known.contains(&path.as_str()) {
                        return refuse("unknown table");
                    }
                    table = Some(path);
                }
                ["end"] if table.is_some() && object.is_none() => table = None,
                ["edit", key] if object.is_none() => {
                    let Some(table) = &table else { return refuse("edit outside of a table") };
                    if let Err(why) = fits(table, key) {
                        return refuse(&why);
                    }
                    if (table == "system external-resource" && key.starts_with("g-"))
                        != (scope == Scope::Global)
                    {
                        return refuse("`g-` marks the feeds that are global, and they alone");
                    }
                    let known = draft.tables.get(table).and_then(|table| table.get(*key));
                    object = Some(((*key).to_owned(), known.cloned().unwrap_or_default()));
                }
                ["set", attribute, values @ ..] if !values.is_empty() => {
                    let (Some(table), Some((_, fields))) = (&table, &mut object) else {
                        return refuse("set outside of an object");
                    };
                    let most = match *attribute {
                        "comment" | "comments" => 255,
                        "resource" => 511,
                        "name" => 35,
                        _ => 79,
                    };
                    if values.iter().any(|value| value.len() > most) {
                        return refuse("too long");
                    }
                    if values
                        .iter()
                        .any(|value| value.contains(['<', '>', '(', ')', '#', '\'', '?']))
                    {
                        return refuse("forbidden character");
                    }
                    // The values of addresses and lists are no enums: their count would be all that they add.
                    let free = ["subnet", "ip6", "member", "fqdn", "comment", "comments"];
                    let value = if free.contains(attribute) { "" } else { values[0] };
                    draft.used.insert((table.clone(), (*attribute).to_owned(), value.to_owned()));
                    fields.insert(
                        (*attribute).to_owned(),
                        values.iter().map(|value| (*value).to_owned()).collect(),
                    );
                }
                ["append", attribute, values @ ..] if !values.is_empty() => {
                    let Some((_, fields)) = &mut object else {
                        return refuse("append outside of an object");
                    };
                    let list = fields.entry((*attribute).to_owned()).or_default();
                    list.extend(values.iter().map(|value| (*value).to_owned()));
                }
                ["unset", attribute] => {
                    let (Some(table), Some((_, fields))) = (&table, &mut object) else {
                        return refuse("unset outside of an object");
                    };
                    draft.used.insert((table.clone(), (*attribute).to_owned(), String::new()));
                    fields.remove(*attribute);
                }
                ["next"] => {
                    let (Some(table), Some((key, fields))) = (&table, object.take()) else {
                        return refuse("next outside of an object");
                    };
                    if let Err(why) = draft.accepts(table, &key, &fields) {
                        return refuse(&why);
                    }
                    if table == "firewall policy" && !draft.order.contains(&key) {
                        draft.order.push(key.clone());
                    }
                    draft.refer(table, &fields, 1);
                    let old = draft.tables.entry(table.clone()).or_default().insert(key, fields);
                    if let Some(old) = old {
                        draft.refer(table, &old, -1);
                    }
                }
                ["delete", key] if object.is_none() => {
                    let Some(table) = &table else { return refuse("delete outside of a table") };
                    if draft.in_use(table, key) {
                        return refuse("in use");
                    }
                    match draft.tables.entry(table.clone()).or_default().remove(*key) {
                        Some(old) => draft.refer(table, &old, -1),
                        None => return refuse("no such object"),
                    }
                    if table == "firewall policy" {
                        draft.order.retain(|id| id != key);
                    }
                }
                ["move", id, "before", other] if table.as_deref() == Some("firewall policy") => {
                    if !draft.order.iter().any(|known| known == id) {
                        return refuse("no such policy");
                    }
                    draft.order.retain(|known| known != id);
                    let Some(place) = draft.order.iter().position(|known| known == other) else {
                        return refuse("no policy to move before");
                    };
                    draft.order.insert(place, (*id).to_owned());
                }
                _ => return refuse("not understood"),
            }
        }
        if table.is_some() || object.is_some() || transaction || scope != Scope::Outside {
            return Err("the script ends in the middle".to_owned());
        }
        *self = draft;
        Ok(())
    }

    fn has(&self, tables: &[&str], key: &str) -> bool {
        tables
            .iter()
            .any(|table| self.tables.get(*table).is_some_and(|table| table.contains_key(key)))
    }

    fn accepts(&self, table: &str, key: &str, fields: &Object) -> Result<(), String> {
        let list = |attribute: &str| fields.get(attribute).cloned().unwrap_or_default();
        let known = |attribute: &str, tables: &[&str]| match list(attribute)
            .iter()
            .find(|member| !self.has(tables, member))
        {
            Some(member) => Err(format!("{attribute}: no `{member}`")),
            None => Ok(()),
        };
        let v4 = ["firewall address", "firewall addrgrp", "system external-resource"];
        let v6 = ["firewall address6", "firewall addrgrp6", "system external-resource"];
        match table {
            "firewall addrgrp" | "firewall addrgrp6" => {
                let members = list("member");
                let distinct: BTreeSet<&String> = members.iter().collect();
                if members.is_empty() || members.len() > 300 || distinct.len() != members.len() {
                    return Err(format!("{} members, or one twice", members.len()));
                }
                if members.iter().any(|member| member == key) {
                    return Err("a member of itself".to_owned());
                }
                known("member", if table.ends_with('6') { &v6[..2] } else { &v4[..2] })
            }
            "firewall policy" => {
                known("srcaddr", &v4)?;
                known("dstaddr", &v4)?;
                known("srcaddr6", &v6)?;
                known("dstaddr6", &v6)?;
                known("service", &["firewall service custom"])?;
                for pair in [["srcaddr", "dstaddr"], ["srcaddr6", "dstaddr6"]] {
                    if list(pair[0]).is_empty() != list(pair[1]).is_empty() {
                        return Err("mixed families".to_owned());
                    }
                }
                if list("srcaddr").is_empty() == list("srcaddr6").is_empty() {
                    return Err("not one family".to_owned());
                }
                for needed in ["srcintf", "dstintf", "service", "schedule", "action", "name"] {
                    if list(needed).is_empty() {
                        return Err(format!("{needed} must be set"));
                    }
                }
                let policies = self.table("firewall policy");
                let twin = policies
                    .iter()
                    .find(|(id, other)| *id != key && other.get("name") == fields.get("name"));
                twin.map_or(Ok(()), |(id, _)| Err(format!("policy {id} has that name")))
            }
            _ => Ok(()),
        }
    }

    /// Counts what an object refers to, in or out.
    fn refer(&mut self, table: &str, fields: &Object, by: i64) {
        for (attribute, targets) in [
            ("member", if table.ends_with('6') { "6" } else { "4" }),
            ("srcaddr", "4"),
            ("dstaddr", "4"),
            ("srcaddr6", "6"),
            ("dstaddr6", "6"),
            ("service", "service"),
        ] {
            for name in fields.get(attribute).into_iter().flatten() {
                *self.references.entry((targets, name.clone())).or_default() += by;
            }
        }
    }

    fn in_use(&self, table: &str, key: &str) -> bool {
        let spaces: &[&'static str] = match table {
            "firewall address" | "firewall addrgrp" => &["4"],
            "firewall address6" | "firewall addrgrp6" => &["6"],
            "firewall service custom" => &["service"],
            "system external-resource" => &["4", "6"],
            _ => &[],
        };
        spaces.iter().any(|space| {
            self.references.get(&(*space, key.to_owned())).is_some_and(|count| *count > 0)
        })
    }
}

fn fits(table: &str, key: &str) -> Result<(), String> {
    if table == "firewall policy" {
        return match key.parse::<u32>() {
            Ok(id) if id > 0 => Ok(()),
            _ => Err("an id that appends".to_owned()),
        };
    }
    let most = if table == "system external-resource" { 35 } else { 79 };
    if key.is_empty() || key.len() > most || key.contains(['<', '>', '(', ')', '#', '\'', '"']) {
        return Err(format!("a name of {} characters, or with one that is not allowed", key.len()));
    }
    Ok(())
}

fn words(line: &str) -> Result<Vec<String>, String> {
    let mut words = Vec::new();
    let mut rest = line.trim();
    if rest.starts_with('#') {
        return Ok(vec!["#".to_owned()]);
    }
    while !rest.is_empty() {
        let (word, after) = if let Some(quoted) = rest.strip_prefix('"') {
            quoted.split_once('"').ok_or_else(|| format!("a quote is open: {line}"))?
        } else {
            rest.split_once(' ').unwrap_or((rest, ""))
        };
        words.push(word.to_owned());
        rest = after.trim_start();
    }
    Ok(words)
}
