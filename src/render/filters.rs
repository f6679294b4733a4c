#![expect(clippy::needless_pass_by_value, reason = "the signature that Tera wants")]
//! Filters for templates.
//!
//! Prefixes reach a template as packed text, one a line, because a list of 90,000 objects takes fifty times the memory;
//! [`each`] turns every line into what the dialect wants.

use std::fmt::Write as _;
use std::net::Ipv4Addr;
use std::sync::OnceLock;

use ipnet::IpNet;
use tera::{Error, Kwargs, State, Tera, TeraResult, Value};

/// Registers all filters.
pub(super) fn register(tera: &mut Tera) {
    tera.register_filter("each", each);
    tera.register_filter("lines", lines);
    tera.register_filter("braces", braces);
    tera.register_filter("fit", fit);
    tera.register_filter("sh", sh);
    tera.register_filter("json", json);
    tera.register_filter("bicep", bicep);
    tera.register_filter("hcl", hcl);
}

/// Joins `prefix`, the name and `suffix` so that `limit` characters hold; what is too long is cut, and told apart by a
/// digest of the name.
fn fit(name: &str, kwargs: Kwargs, _: &State<'_>) -> TeraResult<String> {
    let prefix: &str = kwargs.get("prefix")?.unwrap_or("");
    let suffix: &str = kwargs.get("suffix")?.unwrap_or("");
    let limit: usize = kwargs.must_get("limit")?;
    if !name.is_ascii() || prefix.len() + suffix.len() + 8 > limit {
        return Err(Error::message("`fit` needs an ASCII name, and room for 8 characters of it"));
    }
    Ok(super::naming::fit(prefix, name, suffix, limit))
}

/// A text as one word of a POSIX shell.
fn sh(text: &str, _: Kwargs, _: &State<'_>) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}

/// A text as a JSON string.
fn json(text: &str, _: Kwargs, _: &State<'_>) -> String {
    serde_json::Value::from(text).to_string()
}

/// A text as a Bicep string: no interpolation.
fn bicep(text: &str, _: Kwargs, _: &State<'_>) -> String {
    let escaped = text
        .replace('\\', "\\\\")
        .replace('\'', "\\'")
        .replace("${", "\\${")
        .replace('\n', "\\n")
        .replace('\r', "\\r")
        .replace('\t', "\\t");
    format!("'{escaped}'")
}

/// A text as a string of Terraform's language: no interpolation, no directive.
fn hcl(text: &str, _: Kwargs, _: &State<'_>) -> String {
    let escaped = text
        .replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace("${", "$${")
        .replace("%{", "%%{")
        .replace('\n', "\\n")
        .replace('\r', "\\r")
        .replace('\t', "\\t");
    format!("\"{escaped}\"")
}

/// Writes `text` for every prefix of packed text. Placeholders: `{prefix}`, `{address}`, `{length}`, `{netmask}`,
/// `{wildcard}` (the inverted mask of Cisco), `{first}`, `{last}` and `{name}` (a name for the prefix in letters, digits,
/// `.`, `-`, `_`; different for different prefixes). `between` goes between two, not behind the last.
fn each(packed: &str, kwargs: Kwargs, _: &State<'_>) -> TeraResult<String> {
    let text: &str = kwargs.must_get("text")?;
    let between: &str = kwargs.get("between")?.unwrap_or("");
    let pieces = pieces(text)?;
    // No prefix is written with fewer bytes than `::/0` and its newline; most have three times as many.
    let lines = packed.len() / 12 + 1;
    let mut out = String::with_capacity(packed.len() + lines * (text.len() + between.len()));
    for (index, line) in packed.lines().enumerate() {
        if index > 0 {
            out.push_str(between);
        }
        write_pieces(&mut out, &pieces, line)?;
    }
    Ok(out)
}

/// The lines of packed text as a list, for templates that need more than [`each`].
fn lines(packed: &str, _: Kwargs, _: &State<'_>) -> Value {
    Value::from(packed.lines().map(Value::normal_string).collect::<Vec<_>>())
}

/// Writes a list as nftables writes a set: one element bare, several in braces.
fn braces(list: Vec<Value>, _: Kwargs, _: &State<'_>) -> TeraResult<String> {
    let texts: Vec<&str> = list.iter().filter_map(Value::as_str).collect();
    match texts.as_slice() {
        [] => Err(Error::message("`braces` needs a list with at least one text")),
        [one] => Ok((*one).to_owned()),
        several => Ok(format!("{{ {} }}", several.join(", "))),
    }
}

enum Piece<'t> {
    Text(&'t str),
    Prefix,
    Address,
    Length,
    Netmask,
    Wildcard,
    First,
    Last,
    Name,
}

fn pieces(text: &str) -> TeraResult<Vec<Piece<'_>>> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some(open) = rest.find('{') {
        let Some(close) = rest[open..].find('}').map(|close| open + close) else { break };
        let piece = match &rest[open + 1..close] {
            "prefix" => Piece::Prefix,
            "address" => Piece::Address,
            "length" => Piece::Length,
            "netmask" => Piece::Netmask,
            "wildcard" => Piece::Wildcard,
            "first" => Piece::First,
            "last" => Piece::Last,
            "name" => Piece::Name,
            other => {
                return Err(Error::message(format!(
                    "`each` knows no placeholder {{{other}}}; there are prefix, address, length, netmask, wildcard, \
                     first, last and name"
                )));
            }
        };
        pieces.push(Piece::Text(&rest[..open]));
        pieces.push(piece);
        rest = &rest[close + 1..];
    }
    pieces.push(Piece::Text(rest));
    Ok(pieces)
}

fn write_pieces(out: &mut String, pieces: &[Piece<'_>], line: &str) -> TeraResult<()> {
    let (address, length) = halves(line);
    let parsed = || {
        line.parse::<IpNet>().map_err(|_| Error::message(format!("`each`: `{line}` is no prefix")))
    };
    for piece in pieces {
        match piece {
            Piece::Text(text) => out.push_str(text),
            Piece::Prefix => out.push_str(line),
            Piece::Address => out.push_str(address),
            Piece::Length => out.push_str(length),
            Piece::Name => push_name(out, line),
            Piece::Netmask => match v4_mask(address, length) {
                Some(mask) => out.push_str(mask),
                None => _ = write!(out, "{}", parsed()?.netmask()),
            },
            Piece::Wildcard => _ = write!(out, "{}", parsed()?.hostmask()),
            Piece::First => _ = write!(out, "{}", parsed()?.network()),
            Piece::Last => _ = write!(out, "{}", parsed()?.broadcast()),
        }
    }
    Ok(())
}

/// Address and length. Looked for from the end, where the length has three digits at most: there are tens of thousands of lines.
fn halves(line: &str) -> (&str, &str) {
    let slash = line.bytes().rposition(|byte| byte == b'/');
    slash.map_or((line, ""), |slash| (&line[..slash], &line[slash + 1..]))
}

/// Writes the name of a prefix: letters, digits, `.`, `-` and `_`; different for different prefixes.
pub(super) fn push_name(out: &mut String, line: &str) {
    let (address, length) = halves(line);
    // A colon stands among the first five characters or nowhere.
    if address.bytes().take(5).any(|byte| byte == b':') {
        out.extend(address.chars().map(|character| if character == ':' { '-' } else { character }));
    } else {
        out.push_str(address);
    }
    out.push('_');
    out.push_str(length);
}

/// The mask of an IPv4 prefix without parsing it: tens of thousands of objects have one each.
fn v4_mask(address: &str, length: &str) -> Option<&'static str> {
    static MASKS: OnceLock<Vec<String>> = OnceLock::new();
    let length: usize = length.parse().ok()?;
    let mask = |length: u32| {
        Ipv4Addr::from_bits(u32::MAX.checked_shl(32 - length).unwrap_or(0)).to_string()
    };
    let masks = MASKS.get_or_init(|| (0..=32).map(mask).collect());
    if address.contains(':') { None } else { masks.get(length).map(String::as_str) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tera::Context;

    fn rendered(template: &str, packed: &str) -> TeraResult<String> {
        let mut tera = Tera::new();
        register(&mut tera);
        tera.add_raw_template("t", template)?;
        let mut context = Context::new();
        context.insert("p", packed);
        context.insert("many", &["a", "b"]);
        context.insert("one", &["a"]);
        context.insert("none", &Vec::<String>::new());
        tera.render("t", &context)
    }

    #[test]
    fn each_prefix_is_written_by_the_pattern() {
        let packed = "192.0.2.0/25\n2001:db8::/64\n";
        let template =
            r#"{{ p | each(text="{name} {address} {length} {netmask} {last}", between=", ") }}"#;
        assert_eq!(
            rendered(template, packed).unwrap(),
            "192.0.2.0_25 192.0.2.0 25 255.255.255.128 192.0.2.127, \
             2001-db8--_64 2001:db8:: 64 ffff:ffff:ffff:ffff:: 2001:db8::ffff:ffff:ffff:ffff"
        );
        assert_eq!(rendered(r#"{{ p | each(text="x") }}"#, "").unwrap(), "");
        assert!(rendered(r#"{{ p | each(text="{host}") }}"#, packed).is_err());
    }

    #[test]
    fn masks_are_what_the_library_writes() {
        for length in 0..=32 {
            let net: IpNet = format!("0.0.0.0/{length}").parse().unwrap();
            assert_eq!(
                v4_mask("0.0.0.0", &length.to_string()),
                Some(net.netmask().to_string().as_str())
            );
        }
        assert_eq!(v4_mask("2001:db8::", "32"), None);
        assert_eq!(v4_mask("192.0.2.0", "33"), None);
    }

    #[test]
    fn braces_need_something_inside() {
        assert_eq!(rendered("{{ many | braces }} {{ one | braces }}", "").unwrap(), "{ a, b } a");
        assert!(rendered("{{ none | braces }}", "").is_err());
    }

    #[test]
    fn texts_are_quoted_by_the_rules_of_each_language() {
        let hostile = "a'b\"c\\d${e}%{f}`g`$(h)";
        for (template, expected) in [
            ("{{ p | sh }}", r#"'a'\''b"c\d${e}%{f}`g`$(h)'"#),
            ("{{ p | json }}", r#""a'b\"c\\d${e}%{f}`g`$(h)""#),
            ("{{ p | bicep }}", r#"'a\'b"c\\d\${e}%{f}`g`$(h)'"#),
            ("{{ p | hcl }}", r#""a'b\"c\\d$${e}%%{f}`g`$(h)""#),
        ] {
            assert_eq!(rendered(template, hostile).unwrap(), expected);
        }
    }

    #[test]
    fn names_are_fitted() {
        let template = r#"{{ p | fit(prefix="tw-", suffix="-v4", limit=20) }}"#;
        assert_eq!(rendered(template, "storage").unwrap(), "tw-storage-v4");
        assert_eq!(rendered(template, "storage-westeurope-1").unwrap().len(), 20);
        assert!(rendered("{{ p | fit(limit=4) }}", "storage").is_err());
    }

    #[test]
    fn an_unknown_variable_is_an_error_nested_ones_too() {
        assert!(rendered("{{ missing }}", "").is_err());
        assert!(rendered("{{ many.missing }}", "").is_err());
        assert!(rendered("{% for x in missing %}{% endfor %}", "").is_err());
    }
}
