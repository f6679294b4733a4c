//! The reference as a page of the documentation.

use crate::model::{Reference, Setting};

const HEAD: &str = "\
# Configuration

Every table and key of `/etc/tagwall/tagwall.toml`, made from the sources. `tagwall check` knows them all and names the
nearest when one is mistyped; `packaging/examples/` holds whole configurations. `NAME` stands for a name of your choice.
A key that is not marked *required* may be left out. Relative paths are taken from the configuration file's folder.
";

pub(crate) fn write(reference: &Reference) -> String {
    let mut page = HEAD.to_owned();
    for table in &reference.tables {
        let headline = if table.path.is_empty() {
            "The top of the file".to_owned()
        } else {
            format!("`[{}]`", table.path)
        };
        page.push_str(&format!("\n## {headline}\n\n{}\n", sentence(&table.about)));
        if !table.settings.is_empty() {
            page.push('\n');
        }
        for setting in &table.settings {
            page.push_str(&line(setting));
        }
    }
    page.push_str("\n## Kinds of text\n\n");
    for (name, about) in &reference.texts {
        page.push_str(&format!("- **{name}**: {}\n", about.replace('\n', " ")));
    }
    page
}

fn line(setting: &Setting) -> String {
    let required = if setting.required { ", *required*" } else { "" };
    let mut text = format!(
        "- **`{}`** ({}{required}): {}\n",
        setting.key,
        setting.value,
        setting.about.replace('\n', " ")
    );
    for (choice, about) in &setting.choices {
        text.push_str(&format!("  - `{choice}`: {}\n", about.replace('\n', " ")));
    }
    text
}

fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    let first: String =
        letters.next().map(|letter| letter.to_uppercase().collect()).unwrap_or_default();
    (first + letters.as_str()).replace('\n', "\n\n")
}
