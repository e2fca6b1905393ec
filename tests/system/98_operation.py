"""doc/operation.md: its commands for a rotation of keys, with clients that are connected."""
import importlib
import os
import re
import subprocess

from harness import TOP, equal, hs_sign, make_jwt, test

jwt = importlib.import_module("50_tokens")
reload = importlib.import_module("78_reload")

PAGE = (TOP / "doc" / "operation.md").read_text()


def blocks(heading):
    section = re.search(rf"^## {heading}\n(.*?)(?=^## |\Z)", PAGE, re.M | re.S)[1]
    return re.findall(r"^```\n(.*?)^```$", section, re.M | re.S)


class Keys:
    """A folder of keys as the page means it, and the commands about it. systemctl is the test's part."""

    def __init__(self, s):
        self.s, self.folder = s, s.folder / s._name("rotated")
        self.folder.mkdir(mode=0o700)
        self.settings = {"TIDINGS_JWT_KEYS": self.folder}
        self.run("tidings keys new 2026-05")

    def run(self, commands):
        commands = commands.replace("/etc/tidings/jwt", str(self.folder))
        text = f'tidings() {{ "{self.s.program("tidings")}" "$@"; }}\nsystemctl() {{ :; }}\n{commands}'
        done = subprocess.run(["bash", "-e", "-c", text], capture_output=True, text=True, env=self.s.environment(PATH=os.environ["PATH"], **self.settings))
        equal((done.returncode, done.stderr), (0, ""), f"{commands}: {done.stdout}")

    def token(self, kid):
        return make_jwt(jwt.claims(), hs_sign((self.folder / f"{kid}.HS256").read_bytes().rstrip(b"\n")), kid=kid)


def may(s, web, token):
    return web.api.post("/ws/send", {"type": "get_thresholds"}, token).status


@test("keys are rotated by the commands of doc/operation.md: for a while both are good, nobody is dropped, and in the end the old one is not; a restart ends what came in by it")
def _(s):
    d, keys = s.diagnosis(), Keys(s)
    add, remove, restart = blocks("Rotate keys")
    old = keys.token("2026-05")
    with s.node(**keys.settings) as node, s.web(node, **keys.settings) as web, s.connect(d, token=old, server=node) as client:
        def reloaded():
            reload.reload_node(node)
            reload.reload_programs(s, web)

        keys.run(add)
        equal(sorted(p.name for p in keys.folder.iterdir()), ["2026-05.HS256", "2026-11.HS256"], "keys")
        reloaded()
        new = keys.token("2026-11")
        for token in (old, new):
            assert s.lets_in(d, node, token=token), "a token is not taken by the sidecar"
            equal(may(s, web, token), 200, "status of a program")
        keys.run(remove)
        reloaded()
        equal((s.refused(d, token=old, server=node), may(s, web, old)), ((1008, "authentication failed"), 401), "the old key's token")
        assert s.lets_in(d, node, token=new), "the new key's token is not taken"
        equal(may(s, web, new), 200, "status of a program")
        client.answers()
        equal(restart, "systemctl restart tidings-ws\n", "the command that ends what came in by the old key")
        s.forget(node)
        equal((node.stop(), client.closed()), (0, (1012, "this server is going away: reconnect")), "the sidecar, and a client of the old key")
        node.begin()
        node.wait_listening()
        equal(s.refused(d, token=old, server=node), (1008, "authentication failed"), "when it comes again")
