"""Reads Azure files with parsers that are not tagwall's, and prints what they mean as JSON.

usage: read.py FORMAT FILE...   (arm: azure-mgmt-network's models; terraform: python-hcl2; bicep: tree-sitter's grammar)
"""
import json
import re
import sys

ROUTES = "Microsoft.Network/routeTables/routes"
RULES = "Microsoft.Network/networkSecurityGroups/securityRules"
TABLE = "Microsoft.Network/routeTables"
routes, rules, tables = [], [], []


def one_or_many(one, many):
    assert (one is None) != (not many), (one, many)
    return [one] if one is not None else list(many)


def from_properties(kind, name, properties, children):
    """Takes the JSON form of a resource through the models of Azure's SDK."""
    from azure.mgmt.network import models

    def enum(cls, value):
        assert value in [member.value for member in cls], (cls, value)
        return str(getattr(value, "value", value))

    if kind == ROUTES:
        route = models.Route({"name": name, "properties": properties})
        known = {"addressPrefix", "nextHopType", "nextHopIpAddress"}
        assert set(properties) <= known, properties
        routes.append({
            "name": route.name, "parent": children, "prefix": route.properties.address_prefix,
            "hop": enum(models.RouteNextHopType, route.properties.next_hop_type),
            "address": route.properties.next_hop_ip_address,
        })
    elif kind == RULES:
        rule = models.SecurityRule({"name": name, "properties": properties}).properties
        known = {attribute._rest_name for attribute in rule._attr_to_rest_field.values()}
        assert set(properties) <= known, set(properties) - known
        enum(models.SecurityRuleAccess, rule.access)
        rules.append({
            "name": name, "parent": children, "description": rule.description, "priority": rule.priority,
            "access": str(getattr(rule.access, "value", rule.access)),
            "direction": enum(models.SecurityRuleDirection, rule.direction),
            "protocol": enum(models.SecurityRuleProtocol, rule.protocol),
            "sources": one_or_many(rule.source_address_prefix, rule.source_address_prefixes),
            "destinations": one_or_many(rule.destination_address_prefix, rule.destination_address_prefixes),
            "source_ports": one_or_many(rule.source_port_range, rule.source_port_ranges),
            "ports": one_or_many(rule.destination_port_range, rule.destination_port_ranges),
        })
    elif kind == TABLE:
        table = models.RouteTable({"name": name, "properties": properties}).properties
        tables.append({"name": name, "no_bgp": table.disable_bgp_route_propagation})
        for route in properties["routes"]:
            from_properties(ROUTES, route["name"], route["properties"], name)
    else:
        raise AssertionError(kind)


def arm(path):
    def distinct(pairs):
        assert len({key for key, _ in pairs}) == len(pairs), pairs
        return dict(pairs)

    document = json.load(open(path), object_pairs_hook=distinct)
    assert document["contentVersion"] == "1.0.0.0" and document["metadata"]["tagwall"]
    before = None
    for resource in document["resources"]:
        kind, name = resource["type"], resource["name"]
        assert resource["apiVersion"] == "2024-05-01"
        parent = None
        if kind != TABLE:
            parent, name = name.split("/")
            expected = [f"[resourceId('{kind}', '{parent}', '{before}')]"] if before else None
            assert resource.get("dependsOn") == expected, resource
            before = name
        from_properties(kind, name, resource["properties"], parent)


def bicep(path):
    import tree_sitter
    import tree_sitter_bicep

    parser = tree_sitter.Parser(tree_sitter.Language(tree_sitter_bicep.language()))
    source = open(path, "rb").read()
    root = parser.parse(source).root_node
    assert not root.has_error, root

    def text(node):
        return source[node.start_byte:node.end_byte].decode()

    def string(raw):
        assert raw[0] == raw[-1] == "'" and len(raw) >= 2, raw
        body, out, at = raw[1:-1], "", 0
        while at < len(body):
            if body[at] == "\\":
                out += {"n": "\n", "r": "\r", "t": "\t"}.get(body[at + 1], body[at + 1])
                at += 2
            else:
                assert body[at] != "'" and body[at:at + 2] != "${", raw
                out += body[at]
                at += 1
        return out

    def value(node):
        if node.type == "object":
            return {text(pair.named_children[0]): value(pair.named_children[1])
                    for pair in node.named_children if pair.type == "object_property"}
        if node.type == "array":
            return [value(child) for child in node.named_children if child.type != "comment"]
        if node.type == "string":
            return string(text(node))
        if node.type == "number":
            return int(text(node))
        if node.type == "boolean":
            return text(node) == "true"
        if len(node.named_children) == 1:
            return value(node.named_children[0])
        return ("symbol", text(node))

    symbols, before = {}, None
    for node in root.named_children:
        if node.type in ("comment", "diagnostic_comment"):
            continue
        assert node.type == "resource_declaration", node.type
        parts = [child for child in node.named_children if child.type != "comment"]
        symbol, kind = text(parts[0]), string(text(parts[1]))
        kind, _, version = kind.partition("@")
        assert version == "2024-05-01" and symbol not in symbols, symbol
        body = value(parts[-1])
        existing = any(text(child) == "existing" for child in node.children)
        if existing:
            assert set(body) == {"name"}, body
            symbols[symbol] = body["name"]
            continue
        parent = symbols[body["parent"][1]] if "parent" in body else None
        assert body.get("dependsOn") == ([("symbol", before)] if before else None), body
        symbols[symbol] = body["name"]
        before = symbol
        from_properties(kind, body["name"], body["properties"], parent)


def terraform(path):
    import hcl2

    document = hcl2.load(open(path))

    def plain(item):
        if isinstance(item, str):
            if not (len(item) >= 2 and item[0] == item[-1] == '"'):
                return item
            body = re.sub(r"\\(.)", lambda m: {"n": "\n", "t": "\t", "r": "\r"}.get(m[1], m[1]), item[1:-1])
            return body.replace("$${", "${").replace("%%{", "%{")
        if isinstance(item, list):
            return [plain(child) for child in item]
        if isinstance(item, dict):
            return {plain(key): plain(child) for key, child in item.items() if not key.startswith("__")}
        return item

    groups = set()
    for resource in document.get("resource", []):
        for kind, labelled in plain(resource).items():
            for label, body in labelled.items():
                assert (kind, label) not in groups, label
                groups.add((kind, label))
                if kind == "azurerm_route":
                    assert set(body) == {"name", "resource_group_name", "route_table_name", "address_prefix", "next_hop_type"}
                    routes.append({"name": body["name"], "parent": body["route_table_name"], "prefix": body["address_prefix"],
                                   "hop": body["next_hop_type"], "address": None})
                elif kind == "azurerm_route_table":
                    bgp = body.get("bgp_route_propagation_enabled")
                    tables.append({"name": body["name"], "no_bgp": None if bgp is None else not bgp})
                    for route in body["route"]:
                        routes.append({"name": route["name"], "parent": body["name"], "prefix": route["address_prefix"],
                                       "hop": route["next_hop_type"], "address": route.get("next_hop_in_ip_address")})
                elif kind == "azurerm_network_security_rule":
                    rules.append({
                        "name": body["name"], "parent": body["network_security_group_name"],
                        "description": body["description"], "priority": body["priority"], "access": body["access"],
                        "direction": body["direction"], "protocol": body["protocol"],
                        "sources": one_or_many(body.get("source_address_prefix"), body.get("source_address_prefixes")),
                        "destinations": one_or_many(body.get("destination_address_prefix"), body.get("destination_address_prefixes")),
                        "source_ports": one_or_many(body.get("source_port_range"), body.get("source_port_ranges")),
                        "ports": one_or_many(body.get("destination_port_range"), body.get("destination_port_ranges")),
                    })
                else:
                    assert kind == "azurerm_subnet_route_table_association", kind


for path in sys.argv[2:]:
    {"arm": arm, "bicep": bicep, "terraform": terraform}[sys.argv[1]](path)
json.dump({"routes": routes, "rules": rules, "tables": tables}, sys.stdout)
