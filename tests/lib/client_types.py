"""client_types - the types of messages that clients send, as src/domain/input/client_type.c has them."""
import pathlib
import re

SOURCE = (pathlib.Path(__file__).resolve().parents[2] / "src" / "domain" / "input" / "client_type.c").read_text()


def members_of(table):
    body = re.search(rf"field_rule {table}\[\] = \{{(.*?)\n\}};", SOURCE, re.S)[1]
    return {name: required == "true" for name, required in re.findall(r'\{"(\w+)", FIELD_\w+, (true|false)\}', body)}


# Each: (name, sort, {member: whether it is required})
TYPES = [(name, sort, members_of(table) if table else {})
         for name, sort, table in re.findall(r'\[CLIENT_\w+\] = \{"(\w+)", (\w+), (?:RULES\((\w+)\)|NULL, 0)\}', SOURCE)]
assert TYPES and len(TYPES) == SOURCE.count("[CLIENT_"), "client_type.c is not read here as it is written"
