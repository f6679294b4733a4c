//! The reference as the manual page tagwall.toml(5).

use crate::model::Reference;

const HEAD: &str = "\
.TH tagwall.toml 5
.SH NAME
tagwall.toml \\- configuration of tagwall
.SH SYNOPSIS
.I /etc/tagwall/tagwall.toml
.SH DESCRIPTION
The configuration is written in TOML. NAME stands for a name of your choice. A key that is not marked as required may be left
out. Relative paths are taken from the configuration file's folder. Whole configurations are in
.IR /usr/share/doc/tagwall/examples .
.PP
.B tagwall check
knows all keys, and says what is wrong with the line that it is in.
";

const FOOT: &str = "\
.SH SEE ALSO
.BR tagwall (1),
.BR tagwall\\-check (1),
.BR tagwall\\-init (1),
.BR tagwall\\-generator (8)
";

pub(crate) fn write(reference: &Reference) -> String {
    let mut page = HEAD.to_owned();
    for table in &reference.tables {
        let headline = if table.path.is_empty() {
            "THE TOP OF THE FILE".to_owned()
        } else {
            format!("[{}]", table.path)
        };
        page.push_str(&format!(".SH \"{}\"\n{}", escaped(&headline), paragraphs(&table.about)));
        for setting in &table.settings {
            let required = if setting.required { ", required" } else { "" };
            page.push_str(&format!(
                ".TP\n\\fB{}\\fR ({}{required})\n{}",
                escaped(&setting.key),
                escaped(&setting.value),
                paragraphs(&setting.about)
            ));
            if setting.choices.is_empty() {
                continue;
            }
            page.push_str(".RS\n");
            for (choice, about) in &setting.choices {
                page.push_str(&format!(".TP\n\\fB{}\\fR\n{}", escaped(choice), paragraphs(about)));
            }
            page.push_str(".RE\n");
        }
    }
    page.push_str(".SH \"KINDS OF TEXT\"\n");
    for (name, about) in &reference.texts {
        page.push_str(&format!(".TP\n.B {}\n{}", escaped(name), paragraphs(about)));
    }
    page + FOOT
}

/// Text as lines that begin with nothing that troff takes for a request.
fn paragraphs(text: &str) -> String {
    let mut lines = String::new();
    for (index, paragraph) in text.lines().filter(|line| !line.is_empty()).enumerate() {
        if index > 0 {
            lines.push_str(".IP\n");
        }
        lines.push_str("\\&");
        lines.push_str(&code(paragraph));
        lines.push('\n');
    }
    lines
}

/// Code between backticks in bold.
fn code(text: &str) -> String {
    let mut written = String::new();
    for (index, part) in escaped(text).split('`').enumerate() {
        let bold = index % 2 == 1;
        written.push_str(&if bold { format!("\\fB{part}\\fR") } else { part.to_owned() });
    }
    written
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\e").replace('-', "\\-").replace('"', "\\(dq").replace('\'', "\\(aq")
}
