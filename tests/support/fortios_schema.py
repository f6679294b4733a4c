"""Says of every attribute and value whether a FortiOS version has it, by the schemas of Ansible's fortinet.fortios.

Usage: fortios_schema.py WHEEL VERSION < lines of `table<TAB>attribute<TAB>value`. Prints a line for each that the
version does not have, and how many were looked at.
"""

import re
import sys
import zipfile

FOLDER = "ansible_collections/fortinet/fortios/plugins/modules/fortios_"


def schema(wheel, table):
    name = FOLDER + table.replace(" ", "_").replace("-", "_") + ".py"
    text = wheel.read(name).decode()
    start = text.index("versioned_schema = ")
    end = start + re.search(r"\n}\n", text[start:]).end()
    found = {}
    exec(text[start:end], found)  # a literal: the names of lists and dictionaries, nothing else
    return found["versioned_schema"]["children"]


def number(version):
    return tuple(int(part) for part in version.lstrip("v").split("."))


def has(ranges, version):
    if ranges is None:
        return True
    return any(number(low) <= version and (not high or version <= number(high)) for low, high in ranges)


def main():
    wheel, version = zipfile.ZipFile(sys.argv[1]), number(sys.argv[2])
    schemas, looked_at = {}, 0
    for line in sys.stdin.read().splitlines():
        table, attribute, value = line.split("\t")
        looked_at += 1
        children = schemas.setdefault(table, None) or schema(wheel, table)
        schemas[table] = children
        child = children.get(attribute.replace("-", "_"))
        if child is None or not has(child.get("v_range"), version):
            print(f"no attribute: {table}: {attribute}")
            continue
        options = {option["value"]: option.get("v_range") for option in child.get("options", [])}
        if options and value and (value not in options or not has(options[value], version)):
            print(f"no value: {table}: {attribute} {value}")
    print(f"looked at {looked_at}")


main()
