//! Which rules of legacy iptables a packet met, by counters: the kernel does not trace them.

use std::collections::BTreeMap;

use super::report::{Backend, Step, StepRule};

/// The packets that each rule and policy of legacy iptables counted.
#[derive(Clone, Debug, Default)]
pub(super) struct Counters {
    /// By family, table and place: the line, its packets.
    lines: BTreeMap<(&'static str, String, usize), (String, u64)>,
}

impl Counters {
    /// Adds what `iptables-legacy-save -c` printed.
    pub(super) fn add(&mut self, family: &'static str, saved: &str) {
        let mut table = String::new();
        for (place, line) in saved.lines().enumerate() {
            if let Some(name) = line.strip_prefix('*') {
                name.clone_into(&mut table);
            } else if let Some((rule, packets)) = counted(line) {
                self.lines.insert((family, table.clone(), place), (rule, packets));
            }
        }
    }

    /// A step for each table with rules that counted more packets than `before`.
    pub(super) fn since(&self, before: &Self) -> Vec<Step> {
        let mut steps: Vec<Step> = Vec::new();
        for (key @ (family, table, _), (line, packets)) in &self.lines {
            let earlier = before.lines.get(key).map_or(0, |(_, packets)| *packets);
            if *packets <= earlier {
                continue;
            }
            if steps.last().is_none_or(|step| step.family != *family || step.table != *table) {
                steps.push(Step::new(Backend::IptablesLegacy, family, table));
            }
            if let Some(step) = steps.last_mut() {
                met(step, line);
            }
        }
        steps
    }
}

/// A rule or policy with its packets; none for other lines and for chains without a policy.
fn counted(line: &str) -> Option<(String, u64)> {
    let packets = |counters: &str| counters.split(':').next()?.parse().ok();
    if let Some(rest) = line.strip_prefix('[') {
        let (counters, rule) = rest.split_once("] ")?;
        return Some((rule.to_owned(), packets(counters)?));
    }
    let (chain, counters) = line.strip_prefix(':')?.split_once(" [")?;
    let (_, policy) = chain.split_once(' ')?;
    (policy != "-").then_some(())?;
    Some((chain.to_owned(), packets(counters.trim_end_matches(']'))?))
}

/// Adds a line that a packet met to the step of its table. A rule that drops outweighs everything:
/// one packet meets at most one of them.
fn met(step: &mut Step, line: &str) {
    let Some(rule) = line.strip_prefix("-A ") else {
        let (chain, policy) = line.split_once(' ').unwrap_or((line, ""));
        let verdict = policy.to_lowercase();
        if step.verdict != "drop" || step.by_policy {
            chain.clone_into(&mut step.chain);
            step.by_policy = true;
            if step.verdict != "drop" {
                step.verdict = verdict;
            }
        }
        return;
    };
    let chain = rule.split(' ').next().unwrap_or_default();
    let target = rule
        .split_once(" -j ")
        .or_else(|| rule.split_once(" -g "))
        .map_or("continue", |(_, target)| target.split(' ').next().unwrap_or_default());
    let verdict = match target {
        "DROP" | "REJECT" => "drop",
        "ACCEPT" => "accept",
        _ => "continue",
    };
    let drops_already = step.verdict == "drop";
    if verdict != "continue" && (!drops_already || step.by_policy) {
        chain.clone_into(&mut step.chain);
        verdict.clone_into(&mut step.verdict);
        step.by_policy = false;
    }
    step.rules.push(StepRule {
        chain: chain.to_owned(),
        rule: line.to_owned(),
        verdict: verdict.to_owned(),
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEFORE: &str = "*filter\n:INPUT ACCEPT [5:300]\n:FORWARD DROP [0:0]\n:X - [0:0]\n\
                          [0:0] -A FORWARD -j X\n[0:0] -A X -p tcp -j REJECT\nCOMMIT\n";

    fn since(after: &str) -> Vec<Step> {
        let (mut before, mut now) = (Counters::default(), Counters::default());
        before.add("ip", BEFORE);
        now.add("ip", after);
        now.since(&before)
    }

    #[test]
    fn counted_rules_are_the_path() {
        assert!(since(BEFORE).is_empty());
        let steps = since(&BEFORE.replace("[0:0] -A", "[1:60] -A"));
        assert_eq!(steps.len(), 1);
        assert_eq!((steps[0].verdict.as_str(), steps[0].chain.as_str()), ("drop", "X"));
        assert!(!steps[0].by_policy);
        assert_eq!(steps[0].rules.len(), 2);
    }

    #[test]
    fn a_counted_policy_decides() {
        let steps = since(&BEFORE.replace("FORWARD DROP [0:0]", "FORWARD DROP [1:60]"));
        assert_eq!((steps[0].verdict.as_str(), steps[0].chain.as_str()), ("drop", "FORWARD"));
        assert!(steps[0].by_policy);
    }
}
