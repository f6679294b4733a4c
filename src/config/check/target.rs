//! What is wrong with a target: references, and settings of dialects that contradict each other.

use crate::config::target::check_panos;
use crate::config::{
    Azure, Config, Conntrack, Diagnostic, Dialect, Hostnames, Iptables, Name, Nftables,
    NftablesMode, Rest, RestLog, Target, nearest,
};

pub(super) fn check(config: &Config, name: &Name, target: &Target, found: &mut Vec<Diagnostic>) {
    if name.as_str().eq_ignore_ascii_case(Target::RESERVED_NAME) {
        found.push(
            Diagnostic::new(format!("no target may be called {name}"))
                .help("a generation keeps files of its own in a folder of this name"),
        );
    }
    if target.conntrack == Conntrack::Delete && !target.applies() {
        found.push(
            Diagnostic::new(format!(
                "targets.{name}: conntrack = \"delete\" needs apply = \"automatic\""
            ))
            .help("connections are deleted where the rules are loaded"),
        );
    }
    match target.dialects().as_slice() {
        [] => {
            found.push(Diagnostic::new(format!("targets.{name} has no dialect")).help(format!(
                "add one of {}",
                Target::DIALECTS.map(|dialect| format!("[targets.{name}.{dialect}]")).join(", ")
            )));
        }
        [one] => {
            check_dialect(config, name, *one, found);
            check_hostnames(name, target.hostnames, one.name(), found);
        }
        [first, second, ..] => found.push(
            Diagnostic::new(format!(
                "targets.{name} has two dialects, {} and {}",
                first.name(),
                second.name()
            ))
            .help("a target has one dialect; make a second target for the other"),
        ),
    }
    let known =
        |wanted: &Name| config.rules.contains_key(wanted) || config.apim.contains_key(wanted);
    for rule in target.rules.iter().flatten().filter(|rule| !known(rule.get_ref())) {
        let names = config.rules.keys().chain(config.apim.keys()).map(Name::as_str);
        found.push(unknown(&format!("targets.{name}.rules"), "rule or profile", rule, names));
    }
    let known =
        |wanted: &Name| config.groups.contains_key(wanted) || config.apim.contains_key(wanted);
    for group in target.groups.iter().flatten().filter(|group| !known(group.get_ref())) {
        let names = config.groups.keys().chain(config.apim.keys()).map(Name::as_str);
        found.push(unknown(&format!("targets.{name}.groups"), "group or profile", group, names));
    }
}

fn check_hostnames(
    name: &Name,
    hostnames: Option<Hostnames>,
    dialect: &str,
    found: &mut Vec<Diagnostic>,
) {
    match hostnames {
        Some(_) if dialect == "azure" => found.push(
            Diagnostic::new(format!(
                "targets.{name}: azure writes no groups, so `hostnames` says nothing"
            ))
            .help("leave it out"),
        ),
        Some(Hostnames::Native) if !Target::NATIVE_HOSTNAMES.contains(&dialect) => found.push(
            Diagnostic::new(format!("targets.{name}: {dialect} has no objects for hostnames"))
                .help("leave `hostnames` out: tagwall resolves them for this target"),
        ),
        _ => {}
    }
}

fn unknown<'n>(
    key: &str,
    what: &str,
    written: &toml::Spanned<Name>,
    names: impl Iterator<Item = &'n str>,
) -> Diagnostic {
    let names: Vec<&str> = names.collect();
    let diagnostic = Diagnostic::new(format!("{key}: no {what} `{}`", written.get_ref()))
        .at(written.span())
        .help(format!("there are: {}", names.join(", ")));
    match nearest(written.get_ref().as_str(), names.iter().copied()).first() {
        Some(near) => diagnostic.label(format!("did you mean `{near}`?")),
        None => diagnostic,
    }
}

fn check_dialect(config: &Config, name: &Name, dialect: Dialect<'_>, found: &mut Vec<Diagnostic>) {
    match dialect {
        Dialect::Nftables(settings) => {
            check_nftables(config, name, settings, found);
            check_log(name, &settings.log, found);
        }
        Dialect::Iptables(settings) => {
            check_log(name, &settings.log, found);
            if settings.chain.as_str().len() + "-OUT".len() > Iptables::MAX_CHAIN {
                found.push(Diagnostic::new(format!(
                    "targets.{name}.iptables.chain `{}` is too long: iptables takes {} characters, and \
                     tagwall adds `-OUT`",
                    settings.chain,
                    Iptables::MAX_CHAIN
                )));
            }
            if settings.rest != Rest::Return
                && settings.egress.is_empty()
                && rules_without_egress(config)
            {
                found.push(without_egress(name, "iptables"));
            }
        }
        Dialect::List(_) | Dialect::Json(_) => {}
        Dialect::Panos(settings) => check_panos(name, settings, found),
        Dialect::Fortios(settings) => settings.check(name, found),
        Dialect::Azure(settings) => {
            contradictions(name, "azure", settings.contradictions(), found);
            check_whole_table(config, name, settings, found);
        }
        Dialect::Custom(settings) => {
            contradictions(name, "custom", settings.contradictions(), found);
        }
    }
}

/// A whole table without the default route of a family deletes it for the subnets of every profile it carries.
fn check_whole_table(config: &Config, name: &Name, settings: &Azure, found: &mut Vec<Diagnostic>) {
    if !settings.whole_table || settings.default_route_next_hop_ipv6.is_some() {
        return;
    }
    let wanted = config.targets.get(name).and_then(|target| target.get_ref().rules.as_ref());
    let carried = |profile: &Name| {
        wanted.is_none_or(|wanted| wanted.iter().any(|wanted| wanted.get_ref() == profile))
    };
    for (profile, settings) in &config.apim {
        if carried(profile) && !settings.all_subnets().v6().is_empty() {
            found.push(
                Diagnostic::new(format!(
                    "targets.{name}.azure: apim.{profile} has IPv6 subnets, and deploying a whole table deletes \
                     their ::/0"
                ))
                .help("set default-route-next-hop-ipv6 to the address that ::/0 leads to"),
            );
        }
    }
}

fn contradictions(
    name: &Name,
    dialect: &str,
    wrong: Vec<(String, &'static str)>,
    found: &mut Vec<Diagnostic>,
) {
    for (message, help) in wrong {
        found.push(Diagnostic::new(format!("targets.{name}.{dialect}: {message}")).help(help));
    }
}

fn check_nftables(config: &Config, name: &Name, settings: &Nftables, found: &mut Vec<Diagnostic>) {
    match (settings.mode, settings.rest) {
        (NftablesMode::Own, Some(Rest::Return)) => found.push(
            Diagnostic::new(format!("targets.{name}.nftables: a table of its own opens nothing"))
                .label("with rest = \"return\" it would neither open nor close anything")
                .help(
                    "an accept in one table does not override a drop in another: use rest = \"drop\" or \
                     \"reject\", or mode = \"embed\"",
                ),
        ),
        (NftablesMode::Embed, Some(Rest::Drop | Rest::Reject)) => found.push(
            Diagnostic::new(format!(
                "targets.{name}.nftables: in embed mode the host's own rules decide about the rest"
            ))
            .help("leave `rest` out, or use mode = \"own\""),
        ),
        _ => {}
    }
    if settings.mode == NftablesMode::Own
        && settings.egress.is_empty()
        && rules_without_egress(config)
    {
        found.push(without_egress(name, "nftables"));
    }
}

fn rules_without_egress(config: &Config) -> bool {
    config.rules.values().any(|rule| rule.enabled && rule.interfaces.is_empty())
        || config.apim.values().any(|profile| profile.egress.is_empty())
}

fn without_egress(name: &Name, dialect: &str) -> Diagnostic {
    Diagnostic::new(format!(
        "targets.{name}.{dialect} enforces, but does not know the interface towards the internet"
    ))
    .help(
        "set `egress` (the interfaces towards the internet) here, or `interfaces`/`egress` on every rule and \
         profile: without it, traffic between the subnets and on-premises hosts would be cut too",
    )
}

fn check_log(name: &Name, log: &RestLog, found: &mut Vec<Diagnostic>) {
    if log.prefix.as_str().len() > RestLog::MAX_PREFIX {
        found.push(Diagnostic::new(format!(
            "targets.{name}: log.prefix has {} characters; at most {} fit into a log line's prefix",
            log.prefix.as_str().len(),
            RestLog::MAX_PREFIX
        )));
    }
    if log.per_second == 0 {
        found.push(Diagnostic::new(format!(
            "targets.{name}: log.per-second is 0; set log.enabled = false to log nothing"
        )));
    }
}
