//! The guides, carried out: every file that a page writes is written, every command that it gives is run.
//!
//! A page runs from top to bottom in a mount and a network namespace of its own, over copies of /etc, /srv and /var/lib, so that its
//! commands are those that a reader types. Blocks are marked behind the language: `toml file=PATH` (`append`: at the
//! end of it), `sh run`, and `sh host` for what needs a running systemd, a device, Azure or the internet; a command without a
//! mark is a failure. Every page is carried out, and every other piece of configuration in it is read. The README's marks are
//! kept here. Needs root, nft, iptables and ipset.
#![allow(clippy::unwrap_used, clippy::panic, reason = "to panic is how a test fails")]
#![allow(clippy::print_stderr, reason = "a skipped test must say so")]
#![allow(clippy::disallowed_methods, reason = "what a test writes need not survive anything")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Copies of the host's folders, interfaces towards a subnet and the internet, and nothing in the way.
const PREPARATION: &str = "
mount -t tmpfs tmpfs /mnt
for folder in etc srv var/lib; do
    mkdir -p /mnt/$folder.upper /mnt/$folder.work /mnt/$folder
    mount -t overlay overlay -o lowerdir=/$folder,upperdir=/mnt/$folder.upper,workdir=/mnt/$folder.work /$folder
done
mkdir -p /etc/tagwall
rm -rf /etc/tagwall/* /var/lib/tagwall
mkdir /mnt/home
cd /mnt/home
ip link set lo up
ip link add wan0 type veth peer name provider
ip link set provider up
ip link set wan0 up
ip link add lan0 type veth peer name subnet
ip link set subnet up
ip link set lan0 up
ip address add 10.20.0.1/24 dev lan0
ip address add 198.51.100.2/24 dev wan0
ip route add default via 198.51.100.1
echo 1 >/proc/sys/net/ipv4/ip_forward
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

/// Where the pages are.
fn docs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs")
}

/// Carries out a page, after what it takes for granted.
fn carried_out(name: &str, before: &str) {
    let page = fs::read_to_string(docs().join(name)).unwrap();
    let commands = script(name, &page);
    if commands == PREPARATION {
        return;
    }
    let script = commands.replacen(PREPARATION, &format!("{PREPARATION}{before}\n"), 1);
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: the commands of the guides need root");
        return;
    }
    for program in ["nft", "iptables", "ipset", "ip", "unshare", "jq"] {
        if !["/usr/sbin", "/usr/bin"].iter().any(|folder| Path::new(folder).join(program).is_file())
        {
            eprintln!("skipped: {program} is not installed");
            return;
        }
    }
    let output = Command::new("unshare")
        .args(["--mount", "--net", "sh", "-eu", "-c", &script])
        .env_clear()
        .env("PATH", path())
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

/// With the program of this build in front.
fn path() -> String {
    let binary = Path::new(env!("CARGO_BIN_EXE_tagwall"));
    format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", binary.parent().unwrap().display())
}

#[test]
fn quick_start() {
    carried_out("quick-start.md", "");
}

#[test]
fn api_management() {
    carried_out("api-management.md", "");
}

#[test]
fn operations() {
    carried_out("operations.md", "");
}

#[test]
fn every_other_page() {
    // Generations and a trail are there.
    let published = format!(
        "cp {}/packaging/examples/quickstart.toml /etc/tagwall/tagwall.toml; tagwall render >/dev/null 2>&1",
        env!("CARGO_MANIFEST_DIR")
    );
    for entry in fs::read_dir(docs()).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if !["quick-start.md", "api-management.md", "operations.md"].contains(&name.as_str()) {
            carried_out(&name, if name == "state.md" { &published } else { "" });
        }
    }
}

/// Pieces of configuration that are shown without a file to put them into: each is one that is read, beside rules.
#[test]
fn every_piece_of_configuration_is_read() {
    let mut pieces = 0;
    for entry in fs::read_dir(docs()).unwrap() {
        let path = entry.unwrap().path();
        let page = fs::read_to_string(&path).unwrap();
        for Block { line, mark, text } in blocks(&page) {
            if mark != "toml" {
                continue;
            }
            pieces += 1;
            let rules = "[groups.devops]\ntags = [\"AzureDevOps\"]\n[rules.devops]\nsource = [\"10.20.0.0/24\"]\n\
                         destination = \"devops\"\nservices = [\"tcp/443\"]\ninterfaces = [\"wan0\"]\n";
            let config = tagwall::config::Config::parse(&path, format!("{text}\n{rules}"));
            if let Err(error) = config {
                panic!("{}:{line}: {error}", path.display());
            }
        }
    }
    assert!(pieces > 10, "{pieces} pieces");
}

/// The README's commands: those that build and test this repository are run by whoever does; the session is shown as it is, and the
/// rest is run on a real publication.
#[test]
fn the_readme() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = fs::read_to_string(root.join("README.md")).unwrap();
    let mut sessions = 0;
    for Block { line, mark, text } in blocks(&page) {
        match mark.as_str() {
            "console" => {
                let (command, shown) = text.split_once('\n').unwrap();
                let command = command.strip_prefix("$ ").unwrap();
                let output = shell(root, &format!("{command} 2>&1"));
                assert!(output.starts_with(shown), "README.md:{line}: `{command}` says\n{output}");
                sessions += 1;
            }
            "sh" if text.starts_with("cargo run") || text == "tests/run\n" => {}
            "sh" => {
                const PUBLICATION: &str = "ServiceTags_Public_20250908.json";
                assert!(text.contains(PUBLICATION), "README.md:{line}: a command that is not run");
                let feeds = std::env::var_os("TAGWALL_FEEDS")
                    .map_or_else(|| root.join("../shared/feeds"), PathBuf::from);
                let Some(publication) = find(&feeds, PUBLICATION) else {
                    eprintln!("skipped: {PUBLICATION} is not there");
                    continue;
                };
                let folder = tempfile::tempdir().unwrap();
                std::os::unix::fs::symlink(publication, folder.path().join(PUBLICATION)).unwrap();
                shell(folder.path(), &text);
                assert!(folder.path().join("out").is_dir());
            }
            _ => {}
        }
    }
    assert_eq!(sessions, 1);
}

/// Runs commands in a folder; they must succeed. Gives their standard output.
fn shell(folder: &Path, commands: &str) -> String {
    let output = Command::new("sh")
        .args(["-eu", "-c", commands])
        .current_dir(folder)
        .env_clear()
        .env("PATH", path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{commands}: {}\n{said}", output.status);
    String::from_utf8(output.stdout).unwrap()
}

/// A file of this name in a folder or one below it.
fn find(folder: &Path, name: &str) -> Option<PathBuf> {
    let direct = folder.join(name);
    if direct.is_file() {
        return Some(direct);
    }
    let entries = fs::read_dir(folder).ok()?.flatten();
    entries.map(|entry| entry.path().join(name)).find(|path| path.is_file())
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
