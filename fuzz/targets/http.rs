//! What a client sends. It is answered with HTTP or with silence; no handler panics, nothing but the one list, the page, health
//! and metrics is given, and never an empty list.
#![no_main]

use std::path::Path;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use tagwall::config::Config;
use tagwall::serve::fuzzing::Doorless;

const LIST: &[u8] = b"192.0.2.0/24\n198.51.100.0/24\n";
const CONFIG: &str = "cloud = \"example\"\n[groups.g]\ntags = [\"Storage\"]\n[targets.fw.list]\n";

static SERVER: LazyLock<Doorless> = LazyLock::new(|| {
    let config =
        Config::parse(Path::new("/nonexistent/tagwall.toml"), CONFIG.to_owned()).expect("sound");
    Doorless::new(&config, "fw/g.txt", LIST).expect("a server")
});

fuzz_target!(|words: &[u8]| {
    let answer = SERVER.say(words);
    assert_eq!(SERVER.panics(), 0);
    if answer.is_empty() {
        return;
    }
    assert!(answer.starts_with(b"HTTP/1."), "{}", String::from_utf8_lossy(&answer));
    let head = answer
        .windows(4)
        .position(|window| window == b"\r\n\r\n")
        .map_or(&answer[..], |end| &answer[..end]);
    let head = String::from_utf8_lossy(head);
    let status = head.split(' ').nth(1).unwrap_or_default();
    assert!(
        ["200", "206", "304", "400", "404", "405", "408", "412", "414", "416", "431", "503"]
            .contains(&status),
        "{head}"
    );
    // An empty list would close a firewall.
    let empty = status == "200" && head.to_ascii_lowercase().contains("content-length: 0");
    assert!(!empty || words.starts_with(b"HEAD"), "{head}");
});
