//! What is told of a hold: when it begins, when its reason is gone, and nothing while it goes on.

use super::*;

/// The words for what a judgement said of holds.
fn told(judgement: &Judgement) -> Vec<&'static str> {
    let events = judgement.events.iter();
    events
        .filter_map(|event| match event {
            Event::Held { .. } => Some("held"),
            Event::Released { .. } => Some("released"),
            Event::Lapsed { .. } => Some("lapsed"),
            _ => None,
        })
        .collect()
}

fn grown(number: u32) -> Publication {
    let other = format!("198.51.100.{number}/32");
    publication(&[("Web", &["192.0.2.0/26", "192.0.2.128/25"]), ("Other", &[&other])])
}

/// A host that holds an addition, of which it told.
fn holding() -> Host {
    let mut host = Host::with(WEB, &[("Web", &["192.0.2.0/26"])]);
    host.pass(7);
    assert_eq!(told(&host.offer(&grown(1))), ["held"]);
    host
}

#[test]
fn a_hold_is_told_of_when_it_begins_and_when_its_reason_is_gone() {
    let mut host = holding();
    host.pass(1);
    assert_eq!(told(&host.offer(&grown(2))), [] as [&str; 0]);
    host.pass(1);
    let taken_back = publication(&[("Web", &["192.0.2.0/26"])]);
    assert_eq!(told(&host.offer(&taken_back)), ["lapsed"]);
    host.pass(1);
    assert_eq!(told(&host.offer(&grown(3))), ["held"]);
}

#[test]
fn what_a_person_decided_has_not_lapsed() {
    for verdict in [Verdict::Approve, Verdict::Reject] {
        let mut host = holding();
        host.decide(verdict);
        assert_eq!(told(&host.offer(&grown(1))), [] as [&str; 0], "{verdict:?}");
        assert_eq!(host.held(), []);
    }
}

#[test]
fn what_is_suspicious_of_two_groups_is_one_hold_where_it_is_the_same_space() {
    let config = format!(
        "{WEB}[groups.all]\ntags = [\"Web\", \"Mail\"]\n[groups.mail]\ntags = [\"Mail\"]\n"
    );
    let (web, mail) = ("192.0.2.0/26", "203.0.113.0/26");
    let mut host = Host::with(&config, &[("Web", &[web]), ("Mail", &[mail])]);
    host.pass(7);
    let foreign = ["192.0.3.0/28", "192.0.4.0/28"];
    host.offer(&publication(&[("Web", &[web, foreign[0]]), ("Mail", &[mail, foreign[1]])]));
    let holds = host.belief.holds().iter().map(|hold| {
        let mut groups: Vec<String> =
            hold.groups.iter().map(|group| group.name.to_string()).collect();
        groups.sort();
        (groups.join(" "), hold.space.clone())
    });
    let mut holds: Vec<_> = holds.collect();
    holds.sort_by(|left, right| left.0.cmp(&right.0));
    assert_eq!(
        holds,
        [
            ("all".to_owned(), set(&foreign)),
            ("mail".to_owned(), set(&foreign[1..])),
            ("web".to_owned(), set(&foreign[..1])),
        ]
    );
    // The same of one group and of another: one hold for both.
    let mut host = Host::with(&config.replace("\"Web\", ", ""), &[("Mail", &[mail])]);
    host.pass(7);
    host.offer(&publication(&[("Mail", &[mail, foreign[1]])]));
    assert_eq!((host.held().len(), host.belief.holds()[0].groups.len()), (1, 2));
}
