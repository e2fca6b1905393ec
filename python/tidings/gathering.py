"""
gathering - publishes that come within a millisecond or so go in one array: one request, one commit.

An array is published whole or not at all. So that one call never fails for another's mistake, those that the server names are failed
alone, and the others go again without them.
"""
from __future__ import annotations

import re
from typing import Dict, List, Tuple

from .errors import TidingsError
from .messages import BATCH_MAX, BODY_MAX, encode

PART_MAX = BODY_MAX - 2048  # bytes of an array: some are left for what is between its items


def weight(item: object) -> int:
    """Bytes that an item takes up in an array. Raises InvalidError for what is no JSON."""
    return len(encode(item)) + 1


def may_join(count: int, bytes: int) -> bool:
    return count <= BATCH_MAX and bytes <= PART_MAX


def blame(error: TidingsError, count: int) -> Tuple[Dict[int, TidingsError], List[int]]:
    """Of a refused array: the errors of those that are to blame, and the others' indexes, which are to go again; one by one (count 1)
    nobody is left. Only a refusal of what is sent blames some: whatever else fails, fails all."""
    if count == 1 or error.status not in (400, 403, 404, 409, 413, 422):
        return {i: error for i in range(count)}, []
    blamed: Dict[int, List[Dict[str, str]]] = {}
    for e in error.errors:
        match = re.match(r"\[(\d+)\]\.?(.*)", str(e.get("field")))
        if match and int(match[1]) < count:
            blamed.setdefault(int(match[1]), []).append({"field": match[2], "message": str(e.get("message"))})
    errors = {i: type(error)(error.message, error.status, own, None, error.request_id) for i, own in blamed.items()}
    return errors, [i for i in range(count) if i not in errors]
