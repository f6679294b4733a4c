//! What serde cannot see: references between tables, and settings that contradict each other. Those of targets are in `target`.

mod target;

use std::collections::BTreeSet;

use super::{
    Apim, Config, DefaultRoute, Diagnostic, Direction, Endpoint, Name, NetworkMode, Subnets,
    nearest,
};

/// Everything that is wrong, in the order of the tables.
pub(super) fn check(config: &Config) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    for (name, profile) in &config.apim {
        check_apim(name, profile, &mut found);
    }
    check_groups(config, &mut found);
    check_rules(config, &mut found);
    for (name, target) in &config.targets {
        let before = found.len();
        target::check(config, name, target.get_ref(), &mut found);
        for diagnostic in &mut found[before..] {
            if diagnostic.span.is_none() {
                diagnostic.span = Some(target.span());
            }
        }
    }
    for mut diagnostic in super::dns::check_dns(&config.dns) {
        diagnostic.span = line_that_starts(config, "[dns");
        found.push(diagnostic);
    }
    check_feeds(config, &mut found);
    check_notify(config, &mut found);
    check_guard(config, &mut found);
    check_agent(config, &mut found);
    check_serve(config, &mut found);
    for (settings, limit, key) in [
        (config.document.widest_ipv4, 32, "widest-ipv4"),
        (config.document.widest_ipv6, 128, "widest-ipv6"),
    ] {
        if settings == 0 || settings > limit {
            let mut diagnostic = Diagnostic::new(format!(
                "document.{key} is {settings}; it is a prefix length from 1 to {limit}"
            ));
            diagnostic.span = line_that_starts(config, key);
            found.push(diagnostic);
        }
    }
    found
}

fn check_guard(config: &Config, found: &mut Vec<Diagnostic>) {
    let of_profile = |name: &Name, profile: &Name| {
        let (name, prefix) = (name.as_str().to_lowercase(), format!("apim-{profile}-"));
        name.starts_with(&prefix.to_lowercase())
    };
    let known = |name: &Name| {
        config.groups.contains_key(name)
            || config.apim.contains_key(name)
            || config.apim.keys().any(|profile| of_profile(name, profile))
    };
    let mut wrong = Vec::new();
    config.guard.check(&known, &mut wrong);
    for (line, mut diagnostic) in wrong {
        diagnostic.span = line_that_starts(config, &line);
        found.push(diagnostic);
    }
}

fn check_agent(config: &Config, found: &mut Vec<Diagnostic>) {
    let agent = &config.agent;
    if agent.maximum_delay < agent.quiet_period {
        found.push(
            Diagnostic::new(format!(
                "agent.maximum-delay ({}) is shorter than agent.quiet-period ({})",
                agent.maximum_delay, agent.quiet_period
            ))
            .help("changes wait for the quiet period, and at most for the maximum delay"),
        );
    }
    if agent.socket.as_ref().is_some_and(|path| !path.is_absolute()) {
        found.push(Diagnostic::new("agent.socket is not an absolute path"));
    }
    for (name, _) in agent.calendar.freezes.iter().filter(|(_, freeze)| freeze.is_backwards()) {
        found.push(Diagnostic::new(format!("agent.calendar.freezes.{name} ends before it begins")));
    }
}

fn check_notify(config: &Config, found: &mut Vec<Diagnostic>) {
    for (name, receiver) in &config.notify {
        let before = found.len();
        receiver.get_ref().check(name, found);
        for diagnostic in &mut found[before..] {
            if diagnostic.span.is_none() {
                diagnostic.span = Some(receiver.span());
            }
        }
    }
}

fn check_feeds(config: &Config, found: &mut Vec<Diagnostic>) {
    for (name, feed) in &config.feeds {
        let before = found.len();
        feed.get_ref().check(name, config, found);
        for diagnostic in &mut found[before..] {
            if diagnostic.span.is_none() {
                diagnostic.span = Some(feed.span());
            }
        }
    }
}

/// The place of what carries no span of its own, when a line starts with it as it is usually written.
fn line_that_starts(config: &Config, with: &str) -> Option<std::ops::Range<usize>> {
    let mut start = 0;
    for line in config.text().split_inclusive('\n') {
        if line.starts_with(with) {
            return Some(start..start + line.trim_end().len());
        }
        start += line.len();
    }
    None
}

fn check_serve(config: &Config, found: &mut Vec<Diagnostic>) {
    let Some(serve) = &config.serve else { return };
    let span = line_that_starts(config, "[serve");
    for (message, help) in serve.contradictions() {
        let mut diagnostic = Diagnostic::new(message).help(help);
        diagnostic.span.clone_from(&span);
        found.push(diagnostic);
    }
}

fn check_apim(name: &Name, profile: &Apim, found: &mut Vec<Diagnostic>) {
    let regions = profile.regions.get_ref();
    if regions.is_empty() {
        found.push(
            Diagnostic::new(format!("apim.{name} has no region"))
                .at(profile.regions.span())
                .help("name at least one; the first is the primary region"),
        );
    }
    let distinct: BTreeSet<_> = regions.iter().collect();
    if distinct.len() != regions.len() {
        found.push(
            Diagnostic::new(format!("apim.{name} names a region twice")).at(profile.regions.span()),
        );
    }
    if let Subnets::ByRegion(by_region) = profile.subnets.get_ref() {
        let unknown = by_region.keys().find(|region| !distinct.contains(region));
        let without = regions.iter().find(|region| !by_region.contains_key(*region));
        if let Some(region) = unknown.or(without) {
            found.push(
                Diagnostic::new(format!(
                    "apim.{name}: the regions of `subnets` and `regions` differ in {region}"
                ))
                .at(profile.subnets.span())
                .help("each region has its own list of subnets"),
            );
        }
    }
    let subnets = profile.all_subnets();
    if subnets.is_empty() {
        found
            .push(Diagnostic::new(format!("apim.{name} has no subnet")).at(profile.subnets.span()));
    }
    let tunnelled = |route| profile.tunnelled.contains(&route);
    for (has_family, route, family, text) in [
        (!subnets.v4().is_empty(), DefaultRoute::Ipv4, "IPv4", "0.0.0.0/0"),
        (!subnets.v6().is_empty(), DefaultRoute::Ipv6, "IPv6", "::/0"),
    ] {
        if has_family && !tunnelled(route) {
            found.push(
                Diagnostic::new(format!(
                    "apim.{name} has {family} subnets, but {text} is not tunnelled"
                ))
                .at(profile.subnets.span())
                .label(format!("{family} traffic of these leaves Azure without passing this firewall"))
                .help(format!(
                    "route {text} of the subnet to the firewall and add \"{text}\" to `tunnelled`, or leave \
                     the {family} prefixes out"
                )),
            );
        }
    }
    let clients = profile.clients.get_ref();
    if profile.network == NetworkMode::Internal && !clients.is_empty() {
        found.push(
            Diagnostic::new(format!("apim.{name} is internal: it has no clients on the internet"))
                .at(profile.clients.span())
                .help("leave `clients` out, or set network = \"external\""),
        );
    }
    for client in clients {
        let widest = match client.0 {
            ipnet::IpNet::V4(_) => Apim::WIDEST_CLIENT_V4,
            ipnet::IpNet::V6(_) => Apim::WIDEST_CLIENT_V6,
        };
        if client.0.prefix_len() < widest && !profile.allow_wide_clients.contains(client) {
            found.push(
                Diagnostic::new(format!("apim.{name}: the client {client} is wider than /{widest}"))
                    .at(profile.clients.span())
                    .label("its route takes all traffic of the subnet to these addresses past the firewall")
                    .help(format!(
                        "narrow it, or add \"{client}\" to `allow-wide-clients` if that is what you want"
                    )),
            );
        }
    }
}

fn check_groups(config: &Config, found: &mut Vec<Diagnostic>) {
    for (name, group) in &config.groups {
        if group.tags.is_empty() && group.prefixes.is_empty() && group.hosts.is_empty() {
            let mut diagnostic = Diagnostic::new(format!(
                "groups.{name} selects nothing: give it `tags`, `prefixes` or `hosts`"
            ));
            diagnostic.span = line_that_starts(config, &format!("[groups.{name}]"));
            found.push(diagnostic);
        }
        if let Some(fit) = &group.fit
            && !group.hosts.is_empty()
        {
            found.push(
                Diagnostic::new(format!("groups.{name} has `fit` and `hosts`"))
                    .at(fit.span())
                    .label("addresses of hostnames come and go at any time, beside what is fitted")
                    .help("put the hostnames into a group of their own, with a rule of its own"),
            );
        }
        if group.tags.is_empty()
            && let Some(region) = group.regions.first()
        {
            found.push(
                Diagnostic::new(format!("groups.{name} has `regions` but no `tags`"))
                    .at(region.span())
                    .help("with regions, `tags` names the services: tags = [\"Storage\"]"),
            );
        }
        if !group.regions.is_empty() {
            for tag in &group.tags {
                if tag.get_ref().to_string().contains(['.', '*']) {
                    found.push(
                        Diagnostic::new(format!(
                            "groups.{name}: with `regions`, `{}` must be a service without a region",
                            tag.get_ref()
                        ))
                        .at(tag.span()),
                    );
                }
            }
        }
    }
}

fn check_rules(config: &Config, found: &mut Vec<Diagnostic>) {
    for (name, rule) in &config.rules {
        let (own, remote) = match rule.direction {
            Direction::Outbound => (("source", &rule.source), ("destination", &rule.destination)),
            Direction::Inbound => (("destination", &rule.destination), ("source", &rule.source)),
        };
        let direction = rule.direction.name();
        match own.1.get_ref() {
            Endpoint::Prefixes(prefixes) if prefixes.is_empty() => found.push(
                Diagnostic::new(format!("rules.{name}.{} is empty", own.0)).at(own.1.span()).help(
                    "a rule without own prefixes would let anyone through; name the subnets it is for",
                ),
            ),
            Endpoint::Prefixes(_) => {}
            Endpoint::Group(_) => found.push(
                Diagnostic::new(format!(
                    "rules.{name} is {direction}: its {} is a list of own prefixes",
                    own.0
                ))
                .at(own.1.span())
                .help(format!("write {} = [\"10.20.0.0/24\"]", own.0)),
            ),
        }
        match remote.1.get_ref() {
            Endpoint::Group(group) if config.groups.contains_key(group) => {}
            Endpoint::Group(group) => {
                let names = config.groups.keys().map(Name::as_str);
                let near = nearest(group.as_str(), names).first().copied();
                let mut diagnostic =
                    Diagnostic::new(format!("rules.{name}.{}: no group `{group}`", remote.0))
                        .at(remote.1.span());
                if let Some(near) = near {
                    diagnostic = diagnostic.label(format!("did you mean `{near}`?"));
                }
                let all: Vec<_> = config.groups.keys().map(Name::as_str).collect();
                found.push(diagnostic.help(match all.as_slice() {
                    [] => format!("define it under [groups.{group}]"),
                    all => format!("groups: {}", all.join(", ")),
                }));
            }
            Endpoint::Prefixes(_) => found.push(
                Diagnostic::new(format!(
                    "rules.{name} is {direction}: its {} is the name of a group",
                    remote.0
                ))
                .at(remote.1.span())
                .help("put the prefixes into a group: [groups.NAME] prefixes = [...]"),
            ),
        }
        if rule.services.get_ref().is_empty() {
            found.push(
                Diagnostic::new(format!("rules.{name} has no service"))
                    .at(rule.services.span())
                    .help("name protocols and ports: services = [\"tcp/443\"]"),
            );
        }
    }
}
