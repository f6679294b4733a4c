//! The document as pan-os-python reads it.

use std::process::Command;

use super::*;

/// Reads the document with pan-os-python and prints what it found, one object a line.
const READER: &str = r#"
import sys, json, xml.etree.ElementTree as ET
from panos.firewall import Firewall
from panos.objects import AddressObject, AddressGroup, ServiceObject, Tag
from panos.policies import SecurityRule, Rulebase
root = ET.parse(sys.argv[1]).getroot()
firewall = Firewall("192.0.2.1", "user", "password", vsys="vsys1")
firewall._set_version_and_version_info("10.1.0")
rulebase = Rulebase()
firewall.add(rulebase)
kinds = {"security/rules/entry": (SecurityRule, rulebase, "security"), "address-group/entry": (AddressGroup, firewall, "address-group"),
         "address": (AddressObject, firewall, "address"), "service": (ServiceObject, firewall, "service"), "tag": (Tag, firewall, "tag")}
for step in root:
    for key, (cls, parent, kind) in kinds.items():
        if ("/" + key + "[") in step.get("xpath") or step.get("xpath").endswith("/" + key):
            reader = cls()
            parent.add(reader)
            holder = ET.Element("result")
            holder.extend(list(step))
            for found in reader.refreshall_from_xml(holder):
                print(json.dumps([kind, found.name, found.about()]))
            break
"#;

/// A Python with pan-os-python: the one that is there, or one in the build's folder of temporary files.
fn python() -> Option<PathBuf> {
    let has = |python: &Path| {
        Command::new(python)
            .args(["-c", "import panos"])
            .output()
            .is_ok_and(|output| output.status.success())
    };
    let system = PathBuf::from("python3");
    if has(&system) {
        return Some(system);
    }
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("panos-venv");
    let python = folder.join("bin/python");
    if !has(&python) {
        _ = Command::new("python3").args(["-m", "venv"]).arg(&folder).output();
        let pip = Command::new(&python)
            .args(["-m", "pip", "install", "--quiet", "pan-os-python"])
            .output();
        drop(pip);
    }
    if has(&python) {
        return Some(python);
    }
    eprintln!("skipped: pan-os-python is not installed, and pip could not get it");
    None
}

#[test]
fn pan_os_python_reads_the_same_objects() {
    let Some(python) = python() else { return };
    let config = config(&with_variants(EXAMPLE));
    let (_, files) = render(&config, &example(&config), None).unwrap();
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    for name in ["xml", "xmldyn"] {
        let text = &files[&format!("{name}/rules.xml")];
        let path = folder.path().join("rules.xml");
        {
            use std::io::Write as _;
            std::fs::File::create(&path).unwrap().write_all(text.as_bytes()).unwrap();
        }
        let output = Command::new(&python).args(["-c", READER]).arg(&path).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let mut device = device();
        load(&mut device, "rules.xml", text);
        let mut expected: BTreeSet<Key> =
            ours(&device).into_keys().filter(|key| key.0 != "decryption").collect();
        for line in String::from_utf8(output.stdout).unwrap().lines() {
            let found: Value = serde_json::from_str(line).unwrap();
            let key =
                (found[0].as_str().unwrap().to_owned(), found[1].as_str().unwrap().to_owned());
            let read = &found[2];
            let held = &device.objects[&key];
            let set = |field: &str| -> BTreeSet<String> {
                match &read[field] {
                    Value::Array(values) => {
                        values.iter().map(|value| value.as_str().unwrap().to_owned()).collect()
                    }
                    Value::String(text) => BTreeSet::from([text.clone()]),
                    _ => BTreeSet::new(),
                }
            };
            let same = |field: &str, path: &str| {
                assert_eq!(
                    set(field),
                    held.get(path).cloned().unwrap_or_default(),
                    "{key:?} {field}"
                );
            };
            match key.0.as_str() {
                "address" => {
                    let path = if held.contains_key("fqdn") { "fqdn" } else { "ip-netmask" };
                    assert_eq!(read["type"], path);
                    same("value", path);
                    same("tag", "tag");
                }
                "address-group" => {
                    same("static_value", "static");
                    same("dynamic_value", "dynamic filter");
                    same("tag", "tag");
                }
                "service" => {
                    let protocol = read["protocol"].as_str().unwrap();
                    same("destination_port", &format!("protocol {protocol} port"));
                }
                "security" => {
                    for (field, path) in [
                        ("fromzone", "from"),
                        ("tozone", "to"),
                        ("source", "source"),
                        ("destination", "destination"),
                        ("service", "service"),
                        ("application", "application"),
                        ("action", "action"),
                        ("description", "description"),
                        ("tag", "tag"),
                    ] {
                        same(field, path);
                    }
                }
                _ => same("comments", "comments"),
            }
            assert!(expected.remove(&key), "{key:?} is read twice");
        }
        assert!(expected.is_empty(), "not read: {expected:?}");
    }
}
