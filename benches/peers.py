#!/usr/bin/env python3
"""Writes what capirca and aerleon need to do what tagwall does with benches/five-targets.toml.

    peers.py PUBLICATION FOLDER [--with-iptables]

FOLDER gets `def/` (networks and services), `pol/` (a policy for each platform, all seven groups, both families, a term for
each group and family) for both programs, and empty `out-capirca/` and `out-aerleon/`.
"""
import json
import pathlib
import sys

GROUPS = {
    "STORAGE": ("Storage", ["HTTPS"]),
    "SQL": ("Sql", ["MSSQL"]),
    "KEY_VAULT": ("AzureKeyVault", ["HTTPS"]),
    "EVENT_HUB": ("EventHub", ["HTTPS", "AMQP"]),
    "ENTRA": ("AzureActiveDirectory", ["HTTPS"]),
    "MONITOR": ("AzureMonitor", ["HTTPS", "MONITOR_AGENT"]),
    "API_MANAGEMENT": ("ApiManagement", ["HTTPS"]),
}
SERVICES = {"HTTPS": "443/tcp", "MSSQL": "1433/tcp", "AMQP": "5671-5672/tcp", "MONITOR_AGENT": "1886/tcp"}
# A header for each platform. Where one policy holds one family, there is one for each.
PLATFORMS = {
    "nftables": ["nftables mixed output"],
    "ipset": ["ipset OUTPUT DROP", "ipset OUTPUT DROP inet6"],
    "paloalto": ["paloalto from-zone inside to-zone outside mixed"],
    "fortigate": ["fortigate from-zone inside to-zone outside mixed"],
}


# What both programs write one rule an address for: most of their time, where it is asked for.
IPTABLES = {"iptables": ["iptables OUTPUT DROP", "iptables OUTPUT DROP inet6"]}


def main(publication, folder, *options):
    platforms = {**PLATFORMS, **(IPTABLES if "--with-iptables" in options else {})}
    document = json.loads(pathlib.Path(publication).read_text())
    tags = {tag["name"]: tag["properties"]["addressPrefixes"] for tag in document["values"]}
    folder = pathlib.Path(folder)
    for name in ["def", "capirca/pol", "aerleon/pol", "out-capirca", "out-aerleon"]:
        (folder / name).mkdir(parents=True, exist_ok=True)
    own = "OWN = 10.20.0.0/24\n      fd00:20::/64\n"
    networks = [own]
    for group, (tag, _) in GROUPS.items():
        networks.append(f"{group} = " + "\n  ".join(tags[tag]) + "\n")
    (folder / "def/AZURE.net").write_text("\n".join(networks))
    (folder / "def/AZURE.svc").write_text("".join(f"{n} = {p}\n" for n, p in SERVICES.items()))
    for program, missing in [("capirca", {"fortigate"}), ("aerleon", set())]:
        for platform, targets in platforms.items():
            if platform in missing:
                continue
            for index, target in enumerate(targets):
                text = f"header {{\n  target:: {target}\n}}\n"
                for group, (_, services) in GROUPS.items():
                    text += (
                        f"term {group.lower().replace('_', '-')} {{\n  source-address:: OWN\n"
                        f"  destination-address:: {group}\n  destination-port:: {' '.join(services)}\n"
                        "  protocol:: tcp\n  action:: accept\n}\n"
                    )
                (folder / f"{program}/pol/{platform}{index}.pol").write_text(text)


if __name__ == "__main__":
    main(*sys.argv[1:])
