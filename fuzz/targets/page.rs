//! A download page. Whatever stands in it, it leads to Microsoft's hosts alone, over TLS, to a publication of the cloud.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tagwall::feed::fuzzing::newest;
use tagwall::snapshot::Cloud;

fuzz_target!(|page: &[u8]| {
    let page = String::from_utf8_lossy(page);
    for cloud in Cloud::ALL {
        let Some(link) = newest(&page, cloud) else { continue };
        assert_eq!(link.scheme(), "https", "{link}");
        assert!(
            matches!(link.host_str(), Some("download.microsoft.com" | "www.microsoft.com")),
            "{link}"
        );
        assert!(link.username().is_empty() && link.password().is_none(), "{link}");
        let name = link.path().rsplit('/').next().unwrap_or_default();
        assert!(name.starts_with(&format!("ServiceTags_{}_", cloud.document_name())), "{link}");
        assert!(name.ends_with(".json"), "{link}");
    }
});
