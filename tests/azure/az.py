"""Reads shell scripts of az commands with the argument parser of the real azure-cli. No command is run, nothing is sent.

usage: az.py FILE...   prints a list of {command, arguments} as JSON
"""
import json
import os
import shlex
import sys
import tempfile

os.environ["AZURE_CONFIG_DIR"] = tempfile.mkdtemp()
os.environ["AZURE_CORE_COLLECT_TELEMETRY"] = "0"
os.environ["AZURE_EXTENSION_USE_DYNAMIC_INSTALL"] = "no"

from azure.cli.core import get_default_cli
from azure.cli.core.commands import events

cli = get_default_cli()
loaded = {}


def parser_for(arguments):
    command = " ".join(arguments[:next(i for i, word in enumerate(arguments) if word.startswith("-"))])
    if command not in loaded:
        invoker = cli.invocation_cls(cli_ctx=cli, parser_cls=cli.parser_cls,
                                     commands_loader_cls=cli.commands_loader_cls, help_cls=cli.help_cls)
        cli.invocation = invoker
        invoker.data["command_string"] = command
        table = invoker.commands_loader.load_command_table(arguments)
        assert command in table, f"az has no command `{command}`"
        invoker.commands_loader.command_name = command
        # Arguments that every command has (--subscription, --output) come by events, in az's own order.
        loader = invoker.commands_loader
        cli.raise_event(events.EVENT_INVOKER_PRE_LOAD_ARGUMENTS, commands_loader=loader)
        loader.load_arguments(command)
        cli.raise_event(events.EVENT_INVOKER_POST_LOAD_ARGUMENTS, commands_loader=loader)
        invoker.parser.cli_ctx = cli
        invoker.parser.load_command_table(invoker.commands_loader)
        loaded[command] = invoker.parser
    return command, loaded[command]


def plain(value):
    if hasattr(value, "_ops"):
        # What an argument of a generated command was parsed into, by type: texts, numbers, lists.
        found = []
        for _, data in value._ops:
            data = plain(data)
            found += data if isinstance(data, list) else [data]
        return found
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value if isinstance(value, (str, int, bool, type(None))) else str(value)


out = []
for path in sys.argv[1:]:
    for line in open(path):
        if line.startswith("az "):
            arguments = shlex.split(line)[1:]
            command, parser = parser_for(arguments)
            namespace = parser.parse_args(arguments)
            values = {key: plain(value) for key, value in vars(namespace).items()
                      if (not key.startswith("_") or key == "_subscription") and value is not None and key != "func" and key != "cmd"}
            out.append({"command": command, "arguments": values})
json.dump(out, sys.stdout)
