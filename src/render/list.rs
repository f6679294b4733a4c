//! The list dialect: one prefix a line, a file for each group.

use tera::Context;

use super::context::{GroupContext, packed_nets};
use super::{File, Job, RenderError};
use crate::config::{List, ListLayout};
use crate::os::two;
use crate::ruleset::AddressGroup;

/// The templates of this dialect.
pub(super) const TEMPLATES: &[(&str, &str)] =
    &[(TEMPLATE, include_str!("../../templates/list/group.txt"))];

const TEMPLATE: &str = "list/group.txt";

pub(super) fn render(job: &Job<'_>, settings: &List) -> Result<Vec<File>, RenderError> {
    let header = if settings.header { job.header() } else { Vec::new() };
    let files = |group| files_of(job, group, settings, &header);
    let groups = two::map_small(&job.part.groups, files);
    let groups: Vec<Vec<File>> = groups.into_iter().collect::<Result<_, _>>()?;
    Ok(groups.into_iter().flatten().collect())
}

/// The files of one group.
fn files_of(
    job: &Job<'_>,
    group: &AddressGroup,
    settings: &List,
    header: &[String],
) -> Result<Vec<File>, RenderError> {
    let mut files = Vec::new();
    let (v4, v6) = (group.prefixes.v4(), group.prefixes.v6());
    let whole = match settings.layout {
        ListLayout::Together => vec![(group.name.to_string(), packed_nets(v4, v6))],
        ListLayout::Apart => vec![
            (format!("{}-v4", group.name), packed_nets(v4, &[])),
            (format!("{}-v6", group.name), packed_nets(&[], v6)),
        ],
    };
    let pieces = whole.into_iter().flat_map(|(name, text)| match settings.parts {
        None => vec![(format!("{name}.txt"), text)],
        Some(parts) => {
            let number = |(part, text)| (format!("{name}-{}.txt", part + 1), text);
            spread(&text, parts.get()).into_iter().enumerate().map(number).collect()
        }
    });
    for (name, prefixes) in pieces {
        let count = prefixes.lines().count();
        // A reader takes an empty list for "nothing is allowed"; hostnames without addresses are in the summary.
        if count == 0 {
            continue;
        }
        if let Some(limit) = settings.max_entries {
            let ways_out = "raise `max-entries` or `parts`, select regional tags, split the group, or `fit` it";
            job.limits.check(format!("list {name}"), "prefixes", count, limit, ways_out)?;
        }
        let mut context = Context::new();
        context.insert("header", header);
        // The built-in template does not look at it, and it holds all prefixes once more.
        if job.templates.overrides(TEMPLATE) {
            context.insert("group", &GroupContext::of(group));
        }
        context.insert("prefixes", &prefixes);
        let bytes = prefixes.len() + 256;
        files.push(File::new(name, job.templates.render_large(TEMPLATE, &context, bytes)?));
    }
    Ok(files)
}

/// Lines spread over parts: each goes where its number for that part is the greatest (rendezvous hashing). So a line's part
/// depends on nothing but the line, and a part that is added only takes lines, which no other part gets.
fn spread(text: &str, parts: u8) -> Vec<String> {
    let mut spread = vec![String::new(); usize::from(parts)];
    for line in text.lines() {
        let part = (0..parts).max_by_key(|part| weight(line, *part)).unwrap_or(0);
        spread[usize::from(part)].push_str(line);
        spread[usize::from(part)].push('\n');
    }
    spread
}

/// FNV-1a, and the finish of MurmurHash3 so that a last digit changes every bit. Its values decide what is in which file: they
/// must stay as they are.
fn weight(line: &str, part: u8) -> u64 {
    let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    let mut hash = std::iter::once(part).chain(line.bytes()).fold(0xcbf2_9ce4_8422_2325, step);
    for factor in [0xff51_afd7_ed55_8ccd, 0xc4ce_b9fe_1a85_ec53] {
        hash = (hash ^ (hash >> 33)).wrapping_mul(factor);
    }
    hash ^ (hash >> 33)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(count: u32) -> Vec<String> {
        (0..count)
            .map(|n| format!("{}/32\n", std::net::Ipv4Addr::from_bits(0xc612_0000 + n)))
            .collect()
    }

    #[test]
    fn parts_are_even_and_whole_and_in_order() {
        let text = lines(10_000).concat();
        let parts = spread(&text, 4);
        for part in &parts {
            assert!((2_300..2_700).contains(&part.lines().count()), "{}", part.lines().count());
        }
        let mut all: Vec<&str> = parts.iter().flat_map(|part| part.lines()).collect();
        assert_eq!(all.len(), 10_000);
        let address = |line: &str| line[..line.len() - 3].parse::<std::net::Ipv4Addr>().unwrap();
        assert!(parts.iter().all(|part| part.lines().map(address).is_sorted()));
        all.sort_unstable();
        let mut expected: Vec<&str> = text.lines().collect();
        expected.sort_unstable();
        assert_eq!(all, expected);
    }

    #[test]
    fn what_comes_and_goes_moves_nothing_else() {
        let all = lines(2_000);
        let some: String = all.iter().step_by(3).map(String::as_str).collect();
        let (of_all, of_some) = (spread(&all.concat(), 5), spread(&some, 5));
        for (some, all) in of_some.iter().zip(&of_all) {
            assert!(some.lines().all(|line| all.contains(&format!("{line}\n"))));
        }
        // One part more: every line stays, or is in the new part.
        let more = spread(&all.concat(), 6);
        for (before, after) in of_all.iter().zip(&more) {
            assert!(after.lines().all(|line| before.contains(&format!("{line}\n"))));
        }
        assert!((250..420).contains(&more[5].lines().count()), "{}", more[5].lines().count());
        // The values are part of what users have on their devices.
        assert_eq!(weight("192.0.2.0/24", 0), 0xd09a_58d3_6b4f_b498);
    }
}
