//! The guides, carried out: every file that a page writes is written, every command that it gives is run.
//!
//! A page runs from top to bottom in a mount and a network namespace of its own, over copies of /etc, /srv and /var/lib, so that its
//! commands are those that a reader types. Blocks are marked behind the language: `toml file=PATH` (`append`: at the
//! end of it), `sh run`, and `sh host` for what needs a running systemd or a device; a command without a mark is a
//! failure. Needs root, nft, iptables and ipset.
#![allow(clippy::unwrap_used, clippy::panic, reason = "to panic is how a test fails")]
#![allow(clippy::print_stderr, reason = "a skipped test must say so")]
#![allow(clippy::disallowed_methods, reason = "what a test writes need not survive anything")]

use std::fs;
use std::path::Path;
use std::process::Command;

/// Copies of the host's folders, an interface towards the internet, and nothing in the way.
const PREPARATION: &str = "
mount -t tmpfs tmpfs /mnt
for folder in etc srv var/lib; do
    mkdir -p /mnt/$folder.upper /mnt/$folder.work /mnt/$folder
    mount -t overlay overlay -o lowerdir=/$folder,upperdir=/mnt/$folder.upper,workdir=/mnt/$folder.work /$folder
done
mkdir -p /etc/tagwall
rm -rf /etc/tagwall/* /var/lib/tagwall
cd /root
ip link set lo up
ip link add wan0 type veth peer name provider
ip link set wan0 up
";

/// A fenced block of a page.
struct Block {
    line: usize,
    mark: String,
    text: String,
}

fn blocks(page: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut open: Option<(Block, usize)> = None;
    for (index, line) in page.lines().enumerate() {
        let indent = line.len() - line.trim_start().len();
        match (line.trim_start().strip_prefix("```"), &mut open) {
            (Some(mark), None) => {
                open = Some((
                    Block { line: index + 1, mark: mark.to_owned(), text: String::new() },
                    indent,
                ));
            }
            (Some(_), Some(_)) => blocks.extend(open.take().map(|(block, _)| block)),
            (None, Some((block, indent))) => {
                block.text.push_str(line.get(*indent..).unwrap_or_default());
                block.text.push('\n');
            }
            (None, None) => {}
        }
    }
    assert!(open.is_none(), "a block is not closed");
    blocks
}

/// The page as a script.
fn script(name: &str, page: &str) -> String {
    let mut script = PREPARATION.to_owned();
    for Block { line, mark, text } in blocks(page) {
        let words: Vec<&str> = mark.split_whitespace().collect();
        match words.as_slice() {
            ["toml", file, rest @ ..] if file.starts_with("file=") => {
                let into = if rest == ["append"] { ">>" } else { ">" };
                let path = &file["file=".len()..];
                script
                    .push_str(&format!("cat {into}{path} <<'END OF FILE'\n{text}\nEND OF FILE\n"));
            }
            ["sh", "run"] => script.push_str(&format!("echo '{name}:{line}' >&2\n{text}\n")),
            ["sh" | "console" | "bash", ..] => {
                assert_eq!(words, ["sh", "host"], "{name}:{line}: a command that is not run");
            }
            _ => {}
        }
    }
    script
}

fn carried_out(name: &str) {
    let page =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs").join(name)).unwrap();
    let script = script(name, &page);
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: the commands of the guides need root");
        return;
    }
    for program in ["nft", "iptables", "ipset", "ip", "unshare"] {
        if !["/usr/sbin", "/usr/bin"].iter().any(|folder| Path::new(folder).join(program).is_file())
        {
            eprintln!("skipped: {program} is not installed");
            return;
        }
    }
    let binary = Path::new(env!("CARGO_BIN_EXE_tagwall"));
    let output = Command::new("unshare")
        .args(["--mount", "--net", "sh", "-eu", "-c", &script])
        .env_clear()
        .env(
            "PATH",
            format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", binary.parent().unwrap().display()),
        )
        .output()
        .unwrap();
    let said = format!(
        "{}\n{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    if said.contains("Operation not permitted") && said.contains("unshare") {
        eprintln!("skipped: no namespaces here");
        return;
    }
    assert!(output.status.success(), "{name}: {}\n{said}", output.status);
}

#[test]
fn quick_start() {
    carried_out("quick-start.md");
}

#[test]
fn api_management() {
    carried_out("api-management.md");
}

#[test]
fn operations() {
    carried_out("operations.md");
}

#[test]
fn packages() {
    carried_out("packages.md");
}

#[test]
fn security() {
    carried_out("security.md");
}

/// The test of the tests: what fails in a page fails here, and what is not marked is not overlooked.
#[test]
fn a_command_that_fails_or_is_not_marked_is_found() {
    let page = "```toml file=/etc/x append\na = 1\n```\n\n  ```sh run\n  false\n  ```\n\n```sh host\nfirewall-cmd\n```\n";
    let script = script("page", page);
    assert!(script.contains("cat >>/etc/x <<'END OF FILE'\na = 1\n"), "{script}");
    assert!(script.contains("echo 'page:5' >&2\nfalse\n"), "{script}");
    assert!(!script.contains("firewall-cmd"), "{script}");
    let unmarked = std::panic::catch_unwind(|| self::script("page", "```sh\nrm -rf /\n```\n"));
    assert!(unmarked.is_err());
}
