//! The door for `fuzz/`: the filters of templates alone.

use tera::{Context, Tera, TeraResult};

use super::filters;

/// Renders a template with a text, packed prefixes and a pattern to write each of them by.
pub fn filtered(template: &str, text: &str, pattern: &str) -> TeraResult<String> {
    let mut tera = Tera::new();
    filters::register(&mut tera);
    tera.add_raw_template("fuzzed", template)?;
    let mut context = Context::new();
    context.insert("text", text);
    context.insert("pattern", pattern);
    context.insert("list", &text.lines().collect::<Vec<_>>());
    tera.render("fuzzed", &context)
}
