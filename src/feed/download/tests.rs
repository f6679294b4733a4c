use super::*;

const GUID: &str =
    "https://download.microsoft.com/download/7/1/d/71d86715-5596-4529-9b13-da13a5de5b63";

fn find(text: &str, cloud: Cloud) -> Result<String, String> {
    let page = microsofts(cloud).unwrap();
    let hosts = Hosts::and([FILE_HOST.parse().unwrap()]);
    newest(text, &page, cloud, &hosts, None).map(String::from).map_err(|error| error.to_string())
}

fn link(name: &str) -> String {
    format!("{GUID}/{name}")
}

/// The shapes in which pages have held the link.
#[test]
fn the_link_is_found_wherever_it_stands() {
    let expected = link("ServiceTags_Public_20250908.json");
    let escaped = expected.replace('/', "\\/");
    let coded = expected.replace('/', "\\u002F").replace(':', "\\u003A");
    let entities = expected.replace('/', "&#x2F;").replace(':', "&#58;");
    for page in [
        format!("<a href=\"{expected}\">Download</a>"),
        format!("<a href='{expected}' download>"),
        format!("<a href={expected}>"),
        format!("<meta http-equiv=\"refresh\" content=\"0;url={expected}\">"),
        format!(
            "<script>window.__DLCDetails__={{\"downloadFile\":[{{\"name\":\"x\",\"url\":\"{escaped}\",\"size\":\"4\"}}]}}</script>"
        ),
        format!("<script>{{\"url\":\"{coded}\"}}</script>"),
        format!("<div data-model=\"{{&quot;url&quot;:&quot;{entities}&quot;}}\">"),
        format!("<a href=\"{}\">", expected.trim_start_matches("https:")),
        format!("click {expected}\n"),
        format!("é{}<a href=\"{expected}#x\">", "ServiceTags_"),
    ] {
        assert_eq!(find(&page, Cloud::Public).as_deref(), Ok(expected.as_str()), "{page}");
    }
}

#[test]
fn of_several_the_newest_date_counts_wherever_it_stands() {
    let names = ["20250901", "20250908", "20250825"]
        .map(|date| link(&format!("ServiceTags_Public_{date}.json")));
    let page = names.map(|name| format!("<a href=\"{name}\">x</a>")).concat();
    assert_eq!(find(&page, Cloud::Public), Ok(link("ServiceTags_Public_20250908.json")));
}

#[test]
fn each_cloud_takes_its_own() {
    let page =
        ["Public_20250908", "AzureGovernment_20250901", "China_20250825", "AzureGermany_20220307"]
            .map(|name| format!("<a href=\"{}\">", link(&format!("ServiceTags_{name}.json"))))
            .concat();
    for (cloud, file) in [
        (Cloud::Public, "ServiceTags_Public_20250908.json"),
        (Cloud::Government, "ServiceTags_AzureGovernment_20250901.json"),
        (Cloud::China, "ServiceTags_China_20250825.json"),
        (Cloud::Germany, "ServiceTags_AzureGermany_20220307.json"),
    ] {
        assert_eq!(find(&page, cloud), Ok(link(file)));
    }
    let error =
        find(&format!("<a href=\"{}\">", link("ServiceTags_China_20250825.json")), Cloud::Public);
    assert!(error.as_ref().is_err_and(|error| error.contains("other clouds")), "{error:?}");
}

#[test]
fn a_page_without_a_link_says_so() {
    for page in [
        "",
        "<html><title>We're sorry, this download is no longer available.</title></html>",
        "ServiceTags_",
        "<a href=\"https://download.microsoft.com/x/ServiceTags_Public_2025090.json\">",
        "<a href=\"https://download.microsoft.com/x/ServiceTags_Public_20251399.json\">",
        "<a href=\"https://download.microsoft.com/x/ServiceTags_Public_20250908.json.exe\">",
        "<a href=\"https://download.microsoft.com/x/ServiceTags_Publicity_20250908.json\">",
        "<a href=\"https://download.microsoft.com/x/OtherTags_Public_20250908.json\">",
    ] {
        let error = find(page, Cloud::Public).unwrap_err();
        assert!(error.contains("has no link to a publication of cloud public"), "{error}");
    }
}

#[test]
fn links_to_other_hosts_are_named_and_not_followed() {
    for wrong in [
        "https://download.microsoft.com.evil.example/ServiceTags_Public_20250908.json",
        "https://evil.example/download.microsoft.com/ServiceTags_Public_20250908.json",
        "http://download.microsoft.com/ServiceTags_Public_20250908.json",
        "//evil.example/ServiceTags_Public_20250908.json",
    ] {
        let error = find(&format!("<a href=\"{wrong}\">"), Cloud::Public).unwrap_err();
        assert!(error.contains("not allowed"), "{wrong}: {error}");
    }
    // Not even as an older one's better.
    let good = link("ServiceTags_Public_20250901.json");
    let page = format!(
        "<a href=\"https://evil.example/ServiceTags_Public_20990101.json\"><a href=\"{good}\">"
    );
    assert_eq!(find(&page, Cloud::Public), Ok(good));
    for odd in [
        "https://user:password@download.microsoft.com/ServiceTags_Public_20250908.json",
        "javascript:ServiceTags_Public_20250908.json",
        "data:ServiceTags_Public_20250908.json",
    ] {
        assert!(find(&format!("<a href=\"{odd}\">"), Cloud::Public).is_err(), "{odd}");
    }
}

#[test]
fn a_mirror_of_page_or_files_is_followed() {
    let page = Url::parse("https://mirror.example/azure/").unwrap();
    let listing = "<a href=\"ServiceTags_Public_20250901.json\">ServiceTags_Public_2025..&gt;</a>\n\
                   <a href=\"ServiceTags_Public_20250908.json\">ServiceTags_Public_2025..&gt;</a>";
    let found = newest(listing, &page, Cloud::Public, &Hosts::default(), None).unwrap();
    assert_eq!(found.as_str(), "https://mirror.example/azure/ServiceTags_Public_20250908.json");
    let file: FileUrl = "https://files.example/tags/{file}".parse().unwrap();
    let microsofts_page = format!("<a href=\"{}\">", link("ServiceTags_Public_20250908.json"));
    let found =
        newest(&microsofts_page, &page, Cloud::Public, &Hosts::default(), Some(&file)).unwrap();
    assert_eq!(found.as_str(), "https://files.example/tags/ServiceTags_Public_20250908.json");
}

#[test]
fn a_hostile_page_takes_no_quadratic_time() {
    // One word of 1 MB that names the pattern 100,000 times.
    let page = "ServiceTags_".repeat(100_000);
    assert!(find(&page, Cloud::Public).is_err());
}
