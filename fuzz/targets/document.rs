//! A publication's bytes. What is taken of them holds what `snapshot` promises, and is read again as the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tagwall::prefix::special::{documentation, special_kind};
use tagwall::snapshot::{Cloud, Policy, Snapshot};

fuzz_target!(|document: &[u8]| {
    let policy =
        Policy { max_bytes: 1 << 20, max_tags: 100, max_prefixes: 1_000, ..Policy::default() };
    let snapshot = match Snapshot::parse(document, &policy) {
        Ok(snapshot) => snapshot,
        Err(error) => {
            assert!(!error.to_string().contains(char::is_control), "{error}");
            return;
        }
    };
    assert!(
        snapshot.tags().len() <= policy.max_tags && snapshot.prefix_count() <= policy.max_prefixes
    );
    // The embedded example alone has documentation ranges.
    let ordinary = |prefix: ipnet::IpNet| {
        special_kind(prefix).is_none()
            || (snapshot.cloud() == Cloud::Example && documentation().covers(prefix))
    };
    for tag in snapshot.tags() {
        let name = tag.name().as_str();
        assert!(
            name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte)),
            "{name}"
        );
        let (v4, v6) = (snapshot.v4(tag), snapshot.v6(tag));
        assert!(v4.is_sorted() && v6.is_sorted());
        for prefix in v4 {
            assert!(
                prefix.prefix_len() >= policy.widest_v4 && ordinary((*prefix).into()),
                "{prefix}"
            );
            assert_eq!(*prefix, prefix.trunc());
        }
        for prefix in v6 {
            assert!(
                prefix.prefix_len() >= policy.widest_v6 && ordinary((*prefix).into()),
                "{prefix}"
            );
            assert_eq!(*prefix, prefix.trunc());
        }
    }
    let again = Snapshot::parse(&snapshot.document(), &policy);
    assert_eq!(again.map(|again| again.digest()).ok(), Some(snapshot.digest()));
});
