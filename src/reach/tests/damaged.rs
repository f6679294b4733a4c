//! Listings that are not as nft writes them.

use proptest::prelude::*;
use serde_json::Value as Json;

use super::*;

/// Replaces, removes or repeats one value somewhere in a document.
fn damage(json: &mut Json, steps: &[usize], what: usize) {
    let Some((step, rest)) = steps.split_first() else {
        match what % 7 {
            0 => *json = Json::Null,
            1 => *json = Json::from(u64::MAX),
            2 => *json = Json::from("@x"),
            3 => *json = Json::Array(vec![json.clone(), json.clone()]),
            4 => *json = serde_json::json!({ "jump": { "target": "tw-outbound" } }),
            5 => *json = serde_json::json!({ "set": [json.clone()] }),
            _ => *json = serde_json::json!({ "accept": json.clone() }),
        }
        return;
    };
    match json {
        Json::Array(list) if !list.is_empty() => {
            let at = step % list.len();
            match (rest.is_empty(), what % 3) {
                (true, 0) => drop(list.remove(at)),
                (true, 1) => {
                    let other = list[(step / 7) % list.len()].clone();
                    list.insert(at, other);
                }
                _ => damage(&mut list[at], rest, what),
            }
        }
        Json::Object(object) if !object.is_empty() => {
            let key = object.keys().nth(step % object.len()).cloned().unwrap();
            if rest.is_empty() && what.is_multiple_of(4) {
                object.remove(&key);
            } else if let Some(value) = object.get_mut(&key) {
                damage(value, rest, what);
            }
        }
        other => damage(other, &[], what),
    }
}

fn damaged() -> impl Strategy<Value = String> {
    let steps = prop::collection::vec(0..200_usize, 1..9);
    let damages = prop::collection::vec((steps, 0..420_usize), 1..6);
    (0..ALL.len(), damages).prop_map(|(listing, damages)| {
        let mut json: Json = serde_json::from_str(ALL[listing]).unwrap();
        for (steps, what) in damages {
            // The outermost step leads into the list of objects.
            let mut all = vec![0];
            all.extend(steps);
            damage(&mut json, &all, what);
        }
        json.to_string()
    })
}

fn all_ours() -> Vec<Ours> {
    vec![
        table(),
        chain("inet", "filter", "azure"),
        chain("ip", "filter", "TAGWALL"),
        chain("inet", "firewalld", "filter_FWD_public"),
    ]
}

/// The objects of a listing without those that lead to a chain: jumps, gotos, maps, statements that
/// are not known. A whole table is not hooked without base chains.
fn without_jumps(listing: &str, ours: &Ours) -> String {
    let mut json: Json = serde_json::from_str(listing).unwrap();
    let chain = ours.chain.clone();
    let of_table = |body: &Json| {
        body["family"] == ours.family.as_str() && body["table"] == ours.table.as_str()
    };
    if let Some(objects) = json["nftables"].as_array_mut() {
        objects.retain(|object| match (&chain, &object["rule"], &object["chain"]) {
            (Some(_), rule, Json::Null) if of_table(rule) => {
                let text = rule["expr"].to_string();
                !(text.contains("jump") || text.contains("goto") || text.contains("vmap"))
            }
            (_, _, base) if of_table(base) => {
                base.get("hook").is_none()
                    || chain.as_ref().is_some_and(|chain| base["name"] != chain.as_str())
            }
            _ => true,
        });
    }
    json.to_string()
}

/// Text that is near to what a save command writes.
const SAVED: &str = concat!(
    r#"([*:A-Za-z0-9!"\\ \n-]{0,4}"#,
    r"(-A FORWARD|-j|:FORWARD DROP|\*filter|--dport|-s|\n)){0,30}",
);

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn walk_never_panics_and_never_invents_a_path(listing in damaged()) {
        let Ok(host) = Ruleset::from_json(&listing) else { return Ok(()) };
        let host = host
            .with_interfaces(["lo", "wan0", "lan0"].map(str::to_owned))
            .with_save(Family::V4, DOCKER_SAVE)
            .with_text(DORMANT_TEXT);
        for ours in all_ours() {
            let cut = Ruleset::from_json(&without_jumps(&listing, &ours)).unwrap();
            for flow in [v4(), v6()] {
                _ = host.walk(&ours, &flow, &SILENT).reach.to_string();
                for elements in [&SILENT, &Known { others: Lookup::Present }] {
                    let reach = cut.walk(&ours, &flow, elements).reach;
                    prop_assert_ne!(reach, Reach::Reached);
                }
            }
        }
    }

    #[test]
    fn saved_text_never_panics(text in SAVED) {
        let host = empty().with_legacy(Family::V4, &text).with_save(Family::V4, &text);
        _ = walk(&host, &Ours::legacy(Family::V4, "FORWARD".to_owned()), &v4());
    }
}

#[test]
fn listing_without_ruleset_is_an_error() {
    for text in ["", "{}", "[]", r#"{"nftables": 5}"#] {
        assert!(Ruleset::from_json(text).is_err(), "{text}");
    }
    let deep = format!("{}{}", "[".repeat(5000), "]".repeat(5000));
    assert!(Ruleset::from_json(&format!(r#"{{"nftables": [{deep}]}}"#)).is_err());
}
