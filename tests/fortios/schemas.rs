//! Every attribute and value against the schemas that the vendor publishes for each version.

use super::*;

/// The wheel with the schemas, fetched once into target/tmp; none where there is no network or no pip.
fn schemas() -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("fortios-schemas");
    std::fs::create_dir_all(&folder).unwrap();
    let wheel = || {
        let mut entries = std::fs::read_dir(&folder).ok()?.filter_map(Result::ok);
        entries.find(|entry| entry.path().extension().is_some_and(|ext| ext == "whl"))
    };
    if wheel().is_none() {
        let pip = std::process::Command::new("python3")
            .args(["-m", "pip", "download", "-q", "--no-deps", "ansible==12.3.0", "--dest"])
            .arg(&folder)
            .output();
        pip.ok().filter(|output| output.status.success())?;
    }
    Some(wheel()?.path())
}

#[test]
fn every_attribute_and_value_is_in_the_schema_of_its_version() {
    let Some(wheel) = schemas() else {
        eprintln!("skipped: the ansible package cannot be fetched");
        return;
    };
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/fortios_schema.py");
    let look_at = |used: &BTreeSet<(String, String, String)>, version: &str| {
        let lines: String = used
            .iter()
            .map(|(table, attribute, value)| format!("{table}\t{attribute}\t{value}\n"))
            .collect();
        let input = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(input.path(), lines).unwrap();
        let output = std::process::Command::new("python3")
            .arg(&script)
            .arg(&wheel)
            .arg(version)
            .stdin(std::fs::File::open(input.path()).unwrap())
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    for version in ["6.4.0", "7.0.0", "7.0.8", "7.2.0", "7.2.4", "7.4.0", "7.4.8", "7.6.0", "7.6.4"]
    {
        for format in ["cli", "feed"] {
            let target = COMMON.replace("7.4.8", version);
            let text = format!(
                "cloud = \"example\"\n[groups.g]\ntags = [\"Storage\"]\nhosts = [\"*.a.example.com\"]\n[rules.r]\n\
                 direction = \"outbound\"\nsource = [\"10.0.0.0/24\", \"2001:db8:1::/64\"]\ndestination = \"g\"\n\
                 services = [\"tcp/443\", \"udp/53\"]\nlog = true\n[targets.f.fortios]\nformat = \"{format}\"\nurl = \
                 \"https://lists.example.com\"\nusername = \"u\"\nnat6 = true\nip-pool = \"p\"\nip-pool6 = \"p6\"\n\
                 ssl-ssh-profile = \"s\"\nips-sensor = \"i\"\napplication-list = \"a\"\n{target}"
            );
            let device = fresh(
                Kind::Plain,
                file(
                    &plan(&config(&text), None, None).unwrap(),
                    match format {
                        "cli" => "rules.conf",
                        _ => "feed.conf",
                    },
                ),
            );
            let answer = look_at(&device.used, version);
            assert_eq!(answer, format!("looked at {}\n", device.used.len()), "{version} {format}");
        }
    }
    // The schemas do say no.
    let wrong = BTreeSet::from([(
        "system external-resource".to_owned(),
        "server-identity-check".to_owned(),
        "full".to_owned(),
    )]);
    assert!(look_at(&wrong, "6.4.0").contains("no attribute"));
}
