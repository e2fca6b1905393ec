"""Tokens of the users bench1 ... benchN, one a line, no two runs' alike: tokens.py KEY_FILE N"""
import base64
import hashlib
import hmac
import json
import sys
import time


def part(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=")


key = open(sys.argv[1], "rb").read().strip()
now = time.time()
head = part(b'{"alg":"HS256","typ":"JWT"}')
for number in range(1, int(sys.argv[2]) + 1):
    claims = {"sub": f"bench{number}", "exp": int(now) + 3600, "jti": f"{now}-{number}"}
    signed = head + b"." + part(json.dumps(claims).encode())
    print((signed + b"." + part(hmac.digest(key, signed, hashlib.sha256))).decode())
